//! Runs an operation and makes sure that only what AWS documents leaves the process.

use neargate_core::{AwsError, RequestContext};
use neargate_wire::dispatch::Outcome;
use neargate_wire::{Operation, ServiceDispatch};
use serde_json::Value;
use std::sync::Arc;

/// Codes that any operation may answer besides those of its service's model.
///
/// Source: "Common Errors" of the services' API references, and what validation of the tree may still find.
const COMMON: &[&str] = &[
    "AccessDeniedException",
    "SerializationException",
    "ThrottlingException",
    "UnsupportedOperation",
    "UnsupportedOperationException",
    "ValidationError",
    "ValidationException",
];

/// Runs the operation as a task of its own: a client that goes away does not stop it between two commits, and a panic
/// stays inside.
pub async fn run(
    service: Arc<dyn ServiceDispatch>,
    operation: &'static Operation,
    cx: Arc<RequestContext>,
    input: Value,
) -> Outcome {
    let running = {
        let (service, cx) = (service.clone(), cx.clone());
        tokio::spawn(async move {
            match service.call(operation.name, &cx, input) {
                Some(running) => running.await,
                // The schema lists it as served and the table lacks it: ours to mend.
                None => Err(AwsError::new(
                    "InternalFailure",
                    500,
                    format!("no route for {}", operation.name),
                )),
            }
        })
    };
    match running.await {
        Ok(Ok(reply)) => Ok(reply),
        Ok(Err(error)) => Err(presentable(
            service.schema().operations,
            operation,
            error,
            &cx.request_id,
        )),
        Err(e) => {
            tracing::error!(
                request_id = %cx.request_id, operation = operation.name, error = %e, "an operation panicked"
            );
            Err(internal(operation))
        }
    }
}

/// AWS's common error of a service that cannot answer for now.
const UNAVAILABLE: &str = "ServiceUnavailable";

/// `error` as it may leave: as it is when AWS's common errors or the service's model have it, if not for this operation then
/// for another: clients would try an internal failure again, and never see what they are to mend.
fn presentable(operations: &[Operation], operation: &Operation, error: AwsError, request_id: &str) -> AwsError {
    let code = error.code.as_ref();
    let modeled = || operations.iter().any(|other| other.errors.contains(&code));
    // Query services model few or none of their errors: there, every fault of the caller may pass.
    let listed = operation.errors.is_empty() || COMMON.contains(&code) || modeled();
    // What cannot be done for now says what to do about it.
    let unavailable = code == UNAVAILABLE || code == "ServiceUnavailableException" && operation.errors.contains(&code);
    if error.is_client_fault() && listed || unavailable {
        return error;
    }
    tracing::error!(
        request_id, operation = operation.name, code, status = error.status, message = error.message,
        extra = ?error.extra, "an operation failed inside"
    );
    internal(operation)
}

fn internal(operation: &Operation) -> AwsError {
    let mut error = AwsError::internal();
    if operation.errors.contains(&"ServerException") {
        error.code = "ServerException".into();
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(errors: &'static [&'static str]) -> Operation {
        Operation {
            name: "Op",
            method: "POST",
            uri: "/",
            input: None,
            output: None,
            result_wrapper: None,
            errors,
        }
    }

    #[test]
    fn only_documented_errors_leave_as_they_are() {
        let ecs = operation(&["ServerException", "ClientException"]);
        let others = [
            operation(&["ServerException", "ClientException"]),
            operation(&["ClusterNotFoundException"]),
        ];
        let code = |op: &Operation, code: &'static str, status| {
            let out = presentable(&others, op, AwsError::new(code, status, "the secret cause"), "id");
            assert_eq!(out.message.contains("secret"), out.status < 500);
            out.code.into_owned()
        };
        assert_eq!(code(&ecs, "ClientException", 400), "ClientException");
        assert_eq!(code(&ecs, "SerializationException", 400), "SerializationException");
        assert_eq!(code(&ecs, "ClusterNotFoundException", 400), "ClusterNotFoundException");
        assert_eq!(code(&ecs, "ServiceNotFoundException", 400), "ServerException");
        assert_eq!(code(&ecs, "ServerException", 500), "ServerException");
        assert_eq!(code(&operation(&["ClientException"]), "Odd", 400), "InternalFailure");
        assert_eq!(
            code(&operation(&[]), "InvalidVpcID.NotFound", 400),
            "InvalidVpcID.NotFound"
        );
        assert_eq!(code(&operation(&[]), "Whatever", 503), "InternalFailure");
        let full = AwsError::new("ServiceUnavailable", 503, "Free space");
        assert_eq!(presentable(&others, &ecs, full.clone(), "id"), full);
        let logs = operation(&["ServiceUnavailableException"]);
        let full = AwsError::new("ServiceUnavailableException", 500, "Free space");
        assert_eq!(presentable(&others, &logs, full.clone(), "id"), full);
        assert_eq!(code(&ecs, "ServiceUnavailableException", 500), "ServerException");
    }
}
