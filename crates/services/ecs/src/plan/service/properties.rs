//! What holds for every service, whatever happens to it. The simulator asserts the limits after every plan.

use super::simulator::{Behaviour, Simulator};
use crate::plan::deployment::Limits;
use crate::records::{RolloutState, SchedulingStrategy, TaskState};
use proptest::prelude::*;
use std::time::Duration;

#[derive(Clone, Debug)]
enum Move {
    Run(u64),
    /// Deploys a new revision with this behaviour.
    Deploy(Behaviour),
    Scale(u32),
    Kill(prop::sample::Index),
    UserStop(prop::sample::Index),
    Lose(prop::sample::Index),
    Unhealthy(prop::sample::Index),
    Protect(prop::sample::Index, u64),
    Node(u8, Option<bool>),
}

fn behaviour() -> impl Strategy<Value = Behaviour> {
    let ms = |range: std::ops::Range<u64>| range.prop_map(Duration::from_millis);
    let sometimes = |range| prop::option::weighted(0.3, ms(range));
    (
        ms(1..20_000),
        prop::bool::weighted(0.2),
        sometimes(1..100_000),
        sometimes(1..60_000),
        sometimes(1..90_000),
        ms(0..30_000),
    )
        .prop_map(|(starts, fails_to_start, exits, healthy, unhealthy, stops)| Behaviour {
            starts,
            fails_to_start,
            exits,
            healthy,
            unhealthy,
            stops,
        })
}

fn a_move() -> impl Strategy<Value = Move> {
    prop_oneof![
        4 => (1..60_000u64).prop_map(Move::Run),
        2 => behaviour().prop_map(Move::Deploy),
        1 => (0..12u32).prop_map(Move::Scale),
        2 => any::<prop::sample::Index>().prop_map(Move::Kill),
        1 => any::<prop::sample::Index>().prop_map(Move::UserStop),
        1 => any::<prop::sample::Index>().prop_map(Move::Lose),
        1 => any::<prop::sample::Index>().prop_map(Move::Unhealthy),
        1 => (any::<prop::sample::Index>(), 1..100_000u64).prop_map(|(i, ms)| Move::Protect(i, ms)),
        1 => (0..6u8, prop::option::of(any::<bool>())).prop_map(|(n, state)| Move::Node(n, state)),
    ]
}

/// What takes tasks from a service while it cannot roll, or asks more of it.
fn a_loss() -> impl Strategy<Value = Move> {
    prop_oneof![
        4 => (1..60_000u64).prop_map(Move::Run),
        1 => (1..3u32).prop_map(Move::Scale),
        2 => any::<prop::sample::Index>().prop_map(Move::Kill),
        2 => any::<prop::sample::Index>().prop_map(Move::UserStop),
        1 => any::<prop::sample::Index>().prop_map(Move::Lose),
        2 => any::<prop::sample::Index>().prop_map(Move::Unhealthy),
    ]
}

fn play(sim: &mut Simulator, moves: &[Move]) {
    let mut revision = 1;
    for one in moves {
        let running = sim.ids(TaskState::Running);
        let pick = |i: &prop::sample::Index| (!running.is_empty()).then(|| i.get(&running).clone());
        match one {
            Move::Run(ms) => sim.run(Duration::from_millis(*ms)),
            Move::Deploy(behaviour) => {
                revision += 1;
                sim.behaviours.insert(revision, behaviour.clone());
                sim.deploy(revision);
            }
            Move::Scale(n) if !sim.service.is_daemon() => sim.scale(*n),
            Move::Scale(_) => {}
            Move::Kill(i) => pick(i).iter().for_each(|id| sim.kill(id)),
            Move::UserStop(i) => pick(i).iter().for_each(|id| sim.user_stop(id)),
            Move::Lose(i) => pick(i).iter().for_each(|id| sim.lose(id)),
            Move::Unhealthy(i) => pick(i)
                .iter()
                .for_each(|id| sim.set_health(id, super::Checks::Unhealthy)),
            Move::Protect(i, ms) => pick(i)
                .iter()
                .for_each(|id| sim.protect(id, Duration::from_millis(*ms))),
            Move::Node(n, state) if sim.service.is_daemon() => sim.set_node(&format!("n{n}"), *state),
            Move::Node(..) => {}
        }
        assert!(sim.plan().is_empty(), "planning again on the outcome changes something");
    }
}

/// Deploys a revision that works and waits until nothing can be on its way any more.
fn recover(sim: &mut Simulator, revision: u32) {
    sim.behaviours.insert(
        revision,
        Behaviour {
            stops: Duration::from_secs(1),
            ..Behaviour::default()
        },
    );
    for node in sim.nodes.values_mut() {
        *node = true;
    }
    sim.find();
    sim.deploy(revision);
    sim.run(Duration::from_secs(1800));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn a_replica_service_keeps_its_limits_and_gets_there_when_failures_stop(
        desired in 0..12u32,
        (minimum, maximum) in (0..=100i32, 100..=250i32).prop_filter("AWS refuses it", |p| *p != (100, 100)),
        breaker in prop::option::of((any::<bool>(), prop::option::of(1..5i32), prop::option::of(any::<bool>()))),
        budget in prop_oneof![Just(96usize), 2..6usize],
        moves in prop::collection::vec(a_move(), 1..25),
    ) {
        let mut sim = Simulator::new(desired, minimum, maximum);
        sim.budget = budget;
        if let Some((rollback, count, reset)) = breaker {
            sim.breaker(rollback, count, reset);
        }
        sim.deploy(1);
        play(&mut sim, &moves);
        recover(&mut sim, 999);
        let desired = sim.service.desired_count;
        // A rollout may be impossible by its percents; then the old tasks are still there.
        let limits = Limits::of(&sim.service.deployment_configuration, desired);
        if limits.upper > desired || limits.lower < desired {
            prop_assert_eq!(sim.rollout(), RolloutState::Completed, "{}", sim.transcript);
            prop_assert_eq!(sim.healthy(), desired, "{}", sim.transcript);
            prop_assert_eq!(sim.service.deployments.len(), 1);
            prop_assert!(sim.service.steady_at.is_some());
        }
    }

    #[test]
    fn a_stuck_rollout_leaves_the_old_revision_what_it_needs(
        desired in 1..8u32,
        minimum in prop_oneof![Just(100), 0..=100i32],
        maximum in 100..=250i32,
        unhealthy in 1..60_000u64,
        moves in prop::collection::vec(a_loss(), 1..20),
    ) {
        let mut sim = Simulator::new(desired, minimum, maximum);
        let checked = |healthy, unhealthy| Behaviour { healthy, unhealthy, ..Behaviour::default() };
        sim.behaviours.insert(1, checked(Some(Duration::from_secs(5)), None));
        sim.behaviours.insert(2, checked(None, Some(Duration::from_millis(unhealthy))));
        sim.deploy(1);
        sim.run(Duration::from_secs(60));
        sim.deploy(2);
        for one in moves {
            match one {
                Move::Scale(more) => sim.scale(sim.service.desired_count + more),
                other => play(&mut sim, &[other]),
            }
        }
        sim.run(Duration::from_secs(3600));
        let lower = Limits::of(&sim.service.deployment_configuration, sim.service.desired_count).lower;
        prop_assert!(sim.healthy() >= lower, "{} of {lower}:\n{}", sim.healthy(), sim.transcript);
        // Without need, nothing of it is given up.
        if maximum >= 200 {
            prop_assert_eq!(sim.healthy(), sim.service.desired_count, "{}", sim.transcript);
        }
    }

    #[test]
    fn a_daemon_service_keeps_one_task_on_every_node(
        minimum in 0..=99i32,
        nodes in 0..6u8,
        moves in prop::collection::vec(a_move(), 1..25),
    ) {
        let mut sim = Simulator::new(0, minimum, 100);
        sim.service.scheduling = SchedulingStrategy::Daemon;
        for n in 0..nodes {
            sim.nodes.insert(format!("n{n}"), true);
        }
        sim.deploy(1);
        play(&mut sim, &moves);
        recover(&mut sim, 999);
        let nodes = u32::try_from(sim.nodes.len()).unwrap();
        let limits = Limits::of(&sim.service.deployment_configuration, nodes);
        if limits.lower < nodes || nodes == 0 {
            prop_assert_eq!(sim.healthy(), nodes, "{}", sim.transcript);
            prop_assert_eq!(sim.rollout(), RolloutState::Completed, "{}", sim.transcript);
        }
    }

    #[test]
    fn the_circuit_breaker_triggers_at_its_threshold_exactly(
        threshold in 1..8i32,
        fails_to_start in any::<bool>(),
        starts in 1..5_000u64,
    ) {
        let mut sim = Simulator::new(1, 100, 200);
        sim.breaker(false, Some(threshold), None);
        let behaviour = Behaviour {
            starts: Duration::from_millis(starts),
            fails_to_start,
            exits: (!fails_to_start).then_some(Duration::from_millis(10)),
            ..Behaviour::default()
        };
        sim.behaviours.insert(1, behaviour);
        sim.deploy(1);
        sim.run(Duration::from_secs(3600));
        prop_assert_eq!(sim.rollout(), RolloutState::Failed);
        prop_assert_eq!(i32::try_from(sim.service.deployments[0].failures).unwrap(), threshold);
        prop_assert_eq!(sim.transcript.matches("has started 1 tasks").count(), usize::try_from(threshold).unwrap());
    }
}
