//! nginx and HAProxy from the distribution, as proxies to measure beside and as the one backend of all.

use crate::Result;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server that ends with this.
pub struct Server {
    child: Child,
    name: &'static str,
}

impl Server {
    fn start(name: &'static str, command: &mut Command, dir: &Path, probe: &str) -> Result<Server> {
        let log = std::fs::File::create(dir.join(format!("{name}.log"))).map_err(|e| e.to_string())?;
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|e| {
                format!("{name}: {e}: install it with apt-get install nginx-light haproxy wrk nghttp2-client")
            })?;
        let server = Server { child, name };
        let until = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(probe).is_err() {
            if Instant::now() > until {
                let said = std::fs::read_to_string(dir.join(format!("{name}.log"))).unwrap_or_default();
                return Err(format!("{name} does not listen on {probe}: {said}"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(server)
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The process and its children.
    pub fn pids(&self) -> Vec<u32> {
        let mut pids = vec![self.child.id()];
        let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        for pid in processes.filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok()) {
            if parent(pid) == Some(self.child.id()) {
                pids.push(pid);
            }
        }
        pids
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let until = Instant::now() + Duration::from_secs(5);
        while Instant::now() < until && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn stat(pid: u32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let rest = text.rsplit_once(')')?.1;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

fn parent(pid: u32) -> Option<u32> {
    stat(pid)?.get(1)?.parse().ok()
}

/// Processor time that processes have used, in clock ticks of 10 ms.
#[derive(Clone, Copy)]
pub struct Ticks {
    pub all: u64,
    /// What of it the kernel used for them.
    pub kernel: u64,
}

pub fn ticks(pids: &[u32]) -> Ticks {
    let of = |pid: &u32, field: usize| stat(*pid)?.get(field)?.parse::<u64>().ok();
    let sum = |field| pids.iter().filter_map(|pid| of(pid, field)).sum::<u64>();
    let kernel = sum(12);
    Ticks {
        all: sum(11) + kernel,
        kernel,
    }
}

/// Files of 1 KB and 100 KB served by one nginx worker at `address`.
pub fn backend(dir: &Path, address: &str, namespace: &Path) -> Result<Server> {
    let files = dir.join("files");
    std::fs::create_dir_all(&files).map_err(|e| e.to_string())?;
    for (name, bytes) in [("1k", 1024), ("100k", 100 * 1024), ("health", 2)] {
        std::fs::write(files.join(name), vec![b'x'; bytes]).map_err(|e| e.to_string())?;
    }
    let conf = format!(
        "user root; daemon off; worker_processes 1; pid {0}/backend.pid; error_log {0}/backend-error.log;\n\
         events {{ worker_connections 20000; }}\n\
         http {{ access_log off; keepalive_requests 1000000000; keepalive_timeout 300s; open_file_cache max=10;\n\
         server {{ listen {address} backlog=4096; location / {{ root {0}/files; }} }} }}\n",
        dir.display()
    );
    let path = dir.join("backend.conf");
    std::fs::write(&path, conf).map_err(|e| e.to_string())?;
    let inside = format!("--net={}", namespace.display());
    let mut nginx = Command::new("nsenter");
    Server::start("backend", nginx.args([&inside, "nginx", "-c"]).arg(&path), dir, address)
}

/// Where a proxy listens: HTTP and HTTPS (with HTTP/2).
pub struct Ports {
    pub plain: u16,
    pub tls: u16,
}

/// A certificate with its key.
pub struct Pair {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Pair {
    pub fn make(dir: &Path) -> Result<Pair> {
        let pair = Pair {
            certificate: dir.join("bench.pem"),
            key: dir.join("bench.key"),
        };
        let done = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-days",
                "2",
            ])
            .args([
                "-subj",
                "/CN=bench.localhost",
                "-addext",
                "subjectAltName=DNS:bench.localhost",
                "-keyout",
            ])
            .arg(&pair.key)
            .arg("-out")
            .arg(&pair.certificate)
            .output()
            .map_err(|e| format!("openssl: {e}"))?;
        if done.status.success() {
            Ok(pair)
        } else {
            Err(String::from_utf8_lossy(&done.stderr).into_owned())
        }
    }
}

/// nginx with a worker per core, `rules` rules, forwarded headers and a buffered access log.
pub fn nginx(dir: &Path, backend: &str, ports: &Ports, pair: &Pair, rules: usize) -> Result<Server> {
    let mut locations = String::new();
    for n in 1..rules {
        let _ = writeln!(locations, "location /never/{n}/ {{ proxy_pass http://backend; }}");
    }
    let headers = "proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host;\n\
                   proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme;\n\
                   proxy_set_header X-Forwarded-Port $server_port; proxy_set_header X-Amzn-Trace-Id Root=1-$request_id;";
    let conf = format!(
        "user root; daemon off; worker_processes auto; pid {0}/nginx.pid; error_log {0}/nginx-error.log;\n\
         events {{ worker_connections 20000; }}\n\
         http {{ access_log {0}/nginx-access.log combined buffer=64k flush=5s; keepalive_requests 1000000000; keepalive_timeout 300s;\n\
         upstream backend {{ server {backend}; keepalive 256; keepalive_requests 1000000000; }}\n\
         server {{ listen 127.0.0.1:{1} backlog=4096; listen 127.0.0.1:{2} ssl http2 backlog=4096; ssl_certificate {3}; ssl_certificate_key {4};\n\
         {headers}\n{locations} location / {{ proxy_pass http://backend; }} }} }}\n",
        dir.display(),
        ports.plain,
        ports.tls,
        pair.certificate.display(),
        pair.key.display(),
    );
    let path = dir.join("nginx.conf");
    std::fs::write(&path, conf).map_err(|e| e.to_string())?;
    let probe = format!("127.0.0.1:{}", ports.plain);
    Server::start("nginx", Command::new("nginx").arg("-c").arg(&path), dir, &probe)
}

/// HAProxy with a thread per core, `rules` rules, forwarded headers and a log.
pub fn haproxy(dir: &Path, backend: &str, ports: &Ports, pair: &Pair, rules: usize) -> Result<Server> {
    let both = dir.join("haproxy.pem");
    let read = |path: &Path| std::fs::read_to_string(path).map_err(|e| e.to_string());
    std::fs::write(&both, read(&pair.certificate)? + &read(&pair.key)?).map_err(|e| e.to_string())?;
    let mut lines = String::new();
    for n in 1..rules {
        let _ = writeln!(lines, "  use_backend b if {{ path_beg /never/{n}/ }}");
    }
    let conf = format!(
        "global\n  maxconn 8000\n  log stderr format raw local0\n\
         defaults\n  mode http\n  log global\n  option httplog\n  timeout client 300s\n  timeout server 300s\n  timeout connect 5s\n  timeout http-keep-alive 300s\n\
         frontend f\n  bind 127.0.0.1:{}\n  bind 127.0.0.1:{} ssl crt {} alpn h2,http/1.1\n  option forwardfor\n\
         \x20 http-request set-header X-Forwarded-Proto %[ssl_fc,iif(https,http)]\n  http-request set-header X-Forwarded-Port %[dst_port]\n\
         \x20 http-request set-header X-Amzn-Trace-Id Root=1-%[uuid()]\n{lines}  default_backend b\n\
         backend b\n  http-reuse always\n  server s {backend}\n",
        ports.plain,
        ports.tls,
        both.display(),
    );
    let path = dir.join("haproxy.conf");
    std::fs::write(&path, conf).map_err(|e| e.to_string())?;
    let probe = format!("127.0.0.1:{}", ports.plain);
    Server::start(
        "haproxy",
        Command::new("haproxy").arg("-db").arg("-f").arg(&path),
        dir,
        &probe,
    )
}
