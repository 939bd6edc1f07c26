//! The cluster query language: filters of ListContainerInstances and `memberOf` placement constraints.
//!
//! Grammar, after "Cluster query language" in the ECS developer guide: single expressions `subject operator [argument]`
//! joined by `and`/`&&`, `or`/`||`, `not`/`!` and parentheses; `and` binds closer than `or`. Subjects are
//! `attribute:NAME`, `task:group`, `agentConnected`, `agentVersion`, `ec2InstanceId`, `registeredAt` and
//! `runningTasksCount`. Patterns match the whole value.

use neargate_core::Timestamp;
use regex::{Regex, RegexBuilder};
use std::cmp::Ordering;
use std::fmt;

/// A parsed filter.
#[derive(Clone, Debug)]
pub enum Expression {
    All(Vec<Expression>),
    Any(Vec<Expression>),
    Not(Box<Expression>),
    Test { subject: Subject, test: Test },
}

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    Attribute(String),
    TaskGroup,
    AgentConnected,
    AgentVersion,
    Ec2InstanceId,
    RegisteredAt,
    RunningTasksCount,
}

/// What must hold of it.
#[derive(Clone, Debug)]
pub enum Test {
    Equals(String),
    NotEquals(String),
    Greater(String),
    GreaterOrEqual(String),
    Less(String),
    LessOrEqual(String),
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    NotExists,
    Matches(Regex),
    NotMatches(Regex),
}

/// What an expression is asked about: a container instance.
pub trait Instance {
    /// None: the attribute is not there; `Some(None)`: there without a value.
    fn attribute(&self, name: &str) -> Option<Option<String>>;
    /// True when a task of `group` runs there.
    fn hosts_group(&self, group: &dyn Fn(&str) -> bool) -> bool;
    fn agent_connected(&self) -> bool;
    fn agent_version(&self) -> &str;
    fn instance_id(&self) -> &str;
    fn registered_at(&self) -> Timestamp;
    fn running_tasks(&self) -> u32;
}

/// Why a text is no expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpressionError {
    pub at: usize,
    pub message: String,
}

impl fmt::Display for ExpressionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at character {}", self.message, self.at + 1)
    }
}

/// How deep parentheses and `not` may nest.
const MAX_DEPTH: usize = 50;
/// The largest compiled pattern, in bytes.
const MAX_PATTERN: usize = 1 << 18;

/// Reads an expression.
///
/// # Errors
/// Where and why it is none.
pub fn parse(text: &str) -> Result<Expression, ExpressionError> {
    let tokens = lex(text)?;
    let mut parser = Parser {
        tokens: &tokens,
        at: 0,
        end: text.chars().count(),
        depth: 0,
    };
    let expression = parser.any()?;
    match parser.peek() {
        None => Ok(expression),
        Some(_) => Err(parser.error("unexpected text after the expression")),
    }
}

impl Expression {
    /// True when `instance` satisfies it.
    pub fn holds(&self, instance: &dyn Instance) -> bool {
        match self {
            Expression::All(list) => list.iter().all(|e| e.holds(instance)),
            Expression::Any(list) => list.iter().any(|e| e.holds(instance)),
            Expression::Not(inner) => !inner.holds(instance),
            Expression::Test {
                subject: Subject::TaskGroup,
                test,
            } => group_test(test, instance),
            Expression::Test { subject, test } => {
                let value = match subject {
                    Subject::Attribute(name) => instance.attribute(name),
                    Subject::AgentConnected => Some(Some(instance.agent_connected().to_string())),
                    Subject::AgentVersion => Some(Some(instance.agent_version().to_owned())),
                    Subject::Ec2InstanceId => Some(Some(instance.instance_id().to_owned())),
                    Subject::RegisteredAt => Some(Some(instance.registered_at().iso8601())),
                    Subject::RunningTasksCount => Some(Some(instance.running_tasks().to_string())),
                    Subject::TaskGroup => None,
                };
                value_test(subject, test, value)
            }
        }
    }
}

/// `task:group` holds when any task there satisfies it; its negations when none does.
fn group_test(test: &Test, instance: &dyn Instance) -> bool {
    match test {
        Test::Equals(v) => instance.hosts_group(&|g| g == v),
        Test::NotEquals(v) => !instance.hosts_group(&|g| g == v),
        Test::In(list) => instance.hosts_group(&|g| list.iter().any(|v| v == g)),
        Test::NotIn(list) => !instance.hosts_group(&|g| list.iter().any(|v| v == g)),
        Test::Matches(r) => instance.hosts_group(&|g| r.is_match(g)),
        Test::NotMatches(r) => !instance.hosts_group(&|g| r.is_match(g)),
        Test::Exists => instance.hosts_group(&|_| true),
        Test::NotExists => !instance.hosts_group(&|_| true),
        Test::Greater(v) => instance.hosts_group(&|g| g > v.as_str()),
        Test::GreaterOrEqual(v) => instance.hosts_group(&|g| g >= v.as_str()),
        Test::Less(v) => instance.hosts_group(&|g| g < v.as_str()),
        Test::LessOrEqual(v) => instance.hosts_group(&|g| g <= v.as_str()),
    }
}

fn value_test(subject: &Subject, test: &Test, value: Option<Option<String>>) -> bool {
    let present = value.is_some();
    let text = value.flatten();
    let ordered = |wanted: &str, ok: fn(Ordering) -> bool| {
        text.as_deref()
            .is_some_and(|have| compare(subject, have, wanted).is_some_and(ok))
    };
    let same = |wanted: &str| text.as_deref().is_some_and(|have| equal(subject, have, wanted));
    match test {
        Test::Exists => present,
        Test::NotExists => !present,
        Test::Equals(v) => same(v),
        Test::NotEquals(v) => !same(v),
        Test::In(list) => list.iter().any(|v| same(v)),
        Test::NotIn(list) => !list.iter().any(|v| same(v)),
        Test::Matches(r) => text.as_deref().is_some_and(|have| r.is_match(have)),
        Test::NotMatches(r) => !text.as_deref().is_some_and(|have| r.is_match(have)),
        Test::Greater(v) => ordered(v, Ordering::is_gt),
        Test::GreaterOrEqual(v) => ordered(v, Ordering::is_ge),
        Test::Less(v) => ordered(v, Ordering::is_lt),
        Test::LessOrEqual(v) => ordered(v, Ordering::is_le),
    }
}

fn equal(subject: &Subject, have: &str, wanted: &str) -> bool {
    match subject {
        Subject::Attribute(_) | Subject::Ec2InstanceId | Subject::TaskGroup => have == wanted,
        Subject::AgentConnected => have.eq_ignore_ascii_case(wanted),
        _ => compare(subject, have, wanted) == Some(Ordering::Equal),
    }
}

/// Times as times, versions part by part, numbers as numbers, anything else as text.
fn compare(subject: &Subject, have: &str, wanted: &str) -> Option<Ordering> {
    if *subject == Subject::RegisteredAt {
        return Some(Timestamp::parse_iso8601(have)?.cmp(&moment(wanted)?));
    }
    if let (Ok(a), Ok(b)) = (have.parse::<f64>(), wanted.parse::<f64>()) {
        return a.partial_cmp(&b);
    }
    let version = |text: &str| {
        text.split('.')
            .map(|part| part.parse::<u64>().ok())
            .collect::<Option<Vec<_>>>()
    };
    if let (Some(a), Some(b)) = (version(have), version(wanted)) {
        let length = a.len().max(b.len());
        let padded = |v: &[u64]| (0..length).map(|i| v.get(i).copied().unwrap_or(0)).collect::<Vec<_>>();
        return Some(padded(&a).cmp(&padded(&b)));
    }
    Some(have.cmp(wanted))
}

/// A date or a time, in UTC unless it says otherwise.
fn moment(text: &str) -> Option<Timestamp> {
    if let Some(at) = Timestamp::parse_iso8601(text) {
        return Some(at);
    }
    if text.contains('T') {
        return Timestamp::parse_iso8601(&format!("{text}Z"));
    }
    Timestamp::parse_iso8601(&format!("{text}T00:00:00Z"))
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Quoted(String),
    Operator(&'static str),
    Open,
    Close,
    ListOpen,
    ListClose,
    Comma,
}

const OPERATORS: &[&str] = &["==", "!=", ">=", "<=", "=~", "!~", "&&", "||", ">", "<", "!"];

fn lex(text: &str) -> Result<Vec<(usize, Token)>, ExpressionError> {
    let chars: Vec<char> = text.chars().collect();
    let mut out = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let start = at;
        let single = match chars[at] {
            '(' => Some(Token::Open),
            ')' => Some(Token::Close),
            '[' => Some(Token::ListOpen),
            ']' => Some(Token::ListClose),
            ',' => Some(Token::Comma),
            _ => None,
        };
        // After a pattern operator everything up to a blank or a closing parenthesis that is not the pattern's own is
        // the pattern: it may hold any of the characters above.
        if matches!(out.last(), Some((_, Token::Operator("=~" | "!~"))))
            || matches!(out.last(), Some((_, Token::Word(w))) if matches!(w.as_str(), "matches" | "not_matches"))
        {
            while at < chars.len() && chars[at].is_whitespace() {
                at += 1;
            }
            let quoted = at < chars.len() && matches!(chars[at], '"' | '\'');
            if !quoted && at < chars.len() {
                let begin = at;
                let mut depth = 0usize;
                while at < chars.len() && !chars[at].is_whitespace() {
                    match chars[at] {
                        '\\' if at + 1 < chars.len() => at += 1,
                        '(' | '[' => depth += 1,
                        ')' | ']' if depth == 0 => break,
                        ')' | ']' => depth -= 1,
                        _ => {}
                    }
                    at += 1;
                }
                out.push((begin, Token::Quoted(chars[begin..at].iter().collect())));
                continue;
            }
            if at >= chars.len() {
                break;
            }
        } else if let Some(token) = single {
            out.push((at, token));
            at += 1;
            continue;
        }
        let c = chars[at];
        if c.is_whitespace() {
            at += 1;
            continue;
        }
        if matches!(c, '"' | '\'') {
            let close = chars[at + 1..]
                .iter()
                .position(|x| *x == c)
                .ok_or_else(|| ExpressionError {
                    at: start,
                    message: "a quote is not closed".to_owned(),
                })?;
            out.push((at, Token::Quoted(chars[at + 1..at + 1 + close].iter().collect())));
            at += close + 2;
            continue;
        }
        let rest: String = chars[at..chars.len().min(at + 2)].iter().collect();
        if let Some(op) = OPERATORS.iter().find(|op| rest.starts_with(**op)) {
            out.push((at, Token::Operator(op)));
            at += op.len();
            continue;
        }
        while at < chars.len() && !chars[at].is_whitespace() && !"()[],=!<>&|\"'".contains(chars[at]) {
            at += 1;
        }
        if at == start {
            return Err(ExpressionError {
                at,
                message: format!("unexpected character '{c}'"),
            });
        }
        out.push((start, Token::Word(chars[start..at].iter().collect())));
    }
    Ok(out)
}

struct Parser<'a> {
    tokens: &'a [(usize, Token)],
    at: usize,
    end: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.at).map(|(_, t)| t)
    }

    fn error(&self, message: impl Into<String>) -> ExpressionError {
        ExpressionError {
            at: self.tokens.get(self.at).map_or(self.end, |(at, _)| *at),
            message: message.into(),
        }
    }

    /// Takes the next token if it is this word or operator.
    fn take(&mut self, word: &str, operator: &str) -> bool {
        let hit = match self.peek() {
            Some(Token::Word(w)) => w.eq_ignore_ascii_case(word),
            Some(Token::Operator(o)) => *o == operator,
            _ => false,
        };
        self.at += usize::from(hit);
        hit
    }

    fn any(&mut self) -> Result<Expression, ExpressionError> {
        let mut list = vec![self.all()?];
        while self.take("or", "||") {
            list.push(self.all()?);
        }
        Ok(if list.len() == 1 {
            list.remove(0)
        } else {
            Expression::Any(list)
        })
    }

    fn all(&mut self) -> Result<Expression, ExpressionError> {
        let mut list = vec![self.one()?];
        while self.take("and", "&&") {
            list.push(self.one()?);
        }
        Ok(if list.len() == 1 {
            list.remove(0)
        } else {
            Expression::All(list)
        })
    }

    fn one(&mut self) -> Result<Expression, ExpressionError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error("the expression is nested too deeply"));
        }
        let out = if self.take("not", "!") {
            Expression::Not(Box::new(self.one()?))
        } else if self.peek() == Some(&Token::Open) {
            self.at += 1;
            let inner = self.any()?;
            if self.peek() != Some(&Token::Close) {
                return Err(self.error("')' is missing"));
            }
            self.at += 1;
            inner
        } else {
            self.test()?
        };
        self.depth -= 1;
        Ok(out)
    }

    fn test(&mut self) -> Result<Expression, ExpressionError> {
        let subject = match self.peek() {
            Some(Token::Word(word)) => subject(word).ok_or_else(|| self.error(format!("unknown subject '{word}'")))?,
            _ => return Err(self.error("a subject is missing")),
        };
        self.at += 1;
        let operator = match self.peek() {
            Some(Token::Operator("!")) => match self.tokens.get(self.at + 1).map(|(_, t)| t) {
                Some(Token::Word(w)) if w == "in" => {
                    self.at += 1;
                    "not_in".to_owned()
                }
                Some(Token::Word(w)) if w == "exists" => {
                    self.at += 1;
                    "not_exists".to_owned()
                }
                _ => return Err(self.error("unknown operator '!'")),
            },
            Some(Token::Operator(o)) => (*o).to_owned(),
            Some(Token::Word(w)) => w.to_ascii_lowercase(),
            _ => return Err(self.error("an operator is missing")),
        };
        let known_at = self.at;
        self.at += 1;
        let test = match operator.as_str() {
            "==" | "equals" => Test::Equals(self.value()?),
            "!=" | "not_equals" => Test::NotEquals(self.value()?),
            ">" | "greater_than" => Test::Greater(self.value()?),
            ">=" | "greater_than_equal" => Test::GreaterOrEqual(self.value()?),
            "<" | "less_than" => Test::Less(self.value()?),
            "<=" | "less_than_equal" => Test::LessOrEqual(self.value()?),
            "in" => Test::In(self.list()?),
            "not_in" => Test::NotIn(self.list()?),
            "exists" => Test::Exists,
            "not_exists" => Test::NotExists,
            "=~" | "matches" => Test::Matches(self.pattern()?),
            "!~" | "not_matches" => Test::NotMatches(self.pattern()?),
            other => {
                self.at = known_at;
                return Err(self.error(format!("unknown operator '{other}'")));
            }
        };
        Ok(Expression::Test { subject, test })
    }

    fn value(&mut self) -> Result<String, ExpressionError> {
        match self.peek() {
            Some(Token::Word(text) | Token::Quoted(text)) => {
                self.at += 1;
                Ok(text.clone())
            }
            _ => Err(self.error("a value is missing")),
        }
    }

    fn list(&mut self) -> Result<Vec<String>, ExpressionError> {
        if self.peek() != Some(&Token::ListOpen) {
            return Err(self.error("a list in [ ] is missing"));
        }
        self.at += 1;
        let mut out = vec![self.value()?];
        while self.peek() == Some(&Token::Comma) {
            self.at += 1;
            out.push(self.value()?);
        }
        if self.peek() != Some(&Token::ListClose) {
            return Err(self.error("']' is missing"));
        }
        self.at += 1;
        Ok(out)
    }

    fn pattern(&mut self) -> Result<Regex, ExpressionError> {
        let begin = self.at;
        let text = self.value()?;
        RegexBuilder::new(&format!("^(?:{text})$"))
            .size_limit(MAX_PATTERN)
            .build()
            .map_err(|_| {
                self.at = begin;
                self.error(format!("'{text}' is no pattern"))
            })
    }
}

fn subject(word: &str) -> Option<Subject> {
    match word {
        "task:group" => Some(Subject::TaskGroup),
        "agentConnected" => Some(Subject::AgentConnected),
        "agentVersion" => Some(Subject::AgentVersion),
        "ec2InstanceId" => Some(Subject::Ec2InstanceId),
        "registeredAt" => Some(Subject::RegisteredAt),
        "runningTasksCount" => Some(Subject::RunningTasksCount),
        _ => word
            .strip_prefix("attribute:")
            .filter(|n| !n.is_empty())
            .map(|n| Subject::Attribute(n.to_owned())),
    }
}

#[cfg(test)]
mod tests;
