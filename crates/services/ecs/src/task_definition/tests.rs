//! Rules as scenarios, and the normal form as properties.

use super::*;
use serde_json::{Value, json};

/// The smallest definition for machines of one's own.
fn ec2() -> Value {
    json!({
        "family": "web",
        "containerDefinitions": [{"name": "app", "image": "nginx:1.27", "memory": 128}]
    })
}

/// The smallest definition for Fargate, with logs.
fn fargate() -> Value {
    json!({
        "family": "web",
        "networkMode": "awsvpc",
        "requiresCompatibilities": ["FARGATE"],
        "cpu": "256",
        "memory": "512",
        "executionRoleArn": "arn:aws:iam::000000000000:role/ecsTaskExecutionRole",
        "containerDefinitions": [{
            "name": "app",
            "image": "nginx",
            "logConfiguration": {"logDriver": "awslogs", "options": {
                "awslogs-group": "/ecs/web", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "ecs"}}
        }]
    })
}

/// `base` with members replaced. `app` changes the container, `db` adds another; null takes a member away.
fn with(mut base: Value, mut change: Value) -> Value {
    let mut part = |name: &str| change.as_object_mut().unwrap().remove(name);
    let (app, db) = (part("app"), part("db"));
    if let Some(app) = app {
        merge(&mut base["containerDefinitions"][0], app);
    }
    if let Some(db) = db {
        let mut container = json!({"name": "db", "image": "postgres", "memory": 64});
        merge(&mut container, db);
        base["containerDefinitions"].as_array_mut().unwrap().push(container);
    }
    merge(&mut base, change);
    base
}

fn merge(into: &mut Value, from: Value) {
    for (key, value) in from.as_object().cloned().unwrap_or_default() {
        if value.is_null() {
            into.as_object_mut().unwrap().remove(&key);
        } else {
            into[key] = value;
        }
    }
}

fn admitted(input: Value) -> Result<api::TaskDefinition, String> {
    admit(serde_json::from_value(input).unwrap()).map_err(|e| {
        assert_eq!(e.code, "ClientException");
        e.message
    })
}

#[track_caller]
fn taken(input: Value) -> Value {
    match admitted(input.clone()) {
        Ok(definition) => serde_json::to_value(definition).unwrap(),
        Err(message) => panic!("refused: {message}\n{input:#}"),
    }
}

#[test]
fn every_scenario_ends_as_it_says() {
    let (mut base, mut wrong, mut run) = (Value::Null, Vec::new(), 0);
    for line in include_str!("scenarios.txt").lines().map(str::trim) {
        match line {
            "[ec2]" => base = ec2(),
            "[fargate]" => base = fargate(),
            "" => {}
            comment if comment.starts_with('#') => {}
            scenario => {
                let (change, expected) = scenario.rsplit_once(" => ").expect(scenario);
                let change = serde_json::from_str(change).expect(scenario);
                let outcome = match admitted(with(base.clone(), change)) {
                    Ok(_) => "ok".to_owned(),
                    Err(message) => message,
                };
                if outcome != expected {
                    wrong.push(format!("{scenario}\n    but: {outcome}"));
                }
                run += 1;
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {run}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(run > 150);
}

#[test]
fn port_mappings_are_described_with_host_port_and_protocol() {
    for (mode, given, described) in [
        (
            "awsvpc",
            json!({"containerPort": 80}),
            json!({"containerPort": 80, "hostPort": 80, "protocol": "tcp"}),
        ),
        (
            "awsvpc",
            json!({"containerPort": 80, "hostPort": 0}),
            json!({"containerPort": 80, "hostPort": 80, "protocol": "tcp"}),
        ),
        (
            "host",
            json!({"containerPort": 53, "protocol": "udp"}),
            json!({"containerPort": 53, "hostPort": 53, "protocol": "udp"}),
        ),
        (
            "bridge",
            json!({"containerPort": 80}),
            json!({"containerPort": 80, "hostPort": 0, "protocol": "tcp"}),
        ),
        (
            "bridge",
            json!({"containerPort": 80, "hostPort": 8080}),
            json!({"containerPort": 80, "hostPort": 8080, "protocol": "tcp"}),
        ),
        (
            "awsvpc",
            json!({"containerPortRange": "80-90"}),
            json!({"containerPortRange": "80-90", "protocol": "tcp"}),
        ),
    ] {
        let out = taken(with(
            ec2(),
            json!({"networkMode": mode, "app": {"portMappings": [given]}}),
        ));
        assert_eq!(out["containerDefinitions"][0]["portMappings"], json!([described]));
    }
}

#[test]
fn a_multiline_pattern_must_be_a_regular_expression() {
    let options = json!({"awslogs-group": "g", "awslogs-region": "us-east-1", "awslogs-multiline-pattern": "("});
    let change = json!({"app": {"logConfiguration": {"logDriver": "awslogs", "options": options}}});
    let message = admitted(with(ec2(), change)).unwrap_err();
    assert!(message.contains("awslogs-multiline-pattern is invalid"), "{message}");
}

#[test]
fn a_definition_is_described_as_aws_does() {
    let out = taken(with(
        fargate(),
        json!({"cpu": "1 vCPU", "memory": "2GB", "taskRoleArn": "arn:aws:iam::000000000000:role/app",
            "app": {"portMappings": [{"containerPort": 8080}], "healthCheck": {"command": ["CMD", "true"]}}}),
    ));
    assert_eq!(
        out,
        json!({
            "family": "web",
            "networkMode": "awsvpc",
            "cpu": "1024",
            "memory": "2048",
            "taskRoleArn": "arn:aws:iam::000000000000:role/app",
            "executionRoleArn": "arn:aws:iam::000000000000:role/ecsTaskExecutionRole",
            "requiresCompatibilities": ["FARGATE"],
            "compatibilities": ["EC2", "FARGATE"],
            "volumes": [],
            "placementConstraints": [],
            "requiresAttributes": [
                {"name": "com.amazonaws.ecs.capability.docker-remote-api.1.17"},
                {"name": "com.amazonaws.ecs.capability.docker-remote-api.1.18"},
                {"name": "com.amazonaws.ecs.capability.docker-remote-api.1.19"},
                {"name": "com.amazonaws.ecs.capability.docker-remote-api.1.24"},
                {"name": "com.amazonaws.ecs.capability.logging-driver.awslogs"},
                {"name": "com.amazonaws.ecs.capability.task-iam-role"},
                {"name": "ecs.capability.container-health-check"},
                {"name": "ecs.capability.execution-role-awslogs"},
                {"name": "ecs.capability.task-eni"}
            ],
            "containerDefinitions": [{
                "name": "app",
                "image": "nginx",
                "cpu": 0,
                "essential": true,
                "environment": [],
                "mountPoints": [],
                "volumesFrom": [],
                "systemControls": [],
                "portMappings": [{"containerPort": 8080, "hostPort": 8080, "protocol": "tcp"}],
                "healthCheck": {"command": ["CMD", "true"], "interval": 30, "timeout": 5, "retries": 3},
                "logConfiguration": {"logDriver": "awslogs", "options": {
                    "awslogs-group": "/ecs/web", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "ecs"}}
            }]
        })
    );
    let own = taken(with(ec2(), json!({"volumes": [{"name": "v"}]})));
    assert_eq!(own["networkMode"], "bridge");
    assert_eq!(own["compatibilities"], json!(["EXTERNAL", "EC2"]));
    assert_eq!(own["volumes"], json!([{"name": "v", "host": {}}]));
    assert!(own.get("requiresCompatibilities").is_none());
}

#[test]
fn too_large_a_definition_is_refused() {
    let pair = |n: u32| json!({"name": format!("NAME_{n}"), "value": "x".repeat(30)});
    let environment: Vec<Value> = (0..2000).map(pair).collect();
    let message = admitted(with(ec2(), json!({"app": {"environment": environment}}))).unwrap_err();
    assert!(message.ends_with("Max allowed length is '65536' bytes."), "{message}");
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    fn some<T: Clone + std::fmt::Debug + 'static>(values: Vec<T>) -> impl Strategy<Value = Option<T>> {
        prop::option::of(prop::sample::select(values))
    }

    fn container() -> impl Strategy<Value = Value> {
        let port = (1..65535i32, some(vec!["tcp", "udp"]), some(vec![0]))
            .prop_map(|(port, protocol, host)| json!({"containerPort": port, "protocol": protocol, "hostPort": host}));
        let pair = ("[A-Z]{1,5}", some(vec!["", "x"])).prop_map(|(name, value)| json!({"name": name, "value": value}));
        (
            some(vec![0, 64, 256]),
            some(vec![16, 128]),
            some(vec![true]),
            prop::collection::vec(port, 0..3),
            prop::collection::vec(pair, 0..3),
            some(vec![5, 30]),
        )
            .prop_map(|(cpu, memory, essential, ports, environment, interval)| {
                let check = interval.map(|interval| json!({"command": ["CMD", "true"], "interval": interval}));
                json!({"image": "nginx", "cpu": cpu, "memoryReservation": 8, "memory": memory, "essential": essential,
                    "portMappings": ports, "environment": environment, "healthCheck": check})
            })
    }

    fn containers() -> impl Strategy<Value = Value> {
        prop::collection::vec(container(), 1..4).prop_map(|mut all| {
            for (n, container) in all.iter_mut().enumerate() {
                container["name"] = json!(format!("c{n}"));
            }
            Value::Array(all)
        })
    }

    proptest! {
        /// What Terraform relies on: its second plan compares the description with what it would register.
        #[test]
        fn a_description_registers_to_itself(
            containers in containers(),
            mode in some(vec!["bridge", "host", "awsvpc"]),
            size in some(vec![("1024", "2048"), ("1 vCPU", "2GB"), ("4096", "8 GB")]),
            fargate in any::<bool>(),
        ) {
            let input = json!({"family": "f", "containerDefinitions": containers, "networkMode": mode,
                "cpu": size.map(|s| s.0), "memory": size.map(|s| s.1),
                "requiresCompatibilities": if fargate { json!(["FARGATE"]) } else { Value::Null }});
            if let Ok(first) = admitted(input) {
                let described = serde_json::to_value(&first).unwrap();
                let again = admitted(described).unwrap();
                prop_assert_eq!(first, again);
            }
        }
    }
}
