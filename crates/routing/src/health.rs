//! Health of targets: a state machine over what checks find. Source: "Health checks for your target groups" of the ELB
//! guide; reason codes and descriptions are those of `TargetHealth`.
//!
//! A new target is healthy after its first passed check; afterwards the thresholds count consecutive checks. While a
//! target is new it may be checked more often than the interval: failures then count once an interval, so that the
//! unhealthy threshold means the same time for every target.

use crate::target::Target;
use neargate_core::Timestamp;
use neargate_link::gateway::{HealthCheckSpec, Protocol, ProtocolVersion, TargetState};
use std::time::Duration;

/// What one check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A TCP target took the connection.
    Connected,
    /// Status of an HTTP answer.
    Http(u16),
    /// `grpc-status` of a gRPC answer.
    Grpc(u32),
    /// No answer in time.
    Timeout,
    /// Connection refused, reset, closed early, or an answer that is none.
    Failed,
}

/// How the targets of a group are checked.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthCheck {
    pub spec: HealthCheckSpec,
    pub version: ProtocolVersion,
    /// Codes that pass; empty: the default of the kind of check.
    codes: Vec<(u32, u32)>,
}

/// First pause between the checks of a new target; it doubles up to the interval.
const SOON: Duration = Duration::from_millis(50);

impl HealthCheck {
    pub(crate) fn new(spec: &HealthCheckSpec, version: ProtocolVersion) -> HealthCheck {
        HealthCheck {
            codes: parse_codes(&spec.matcher),
            spec: spec.clone(),
            version,
        }
    }

    pub fn interval(&self) -> Duration {
        Duration::from_secs(u64::from(self.spec.interval))
    }

    pub fn timeout(&self) -> Duration {
        Duration::from_secs(u64::from(self.spec.timeout))
    }

    /// Where the target is checked.
    pub fn port(&self, target: &Target) -> u16 {
        self.spec.port.unwrap_or(target.spec.port)
    }

    /// How long to wait before the next check of a target in this state. `attempt`: how many were made since it was
    /// registered. The first one is due at once; a new target's follow quickly, and never as slowly as an interval, so that
    /// it is healthy soon after it answers; the others' are spread by `random`.
    pub fn delay(&self, state: TargetState, attempt: u32, random: u64) -> Duration {
        match (attempt, state) {
            (0, _) => Duration::ZERO,
            (_, TargetState::Initial) => SOON
                .saturating_mul(1u32.checked_shl(attempt - 1).unwrap_or(u32::MAX))
                .min(self.interval() / 8),
            _ => {
                // 90 to 110 percent.
                let interval = self.interval().as_millis() as u64;
                Duration::from_millis(interval * 9 / 10 + random % (interval / 5 + 1))
            }
        }
    }

    /// True when the finding is one of a healthy target.
    pub fn passes(&self, finding: Finding) -> bool {
        let code = match finding {
            Finding::Connected => return true,
            Finding::Http(code) => u32::from(code),
            Finding::Grpc(code) => code,
            Finding::Timeout | Finding::Failed => return false,
        };
        if !self.codes.is_empty() {
            return self.codes.iter().any(|(least, most)| (*least..=*most).contains(&code));
        }
        match finding {
            Finding::Grpc(code) => code == 12,
            _ if matches!(self.spec.protocol, Protocol::Http | Protocol::Https) => (200..=399).contains(&code),
            _ => true,
        }
    }
}

/// `200-299,301`; what is no code is left out, control admits none such.
fn parse_codes(matcher: &str) -> Vec<(u32, u32)> {
    matcher
        .split(',')
        .filter_map(|part| {
            let (least, most) = part.split_once('-').unwrap_or((part, part));
            Some((least.trim().parse().ok()?, most.trim().parse().ok()?))
        })
        .collect()
}

/// Reason and description as `TargetHealth` has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    pub reason: &'static str,
    pub description: String,
}

impl Why {
    fn new(reason: &'static str, description: impl Into<String>) -> Why {
        Why {
            reason,
            description: description.into(),
        }
    }

    /// Why a check with this finding does not pass.
    fn failed(finding: Finding) -> Why {
        match finding {
            Finding::Http(code) => mismatch(u32::from(code)),
            Finding::Grpc(code) => mismatch(code),
            Finding::Timeout => Why::new("Target.Timeout", "Request timed out"),
            Finding::Failed | Finding::Connected => Why::new("Target.FailedHealthChecks", "Health checks failed"),
        }
    }
}

fn mismatch(code: u32) -> Why {
    let description = format!("Health checks failed with these codes: [{code}]");
    Why::new("Target.ResponseCodeMismatch", description)
}

/// Where one target stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    state: TargetState,
    why: Option<Why>,
    /// Consecutive checks that passed, or that failed.
    passed: u32,
    failed: u32,
    /// When the last failure was counted.
    counted: Option<Timestamp>,
}

impl Health {
    pub fn new(enabled: bool) -> Health {
        let (state, why) = if enabled {
            (
                TargetState::Initial,
                Why::new("Elb.RegistrationInProgress", "Target registration is in progress"),
            )
        } else {
            (
                TargetState::Unavailable,
                Why::new(
                    "Target.HealthCheckDisabled",
                    "Health checks are disabled for this target",
                ),
            )
        };
        Health {
            state,
            why: Some(why),
            passed: 0,
            failed: 0,
            counted: None,
        }
    }

    pub fn state(&self) -> TargetState {
        self.state
    }

    pub fn why(&self) -> Option<&Why> {
        self.why.as_ref()
    }

    /// Takes in that checks are on or off now.
    pub fn enable(&mut self, enabled: bool) {
        if enabled == (self.state == TargetState::Unavailable) {
            *self = Health::new(enabled);
        }
    }

    /// Takes in what a check found; true when state or reason are others now.
    pub fn observe(&mut self, check: &HealthCheck, finding: Finding, now: Timestamp) -> bool {
        if self.state == TargetState::Unavailable {
            return false;
        }
        let before = (self.state, self.why.clone());
        if check.passes(finding) {
            self.pass(check);
        } else {
            self.fail(check, finding, now);
        }
        before != (self.state, self.why.clone())
    }

    fn pass(&mut self, check: &HealthCheck) {
        self.failed = 0;
        self.counted = None;
        self.passed = self.passed.saturating_add(1);
        let enough = match self.state {
            TargetState::Initial => 1,
            _ => check.spec.healthy_threshold,
        };
        if self.passed >= enough {
            self.state = TargetState::Healthy;
            self.why = None;
        }
    }

    fn fail(&mut self, check: &HealthCheck, finding: Finding, now: Timestamp) {
        self.passed = 0;
        if self.state == TargetState::Initial {
            self.why = Some(Why::new(
                "Elb.InitialHealthChecking",
                "Initial health checks in progress",
            ));
        }
        let hurried = self.counted.is_some_and(|last| now.since(last) < check.interval());
        if self.state == TargetState::Initial && hurried {
            return;
        }
        self.counted = Some(now);
        self.failed = self.failed.saturating_add(1);
        if self.state == TargetState::Unhealthy || self.failed >= check.spec.unhealthy_threshold {
            self.state = TargetState::Unhealthy;
            self.why = Some(Why::failed(finding));
        }
    }
}

#[cfg(test)]
mod tests;
