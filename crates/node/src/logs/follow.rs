//! Sends one container's log to control: every event once, in order, whatever restarts in between.
//!
//! One tokio task a container. One batch is under way at a time; where it ends is written down before it is sent, so
//! that a restarted node cuts the very same batch again and control, which counts offsets, stores it once.

use super::ToControl;
use super::assemble::{Until, cut};
use super::tail::{Position, Tail};
use super::watch::Watch;
use neargate_link::{AwslogsSpec, LogBatch};
use regex::bytes::Regex;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

/// Lines written within this time of a batch go together in the next.
const GATHER: Duration = Duration::from_millis(100);
/// An event that a pattern keeps open, or a line without its end, is sent after so much silence.
const PATIENCE: Duration = Duration::from_secs(1);
/// What a batch takes of the hub's memory at most, KiB.
const BATCH_KIB: u32 = 1024;

/// A container's log.
#[derive(Clone, Debug)]
pub struct Source {
    /// `<task id>/<container>`.
    pub name: String,
    pub path: PathBuf,
    pub files: u32,
    /// Where it is kept how far the log was sent.
    pub position_path: PathBuf,
    pub to: AwslogsSpec,
}

/// What is written down: everything before `stored` is control's, and a batch that ends at `sent` may be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Progress {
    stored: Position,
    sent: Option<u64>,
}

/// What a follower shares with its hub.
pub struct Lines {
    /// Batches on their way to control.
    pub out: mpsc::Sender<ToControl>,
    /// Offset that control has stored.
    pub stored: watch::Receiver<u64>,
    /// Grows with each connection to control: what was under way is sent again.
    pub connection: watch::Receiver<u64>,
    /// True once the container is over and its log complete.
    pub finished: watch::Receiver<bool>,
    /// KiB of batches that may be in memory at once.
    pub memory: Arc<Semaphore>,
}

/// Follows a log until it is finished and stored.
pub async fn follow(source: Source, watch: io::Result<Watch>, mut lines: Lines) {
    let log = source.name.clone();
    if let Err(error) = Follower::open(source, watch).run(&mut lines).await {
        tracing::error!(log, %error, "a container's log can no longer be read");
    }
}

struct Follower {
    source: Source,
    pattern: Option<Regex>,
    tail: Tail,
    progress: Progress,
    /// Made when the first batch is sent.
    kept: Option<File>,
    watch: Option<Watch>,
    last_sent: Option<Instant>,
}

impl Follower {
    fn open(source: Source, watch: io::Result<Watch>) -> Follower {
        let pattern = source
            .to
            .multiline_pattern
            .as_deref()
            .and_then(|text| match Regex::new(text) {
                Ok(pattern) => Some(pattern),
                Err(error) => {
                    tracing::warn!(log = source.name, %error, "awslogs-multiline-pattern is no regular expression");
                    None
                }
            });
        let watch = watch.inspect_err(|error| {
            tracing::warn!(log = source.name, %error, "a log directory cannot be watched; looking every second");
        });
        let progress = read_progress(&source.position_path);
        let tail = Tail::new(&source.path, source.files, progress.stored.clone());
        Follower {
            source,
            pattern,
            tail,
            progress,
            kept: None,
            watch: watch.ok(),
            last_sent: None,
        }
    }

    async fn run(&mut self, lines: &mut Lines) -> io::Result<()> {
        if let Some(sent) = self.progress.sent.filter(|s| *s > self.progress.stored.offset) {
            // Cut before a restart, and perhaps stored: once more, the same.
            self.send(lines, Until::Offset(sent)).await?;
        }
        let mut until = Until::Whole;
        loop {
            // Looked at before reading: what is written before a container ends is read after.
            let finished = *lines.finished.borrow_and_update();
            let read = if finished { Until::Flush } else { until };
            let Some(held_back) = self.send(lines, read).await? else {
                return Ok(());
            };
            if let Some(held_back) = held_back {
                if finished {
                    return Ok(());
                }
                self.tail.rest();
                until = self.wait(lines, held_back).await;
            }
        }
    }

    /// Sends a batch and waits until it is stored. Answers none when the hub is gone, `Some(None)` when something was sent,
    /// and otherwise whether a half-read event is held back.
    async fn send(&mut self, lines: &mut Lines, until: Until) -> io::Result<Option<Option<bool>>> {
        if let (Some(last), Until::Whole) = (self.last_sent.take(), until) {
            // A stream of lines: the next batch takes a little more of them, unless the container is over.
            let gather = tokio::time::sleep_until(last + GATHER);
            tokio::select! {
                () = gather => {}
                _ = lines.finished.wait_for(|finished| *finished) => {}
            }
        }
        let Some(mut memory) = reserve(&lines.memory).await else {
            return Ok(None);
        };
        let cut = cut(&mut self.tail, self.pattern.as_ref(), until)?;
        if cut.events.is_empty() {
            // Nothing that control would count: noise and empty lines are simply behind us.
            self.progress.stored = cut.end;
            return Ok(Some(Some(cut.held_back)));
        }
        let bytes: usize = cut.events.iter().map(|e| e.message.len() + 64).sum();
        let used = u32::try_from(bytes / 1024 + 1).unwrap_or(BATCH_KIB);
        drop(memory.split(BATCH_KIB.saturating_sub(used) as usize));
        self.progress.sent = Some(cut.end.offset);
        self.keep()?;
        let batch = Arc::new(LogBatch {
            source: self.source.name.clone(),
            from_offset: self.progress.stored.offset,
            to_offset: cut.end.offset,
            region: self.source.to.region.clone(),
            group: self.source.to.group.clone(),
            stream: self.source.to.stream.clone(),
            events: cut.events,
        });
        if !deliver(lines, batch, cut.end.offset).await {
            return Ok(None);
        }
        self.progress = Progress {
            stored: cut.end,
            sent: None,
        };
        self.last_sent = Some(Instant::now());
        Ok(Some(None))
    }

    /// Waits for something to read. Answers how to read it.
    async fn wait(&mut self, lines: &mut Lines, held_back: bool) -> Until {
        let changed = async {
            match &self.watch {
                Some(watch) => watch.changed().await,
                None => sleep(PATIENCE).await,
            }
        };
        let news = async {
            tokio::select! {
                () = changed => {}
                // The hub going away ends the follower at its next send.
                _ = lines.finished.wait_for(|finished| *finished) => {}
            }
        };
        if !held_back {
            news.await;
            return Until::Whole;
        }
        if timeout(PATIENCE, news).await.is_ok() {
            Until::Whole
        } else {
            Until::Flush
        }
    }

    fn keep(&mut self) -> io::Result<()> {
        let mut text = serde_json::to_string(&self.progress)?;
        // One write over the last: shorter text must not leave a tail of the longer.
        while text.len() < 255 {
            text.push(' ');
        }
        text.push('\n');
        let file = match &mut self.kept {
            Some(file) => file,
            None => {
                let options = File::options()
                    .create(true)
                    .write(true)
                    .truncate(false)
                    .open(&self.source.position_path)?;
                self.kept.insert(options)
            }
        };
        file.write_all_at(text.as_bytes(), 0)
    }
}

/// Hands a batch over, again with every new connection, until it is stored. False when the hub is gone.
async fn deliver(lines: &mut Lines, batch: Arc<LogBatch>, end: u64) -> bool {
    loop {
        lines.connection.borrow_and_update();
        if lines.out.send(ToControl::Batch(batch.clone())).await.is_err() {
            return false;
        }
        tokio::select! {
            stored = lines.stored.wait_for(|stored| *stored >= end) => return stored.is_ok(),
            connection = lines.connection.changed() => {
                if connection.is_err() {
                    return false;
                }
            }
        }
    }
}

async fn reserve(memory: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    memory.clone().acquire_many_owned(BATCH_KIB).await.ok()
}

/// How far the log was sent; from the start when that cannot be read.
fn read_progress(path: &Path) -> Progress {
    let mut text = String::new();
    let read = File::open(path).and_then(|mut f| f.read_to_string(&mut text));
    match read {
        Ok(_) => serde_json::from_str(text.trim()).unwrap_or_default(),
        Err(_) => Progress::default(),
    }
}
