//! Stop codes and the words of stopped reasons, as ECS gives them.

use neargate_link::LaunchType;

/// The task never reached RUNNING.
pub const TASK_FAILED_TO_START: &str = "TaskFailedToStart";
/// An essential container ended.
pub const ESSENTIAL_CONTAINER_EXITED: &str = "EssentialContainerExited";

pub const ESSENTIAL_EXITED: &str = "Essential container in task exited";
pub const OUT_OF_MEMORY: &str = "OutOfMemoryError: Container killed due to memory usage";

/// What a container that was running when its shim was lost reports.
pub const SHIM_LOST: &str =
    "ContainerRuntimeError: the process that held the container ended, and the container with it";
/// What a container reports whose task lost its place in the node's desired set.
pub const NOT_WANTED: &str = "The task is no longer assigned to this node";

/// Why a container whose log control refused does not start. Fargate checks where logs go before it starts anything and
/// gives the whole task up; on EC2 it is Docker that fails, and the container alone.
pub fn log_refused(launch_type: LaunchType, error: &str) -> String {
    let cause = format!("failed to create Cloudwatch log stream: {error}");
    match launch_type {
        LaunchType::Fargate => Failure::ResourceInitialization.because(format_args!(
            "failed to validate logger args: create stream has been retried 1 times: {cause} : exit status 1"
        )),
        LaunchType::Ec2 => Failure::CannotStartContainer.because(format_args!(
            "Error response from daemon: failed to initialize logging driver: {cause}"
        )),
    }
}

/// The longest reason ECS answers (`Container.reason`).
const REASON_LIMIT: usize = 1024;

/// A failure by ECS's error name and its cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    CannotPullContainer,
    CannotCreateContainer,
    CannotStartContainer,
    ContainerRuntimeTimeout,
    ResourceInitialization,
}

impl Failure {
    fn name(self) -> &'static str {
        match self {
            Failure::CannotPullContainer => "CannotPullContainerError",
            Failure::CannotCreateContainer => "CannotCreateContainerError",
            Failure::CannotStartContainer => "CannotStartContainerError",
            Failure::ContainerRuntimeTimeout => "ContainerRuntimeTimeoutError",
            Failure::ResourceInitialization => "ResourceInitializationError",
        }
    }

    /// `CannotPullContainerError: cause`, cut to what ECS allows.
    pub fn because(self, cause: impl std::fmt::Display) -> String {
        limited(format!("{}: {cause}", self.name()))
    }

    /// True when `reason` tells of a failure of the whole task rather than of one container.
    pub fn concerns_task(reason: &str) -> bool {
        reason.starts_with(Failure::ResourceInitialization.name())
    }
}

/// `reason` within 1,024 characters.
pub fn limited(mut reason: String) -> String {
    if let Some((cut, _)) = reason.char_indices().nth(REASON_LIMIT) {
        reason.truncate(cut);
    }
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_carry_the_ecs_name_and_stay_within_its_limit() {
        assert_eq!(
            Failure::CannotPullContainer.because("pull image manifest: not found"),
            "CannotPullContainerError: pull image manifest: not found"
        );
        assert_eq!(limited("ä".repeat(2000)).chars().count(), 1024);
        assert!(Failure::concerns_task(&Failure::ResourceInitialization.because("x")));
    }

    #[test]
    fn a_log_without_a_group_fails_as_the_launch_type_does_on_aws() {
        let error = "ResourceNotFoundException: The specified log group does not exist.";
        let fargate = log_refused(LaunchType::Fargate, error);
        assert_eq!(
            fargate,
            "ResourceInitializationError: failed to validate logger args: create stream has been retried 1 times: failed \
             to create Cloudwatch log stream: ResourceNotFoundException: The specified log group does not exist. : exit \
             status 1"
        );
        assert!(Failure::concerns_task(&fargate));
        assert!(!Failure::concerns_task(&log_refused(LaunchType::Ec2, error)));
    }
}
