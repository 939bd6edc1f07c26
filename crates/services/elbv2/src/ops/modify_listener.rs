//! ModifyListener.

use crate::api;
use crate::certificates::hold_new;
use crate::listeners::{self, Security};
use crate::records::{ListenerRecord, LoadBalancerRecord};
use crate::refusal::validation;
use crate::rules::action::{self, Place};
use crate::{Elbv2, attributes, find, shapes};
use neargate_core::{AwsError, RequestContext};
use neargate_store::{Snapshot, Txn};

/// # Errors
/// `ListenerNotFound`, `ValidationError`, `CertificateNotFound`, `SSLPolicyNotFound`, and those of
/// `rules::action::admit`.
pub async fn handle(
    service: &Elbv2,
    cx: &RequestContext,
    input: api::ModifyListenerInput,
) -> Result<api::ModifyListenerOutput, AwsError> {
    let arn = input.listener_arn.clone().unwrap_or_default();
    let record = service
        .store
        .transact(|snapshot| {
            let (key, before) = find::listener(snapshot, &cx.region, &arn)?;
            let balancer = find::load_balancer_of(snapshot, &before)?;
            let next = admit(service, snapshot, &balancer, &before, input.clone())?;
            let mut txn = Txn::new();
            action::bind(snapshot, &mut txn, &balancer, Some(&before), &next)?;
            hold_new(&*service.certificates, snapshot, &mut txn, Some(&before), &next);
            if next.port != before.port {
                move_port(snapshot, &mut txn, &balancer, before.port, next.port);
            }
            txn.unchanged::<ListenerRecord>(snapshot, &key).put(&key, next.clone());
            Ok::<_, AwsError>((txn, next))
        })
        .await?;
    Ok(api::ModifyListenerOutput {
        listeners: Some(vec![shapes::listener(&record)]),
    })
}

fn admit(
    service: &Elbv2,
    snapshot: &Snapshot,
    balancer: &LoadBalancerRecord,
    before: &ListenerRecord,
    input: api::ModifyListenerInput,
) -> Result<ListenerRecord, AwsError> {
    let mut next = before.clone();
    if input.protocol.is_some() {
        next.protocol = listeners::protocol(balancer.kind, input.protocol)?;
    }
    if input.port.is_some_and(|port| port != i32::from(before.port)) {
        next.port = listeners::port(input.port)?;
        if balancer.listeners.contains_key(&next.port) {
            return Err(validation(format!("Listener port '{}' is already in use", next.port)));
        }
    }
    let had = Security {
        ssl_policy: before.ssl_policy.clone(),
        certificate: before.certificates.first().cloned(),
        alpn_policy: before.alpn_policy.clone(),
    };
    let asked = (input.ssl_policy, input.certificates, input.alpn_policy);
    let security = listeners::security(service, snapshot, &next.protocol, asked, Some(&had))?;
    next.ssl_policy = security.ssl_policy;
    next.alpn_policy = security.alpn_policy;
    match security.certificate {
        None => next.certificates.clear(),
        Some(default) => {
            // The list stays: what was default before is on it only if it was put there.
            next.certificates.splice(..next.certificates.len().min(1), [default]);
        }
    }
    if input.mutual_authentication.is_some() || next.protocol != before.protocol {
        next.mutual_authentication = listeners::mutual_authentication(&next.protocol, input.mutual_authentication)?;
    }
    if next.protocol != before.protocol {
        let mut attributes = attributes::defaults(attributes::listener::table(&next.protocol));
        for (key, value) in &mut attributes {
            if let Some(kept) = before.attributes.get(key) {
                value.clone_from(kept);
            }
        }
        next.attributes = attributes;
    }
    let place = Place {
        snapshot,
        balancer,
        protocol: &next.protocol.clone(),
    };
    if let Some(actions) = input.default_actions.filter(|actions| !actions.is_empty()) {
        let actions = action::admit(&place, actions)?;
        if let Some(default) = next.rules.iter_mut().find(|rule| rule.priority.is_none()) {
            default.actions = actions;
        }
    }
    if next.protocol != before.protocol {
        for rule in &next.rules {
            action::admit(&place, rule.actions.clone())?;
        }
    }
    Ok(next)
}

fn move_port(snapshot: &Snapshot, txn: &mut Txn, balancer: &LoadBalancerRecord, from: u16, to: u16) {
    let mut next = balancer.clone();
    if let Some(id) = next.listeners.remove(&from) {
        next.listeners.insert(to, id);
    }
    let key = LoadBalancerRecord::key(&balancer.region, &balancer.name);
    txn.unchanged::<LoadBalancerRecord>(snapshot, &key).put(&key, next);
}
