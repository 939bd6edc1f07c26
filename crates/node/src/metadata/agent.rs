//! What a task may do for itself at `ECS_AGENT_URI`: ask about its protection from scale-in, and change it. Pure.
//!
//! Source: "Amazon ECS task scale-in protection endpoint" of the ECS developer guide; statuses and order of checks are those of
//! the ECS agent.

use super::protection::Unanswered;
use http::StatusCode;
use neargate_link::{ProtectionAnswer, ProtectionChange};
use serde_json::{Map, Value, json};

/// An answer over HTTP.
pub type Answer = (StatusCode, Value);

/// The token in the path of the endpoint, `/api/TOKEN/task-protection/v1/state`.
pub fn token(path: &str) -> Option<&str> {
    let token = path.strip_prefix("/api/")?.strip_suffix("/task-protection/v1/state")?;
    (!token.contains('/')).then_some(token)
}

/// A request to change the protection, as far as it can be read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    pub enabled: Option<bool>,
    pub expires_in_minutes: Option<i32>,
}

impl Wanted {
    /// # Errors
    /// The answer to a body that cannot be read.
    pub fn parse(body: &[u8]) -> Result<Wanted, Answer> {
        let unreadable = || {
            let message = "UpdateTaskProtection: failed to decode request";
            error(StatusCode::BAD_REQUEST, None, "InvalidParameterException", message)
        };
        let members: Map<String, Value> = serde_json::from_slice(body).map_err(|_| unreadable())?;
        let mut wanted = Wanted::default();
        for (name, value) in members {
            // As Go reads names.
            match (name.to_ascii_lowercase().as_str(), &value) {
                ("protectionenabled" | "expiresinminutes", Value::Null) => {}
                ("protectionenabled", Value::Bool(enabled)) => wanted.enabled = Some(*enabled),
                ("expiresinminutes", Value::Number(minutes)) => {
                    let minutes = minutes.as_i64().ok_or_else(unreadable)?;
                    // No such time is allowed, which control says.
                    wanted.expires_in_minutes = Some(i32::try_from(minutes).unwrap_or(i32::MAX));
                }
                _ => return Err(unreadable()),
            }
        }
        Ok(wanted)
    }

    /// # Errors
    /// The answer to one that does not say what it wants.
    pub fn change(&self, task_arn: &str) -> Result<ProtectionChange, Answer> {
        let Some(enabled) = self.enabled else {
            let message = "Invalid request: does not contain 'ProtectionEnabled' field";
            return Err(error(
                StatusCode::BAD_REQUEST,
                Some(task_arn),
                "InvalidParameterException",
                message,
            ));
        };
        Ok(ProtectionChange {
            enabled,
            expires_in_minutes: self.expires_in_minutes,
        })
    }
}

/// The answer to a token that is not one of the task that asks.
pub fn not_found() -> Answer {
    let message = "Failed to find a task for the request";
    error(StatusCode::NOT_FOUND, None, "ResourceNotFoundException", message)
}

/// What control says of the task.
pub fn answer(task_arn: &str, said: Result<ProtectionAnswer, Unanswered>) -> Answer {
    match said {
        Ok(ProtectionAnswer::Protection { until }) => {
            let protection = json!({
                "ExpirationDate": until.map(|until| until.iso8601()),
                "ProtectionEnabled": until.is_some(),
                "TaskArn": task_arn,
            });
            (StatusCode::OK, json!({ "protection": protection }))
        }
        Ok(ProtectionAnswer::Failure { reason, detail }) => {
            let failure = json!({ "Arn": task_arn, "Detail": detail, "Reason": reason });
            (StatusCode::OK, json!({ "failure": failure }))
        }
        Ok(ProtectionAnswer::Error {
            status,
            code,
            message,
            request_id,
        }) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let (status, mut document) = error(status, Some(task_arn), &code, &message);
            document["requestID"] = json!(request_id);
            (status, document)
        }
        Err(Unanswered::Throttled) => {
            let (code, message) = ("ThrottlingException", "Rate exceeded");
            error(StatusCode::BAD_REQUEST, Some(task_arn), code, message)
        }
        Err(Unanswered::TimedOut) => {
            let (code, message) = ("RequestCanceled", "Timed out calling ECS Task Protection API");
            error(StatusCode::GATEWAY_TIMEOUT, Some(task_arn), code, message)
        }
    }
}

fn error(status: StatusCode, task_arn: Option<&str>, code: &str, message: &str) -> Answer {
    let mut error = json!({ "Code": code, "Message": message });
    if let Some(arn) = task_arn {
        error["Arn"] = json!(arn);
    }
    (status, json!({ "error": error }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use neargate_core::Timestamp;

    #[test]
    fn the_token_is_read_out_of_the_path() {
        assert_eq!(token("/api/0a/task-protection/v1/state"), Some("0a"));
        for other in [
            "/api/0a",
            "/api/0a/b/task-protection/v1/state",
            "/v4/0a/task",
            "/api/task-protection/v1/state",
        ] {
            assert_eq!(token(other), None, "{other}");
        }
    }

    #[test]
    fn bodies_are_read_as_the_agent_reads_them() {
        let parse = |text: &str| Wanted::parse(text.as_bytes());
        let wanted = |enabled, expires_in_minutes| Wanted {
            enabled,
            expires_in_minutes,
        };
        assert_eq!(
            parse(r#"{"ProtectionEnabled":true,"ExpiresInMinutes":60}"#),
            Ok(wanted(Some(true), Some(60)))
        );
        assert_eq!(parse(r#"{"protectionEnabled":false}"#), Ok(wanted(Some(false), None)));
        assert_eq!(
            parse(r#"{"ExpiresInMinutes":99999999999,"ProtectionEnabled":null}"#),
            Ok(wanted(None, Some(i32::MAX)))
        );
        for bad in [
            "",
            "[]",
            "{",
            r#"{"ProtectionEnabled":"true"}"#,
            r#"{"ProtectionEnabled":true,"ExpiresInMinutes":1.5}"#,
            r#"{"ProtectionEnabled":true,"Task":"other"}"#,
        ] {
            let (status, document) = parse(bad).unwrap_err();
            assert_eq!(status, StatusCode::BAD_REQUEST, "{bad}");
            assert_eq!(document["error"]["Code"], "InvalidParameterException", "{bad}");
            assert!(document["error"].get("Arn").is_none(), "{bad}");
        }
        let (status, document) = wanted(None, Some(1)).change("arn").unwrap_err();
        assert_eq!(
            (status, &document["error"]["Arn"]),
            (StatusCode::BAD_REQUEST, &json!("arn"))
        );
    }

    #[test]
    fn answers_have_the_endpoints_three_forms() {
        let until = Some(Timestamp(1_700_000_000_000));
        assert_eq!(
            answer("arn", Ok(ProtectionAnswer::Protection { until })),
            (
                StatusCode::OK,
                json!({ "protection": {
                    "ExpirationDate": "2023-11-14T22:13:20.000Z", "ProtectionEnabled": true, "TaskArn": "arn",
                }})
            )
        );
        assert_eq!(
            answer("arn", Ok(ProtectionAnswer::Protection { until: None })).1["protection"],
            json!({ "ExpirationDate": null, "ProtectionEnabled": false, "TaskArn": "arn" })
        );
        let failure = ProtectionAnswer::Failure {
            reason: "DEPLOYMENT_BLOCKED".to_owned(),
            detail: None,
        };
        assert_eq!(
            answer("arn", Ok(failure)),
            (
                StatusCode::OK,
                json!({ "failure": { "Arn": "arn", "Detail": null, "Reason": "DEPLOYMENT_BLOCKED" } })
            )
        );
        let refused = ProtectionAnswer::Error {
            status: 400,
            code: "InvalidParameterException".to_owned(),
            message: "no".to_owned(),
            request_id: "id".to_owned(),
        };
        assert_eq!(
            answer("arn", Ok(refused)),
            (
                StatusCode::BAD_REQUEST,
                json!({
                    "error": { "Arn": "arn", "Code": "InvalidParameterException", "Message": "no" }, "requestID": "id",
                })
            )
        );
        let (status, late) = answer("arn", Err(Unanswered::TimedOut));
        assert_eq!(
            (status, &late["error"]["Code"]),
            (StatusCode::GATEWAY_TIMEOUT, &json!("RequestCanceled"))
        );
        assert_eq!(answer("arn", Err(Unanswered::Throttled)).0, StatusCode::BAD_REQUEST);
    }
}
