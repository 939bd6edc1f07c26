//! The service through its operations: a store in memory, a clock that moves when told, a default VPC, certificates and
//! instances that are what the test says.

mod balancers;
mod listeners;
mod plane;
mod rules;
mod target_groups;
mod targets;

use crate::{CertificateSource, Elbv2, Fitness, api, kinds};
use neargate_core::clock::ManualClock;
use neargate_core::ids::CountingIds;
use neargate_core::{AwsError, Clock, RequestContext, Timestamp};
use neargate_ec2::Ec2;
use neargate_link::GatewayTable;
use neargate_link::gateway::{Certificate, TargetReport, TargetState};
use neargate_store::{Snapshot, Store};
use neargate_wire::dispatch::ServiceDispatch;
use neargate_wire::{Protocol, dialect, validate};
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

pub const REGION: &str = "us-east-1";
pub const ACCOUNT: &str = "000000000000";

/// Every ACM certificate whose ARN ends in `good`, or `good` and a number.
struct GoodCertificates;

impl CertificateSource for GoodCertificates {
    fn fitness(&self, _: &Snapshot, arn: &str) -> Fitness {
        match arn.trim_end_matches(|c: char| c.is_ascii_digit()).rsplit('/').next() {
            Some("good") => Fitness::Fit,
            Some("small") => Fitness::Unfit,
            _ => Fitness::Absent,
        }
    }

    fn load(&self, snapshot: &Snapshot, arn: &str) -> Option<Certificate> {
        (self.fitness(snapshot, arn) == Fitness::Fit).then(|| Certificate {
            arn: arn.to_owned(),
            chain: "chain".to_owned(),
            private_key: "key".to_owned(),
        })
    }
}

pub fn certificate(name: &str) -> String {
    format!("arn:aws:acm:{REGION}:{ACCOUNT}:certificate/{name}")
}

pub struct World {
    pub elb: Arc<Elbv2>,
    pub clock: Arc<ManualClock>,
    pub vpc: String,
    /// One in each zone, ascending by zone.
    pub subnets: Vec<String>,
}

impl World {
    pub async fn new() -> World {
        let mut all = kinds();
        all.extend(neargate_ec2::kinds());
        let store = Store::in_memory(&all);
        let clock = Arc::new(ManualClock::at(Timestamp::from_secs(1_800_000_000)));
        let ids = Arc::new(CountingIds::default());
        let ec2 = Ec2 {
            store: store.clone(),
            clock: clock.clone(),
            ids: ids.clone(),
            account: ACCOUNT.to_owned(),
            vpc_cidr: neargate_ec2::region::DEFAULT_VPC_CIDR,
            public_cidr: neargate_ec2::region::DEFAULT_PUBLIC_CIDR,
            foreign_ranges: Arc::new(Vec::new),
            rules_per_group: 60,
        };
        ec2.ensure_region(REGION).await.unwrap();
        let vpc = neargate_ec2::region::default_vpc_id(ACCOUNT, REGION);
        let mut subnets: Vec<(String, String)> = neargate_ec2::lookup::subnets(&store.snapshot(), REGION, &vpc)
            .iter()
            .map(|s| (s.availability_zone.clone(), s.id.clone()))
            .collect();
        subnets.sort();
        let instances = |_: &Snapshot, _: &str, id: &str| (id == "i-1").then_some(IpAddr::V4(Ipv4Addr::LOCALHOST));
        World {
            elb: Arc::new(Elbv2 {
                store,
                clock: clock.clone(),
                ids,
                account: ACCOUNT.to_owned(),
                certificates: Arc::new(GoodCertificates),
                instances: Arc::new(instances),
                rules_per_balancer: 100,
            }),
            clock,
            vpc,
            subnets: subnets.into_iter().map(|(_, id)| id).collect(),
        }
    }

    pub fn snapshot(&self) -> Snapshot {
        self.elb.store.snapshot()
    }

    pub fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Calls an operation as the front door does: validated, dispatched, answered as a tree.
    pub async fn try_call(&self, operation: &str, mut input: Value) -> Result<Value, AwsError> {
        let cx = RequestContext {
            request_id: "request".to_owned(),
            region: REGION.to_owned(),
            account: ACCOUNT.to_owned(),
            caller_arn: format!("arn:aws:iam::{ACCOUNT}:root"),
            caller_id: ACCOUNT.to_owned(),
            access_key: "AKIA".to_owned(),
            now: self.clock.now(),
        };
        let schema = &api::schema::SERVICE;
        let modelled = schema.operations.iter().find(|o| o.name == operation);
        if let Some(shape) = modelled.unwrap().input {
            validate::validate(shape, &mut input, &dialect::dialect(schema, Protocol::Query))?;
        }
        let reply = self.elb.call(operation, &cx, input).unwrap().await?;
        Ok(reply.tree().unwrap())
    }

    pub async fn call(&self, operation: &str, input: Value) -> Value {
        let outcome = self.try_call(operation, input).await;
        outcome.unwrap_or_else(|error| panic!("{operation}: {error}"))
    }

    /// The code and message with which an operation refuses; it must have changed nothing.
    pub async fn refused(&self, operation: &str, input: Value) -> (String, String) {
        let before = self.snapshot().revision();
        match self.try_call(operation, input.clone()).await {
            Ok(reply) => panic!("{operation} took {input} and answered {reply}"),
            Err(error) => {
                assert_eq!(
                    self.snapshot().revision(),
                    before,
                    "{operation} refused, and changed something"
                );
                (error.code.into_owned(), error.message)
            }
        }
    }

    pub async fn balancer(&self, name: &str, more: Value) -> String {
        let input = with(json!({ "Name": name, "Subnets": self.subnets[..2] }), more);
        let made = self.call("CreateLoadBalancer", input).await;
        text(&made["LoadBalancers"][0]["LoadBalancerArn"])
    }

    pub async fn group(&self, name: &str, more: Value) -> String {
        let input = json!({ "Name": name, "Protocol": "HTTP", "Port": 80, "VpcId": self.vpc, "TargetType": "ip" });
        let made = self.call("CreateTargetGroup", with(input, more)).await;
        text(&made["TargetGroups"][0]["TargetGroupArn"])
    }

    pub async fn listener(&self, balancer: &str, group: &str, port: u16) -> String {
        let input = json!({
            "LoadBalancerArn": balancer, "Protocol": "HTTP", "Port": port,
            "DefaultActions": [{ "Type": "forward", "TargetGroupArn": group }],
        });
        let made = self.call("CreateListener", input).await;
        text(&made["Listeners"][0]["ListenerArn"])
    }

    /// A load balancer with one listener on port 80 that forwards to a group: their ARNs.
    pub async fn web(&self) -> (String, String, String) {
        let balancer = self.balancer("web", json!({})).await;
        let group = self.group("web", json!({})).await;
        let listener = self.listener(&balancer, &group, 80).await;
        (balancer, listener, group)
    }

    /// An address of the nth subnet.
    pub fn address(&self, subnet: usize, host: u32) -> String {
        let subnet = neargate_ec2::subnet(&self.snapshot(), REGION, &self.subnets[subnet]).unwrap();
        Ipv4Addr::from(u32::from(subnet.cidr.0) + host).to_string()
    }

    pub async fn register(&self, group: &str, id: &str) {
        let input = json!({ "TargetGroupArn": group, "Targets": [{ "Id": id }] });
        self.call("RegisterTargets", input).await;
    }

    pub async fn deregister(&self, group: &str, id: &str) {
        let input = json!({ "TargetGroupArn": group, "Targets": [{ "Id": id }] });
        self.call("DeregisterTargets", input).await;
    }

    /// `state reason` of every target of the group.
    pub async fn health(&self, group: &str) -> Vec<String> {
        let health = self
            .call("DescribeTargetHealth", json!({ "TargetGroupArn": group }))
            .await;
        let all = health["TargetHealthDescriptions"].as_array().unwrap();
        all.iter().map(|t| said(&t["TargetHealth"])).collect()
    }

    /// A gateway says how a target does.
    pub async fn report(&self, group: &str, id: &str, state: TargetState) {
        let target = crate::targets::target(&self.snapshot(), group, id, 80).unwrap();
        let report = TargetReport {
            target_group: group.to_owned(),
            id: id.to_owned(),
            port: 80,
            registered_at: target.registered_at,
            state,
            reason: (state == TargetState::Unhealthy).then(|| "Target.Timeout".to_owned()),
            description: None,
        };
        self.elb.apply_reports(vec![report]).await.unwrap();
    }

    pub fn table(&self) -> GatewayTable {
        crate::table::table(&self.snapshot(), &*self.elb.certificates)
    }
}

/// `state reason` of a TargetHealth.
pub fn said(health: &Value) -> String {
    let reason = health["Reason"].as_str().unwrap_or_default();
    format!("{} {reason}", health["State"].as_str().unwrap())
        .trim_end()
        .to_owned()
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// `base` with the members of `more` over.
pub fn with(mut base: Value, more: Value) -> Value {
    for (key, value) in more.as_object().unwrap() {
        base[key] = value.clone();
    }
    base
}
