//! `cargo xtask floors`: the arrows of the blueprint, checked against `cargo metadata` and the sources of `plan/`.

use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// Floor of every crate; a crate may only depend on crates of lower floors.
fn floor(package: &str) -> Option<u32> {
    Some(match package {
        "neargate-core" => 0,
        "neargate-wire" | "neargate-store" | "neargate-link" | "neargate-seal" => 1,
        "neargate-images" | "neargate-runtime" | "neargate-netns" | "neargate-routing" | "neargate-x509" => 2,
        "neargate-sts" | "neargate-iam" | "neargate-ec2" | "neargate-acm" | "neargate-logs" => 3,
        "neargate-elbv2" => 4,
        "neargate-ecs" => 5,
        "neargate-control" | "neargate-node" | "neargate-gateway" => 6,
        "neargate" => 7,
        "xtask" | "neargate-example-web" | "neargate-bench" => 9,
        _ => return None,
    })
}

/// Crates of the data planes must never reach state or services.
fn forbidden(from: &str, to: &str) -> bool {
    let data_plane = matches!(
        from,
        "neargate-node"
            | "neargate-gateway"
            | "neargate-routing"
            | "neargate-images"
            | "neargate-runtime"
            | "neargate-netns"
    );
    let services = matches!(
        to,
        "neargate-store"
            | "neargate-sts"
            | "neargate-iam"
            | "neargate-ec2"
            | "neargate-acm"
            | "neargate-elbv2"
            | "neargate-logs"
            | "neargate-ecs"
            | "neargate-wire"
    );
    data_plane && services
}

/// Words that a `plan/` file must not contain, with the reason.
const IMPURE: &[(&str, &str)] = &[
    ("tokio::", "plans are not async"),
    ("async fn", "plans are not async"),
    (".await", "plans are not async"),
    ("SystemTime", "time is an argument"),
    ("Instant::now", "time is an argument"),
    ("clock.now", "time is an argument"),
    ("getrandom", "ids are an argument"),
    ("std::fs", "plans do no IO"),
    ("std::net::Tcp", "plans do no IO"),
    ("HashMap", "iteration order must not decide"),
    ("HashSet", "iteration order must not decide"),
    ("Store::", "plans see snapshots, not the store"),
];

pub fn run(root: &Path) -> Result<(), String> {
    let out = Command::new("cargo")
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .current_dir(root)
        .output()
        .map_err(|e| e.to_string())?;
    let metadata: Value = serde_json::from_slice(&out.stdout).map_err(|e| format!("cargo metadata: {e}"))?;
    let mut faults = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default();
        let Some(own) = floor(name) else {
            faults.push(format!("{name} has no floor: give it one in xtask/src/floors.rs"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            if dependency["kind"].as_str() == Some("dev") {
                continue;
            }
            let to = dependency["name"].as_str().unwrap_or_default();
            if let Some(theirs) = floor(to) {
                if theirs >= own {
                    faults.push(format!(
                        "{name} (floor {own}) depends on {to} (floor {theirs}): arrows point down only"
                    ));
                }
                if forbidden(name, to) {
                    faults.push(format!(
                        "{name} depends on {to}: data planes know control only through link"
                    ));
                }
            }
        }
    }
    check_plans(&root.join("crates"), &mut faults)?;
    if faults.is_empty() {
        Ok(())
    } else {
        Err(faults.join("\n"))
    }
}

fn check_plans(dir: &Path, faults: &mut Vec<String>) -> Result<(), String> {
    for entry in std::fs::read_dir(dir)
        .map_err(|e| format!("{}: {e}", dir.display()))?
        .flatten()
    {
        let path = entry.path();
        if path.is_dir() {
            check_plans(&path, faults)?;
            continue;
        }
        let in_plan = path.components().any(|c| c.as_os_str() == "plan") || path.ends_with("plan.rs");
        let test = path
            .file_name()
            .is_some_and(|n| ["test", "scenario"].iter().any(|w| n.to_string_lossy().contains(w)));
        if !in_plan || test || path.extension().is_none_or(|e| e != "rs") {
            continue;
        }
        let text = std::fs::read_to_string(&path).map_err(|e| e.to_string())?;
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in code.lines().enumerate() {
            if line.trim_start().starts_with("//") {
                continue;
            }
            for (word, why) in IMPURE {
                if line.contains(word) {
                    faults.push(format!("{}:{}: `{word}`: {why}", path.display(), number + 1));
                }
            }
        }
    }
    Ok(())
}
