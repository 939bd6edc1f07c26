//! `neargate doctor`: what the machine lacks, and how to get it.

use crate::outcome::Outcome;
use crate::{lock, paths};
use std::path::Path;
use std::process::{Command, ExitCode};

/// How a check ended.
enum Finding {
    Good(String),
    /// Works without it, with what is lost.
    Advice(String),
    /// Must be mended, with how.
    Lacking(String),
}

use Finding::{Advice, Good, Lacking};

pub fn run(data: &Path, vpc: Option<&str>, bridge: Option<&str>, public: Option<&str>) -> Outcome {
    let settings = crate::instance::Instance::open(data).ok().map(|i| i.settings);
    let vpc = vpc
        .map(str::to_owned)
        .or(settings.as_ref().map(|s| s.vpc_cidr.clone()))
        .unwrap_or_else(|| "172.31.0.0/16".into());
    let bridge = bridge
        .map(str::to_owned)
        .or(settings.as_ref().map(|s| s.bridge_cidr.clone()))
        .unwrap_or_else(|| "198.18.0.0/16".into());
    let public = public
        .map(str::to_owned)
        .or(settings.as_ref().map(|s| s.public_cidr.clone()))
        .unwrap_or_else(|| "198.19.0.0/16".into());
    let checks = [
        ("system", system()),
        ("root", root()),
        ("cgroups", cgroups()),
        ("overlayfs", overlayfs()),
        ("network namespaces", namespaces()),
        ("nftables", nftables()),
        ("seccomp", seccomp()),
        ("networks", networks(data, &vpc, &bridge, &public)),
        ("disk", disk(data)),
        ("firewall", forward_policy()),
        ("OCI runtimes", runtimes()),
        ("AWS CLI", aws_cli()),
    ];
    let mut lacking = 0;
    for (what, finding) in checks {
        match finding {
            Good(text) => println!("  ok       {what}: {text}"),
            Advice(text) => println!("  advice   {what}: {text}"),
            Lacking(text) => {
                lacking += 1;
                println!("  LACKING  {what}: {text}");
            }
        }
    }
    if lacking == 0 {
        println!("This machine can run Neargate: sudo neargate up");
        return Ok(ExitCode::SUCCESS);
    }
    println!("{lacking} thing(s) are lacking to run containers; `neargate up --simulated-nodes 3` works without them.");
    Ok(ExitCode::FAILURE)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn system() -> Finding {
    let release = read("/proc/sys/kernel/osrelease").trim().to_owned();
    let mut numbers = release.split(['.', '-']).map_while(|n| n.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) if (major, minor) >= (5, 12) => Good(format!("Linux {release}")),
        (Some(_), _) => Lacking(format!(
            "Linux {release} is too old: 5.12 or newer is needed (clone3 into cgroups, mount_setattr, openat2)"
        )),
        _ => Lacking("this is not Linux: containers need it".into()),
    }
}

fn root() -> Finding {
    if paths::is_root() {
        Good("yes".into())
    } else {
        Lacking("containers with networks of their own need root: run with sudo".into())
    }
}

fn cgroups() -> Finding {
    let mounts = read("/proc/self/mounts");
    let v1 = mounts
        .lines()
        .any(|l| l.split(' ').nth(2) == Some("cgroup") && l.contains("memory"));
    if v1 {
        return Good("v1 (hybrid): crun refuses it, the built-in runtime and runc work".into());
    }
    let controllers = read("/sys/fs/cgroup/cgroup.controllers");
    let missing: Vec<&str> = ["cpu", "memory", "pids"]
        .into_iter()
        .filter(|c| !controllers.split_whitespace().any(|x| x == *c))
        .collect();
    match (controllers.is_empty(), missing.is_empty()) {
        (true, _) => Lacking("no cgroup file system is mounted: mount -t cgroup2 none /sys/fs/cgroup".into()),
        (false, true) => Good("v2".into()),
        (false, false) => Lacking(format!(
            "v2 without {}: add cgroup_enable=memory to the kernel's command line",
            missing.join(", ")
        )),
    }
}

fn overlayfs() -> Finding {
    let has = || read("/proc/filesystems").lines().any(|l| l.ends_with("\toverlay"));
    if has() {
        return Good("yes".into());
    }
    let _ = Command::new("modprobe").arg("overlay").output();
    if has() {
        Good("yes (module)".into())
    } else {
        Lacking("the kernel has no overlayfs: modprobe overlay, or install a kernel with it".into())
    }
}

fn namespaces() -> Finding {
    let all = ["net", "pid", "mnt", "ipc", "uts", "cgroup"];
    let missing: Vec<&str> = all
        .into_iter()
        .filter(|n| !Path::new("/proc/self/ns").join(n).exists())
        .collect();
    if missing.is_empty() {
        Good("yes".into())
    } else {
        Lacking(format!("the kernel has no {} namespaces", missing.join(", ")))
    }
}

fn nftables() -> Finding {
    match Command::new("nft").arg("--version").output() {
        Err(_) => Lacking("nft is not installed: apt install nftables (or dnf install nftables)".into()),
        Ok(_) if !paths::is_root() => Good("installed".into()),
        Ok(_) => match Command::new("nft").args(["list", "tables"]).output() {
            Ok(out) if out.status.success() => Good("works".into()),
            Ok(out) => Lacking(format!(
                "nft does not work: {}",
                String::from_utf8_lossy(&out.stderr).trim()
            )),
            Err(e) => Lacking(format!("nft does not work: {e}")),
        },
    }
}

fn seccomp() -> Finding {
    let status = read("/proc/self/status");
    if status.contains("Seccomp_filters") || status.contains("Seccomp:") {
        Good("yes".into())
    } else {
        Lacking("the kernel has no seccomp filters".into())
    }
}

fn networks(data: &Path, vpc: &str, bridge: &str, public: &str) -> Finding {
    if lock::holder(&paths::up_lock(data)).is_some() {
        return Good(format!("{vpc} is in use by the Neargate that runs here"));
    }
    let (Ok(vpc_cidr), Ok(bridge_cidr), Ok(public_cidr)) = (vpc.parse(), bridge.parse(), public.parse()) else {
        return Lacking(format!(
            "{vpc}, {bridge} and {public} must be ranges such as 172.31.0.0/16"
        ));
    };
    match neargate_netns::Network::check(vpc_cidr, bridge_cidr, public_cidr) {
        Ok(()) => Good(format!("{vpc}, {bridge} and {public} are free")),
        Err(e) if e.to_string().contains("another Neargate") => Advice(format!(
            "{vpc} is held by containers of a Neargate that is not running, or by another one: neargate down frees it"
        )),
        Err(e) => Lacking(e.to_string()),
    }
}

fn disk(data: &Path) -> Finding {
    let existing = data.ancestors().find(|p| p.exists()).unwrap_or(Path::new("/"));
    match rustix::fs::statvfs(existing) {
        Ok(s) => {
            let free = s.f_bavail * s.f_frsize / (1024 * 1024 * 1024);
            let text = format!("{free} GiB free at {}", existing.display());
            if free >= 2 {
                Good(text)
            } else {
                Advice(format!(
                    "{text}: images and logs want more, name another place with --data-dir"
                ))
            }
        }
        Err(e) => Advice(format!("{}: {e}", existing.display())),
    }
}

/// Docker sets the forward policy to drop, which also stops the tasks' own traffic.
fn forward_policy() -> Finding {
    if !paths::is_root() {
        return Good("not looked at without root".into());
    }
    let out = Command::new("nft")
        .args(["list", "chain", "ip", "filter", "FORWARD"])
        .output();
    let text = out
        .map(|o| String::from_utf8_lossy(&o.stdout).into_owned())
        .unwrap_or_default();
    if text.contains("policy drop") {
        return Advice("forwarded packets are dropped by default (Docker does this): tasks will not reach the internet until you run `iptables -I DOCKER-USER -i ng+ -j ACCEPT; iptables -I DOCKER-USER -o ng+ -j ACCEPT`".into());
    }
    Good("does not stop the tasks' traffic".into())
}

fn runtimes() -> Finding {
    let found: Vec<&str> = ["crun", "runc", "runsc"]
        .into_iter()
        .filter(|r| {
            Command::new(r)
                .arg("--version")
                .output()
                .is_ok_and(|o| o.status.success())
        })
        .collect();
    if found.is_empty() {
        Good("built in; none other is installed (--runtime takes crun or runc)".into())
    } else {
        Good(format!("built in; also installed: {}", found.join(", ")))
    }
}

fn aws_cli() -> Finding {
    match Command::new("aws").arg("--version").output() {
        Ok(out) if out.status.success() => {
            let text = String::from_utf8_lossy(&out.stdout);
            let name = text.split(' ').next().unwrap_or("aws");
            if reads_endpoint(name) {
                Good(name.to_owned())
            } else {
                Advice(format!(
                    "{name} does not read AWS_ENDPOINT_URL (1.29 and 2.13 do): update it, or call aws --endpoint-url \"$AWS_ENDPOINT_URL\""
                ))
            }
        }
        _ => Advice(
            "not installed: pip install awscli, or see docs.aws.amazon.com/cli; boto3 and Terraform work as well"
                .into(),
        ),
    }
}

/// Whether a CLI such as `aws-cli/2.9.19` takes its endpoint from the environment; older ones would ask AWS itself.
fn reads_endpoint(name: &str) -> bool {
    let version = name.rsplit('/').next().unwrap_or_default();
    let mut numbers = version.split('.').map_while(|n| n.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(1), Some(minor)) => minor >= 29,
        (Some(2), Some(minor)) => minor >= 13,
        (Some(major), _) => major > 2,
        (None, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cli_that_would_ask_aws_itself_is_known() {
        for good in ["aws-cli/1.45.11", "aws-cli/1.29.0", "aws-cli/2.13.0", "aws-cli/3.0.0"] {
            assert!(reads_endpoint(good), "{good}");
        }
        for old in ["aws-cli/1.28.9", "aws-cli/2.9.19", "aws", ""] {
            assert!(!reads_endpoint(old), "{old}");
        }
    }
}
