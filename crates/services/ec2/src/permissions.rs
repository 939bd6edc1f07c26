//! IpPermissions and rules: reading what requests ask, grouping rules as groups are described.
//!
//! Pure. A rule is one kind of traffic and one peer; a permission is one kind of traffic and any number of peers.

use crate::api;
use crate::cidr;
use crate::filter::invalid_value;
use crate::ops::ask::{error, malformed, missing, not_both, refuse};
use crate::records::{GroupRule, PrefixListRecord, RulePeer, SecurityGroupRecord};
use crate::{Ec2, lookup};
use neargate_core::{AwsError, Tags};
use neargate_store::Snapshot;

/// The older members, which name one rule.
#[derive(Clone, Debug, Default)]
pub struct Flat {
    pub protocol: Option<String>,
    pub from_port: Option<i32>,
    pub to_port: Option<i32>,
    pub cidr: Option<String>,
    pub group_name: Option<String>,
    pub group_owner: Option<String>,
}

impl Flat {
    pub fn is_given(&self) -> bool {
        let texts = [&self.protocol, &self.cidr, &self.group_name, &self.group_owner];
        let ports = [self.from_port, self.to_port];
        texts.iter().any(|t| t.is_some()) || ports.iter().any(Option::is_some)
    }

    /// The permission they stand for, if any was given.
    ///
    /// # Errors
    /// `MissingParameter`, `InvalidParameterCombination`.
    pub fn permission(&self) -> Result<Option<api::IpPermission>, AwsError> {
        if !self.is_given() {
            return Ok(None);
        }
        not_both(
            ("cidrIp", self.cidr.is_some()),
            ("sourceSecurityGroupName", self.group_name.is_some()),
        )?;
        if self.group_owner.is_some() && self.group_name.is_none() {
            return Err(missing("sourceSecurityGroupName"));
        }
        let pairs = self.group_name.clone().map(|name| api::UserIdGroupPair {
            group_name: Some(name),
            user_id: self.group_owner.clone(),
            ..Default::default()
        });
        let ranges = self.cidr.clone().map(|cidr| api::IpRange {
            cidr_ip: Some(cidr),
            description: None,
        });
        if self.protocol.is_none() && pairs.is_none() {
            return Err(missing("ipProtocol"));
        }
        Ok(Some(api::IpPermission {
            ip_protocol: Some(self.protocol.clone().unwrap_or_else(|| "-1".to_owned())),
            from_port: self.from_port,
            to_port: self.to_port,
            ip_ranges: Some(ranges.into_iter().collect()),
            user_id_group_pairs: Some(pairs.into_iter().collect()),
            ..Default::default()
        }))
    }
}

/// The permission that an update of one rule asks for.
///
/// # Errors
/// `MissingParameter`.
pub fn of_request(asked: &api::SecurityGroupRuleRequest) -> Result<api::IpPermission, AwsError> {
    let Some(protocol) = asked.ip_protocol.clone() else {
        return Err(missing("ipProtocol"));
    };
    let peers = [
        &asked.cidr_ipv4,
        &asked.cidr_ipv6,
        &asked.prefix_list_id,
        &asked.referenced_group_id,
    ];
    if peers.iter().filter(|p| p.is_some()).count() != 1 {
        return Err(error(
            "InvalidParameterCombination",
            "A rule must have exactly one of cidrIpv4, cidrIpv6, prefixListId and referencedGroupId.",
        ));
    }
    let description = || asked.description.clone();
    let list = |id: &String| api::PrefixListId {
        description: description(),
        prefix_list_id: Some(id.clone()),
    };
    Ok(api::IpPermission {
        ip_protocol: Some(protocol),
        from_port: asked.from_port,
        to_port: asked.to_port,
        ip_ranges: asked.cidr_ipv4.clone().map(|cidr| {
            vec![api::IpRange {
                cidr_ip: Some(cidr),
                description: description(),
            }]
        }),
        ipv6_ranges: asked.cidr_ipv6.clone().map(|cidr| {
            vec![api::Ipv6Range {
                cidr_ipv6: Some(cidr),
                description: description(),
            }]
        }),
        prefix_list_ids: asked.prefix_list_id.as_ref().map(|id| vec![list(id)]),
        user_id_group_pairs: asked.referenced_group_id.clone().map(|id| {
            vec![api::UserIdGroupPair {
                group_id: Some(id),
                description: description(),
                ..Default::default()
            }]
        }),
    })
}

/// The rules that `permissions` stand for, with fresh ids.
///
/// # Errors
/// `InvalidParameterValue`, `InvalidPermission.Malformed`, `InvalidGroup.NotFound`, `InvalidPrefixListId.NotFound`.
pub fn rules(
    service: &Ec2,
    snapshot: &Snapshot,
    group: &SecurityGroupRecord,
    egress: bool,
    permissions: &[api::IpPermission],
) -> Result<Vec<GroupRule>, AwsError> {
    let mut out: Vec<GroupRule> = Vec::new();
    for permission in permissions {
        let (protocol, from_port, to_port) = traffic(permission)?;
        let peers = peers(snapshot, group, permission, &service.account)?;
        if peers.is_empty() {
            return Err(error(
                "MissingParameter",
                "Missing source specification: include source security group or CIDR information",
            ));
        }
        for (peer, description) in peers {
            admit_description(description.as_deref())?;
            let rule = GroupRule {
                id: format!("sgr-{}", service.ids.hex17()),
                egress,
                protocol: protocol.clone(),
                from_port,
                to_port,
                peer,
                description,
                tags: Tags::default(),
            };
            if out.iter().any(|known| known.equals(&rule)) {
                return Err(invalid_value(
                    "The same permission must not appear multiple times".to_owned(),
                ));
            }
            out.push(rule);
        }
    }
    Ok(out)
}

/// # Errors
/// `InvalidParameterValue`.
pub fn admit_description(text: Option<&str>) -> Result<(), AwsError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-:/()#,@[]+=&;{}!$* ".contains(c);
    match text {
        Some(text) if text.len() > 255 || !text.chars().all(allowed) => Err(invalid_value(
            "Invalid rule description. Valid descriptions are strings less than 256 characters from the following set:  a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*".to_owned(),
        )),
        _ => Ok(()),
    }
}

/// Protocol by AWS's name, and ports or ICMP type and code.
fn traffic(permission: &api::IpPermission) -> Result<(String, Option<i32>, Option<i32>), AwsError> {
    let given = permission
        .ip_protocol
        .as_deref()
        .unwrap_or_default()
        .to_ascii_lowercase();
    let protocol = match given.as_str() {
        "-1" | "all" => "-1",
        "6" | "tcp" => "tcp",
        "17" | "udp" => "udp",
        "1" | "icmp" => "icmp",
        "58" | "icmpv6" => "icmpv6",
        // As one writes a number: another text for it would be another rule.
        number => match number.parse::<u8>() {
            Ok(parsed) if parsed.to_string() == number => number,
            _ => {
                return Err(invalid_value(format!(
                    "Invalid value '{given}' for IP protocol. Unknown protocol."
                )));
            }
        },
    };
    let (from, to) = (permission.from_port, permission.to_port);
    let (from, to) = match protocol {
        "tcp" | "udp" => {
            let (Some(from), Some(to)) = (from, to) else {
                return Err(invalid_value(
                    "Invalid value 'Must specify both from and to ports with TCP/UDP.' for portRange.".to_owned(),
                ));
            };
            // -1 to -1 is every port.
            let (from, to) = if (from, to) == (-1, -1) {
                (0, 65_535)
            } else {
                (from, to)
            };
            if !(0..=65_535).contains(&from) || !(0..=65_535).contains(&to) {
                let odd = if (0..=65_535).contains(&from) { to } else { from };
                return Err(invalid_value(format!("Invalid TCP/UDP port ({odd})")));
            }
            if from > to {
                return Err(invalid_value(format!("Invalid TCP/UDP port range ({from}:{to})")));
            }
            (Some(from), Some(to))
        }
        "icmp" | "icmpv6" => {
            let (kind, code) = (from.unwrap_or(-1), to.unwrap_or(-1));
            if !(-1..=255).contains(&kind) || !(-1..=255).contains(&code) {
                return Err(invalid_value(format!(
                    "ICMP code ({code}) or type ({kind}) out of range"
                )));
            }
            if kind == -1 && code != -1 {
                return Err(invalid_value(
                    "ICMP type cannot be wildcard when the code is given".to_owned(),
                ));
            }
            (Some(kind), Some(code))
        }
        // Of other protocols every port is meant, whatever was given.
        _ => (None, None),
    };
    Ok((protocol.to_owned(), from, to))
}

fn peers(
    snapshot: &Snapshot,
    group: &SecurityGroupRecord,
    permission: &api::IpPermission,
    account: &str,
) -> Result<Vec<(RulePeer, Option<String>)>, AwsError> {
    let mut out = Vec::new();
    for range in permission.ip_ranges.iter().flatten() {
        let text = range.cidr_ip.as_deref().unwrap_or_default();
        let Some((base, prefix)) = cidr::parse(text) else {
            return Err(invalid_value(format!("CIDR block {text} is malformed")));
        };
        out.push((RulePeer::Ipv4(format!("{base}/{prefix}")), range.description.clone()));
    }
    for range in permission.ipv6_ranges.iter().flatten() {
        let text = range.cidr_ipv6.as_deref().unwrap_or_default();
        let Some(canonical) = cidr::parse_v6(text) else {
            return Err(invalid_value(format!("CIDR block {text} is malformed")));
        };
        out.push((RulePeer::Ipv6(canonical), range.description.clone()));
    }
    for list in permission.prefix_list_ids.iter().flatten() {
        let id = list.prefix_list_id.clone().unwrap_or_default();
        let known = snapshot.contains::<PrefixListRecord>(&PrefixListRecord::key(&group.region, &id))
            || crate::ops::prefix_lists::is_awss(&group.region, &id);
        if !known {
            return Err(error(
                "InvalidPrefixListId.NotFound",
                format!("The prefix list ID '{id}' does not exist"),
            ));
        }
        out.push((RulePeer::PrefixList(id), list.description.clone()));
    }
    for pair in permission.user_id_group_pairs.iter().flatten() {
        refuse(&[
            ("VpcPeeringConnectionId", pair.vpc_peering_connection_id.is_some()),
            ("PeeringStatus", pair.peering_status.is_some()),
        ])?;
        not_both(
            ("groupId", pair.group_id.is_some()),
            ("groupName", pair.group_name.is_some()),
        )?;
        if let Some(id) = &pair.group_id {
            malformed(id, "sg-", "InvalidGroupId.Malformed")?;
        }
        let foreign = pair.user_id.as_ref().is_some_and(|owner| owner != account);
        let found = match (&pair.group_id, &pair.group_name) {
            _ if foreign => None,
            (Some(id), _) => lookup::security_group(snapshot, &group.region, id),
            (None, Some(name)) => {
                let value = format!("{}/{}/{name}", group.region, group.vpc_id);
                snapshot
                    .indexed::<SecurityGroupRecord>(SecurityGroupRecord::BY_NAME, &value)
                    .next()
                    .map(|(_, g)| g)
            }
            (None, None) => None,
        };
        let Some(found) = found else {
            let name = pair.group_id.as_deref().or(pair.group_name.as_deref());
            return Err(error(
                "InvalidGroup.NotFound",
                format!("The security group '{}' does not exist", name.unwrap_or_default()),
            ));
        };
        // Groups of other VPCs would need a peering, which there is none of.
        if found.vpc_id != group.vpc_id || pair.vpc_id.as_ref().is_some_and(|vpc| *vpc != found.vpc_id) {
            return Err(error(
                "InvalidGroup.NotFound",
                "You have specified two resources that belong to different networks.",
            ));
        }
        out.push((RulePeer::Group(found.id.clone()), pair.description.clone()));
    }
    Ok(out)
}

/// How many of a group's IPv4 rules and of its IPv6 rules the rule counts for, which have a limit each: of a prefix list, as
/// many as it may have entries. Source: "Amazon VPC quotas", security groups.
pub fn weight(snapshot: &Snapshot, region: &str, rule: &GroupRule) -> [usize; 2] {
    match &rule.peer {
        RulePeer::Ipv4(_) => [1, 0],
        RulePeer::Ipv6(_) => [0, 1],
        RulePeer::Group(_) => [1, 1],
        RulePeer::PrefixList(id) => {
            let list = snapshot.get::<PrefixListRecord>(&PrefixListRecord::key(region, id));
            let of_awss = crate::ops::prefix_lists::weight_of_awss(id);
            list.map_or([of_awss, of_awss], |list| {
                let entries = usize::try_from(list.max_entries).unwrap_or(1);
                if list.address_family == "IPv6" {
                    [0, entries]
                } else {
                    [entries, 0]
                }
            })
        }
    }
}

/// The rule as AWS names one that is there already.
pub fn spoken(rule: &GroupRule) -> String {
    let peer = match &rule.peer {
        RulePeer::Ipv4(text) | RulePeer::Ipv6(text) | RulePeer::PrefixList(text) | RulePeer::Group(text) => text,
    };
    let what = match (rule.protocol.as_str(), rule.from_port, rule.to_port) {
        ("-1", ..) => "ALL".to_owned(),
        (protocol @ ("tcp" | "udp"), Some(from), Some(to)) => {
            format!("{}, from port: {from}, to port: {to}", protocol.to_uppercase())
        }
        (protocol, ..) => protocol.to_uppercase(),
    };
    format!("peer: {peer}, {what}, ALLOW")
}

/// Rules of one direction as a group shows them: one permission for each kind of traffic.
pub fn grouped(group: &SecurityGroupRecord, egress: bool, account: &str) -> Vec<api::IpPermission> {
    shown(group.rules.iter().filter(|r| r.egress == egress), account)
}

/// One permission for each kind of traffic.
pub fn shown<'a>(rules: impl Iterator<Item = &'a GroupRule>, account: &str) -> Vec<api::IpPermission> {
    let mut out: Vec<api::IpPermission> = Vec::new();
    for rule in rules {
        let same = |p: &api::IpPermission| {
            p.ip_protocol.as_ref() == Some(&rule.protocol) && p.from_port == rule.from_port && p.to_port == rule.to_port
        };
        let at = match out.iter().position(same) {
            Some(at) => at,
            None => {
                out.push(api::IpPermission {
                    ip_protocol: Some(rule.protocol.clone()),
                    from_port: rule.from_port,
                    to_port: rule.to_port,
                    ip_ranges: Some(Vec::new()),
                    ipv6_ranges: Some(Vec::new()),
                    prefix_list_ids: Some(Vec::new()),
                    user_id_group_pairs: Some(Vec::new()),
                });
                out.len() - 1
            }
        };
        let permission = &mut out[at];
        let description = rule.description.clone();
        match &rule.peer {
            RulePeer::Ipv4(cidr) => permission.ip_ranges.get_or_insert_default().push(api::IpRange {
                cidr_ip: Some(cidr.clone()),
                description,
            }),
            RulePeer::Ipv6(cidr) => permission.ipv6_ranges.get_or_insert_default().push(api::Ipv6Range {
                cidr_ipv6: Some(cidr.clone()),
                description,
            }),
            RulePeer::PrefixList(id) => permission
                .prefix_list_ids
                .get_or_insert_default()
                .push(api::PrefixListId {
                    prefix_list_id: Some(id.clone()),
                    description,
                }),
            RulePeer::Group(id) => permission
                .user_id_group_pairs
                .get_or_insert_default()
                .push(api::UserIdGroupPair {
                    group_id: Some(id.clone()),
                    user_id: Some(account.to_owned()),
                    description,
                    ..Default::default()
                }),
        }
    }
    out
}
