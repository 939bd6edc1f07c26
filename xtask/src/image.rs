//! Makes the demo's image: one static binary in an OCI image layout, so that no registry is needed.

use flate2::{Compression, write::GzEncoder};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};
use std::process::Command;

type Result<T> = std::result::Result<T, String>;

/// Compiles `examples/web` statically; answers the binary.
pub fn build_web(root: &Path) -> Result<PathBuf> {
    let out = root.join("target/demo/web");
    let source = root.join("examples/web/src/main.rs");
    let newer = |a: &Path, b: &Path| -> Option<bool> {
        Some(a.metadata().ok()?.modified().ok()? >= b.metadata().ok()?.modified().ok()?)
    };
    if newer(&out, &source) == Some(true) {
        return Ok(out);
    }
    std::fs::create_dir_all(root.join("target/demo")).map_err(|e| e.to_string())?;
    let status = Command::new("rustc")
        .args([
            "--edition",
            "2024",
            "-O",
            "-C",
            "target-feature=+crt-static",
            "-C",
            "panic=abort",
            "-C",
            "strip=symbols",
        ])
        .arg(&source)
        .arg("-o")
        .arg(&out)
        .status()
        .map_err(|e| format!("rustc: {e}"))?;
    if status.success() {
        Ok(out)
    } else {
        Err("rustc could not build examples/web".into())
    }
}

/// Writes an OCI image layout named `reference` at `dir` holding `binary` as `/web`.
pub fn write_layout(dir: &Path, reference: &str, binary: &Path) -> Result<()> {
    let failed = |e: std::io::Error| e.to_string();
    let _ = std::fs::remove_dir_all(dir);
    let blobs = dir.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).map_err(failed)?;

    let layer = layer(binary).map_err(failed)?;
    let diff_id = digest(&layer);
    let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
    std::io::Write::write_all(&mut gz, &layer).map_err(failed)?;
    let gz = gz.finish().map_err(failed)?;
    let put = |bytes: &[u8]| -> Result<String> {
        let name = digest(bytes);
        std::fs::write(blobs.join(&name), bytes).map_err(failed)?;
        Ok(name)
    };
    let layer_digest = put(&gz)?;
    let architecture = if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "amd64"
    };
    let config = json!({
        "architecture": architecture, "os": "linux",
        "config": { "Entrypoint": ["/web"], "Env": ["PATH=/"], "ExposedPorts": { "8080/tcp": {} }, "StopSignal": "SIGTERM" },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{diff_id}")] },
    })
    .to_string();
    let config_digest = put(config.as_bytes())?;
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": format!("sha256:{config_digest}"), "size": config.len() },
        "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": format!("sha256:{layer_digest}"), "size": gz.len() }],
    })
    .to_string();
    let manifest_digest = put(manifest.as_bytes())?;
    let index = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": format!("sha256:{manifest_digest}"), "size": manifest.len(),
            "annotations": { "org.opencontainers.image.ref.name": reference, "io.containerd.image.name": reference },
        }],
    });
    std::fs::write(dir.join("index.json"), index.to_string()).map_err(failed)?;
    std::fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).map_err(failed)
}

fn layer(binary: &Path) -> std::io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |path: &str, mode: u32, kind: tar::EntryType, data: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(data.len() as u64);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        tar.append_data(&mut header, path, data)
    };
    add("etc/", 0o755, tar::EntryType::Directory, b"")?;
    add("tmp/", 0o1777, tar::EntryType::Directory, b"")?;
    add(
        "etc/passwd",
        0o644,
        tar::EntryType::Regular,
        b"root:x:0:0:root:/:/web\nweb:x:1000:1000:web:/:/web\n",
    )?;
    add("etc/group", 0o644, tar::EntryType::Regular, b"root:x:0:\nweb:x:1000:\n")?;
    add("web", 0o755, tar::EntryType::Regular, &std::fs::read(binary)?)?;
    tar.into_inner()
}

fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
