//! Access logs on disk: one thread writes what the workers hand over, compressed, into files named as AWS names them.
//!
//! Workers never wait: they hand over pages of lines, and pages that find the queue full are dropped, their lines counted.
//! A file is complete, under its final name, after five minutes or when the gateway ends; until then it ends in `.part`. One
//! whose gateway was killed is completed by the next.

mod recovery;

use flate2::Compression;
use flate2::write::GzEncoder;
use neargate_routing::Balancer;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Pages that may wait.
const QUEUE: usize = 256;
/// A page is handed over when it holds so much: waking the writer for every line cost more than all else of a request.
const PAGE: usize = 64 * 1024;
/// Room for the line that fills it.
const LAST_LINE: usize = 4 * 1024;
/// Ends the name of a file that is not complete.
const PART: &str = "part";
/// How long a file is written to.
pub const ROTATION: Duration = Duration::from_secs(300);

/// Lines of one balancer, which may be gone from the table by the time they are written.
#[derive(Debug)]
struct Page {
    balancer: Arc<Balancer>,
    /// With their ends.
    text: Vec<u8>,
    lines: u64,
}

/// The way to the writer.
#[derive(Clone, Debug)]
pub struct Log {
    queue: SyncSender<Page>,
    dropped: Arc<AtomicU64>,
}

impl Log {
    fn hand_over(&self, page: Page) {
        let lines = page.lines;
        if self.queue.try_send(page).is_err() {
            self.dropped.fetch_add(lines, Relaxed);
        }
    }

    /// Lines that were lost.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}

/// What one worker has written and not handed over; it does so when dropped.
#[derive(Debug)]
pub struct Pages {
    log: Log,
    open: RefCell<Vec<Page>>,
}

impl Pages {
    pub fn new(log: Log) -> Pages {
        Pages {
            log,
            open: RefCell::default(),
        }
    }

    /// Adds the line that `write` writes, with its end.
    pub fn line(&self, balancer: &Arc<Balancer>, write: impl FnOnce(&mut Vec<u8>)) {
        let mut open = self.open.borrow_mut();
        let at = open.iter().position(|page| Arc::ptr_eq(&page.balancer, balancer));
        let at = at.unwrap_or_else(|| {
            open.push(Page {
                balancer: balancer.clone(),
                text: Vec::with_capacity(PAGE + LAST_LINE),
                lines: 0,
            });
            open.len() - 1
        });
        let page = &mut open[at];
        write(&mut page.text);
        page.lines += 1;
        if page.text.len() >= PAGE {
            let page = open.swap_remove(at);
            self.log.hand_over(page);
        }
    }

    /// Hands over what there is.
    pub fn hand_over(&self) {
        for page in self.open.borrow_mut().drain(..) {
            self.log.hand_over(page);
        }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.hand_over();
    }
}

/// The thread that writes. Ends when every `Log` is gone.
#[derive(Debug)]
pub struct Writer(JoinHandle<()>);

impl Writer {
    /// Starts it. `name` is asked for a new file's path below `root`; none: that balancer's log is off.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn start(
        root: PathBuf,
        rotation: Duration,
        name: impl Fn(&Balancer) -> Option<String> + Send + 'static,
    ) -> io::Result<(Log, Writer)> {
        let (queue, pages) = sync_channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let log = Log {
            queue,
            dropped: dropped.clone(),
        };
        let work = move || write(&root, rotation, &pages, &name, &dropped);
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
    pages: &Receiver<Page>,
    name: &impl Fn(&Balancer) -> Option<String>,
    dropped: &AtomicU64,
) {
    recovery::complete_all(root);
    let mut files: HashMap<String, Open> = HashMap::new();
    loop {
        let oldest = files.values().map(|file| file.since).min();
        let wait = oldest.map_or(rotation, |since| rotation.saturating_sub(since.elapsed()));
        match pages.recv_timeout(wait) {
            Ok(page) => {
                if let Err(error) = append(root, &mut files, &page, name) {
                    tracing::error!(%error, balancer = page.balancer.id, "cannot write the access log");
                    files.remove(&page.balancer.arn);
                    dropped.fetch_add(page.lines, Relaxed);
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
    files: &mut HashMap<String, Open>,
    page: &Page,
    name: &impl Fn(&Balancer) -> Option<String>,
) -> io::Result<()> {
    if !files.contains_key(&page.balancer.arn) {
        let Some(name) = name(&page.balancer) else {
            return Ok(());
        };
        files.insert(page.balancer.arn.clone(), Open::create(root, &name)?);
    }
    let Some(file) = files.get_mut(&page.balancer.arn) else {
        return Ok(());
    };
    file.encoder.write_all(&page.text)?;
    // On its way to the disk, whatever becomes of this process.
    file.encoder.flush()
}

/// Writes the file that says in a bucket that a log is written there, once.
///
/// # Errors
/// When it cannot be written.
pub fn announce(root: &Path, key: &str, balancer: &str, at: &str) -> io::Result<()> {
    let path = root.join(key);
    if path.exists() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(path, format!("Enable AccessLog for ELB: {balancer} at {at}"))
}

impl Open {
    fn create(root: &Path, name: &str) -> io::Result<Open> {
        let whole = root.join(name);
        if let Some(parent) = whole.parent() {
            fs::create_dir_all(parent)?;
        }
        let part = root.join(format!("{name}.{PART}"));
        let file = File::create(&part)?;
        file.lock()?;
        let encoder = GzEncoder::new(file, Compression::fast());
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
    use neargate_link::gateway::BalancerKind;
    use neargate_routing::BalancerSettings;
    use std::collections::BTreeMap;
    use std::io::Read as _;

    fn balancer(arn: &str) -> Arc<Balancer> {
        Arc::new(Balancer {
            arn: arn.to_owned(),
            id: format!("app/{arn}/0123456789abcdef"),
            dns_name: format!("{arn}.elb.localhost"),
            kind: BalancerKind::Application,
            on_loopback: true,
            addresses: Vec::new(),
            ingress: None,
            settings: BalancerSettings::new(&BTreeMap::new(), false),
            listeners: Vec::new(),
            metrics: Arc::default(),
        })
    }

    #[test]
    fn lines_of_a_balancer_are_in_its_file_when_the_gateway_has_ended() {
        let root = tempfile::tempdir().unwrap();
        let names = |one: &Balancer| (one.arn != "off").then(|| format!("bucket/web/{}.log.gz", one.arn));
        let (log, writer) = Writer::start(root.path().to_owned(), ROTATION, names).unwrap();
        let pages = Pages::new(log.clone());
        for (arn, text) in [("a", "one"), ("b", "other"), ("a", "two"), ("off", "none")] {
            pages.line(&balancer(arn), |out| {
                out.extend_from_slice(format!("{text}\n").as_bytes())
            });
        }
        drop(pages);
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
    fn a_full_page_goes_and_what_finds_no_room_is_counted() {
        let (queue, waiting) = sync_channel(1);
        let log = Log {
            queue,
            dropped: Arc::default(),
        };
        let pages = Pages::new(log.clone());
        let line = [b'x'; PAGE / 2];
        let one = balancer("a");
        let write = || pages.line(&one, |out| out.extend_from_slice(&line));
        write();
        assert!(waiting.try_recv().is_err(), "half a page stays");
        write();
        assert_eq!(waiting.try_recv().unwrap().lines, 2);
        for _ in 0..4 {
            write();
        }
        assert_eq!(log.dropped(), 2, "one page waits, the second found no room");
    }

    #[test]
    fn a_file_is_complete_after_its_time() {
        let root = tempfile::tempdir().unwrap();
        let names = |_: &Balancer| Some("a.log.gz".to_owned());
        let (log, _writer) = Writer::start(root.path().to_owned(), Duration::from_millis(20), names).unwrap();
        let pages = Pages::new(log);
        pages.line(&balancer("a"), |out| out.extend_from_slice(b"one\n"));
        pages.hand_over();
        let until = Instant::now() + Duration::from_secs(5);
        while !root.path().join("a.log.gz").exists() {
            assert!(Instant::now() < until, "never complete");
            std::thread::yield_now();
        }
    }
}
