//! What every backend keeps, run against each of them: the same suite, the public face only.

mod records;

use neargate_core::clock::ManualClock;
use neargate_core::{Clock, Timestamp};
use neargate_store::{CommitError, Condition, MAX_BYTES, MAX_OPS, Store, Txn};
use records::{KINDS, Note, note, put};
use std::sync::Arc;
use std::time::Duration;

/// Runs every test of the suite against the backend that `$make` makes; `$make` answers what must outlive the store.
macro_rules! contract {
    ($backend:ident, $make:expr, [$($test:ident),* $(,)?]) => {
        mod $backend {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    let (_keep, store) = $make;
                    super::$test(store).await;
                }
            )*
        }
    };
    ($tests:tt) => {
        contract!(memory, ((), Store::in_memory(KINDS)), $tests);
        contract!(sqlite, records::fresh(), $tests);
    };
}

contract!([
    a_commit_is_seen_whole_with_its_revision,
    conditions_hold_or_nothing_happens,
    what_appears_under_a_prefix_refuses_who_found_nothing_there,
    limits_are_kept,
    a_change_of_nothing_takes_no_revision,
    indexes_and_counters_follow_every_change,
    racing_increments_lose_nothing,
    changes_carry_what_was_before,
    a_watch_begins_where_asked_and_misses_nothing,
    a_watch_that_asks_for_compacted_history_must_relist,
    a_closed_store_ends_its_watches,
    leased_keys_end_with_their_lease,
    a_key_moved_off_a_lease_stays,
    a_revoked_lease_takes_no_keys,
    a_lease_with_many_keys_ends_whole,
]);

async fn a_commit_is_seen_whole_with_its_revision(store: Store) {
    let mut txn = Txn::new();
    txn.put("a", note("one")).put("b", note("two"));
    assert_eq!(store.commit(txn).await.unwrap(), 1);
    let first = store.snapshot();
    assert_eq!(store.commit(put("a", "three")).await.unwrap(), 2);
    let a = store.snapshot().get::<Note>("a").unwrap();
    assert_eq!((a.created, a.modified, a.text.as_str()), (1, 2, "three"));
    let b = store.snapshot().get::<Note>("b").unwrap();
    assert_eq!((b.created, b.modified), (1, 1));
    assert_eq!(first.get::<Note>("a").unwrap().text, "one", "a snapshot never changes");

    let mut txn = Txn::new();
    txn.delete::<Note>("a");
    store.commit(txn).await.unwrap();
    assert!(!store.snapshot().contains::<Note>("a"));
    store.commit(put("a", "again")).await.unwrap();
    assert_eq!(
        store.snapshot().get::<Note>("a").unwrap().created,
        4,
        "a new life begins at its own revision"
    );
    assert_eq!(*store.revisions().borrow(), 4);
}

async fn conditions_hold_or_nothing_happens(store: Store) {
    store.commit(put("a", "one")).await.unwrap();
    for (key, condition) in [
        ("a", Condition::Absent),
        ("b", Condition::Exists),
        ("a", Condition::ModifiedAt(9)),
    ] {
        let mut txn = put("c", "never");
        txn.expect::<Note>(key, condition);
        let error = store.commit(txn).await.unwrap_err();
        assert!(
            matches!(&error, CommitError::Conflict { key: found } if *found == format!("note/{key}")),
            "{error}"
        );
    }
    assert_eq!(store.snapshot().revision(), 1);
    assert!(!store.snapshot().contains::<Note>("c"));
    let mut txn = put("a", "two");
    txn.unchanged::<Note>(&store.snapshot(), "a")
        .unchanged::<Note>(&store.snapshot(), "b");
    store.commit(txn).await.unwrap();
}

async fn what_appears_under_a_prefix_refuses_who_found_nothing_there(store: Store) {
    store.commit(put("in/old", "x")).await.unwrap();
    let found = store.snapshot();
    let decided = |prefix: &str| {
        let mut txn = put("owner", "gone");
        txn.none_newer::<Note>(&found, prefix);
        txn
    };
    store.commit(put("out", "x")).await.unwrap();
    store.commit(decided("in/")).await.unwrap();
    let mut txn = Txn::new();
    txn.delete::<Note>("in/old");
    store.commit(txn).await.unwrap();
    store.commit(decided("in/")).await.unwrap();
    for (key, prefix) in [("in/new", "in/"), ("in/new", "in/n"), ("in/new", "")] {
        store.commit(put(key, "x")).await.unwrap();
        let error = store.commit(decided(prefix)).await.unwrap_err();
        assert!(matches!(&error, CommitError::Conflict { .. }), "{error}");
    }
    store.commit(decided("in/newer")).await.unwrap();

    let mut txn = put("a", "x");
    for _ in 0..=MAX_OPS {
        txn.exists::<Note>("owner");
    }
    store.commit(txn).await.unwrap();
}

async fn limits_are_kept(store: Store) {
    let mut txn = Txn::new();
    for n in 0..=MAX_OPS {
        txn.put(&n.to_string(), note("x"));
    }
    assert!(matches!(
        store.commit(txn).await,
        Err(CommitError::TooManyOps { ops: 129, limit: 128 })
    ));
    let mut txn = Txn::new();
    for n in 0..=MAX_OPS {
        txn.expect::<Note>(&n.to_string(), Condition::Absent);
    }
    assert!(matches!(store.commit(txn).await, Err(CommitError::TooManyOps { .. })));

    let error = store.commit(put("a", &"x".repeat(MAX_BYTES))).await.unwrap_err();
    assert!(
        matches!(error, CommitError::TooLarge { bytes, limit: MAX_BYTES } if bytes > MAX_BYTES),
        "{error}"
    );
    store.commit(put("a", &"x".repeat(MAX_BYTES - 200))).await.unwrap();

    let mut txn = put("b", "one");
    txn.delete::<Note>("b");
    let error = store.commit(txn).await.unwrap_err();
    assert!(
        matches!(&error, CommitError::DuplicateKey { key } if key == "note/b"),
        "{error}"
    );

    let mut txn = Txn::new();
    txn.put("x", records::Stranger {});
    let error = store.commit(txn).await.unwrap_err();
    assert!(
        matches!(&error, CommitError::UnknownKind { key } if key == "stranger/x"),
        "{error}"
    );
    assert_eq!(store.snapshot().revision(), 1, "nothing refused was kept");
}

async fn a_change_of_nothing_takes_no_revision(store: Store) {
    store.commit(put("a", "one")).await.unwrap();
    let mut txn = Txn::new();
    txn.delete::<Note>("b");
    assert_eq!(store.commit(txn).await.unwrap(), 1);
    assert_eq!(store.commit(Txn::new()).await.unwrap(), 1);
    let mut txn = Txn::new();
    txn.expect::<Note>("a", Condition::Exists);
    assert_eq!(store.commit(txn).await.unwrap(), 1, "conditions alone are answered");
}

async fn indexes_and_counters_follow_every_change(store: Store) {
    let mut txn = Txn::new();
    txn.put("a", note("red")).put("b", note("red")).put("c", note("blue"));
    store.commit(txn).await.unwrap();
    let keys = |value: &str| -> Vec<String> {
        store
            .snapshot()
            .indexed::<Note>("text", value)
            .map(|(key, _)| key.to_owned())
            .collect()
    };
    assert_eq!(keys("red"), ["a", "b"]);
    store.commit(put("a", "blue")).await.unwrap();
    let mut txn = Txn::new();
    txn.delete::<Note>("c");
    store.commit(txn).await.unwrap();
    assert_eq!(
        (keys("red"), keys("blue")),
        (vec!["b".to_owned()], vec!["a".to_owned()])
    );
    assert_eq!(store.snapshot().count("notes"), 2);
    assert_eq!(store.snapshot().count_indexed::<Note>("text", "blue"), 1);
}

async fn racing_increments_lose_nothing(store: Store) {
    let mut racing = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let store = store.clone();
        racing.spawn(async move {
            for _ in 0..20 {
                let increment = |snapshot: &neargate_store::Snapshot| {
                    let count = snapshot
                        .get::<Note>("n")
                        .map_or(0, |note| note.text.parse::<u32>().unwrap());
                    let mut txn = put("n", &(count + 1).to_string());
                    txn.unchanged::<Note>(snapshot, "n");
                    Ok::<_, CommitError>((txn, ()))
                };
                store.transact(increment).await.unwrap();
            }
        });
    }
    while let Some(done) = racing.join_next().await {
        done.unwrap();
    }
    assert_eq!(store.snapshot().get::<Note>("n").unwrap().text, "320");
    assert_eq!(store.snapshot().revision(), 320);
}

async fn changes_carry_what_was_before(store: Store) {
    let mut changes = store.changes();
    store.commit(put("a", "one")).await.unwrap();
    store.commit(put("a", "two")).await.unwrap();
    let mut txn = Txn::new();
    txn.delete::<Note>("a").delete::<Note>("never there");
    store.commit(txn).await.unwrap();
    let mut seen = Vec::new();
    for revision in 1..=3 {
        let commit = changes.recv().await.unwrap();
        assert_eq!(commit.len(), 1);
        let change = &commit[0];
        assert_eq!((change.revision, &*change.key), (revision, "note/a"));
        let text = |note: Option<Arc<Note>>| note.map(|note| note.text.clone());
        seen.push((text(change.previous()), text(change.get())));
    }
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        seen,
        [(None, text("one")), (text("one"), text("two")), (text("two"), None)]
    );
}

async fn a_watch_begins_where_asked_and_misses_nothing(store: Store) {
    for n in 1..=5 {
        store.commit(put("a", &n.to_string())).await.unwrap();
    }
    let mut watch = store.watch(3).unwrap();
    let mut later = store.watch(7).unwrap();
    let writer = tokio::spawn({
        let store = store.clone();
        async move {
            for n in 6..=200 {
                store.commit(put("a", &n.to_string())).await.unwrap();
            }
        }
    });
    for revision in 3..=200 {
        assert_eq!(watch.next().await.unwrap().unwrap()[0].revision, revision);
    }
    assert_eq!(
        later.next().await.unwrap().unwrap()[0].revision,
        7,
        "a watch may begin in the future"
    );
    writer.await.unwrap();
}

async fn a_watch_that_asks_for_compacted_history_must_relist(store: Store) {
    let mut early = store.watch(1).unwrap();
    // 70 commits of 128 changes are more than is kept.
    for round in 0..70 {
        let mut txn = Txn::new();
        for n in 0..MAX_OPS {
            txn.put(&n.to_string(), note(&round.to_string()));
        }
        store.commit(txn).await.unwrap();
    }
    let compacted = store.watch(1).unwrap_err();
    assert!(compacted.oldest > 1 && compacted.oldest <= 70, "{compacted}");
    assert_eq!(early.next().await.unwrap_err().oldest, compacted.oldest);
    let mut watch = store.watch(compacted.oldest).unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap()[0].revision, compacted.oldest);
    let mut relisted = store.watch(store.snapshot().revision() + 1).unwrap();
    store.commit(put("a", "new")).await.unwrap();
    assert_eq!(relisted.next().await.unwrap().unwrap()[0].revision, 71);
}

async fn a_closed_store_ends_its_watches(store: Store) {
    let mut watch = store.watch(1).unwrap();
    store.commit(put("a", "one")).await.unwrap();
    assert!(watch.next().await.unwrap().is_some());
    let waiting = tokio::spawn(async move { watch.next().await });
    drop(store);
    assert!(waiting.await.unwrap().unwrap().is_none());
}

const TTL: Duration = Duration::from_secs(10);

fn clock() -> (Arc<ManualClock>, Arc<dyn Clock>) {
    let clock = Arc::new(ManualClock::at(Timestamp::from_secs(1_000)));
    (clock.clone(), clock)
}

async fn leased_keys_end_with_their_lease(store: Store) {
    let (time, clock) = clock();
    let leases = store.leases(clock);
    let lease = leases.grant(TTL).await.unwrap();
    let mut txn = put("stays", "no lease");
    txn.put_leased("a", note("leased"), lease);
    store.commit(txn).await.unwrap();
    assert_eq!(store.snapshot().get::<Note>("a").unwrap().lease, Some(lease));

    time.advance(Duration::from_secs(9));
    assert_eq!(leases.expire().await.unwrap(), Some(Timestamp::from_secs(1_010)));
    leases.keep_alive(lease).unwrap();
    time.advance(Duration::from_secs(9));
    assert_eq!(leases.expire().await.unwrap(), Some(Timestamp::from_secs(1_019)));
    assert!(store.snapshot().contains::<Note>("a"), "it was kept alive");

    let mut changes = store.changes();
    time.advance(Duration::from_secs(1));
    assert_eq!(leases.expire().await.unwrap(), None);
    assert!(!store.snapshot().contains::<Note>("a"));
    assert!(store.snapshot().contains::<Note>("stays"));
    assert_eq!(
        &*changes.recv().await.unwrap()[0].key,
        "note/a",
        "watchers see an ordinary deletion"
    );
    assert!(matches!(
        leases.keep_alive(lease),
        Err(CommitError::LeaseNotFound { .. })
    ));
}

async fn a_key_moved_off_a_lease_stays(store: Store) {
    let (time, clock) = clock();
    let leases = store.leases(clock);
    let (first, second) = (leases.grant(TTL).await.unwrap(), leases.grant(TTL * 2).await.unwrap());
    assert_ne!(first, second);
    let mut txn = Txn::new();
    txn.put_leased("moved", note("x"), first)
        .put_leased("freed", note("x"), first);
    store.commit(txn).await.unwrap();
    let mut txn = put("freed", "x");
    txn.put_leased("moved", note("x"), second);
    store.commit(txn).await.unwrap();
    time.advance(TTL);
    leases.expire().await.unwrap();
    assert_eq!(store.snapshot().range::<Note>("").count(), 2);
    time.advance(TTL);
    leases.expire().await.unwrap();
    let left: Vec<_> = store
        .snapshot()
        .range::<Note>("")
        .map(|(key, _)| key.to_owned())
        .collect();
    assert_eq!(left, ["freed"]);
}

async fn a_revoked_lease_takes_no_keys(store: Store) {
    let leases = store.leases(clock().1);
    let lease = leases.grant(TTL).await.unwrap();
    let mut txn = Txn::new();
    txn.put_leased("a", note("x"), lease);
    store.commit(txn.clone()).await.unwrap();
    leases.revoke(lease).await.unwrap();
    assert!(!store.snapshot().contains::<Note>("a"));
    assert!(matches!(store.commit(txn).await, Err(CommitError::LeaseNotFound { lease: found }) if found == lease));
    assert!(matches!(
        leases.revoke(lease).await,
        Err(CommitError::LeaseNotFound { .. })
    ));
}

async fn a_lease_with_many_keys_ends_whole(store: Store) {
    let leases = store.leases(clock().1);
    let lease = leases.grant(TTL).await.unwrap();
    for n in 0..300 {
        let mut txn = Txn::new();
        txn.put_leased(&n.to_string(), note("x"), lease);
        store.commit(txn).await.unwrap();
    }
    leases.revoke(lease).await.unwrap();
    assert_eq!(store.snapshot().range::<Note>("").count(), 0);
}
