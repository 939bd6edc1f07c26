use super::*;
use crate::{LaunchType, NamespaceMode, NetworkSpec};
use proptest::prelude::*;

fn task(id: &str, revision: u32) -> Arc<TaskSpec> {
    Arc::new(TaskSpec {
        arn: format!("arn:aws:ecs:us-east-1:000000000000:task/default/{id}"),
        id: id.to_owned(),
        region: "us-east-1".to_owned(),
        cluster: "default".to_owned(),
        family: "web".to_owned(),
        revision,
        launch_type: LaunchType::Ec2,
        service: None,
        availability_zone: None,
        tags: Default::default(),
        network: NetworkSpec::None,
        containers: Vec::new(),
        volumes: Vec::new(),
        cpu: None,
        memory: None,
        ephemeral_storage_gib: None,
        pid_mode: NamespaceMode::Private,
        ipc_mode: NamespaceMode::Private,
        stop: None,
    })
}

fn whole(generation: u64, tasks: &[Arc<TaskSpec>]) -> ToNode {
    ToNode::Desired {
        generation,
        base: None,
        upsert: tasks.to_vec(),
        remove: Vec::new(),
    }
}

#[test]
fn a_node_refuses_the_past_and_altered_content() {
    let mut set = DesiredSet::new();
    let changed = set.apply(whole(7, &[task("a", 1)])).unwrap();
    assert_eq!(changed.upserted, ["a"]);
    assert_eq!(set.apply(whole(6, &[])), Err(Resync::Older { held: 7, offered: 6 }));
    assert_eq!(
        set.apply(whole(7, &[task("a", 2)])),
        Err(Resync::Altered { generation: 7 })
    );
    assert!(set.apply(whole(7, &[task("a", 1)])).unwrap().is_empty());
    let delta = ToNode::Desired {
        generation: 9,
        base: Some(8),
        upsert: vec![task("b", 1)],
        remove: vec![],
    };
    assert_eq!(set.apply(delta), Err(Resync::MissingBase { held: 7, base: 8 }));
    assert_eq!(
        set.tasks().collect::<Vec<_>>(),
        [&task("a", 1)],
        "a refused message changes nothing"
    );
}

#[test]
fn a_node_that_holds_a_newer_generation_is_brought_along() {
    // Control lost its store, or was restored from an old one: the node's answer to the refusal lifts the generation.
    let mut set = DesiredSet::restored(500, [task("a", 1)]);
    let mut offer = Offer::new();
    assert!(set.apply(offer.whole(3, vec![])).is_err());
    offer.acknowledged(set.generation());
    assert_eq!(set.apply(offer.whole(3, vec![])).unwrap().removed, ["a"]);
}

#[test]
fn unchanged_tasks_are_not_sent_again() {
    let mut offer = Offer::new();
    assert!(
        offer.delta(1, [("a".into(), Some(task("a", 1)))]).is_none(),
        "nothing before the whole set"
    );
    offer.whole(5, vec![task("a", 1)]);
    assert!(
        offer
            .delta(6, [("a".into(), Some(task("a", 1))), ("b".into(), None)])
            .is_none()
    );
    assert_eq!(offer.generation(), 5);
    let Some(ToNode::Desired {
        generation,
        base,
        upsert,
        remove,
    }) = offer.delta(5, [("a".into(), Some(task("a", 2)))])
    else {
        panic!("a change is sent")
    };
    assert_eq!(
        (generation, base),
        (6, Some(5)),
        "two different sets never share a generation"
    );
    assert_eq!((upsert.len(), remove.len()), (1, 0));
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8, u32),
    Remove(u8),
    /// Changes reach the node.
    Deliver,
    /// The last message is lost; nothing may be sent on the same connection after it.
    Reconnect,
    /// The node forgets its set.
    NodeRestarts,
    /// Control forgets what it sent.
    ControlRestarts,
    Rebuild,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_u8..6, 0_u32..3).prop_map(|(id, revision)| Step::Put(id, revision)),
        3 => (0_u8..6).prop_map(Step::Remove),
        6 => Just(Step::Deliver),
        1 => Just(Step::Reconnect),
        1 => Just(Step::NodeRestarts),
        1 => Just(Step::ControlRestarts),
        1 => Just(Step::Rebuild),
    ]
}

proptest! {
    /// Whatever happens, after a delivery the node holds exactly what control wants, by way of at most one refusal.
    #[test]
    fn both_ends_agree_after_every_delivery(steps in proptest::collection::vec(step(), 1..80)) {
        let mut wanted: BTreeMap<String, Arc<TaskSpec>> = BTreeMap::new();
        let mut dirty: Vec<String> = Vec::new();
        let (mut offer, mut set, mut revision) = (Offer::new(), DesiredSet::new(), 0_u64);
        let mut connected = false;
        for step in steps {
            match step {
                Step::Put(id, version) => {
                    revision += 1;
                    wanted.insert(id.to_string(), task(&id.to_string(), version));
                    dirty.push(id.to_string());
                }
                Step::Remove(id) => {
                    revision += 1;
                    wanted.remove(&id.to_string());
                    dirty.push(id.to_string());
                }
                Step::Reconnect | Step::ControlRestarts => {
                    offer = Offer::new();
                    connected = false;
                }
                Step::NodeRestarts => set = DesiredSet::new(),
                Step::Rebuild | Step::Deliver => {
                    let all: Vec<_> = wanted.values().cloned().collect();
                    let message = if !connected {
                        Some(offer.whole(revision, all.clone()))
                    } else if matches!(step, Step::Rebuild) {
                        offer.delta_to(revision, all.clone())
                    } else {
                        offer.delta(revision, dirty.iter().map(|id| (id.as_str().into(), wanted.get(id).cloned())))
                    };
                    connected = true;
                    dirty.clear();
                    if let Some(message) = message {
                        let held = set.generation();
                        if set.apply(message).is_err() {
                            prop_assert_eq!(set.generation(), held);
                            offer.acknowledged(held);
                            set.apply(offer.whole(revision, all)).unwrap();
                        }
                        prop_assert!(set.generation() >= held);
                        prop_assert_eq!(set.generation(), offer.generation());
                        prop_assert!(set.tasks().eq(wanted.values()));
                    }
                }
            }
        }
    }
}
