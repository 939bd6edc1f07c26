//! Loading OCI layouts and docker archives.

mod support;

use neargate_images::{Digest, GcPolicy, ImageError, ImageStore, Origin, PullRequest};
use serde_json::json;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;
use support::*;

/// Writes `image` as an OCI layout whose index entries have these annotations.
fn layout(dir: &Path, images: &[(&TestImage, serde_json::Value)]) {
    std::fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
    std::fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let mut entries = Vec::new();
    for (image, annotations) in images {
        for (digest, bytes) in &image.blobs {
            std::fs::write(dir.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
        }
        for (_, bytes) in &image.manifests {
            std::fs::write(dir.join("blobs/sha256").join(sha(bytes).hex()), bytes).unwrap();
        }
        let (kind, bytes) = image.manifests.last().unwrap();
        entries.push(
            json!({"mediaType": kind, "digest": sha(bytes).as_str(), "size": bytes.len(), "annotations": annotations}),
        );
    }
    std::fs::write(
        dir.join("index.json"),
        json!({"schemaVersion": 2, "manifests": entries}).to_string(),
    )
    .unwrap();
}

fn archive(dir: &Path) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_dir_all("", dir).unwrap();
    builder.into_inner().unwrap()
}

/// A docker archive, with the layers' tars as they are, the second a link to the first if they are equal.
fn docker(dir: &Path, image: &TestImage, tars: &[&[u8]], tags: &[&str]) -> PathBuf {
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |path: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, path, bytes).unwrap();
    };
    let config = format!("{}.json", sha(&image.config).hex());
    let mut layers = Vec::new();
    for (i, tar) in tars.iter().enumerate() {
        add(&format!("l{i}/layer.tar"), tar);
        layers.push(format!("l{i}/layer.tar"));
    }
    add(&config, &image.config);
    add(
        "manifest.json",
        json!([{"Config": config, "RepoTags": tags, "Layers": layers}])
            .to_string()
            .as_bytes(),
    );
    let path = dir.join("image.tar");
    std::fs::write(&path, builder.into_inner().unwrap()).unwrap();
    path
}

#[tokio::test]
async fn a_layout_loads_from_directory_and_archive_and_runs_without_a_registry() {
    let temp = tempfile::tempdir().unwrap();
    let image = simple(&[("bin/web", b"elf")]);
    let named =
        json!({"org.opencontainers.image.ref.name": "latest", "io.containerd.image.name": "docker.io/library/web:1"});
    layout(&temp.path().join("layout"), &[(&image, named)]);
    let tar = archive(&temp.path().join("layout"));
    let forms = [
        ("plain.tar", tar.clone()),
        ("gzip.tgz", gzip(&tar)),
        ("zstd.tar.zst", zstd::encode_all(&tar[..], 3).unwrap()),
    ];
    let mut paths = vec![temp.path().join("layout")];
    for (name, bytes) in forms {
        paths.push(temp.path().join(name));
        std::fs::write(paths.last().unwrap(), bytes).unwrap();
    }
    for (i, path) in paths.iter().enumerate() {
        let store = ImageStore::open_with(temp.path().join(format!("store{i}")), hasty()).unwrap();
        let loaded = store.load(path, None).await.unwrap();
        assert_eq!(loaded.len(), 1);
        assert_eq!(
            (loaded[0].reference.as_str(), &loaded[0].digest),
            ("docker.io/library/web:1", &image.digest())
        );
        // Docker Hub is not asked: there is no network here to ask it by.
        let image = store.pull(PullRequest::of("web:1")).await.unwrap();
        assert_eq!(std::fs::read(image.layers[0].join("bin/web")).unwrap(), b"elf");
        let pinned = PullRequest {
            digest: Some(image.digest.clone()),
            ..PullRequest::of("web:1")
        };
        assert_eq!(store.pull(pinned).await.unwrap().layers, image.layers);
        assert_eq!(store.list().unwrap()[0].origin, Origin::Loaded);
        let everything = GcPolicy {
            unused_for: Duration::ZERO,
            at_most: 100,
            ..GcPolicy::default()
        };
        assert_eq!(
            store.gc(&BTreeSet::new(), everything).await.unwrap().layers,
            0,
            "loaded images stay"
        );
        // Loading again, and another image under the same name.
        store.load(path, None).await.unwrap();
        assert_eq!(
            store.load(path, Some("other:2")).await.unwrap()[0].reference,
            "docker.io/library/other:2"
        );
        assert!(!image.layers[0].parent().unwrap().join("trash").exists());
    }
}

#[tokio::test]
async fn a_docker_archive_loads_under_every_tag() {
    let temp = tempfile::tempdir().unwrap();
    let (a, b) = (tar_of(&[("a", b"1")]), tar_of(&[("b", b"2")]));
    let image = image_of(
        &[(a.clone(), a.clone()), (b.clone(), b.clone())],
        host_architecture(),
        true,
    );
    let path = docker(
        temp.path(),
        &image,
        &[&a, &gzip(&b)],
        &["web:1", "localhost:5000/web:2"],
    );
    let store = ImageStore::open(temp.path().join("store")).unwrap();
    let loaded = store.load(&path, None).await.unwrap();
    let names: Vec<&str> = loaded.iter().map(|l| l.reference.as_str()).collect();
    assert_eq!(names, ["docker.io/library/web:1", "localhost:5000/web:2"]);
    let got = store.pull(PullRequest::of("localhost:5000/web:2")).await.unwrap();
    assert_eq!(got.config_digest, sha(&image.config));
    assert_eq!(std::fs::read(got.layers[1].join("b")).unwrap(), b"2");
    assert_eq!(
        store.load(&path, None).await.unwrap(),
        loaded,
        "the digest made for it is always the same"
    );
}

#[tokio::test]
async fn lists_load_for_this_machine_and_names_are_needed() {
    let temp = tempfile::tempdir().unwrap();
    let tar = tar_of(&[("a", b"there")]);
    let there = image_of(&[(gzip(&tar), tar)], "s390x", false);
    let here = simple(&[("a", b"here")]);
    let list = list_of(&[("s390x", there.clone()), (host_architecture(), here.clone())]);
    layout(&temp.path().join("multi"), &[(&list, json!({}))]);
    layout(&temp.path().join("there"), &[(&there, json!({}))]);
    layout(&temp.path().join("two"), &[(&here, json!({})), (&list, json!({}))]);
    let store = ImageStore::open(temp.path().join("store")).unwrap();
    let nameless = store.load(&temp.path().join("multi"), None).await.unwrap_err();
    assert!(nameless.to_string().contains("--name"), "{nameless}");
    let loaded = store.load(&temp.path().join("multi"), Some("web")).await.unwrap();
    assert_eq!(loaded[0].digest, list.digest());
    assert_eq!(store.get("web").unwrap().unwrap().manifest_digest, here.digest());
    let error = store.load(&temp.path().join("there"), Some("x")).await.unwrap_err();
    assert!(matches!(error, ImageError::NoMatchingPlatform { .. }), "{error}");
    let error = store.load(&temp.path().join("two"), Some("x")).await.unwrap_err();
    assert!(error.to_string().contains("2 images"), "{error}");
}

#[tokio::test]
async fn what_is_no_image_or_a_broken_one_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let store = ImageStore::open(temp.path().join("store")).unwrap();
    let image = simple(&[("a", &noise(2000, 1))]);
    let good = temp.path().join("good");
    layout(
        &good,
        &[(&image, json!({"org.opencontainers.image.ref.name": "web:1"}))],
    );
    let corrupt = |name: &str, digest: &Digest, change: &dyn Fn(&mut Vec<u8>)| {
        let dir = temp.path().join(name);
        layout(&dir, &[(&image, json!({"org.opencontainers.image.ref.name": "web:1"}))]);
        let path = dir.join("blobs/sha256").join(digest.hex());
        let mut bytes = std::fs::read(&path).unwrap();
        change(&mut bytes);
        std::fs::write(path, bytes).unwrap();
        dir
    };
    let (layer, config) = (&image.layers[0], sha(&image.config));
    for dir in [
        corrupt("layer", layer, &|b| b[1500] ^= 1),
        corrupt("cut", layer, &|b| b.truncate(900)),
        corrupt("config", &config, &|b| b[0] = b'['),
        corrupt("manifest", &image.digest(), &|b| b.push(b' ')),
    ] {
        let error = store.load(&dir, None).await.unwrap_err();
        assert!(
            matches!(error, ImageError::Corrupt { .. }),
            "{}: {error}",
            dir.display()
        );
    }
    assert_eq!(store.list().unwrap(), []);
    std::fs::remove_file(corrupt("gone", layer, &|_| {}).join("blobs/sha256").join(layer.hex())).unwrap();
    let tar = archive(&good);
    std::fs::write(temp.path().join("short.tar"), &tar[..tar.len() / 2]).unwrap();
    std::fs::write(temp.path().join("text"), "hello, I am no archive at all".repeat(100)).unwrap();
    std::fs::write(temp.path().join("empty"), "").unwrap();
    std::fs::write(temp.path().join("short.tgz"), &gzip(&tar)[..500]).unwrap();
    std::fs::create_dir(temp.path().join("dir")).unwrap();
    for name in ["gone", "short.tar", "text", "empty", "short.tgz", "dir", "missing"] {
        let error = store.load(&temp.path().join(name), None).await.unwrap_err();
        let expected = matches!(error, ImageError::NotAnImage { .. } | ImageError::Corrupt { .. })
            || (name == "missing" && matches!(error, ImageError::Io { .. }));
        assert!(expected, "{name}: {error:?}");
        assert!(error.to_string().contains(name), "{name}: {error}");
    }
    store.load(&good, None).await.unwrap();
}

#[tokio::test]
async fn two_processes_load_the_same_at_once() {
    let temp = tempfile::tempdir().unwrap();
    let image = simple(&[("a", &noise(200_000, 9))]);
    layout(
        &temp.path().join("layout"),
        &[(&image, json!({"org.opencontainers.image.ref.name": "web:1"}))],
    );
    let mut loads = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let (dir, from) = (temp.path().join("store"), temp.path().join("layout"));
        loads.spawn(async move { ImageStore::open(dir).unwrap().load(&from, None).await.unwrap() });
    }
    assert!(loads.join_all().await.iter().all(|l| l[0].digest == image.digest()));
    let store = ImageStore::open(temp.path().join("store")).unwrap();
    assert_eq!(store.get("web:1").unwrap().unwrap().layers.len(), 1);
    assert_eq!(std::fs::read_dir(temp.path().join("store/layers")).unwrap().count(), 1);
}
