//! The root access key: made at the first start or taken from the environment, kept readable by its owner only.

use crate::instance::Instance;
use crate::outcome::Outcome;
use crate::paths;
use neargate_core::{Ids as _, ids::RandomIds};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::process::ExitCode;

#[derive(Clone, Serialize, Deserialize)]
pub struct RootKey {
    pub access_key_id: String,
    pub secret_access_key: String,
}

const ID: &str = "NEARGATE_ROOT_ACCESS_KEY_ID";
const SECRET: &str = "NEARGATE_ROOT_SECRET_ACCESS_KEY";

/// The key of this data directory: from the environment, else the stored one, else a new one.
///
/// # Errors
/// When only one of the two variables is set, or the file cannot be read or written.
pub fn prepare(data: &Path) -> Result<RootKey, String> {
    let var = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
    let key = match (var(ID), var(SECRET)) {
        (Some(access_key_id), Some(secret_access_key)) => {
            let plain = |s: &str| s.bytes().all(|b| b.is_ascii_graphic());
            if !(3..=128).contains(&access_key_id.len())
                || !access_key_id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            {
                return Err(format!("{ID} must be 3 to 128 letters, digits or underscores"));
            }
            if !plain(&secret_access_key) {
                return Err(format!("{SECRET} must be printable ASCII without spaces"));
            }
            RootKey {
                access_key_id,
                secret_access_key,
            }
        }
        (None, None) => match read(data) {
            Ok(key) => return Ok(key),
            Err(_) if !paths::credentials(data).exists() => fresh(),
            Err(why) => return Err(why),
        },
        (Some(_), None) => return Err(format!("{ID} is set and {SECRET} is not: set both or neither")),
        (None, Some(_)) => return Err(format!("{SECRET} is set and {ID} is not: set both or neither")),
    };
    let text = serde_json::to_vec_pretty(&key).map_err(|e| e.to_string())?;
    paths::write_private(&paths::credentials(data), &text)?;
    Ok(key)
}

/// The stored key.
///
/// # Errors
/// When there is none or it cannot be read.
pub fn read(data: &Path) -> Result<RootKey, String> {
    let path = paths::credentials(data);
    let bytes = std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    serde_json::from_slice(&bytes).map_err(|e| format!("{}: {e}", path.display()))
}

/// A key in AWS's form: `AKIA` and 16 of the base-32 alphabet, and a secret of 40 characters.
fn fresh() -> RootKey {
    const BASE32: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    const BASE64: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let random = || RandomIds.bytes().into_iter();
    let id: String = random().map(|b| char::from(BASE32[usize::from(b) % 32])).collect();
    let secret: String = random()
        .chain(random())
        .chain(random())
        .take(40)
        .map(|b| char::from(BASE64[usize::from(b) % 64]))
        .collect();
    RootKey {
        access_key_id: format!("AKIA{id}"),
        secret_access_key: secret,
    }
}

/// `neargate env`.
pub fn print_env(data: &Path) -> Outcome {
    let instance = Instance::open(data)?;
    let key = read(data)?;
    println!("export AWS_ENDPOINT_URL={}", instance.endpoint());
    println!("export AWS_ACCESS_KEY_ID={}", key.access_key_id);
    println!(
        "export AWS_SECRET_ACCESS_KEY='{}'",
        key.secret_access_key.replace('\'', "'\\''")
    );
    println!("export AWS_DEFAULT_REGION={}", instance.settings.region);
    println!("export AWS_REGION={}", instance.settings.region);
    println!("unset AWS_SESSION_TOKEN");
    Ok(ExitCode::SUCCESS)
}
