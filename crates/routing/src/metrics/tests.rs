use super::*;

#[test]
fn counters_add_up_over_threads_and_gauges_go_down() {
    let metrics = BalancerMetrics::default();
    for shard in 0..20 {
        metrics.add(shard, BalancerCounter::ActiveConnectionCount, 1);
    }
    // A thread may close what another opened.
    metrics.less(0, BalancerCounter::ActiveConnectionCount, 19);
    assert_eq!(metrics.get(BalancerCounter::ActiveConnectionCount), 1);
}

#[test]
fn own_answers_count_by_class_and_some_alone() {
    let metrics = BalancerMetrics::default();
    for code in [301, 404, 460, 502, 504, 561, 200] {
        metrics.status(0, code);
    }
    let get = |counter| metrics.get(counter);
    assert_eq!(get(BalancerCounter::Elb3xx), 1);
    assert_eq!(get(BalancerCounter::Elb4xx), 2);
    assert_eq!(get(BalancerCounter::Elb5xx), 3);
    assert_eq!(get(BalancerCounter::Elb502), 1);
    assert_eq!(get(BalancerCounter::Elb503), 0);
    assert_eq!(get(BalancerCounter::Elb504), 1);
}

#[test]
fn flows_count_in_total_and_by_protocol() {
    let metrics = BalancerMetrics::default();
    metrics.flow_begins(0, Protocol::Tcp);
    metrics.flow_begins(1, Protocol::Udp);
    metrics.flow_ends(2, Protocol::Tcp);
    metrics.flow_bytes(0, Protocol::Tls, 10);
    let get = |counter| metrics.get(counter);
    assert_eq!(get(BalancerCounter::NewFlowCount), 2);
    assert_eq!(get(BalancerCounter::ActiveFlowCount), 1);
    assert_eq!(get(BalancerCounter::ActiveFlowCountUdp), 1);
    assert_eq!(get(BalancerCounter::ActiveFlowCountTcp), 0);
    assert_eq!(get(BalancerCounter::ProcessedBytes), 10);
    assert_eq!(get(BalancerCounter::ProcessedBytesTls), 10);
}

#[test]
fn kinds_of_balancers_have_their_own_counters() {
    let metrics = BalancerMetrics::default();
    let names = |kind| -> Vec<_> {
        let snapshot = metrics.snapshot("x", kind);
        snapshot.counters.iter().map(|(counter, _)| counter.name()).collect()
    };
    let application = names(BalancerKind::Application);
    let network = names(BalancerKind::Network);
    assert!(application.contains(&"RequestCount") && !application.contains(&"NewFlowCount"));
    assert!(!network.contains(&"RequestCount") && network.contains(&"NewFlowCount"));
    assert!(application.contains(&"ProcessedBytes") && network.contains(&"ProcessedBytes"));
}

#[test]
fn prometheus_reads_what_was_counted() {
    let balancer = BalancerMetrics::default();
    balancer.add(0, BalancerCounter::RequestCount, 3);
    let group = GroupMetrics::default();
    group.status(0, 204);
    group.response_time(0, Duration::from_micros(500));
    group.response_time(1, Duration::from_millis(7));
    group.response_time(2, Duration::from_secs(100));
    let text = prometheus(&MetricsSnapshot {
        balancers: vec![balancer.snapshot("app/web/1", BalancerKind::Application)],
        groups: vec![group.snapshot("app/web/1", "targetgroup/a\"b/2", (2, 1))],
    });
    for line in [
        "# TYPE elb_RequestCount counter",
        "elb_RequestCount{LoadBalancer=\"app/web/1\"} 3",
        "# TYPE elb_ActiveConnectionCount gauge",
        "elb_target_group_HTTPCode_Target_2XX_Count{LoadBalancer=\"app/web/1\",TargetGroup=\"targetgroup/a\\\"b/2\"} 1",
        "elb_target_group_HealthyHostCount{LoadBalancer=\"app/web/1\",TargetGroup=\"targetgroup/a\\\"b/2\"} 2",
        "elb_target_group_TargetResponseTime_seconds_bucket{LoadBalancer=\"app/web/1\",TargetGroup=\"targetgroup/a\\\"b/2\",le=\"0.0005\"} 1",
        "elb_target_group_TargetResponseTime_seconds_bucket{LoadBalancer=\"app/web/1\",TargetGroup=\"targetgroup/a\\\"b/2\",le=\"0.01\"} 2",
        "elb_target_group_TargetResponseTime_seconds_bucket{LoadBalancer=\"app/web/1\",TargetGroup=\"targetgroup/a\\\"b/2\",le=\"60\"} 2",
        "elb_target_group_TargetResponseTime_seconds_bucket{LoadBalancer=\"app/web/1\",TargetGroup=\"targetgroup/a\\\"b/2\",le=\"+Inf\"} 3",
        "elb_target_group_TargetResponseTime_seconds_sum{LoadBalancer=\"app/web/1\",TargetGroup=\"targetgroup/a\\\"b/2\"} 100.0075",
        "elb_target_group_TargetResponseTime_seconds_count{LoadBalancer=\"app/web/1\",TargetGroup=\"targetgroup/a\\\"b/2\"} 3",
    ] {
        assert!(text.lines().any(|one| one == line), "{line}\n{text}");
    }
    assert!(!text.contains("NewFlowCount"));
}
