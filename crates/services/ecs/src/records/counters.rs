//! What a snapshot counts of tasks, so that describing a cluster of a hundred thousand tasks costs no search.

use super::{TaskRecord, TaskState};

/// Tasks of a cluster that are not STOPPED.
pub fn open_tasks(region: &str, cluster: &str) -> String {
    format!("task-open/{region}/{cluster}")
}

/// RUNNING tasks of a cluster by launch type (`FARGATE`, `EC2`).
pub fn running_tasks(region: &str, cluster: &str, launch_type: &str) -> String {
    format!("task-running/{region}/{cluster}/{launch_type}")
}

/// Tasks of a cluster on their way to RUNNING, by launch type.
pub fn pending_tasks(region: &str, cluster: &str, launch_type: &str) -> String {
    format!("task-pending/{region}/{cluster}/{launch_type}")
}

/// Tasks of a cluster that are not STOPPED, by capacity provider.
pub fn provider_tasks(region: &str, cluster: &str, capacity_provider: &str) -> String {
    format!("task-provider/{region}/{cluster}/{capacity_provider}")
}

/// Tasks of a task definition's revision that are not STOPPED.
pub fn revision_tasks(region: &str, family: &str, revision: u32) -> String {
    format!("task-revision/{region}/{family}/{revision}")
}

/// RUNNING tasks of a service's deployment (`ecs-svc/…`).
pub fn deployment_running(region: &str, cluster: &str, service: &str, deployment: &str) -> String {
    format!("deployment-running/{region}/{cluster}/{service}/{deployment}")
}

/// Tasks of a service's deployment on their way to RUNNING.
pub fn deployment_pending(region: &str, cluster: &str, service: &str, deployment: &str) -> String {
    format!("deployment-pending/{region}/{cluster}/{service}/{deployment}")
}

pub(super) fn of_task(task: &TaskRecord) -> Vec<String> {
    let (region, cluster) = (task.region.as_str(), task.cluster.as_str());
    if task.state == TaskState::Stopped {
        return Vec::new();
    }
    let mut out = vec![
        open_tasks(region, cluster),
        revision_tasks(region, &task.family, task.revision),
    ];
    match task.state {
        TaskState::Provisioning | TaskState::Pending | TaskState::Activating if task.is_shown() => {
            out.push(pending_tasks(region, cluster, &task.launch_type));
        }
        TaskState::Running => out.push(running_tasks(region, cluster, &task.launch_type)),
        _ => {}
    }
    if let Some(service) = task.service.as_ref().filter(|_| !task.is_lost()) {
        match task.state {
            TaskState::Provisioning | TaskState::Pending | TaskState::Activating if task.is_shown() => {
                out.push(deployment_pending(
                    region,
                    cluster,
                    &service.name,
                    &service.deployment_id,
                ));
            }
            TaskState::Running => out.push(deployment_running(
                region,
                cluster,
                &service.name,
                &service.deployment_id,
            )),
            _ => {}
        }
    }
    if let Some(provider) = &task.capacity_provider {
        out.push(provider_tasks(region, cluster, provider));
    }
    out
}
