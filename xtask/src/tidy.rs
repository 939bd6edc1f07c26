//! `cargo xtask tidy`: file sizes, forgotten marks, module purposes.

use std::path::Path;
use std::process::Command;

const LONGEST: usize = 700;

pub fn run(root: &Path) -> Result<(), String> {
    let out = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "*.rs"])
        .current_dir(root)
        .output()
        .map_err(|e| e.to_string())?;
    let mut faults = Vec::new();
    for file in String::from_utf8_lossy(&out.stdout).lines() {
        if file.contains("/api/") {
            continue;
        }
        let Ok(text) = std::fs::read_to_string(root.join(file)) else {
            continue;
        };
        let lines = text.lines().count();
        if lines > LONGEST {
            faults.push(format!("{file}: {lines} lines, {LONGEST} at most: split it"));
        }
        let test = file.contains("/tests") || file.ends_with("tests.rs");
        if !test && !text.starts_with("//!") {
            faults.push(format!("{file}: does not open with its purpose (//! …)"));
        }
        for (number, line) in text.lines().enumerate() {
            let marks = [
                concat!("TO", "DO"),
                concat!("FIX", "ME"),
                concat!("to", "do!("),
                concat!("unimple", "mented!("),
                concat!("#[ig", "nore"),
            ];
            if let Some(mark) = marks.iter().find(|m| line.contains(**m)) {
                faults.push(format!("{file}:{}: {mark}", number + 1));
            }
        }
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(faults.join("\n"))
    }
}
