use super::*;
use crate::records::NodeRecord;
use crate::testing::hello;
use neargate_core::Timestamp;
use neargate_link::Transport;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

const REGION: &str = "us-east-1";

fn node(id: &str, cpu: u32, memory: u32, zone: u32) -> Arc<NodeRecord> {
    Arc::new(NodeRecord {
        hello: hello(id, cpu, memory),
        availability_zone_index: zone,
        connected: true,
        connectivity_at: Timestamp(0),
        registered_at: Timestamp(0),
        version: 1,
    })
}

fn fleet(nodes: &[(&str, u32, u32, u32)]) -> Fleet {
    let mut fleet = Fleet::default();
    for (id, cpu, memory, zone) in nodes {
        fleet.set_node(node(id, *cpu, *memory, *zone));
    }
    fleet
}

fn needs(cpu: u32, memory: u32) -> Needs {
    Needs {
        region: REGION.to_owned(),
        group: "us-east-1/default/family:web".to_owned(),
        cluster: "us-east-1/default/".to_owned(),
        fargate: false,
        cpu,
        memory,
        ports: Vec::new(),
        architecture: None,
        subnets: Vec::new(),
        distinct_instance: false,
        member_of: Vec::new(),
        strategy: Vec::new(),
    }
}

fn take(fleet: &mut Fleet, key: &str, needs: &Needs, placed: &Placed) {
    let held = Held {
        node: placed.node.clone(),
        group: needs.group.clone(),
        subnet: placed.subnets.first().cloned(),
        cpu: needs.cpu,
        memory: needs.memory,
        ports: needs.ports.clone(),
    };
    fleet.set_held(key, Some(held));
}

/// Places `count` tasks one after the other; answers how many each node has.
fn spread_of(fleet: &mut Fleet, needs: &Needs, count: usize) -> BTreeMap<String, usize> {
    let mut out = BTreeMap::new();
    for n in 0..count {
        let placed = place(fleet, needs, n as u64).unwrap();
        take(fleet, &format!("t{n}"), needs, &placed);
        *out.entry(placed.node).or_default() += 1;
    }
    out
}

fn strategy(list: &[(&str, &str)]) -> Vec<api::PlacementStrategy> {
    list.iter()
        .map(|(kind, field)| api::PlacementStrategy {
            r#type: Some((*kind).to_owned()),
            field: (!field.is_empty()).then(|| (*field).to_owned()),
        })
        .collect()
}

#[test]
fn strategies_choose_as_aws_describes_them() {
    let machines: &[(&str, u32, u32, u32)] = &[
        ("a1", 1000, 4000, 0),
        ("a2", 1000, 1000, 0),
        ("b1", 2000, 2000, 1),
        ("c1", 500, 3000, 2),
    ];
    for (name, list, count, want) in [
        (
            "one a machine",
            vec![("spread", "instanceId")],
            4,
            vec![("a1", 1), ("a2", 1), ("b1", 1), ("c1", 1)],
        ),
        (
            "host is the same",
            vec![("spread", "host")],
            4,
            vec![("a1", 1), ("a2", 1), ("b1", 1), ("c1", 1)],
        ),
        (
            "zones, then the fullest memory",
            vec![("spread", "attribute:ecs.availability-zone"), ("binpack", "memory")],
            6,
            vec![("a2", 2), ("b1", 2), ("c1", 2)],
        ),
        ("least cpu left", vec![("binpack", "CPU")], 5, vec![("c1", 5)]),
        (
            "least memory left",
            vec![("binpack", "memory")],
            11,
            vec![("a2", 10), ("b1", 1)],
        ),
        (
            "no strategy spreads",
            vec![],
            8,
            vec![("a1", 2), ("a2", 2), ("b1", 2), ("c1", 2)],
        ),
    ] {
        let mut fleet = fleet(machines);
        let mut needs = needs(100, 100);
        needs.strategy = strategy(&list);
        let got = spread_of(&mut fleet, &needs, count);
        let want: BTreeMap<String, usize> = want.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        assert_eq!(got, want, "{name}");
    }
}

#[test]
fn random_uses_every_machine_and_the_same_seed_chooses_the_same() {
    let fleet = fleet(&[("a", 100, 100, 0), ("b", 100, 100, 0), ("c", 100, 100, 0)]);
    let mut needs = needs(1, 1);
    needs.strategy = strategy(&[("random", "")]);
    let chosen: std::collections::BTreeSet<String> =
        (0..30).map(|seed| place(&fleet, &needs, seed).unwrap().node).collect();
    assert_eq!(chosen.len(), 3);
    assert_eq!(place(&fleet, &needs, 7), place(&fleet, &needs, 7));
}

#[test]
fn constraints_and_resources_that_no_machine_meets_are_told_by_name() {
    let port = |p| HostPort {
        first: p,
        last: p,
        transport: Transport::Tcp,
    };
    let mut base = fleet(&[("a", 1000, 1000, 0), ("b", 1000, 2000, 1)]);
    let mut web = needs(100, 100);
    web.ports = vec![port(80)];
    for (n, at) in ["a", "b"].into_iter().enumerate() {
        let placed = place_on(&base, at, &web).unwrap();
        take(&mut base, &format!("web{n}"), &web, &placed);
    }
    let mut away = (*node("c", 9000, 9000, 2)).clone();
    away.connected = false;
    base.set_node(Arc::new(away));

    let member_of = |text: &str| vec![expression::parse(text).unwrap()];
    for (what, change, miss, event) in [
        (
            "too much memory",
            Needs {
                memory: 1901,
                ..needs(1, 1)
            },
            Miss::Memory,
            "has insufficient memory available",
        ),
        (
            "too much cpu",
            Needs {
                cpu: 901,
                ..needs(1, 1)
            },
            Miss::Cpu,
            "has insufficient CPU units available",
        ),
        (
            "the port is taken",
            web.clone(),
            Miss::Ports,
            "is already using a port required by your task",
        ),
        (
            "already one there",
            Needs {
                distinct_instance: true,
                ..needs(1, 1)
            },
            Miss::DistinctInstance,
            "is already running a task of the same group",
        ),
        (
            "no such machine",
            Needs {
                member_of: member_of("attribute:ssd exists"),
                ..needs(1, 1)
            },
            Miss::MemberOf,
            "does not satisfy the memberOf placement constraint of your task",
        ),
        (
            "another processor",
            Needs {
                architecture: Some("ARM64".to_owned()),
                ..needs(1, 1)
            },
            Miss::Attribute,
            "is missing an attribute required by your task",
        ),
    ] {
        let refused = place(&base, &change, 0).unwrap_err();
        assert_eq!(refused.closest.as_ref().unwrap().1, miss, "{what}");
        assert_eq!(refused.reason(), miss.reason());
        let (node, _) = refused.closest.as_ref().unwrap();
        let told = format!(
            " because no container instance met all of its requirements. The closest matching (container-instance {node}) \
             {event}. For more information, see the Troubleshooting section of the Amazon ECS Developer Guide."
        );
        assert_eq!(refused.event(), told, "{what}");
        assert_eq!(refused.misses.len(), 3, "every machine is named");
    }
    assert_eq!(place_on(&base, "c", &needs(1, 1)).unwrap_err(), Miss::Agent);
    assert_eq!(place_on(&base, "nowhere", &needs(1, 1)).unwrap_err(), Miss::Agent);

    let nobody = place(&Fleet::default(), &needs(1, 1), 0).unwrap_err();
    assert_eq!(nobody.reason(), NO_INSTANCES);
    assert_eq!(
        nobody.event(),
        " because no container instance met all of its requirements. Reason: No Container Instances were found in your \
         cluster. For more information, see the Troubleshooting section of the Amazon ECS Developer Guide."
    );
    let fargate = place(
        &Fleet::default(),
        &Needs {
            fargate: true,
            ..needs(1, 1)
        },
        0,
    )
    .unwrap_err();
    assert_eq!(
        fargate.event(),
        format!(
            ". Reason: {FARGATE_CAPACITY}. For more information, see the Troubleshooting section of the Amazon ECS \
             Developer Guide."
        )
    );
}

#[test]
fn task_group_sees_only_its_own_cluster() {
    let mut base = fleet(&[("a", 1000, 1000, 0), ("b", 1000, 1000, 0)]);
    let web = needs(1, 1);
    let placed = place_on(&base, "b", &web).unwrap();
    take(&mut base, "web", &web, &placed);
    let near = Needs {
        member_of: vec![expression::parse("task:group == family:web").unwrap()],
        ..needs(1, 1)
    };
    assert_eq!(place(&base, &near, 0).unwrap().node, "b");
    let elsewhere = Needs {
        cluster: "us-east-1/other/".to_owned(),
        ..near
    };
    assert!(place(&base, &elsewhere, 0).is_err());
}

#[test]
fn fargate_tasks_spread_over_the_given_subnets_and_their_zones() {
    let mut base = fleet(&[("a", 9000, 9000, 0), ("b", 9000, 9000, 1), ("c", 9000, 9000, 2)]);
    let subnets = ["a", "b", "c"].map(|z| (format!("subnet-{z}"), format!("us-east-1{z}")));
    let wanted = Needs {
        fargate: true,
        subnets: subnets.to_vec(),
        ..needs(10, 10)
    };
    for n in 0..9 {
        let placed = place(&base, &wanted, n).unwrap();
        assert_eq!(placed.subnets.len(), 3, "a full subnet can be gone round");
        assert_eq!(placed.zone, format!("us-east-1{}", placed.node));
        take(&mut base, &format!("t{n}"), &wanted, &placed);
    }
    let group = base.group(&wanted.group).unwrap();
    assert_eq!(subnets.each_ref().map(|(id, _)| group.in_subnet(id)), [3, 3, 3]);

    // One machine serves every zone's subnet.
    let lonely = fleet(&[("a", 9000, 9000, 0)]);
    let only_b = Needs {
        subnets: vec![subnets[1].clone()],
        ..wanted
    };
    assert_eq!(place(&lonely, &only_b, 0).unwrap().subnets, ["subnet-b"]);
}

proptest! {
    /// Whatever comes and goes, no node is asked for more than it has, and what goes is given back to the last unit.
    #[test]
    fn a_node_is_never_over_committed(
        machines in prop::collection::vec((1u32..4000, 1u32..4000), 1..6),
        steps in prop::collection::vec((any::<bool>(), 0u32..1500, 0u32..1500, 0u16..4, any::<bool>(), any::<u64>()), 1..120),
    ) {
        let mut base = Fleet::default();
        for (at, (cpu, memory)) in machines.iter().enumerate() {
            base.set_node(node(&format!("n{at}"), *cpu, *memory, at as u32 % 3));
        }
        let mut live: Vec<String> = Vec::new();
        for (n, (add, cpu, memory, port, fargate, seed)) in steps.into_iter().enumerate() {
            if add || live.is_empty() {
                let mut wanted = Needs { fargate, ..needs(cpu, memory) };
                if port > 0 {
                    wanted.ports = vec![HostPort { first: port, last: port + 1, transport: Transport::Tcp }];
                }
                let again = place(&base, &wanted, seed);
                prop_assert_eq!(&again, &place(&base, &wanted, seed));
                if let Ok(placed) = again {
                    let key = format!("t{n}");
                    take(&mut base, &key, &wanted, &placed);
                    live.push(key);
                }
            } else {
                let key = live.swap_remove(seed as usize % live.len());
                base.set_held(&key, None);
            }
            for node in base.nodes() {
                prop_assert!(node.free_cpu() >= 0 && node.free_memory() >= 0);
                let mut ports = node.ports().to_vec();
                ports.sort();
                prop_assert!(ports.windows(2).all(|p| !p[0].overlaps(&p[1])));
            }
        }
        for key in live {
            base.set_held(&key, None);
        }
        for (node, (cpu, memory)) in base.nodes().iter().zip(&machines) {
            prop_assert_eq!(node.free_cpu(), i64::from(*cpu));
            prop_assert_eq!(node.free_memory(), i64::from(*memory));
            prop_assert_eq!(node.tasks(), 0);
        }
    }
}
