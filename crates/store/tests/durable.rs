//! What the embedded store keeps when things go wrong: killed processes, full disks, damaged files, second openers.

mod records;

use neargate_core::clock::ManualClock;
use neargate_store::{Kind, OpenError, Store, Txn};
use records::{KINDS, Note, Stranger, note, put};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// Runs the test `name` of this file in a process of its own, where it finds `STORE` set and plays the child;
/// `wrapper` is a shell prefix.
fn child(name: &str, directory: &Path, wrapper: &str) -> Command {
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(format!("{wrapper} exec \"$0\" --exact --nocapture {name}"));
    command
        .arg(std::env::current_exe().unwrap())
        .env("STORE", directory)
        .stdout(Stdio::piped());
    command
}

/// Kills the process also when the test fails.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The child of the crash test.
fn commits_until_killed() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = Store::open(std::env::var_os("STORE").unwrap(), KINDS).unwrap();
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..8 {
            let store = store.clone();
            let last = format!("last/{writer}");
            let first = store
                .snapshot()
                .get::<Note>(&last)
                .map_or(1, |note| note.text.parse::<u64>().unwrap() + 1);
            writers.spawn(async move {
                for n in first.. {
                    let mut txn = Txn::new();
                    txn.put(&format!("one/{writer}/{n}"), note(&n.to_string()))
                        .put(&format!("two/{writer}/{n}"), note(&"long ".repeat(100)))
                        .put(&format!("last/{writer}"), note(&n.to_string()));
                    if n > 5 {
                        txn.delete::<Note>(&format!("two/{writer}/{}", n - 5));
                    }
                    store.commit(txn).await.unwrap();
                    println!("\nacknowledged {writer} {n}");
                }
            });
        }
        writers.join_next().await.unwrap().unwrap();
    });
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_is_half_done_by_kill_9() {
    if std::env::var_os("STORE").is_some() {
        return commits_until_killed();
    }
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged: HashMap<u64, u64> = HashMap::new();
    for round in 0..8 {
        let mut process = Killed(
            child(
                "nothing_acknowledged_is_lost_and_nothing_is_half_done_by_kill_9",
                directory.path(),
                "",
            )
            .spawn()
            .unwrap(),
        );
        let output = BufReader::new(process.0.stdout.take().unwrap());
        let enough = 50 + round * 137;
        let mut count = 0;
        for line in output.lines() {
            let line = line.unwrap();
            let Some((writer, n)) = line.strip_prefix("acknowledged ").and_then(|rest| rest.split_once(' ')) else {
                continue;
            };
            // A line may be cut off by the kill.
            if let (Ok(writer), Ok(n)) = (writer.parse(), n.parse::<u64>()) {
                let last = acknowledged.entry(writer).or_default();
                *last = n.max(*last);
            }
            count += 1;
            if count == enough {
                process.0.kill().unwrap();
            }
        }
        drop(process);
        assert!(count >= enough, "the writers ended by themselves");

        let store = Store::open(directory.path(), KINDS).unwrap();
        let snapshot = store.snapshot();
        for writer in 0..8 {
            let last = snapshot
                .get::<Note>(&format!("last/{writer}"))
                .map_or(0, |note| note.text.parse().unwrap());
            let told = acknowledged.get(&writer).copied().unwrap_or(0);
            assert!(last >= told, "writer {writer} was told {told}, the store has {last}");
            for n in 1..=last {
                assert!(
                    snapshot.contains::<Note>(&format!("one/{writer}/{n}")),
                    "{writer} {n} is missing"
                );
                let expected = n + 5 > last;
                assert_eq!(
                    snapshot.contains::<Note>(&format!("two/{writer}/{n}")),
                    expected,
                    "{writer} {n} is half done"
                );
            }
            assert!(!snapshot.contains::<Note>(&format!("one/{writer}/{}", last + 1)));
        }
    }
}

/// Commits until the disk is full, checks that nothing refused is seen, makes room, goes on, reopens.
fn outlives_a_full_disk(directory: &Path, make_room: impl FnOnce()) {
    let store = Store::open(directory, KINDS).unwrap();
    let big = |n: u64| {
        // Does not pack well.
        let mut state = n.wrapping_add(1);
        let mut text = String::new();
        for _ in 0..2000 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            text.push_str(&format!("{state:016x}"));
        }
        put(&n.to_string(), &text)
    };
    block_on(async {
        let mut kept = 0;
        let error = loop {
            assert!(kept < 2000, "the disk never filled");
            match store.commit(big(kept)).await {
                Ok(_) => kept += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, neargate_store::CommitError::Storage(_)), "{error}");
        assert!(kept > 0);
        for attempt in 0..5 {
            let next = |n| store.commit(big(kept + attempt * 4 + n));
            let (one, two, three) = tokio::join!(next(0), next(1), next(2));
            assert!(
                one.is_err() && two.is_err() && three.is_err(),
                "a batch that cannot be written is refused whole"
            );
        }
        let check = |store: &Store, kept: u64| {
            let snapshot = store.snapshot();
            assert_eq!(
                (snapshot.revision(), snapshot.range::<Note>("").count() as u64),
                (kept, kept)
            );
        };
        check(&store, kept);
        make_room();
        assert_eq!(store.commit(put("after", "room")).await.unwrap(), kept + 1);
        store.commit(big(kept)).await.unwrap();
        kept += 2;
        check(&store, kept);
        drop(store);
        check(&Store::open(directory, KINDS).unwrap(), kept);
    });
}

/// The child of the file-size test.
fn outlives_a_file_size_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let before = getrlimit(Resource::Fsize);
    setrlimit(
        Resource::Fsize,
        Rlimit {
            current: Some(1 << 20),
            ..before
        },
    )
    .unwrap();
    let make_room = || setrlimit(Resource::Fsize, before).unwrap();
    outlives_a_full_disk(Path::new(&std::env::var_os("STORE").unwrap()), make_room);
}

#[test]
fn files_that_may_not_grow_refuse_commits_until_they_may() {
    if std::env::var_os("STORE").is_some() {
        return outlives_a_file_size_limit();
    }
    let directory = tempfile::tempdir().unwrap();
    // Without the trap the kernel kills who writes beyond the limit.
    let output = child(
        "files_that_may_not_grow_refuse_commits_until_they_may",
        directory.path(),
        "trap '' XFSZ;",
    )
    .output()
    .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// Runs `test` on a file system of its own, of `size`; not at all without root.
fn on_a_disk(size: &'static std::ffi::CStr, test: impl FnOnce(&Path) + Send + 'static) {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: mounting a small file system takes root");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mount = directory.path().to_owned();
    // The mount lives in a namespace of this thread and the ones it starts, and ends with them.
    let outcome = std::thread::spawn(move || {
        use rustix::mount::{MountFlags, MountPropagationFlags, mount as mount_at, mount_change};
        // SAFETY: only the mount namespace is left, and no other thread relies on this one's.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }.unwrap();
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
        mount_at("tmpfs", &mount, "tmpfs", MountFlags::empty(), size).unwrap();
        test(&mount);
    })
    .join();
    assert!(outcome.is_ok());
}

#[test]
fn a_full_disk_refuses_commits_until_there_is_room() {
    on_a_disk(c"size=3m", |mount| {
        let ballast = mount.join("ballast");
        std::fs::write(&ballast, vec![0; 1 << 20]).unwrap();
        outlives_a_full_disk(&mount.join("store"), || std::fs::remove_file(&ballast).unwrap());
    });
}

#[test]
fn what_ends_can_be_written_after_others_have_filled_the_disk() {
    on_a_disk(c"size=32m", |mount| {
        let store = Store::open(mount.join("store"), KINDS).unwrap();
        block_on(store.commit(put("task", "running"))).unwrap();
        assert!(!store.is_full());
        let others = mount.join("others");
        let mut file = std::fs::File::create(&others).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
        assert!(store.is_full());
        // Enough for the log to be carried over more than once.
        let long = "stopping ".repeat(1000);
        for round in 0..1500 {
            block_on(store.commit(put("task", &format!("{round} {long}")))).unwrap();
        }
        drop(file);
        std::fs::remove_file(&others).unwrap();
        assert!(!store.is_full());
    });
}

#[test]
fn a_store_is_private_and_held_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("deep/store");
    let store = Store::open(&path, KINDS).unwrap();
    block_on(store.commit(put("a", "one"))).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    for entry in std::fs::read_dir(&path).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    let error = Store::open(&path, KINDS).unwrap_err();
    assert!(matches!(error, OpenError::Locked { .. }));
    assert!(
        error.to_string().contains(&format!("(pid {})", std::process::id())),
        "{error}"
    );
    drop(store);
    Store::open(&path, KINDS).unwrap();
}

#[test]
fn records_of_unknown_kinds_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let both: &[Kind] = &[Kind::of::<Note>(), Kind::of::<Stranger>()];
    let mut txn = Txn::new();
    txn.put("odd", Stranger {});
    block_on(Store::open(directory.path(), both).unwrap().commit(txn)).unwrap();
    let error = Store::open(directory.path(), KINDS).unwrap_err();
    assert!(matches!(&error, OpenError::UnknownKind { key, .. } if key == "stranger/odd"));
    assert!(error.to_string().contains("run the version that wrote it"), "{error}");
}

/// Changes the database behind the store's back.
fn tamper(directory: &Path, sql: &str) {
    rusqlite::Connection::open(directory.join("store.sqlite"))
        .unwrap()
        .execute_batch(sql)
        .unwrap();
}

#[test]
fn damage_is_named_and_nothing_is_opened() {
    for (sql, expect) in [
        (
            "UPDATE record SET value = x'007b7d' WHERE key = 'note/b'",
            "missing field",
        ),
        (
            "UPDATE record SET value = x'09' WHERE key = 'note/b'",
            "its form 9 is unknown",
        ),
        ("UPDATE record SET value = x'01ffff' WHERE key = 'note/b'", "note/b"),
        ("UPDATE record SET modified = 99 WHERE key = 'note/b'", "revision 99"),
        (
            "INSERT INTO record SELECT 1, key, modified, lease, value FROM record WHERE key = 'note/b'",
            "twice",
        ),
        ("PRAGMA user_version = 7", "schema 7"),
        ("PRAGMA application_id = 7", "another program"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), KINDS).unwrap();
        block_on(store.commit(put("a", "one"))).unwrap();
        block_on(store.commit(put("b", "two"))).unwrap();
        drop(store);
        tamper(directory.path(), sql);
        let error = Store::open(directory.path(), KINDS).unwrap_err().to_string();
        assert!(error.contains(expect), "{sql}: {error}");
        if error.contains("cannot be read") {
            let (_, command) = error.split_once('"').unwrap();
            let (sql, _) = command.split_once('"').unwrap();
            tamper(directory.path(), sql);
            let store = Store::open(directory.path(), KINDS).expect("the error's advice helps");
            assert!(store.snapshot().contains::<Note>("a"));
        }
    }
}

#[test]
fn leases_outlive_a_restart_with_their_whole_time() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::default());
    let ttl = Duration::from_secs(10);
    block_on(async {
        let store = Store::open(directory.path(), KINDS).unwrap();
        let (kept, revoked) = {
            let leases = store.leases(clock.clone());
            (leases.grant(ttl).await.unwrap(), leases.grant(ttl).await.unwrap())
        };
        let mut txn = Txn::new();
        txn.put_leased("a", note("x"), kept);
        store.commit(txn).await.unwrap();
        store.leases(clock.clone()).revoke(revoked).await.unwrap();
        drop(store);
        clock.advance(Duration::from_secs(3600));

        let store = Store::open(directory.path(), KINDS).unwrap();
        let leases = store.leases(clock.clone());
        leases.expire().await.unwrap();
        assert!(
            store.snapshot().contains::<Note>("a"),
            "the time control was away does not count"
        );
        assert!(leases.keep_alive(revoked).is_err());
        assert!(leases.grant(ttl).await.unwrap() > revoked, "no id is used twice");
        clock.advance(ttl);
        leases.expire().await.unwrap();
        assert!(!store.snapshot().contains::<Note>("a"));
    });
}

#[test]
fn a_lease_that_runs_expires_by_itself() {
    block_on(async {
        let store = Store::in_memory(KINDS);
        let leases = store.leases(Arc::new(neargate_core::clock::SystemClock));
        let mut changes = store.changes();
        let running = tokio::spawn({
            let leases = leases.clone();
            async move { leases.run().await }
        });
        tokio::task::yield_now().await;
        let lease = leases.grant(Duration::from_millis(20)).await.unwrap();
        let mut txn = Txn::new();
        txn.put_leased("a", note("x"), lease);
        store.commit(txn).await.unwrap();
        changes.recv().await.unwrap();
        let deletion = tokio::time::timeout(Duration::from_secs(10), changes.recv())
            .await
            .unwrap()
            .unwrap();
        assert!(deletion[0].record.is_none());
        running.abort();
    });
}
