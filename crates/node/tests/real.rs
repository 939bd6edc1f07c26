//! Tasks on a node of this machine, as their users see them. Needs root and a static busybox.

mod support;

use neargate_link::{
    Condition, Dependency, Health, HealthCheck, LaunchType, LogSpec, MountPoint, NamespaceMode, NetworkSpec, Phase,
    PortMapping, TaskSpec, Tmpfs, Transport, Ulimit, VolumeFrom, VolumeSpec,
};
use neargate_node::teardown;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use support::machine::{Machine, SmallDisk, get, get_soon, possible};
use support::{container, id, source};

#[test]
fn a_container_sees_what_its_definition_says_and_its_log_arrives_whole() {
    if !possible() {
        return;
    }
    let m = Machine::start(1);
    let script = "hostname; echo $FROM_IMAGE $AWS_EXECUTION_ENV $COLOR; cat /etc/hosts | grep ip-; \
                  cat /etc/resolv.conf; id -u; echo err >&2; exit 7";
    let mut spec = m.task(1, script);
    spec.containers[0].environment = vec![("COLOR".into(), "blue".into())];
    spec.containers[0].user = Some("app".into());
    m.want(&spec);
    let stopped = m.phase(1, Phase::Stopped);
    assert_eq!(stopped.containers[0].exit_code, Some(7), "{stopped:?}");
    assert_eq!(stopped.stop_code.as_deref(), Some("EssentialContainerExited"));
    assert!(stopped.started_at.is_some());
    let name = "ip-10-253-1-11.ec2.internal";
    m.message(1, "app", |m| m == "err");
    let hosts = format!("10.253.1.11\t{name} ip-10-253-1-11");
    let messages = m.control().heard(|h| h.stored[&source(1, "app")].1.clone());
    let expected = [
        name,
        "yes AWS_ECS_FARGATE blue",
        &hosts,
        "nameserver 10.253.1.2",
        "search ec2.internal",
        "1000",
        "err",
    ];
    assert_eq!(messages, expected);
}

#[test]
fn a_server_is_reached_at_its_address_and_outlives_the_node_untouched() {
    if !possible() {
        return;
    }
    let mut m = Machine::start(2);
    let spec = m.task(1, "httpd -p 80 -h /www; echo up; exec sleep 1000");
    m.want(&spec);
    m.phase(1, Phase::Running);
    let address: SocketAddr = "10.253.2.11:80".parse().unwrap();
    assert!(get_soon(address).contains("hello from busybox"));
    let before = m.shim_state(1);

    m.stop_node();
    assert!(
        get(address)
            .expect("served while the node is away")
            .contains("hello from busybox")
    );
    m.start_node();
    let again = m.control().wait("the report again", |h| {
        (h.phases.len() >= 2 && h.connections == 2).then_some(())
    });
    m.runtime.block_on(again);
    assert_eq!(
        m.shim_state(1).containers,
        before.containers,
        "the same process, started once"
    );
    assert!(get(address).is_some());

    m.stop(&spec);
    let stopped = m.phase(1, Phase::Stopped);
    assert_eq!(
        stopped.containers[0].exit_code,
        Some(137),
        "sleep ignores SIGTERM as pid 1: {stopped:?}"
    );
    assert!(get(address).is_none());
}

#[test]
fn rules_bind_a_task_from_its_start_and_change_while_it_runs() {
    if !possible() {
        return;
    }
    let m = Machine::start(77);
    let serve = "httpd -p 80 -h /www; echo up; exec sleep 1000";
    m.want(&m.task(1, serve));
    let mut closed = m.task(2, serve);
    if let NetworkSpec::Awsvpc(interface) = &mut closed.network {
        interface.groups = vec!["sg-unknown".into()];
    }
    m.want(&closed);
    m.phase(1, Phase::Running);
    m.phase(2, Phase::Running);
    let open: SocketAddr = "10.253.77.11:80".parse().unwrap();
    assert!(get_soon(open).contains("hello from busybox"));
    m.message(2, "app", |m| m == "up");
    assert!(
        get("10.253.77.12:80".parse().unwrap()).is_none(),
        "a group that nobody knows admits nothing"
    );

    let told = m
        .control()
        .tell_network(Vec::new(), vec![format!("group/{}", support::OPEN)]);
    let generation = m.runtime.block_on(told);
    let enforced = m.control().wait("the change is enforced", |h| {
        h.network_applied.contains(&generation).then_some(())
    });
    m.runtime.block_on(enforced);
    assert!(get(open).is_none(), "it holds for the task that runs");
}

#[test]
fn a_container_beyond_its_memory_is_told_as_ecs_tells_it() {
    if !possible() {
        return;
    }
    let m = Machine::start(3);
    let mut spec = m.task(1, "");
    spec.containers[0].command = Some(
        ["dd", "if=/dev/zero", "of=/dev/null", "bs=200M"]
            .map(String::from)
            .to_vec(),
    );
    spec.containers[0].memory = Some(neargate_core::MiB(16));
    m.want(&spec);
    let stopped = m.phase(1, Phase::Stopped);
    assert_eq!(stopped.containers[0].exit_code, Some(137), "{stopped:?}");
    let reason = "OutOfMemoryError: Container killed due to memory usage";
    assert_eq!(stopped.containers[0].reason.as_deref(), Some(reason));
}

#[test]
fn health_checks_run_inside_and_order_the_start() {
    if !possible() {
        return;
    }
    let m = Machine::start(4);
    let mut spec = m.task(1, "exec sleep 1000");
    spec.containers[0].depends_on = vec![Dependency {
        container: "db".into(),
        condition: Condition::Healthy,
    }];
    let mut db = container("db", &["sh", "-c", "touch /tmp/ready; exec sleep 1000"]);
    db.health_check = Some(HealthCheck {
        command: vec!["CMD-SHELL".into(), "test -f /tmp/ready".into()],
        interval: 1,
        timeout: 2,
        retries: 2,
        start_period: 0,
    });
    spec.containers.push(db);
    m.want(&spec);
    let running = m.phase(1, Phase::Running);
    assert_eq!(running.containers[1].health, Health::Healthy);
}

#[test]
fn bridge_mode_publishes_ports_and_links_containers() {
    if !possible() {
        return;
    }
    let m = Machine::start(5);
    let mut spec = m.task(1, "httpd -p 80 -h /www; exec sleep 1000");
    spec.launch_type = LaunchType::Ec2;
    spec.network = NetworkSpec::Bridge;
    spec.containers[0].port_mappings = vec![PortMapping {
        container_port: 80,
        container_port_end: 80,
        host_port: 0,
        transport: Transport::Tcp,
    }];
    let mut client = container(
        "client",
        &[
            "sh",
            "-c",
            "wget -q -O - http://server/; echo $SERVER_NAME; exec sleep 1000",
        ],
    );
    client.links = vec!["app:server".into()];
    client.depends_on = vec![Dependency {
        container: "app".into(),
        condition: Condition::Healthy,
    }];
    spec.containers[0].health_check = Some(HealthCheck {
        command: vec![
            "CMD".into(),
            "wget".into(),
            "-q".into(),
            "-O".into(),
            "/dev/null".into(),
            "http://127.0.0.1/".into(),
        ],
        interval: 1,
        timeout: 2,
        retries: 3,
        start_period: 0,
    });
    spec.containers.push(client);
    m.want(&spec);
    let running = m.phase(1, Phase::Running);
    let binding = &running.containers[0].network_bindings[0];
    assert_eq!(binding.container_port, 80);
    assert!((32768..=60999).contains(&binding.host_port));
    let local = SocketAddr::from((Ipv4Addr::LOCALHOST, binding.host_port));
    assert!(get_soon(local).contains("hello from busybox"));
    m.logged(1, "client", &["hello from busybox", "/client/server"]);
}

#[test]
fn volumes_are_shared_and_the_root_can_be_read_only() {
    if !possible() {
        return;
    }
    let m = Machine::start(6);
    let mut spec = m.task(
        1,
        "cat /data/word; cat /copy/word; touch /x 2>&1 || echo readonly; exit 0",
    );
    spec.volumes = vec![VolumeSpec {
        name: "data".into(),
        host_path: None,
    }];
    let mount = |path: &str| MountPoint {
        volume: "data".into(),
        container_path: path.into(),
        read_only: false,
    };
    spec.containers[0].mounts = vec![mount("/data")];
    spec.containers[0].readonly_root_filesystem = true;
    spec.containers[0].volumes_from = vec![VolumeFrom {
        container: "writer".into(),
        read_only: true,
    }];
    spec.containers[0].depends_on = vec![Dependency {
        container: "writer".into(),
        condition: Condition::Success,
    }];
    let mut writer = container("writer", &["sh", "-c", "echo shared > /copy/word"]);
    writer.essential = false;
    writer.mounts = vec![mount("/copy")];
    writer.log = LogSpec::JsonFile;
    spec.containers.push(writer);
    m.want(&spec);
    let stopped = m.phase(1, Phase::Stopped);
    assert_eq!(stopped.containers[0].exit_code, Some(0), "{stopped:?}");
    m.message(1, "app", |m| m == "readonly");
    let messages = m.control().heard(|h| h.stored[&source(1, "app")].1.clone());
    assert_eq!(messages[..2], ["shared", "shared"]);
    let kept = m
        .config
        .data_dir
        .join(format!("logs/containers/default_web_{}/writer/0.log", id(1)));
    assert!(kept.exists());
}

#[test]
fn a_killed_shim_takes_its_task_along_and_nothing_is_left() {
    if !possible() {
        return;
    }
    let m = Machine::start(7);
    m.want(&m.task(1, "exec sleep 1000"));
    m.phase(1, Phase::Running);
    let shim = rustix::process::Pid::from_raw(m.shim_state(1).shim.pid).unwrap();
    rustix::process::kill_process(shim, rustix::process::Signal::KILL).unwrap();
    let stopped = m.phase(1, Phase::Stopped);
    assert_eq!(stopped.containers[0].exit_code, Some(137));
    assert!(
        stopped.containers[0]
            .reason
            .as_deref()
            .unwrap()
            .starts_with("ContainerRuntimeError")
    );
}

#[test]
fn what_down_stopped_is_told_at_the_next_start_and_not_run_again() {
    if !possible() {
        return;
    }
    let mut m = Machine::start(8);
    m.want(&m.task(1, "exec sleep 1000"));
    m.phase(1, Phase::Running);
    m.stop_node();
    m.runtime.block_on(teardown(&m.config, Duration::ZERO)).unwrap();
    m.start_node();
    let stopped = m.phase(1, Phase::Stopped);
    assert_eq!(stopped.stopped_reason.as_deref(), Some("Stopped by neargate down"));
    assert_eq!(stopped.containers[0].exit_code, Some(137));
}

#[test]
fn many_tasks_come_and_go() {
    if !possible() {
        return;
    }
    let m = Machine::start(9);
    let began = std::time::Instant::now();
    let specs: Vec<TaskSpec> = (0..50).map(|n| m.task(n, "echo done")).collect();
    for spec in &specs {
        m.want(spec);
    }
    for n in 0..50 {
        let stopped = m.phase(n, Phase::Stopped);
        assert_eq!(stopped.containers[0].exit_code, Some(0), "{stopped:?}");
        m.logged(n, "app", &["done"]);
    }
    eprintln!("50 tasks started and stopped in {:?}", began.elapsed());
}

#[test]
fn a_loud_container_is_bounded_and_its_last_lines_arrive() {
    if !possible() {
        return;
    }
    let m = Machine::start(10);
    m.want(&m.task(1, "seq 1 200000"));
    let stopped = m.phase(1, Phase::Stopped);
    assert_eq!(stopped.containers[0].exit_code, Some(0));
    m.message(1, "app", |m| m == "200000");
    let messages = m.control().heard(|h| h.stored[&source(1, "app")].1.clone());
    assert_eq!(
        messages.len(),
        200_000,
        "nothing was rotated away, so nothing is missing"
    );
}

#[test]
fn a_node_killed_at_any_moment_runs_everything_once() {
    if !possible() {
        return;
    }
    const TASKS: u8 = 12;
    let mut m = Machine::start(12);
    m.stop_node();
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    for round in 0..30 {
        if round < TASKS {
            m.want(&m.task(round, "echo start; sleep 0.2; echo end; exit 5"));
        }
        let node = m.node_process();
        std::thread::sleep(Duration::from_millis(5 + next(70)));
        drop(node);
    }
    m.start_node();
    for n in 0..TASKS {
        let stopped = m.phase(n, Phase::Stopped);
        assert_eq!(stopped.containers[0].exit_code, Some(5), "{stopped:#?}");
        m.logged(n, "app", &["start", "end"]);
    }
}

#[test]
fn a_definitions_linux_settings_hold_inside() {
    if !possible() {
        return;
    }
    let m = Machine::start(14);
    let script = "ps -o args | grep -c [s]leep; ulimit -n; cat /proc/sys/net/ipv4/tcp_keepalive_time; \
                  grep -c ' /scratch tmpfs' /proc/mounts; cat /dev/shm/word; cat /proc/1/comm; exit 0";
    let mut spec = m.task(1, script);
    spec.launch_type = LaunchType::Ec2;
    spec.pid_mode = NamespaceMode::Task;
    spec.ipc_mode = NamespaceMode::Task;
    let c = &mut spec.containers[0];
    c.ulimits = vec![Ulimit {
        name: "nofile".into(),
        soft: 1234,
        hard: 2345,
    }];
    c.system_controls = vec![("net.ipv4.tcp_keepalive_time".into(), "4321".into())];
    c.linux.tmpfs = vec![Tmpfs {
        container_path: "/scratch".into(),
        size: neargate_core::MiB(8),
        mount_options: vec!["noexec".into()],
    }];
    c.depends_on = vec![Dependency {
        container: "side".into(),
        condition: Condition::Healthy,
    }];
    let mut side = container("side", &["sh", "-c", "echo shared > /dev/shm/word; exec sleep 1000"]);
    side.health_check = Some(HealthCheck {
        command: vec!["CMD".into(), "test".into(), "-f".into(), "/dev/shm/word".into()],
        interval: 1,
        timeout: 2,
        retries: 3,
        start_period: 0,
    });
    spec.containers.push(side);
    m.want(&spec);
    let stopped = m.phase(1, Phase::Stopped);
    assert_eq!(stopped.containers[0].exit_code, Some(0), "{stopped:?}");
    m.message(1, "app", |m| m == "shared");
    let messages = m.control().heard(|h| h.stored[&source(1, "app")].1.clone());
    assert_eq!(messages[..5], ["1", "1234", "4321", "1", "shared"], "{messages:?}");
}

#[test]
fn a_host_port_that_is_taken_is_told_and_a_published_one_outlives_the_node() {
    if !possible() {
        return;
    }
    let mut m = Machine::start(15);
    let bridged = |n: u8, host_port: u16| {
        let mut spec = m.task(n, "httpd -p 80 -h /www; exec sleep 1000");
        spec.launch_type = LaunchType::Ec2;
        spec.network = NetworkSpec::Bridge;
        spec.containers[0].port_mappings = vec![PortMapping {
            container_port: 80,
            container_port_end: 80,
            host_port,
            transport: Transport::Tcp,
        }];
        spec
    };
    m.want(&bridged(1, 0));
    let running = m.phase(1, Phase::Running);
    let port = running.containers[0].network_bindings[0].host_port;
    let second = bridged(2, port);
    m.want(&second);
    let stopped = m.phase(2, Phase::Stopped);
    assert_eq!(stopped.stop_code.as_deref(), Some("TaskFailedToStart"));
    let reason = stopped.stopped_reason.unwrap();
    assert!(
        reason.starts_with("CannotStartContainerError") && reason.contains(&port.to_string()),
        "{reason}"
    );
    assert_eq!(stopped.containers[0].reason.as_ref(), Some(&reason));

    let local = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    assert!(get_soon(local).contains("hello from busybox"));
    m.stop_node();
    m.start_node();
    let third = m.task(3, "exec sleep 1000");
    m.want(&third);
    m.phase(3, Phase::Running);
    assert!(
        get_soon(local).contains("hello from busybox"),
        "published again by the next node"
    );
}

#[test]
fn a_full_disk_is_told_and_harms_nobody_else() {
    if !possible() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(&dir.path().join("small"), "48m");
    let mut m = Machine::start_in(18, &disk.0, 2 << 20);
    m.want(&m.task(1, "echo before; exec sleep 1000"));
    m.phase(1, Phase::Running);
    let greedy = m.task(
        2,
        "dd if=/dev/zero of=/big bs=1M count=100 2>&1; echo full; exec sleep 1000",
    );
    m.want(&greedy);
    // The container's own file system is the one that is full: it is told as any program would be.
    m.runtime.block_on(m.control().phase(&id(2), Phase::Running));
    let started = std::time::Instant::now();
    let refused = loop {
        let n = 3 + u8::try_from(started.elapsed().as_millis() / 200).unwrap();
        m.want(&m.task(n, "true"));
        let stopped = m.phase(n, Phase::Stopped);
        if stopped.containers[0].exit_code.is_none() {
            break stopped;
        }
        std::thread::sleep(Duration::from_millis(200));
    };
    let reason = refused.stopped_reason.unwrap();
    assert!(
        reason.contains("ResourceInitializationError") || reason.contains("space"),
        "{reason}"
    );
    assert_eq!(
        m.control().heard(|h| h.reports[&id(1)].phase),
        Phase::Running,
        "the other task is not touched"
    );

    m.stop(&greedy);
    m.phase(2, Phase::Stopped);
    m.runtime.block_on(m.control().unwant(&id(2)));
    // Its files go a moment after its last report.
    let runs_again = (200..230).any(|n| {
        m.want(&m.task(n, "echo again"));
        let stopped = m.phase(n, Phase::Stopped);
        let ran = stopped.containers[0].exit_code == Some(0);
        if !ran {
            std::thread::sleep(Duration::from_millis(100));
        }
        ran
    });
    assert!(runs_again, "there is room again");
    m.stop_node();
    drop(m);
    drop(disk);
}

#[test]
fn an_image_that_is_nowhere_fails_the_task_at_once() {
    if !possible() {
        return;
    }
    let m = Machine::start(16);
    let mut spec = m.task(1, "true");
    spec.containers[0].image = "127.0.0.1:1/nothing:here".into();
    m.want(&spec);
    let stopped = m.phase(1, Phase::Stopped);
    assert_eq!(stopped.stop_code.as_deref(), Some("TaskFailedToStart"));
    assert!(
        stopped
            .stopped_reason
            .as_deref()
            .unwrap()
            .starts_with("CannotPullContainerError"),
        "{stopped:?}"
    );
}

#[test]
fn a_program_that_is_not_there_fails_the_task_by_name() {
    if !possible() {
        return;
    }
    let m = Machine::start(17);
    let mut spec = m.task(1, "true");
    spec.containers[0].command = Some(vec!["/no/such/program".into()]);
    m.want(&spec);
    let stopped = m.phase(1, Phase::Stopped);
    assert_eq!(stopped.stop_code.as_deref(), Some("TaskFailedToStart"));
    let reason = stopped.containers[0].reason.as_deref().unwrap();
    assert!(
        reason.contains("Error: ") && reason.contains("/no/such/program"),
        "{reason}"
    );
}
