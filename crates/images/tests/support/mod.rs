//! A registry in the test's process that misbehaves when told to, and images to put into it.

#![allow(dead_code)]

use neargate_images::{Digest, Options};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub fn sha(bytes: &[u8]) -> Digest {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
        .parse()
        .unwrap()
}

/// How the next answer for a path goes wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The connection ends after so many bytes of the body.
    Cut(usize),
    /// After so many bytes of the body nothing comes any more.
    Stall(usize),
    Status(u16, &'static str),
    /// The body's first byte is another.
    Flip,
    /// More than was promised, without end.
    Endless,
    /// Ranges are ignored.
    NoRange,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Auth {
    #[default]
    None,
    Basic,
    Bearer,
}

#[derive(Default)]
pub struct State {
    pub auth: Auth,
    /// Path after `/v2/` -> content type and bytes.
    pub content: BTreeMap<String, (String, Vec<u8>)>,
    pub faults: BTreeMap<String, VecDeque<Fault>>,
    /// `METHOD path range`.
    pub requests: Vec<String>,
    /// Requests without credentials that they should have had, or with ones they should not.
    pub leaks: Vec<String>,
    /// Blobs are served by this other server.
    pub redirect: Option<String>,
    /// Every body is held back until the sender says so.
    pub gate: Option<tokio::sync::watch::Receiver<bool>>,
}

pub struct Registry {
    pub address: String,
    pub state: Arc<Mutex<State>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Registry {
    pub async fn start() -> Registry {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state: Arc<Mutex<State>> = Arc::default();
        let (shared, own) = (state.clone(), address.clone());
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, shared.clone(), own.clone()));
            }
        });
        Registry { address, state, task }
    }

    pub fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    pub fn fail(&self, path: String, faults: impl IntoIterator<Item = Fault>) {
        self.lock().faults.entry(path).or_default().extend(faults);
    }

    /// How many requests contained `text`.
    pub fn count(&self, text: &str) -> usize {
        self.lock().requests.iter().filter(|r| r.contains(text)).count()
    }

    pub fn put(&self, repository: &str, tag: &str, image: &TestImage) {
        let mut state = self.lock();
        for (digest, bytes) in &image.blobs {
            let path = format!("{repository}/blobs/{digest}");
            state
                .content
                .insert(path, ("application/octet-stream".to_owned(), bytes.clone()));
        }
        for (kind, bytes) in &image.manifests {
            let value = (kind.clone(), bytes.clone());
            state
                .content
                .insert(format!("{repository}/manifests/{}", sha(bytes)), value.clone());
            state.content.insert(format!("{repository}/manifests/{tag}"), value);
        }
    }
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>, own: String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match stream.read(&mut byte).await {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap().split(' ');
    let (method, path) = (first.next().unwrap().to_owned(), first.next().unwrap().to_owned());
    let headers: BTreeMap<String, String> = lines
        .filter_map(|l| l.split_once(": "))
        .map(|(k, v)| (k.to_ascii_lowercase(), v.to_owned()))
        .collect();
    let authorization = headers.get("authorization").cloned().unwrap_or_default();
    let range = headers.get("range").cloned().unwrap_or_default();
    let (auth, content, fault, redirect, gate) = {
        let mut state = state.lock().unwrap();
        state.requests.push(format!("{method} {path} {range}"));
        let key = path.trim_start_matches("/v2/").to_owned();
        let fault = if method == "HEAD" {
            None
        } else {
            state.faults.get_mut(&key).and_then(VecDeque::pop_front)
        };
        if path.starts_with("/cdn/") && !authorization.is_empty() {
            state.leaks.push(path.clone());
        }
        (
            state.auth,
            state.content.get(key.trim_start_matches("/cdn/")).cloned(),
            fault,
            state.redirect.clone(),
            state.gate.clone(),
        )
    };
    let basic = "Basic dXNlcjpwYXNz";
    let plain = |status: u16, extra: String, body: &str| {
        format!(
            "HTTP/1.1 {status} X\r\nconnection: close\r\n{extra}content-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    if path.starts_with("/token") {
        let ok = authorization == basic && path.contains("scope=repository:") && path.contains("service=test");
        let answer = if ok {
            plain(200, String::new(), r#"{"token":"T1"}"#)
        } else {
            plain(401, String::new(), "{}")
        };
        let _ = stream.write_all(answer.as_bytes()).await;
        return;
    }
    let allowed = path.starts_with("/cdn/")
        || match auth {
            Auth::None => true,
            Auth::Basic => authorization == basic,
            Auth::Bearer => authorization == "Bearer T1",
        };
    if !allowed {
        let challenge = match auth {
            Auth::Basic => "Basic realm=\"test\"".to_owned(),
            _ => format!("Bearer realm=\"http://{own}/token\",service=\"test\",scope=\"repository:x:pull\""),
        };
        let body = r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
        let answer = plain(401, format!("www-authenticate: {challenge}\r\n"), body);
        let _ = stream.write_all(answer.as_bytes()).await;
        return;
    }
    if let (Some(to), true) = (&redirect, path.contains("/blobs/")) {
        let answer = plain(
            307,
            format!("location: http://{to}/cdn/{}\r\n", path.trim_start_matches("/v2/")),
            "",
        );
        let _ = stream.write_all(answer.as_bytes()).await;
        return;
    }
    if let Some(Fault::Status(status, body)) = fault {
        let _ = stream.write_all(plain(status, String::new(), body).as_bytes()).await;
        return;
    }
    let Some((kind, mut body)) = content else {
        let body = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
        let _ = stream.write_all(plain(404, String::new(), body).as_bytes()).await;
        return;
    };
    if let Some(mut gate) = gate {
        let _ = gate.wait_for(|open| *open).await;
    }
    let digest = sha(&body);
    let total = body.len();
    let mut status = "200 OK".to_owned();
    let mut extra = String::new();
    if let Some(from) = range.strip_prefix("bytes=").and_then(|r| r.strip_suffix('-'))
        && !matches!(fault, Some(Fault::NoRange))
    {
        let from: usize = from.parse().unwrap();
        status = "206 Partial Content".to_owned();
        extra = format!("content-range: bytes {from}-{}/{total}\r\n", total - 1);
        body.drain(..from);
    }
    if matches!(fault, Some(Fault::Flip)) {
        body[0] ^= 1;
    }
    let length = if matches!(fault, Some(Fault::Endless)) {
        1 << 40
    } else {
        body.len()
    };
    let answer = format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-type: {kind}\r\ndocker-content-digest: {digest}\r\n{extra}content-length: {length}\r\n\r\n"
    );
    if stream.write_all(answer.as_bytes()).await.is_err() || method == "HEAD" {
        return;
    }
    match fault {
        Some(Fault::Cut(at)) => {
            let _ = stream.write_all(&body[..at.min(body.len())]).await;
        }
        Some(Fault::Stall(at)) => {
            let _ = stream.write_all(&body[..at.min(body.len())]).await;
            std::future::pending::<()>().await;
        }
        Some(Fault::Endless) => while stream.write_all(&[7; 65536]).await.is_ok() {},
        _ => {
            let _ = stream.write_all(&body).await;
        }
    }
}

/// An image's blobs and manifests, the last manifest being what its tag stands for.
#[derive(Clone, Default)]
pub struct TestImage {
    pub blobs: BTreeMap<Digest, Vec<u8>>,
    pub manifests: Vec<(String, Vec<u8>)>,
    pub layers: Vec<Digest>,
    pub config: Vec<u8>,
    pub diff_ids: Vec<Digest>,
}

impl TestImage {
    pub fn digest(&self) -> Digest {
        sha(&self.manifests.last().unwrap().1)
    }
}

pub fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, body) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o755);
        header.set_size(body.len() as u64);
        builder.append_data(&mut header, path, *body).unwrap();
    }
    builder.into_inner().unwrap()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut e = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    e.write_all(bytes).unwrap();
    e.finish().unwrap()
}

/// Bytes that do not compress.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect()
}

pub fn host_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// An image for `architecture` of layers given as stored bytes and tar bytes.
pub fn image_of(layers: &[(Vec<u8>, Vec<u8>)], architecture: &str, docker: bool) -> TestImage {
    let mut image = TestImage::default();
    let mut descriptors = Vec::new();
    for (stored, tar) in layers {
        let digest = sha(stored);
        image.layers.push(digest.clone());
        image.diff_ids.push(sha(tar));
        let kind = if docker {
            "application/vnd.docker.image.rootfs.diff.tar.gzip"
        } else {
            "application/vnd.oci.image.layer.v1.tar+gzip"
        };
        descriptors.push(json!({"mediaType": kind, "digest": digest.as_str(), "size": stored.len()}));
        image.blobs.insert(digest, stored.clone());
    }
    let diff_ids: Vec<&str> = image.diff_ids.iter().map(|d| d.as_str()).collect();
    let config = json!({
        "architecture": architecture, "os": "linux",
        "config": {"Cmd": ["/web"], "Env": ["PATH=/bin"], "WorkingDir": "/srv"},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    image.config = serde_json::to_vec(&config).unwrap();
    let (kind, config_kind) = if docker {
        (
            "application/vnd.docker.distribution.manifest.v2+json",
            "application/vnd.docker.container.image.v1+json",
        )
    } else {
        (
            "application/vnd.oci.image.manifest.v1+json",
            "application/vnd.oci.image.config.v1+json",
        )
    };
    let manifest = json!({
        "schemaVersion": 2, "mediaType": kind,
        "config": {"mediaType": config_kind, "digest": sha(&image.config).as_str(), "size": image.config.len()},
        "layers": descriptors,
    });
    image.blobs.insert(sha(&image.config), image.config.clone());
    image
        .manifests
        .push((kind.to_owned(), serde_json::to_vec(&manifest).unwrap()));
    image
}

/// One gzip layer with these files, for this machine.
pub fn simple(files: &[(&str, &[u8])]) -> TestImage {
    let tar = tar_of(files);
    image_of(&[(gzip(&tar), tar)], host_architecture(), false)
}

/// A list of images by architecture.
pub fn list_of(images: &[(&str, TestImage)]) -> TestImage {
    let mut out = TestImage::default();
    let mut entries: Vec<Value> = Vec::new();
    for (architecture, image) in images {
        let (kind, bytes) = image.manifests.last().unwrap();
        let platform = json!({"os": "linux", "architecture": architecture});
        entries
            .push(json!({"mediaType": kind, "digest": sha(bytes).as_str(), "size": bytes.len(), "platform": platform}));
        out.blobs.extend(image.blobs.clone());
        out.manifests.extend(image.manifests.clone());
    }
    let kind = "application/vnd.oci.image.index.v1+json";
    let index = json!({"schemaVersion": 2, "mediaType": kind, "manifests": entries});
    out.manifests
        .push((kind.to_owned(), serde_json::to_vec(&index).unwrap()));
    out
}

/// Limits that make tests quick.
pub fn hasty() -> Options {
    Options {
        stall_timeout: Duration::from_millis(300),
        connect_timeout: Duration::from_secs(2),
        back_off: Duration::from_millis(1),
        ..Options::default()
    }
}
