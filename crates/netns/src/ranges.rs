//! Which ranges the machine's networks use, and whether those of an instance clash with them.
//!
//! `network` asks before it sets anything up, `enforce` before it routes a VPC. Pure but for interfaces' names. The
//! invariant: no range of an instance hides a machine that is there.

use crate::config::Cidr;
use crate::netlink::InUse;
use crate::network::NetworkError;
use std::net::Ipv4Addr;

/// Index of the loopback interface.
const LOOPBACK: u32 = 1;

/// The machine's networks that no Neargate made.
pub fn foreign(used: &[InUse]) -> Vec<Cidr> {
    used.iter().filter(|u| !made_by_neargate(u)).map(|u| u.cidr).collect()
}

/// The machine's networks besides what an instance made for the ranges `own`.
pub fn besides(own: &[Cidr], used: &[InUse]) -> Vec<Cidr> {
    let lies_within = |c: Cidr| own.iter().any(|o| o.contains(c.base()) && o.prefix() <= c.prefix());
    let of_own = |u: &InUse| made_by_neargate(u) && lies_within(u.cidr);
    let mut out: Vec<Cidr> = used.iter().filter(|u| !of_own(u)).map(|u| u.cidr).collect();
    out.sort_unstable();
    out.dedup();
    out
}

/// A route of ours, or an address on the loopback interface, where resolvers and load balancers live.
fn made_by_neargate(used: &InUse) -> bool {
    let loopback = Cidr::containing(Ipv4Addr::LOCALHOST, 8);
    used.ours || (used.interface == Some(LOOPBACK) && !loopback.is_some_and(|l| l.overlaps(used.cidr)))
}

/// Refuses ranges that the machine's own networks, or another instance, already use.
pub fn check_clash(
    vpc_cidr: Cidr,
    bridge_cidr: Cidr,
    public_cidr: Option<Cidr>,
    used: &[InUse],
) -> Result<(), NetworkError> {
    let mut ranges = vec![
        ("VPC", vpc_cidr, "--vpc-cidr"),
        ("bridge", bridge_cidr, "--bridge-cidr"),
    ];
    ranges.extend(public_cidr.map(|range| ("public", range, "--public-cidr")));
    for (n, (what, range, flag)) in ranges.iter().enumerate() {
        if let Some((other_what, other, _)) = ranges[..n].iter().find(|(_, other, _)| other.overlaps(*range)) {
            return Err(NetworkError::Clash {
                what,
                range: *range,
                other: *other,
                how: format!("the {other_what} range"),
                flag,
                suggestion: suggest(range.prefix(), used, Some(*other)),
            });
        }
    }
    for (what, range, flag) in ranges {
        if let Some(clash) = used.iter().find(|u| u.cidr.overlaps(range)) {
            let how = match (clash.unreachable_of_ours, clash.interface) {
                (true, _) => "another Neargate instance".to_owned(),
                (false, Some(index)) => format!("a route on interface {}", interface_name(index)),
                (false, None) => "a route".to_owned(),
            };
            let suggestion = suggest(range.prefix(), used, None);
            return Err(NetworkError::Clash {
                what,
                range,
                other: clash.cidr,
                how,
                flag,
                suggestion,
            });
        }
    }
    Ok(())
}

/// A private range of `prefix` bits that nothing uses.
fn suggest(prefix: u8, used: &[InUse], besides: Option<Cidr>) -> Cidr {
    let prefix = prefix.clamp(8, 28);
    let free = |c: &Cidr| !used.iter().any(|u| u.cidr.overlaps(*c)) && besides.is_none_or(|b| !b.overlaps(*c));
    let tens = (0..=255u8)
        .rev()
        .filter_map(|n| Cidr::containing(Ipv4Addr::new(10, n, 0, 0), prefix));
    let fallback = Cidr::containing(Ipv4Addr::new(10, 200, 0, 0), prefix);
    tens.filter(free)
        .map(Some)
        .next()
        .unwrap_or(fallback)
        .expect("the prefix is at most 28")
}

fn interface_name(index: u32) -> String {
    let mut name = [0; libc::IF_NAMESIZE];
    // SAFETY: the buffer has the size that if_indextoname asks for.
    let found = unsafe { libc::if_indextoname(index, name.as_mut_ptr()) };
    if found.is_null() {
        return format!("#{index}");
    }
    let bytes: Vec<u8> = name.iter().take_while(|c| **c != 0).map(|c| *c as u8).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(vpc: &str, bridge: &str, used: &[InUse]) -> Result<(), NetworkError> {
        check_clash(vpc.parse().unwrap(), bridge.parse().unwrap(), None, used)
    }

    #[test]
    fn a_clash_names_both_ranges_and_a_free_one() {
        let used = [InUse {
            cidr: "172.31.16.0/20".parse().unwrap(),
            interface: None,
            ours: false,
            unreachable_of_ours: false,
        }];
        let message = check("172.31.0.0/16", "198.18.0.0/16", &used).unwrap_err().to_string();
        assert!(message.contains("172.31.0.0/16 overlaps 172.31.16.0/20"), "{message}");
        assert!(message.contains("--vpc-cidr 10.255.0.0/16"), "{message}");
        assert!(check("172.30.0.0/16", "198.18.0.0/16", &used).is_ok());
    }

    #[test]
    fn vpc_and_bridge_ranges_must_not_meet() {
        assert!(check("198.18.0.0/15", "198.18.0.0/16", &[]).is_err());
    }

    #[test]
    fn what_an_instance_made_for_its_own_ranges_is_not_foreign() {
        let used = |cidr: &str, interface, ours| InUse {
            cidr: cidr.parse().unwrap(),
            interface,
            ours,
            unreachable_of_ours: ours,
        };
        let all = [
            used("10.0.0.0/16", None, true),
            used("10.0.0.2/32", Some(1), false),
            used("10.7.0.0/16", None, true),
            used("10.0.3.0/24", Some(2), false),
            used("127.0.0.0/8", Some(1), false),
        ];
        let own = ["10.0.0.0/16".parse().unwrap()];
        let foreign: Vec<String> = besides(&own, &all).iter().map(Cidr::to_string).collect();
        assert_eq!(foreign, ["10.0.3.0/24", "10.7.0.0/16", "127.0.0.0/8"]);
    }
}
