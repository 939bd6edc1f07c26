//! What Neargate is measured beside: runc alone and docker, started here and stopped here.

use crate::Result;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

fn quiet(command: &mut Command) -> Result<String> {
    let out = command
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("{:?}: {e}", command.get_program()))?;
    if out.status.success() {
        return Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned());
    }
    Err(format!(
        "{:?}: {}",
        command.get_program(),
        String::from_utf8_lossy(&out.stderr).trim()
    ))
}

/// A bundle of the stamp program.
pub struct Runc {
    bundle: PathBuf,
}

impl Runc {
    pub fn prepare(dir: &Path) -> Result<Runc> {
        let bundle = dir.join("bundle");
        let rootfs = bundle.join("rootfs");
        std::fs::create_dir_all(rootfs.join("bench")).map_err(|e| e.to_string())?;
        std::fs::copy(dir.join("stamp"), rootfs.join("web")).map_err(|e| e.to_string())?;
        quiet(Command::new("runc").arg("spec").arg("--bundle").arg(&bundle))?;
        let path = bundle.join("config.json");
        let text = std::fs::read_to_string(&path).map_err(|e| e.to_string())?;
        let mut spec: Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
        spec["process"]["terminal"] = false.into();
        spec["process"]["args"] = serde_json::json!(["/web", "/bench/fifo"]);
        if let Some(mounts) = spec["mounts"].as_array_mut() {
            mounts.push(serde_json::json!({ "destination": "/bench", "source": dir, "type": "bind", "options": ["bind", "rw"] }));
        }
        std::fs::write(&path, spec.to_string()).map_err(|e| e.to_string())?;
        Ok(Runc { bundle })
    }

    pub fn run(&self, round: usize) -> Result<()> {
        let id = format!("neargate-bench-{}-{round}", std::process::id());
        let status = Command::new("runc")
            .args(["run", "-d", "--bundle"])
            .arg(&self.bundle)
            .arg(id)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if status.map_err(|e| e.to_string())?.success() {
            Ok(())
        } else {
            Err("runc run failed".into())
        }
    }

    pub fn remove(&self, round: usize) {
        let id = format!("neargate-bench-{}-{round}", std::process::id());
        let _ = quiet(Command::new("runc").args(["delete", "--force", &id]));
    }
}

/// A docker daemon of one's own.
pub struct Docker {
    daemon: Child,
    socket: String,
    dir: PathBuf,
}

impl Docker {
    pub fn start(dir: &Path) -> Result<Docker> {
        let root = dir.join("docker");
        std::fs::create_dir_all(&root).map_err(|e| e.to_string())?;
        let socket = format!("unix://{}/docker.sock", root.display());
        let log = std::fs::File::create(root.join("log")).map_err(|e| e.to_string())?;
        let daemon = Command::new("dockerd")
            .args([
                "--iptables=false",
                "--ip6tables=false",
                "--bip",
                "198.18.233.1/24",
                "--host",
                &socket,
            ])
            .arg("--data-root")
            .arg(root.join("data"))
            .arg("--exec-root")
            .arg(root.join("exec"))
            .arg("--pidfile")
            .arg(root.join("pid"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(|e| e.to_string())?)
            .stderr(log)
            .spawn()
            .map_err(|e| format!("dockerd is not installed (apt install docker.io): {e}"))?;
        let docker = Docker {
            daemon,
            socket,
            dir: dir.to_owned(),
        };
        let until = Instant::now() + Duration::from_secs(30);
        while docker.command(&["version"]).is_err() {
            if Instant::now() > until {
                let log = std::fs::read_to_string(root.join("log")).unwrap_or_default();
                let tail: Vec<&str> = log.lines().rev().take(3).collect();
                return Err(format!("dockerd did not start: {}", tail.join(" / ")));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let context = dir.join("docker-image.tar");
        quiet(
            Command::new("tar")
                .arg("-cf")
                .arg(&context)
                .arg("-C")
                .arg(dir.join("bundle/rootfs"))
                .arg("."),
        )?;
        docker.command(&["import", &context.display().to_string(), "stamp:1"])?;
        Ok(docker)
    }

    fn command(&self, args: &[&str]) -> Result<String> {
        let client = ["/usr/bin/docker", "docker"]
            .into_iter()
            .find(|p| Path::new(p).exists())
            .unwrap_or("docker");
        quiet(Command::new(client).arg("--host").arg(&self.socket).args(args))
    }

    pub fn run(&self) -> Result<String> {
        let bind = format!("{}:/bench", self.dir.display());
        self.command(&["run", "-d", "-v", &bind, "stamp:1", "/web", "/bench/fifo"])
    }

    pub fn remove(&self, id: &str) {
        let _ = self.command(&["rm", "-f", id]);
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.daemon.id().to_string()).status();
        let _ = self.daemon.wait();
        let _ = quiet(Command::new("ip").args(["link", "delete", "docker0"]));
    }
}
