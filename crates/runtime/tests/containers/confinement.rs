//! What a container must not be able to do.

use crate::bed::*;
use neargate_core::MiB;
use neargate_runtime::*;
use std::fs;
use std::os::unix::fs::symlink;

#[test]
fn capabilities_are_dockers_and_follow_what_is_added_and_dropped() {
    let bed = Bed::new();
    let caps = "grep Cap /proc/self/status";
    let all = |mask: &str| {
        let none = "0000000000000000";
        format!("CapInh:\t{none}\nCapPrm:\t{mask}\nCapEff:\t{mask}\nCapBnd:\t{mask}\nCapAmb:\t{none}\n")
    };
    assert_eq!(bed.run(caps, |_| {}).1, all("00000000a80425fb"));
    let dropped = bed.run(caps, |c| c.cap_drop = vec!["ALL".into()]).1;
    assert_eq!(dropped, all("0000000000000000"));
    let added = bed.run(caps, |c| {
        c.cap_drop = vec!["ALL".into()];
        c.cap_add = vec!["SYS_PTRACE".into()];
    });
    assert_eq!(added.1, all("0000000000080000"));
}

#[test]
fn seccomp_and_no_new_privileges_are_in_force() {
    let bed = Bed::new();
    let script = "grep -E 'Seccomp:|NoNewPrivs' /proc/self/status; mount -t tmpfs x /tmp 2>&1; unshare -U true 2>&1; unshare -m true 2>&1";
    let (_, out) = bed.run(script, |c| {
        c.cap_add = vec!["NET_ADMIN".into()];
        c.no_new_privileges = true;
    });
    assert!(out.starts_with("NoNewPrivs:\t1\nSeccomp:\t2\n"), "{out}");
    assert_eq!(
        out.matches("not permitted").count() + out.matches("ermission denied").count(),
        3,
        "{out}"
    );
    let (_, out) = bed.run(
        "grep -E 'Seccomp:|NoNewPrivs' /proc/self/status; unshare -U true && echo free",
        |c| {
            c.seccomp = Seccomp::Unconfined;
        },
    );
    assert_eq!(out, "NoNewPrivs:\t0\nSeccomp:\t0\nfree\n");
}

#[test]
fn what_tells_of_the_machine_is_masked_and_what_changes_it_read_only() {
    let bed = Bed::new();
    let script = "cat /proc/kcore /proc/timer_list /proc/keys /proc/interrupts 2>/dev/null | wc -c; \
                  ls /sys/firmware /proc/scsi /proc/acpi 2>/dev/null | grep -c '^[^/]'; \
                  for f in /proc/sys/kernel/hostname /sys/fs/cgroup/x; do \
                  (echo x > $f) 2>&1 | grep -o -E 'Read-only.*'; done";
    let (_, out) = bed.run(script, |_| {});
    assert!(
        out.starts_with("0\n0\nRead-only file system\nRead-only file system\n"),
        "{out}"
    );
    assert!(!out.contains("x\n"));
}

#[test]
fn devices_are_few_and_no_other_can_be_made_or_opened() {
    let bed = Bed::new();
    let script = "ls /dev | tr '\\n' ' ' 2>/dev/null || ls /dev; head -c 4 /dev/urandom | wc -c; \
                  mknod /disk b 254 0 2>&1; mknod /mem c 1 1 2>&1; mknod /n c 1 3 && echo ok; cat /disk 2>&1 | head -c 200";
    let (_, out) = bed.run(script, |_| {});
    for name in [
        "null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "shm", "mqueue", "fd", "stdout",
    ] {
        assert!(out.contains(name), "{name} in {out}");
    }
    assert!(!out.contains("vda") && !out.contains("kmsg"), "{out}");
    assert_eq!(out.matches("Operation not permitted").count(), 2, "{out}");
    assert!(out.contains("ok\n"), "{out}");
}

#[test]
fn a_lent_device_can_be_used_as_lent() {
    let bed = Bed::new();
    let lent = |write| Device {
        host_path: "/dev/loop-control".into(),
        container_path: "/dev/lent".into(),
        read: true,
        write,
        mknod: false,
    };
    let script = "(: < /dev/lent) && echo read; (: > /dev/lent) 2>/dev/null && echo written";
    assert_eq!(bed.run(script, |c| c.devices = vec![lent(false)]).1, "read\n");
    assert_eq!(bed.run(script, |c| c.devices = vec![lent(true)]).1, "read\nwritten\n");
    let refused = bed.refusal(|c| {
        c.devices = vec![Device {
            host_path: "/etc/passwd".into(),
            ..lent(false)
        }]
    });
    assert!(refused.contains("/etc/passwd: not a device node"), "{refused}");
}

#[test]
fn privileged_has_what_the_machine_has() {
    let bed = Bed::new();
    let script =
        "test -e /dev/kmsg && echo device; mount -t tmpfs x /tmp && echo mounted; grep Seccomp: /proc/self/status";
    assert_eq!(
        bed.run(script, |c| c.privileged = true).1,
        "device\nmounted\nSeccomp:\t0\n"
    );
}

#[test]
fn the_root_may_be_read_only_and_volumes_too() {
    let bed = Bed::new();
    let volume = bed.directory.join("volume");
    fs::create_dir(&volume).unwrap();
    fs::write(volume.join("given"), "given").unwrap();
    let mount = |destination: &str, read_only| Mount {
        destination: destination.into(),
        source: MountSource::Bind {
            path: volume.clone(),
            populate: false,
        },
        read_only,
    };
    let script = "touch /x 2>/dev/null || echo closed; touch /rw/new && echo open; touch /ro/x 2>/dev/null || echo closed; cat /ro/given; \
                  touch /dev/shm/x && echo shm";
    let (_, out) = bed.run(script, |c| {
        c.readonly_root = true;
        c.mounts = vec![mount("/rw", false), mount("/ro", true)];
    });
    assert_eq!(out, "closed\nopen\nclosed\ngivenshm\n");
    assert!(volume.join("new").exists());
}

#[test]
fn files_are_mounted_and_empty_volumes_filled_from_the_image() {
    let bed = Bed::new();
    fs::write(bed.image.join("image-data/seed"), "seed").unwrap();
    symlink("seed", bed.image.join("image-data/link")).unwrap();
    let volume = bed.directory.join("volume");
    fs::create_dir(&volume).unwrap();
    let hosts = bed.directory.join("hosts");
    fs::write(&hosts, "127.0.0.1 here\n").unwrap();
    let bind = |path: &std::path::Path, populate| MountSource::Bind {
        path: path.to_owned(),
        populate,
    };
    let (_, out) = bed.run("cat /etc/hosts; cat /image-data/link", |c| {
        c.mounts = vec![
            Mount {
                destination: "/etc/hosts".into(),
                source: bind(&hosts, false),
                read_only: true,
            },
            Mount {
                destination: "/image-data".into(),
                source: bind(&volume, true),
                read_only: false,
            },
        ];
    });
    assert_eq!(out, "127.0.0.1 here\nseed\n");
    assert_eq!(fs::read_link(volume.join("link")).unwrap().to_str(), Some("seed"));
    // What the volume holds by then stays.
    fs::write(volume.join("seed"), "grown\n").unwrap();
    let (_, out) = bed.run("cat /image-data/seed", |c| {
        c.mounts = vec![Mount {
            destination: "/image-data".into(),
            source: bind(&volume, true),
            read_only: false,
        }];
    });
    assert_eq!(out, "grown\n");
}

#[test]
fn symlinks_of_the_image_never_lead_a_mount_out_of_it() {
    let bed = Bed::new();
    let outside = bed.directory.join("outside");
    fs::create_dir(&outside).unwrap();
    symlink(&outside, bed.image.join("absolute")).unwrap();
    symlink("../../../../../../../../..", bed.image.join("up")).unwrap();
    symlink("/proc/self/root", bed.image.join("magic")).unwrap();
    symlink("/proc/sys", bed.image.join("kernel")).unwrap();
    let volume = bed.directory.join("volume");
    fs::create_dir(&volume).unwrap();
    fs::write(volume.join("mark"), "mark").unwrap();
    let at = |destination: String| Mount {
        destination,
        source: MountSource::Bind {
            path: volume.clone(),
            populate: false,
        },
        read_only: false,
    };
    // An absolute link is followed inside, where its target is made.
    let inside = format!("cat {}/mark", outside.display());
    fs::create_dir_all(bed.image.join(outside.strip_prefix("/").unwrap())).unwrap();
    assert_eq!(
        bed.run(&inside, |c| c.mounts = vec![at("/absolute".into())]).1,
        "mark\n"
    );
    assert!(fs::read_dir(&outside).unwrap().next().is_none());
    // `..` ends at the container's root.
    let climbed = format!("/up{}/climbed", bed.directory.display());
    bed.run("exit 0", |c| c.mounts = vec![at(climbed)]);
    assert!(!bed.directory.join("climbed").exists());
    let refused = bed.refusal(|c| c.mounts = vec![at("/magic/x".into())]);
    assert!(refused.contains("/magic/x"), "{refused}");
    let refused = bed.refusal(|c| c.mounts = vec![at("/kernel".into())]);
    assert!(refused.contains("leads into a kernel file system"), "{refused}");
    let refused = bed.refusal(|c| c.mounts = vec![at("/proc/sys".into())]);
    assert!(refused.contains("kernel file system"), "{refused}");
    // The same for the working directory and for devices.
    bed.run("exit 0", |c| c.cwd = format!("/up{}/cwd", bed.directory.display()));
    assert!(!bed.directory.join("cwd").exists());
}

#[test]
fn a_link_of_the_image_that_leads_nowhere_yet_leads_to_what_is_made_for_it() {
    let bed = Bed::new();
    for (link, to) in [
        ("resolv.conf", "../run/resolved/stub.conf"),
        ("spool", "/srv/deep/spool"),
        ("first", "second"),
        ("second", "first"),
    ] {
        fs::create_dir_all(bed.image.join("links")).unwrap();
        symlink(to, bed.image.join("links").join(link)).unwrap();
    }
    let (file, directory) = (bed.directory.join("file"), bed.directory.join("volume"));
    fs::write(&file, "nameserver").unwrap();
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("mark"), "mark").unwrap();
    let at = |path: &std::path::Path, destination: &str| Mount {
        destination: destination.to_owned(),
        source: MountSource::Bind {
            path: path.to_owned(),
            populate: false,
        },
        read_only: false,
    };
    let script = "cat /links/resolv.conf /run/resolved/stub.conf /links/spool/x/mark /srv/deep/spool/x/mark";
    let mounts = vec![at(&file, "/links/resolv.conf"), at(&directory, "/links/spool/x")];
    let (_, out) = bed.run(script, |c| c.mounts = mounts.clone());
    assert_eq!(out, "nameservernameservermarkmark\n");
    assert!(!bed.image.join("srv").exists(), "made above the image, not in it");
    let refused = bed.refusal(|c| c.mounts = vec![at(&directory, "/links/first")]);
    assert!(refused.contains("/links/first"), "{refused}");
}

#[test]
fn no_path_leads_through_what_the_shim_has_open() {
    let bed = Bed::new();
    // The image's author and the task's choose working directory and program: none may reach a directory of the machine that
    // the launcher happens to have open.
    for fd in 3..20 {
        let climbing = format!("/proc/self/fd/{fd}/../../../../..");
        let refused = bed.refusal(|c| {
            c.cwd = climbing.clone();
        });
        assert!(refused.contains("mkdir") || refused.contains("chdir"), "{refused}");
        let mut container = bed.container("c", "");
        container.argv = vec![format!("{climbing}{}", env!("CARGO_BIN_EXE_runtime-bench"))];
        let mut shim = bed.spawn(&bed.task());
        let refused = shim
            .start(&container)
            .expect_err("a program of the machine")
            .to_string();
        assert!(refused.contains("exec: "), "{refused}");
        shim.shutdown().unwrap();
    }
    // The same for an exec, and what a container makes of its /dev/null.
    let container = bed.container(
        "c",
        "rm /dev/null; ln -s /proc/self/fd/3 /dev/null; echo up > /dev/stderr; exec sleep 1000",
    );
    let mut shim = bed.spawn(&bed.task());
    shim.start(&container).unwrap();
    wait_for_output(&container.log.path, "up");
    let exec = Exec {
        container: "c".into(),
        argv: ["sh", "-c", "readlink /proc/self/fd/0; ls -l /proc/self/fd"]
            .map(str::to_owned)
            .into(),
        timeout_millis: 10_000,
        ..Exec::default()
    };
    let result = shim.exec(&exec).unwrap();
    assert!(
        result.output.starts_with("/dev/null") || result.output.starts_with("/null"),
        "{}",
        result.output
    );
    let away = Exec {
        cwd: Some("/proc/self/fd/3".into()),
        ..exec
    };
    assert!(matches!(shim.exec(&away).unwrap().outcome, ExecOutcome::NotStarted(_)));
    shim.signal("c", 9).unwrap();
    exit_of(&mut shim, "c");
    shim.shutdown().unwrap();
}

#[test]
fn an_image_cannot_move_proc_elsewhere() {
    let bed = Bed::new();
    fs::create_dir(bed.image.join("elsewhere")).unwrap();
    symlink("/elsewhere", bed.image.join("proc")).unwrap();
    assert!(bed.refusal(|_| {}).contains("the image's /proc is not a directory"));
}

#[test]
fn a_network_namespace_is_joined_by_path() {
    let bed = Bed::new();
    let keeper = bed.container("keeper", "echo up; exec sleep 1000");
    let mut shim = bed.spawn(&bed.task());
    let (pid, _) = shim.start(&keeper).unwrap();
    let path = format!("/proc/{pid}/ns/net");
    let expected = fs::read_link(&path).unwrap();
    let mut guest = bed.container("guest", "readlink /proc/self/ns/net; ls /sys/class/net");
    guest.network = Some(Network::Path(path.into()));
    shim.start(&guest).unwrap();
    exit_of(&mut shim, "guest");
    assert_eq!(output(&guest.log.path), format!("{}\nlo\n", expected.display()));
    shim.signal("keeper", 9).unwrap();
    exit_of(&mut shim, "keeper");
    shim.shutdown().unwrap();
}

#[test]
fn the_machines_program_cannot_be_written_through_proc() {
    let bed = Bed::new();
    // A program that is a link to whatever executes it: neargate itself, inside the container.
    symlink("/proc/self/exe", bed.image.join("bin/me")).unwrap();
    let exe = env!("CARGO_BIN_EXE_runtime-bench");
    let before = fs::metadata(exe).unwrap().modified().unwrap();
    let mut container = bed.container("c", "");
    container.argv = vec!["/bin/me".into(), "not-a-number-of-rounds".into()];
    let mut shim = bed.spawn(&bed.task());
    if shim.start(&container).is_ok() {
        // It runs neargate's own code without anything to run on; what matters is that nothing was written.
        let _ = shim.signal("c", 9);
        exit_of(&mut shim, "c");
    }
    shim.shutdown().unwrap();
    // An exec whose program is read while it starts: the file seen there lies on a read-only mount.
    let (_, out) = bed.run(
        "for n in 1 2 3 4 5 6 7 8 9; do (echo x >> /proc/$n/exe) 2>&1; done | grep -c exe",
        |_| {},
    );
    assert!(out.trim().parse::<u32>().unwrap() > 0, "{out}");
    assert_eq!(fs::metadata(exe).unwrap().modified().unwrap(), before);
}

#[test]
fn nothing_of_the_shim_is_open_inside() {
    let bed = Bed::new();
    let (_, out) = bed.run(
        "ls /proc/self/fd; cat /proc/1/environ | wc -c; cat /proc/1/cmdline | wc -c",
        |c| c.env = vec!["A=1".into()],
    );
    let fds: Vec<_> = out.lines().take_while(|l| l.len() < 2).collect();
    // ls has its own directory open as the fourth.
    assert_eq!(&fds[..4], ["0", "1", "2", "3"], "{out}");
}

#[test]
fn sysctls_of_its_own_namespaces_are_set_and_others_refused() {
    let bed = Bed::new();
    let script =
        "cat /proc/sys/net/core/somaxconn /proc/sys/kernel/msgmax /proc/sys/net/ipv4/ip_unprivileged_port_start";
    let (_, out) = bed.run(script, |c| {
        c.sysctls = vec![
            ("net.core.somaxconn".into(), "77".into()),
            ("kernel.msgmax".into(), "9000".into()),
        ];
    });
    assert_eq!(out, "77\n9000\n0\n");
    let refused = bed.refusal(|c| c.sysctls = vec![("kernel.panic".into(), "1".into())]);
    assert!(
        refused.contains("sysctl \"kernel.panic\" is not in a separate kernel namespace"),
        "{refused}"
    );
}

#[test]
fn a_network_of_its_own_is_empty() {
    let bed = Bed::new();
    let script = "ip -o link | wc -l; ip -o link | grep -c LOOPBACK,UP";
    let (_, out) = bed.run(script, |c| c.network = Some(Network::Private));
    assert_eq!(out, "1\n1\n");
    let host = bed.run("ip -o link | wc -l", |c| c.network = Some(Network::Host)).1;
    let expected = fs::read_dir("/sys/class/net")
        .unwrap()
        .flatten()
        .filter(|e| e.path().is_dir())
        .count();
    assert_eq!(host.trim(), expected.to_string());
}

#[test]
fn mounts_that_make_no_sense_are_refused() {
    let bed = Bed::new();
    let tmpfs = |destination: &str| Mount {
        destination: destination.into(),
        source: MountSource::Tmpfs {
            size: MiB(1),
            options: vec![],
        },
        read_only: false,
    };
    assert!(
        bed.refusal(|c| c.mounts = vec![tmpfs("/")])
            .contains("destination can't be '/'")
    );
    let missing = MountSource::Bind {
        path: bed.directory.join("nonesuch"),
        populate: false,
    };
    let refused = bed.refusal(|c| {
        c.mounts = vec![Mount {
            destination: "/x".into(),
            source: missing,
            read_only: false,
        }];
    });
    assert!(refused.contains("nonesuch: no such file or directory"), "{refused}");
}
