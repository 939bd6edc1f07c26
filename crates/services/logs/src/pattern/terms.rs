//! Terms: words, `"phrases"`, `%regexes%`; all must be there, `-` ones must not, of `?` ones any.

use super::Fault;
use super::scan::Scan;
use regex::Regex;

#[derive(Clone, Debug)]
enum Term {
    Text(String),
    Regex(Regex),
}

impl Term {
    fn is_in(&self, message: &str) -> bool {
        match self {
            Term::Text(text) => message.contains(text.as_str()),
            Term::Regex(regex) => regex.is_match(message),
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct Terms {
    all: Vec<Term>,
    none: Vec<Term>,
    any: Vec<Term>,
}

impl Terms {
    pub fn matches(&self, message: &str) -> bool {
        // Beside other terms, `?` ones have no effect: so the documentation says.
        let optional = !self.all.is_empty() || !self.none.is_empty() || self.any.is_empty();
        self.all.iter().all(|term| term.is_in(message))
            && !self.none.iter().any(|term| term.is_in(message))
            && (optional || self.any.iter().any(|term| term.is_in(message)))
    }
}

pub fn parse(text: &str) -> Result<Terms, Fault> {
    let mut scan = Scan::new(text);
    let mut terms = Terms::default();
    loop {
        scan.skip_space();
        let list = match scan.peek() {
            None => return Ok(terms),
            Some('-') => {
                scan.eat("-");
                &mut terms.none
            }
            Some('?') => {
                scan.eat("?");
                &mut terms.any
            }
            Some(_) => &mut terms.all,
        };
        scan.skip_space();
        let term = match scan.peek() {
            Some('"') => Term::Text(scan.quoted('"')?),
            Some('%') => Term::Regex(scan.regex()?),
            Some(_) => {
                let word = scan.take_while(|c| !c.is_whitespace() && c != '"');
                if !word.chars().all(|c| c.is_alphanumeric() || c == '_') {
                    return Err(Fault(format!("Invalid character(s) in term '{word}'")));
                }
                Term::Text(word.to_owned())
            }
            None => return Err(Fault("A filter pattern must not end with '-' or '?'.".into())),
        };
        list.push(term);
    }
}
