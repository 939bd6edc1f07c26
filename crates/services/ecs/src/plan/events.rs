//! Service events in AWS's words ("Amazon ECS service event messages" of the developer guide).

/// Something a service tells. `text` needs the service's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceEvent {
    /// Ids of the tasks, and how many of them replace unhealthy ones.
    Started {
        tasks: Vec<String>,
        for_unhealthy: u32,
    },
    Stopped {
        tasks: Vec<String>,
    },
    FailedHealthChecks {
        task: String,
    },
    /// A task's target fails its health checks.
    UnhealthyTarget {
        task: String,
        port: u16,
        /// ARN.
        group: String,
        reason: String,
    },
    /// How many targets joined a group (ARN).
    Registered {
        targets: u32,
        group: String,
    },
    Deregistered {
        targets: u32,
        group: String,
    },
    /// There is no such group (ARN).
    FailedToRegister {
        group: String,
    },
    Draining {
        tasks: u32,
    },
    SteadyState,
    DeploymentCompleted {
        deployment: String,
    },
    DeploymentFailed {
        deployment: String,
    },
    RollingBack {
        deployment: String,
    },
    /// The rest of the sentence, as `Waiting::event` has it.
    Unplaced {
        reason: String,
    },
    CannotStartConsistently,
    /// minimumHealthyPercent and maximumPercent allow no step.
    Blocked,
    /// Tasks that are too many are protected.
    Protected {
        deployment: String,
        tasks: u32,
    },
    /// A task could not even be made; the reason says why.
    CannotLaunch {
        reason: String,
    },
}

impl ServiceEvent {
    /// The order in which AWS tells what happens together.
    pub fn order(&self) -> u8 {
        match self {
            ServiceEvent::DeploymentFailed { .. } => 0,
            ServiceEvent::RollingBack { .. } => 1,
            ServiceEvent::Started { .. } => 2,
            ServiceEvent::FailedHealthChecks { .. } | ServiceEvent::UnhealthyTarget { .. } => 3,
            ServiceEvent::Stopped { .. }
            | ServiceEvent::Registered { .. }
            | ServiceEvent::Deregistered { .. }
            | ServiceEvent::FailedToRegister { .. }
            | ServiceEvent::Draining { .. } => 4,
            ServiceEvent::Unplaced { .. }
            | ServiceEvent::CannotLaunch { .. }
            | ServiceEvent::CannotStartConsistently
            | ServiceEvent::Protected { .. }
            | ServiceEvent::Blocked => 5,
            ServiceEvent::DeploymentCompleted { .. } => 6,
            ServiceEvent::SteadyState => 7,
        }
    }

    /// The message as DescribeServices answers it.
    pub fn text(&self, service: &str) -> String {
        let rest = match self {
            ServiceEvent::Started {
                tasks,
                for_unhealthy: 0,
            } => {
                format!("has started {} tasks: {}.", tasks.len(), listed(tasks))
            }
            ServiceEvent::Started { tasks, for_unhealthy } => format!(
                "has started {} tasks: {}. Amazon ECS replaced {for_unhealthy} tasks due to an unhealthy status.",
                tasks.len(),
                listed(tasks)
            ),
            ServiceEvent::Stopped { tasks } => format!("has stopped {} running tasks: {}.", tasks.len(), listed(tasks)),
            ServiceEvent::FailedHealthChecks { task } => format!("(task {task}) failed container health checks."),
            ServiceEvent::UnhealthyTarget {
                task,
                port,
                group,
                reason,
            } => {
                format!("(task {task}) (port {port}) is unhealthy in (target-group {group}) due to (reason {reason}).")
            }
            ServiceEvent::Registered { targets, group } => {
                format!("registered {targets} targets in (target-group {group})")
            }
            ServiceEvent::Deregistered { targets, group } => {
                format!("deregistered {targets} targets in (target-group {group})")
            }
            ServiceEvent::FailedToRegister { group } => format!(
                "failed to register targets in (target-group {group}) with (error One or more target groups not found)"
            ),
            ServiceEvent::Draining { tasks } => format!("has begun draining connections on {tasks} tasks."),
            ServiceEvent::SteadyState => "has reached a steady state.".to_owned(),
            ServiceEvent::DeploymentCompleted { deployment } => {
                format!("(deployment {deployment}) deployment completed.")
            }
            ServiceEvent::DeploymentFailed { deployment } => {
                format!("(deployment {deployment}) deployment failed: tasks failed to start.")
            }
            ServiceEvent::RollingBack { deployment } => format!("rolling back to deployment {deployment}."),
            ServiceEvent::Unplaced { reason } => format!("was unable to place a task{reason}"),
            ServiceEvent::CannotStartConsistently => "is unable to consistently start tasks successfully. For more \
                information, see the Troubleshooting section of the Amazon ECS Developer Guide."
                .to_owned(),
            ServiceEvent::Blocked => "was unable to stop or start tasks during a deployment because of the service \
                deployment configuration. Update the minimumHealthyPercent or maximumPercent value and try again."
                .to_owned(),
            ServiceEvent::CannotLaunch { reason } => format!("was unable to place a task. Reason: {reason}"),
            ServiceEvent::Protected { deployment, tasks } => {
                return format!(
                    "(service {service}, taskSet {deployment}) was unable to scale in due to (reason {tasks} tasks under \
                     protection)"
                );
            }
        };
        format!("(service {service}) {rest}")
    }
}

fn listed(tasks: &[String]) -> String {
    let parts: Vec<String> = tasks.iter().map(|id| format!("(task {id})")).collect();
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_read_as_on_aws() {
        let started = ServiceEvent::Started {
            tasks: vec!["a".to_owned(), "b".to_owned()],
            for_unhealthy: 0,
        };
        assert_eq!(
            started.text("web"),
            "(service web) has started 2 tasks: (task a) (task b)."
        );
        let replaced = ServiceEvent::Started {
            tasks: vec!["a".to_owned()],
            for_unhealthy: 1,
        };
        assert_eq!(
            replaced.text("web"),
            "(service web) has started 1 tasks: (task a). Amazon ECS replaced 1 tasks due to an unhealthy status."
        );
        let failed = ServiceEvent::DeploymentFailed {
            deployment: "ecs-svc/1".to_owned(),
        };
        assert_eq!(
            failed.text("web"),
            "(service web) (deployment ecs-svc/1) deployment failed: tasks failed to start."
        );
    }
}
