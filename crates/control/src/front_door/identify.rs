//! Which service, which operation, in which protocol: a pure function of the request and the services served.

use neargate_core::AwsError;
use neargate_wire::codec::form;
use neargate_wire::{Operation, Protocol, Request, Service, ServiceDispatch};
use std::sync::Arc;

/// What a request is about. The protocol is known even when nothing else is, so that every refusal can be read.
pub struct Target<'a> {
    pub protocol: Protocol,
    /// The service, where it is one we serve.
    pub service: Option<&'a Arc<dyn ServiceDispatch>>,
    /// The signing name to verify against.
    pub signing_name: &'a str,
    /// The operation's name as the request gives it, for the log.
    pub name: String,
    /// The operation, or why there is none; told only to callers whose signature holds.
    pub operation: Result<&'static Operation, AwsError>,
}

/// Reads the target of `request`, whose credential scope, when it has one, names the service `scope`.
pub fn identify<'a>(
    services: &'a [Arc<dyn ServiceDispatch>],
    request: &Request<'_>,
    scope: Option<&'a str>,
) -> Target<'a> {
    if request
        .header("smithy-protocol")
        .is_some_and(|p| p.eq_ignore_ascii_case("rpc-v2-cbor"))
    {
        return rpc(services, request, scope);
    }
    if let Some(target) = request.header("x-amz-target") {
        return by_target(services, request, target, scope);
    }
    if let Some(action) = form::find(request, "Action") {
        return by_action(services, request, &action, scope);
    }
    by_path(services, request, scope)
}

/// `X-Amz-Target: Prefix.Operation`.
fn by_target<'a>(
    services: &'a [Arc<dyn ServiceDispatch>],
    request: &Request<'_>,
    target: &str,
    scope: Option<&'a str>,
) -> Target<'a> {
    let (prefix, name) = target.rsplit_once('.').unwrap_or(("", target));
    let version10 = request
        .header("content-type")
        .is_some_and(|t| t.starts_with("application/x-amz-json-1.0"));
    let protocol = if version10 {
        Protocol::AwsJson10
    } else {
        Protocol::AwsJson11
    };
    let known = services
        .iter()
        .find(|s| !prefix.is_empty() && s.schema().target_prefix == prefix);
    match known {
        Some(service) => in_service(service, protocol, name),
        None => nowhere(services, protocol, scope, name),
    }
}

/// `Action` and `Version` of a form or a query string.
fn by_action<'a>(
    services: &'a [Arc<dyn ServiceDispatch>],
    request: &Request<'_>,
    action: &str,
    scope: Option<&'a str>,
) -> Target<'a> {
    let version = form::find(request, "Version").unwrap_or_default();
    let speaks = |service: &Service| {
        service
            .protocols
            .iter()
            .copied()
            .find(|p| matches!(p, Protocol::Query | Protocol::Ec2Query))
    };
    let known = services.iter().find_map(|service| {
        let schema = service.schema();
        let protocol = speaks(schema)?;
        let fits = scope.map_or(schema.api_version == version, |scope| schema.signing_name == scope);
        fits.then_some((service, protocol))
    });
    match known {
        Some((service, protocol)) => {
            let mut target = in_service(service, protocol, action);
            if version != service.schema().api_version {
                target.operation = Err(AwsError::new(
                    "InvalidAction",
                    400,
                    format!(
                        "Could not find operation {} for version {}",
                        shown(action),
                        shown(&version)
                    ),
                ));
            }
            target
        }
        None => {
            let protocol = if scope == Some("ec2") {
                Protocol::Ec2Query
            } else {
                Protocol::Query
            };
            nowhere(services, protocol, scope, action)
        }
    }
}

/// `/service/Name/operation/Operation` of rpc-v2-cbor.
fn rpc<'a>(services: &'a [Arc<dyn ServiceDispatch>], request: &Request<'_>, scope: Option<&'a str>) -> Target<'a> {
    let name = request.path.rsplit('/').next().unwrap_or("");
    match services.iter().find(|s| Some(s.schema().signing_name) == scope) {
        Some(service) => in_service(service, Protocol::RpcV2Cbor, name),
        None => nowhere(services, Protocol::RpcV2Cbor, scope, name),
    }
}

/// The REST protocols, of which none is served yet.
fn by_path<'a>(services: &'a [Arc<dyn ServiceDispatch>], request: &Request<'_>, scope: Option<&'a str>) -> Target<'a> {
    let name = format!("{} {}", request.method, request.path);
    let own = services.iter().find(|s| Some(s.schema().signing_name) == scope);
    let protocol = match own.and_then(|s| s.schema().protocols.first()) {
        Some(protocol) => *protocol,
        None => match scope {
            Some("s3" | "s3express" | "route53" | "cloudfront") => Protocol::RestXml,
            _ => Protocol::RestJson,
        },
    };
    match own {
        Some(service) => in_service(service, protocol, &name),
        None => nowhere(services, protocol, scope, &name),
    }
}

fn in_service<'a>(service: &'a Arc<dyn ServiceDispatch>, protocol: Protocol, name: &str) -> Target<'a> {
    let schema = service.schema();
    let operation = if !schema.protocols.contains(&protocol) && !is_json_cousin(schema, protocol) {
        let text = format!(
            "The service {} does not speak the protocol {protocol:?} of this request.",
            schema.name
        );
        Err(AwsError::new("UnsupportedProtocol", 400, text))
    } else {
        match schema.operation(name) {
            Some(operation) => Ok(operation),
            None if schema.models(name) => Err(not_yet(protocol, name, schema.name)),
            None => Err(unknown(protocol, name, schema)),
        }
    };
    Target {
        protocol,
        service: Some(service),
        signing_name: schema.signing_name,
        name: shown(name),
        operation,
    }
}

/// awsJson 1.0 and 1.1 differ in nothing that matters here; some clients send the other's content type.
fn is_json_cousin(schema: &Service, protocol: Protocol) -> bool {
    let json = |p: &Protocol| matches!(p, Protocol::AwsJson10 | Protocol::AwsJson11);
    json(&protocol) && schema.protocols.iter().any(json)
}

/// The operation exists and Neargate does not serve it. It is nobody's fault that a retry would mend: HTTP 400.
fn not_yet(protocol: Protocol, name: &str, service: &str) -> AwsError {
    let text = format!(
        "The operation {} of {service} is not supported by Neargate yet.",
        shown(name)
    );
    AwsError::new(unsupported_code(protocol), 400, text)
}

/// No service we serve; a signed request still learns which one it asked for.
fn nowhere<'a>(
    services: &'a [Arc<dyn ServiceDispatch>],
    protocol: Protocol,
    scope: Option<&'a str>,
    name: &str,
) -> Target<'a> {
    // A known service asked in a way that is not its own.
    let known = scope.and_then(|scope| services.iter().find(|s| s.schema().signing_name == scope));
    let error = match (known, scope) {
        (Some(service), _) => unknown(protocol, name, service.schema()),
        (None, Some(scope)) => {
            let text = format!(
                "The service {} is not supported by Neargate yet (operation {}).",
                shown(scope),
                shown(name)
            );
            AwsError::new(unsupported_code(protocol), 400, text)
        }
        (None, None) => AwsError::new(
            unknown_code(protocol),
            400,
            format!("Unknown operation: {}", shown(name)),
        ),
    };
    Target {
        protocol,
        service: known,
        signing_name: scope.unwrap_or(""),
        name: shown(name),
        operation: Err(error),
    }
}

fn unknown(protocol: Protocol, name: &str, service: &Service) -> AwsError {
    let name = shown(name);
    let text = match protocol {
        Protocol::Ec2Query => format!("The action {name} is not valid for this web service."),
        Protocol::Query => format!("Could not find operation {name} for version {}", service.api_version),
        _ => format!("The service {} has no operation {name}.", service.name),
    };
    AwsError::new(unknown_code(protocol), 400, text)
}

fn unknown_code(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Query | Protocol::Ec2Query => "InvalidAction",
        _ => "UnknownOperationException",
    }
}

fn unsupported_code(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Query | Protocol::Ec2Query => "UnsupportedOperation",
        Protocol::RestXml => "NotImplemented",
        _ => "UnsupportedOperationException",
    }
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(128).collect()
}
