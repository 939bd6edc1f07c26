//! What becomes of one request: the balancer's own answer, or a target. The same for HTTP/1.1 and HTTP/2.
//!
//! Pure but for the counters of targets; `routing` decides, this puts its decisions in order.

use crate::answers::Answer;
use crate::arrival::Arrival;
use crate::serving::{Served, Worker};
use neargate_core::Timestamp;
use neargate_link::gateway::{Protocol, ProtocolVersion};
use neargate_routing::digits;
use neargate_routing::{Action, Ask, Choice, Forward, Group, Headers, NoTarget, RequestHead, Rewrite, Rule};
use std::sync::Arc;

/// Where a request goes.
#[derive(Debug)]
pub enum Decision<'r> {
    Answer(Answered<'r>),
    Forward(Chosen<'r>),
}

/// The balancer's own answer.
#[derive(Debug)]
pub struct Answered<'r> {
    pub answer: Answer,
    /// What kind of action gave it, as access logs name it.
    pub action: &'static str,
    /// The target group that had nobody for it.
    pub group: Option<&'r Arc<Group>>,
}

#[derive(Debug)]
pub struct Chosen<'r> {
    pub forward: &'r Forward,
    pub choice: Choice<'r>,
    /// Rewritten; none: as it came.
    pub host: Option<Vec<u8>>,
    /// Path and query, rewritten.
    pub url: Option<Vec<u8>>,
}

/// A decision and the rule that led to it.
#[derive(Debug)]
pub struct Decided<'r> {
    pub rule: &'r Rule,
    pub decision: Decision<'r>,
}

/// Decides for a request that the door admitted.
pub fn decide<'r>(
    worker: &Worker,
    served: &'r Served,
    arrival: &'r Arrival,
    head: &RequestHead<'r>,
    http2: bool,
    now: Timestamp,
) -> Decided<'r> {
    let rule = served.listener.route(head);
    let own = |answer, action| {
        Decision::Answer(Answered {
            answer,
            action,
            group: None,
        })
    };
    let decision = match &rule.action {
        Action::FixedResponse(fixed) => {
            let body = match fixed.status {
                // They have none, whatever is configured: a client would take it for the next answer.
                204 | 205 => Vec::new(),
                _ => fixed.body.clone().into_bytes(),
            };
            let content_type = fixed
                .content_type
                .clone()
                .unwrap_or_else(|| "text/plain; charset=utf-8".to_owned());
            let answer = Answer {
                status: fixed.status,
                content_type: (!body.is_empty() || fixed.content_type.is_some()).then(|| content_type.into()),
                location: None,
                body: body.into(),
                close: false,
            };
            own(answer, "fixed-response")
        }
        Action::Redirect(redirect) => {
            let mut location = Vec::new();
            redirect.location(head, &mut location);
            own(Answer::redirect(redirect.status(), location), "redirect")
        }
        Action::Forward(forward) => match transformed(rule, head) {
            None => own(Answer::page(500), "-"),
            Some((host, url)) => match choose(worker, served, arrival, forward, head.headers, now) {
                Err(nobody) => Decision::Answer(Answered {
                    answer: Answer::page(503),
                    action: "forward",
                    group: nobody.group,
                }),
                Ok(choice) if !speaks(choice.group.version, head, http2) => own(Answer::page(464), "forward"),
                Ok(choice) => Decision::Forward(Chosen {
                    forward,
                    choice,
                    host,
                    url,
                }),
            },
        },
    };
    Decided { rule, decision }
}

/// A target.
///
/// # Errors
/// There is nobody.
pub fn choose<'r>(
    worker: &Worker,
    served: &'r Served,
    arrival: &'r Arrival,
    forward: &'r Forward,
    headers: &'r dyn Headers,
    now: Timestamp,
) -> Result<Choice<'r>, NoTarget<'r>> {
    let ask = Ask {
        now,
        random: worker.random.draw(),
        headers,
        cookies: &worker.cookies,
        zone: served.zone(arrival.local),
        cross_zone: served.balancer.settings.cross_zone,
    };
    forward.choose(&ask)
}

/// ALB answers 464 when a target group's version and the request do not go together.
fn speaks(version: ProtocolVersion, head: &RequestHead<'_>, http2: bool) -> bool {
    match version {
        // What is told behind a gRPC answer's body would be lost.
        ProtocolVersion::Http1 => !(http2 && is_grpc(head.headers)),
        ProtocolVersion::Http2 => http2,
        ProtocolVersion::Grpc => http2 && head.method == b"POST",
    }
}

/// True for gRPC's calls, by their content type.
pub fn is_grpc(headers: &dyn Headers) -> bool {
    let mut grpc = false;
    headers.visit("content-type", &mut |kind| {
        grpc |= kind.starts_with(b"application/grpc")
    });
    grpc
}

type Rewritten = (Option<Vec<u8>>, Option<Vec<u8>>);

/// Host and URL after the rule's transforms; none: what they make is no URL.
fn transformed(rule: &Rule, head: &RequestHead<'_>) -> Option<Rewritten> {
    if rule.transforms.is_empty() {
        return Some((None, None));
    }
    let taken = |rewrite, out| match rewrite {
        Rewrite::Unchanged => Some(None),
        Rewrite::Rewritten => Some(Some(out)),
        Rewrite::Invalid => None,
    };
    let mut host = Vec::new();
    let how = rule.transforms.host(head.host, &mut host);
    let host = taken(how, host)?;
    let mut whole = head.path.to_vec();
    if let Some(query) = head.query {
        whole.push(b'?');
        whole.extend_from_slice(query);
    }
    let mut url = Vec::new();
    let how = rule.transforms.url(&whole, &mut url);
    Some((host, taken(how, url)?))
}

/// Where and how the chosen target is reached.
pub fn is_tls(choice: &Choice<'_>) -> bool {
    choice.group.protocol == Protocol::Https
}

/// The Host header that the target gets: unchanged where the balancer preserves it; otherwise with the listener's port
/// unless that is HTTP's or HTTPS's own. Source: "Host header preservation" of the Application Load Balancers Guide.
pub fn outgoing_host(host: &[u8], port: u16, preserve: bool, out: &mut Vec<u8>) {
    let bare = crate::arrival::without_port(host);
    let named = bare.len() < host.len();
    match (preserve, port) {
        (true, _) => out.extend_from_slice(host),
        (false, 80 | 443) => out.extend_from_slice(bare),
        (false, _) if named || host.is_empty() => out.extend_from_slice(host),
        (false, _) => {
            // At once, with room for the port.
            out.reserve(host.len() + 6);
            out.extend_from_slice(host);
            out.push(b':');
            digits::number(port.into(), out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_the_port_that_a_client_would_write() {
        let sent = |host: &str, port, preserve| {
            let mut out = Vec::new();
            outgoing_host(host.as_bytes(), port, preserve, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(sent("a.example", 8080, false), "a.example:8080");
        assert_eq!(sent("a.example:81", 8080, false), "a.example:81");
        assert_eq!(sent("a.example:80", 80, false), "a.example");
        assert_eq!(sent("a.example", 443, false), "a.example");
        assert_eq!(sent("a.example:80", 80, true), "a.example:80");
        assert_eq!(sent("[::1]:80", 80, false), "[::1]");
    }
}
