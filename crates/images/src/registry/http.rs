//! HTTP to registries: connections, time-outs and redirects, before any registry's rules.

use crate::store::Options;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Why a request brought no answer, or its body broke off.
#[derive(Clone, Debug)]
pub(super) enum Broken {
    /// No connection, or it was lost: trying again may help.
    Connection(String),
    /// No byte came in time.
    Stalled,
    /// Trying again will not help.
    Hopeless(String),
}

type Body = Empty<Bytes>;
type TlsClient = Client<HttpsConnector<HttpConnector>, Body>;

/// Clients for plain HTTP and, made when first needed, for HTTPS.
pub(crate) struct Http {
    plain: Client<HttpConnector, Body>,
    tls: OnceLock<Result<TlsClient, String>>,
    connect_timeout: Duration,
    stall_timeout: Duration,
}

impl Http {
    pub(crate) fn new(options: &Options) -> Http {
        Http {
            plain: builder().build(connector(options.connect_timeout)),
            tls: OnceLock::new(),
            connect_timeout: options.connect_timeout,
            stall_timeout: options.stall_timeout,
        }
    }

    /// Sends one request; the answer's head must come within the stall time-out.
    pub(super) async fn send(
        &self,
        method: Method,
        uri: &Uri,
        headers: HeaderMap,
    ) -> Result<Response<Incoming>, Broken> {
        let mut request = Request::new(Body::new());
        *request.method_mut() = method;
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = headers;
        request.headers_mut().insert(
            header::USER_AGENT,
            HeaderValue::from_static(concat!("neargate/", env!("CARGO_PKG_VERSION"))),
        );
        let answer = match uri.scheme_str() {
            Some("http") => self.plain.request(request),
            Some("https") => self.tls()?.request(request),
            _ => return Err(Broken::Hopeless(format!("{uri} is no HTTP address"))),
        };
        match tokio::time::timeout(self.connect_timeout + self.stall_timeout, answer).await {
            Err(_) => Err(Broken::Stalled),
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(e)) => Err(Broken::Connection(whole_chain(&e))),
        }
    }

    fn tls(&self) -> Result<&TlsClient, Broken> {
        let made = self.tls.get_or_init(|| self.tls_client(machine_roots()?));
        made.as_ref().map_err(|e| Broken::Hopeless(e.clone()))
    }

    fn tls_client(&self, roots: rustls::RootCertStore) -> Result<TlsClient, String> {
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls_config(roots)?)
            .https_only()
            .enable_http1()
            .wrap_connector(connector(self.connect_timeout));
        Ok(builder().build(https))
    }

    /// The next piece of a body; none at its end.
    pub(super) async fn frame(&self, body: &mut Incoming) -> Result<Option<Bytes>, Broken> {
        loop {
            match tokio::time::timeout(self.stall_timeout, body.frame()).await {
                Err(_) => return Err(Broken::Stalled),
                Ok(None) => return Ok(None),
                Ok(Some(Err(e))) => return Err(Broken::Connection(whole_chain(&e))),
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// A body of at most `max` bytes, whole; none when it is larger.
    pub(super) async fn read(&self, mut body: Incoming, max: u64) -> Result<Option<Vec<u8>>, Broken> {
        let mut out = Vec::new();
        while let Some(piece) = self.frame(&mut body).await? {
            if (out.len() + piece.len()) as u64 > max {
                return Ok(None);
            }
            out.extend_from_slice(&piece);
        }
        Ok(Some(out))
    }
}

fn builder() -> hyper_util::client::legacy::Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    builder
        .pool_idle_timeout(Duration::from_secs(20))
        .pool_timer(TokioTimer::new());
    builder
}

fn connector(timeout: Duration) -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_connect_timeout(Some(timeout));
    connector.set_nodelay(true);
    connector
}

/// The CA certificates of this machine; `SSL_CERT_FILE` and `SSL_CERT_DIR` name others.
fn machine_roots() -> Result<rustls::RootCertStore, String> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err("this machine has no CA certificates; install the package ca-certificates".to_owned());
    }
    Ok(roots)
}

fn tls_config(roots: rustls::RootCertStore) -> Result<rustls::ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// An error with its causes: hyper's own text alone says only "client error (Connect)".
fn whole_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(e) = cause {
        let more = e.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = e.source();
    }
    text
}

/// Where a redirect leads; none when the answer is no redirect.
pub(super) fn redirect(from: &Uri, answer: &Response<Incoming>) -> Option<Result<Uri, Broken>> {
    let redirects = [
        StatusCode::MOVED_PERMANENTLY,
        StatusCode::FOUND,
        StatusCode::SEE_OTHER,
        StatusCode::TEMPORARY_REDIRECT,
        StatusCode::PERMANENT_REDIRECT,
    ];
    if !redirects.contains(&answer.status()) {
        return None;
    }
    let location = answer
        .headers()
        .get(header::LOCATION)
        .and_then(|l| l.to_str().ok())
        .unwrap_or_default();
    let bad = || Broken::Hopeless(format!("{from} redirects to the bad address \"{location}\""));
    let absolute = if location.starts_with('/') && !location.starts_with("//") {
        let authority = from.authority().map_or("", |a| a.as_str());
        format!("{}://{authority}{location}", from.scheme_str().unwrap_or("https"))
    } else {
        location.to_owned()
    };
    let to = match absolute.parse::<Uri>() {
        Ok(to) if matches!(to.scheme_str(), Some("http" | "https")) && to.authority().is_some() => to,
        _ => return Some(Err(bad())),
    };
    if from.scheme_str() == Some("https") && to.scheme_str() == Some("http") {
        return Some(Err(Broken::Hopeless(format!(
            "{from} redirects to {to}, which is not encrypted"
        ))));
    }
    Some(Ok(to))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// A TLS server on loopback that answers every request with its own words.
    async fn server(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> u16 {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                if let Ok(mut tls) = acceptor.accept(stream).await {
                    let mut request = [0; 2048];
                    let _ = tls.read(&mut request).await;
                    let _ = tls
                        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello")
                        .await;
                    let _ = tls.shutdown().await;
                }
            }
        });
        port
    }

    #[tokio::test]
    async fn https_is_spoken_to_whom_the_roots_trust_only() {
        // Self-signed for "localhost", made for this test; the stranger differs in its key only.
        let own = CertificateDer::from(&include_bytes!("../../tests/fixtures/localhost.crt.der")[..]);
        let stranger = CertificateDer::from(&include_bytes!("../../tests/fixtures/stranger.crt.der")[..]);
        let key = PrivatePkcs8KeyDer::from(&include_bytes!("../../tests/fixtures/localhost.key.der")[..]);
        let port = server(vec![own.clone()], key.into()).await;
        let uri: Uri = format!("https://localhost:{port}/v2/").parse().unwrap();
        let mut trusted = rustls::RootCertStore::empty();
        trusted.add(own).unwrap();
        let http = Http::new(&Options::default());
        assert!(http.tls.set(http.tls_client(trusted)).is_ok());
        let answer = http.send(Method::GET, &uri, HeaderMap::new()).await.unwrap();
        assert_eq!(
            http.read(answer.into_body(), 100).await.unwrap().as_deref(),
            Some(&b"hello"[..])
        );
        let mut strangers = rustls::RootCertStore::empty();
        strangers.add(stranger).unwrap();
        let http = Http::new(&Options::default());
        assert!(http.tls.set(http.tls_client(strangers)).is_ok());
        let Err(Broken::Connection(why)) = http.send(Method::GET, &uri, HeaderMap::new()).await else {
            panic!("an unknown certificate must be refused");
        };
        assert!(why.contains("certificate"), "{why}");
    }
}
