//! Image references as the docker CLI reads them: `nginx`, `ghcr.io/a/b:1.2`, `localhost:5000/x@sha256:…`.

use crate::{Digest, ImageError};
use std::fmt;
use std::str::FromStr;

/// A normalised reference: short names belong to Docker Hub, a missing tag is `latest`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    /// Host, with port where one is given: `docker.io`, `localhost:5000`.
    pub registry: String,
    /// `library/nginx`.
    pub repository: String,
    /// None only when a digest is given without a tag.
    pub tag: Option<String>,
    pub digest: Option<Digest>,
}

/// The registry that short names belong to.
pub const DOCKER_HUB: &str = "docker.io";

impl Reference {
    /// The name without tag and digest.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The key of the image index. A digest wins: pulling by it must not move the tag.
    pub(crate) fn index_key(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => format!("{}@{digest}", self.name()),
            (None, Some(tag)) => format!("{}:{tag}", self.name()),
            (None, None) => format!("{}:latest", self.name()),
        }
    }

    /// What to ask the registry's manifest endpoint for.
    pub(crate) fn manifest_key(&self) -> &str {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.as_str(),
            (None, Some(tag)) => tag,
            (None, None) => "latest",
        }
    }
}

impl FromStr for Reference {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        let refuse = |why| ImageError::InvalidReference {
            text: text.to_owned(),
            why,
        };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (
                rest,
                Some(
                    digest
                        .parse::<Digest>()
                        .map_err(|_| refuse("the digest is not sha256 and 64 hex digits"))?,
                ),
            ),
            None => (text, None),
        };
        // A colon after the last slash starts the tag; any other belongs to the registry's port.
        let (name, tag) = match rest.rfind(':') {
            Some(at) if !rest[at..].contains('/') => (&rest[..at], Some(&rest[at + 1..])),
            _ => (rest, None),
        };
        if let Some(tag) = tag {
            let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
            let tail = |b: u8| word(b) || b == b'.' || b == b'-';
            let first = tag.bytes().next().ok_or_else(|| refuse("the tag is empty"))?;
            if tag.len() > 128 || !word(first) || !tag.bytes().all(tail) {
                return Err(refuse("a tag has at most 128 letters, digits, '_', '.' and '-'"));
            }
        }
        let (registry, path) = match name.split_once('/') {
            Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (host, path),
            _ => (DOCKER_HUB, name),
        };
        let registry = if registry == "index.docker.io" {
            DOCKER_HUB
        } else {
            registry
        };
        if !valid_host(registry) {
            return Err(refuse("the registry is not a host name with an optional port"));
        }
        if path.is_empty() || path.len() > 255 || !path.split('/').all(valid_component) {
            return Err(refuse(
                "a repository name has lower-case letters and digits, separated by '.', '_', '-' or '/'",
            ));
        }
        let repository = if registry == DOCKER_HUB && !path.contains('/') {
            format!("library/{path}")
        } else {
            path.to_owned()
        };
        let tag = match (tag, &digest) {
            (Some(tag), _) => Some(tag.to_owned()),
            (None, Some(_)) => None,
            (None, None) => Some("latest".to_owned()),
        };
        Ok(Reference {
            registry: registry.to_owned(),
            repository,
            tag,
            digest,
        })
    }
}

fn valid_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((v6, port)) if v6.parse::<std::net::Ipv6Addr>().is_ok() => ("v6", port.strip_prefix(':')),
            _ => return false,
        },
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        },
    };
    !name.is_empty()
        && name.split('.').all(|label| {
            !label.is_empty()
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !label.starts_with('-')
        })
        && port.is_none_or(|p| p.parse::<u16>().is_ok())
}

/// Lower-case letters and digits; between them one '.', one or two '_', or any number of '-'.
fn valid_component(part: &str) -> bool {
    let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = part.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    if !alnum(*first) || !alnum(*last) {
        return false;
    }
    bytes
        .split(|b| alnum(*b))
        .all(|gap| matches!(gap, b"" | b"." | b"_" | b"__") || gap.iter().all(|b| *b == b'-'))
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_normalised_as_docker_does() {
        let d = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        for (text, whole) in [
            ("nginx", "docker.io/library/nginx:latest"),
            ("nginx:1.27-alpine", "docker.io/library/nginx:1.27-alpine"),
            ("library/nginx", "docker.io/library/nginx:latest"),
            ("docker.io/nginx", "docker.io/library/nginx:latest"),
            ("index.docker.io/a/b", "docker.io/a/b:latest"),
            ("a/b/c:d", "docker.io/a/b/c:d"),
            ("localhost/web", "localhost/web:latest"),
            ("localhost:5000/web:1", "localhost:5000/web:1"),
            ("[::1]:5000/web:1", "[::1]:5000/web:1"),
            (
                "public.ecr.aws/docker/library/busybox:stable",
                "public.ecr.aws/docker/library/busybox:stable",
            ),
            (
                "000000000000.dkr.ecr.us-east-1.amazonaws.com/my__app",
                "000000000000.dkr.ecr.us-east-1.amazonaws.com/my__app:latest",
            ),
        ] {
            assert_eq!(text.parse::<Reference>().unwrap().to_string(), whole);
        }
        let both: Reference = format!("nginx:1@{d}").parse().unwrap();
        assert_eq!(both.index_key(), format!("docker.io/library/nginx@{d}"));
        assert_eq!(both.manifest_key(), d);
        let only: Reference = format!("nginx@{d}").parse().unwrap();
        assert_eq!(
            (only.tag.as_deref(), only.index_key()),
            (None, format!("docker.io/library/nginx@{d}"))
        );
    }

    #[test]
    fn malformed_references_are_refused() {
        for text in [
            "",
            ":x",
            "Nginx",
            "a//b",
            "../x",
            "a/../b",
            "nginx:",
            "nginx:a/b:c d",
            "nginx@sha256:12",
            "x_",
            "-x",
            "a..b",
            "ho_st.x/y/z",
            "a.b:99999/c",
            "nginx:lätest",
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
    }
}
