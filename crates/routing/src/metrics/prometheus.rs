//! The numbers in Prometheus' text format 0.0.4: `elb_` and CloudWatch's name for balancers, `elb_target_group_` and
//! CloudWatch's name for target groups, so that a sum over one family counts nothing twice.

use super::{BOUNDS, BalancerCounter, GroupCounter, GroupSnapshot, MetricsSnapshot};
use std::fmt::{self, Write as _};

/// Renders a snapshot.
pub fn prometheus(snapshot: &MetricsSnapshot) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write(snapshot, &mut out);
    out
}

fn write(snapshot: &MetricsSnapshot, out: &mut String) -> fmt::Result {
    for counter in BalancerCounter::ALL {
        let name = format!("elb_{}", counter.name());
        let values = snapshot.balancers.iter().filter_map(|balancer| {
            let (_, value) = balancer.counters.iter().find(|(one, _)| one == counter)?;
            Some((format!("LoadBalancer=\"{}\"", escaped(&balancer.id)), *value))
        });
        family(out, &name, if counter.is_gauge() { "gauge" } else { "counter" }, values)?;
    }
    for counter in GroupCounter::ALL {
        let name = format!("elb_target_group_{}", counter.name());
        let values = snapshot.groups.iter().filter_map(|group| {
            let (_, value) = group.counters.iter().find(|(one, _)| one == counter)?;
            Some((labels(group), *value))
        });
        family(out, &name, "counter", values)?;
    }
    let healthy = snapshot.groups.iter().map(|group| (labels(group), group.healthy_hosts));
    family(out, "elb_target_group_HealthyHostCount", "gauge", healthy)?;
    let unhealthy = snapshot
        .groups
        .iter()
        .map(|group| (labels(group), group.unhealthy_hosts));
    family(out, "elb_target_group_UnHealthyHostCount", "gauge", unhealthy)?;
    response_times(out, &snapshot.groups)
}

fn family(out: &mut String, name: &str, kind: &str, values: impl Iterator<Item = (String, u64)>) -> fmt::Result {
    let mut values = values.peekable();
    if values.peek().is_some() {
        writeln!(out, "# TYPE {name} {kind}")?;
    }
    values.try_for_each(|(labels, value)| writeln!(out, "{name}{{{labels}}} {value}"))
}

fn response_times(out: &mut String, groups: &[GroupSnapshot]) -> fmt::Result {
    const NAME: &str = "elb_target_group_TargetResponseTime_seconds";
    if !groups.is_empty() {
        writeln!(out, "# TYPE {NAME} histogram")?;
    }
    for group in groups {
        let labels = labels(group);
        let times = &group.response_times;
        let mut count = 0;
        let bounds = BOUNDS.iter().map(|micros| seconds(*micros)).chain(["+Inf".to_owned()]);
        for (bound, bucket) in bounds.zip(times.buckets) {
            count += bucket;
            writeln!(out, "{NAME}_bucket{{{labels},le=\"{bound}\"}} {count}")?;
        }
        writeln!(out, "{NAME}_sum{{{labels}}} {}", seconds(times.sum_micros))?;
        writeln!(out, "{NAME}_count{{{labels}}} {count}")?;
    }
    Ok(())
}

fn labels(group: &GroupSnapshot) -> String {
    format!(
        "LoadBalancer=\"{}\",TargetGroup=\"{}\"",
        escaped(&group.balancer),
        escaped(&group.id)
    )
}

fn escaped(label: &str) -> String {
    label.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

/// Without rounding.
fn seconds(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
