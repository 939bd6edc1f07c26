//! Transforms of rules. Source: `RuleTransform` of the ELB model and "Transforms for listener rules".

use crate::api;
use crate::refusal::validation;
use neargate_core::AwsError;

/// Characters of an expression and of a replacement at most.
const LONGEST: usize = 1024;

/// The transforms of a rule: at most one of each type.
///
/// # Errors
/// `ValidationError`.
pub fn admit(asked: Vec<api::RuleTransform>) -> Result<Vec<api::RuleTransform>, AwsError> {
    let mut seen: Vec<String> = Vec::new();
    for transform in &asked {
        let kind = transform.r#type.clone().unwrap_or_default();
        let host = transform.host_header_rewrite_config.as_ref();
        let url = transform.url_rewrite_config.as_ref();
        let rewrites = match (kind.as_str(), host, url) {
            ("host-header-rewrite", Some(config), None) => config.rewrites.as_deref(),
            ("url-rewrite", None, Some(config)) => config.rewrites.as_deref(),
            _ => {
                return Err(validation(format!(
                    "A '{kind}' transform must have its own config and no other"
                )));
            }
        };
        let [rewrite] = rewrites.unwrap_or_default() else {
            return Err(validation(format!(
                "A '{kind}' transform must have exactly one rewrite"
            )));
        };
        admit_rewrite(rewrite)?;
        if seen.contains(&kind) {
            return Err(validation(format!("A rule can only have one '{kind}' transform")));
        }
        seen.push(kind);
    }
    Ok(asked)
}

fn admit_rewrite(rewrite: &api::RewriteConfig) -> Result<(), AwsError> {
    let groups = super::regex(rewrite.regex.as_deref().unwrap_or_default(), LONGEST)?;
    let replace = rewrite.replace.as_deref().unwrap_or_default();
    if replace.chars().count() > LONGEST {
        return Err(validation(format!(
            "The replacement must have at most {LONGEST} characters"
        )));
    }
    if !replace.bytes().all(|b| (0x21..0x7f).contains(&b)) {
        return Err(validation(format!(
            "The replacement '{replace}' has characters that are not allowed"
        )));
    }
    match references(replace).find(|n| *n >= groups) {
        Some(n) => Err(validation(format!(
            "The replacement '{replace}' names the capture group ${n}, which the regular expression does not have"
        ))),
        None => Ok(()),
    }
}

/// Numbers of the groups that a replacement names.
fn references(replace: &str) -> impl Iterator<Item = usize> + '_ {
    replace.split('$').skip(1).filter_map(|rest| {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        rest[..digits].parse().ok()
    })
}
