//! `{ $.a.b[0] = "x*" && ($.n > 3 || $.x IS NULL) }`: conditions on messages that are JSON objects.

use super::Fault;
use super::condition::{self, Comparison};
use super::scan::Scan;
use serde_json::Value;

/// Nesting of parentheses that is followed.
const DEPTH: usize = 64;
/// Wildcards in one selector and in one pattern.
const WILDCARDS: usize = 1;
const ALL_WILDCARDS: usize = 3;

#[derive(Clone, Debug)]
pub enum Expression {
    All(Vec<Expression>),
    Any(Vec<Expression>),
    Test(Selector, Test),
}

#[derive(Clone, Debug)]
pub enum Test {
    Compare(Comparison),
    IsTrue,
    IsFalse,
    IsNull,
    NotExists,
    Exists,
}

/// The way to a value from the root.
#[derive(Clone, Debug, PartialEq)]
pub struct Selector(Vec<Step>);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Member(String),
    Element(usize),
    AnyMember,
    AnyElement,
}

impl Selector {
    /// Every value there; more than one only behind a wildcard.
    fn find<'v>(&self, root: &'v Value) -> Vec<&'v Value> {
        let mut found = vec![root];
        for step in &self.0 {
            found = (found.into_iter())
                .flat_map(|value| -> Vec<&'v Value> {
                    match (step, value) {
                        (Step::Member(name), Value::Object(members)) => members.get(name).into_iter().collect(),
                        (Step::Element(at), Value::Array(elements)) => elements.get(*at).into_iter().collect(),
                        (Step::AnyMember, Value::Object(members)) => members.values().collect(),
                        (Step::AnyElement, Value::Array(elements)) => elements.iter().collect(),
                        _ => Vec::new(),
                    }
                })
                .collect();
        }
        found
    }

    fn wildcards(&self) -> usize {
        let wild = |step: &&Step| matches!(step, Step::AnyMember | Step::AnyElement);
        self.0.iter().filter(wild).count()
    }
}

impl Test {
    fn holds(&self, found: &[&Value]) -> bool {
        match self {
            Test::Compare(comparison) => found.iter().any(|value| compare(comparison, value)),
            Test::IsTrue => found.iter().any(|value| **value == Value::Bool(true)),
            Test::IsFalse => found.iter().any(|value| **value == Value::Bool(false)),
            Test::IsNull => found.iter().any(|value| value.is_null()),
            Test::NotExists => found.is_empty(),
            Test::Exists => !found.is_empty(),
        }
    }
}

/// Objects, arrays and null compare with nothing, not even as unequal.
fn compare(comparison: &Comparison, value: &Value) -> bool {
    match value {
        Value::String(text) => comparison.holds(text, condition::number(text)),
        Value::Number(number) => comparison.holds(&number.to_string(), number.as_f64()),
        Value::Bool(bool) => comparison.holds(if *bool { "true" } else { "false" }, None),
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

impl Expression {
    pub fn matches(&self, message: &str) -> bool {
        // Most lines that are no JSON are told by their first character.
        if !message.trim_start().starts_with(['{', '[']) {
            return false;
        }
        match serde_json::from_str::<Value>(message) {
            Ok(root) => self.holds(&root),
            Err(_) => false,
        }
    }

    fn holds(&self, root: &Value) -> bool {
        match self {
            Expression::All(parts) => parts.iter().all(|part| part.holds(root)),
            Expression::Any(parts) => parts.iter().any(|part| part.holds(root)),
            Expression::Test(selector, test) => test.holds(&selector.find(root)),
        }
    }
}

pub fn parse(text: &str) -> Result<Expression, Fault> {
    let mut parser = Parser {
        scan: Scan::new(text),
        wildcards: 0,
    };
    parser.scan.eat("{");
    let expression = parser.any(0)?;
    parser.scan.skip_space();
    if !parser.scan.eat("}") {
        return Err(parser.unexpected("'}'"));
    }
    parser.scan.skip_space();
    if parser.scan.peek().is_some() {
        return Err(parser.unexpected("the end"));
    }
    if parser.wildcards > ALL_WILDCARDS {
        return Err(Fault(format!(
            "A filter pattern may hold at most {ALL_WILDCARDS} wildcard selectors."
        )));
    }
    parser.scan.check_regexes()?;
    Ok(expression)
}

struct Parser<'a> {
    scan: Scan<'a>,
    wildcards: usize,
}

impl Parser<'_> {
    fn unexpected(&self, wanted: &str) -> Fault {
        match self.scan.rest() {
            "" => Fault(format!("Invalid filter pattern: it ends where {wanted} should be")),
            rest => Fault(format!(
                "Invalid filter pattern: '{rest}' stands where {wanted} should be"
            )),
        }
    }

    fn any(&mut self, depth: usize) -> Result<Expression, Fault> {
        let mut parts = vec![self.all(depth)?];
        while self.joined("||") {
            parts.push(self.all(depth)?);
        }
        Ok(Self::of(parts, Expression::Any))
    }

    fn all(&mut self, depth: usize) -> Result<Expression, Fault> {
        let mut parts = vec![self.one(depth)?];
        while self.joined("&&") {
            parts.push(self.one(depth)?);
        }
        Ok(Self::of(parts, Expression::All))
    }

    fn of(mut parts: Vec<Expression>, join: fn(Vec<Expression>) -> Expression) -> Expression {
        if parts.len() == 1 {
            parts.swap_remove(0)
        } else {
            join(parts)
        }
    }

    fn joined(&mut self, by: &str) -> bool {
        self.scan.skip_space();
        self.scan.eat(by)
    }

    fn one(&mut self, depth: usize) -> Result<Expression, Fault> {
        if depth > DEPTH {
            return Err(Fault("The filter pattern is nested too deeply.".into()));
        }
        self.scan.skip_space();
        if self.scan.eat("(") {
            let inner = self.any(depth + 1)?;
            self.scan.skip_space();
            if !self.scan.eat(")") {
                return Err(self.unexpected("')'"));
            }
            return Ok(inner);
        }
        let selector = self.selector()?;
        self.wildcards += selector.wildcards();
        let test = self.test()?;
        Ok(Expression::Test(selector, test))
    }

    fn selector(&mut self) -> Result<Selector, Fault> {
        if !self.scan.eat("$") {
            return Err(self.unexpected("a selector like $.name"));
        }
        let mut steps = Vec::new();
        loop {
            let dot = self.scan.eat(".");
            if self.scan.eat("[") {
                steps.push(self.bracket()?);
            } else if dot && self.scan.eat("*") {
                steps.push(Step::AnyMember);
            } else if dot {
                let name = self.scan.take_while(|c| c.is_alphanumeric() || "_-:@#/".contains(c));
                if name.is_empty() {
                    return Err(self.unexpected("a property's name"));
                }
                steps.push(Step::Member(name.to_owned()));
            } else {
                break;
            }
        }
        if steps.is_empty() {
            return Err(self.unexpected("a selector like $.name"));
        }
        let selector = Selector(steps);
        if selector.wildcards() > WILDCARDS {
            return Err(Fault("A selector may hold only one wildcard.".into()));
        }
        Ok(selector)
    }

    /// `[0]`, `[*]`, `['name.with.dots']`, after its opening bracket.
    fn bracket(&mut self) -> Result<Step, Fault> {
        self.scan.skip_space();
        let step = match self.scan.peek() {
            Some('*') => {
                self.scan.eat("*");
                Step::AnyElement
            }
            Some(quote @ ('\'' | '"')) => Step::Member(self.scan.quoted(quote)?),
            _ => {
                let digits = self.scan.take_while(|c| c.is_ascii_digit());
                Step::Element(digits.parse().map_err(|_| self.unexpected("an element's number"))?)
            }
        };
        self.scan.skip_space();
        if !self.scan.eat("]") {
            return Err(self.unexpected("']'"));
        }
        Ok(step)
    }

    fn test(&mut self) -> Result<Test, Fault> {
        self.scan.skip_space();
        if let Some(operator) = condition::operator(&mut self.scan) {
            let comparison = condition::comparison(&mut self.scan, operator, |c| c == '}')?;
            return Ok(Test::Compare(comparison));
        }
        if self.scan.eat_word("EXISTS") {
            return Ok(Test::Exists);
        }
        if self.scan.eat_word("NOT") {
            self.scan.skip_space();
            if self.scan.eat_word("EXISTS") {
                return Ok(Test::NotExists);
            }
            return Err(self.unexpected("EXISTS"));
        }
        if self.scan.eat_word("IS") {
            self.scan.skip_space();
            for (word, test) in [("TRUE", Test::IsTrue), ("FALSE", Test::IsFalse), ("NULL", Test::IsNull)] {
                if self.scan.eat_word(word) {
                    return Ok(test);
                }
            }
            return Err(self.unexpected("TRUE, FALSE or NULL"));
        }
        Err(self.unexpected("an operator"))
    }
}
