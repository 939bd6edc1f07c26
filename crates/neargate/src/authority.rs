//! `neargate ca`: the certificate of the local authority, for those who are to trust what it issued.

use crate::outcome::Outcome;
use crate::paths;
use std::path::Path;
use std::process::ExitCode;

pub fn print(data: &Path) -> Outcome {
    let path = paths::authority(data);
    let pem = std::fs::read_to_string(&path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => format!(
            "there is no authority in {} yet: `neargate up` makes it at its first start",
            data.display()
        ),
        std::io::ErrorKind::PermissionDenied => {
            format!("{}: {e}; was it started by root? Try with sudo", path.display())
        }
        _ => format!("{}: {e}", path.display()),
    })?;
    print!("{pem}");
    Ok(ExitCode::SUCCESS)
}
