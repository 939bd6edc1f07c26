use super::*;
use proptest::prelude::*;

fn check(protocol: Protocol, matcher: &str) -> HealthCheck {
    let spec = HealthCheckSpec {
        enabled: true,
        protocol,
        port: None,
        path: "/".to_owned(),
        interval: 10,
        timeout: 5,
        healthy_threshold: 3,
        unhealthy_threshold: 2,
        matcher: matcher.to_owned(),
    };
    HealthCheck::new(&spec, ProtocolVersion::Http1)
}

/// Findings an interval apart; state and description after each.
fn run(health: &mut Health, findings: &[Finding]) -> Vec<String> {
    let check = check(Protocol::Http, "200");
    (0..)
        .zip(findings)
        .map(|(turn, finding)| {
            health.observe(&check, *finding, Timestamp::from_secs(10 * turn));
            match health.why() {
                Some(why) => format!("{:?} {}: {}", health.state(), why.reason, why.description),
                None => format!("{:?}", health.state()),
            }
        })
        .collect()
}

const INITIAL: &str = "Initial Elb.InitialHealthChecking: Initial health checks in progress";

#[test]
fn a_new_target_is_healthy_after_one_passed_check() {
    let mut health = Health::new(true);
    let seen = run(&mut health, &[Finding::Failed, Finding::Http(200)]);
    assert_eq!(seen, [INITIAL, "Healthy"]);
}

#[test]
fn thresholds_count_consecutive_checks() {
    use Finding::*;
    let mut health = Health::new(true);
    let seen = run(
        &mut health,
        &[
            Http(200),
            Http(500),
            Http(200),
            Http(500),
            Http(503),
            Http(200),
            Http(200),
            Timeout,
            Http(200),
            Http(200),
            Http(200),
        ],
    );
    let mismatch = "Unhealthy Target.ResponseCodeMismatch: Health checks failed with these codes: [503]";
    assert_eq!(
        seen,
        [
            "Healthy",
            "Healthy",
            "Healthy",
            "Healthy",
            mismatch,
            mismatch,
            mismatch,
            "Unhealthy Target.Timeout: Request timed out",
            "Unhealthy Target.Timeout: Request timed out",
            "Unhealthy Target.Timeout: Request timed out",
            "Healthy",
        ]
    );
}

#[test]
fn a_new_target_is_unhealthy_after_the_threshold() {
    let mut health = Health::new(true);
    let seen = run(&mut health, &[Finding::Failed, Finding::Failed]);
    let failed = "Unhealthy Target.FailedHealthChecks: Health checks failed";
    assert_eq!(seen, [INITIAL, failed]);
}

#[test]
fn hurried_failures_of_a_new_target_count_once_an_interval() {
    let check = check(Protocol::Http, "200");
    let mut health = Health::new(true);
    for millis in (0..10_000).step_by(50) {
        health.observe(&check, Finding::Failed, Timestamp::from_millis(millis));
        assert_eq!(health.state(), TargetState::Initial);
    }
    assert!(health.observe(&check, Finding::Failed, Timestamp::from_secs(10)));
    assert_eq!(health.state(), TargetState::Unhealthy);
}

#[test]
fn without_checks_a_target_is_unavailable() {
    let check = check(Protocol::Http, "200");
    let mut health = Health::new(false);
    assert!(!health.observe(&check, Finding::Failed, Timestamp::from_secs(0)));
    assert_eq!(health.state(), TargetState::Unavailable);
    assert_eq!(health.why().map(|why| why.reason), Some("Target.HealthCheckDisabled"));
    health.enable(true);
    assert_eq!(health.state(), TargetState::Initial);
    health.observe(&check, Finding::Http(200), Timestamp::from_secs(0));
    health.enable(true);
    assert_eq!(health.state(), TargetState::Healthy);
}

#[test]
fn matchers() {
    let http = check(Protocol::Http, "200-299,301");
    let passing: Vec<u16> = (100..600).filter(|code| http.passes(Finding::Http(*code))).collect();
    assert_eq!(passing, (200..=299).chain([301]).collect::<Vec<u16>>());
    let grpc = check(Protocol::Http, "0-99");
    assert!(grpc.passes(Finding::Grpc(0)) && grpc.passes(Finding::Grpc(99)) && !grpc.passes(Finding::Grpc(100)));
    assert!(check(Protocol::Http, "").passes(Finding::Grpc(12)));
    let tcp = check(Protocol::Tcp, "");
    assert!(tcp.passes(Finding::Connected) && !tcp.passes(Finding::Failed) && !tcp.passes(Finding::Timeout));
}

proptest! {
    #[test]
    fn pauses_keep_to_the_interval(attempt in 1u32..100, random: u64) {
        let check = check(Protocol::Http, "200");
        let steady = check.delay(TargetState::Healthy, attempt, random);
        prop_assert!((Duration::from_secs(9)..=Duration::from_secs(11)).contains(&steady));
        let hurried = check.delay(TargetState::Initial, attempt, random);
        prop_assert!((SOON..=check.interval()).contains(&hurried));
        prop_assert_eq!(check.delay(TargetState::Healthy, 0, random), Duration::ZERO);
    }

    /// Never healthy without as many passed checks as it takes, never unhealthy with fewer failures.
    #[test]
    fn states_follow_from_the_last_checks(passed in proptest::collection::vec(any::<bool>(), 1..40)) {
        let check = check(Protocol::Http, "200");
        let mut health = Health::new(true);
        for (turn, pass) in passed.iter().enumerate() {
            let before = health.state();
            let finding = if *pass { Finding::Http(200) } else { Finding::Timeout };
            health.observe(&check, finding, Timestamp::from_secs(10 * turn as i64));
            let run = passed[..=turn].iter().rev().take_while(|one| *one == pass).count();
            let expected = match (before, pass) {
                (TargetState::Initial, true) => TargetState::Healthy,
                (TargetState::Unhealthy, true) if run >= 3 => TargetState::Healthy,
                (_, false) if run >= 2 => TargetState::Unhealthy,
                (before, _) => before,
            };
            prop_assert_eq!(health.state(), expected);
        }
    }
}
