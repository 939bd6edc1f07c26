//! Collecting what nothing uses: old images, then blobs and layers that no image, task, pull or load holds.
//!
//! `gc.lock` is held alone, so that no pull or load of any process starts meanwhile; when another process is in the
//! middle of one, collecting waits for the next time. This process's own pulls hold pins, taken before they look at
//! what is here, and the pins stay locked from marking to removing.

use crate::dirs::{list, remove_tree};
use crate::index::{self, Origin};
use crate::store::{ImageStore, Inner};
use crate::{Digest, ImageError};
use rustix::fs::{FlockOperation, flock};
use std::collections::{BTreeSet, HashSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Which unused images go.
#[derive(Clone, Copy, Debug)]
pub struct GcPolicy {
    /// Pulled images not used for this long are removed (ECS agent: `ECS_IMAGE_MINIMUM_CLEANUP_AGE`, half an hour).
    /// Loaded images stay until they are removed by name.
    pub unused_for: Duration,
    /// At most so many, those longest unused first (ECS agent: `ECS_NUM_IMAGES_DELETE_PER_CYCLE`, 5).
    pub at_most: usize,
    /// Broken-off downloads older than this are removed.
    pub partials_after: Duration,
}

impl Default for GcPolicy {
    fn default() -> Self {
        GcPolicy {
            unused_for: Duration::from_secs(30 * 60),
            at_most: 5,
            partials_after: Duration::from_secs(24 * 60 * 60),
        }
    }
}

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GcReport {
    /// References whose image went.
    pub images: Vec<String>,
    pub layers: usize,
    pub blobs: usize,
    pub bytes: u64,
    /// Another process is pulling or loading: nothing was done.
    pub deferred: bool,
}

/// Bytes on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskUsage {
    pub blobs: u64,
    pub layers: u64,
    pub partials: u64,
    /// Free on the file system for this process.
    pub free: u64,
}

impl ImageStore {
    /// Removes images that `policy` calls unused and then everything nothing refers to. What `in_use` names
    /// (`Image::digest` or `Image::manifest_digest` of every container there is), what is pinned, and what a pull or
    /// load works on stays.
    ///
    /// # Errors
    /// `Io`; what was not reached is collected the next time.
    pub async fn gc(&self, in_use: &BTreeSet<Digest>, policy: GcPolicy) -> Result<GcReport, ImageError> {
        let inner = self.inner.clone();
        let in_use = in_use.clone();
        blocking(move || collect(&inner, &in_use, policy)).await
    }

    /// How much space the store takes. Walks every layer.
    ///
    /// # Errors
    /// `Io`.
    pub async fn disk_usage(&self) -> Result<DiskUsage, ImageError> {
        let inner = self.inner.clone();
        blocking(move || {
            let dirs = &inner.dirs;
            Ok(DiskUsage {
                blobs: size_of(&dirs.blobs())?,
                layers: size_of(&dirs.layers())?,
                partials: size_of(&dirs.partials())?,
                free: free_bytes(dirs.root())?,
            })
        })
        .await
    }
}

/// Runs `work` where it may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ImageError> + Send + 'static,
) -> Result<T, ImageError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(out) => out,
        Err(e) => match e.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(e) => Err(ImageError::io(
                "running work for",
                Path::new("images"),
                io::Error::other(e),
            )),
        },
    }
}

/// Bytes an unprivileged writer may still write to `path`'s file system.
pub(crate) fn free_bytes(path: &Path) -> Result<u64, ImageError> {
    let stat = rustix::fs::statvfs(path).map_err(|e| ImageError::io("measuring", path, e.into()))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

fn collect(inner: &Inner, in_use: &BTreeSet<Digest>, policy: GcPolicy) -> Result<GcReport, ImageError> {
    let dirs = &inner.dirs;
    let mut report = GcReport::default();
    let _alone = dirs.gate(true)?;
    if dirs.others_busy()? {
        report.deferred = true;
        return Ok(report);
    }
    let mut trash = Vec::new();
    {
        let pins = inner.pins();
        let pinned = |d: &Digest| pins.counts.contains_key(d);
        let now = SystemTime::now();
        let old = |used: SystemTime| now.duration_since(used).is_ok_and(|age| age >= policy.unused_for);
        let (mut unused, mut kept) = (Vec::new(), Vec::new());
        for (row, used) in index::all(dirs)? {
            let manifest = inner.manifest(&row.digest).ok().flatten().map(|(digest, _)| digest);
            let held = |d: &Digest| in_use.contains(d) || pinned(d);
            let in_use = held(&row.digest) || manifest.as_ref().is_some_and(held);
            if row.origin == Origin::Pulled && !in_use && old(used) {
                unused.push((used, row));
            } else {
                kept.push(row);
            }
        }
        unused.sort_by_key(|(used, _)| *used);
        let excess = unused.split_off(unused.len().min(policy.at_most));
        kept.extend(excess.into_iter().map(|(_, row)| row));
        for (_, row) in unused {
            index::remove(dirs, &row.reference)?;
            report.images.push(row.reference);
        }

        let mut marked: HashSet<Digest> = pins.counts.keys().cloned().collect();
        let roots: Vec<Digest> = kept
            .into_iter()
            .map(|row| row.digest)
            .chain(in_use.iter().cloned())
            .chain(marked.iter().cloned())
            .collect();
        for root in roots {
            mark(inner, root, &mut marked);
        }
        let gone = |path: &PathBuf| {
            path.file_name()
                .and_then(|n| format!("sha256:{}", n.to_string_lossy()).parse::<Digest>().ok())
                .is_some_and(|d| !marked.contains(&d))
        };
        for path in list(&dirs.blobs())?.into_iter().filter(gone) {
            report.bytes += fs::symlink_metadata(&path).map_or(0, |m| m.blocks() * 512);
            fs::remove_file(&path).map_err(|e| ImageError::io("removing", &path, e))?;
            report.blobs += 1;
        }
        for path in list(&dirs.layers())?.into_iter().filter(gone) {
            let to = dirs.fresh("trash");
            fs::rename(&path, &to).map_err(|e| ImageError::io("removing", &path, e))?;
            trash.push(to);
        }
        inner.forget();
    }
    for path in &trash {
        report.bytes += size_of(path).unwrap_or(0);
        remove_tree(path).map_err(|e| ImageError::io("removing", path, e))?;
        report.layers += 1;
    }
    for path in list(&dirs.partials())? {
        let Ok(file) = File::open(&path) else { continue };
        let old = file.metadata().and_then(|m| m.modified()).is_ok_and(|at| {
            SystemTime::now()
                .duration_since(at)
                .is_ok_and(|age| age >= policy.partials_after)
        });
        if old && flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            report.bytes += file.metadata().map_or(0, |m| m.blocks() * 512);
            fs::remove_file(&path).map_err(|e| ImageError::io("removing", &path, e))?;
        }
    }
    Ok(report)
}

/// Marks what `root` (a manifest list, a manifest, or any other blob) needs.
fn mark(inner: &Inner, root: Digest, marked: &mut HashSet<Digest>) {
    use crate::manifest::{MAX_CONFIG, MAX_MANIFEST};
    let mut path = vec![root.clone()];
    let mut manifest = None;
    // A blob that is no manifest (a pinned layer) or is missing refers to nothing more.
    for _ in 0..3 {
        let at = path.last().expect("it starts with one").clone();
        let Ok(Some(bytes)) = inner.dirs.read_blob(&at, MAX_MANIFEST) else {
            break;
        };
        match crate::manifest::parse(at.as_str(), &bytes) {
            Ok(crate::manifest::Document::Image(m)) => {
                manifest = Some(m);
                break;
            }
            Ok(crate::manifest::Document::List(entries)) => match crate::manifest::select(&entries, &inner.platform) {
                Ok(entry) => path.push(entry.digest.clone()),
                Err(_) => break,
            },
            Err(_) => break,
        }
    }
    marked.extend(path);
    let Some(manifest) = manifest else { return };
    marked.extend(manifest.layers.iter().map(|l| l.digest.clone()));
    if let Ok(Some(bytes)) = inner.dirs.read_blob(&manifest.config.digest, MAX_CONFIG)
        && let Ok(config) = crate::store::read_config(&manifest.config.digest, &bytes)
        && let Ok(diff_ids) = crate::store::diff_ids(&manifest.config.digest, &config)
    {
        marked.extend(crate::manifest::chain_ids(&diff_ids));
    }
    marked.insert(manifest.config.digest);
}

/// Bytes allocated under `path`, hard links counted once.
fn size_of(path: &Path) -> Result<u64, ImageError> {
    let mut seen = HashSet::new();
    let mut total = 0;
    let mut todo = vec![path.to_owned()];
    while let Some(path) = todo.pop() {
        let Ok(meta) = fs::symlink_metadata(&path) else {
            continue;
        };
        if meta.nlink() < 2 || meta.is_dir() || seen.insert(meta.ino()) {
            total += meta.blocks() * 512;
        }
        if meta.is_dir() {
            todo.extend(list(&path)?);
        }
    }
    Ok(total)
}
