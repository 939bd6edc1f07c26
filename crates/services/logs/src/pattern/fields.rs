//! Space-delimited patterns: `[ip, user, ..., status = 4* && status != 404, bytes > 1000]`.

use super::expr::{Expr, Reader};
use super::value::{Operand, Operator, number};
use super::{BadPattern, bad};

/// A parsed space-delimited pattern: fields before and, when there is an ellipsis, after it.
#[derive(Debug)]
pub(super) struct Fields {
    before: Vec<Field>,
    after: Option<Vec<Field>>,
}

/// A field's conditions; none takes anything.
type Field = Option<Expr<(Operator, Operand)>>;

pub(super) fn parse(text: &str) -> Result<Fields, BadPattern> {
    let mut reader = Reader::new(text);
    reader.take("[");
    let mut fields = Fields { before: Vec::new(), after: None };
    loop {
        if reader.take("...") {
            if fields.after.replace(Vec::new()).is_some() {
                return bad("Invalid filter pattern: there may be one ellipsis (...) only");
            }
        } else {
            let field = field(&mut reader)?;
            fields.after.as_mut().unwrap_or(&mut fields.before).push(field);
        }
        if reader.take("]") {
            break;
        }
        if !reader.take(",") {
            return reader.wrong("',' or ']'");
        }
    }
    if !reader.rest().trim().is_empty() {
        return reader.wrong("nothing more");
    }
    Ok(fields)
}

fn field(reader: &mut Reader<'_>) -> Result<Field, BadPattern> {
    reader.skip_space();
    if reader.rest().starts_with([',', ']']) {
        return Ok(None);
    }
    // A bare name, when nothing follows it.
    let mut ahead = Reader::new(reader.rest());
    name(&mut ahead)?;
    ahead.skip_space();
    if !reader.rest().starts_with('(') && ahead.rest().starts_with([',', ']']) {
        name(reader)?;
        return Ok(None);
    }
    let mut first: Option<String> = None;
    let mut condition = |reader: &mut Reader<'_>| {
        let name = name(reader)?;
        match &first {
            Some(first) if *first != name => {
                return bad(format!("Invalid filter pattern: the conditions of field '{first}' name '{name}'"));
            }
            Some(_) => {}
            None => first = Some(name),
        }
        let Some(operator) = reader.operator() else { return reader.wrong("a comparison") };
        Ok((operator, reader.operand(operator, ",])")?))
    };
    reader.expression(&mut condition, 0).map(Some)
}

fn name(reader: &mut Reader<'_>) -> Result<String, BadPattern> {
    reader.skip_space();
    if reader.rest().starts_with('(') {
        return Ok(String::new());
    }
    let name = reader.take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '$' | '@'));
    if name.is_empty() {
        return reader.wrong("a field's name");
    }
    Ok(name.to_owned())
}

impl Fields {
    pub(super) fn matches(&self, message: &str) -> bool {
        let words = words(message);
        let fits = |fields: &[Field], words: &[&str]| {
            fields.iter().zip(words).all(|(field, word)| {
                field.as_ref().is_none_or(|expr| expr.holds(&|(operator, operand)| holds(*operator, operand, word)))
            })
        };
        match &self.after {
            None => words.len() == self.before.len() && fits(&self.before, &words),
            Some(after) => {
                words.len() >= self.before.len() + after.len()
                    && fits(&self.before, &words)
                    && fits(after, &words[words.len() - after.len()..])
            }
        }
    }
}

fn holds(operator: Operator, operand: &Operand, word: &str) -> bool {
    let equals = || match operand {
        Operand::Number(right, _) if number(word) == Some(*right) => true,
        other => other.equals_text(word),
    };
    match operator {
        Operator::Equal => equals(),
        Operator::NotEqual => !equals(),
        ordering => match (number(word), operand) {
            (Some(left), Operand::Number(right, _)) => ordering.holds(left, *right),
            _ => false,
        },
    }
}

/// Words between spaces; what stands between quotes or brackets is one word.
fn words(message: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut rest = message.trim_start();
    while let Some(first) = rest.chars().next() {
        let close = match first {
            '"' => Some('"'),
            '[' => Some(']'),
            _ => None,
        };
        let enclosed = close.and_then(|close| rest[1..].find(close).map(|end| (&rest[1..1 + end], end + 2)));
        let (word, length) = enclosed.unwrap_or_else(|| {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            (&rest[..end], end)
        });
        out.push(word);
        rest = rest[length..].trim_start();
    }
    out
}
