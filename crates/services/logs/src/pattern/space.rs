//! `[ip, user, ..., status = 4*, bytes > 100]`: conditions on the fields of messages that spaces delimit.

use super::Fault;
use super::condition::{self, Comparison};
use super::scan::Scan;

const DEPTH: usize = 64;

#[derive(Clone, Debug)]
pub struct Fields {
    before: Vec<Field>,
    /// Fields behind an ellipsis; none without one.
    after: Option<Vec<Field>>,
}

/// None wants nothing of its field.
type Field = Option<Condition>;

#[derive(Clone, Debug)]
enum Condition {
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Test(Comparison),
}

impl Condition {
    fn holds(&self, value: &str) -> bool {
        match self {
            Condition::All(parts) => parts.iter().all(|part| part.holds(value)),
            Condition::Any(parts) => parts.iter().any(|part| part.holds(value)),
            Condition::Test(comparison) => comparison.holds(value, condition::number(value)),
        }
    }
}

impl Fields {
    pub fn matches(&self, message: &str) -> bool {
        let values = split(message);
        let behind = self.after.as_deref().unwrap_or_default();
        let known = self.before.len() + behind.len();
        let fits = match self.after {
            Some(_) => values.len() >= known,
            None => values.len() == known,
        };
        if !fits {
            return false;
        }
        let last = &values[values.len() - behind.len()..];
        let all = |fields: &[Field], values: &[&str]| {
            (fields.iter().zip(values)).all(|(field, value)| field.as_ref().is_none_or(|c| c.holds(value)))
        };
        all(&self.before, &values) && all(behind, last)
    }
}

/// The fields of a message; what stands between brackets or double quotes is one.
fn split(message: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut rest = message.trim_matches([' ', '\n', '\r', '\t']);
    while !rest.is_empty() {
        let close = match rest.as_bytes()[0] {
            b'[' => Some(']'),
            b'"' => Some('"'),
            _ => None,
        };
        let enclosed = close.and_then(|close| rest[1..].find(close));
        let (field, after) = match enclosed {
            Some(end) => (&rest[1..=end], &rest[end + 2..]),
            None => rest.split_at(rest.find([' ', '\t']).unwrap_or(rest.len())),
        };
        out.push(field);
        rest = after.trim_start_matches([' ', '\t']);
    }
    out
}

pub fn parse(text: &str) -> Result<Fields, Fault> {
    let mut parser = Parser(Scan::new(text));
    parser.0.eat("[");
    let mut before = Vec::new();
    let mut after: Option<Vec<Field>> = None;
    loop {
        parser.0.skip_space();
        if parser.0.eat("...") || parser.0.eat("…") {
            if after.is_some() {
                return Err(Fault("A filter pattern may hold only one ellipsis.".into()));
            }
            after = Some(Vec::new());
        } else {
            let field = parser.field()?;
            after.as_mut().unwrap_or(&mut before).push(field);
        }
        parser.0.skip_space();
        if parser.0.eat(",") {
            continue;
        }
        if !parser.0.eat("]") {
            return Err(parser.unexpected("',' or ']'"));
        }
        parser.0.skip_space();
        if parser.0.peek().is_some() {
            return Err(parser.unexpected("the end"));
        }
        parser.0.check_regexes()?;
        return Ok(Fields { before, after });
    }
}

struct Parser<'a>(Scan<'a>);

impl Parser<'_> {
    fn unexpected(&self, wanted: &str) -> Fault {
        match self.0.rest() {
            "" => Fault(format!("Invalid filter pattern: it ends where {wanted} should be")),
            rest => Fault(format!(
                "Invalid filter pattern: '{rest}' stands where {wanted} should be"
            )),
        }
    }

    /// A name, or conditions that all name the same field; nothing between commas is a field too.
    fn field(&mut self) -> Result<Field, Fault> {
        let mut name = None;
        if matches!(self.0.peek(), Some(',' | ']')) {
            return Ok(None);
        }
        self.any(&mut name, 0)
    }

    fn any(&mut self, name: &mut Option<String>, depth: usize) -> Result<Field, Fault> {
        let first = self.all(name, depth)?;
        let mut parts = Vec::from_iter(first);
        while self.joined("||") {
            let next = self.all(name, depth)?;
            parts.push(next.ok_or_else(|| self.unexpected("a condition"))?);
        }
        Ok(match parts.len() {
            0 | 1 => parts.pop(),
            _ => Some(Condition::Any(parts)),
        })
    }

    fn all(&mut self, name: &mut Option<String>, depth: usize) -> Result<Field, Fault> {
        let first = self.one(name, depth)?;
        let mut parts = Vec::from_iter(first);
        while self.joined("&&") {
            let next = self.one(name, depth)?;
            parts.push(next.ok_or_else(|| self.unexpected("a condition"))?);
        }
        Ok(match parts.len() {
            0 | 1 => parts.pop(),
            _ => Some(Condition::All(parts)),
        })
    }

    fn joined(&mut self, by: &str) -> bool {
        self.0.skip_space();
        self.0.eat(by)
    }

    fn one(&mut self, name: &mut Option<String>, depth: usize) -> Result<Field, Fault> {
        if depth > DEPTH {
            return Err(Fault("The filter pattern is nested too deeply.".into()));
        }
        self.0.skip_space();
        if self.0.eat("(") {
            let inner = self.any(name, depth + 1)?;
            self.0.skip_space();
            if !self.0.eat(")") {
                return Err(self.unexpected("')'"));
            }
            return Ok(inner);
        }
        let word = self.0.take_while(|c| c.is_alphanumeric() || "_-$".contains(c));
        if word.is_empty() {
            return Err(self.unexpected("a field's name"));
        }
        match name {
            Some(known) if known != word => {
                return Err(Fault(format!(
                    "Invalid filter pattern: a condition on '{word}' stands in the place of '{known}'"
                )));
            }
            _ => *name = Some(word.to_owned()),
        }
        self.0.skip_space();
        match condition::operator(&mut self.0) {
            None => Ok(None),
            Some(operator) => {
                let comparison = condition::comparison(&mut self.0, operator, |c| c == ',' || c == ']')?;
                Ok(Some(Condition::Test(comparison)))
            }
        }
    }
}
