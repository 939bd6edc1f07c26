//! CreateListener.

use crate::api::{self, errors};
use crate::certificates::hold_new;
use crate::records::{ListenerRecord, LoadBalancerRecord, RuleRecord};
use crate::rules::action::{self, Place};
use crate::{Elbv2, attributes, find, limits, listeners, shapes, tagging};
use neargate_core::{AwsError, RequestContext, Tags};
use neargate_store::{Condition, Snapshot, Txn};

/// # Errors
/// `LoadBalancerNotFound`, `DuplicateListener`, `TooManyListeners`, `ValidationError`, `CertificateNotFound`,
/// `SSLPolicyNotFound`, and those of `rules::action::admit`.
pub async fn handle(
    service: &Elbv2,
    cx: &RequestContext,
    input: api::CreateListenerInput,
) -> Result<api::CreateListenerOutput, AwsError> {
    let ids = (super::random_id(service), super::random_id(service));
    let record = service
        .store
        .transact(|snapshot| {
            let arn = input.load_balancer_arn.clone().unwrap_or_default();
            let balancer = find::load_balancer(snapshot, &cx.region, &arn)?;
            let record = admit(service, snapshot, &balancer, input.clone(), &ids)?;
            create(service, snapshot, &balancer, record, &ids.0)
        })
        .await?;
    Ok(api::CreateListenerOutput {
        listeners: Some(vec![shapes::listener(&record)]),
    })
}

fn admit(
    service: &Elbv2,
    snapshot: &Snapshot,
    balancer: &LoadBalancerRecord,
    input: api::CreateListenerInput,
    (id, rule_id): &(String, String),
) -> Result<ListenerRecord, AwsError> {
    let protocol = listeners::protocol(balancer.kind, input.protocol)?;
    let port = listeners::port(input.port)?;
    let asked = (input.ssl_policy, input.certificates, input.alpn_policy);
    let security = listeners::security(service, snapshot, &protocol, asked, None)?;
    let mutual_authentication = listeners::mutual_authentication(&protocol, input.mutual_authentication)?;
    let place = Place {
        snapshot,
        balancer,
        protocol: &protocol,
    };
    let actions = action::admit(&place, input.default_actions.unwrap_or_default())?;
    let (region, account) = (&balancer.region, &service.account);
    let arn = shapes::child_arn(&balancer.arn, region, account, "listener", id);
    let default = RuleRecord {
        arn: shapes::child_arn(&arn, region, account, "listener-rule", rule_id),
        priority: None,
        conditions: Vec::new(),
        actions,
        transforms: Vec::new(),
        tags: Tags::default(),
    };
    Ok(ListenerRecord {
        region: region.clone(),
        arn,
        load_balancer_arn: balancer.arn.clone(),
        port,
        ssl_policy: security.ssl_policy,
        certificates: security.certificate.into_iter().collect(),
        alpn_policy: security.alpn_policy,
        mutual_authentication,
        attributes: attributes::defaults(attributes::listener::table(&protocol)),
        protocol,
        rules: vec![default],
        tags: tagging::admit(input.tags)?,
    })
}

fn create(
    service: &Elbv2,
    snapshot: &Snapshot,
    balancer: &LoadBalancerRecord,
    record: ListenerRecord,
    id: &str,
) -> Result<(Txn, ListenerRecord), AwsError> {
    if let Some(id) = balancer.listeners.get(&record.port) {
        let there = snapshot.get::<ListenerRecord>(&format!("{}{id}", balancer.listeners_prefix()));
        return match there.filter(|there| is_same(there, &record)) {
            Some(there) => Ok((Txn::new(), (*there.record).clone())),
            None => Err(errors::duplicate_listener_exception(format!(
                "A listener already exists on this port for this load balancer '{}'",
                balancer.arn
            ))),
        };
    }
    if balancer.listeners.len() >= limits::LISTENERS {
        return Err(errors::too_many_listeners_exception(format!(
            "The maximum number of listeners per load balancer '{}' has been reached",
            limits::LISTENERS
        )));
    }
    let mut txn = Txn::new();
    action::bind(snapshot, &mut txn, balancer, None, &record)?;
    hold_new(&*service.certificates, snapshot, &mut txn, None, &record);
    let mut next = balancer.clone();
    next.listeners.insert(record.port, id.to_owned());
    let balancer_key = LoadBalancerRecord::key(&balancer.region, &balancer.name);
    let key = format!("{}{id}", balancer.listeners_prefix());
    txn.unchanged::<LoadBalancerRecord>(snapshot, &balancer_key)
        .put(&balancer_key, next)
        .expect::<ListenerRecord>(&key, Condition::Absent)
        .put(&key, record.clone());
    Ok((txn, record))
}

/// Whether a request for `asked` would have made the listener that is there.
fn is_same(there: &ListenerRecord, asked: &ListenerRecord) -> bool {
    let security = |l: &ListenerRecord| {
        (
            l.ssl_policy.clone(),
            l.certificates.first().cloned(),
            l.alpn_policy.clone(),
            l.mutual_authentication.clone(),
        )
    };
    let default = |l: &ListenerRecord| {
        let default = l.rules.iter().find(|rule| rule.priority.is_none());
        default.map(|rule| rule.actions.clone())
    };
    there.protocol == asked.protocol
        && security(there) == security(asked)
        && default(there) == default(asked)
        && there.tags == asked.tags
}
