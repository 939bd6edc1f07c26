//! Environment files (`environmentFiles`): objects of S3, for which a directory of the node stands in.
//!
//! Called when a container is prepared. `arn:aws:s3:::bucket/key` is read from `<data>/s3/bucket/key`, never outside of
//! it. The syntax is Docker's: `NAME=value` lines, `#` comments, no quoting and no expansion.

use rustix::fs::{Mode, OFlags, ResolveFlags};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Name and value.
pub type Variable = (String, String);

/// The most an environment file may hold.
const SIZE_LIMIT: u64 = 1024 * 1024;

/// Why an environment file cannot be used; the text names the file to put there.
#[derive(Debug, thiserror::Error)]
pub enum EnvFileError {
    #[error("environment file {0} is not the ARN of an S3 object (arn:aws:s3:::bucket/key)")]
    NotAnObject(String),
    #[error("failed to download env files: {arn} is not there; put the file at {path} on the node")]
    Missing { arn: String, path: PathBuf },
    #[error("failed to download env files: {arn} leads out of the node's directory of buckets")]
    Outside { arn: String },
    #[error("failed to read env file {path} for {arn}: {source}")]
    Io {
        arn: String,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("env file {path} for {arn}: {why}")]
    Syntax { arn: String, path: PathBuf, why: String },
}

/// The variables of the S3 object `arn`, read beneath `s3_dir`.
pub fn read(s3_dir: &Path, arn: &str) -> Result<Vec<Variable>, EnvFileError> {
    let not_an_object = || EnvFileError::NotAnObject(arn.to_owned());
    let object = arn
        .splitn(6, ':')
        .nth(5)
        .filter(|_| arn.starts_with("arn:") && arn.contains(":s3:"));
    let object = object.filter(|o| o.split_once('/').is_some_and(|(b, k)| !b.is_empty() && !k.is_empty()));
    let object = object.ok_or_else(not_an_object)?;
    let path = s3_dir.join(object);
    let failed = |errno: rustix::io::Errno| match errno {
        rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR => EnvFileError::Missing {
            arn: arn.to_owned(),
            path: path.clone(),
        },
        rustix::io::Errno::XDEV => EnvFileError::Outside { arn: arn.to_owned() },
        other => EnvFileError::Io {
            arn: arn.to_owned(),
            path: path.clone(),
            source: other.into(),
        },
    };
    let dir = rustix::fs::open(
        s3_dir,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    );
    let file = dir.and_then(|dir| {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        rustix::fs::openat2(
            dir,
            object,
            flags,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS,
        )
    });
    let io = |source| EnvFileError::Io {
        arn: arn.to_owned(),
        path: path.clone(),
        source,
    };
    let mut text = String::new();
    File::from(file.map_err(failed)?)
        .take(SIZE_LIMIT + 1)
        .read_to_string(&mut text)
        .map_err(io)?;
    let syntax = |why: String| EnvFileError::Syntax {
        arn: arn.to_owned(),
        path: path.clone(),
        why,
    };
    if text.len() as u64 > SIZE_LIMIT {
        return Err(syntax("it is larger than 1 MiB".to_owned()));
    }
    parse(&text).map_err(syntax)
}

/// Reads the lines that ECS's agent takes: those with a name and a value, of which nothing is quoted or expanded.
fn parse(text: &str) -> Result<Vec<Variable>, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut out = Vec::new();
    for line in text.lines() {
        let line = line.trim_start();
        if line.starts_with('#') {
            continue;
        }
        let Some((name, value)) = line.split_once('=') else {
            continue;
        };
        if name.is_empty() || value.is_empty() {
            continue;
        }
        if value.contains('\0') || name.contains('\0') {
            return Err(format!(
                "variable '{}' contains a NUL character",
                name.replace('\0', "")
            ));
        }
        out.push((name.to_owned(), value.to_owned()));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_with_name_and_value_are_read() {
        let text = "\u{feff}# note\r\nA=1\r\n  B=two words \nC=\"quoted\"\nEMPTY=\n=x\nNOVALUE\nD E=1\nURL=a=b#c\n";
        let read = parse(text).unwrap();
        let expected = [
            ("A", "1"),
            ("B", "two words "),
            ("C", "\"quoted\""),
            ("D E", "1"),
            ("URL", "a=b#c"),
        ];
        assert_eq!(read, expected.map(|(n, v)| (n.to_owned(), v.to_owned())));
    }

    #[test]
    fn objects_are_read_beneath_the_directory_only_and_a_missing_one_names_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let s3 = dir.path().join("s3");
        std::fs::create_dir_all(s3.join("bucket/conf")).unwrap();
        std::fs::write(s3.join("bucket/conf/a.env"), "A=1\n").unwrap();
        std::fs::write(dir.path().join("secret.env"), "S=1\n").unwrap();
        std::os::unix::fs::symlink(dir.path().join("secret.env"), s3.join("bucket/link.env")).unwrap();

        assert_eq!(
            read(&s3, "arn:aws:s3:::bucket/conf/a.env").unwrap(),
            [("A".to_owned(), "1".to_owned())]
        );
        let missing = read(&s3, "arn:aws:s3:::bucket/none.env").unwrap_err().to_string();
        assert!(
            missing.contains(&s3.join("bucket/none.env").display().to_string()),
            "{missing}"
        );
        for outside in ["arn:aws:s3:::bucket/../../secret.env", "arn:aws:s3:::bucket/link.env"] {
            let told = read(&s3, outside).unwrap_err();
            assert!(matches!(told, EnvFileError::Outside { .. }), "{told}");
        }
        assert!(matches!(
            read(&s3, "arn:aws:s3:::bucket"),
            Err(EnvFileError::NotAnObject(_))
        ));
    }
}
