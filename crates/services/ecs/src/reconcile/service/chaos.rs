//! A seeded cluster on a virtual clock: nodes come, go and come back, tasks crash, services are changed at any time and
//! the control plane dies between any two steps. Afterwards every service is what it was asked to be.

use super::observe::Observed;
use super::{BUDGET, perform, reconcile};
use crate::plan::service::plan;
use crate::reconcile::expiry;
use crate::reconcile::placement::{Placer, place_waiting};
use crate::records::{ServiceRecord, ServiceStatus, TaskRecord, TaskState};
use crate::testing::{FakeNode, World, hello, report};
use neargate_link::Phase;
use neargate_store::CommitError;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// xorshift64*: the same seed gives the same run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % sides
    }
}

struct Chaos {
    world: World,
    nodes: Vec<FakeNode>,
    /// Nodes that are cut off: they hear and say nothing.
    away: BTreeSet<String>,
    dice: Dice,
    log: Vec<String>,
}

const SERVICES: [&str; 3] = ["a", "b", "c"];

impl Chaos {
    async fn new(seed: u64) -> Chaos {
        let world = World::new().await;
        world.define("good", json!({})).await;
        world.define("other", json!({})).await;
        world.define("bad", json!({})).await;
        let mut nodes = Vec::new();
        for id in ["n1", "n2", "n3"] {
            nodes.push(world.node(id, 16_384, 65_536).await);
        }
        let dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut chaos = Chaos {
            world,
            nodes,
            away: BTreeSet::new(),
            dice,
            log: Vec::new(),
        };
        for name in SERVICES {
            chaos.create(name).await;
        }
        chaos
    }

    async fn create(&mut self, name: &str) {
        let (minimum, maximum) = [(100, 200), (50, 100), (50, 150), (0, 100)][self.dice.roll(4)];
        let input = json!({
            "serviceName": name, "taskDefinition": "good:1", "desiredCount": self.dice.roll(6), "launchType": "FARGATE",
            "networkConfiguration": { "awsvpcConfiguration": { "subnets": self.world.subnets } },
            "deploymentConfiguration": { "minimumHealthyPercent": minimum, "maximumPercent": maximum,
                "deploymentCircuitBreaker": { "enable": self.dice.roll(2) == 0, "rollback": self.dice.roll(2) == 0 } },
        });
        // Refused while a service of the name is still there.
        let _ = self.world.call("CreateService", input).await;
    }

    fn services(&self) -> Vec<Arc<ServiceRecord>> {
        self.world
            .ecs
            .store
            .snapshot()
            .range::<ServiceRecord>("")
            .map(|(_, s)| s.record)
            .collect()
    }

    async fn step(&mut self) {
        let name = SERVICES[self.dice.roll(3)];
        let what = self.dice.roll(14);
        self.log.push(format!("{what} {name}"));
        let update = |more: Value| {
            let mut input = json!({ "service": name });
            input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            input
        };
        match what {
            0 => drop(
                self.world
                    .call("UpdateService", update(json!({ "forceNewDeployment": true })))
                    .await,
            ),
            1 => {
                let desired = self.dice.roll(8);
                drop(
                    self.world
                        .call("UpdateService", update(json!({ "desiredCount": desired })))
                        .await,
                );
            }
            2 => {
                let definition = ["good:1", "other:1", "bad:1"][self.dice.roll(3)];
                drop(
                    self.world
                        .call("UpdateService", update(json!({ "taskDefinition": definition })))
                        .await,
                );
            }
            3 => drop(
                self.world
                    .call("DeleteService", json!({ "service": name, "force": true }))
                    .await,
            ),
            4 => self.create(name).await,
            5 => {
                let node = self.nodes[self.dice.roll(3)].id.clone();
                self.away.insert(node.clone());
                self.world.ecs.node_lost(&node).await.unwrap();
            }
            6 => {
                let node = self.nodes[self.dice.roll(3)].id.clone();
                self.away.remove(&node);
                self.world.ecs.node_joined(hello(&node, 16_384, 65_536)).await.unwrap();
            }
            7 | 8 => self.crash_one().await,
            9 => self.world.advance(self.dice.roll(90) as u64),
            10 => drop(expiry::pass(&self.world.ecs, None).await.unwrap()),
            11 => self.restart(),
            _ => {}
        }
        // Whoever gets to work in between, in whatever order.
        for _ in 0..self.dice.roll(6) {
            match self.dice.roll(3) {
                0 => {
                    let key = ServiceRecord::key("us-east-1", "default", SERVICES[self.dice.roll(3)]);
                    reconcile(&self.world.ecs, &key).await.unwrap();
                }
                1 => drop(place_waiting(&self.world.ecs).await.unwrap()),
                _ => self.work(self.dice.0 as usize % 3).await,
            }
            self.check();
        }
    }

    /// The control plane dies and comes back: only the store is left.
    fn restart(&mut self) {
        let ecs = crate::Ecs {
            placer: Arc::new(Placer::new(&self.world.ecs.store)),
            ..(*self.world.ecs).clone()
        };
        self.world.ecs = Arc::new(ecs);
        for node in &mut self.nodes {
            *node = FakeNode::of(&self.world.ecs, &node.id);
        }
    }

    async fn work(&self, node: usize) {
        let node = &self.nodes[node];
        if self.away.contains(&node.id) {
            return;
        }
        node.work().await;
        // What is bad dies as soon as it runs.
        let bad: Vec<_> = node.assigned().into_iter().filter(|s| s.family == "bad").collect();
        let reports = bad.iter().map(|s| report(s, Phase::Stopped, Some(1))).collect();
        self.world.ecs.apply_reports(&node.id, reports).await.unwrap();
    }

    async fn crash_one(&mut self) {
        let at = self.dice.roll(3);
        if self.away.contains(&self.nodes[at].id) {
            return;
        }
        let assigned = self.nodes[at].assigned();
        if assigned.is_empty() {
            return;
        }
        let spec = &assigned[self.dice.roll(assigned.len())];
        self.world
            .ecs
            .apply_reports(&self.nodes[at].id, vec![report(spec, Phase::Stopped, Some(137))])
            .await
            .unwrap();
    }

    /// What holds at every moment.
    fn check(&self) {
        let mut addresses = BTreeSet::new();
        for task in self.world.tasks().iter().filter(|t| t.holds_resources()) {
            let address = task.interface.as_ref().unwrap().address;
            assert!(
                addresses.insert(address),
                "{address} is held twice after {:?}",
                self.log
            );
        }
        for service in self.services() {
            assert!(service.deployments.len() < 40);
            let told = service.events_told - service.events_before;
            let kept = self
                .world
                .ecs
                .store
                .snapshot()
                .range::<crate::records::ServiceEventRecord>(&format!("{}/", service.own_key()))
                .count();
            assert!(kept as u64 >= told.min(100), "events were lost after {:?}", self.log);
        }
    }

    async fn settle(&mut self) {
        for _ in 0..400 {
            let before = self.world.ecs.store.snapshot().revision();
            for service in self.services() {
                reconcile(&self.world.ecs, &service.own_key()).await.unwrap();
            }
            place_waiting(&self.world.ecs).await.unwrap();
            for node in 0..3 {
                self.work(node).await;
            }
            self.check();
            if self.world.ecs.store.snapshot().revision() == before {
                return;
            }
        }
        panic!("nothing comes to rest after {:?}", self.log);
    }

    /// Everything works again, and time passes.
    async fn recover(&mut self) {
        for node in ["n1", "n2", "n3"] {
            self.away.remove(node);
            self.world.ecs.node_joined(hello(node, 16_384, 65_536)).await.unwrap();
        }
        for name in SERVICES {
            // Some percents allow no rollout of some counts, here as on AWS.
            let input = json!({ "service": name, "taskDefinition": "good:1", "forceNewDeployment": true,
                "deploymentConfiguration": { "minimumHealthyPercent": 50, "maximumPercent": 200 } });
            drop(self.world.call("UpdateService", input).await);
        }
        for _ in 0..80 {
            self.settle().await;
            self.world.advance(41);
        }
        self.settle().await;
    }
}

#[tokio::test]
async fn services_are_what_was_asked_whatever_happened() {
    for seed in 1..=60 {
        let mut chaos = Chaos::new(seed).await;
        for _ in 0..60 {
            chaos.step().await;
        }
        chaos.recover().await;
        let mut live: BTreeMap<String, u32> = BTreeMap::new();
        for task in chaos.world.tasks().iter().filter(|t| t.state != TaskState::Stopped) {
            assert_eq!(task.state, TaskState::Running, "seed {seed}");
            assert!(task.service.as_ref().is_some_and(|link| !link.settled), "seed {seed}");
            *live.entry(task.group.clone()).or_default() += 1;
        }
        for service in chaos.services() {
            let have = live.remove(&format!("service:{}", service.name)).unwrap_or(0);
            match service.status {
                ServiceStatus::Active => {
                    assert_eq!(
                        have, service.desired_count,
                        "seed {seed}: {} after {:?}",
                        service.name, chaos.log
                    );
                    assert_eq!(service.deployments.len(), 1, "seed {seed}: {service:#?}");
                    assert!(service.steady_at.is_some(), "seed {seed}: {service:#?}");
                }
                ServiceStatus::Draining => panic!("seed {seed}: {} still drains", service.name),
                ServiceStatus::Inactive => assert_eq!(have, 0, "seed {seed}"),
            }
        }
        assert!(
            live.is_empty(),
            "seed {seed}: tasks of services that are gone: {live:?}"
        );
    }
}

#[tokio::test]
async fn a_plan_made_on_an_old_look_is_refused_by_the_store() {
    let mut chaos = Chaos::new(7).await;
    chaos.settle().await;
    let service = chaos
        .services()
        .into_iter()
        .find(|s| s.desired_count > 1)
        .expect("one of them has tasks");
    let key = service.own_key();
    chaos
        .world
        .call("UpdateService", json!({ "service": service.name, "desiredCount": 0 }))
        .await
        .unwrap();
    let ecs = chaos.world.ecs.clone();
    let now = ecs.clock.now();

    // A task changes between the look and the commit.
    let observed = Observed::of(&ecs, &key).unwrap();
    let made = observed.with_view(BUDGET, now, |view| plan(view, now));
    assert!(!made.stop.is_empty());
    let mut task: TaskRecord = (*observed.tasks[0]).clone();
    task.version += 1;
    chaos.world.put(&task.own_key(), task).await;
    let outcome = ecs.store.commit(perform::transaction(&ecs, &observed, made, now)).await;
    assert!(matches!(outcome, Err(CommitError::Conflict { .. })));

    // Two reconcilers with the same look: one of them wins.
    let looks = [Observed::of(&ecs, &key).unwrap(), Observed::of(&ecs, &key).unwrap()];
    let mut won = 0;
    for observed in &looks {
        let made = observed.with_view(BUDGET, now, |view| plan(view, now));
        won += usize::from(
            ecs.store
                .commit(perform::transaction(&ecs, observed, made, now))
                .await
                .is_ok(),
        );
    }
    assert_eq!(won, 1);
}
