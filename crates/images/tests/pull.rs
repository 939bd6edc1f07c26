//! Pulling from a registry on loopback, well-behaved and not.

mod support;

use neargate_images::{Credentials, Digest, GcPolicy, ImageError, ImageStore, Options, PullRequest};
use std::collections::BTreeSet;
use std::time::Duration;
use support::*;

fn store(dir: &tempfile::TempDir) -> ImageStore {
    ImageStore::open_with(dir.path(), hasty()).unwrap()
}

fn names(dir: &std::path::Path) -> Vec<String> {
    let mut out: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    out.sort();
    out
}

#[tokio::test]
async fn an_image_is_pulled_once_and_shared() {
    let (registry, dir) = (Registry::start().await, tempfile::tempdir().unwrap());
    let (base, top) = (
        tar_of(&[("bin/web", b"elf"), ("etc/os", b"x")]),
        tar_of(&[("srv/page", b"hi")]),
    );
    let zstd = zstd::encode_all(&top[..], 3).unwrap();
    let first = image_of(&[(gzip(&base), base.clone()), (zstd, top)], host_architecture(), false);
    let second = image_of(&[(gzip(&base), base.clone())], host_architecture(), true);
    registry.put("team/web", "1", &first);
    registry.put("other", "latest", &second);
    let store = store(&dir);
    let image = store
        .pull(PullRequest::of(registry.reference("team/web:1")))
        .await
        .unwrap();
    assert_eq!(image.reference, registry.reference("team/web:1"));
    assert_eq!(
        (image.digest.clone(), image.manifest_digest.clone()),
        (first.digest(), first.digest())
    );
    assert_eq!(
        (&image.config.cmd[..], &*image.config.working_dir),
        (&["/web".to_owned()][..], "/srv")
    );
    assert_eq!(image.layers.len(), 2);
    assert_eq!(
        std::fs::read(image.layers[0].join("bin/web")).unwrap(),
        b"elf",
        "bottom first"
    );
    assert_eq!(std::fs::read(image.layers[1].join("srv/page")).unwrap(), b"hi");
    let blobs = registry.count("/blobs/");
    let other = store.pull(PullRequest::of(registry.reference("other"))).await.unwrap();
    assert_eq!(other.layers[0], image.layers[0], "one directory for the shared layer");
    assert_eq!(registry.count("/blobs/"), blobs + 1, "only the config is downloaded");
    assert_eq!(names(&dir.path().join("partial")), Vec::<String>::new());
    assert_eq!(
        store.get(&registry.reference("team/web:1")).unwrap().unwrap().digest,
        image.digest
    );
    assert_eq!(store.get(image.digest.as_str()).unwrap().unwrap().layers, image.layers);
    assert_eq!(store.list().unwrap().len(), 2);
}

#[tokio::test]
async fn a_tag_is_asked_for_again_without_downloads_and_a_digest_is_not() {
    let (registry, dir) = (Registry::start().await, tempfile::tempdir().unwrap());
    let old = simple(&[("a", b"1")]);
    registry.put("web", "1", &old);
    let store = store(&dir);
    let request = PullRequest::of(registry.reference("web:1"));
    store.pull(request.clone()).await.unwrap();
    let gets = registry.count("GET");
    store.pull(request.clone()).await.unwrap();
    assert_eq!((registry.count("GET"), registry.count("HEAD")), (gets, 1));
    let new = simple(&[("a", b"2")]);
    registry.put("web", "1", &new);
    assert_eq!(store.pull(request.clone()).await.unwrap().digest, new.digest());
    let all = registry.lock().requests.len();
    let pinned = PullRequest {
        digest: Some(old.digest()),
        ..request.clone()
    };
    assert_eq!(store.pull(pinned).await.unwrap().digest, old.digest());
    assert_eq!(
        registry.lock().requests.len(),
        all,
        "what is pinned and here needs no registry"
    );
    // The registry goes away: the tag's image here is used.
    let address = registry.address.clone();
    drop(registry);
    assert_eq!(
        store
            .pull(PullRequest::of(format!("{address}/web:1")))
            .await
            .unwrap()
            .digest,
        new.digest()
    );
    let missing = store
        .pull(PullRequest::of(format!("{address}/web:2")))
        .await
        .unwrap_err();
    let text = missing.stopped_reason();
    assert!(matches!(missing, ImageError::Unreachable { .. }), "{text}");
    assert!(
        text.starts_with("CannotPullContainerError: ")
            && text.contains("cannot be reached")
            && text.contains("refused"),
        "{text}"
    );
}

#[tokio::test]
async fn the_platform_is_chosen_from_a_list() {
    let (registry, dir) = (Registry::start().await, tempfile::tempdir().unwrap());
    let here = simple(&[("a", b"here")]);
    let tar = tar_of(&[("a", b"there")]);
    let there = image_of(&[(gzip(&tar), tar)], "s390x", false);
    let list = list_of(&[("s390x", there.clone()), (host_architecture(), here.clone())]);
    registry.put("web", "multi", &list);
    registry.put("web", "there", &there);
    registry.put("web", "list-there", &list_of(&[("s390x", there.clone())]));
    let store = store(&dir);
    let image = store
        .pull(PullRequest::of(registry.reference("web:multi")))
        .await
        .unwrap();
    assert_eq!(
        (&image.digest, &image.manifest_digest),
        (&list.digest(), &here.digest())
    );
    for tag in ["there", "list-there"] {
        let error = store
            .pull(PullRequest::of(registry.reference(&format!("web:{tag}"))))
            .await
            .unwrap_err();
        assert!(
            matches!(error, ImageError::NoMatchingPlatform { .. }) && error.to_string().contains("s390x"),
            "{error}"
        );
    }
    // The list's digest alone finds the image again, in a new process, too.
    drop(store);
    let store = ImageStore::open(dir.path()).unwrap();
    let pinned = PullRequest {
        digest: Some(list.digest()),
        ..PullRequest::of(registry.reference("web:multi"))
    };
    let requests = registry.lock().requests.len();
    assert_eq!(store.pull(pinned).await.unwrap().manifest_digest, here.digest());
    assert_eq!(registry.lock().requests.len(), requests);
}

#[tokio::test]
async fn broken_downloads_resume_where_they_ended() {
    let (registry, dir) = (Registry::start().await, tempfile::tempdir().unwrap());
    let tar = tar_of(&[("noise", &noise(300_000, 1))]);
    let image = image_of(&[(gzip(&tar), tar)], host_architecture(), false);
    registry.put("web", "1", &image);
    let layer = format!("web/blobs/{}", image.layers[0]);
    registry.fail(
        layer.clone(),
        [
            Fault::Cut(100_000),
            Fault::Status(503, ""),
            Fault::Cut(50_000),
            Fault::Stall(20_000),
        ],
    );
    let store = store(&dir);
    store.pull(PullRequest::of(registry.reference("web:1"))).await.unwrap();
    let ranges: Vec<String> = registry
        .lock()
        .requests
        .iter()
        .filter(|r| r.contains(&layer))
        .map(|r| r.rsplit(' ').next().unwrap().to_owned())
        .collect();
    assert_eq!(
        ranges,
        ["", "bytes=100000-", "bytes=100000-", "bytes=150000-", "bytes=170000-"]
    );
}

#[tokio::test]
async fn a_restarted_process_goes_on_with_a_broken_download() {
    let (registry, dir) = (Registry::start().await, tempfile::tempdir().unwrap());
    let tar = tar_of(&[("noise", &noise(200_000, 2))]);
    let image = image_of(&[(gzip(&tar), tar)], host_architecture(), false);
    registry.put("web", "1", &image);
    let layer = format!("web/blobs/{}", image.layers[0]);
    registry.fail(layer.clone(), [Fault::Cut(80_000), Fault::Status(403, "")]);
    let request = PullRequest::of(registry.reference("web:1"));
    assert!(store(&dir).pull(request.clone()).await.is_err());
    assert_eq!(names(&dir.path().join("partial")).len(), 1);
    store(&dir).pull(request).await.unwrap();
    assert_eq!(registry.count("bytes=80000-"), 2);
    assert_eq!(names(&dir.path().join("partial")), Vec::<String>::new());
}

#[tokio::test]
async fn leftovers_that_are_wrong_and_servers_without_ranges_start_over() {
    let (registry, dir) = (Registry::start().await, tempfile::tempdir().unwrap());
    let tar = tar_of(&[("noise", &noise(100_000, 3))]);
    let image = image_of(&[(gzip(&tar), tar)], host_architecture(), false);
    registry.put("web", "1", &image);
    let store = store(&dir);
    std::fs::write(dir.path().join("partial").join(image.layers[0].hex()), [9; 5000]).unwrap();
    registry.fail(
        format!("web/blobs/{}", image.layers[0]),
        [Fault::Cut(10_000), Fault::NoRange],
    );
    store.pull(PullRequest::of(registry.reference("web:1"))).await.unwrap();
}

#[tokio::test]
async fn corrupt_and_endless_layers_are_refused() {
    let (registry, dir) = (Registry::start().await, tempfile::tempdir().unwrap());
    let image = simple(&[("a", &noise(5000, 4))]);
    registry.put("web", "1", &image);
    let store = store(&dir);
    for fault in [Fault::Flip, Fault::Endless] {
        registry.fail(format!("web/blobs/{}", image.layers[0]), [fault]);
        let error = store
            .pull(PullRequest::of(registry.reference("web:1")))
            .await
            .unwrap_err();
        let text = error.stopped_reason();
        assert!(matches!(error, ImageError::Corrupt { .. }), "{text}");
        assert!(
            text.starts_with("CannotPullContainerError:") && text.contains("failed size or digest validation"),
            "{text}"
        );
        assert_eq!(names(&dir.path().join("layers")), Vec::<String>::new());
        assert_eq!(store.get(&registry.reference("web:1")).unwrap(), None);
    }
    registry.fail("web/manifests/1".to_owned(), [Fault::Flip]);
    let error = store
        .pull(PullRequest::of(registry.reference("web:1")))
        .await
        .unwrap_err();
    assert!(matches!(error, ImageError::Corrupt { .. }), "{error}");
    store.pull(PullRequest::of(registry.reference("web:1"))).await.unwrap();
}

#[tokio::test]
async fn a_malicious_layer_stops_the_pull_and_leaves_nothing() {
    let (registry, dir) = (Registry::start().await, tempfile::tempdir().unwrap());
    let mut header = tar::Header::new_gnu();
    header.as_mut_bytes()[..9].copy_from_slice(b"../escape");
    header.set_size(0);
    header.set_cksum();
    let evil = [header.as_bytes().to_vec(), vec![0; 1024]].concat();
    let good = tar_of(&[("fine", b"x")]);
    let image = image_of(&[(gzip(&evil), evil), (gzip(&good), good)], host_architecture(), false);
    registry.put("evil", "latest", &image);
    let store = store(&dir);
    let error = store
        .pull(PullRequest::of(registry.reference("evil")))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, ImageError::UnsafeLayer { entry, .. } if entry == "../escape"),
        "{error}"
    );
    assert_eq!(names(&dir.path().join("layers")), Vec::<String>::new());
}

#[tokio::test]
async fn refusals_are_told_plainly() {
    let (registry, dir) = (Registry::start().await, tempfile::tempdir().unwrap());
    registry.put("web", "1", &simple(&[("a", b"1")]));
    let store = store(&dir);
    let pull = async |name: &str| store.pull(PullRequest::of(registry.reference(name))).await.unwrap_err();
    let error = pull("web:none").await;
    assert!(matches!(error, ImageError::NotFound { .. }), "{error}");
    let reference = registry.reference("web:none");
    assert_eq!(
        error.stopped_reason(),
        format!(
            "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref {reference}: {reference}: not found"
        )
    );
    let body =
        r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your unauthenticated pull rate limit."}]}"#;
    registry.fail("web/manifests/1".to_owned(), [Fault::Status(429, body)]);
    let error = pull("web:1").await;
    let text = error.to_string();
    assert!(matches!(error, ImageError::RateLimited { .. }), "{text}");
    assert!(
        text.contains("you have reached the pull rate limit of 127.0.0.1") && text.contains("credentials"),
        "{text}"
    );
    registry.fail(
        "web/manifests/1".to_owned(),
        [
            Fault::Status(500, ""),
            Fault::Status(502, ""),
            Fault::Status(503, ""),
            Fault::Status(504, ""),
        ],
    );
    assert!(
        matches!(pull("web:1").await, ImageError::Registry { status: 504, .. }),
        "four attempts"
    );
    registry.fail("web/manifests/1".to_owned(), [Fault::Stall(10), Fault::Stall(10)]);
    let error = pull("web:1").await;
    assert!(
        matches!(error, ImageError::Stalled { .. }) && error.to_string().contains("sent no byte"),
        "{error}"
    );
    registry.fail("web/manifests/1".to_owned(), [Fault::Status(418, "tea")]);
    assert!(matches!(pull("web:1").await, ImageError::Registry { status: 418, .. }));
    assert!(matches!(pull("Web:1").await, ImageError::InvalidReference { .. }));
}

#[tokio::test]
async fn credentials_are_asked_for_used_and_kept_from_others() {
    let (registry, cdn, dir) = (
        Registry::start().await,
        Registry::start().await,
        tempfile::tempdir().unwrap(),
    );
    let image = simple(&[("a", b"1")]);
    registry.put("web", "1", &image);
    cdn.put("web", "1", &image);
    registry.lock().redirect = Some(cdn.address.clone());
    let credentials = Some(Credentials {
        username: "user".into(),
        password: "pass".into(),
    });
    for auth in [Auth::Basic, Auth::Bearer] {
        registry.lock().auth = auth;
        let store = ImageStore::open_with(dir.path().join(format!("{auth:?}")), hasty()).unwrap();
        let request = PullRequest::of(registry.reference("web:1"));
        let error = store.pull(request.clone()).await.unwrap_err();
        assert!(
            matches!(error, ImageError::AccessDenied { .. }) && error.to_string().contains("may require authorization"),
            "{error}"
        );
        let wrong = Some(Credentials {
            username: "user".into(),
            password: "no".into(),
        });
        let error = store
            .pull(PullRequest {
                credentials: wrong,
                ..request.clone()
            })
            .await
            .unwrap_err();
        assert!(matches!(error, ImageError::AccessDenied { .. }), "{error}");
        store
            .pull(PullRequest {
                credentials: credentials.clone(),
                ..request
            })
            .await
            .unwrap();
    }
    assert!(cdn.count("/cdn/") >= 4, "blobs come from the other host");
    assert_eq!(cdn.lock().leaks, Vec::<String>::new(), "which never sees credentials");
    assert!(!format!("{credentials:?}").contains("pass"));
}

#[tokio::test]
async fn concurrent_pulls_share_one_download() {
    let (registry, dir) = (Registry::start().await, tempfile::tempdir().unwrap());
    let (base, a, b) = (
        tar_of(&[("base", &noise(50_000, 5))]),
        tar_of(&[("a", b"a")]),
        tar_of(&[("b", b"b")]),
    );
    let layer = |tar: &Vec<u8>| (gzip(tar), tar.clone());
    let first = image_of(&[layer(&base), layer(&a)], host_architecture(), false);
    let second = image_of(&[layer(&base), layer(&b)], host_architecture(), false);
    registry.put("one", "1", &first);
    registry.put("two", "1", &second);
    let (open, gate) = tokio::sync::watch::channel(false);
    registry.lock().gate = Some(gate);
    let store = store(&dir);
    let mut pulls = tokio::task::JoinSet::new();
    for i in 0..20 {
        let (store, reference) = (
            store.clone(),
            registry.reference(if i % 2 == 0 { "one:1" } else { "two:1" }),
        );
        pulls.spawn(async move { store.pull(PullRequest::of(reference)).await.unwrap() });
    }
    while registry.count("GET") < 2 {
        tokio::task::yield_now().await;
    }
    open.send_replace(true);
    pulls.join_all().await;
    assert_eq!(registry.count("GET /v2/one/manifests"), 1);
    let shared: Vec<String> = registry
        .lock()
        .requests
        .iter()
        .filter(|r| r.contains(first.layers[0].as_str()))
        .cloned()
        .collect();
    assert_eq!(shared.len(), 1, "{shared:?}");
}

#[tokio::test]
async fn a_pull_nobody_waits_for_stops() {
    let (registry, dir) = (Registry::start().await, tempfile::tempdir().unwrap());
    let image = simple(&[("a", &noise(5000, 6))]);
    registry.put("web", "1", &image);
    registry.fail(format!("web/blobs/{}", image.layers[0]), [Fault::Stall(100)]);
    let options = Options {
        stall_timeout: Duration::from_secs(600),
        ..hasty()
    };
    let store = ImageStore::open_with(dir.path(), options).unwrap();
    let request = PullRequest::of(registry.reference("web:1"));
    let waiting = tokio::spawn({
        let (store, request) = (store.clone(), request.clone());
        async move { store.pull(request).await }
    });
    while registry.count("/blobs/sha256") < 2 {
        tokio::task::yield_now().await;
    }
    waiting.abort();
    assert!(waiting.await.unwrap_err().is_cancelled());
    store.pull(request).await.unwrap();
}

#[tokio::test]
async fn garbage_goes_and_what_is_used_stays() {
    let (registry, dir) = (Registry::start().await, tempfile::tempdir().unwrap());
    let (base, a, b, c) = (
        tar_of(&[("base", b"x")]),
        tar_of(&[("a", b"a")]),
        tar_of(&[("b", b"b")]),
        tar_of(&[("c", b"c")]),
    );
    let layer = |tar: &Vec<u8>| (gzip(tar), tar.clone());
    for (name, tar) in [("a", &a), ("b", &b), ("c", &c)] {
        registry.put(
            name,
            "1",
            &image_of(&[layer(&base), layer(tar)], host_architecture(), false),
        );
    }
    let store = store(&dir);
    let mut images = Vec::new();
    for name in ["a", "b", "c"] {
        images.push(
            store
                .pull(PullRequest::of(registry.reference(&format!("{name}:1"))))
                .await
                .unwrap(),
        );
    }
    let all = GcPolicy {
        unused_for: Duration::ZERO,
        at_most: 100,
        ..GcPolicy::default()
    };
    let kept = store.gc(&BTreeSet::new(), GcPolicy::default()).await.unwrap();
    assert_eq!(
        (kept.images.len(), kept.layers, kept.blobs),
        (0, 0, 0),
        "nothing is old enough"
    );
    let in_use: BTreeSet<Digest> = [images[0].digest.clone()].into();
    let pin = store.pin(&images[1].digest);
    let report = store.gc(&in_use, all).await.unwrap();
    assert_eq!(
        (report.images, report.layers, report.blobs),
        (vec![registry.reference("c:1")], 1, 2)
    );
    assert!(
        images[0]
            .layers
            .iter()
            .chain(images[1].layers.iter())
            .all(|l| l.is_dir())
    );
    assert_eq!(store.get(&registry.reference("c:1")).unwrap(), None);
    drop(pin);
    // A forgotten reference whose image runs keeps its content.
    assert!(store.remove(&registry.reference("a:1")).unwrap());
    assert!(!store.remove(&registry.reference("a:1")).unwrap());
    let report = store.gc(&in_use, all).await.unwrap();
    assert_eq!(report.images, [registry.reference("b:1")]);
    assert!(images[0].layers.iter().all(|l| l.is_dir()));
    assert_eq!(
        store.get(images[0].digest.as_str()).unwrap().unwrap().layers,
        images[0].layers
    );
    let report = store.gc(&BTreeSet::new(), all).await.unwrap();
    assert_eq!(
        (
            report.layers,
            names(&dir.path().join("blobs/sha256")).len(),
            names(&dir.path().join("layers")).len()
        ),
        (2, 0, 0)
    );
    assert!(store.disk_usage().await.unwrap().free > 0);
    // And everything can be pulled again.
    store.pull(PullRequest::of(registry.reference("a:1"))).await.unwrap();
}

#[tokio::test]
async fn garbage_collection_spares_a_running_pull_of_any_process() {
    let (registry, dir) = (Registry::start().await, tempfile::tempdir().unwrap());
    let (base, top) = (tar_of(&[("base", b"x")]), tar_of(&[("top", b"y")]));
    let image = image_of(
        &[(gzip(&base), base.clone()), (gzip(&top), top.clone())],
        host_architecture(),
        false,
    );
    registry.put("web", "1", &image);
    let all = GcPolicy {
        unused_for: Duration::ZERO,
        at_most: 100,
        ..GcPolicy::default()
    };
    let (ours, other) = (store(&dir), store(&dir));
    let (open, gate) = tokio::sync::watch::channel(true);
    registry.lock().gate = Some(gate);
    // The pull hangs in its last layer while the first is in place.
    registry.fail(format!("web/blobs/{}", image.layers[1]), [Fault::Stall(1)]);
    let slow = Options {
        stall_timeout: Duration::from_secs(600),
        ..hasty()
    };
    let slow = ImageStore::open_with(dir.path(), slow).unwrap();
    let pulling = tokio::spawn({
        let (slow, reference) = (slow.clone(), registry.reference("web:1"));
        async move { slow.pull(PullRequest::of(reference)).await }
    });
    while names(&dir.path().join("layers")).is_empty() {
        assert!(!pulling.is_finished(), "{:?}", pulling.await);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let report = slow.gc(&BTreeSet::new(), all).await.unwrap();
    assert_eq!((report.deferred, report.layers), (false, 0), "pins of the same process");
    assert!(
        other.gc(&BTreeSet::new(), all).await.unwrap().deferred,
        "another process waits"
    );
    assert_eq!(names(&dir.path().join("layers")).len(), 1);
    pulling.abort();
    let _ = pulling.await;
    while ours.gc(&BTreeSet::new(), all).await.unwrap().deferred {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(names(&dir.path().join("layers")), Vec::<String>::new());
    drop(open);
}

#[tokio::test]
async fn a_full_disk_is_told_before_it_is_full() {
    let (registry, dir) = (Registry::start().await, tempfile::tempdir().unwrap());
    registry.put("web", "1", &simple(&[("a", b"1")]));
    let store = ImageStore::open_with(
        dir.path(),
        Options {
            keep_free_bytes: u64::MAX / 2,
            ..hasty()
        },
    )
    .unwrap();
    let error = store
        .pull(PullRequest::of(registry.reference("web:1")))
        .await
        .unwrap_err();
    assert!(matches!(&error, ImageError::DiskFull { .. }), "{error}");
    assert!(error.stopped_reason().contains("no space left on device"), "{error}");
}

#[tokio::test]
async fn leftovers_of_dead_processes_are_removed_and_live_ones_kept() {
    let dir = tempfile::tempdir().unwrap();
    let alive = store(&dir);
    let dead = dir.path().join("work/0123456789abcdef");
    std::fs::create_dir_all(dead.join("layer-0/fs/deep")).unwrap();
    std::fs::write(dead.join("lock"), "").unwrap();
    let second = store(&dir);
    assert_eq!(names(&dir.path().join("work")).len(), 2);
    drop((alive, second));
    assert_eq!(names(&dir.path().join("work")).len(), 0);
}
