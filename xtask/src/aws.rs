//! A running Neargate of one's own, and the AWS CLI pointed at it.

use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, String>;

/// A `neargate up` that is taken down again when this is dropped.
pub struct Instance {
    binary: PathBuf,
    data: PathBuf,
    child: Child,
    env: Vec<(String, String)>,
    root: PathBuf,
}

impl Instance {
    /// Starts `binary up` on `data` and waits until it answers.
    pub fn start(root: &Path, binary: &Path, data: &Path, listen: &str, more: &[&str]) -> Result<Instance> {
        let log = std::fs::File::create(data.with_extension("log")).map_err(|e| e.to_string())?;
        let mut child = Command::new(binary)
            .args(["up", "--stop-tasks", "--listen", listen, "--data-dir"])
            .arg(data)
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(|e| format!("{}: {e}", binary.display()))?;
        let stdout = child.stdout.take().expect("stdout is piped");
        let (ready, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(std::io::Result::ok) {
                if line.contains("Neargate is up") {
                    let _ = ready.send(());
                }
            }
        });
        let mut instance = Instance {
            binary: binary.into(),
            data: data.into(),
            child,
            env: Vec::new(),
            root: root.into(),
        };
        if told.recv_timeout(Duration::from_secs(30)).is_err() {
            let log = std::fs::read_to_string(data.with_extension("log")).unwrap_or_default();
            return Err(format!("neargate did not come up:\n{log}"));
        }
        instance.env = instance.read_env()?;
        Ok(instance)
    }

    fn read_env(&self) -> Result<Vec<(String, String)>> {
        let out = Command::new(&self.binary)
            .arg("env")
            .arg("--data-dir")
            .arg(&self.data)
            .output()
            .map_err(|e| e.to_string())?;
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        let pairs = text.lines().filter_map(|l| l.strip_prefix("export ")?.split_once('='));
        Ok(pairs
            .map(|(k, v)| (k.to_owned(), v.trim_matches(['"', '\'']).to_owned()))
            .collect())
    }

    pub fn env(&self) -> &[(String, String)] {
        &self.env
    }

    /// The AWS CLI of `.venv` with the instance's environment.
    pub fn aws(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.root.join(".venv/bin/aws"));
        command
            .args(args)
            .envs(self.env.iter().map(|(k, v)| (k, v)))
            .env_remove("AWS_SESSION_TOKEN")
            .env("AWS_PAGER", "");
        command
    }

    /// Runs the AWS CLI and reads its JSON answer (null when it prints none).
    pub fn aws_json(&self, args: &[&str]) -> Result<Value> {
        let out = self
            .aws(args)
            .args(["--output", "json"])
            .output()
            .map_err(|e| format!("aws: {e}"))?;
        if !out.status.success() {
            return Err(format!(
                "aws {}: {}",
                args.join(" "),
                String::from_utf8_lossy(&out.stderr).trim()
            ));
        }
        if out.stdout.iter().all(u8::is_ascii_whitespace) {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&out.stdout).map_err(|e| format!("aws {}: {e}", args.join(" ")))
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // SIGTERM to `up`, which stops its roles and, with --stop-tasks, every task.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let until = Instant::now() + Duration::from_secs(60);
        while Instant::now() < until && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = Command::new(&self.binary)
            .arg("down")
            .arg("--data-dir")
            .arg(&self.data)
            .stdout(Stdio::null())
            .status();
    }
}

/// Asks `question` until it answers something, for at most `limit`.
pub fn wait_for<T>(what: &str, limit: Duration, mut question: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let until = Instant::now() + limit;
    loop {
        if let Some(answer) = question()? {
            return Ok(answer);
        }
        if Instant::now() > until {
            return Err(format!("{what}: not within {} s", limit.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
