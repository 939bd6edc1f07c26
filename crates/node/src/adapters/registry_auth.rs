//! Registry accounts from a file in Docker's form (`docker login` writes `~/.docker/config.json`).
//!
//! `StoredImages` asks before each pull, so that a login takes effect at once. Nothing is kept: the file stays the user's.

use base64::Engine as _;
use neargate_images::{Credentials, DOCKER_HUB};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// The members of Docker's configuration that hold accounts.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct DockerConfig {
    auths: BTreeMap<String, Account>,
    creds_store: Option<String>,
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Account {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Account(…)")
    }
}

/// What a credential helper answers.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperAnswer {
    username: String,
    secret: String,
}

/// Where an account is found.
#[derive(Debug, PartialEq)]
enum Found {
    Account(Credentials),
    /// Ask `docker-credential-NAME` for this key.
    Helper(String, String),
    Nothing,
}

/// The account for `registry` in the file at `path`; none when there is none. Blocks when a helper program is asked.
///
/// # Errors
/// A file that is not of the form, or a helper that fails.
pub fn account(path: &Path, registry: &str) -> Result<Option<Credentials>, String> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(format!("cannot read registry accounts from {}: {e}", path.display())),
    };
    let config: DockerConfig =
        serde_json::from_slice(&text).map_err(|e| format!("{} is not a Docker configuration: {e}", path.display()))?;
    match find(&config, registry) {
        Found::Account(account) => Ok(Some(account)),
        Found::Helper(name, key) => ask_helper(&name, &key).map(Some),
        Found::Nothing => Ok(None),
    }
}

fn find(config: &DockerConfig, registry: &str) -> Found {
    let keys: &[&str] = if registry == DOCKER_HUB {
        &[
            "https://index.docker.io/v1/",
            "index.docker.io",
            "docker.io",
            "registry-1.docker.io",
        ]
    } else {
        &[registry]
    };
    for key in keys {
        if let Some(helper) = config.cred_helpers.get(*key) {
            return Found::Helper(helper.clone(), (*key).to_owned());
        }
    }
    for (key, account) in &config.auths {
        let host = key
            .trim_start_matches("https://")
            .trim_start_matches("http://")
            .split('/')
            .next()
            .unwrap_or("");
        if !keys.iter().any(|k| *k == key || *k == host) {
            continue;
        }
        if let (Some(username), Some(password)) = (&account.username, &account.password) {
            return Found::Account(Credentials {
                username: username.clone(),
                password: password.clone(),
            });
        }
        if let Some(found) = account.auth.as_deref().and_then(decode) {
            return Found::Account(found);
        }
        if let Some(store) = &config.creds_store {
            return Found::Helper(store.clone(), key.clone());
        }
    }
    Found::Nothing
}

/// `base64(user:password)`.
fn decode(auth: &str) -> Option<Credentials> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(auth.trim()).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (username, password) = text.split_once(':')?;
    Some(Credentials {
        username: username.to_owned(),
        password: password.to_owned(),
    })
}

fn ask_helper(name: &str, key: &str) -> Result<Credentials, String> {
    let program = format!("docker-credential-{name}");
    let failed = |why: String| format!("cannot get the registry account of {key} from {program}: {why}");
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') {
        return Err(failed("its name is not one of a program".into()));
    }
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| failed(e.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(key.as_bytes()).map_err(|e| failed(e.to_string()))?;
    }
    let out = child.wait_with_output().map_err(|e| failed(e.to_string()))?;
    if !out.status.success() {
        return Err(failed(format!("it ended with {}", out.status)));
    }
    let answer: HelperAnswer =
        serde_json::from_slice(&out.stdout).map_err(|_| failed("its answer is not of the form".into()))?;
    Ok(Credentials {
        username: answer.username,
        password: answer.secret,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> DockerConfig {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn accounts_are_found_by_registry_as_docker_writes_them() {
        let c = config(
            r#"{"auths": {"https://index.docker.io/v1/": {"auth": "dXNlcjpwYTpzcw=="}, "ghcr.io": {"username": "u", "password": "p"},
                "https://r.example/v2/": {"auth": "YTpi"}, "stored.example": {}},
                "credsStore": "desktop", "credHelpers": {"h.example": "ecr-login"}}"#,
        );
        let account = |u: &str, p: &str| {
            Found::Account(Credentials {
                username: u.into(),
                password: p.into(),
            })
        };
        assert_eq!(find(&c, DOCKER_HUB), account("user", "pa:ss"));
        assert_eq!(find(&c, "ghcr.io"), account("u", "p"));
        assert_eq!(find(&c, "r.example"), account("a", "b"));
        assert_eq!(
            find(&c, "h.example"),
            Found::Helper("ecr-login".into(), "h.example".into())
        );
        assert_eq!(
            find(&c, "stored.example"),
            Found::Helper("desktop".into(), "stored.example".into())
        );
        assert_eq!(find(&c, "elsewhere.example"), Found::Nothing);
    }

    #[test]
    fn a_missing_file_is_no_account_and_a_wrong_one_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        assert_eq!(account(&path, "ghcr.io").unwrap(), None);
        std::fs::write(&path, "nonsense").unwrap();
        assert!(
            account(&path, "ghcr.io")
                .unwrap_err()
                .contains("not a Docker configuration")
        );
    }
}
