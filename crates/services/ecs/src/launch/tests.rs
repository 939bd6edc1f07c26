use super::*;
use crate::launch::overrides::{admit, is_fargate_pair, parse_cpu, parse_memory};
use serde_json::json;

fn definition(value: serde_json::Value) -> api::TaskDefinition {
    serde_json::from_value(value).unwrap()
}

fn two_containers() -> api::TaskDefinition {
    definition(json!({
        "cpu": "512", "memory": "1024",
        "containerDefinitions": [
            { "name": "app", "image": "a", "cpu": 256, "memory": 312, "memoryReservation": 256 },
            { "name": "log", "image": "b", "memory": 128 },
        ],
    }))
}

#[test]
fn overrides_change_sizes_and_what_does_not_fit_is_refused() {
    let d = two_containers();
    let sizes = |o| admit(&d, &serde_json::from_value(o).unwrap(), false);
    let plain = sizes(json!({})).unwrap();
    assert_eq!((plain.reserved_cpu, plain.reserved_memory), (512, 1024));
    assert_eq!(plain.ephemeral_storage_gib, 20);
    let bigger = sizes(json!({
        "cpu": "1 vCPU", "memory": "2GB",
        "containerOverrides": [{ "name": "app", "cpu": 600, "memory": 1500 }],
    }))
    .unwrap();
    assert_eq!((bigger.task_cpu, bigger.task_memory), (Some(1024), Some(2048)));
    assert_eq!(
        (bigger.containers[0].cpu, bigger.containers[0].memory),
        (600, Some(1500))
    );
    assert_eq!(bigger.containers[1].memory, Some(128));

    for (refused, says) in [
        (
            json!({ "containerOverrides": [{ "name": "web" }] }),
            "web is not a container in the TaskDefinition",
        ),
        (
            json!({ "containerOverrides": [{ "cpu": 1 }] }),
            "name must be specified",
        ),
        (
            json!({ "containerOverrides": [{ "name": "app" }, { "name": "app" }] }),
            "Duplicate container override",
        ),
        (
            json!({ "containerOverrides": [{ "name": "app", "memory": 3 }] }),
            "The minimum is 4",
        ),
        (
            json!({ "containerOverrides": [{ "name": "app", "memory": 100 }] }),
            "less than the memoryReservation",
        ),
        (
            json!({ "containerOverrides": [{ "name": "app", "memory": 5000 }] }),
            "memory of the task",
        ),
        (
            json!({ "containerOverrides": [{ "name": "app", "cpu": 5000 }] }),
            "sum of all container cpu",
        ),
        (
            json!({ "containerOverrides": [{ "name": "app", "environment": [{ "value": "x" }] }] }),
            "Environment variable name",
        ),
        (
            json!({ "containerOverrides": [{ "name": "app", "environmentFiles": [{ "type": "s3", "value": "x" }] }] }),
            "environmentFiles",
        ),
        (
            json!({ "containerOverrides": [{ "name": "app", "resourceRequirements": [{ "type": "GPU", "value": "1" }] }] }),
            "resourceRequirements",
        ),
        (
            json!({ "inferenceAcceleratorOverrides": [{ "deviceName": "x" }] }),
            "inferenceAcceleratorOverrides",
        ),
        (json!({ "cpu": "much" }), "Invalid 'cpu' setting"),
        (
            json!({ "ephemeralStorage": { "sizeInGiB": 30 } }),
            "only supported for tasks hosted on Fargate",
        ),
        (json!({ "taskRoleArn": "arn:aws:iam::12:role/x" }), "taskRoleArn"),
        (
            json!({ "containerOverrides": [{ "name": "app", "environment": [{ "name": "A", "value": "x".repeat(8200) }] }] }),
            "Container Overrides length must be at most 8192",
        ),
    ] {
        let error = sizes(refused.clone()).unwrap_err();
        assert!(error.message.contains(says), "{refused}: {error}");
        assert!(error.is_client_fault());
    }
}

#[test]
fn fargate_overrides_keep_to_its_configurations() {
    let d = two_containers();
    let sizes = |o| admit(&d, &serde_json::from_value(o).unwrap(), true);
    assert_eq!(
        sizes(json!({ "ephemeralStorage": { "sizeInGiB": 100 } }))
            .unwrap()
            .ephemeral_storage_gib,
        100
    );
    assert!(sizes(json!({ "ephemeralStorage": { "sizeInGiB": 20 } })).is_err());
    assert!(sizes(json!({ "memory": "4096" })).is_ok());
    assert!(
        sizes(json!({ "memory": "8192" }))
            .unwrap_err()
            .message
            .contains("No Fargate configuration exists")
    );
    assert!(is_fargate_pair(16384, 122_880) && !is_fargate_pair(16384, 122_881) && !is_fargate_pair(128, 512));
}

#[test]
fn sizes_read_as_aws_reads_them() {
    for (text, want) in [
        ("256", Some(256)),
        (".25 vCPU", Some(256)),
        ("2vcpu", Some(2048)),
        ("0", None),
        ("x", None),
    ] {
        assert_eq!(parse_cpu(text), want, "{text}");
    }
    for (text, want) in [
        ("512", Some(512)),
        ("1GB", Some(1024)),
        ("0.5 gb", Some(512)),
        ("-1", None),
        ("1TB", None),
    ] {
        assert_eq!(parse_memory(text), want, "{text}");
    }
}

#[test]
fn providers_are_chosen_by_base_then_weight() {
    let items: Vec<api::CapacityProviderStrategyItem> = serde_json::from_value(json!([
        { "capacityProvider": "FARGATE", "base": 2, "weight": 1 },
        { "capacityProvider": "FARGATE_SPOT", "weight": 3 },
    ]))
    .unwrap();
    let mut counts = BTreeMap::new();
    let mut order = Vec::new();
    for _ in 0..10 {
        let next = next_provider(&items, &counts);
        *counts.entry(next.clone()).or_default() += 1;
        order.push(next);
    }
    assert_eq!(&order[..2], ["FARGATE", "FARGATE"]);
    assert_eq!(
        counts["FARGATE"], 4,
        "two of base and one in four of the rest: {order:?}"
    );
    assert_eq!(counts["FARGATE_SPOT"], 6);
    let lone: Vec<api::CapacityProviderStrategyItem> =
        serde_json::from_value(json!([{ "capacityProvider": "FARGATE_SPOT" }])).unwrap();
    assert_eq!(next_provider(&lone, &BTreeMap::new()), "FARGATE_SPOT");
}

#[test]
fn host_ports_are_those_of_the_machine_only() {
    let d = definition(json!({ "containerDefinitions": [{ "name": "a", "portMappings": [
        { "containerPort": 80, "hostPort": 8080 },
        { "containerPort": 81 },
        { "containerPort": 53, "hostPort": 53, "protocol": "udp" },
        { "containerPortRange": "100-110" },
    ] }] }));
    let show = |mode: &str| {
        host_ports(&d, mode)
            .iter()
            .map(|p| format!("{:?} {}-{}", p.transport, p.first, p.last))
            .collect::<Vec<_>>()
    };
    assert_eq!(show("awsvpc"), Vec::<String>::new());
    assert_eq!(show("bridge"), ["Udp 53-53", "Tcp 8080-8080"]);
    assert_eq!(show("host"), ["Udp 53-53", "Tcp 81-81", "Tcp 100-110", "Tcp 8080-8080"]);
}
