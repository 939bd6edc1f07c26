//! Quotas that AWS raises for those who ask, and whoever starts Neargate for himself: `--quota NAME=N`.

use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// What may be raised, from AWS's default on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quotas {
    /// In each direction.
    pub rules_per_security_group: usize,
    /// Besides the default rules of its listeners.
    pub rules_per_application_load_balancer: usize,
}

impl Default for Quotas {
    fn default() -> Quotas {
        Quotas {
            rules_per_security_group: *RULES_PER_SECURITY_GROUP.start(),
            rules_per_application_load_balancer: *RULES_PER_LOAD_BALANCER.start(),
        }
    }
}

/// Five groups may be on an interface, and these together have a thousand rules at most on AWS too.
const RULES_PER_SECURITY_GROUP: RangeInclusive<usize> = 60..=200;
const RULES_PER_LOAD_BALANCER: RangeInclusive<usize> = 100..=1000;

/// What `--help` says of them.
pub const HELP: &str = "\
Raise a quota, as AWS does on request; may be given several times:
rules-per-security-group (60 to 200) [default: 60]
rules-per-application-load-balancer (100 to 1000) [default: 100]";

impl Quotas {
    /// Sets one, given as `NAME=N`.
    ///
    /// # Errors
    /// With the flag, and what can be given.
    pub fn set(&mut self, asked: &str) -> Result<(), String> {
        let (name, value) = asked.split_once('=').unwrap_or((asked, ""));
        let (quota, range) = match name {
            "rules-per-security-group" => (&mut self.rules_per_security_group, RULES_PER_SECURITY_GROUP),
            "rules-per-application-load-balancer" => {
                (&mut self.rules_per_application_load_balancer, RULES_PER_LOAD_BALANCER)
            }
            _ => {
                return Err(format!(
                    "--quota {asked}: give rules-per-security-group=N or rules-per-application-load-balancer=N"
                ));
            }
        };
        *quota = value.parse().ok().filter(|n| range.contains(n)).ok_or_else(|| {
            let (least, most) = (range.start(), range.end());
            format!("--quota {asked}: {name} may be {least} to {most}")
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_are_raised_by_name_as_far_as_they_go() {
        let mut quotas = Quotas::default();
        quotas.set("rules-per-security-group=200").expect("fits");
        quotas.set("rules-per-application-load-balancer=1000").expect("fits");
        assert_eq!(quotas.rules_per_security_group, 200);
        assert_eq!(quotas.rules_per_application_load_balancer, 1000);
        for wrong in [
            "rules-per-security-group=201",
            "rules-per-security-group=59",
            "rules-per-security-group",
            "rules=100",
            "rules-per-application-load-balancer=-1",
        ] {
            let before = quotas;
            assert!(quotas.set(wrong).expect_err(wrong).starts_with("--quota"));
            assert_eq!(quotas, before);
        }
    }
}
