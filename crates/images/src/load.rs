//! Loading images from files: OCI layouts and docker archives, as directories or as tar archives (gzip or zstd too).
//!
//! Layers are read where they lie and unpacked straight into the store; nothing is copied first, except that a
//! compressed archive is uncompressed into a nameless file, since its pieces are needed in another order.

use crate::dirs::Dirs;
use crate::gc::{blocking, free_bytes};
use crate::index::{self, Origin, StoredImage};
use crate::layers::{Fetched, Layer, Source, digest_of};
use crate::manifest::{self, Descriptor, Document, MAX_CONFIG, MAX_MANIFEST, Manifest, OCI_MANIFEST};
use crate::pull::complete;
use crate::store::{Inner, Options, diff_ids, read_config};
use crate::unpack::archive_decoder;
use crate::unpack::stream::TarStream;
use crate::{Digest, ImageError, ImageStore, Platform, Reference};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tar::EntryType;

/// An image taken from a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedImage {
    /// The normalised reference it runs under.
    pub reference: String,
    pub digest: Digest,
}

impl ImageStore {
    /// Takes the images of an OCI layout or a docker archive, under the names they carry or, if there is just one
    /// image, under `name`. They are used from then on without asking a registry.
    ///
    /// # Errors
    /// `NotAnImage`, `InvalidReference`, and what unpacking refuses.
    pub async fn load(&self, path: &Path, name: Option<&str>) -> Result<Vec<LoadedImage>, ImageError> {
        let name = name.map(str::parse::<Reference>).transpose()?;
        let inner = self.inner.clone();
        let leased = inner.clone();
        let _lease = blocking(move || leased.lease()).await?;
        let (from, opened) = (path.to_owned(), inner.clone());
        let (archive, found) = blocking(move || {
            let archive = Archive::open(&from, &opened.dirs, &opened.options)?;
            let found = archive.images(&opened.platform, name)?;
            Ok((archive, found))
        })
        .await?;
        let mut out = Vec::new();
        for image in found {
            out.extend(install(&inner, &archive, image).await?);
        }
        Ok(out)
    }
}

/// An image found in an archive.
struct Found {
    names: Vec<Reference>,
    digest: Digest,
    manifest: Manifest,
    config: Vec<u8>,
    /// Manifests to store.
    blobs: Vec<(Digest, Vec<u8>)>,
    /// Where the layers lie, by blob digest.
    layers: BTreeMap<Digest, String>,
}

async fn install(inner: &Arc<Inner>, archive: &Arc<Archive>, image: Found) -> Result<Vec<LoadedImage>, ImageError> {
    let mut pin = inner.pin();
    pin.add(&image.digest);
    pin.add(&image.manifest.config.digest);
    for (digest, bytes) in image.blobs {
        pin.add(&digest);
        let inner = inner.clone();
        blocking(move || inner.dirs.put_blob(&digest, &bytes)).await?;
    }
    let what = image
        .names
        .first()
        .map_or_else(|| image.digest.to_string(), Reference::to_string);
    let source = Arc::new(Layers {
        archive: archive.clone(),
        paths: image.layers,
    });
    complete(
        inner,
        &mut pin,
        &source,
        &what,
        &image.digest,
        &image.manifest,
        image.config,
    )
    .await?;
    let rows: Vec<StoredImage> = image
        .names
        .iter()
        .map(|n| StoredImage {
            reference: n.index_key(),
            digest: image.digest.clone(),
            origin: Origin::Loaded,
        })
        .collect();
    let out = rows
        .iter()
        .map(|r| LoadedImage {
            reference: r.reference.clone(),
            digest: r.digest.clone(),
        })
        .collect();
    let inner = inner.clone();
    blocking(move || rows.iter().try_for_each(|row| index::put(&inner.dirs, row))).await?;
    Ok(out)
}

struct Layers {
    archive: Arc<Archive>,
    paths: BTreeMap<Digest, String>,
}

impl Source for Layers {
    async fn fetch(&self, layer: &Layer) -> Result<Fetched, ImageError> {
        let path = self
            .paths
            .get(&layer.blob)
            .map_or_else(|| blob_path(&layer.blob), Clone::clone);
        let archive = self.archive.clone();
        let section = blocking(move || archive.need(&path)).await?;
        if section.end - section.at != layer.size {
            let (have, want) = (section.end - section.at, layer.size);
            return Err(ImageError::corrupt(
                format!("layer {}", layer.blob),
                format!("it should have {want} bytes and has {have}"),
            ));
        }
        Ok(Box::new(section))
    }
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// A directory or tar archive whose files are found by path.
struct Archive {
    /// For errors.
    path: PathBuf,
    kind: Kind,
}

enum Kind {
    Dir(OwnedFd),
    Tar {
        file: Arc<File>,
        files: BTreeMap<String, (u64, u64)>,
        links: BTreeMap<String, String>,
    },
}

/// A piece of a file.
struct Section {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Read for Section {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.end - self.at).unwrap_or(usize::MAX).min(buf.len());
        let n = self.file.read_at(&mut buf[..most], self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

impl Archive {
    fn open(path: &Path, dirs: &Dirs, options: &Options) -> Result<Arc<Archive>, ImageError> {
        let failed = |e| ImageError::io("reading", path, e);
        let meta = std::fs::metadata(path).map_err(failed)?;
        let kind = if meta.is_dir() {
            let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
            Kind::Dir(rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(|e| failed(e.into()))?)
        } else {
            let mut input = BufReader::with_capacity(128 * 1024, File::open(path).map_err(failed)?);
            let head = input.fill_buf().map_err(failed)?;
            let compressed = head.starts_with(&[0x1f, 0x8b]) || head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]);
            let file = if compressed {
                uncompress(&mut input, path, dirs, options)?
            } else {
                File::open(path).map_err(failed)?
            };
            read_directory(path, file)?
        };
        Ok(Arc::new(Archive {
            path: path.to_owned(),
            kind,
        }))
    }

    fn not_an_image(&self, why: impl Into<String>) -> ImageError {
        ImageError::NotAnImage {
            path: self.path.clone(),
            why: why.into(),
        }
    }

    /// The file at `path`, if there is one.
    fn section(&self, path: &str) -> Result<Option<Section>, ImageError> {
        match &self.kind {
            Kind::Dir(dir) => {
                let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
                let flags = OFlags::RDONLY | OFlags::CLOEXEC;
                match rustix::fs::openat2(dir, path, flags, Mode::empty(), resolve) {
                    Ok(fd) => {
                        let file = File::from(fd);
                        let meta = file.metadata().map_err(|e| ImageError::io("reading", &self.path, e))?;
                        if !meta.is_file() {
                            return Ok(None);
                        }
                        Ok(Some(Section {
                            file: Arc::new(file),
                            at: 0,
                            end: meta.len(),
                        }))
                    }
                    Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(None),
                    Err(e) => Err(ImageError::io(format!("reading {path} in"), &self.path, e.into())),
                }
            }
            Kind::Tar { file, files, links } => {
                let mut at = plain_path(path);
                // Old docker archives link equal layers to one another.
                for _ in 0..8 {
                    match links.get(&at) {
                        Some(to) => at = to.clone(),
                        None => break,
                    }
                }
                Ok(files.get(&at).map(|(start, length)| Section {
                    file: file.clone(),
                    at: *start,
                    end: start + length,
                }))
            }
        }
    }

    fn need(&self, path: &str) -> Result<Section, ImageError> {
        self.section(path)?
            .ok_or_else(|| self.not_an_image(format!("it lacks {path}")))
    }

    fn read(&self, path: &str, max: u64) -> Result<Vec<u8>, ImageError> {
        let section = self.need(path)?;
        if section.end - section.at > max {
            return Err(self.not_an_image(format!("{path} is larger than {max} bytes")));
        }
        let (mut bytes, mut section) = (Vec::new(), section);
        section
            .read_to_end(&mut bytes)
            .map_err(|e| ImageError::io("reading", &self.path, e))?;
        Ok(bytes)
    }

    fn blob(&self, digest: &Digest, max: u64) -> Result<Vec<u8>, ImageError> {
        let bytes = self.read(&blob_path(digest), max)?;
        let found = Digest::of(&bytes);
        if found != *digest {
            return Err(ImageError::digest_mismatch(
                format!("{}: blob", self.path.display()),
                digest,
                &found,
            ));
        }
        Ok(bytes)
    }

    /// Every image that runs on `platform`.
    fn images(&self, platform: &Platform, name: Option<Reference>) -> Result<Vec<Found>, ImageError> {
        let mut found = if self.section("index.json")?.is_some() {
            self.layout(platform, name.is_some())?
        } else if self.section("manifest.json")?.is_some() {
            self.docker()?
        } else {
            return Err(self
                .not_an_image("it is neither an OCI layout (no index.json) nor a docker archive (no manifest.json)"));
        };
        match (name, &mut found[..]) {
            (_, []) => return Err(self.not_an_image("it holds no image")),
            (Some(name), [only]) => only.names = vec![name],
            (Some(_), many) => {
                return Err(self.not_an_image(format!(
                    "it holds {} images: a name can be given to one only",
                    many.len()
                )));
            }
            (None, all) => {
                if let Some(nameless) = all.iter().find(|i| i.names.is_empty()) {
                    return Err(self.not_an_image(format!(
                        "the image {} carries no name: give one with --name",
                        nameless.digest
                    )));
                }
            }
        }
        Ok(found)
    }

    /// OCI image layout: `index.json` names the images.
    fn layout(&self, platform: &Platform, renamed: bool) -> Result<Vec<Found>, ImageError> {
        let bytes = self.read("index.json", MAX_MANIFEST)?;
        let Document::List(entries) = manifest::parse("index.json", &bytes)? else {
            return Err(self.not_an_image("its index.json is no list"));
        };
        let names = |d: &Descriptor| -> Result<Option<Reference>, ImageError> {
            let name = d
                .annotations
                .get("io.containerd.image.name")
                .or_else(|| d.annotations.get("org.opencontainers.image.ref.name"));
            if renamed {
                Ok(None)
            } else {
                name.map(|n| n.parse()).transpose()
            }
        };
        let runs = |d: &&Descriptor| d.platform.as_ref().is_none_or(|p| p.os != "unknown");
        let entries: Vec<Descriptor> = entries.iter().filter(runs).cloned().collect();
        // One nameless entry a platform: the layout is itself one image's list.
        let one_image = entries.len() > 1
            && entries
                .iter()
                .all(|d| d.platform.is_some() && !d.annotations.contains_key("io.containerd.image.name"))
            && entries.iter().all(|d| {
                d.annotations.get("org.opencontainers.image.ref.name")
                    == entries[0].annotations.get("org.opencontainers.image.ref.name")
            });
        let chosen = if one_image {
            vec![manifest::select(&entries, platform)?.clone()]
        } else {
            entries
        };
        let mut out: Vec<Found> = Vec::new();
        for entry in chosen {
            let name = names(&entry)?;
            if let Some(same) = out.iter_mut().find(|f| f.digest == entry.digest) {
                same.names.extend(name);
                continue;
            }
            let mut blobs = Vec::new();
            let mut at = entry.digest.clone();
            let manifest = loop {
                let bytes = self.blob(&at, MAX_MANIFEST)?;
                let document = manifest::parse(at.as_str(), &bytes)?;
                blobs.push((at.clone(), bytes));
                match document {
                    Document::Image(manifest) => break manifest,
                    Document::List(_) if blobs.len() > 2 => {
                        return Err(self.not_an_image("its manifest lists are nested too deeply"));
                    }
                    Document::List(list) => at = manifest::select(&list, platform)?.digest.clone(),
                }
            };
            let config = self.blob(&manifest.config.digest, MAX_CONFIG)?;
            let digest = entry.digest;
            out.push(Found {
                names: name.into_iter().collect(),
                digest,
                manifest,
                config,
                blobs,
                layers: BTreeMap::new(),
            });
        }
        Ok(out)
    }

    /// `docker save`: `manifest.json` names config, tags and layers; a manifest is made of them.
    fn docker(&self) -> Result<Vec<Found>, ImageError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Row {
            config: String,
            #[serde(default)]
            repo_tags: Option<Vec<String>>,
            #[serde(default)]
            layers: Option<Vec<String>>,
        }
        let bytes = self.read("manifest.json", MAX_MANIFEST)?;
        let rows: Vec<Row> = serde_json::from_slice(&bytes)
            .map_err(|e| self.not_an_image(format!("its manifest.json cannot be read: {e}")))?;
        let mut out = Vec::new();
        for row in rows {
            let config = self.read(&row.config, MAX_CONFIG)?;
            let config_digest = Digest::of(&config);
            let diff_ids = diff_ids(&config_digest, &read_config(&config_digest, &config)?)?;
            let paths = row.layers.unwrap_or_default();
            if paths.len() != diff_ids.len() {
                return Err(self.not_an_image("its manifest.json and its config name different numbers of layers"));
            }
            let mut layers = BTreeMap::new();
            let mut descriptors = Vec::new();
            for (path, diff_id) in paths.into_iter().zip(diff_ids) {
                let (digest, size, media_type) = self.describe(&path, diff_id)?;
                layers.insert(digest.clone(), path);
                descriptors.push(descriptor(media_type, digest, size));
            }
            let manifest = Manifest {
                schema_version: 2,
                media_type: OCI_MANIFEST.to_owned(),
                config: descriptor(
                    "application/vnd.oci.image.config.v1+json",
                    config_digest,
                    config.len() as u64,
                ),
                layers: descriptors,
            };
            let bytes = serde_json::to_vec(&manifest).expect("a manifest is plain data");
            let digest = Digest::of(&bytes);
            let names = row
                .repo_tags
                .unwrap_or_default()
                .iter()
                .map(|t| t.parse())
                .collect::<Result<_, _>>()?;
            out.push(Found {
                names,
                blobs: vec![(digest.clone(), bytes)],
                digest,
                manifest,
                config,
                layers,
            });
        }
        Ok(out)
    }

    /// Digest, size and media type of a layer's file. An uncompressed one has its diff id for digest, which unpacking
    /// verifies.
    fn describe(&self, path: &str, diff_id: Digest) -> Result<(Digest, u64, &'static str), ImageError> {
        let mut section = self.need(path)?;
        let size = section.end - section.at;
        let mut head = [0; 4];
        let failed = |e| ImageError::io("reading", &self.path, e);
        let n = section
            .file
            .read_at(&mut head[..size.min(4) as usize], section.at)
            .map_err(failed)?;
        let media_type = match &head[..n] {
            [0x1f, 0x8b, ..] => "application/vnd.oci.image.layer.v1.tar+gzip",
            [0x28, 0xb5, 0x2f, 0xfd] => "application/vnd.oci.image.layer.v1.tar+zstd",
            _ => return Ok((diff_id, size, "application/vnd.oci.image.layer.v1.tar")),
        };
        let (digest, _) = digest_of(&mut section).map_err(failed)?;
        Ok((digest, size, media_type))
    }
}

fn descriptor(media_type: &str, digest: Digest, size: u64) -> Descriptor {
    Descriptor {
        media_type: media_type.to_owned(),
        digest,
        size,
        platform: None,
        annotations: BTreeMap::new(),
    }
}

/// Uncompresses a whole archive into a nameless file on the store's disk.
fn uncompress(input: &mut impl BufRead, path: &Path, dirs: &Dirs, options: &Options) -> Result<File, ImageError> {
    let temp = dirs.fresh("archive");
    let full = |e| ImageError::io("writing", &temp, e);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&temp)
        .map_err(full)?;
    std::fs::remove_file(&temp).map_err(full)?;
    let corrupt = |e: io::Error| match e.raw_os_error() {
        Some(_) => ImageError::io("reading", path, e),
        None => ImageError::corrupt(path.display().to_string(), e.to_string()),
    };
    let mut decoder = archive_decoder(input).map_err(corrupt)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = decoder.read(&mut buffer).map_err(corrupt)?;
        if n == 0 {
            file.rewind().map_err(full)?;
            return Ok(file);
        }
        if free_bytes(dirs.root())? < options.keep_free_bytes {
            return Err(ImageError::DiskFull { path: temp });
        }
        file.write_all(&buffer[..n]).map_err(full)?;
    }
}

/// Finds where each file of a tar archive lies.
fn read_directory(path: &Path, file: File) -> Result<Kind, ImageError> {
    let not = |why: String| ImageError::NotAnImage {
        path: path.to_owned(),
        why,
    };
    let bad = |e: io::Error| match e.raw_os_error() {
        Some(_) => ImageError::io("reading", path, e),
        None => not(format!("it is no tar archive: {e}")),
    };
    let length = file.metadata().map_err(bad)?.len();
    let file = Arc::new(file);
    let mut tar = TarStream::seeking(&*file);
    let (mut files, mut links) = (BTreeMap::new(), BTreeMap::new());
    while let Some(entry) = tar.next().map_err(bad)? {
        let name = plain_path(&String::from_utf8_lossy(&entry.path));
        match entry.kind {
            EntryType::Regular | EntryType::Continuous if entry.pieces.is_none() => {
                let at = tar.position().map_err(bad)?;
                if at.checked_add(entry.size).is_none_or(|end| end > length) {
                    return Err(not(format!("it ends inside {name}: the file is cut")));
                }
                files.insert(name, (at, entry.size));
            }
            EntryType::Link => {
                links.insert(name, plain_path(&String::from_utf8_lossy(&entry.link)));
            }
            EntryType::Symlink => {
                let dir = name.rsplit_once('/').map_or("", |(dir, _)| dir);
                let to = plain_path(&format!("{dir}/{}", String::from_utf8_lossy(&entry.link)));
                links.insert(name, to);
            }
            _ => {}
        }
        if files.len() + links.len() > 100_000 {
            return Err(not(
                "it has more than 100000 entries, which no image archive has".to_owned()
            ));
        }
    }
    Ok(Kind::Tar { file, files, links })
}

/// A path without `.`, `..` and doubled slashes; only a name to look up, never opened.
fn plain_path(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}
