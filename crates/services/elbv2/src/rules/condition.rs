//! Conditions of rules. Source: `RuleCondition` of the ELB model and "Condition types for listener rules".

use crate::api;
use crate::cidr;
use crate::limits::{CONDITION_VALUES, CONDITION_WILDCARDS};
use crate::refusal::{unsupported, validation};
use neargate_core::AwsError;

/// Characters of a value at most.
const LONGEST: usize = 128;
/// Characters of a header's name and of a method at most.
const LONGEST_NAME: usize = 40;

/// The conditions of a rule, at least one.
///
/// # Errors
/// `ValidationError`.
pub fn admit(asked: Vec<api::RuleCondition>) -> Result<Vec<api::RuleCondition>, AwsError> {
    if asked.is_empty() {
        return Err(validation("A rule must have at least one condition"));
    }
    let mut once: Vec<&str> = Vec::new();
    let (mut values, mut wildcards) = (0, 0);
    let mut out = Vec::with_capacity(asked.len());
    for condition in asked {
        let (condition, counted) = admit_one(condition)?;
        let field = FIELDS.iter().find(|f| Some(**f) == condition.field.as_deref());
        if let Some(field) = field.filter(|f| !matches!(**f, "http-header" | "query-string")) {
            if once.contains(field) {
                return Err(validation(format!("A rule can only have one '{field}' condition")));
            }
            once.push(field);
        }
        values += counted.values;
        wildcards += counted.wildcards;
        out.push(condition);
    }
    if values > CONDITION_VALUES {
        return Err(validation(format!(
            "A rule can only have '{CONDITION_VALUES}' condition values"
        )));
    }
    if wildcards > CONDITION_WILDCARDS {
        return Err(validation(format!(
            "A rule can only have '{CONDITION_WILDCARDS}' condition wildcards"
        )));
    }
    Ok(out)
}

const FIELDS: [&str; 6] = [
    "host-header",
    "path-pattern",
    "http-header",
    "http-request-method",
    "query-string",
    "source-ip",
];

#[derive(Default)]
struct Counted {
    values: usize,
    wildcards: usize,
}

impl Counted {
    fn of<'a>(texts: impl IntoIterator<Item = &'a str>) -> Counted {
        texts.into_iter().fold(Counted::default(), |sum, text| Counted {
            values: sum.values + 1,
            wildcards: sum.wildcards + wildcards(text),
        })
    }

    fn plus(self, more: usize) -> Counted {
        Counted {
            values: self.values + more,
            ..self
        }
    }
}

/// Wildcards of a pattern that no backslash takes their meaning.
fn wildcards(text: &str) -> usize {
    let mut escaped = false;
    let mut count = 0;
    for c in text.chars() {
        count += usize::from(!escaped && matches!(c, '*' | '?'));
        escaped = !escaped && c == '\\';
    }
    count
}

/// What a condition may say besides its field, taken apart so that nothing is passed over.
struct Given {
    values: Vec<String>,
    regexes: Vec<String>,
}

fn admit_one(mut asked: api::RuleCondition) -> Result<(api::RuleCondition, Counted), AwsError> {
    let field = asked.field.clone().unwrap_or_default();
    let configs = [
        ("host-header", asked.host_header_config.is_some(), "HostHeaderConfig"),
        ("path-pattern", asked.path_pattern_config.is_some(), "PathPatternConfig"),
        ("http-header", asked.http_header_config.is_some(), "HttpHeaderConfig"),
        (
            "http-request-method",
            asked.http_request_method_config.is_some(),
            "HttpRequestMethodConfig",
        ),
        ("query-string", asked.query_string_config.is_some(), "QueryStringConfig"),
        ("source-ip", asked.source_ip_config.is_some(), "SourceIpConfig"),
    ];
    if field.is_empty() {
        return Err(validation("A condition field must be specified"));
    }
    if !FIELDS.contains(&field.as_str()) {
        let all = FIELDS.join(", ");
        return Err(validation(format!(
            "Condition field '{field}' must be one of '[{all}]'"
        )));
    }
    if let Some((_, _, member)) = configs.iter().find(|(of, given, _)| *given && *of != field) {
        return Err(validation(format!(
            "You cannot specify '{member}' for a condition with field '{field}'"
        )));
    }
    let top = Given {
        values: asked.values.take().unwrap_or_default(),
        regexes: asked.regex_values.take().unwrap_or_default(),
    };
    match field.as_str() {
        "host-header" => {
            let config = asked.host_header_config.take().unwrap_or_default();
            let given = one_of(&field, "HostHeaderConfig", top, (config.values, config.regex_values))?;
            let counted = patterns(&field, &given, is_host)?;
            let Given { values, regexes } = given;
            asked.host_header_config = Some(api::HostHeaderConditionConfig {
                values: filled(values.clone()),
                regex_values: filled(regexes.clone()),
            });
            (asked.values, asked.regex_values) = (filled(values), filled(regexes));
            Ok((asked, counted))
        }
        "path-pattern" => {
            let config = asked.path_pattern_config.take().unwrap_or_default();
            let given = one_of(&field, "PathPatternConfig", top, (config.values, config.regex_values))?;
            let counted = patterns(&field, &given, is_path)?;
            let Given { values, regexes } = given;
            asked.path_pattern_config = Some(api::PathPatternConditionConfig {
                values: filled(values.clone()),
                regex_values: filled(regexes.clone()),
            });
            (asked.values, asked.regex_values) = (filled(values), filled(regexes));
            Ok((asked, counted))
        }
        "http-header" => {
            let config = asked.http_header_config.take().unwrap_or_default();
            let name = config.http_header_name.unwrap_or_default();
            if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(is_token) {
                return Err(validation(format!("The HTTP header name '{name}' is not valid")));
            }
            if name.eq_ignore_ascii_case("host") {
                return Err(validation(
                    "You cannot use an HTTP header condition to specify the host header. Use a host-header condition",
                ));
            }
            if !top.values.is_empty() {
                return Err(validation(
                    "You cannot specify 'Values' for a condition with field 'http-header'",
                ));
            }
            let given = one_of(&field, "HttpHeaderConfig", top, (config.values, config.regex_values))?;
            let counted = patterns(&field, &given, is_printable)?;
            asked.http_header_config = Some(api::HttpHeaderConditionConfig {
                http_header_name: Some(name),
                values: filled(given.values),
                regex_values: filled(given.regexes),
            });
            Ok((asked, counted))
        }
        other => {
            if !top.values.is_empty() || !top.regexes.is_empty() {
                return Err(validation(format!(
                    "You cannot specify 'Values' or 'RegexValues' for a condition with field '{other}'"
                )));
            }
            let counted = match other {
                "http-request-method" => methods(&asked)?,
                "query-string" => query(&asked)?,
                _ => sources(&asked)?,
            };
            Ok((asked, counted))
        }
    }
}

fn filled(values: Vec<String>) -> Option<Vec<String>> {
    (!values.is_empty()).then_some(values)
}

/// Values from the condition itself or from its config, never both.
fn one_of(
    field: &str,
    member: &str,
    top: Given,
    (values, regexes): (Option<Vec<String>>, Option<Vec<String>>),
) -> Result<Given, AwsError> {
    let merge = |what: &str, top: Vec<String>, config: Vec<String>| match (top.is_empty(), config.is_empty()) {
        (true, _) => Ok(config),
        (false, true) => Ok(top),
        (false, false) => Err(validation(format!(
            "You cannot provide both {what} and '{member}' for a condition of type '{field}'"
        ))),
    };
    Ok(Given {
        values: merge("Values", top.values, values.unwrap_or_default())?,
        regexes: merge("RegexValues", top.regexes, regexes.unwrap_or_default())?,
    })
}

fn patterns(field: &str, given: &Given, admits: fn(&str) -> bool) -> Result<Counted, AwsError> {
    if given.values.is_empty() && given.regexes.is_empty() {
        return Err(validation(format!(
            "A '{field}' condition must have at least one value"
        )));
    }
    for value in &given.values {
        if value.is_empty() || value.chars().count() > LONGEST {
            return Err(validation(format!(
                "The value '{value}' of a '{field}' condition must have between 1 and {LONGEST} characters"
            )));
        }
        if !admits(value) {
            return Err(validation(format!(
                "Condition value '{value}' contains a character that is not valid"
            )));
        }
    }
    for text in &given.regexes {
        super::regex(text, LONGEST)?;
    }
    Ok(Counted::of(given.values.iter().map(String::as_str)).plus(given.regexes.len()))
}

fn methods(asked: &api::RuleCondition) -> Result<Counted, AwsError> {
    let config = asked.http_request_method_config.as_ref();
    let values = config.and_then(|c| c.values.as_deref()).unwrap_or_default();
    if values.is_empty() {
        return Err(validation(
            "A 'http-request-method' condition must have at least one value",
        ));
    }
    let valid = |m: &str| m.bytes().all(|b| b.is_ascii_uppercase() || b == b'-' || b == b'_');
    match values
        .iter()
        .find(|m| m.is_empty() || m.len() > LONGEST_NAME || !valid(m))
    {
        Some(bad) => Err(validation(format!("The HTTP request method '{bad}' is not valid"))),
        None => Ok(Counted::default().plus(values.len())),
    }
}

fn query(asked: &api::RuleCondition) -> Result<Counted, AwsError> {
    let config = asked.query_string_config.as_ref();
    let values = config.and_then(|c| c.values.as_deref()).unwrap_or_default();
    if values.is_empty() {
        return Err(validation("A 'query-string' condition must have at least one value"));
    }
    let mut texts = Vec::new();
    for pair in values {
        let value = pair.value.as_deref().unwrap_or_default();
        let key = pair.key.as_deref();
        let fits = |text: &str| !text.is_empty() && text.chars().count() <= LONGEST && is_printable(text);
        if !fits(value) || key.is_some_and(|key| !fits(key)) {
            return Err(validation(format!(
                "The key and value of a 'query-string' condition must have between 1 and {LONGEST} printable characters"
            )));
        }
        texts.push((key.unwrap_or_default(), value));
    }
    let wildcards = texts.iter().map(|(key, value)| wildcards(key) + wildcards(value)).sum();
    Ok(Counted {
        values: texts.len(),
        wildcards,
    })
}

fn sources(asked: &api::RuleCondition) -> Result<Counted, AwsError> {
    let config = asked.source_ip_config.clone().unwrap_or_default();
    if config.ip_address_type.is_some() {
        return Err(unsupported(
            "SourceIpConfig.IpAddressType (rules of dual-stack Network Load Balancers)",
        ));
    }
    let values = config.values.unwrap_or_default();
    if values.is_empty() {
        return Err(validation("A 'source-ip' condition must have at least one value"));
    }
    match values.iter().find(|v| cidr::parse(v).is_none()) {
        Some(bad) => Err(validation(format!(
            "The value '{bad}' of a 'source-ip' condition is not a valid CIDR"
        ))),
        None => Ok(Counted::default().plus(values.len())),
    }
}

/// RFC 7230's `tchar`.
fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

/// Letters, digits, `-`, `.` and wildcards; at least one dot, and no digit or hyphen after the last.
fn is_host(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b"-.*?".contains(&b);
    let last = |b: u8| b.is_ascii_alphabetic() || b"*?".contains(&b);
    let end = text.rsplit_once('.').map(|(_, end)| end);
    text.bytes().all(inner) && end.is_some_and(|end| !end.is_empty() && end.bytes().all(last))
}

fn is_path(text: &str) -> bool {
    text.bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"_-.$/~\"'@:+&*?".contains(&b))
}

fn is_printable(text: &str) -> bool {
    text.bytes().all(|b| (0x20..0x7f).contains(&b))
}
