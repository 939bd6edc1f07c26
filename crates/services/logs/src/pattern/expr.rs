//! Conditions joined by `&&`, `||` and parentheses, and the reader they share; `&&` binds tighter.

use super::value::{Operand, Operator, regex};
use super::{BadPattern, bad};

/// A tree of conditions.
#[derive(Debug)]
pub(super) enum Expr<C> {
    Is(C),
    And(Vec<Expr<C>>),
    Or(Vec<Expr<C>>),
}

impl<C> Expr<C> {
    pub(super) fn holds(&self, test: &impl Fn(&C) -> bool) -> bool {
        match self {
            Expr::Is(condition) => test(condition),
            Expr::And(all) => all.iter().all(|e| e.holds(test)),
            Expr::Or(any) => any.iter().any(|e| e.holds(test)),
        }
    }
}

/// A pattern being read.
pub(super) struct Reader<'a> {
    text: &'a str,
    at: usize,
    regexes: usize,
}

/// Deeper parentheses are refused.
const MAX_DEPTH: usize = 50;
/// AWS's limit in JSON and space-delimited patterns.
const MAX_REGEXES: usize = 2;

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str) -> Reader<'a> {
        Reader { text, at: 0, regexes: 0 }
    }

    pub(super) fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    pub(super) fn skip_space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    /// Takes `token` if it comes next, after space.
    pub(super) fn take(&mut self, token: &str) -> bool {
        self.skip_space();
        let next = self.rest().starts_with(token);
        if next {
            self.at += token.len();
        }
        next
    }

    /// Takes `word` in any case, if it comes next and ends there.
    pub(super) fn take_word(&mut self, word: &str) -> bool {
        self.skip_space();
        let rest = self.rest();
        let found = rest.get(..word.len()).is_some_and(|w| w.eq_ignore_ascii_case(word))
            && !rest[word.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_');
        if found {
            self.at += word.len();
        }
        found
    }

    /// Takes characters while `wanted`.
    pub(super) fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c| !wanted(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    pub(super) fn wrong<T>(&self, expected: &str) -> Result<T, BadPattern> {
        let shown: String = self.rest().chars().take(20).collect();
        let found = if shown.is_empty() { "its end".to_owned() } else { format!("'{shown}'") };
        bad(format!("Invalid filter pattern: expected {expected} at {found}"))
    }

    pub(super) fn operator(&mut self) -> Option<Operator> {
        let operators = [
            ("!=", Operator::NotEqual),
            ("<=", Operator::LessOrEqual),
            (">=", Operator::GreaterOrEqual),
            ("=", Operator::Equal),
            ("<", Operator::Less),
            (">", Operator::Greater),
        ];
        operators.into_iter().find(|(token, _)| self.take(token)).map(|(_, operator)| operator)
    }

    /// The right side of a condition: quoted, between `%`, or a word up to one of `stops`, `&&` or `||`.
    pub(super) fn operand(&mut self, operator: Operator, stops: &str) -> Result<Operand, BadPattern> {
        self.skip_space();
        let rest = self.rest();
        let operand = if rest.starts_with('"') {
            let Some((text, length)) = quoted(rest) else { return self.wrong("the end of a quoted text") };
            self.at += length;
            Operand::Text(super::value::Glob::new(&text))
        } else if let Some(inner) = rest.strip_prefix('%') {
            let Some(end) = regex_end(inner) else { return self.wrong("the end of a regular expression") };
            self.at += end + 2;
            self.regexes += 1;
            if self.regexes > MAX_REGEXES {
                return bad("Invalid filter pattern: at most 2 regular expressions are allowed");
            }
            Operand::Regex(regex(&inner[..end])?)
        } else {
            let end = rest
                .char_indices()
                .find(|(i, c)| {
                    c.is_whitespace() || stops.contains(*c) || rest[*i..].starts_with("&&") || rest[*i..].starts_with("||")
                })
                .map_or(rest.len(), |(i, _)| i);
            if end == 0 {
                return self.wrong("a value");
            }
            self.at += end;
            Operand::word(&rest[..end])
        };
        if operator.is_ordering() && !matches!(operand, Operand::Number(..)) {
            return bad("Invalid filter pattern: <, <=, > and >= need a number");
        }
        Ok(operand)
    }

    /// Conditions joined by `&&` and `||`.
    pub(super) fn expression<C>(
        &mut self,
        condition: &mut impl FnMut(&mut Reader<'a>) -> Result<C, BadPattern>,
        depth: usize,
    ) -> Result<Expr<C>, BadPattern> {
        if depth > MAX_DEPTH {
            return bad("Invalid filter pattern: parentheses are nested too deeply");
        }
        let mut any = Vec::new();
        loop {
            let mut all = Vec::new();
            loop {
                if self.take("(") {
                    all.push(self.expression(condition, depth + 1)?);
                    if !self.take(")") {
                        return self.wrong("')'");
                    }
                } else {
                    all.push(Expr::Is(condition(self)?));
                }
                if !self.take("&&") {
                    break;
                }
            }
            any.push(one_or(all, Expr::And));
            if !self.take("||") {
                return Ok(one_or(any, Expr::Or));
            }
        }
    }
}

fn one_or<C>(mut parts: Vec<Expr<C>>, join: fn(Vec<Expr<C>>) -> Expr<C>) -> Expr<C> {
    match parts.len() {
        1 => parts.remove(0),
        _ => join(parts),
    }
}

/// The text between quotes, and how many bytes the whole takes.
fn quoted(text: &str) -> Option<(String, usize)> {
    let mut out = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((i, c)) = chars.next() {
        match c {
            '"' => return Some((out, i + 1)),
            '\\' => match chars.next()?.1 {
                c @ ('"' | '\\') => out.push(c),
                c => out.extend(['\\', c]),
            },
            c => out.push(c),
        }
    }
    None
}

/// Where the `%` stands that ends a regular expression.
fn regex_end(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (i, c) in text.char_indices() {
        match c {
            '%' if !escaped => return Some(i),
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    None
}
