//! One repository of a registry, spoken to as the OCI distribution spec says: manifests, blobs, tokens.
//!
//! Called by `pull` only. An own client rather than `oci-client`, which brings 160 crates and leaves retries, rate
//! limits, stalls and resumption to its caller; this one needs what the load balancer needs anyway.

mod challenge;
mod download;
mod http;

pub(crate) use download::Download;
pub(crate) use http::Http;

use crate::manifest::{DOCKER_LIST, DOCKER_MANIFEST, MAX_CONFIG, MAX_MANIFEST, OCI_INDEX, OCI_MANIFEST};
use crate::store::{Inner, Options};
use crate::{Credentials, DOCKER_HUB, Digest, ImageError, Reference};
use base64::Engine as _;
use challenge::Challenge;
use http::Broken;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Response, StatusCode, Uri};
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A repository being pulled from.
pub(crate) struct Repository {
    inner: Arc<Inner>,
    reference: Reference,
    /// As told in errors, e.g. `Docker Hub`.
    registry: String,
    base: String,
    credentials: Option<Credentials>,
    /// `Authorization` that the registry accepted last.
    authorization: Mutex<Option<HeaderValue>>,
    attempts: u32,
}

/// An attempt's failure: worth another, or final.
pub(super) enum Failed {
    Again { error: ImageError, wait: Option<Duration> },
    Final(ImageError),
}

impl Repository {
    /// `attempts` bounds how often anything is tried.
    pub(crate) fn new(
        inner: Arc<Inner>,
        reference: Reference,
        credentials: Option<Credentials>,
        attempts: u32,
    ) -> Repository {
        let host = match reference.registry.as_str() {
            DOCKER_HUB => "registry-1.docker.io",
            other => other,
        };
        let scheme = if speaks_plain(&reference.registry, &inner.options) {
            "http"
        } else {
            "https"
        };
        let registry = match reference.registry.as_str() {
            DOCKER_HUB => "Docker Hub".to_owned(),
            other => other.to_owned(),
        };
        let base = format!("{scheme}://{host}/v2/{}", reference.repository);
        Repository {
            inner,
            reference,
            registry,
            base,
            credentials,
            authorization: Mutex::new(None),
            attempts,
        }
    }

    /// The digest that the reference's tag stands for now; none when the registry does not say without a download.
    pub(crate) async fn resolve(&self) -> Result<Option<Digest>, ImageError> {
        let url = format!("{}/manifests/{}", self.base, self.reference.manifest_key());
        self.with_retries(|| async {
            let answer = self.request(Method::HEAD, &url, accept_manifests()).await?;
            if answer.status().is_success() {
                return Ok(content_digest(answer.headers()));
            }
            match self.refusal(&url, answer).await {
                // HEAD answers carry no explanation: a GET will.
                Failed::Final(_) => Ok(None),
                again => Err(again),
            }
        })
        .await
    }

    /// The manifest or list that the reference, or `digest` in its repository, stands for, with its digest.
    pub(crate) async fn manifest(&self, digest: Option<&Digest>) -> Result<(Digest, Vec<u8>), ImageError> {
        let wanted = digest.or(self.reference.digest.as_ref());
        let key = wanted.map_or(self.reference.manifest_key(), Digest::as_str);
        let url = format!("{}/manifests/{key}", self.base);
        let (announced, bytes) = self
            .with_retries(|| async {
                let answer = self.request(Method::GET, &url, accept_manifests()).await?;
                if !answer.status().is_success() {
                    return Err(self.refusal(&url, answer).await);
                }
                let announced = content_digest(answer.headers());
                let bytes = self.small_body(answer, MAX_MANIFEST, "the manifest").await?;
                Ok((announced, bytes))
            })
            .await?;
        let found = Digest::of(&bytes);
        if let Some(wanted) = wanted.or(announced.as_ref())
            && found != *wanted
        {
            return Err(ImageError::digest_mismatch(self.reference.to_string(), wanted, &found));
        }
        Ok((found, bytes))
    }

    /// A small blob, whole and verified: the image's config.
    pub(crate) async fn config(&self, digest: &Digest) -> Result<Vec<u8>, ImageError> {
        let url = self.blob_url(digest);
        let bytes = self
            .with_retries(|| async {
                let answer = self.request(Method::GET, &url, HeaderMap::new()).await?;
                if !answer.status().is_success() {
                    return Err(self.refusal(&url, answer).await);
                }
                self.small_body(answer, MAX_CONFIG, "the config").await
            })
            .await?;
        let found = Digest::of(&bytes);
        if found != *digest {
            return Err(ImageError::digest_mismatch(
                format!("{} config", self.reference),
                digest,
                &found,
            ));
        }
        Ok(bytes)
    }

    pub(crate) fn store(&self) -> &Inner {
        &self.inner
    }

    fn blob_url(&self, digest: &Digest) -> String {
        format!("{}/blobs/{digest}", self.base)
    }

    async fn small_body(&self, answer: Response<Incoming>, max: u64, what: &str) -> Result<Vec<u8>, Failed> {
        match self.inner.http.read(answer.into_body(), max).await {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => {
                let why = format!("{what} is larger than {max} bytes");
                Err(Failed::Final(ImageError::corrupt(self.reference.to_string(), why)))
            }
            Err(broken) => Err(self.broken(broken)),
        }
    }

    /// Tries until it works, fails for good, or was tried often enough.
    async fn with_retries<T, F>(&self, attempt: impl Fn() -> F + Send) -> Result<T, ImageError>
    where
        F: Future<Output = Result<T, Failed>> + Send,
    {
        let mut tries = 0;
        loop {
            match attempt().await {
                Ok(out) => return Ok(out),
                Err(failed) => {
                    tries += 1;
                    tokio::time::sleep(self.next_try(tries, failed)?).await;
                }
            }
        }
    }

    /// How long to wait after the `tries`th failure in a row, or the failure if that was the last try. Stalls take so
    /// long that two are enough.
    fn next_try(&self, tries: u32, failed: Failed) -> Result<Duration, ImageError> {
        let (error, wait) = match failed {
            Failed::Final(error) => return Err(error),
            Failed::Again { error, wait } => (error, wait),
        };
        if tries >= self.attempts || (tries >= 2 && matches!(error, ImageError::Stalled { .. })) {
            return Err(error);
        }
        tracing::debug!(%error, tries, "asking the registry again");
        let longest = Duration::from_secs(10);
        let pause = self
            .inner
            .options
            .back_off
            .saturating_mul(1 << tries.saturating_sub(1).min(5));
        Ok(wait.unwrap_or(pause).min(longest))
    }

    /// One request with authentication and redirects; any status that is neither is the caller's.
    async fn request(&self, method: Method, url: &str, headers: HeaderMap) -> Result<Response<Incoming>, Failed> {
        let start: Uri = url.parse().map_err(|_| {
            Failed::Final(ImageError::InvalidReference {
                text: self.reference.to_string(),
                why: "it makes no valid URL",
            })
        })?;
        let mut authenticated = false;
        'again: loop {
            let mut uri = start.clone();
            for _ in 0..8 {
                let mut headers = headers.clone();
                // Redirects lead to other people's storage, which must not see the token.
                if uri.authority() == start.authority()
                    && let Some(value) = self.authorization()
                {
                    headers.insert(header::AUTHORIZATION, value);
                }
                let answer = self
                    .inner
                    .http
                    .send(method.clone(), &uri, headers)
                    .await
                    .map_err(|b| self.broken(b))?;
                if let Some(next) = http::redirect(&uri, &answer) {
                    uri = next.map_err(|b| self.broken(b))?;
                    continue;
                }
                if answer.status() == StatusCode::UNAUTHORIZED && !authenticated && uri.authority() == start.authority()
                {
                    authenticated = true;
                    self.authenticate(&answer).await?;
                    continue 'again;
                }
                return Ok(answer);
            }
            return Err(self.broken(Broken::Hopeless(format!("{url} redirects without end"))));
        }
    }

    fn authorization(&self) -> Option<HeaderValue> {
        self.authorization.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// Does what a 401 asks for, so that the next request carries it.
    async fn authenticate(&self, refused: &Response<Incoming>) -> Result<(), Failed> {
        let challenges = refused.headers().get_all(header::WWW_AUTHENTICATE);
        let value = match challenge::parse(challenges.iter().filter_map(|v| v.to_str().ok())) {
            None => {
                return Err(Failed::Final(
                    self.denied("the registry does not say how to authenticate"),
                ));
            }
            Some(Challenge::Basic) => match self.basic() {
                Some(value) => value,
                None => return Err(Failed::Final(self.denied("no basic auth credentials"))),
            },
            Some(Challenge::Bearer { realm, service, scope }) => {
                let token = self.token(&realm, service.as_deref(), scope.as_deref()).await?;
                sensitive(format!("Bearer {token}"))
                    .ok_or_else(|| Failed::Final(self.denied("the token is malformed")))?
            }
        };
        *self.authorization.lock().unwrap_or_else(|e| e.into_inner()) = Some(value);
        Ok(())
    }

    fn basic(&self) -> Option<HeaderValue> {
        let c = self.credentials.as_ref()?;
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{}:{}", c.username, c.password));
        sensitive(format!("Basic {pair}"))
    }

    async fn token(&self, realm: &str, service: Option<&str>, scope: Option<&str>) -> Result<String, Failed> {
        let mut url = realm.to_owned();
        let own_scope = format!("repository:{}:pull", self.reference.repository);
        let parameters = [("service", service), ("scope", Some(scope.unwrap_or(&own_scope)))];
        for (name, value) in parameters {
            if let Some(value) = value {
                url.push(if url.contains('?') { '&' } else { '?' });
                url.push_str(&format!("{name}={}", challenge::query_escape(value)));
            }
        }
        let uri: Uri = url
            .parse()
            .map_err(|_| Failed::Final(self.denied("the registry names a bad token server")))?;
        let host = uri.authority().map_or("", |a| a.as_str());
        if uri.scheme_str() != Some("https") && !speaks_plain(host, &self.inner.options) {
            return Err(Failed::Final(
                self.denied("the registry names a token server without encryption"),
            ));
        }
        let mut headers = HeaderMap::new();
        if let Some(value) = self.basic() {
            headers.insert(header::AUTHORIZATION, value);
        }
        let answer = self
            .inner
            .http
            .send(Method::GET, &uri, headers)
            .await
            .map_err(|b| self.broken(b))?;
        if !answer.status().is_success() {
            return Err(self.refusal(realm, answer).await);
        }
        #[derive(serde::Deserialize)]
        struct Token {
            token: Option<String>,
            access_token: Option<String>,
        }
        let bytes = self.small_body(answer, 1 << 20, "the token").await?;
        let parsed: Option<Token> = serde_json::from_slice(&bytes).ok();
        parsed
            .and_then(|t| t.token.or(t.access_token))
            .filter(|t| !t.is_empty())
            .ok_or_else(|| Failed::Final(self.denied("the token server sent no token")))
    }

    fn denied(&self, message: &str) -> ImageError {
        ImageError::AccessDenied {
            reference: self.reference.to_string(),
            message: message.to_owned(),
        }
    }

    fn broken(&self, broken: Broken) -> Failed {
        let (reference, registry) = (self.reference.to_string(), self.registry.clone());
        match broken {
            Broken::Connection(why) => Failed::Again {
                error: ImageError::Unreachable {
                    reference,
                    registry,
                    why,
                },
                wait: None,
            },
            Broken::Stalled => {
                let seconds = self.inner.options.stall_timeout.as_secs();
                Failed::Again {
                    error: ImageError::Stalled {
                        reference,
                        registry,
                        seconds,
                    },
                    wait: None,
                }
            }
            Broken::Hopeless(why) => Failed::Final(ImageError::Unreachable {
                reference,
                registry,
                why,
            }),
        }
    }

    /// What a status that is no success means.
    async fn refusal(&self, url: &str, answer: Response<Incoming>) -> Failed {
        let status = answer.status();
        let wait = retry_after(answer.headers());
        let body = self
            .inner
            .http
            .read(answer.into_body(), 16 * 1024)
            .await
            .ok()
            .flatten()
            .unwrap_or_default();
        let (code, message) = explanation(&body);
        let reference = self.reference.to_string();
        let detail = if message.is_empty() {
            String::new()
        } else {
            format!(": {message}")
        };
        let error = match (status.as_u16(), code.as_str()) {
            (429, _) | (_, "TOOMANYREQUESTS") => ImageError::RateLimited {
                reference,
                registry: self.registry.clone(),
                message: detail,
            },
            (401 | 403, _) | (_, "DENIED" | "UNAUTHORIZED") => self.denied(if message.is_empty() {
                "authorization failed"
            } else {
                &message
            }),
            (404, _) => ImageError::NotFound { reference },
            (status, _) => ImageError::Registry {
                reference,
                url: url.to_owned(),
                status,
                message: detail,
            },
        };
        match status.as_u16() {
            408 | 500 | 502 | 503 | 504 => Failed::Again { error, wait },
            _ => Failed::Final(error),
        }
    }
}

/// Loopback and what the options name.
fn speaks_plain(registry: &str, options: &Options) -> bool {
    let host = match registry.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => registry.split(':').next().unwrap_or(registry),
    };
    let loopback = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|a| a.is_loopback());
    loopback || options.insecure_registries.iter().any(|r| r == registry || r == host)
}

fn accept_manifests() -> HeaderMap {
    let mut headers = HeaderMap::new();
    for kind in [OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST] {
        headers.append(header::ACCEPT, HeaderValue::from_static(kind));
    }
    headers
}

fn content_digest(headers: &HeaderMap) -> Option<Digest> {
    headers.get("docker-content-digest")?.to_str().ok()?.parse().ok()
}

/// `Retry-After` in seconds, as far as waiting makes sense.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.min(10)))
}

fn sensitive(text: String) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Code and message of the distribution spec's error body, or the token server's `details`.
fn explanation(body: &[u8]) -> (String, String) {
    let json: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let first = &json["errors"][0];
    let text = |v: &serde_json::Value| v.as_str().unwrap_or_default().chars().take(300).collect::<String>();
    let message = [&first["message"], &json["details"], &json["message"]]
        .into_iter()
        .map(text)
        .find(|m| !m.is_empty())
        .unwrap_or_default();
    (text(&first["code"]), message)
}
