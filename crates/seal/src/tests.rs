use crate::{MasterKeyError, Seal, SealError, Sealed};
use proptest::prelude::*;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

fn seal_with(byte: u8) -> Seal {
    Seal::with_key(&[byte; 32])
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..300)
}

proptest! {
    #[test]
    fn what_is_sealed_opens_in_its_context_and_in_no_other(context in bytes(), other in bytes(), secret in bytes()) {
        let seal = seal_with(1);
        let sealed = seal.seal(&context, &secret);
        let opened = seal.open(&context, &sealed).unwrap();
        prop_assert_eq!(opened.as_slice(), &secret[..]);
        if other != context {
            prop_assert_eq!(seal.open(&other, &sealed).unwrap_err(), SealError);
        }
        prop_assert_eq!(seal_with(2).open(&context, &sealed).unwrap_err(), SealError);
    }

    #[test]
    fn a_changed_bit_anywhere_keeps_it_shut(secret in bytes(), at in any::<prop::sample::Index>(), bit in 0..8u8) {
        use base64::Engine as _;
        let b64 = base64::engine::general_purpose::STANDARD;
        let seal = seal_with(1);
        let text: String = serde_json::from_value(serde_json::to_value(seal.seal(b"c", &secret)).unwrap()).unwrap();
        let mut raw = b64.decode(text).unwrap();
        let at = at.index(raw.len());
        raw[at] ^= 1u8 << bit;
        let changed = serde_json::from_value::<Sealed>(b64.encode(&raw).into());
        // The version is part of the form: a wrong one is not even read.
        prop_assert!(changed.is_err() == (at == 0));
        if let Ok(changed) = changed {
            prop_assert_eq!(seal.open(b"c", &changed).unwrap_err(), SealError);
        }
    }
}

#[test]
fn a_sealed_secret_survives_json_and_shows_nothing() {
    let seal = seal_with(1);
    let sealed = seal.seal(b"c", b"very secret");
    let json = serde_json::to_string(&sealed).unwrap();
    assert!(json.starts_with('"') && !json.contains("secret"), "{json}");
    let back: Sealed = serde_json::from_str(&json).unwrap();
    assert_eq!(seal.open(b"c", &back).unwrap().as_slice(), b"very secret");
    assert_eq!(format!("{sealed:?} {seal:?}"), "Sealed(..) Seal(..)");
    assert_ne!(
        seal.seal(b"c", b"very secret"),
        sealed,
        "every secret has its own key and nonce"
    );
    for broken in ["\"\"", "\"AQ==\"", "\"not base64\"", "7"] {
        assert!(serde_json::from_str::<Sealed>(broken).is_err(), "{broken}");
    }
}

#[test]
fn the_master_key_is_made_once_for_its_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("master.key");
    let sealed = Seal::open_or_create(&path).unwrap().seal(b"c", b"s");
    let metadata = std::fs::metadata(&path).unwrap();
    assert_eq!((metadata.mode() & 0o777, metadata.len()), (0o600, 32));
    assert_eq!(
        Seal::open_or_create(&path)
            .unwrap()
            .open(b"c", &sealed)
            .unwrap()
            .as_slice(),
        b"s"
    );
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        1,
        "nothing is left beside it"
    );
}

#[test]
fn processes_that_start_together_agree_on_one_key() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("master.key");
    let seals: Vec<Seal> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| Seal::open_or_create(&path).unwrap()))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let sealed = seals[0].seal(b"c", b"s");
    assert!(seals.iter().all(|seal| seal.open(b"c", &sealed).is_ok()));
}

#[test]
fn a_bad_master_key_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("master.key");
    std::fs::write(&path, [7; 32]).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(
        Seal::open_or_create(&path),
        Err(MasterKeyError::Exposed { mode: 0o640, .. })
    ));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(Seal::open_or_create(&path).is_ok());
    std::fs::write(&path, [7; 31]).unwrap();
    assert!(matches!(
        Seal::open_or_create(&path),
        Err(MasterKeyError::Length { length: 31, .. })
    ));
    assert_eq!(std::fs::read(&path).unwrap(), [7; 31]);
    let nowhere = dir.path().join("missing").join("master.key");
    assert!(matches!(Seal::open_or_create(nowhere), Err(MasterKeyError::Io { .. })));
}
