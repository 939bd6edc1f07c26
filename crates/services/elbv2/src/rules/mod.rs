//! What a rule may be: conditions, transforms and actions, checked as AWS checks them and brought into the form in
//! which they are described. Pure; called by the operations that make and change listeners and rules.

pub mod action;
mod condition;
mod transform;

pub use condition::admit as conditions;
pub use transform::admit as transforms;

use crate::records::RuleRecord;
use crate::refusal::validation;
use neargate_core::AwsError;

/// Checks a regular expression of at most `longest` characters; answers how many groups it has.
///
/// # Errors
/// `ValidationError`.
fn regex(text: &str, longest: usize) -> Result<usize, AwsError> {
    if text.is_empty() || text.chars().count() > longest {
        return Err(validation(format!(
            "The regular expression '{text}' must have between 1 and {longest} characters"
        )));
    }
    // As the gateway builds it: hosts and headers match in any case, which takes more room.
    let compiled = regex::RegexBuilder::new(text)
        .size_limit(1 << 20)
        .case_insensitive(true)
        .build();
    let compiled = compiled.map_err(|_| validation(format!("The regular expression '{text}' is not valid")))?;
    Ok(compiled.captures_len())
}

/// That the parts of a rule go together.
///
/// # Errors
/// `ValidationError`.
pub fn fit(rule: &RuleRecord) -> Result<(), AwsError> {
    let forwards = rule
        .actions
        .iter()
        .any(|action| action.r#type.as_deref() == Some("forward"));
    if !rule.transforms.is_empty() && !forwards {
        return Err(validation(
            "Transforms can only be specified for rules with a forward action",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
