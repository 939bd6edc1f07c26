//! Tokens by which containers act for their task at `ECS_AGENT_URI`.
//!
//! Unlike runtime ids they are told to nobody but the container: tasks that share the machine's network cannot be told apart
//! by their address. They are made of a secret of the node, so that a container's token outlives the node's process.

use crate::dirs::Dirs;
use hmac::{Hmac, Mac};
use neargate_core::Ids;
use neargate_core::ids::RandomIds;
use sha2::Sha256;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;

const KEY: usize = 32;
/// Bytes of a token, written as hex digits.
const TOKEN: usize = 16;

/// Makes tokens and knows them again.
pub struct Tokens {
    key: [u8; KEY],
}

impl Tokens {
    /// With the node's secret, made at first start and kept.
    ///
    /// # Errors
    /// When it cannot be kept.
    pub fn open(dirs: &Dirs) -> io::Result<Tokens> {
        let path = dirs.agent_key();
        match fs::read(&path) {
            Ok(bytes) => {
                if let Ok(key) = bytes.try_into() {
                    return Ok(Tokens { key });
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let tokens = Tokens::default();
        let making = path.with_extension("new");
        let mut file = File::options()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&making)?;
        file.write_all(&tokens.key)?;
        file.sync_all()?;
        fs::rename(making, path)?;
        Ok(tokens)
    }

    /// The token of the container with this runtime id.
    pub fn of(&self, runtime_id: &str) -> String {
        hex::encode(&self.mac(runtime_id).finalize().into_bytes()[..TOKEN])
    }

    pub fn is_of(&self, token: &str, runtime_id: &str) -> bool {
        let bytes = hex::decode(token).ok().filter(|bytes| bytes.len() == TOKEN);
        bytes.is_some_and(|bytes| self.mac(runtime_id).verify_truncated_left(&bytes).is_ok())
    }

    fn mac(&self, runtime_id: &str) -> Hmac<Sha256> {
        let mac = Hmac::<Sha256>::new_from_slice(&self.key);
        mac.expect("a key may have any length").chain_update(runtime_id)
    }
}

/// With a secret that nothing else has.
impl Default for Tokens {
    fn default() -> Tokens {
        let mut key = [0; KEY];
        for half in key.chunks_exact_mut(16) {
            half.copy_from_slice(&RandomIds.bytes());
        }
        Tokens { key }
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_token_is_its_containers_alone_and_outlives_the_process() {
        let data = tempfile::tempdir().unwrap();
        let dirs = Dirs::new(data.path());
        dirs.prepare().unwrap();
        let tokens = Tokens::open(&dirs).unwrap();
        let token = tokens.of("one");
        assert_eq!(token.len(), 32);
        assert!(tokens.is_of(&token, "one") && !tokens.is_of(&token, "two"));
        for wrong in ["", "0", "zz", &token[..30], &format!("{token}00")] {
            assert!(!tokens.is_of(wrong, "one"), "{wrong}");
        }
        assert_eq!(Tokens::open(&dirs).unwrap().of("one"), token);
        assert_ne!(Tokens::default().of("one"), token);
        let mode = fs::metadata(dirs.agent_key()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(dirs.agent_key(), "torn").unwrap();
        assert_ne!(Tokens::open(&dirs).unwrap().of("one"), token);
    }
}
