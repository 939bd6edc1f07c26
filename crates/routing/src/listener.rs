//! Listeners and their rules, compiled: the first rule by priority whose conditions all hold.

use crate::condition::Condition;
use crate::forward::Forward;
use crate::group::Group;
use crate::head::RequestHead;
use crate::index::Index;
use crate::redirect::Redirect;
use crate::settings::ListenerSettings;
use crate::transform::Transforms;
use neargate_link::gateway::{self, Protocol};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A listener of a balancer.
#[derive(Debug)]
pub struct Listener {
    pub arn: String,
    pub port: u16,
    pub protocol: Protocol,
    pub ssl_policy: Option<String>,
    /// ARNs, the default one first.
    pub certificates: Vec<String>,
    pub alpn_policy: Option<String>,
    pub settings: ListenerSettings,
    /// By priority; the default rule is the last and has no conditions.
    rules: Vec<Rule>,
    index: Index,
}

/// A rule of a listener.
#[derive(Debug)]
pub struct Rule {
    pub arn: String,
    /// None for the default rule.
    pub priority: Option<u32>,
    pub transforms: Transforms,
    pub action: Action,
    conditions: Vec<Condition>,
    evaluations: u64,
}

/// What a rule does with a request.
#[derive(Debug)]
pub enum Action {
    Forward(Forward),
    Redirect(Redirect),
    FixedResponse(FixedResponse),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedResponse {
    pub status: u16,
    pub content_type: Option<String>,
    pub body: String,
}

impl Listener {
    pub(crate) fn new(table: &gateway::Listener, groups: &BTreeMap<String, Arc<Group>>) -> Listener {
        let mut rules: Vec<Rule> = table.rules.iter().map(|rule| Rule::new(rule, groups)).collect();
        rules.sort_by_key(|rule| rule.priority.unwrap_or(u32::MAX));
        if rules.last().is_none_or(|rule| !rule.conditions.is_empty()) {
            rules.push(Rule::nowhere());
        }
        for (before, rule) in (1..).zip(&mut rules) {
            rule.evaluations = before;
        }
        if let Some(default) = rules.last_mut() {
            // The default rule is not counted.
            default.evaluations -= 1;
        }
        Listener {
            arn: table.arn.clone(),
            port: table.port,
            protocol: table.protocol,
            ssl_policy: table.ssl_policy.clone(),
            certificates: table.certificates.clone(),
            alpn_policy: table.alpn_policy.clone(),
            settings: ListenerSettings::new(&table.attributes),
            index: Index::new(rules.iter().map(|rule| rule.conditions.as_slice())),
            rules,
        }
    }

    /// The rule that a request meets; the default rule at last.
    pub fn route(&self, head: &RequestHead<'_>) -> &Rule {
        let mut best = self.rules.len() - 1;
        self.index.visit(head, &mut |candidates| {
            let better = candidates.iter().map(|place| *place as usize);
            if let Some(place) = better
                .take_while(|place| *place < best)
                .find(|place| self.rules[*place].holds(head))
            {
                best = place;
            }
        });
        &self.rules[best]
    }

    /// The only rule of a Network Load Balancer's listener.
    pub fn default_rule(&self) -> &Rule {
        &self.rules[self.rules.len() - 1]
    }

    /// By priority, the default rule last.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Every group that it may forward to.
    pub fn groups(&self) -> impl Iterator<Item = &Arc<Group>> {
        self.rules
            .iter()
            .filter_map(|rule| match &rule.action {
                Action::Forward(forward) => Some(forward.groups()),
                _ => None,
            })
            .flatten()
    }
}

impl Rule {
    fn new(table: &gateway::Rule, groups: &BTreeMap<String, Arc<Group>>) -> Rule {
        let mut conditions: Vec<Condition> = table.conditions.iter().map(Condition::new).collect();
        conditions.sort_by_key(Condition::cost);
        Rule {
            arn: table.arn.clone(),
            priority: table.priority,
            transforms: Transforms::new(&table.transforms),
            action: Action::new(&table.action, groups),
            conditions,
            evaluations: 0,
        }
    }

    /// What a listener without a default rule does: control never sends one.
    fn nowhere() -> Rule {
        Rule {
            arn: String::new(),
            priority: None,
            transforms: Transforms::new(&[]),
            action: Action::Forward(Forward::new(Vec::new(), None)),
            conditions: Vec::new(),
            evaluations: 0,
        }
    }

    /// True when all conditions hold.
    pub fn holds(&self, head: &RequestHead<'_>) -> bool {
        self.conditions.iter().all(|condition| condition.holds(head))
    }

    /// How many rules come up to this one, the default one not counted: CloudWatch's `RuleEvaluations`.
    pub fn evaluations(&self) -> u64 {
        self.evaluations
    }
}

impl Action {
    fn new(table: &gateway::Action, groups: &BTreeMap<String, Arc<Group>>) -> Action {
        match table {
            gateway::Action::Forward {
                groups: named,
                stickiness,
            } => {
                let known = named
                    .iter()
                    .filter_map(|(arn, weight)| Some((groups.get(arn)?.clone(), *weight)));
                Action::Forward(Forward::new(known.collect(), *stickiness))
            }
            gateway::Action::Redirect {
                protocol,
                host,
                port,
                path,
                query,
                status,
            } => Action::Redirect(Redirect::new([protocol, host, port, path, query], *status)),
            gateway::Action::FixedResponse {
                status,
                content_type,
                body,
            } => Action::FixedResponse(FixedResponse {
                status: *status,
                content_type: content_type.clone(),
                body: body.clone(),
            }),
        }
    }
}
