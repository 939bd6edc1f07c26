//! `compatibilities` and `requiresAttributes`: where a definition could run, and what a container instance must be able
//! to do, in the ECS agent's words.

use super::{fargate::is_ecr, list, network_mode};
use crate::api;
use std::collections::BTreeSet;

/// Launch types that the definition fits.
pub(super) fn compatibilities(d: &api::TaskDefinition, fargate: bool) -> Vec<String> {
    let names: &[&str] = match (network_mode(d), fargate) {
        (_, true) => &["EC2", "FARGATE"],
        ("awsvpc", false) => &["EC2"],
        (_, false) => &["EXTERNAL", "EC2"],
    };
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// The attributes that the definition needs.
pub(super) fn required(d: &api::TaskDefinition) -> Vec<api::Attribute> {
    let mut needs = Needs::default();
    let execution_role = d.execution_role_arn.is_some();
    if d.task_role_arn.is_some() {
        needs.docker("1.17");
        match network_mode(d) {
            "host" => needs.com("task-iam-role-network-host"),
            _ => needs.com("task-iam-role"),
        }
    }
    if network_mode(d) == "awsvpc" {
        needs.docker("1.18");
        needs.ecs("task-eni");
    }
    let for_fargate = list(&d.requires_compatibilities).iter().any(|c| c == "FARGATE");
    if (d.cpu.is_some() || d.memory.is_some()) && !for_fargate {
        needs.ecs("task-cpu-mem-limit");
    }
    if d.pid_mode.is_some() || d.ipc_mode.is_some() {
        needs.ecs("pid-ipc-namespace-sharing");
    }
    for c in list(&d.container_definitions) {
        container(&mut needs, c, execution_role);
    }
    needs
        .0
        .into_iter()
        .map(|name| api::Attribute {
            name: Some(name),
            ..Default::default()
        })
        .collect()
}

fn container(needs: &mut Needs, c: &api::ContainerDefinition, execution_role: bool) {
    if is_ecr(c.image.as_deref().unwrap_or_default()) {
        needs.com("ecr-auth");
        if execution_role {
            needs.ecs("execution-role-ecr-pull");
        }
    }
    if let Some(driver) = c.log_configuration.as_ref().and_then(|log| log.log_driver.as_deref()) {
        needs.com(&format!("logging-driver.{driver}"));
        match driver {
            "awslogs" => {
                needs.docker("1.19");
                if execution_role {
                    needs.ecs("execution-role-awslogs");
                }
            }
            _ => needs.docker("1.18"),
        }
    }
    if c.privileged == Some(true) {
        needs.com("privileged-container");
    }
    if c.docker_labels.as_ref().is_some_and(|labels| !labels.is_empty()) || !list(&c.ulimits).is_empty() {
        needs.docker("1.18");
    }
    if c.memory_reservation.is_some() {
        needs.docker("1.21");
    }
    if let Some(linux) = &c.linux_parameters {
        if linux.shared_memory_size.is_some() || !list(&linux.tmpfs).is_empty() {
            needs.docker("1.22");
        }
        if linux.init_process_enabled == Some(true) {
            needs.docker("1.25");
        }
    }
    if !list(&c.system_controls).is_empty() {
        needs.docker("1.24");
    }
    if let Some(check) = &c.health_check {
        needs.ecs("container-health-check");
        needs.docker(if check.start_period.is_some() { "1.29" } else { "1.24" });
    }
    if !list(&c.depends_on).is_empty() || c.start_timeout.is_some() || c.stop_timeout.is_some() {
        needs.ecs("container-ordering");
    }
    if c.restart_policy
        .as_ref()
        .is_some_and(|policy| policy.enabled == Some(true))
    {
        needs.ecs("container-restart-policy");
    }
    if !list(&c.environment_files).is_empty() {
        needs.ecs("env-files.s3");
    }
    if list(&c.port_mappings)
        .iter()
        .any(|mapping| mapping.container_port_range.is_some())
    {
        needs.ecs("container-port-range");
    }
}

#[derive(Default)]
struct Needs(BTreeSet<String>);

impl Needs {
    fn docker(&mut self, version: &str) {
        self.com(&format!("docker-remote-api.{version}"));
    }

    /// Names from the agent's first years.
    fn com(&mut self, name: &str) {
        self.0.insert(format!("com.amazonaws.ecs.capability.{name}"));
    }

    fn ecs(&mut self, name: &str) {
        self.0.insert(format!("ecs.capability.{name}"));
    }
}
