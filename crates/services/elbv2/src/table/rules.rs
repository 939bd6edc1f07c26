//! Rules in the gateway's form. Records hold only what was admitted, so that nothing is left out here.

use crate::api;
use crate::cidr;
use crate::records::RuleRecord;
use neargate_link::gateway::{Action, Condition, Pattern, Rule, Transform};

/// The rule; none when its action is one that no gateway performs.
pub fn rule(record: &RuleRecord) -> Option<Rule> {
    Some(Rule {
        arn: record.arn.clone(),
        priority: record.priority,
        conditions: record.conditions.iter().filter_map(condition).collect(),
        transforms: record.transforms.iter().flat_map(transforms).collect(),
        action: record.actions.last().and_then(action)?,
    })
}

fn condition(asked: &api::RuleCondition) -> Option<Condition> {
    Some(match asked.field.as_deref()? {
        "host-header" => {
            let config = asked.host_header_config.as_ref()?;
            Condition::Host(patterns(&config.values, &config.regex_values))
        }
        "path-pattern" => {
            let config = asked.path_pattern_config.as_ref()?;
            Condition::Path(patterns(&config.values, &config.regex_values))
        }
        "http-header" => {
            let config = asked.http_header_config.as_ref()?;
            Condition::Header {
                name: config.http_header_name.clone()?,
                values: patterns(&config.values, &config.regex_values),
            }
        }
        "http-request-method" => Condition::Method(asked.http_request_method_config.as_ref()?.values.clone()?),
        "query-string" => {
            let values = asked.query_string_config.as_ref()?.values.iter().flatten();
            Condition::Query(values.filter_map(|v| Some((v.key.clone(), v.value.clone()?))).collect())
        }
        "source-ip" => {
            let values = asked.source_ip_config.as_ref()?.values.iter().flatten();
            Condition::SourceIp(values.filter_map(|v| cidr::parse(v)).collect())
        }
        _ => return None,
    })
}

fn patterns(values: &Option<Vec<String>>, regexes: &Option<Vec<String>>) -> Vec<Pattern> {
    let values = values.iter().flatten().cloned().map(Pattern::Wildcard);
    values
        .chain(regexes.iter().flatten().cloned().map(Pattern::Regex))
        .collect()
}

fn transforms(asked: &api::RuleTransform) -> Vec<Transform> {
    let hosts = asked
        .host_header_rewrite_config
        .iter()
        .flat_map(|c| c.rewrites.iter().flatten());
    let urls = asked
        .url_rewrite_config
        .iter()
        .flat_map(|c| c.rewrites.iter().flatten());
    let parts = |rewrite: &api::RewriteConfig| (rewrite.regex.clone(), rewrite.replace.clone());
    let hosts = hosts.map(parts).map(|(regex, replace)| Transform::HostHeader {
        regex: regex.unwrap_or_default(),
        replace: replace.unwrap_or_default(),
    });
    let urls = urls.map(parts).map(|(regex, replace)| Transform::Url {
        regex: regex.unwrap_or_default(),
        replace: replace.unwrap_or_default(),
    });
    hosts.chain(urls).collect()
}

fn action(asked: &api::Action) -> Option<Action> {
    Some(match asked.r#type.as_deref()? {
        "forward" => {
            let forward = asked.forward_config.as_ref()?;
            let groups = forward.target_groups.iter().flatten();
            let stickiness = forward.target_group_stickiness_config.as_ref();
            Action::Forward {
                groups: groups
                    .filter_map(|g| Some((g.target_group_arn.clone()?, u32::try_from(g.weight.unwrap_or(1)).ok()?)))
                    .collect(),
                // Flows have no cookie that could expire.
                stickiness: stickiness
                    .filter(|s| s.enabled == Some(true))
                    .and_then(|s| u32::try_from(s.duration_seconds.unwrap_or_default()).ok()),
            }
        }
        "redirect" => {
            let redirect = asked.redirect_config.as_ref()?;
            let part = |value: &Option<String>, keep: &str| value.clone().unwrap_or_else(|| keep.to_owned());
            Action::Redirect {
                protocol: part(&redirect.protocol, "#{protocol}"),
                host: part(&redirect.host, "#{host}"),
                port: part(&redirect.port, "#{port}"),
                path: part(&redirect.path, "/#{path}"),
                query: part(&redirect.query, "#{query}"),
                status: match redirect.status_code.as_deref()? {
                    "HTTP_301" => 301,
                    _ => 302,
                },
            }
        }
        "fixed-response" => {
            let fixed = asked.fixed_response_config.as_ref()?;
            Action::FixedResponse {
                status: fixed.status_code.as_deref()?.parse().ok()?,
                content_type: fixed.content_type.clone(),
                body: fixed.message_body.clone().unwrap_or_default(),
            }
        }
        _ => return None,
    })
}
