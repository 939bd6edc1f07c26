//! Manifests and manifest lists, docker's schema 2 and OCI's, and the choice of a platform among them.

use crate::{Digest, ImageError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Larger manifests are refused, as registries do.
pub(crate) const MAX_MANIFEST: u64 = 4 * 1024 * 1024;
/// The config is read whole too; it holds the history.
pub(crate) const MAX_CONFIG: u64 = 8 * 1024 * 1024;

/// What an image runs on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Platform {
    #[serde(default)]
    pub os: String,
    /// Go's name: `amd64`, `arm64`.
    #[serde(default)]
    pub architecture: String,
    #[serde(default)]
    pub variant: Option<String>,
}

impl Platform {
    /// Linux on `architecture` (Go's name).
    pub fn linux(architecture: &str) -> Platform {
        let variant = (architecture == "arm64").then(|| "v8".to_owned());
        Platform {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            variant,
        }
    }

    /// This machine's.
    pub fn host() -> Platform {
        Platform::linux(match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        })
    }

    /// True when an image for `self` runs where `wanted` is asked for; a variant left out fits any.
    fn fits(&self, wanted: &Platform) -> bool {
        self.os == wanted.os
            && self.architecture == wanted.architecture
            && match (&self.variant, &wanted.variant) {
                (Some(a), Some(b)) => a == b,
                (Some(a), None) => wanted.architecture != "amd64" || a == "v1",
                _ => true,
            }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(v) if !v.is_empty() => write!(f, "/{v}"),
            _ => Ok(()),
        }
    }
}

/// A pointer to content.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub media_type: String,
    pub digest: Digest,
    pub size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// A manifest of one platform.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    pub schema_version: u32,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    pub config: Descriptor,
    #[serde(default)]
    pub layers: Vec<Descriptor>,
}

/// Either form that a manifest endpoint or a layout answers.
#[derive(Clone, Debug)]
pub(crate) enum Document {
    List(Vec<Descriptor>),
    Image(Manifest),
}

/// Reads a manifest or a list of them; what it is shows in its members, as media types are often missing.
pub(crate) fn parse(what: &str, bytes: &[u8]) -> Result<Document, ImageError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Probe {
        #[serde(default)]
        schema_version: u32,
        #[serde(default)]
        manifests: Option<Vec<Descriptor>>,
        #[serde(default)]
        artifact_type: Option<String>,
        #[serde(default)]
        fs_layers: Option<serde::de::IgnoredAny>,
    }
    let malformed = |e: serde_json::Error| ImageError::corrupt(what, format!("the manifest cannot be read: {e}"));
    let probe: Probe = serde_json::from_slice(bytes).map_err(malformed)?;
    if let Some(list) = probe.manifests {
        return Ok(Document::List(list));
    }
    if probe.fs_layers.is_some() || probe.schema_version == 1 {
        return Err(ImageError::Unsupported {
            what: format!("the manifest of {what}"),
            why: "it has docker's schema 1, which is deprecated; push the image again with a current docker".to_owned(),
        });
    }
    let manifest: Manifest = serde_json::from_slice(bytes).map_err(malformed)?;
    let config = manifest.config.media_type.as_str();
    let image_config = [
        "",
        "application/vnd.oci.image.config.v1+json",
        "application/vnd.docker.container.image.v1+json",
    ];
    if !image_config.contains(&config) && !config.starts_with("application/vnd.docker.container.image") {
        let kind = probe.artifact_type.unwrap_or_else(|| config.to_owned());
        return Err(ImageError::Unsupported {
            what: what.to_owned(),
            why: format!("it is no container image but {kind}"),
        });
    }
    Ok(Document::Image(manifest))
}

/// The manifest of `list` that runs on `wanted`: an exact variant before one that only fits.
pub(crate) fn select<'a>(list: &'a [Descriptor], wanted: &Platform) -> Result<&'a Descriptor, ImageError> {
    let fits = |d: &&Descriptor| d.platform.as_ref().is_some_and(|p| p.fits(wanted));
    let exact = |d: &&Descriptor| {
        d.platform
            .as_ref()
            .is_some_and(|p| p.fits(wanted) && p.variant == wanted.variant)
    };
    let bare = |d: &&Descriptor| d.platform.is_none();
    list.iter()
        .find(exact)
        .or_else(|| list.iter().find(fits))
        .or_else(|| if list.len() == 1 { list.iter().find(bare) } else { None })
        .ok_or_else(|| {
            let have: Vec<String> = list
                .iter()
                .filter_map(|d| d.platform.as_ref())
                .filter(|p| p.os != "unknown")
                .map(Platform::to_string)
                .collect();
            let available = if have.is_empty() {
                "it names none".to_owned()
            } else {
                have.join(", ")
            };
            ImageError::NoMatchingPlatform {
                wanted: wanted.clone(),
                available,
            }
        })
}

/// The chain ids of layers from the bottom: each names its layer and everything below (OCI image spec, "ChainID").
pub(crate) fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut out: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff in diff_ids {
        out.push(match out.last() {
            None => diff.clone(),
            Some(below) => Digest::of(format!("{below} {diff}").as_bytes()),
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(os: &str, arch: &str, variant: Option<&str>) -> Descriptor {
        let platform = Platform {
            os: os.into(),
            architecture: arch.into(),
            variant: variant.map(str::to_owned),
        };
        let digest = Digest::of(platform.to_string().as_bytes());
        Descriptor {
            media_type: OCI_MANIFEST.into(),
            digest,
            size: 1,
            platform: Some(platform),
            annotations: BTreeMap::new(),
        }
    }

    #[test]
    fn the_platform_is_chosen_from_a_list() {
        let list = [
            entry("unknown", "unknown", None),
            entry("linux", "arm", Some("v7")),
            entry("linux", "arm64", None),
            entry("linux", "arm64", Some("v8")),
            entry("linux", "amd64", Some("v3")),
            entry("linux", "amd64", None),
        ];
        let pick = |p: &Platform| select(&list, p).unwrap().platform.as_ref().unwrap().to_string();
        assert_eq!(pick(&Platform::linux("amd64")), "linux/amd64");
        assert_eq!(pick(&Platform::linux("arm64")), "linux/arm64/v8");
        let text = select(&list[..2], &Platform::linux("amd64")).unwrap_err().to_string();
        assert!(
            text.contains("no matching manifest for linux/amd64") && text.contains("linux/arm/v7"),
            "{text}"
        );
    }

    #[test]
    fn schema_1_and_artifacts_are_refused_by_name() {
        let old = parse("x", br#"{"schemaVersion":1,"fsLayers":[]}"#)
            .unwrap_err()
            .to_string();
        assert!(old.contains("schema 1"), "{old}");
        let d = Digest::of(b"");
        let chart = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.cncf.helm.config.v1+json","digest":"{d}","size":2}},"layers":[]}}"#
        );
        assert!(parse("x", chart.as_bytes()).unwrap_err().to_string().contains("helm"));
        assert!(parse("x", b"<html>").is_err());
    }
}
