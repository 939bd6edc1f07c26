use super::*;
use crate::layers::digest_of;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use tar::EntryType;

/// A tar archive written entry by entry, so that it may contain what no builder would write.
#[derive(Default)]
struct Tar(Vec<u8>);

struct Item<'a> {
    kind: EntryType,
    path: &'a [u8],
    link: &'a [u8],
    body: &'a [u8],
    mode: u32,
    pax: Vec<(&'a str, &'a [u8])>,
}

fn item(path: &str) -> Item<'_> {
    Item {
        kind: EntryType::Regular,
        path: path.as_bytes(),
        link: b"",
        body: b"",
        mode: 0o644,
        pax: Vec::new(),
    }
}

impl Tar {
    fn raw(&mut self, kind: EntryType, path: &[u8], link: &[u8], mode: u32, body: &[u8]) {
        let mut header = tar::Header::new_ustar();
        let bytes = header.as_mut_bytes();
        bytes[..path.len().min(100)].copy_from_slice(&path[..path.len().min(100)]);
        bytes[157..157 + link.len().min(100)].copy_from_slice(&link[..link.len().min(100)]);
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(1_000_000_000);
        header.set_size(body.len() as u64);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(body);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
    }

    fn add(mut self, item: Item<'_>) -> Tar {
        let mut records = Vec::new();
        for (key, value) in &item.pax {
            let rest = 3 + key.len() + value.len();
            let mut length = rest + 1;
            while length != rest + length.to_string().len() {
                length = rest + length.to_string().len();
            }
            records.extend_from_slice(format!("{length} {key}=").as_bytes());
            records.extend_from_slice(value);
            records.push(b'\n');
        }
        if !records.is_empty() {
            self.raw(EntryType::XHeader, b"pax", b"", 0o644, &records);
        }
        if item.path.len() > 100 {
            self.raw(
                EntryType::GNULongName,
                b"././@LongLink",
                b"",
                0,
                &[item.path, b"\0"].concat(),
            );
        }
        self.raw(item.kind, item.path, item.link, item.mode, item.body);
        self
    }

    fn file(self, path: &str, body: &str) -> Tar {
        self.add(Item {
            body: body.as_bytes(),
            ..item(path)
        })
    }

    fn dir(self, path: &str, mode: u32) -> Tar {
        self.add(Item {
            kind: EntryType::Directory,
            mode,
            ..item(path)
        })
    }

    fn symlink(self, path: &str, to: &str) -> Tar {
        self.add(Item {
            kind: EntryType::Symlink,
            link: to.as_bytes(),
            ..item(path)
        })
    }

    fn hard_link(self, path: &str, to: &str) -> Tar {
        self.add(Item {
            kind: EntryType::Link,
            link: to.as_bytes(),
            ..item(path)
        })
    }

    fn finish(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

/// Unpacks plain `tar` bytes into `dir/layer`.
fn run(tar: &[u8], dir: &Path) -> Result<Vec<Vec<u8>>, ImageError> {
    run_with(tar, tar, dir, &Options::default())
}

fn run_with(tar: &[u8], stored: &[u8], dir: &Path, options: &Options) -> Result<Vec<Vec<u8>>, ImageError> {
    let (diff_id, _) = digest_of(tar).unwrap();
    let (blob, size) = digest_of(stored).unwrap();
    unpack(
        stored,
        &Expected {
            blob: Some((&blob, size)),
            diff_id: &diff_id,
        },
        &dir.join("layer"),
        options,
    )
}

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut buffer = [0u8; 256];
    let n = rustix::fs::lgetxattr(path, name, &mut buffer[..]).ok()?;
    Some(buffer[..n].to_vec())
}

#[test]
fn files_keep_owner_mode_time_links_and_attributes() {
    let temp = tempfile::tempdir().unwrap();
    // A version 2 capability whose bytes contain a newline.
    let capability = [1, 0, 0, 2, b'\n', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let long = format!("deep/{}/{}", "a".repeat(120), "b".repeat(200));
    let tar = Tar::default()
        .dir("./", 0o751)
        .dir("bin/", 0o755)
        .add(Item {
            mode: 0o4755,
            body: b"program",
            ..item("bin/su")
        })
        .add(Item {
            pax: vec![
                ("SCHILY.xattr.security.capability", &capability),
                ("SCHILY.xattr.user.note", b"hello"),
                ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
                ("mtime", b"1500000000.25"),
                ("uid", b"100000"),
            ],
            ..item("bin/ping")
        })
        .hard_link("bin/sudo", "bin/su")
        .symlink("sh", "bin/su")
        .symlink("etc", "../../etc/passwd")
        .add(Item {
            kind: EntryType::Fifo,
            mode: 0o622,
            ..item("queue")
        })
        .add(Item {
            kind: EntryType::Char,
            ..item("dev/null")
        })
        .file(&long, "far")
        .file("bin/su2", "x")
        .file("bin/su2", "replaced")
        .finish();
    let implicit = run(&tar, temp.path()).unwrap();
    let fs_root = temp.path().join("layer/fs");
    let meta = |p: &str| fs::symlink_metadata(fs_root.join(p)).unwrap();
    assert_eq!((meta("").mode() & 0o7777, meta("").uid()), (0o751, 7));
    assert_eq!(
        (
            meta("bin/su").mode() & 0o7777,
            meta("bin/su").uid(),
            meta("bin/su").gid()
        ),
        (0o4755, 7, 8)
    );
    assert_eq!(meta("bin/su").mtime(), 1_000_000_000);
    assert_eq!(meta("bin").mtime(), 1_000_000_000, "set after the directory's content");
    assert_eq!(meta("bin/sudo").ino(), meta("bin/su").ino());
    assert_eq!(
        fs::read_link(fs_root.join("etc")).unwrap(),
        Path::new("../../etc/passwd"),
        "kept verbatim"
    );
    assert_eq!((meta("sh").uid(), meta("sh").mtime()), (7, 1_000_000_000));
    assert!(meta("queue").file_type().is_fifo() && meta("queue").mode() & 0o777 == 0o622);
    assert!(!fs_root.join("dev/null").exists(), "no device nodes");
    assert_eq!(fs::read(fs_root.join(&long)).unwrap(), b"far");
    assert_eq!(fs::read(fs_root.join("bin/su2")).unwrap(), b"replaced");
    assert_eq!(
        xattr(&fs_root.join("bin/ping"), "security.capability").unwrap(),
        capability
    );
    assert_eq!(xattr(&fs_root.join("bin/ping"), "user.note").unwrap(), b"hello");
    assert_eq!(xattr(&fs_root.join("bin/ping"), "trusted.overlay.redirect"), None);
    assert_eq!(
        (
            meta("bin/ping").uid(),
            meta("bin/ping").mtime(),
            meta("bin/ping").mtime_nsec()
        ),
        (100_000, 1_500_000_000, 250_000_000)
    );
    assert_eq!(
        implicit,
        [b"deep".to_vec(), format!("deep/{}", "a".repeat(120)).into_bytes()]
    );
}

#[test]
fn entries_that_leave_the_layer_are_refused_by_name() {
    let escapes: Vec<(Tar, &str)> = vec![
        (Tar::default().file("../pwned", "x"), "contains \"..\""),
        (Tar::default().file("a/../../pwned", "x"), "contains \"..\""),
        (Tar::default().file("/pwned", "x"), "absolute path"),
        (
            Tar::default().symlink("out", "/").file("out/pwned", "x"),
            "symbolic link that leaves",
        ),
        (
            Tar::default().symlink("out", "..").file("out/pwned", "x"),
            "symbolic link that leaves",
        ),
        (
            Tar::default()
                .symlink("a", "b/../../..")
                .dir("b", 0o755)
                .dir("a/pwned", 0o755),
            "symbolic link that leaves",
        ),
        (
            Tar::default().symlink("out", "/").symlink("out/pwned", "/etc"),
            "symbolic link that leaves",
        ),
        (
            Tar::default()
                .symlink("proc", "/proc/self/root")
                .file("proc/pwned", "x"),
            "symbolic link that leaves",
        ),
        (
            Tar::default().symlink("a", "b").symlink("b", "a").file("a/x", "x"),
            "in a circle",
        ),
        (Tar::default().symlink("a", "nowhere").file("a/x", "x"), "leads nowhere"),
        (Tar::default().hard_link("h", "../outside"), "hard link that leaves"),
        (Tar::default().hard_link("h", "/outside"), "is not in the layer"),
        (
            Tar::default().symlink("out", "/").hard_link("h", "out/etc/passwd"),
            "behind a symbolic link that leaves",
        ),
        (
            Tar::default().symlink("out", "..").hard_link("h", "out/../outside"),
            "hard link that leaves",
        ),
        (
            Tar::default().dir("d", 0o755).hard_link("h", "d"),
            "hard link to a directory",
        ),
        (Tar::default().hard_link("h", "nowhere"), "is not in the layer"),
        (Tar::default().file(".wh...", ""), "whiteout of no name"),
        (Tar::default().file("a/.wh..", ""), "whiteout of no name"),
        (
            Tar::default().symlink("out", "..").file("out/.wh.outside", ""),
            "symbolic link that leaves",
        ),
        (Tar::default().file("f", "x").file("f/g", "x"), "is a file"),
        (Tar::default().file(&"n".repeat(300), "x"), "too long"),
        (
            Tar::default().add(Item {
                kind: EntryType::new(b'Z'),
                ..item("odd")
            }),
            "unknown type",
        ),
    ];
    for (tar, why) in escapes {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("outside"), "untouched").unwrap();
        fs::write(temp.path().join("layer-neighbour"), "untouched").unwrap();
        let error = run(&tar.finish(), temp.path()).unwrap_err();
        let text = error.to_string();
        assert!(
            matches!(error, ImageError::UnsafeLayer { .. }) && text.contains(why),
            "wanted {why}, told {text}"
        );
        let mut names: Vec<_> = fs::read_dir(temp.path())
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["layer", "layer-neighbour", "outside"]);
        assert_eq!(fs::read(temp.path().join("outside")).unwrap(), b"untouched");
        assert_eq!(fs::metadata(temp.path().join("outside")).unwrap().nlink(), 1);
        assert!(!Path::new("/pwned").exists());
    }
}

#[test]
fn links_inside_the_layer_are_followed() {
    let temp = tempfile::tempdir().unwrap();
    let tar = Tar::default()
        .dir("usr/lib", 0o755)
        .symlink("lib", "usr/lib")
        .file("lib/libc.so", "elf")
        .dir("a/b", 0o755)
        .symlink("a/b/up", "../..")
        .file("a/b/up/top", "t")
        .finish();
    run(&tar, temp.path()).unwrap();
    let root = temp.path().join("layer/fs");
    assert_eq!(fs::read(root.join("usr/lib/libc.so")).unwrap(), b"elf");
    assert_eq!(fs::read(root.join("top")).unwrap(), b"t");
}

#[test]
fn whiteouts_take_overlay_form_whatever_their_order() {
    let temp = tempfile::tempdir().unwrap();
    let tar = Tar::default()
        .file("etc/.wh.gone", "")
        .dir("opaque", 0o755)
        .file("opaque/.wh..wh..opq", "")
        .file("opaque/new", "n")
        .file(".wh.before", "")
        .dir("before", 0o755)
        .dir("after", 0o755)
        .file(".wh.after", "")
        .file("kept", "k")
        .file(".wh.kept", "")
        .file(".wh.parent", "")
        .file("parent/child", "c")
        .file(".wh..wh.plnk/1.2", "aufs")
        .finish();
    run(&tar, temp.path()).unwrap();
    let root = temp.path().join("layer/fs");
    let gone = fs::symlink_metadata(root.join("etc/gone")).unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    for opaque in ["opaque", "before", "after", "parent"] {
        assert_eq!(
            xattr(&root.join(opaque), "trusted.overlay.opaque").as_deref(),
            Some(&b"y"[..]),
            "{opaque}"
        );
    }
    assert_eq!(fs::read(root.join("kept")).unwrap(), b"k");
    assert!(!root.join(".wh..wh.plnk").exists());
}

#[test]
fn a_directory_gives_way_to_a_file_and_back() {
    let temp = tempfile::tempdir().unwrap();
    let tar = Tar::default()
        .file("x/deep/er/file", "1")
        .file("x", "now a file")
        .file("y", "file")
        .dir("y", 0o700)
        .file("y/inside", "2")
        .finish();
    run(&tar, temp.path()).unwrap();
    let root = temp.path().join("layer/fs");
    assert_eq!(fs::read(root.join("x")).unwrap(), b"now a file");
    assert_eq!(fs::read(root.join("y/inside")).unwrap(), b"2");
    assert!(!temp.path().join("layer/trash").exists());
}

#[test]
fn every_compression_is_told_by_its_bytes() {
    let tar = Tar::default().file("hello", "world").finish();
    let gzip = {
        use std::io::Write;
        let mut e = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        e.write_all(&tar).unwrap();
        e.finish().unwrap()
    };
    let zstd = zstd::encode_all(&tar[..], 3).unwrap();
    for stored in [&tar, &gzip, &zstd] {
        let temp = tempfile::tempdir().unwrap();
        run_with(&tar, stored, temp.path(), &Options::default()).unwrap();
        assert_eq!(fs::read(temp.path().join("layer/fs/hello")).unwrap(), b"world");
        for cut in [3, stored.len() / 2, stored.len() - 600.min(stored.len() / 3)] {
            let temp = tempfile::tempdir().unwrap();
            let (diff_id, _) = digest_of(&tar[..]).unwrap();
            let (blob, size) = digest_of(&stored[..]).unwrap();
            let expected = Expected {
                blob: Some((&blob, size)),
                diff_id: &diff_id,
            };
            let error = unpack(
                &stored[..cut],
                &expected,
                &temp.path().join("layer"),
                &Options::default(),
            )
            .unwrap_err();
            assert!(matches!(error, ImageError::Corrupt { .. }), "{error}");
        }
    }
    let temp = tempfile::tempdir().unwrap();
    let error = run_with(&tar, b"\xfd7zXZ\0rest", temp.path(), &Options::default()).unwrap_err();
    assert!(
        error.to_string().contains("xz") && matches!(error, ImageError::Unsupported { .. }),
        "{error}"
    );
}

#[test]
fn bombs_stop_at_the_limits() {
    let options = Options {
        max_layer_bytes: 1 << 20,
        max_layer_entries: 50,
        ..Options::default()
    };
    let zeros = Tar::default()
        .add(Item {
            body: &vec![0; 4 << 20],
            ..item("zeros")
        })
        .finish();
    let stored = zstd::encode_all(&zeros[..], 3).unwrap();
    let temp = tempfile::tempdir().unwrap();
    let error = run_with(&zeros, &stored, temp.path(), &options).unwrap_err();
    assert!(matches!(&error, ImageError::TooLarge { .. }), "{error}");
    let mut many = Tar::default();
    for i in 0..60 {
        many = many.file(&format!("f{i}"), "");
    }
    let temp = tempfile::tempdir().unwrap();
    let many = many.finish();
    let error = run_with(&many, &many, temp.path(), &options).unwrap_err();
    assert!(error.to_string().contains("more than 50 entries"), "{error}");
    let full = Options {
        keep_free_bytes: u64::MAX,
        ..Options::default()
    };
    let large = Tar::default()
        .add(Item {
            body: &vec![1; 20 << 20],
            ..item("large")
        })
        .finish();
    let temp = tempfile::tempdir().unwrap();
    let error = run_with(&large, &large, temp.path(), &full).unwrap_err();
    assert!(
        matches!(&error, ImageError::DiskFull { .. }) && error.to_string().contains("no space left"),
        "{error}"
    );
    // A name that claims to be large is refused before it is read into memory.
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(EntryType::GNULongName);
    header.set_size(1 << 40);
    header.set_cksum();
    let temp = tempfile::tempdir().unwrap();
    let error = run(header.as_bytes(), temp.path()).unwrap_err();
    assert!(error.to_string().contains("larger than 1 MiB"), "{error}");
}

#[test]
fn wrong_digests_are_corrupt() {
    let tar = Tar::default().file("a", "b").finish();
    let (good, size) = digest_of(&tar[..]).unwrap();
    let other = Digest::of(b"other");
    for (blob, size, diff_id) in [(&other, size, &good), (&good, size + 1, &good), (&good, size, &other)] {
        let temp = tempfile::tempdir().unwrap();
        let expected = Expected {
            blob: Some((blob, size)),
            diff_id,
        };
        let error = unpack(&tar[..], &expected, &temp.path().join("layer"), &Options::default()).unwrap_err();
        assert!(matches!(error, ImageError::Corrupt { .. }), "{error}");
    }
}

#[test]
fn sparse_files_keep_their_holes() {
    let temp = tempfile::tempdir().unwrap();
    let map = "2\n4096\n3\n1048576\n2\n";
    let mut body = map.as_bytes().to_vec();
    body.resize(512, 0);
    body.extend_from_slice(b"abcde");
    let pax = |name: &'static [u8]| -> Vec<(&'static str, &'static [u8])> {
        vec![
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", name),
            ("GNU.sparse.realsize", b"1048578"),
        ]
    };
    let tar = Tar::default()
        .add(Item {
            body: &body,
            pax: pax(b"sparse"),
            ..item("GNUSparseFile.0/sparse")
        })
        .finish();
    run(&tar, temp.path()).unwrap();
    let path = temp.path().join("layer/fs/sparse");
    let content = fs::read(&path).unwrap();
    assert_eq!(
        (content.len(), &content[4096..4099], &content[1_048_576..]),
        (1_048_578, &b"abc"[..], &b"de"[..])
    );
    assert!(fs::metadata(&path).unwrap().blocks() * 512 < 100_000);
    body[0] = b'1';
    let temp = tempfile::tempdir().unwrap();
    let tar = Tar::default()
        .add(Item {
            body: &body,
            pax: pax(b"../x"),
            ..item("s")
        })
        .finish();
    assert!(matches!(run(&tar, temp.path()), Err(ImageError::Corrupt { .. })));
}

#[test]
fn implied_parents_take_after_the_layer_below() {
    let temp = tempfile::tempdir().unwrap();
    let lower = temp.path().join("lower");
    fs::create_dir_all(lower.join("var/secret")).unwrap();
    fs::set_permissions(lower.join("var/secret"), fs::Permissions::from_mode(0o1700)).unwrap();
    std::os::unix::fs::chown(lower.join("var/secret"), Some(33), Some(34)).unwrap();
    fs::set_permissions(&lower, fs::Permissions::from_mode(0o711)).unwrap();
    let tar = Tar::default().file("var/secret/new/file", "x").finish();
    let implicit = run(&tar, temp.path()).unwrap();
    adopt_parents(&temp.path().join("layer"), &implicit, &[lower]).unwrap();
    let meta = fs::metadata(temp.path().join("layer/fs/var/secret")).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.gid()), (0o1700, 33, 34));
    let root = fs::metadata(temp.path().join("layer/fs")).unwrap();
    assert_eq!(root.mode() & 0o7777, 0o711, "the layer's root, too");
}

/// Unmounts when dropped, also when the test fails.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH).unwrap();
    }
}

#[test]
fn overlayfs_sees_through_two_layers() {
    let temp = tempfile::tempdir().unwrap();
    let base = Tar::default()
        .file("etc/gone", "g")
        .file("etc/stays", "s")
        .file("dir/old", "o")
        .finish();
    let over = Tar::default()
        .file("etc/.wh.gone", "")
        .dir("dir", 0o755)
        .file("dir/.wh..wh..opq", "")
        .file("dir/new", "n")
        .finish();
    for (name, tar) in [("base", base), ("over", over)] {
        run(&tar, &temp.path().join(name)).unwrap();
    }
    let merged = temp.path().join("merged");
    fs::create_dir(&merged).unwrap();
    let layer = |name: &str| temp.path().join(name).join("layer/fs").display().to_string();
    let data = std::ffi::CString::new(format!("lowerdir={}:{}", layer("over"), layer("base"))).unwrap();
    let flags = rustix::mount::MountFlags::RDONLY;
    match rustix::mount::mount("overlay", &merged, "overlay", flags, data.as_c_str()) {
        Ok(()) => {}
        // Where tests run unprivileged there is nothing to see.
        Err(rustix::io::Errno::PERM | rustix::io::Errno::NODEV) => return,
        Err(e) => panic!("{e}"),
    }
    let _mounted = Mounted(merged.clone());
    assert!(!merged.join("etc/gone").exists());
    assert_eq!(fs::read(merged.join("etc/stays")).unwrap(), b"s");
    let names: Vec<_> = fs::read_dir(merged.join("dir"))
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(names, ["new"]);
}

/// Everything under `dir` except `layer`, with content.
fn surroundings(dir: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut out = BTreeMap::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(at) = todo.pop() {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path == dir.join("layer") {
                continue;
            }
            if path.is_dir() && !path.is_symlink() {
                todo.push(path.clone());
                out.insert(path, None);
            } else {
                out.insert(path.clone(), fs::read(path).ok());
            }
        }
    }
    out
}

fn nasty_path(outside: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        4 => prop::sample::select(vec!["a", "b", "c", "d"]).prop_map(|s| s.as_bytes().to_vec()),
        2 => Just(b"..".to_vec()),
        1 => Just(b".".to_vec()),
        1 => Just(b"".to_vec()),
        1 => Just(b".wh.a".to_vec()),
        1 => Just(b".wh..wh..opq".to_vec()),
        1 => Just(b".wh...".to_vec()),
        1 => Just(outside.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>().prop_filter("no zero", |b| *b != 0), 1..12),
    ];
    prop::collection::vec(part, 1..5).prop_map(|parts| parts.join(&b'/'))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_archive_changes_anything_outside(
        entries in prop::collection::vec(
            (prop::sample::select(vec![b'0', b'1', b'2', b'3', b'4', b'5', b'6', b'7']), nasty_path("victim"), nasty_path("victim"), any::<u16>()),
            1..25,
        )
    ) {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir_all(temp.path().join("victim/a")).unwrap();
        fs::write(temp.path().join("victim/b"), "untouched").unwrap();
        fs::write(temp.path().join("a"), "untouched").unwrap();
        let before = surroundings(temp.path());
        let mut tar = Tar::default();
        for (kind, path, link, mode) in &entries {
            // Links to what lies around the layer, by its real path, too.
            let absolute = temp.path().join(OsStr::from_bytes(link).to_string_lossy().as_ref());
            let link = if mode % 3 == 0 { absolute.as_os_str().as_bytes() } else { link };
            tar = tar.add(Item { kind: EntryType::new(*kind), path, link, body: b"body", mode: u32::from(*mode), pax: Vec::new() });
        }
        // Refused or applied, nothing else may happen.
        let _ = run(&tar.finish(), temp.path());
        prop_assert_eq!(before, surroundings(temp.path()));
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..3000), fix in any::<bool>()) {
        let mut bytes = bytes;
        if fix {
            for block in bytes.chunks_exact_mut(512) {
                let mut header = tar::Header::from_byte_slice(block).clone();
                header.set_cksum();
                block.copy_from_slice(header.as_bytes());
            }
        }
        let mut tar = TarStream::new(&bytes[..]);
        while let Ok(Some(_)) = tar.next() {}
    }
}
