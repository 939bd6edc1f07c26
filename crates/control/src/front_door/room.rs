//! What is refused while the store's disk is full: what would add to it. Reading, stopping and deleting go on in the room that
//! the store keeps, so that what fills the disk can be ended.

use neargate_core::AwsError;

const ADDING: [&str; 12] = [
    "Add",
    "Allocate",
    "Authorize",
    "Create",
    "Import",
    "Put",
    "Register",
    "Request",
    "Run",
    "Start",
    "Tag",
    "Upload",
];

/// # Errors
/// When `operation` adds to what is stored and the disk `is_full`.
pub fn check(operation: &str, is_full: impl Fn() -> bool) -> Result<(), AwsError> {
    match ADDING.iter().any(|verb| operation.starts_with(verb)) && is_full() {
        true => Err(neargate_store::full()),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_refuses_what_adds_and_lets_pass_what_ends() {
        for adding in ["CreateService", "RunTask", "RegisterTaskDefinition", "PutLogEvents"] {
            assert_eq!(
                check(adding, || true).unwrap_err().code,
                "ServiceUnavailable",
                "{adding}"
            );
            assert!(check(adding, || false).is_ok(), "{adding}");
        }
        for passing in [
            "StopTask",
            "DeleteService",
            "UpdateService",
            "DescribeTasks",
            "DeregisterTargets",
        ] {
            assert!(check(passing, || true).is_ok(), "{passing}");
        }
    }
}
