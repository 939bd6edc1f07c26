//! Conditions and transforms as AWS admits them.

use super::*;
use crate::api;
use proptest::prelude::*;

fn condition(field: &str, values: &[&str]) -> api::RuleCondition {
    api::RuleCondition {
        field: Some(field.to_owned()),
        values: Some(values.iter().map(|v| (*v).to_owned()).collect()),
        ..Default::default()
    }
}

fn header(name: &str, values: &[&str]) -> api::RuleCondition {
    api::RuleCondition {
        field: Some("http-header".to_owned()),
        http_header_config: Some(api::HttpHeaderConditionConfig {
            http_header_name: Some(name.to_owned()),
            values: Some(values.iter().map(|v| (*v).to_owned()).collect()),
            regex_values: None,
        }),
        ..Default::default()
    }
}

#[test]
fn values_and_config_are_described_both() {
    let admitted = conditions(vec![condition("path-pattern", &["/a/*"])]).unwrap();
    let config = admitted[0].path_pattern_config.as_ref().unwrap();
    assert_eq!(config.values, admitted[0].values);
    assert_eq!(admitted[0].values.as_deref(), Some(&["/a/*".to_owned()][..]));
}

#[test]
fn what_no_condition_may_be_is_refused() {
    for bad in [
        condition("path-pattern", &[]),
        condition("path-pattern", &[""]),
        condition("path-pattern", &["/a b"]),
        condition("host-header", &["localhost"]),
        condition("host-header", &["a_b.com"]),
        condition("host-header", &["10.0.0.1"]),
        condition("cookie", &["a"]),
        condition("source-ip", &["10.0.0.0/8"]),
        header("Host", &["x"]),
        header("a b", &["x"]),
        header(&"x".repeat(41), &["x"]),
    ] {
        assert!(conditions(vec![bad.clone()]).is_err(), "{bad:?}");
    }
    let twice = vec![condition("path-pattern", &["/a"]), condition("path-pattern", &["/b"])];
    assert!(conditions(twice).is_err());
    assert!(conditions(vec![header("a", &["1"]), header("a", &["2"])]).is_ok());
}

#[test]
fn a_rule_has_five_values_and_six_wildcards_at_most() {
    let values: Vec<String> = (0..6).map(|n| format!("/{n}")).collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    assert!(conditions(vec![condition("path-pattern", &values[..5])]).is_ok());
    let error = conditions(vec![condition("path-pattern", &values)]).unwrap_err();
    assert_eq!(error.message, "A rule can only have '5' condition values");
    assert!(conditions(vec![condition("path-pattern", &["/******"])]).is_ok());
    assert!(conditions(vec![condition("path-pattern", &["/*******"])]).is_err());
}

#[test]
fn regular_expressions_are_compiled_before_they_are_taken() {
    let with = |text: &str| api::RuleCondition {
        field: Some("host-header".to_owned()),
        regex_values: Some(vec![text.to_owned()]),
        ..Default::default()
    };
    assert!(conditions(vec![with("^api[0-9]+\\.example\\.com$")]).is_ok());
    assert!(conditions(vec![with("(")]).is_err());
    assert!(conditions(vec![with("")]).is_err());
    assert!(conditions(vec![with(&"a".repeat(129))]).is_err());
}

fn rewrite(regex: &str, replace: &str) -> api::RuleTransform {
    api::RuleTransform {
        r#type: Some("url-rewrite".to_owned()),
        url_rewrite_config: Some(api::UrlRewriteConfig {
            rewrites: Some(vec![api::RewriteConfig {
                regex: Some(regex.to_owned()),
                replace: Some(replace.to_owned()),
            }]),
        }),
        ..Default::default()
    }
}

#[test]
fn a_replacement_names_only_groups_that_are_there() {
    assert!(transforms(vec![rewrite("^/api/(.*)$", "/$1")]).is_ok());
    assert!(transforms(vec![rewrite("^/api/(.*)$", "/$2")]).is_err());
    assert!(transforms(vec![rewrite("[", "/")]).is_err());
    assert!(transforms(vec![rewrite("a", "/"), rewrite("b", "/")]).is_err());
    let mut other = rewrite("a", "/");
    other.r#type = Some("host-header-rewrite".to_owned());
    assert!(transforms(vec![other]).is_err());
}

proptest! {
    /// Whatever is admitted stays as it is when it is admitted again: descriptions can be sent back, with the values in one of
    /// the places that tell them.
    #[test]
    fn what_is_described_is_admitted(field in "(path-pattern|host-header|http-header)", value in "[ -~]{0,20}") {
        let asked = if field == "http-header" { header("x-team", &[&value]) } else { condition(&field, &[&value]) };
        if let Ok(once) = conditions(vec![asked]) {
            let mut again = once.clone();
            for described in again.iter_mut().filter(|described| described.values.is_some()) {
                prop_assert!(conditions(vec![described.clone()]).is_err());
                described.values = None;
            }
            prop_assert_eq!(conditions(again).unwrap(), once);
        }
    }
}
