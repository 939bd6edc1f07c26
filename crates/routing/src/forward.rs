//! Forwarding: a weighted choice of a target group, then of a target, both kept to by cookies where asked.
//!
//! Invariant: one choice looks at one group. A group without targets is an answer (503), never a reason to try another,
//! as AWS has it. A group of weight 0 gets nothing, cookie or not.

use crate::cookie::{self, CookieKey, Purpose, Ticket};
use crate::flow::Flow;
use crate::group::Group;
use crate::head::Headers;
use crate::pick::{Candidates, below};
use crate::settings::Stickiness;
use crate::target::Outstanding;
use neargate_core::Timestamp;
use std::sync::Arc;
use std::time::Duration;

/// A forward action.
#[derive(Debug)]
pub struct Forward {
    groups: Vec<(Arc<Group>, u32)>,
    total: u64,
    /// How long a client stays with its group.
    stickiness: Option<Duration>,
}

/// What a choice for an HTTP request needs to know.
#[derive(Clone, Copy)]
pub struct Ask<'a> {
    pub now: Timestamp,
    pub random: u64,
    /// The request's.
    pub headers: &'a dyn Headers,
    pub cookies: &'a CookieKey,
    /// Zone of the balancer's address on which the request came.
    pub zone: Option<&'a str>,
    /// `BalancerSettings::cross_zone`.
    pub cross_zone: bool,
}

/// What setting cookies needs to know.
#[derive(Clone, Copy)]
pub struct Cookies<'a> {
    pub key: &'a CookieKey,
    pub now: Timestamp,
    pub random: u64,
    pub https: bool,
}

/// Nobody to forward to: the group is empty, or every group has weight 0.
#[derive(Debug)]
pub struct NoTarget<'r> {
    pub group: Option<&'r Arc<Group>>,
}

/// Where a request goes.
#[derive(Debug)]
pub struct Choice<'r> {
    pub group: &'r Arc<Group>,
    /// Counts the request until dropped.
    pub target: Outstanding,
    /// No target is healthy, so that all get requests.
    pub fail_open: bool,
    /// The target was named by a cookie.
    pub sticky: bool,
    group_stickiness: Option<Duration>,
    /// The client sent an application cookie of the balancer's that no longer holds.
    stale: bool,
}

impl Forward {
    pub(crate) fn new(groups: Vec<(Arc<Group>, u32)>, stickiness: Option<u32>) -> Forward {
        Forward {
            total: groups.iter().map(|(_, weight)| u64::from(*weight)).sum(),
            groups,
            stickiness: stickiness.map(|seconds| Duration::from_secs(u64::from(seconds))),
        }
    }

    pub fn groups(&self) -> impl Iterator<Item = &Arc<Group>> {
        self.groups.iter().map(|(group, _)| group)
    }

    /// The target of an HTTP request.
    ///
    /// # Errors
    /// `NoTarget`: answer 503.
    pub fn choose<'r>(&'r self, ask: &Ask<'_>) -> Result<Choice<'r>, NoTarget<'r>> {
        let kept = self.stickiness.and_then(|_| self.kept_group(ask));
        let Some(group) = kept.or_else(|| self.weighted(ask.random)) else {
            return Err(NoTarget { group: None });
        };
        let candidates = Candidates::new(group, counting_zone(group, ask.zone, ask.cross_zone));
        let given = group
            .settings
            .stickiness
            .as_ref()
            .map_or(Given::default(), |stickiness| given(group, stickiness, ask));
        let kept = given.target.and_then(|tag| candidates.tagged(tag));
        // The number chose the group already: shuffled anew, so that the target does not follow from the group.
        let again = crate::flow::mix(ask.random, 0);
        let Some(target) = kept.or_else(|| candidates.pick(ask.now, again)) else {
            return Err(NoTarget { group: Some(group) });
        };
        Ok(Choice {
            group,
            target: Outstanding::new(target.clone()),
            fail_open: candidates.fail_open(),
            sticky: kept.is_some(),
            group_stickiness: self.stickiness,
            stale: given.app && kept.is_none(),
        })
    }

    /// The target of a flow.
    ///
    /// # Errors
    /// `NoTarget`: refuse the connection.
    pub fn choose_flow<'r>(
        &'r self,
        flow: &Flow,
        random: u64,
        zone: Option<&str>,
        cross_zone: bool,
    ) -> Result<Choice<'r>, NoTarget<'r>> {
        let by_source = |group: &Group| group.settings.stickiness == Some(Stickiness::SourceIp);
        // A client of sticky groups keeps to its group too: the draw is its address.
        let sticky = self.stickiness.is_some() || self.groups().any(|group| by_source(group));
        let draw = if sticky { flow.source_hash() } else { random };
        let Some(group) = self.weighted(draw) else {
            return Err(NoTarget { group: None });
        };
        let candidates = Candidates::new(group, counting_zone(group, zone, cross_zone));
        let hash = if by_source(group) {
            flow.source_hash()
        } else {
            flow.hash()
        };
        let Some(target) = candidates.by_hash(hash) else {
            return Err(NoTarget { group: Some(group) });
        };
        Ok(Choice {
            group,
            target: Outstanding::new(target.clone()),
            fail_open: candidates.fail_open(),
            sticky: false,
            group_stickiness: None,
            stale: false,
        })
    }

    fn weighted(&self, random: u64) -> Option<&Arc<Group>> {
        let mut left = below(random, self.total);
        let chosen = self.groups.iter().find(|(_, weight)| {
            let here = left < u64::from(*weight);
            left = left.saturating_sub(u64::from(*weight));
            here
        });
        chosen.map(|(group, _)| group)
    }

    fn kept_group(&self, ask: &Ask<'_>) -> Option<&Arc<Group>> {
        let mut ticket = None;
        cookie::visit(ask.headers, &mut |name, value| {
            if ticket.is_none() && (name == cookie::GROUP.as_bytes() || name == cookie::GROUP_CORS.as_bytes()) {
                ticket = ask.cookies.open(Purpose::Group, value, ask.now);
            }
        });
        let tag = ticket?.group;
        let kept = self.groups.iter().find(|(group, _)| group.tag == tag)?;
        (kept.1 > 0).then_some(&kept.0)
    }
}

/// The zone whose targets alone count; none: all count.
fn counting_zone<'a>(group: &Group, zone: Option<&'a str>, cross_zone: bool) -> Option<&'a str> {
    zone.filter(|_| !group.settings.cross_zone.unwrap_or(cross_zone))
}

/// What a client's cookies say of its target.
#[derive(Default)]
struct Given {
    target: Option<u64>,
    /// It sent an application cookie of the balancer's.
    app: bool,
}

fn given(group: &Group, stickiness: &Stickiness, ask: &Ask<'_>) -> Given {
    let mut given = Given::default();
    let mut application = false;
    cookie::visit(ask.headers, &mut |name, value| match stickiness {
        Stickiness::LbCookie { .. } if name == cookie::LB.as_bytes() || name == cookie::LB_CORS.as_bytes() => {
            given.target = given.target.or_else(|| opened(group, Purpose::Lb, value, ask));
        }
        Stickiness::AppCookie { .. } if name == cookie::APP.as_bytes() => {
            given.app = true;
            given.target = given.target.or_else(|| opened(group, Purpose::App, value, ask));
        }
        Stickiness::AppCookie { name: own, .. } => application = application || name == own.as_bytes(),
        _ => {}
    });
    // Both cookies are needed: without its own, the application has forgotten the client.
    if matches!(stickiness, Stickiness::AppCookie { .. }) && !application {
        given.target = None;
    }
    given
}

fn opened(group: &Group, purpose: Purpose, value: &[u8], ask: &Ask<'_>) -> Option<u64> {
    let ticket = ask.cookies.open(purpose, value, ask.now)?;
    (ticket.group == group.tag).then_some(ticket.target)
}

impl Choice<'_> {
    /// False: `set_cookies` has nothing to set, whatever the response.
    pub fn sets_cookies(&self) -> bool {
        let by_target = matches!(
            self.group.settings.stickiness,
            Some(Stickiness::LbCookie { .. } | Stickiness::AppCookie { .. })
        );
        by_target || self.group_stickiness.is_some()
    }

    /// Calls `each` with every `Set-Cookie` value to add to the response. `response`: the headers of the target's.
    pub fn set_cookies(&self, with: &Cookies<'_>, response: &dyn Headers, each: &mut dyn FnMut(&str)) {
        let ticket = |duration: Duration, target| Ticket {
            expires: with.now.plus(duration),
            group: self.group.tag,
            target,
        };
        let seal = |purpose, ticket| with.key.seal(purpose, ticket, with.now, with.random);
        let cors = cookie::cors_attributes(with.https);
        if let Some(duration) = self.group_stickiness {
            let ticket = ticket(duration, 0);
            let value = seal(Purpose::Group, ticket);
            each(&cookie::set(cookie::GROUP, &value, ticket.expires, ""));
            each(&cookie::set(cookie::GROUP_CORS, &value, ticket.expires, cors));
        }
        match &self.group.settings.stickiness {
            Some(Stickiness::LbCookie { duration }) => {
                let ticket = ticket(*duration, self.target.tag);
                let value = seal(Purpose::Lb, ticket);
                each(&cookie::set(cookie::LB, &value, ticket.expires, ""));
                each(&cookie::set(cookie::LB_CORS, &value, ticket.expires, cors));
            }
            Some(Stickiness::AppCookie { name, duration }) if cookie::is_set(response, name) => {
                let ticket = ticket(*duration, self.target.tag);
                let value = seal(Purpose::App, ticket);
                each(&cookie::set(cookie::APP, &value, ticket.expires, ""));
            }
            Some(Stickiness::AppCookie { .. }) if self.stale => each(&cookie::remove(with.now)),
            _ => {}
        }
    }
}
