//! The form of an image's name, as AWS checks it: characters, length and digest. Whether it exists shows at the pull.

use super::Check;

pub(super) fn check(image: Option<&str>) -> Check {
    let image = image.unwrap_or_default();
    if image.is_empty() {
        return Err("Container.image should not be null or empty.".to_owned());
    }
    let (repository, digest) = match image.split_once('@') {
        Some((repository, digest)) => (repository, Some(digest)),
        None => (image, None),
    };
    if repository.len() > 255 {
        return Err("Container.image repository should be 255 characters or less.".to_owned());
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_:./#".contains(&b);
    if repository.is_empty() || !repository.bytes().all(allowed) || repository.starts_with(['/', ':', '.', '-']) {
        return Err("Container.image contains invalid characters.".to_owned());
    }
    let hash = |digest: &str| {
        digest
            .strip_prefix("sha256:")
            .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    if !digest.is_none_or(hash) {
        return Err("Container.image digest should be sha256 followed by 64 hexadecimal digits.".to_owned());
    }
    Ok(())
}
