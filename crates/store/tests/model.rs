//! Random transactions against a plain map: every backend answers and holds what the model does, also after reopening.

mod records;

use neargate_store::{CommitError, Condition, Revision, Snapshot, Store, Txn};
use proptest::prelude::*;
use records::{KINDS, Note, note};
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Step {
    Commit {
        conditions: Vec<(u8, Expect)>,
        ops: Vec<(u8, Option<String>)>,
    },
    Reopen,
}

#[derive(Clone, Copy, Debug)]
enum Expect {
    Absent,
    Exists,
    /// At the revision the model has, plus this.
    Modified(u64),
    /// No key at all changed after the newest revision less this.
    NoneNewer(u64),
}

/// Value, created, modified.
type Model = BTreeMap<u8, (String, Revision, Revision)>;

fn step() -> impl Strategy<Value = Step> {
    let expect = prop_oneof![
        Just(Expect::Absent),
        Just(Expect::Exists),
        Just(Expect::Modified(0)),
        Just(Expect::Modified(0)),
        Just(Expect::Modified(1)),
        (0_u64..3).prop_map(Expect::NoneNewer)
    ];
    // Long values are stored packed.
    let value = prop_oneof!["[ab]{1,2}", "[a-c]{300,400}"];
    let commit = (
        proptest::collection::vec((0_u8..8, expect), 0..2),
        proptest::collection::vec((0_u8..8, proptest::option::weighted(0.7, value)), 0..5),
    );
    prop_oneof![
        12 => commit.prop_map(|(conditions, ops)| Step::Commit { conditions, ops }),
        1 => Just(Step::Reopen),
    ]
}

/// What the model says of a commit: its revision, or that it fails.
fn model_commit(
    model: &mut Model,
    revision: &mut Revision,
    conditions: &[(u8, Expect)],
    ops: &[(u8, Option<String>)],
) -> Option<Revision> {
    let held = conditions.iter().all(|(key, expect)| match expect {
        Expect::Absent => !model.contains_key(key),
        Expect::Exists => model.contains_key(key),
        Expect::Modified(off) => *off == 0 && model.contains_key(key),
        Expect::NoneNewer(back) => {
            let since = revision.saturating_sub(*back);
            model.values().all(|(_, _, modified)| *modified <= since)
        }
    });
    let twice = ops
        .iter()
        .enumerate()
        .any(|(at, (key, _))| ops[..at].iter().any(|(other, _)| other == key));
    if !held || twice {
        return None;
    }
    if ops
        .iter()
        .any(|(key, value)| value.is_some() || model.contains_key(key))
    {
        *revision += 1;
    }
    for (key, value) in ops {
        match value {
            Some(value) => {
                let created = model.get(key).map_or(*revision, |(_, created, _)| *created);
                model.insert(*key, (value.clone(), created, *revision));
            }
            None => drop(model.remove(key)),
        }
    }
    Some(*revision)
}

fn txn(model: &Model, revision: Revision, conditions: &[(u8, Expect)], ops: &[(u8, Option<String>)]) -> Txn {
    let mut txn = Txn::new();
    for (key, expect) in conditions {
        let modified = model.get(key).map_or(1, |(_, _, modified)| *modified);
        let condition = match expect {
            Expect::Absent => Condition::Absent,
            Expect::Exists => Condition::Exists,
            Expect::Modified(off) => Condition::ModifiedAt(modified + off),
            Expect::NoneNewer(back) => {
                txn.expect::<Note>("", Condition::NoneNewer(revision.saturating_sub(*back)));
                continue;
            }
        };
        txn.expect::<Note>(&key.to_string(), condition);
    }
    for (key, value) in ops {
        match value {
            Some(value) => txn.put(&key.to_string(), note(value)),
            None => txn.delete::<Note>(&key.to_string()),
        };
    }
    txn
}

fn check(snapshot: &Snapshot, model: &Model, revision: Revision) -> Result<(), TestCaseError> {
    prop_assert_eq!(snapshot.revision(), revision);
    let held: Vec<_> = snapshot
        .range::<Note>("")
        .map(|(key, note)| (key.to_owned(), note.text.clone(), note.created, note.modified))
        .collect();
    let wanted: Vec<_> = model
        .iter()
        .map(|(key, (text, created, modified))| (key.to_string(), text.clone(), *created, *modified))
        .collect();
    prop_assert_eq!(held, wanted);
    prop_assert_eq!(snapshot.count("notes"), model.len() as u64);
    for text in ["a", "b", "ab"] {
        let found: Vec<_> = snapshot
            .indexed::<Note>("text", text)
            .map(|(key, _)| key.to_owned())
            .collect();
        let wanted: Vec<_> = model
            .iter()
            .filter(|(_, (t, ..))| t == text)
            .map(|(key, _)| key.to_string())
            .collect();
        prop_assert_eq!(found, wanted);
    }
    Ok(())
}

/// Runs `steps` on the store that `open` opens, again for each reopening.
fn run(steps: &[Step], open: impl Fn() -> Store) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (mut model, mut revision) = (Model::new(), 0);
    for life in steps.split(|step| matches!(step, Step::Reopen)) {
        let store = open();
        check(&store.snapshot(), &model, revision)?;
        for step in life {
            let Step::Commit { conditions, ops } = step else {
                continue;
            };
            let txn = txn(&model, revision, conditions, ops);
            let expected = model_commit(&mut model, &mut revision, conditions, ops);
            match runtime.block_on(store.commit(txn)) {
                Ok(answered) => prop_assert_eq!(Some(answered), expected),
                Err(CommitError::Conflict { .. } | CommitError::DuplicateKey { .. }) => prop_assert_eq!(None, expected),
                Err(other) => return Err(TestCaseError::fail(other.to_string())),
            }
            check(&store.snapshot(), &model, revision)?;
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn memory_does_as_the_model(steps in proptest::collection::vec(step(), 1..60)) {
        let store = Store::in_memory(KINDS);
        run(&steps, || store.clone())?;
    }

    #[test]
    fn sqlite_does_as_the_model_also_after_reopening(steps in proptest::collection::vec(step(), 1..60)) {
        let directory = tempfile::tempdir().unwrap();
        run(&steps, || Store::open(directory.path(), KINDS).unwrap())?;
    }
}
