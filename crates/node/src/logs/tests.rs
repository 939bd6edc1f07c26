//! A log followed from its file to control's acknowledgement, without a node around it.

use super::*;
use neargate_link::AwslogsSpec;
use std::io::Write;
use std::path::Path;
use std::time::Duration;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(10);

struct Fixture {
    dir: tempfile::TempDir,
    hub: LogHub,
    batches: mpsc::Receiver<ToControl>,
    lines: u32,
}

impl Fixture {
    fn new() -> Fixture {
        let (hub, batches) = LogHub::start();
        Fixture {
            dir: tempfile::tempdir().unwrap(),
            hub,
            batches,
            lines: 0,
        }
    }

    /// The node dies: another hub, the same files.
    fn restart(&mut self) {
        (self.hub, self.batches) = LogHub::start();
    }

    fn source(&self, multiline_pattern: Option<&str>) -> Source {
        Source {
            name: "task/app".to_owned(),
            path: self.dir.path().join("0.log"),
            files: 3,
            position_path: self.dir.path().join("position"),
            to: AwslogsSpec {
                group: "g".to_owned(),
                multiline_pattern: multiline_pattern.map(ToOwned::to_owned),
                ..AwslogsSpec::default()
            },
        }
    }

    fn write(&mut self, messages: &[&str]) {
        let path = self.dir.path().join("0.log");
        let mut file = std::fs::File::options().create(true).append(true).open(path).unwrap();
        for message in messages {
            self.lines += 1;
            let line = format!("2026-11-21T08:40:00.{:09}Z stdout F {message}\n", self.lines);
            file.write_all(line.as_bytes()).unwrap();
        }
    }

    fn rotate(&self) {
        let file = |n: u32| {
            self.dir.path().join(if n == 0 {
                "0.log".to_owned()
            } else {
                format!("0.log.{n}")
            })
        };
        for n in (0..2).rev() {
            let _ = std::fs::rename(file(n), file(n + 1));
        }
    }

    async fn batch(&mut self) -> Arc<LogBatch> {
        let message = timeout(PATIENCE, self.batches.recv())
            .await
            .expect("a batch in time")
            .expect("the hub lives");
        match message {
            ToControl::Batch(batch) => batch,
            other => panic!("{other:?}"),
        }
    }

    fn stored(&self, batch: &LogBatch) {
        self.hub.stored(&batch.source, batch.to_offset);
    }

    /// Takes and stores batches until `count` messages came.
    async fn messages(&mut self, count: usize) -> Vec<String> {
        let mut out = Vec::new();
        while out.len() < count {
            let batch = self.batch().await;
            out.extend(messages(&batch));
            self.stored(&batch);
        }
        out
    }
}

fn messages(batch: &LogBatch) -> Vec<String> {
    batch.events.iter().map(|e| e.message.clone()).collect()
}

#[tokio::test]
async fn a_line_is_sent_at_once_and_the_next_waits_for_the_answer() {
    let mut f = Fixture::new();
    let following = f.hub.follow(f.source(None));
    f.write(&["one"]);
    let first = f.batch().await;
    assert_eq!(messages(&first), ["one"]);
    assert_eq!(first.from_offset, 0);
    f.write(&["two", "three"]);
    assert!(
        timeout(Duration::from_millis(300), f.batches.recv()).await.is_err(),
        "one batch is under way at a time"
    );
    f.stored(&first);
    let second = f.batch().await;
    assert_eq!(messages(&second), ["two", "three"]);
    assert_eq!(second.from_offset, first.to_offset);
    drop(following);
}

#[tokio::test]
async fn a_finished_log_is_done_only_when_its_last_line_is_stored() {
    let mut f = Fixture::new();
    f.write(&["one", "last"]);
    let mut following = f.hub.follow(f.source(None));
    following.finish();
    let batch = f.batch().await;
    assert!(timeout(Duration::from_millis(200), following.done()).await.is_err());
    f.stored(&batch);
    timeout(PATIENCE, following.done()).await.expect("done");
    assert_eq!(messages(&batch), ["one", "last"]);
}

#[tokio::test]
async fn a_new_connection_gets_the_same_batch_and_so_does_a_new_process() {
    let mut f = Fixture::new();
    let following = f.hub.follow(f.source(None));
    f.write(&["one"]);
    let first = f.batch().await;
    f.write(&["two"]);
    f.hub.connected();
    assert_eq!(f.batch().await, first);
    drop(following);

    f.restart();
    let following = f.hub.follow(f.source(None));
    assert_eq!(f.batch().await, first, "cut as before, although more was written since");
    f.stored(&first);
    let second = f.batch().await;
    assert_eq!(
        (messages(&second), second.from_offset),
        (vec!["two".to_owned()], first.to_offset)
    );
    f.stored(&second);
    drop(following);
}

#[tokio::test]
async fn what_was_stored_is_not_sent_again_after_a_restart() {
    let mut f = Fixture::new();
    let following = f.hub.follow(f.source(None));
    f.write(&["one"]);
    assert_eq!(f.messages(1).await, ["one"]);
    f.write(&["two"]);
    assert_eq!(f.messages(1).await, ["two"]);
    drop(following);
    f.restart();
    let _following = f.hub.follow(f.source(None));
    // The acknowledgement of the last batch is not on disk: it is sent once more and control knows it by its offset.
    let again = f.batch().await;
    assert_eq!(messages(&again), ["two"]);
    f.stored(&again);
    f.write(&["three"]);
    assert_eq!(f.messages(1).await, ["three"]);
}

#[tokio::test]
async fn while_control_is_away_files_are_the_buffer_and_a_loss_is_told() {
    let mut f = Fixture::new();
    let _following = f.hub.follow(f.source(None));
    f.write(&["one"]);
    let first = f.batch().await;
    for text in ["two", "three", "four", "five"] {
        f.rotate();
        f.write(&[text]);
    }
    f.stored(&first);
    let after = f.messages(4).await;
    assert!(after[0].contains("log lines are missing here"), "{after:?}");
    assert_eq!(after[1..], ["three", "four", "five"]);
}

#[tokio::test]
async fn an_event_of_many_lines_is_sent_when_the_next_begins_or_after_a_pause() {
    let mut f = Fixture::new();
    let following = f.hub.follow(f.source(Some("^\\d")));
    f.write(&["1 first", "  more", "2 second"]);
    assert_eq!(f.messages(1).await, ["1 first\n  more"]);
    let began = std::time::Instant::now();
    assert_eq!(f.messages(1).await, ["2 second"]);
    assert!(
        began.elapsed() >= Duration::from_millis(500),
        "it was waited for more of it"
    );
    drop(following);
}

#[tokio::test]
async fn a_pattern_that_is_none_sends_line_by_line() {
    let mut f = Fixture::new();
    let _following = f.hub.follow(f.source(Some("(unclosed")));
    f.write(&["one", "two"]);
    assert_eq!(f.messages(2).await, ["one", "two"]);
}

#[tokio::test]
async fn a_log_that_cannot_be_watched_is_still_followed() {
    let mut f = Fixture::new();
    let mut source = f.source(None);
    source.path = Path::new("/proc/self/no-such-directory/0.log").to_owned();
    let mut following = f.hub.follow(source);
    following.finish();
    timeout(PATIENCE, following.done())
        .await
        .expect("an absent log is an empty one");
    assert!(f.batches.try_recv().is_err());
}
