//! A small world for tests: a store in memory, a clock that moves when told, a default VPC and cluster, and nodes that
//! answer what they are assigned with reports.

use crate::assign::assignment;
use crate::records::{ClusterRecord, FamilyRecord, TaskDefinitionRecord, TaskRecord};
use crate::{Ecs, api};
use neargate_core::clock::ManualClock;
use neargate_core::ids::CountingIds;
use neargate_core::{AwsError, CpuUnits, MiB, RequestContext, Tags, Timestamp};
use neargate_ec2::Ec2;
use neargate_link::{ContainerReport, NodeHello, Phase, TaskReport, TaskSpec};
use neargate_store::{Store, Txn};
use neargate_wire::dispatch::ServiceDispatch;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub const REGION: &str = "us-east-1";
pub const ACCOUNT: &str = "000000000000";

pub struct World {
    pub ecs: Arc<Ecs>,
    pub clock: Arc<ManualClock>,
    /// One in each zone, ascending by zone.
    pub subnets: Vec<String>,
}

impl World {
    /// A region with its default VPC and the cluster `default`; no node.
    pub async fn new() -> World {
        let mut kinds = crate::records::kinds();
        kinds.extend(neargate_ec2::kinds());
        kinds.extend(neargate_elbv2::kinds());
        let store = Store::in_memory(&kinds);
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
        let snapshot = store.snapshot();
        let vpc = neargate_ec2::region::default_vpc_id(ACCOUNT, REGION);
        let mut subnets: Vec<(String, String)> = neargate_ec2::lookup::subnets(&snapshot, REGION, &vpc)
            .iter()
            .map(|s| (s.availability_zone.clone(), s.id.clone()))
            .collect();
        subnets.sort();
        let ecs = Arc::new(Ecs::new(store, clock.clone(), ids, ACCOUNT));
        let world = World {
            ecs,
            clock,
            subnets: subnets.into_iter().map(|(_, id)| id).collect(),
        };
        world.cluster("default").await;
        world
    }

    pub fn cx(&self) -> RequestContext {
        RequestContext {
            request_id: "request".to_owned(),
            region: REGION.to_owned(),
            account: ACCOUNT.to_owned(),
            caller_arn: format!("arn:aws:iam::{ACCOUNT}:root"),
            caller_id: ACCOUNT.to_owned(),
            access_key: "AKIA".to_owned(),
            now: neargate_core::Clock::now(&*self.clock),
        }
    }

    pub fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    pub async fn put<R: neargate_store::Record>(&self, key: &str, record: R) {
        let mut txn = Txn::new();
        txn.put(key, record);
        self.ecs.store.commit(txn).await.unwrap();
    }

    pub async fn cluster(&self, name: &str) {
        let record = ClusterRecord {
            region: REGION.to_owned(),
            name: name.to_owned(),
            arn: format!("arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/{name}"),
            status: "ACTIVE".to_owned(),
            settings: Vec::new(),
            capacity_providers: vec!["FARGATE".to_owned(), "FARGATE_SPOT".to_owned()],
            default_capacity_provider_strategy: Vec::new(),
            tags: Tags::default(),
            created_at: neargate_core::Clock::now(&*self.clock),
            deleted_at: None,
        };
        self.put(&ClusterRecord::key(REGION, name), record).await;
    }

    /// Puts revision 1 of `family` with the members of `definition` over: one container `app`, FARGATE and EC2.
    pub async fn define(&self, family: &str, definition: Value) {
        let mut whole = json!({
            "family": family, "revision": 1, "status": "ACTIVE", "networkMode": "awsvpc",
            "taskDefinitionArn": format!("arn:aws:ecs:{REGION}:{ACCOUNT}:task-definition/{family}:1"),
            "compatibilities": ["EC2", "FARGATE"], "cpu": "256", "memory": "512",
            "containerDefinitions": [{ "name": "app", "image": "web", "essential": true }],
        });
        for (key, value) in definition.as_object().unwrap() {
            whole[key] = value.clone();
        }
        if whole["networkMode"] != "awsvpc" {
            whole["compatibilities"] = json!(["EC2"]);
        }
        let definition: api::TaskDefinition = serde_json::from_value(whole).unwrap();
        let record = TaskDefinitionRecord {
            region: REGION.to_owned(),
            family: family.to_owned(),
            revision: 1,
            definition,
            tags: Tags(BTreeMap::from([("from".to_owned(), "definition".to_owned())])),
        };
        let family_record = FamilyRecord {
            region: REGION.to_owned(),
            family: family.to_owned(),
            last_revision: 1,
            latest_active: Some(1),
            stored: 1,
        };
        self.put(&FamilyRecord::key(REGION, family), family_record).await;
        self.put(&TaskDefinitionRecord::key(REGION, family, 1), record).await;
    }

    /// A node joins.
    pub async fn node(&self, id: &str, cpu: u32, memory: u32) -> FakeNode {
        self.node_with(hello(id, cpu, memory)).await
    }

    pub async fn node_with(&self, hello: NodeHello) -> FakeNode {
        let id = hello.node_id.clone();
        self.ecs.node_joined(hello).await.unwrap();
        FakeNode {
            ecs: self.ecs.clone(),
            id,
        }
    }

    /// One operation through the table, as the front door calls it.
    pub async fn call(&self, operation: &str, input: Value) -> Result<Value, AwsError> {
        let cx = self.cx();
        let running = self.ecs.call(operation, &cx, input).expect("the operation has a row");
        running.await.map(|reply| reply.tree().unwrap())
    }

    /// RunTask of `family:1` on Fargate in every subnet, with further members.
    pub async fn run_fargate(&self, family: &str, more: Value) -> Result<Value, AwsError> {
        let mut input = json!({
            "taskDefinition": format!("{family}:1"), "launchType": "FARGATE",
            "networkConfiguration": { "awsvpcConfiguration": { "subnets": self.subnets } },
        });
        for (key, value) in more.as_object().unwrap() {
            input[key] = value.clone();
        }
        if input["capacityProviderStrategy"].is_array() {
            input.as_object_mut().unwrap().remove("launchType");
        }
        self.call("RunTask", input).await
    }

    pub fn tasks(&self) -> Vec<TaskRecord> {
        let snapshot = self.ecs.store.snapshot();
        snapshot
            .range::<TaskRecord>("")
            .map(|(_, t)| TaskRecord::clone(&t))
            .collect()
    }

    pub fn task(&self, arn: &str) -> TaskRecord {
        self.tasks()
            .into_iter()
            .find(|t| t.arn == arn)
            .expect("the task is there")
    }
}

pub fn hello(id: &str, cpu: u32, memory: u32) -> NodeHello {
    NodeHello {
        node_id: id.to_owned(),
        hostname: id.to_owned(),
        version: "1.2.3".to_owned(),
        cpu: CpuUnits(cpu),
        memory: MiB(memory),
        os_family: "LINUX".to_owned(),
        cpu_architecture: "X86_64".to_owned(),
        attributes: BTreeMap::new(),
        simulated: true,
    }
}

/// A node without containers: what it is assigned runs at once, what it is told to stop ends at once.
pub struct FakeNode {
    ecs: Arc<Ecs>,
    pub id: String,
}

impl FakeNode {
    /// The node `id` as it meets a control plane that started again.
    pub fn of(ecs: &Arc<Ecs>, id: &str) -> FakeNode {
        FakeNode {
            ecs: ecs.clone(),
            id: id.to_owned(),
        }
    }

    /// The desired set.
    pub fn assigned(&self) -> Vec<Arc<TaskSpec>> {
        let snapshot = self.ecs.store.snapshot();
        snapshot
            .indexed::<TaskRecord>(TaskRecord::BY_NODE, &self.id)
            .filter_map(|(_, task)| assignment(&snapshot, &task))
            .collect()
    }

    /// Reports of everything assigned: running, or stopped where there is an order.
    pub fn reports(&self) -> Vec<TaskReport> {
        self.assigned()
            .iter()
            .map(|spec| match spec.stop {
                Some(_) => report(spec, Phase::Stopped, Some(143)),
                None => report(spec, Phase::Running, None),
            })
            .collect()
    }

    /// Obeys and reports.
    pub async fn work(&self) {
        self.ecs.apply_reports(&self.id, self.reports()).await.unwrap();
    }
}

pub fn report(spec: &TaskSpec, phase: Phase, exit_code: Option<i32>) -> TaskReport {
    let status = match phase {
        Phase::Pending => "PENDING",
        Phase::Running | Phase::Stopping => "RUNNING",
        Phase::Stopped => "STOPPED",
    };
    TaskReport {
        task_id: spec.id.clone(),
        phase,
        containers: spec
            .containers
            .iter()
            .map(|c| ContainerReport {
                name: c.name.clone(),
                last_status: status.to_owned(),
                exit_code,
                runtime_id: Some(format!("{}-{}", spec.id, c.name)),
                image_digest: Some("sha256:1".to_owned()),
                ..ContainerReport::default()
            })
            .collect(),
        pull_started_at: None,
        pull_stopped_at: None,
        started_at: None,
        stopping_at: None,
        execution_stopped_at: None,
        stopped_at: None,
        stop_code: None,
        stopped_reason: None,
    }
}
