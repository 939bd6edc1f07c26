//! Rules of security groups: authorized, revoked, changed, described.

use super::ask::{self, Kind, error, filtered, one, some, text};
use super::prefix_lists;
use super::security_groups::{find, named};
use crate::filter::{self, Values, dry_run};
use crate::interface::lean_on_groups;
use crate::permissions::{self, Flat};
use crate::records::{GroupRule, PrefixListRecord, RulePeer, SecurityGroupRecord, VpcRecord};
use crate::{Ec2, api};
use neargate_core::{AwsError, RequestContext, Tags};
use neargate_store::{Snapshot, Txn};

const KIND: Kind = Kind {
    prefix: "sgr-",
    name: "security group rule",
    malformed: "InvalidSecurityGroupRuleId.Malformed",
    missing: "InvalidSecurityGroupRuleId.NotFound",
};

/// What authorize and revoke requests have in common.
struct Asked {
    egress: bool,
    group_id: Option<String>,
    group_name: Option<String>,
    flat: Flat,
    permissions: Vec<api::IpPermission>,
}

impl Asked {
    /// Whether rules are described, and not named by id.
    fn describes(&self) -> bool {
        !self.permissions.is_empty() || self.flat.is_given()
    }

    fn rules(
        &self,
        service: &Ec2,
        snapshot: &Snapshot,
        group: &SecurityGroupRecord,
    ) -> Result<Vec<GroupRule>, AwsError> {
        let mut permissions = self.permissions.clone();
        if self.flat.is_given() && !permissions.is_empty() {
            return Err(error(
                "InvalidParameterCombination",
                "The parameter 'ipPermissions' may not be used together with 'ipProtocol', 'fromPort', 'toPort', 'cidrIp' or a source group.",
            ));
        }
        permissions.extend(self.flat.permission()?);
        if permissions.is_empty() {
            return Err(ask::missing("ipPermissions"));
        }
        permissions::rules(service, snapshot, group, self.egress, &permissions)
    }
}

/// How many IPv4 and IPv6 rules a group has in a direction, as its limits count them.
fn weights(snapshot: &Snapshot, group: &SecurityGroupRecord, egress: bool) -> [usize; 2] {
    let rules = group.rules.iter().filter(|rule| rule.egress == egress);
    rules.fold([0, 0], |[v4, v6], rule| {
        let more = permissions::weight(snapshot, &group.region, rule);
        [v4 + more[0], v6 + more[1]]
    })
}

/// That a group has no more rules in a direction than it may.
fn few_enough(service: &Ec2, snapshot: &Snapshot, group: &SecurityGroupRecord, egress: bool) -> Result<(), AwsError> {
    let weights = weights(snapshot, group, egress);
    if weights.iter().any(|weight| *weight > service.rules_per_group) {
        return Err(error(
            "RulesPerSecurityGroupLimitExceeded",
            "The maximum number of rules per security group has been reached.",
        ));
    }
    Ok(())
}

/// That the groups which name a prefix list have room for it once it may have `max` entries.
pub fn still_few_enough(service: &Ec2, snapshot: &Snapshot, list: &PrefixListRecord, max: i32) -> Result<(), AwsError> {
    let more = usize::try_from(max - list.max_entries).unwrap_or(0);
    for (_, group) in snapshot.range::<SecurityGroupRecord>(&format!("{}/", list.region)) {
        for egress in [false, true] {
            let named = RulePeer::PrefixList(list.id.clone());
            let named = group.rules.iter().filter(|r| r.egress == egress && r.peer == named);
            let grown = named.count() * more;
            let weight = weights(snapshot, &group, egress)[usize::from(list.address_family == "IPv6")];
            if grown > 0 && weight + grown > service.rules_per_group {
                return Err(error(
                    "RulesPerSecurityGroupLimitExceeded",
                    format!(
                        "The security group '{}' has no room for {max} entries of the prefix list.",
                        group.id
                    ),
                ));
            }
        }
    }
    Ok(())
}

/// Commits `txn`, which adds these rules, only while the groups and prefix lists that they name are there.
fn lean_on_peers(snapshot: &Snapshot, txn: &mut Txn, region: &str, rules: &[GroupRule]) {
    for rule in rules {
        match &rule.peer {
            RulePeer::Ipv4(_) | RulePeer::Ipv6(_) => {}
            RulePeer::Group(id) => lean_on_groups(txn, region, std::slice::from_ref(id)),
            RulePeer::PrefixList(id) => prefix_lists::lean_on(snapshot, txn, region, id),
        }
    }
}

async fn authorize(
    service: &Ec2,
    cx: &RequestContext,
    asked: Asked,
    tags: Tags,
) -> Result<Vec<api::SecurityGroupRule>, AwsError> {
    service
        .store
        .transact(|snapshot| {
            let group = named(
                service,
                snapshot,
                &cx.region,
                asked.group_id.as_deref(),
                asked.group_name.as_deref(),
            )?;
            let mut next = (*group.record).clone();
            let mut rules = asked.rules(service, snapshot, &group)?;
            for rule in &mut rules {
                rule.tags = tags.clone();
                if next.rules.iter().any(|known| known.equals(rule)) {
                    return Err(error(
                        "InvalidPermission.Duplicate",
                        format!("the specified rule \"{}\" already exists", permissions::spoken(rule)),
                    ));
                }
                next.rules.push(rule.clone());
            }
            few_enough(service, snapshot, &next, asked.egress)?;
            let key = SecurityGroupRecord::key(&cx.region, &next.id);
            let shaped = rules
                .iter()
                .map(|r| shape(snapshot, &next, r, &service.account))
                .collect();
            let mut txn = Txn::new();
            lean_on_peers(snapshot, &mut txn, &cx.region, &rules);
            txn.unchanged::<SecurityGroupRecord>(snapshot, &key).put(&key, next);
            Ok((txn, shaped))
        })
        .await
}

/// # Errors
/// `InvalidGroup.NotFound`, `InvalidPermission.Duplicate`, `InvalidParameterValue`, `MissingParameter`,
/// `RulesPerSecurityGroupLimitExceeded`, `DryRunOperation`.
pub async fn authorize_ingress(
    service: &Ec2,
    cx: &RequestContext,
    input: api::AuthorizeSecurityGroupIngressRequest,
) -> Result<api::AuthorizeSecurityGroupIngressResult, AwsError> {
    dry_run(input.dry_run)?;
    let tags = ask::tags(input.tag_specifications, "security-group-rule")?;
    let asked = Asked {
        egress: false,
        group_id: input.group_id,
        group_name: input.group_name,
        flat: Flat {
            protocol: input.ip_protocol,
            from_port: input.from_port,
            to_port: input.to_port,
            cidr: input.cidr_ip,
            group_name: input.source_security_group_name,
            group_owner: input.source_security_group_owner_id,
        },
        permissions: input.ip_permissions.unwrap_or_default(),
    };
    Ok(api::AuthorizeSecurityGroupIngressResult {
        r#return: Some(true),
        security_group_rules: Some(authorize(service, cx, asked, tags).await?),
    })
}

/// # Errors
/// As `authorize_ingress`.
pub async fn authorize_egress(
    service: &Ec2,
    cx: &RequestContext,
    input: api::AuthorizeSecurityGroupEgressRequest,
) -> Result<api::AuthorizeSecurityGroupEgressResult, AwsError> {
    dry_run(input.dry_run)?;
    let tags = ask::tags(input.tag_specifications, "security-group-rule")?;
    let asked = Asked {
        egress: true,
        group_id: input.group_id,
        group_name: None,
        flat: Flat {
            protocol: input.ip_protocol,
            from_port: input.from_port,
            to_port: input.to_port,
            cidr: input.cidr_ip,
            group_name: input.source_security_group_name,
            group_owner: input.source_security_group_owner_id,
        },
        permissions: input.ip_permissions.unwrap_or_default(),
    };
    Ok(api::AuthorizeSecurityGroupEgressResult {
        r#return: Some(true),
        security_group_rules: Some(authorize(service, cx, asked, tags).await?),
    })
}

/// Refuses a request that names rules by id, as `member` does, and by what they admit, or in neither way.
fn by_one_way(member: &str, by_id: bool, asked: &Asked) -> Result<(), AwsError> {
    let described = asked.describes();
    ask::not_both((member, by_id), ("ipPermissions", described))?;
    match by_id || described {
        true => Ok(()),
        false => Err(error(
            "MissingParameter",
            format!("Either 'ipPermissions' or '{member}' should be provided."),
        )),
    }
}

/// Rules that were revoked, and permissions that the group has not.
type Revoked = (Vec<api::RevokedSecurityGroupRule>, Option<Vec<api::IpPermission>>);

async fn revoke(service: &Ec2, cx: &RequestContext, asked: Asked, ids: Vec<String>) -> Result<Revoked, AwsError> {
    by_one_way("securityGroupRuleIds", !ids.is_empty(), &asked)?;
    service
        .store
        .transact(|snapshot| {
            let group = named(
                service,
                snapshot,
                &cx.region,
                asked.group_id.as_deref(),
                asked.group_name.as_deref(),
            )?;
            let mut next = (*group.record).clone();
            let mut gone = Vec::new();
            for id in &ids {
                let at = next.rules.iter().position(|r| r.id == *id && r.egress == asked.egress);
                let Some(at) = at else {
                    return Err(KIND.not_found(id));
                };
                gone.push(next.rules.remove(at));
            }
            let mut unknown = Vec::new();
            if ids.is_empty() {
                let vpc = snapshot.get::<VpcRecord>(&VpcRecord::key(&cx.region, &group.vpc_id));
                let lenient = vpc.is_some_and(|vpc| vpc.is_default);
                for rule in asked.rules(service, snapshot, &group)? {
                    match next.rules.iter().position(|r| r.equals(&rule)) {
                        Some(at) => gone.push(next.rules.remove(at)),
                        // In a default VPC what is unknown is listed, as the model's documentation says.
                        None if lenient => unknown.push(rule),
                        None => {
                            return Err(error(
                                "InvalidPermission.NotFound",
                                "The specified rule does not exist in this security group.",
                            ));
                        }
                    }
                }
            }
            let unknown = permissions::shown(unknown.iter(), &service.account);
            let revoked = gone.iter().map(|r| revoked(&next.id, r)).collect();
            let key = SecurityGroupRecord::key(&cx.region, &next.id);
            let mut txn = Txn::new();
            txn.unchanged::<SecurityGroupRecord>(snapshot, &key).put(&key, next);
            Ok((txn, (revoked, (!unknown.is_empty()).then_some(unknown))))
        })
        .await
}

/// # Errors
/// `InvalidGroup.NotFound`, `InvalidPermission.NotFound`, `InvalidSecurityGroupRuleId.NotFound`, `DryRunOperation`.
pub async fn revoke_ingress(
    service: &Ec2,
    cx: &RequestContext,
    input: api::RevokeSecurityGroupIngressRequest,
) -> Result<api::RevokeSecurityGroupIngressResult, AwsError> {
    dry_run(input.dry_run)?;
    let asked = Asked {
        egress: false,
        group_id: input.group_id,
        group_name: input.group_name,
        flat: Flat {
            protocol: input.ip_protocol,
            from_port: input.from_port,
            to_port: input.to_port,
            cidr: input.cidr_ip,
            group_name: input.source_security_group_name,
            group_owner: input.source_security_group_owner_id,
        },
        permissions: input.ip_permissions.unwrap_or_default(),
    };
    let ids = input.security_group_rule_ids.unwrap_or_default();
    let (revoked, unknown) = revoke(service, cx, asked, ids).await?;
    Ok(api::RevokeSecurityGroupIngressResult {
        r#return: Some(true),
        revoked_security_group_rules: Some(revoked),
        unknown_ip_permissions: unknown,
    })
}

/// # Errors
/// As `revoke_ingress`.
pub async fn revoke_egress(
    service: &Ec2,
    cx: &RequestContext,
    input: api::RevokeSecurityGroupEgressRequest,
) -> Result<api::RevokeSecurityGroupEgressResult, AwsError> {
    dry_run(input.dry_run)?;
    let asked = Asked {
        egress: true,
        group_id: input.group_id,
        group_name: None,
        flat: Flat {
            protocol: input.ip_protocol,
            from_port: input.from_port,
            to_port: input.to_port,
            cidr: input.cidr_ip,
            group_name: input.source_security_group_name,
            group_owner: input.source_security_group_owner_id,
        },
        permissions: input.ip_permissions.unwrap_or_default(),
    };
    let ids = input.security_group_rule_ids.unwrap_or_default();
    let (revoked, unknown) = revoke(service, cx, asked, ids).await?;
    Ok(api::RevokeSecurityGroupEgressResult {
        r#return: Some(true),
        revoked_security_group_rules: Some(revoked),
        unknown_ip_permissions: unknown,
    })
}

/// # Errors
/// `InvalidGroup.NotFound`, `InvalidSecurityGroupRuleId.NotFound`, `InvalidParameterValue`,
/// `InvalidPermission.Duplicate`, `DryRunOperation`.
pub async fn modify(
    service: &Ec2,
    cx: &RequestContext,
    input: api::ModifySecurityGroupRulesRequest,
) -> Result<api::ModifySecurityGroupRulesResult, AwsError> {
    dry_run(input.dry_run)?;
    let group_id = input.group_id.unwrap_or_default();
    let updates = input.security_group_rules.unwrap_or_default();
    service
        .store
        .transact(|snapshot| {
            let group = find(snapshot, &cx.region, &group_id)?;
            let mut next = (*group.record).clone();
            let mut txn = Txn::new();
            for update in &updates {
                let id = update.security_group_rule_id.as_deref().unwrap_or_default();
                let Some(at) = next.rules.iter().position(|r| r.id == id) else {
                    return Err(KIND.not_found(id));
                };
                let asked = update.security_group_rule.clone().unwrap_or_default();
                let permission = permissions::of_request(&asked)?;
                let mut made = permissions::rules(service, snapshot, &group, next.rules[at].egress, &[permission])?;
                let Some(mut rule) = made.pop() else {
                    return Err(error("MissingParameter", "The rule must name a source or destination."));
                };
                if std::mem::discriminant(&rule.peer) != std::mem::discriminant(&next.rules[at].peer) {
                    return Err(error(
                        "InvalidParameterValue",
                        format!("The type of the security group rule '{id}' cannot be changed."),
                    ));
                }
                rule.id = next.rules[at].id.clone();
                rule.tags = next.rules[at].tags.clone();
                if next.rules.iter().enumerate().any(|(i, r)| i != at && r.equals(&rule)) {
                    return Err(error(
                        "InvalidPermission.Duplicate",
                        format!("the specified rule \"{}\" already exists", permissions::spoken(&rule)),
                    ));
                }
                lean_on_peers(snapshot, &mut txn, &cx.region, std::slice::from_ref(&rule));
                next.rules[at] = rule;
            }
            few_enough(service, snapshot, &next, false)?;
            few_enough(service, snapshot, &next, true)?;
            let key = SecurityGroupRecord::key(&cx.region, &group_id);
            txn.unchanged::<SecurityGroupRecord>(snapshot, &key).put(&key, next);
            Ok((txn, ()))
        })
        .await?;
    Ok(api::ModifySecurityGroupRulesResult { r#return: Some(true) })
}

async fn describe_anew(
    service: &Ec2,
    cx: &RequestContext,
    asked: Asked,
    by_id: Vec<api::SecurityGroupRuleDescription>,
) -> Result<(), AwsError> {
    by_one_way("securityGroupRuleDescriptions", !by_id.is_empty(), &asked)?;
    service
        .store
        .transact(|snapshot| {
            let group = named(
                service,
                snapshot,
                &cx.region,
                asked.group_id.as_deref(),
                asked.group_name.as_deref(),
            )?;
            let mut next = (*group.record).clone();
            for described in &by_id {
                let id = described.security_group_rule_id.as_deref().unwrap_or_default();
                let rule = next.rules.iter_mut().find(|r| r.id == id && r.egress == asked.egress);
                let Some(rule) = rule else {
                    return Err(KIND.not_found(id));
                };
                permissions::admit_description(described.description.as_deref())?;
                rule.description.clone_from(&described.description);
            }
            if by_id.is_empty() {
                for wanted in asked.rules(service, snapshot, &group)? {
                    let Some(rule) = next.rules.iter_mut().find(|r| r.equals(&wanted)) else {
                        return Err(error(
                            "InvalidPermission.NotFound",
                            "The specified rule does not exist in this security group.",
                        ));
                    };
                    rule.description = wanted.description;
                }
            }
            let key = SecurityGroupRecord::key(&cx.region, &next.id);
            let mut txn = Txn::new();
            txn.unchanged::<SecurityGroupRecord>(snapshot, &key).put(&key, next);
            Ok((txn, ()))
        })
        .await
}

/// # Errors
/// `InvalidGroup.NotFound`, `InvalidPermission.NotFound`, `InvalidSecurityGroupRuleId.NotFound`.
pub async fn describe_anew_ingress(
    service: &Ec2,
    cx: &RequestContext,
    input: api::UpdateSecurityGroupRuleDescriptionsIngressRequest,
) -> Result<api::UpdateSecurityGroupRuleDescriptionsIngressResult, AwsError> {
    dry_run(input.dry_run)?;
    let asked = Asked {
        egress: false,
        group_id: input.group_id,
        group_name: input.group_name,
        flat: Flat::default(),
        permissions: input.ip_permissions.unwrap_or_default(),
    };
    describe_anew(
        service,
        cx,
        asked,
        input.security_group_rule_descriptions.unwrap_or_default(),
    )
    .await?;
    Ok(api::UpdateSecurityGroupRuleDescriptionsIngressResult { r#return: Some(true) })
}

/// # Errors
/// As `describe_anew_ingress`.
pub async fn describe_anew_egress(
    service: &Ec2,
    cx: &RequestContext,
    input: api::UpdateSecurityGroupRuleDescriptionsEgressRequest,
) -> Result<api::UpdateSecurityGroupRuleDescriptionsEgressResult, AwsError> {
    dry_run(input.dry_run)?;
    let asked = Asked {
        egress: true,
        group_id: input.group_id,
        group_name: input.group_name,
        flat: Flat::default(),
        permissions: input.ip_permissions.unwrap_or_default(),
    };
    describe_anew(
        service,
        cx,
        asked,
        input.security_group_rule_descriptions.unwrap_or_default(),
    )
    .await?;
    Ok(api::UpdateSecurityGroupRuleDescriptionsEgressResult { r#return: Some(true) })
}

/// # Errors
/// `InvalidSecurityGroupRuleId.NotFound`, `InvalidParameterValue`, `InvalidNextToken`, `DryRunOperation`.
pub async fn describe(
    service: &Ec2,
    cx: &RequestContext,
    input: api::DescribeSecurityGroupRulesRequest,
) -> Result<api::DescribeSecurityGroupRulesResult, AwsError> {
    dry_run(input.dry_run)?;
    let snapshot = service.store.snapshot();
    let here = format!("{}/", cx.region);
    let groups: Vec<_> = snapshot.range::<SecurityGroupRecord>(&here).map(|(_, g)| g).collect();
    let mut all: Vec<(&SecurityGroupRecord, &GroupRule)> = groups
        .iter()
        .flat_map(|g| g.rules.iter().map(|r| (&*g.record, r)))
        .collect();
    all.sort_by(|a, b| a.1.id.cmp(&b.1.id));
    let ids = input.security_group_rule_ids.as_deref();
    let found = ask::by_ids(all, ids, |(_, r)| &r.id, &KIND)?;
    let found = filtered(
        &FILTERS,
        found,
        input.filters.as_deref(),
        |(_, r)| &r.tags,
        |(g, r), name| values(g, r, name),
    )?;
    let named = ("securityGroupRuleIds", ids.is_some_and(|i| !i.is_empty()));
    let page = filter::page(
        "security-group-rules",
        found,
        |(_, r)| r.id.clone(),
        input.max_results,
        input.next_token.as_deref(),
        named,
    )?;
    Ok(api::DescribeSecurityGroupRulesResult {
        security_group_rules: Some(
            page.items
                .iter()
                .map(|(g, r)| shape(&snapshot, g, r, &service.account))
                .collect(),
        ),
        next_token: page.next_token,
    })
}

/// The filters there are, beside tags.
const FILTERS: [&str; 4] = ["group-id", "security-group-rule-id", "is-egress", "isEgress"];

fn values(group: &SecurityGroupRecord, rule: &GroupRule, name: &str) -> Values {
    match name {
        "group-id" => one(&group.id),
        "security-group-rule-id" => one(&rule.id),
        "is-egress" | "isEgress" => some(Some(rule.egress.to_string())),
        _ => None,
    }
}

fn parts(rule: &GroupRule) -> [Option<String>; 4] {
    let of = |pick: fn(&RulePeer) -> Option<&String>| pick(&rule.peer).cloned();
    [
        of(|p| match p {
            RulePeer::Ipv4(cidr) => Some(cidr),
            _ => None,
        }),
        of(|p| match p {
            RulePeer::Ipv6(cidr) => Some(cidr),
            _ => None,
        }),
        of(|p| match p {
            RulePeer::PrefixList(id) => Some(id),
            _ => None,
        }),
        of(|p| match p {
            RulePeer::Group(id) => Some(id),
            _ => None,
        }),
    ]
}

fn shape(snapshot: &Snapshot, group: &SecurityGroupRecord, rule: &GroupRule, account: &str) -> api::SecurityGroupRule {
    let [v4, v6, list, peer] = parts(rule);
    let peer = peer.map(|id| {
        let vpc = snapshot
            .get::<SecurityGroupRecord>(&SecurityGroupRecord::key(&group.region, &id))
            .filter(|g| g.vpc_id != group.vpc_id);
        api::ReferencedSecurityGroup {
            group_id: Some(id),
            user_id: text(account),
            vpc_id: vpc.map(|g| g.vpc_id.clone()),
            ..Default::default()
        }
    });
    let arn = neargate_core::Arn::new(
        "ec2",
        &group.region,
        account,
        format!("security-group-rule/{}", rule.id),
    );
    api::SecurityGroupRule {
        cidr_ipv4: v4,
        cidr_ipv6: v6,
        description: rule.description.clone(),
        from_port: Some(rule.from_port.unwrap_or(-1)),
        group_id: text(&group.id),
        group_owner_id: text(account),
        ip_protocol: text(&rule.protocol),
        is_egress: Some(rule.egress),
        prefix_list_id: list,
        referenced_group_info: peer,
        security_group_rule_arn: Some(arn.to_string()),
        security_group_rule_id: text(&rule.id),
        tags: Some(filter::tags(&rule.tags)),
        to_port: Some(rule.to_port.unwrap_or(-1)),
    }
}

fn revoked(group_id: &str, rule: &GroupRule) -> api::RevokedSecurityGroupRule {
    let [v4, v6, list, peer] = parts(rule);
    api::RevokedSecurityGroupRule {
        cidr_ipv4: v4,
        cidr_ipv6: v6,
        description: rule.description.clone(),
        from_port: Some(rule.from_port.unwrap_or(-1)),
        group_id: text(group_id),
        ip_protocol: text(&rule.protocol),
        is_egress: Some(rule.egress),
        prefix_list_id: list,
        referenced_group_id: peer,
        security_group_rule_id: text(&rule.id),
        to_port: Some(rule.to_port.unwrap_or(-1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rules_peer_is_named_in_one_member_alone() {
        for peer in [
            RulePeer::Ipv4("0.0.0.0/0".to_owned()),
            RulePeer::Ipv6("::/0".to_owned()),
            RulePeer::PrefixList("pl-1".to_owned()),
            RulePeer::Group("sg-1".to_owned()),
        ] {
            let rule = GroupRule {
                id: "sgr-1".to_owned(),
                egress: false,
                protocol: "-1".to_owned(),
                from_port: None,
                to_port: None,
                peer,
                description: None,
                tags: Tags::default(),
            };
            assert_eq!(parts(&rule).iter().flatten().count(), 1);
        }
    }
}
