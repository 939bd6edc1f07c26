//! Compiles `init/main.rs`, the program that containers of OCI runtimes get as their init, for `shim/cli.rs` to embed.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=init/main.rs");
    println!("cargo::rerun-if-changed=build.rs");
    let given = |name: &str| env::var(name).unwrap_or_else(|_| panic!("cargo gives build scripts {name}"));
    let program = Path::new(&given("OUT_DIR")).join("init");
    let mut rustc = Command::new(given("RUSTC"));
    rustc
        .args([
            "--edition",
            "2024",
            "--crate-name",
            "init",
            "--target",
            &given("TARGET"),
        ])
        .args(["-C", "opt-level=s", "-C", "panic=abort", "-C", "strip=symbols"])
        // No library and no loader: it runs in any image.
        .args(["-C", "relocation-model=static", "-C", "target-feature=+crt-static"])
        .args([
            "-C",
            "link-arg=-nostartfiles",
            "-C",
            "link-arg=-nostdlib",
            "-C",
            "link-arg=-static",
        ])
        .args(["-C", "link-arg=-Wl,--build-id=none"])
        .arg("init/main.rs")
        .arg("-o")
        .arg(&program);
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        rustc.args(["-C", &format!("linker={linker}")]);
    }
    let done = rustc.status();
    assert!(
        done.is_ok_and(|status| status.success()),
        "init/main.rs does not compile: see rustc's words above"
    );
}
