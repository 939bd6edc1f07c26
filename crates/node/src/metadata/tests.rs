use super::document::{self, Around};
use super::stats::{self, Machine, Sample};
use super::*;
use crate::plan::observed::Event;
use crate::testing;
use neargate_core::{MiB, Timestamp};
use neargate_link::{AwslogsSpec, LaunchType, LogSpec};
use neargate_netns::{Carried, Counters};
use neargate_runtime::{BlockIo, Usage};
use serde_json::json;

const OWN: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 10);
const OTHER: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 11);
const RESOLVER: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 2);

fn spec() -> TaskSpec {
    let mut spec = testing::task("app side?");
    spec.service = Some("web".to_owned());
    spec.availability_zone = Some("us-east-1a".to_owned());
    spec.tags = [("team".to_owned(), "blue".to_owned())].into();
    spec.containers[0].log = LogSpec::Awslogs(AwslogsSpec {
        region: "us-east-1".to_owned(),
        group: "/web".to_owned(),
        stream: "ecs/app/0123".to_owned(),
        ..AwslogsSpec::default()
    });
    spec
}

fn running(spec: &TaskSpec, address: Option<Ipv4Addr>) -> Known {
    let mut observed = Observed::new(spec);
    for network in 0..observed.networks.len() {
        let ready = Event::NetworkReady {
            network,
            address,
            bindings: Vec::new(),
        };
        observed.apply(spec, &ready, Timestamp(1000));
    }
    for container in 0..spec.containers.len() {
        let started = Event::Started {
            container,
            runtime_id: runtime_id(spec, container),
        };
        observed.apply(spec, &Event::Starting { container }, Timestamp(1900));
        observed.apply(spec, &started, Timestamp(2000));
    }
    Known {
        spec: Arc::new(spec.clone()),
        observed,
    }
}

/// A registry with a task that runs.
fn registered() -> (Registry, Known) {
    let registry = Registry::default();
    let known = running(&spec(), Some(OWN));
    registry.observe(&known.spec, &known.observed);
    (registry, known)
}

fn around() -> Around {
    Around {
        resolver: Ipv4Addr::new(172, 31, 0, 2),
        at: Timestamp(5000),
        error_bound_millis: Some(0.5),
        storage_used: Some(MiB(12)),
    }
}

#[test]
fn containers_are_told_where_to_ask() {
    let mut spec = spec();
    let id = runtime_id(&spec, 0);
    let tokens = Tokens::default();
    let told = |spec: &TaskSpec| variables(spec, 0, RESOLVER, &tokens);
    assert_eq!(
        told(&spec),
        [
            (
                "ECS_CONTAINER_METADATA_URI".to_owned(),
                format!("http://169.254.170.2/v3/{id}")
            ),
            (
                "ECS_CONTAINER_METADATA_URI_V4".to_owned(),
                format!("http://169.254.170.2/v4/{id}")
            ),
            (
                "ECS_AGENT_URI".to_owned(),
                format!("http://169.254.170.2/api/{}", tokens.of(&id))
            ),
        ]
    );
    spec.network = NetworkSpec::Host;
    assert!(told(&spec)[1].1.starts_with("http://172.31.0.2:51679/v4/"));
    assert!(told(&spec)[2].1.starts_with("http://172.31.0.2:51679/api/"));
    spec.network = NetworkSpec::None;
    assert_eq!(told(&spec), []);
}

#[test]
fn a_task_is_told_of_itself_alone() {
    let (registry, known) = registered();
    let id = runtime_id(&known.spec, 1);
    assert_eq!(registry.container(&id, OWN).map(|found| found.container), Some(1));
    assert!(registry.container(&id, OTHER).is_none());
    assert!(registry.container("unknown", OWN).is_none());
    assert!(registry.task_at(OWN).is_some() && registry.task_at(OTHER).is_none());
    registry.forget(&known.spec.id);
    assert!(registry.container(&id, OWN).is_none());
}

#[test]
fn tasks_on_the_machines_network_are_not_told_to_those_that_have_their_own() {
    let (registry, _) = registered();
    let mut host = spec();
    host.network = NetworkSpec::Host;
    host.id = "f".repeat(32);
    host.arn = host.arn.replace("0123456789abcdef0123456789abcdef", &host.id);
    let host = running(&host, None);
    registry.observe(&host.spec, &host.observed);
    let mut beside = TaskSpec::clone(&host.spec);
    beside.id = "e".repeat(32);
    beside.arn = beside.arn.replace('f', "e");
    let beside = running(&beside, None);
    registry.observe(&beside.spec, &beside.observed);
    let id = runtime_id(&host.spec, 0);
    assert!(registry.container(&id, RESOLVER).is_some());
    assert!(registry.container(&id, OWN).is_none());
    // They have one address between them: only the token tells who acts.
    let acts = |known: &Known, peer| {
        let token = registry.tokens.of(&runtime_id(&known.spec, 0));
        registry.acting(&token, peer).map(|spec| spec.id.clone())
    };
    assert_eq!(acts(&host, RESOLVER), Some(host.spec.id.clone()));
    assert_eq!(acts(&beside, RESOLVER), Some(beside.spec.id.clone()));
    assert_eq!(acts(&host, OWN), None);
    assert!(registry.acting(&id, RESOLVER).is_none());
}

#[test]
fn a_task_acts_for_itself_alone_whoevers_token_it_has() {
    let (registry, known) = registered();
    let id = runtime_id(&known.spec, 1);
    let token = registry.tokens.of(&id);
    assert_eq!(registry.acting(&token, OWN).unwrap().id, known.spec.id);
    assert!(registry.acting(&token, OTHER).is_none());
    assert!(registry.acting(&id, OWN).is_none(), "what others see is no token");
    assert!(registry.acting(&Tokens::default().of(&id), OWN).is_none());
}

#[test]
fn tags_follow_what_control_says() {
    let (registry, known) = registered();
    let mut retagged = spec();
    retagged.tags = [("team".to_owned(), "red".to_owned())].into();
    registry.respecify(&Arc::new(retagged));
    registry.observe(&known.spec, &known.observed);
    let found = registry.container(&runtime_id(&known.spec, 0), OWN).unwrap();
    let with = document::task(&found.task, Version::V4, &around(), true);
    assert_eq!(with["TaskTags"], json!({ "team": "red" }));
    let without = document::task(&found.task, Version::V4, &around(), false);
    assert!(without.get("TaskTags").is_none());
}

#[test]
fn version_4_says_what_ecs_says() {
    let known = running(&spec(), Some(OWN));
    let task = document::task(&known, Version::V4, &around(), false);
    let said = |name: &str| task[name].clone();
    assert_eq!(said("Cluster"), "arn:aws:ecs:us-east-1:000000000000:cluster/default");
    assert_eq!(said("TaskARN"), known.spec.arn.as_str());
    assert_eq!((said("Family"), said("Revision")), (json!("web"), json!("1")));
    assert_eq!(
        (said("ServiceName"), said("LaunchType")),
        (json!("web"), json!("FARGATE"))
    );
    assert_eq!(
        (said("DesiredStatus"), said("KnownStatus")),
        (json!("RUNNING"), json!("RUNNING"))
    );
    assert_eq!(
        (said("AvailabilityZone"), said("VPCID")),
        (json!("us-east-1a"), json!("vpc-1"))
    );
    assert_eq!(said("ClockDrift")["ClockErrorBound"], 0.5);
    let container = &task["Containers"][0];
    assert_eq!(container["DockerId"], runtime_id(&known.spec, 0));
    assert_eq!(container["StartedAt"], "1970-01-01T00:00:02.000Z");
    assert_eq!(container["LogOptions"]["awslogs-group"], "/web");
    assert_eq!(container["Labels"]["com.amazonaws.ecs.container-name"], "app");
    assert_eq!(
        container["ContainerARN"],
        "arn:aws:ecs:us-east-1:000000000000:container/default/0123456789abcdef0123456789abcdef/id-of-app"
    );
    assert_eq!(
        container["Networks"],
        json!([{
            "NetworkMode": "awsvpc",
            "IPv4Addresses": ["172.31.0.10"],
            "AttachmentIndex": 0,
            "MACAddress": "0a:00:00:00:00:0a",
            "IPv4SubnetCIDRBlock": "172.31.0.0/20",
            "DomainNameServers": ["172.31.0.2"],
            "DomainNameSearchList": ["ec2.internal"],
            "PrivateDNSName": "ip-172-31-0-10.ec2.internal",
            "SubnetGatewayIpv4Address": "172.31.0.1/20",
        }])
    );
    // Older programs get what they know.
    let older = document::container(&known, 0, Version::V3, &around());
    assert_eq!(
        older["Networks"],
        json!([{ "NetworkMode": "awsvpc", "IPv4Addresses": ["172.31.0.10"] }])
    );
    assert!(older.get("ContainerARN").is_none());
}

#[test]
fn fargate_tasks_are_told_of_their_storage() {
    let told = |gib, launch_type, version, around: &Around| {
        let mut spec = spec();
        spec.ephemeral_storage_gib = gib;
        spec.launch_type = launch_type;
        document::task(&running(&spec, Some(OWN)), version, around, false)["EphemeralStorageMetrics"].clone()
    };
    let fargate = |gib| told(Some(gib), LaunchType::Fargate, Version::V4, &around());
    assert_eq!(fargate(20), json!({ "Utilized": 12, "Reserved": 20_496 }));
    assert_eq!(fargate(21), json!({ "Utilized": 12, "Reserved": 21_504 }));
    let unknown = Around {
        storage_used: None,
        ..around()
    };
    assert_eq!(told(Some(20), LaunchType::Fargate, Version::V4, &unknown), json!(null));
    assert_eq!(told(Some(20), LaunchType::Fargate, Version::V3, &around()), json!(null));
    assert_eq!(told(None, LaunchType::Ec2, Version::V4, &around()), json!(null));
}

#[test]
fn a_task_that_starts_is_as_far_as_its_slowest_container() {
    let spec = spec();
    let mut known = Known {
        observed: Observed::new(&spec),
        spec: Arc::new(spec.clone()),
    };
    let status = |known: &Known| document::task(known, Version::V4, &around(), false)["KnownStatus"].clone();
    assert_eq!(status(&known), "NONE");
    for container in 0..2 {
        let ready = Event::ImageReady {
            container,
            digest: "sha256:0".to_owned(),
            stop_signal: None,
        };
        known.observed.apply(&spec, &ready, Timestamp(1));
    }
    assert_eq!(status(&known), "PULLED");
    known
        .observed
        .apply(&spec, &Event::Prepared { container: 0 }, Timestamp(1));
    assert_eq!(status(&known), "PULLED");
}

#[test]
fn statistics_have_dockers_form() {
    let sample = |at, cpu, bytes| Sample {
        at: Timestamp(at),
        usage: Usage {
            cpu,
            memory: 4096,
            pids: 2,
            block_io: vec![BlockIo {
                major: 8,
                minor: 16,
                operation: "Write".to_owned(),
                bytes,
            }],
            ..Usage::default()
        },
        machine_cpu: 10 * cpu,
        network: Some(Counters {
            received: Carried {
                bytes,
                ..Carried::default()
            },
            sent: Carried::default(),
        }),
    };
    let machine = Machine {
        cpus: 2,
        memory: 1 << 30,
    };
    let (before, now) = (sample(1000, 100, 50), sample(3000, 300, 150));
    let first = stats::document("id", "app", &before, None, machine);
    assert_eq!(first["precpu_stats"]["cpu_usage"]["total_usage"], 0);
    assert!(first.get("network_rate_stats").is_none());
    let second = stats::document("id", "app", &now, Some(&before), machine);
    assert_eq!(second["cpu_stats"]["cpu_usage"]["total_usage"], 300);
    assert_eq!(second["precpu_stats"]["system_cpu_usage"], 1000);
    assert_eq!(second["memory_stats"]["limit"], 1 << 30);
    assert_eq!(second["networks"]["eth0"]["rx_bytes"], 150);
    assert_eq!(second["network_rate_stats"]["rx_bytes_per_sec"], 50.0);
    assert_eq!(
        second["blkio_stats"]["io_service_bytes_recursive"],
        json!([{ "major": 8, "minor": 16, "op": "Write", "value": 150 }])
    );
    assert_eq!(second["blkio_stats"]["io_serviced_recursive"], json!([]));
}

#[test]
fn the_machine_is_read_from_proc() {
    assert_eq!(
        stats::machine_cpu("cpu  1 2 3 4 5 6 7 8 100 100\ncpu0 1", 100),
        36 * 10_000_000
    );
    assert_eq!(
        stats::machine_memory("MemTotal:       1024 kB\nMemFree: 1 kB\n"),
        1 << 20
    );
    assert_eq!((stats::machine_cpu("", 100), stats::machine_memory("")), (0, 0));
}
