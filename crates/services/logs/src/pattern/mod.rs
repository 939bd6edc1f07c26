//! The filter pattern language of CloudWatch Logs ("Filter pattern syntax for metric filters, subscription filters,
//! filter log events, and Live Tail"). Pure: a text becomes a `Pattern`, a pattern matches messages.
//!
//! Three forms, told apart by the first character: terms, `{ JSON conditions }` and `[space-delimited fields]`.

mod condition;
mod json;
mod scan;
mod space;
mod terms;
#[cfg(test)]
mod tests;

use std::fmt;

/// What messages must be like.
#[derive(Clone, Debug)]
pub struct Pattern(Form);

#[derive(Clone, Debug)]
enum Form {
    Everything,
    Terms(terms::Terms),
    Json(json::Expression),
    Space(space::Fields),
}

/// Why a text is no pattern; to be shown to whoever wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault(pub String);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Pattern {
    /// Matches every message.
    pub fn everything() -> Pattern {
        Pattern(Form::Everything)
    }

    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Pattern, Fault> {
        let text = text.trim();
        let form = match text.chars().next() {
            None => Form::Everything,
            Some('{') => Form::Json(json::parse(text)?),
            Some('[') => Form::Space(space::parse(text)?),
            Some(_) => Form::Terms(terms::parse(text)?),
        };
        Ok(Pattern(form))
    }

    pub fn matches(&self, message: &str) -> bool {
        match &self.0 {
            Form::Everything => true,
            Form::Terms(terms) => terms.matches(message),
            Form::Json(expression) => expression.matches(message),
            Form::Space(fields) => fields.matches(message),
        }
    }
}
