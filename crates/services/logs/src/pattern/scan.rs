//! The pieces that all forms of patterns are made of: quoted text, regular expressions, bare words.

use super::Fault;
use regex::{Regex, RegexBuilder};

/// A position in a pattern's text.
#[derive(Clone, Copy)]
pub struct Scan<'a> {
    rest: &'a str,
    regexes: u8,
}

/// Regular expressions in one pattern of conditions.
const MAX_REGEXES: u8 = 2;

impl<'a> Scan<'a> {
    pub fn new(text: &'a str) -> Scan<'a> {
        Scan { rest: text, regexes: 0 }
    }

    pub fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    pub fn rest(&self) -> &'a str {
        self.rest
    }

    pub fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// Goes past `text` when it comes next.
    pub fn eat(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Goes past a keyword in any case, when it comes next and ends there.
    pub fn eat_word(&mut self, word: &str) -> bool {
        let Some((head, rest)) = self.rest.split_at_checked(word.len()) else {
            return false;
        };
        let ends = !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        if ends && head.eq_ignore_ascii_case(word) {
            self.rest = rest;
            return true;
        }
        false
    }

    /// As many characters as `belongs` wants.
    pub fn take_while(&mut self, mut belongs: impl FnMut(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !belongs(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    /// Text in `quote`s, which comes next; a backslash takes the character after it as it is.
    ///
    /// # Errors
    /// When it does not end.
    pub fn quoted(&mut self, quote: char) -> Result<String, Fault> {
        let mut out = String::new();
        let mut chars = self.rest.char_indices();
        chars.next();
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => match chars.next() {
                    Some((_, next @ ('"' | '\'' | '\\'))) => out.push(next),
                    Some((_, next)) => out.extend(['\\', next]),
                    None => break,
                },
                c if c == quote => {
                    self.rest = &self.rest[at + c.len_utf8()..];
                    return Ok(out);
                }
                c => out.push(c),
            }
        }
        Err(Fault(format!(
            "Unterminated quoted string in filter pattern: {}",
            self.rest
        )))
    }

    /// A regular expression between `%`, which comes next.
    ///
    /// # Errors
    /// When it does not end, or uses what CloudWatch Logs does not support.
    pub fn regex(&mut self) -> Result<Regex, Fault> {
        let body = &self.rest[1..];
        let Some(end) = body.find('%') else {
            return Err(Fault(format!(
                "Unterminated regular expression in filter pattern: {}",
                self.rest
            )));
        };
        let (text, rest) = (&body[..end], &body[end + 1..]);
        self.rest = rest;
        self.regexes += 1;
        compile(text)
    }

    /// # Errors
    /// When more regular expressions were seen than one pattern of conditions may hold.
    pub fn check_regexes(&self) -> Result<(), Fault> {
        if self.regexes > MAX_REGEXES {
            return Err(Fault(format!(
                "A filter pattern may hold at most {MAX_REGEXES} regular expressions."
            )));
        }
        Ok(())
    }
}

fn compile(text: &str) -> Result<Regex, Fault> {
    let invalid = |why: String| Fault(format!("Invalid regular expression %{text}% in filter pattern: {why}"));
    if text.is_empty() {
        return Err(invalid("it is empty".into()));
    }
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let plain = c.is_ascii_alphanumeric() || " :_#=@/;,-".contains(c);
        match c {
            '\\' => match chars.next() {
                Some(next) if "dDsSwWx".contains(next) || next.is_ascii_punctuation() => {}
                Some(next) => return Err(invalid(format!("\\{next} is not supported"))),
                None => return Err(invalid("it ends with a backslash".into())),
            },
            '^' | '$' | '?' | '[' | ']' | '{' | '}' | '|' | '*' | '+' | '.' => {}
            _ if plain => {}
            _ => return Err(invalid(format!("'{c}' is not supported"))),
        }
    }
    // As in the other places where AWS matches with Java: classes are of ASCII.
    let ascii = text
        .replace(r"\d", "[0-9]")
        .replace(r"\w", "[A-Za-z0-9_]")
        .replace(r"\s", r"[ \t\n\x0b\f\r]");
    let build = |text: &str| RegexBuilder::new(text).size_limit(1 << 20).build();
    build(&ascii)
        .or_else(|_| build(text))
        .map_err(|error| invalid(last_line(&error.to_string())))
}

fn last_line(text: &str) -> String {
    text.lines().last().unwrap_or_default().trim().to_owned()
}
