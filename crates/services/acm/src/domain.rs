//! What a domain name is to ACM: the model's `DomainNameString`, whose pattern looks ahead, which validation cannot do.

use crate::api::errors;
use neargate_core::AwsError;

const PATTERN: &str = r"(\*\.)?(((?!-)[A-Za-z0-9-]{0,62}[A-Za-z0-9])\.)+((?!-)[A-Za-z0-9-]{1,62}[A-Za-z0-9])";

/// The name in lower case.
///
/// # Errors
/// `ValidationException`; `member` is its place in the request.
pub fn admit(name: &str, member: &str) -> Result<String, AwsError> {
    if is_domain_name(name) {
        return Ok(name.to_ascii_lowercase());
    }
    Err(errors::validation_exception(format!(
        "1 validation error detected: Value '{name}' at '{member}' failed to satisfy constraint: Member must satisfy regular \
         expression pattern: {PATTERN}"
    )))
}

/// At least two labels, the last of at least two characters; a `*` only as the first of three.
fn is_domain_name(name: &str) -> bool {
    let host = name.strip_prefix("*.").unwrap_or(name);
    let Some((rest, last)) = host.rsplit_once('.') else {
        return false;
    };
    last.len() >= 2 && is_label(last) && rest.split('.').all(is_label)
}

/// RFC 1123: letters, digits, and hyphens that are not at an end.
fn is_label(label: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=63).contains(&label.len()) && label.bytes().all(inside) && !label.starts_with('-') && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_told_from_what_is_none() {
        let long = format!("{}.com", "a".repeat(63));
        for good in [
            "example.com",
            "*.example.com",
            "a.b",
            "a.bc",
            "WWW.Example.com",
            "x-1.localhost",
            long.as_str(),
        ] {
            // The pattern asks for two characters at the end.
            assert_eq!(is_domain_name(good), good != "a.b", "{good}");
        }
        let longer = format!("{}.com", "a".repeat(64));
        for bad in [
            "",
            "com",
            "*",
            "*.",
            "*.com",
            "a.*.com",
            "**.a.com",
            ".a.com",
            "a..com",
            "a.com.",
            "-a.com",
            "a-.com",
            "a.-b",
            "a b.com",
            "a_b.com",
            "ä.com",
            "a.com\n",
            longer.as_str(),
        ] {
            assert!(!is_domain_name(bad), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_the_patterns_own_parts_make_is_a_name(
            star in "(\\*\\.)?", labels in "([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\\.){1,3}",
            last in "[A-Za-z0-9][A-Za-z0-9-]{0,61}[A-Za-z0-9]",
        ) {
            let name = format!("{star}{labels}{last}");
            prop_assert!(is_domain_name(&name));
            prop_assert_eq!(admit(&name, "domainName").unwrap(), name.to_ascii_lowercase());
        }
    }
}
