//! Access logs on disk: one thread writes what the workers hand over, compressed, into files named as AWS names them.
//!
//! Workers never wait: lines that find the queue full are dropped and counted. A file is complete, under its final name,
//! after five minutes or when the gateway ends; until then it ends in `.part`.

use flate2::Compression;
use flate2::write::GzEncoder;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Lines that may wait.
const QUEUE: usize = 16 * 1024;
/// How long a file is written to.
pub const ROTATION: Duration = Duration::from_secs(300);

/// A line and the balancer that it is about.
#[derive(Debug)]
struct Line {
    balancer: Arc<str>,
    /// With its end.
    text: Vec<u8>,
}

/// Given to every worker.
#[derive(Clone, Debug)]
pub struct Log {
    queue: SyncSender<Line>,
    dropped: Arc<AtomicU64>,
}

impl Log {
    /// Hands over a line with its end.
    pub fn write(&self, balancer: &Arc<str>, text: Vec<u8>) {
        let line = Line {
            balancer: balancer.clone(),
            text,
        };
        if self.queue.try_send(line).is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Lines that were lost.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}

/// The thread that writes. Ends when every `Log` is gone.
#[derive(Debug)]
pub struct Writer(JoinHandle<()>);

impl Writer {
    /// Starts it. `name` is asked for a new file's path below `root` by the balancer's ARN; none: its log is off now.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn start(
        root: PathBuf,
        rotation: Duration,
        name: impl Fn(&str) -> Option<String> + Send + 'static,
    ) -> io::Result<(Log, Writer)> {
        let (queue, lines) = sync_channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let log = Log {
            queue,
            dropped: dropped.clone(),
        };
        let work = move || write(&root, rotation, &lines, &name, &dropped);
        let thread = std::thread::Builder::new().name("access-log".to_owned()).spawn(work)?;
        Ok((log, Writer(thread)))
    }

    /// Waits until everything is on disk.
    pub fn join(self) {
        if self.0.join().is_err() {
            tracing::error!("the writer of access logs panicked");
        }
    }
}

struct Open {
    encoder: GzEncoder<File>,
    part: PathBuf,
    whole: PathBuf,
    since: Instant,
}

fn write(
    root: &Path,
    rotation: Duration,
    lines: &Receiver<Line>,
    name: &impl Fn(&str) -> Option<String>,
    dropped: &AtomicU64,
) {
    let mut files: HashMap<Arc<str>, Open> = HashMap::new();
    loop {
        let oldest = files.values().map(|file| file.since).min();
        let wait = oldest.map_or(rotation, |since| rotation.saturating_sub(since.elapsed()));
        match lines.recv_timeout(wait) {
            Ok(line) => {
                if let Err(error) = append(root, &mut files, &line, name) {
                    tracing::error!(%error, balancer = &*line.balancer, "cannot write the access log");
                    files.remove(&line.balancer);
                    dropped.fetch_add(1, Relaxed);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        for (_, file) in files.extract_if(|_, file| file.since.elapsed() >= rotation) {
            file.finish();
        }
    }
    for (_, file) in files {
        file.finish();
    }
}

fn append(
    root: &Path,
    files: &mut HashMap<Arc<str>, Open>,
    line: &Line,
    name: &impl Fn(&str) -> Option<String>,
) -> io::Result<()> {
    if !files.contains_key(&line.balancer) {
        let Some(name) = name(&line.balancer) else {
            return Ok(());
        };
        files.insert(line.balancer.clone(), Open::create(root, &name)?);
    }
    let Some(file) = files.get_mut(&line.balancer) else {
        return Ok(());
    };
    file.encoder.write_all(&line.text)
}

impl Open {
    fn create(root: &Path, name: &str) -> io::Result<Open> {
        let whole = root.join(name);
        if let Some(parent) = whole.parent() {
            fs::create_dir_all(parent)?;
        }
        let part = root.join(format!("{name}.part"));
        let encoder = GzEncoder::new(File::create(&part)?, Compression::fast());
        Ok(Open {
            encoder,
            part,
            whole,
            since: Instant::now(),
        })
    }

    fn finish(self) {
        let done = self.encoder.finish().and_then(|_| fs::rename(&self.part, &self.whole));
        if let Err(error) = done {
            tracing::error!(%error, file = %self.whole.display(), "cannot complete an access log");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn lines_of_a_balancer_are_in_its_file_when_the_gateway_has_ended() {
        let root = tempfile::tempdir().unwrap();
        let names = |arn: &str| (arn != "off").then(|| format!("bucket/web/{arn}.log.gz"));
        let (log, writer) = Writer::start(root.path().to_owned(), ROTATION, names).unwrap();
        for (arn, text) in [("a", "one"), ("b", "other"), ("a", "two"), ("off", "none")] {
            log.write(&arn.into(), format!("{text}\n").into_bytes());
        }
        assert_eq!(log.dropped(), 0);
        drop(log);
        writer.join();
        let mut text = String::new();
        let file = File::open(root.path().join("bucket/web/a.log.gz")).unwrap();
        flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
        assert_eq!(text, "one\ntwo\n");
        assert_eq!(fs::read_dir(root.path().join("bucket/web")).unwrap().count(), 2);
    }

    #[test]
    fn a_file_is_complete_after_its_time() {
        let root = tempfile::tempdir().unwrap();
        let names = |_: &str| Some("a.log.gz".to_owned());
        let (log, _writer) = Writer::start(root.path().to_owned(), Duration::from_millis(20), names).unwrap();
        log.write(&"a".into(), b"one\n".to_vec());
        let until = Instant::now() + Duration::from_secs(5);
        while !root.path().join("a.log.gz").exists() {
            assert!(Instant::now() < until, "never complete");
            std::thread::yield_now();
        }
    }
}
