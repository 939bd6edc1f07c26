//! The form of a sealed secret: `version · nonce · wrapped data key · nonce · secret`, each ciphertext with its tag.
//!
//! `Seal` is the caller. Key and secret are authenticated with the context and with what they are, so that neither can
//! stand in for the other.

use crate::{SealError, cipher};
use aws_lc_rs::aead::{Aad, LessSafeKey, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as B64;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

const VERSION: u8 = 1;
const NONCE: usize = 12;
const TAG: usize = 16;
const KEY: usize = crate::master::LENGTH;
/// A data key as it is stored: nonce, ciphertext, tag.
const WRAPPED: usize = NONCE + KEY + TAG;

/// A sealed secret. Serialized as base64 text.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed(Vec<u8>);

/// The text is no sealed secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not the form of a sealed secret")]
pub struct Damaged;

impl Sealed {
    fn parse(bytes: Vec<u8>) -> Result<Sealed, Damaged> {
        let whole = bytes.len() >= 1 + WRAPPED + NONCE + TAG && bytes[0] == VERSION;
        whole.then_some(Sealed(bytes)).ok_or(Damaged)
    }
}

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealed(..)")
    }
}

impl Serialize for Sealed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&B64.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Sealed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = B64.decode(text).map_err(serde::de::Error::custom)?;
        Sealed::parse(bytes).map_err(serde::de::Error::custom)
    }
}

pub(crate) fn seal(master: &LessSafeKey, context: &[u8], plaintext: &[u8]) -> Sealed {
    let mut key = Zeroizing::new([0; KEY]);
    random(&mut *key);
    let mut out = Vec::with_capacity(1 + WRAPPED + NONCE + plaintext.len() + TAG);
    out.push(VERSION);
    encrypt(master, &bound(Part::Key, context), &*key, &mut out);
    encrypt(&cipher(&key), &bound(Part::Secret, context), plaintext, &mut out);
    Sealed(out)
}

pub(crate) fn open(master: &LessSafeKey, context: &[u8], sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let (wrapped, secret) = sealed
        .0
        .get(1..)
        .and_then(|rest| rest.split_at_checked(WRAPPED))
        .ok_or(SealError)?;
    let key = decrypt(master, &bound(Part::Key, context), wrapped)?;
    let key: &[u8; KEY] = key.as_slice().try_into().map_err(|_| SealError)?;
    decrypt(&cipher(key), &bound(Part::Secret, context), secret)
}

#[derive(Clone, Copy)]
enum Part {
    Key,
    Secret,
}

/// What a ciphertext is authenticated with besides itself.
fn bound(part: Part, context: &[u8]) -> Vec<u8> {
    let name: &[u8] = match part {
        Part::Key => b"neargate data key\0",
        Part::Secret => b"neargate secret\0",
    };
    [name, context].concat()
}

/// Appends nonce, ciphertext and tag to `out`; the plaintext is only ever in memory that is wiped or overwritten.
fn encrypt(key: &LessSafeKey, aad: &[u8], plaintext: &[u8], out: &mut Vec<u8>) {
    let mut nonce = [0; NONCE];
    random(&mut nonce);
    out.extend_from_slice(&nonce);
    let from = out.len();
    // Room was made beforehand: a vector that moved would leave the plaintext behind.
    debug_assert!(out.capacity() - from >= plaintext.len() + TAG);
    out.extend_from_slice(plaintext);
    let tag = key
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), &mut out[from..])
        .expect("a secret is shorter than the 64 GiB that AES-GCM takes");
    out.extend_from_slice(tag.as_ref());
}

fn decrypt(key: &LessSafeKey, aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let (nonce, ciphertext) = sealed.split_first_chunk::<NONCE>().ok_or(SealError)?;
    let mut text = Zeroizing::new(ciphertext.to_vec());
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let length = key
        .open_in_place(nonce, Aad::from(aad), &mut text)
        .map_err(|_| SealError)?
        .len();
    text.truncate(length);
    Ok(text)
}

pub(crate) fn random(out: &mut [u8]) {
    aws_lc_rs::rand::fill(out).expect("the operating system gives random bytes");
}
