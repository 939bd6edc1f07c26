//! Secrets at rest: envelope encryption under one master key of the instance.
//!
//! Services seal what must never lie readable in the store (private keys of certificates) and open it where it is
//! used. Every secret has a data key of its own, wrapped by the master key; both are AES-256-GCM and bound to a context
//! that the caller names. Invariant: what opens is byte for byte what was sealed, in the context it was sealed in, by
//! this instance. This crate deliberately knows no store and no service.

mod envelope;
mod master;
#[cfg(test)]
mod tests;

pub use envelope::{Damaged, Sealed};
pub use master::MasterKeyError;
pub use zeroize::Zeroizing;

use aws_lc_rs::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
use std::path::Path;

/// The master key, ready for use.
pub struct Seal {
    master: LessSafeKey,
}

/// Why a secret does not open. It does not say which of the reasons it is: the cipher cannot tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the secret does not open: it was changed, belongs to something else, or was sealed with another master key")]
pub struct SealError;

impl Seal {
    /// Takes the master key from the file at `path`; makes the key, and the file with mode 0600, when there is none.
    ///
    /// # Errors
    /// `MasterKeyError`: the file cannot be read or made, holds no key, or can be read by others.
    pub fn open_or_create(path: impl AsRef<Path>) -> Result<Seal, MasterKeyError> {
        Ok(Seal::with_key(&*master::read_or_create(path.as_ref())?))
    }

    fn with_key(key: &[u8; master::LENGTH]) -> Seal {
        Seal { master: cipher(key) }
    }

    /// Seals `plaintext`; only `open` with the same `context` gives it back.
    pub fn seal(&self, context: &[u8], plaintext: &[u8]) -> Sealed {
        envelope::seal(&self.master, context, plaintext)
    }

    /// The plaintext, wiped from memory when dropped.
    ///
    /// # Errors
    /// `SealError`.
    pub fn open(&self, context: &[u8], sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, SealError> {
        envelope::open(&self.master, context, sealed)
    }
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seal(..)")
    }
}

fn cipher(key: &[u8; master::LENGTH]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("AES-256 takes keys of 32 bytes"))
}
