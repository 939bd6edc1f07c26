//! What orders containers: dependsOn, links and volumesFrom. None may name a stranger, and together they may not go in a
//! circle, since each makes one container start before another.

use super::{Check, in_container, list, name};
use crate::api;

pub(super) fn check(d: &api::TaskDefinition) -> Check {
    let containers = list(&d.container_definitions);
    let find = |wanted: &str| containers.iter().position(|c| name(c) == wanted);
    let mut before: Vec<Vec<usize>> = Vec::with_capacity(containers.len());
    for (at, c) in containers.iter().enumerate() {
        let refuse = |rule: String| in_container(c, &rule);
        let mut own = Vec::new();
        for dependency in list(&c.depends_on) {
            let wanted = dependency.container_name.as_deref().unwrap_or_default();
            let Some(index) = find(wanted) else {
                return Err(refuse(format!(
                    "'dependsOn' names container '{wanted}', which does not exist."
                )));
            };
            if index == at {
                return Err(refuse("'dependsOn' must not name the container itself.".to_owned()));
            }
            if own.contains(&index) {
                return Err(refuse(format!(
                    "'dependsOn' names container '{wanted}' more than once."
                )));
            }
            let other = &containers[index];
            match dependency.condition.as_deref().unwrap_or_default() {
                "START" => {}
                condition @ ("COMPLETE" | "SUCCESS") if other.essential == Some(true) => {
                    return Err(refuse(format!(
                        "'dependsOn' cannot have the condition {condition} on essential container '{wanted}'."
                    )));
                }
                "COMPLETE" | "SUCCESS" => {}
                "HEALTHY" if other.health_check.is_none() => {
                    return Err(refuse(format!(
                        "'dependsOn' has the condition HEALTHY on container '{wanted}', which has no health check."
                    )));
                }
                "HEALTHY" => {}
                other => return Err(refuse(format!("'dependsOn' has an unknown condition: '{other}'."))),
            }
            own.push(index);
        }
        for link in list(&c.links) {
            let wanted = link.split_once(':').map_or(link.as_str(), |(wanted, _)| wanted);
            match find(wanted) {
                Some(index) if index != at => own.push(index),
                _ => {
                    return Err(refuse(format!(
                        "'links' name container '{wanted}', which does not exist."
                    )));
                }
            }
        }
        for source in list(&c.volumes_from) {
            let wanted = source.source_container.as_deref().unwrap_or_default();
            match find(wanted) {
                Some(index) if index != at => own.push(index),
                _ => {
                    return Err(refuse(format!(
                        "'volumesFrom' names container '{wanted}', which does not exist."
                    )));
                }
            }
        }
        before.push(own);
    }
    match circle(&before) {
        Some(at) => Err(in_container(
            &containers[at],
            "container dependencies must not form a cycle.",
        )),
        None => Ok(()),
    }
}

/// A container that cannot start because it waits, through others, for itself.
fn circle(before: &[Vec<usize>]) -> Option<usize> {
    let mut waiting: Vec<usize> = (0..before.len()).collect();
    loop {
        let left: Vec<usize> = waiting
            .iter()
            .copied()
            .filter(|at| before[*at].iter().any(|b| waiting.contains(b)))
            .collect();
        if left.len() == waiting.len() {
            return left.first().copied();
        }
        waiting = left;
    }
}
