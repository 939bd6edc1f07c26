//! One health check of one target: connects, asks, and says what came back. What that means is `routing`'s to decide.

use crate::dial::{self, DialError};
use crate::unverified;
use bytes::Bytes;
use futures_util::FutureExt as _;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use neargate_routing::Finding;
use rustls::ClientConfig;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::Instant;

/// A head longer than ALB takes.
const LONGEST_HEAD: usize = 64 * 1024;
const AGENT: &str = "ELB-HealthChecker/2.0";

/// What is spoken once connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    /// Nothing: connecting is the check.
    Tcp,
    Http1,
    Http2,
    Grpc,
}

/// Everything that one check needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    pub target: SocketAddr,
    /// The balancer's own address.
    pub source: Option<Ipv4Addr>,
    pub speech: Speech,
    pub tls: bool,
    pub path: String,
    pub timeout: Duration,
}

/// Checks a target. None: this machine could not even try, which says nothing of the target.
pub async fn run(check: &Check) -> Option<Finding> {
    let until = Instant::now() + check.timeout;
    let stream = match dial::connect(check.target, check.source, check.timeout).await {
        Ok(stream) => stream,
        Err(DialError::Here { .. }) => return None,
        Err(DialError::Refused(_)) => return Some(Finding::Failed),
        Err(DialError::Timeout) => return Some(Finding::Timeout),
    };
    let speaking = async {
        if !check.tls {
            return speak(check, stream).await;
        }
        let connector = tokio_rustls::TlsConnector::from(settings(check.speech));
        let stream = connector.connect(unverified::name(check.target.ip()), stream).await?;
        speak(check, stream).await
    };
    Some(match tokio::time::timeout_at(until, speaking).await {
        Ok(Ok(finding)) => finding,
        Ok(Err(error)) => {
            tracing::debug!(target = %check.target, %error, "health check failed");
            Finding::Failed
        }
        Err(_) => Finding::Timeout,
    })
}

fn settings(speech: Speech) -> Arc<ClientConfig> {
    static HTTP1: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| unverified::settings(&[]));
    static HTTP2: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| unverified::settings(&[b"h2"]));
    match speech {
        Speech::Tcp | Speech::Http1 => HTTP1.clone(),
        Speech::Http2 | Speech::Grpc => HTTP2.clone(),
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn speak<S>(check: &Check, stream: S) -> Result<Finding, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    match check.speech {
        Speech::Tcp => Ok(Finding::Connected),
        Speech::Http1 => http1(check, stream).await,
        Speech::Http2 => http2(check, stream).await,
        Speech::Grpc => grpc(check, stream).await,
    }
}

async fn http1<S: AsyncRead + AsyncWrite + Unpin>(check: &Check, mut stream: S) -> Result<Finding, Failure> {
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nUser-Agent: {AGENT}\r\nAccept-Encoding: gzip, compressed\r\n\r\n",
        check.path, check.target
    );
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut head = Vec::with_capacity(1024);
    loop {
        while let Some(end) = head_end(&head) {
            match status(&head)? {
                // Not the answer yet, except for a switch of protocols.
                100 | 102..=199 => drop(head.drain(..end)),
                status => {
                    // What has come of the body is read, so that closing does not reset what the target sent.
                    while let Some(Ok(1..)) = stream.read(&mut [0; 4096]).now_or_never() {}
                    return Ok(Finding::Http(status));
                }
            }
        }
        if head.len() > LONGEST_HEAD {
            return Err("the answer's head is too long".into());
        }
        if stream.read_buf(&mut head).await? == 0 {
            return Err("closed before the end of the answer's head".into());
        }
    }
}

fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

/// The status of an HTTP/1 answer.
fn status(head: &[u8]) -> Result<u16, Failure> {
    let (version, rest) = head.split_at_checked(9).ok_or("not an answer")?;
    let digits = rest.get(..3).filter(|digits| digits.iter().all(u8::is_ascii_digit));
    let ended = rest.get(3).is_some_and(|byte| matches!(byte, b' ' | b'\r'));
    match (version, digits) {
        (b"HTTP/1.1 " | b"HTTP/1.0 ", Some(digits)) if ended => {
            Ok(digits.iter().fold(0, |n, digit| n * 10 + u16::from(digit - b'0')))
        }
        _ => Err("not an HTTP answer".into()),
    }
}

async fn http2<S>(check: &Check, stream: S) -> Result<Finding, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let request = request(check, "GET").body(Full::new(Bytes::new()))?;
    let answer = exchange(stream, request, |answer| async move { Ok(answer.status()) }).await?;
    Ok(Finding::Http(answer.as_u16()))
}

async fn grpc<S>(check: &Check, stream: S) -> Result<Finding, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // An empty message: not compressed, of length 0.
    let request = request(check, "POST")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(Bytes::from_static(&[0; 5])))?;
    exchange(stream, request, |answer| async move {
        if answer.status() != http::StatusCode::OK {
            return Err(format!("the gRPC answer has status {}", answer.status()).into());
        }
        // Without a message the status is among the headers.
        if let Some(status) = answer.headers().get("grpc-status") {
            return Ok(Finding::Grpc(status.to_str()?.parse()?));
        }
        let mut body = answer.into_body();
        while let Some(frame) = body.frame().await {
            if let Some(status) = frame?.trailers_ref().and_then(|t| t.get("grpc-status")) {
                return Ok(Finding::Grpc(status.to_str()?.parse()?));
            }
        }
        Err("the gRPC answer has no status".into())
    })
    .await
}

fn request(check: &Check, method: &str) -> http::request::Builder {
    let scheme = if check.tls { "https" } else { "http" };
    http::Request::builder()
        .method(method)
        .version(http::Version::HTTP_2)
        .uri(format!("{scheme}://{}{}", check.target, check.path))
        .header("user-agent", AGENT)
}

async fn exchange<S, T, F>(
    stream: S,
    request: http::Request<Full<Bytes>>,
    read: impl FnOnce(http::Response<hyper::body::Incoming>) -> F,
) -> Result<T, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = Result<T, Failure>>,
{
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    let asking = async {
        let answer = sender.send_request(request).await?;
        read(answer).await
    };
    tokio::pin!(asking, connection);
    tokio::select! {
        answer = &mut asking => answer,
        ended = &mut connection => match ended {
            // What was read before the connection ended may still be an answer.
            Ok(()) => asking.await,
            Err(error) => Err(error.into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_a_status_line_has_a_status() {
        assert_eq!(status(b"HTTP/1.1 200 OK\r\n\r\n").unwrap(), 200);
        assert_eq!(status(b"HTTP/1.0 503\r\n\r\n").unwrap(), 503);
        for bad in [
            "HTTP/1.1 2000 OK",
            "HTTP/1.1 20",
            "HTTP/2.0 200 OK",
            "SSH-2.0-OpenSSH_9.2",
            "",
            "HTTP/1.1 +20 ",
        ] {
            assert!(status(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
