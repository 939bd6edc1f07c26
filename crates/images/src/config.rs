//! What an image says about the processes made from it, read from its OCI or docker config.

use crate::Platform;
use serde::{Deserialize, Deserializer};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The image's defaults for a container; a task definition's members win over them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImageConfig {
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    /// `NAME=value`, in the image's order.
    pub env: Vec<String>,
    /// `name`, `uid`, `name:group` …; empty is root.
    pub user: String,
    /// Empty is `/`.
    pub working_dir: String,
    /// `SIGTERM` when none; a name or a number.
    pub stop_signal: Option<String>,
    /// Paths of anonymous volumes.
    pub volumes: BTreeSet<String>,
    /// `80/tcp`.
    pub exposed_ports: BTreeSet<String>,
    pub labels: BTreeMap<String, String>,
    pub healthcheck: Option<ImageHealthcheck>,
}

/// Docker's HEALTHCHECK. ECS ignores it; it is here for whoever asks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImageHealthcheck {
    /// `["CMD", …]`, `["CMD-SHELL", "…"]` or `["NONE"]`.
    pub test: Vec<String>,
    pub interval: Duration,
    pub timeout: Duration,
    pub start_period: Duration,
    pub retries: u32,
}

/// The config blob, as far as it matters here.
#[derive(Debug, Deserialize)]
pub(crate) struct ConfigFile {
    #[serde(default)]
    pub architecture: String,
    #[serde(default)]
    pub os: String,
    #[serde(default)]
    pub variant: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub config: Raw,
    pub rootfs: RootFs,
}

#[derive(Debug, Deserialize)]
pub(crate) struct RootFs {
    #[serde(default, deserialize_with = "or_default")]
    pub diff_ids: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Raw {
    #[serde(deserialize_with = "or_default")]
    entrypoint: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    cmd: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    env: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    user: String,
    #[serde(deserialize_with = "or_default")]
    working_dir: String,
    stop_signal: Option<String>,
    #[serde(deserialize_with = "or_default")]
    volumes: BTreeMap<String, serde::de::IgnoredAny>,
    #[serde(deserialize_with = "or_default")]
    exposed_ports: BTreeMap<String, serde::de::IgnoredAny>,
    #[serde(deserialize_with = "or_default")]
    labels: BTreeMap<String, String>,
    healthcheck: Option<RawHealthcheck>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RawHealthcheck {
    #[serde(deserialize_with = "or_default")]
    test: Vec<String>,
    /// Nanoseconds.
    interval: u64,
    timeout: u64,
    start_period: u64,
    retries: u32,
}

/// Docker writes `null` for empty members.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

impl ConfigFile {
    pub(crate) fn platform(&self) -> Platform {
        Platform {
            os: self.os.clone(),
            architecture: self.architecture.clone(),
            variant: self.variant.clone(),
        }
    }

    pub(crate) fn into_config(self) -> ImageConfig {
        let raw = self.config;
        ImageConfig {
            entrypoint: raw.entrypoint,
            cmd: raw.cmd,
            env: raw.env,
            user: raw.user,
            working_dir: raw.working_dir,
            stop_signal: raw.stop_signal.filter(|s| !s.is_empty()),
            volumes: raw.volumes.into_keys().collect(),
            exposed_ports: raw.exposed_ports.into_keys().collect(),
            labels: raw.labels,
            healthcheck: raw
                .healthcheck
                .filter(|h| !h.test.is_empty())
                .map(|h| ImageHealthcheck {
                    test: h.test,
                    interval: Duration::from_nanos(h.interval),
                    timeout: Duration::from_nanos(h.timeout),
                    start_period: Duration::from_nanos(h.start_period),
                    retries: h.retries,
                }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_with_nulls_reads_as_empty_members() {
        let text = r#"{"architecture":"amd64","os":"linux","config":{"Entrypoint":null,"Cmd":["/web"],"Env":["A=b"],
            "Volumes":{"/data":{}},"ExposedPorts":{"80/tcp":{}},"Labels":null,"StopSignal":"SIGQUIT",
            "Healthcheck":{"Test":["CMD","true"],"Interval":5000000000,"Retries":2}},
            "rootfs":{"type":"layers","diff_ids":null},"history":[{}]}"#;
        let config = serde_json::from_str::<ConfigFile>(text).unwrap().into_config();
        assert_eq!(config.cmd, ["/web"]);
        assert!(
            config.entrypoint.is_empty() && config.volumes.contains("/data") && config.exposed_ports.contains("80/tcp")
        );
        assert_eq!(config.stop_signal.as_deref(), Some("SIGQUIT"));
        assert_eq!(config.healthcheck.unwrap().interval, Duration::from_secs(5));
    }
}
