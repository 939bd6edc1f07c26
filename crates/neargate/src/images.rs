//! `neargate images …`.

use crate::outcome::Outcome;
use crate::paths;
use neargate_images::ImageStore;
use std::path::Path;
use std::process::ExitCode;

fn open(data: &Path) -> Result<ImageStore, String> {
    paths::make_private(data)?;
    ImageStore::open(paths::images(data)).map_err(|e| e.to_string())
}

/// `images load`.
pub fn load(data: &Path, path: &Path, name: Option<&str>) -> Outcome {
    let store = open(data)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| e.to_string())?;
    let loaded = runtime.block_on(store.load(path, name)).map_err(|e| e.to_string())?;
    for image in loaded {
        println!("Loaded {}  {}", image.reference, image.digest);
    }
    Ok(ExitCode::SUCCESS)
}

/// `images list`.
pub fn list(data: &Path) -> Outcome {
    for image in open(data)?.list().map_err(|e| e.to_string())? {
        println!("{}  {}", image.reference, image.digest);
    }
    Ok(ExitCode::SUCCESS)
}

/// `images remove`.
pub fn remove(data: &Path, reference: &str) -> Outcome {
    if open(data)?.remove(reference).map_err(|e| e.to_string())? {
        println!("Removed {reference}");
        return Ok(ExitCode::SUCCESS);
    }
    Err(format!(
        "no image {reference} is here: `neargate images list` shows what is"
    ))
}
