//! One request through all the steps.

use super::body::{self, Unread};
use super::identify::{Target, identify};
use super::{FrontDoor, authorize, dispatch, health, room};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use neargate_core::{AwsError, RequestContext};
use neargate_wire::codec::{self, Encoded};
use neargate_wire::dialect::dialect;
use neargate_wire::sigv4::{Claim, Fault};
use neargate_wire::{Operation, Protocol, Request, validate};
use std::sync::Arc;
use tokio::time::Instant;

impl FrontDoor {
    /// Answers, whatever comes.
    pub(super) async fn answer(&self, incoming: hyper::Request<Incoming>) -> Response<Full<Bytes>> {
        let started = Instant::now();
        let request_id = self.ids.uuid();
        let (head, stream) = incoming.into_parts();
        let headers: Vec<(&str, &[u8])> = head
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .collect();
        let mut request = Request {
            method: head.method.as_str(),
            path: head.uri.path(),
            query: head.uri.query().unwrap_or(""),
            headers: &headers,
            body: b"",
        };
        if let Some(reply) = health::health(&request) {
            return respond(reply, &request_id, false);
        }
        let whole = body::read(stream, &self.limits, &self.large_bodies).await;
        let refused = match &whole {
            Ok(bytes) => {
                request.body = bytes;
                None
            }
            Err(Unread::TooLarge) => Some(body::too_large(&self.limits)),
            Err(Unread::TooSlow) => Some(AwsError::new(
                "RequestTimeout",
                408,
                "The request's body did not arrive in time.",
            )),
            Err(Unread::Broken(e)) => {
                tracing::debug!(%request_id, error = %e, "a request's body broke off");
                Some(AwsError::new(
                    "SerializationException",
                    400,
                    "The request's body ended before it was whole.",
                ))
            }
        };
        let claim = Claim::read(&request);
        let scope = claim.as_ref().ok().map(|claim| claim.scope.service.as_str());
        let target = identify(&self.services, &request, scope);
        let namespace = target.service.map_or("", |s| s.schema().xml_namespace);
        let close = refused.is_some();
        let outcome = match refused {
            Some(error) => Err(error),
            None => self.perform(&request, &claim, &target, &request_id).await,
        };
        let (reply, code) = match outcome {
            Ok(reply) => (reply, None),
            Err(error) => {
                let reply = match wants_json(&request, target.protocol) {
                    true => codec::query::encode_error_json(&error, &request_id),
                    false => codec::encode_error(target.protocol, namespace, &error, &request_id),
                };
                (reply, Some(error.code))
            }
        };
        tracing::debug!(
            %request_id,
            service = target.signing_name,
            operation = target.name,
            status = reply.status,
            code = code.as_deref().unwrap_or(""),
            micros = started.elapsed().as_micros() as u64,
            "answered"
        );
        respond(reply, &request_id, close)
    }

    /// verify -> authorize -> decode -> room -> dispatch -> encode.
    async fn perform(
        &self,
        request: &Request<'_>,
        claim: &Result<Claim, Fault>,
        target: &Target<'_>,
        request_id: &str,
    ) -> Result<Encoded, AwsError> {
        let protocol = target.protocol;
        let now = self.clock.now();
        let caller = match claim {
            Ok(claim) => self.verify(claim, request, target.signing_name, now),
            Err(fault) => Err(fault.clone()),
        }
        .map_err(|fault| fault.error(protocol))?;
        let operation: &'static Operation = target.operation.clone()?;
        // An operation was found in a service, so there is one.
        let service = target.service.ok_or_else(AwsError::internal)?;
        let schema = service.schema();
        authorize::authorize(&caller, protocol, schema.name, operation.name)?;

        let unpacked = body::unpacked(request.header("content-encoding"), request.body, &self.limits)?;
        let plain = match &unpacked {
            Some(bytes) => Request {
                body: bytes,
                ..*request
            },
            None => *request,
        };
        let mut input = codec::decode(protocol, schema, operation, &plain)?;
        if let Some(shape) = operation.input {
            validate::validate(shape, &mut input, &dialect(schema, protocol))?;
        }

        room::check(operation.name, &self.is_full)?;
        let cx = Arc::new(RequestContext {
            request_id: request_id.to_owned(),
            region: caller.region,
            account: self.account.clone(),
            caller_arn: caller.arn,
            caller_id: caller.id,
            access_key: caller.access_key,
            now,
        });
        let reply = dispatch::run(service.clone(), operation, cx, input).await?;
        let encoded = match wants_json(request, protocol) {
            true => reply
                .tree()
                .map(|tree| codec::query::encode_json(operation, tree, request_id)),
            false => codec::encode(protocol, schema, operation, reply.as_ref(), request_id),
        };
        encoded.map_err(|e| {
            tracing::error!(%request_id, operation = operation.name, error = %e, "a reply cannot be written");
            AwsError::internal()
        })
    }
}

/// Query services answer JSON to those who ask for it, as the authenticators of EKS do.
fn wants_json(request: &Request<'_>, protocol: Protocol) -> bool {
    let accepts = |accept: &str| {
        accept.split(',').any(|one| {
            let essence = one.split(';').next().unwrap_or_default();
            essence.trim().eq_ignore_ascii_case("application/json")
        })
    };
    protocol == Protocol::Query && request.header("accept").is_some_and(accepts)
}

fn respond(reply: Encoded, request_id: &str, close: bool) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(reply.body)));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(reply.content_type));
    for (name, value) in reply.headers {
        // Codes and protocol names are plain text; a value that is not one is left out.
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    if let Ok(value) = HeaderValue::try_from(request_id) {
        headers.insert(HeaderName::from_static("x-amzn-requestid"), value);
    }
    if close {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
