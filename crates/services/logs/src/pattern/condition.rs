//! A comparison of one value, in JSON and in space-delimited patterns alike.

use super::Fault;
use super::scan::Scan;
use regex::Regex;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Debug)]
pub enum Operand {
    Number(f64),
    Text(Wildcard),
    Regex(Regex),
}

/// Text with a `*` for anything before or after it; inside, `*` is itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Wildcard {
    text: String,
    open_start: bool,
    open_end: bool,
}

impl Wildcard {
    pub fn new(text: &str) -> Wildcard {
        let (open_start, rest) = match text.strip_prefix('*') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (open_end, rest) = match rest.strip_suffix('*') {
            Some(rest) => (true, rest),
            // A lone `*` is open on both sides.
            None => (open_start && rest.is_empty(), rest),
        };
        Wildcard {
            text: rest.to_owned(),
            open_start,
            open_end,
        }
    }

    pub fn matches(&self, value: &str) -> bool {
        match (self.open_start, self.open_end) {
            (false, false) => value == self.text,
            (true, false) => value.ends_with(&self.text),
            (false, true) => value.starts_with(&self.text),
            (true, true) => value.contains(&self.text),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Comparison {
    pub operator: Operator,
    pub operand: Operand,
}

impl Comparison {
    /// Compares a value, given as text and, where it is one, as a number.
    pub fn holds(&self, text: &str, number: Option<f64>) -> bool {
        let equal = || match &self.operand {
            Operand::Number(wanted) => number == Some(*wanted),
            Operand::Text(wanted) => wanted.matches(text),
            Operand::Regex(regex) => regex.is_match(text),
        };
        let ordered = |holds: fn(&f64, &f64) -> bool| match (&self.operand, number) {
            (Operand::Number(wanted), Some(number)) => holds(&number, wanted),
            _ => false,
        };
        match self.operator {
            Operator::Equal => equal(),
            Operator::NotEqual => !equal(),
            Operator::Less => ordered(f64::lt),
            Operator::LessOrEqual => ordered(f64::le),
            Operator::Greater => ordered(f64::gt),
            Operator::GreaterOrEqual => ordered(f64::ge),
        }
    }
}

/// Reads an operator; `=!` is an older way to write `!=`.
pub fn operator(scan: &mut Scan<'_>) -> Option<Operator> {
    let all = [
        ("!=", Operator::NotEqual),
        ("=!", Operator::NotEqual),
        ("<=", Operator::LessOrEqual),
        (">=", Operator::GreaterOrEqual),
        ("=", Operator::Equal),
        ("<", Operator::Less),
        (">", Operator::Greater),
    ];
    all.into_iter()
        .find_map(|(text, operator)| scan.eat(text).then_some(operator))
}

/// Reads what `operator` compares with: `"text"`, `%regex%`, a number, or bare text up to what `ends` it.
///
/// # Errors
/// When there is none, or an order is asked of what has none.
pub fn comparison(scan: &mut Scan<'_>, operator: Operator, ends: impl Fn(char) -> bool) -> Result<Comparison, Fault> {
    scan.skip_space();
    let operand = match scan.peek() {
        Some('"') => Operand::Text(Wildcard::new(&scan.quoted('"')?)),
        Some('%') => Operand::Regex(scan.regex()?),
        _ => {
            let word = scan.take_while(|c| !c.is_whitespace() && !ends(c) && !"()&|\"".contains(c));
            if word.is_empty() {
                return Err(Fault(format!(
                    "A value is missing in filter pattern before '{}'",
                    scan.rest()
                )));
            }
            match number(word) {
                Some(number) => Operand::Number(number),
                None => Operand::Text(Wildcard::new(word)),
            }
        }
    };
    let order = !matches!(operator, Operator::Equal | Operator::NotEqual);
    if order && !matches!(operand, Operand::Number(_)) {
        return Err(Fault(
            "The operators <, >, <= and >= in a filter pattern compare with numbers only.".into(),
        ));
    }
    Ok(Comparison { operator, operand })
}

/// An integer or decimal with an optional sign and exponent; nothing else that a computer might call a number.
pub fn number(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
    let digits = text.bytes().any(|b| b.is_ascii_digit());
    if !plain || !digits {
        return None;
    }
    text.parse().ok().filter(|n: &f64| n.is_finite())
}
