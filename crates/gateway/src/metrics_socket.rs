//! Counters for Prometheus: a small HTTP server on a Unix socket, `GET /metrics`.

use crate::log_files::Log;
use crate::serving::Serving;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

const NAME: &str = "gateway-metrics.sock";
const WITHIN: Duration = Duration::from_secs(5);
const LONGEST: usize = 8 * 1024;
const AGAIN: Duration = Duration::from_millis(100);

/// Listens in `directory`, in the place of a predecessor.
///
/// # Errors
/// When the directory takes no socket.
pub fn bind(directory: &Path) -> io::Result<UnixListener> {
    fs::create_dir_all(directory)?;
    // A socket's address is short, a directory's path may not be: it is reached through its descriptor.
    let opened = fs::File::open(directory)?;
    let short = Path::new("/proc/self/fd").join(std::os::fd::AsRawFd::as_raw_fd(&opened).to_string());
    let making = short.join(format!("{NAME}.{}", std::process::id()));
    let _ = fs::remove_file(&making);
    let listener = UnixListener::bind(&making)?;
    fs::set_permissions(&making, Permissions::from_mode(0o600))?;
    fs::rename(&making, short.join(NAME))?;
    Ok(listener)
}

/// Answers until the future is dropped.
pub async fn serve(listener: UnixListener, serving: watch::Receiver<Arc<Serving>>, log: Log) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let current = serving.borrow().clone();
                let lost = log.dropped();
                tokio::spawn(async move {
                    if let Ok(Err(error)) = tokio::time::timeout(WITHIN, answer(stream, &current, lost)).await {
                        tracing::debug!(%error, "a reader of metrics went");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept readers of metrics");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

async fn answer(mut stream: UnixStream, serving: &Serving, lost: u64) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() > LONGEST || stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let wanted = head.starts_with(b"GET /metrics ") || head.starts_with(b"GET /metrics?");
    let (status, body) = match wanted {
        true => ("200 OK", text(serving, lost)),
        false => ("404 Not Found", "Only /metrics is here.\n".to_owned()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}

fn text(serving: &Serving, lost: u64) -> String {
    let mut text = serving.routes.prometheus();
    text.push_str("# HELP neargate_gateway_table_generation Generation of the table that is served.\n");
    text.push_str("# TYPE neargate_gateway_table_generation gauge\n");
    text.push_str(&format!("neargate_gateway_table_generation {}\n", serving.generation));
    text.push_str("# HELP neargate_gateway_access_log_lost_total Access log lines that were lost.\n");
    text.push_str("# TYPE neargate_gateway_access_log_lost_total counter\n");
    text.push_str(&format!("neargate_gateway_access_log_lost_total {lost}\n"));
    text
}
