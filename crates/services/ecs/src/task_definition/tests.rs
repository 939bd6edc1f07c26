//! Rules as a table: a change to a valid definition, and the sentence that refuses it, or none.

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

/// `base` with members replaced; null takes one away. `container` names the members of the first container.
fn with(mut base: Value, task: Value, container: Value) -> Value {
    merge(&mut base["containerDefinitions"][0], container);
    merge(&mut base, task);
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
fn refused(input: Value, expected: &str) {
    match admitted(input.clone()) {
        Ok(_) => panic!("taken, but should be refused with: {expected}\n{input:#}"),
        Err(message) => assert_eq!(message, expected, "{input:#}"),
    }
}

#[track_caller]
fn taken(input: Value) -> Value {
    match admitted(input.clone()) {
        Ok(definition) => serde_json::to_value(definition).unwrap(),
        Err(message) => panic!("refused: {message}\n{input:#}"),
    }
}

/// Changes to the EC2 definition's task.
#[test]
fn task_members() {
    for (change, expected) in [
        (json!({"family": ""}), "Family should not be null or empty."),
        (json!({"family": "a b"}), "Family contains invalid characters."),
        (json!({"family": "a".repeat(256)}), "Family contains invalid characters."),
        (json!({"containerDefinitions": []}), "Container list cannot be empty."),
        (json!({"cpu": "many"}), "Invalid 'cpu' setting for task: many"),
        (json!({"cpu": "64"}), "Invalid 'cpu' setting for task. Valid values are between 128 and 196608 CPU units."),
        (json!({"memory": "x"}), "Invalid 'memory' setting for task: x"),
        (json!({"memory": "64"}), "Invalid setting for container 'app'. The 'memory' setting for container is greater than for the task."),
        (json!({"taskRoleArn": "arn:aws:s3:::bucket"}), "Role is not valid"),
        (json!({"executionRoleArn": "arn:aws:iam::1:role/x"}), "Role is not valid"),
        (json!({"taskRoleArn": "bad role"}), "Role is not valid"),
        (json!({"ephemeralStorage": {"sizeInGiB": 20}}), "Ephemeral storage size must be between 21 GiB and 200 GiB."),
        (json!({"ephemeralStorage": {"sizeInGiB": 201}}), "Ephemeral storage size must be between 21 GiB and 200 GiB."),
        (json!({"ephemeralStorage": {"sizeInGiB": 50}}), "ephemeralStorage is only supported for task definitions that are compatible with FARGATE."),
        (json!({"volumes": [{"name": "v"}, {"name": "v"}]}), "Duplicate volume name: 'v'."),
        (json!({"volumes": [{"name": ""}]}), "Volume.name should have 1 to 255 letters, numbers, hyphens and underscores."),
        (json!({"volumes": [{"name": "v", "host": {"sourcePath": "data"}}]}), "host.sourcePath of volume 'v' must be an absolute path."),
        (json!({"placementConstraints": [{"type": "distinctInstance"}]}), "The only placement constraint that a task definition supports is memberOf."),
        (json!({"placementConstraints": [{"type": "memberOf"}]}), "The memberOf placement constraint must have an expression."),
        (json!({"volumes": [{"name": "v", "efsVolumeConfiguration": {"fileSystemId": "fs-1"}}]}), "volumes.efsVolumeConfiguration is not supported by Neargate yet."),
        (json!({"volumes": [{"name": "v", "dockerVolumeConfiguration": {}}]}), "volumes.dockerVolumeConfiguration is not supported by Neargate yet."),
        (json!({"volumes": [{"name": "v", "fsxWindowsFileServerVolumeConfiguration": {}}]}), "volumes.fsxWindowsFileServerVolumeConfiguration is not supported by Neargate yet."),
        (json!({"volumes": [{"name": "v", "s3filesVolumeConfiguration": {}}]}), "volumes.s3filesVolumeConfiguration is not supported by Neargate yet."),
        (json!({"volumes": [{"name": "v", "configuredAtLaunch": true}]}), "volumes.configuredAtLaunch is not supported by Neargate yet."),
        (json!({"proxyConfiguration": {"containerName": "app"}}), "proxyConfiguration is not supported by Neargate yet."),
        (json!({"inferenceAccelerators": [{}]}), "inferenceAccelerators is not supported by Neargate yet."),
        (json!({"enableFaultInjection": true}), "enableFaultInjection is not supported by Neargate yet."),
        (json!({"trustedExecutionConfiguration": {"isolationMode": "SHARED"}}), "trustedExecutionConfiguration is not supported by Neargate yet."),
        (json!({"runtimePlatform": {"operatingSystemFamily": "WINDOWS_SERVER_2022_CORE"}}), "runtimePlatform.operatingSystemFamily WINDOWS_SERVER_2022_CORE is not supported by Neargate yet."),
        (json!({"requiresCompatibilities": ["EXTERNAL"]}), "requiresCompatibilities EXTERNAL is not supported by Neargate yet."),
        (json!({"requiresCompatibilities": ["MANAGED_INSTANCES"]}), "requiresCompatibilities MANAGED_INSTANCES is not supported by Neargate yet."),
    ] {
        refused(with(ec2(), change, json!({})), expected);
    }
    for change in [
        json!({"family": "a".repeat(255)}),
        json!({"cpu": ".5 vCPU", "memory": "1GB"}),
        json!({"taskRoleArn": "short-name", "executionRoleArn": "arn:aws:iam::123456789012:role/service/x"}),
        json!({"pidMode": "host", "ipcMode": "none", "networkMode": "host"}),
        json!({"volumes": [{"name": "v", "host": {"sourcePath": "/data"}}]}),
        json!({"runtimePlatform": {"cpuArchitecture": "ARM64", "operatingSystemFamily": "LINUX"}}),
        json!({"enableFaultInjection": false}),
        json!({"placementConstraints": [{"type": "memberOf", "expression": "attribute:ecs.os-type == linux"}]}),
    ] {
        taken(with(ec2(), change, json!({})));
    }
}

/// Changes to the only container of the EC2 definition.
#[test]
fn container_members() {
    let digest = format!("nginx@sha256:{}", "a".repeat(64));
    for (change, expected) in [
        (json!({"name": null}), "Container.name should not be null or empty."),
        (json!({"name": "a/b"}), "Container.name contains invalid characters."),
        (json!({"image": ""}), "Container.image should not be null or empty."),
        (json!({"image": "my image"}), "Container.image contains invalid characters."),
        (json!({"image": "nginx@sha256:12"}), "Container.image digest should be sha256 followed by 64 hexadecimal digits."),
        (json!({"image": "a".repeat(256)}), "Container.image repository should be 255 characters or less."),
        (json!({"essential": false}), "At least one container must be marked as essential."),
        (json!({"memory": null}), "Invalid setting for container 'app'. At least one of 'memory' or 'memoryReservation' must be specified."),
        (json!({"memory": 2}), "Invalid setting for container 'app'. 'memory' must be at least 4 MiB."),
        (json!({"memoryReservation": 256}), "Invalid setting for container 'app'. 'memory' must be greater than 'memoryReservation'."),
        (json!({"cpu": -1}), "Invalid setting for container 'app'. 'cpu' must not be negative."),
        (json!({"environment": [{"name": "", "value": "x"}]}), "Invalid setting for container 'app'. 'environment' has an invalid variable name: ''."),
        (json!({"environment": [{"name": "A=B", "value": "x"}]}), "Invalid setting for container 'app'. 'environment' has an invalid variable name: 'A=B'."),
        (json!({"environmentFiles": [{"type": "s3", "value": "s3://b/k.env"}]}), "Invalid setting for container 'app'. 'environmentFiles' must name Amazon S3 objects by their ARN, not 's3://b/k.env'."),
        (json!({"environmentFiles": [{"type": "s3", "value": "arn:aws:s3:::b/k.txt"}]}), "Invalid setting for container 'app'. 'environmentFiles' must have the file extension .env: arn:aws:s3:::b/k.txt"),
        (json!({"healthCheck": {"command": ["curl", "x"]}}), "Invalid setting for container 'app'. 'healthCheck.command' must start with CMD or CMD-SHELL, followed by a command."),
        (json!({"healthCheck": {"command": ["CMD-SHELL"]}}), "Invalid setting for container 'app'. 'healthCheck.command' must start with CMD or CMD-SHELL, followed by a command."),
        (json!({"healthCheck": {"command": ["CMD", "x"], "interval": 4}}), "Invalid setting for container 'app'. 'healthCheck.interval' must be between 5 and 300."),
        (json!({"healthCheck": {"command": ["CMD", "x"], "timeout": 61}}), "Invalid setting for container 'app'. 'healthCheck.timeout' must be between 2 and 60."),
        (json!({"healthCheck": {"command": ["CMD", "x"], "retries": 0}}), "Invalid setting for container 'app'. 'healthCheck.retries' must be between 1 and 10."),
        (json!({"healthCheck": {"command": ["CMD", "x"], "startPeriod": 301}}), "Invalid setting for container 'app'. 'healthCheck.startPeriod' must be between 0 and 300."),
        (json!({"restartPolicy": {"enabled": true, "restartAttemptPeriod": 59}}), "Invalid setting for container 'app'. 'restartPolicy.restartAttemptPeriod' must be between 60 and 1800."),
        (json!({"restartPolicy": {"enabled": true, "ignoredExitCodes": (0..51).collect::<Vec<i32>>()}}), "Invalid setting for container 'app'. 'restartPolicy.ignoredExitCodes' can have at most 50 entries."),
        (json!({"restartPolicy": {"enabled": false, "ignoredExitCodes": [0]}}), "Invalid setting for container 'app'. 'restartPolicy' must be enabled to have a restartAttemptPeriod or ignoredExitCodes."),
        (json!({"stopTimeout": -1}), "Invalid setting for container 'app'. 'stopTimeout' must not be negative."),
        (json!({"user": "a:b:c"}), "Invalid setting for container 'app'. 'user' must be user, user:group, uid, uid:gid, user:gid or uid:group."),
        (json!({"extraHosts": [{"hostname": "db", "ipAddress": "10.0.0"}]}), "Invalid setting for container 'app'. 'extraHosts' has an invalid IP address: '10.0.0'."),
        (json!({"extraHosts": [{"hostname": "d b", "ipAddress": "10.0.0.1"}]}), "Invalid setting for container 'app'. 'extraHosts' has an invalid host name: 'd b'."),
        (json!({"dnsServers": ["one"]}), "Invalid setting for container 'app'. 'dnsServers' has an invalid IP address: 'one'."),
        (json!({"mountPoints": [{"sourceVolume": "v", "containerPath": "/v"}]}), "Unknown volume 'v'."),
        (json!({"links": ["db"]}), "Invalid setting for container 'app'. 'links' name container 'db', which does not exist."),
        (json!({"volumesFrom": [{"sourceContainer": "db"}]}), "Invalid setting for container 'app'. 'volumesFrom' names container 'db', which does not exist."),
        (json!({"ulimits": [{"name": "files", "softLimit": 1, "hardLimit": 1}]}), "Invalid setting for container 'app'. 'ulimits' have an unknown name: 'files'."),
        (json!({"ulimits": [{"name": "nofile", "softLimit": 2, "hardLimit": 1}]}), "Invalid setting for container 'app'. 'ulimits' nofile: the soft limit must not be greater than the hard limit."),
        (json!({"linuxParameters": {"capabilities": {"add": ["FLY"]}}}), "Invalid setting for container 'app'. 'linuxParameters.capabilities' have an unknown capability: 'FLY'."),
        (json!({"linuxParameters": {"devices": [{"hostPath": "dev/x"}]}}), "Invalid setting for container 'app'. 'linuxParameters.devices' must have absolute paths: 'dev/x'."),
        (json!({"linuxParameters": {"tmpfs": [{"containerPath": "/t", "size": 0}]}}), "Invalid setting for container 'app'. 'linuxParameters.tmpfs' /t: size must be greater than 0."),
        (json!({"linuxParameters": {"tmpfs": [{"containerPath": "/t", "size": 1, "mountOptions": ["fast"]}]}}), "Invalid setting for container 'app'. 'linuxParameters.tmpfs' /t: unknown mount option 'fast'."),
        (json!({"linuxParameters": {"sharedMemorySize": 0}}), "Invalid setting for container 'app'. 'linuxParameters.sharedMemorySize' must be greater than 0."),
        (json!({"linuxParameters": {"maxSwap": -1}}), "Invalid setting for container 'app'. 'linuxParameters.maxSwap' must be 0 or a positive integer."),
        (json!({"linuxParameters": {"swappiness": 101}}), "Invalid setting for container 'app'. 'linuxParameters.swappiness' must be between 0 and 100."),
        (json!({"systemControls": [{"namespace": "kernel.panic", "value": "1"}]}), "Invalid setting for container 'app'. 'systemControls' namespace 'kernel.panic' is not a namespaced kernel parameter."),
        (json!({"systemControls": [{"namespace": "net.../../x", "value": "1"}]}), "Invalid setting for container 'app'. 'systemControls' namespace 'net.../../x' is not a namespaced kernel parameter."),
        (json!({"systemControls": [{"namespace": "net.core.somaxconn"}]}), "Invalid setting for container 'app'. 'systemControls' namespace 'net.core.somaxconn' has no value."),
        (json!({"secrets": [{"name": "A", "valueFrom": "x"}]}), "Invalid setting for container 'app'. secrets is not supported by Neargate yet."),
        (json!({"repositoryCredentials": {"credentialsParameter": "x"}}), "Invalid setting for container 'app'. repositoryCredentials is not supported by Neargate yet."),
        (json!({"firelensConfiguration": {"type": "fluentbit"}}), "Invalid setting for container 'app'. firelensConfiguration is not supported by Neargate yet."),
        (json!({"credentialSpecs": ["credentialspec:x"]}), "Invalid setting for container 'app'. credentialSpecs is not supported by Neargate yet."),
        (json!({"resourceRequirements": [{"type": "GPU", "value": "1"}]}), "Invalid setting for container 'app'. resourceRequirements GPU is not supported by Neargate yet."),
        (json!({"dockerSecurityOptions": ["label:type:x"]}), "Invalid setting for container 'app'. dockerSecurityOptions label:type:x is not supported by Neargate yet."),
    ] {
        refused(with(ec2(), json!({}), change), expected);
    }
    for change in [
        json!({"image": digest}),
        json!({"image": "registry.example.com:5000/team/web:v1.2_3"}),
        json!({"memory": null, "memoryReservation": 64}),
        json!({"memoryReservation": 128}),
        json!({"user": "1000:1000", "workingDirectory": "/srv", "privileged": true, "interactive": true}),
        json!({"environmentFiles": [{"type": "s3", "value": "arn:aws:s3:::bucket/dir/prod.env"}]}),
        json!({"healthCheck": {"command": ["CMD-SHELL", "true"], "interval": 5, "timeout": 60, "retries": 10, "startPeriod": 0}}),
        json!({"restartPolicy": {"enabled": true, "restartAttemptPeriod": 60, "ignoredExitCodes": [0, 143]}}),
        json!({"stopTimeout": 900, "hostname": "web-1", "extraHosts": [{"hostname": "db", "ipAddress": "::1"}]}),
        json!({"ulimits": [{"name": "nofile", "softLimit": 1024, "hardLimit": -1}]}),
        json!({"linuxParameters": {"capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]}, "initProcessEnabled": true,
            "devices": [{"hostPath": "/dev/fuse", "permissions": ["read", "write"]}], "sharedMemorySize": 64,
            "tmpfs": [{"containerPath": "/t", "size": 8, "mountOptions": ["noexec", "mode=1777"]}],
            "maxSwap": 0, "swappiness": 0}}),
        json!({"systemControls": [{"namespace": "net.core.somaxconn", "value": "1024"}, {"namespace": "fs.mqueue.msg_max", "value": "1"}]}),
        json!({"dockerSecurityOptions": ["no-new-privileges"], "versionConsistency": "disabled"}),
        json!({"secrets": [], "resourceRequirements": [], "credentialSpecs": []}),
    ] {
        taken(with(ec2(), json!({}), change));
    }
}

#[test]
fn log_options_of_each_driver() {
    let log = |driver: &str, options: Value| json!({"logConfiguration": {"logDriver": driver, "options": options}});
    let aws = |more: Value| {
        let mut options = json!({"awslogs-group": "g", "awslogs-region": "us-east-1"});
        merge(&mut options, more);
        log("awslogs", options)
    };
    for (change, expected) in [
        (log("awslogs", json!({})), "Log driver awslogs requires options: awslogs-group, awslogs-region"),
        (aws(json!({"awslogs-region": null})), "Log driver awslogs requires options: awslogs-region"),
        (aws(json!({"awslogs-endpoint": "x", "colour": "y"})), "Log driver awslogs disallows options: awslogs-endpoint, colour"),
        (aws(json!({"awslogs-create-group": "yes"})), "Invalid setting for container 'app'. 'logConfiguration' option awslogs-create-group must be true or false, not yes."),
        (aws(json!({"awslogs-datetime-format": "%H", "awslogs-multiline-pattern": "^x"})), "Invalid setting for container 'app'. you cannot configure both awslogs-datetime-format and awslogs-multiline-pattern."),
        (aws(json!({"awslogs-datetime-format": "%Q"})), "Invalid setting for container 'app'. 'logConfiguration' option awslogs-datetime-format has an unknown directive: %Q"),
        (aws(json!({"mode": "fast"})), "Invalid setting for container 'app'. 'logConfiguration' option mode must be blocking or non-blocking, not fast."),
        (aws(json!({"mode": "blocking", "max-buffer-size": "1m"})), "Invalid setting for container 'app'. 'logConfiguration' option max-buffer-size is only for the mode non-blocking."),
        (aws(json!({"max-buffer-size": "lots"})), "Invalid setting for container 'app'. 'logConfiguration' option max-buffer-size has an invalid value: 'lots'."),
        (aws(json!({"awslogs-group": "a group"})), "Invalid setting for container 'app'. 'logConfiguration' option awslogs-group has an invalid value: 'a group'."),
        (log("json-file", json!({"max-size": "1m"})), "Invalid setting for container 'app'. 'logConfiguration' option max-size of json-file is not supported by Neargate yet."),
        (log("syslog", json!({})), "Invalid setting for container 'app'. logConfiguration.logDriver syslog is not supported by Neargate yet."),
        (log("awsfirelens", json!({})), "Invalid setting for container 'app'. logConfiguration.logDriver awsfirelens is not supported by Neargate yet."),
    ] {
        refused(with(ec2(), json!({}), change), expected);
    }
    let broken = admitted(with(ec2(), json!({}), aws(json!({"awslogs-multiline-pattern": "("})))).unwrap_err();
    assert!(broken.contains("awslogs-multiline-pattern is invalid"), "{broken}");
    for change in [
        aws(json!({"awslogs-stream-prefix": "p", "awslogs-create-group": "true", "mode": "non-blocking", "max-buffer-size": "25m"})),
        aws(json!({"awslogs-datetime-format": "%Y-%m-%d %H:%M:%S", "mode": "blocking"})),
        aws(json!({"awslogs-multiline-pattern": "^(INFO|WARN)"})),
        log("json-file", json!({})),
    ] {
        taken(with(ec2(), json!({}), change));
    }
}

#[test]
fn port_mappings_against_each_network_mode() {
    let ports = |mappings: Value| json!({"portMappings": mappings});
    for (mode, mappings, expected) in [
        ("awsvpc", json!([{"containerPort": 80, "hostPort": 81}]), "When networkMode=awsvpc, the host ports and container ports in port mappings must match."),
        ("host", json!([{"containerPort": 80, "hostPort": 81}]), "When networkMode=host, the host ports and container ports in port mappings must match."),
        ("none", json!([{"containerPort": 80}]), "Port mappings are not supported when networkMode=none."),
        ("host", json!([{"containerPortRange": "80-90"}]), "Invalid setting for container 'app'. containerPortRange is not supported when networkMode=host."),
        ("bridge", json!([{}]), "Invalid setting for container 'app'. containerPort must be specified in 'portMappings'."),
        ("bridge", json!([{"containerPort": 0}]), "Invalid setting for container 'app'. containerPort 0 must be between 1 and 65535."),
        ("bridge", json!([{"containerPort": 65536}]), "Invalid setting for container 'app'. containerPort 65536 must be between 1 and 65535."),
        ("bridge", json!([{"containerPort": 80, "hostPort": 70000}]), "Invalid setting for container 'app'. hostPort 70000 must be between 0 and 65535."),
        ("bridge", json!([{"containerPort": 80}, {"containerPort": 80}]), "Invalid setting for container 'app'. 'portMappings' name container port 80 more than once."),
        ("bridge", json!([{"containerPort": 80}, {"containerPort": 80, "protocol": "udp"}]), "Invalid setting for container 'app'. 'portMappings' name container port 80 more than once."),
        ("bridge", json!([{"containerPort": 80, "hostPort": 8080}, {"containerPort": 81, "hostPort": 8080}]), "Invalid setting for container 'app'. host port 8080 is mapped more than once."),
        ("bridge", json!([{"containerPort": 85}, {"containerPortRange": "80-90"}]), "Invalid setting for container 'app'. 'portMappings' name container port 80-90 more than once."),
        ("bridge", json!([{"containerPortRange": "90-80"}]), "Invalid setting for container 'app'. containerPortRange '90-80' must be two ports between 1 and 65535, the first less than the last."),
        ("bridge", json!([{"containerPortRange": "80-90", "hostPort": 80}]), "Invalid setting for container 'app'. containerPort and hostPort must not be set together with containerPortRange."),
        ("bridge", json!([{"containerPort": 80, "name": "-web"}]), "Invalid setting for container 'app'. 'portMappings' have an invalid name: '-web'."),
        ("bridge", json!([{"containerPort": 80, "name": "web"}, {"containerPort": 81, "name": "web"}]), "Invalid setting for container 'app'. 'portMappings' have the name 'web' more than once."),
        ("bridge", json!([{"containerPort": 80, "protocol": "sctp"}]), "Invalid setting for container 'app'. 'portMappings' have an unknown protocol: 'sctp'."),
    ] {
        refused(with(ec2(), json!({"networkMode": mode}), ports(mappings)), expected);
    }
    for (mode, mappings, described) in [
        ("awsvpc", json!([{"containerPort": 80}]), json!([{"containerPort": 80, "hostPort": 80, "protocol": "tcp"}])),
        ("awsvpc", json!([{"containerPort": 80, "hostPort": 0}]), json!([{"containerPort": 80, "hostPort": 80, "protocol": "tcp"}])),
        ("host", json!([{"containerPort": 53, "protocol": "udp"}]), json!([{"containerPort": 53, "hostPort": 53, "protocol": "udp"}])),
        ("bridge", json!([{"containerPort": 80}]), json!([{"containerPort": 80, "hostPort": 0, "protocol": "tcp"}])),
        ("bridge", json!([{"containerPort": 80, "hostPort": 8080}]), json!([{"containerPort": 80, "hostPort": 8080, "protocol": "tcp"}])),
        ("awsvpc", json!([{"containerPortRange": "80-90"}]), json!([{"containerPortRange": "80-90", "protocol": "tcp"}])),
    ] {
        let out = taken(with(ec2(), json!({"networkMode": mode}), ports(mappings)));
        assert_eq!(out["containerDefinitions"][0]["portMappings"], described);
    }
}

#[test]
fn members_that_network_modes_rule_out() {
    for (mode, change, expected) in [
        ("awsvpc", json!({"links": ["app"]}), "Links are not supported when networkMode=awsvpc."),
        ("host", json!({"links": ["app"]}), "Links are not supported when networkMode=host."),
        ("awsvpc", json!({"hostname": "x"}), "Invalid setting for container 'app'. hostname is not supported on container when networkMode=awsvpc."),
        ("awsvpc", json!({"extraHosts": [{"hostname": "x", "ipAddress": "1.1.1.1"}]}), "Invalid setting for container 'app'. extraHosts is not supported on container when networkMode=awsvpc."),
        ("host", json!({"systemControls": [{"namespace": "net.core.somaxconn", "value": "1"}]}), "Invalid setting for container 'app'. 'systemControls' namespace 'net.core.somaxconn' is not supported when networkMode=host."),
    ] {
        refused(with(ec2(), json!({"networkMode": mode}), change), expected);
    }
    let ipc = json!({"systemControls": [{"namespace": "kernel.shmmax", "value": "1"}]});
    let expected = "Invalid setting for container 'app'. 'systemControls' namespace 'kernel.shmmax' is not supported when ipcMode=host.";
    refused(with(ec2(), json!({"ipcMode": "host"}), ipc), expected);
}

#[test]
fn several_containers() {
    let two = |first: Value, second: Value, task: Value| {
        let mut definition = ec2();
        definition["containerDefinitions"] = json!([
            {"name": "app", "image": "a", "memory": 64}, {"name": "db", "image": "b", "memory": 64}]);
        merge(&mut definition["containerDefinitions"][0], first);
        merge(&mut definition["containerDefinitions"][1], second);
        merge(&mut definition, task);
        definition
    };
    let on = |name: &str, condition: &str| json!({"dependsOn": [{"containerName": name, "condition": condition}]});
    for (first, second, task, expected) in [
        (json!({}), json!({"name": "app"}), json!({}), "Container names must be unique. Duplicate container name: 'app'."),
        (on("cache", "START"), json!({}), json!({}), "Invalid setting for container 'app'. 'dependsOn' names container 'cache', which does not exist."),
        (on("app", "START"), json!({}), json!({}), "Invalid setting for container 'app'. 'dependsOn' must not name the container itself."),
        (on("db", "SUCCESS"), json!({}), json!({}), "Invalid setting for container 'app'. 'dependsOn' cannot have the condition SUCCESS on essential container 'db'."),
        (on("db", "COMPLETE"), json!({}), json!({}), "Invalid setting for container 'app'. 'dependsOn' cannot have the condition COMPLETE on essential container 'db'."),
        (on("db", "HEALTHY"), json!({}), json!({}), "Invalid setting for container 'app'. 'dependsOn' has the condition HEALTHY on container 'db', which has no health check."),
        (on("db", "START"), on("app", "START"), json!({}), "Invalid setting for container 'app'. container dependencies must not form a cycle."),
        (on("db", "START"), json!({"links": ["app:web"]}), json!({}), "Invalid setting for container 'app'. container dependencies must not form a cycle."),
        (json!({"portMappings": [{"containerPort": 80}]}), json!({"portMappings": [{"containerPort": 80}]}), json!({"networkMode": "awsvpc"}), "Invalid setting for container 'db'. host port 80 is mapped more than once."),
        (json!({"cpu": 200}), json!({"cpu": 100}), json!({"cpu": "256"}), "The total 'cpu' setting for containers is greater than for the task."),
        (json!({}), json!({}), json!({"memory": "100"}), "The total 'memory' setting for containers is greater than for the task."),
    ] {
        refused(two(first, second, task), expected);
    }
    let healthy = json!({"healthCheck": {"command": ["CMD", "true"]}});
    taken(two(on("db", "HEALTHY"), healthy, json!({})));
    taken(two(on("db", "SUCCESS"), json!({"essential": false}), json!({})));
    taken(two(json!({"links": ["db:database"]}), json!({}), json!({})));
    taken(two(json!({"volumesFrom": [{"sourceContainer": "db", "readOnly": true}]}), json!({}), json!({})));
    // Only reservations count together; each limit alone must fit.
    taken(two(json!({"memoryReservation": 32}), json!({"memoryReservation": 32}), json!({"memory": "100"})));
    let same = json!({"portMappings": [{"containerPort": 80}]});
    taken(two(same.clone(), same, json!({})));
}

#[test]
fn what_fargate_refuses() {
    let role = "Fargate requires task definition to have execution role ARN to support";
    for (task, container, expected) in [
        (json!({"networkMode": "bridge"}), json!({}), "Fargate only supports network mode \u{2018}awsvpc\u{2019}."),
        (json!({"networkMode": null}), json!({}), "Fargate only supports network mode \u{2018}awsvpc\u{2019}."),
        (json!({"cpu": null}), json!({}), "Fargate requires that 'cpu' be defined at the task level."),
        (json!({"memory": null}), json!({"memory": 64}), "Fargate requires that 'memory' be defined at the task level."),
        (json!({"memory": "4096"}), json!({}), "No Fargate configuration exists for given values: 256 CPU, 4096 memory. See the Amazon ECS documentation for the valid values."),
        (json!({"cpu": "8192", "memory": "17408"}), json!({}), "No Fargate configuration exists for given values: 8192 CPU, 17408 memory. See the Amazon ECS documentation for the valid values."),
        (json!({"pidMode": "host"}), json!({}), "Fargate compatible task definitions only support the pidMode task."),
        (json!({"ipcMode": "task"}), json!({}), "Fargate compatible task definitions do not support ipcMode."),
        (json!({"placementConstraints": [{"type": "memberOf", "expression": "attribute:a == b"}]}), json!({}), "Fargate compatible task definitions do not support placementConstraints."),
        (json!({"volumes": [{"name": "v", "host": {"sourcePath": "/v"}}]}), json!({}), "host.sourcePath should not be set for volumes in Fargate."),
        (json!({}), json!({"privileged": true}), "Fargate compatible task definitions do not support privileged containers."),
        (json!({}), json!({"dockerSecurityOptions": ["no-new-privileges"]}), "Fargate compatible task definitions do not support dockerSecurityOptions."),
        (json!({}), json!({"linuxParameters": {"devices": [{"hostPath": "/dev/x"}]}}), "Fargate compatible task definitions do not support devices."),
        (json!({}), json!({"linuxParameters": {"sharedMemorySize": 64}}), "Fargate compatible task definitions do not support sharedMemorySize."),
        (json!({}), json!({"linuxParameters": {"maxSwap": 64}}), "Fargate compatible task definitions do not support maxSwap."),
        (json!({}), json!({"linuxParameters": {"capabilities": {"add": ["NET_ADMIN"]}}}), "Fargate compatible task definitions do not support adding the capability NET_ADMIN."),
        (json!({}), json!({"stopTimeout": 121}), "Invalid setting for container 'app'. 'stopTimeout' must be at most 120 seconds on Fargate."),
        (json!({}), json!({"logConfiguration": {"logDriver": "json-file"}}), "Fargate compatible task definitions do not support log driver json-file."),
        (json!({}), json!({"logConfiguration": {"logDriver": "awslogs", "options": {"awslogs-group": "g", "awslogs-region": "r"}}}), "Log driver awslogs requires options: awslogs-stream-prefix"),
        (json!({"executionRoleArn": null}), json!({}), &format!("{role} log driver awslogs.")),
        (json!({"executionRoleArn": null}), json!({"logConfiguration": null, "image": "000000000000.dkr.ecr.us-east-1.amazonaws.com/web:1"}), &format!("{role} ECR images.")),
    ] {
        refused(with(fargate(), task, container), expected);
    }
    for (cpu, memory) in [("512", "1024"), ("1 vCPU", "2 GB"), ("2048", "16384"), ("4096", "30720"), ("8192", "20480"), (".25 vCPU", "0.5GB")] {
        taken(with(fargate(), json!({"cpu": cpu, "memory": memory}), json!({})));
    }
    taken(with(fargate(), json!({"ephemeralStorage": {"sizeInGiB": 200}, "pidMode": "task", "volumes": [{"name": "v"}]}), json!({
        "linuxParameters": {"capabilities": {"add": ["SYS_PTRACE"], "drop": ["NET_RAW"]}, "tmpfs": [{"containerPath": "/t", "size": 1}]},
        "mountPoints": [{"sourceVolume": "v", "containerPath": "/v"}], "stopTimeout": 120})));
}

#[test]
fn a_definition_is_described_as_aws_does() {
    let out = taken(with(fargate(), json!({"cpu": "1 vCPU", "memory": "2GB", "taskRoleArn": "arn:aws:iam::000000000000:role/app"}), json!({
        "portMappings": [{"containerPort": 8080}], "healthCheck": {"command": ["CMD", "true"]}})));
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
    let own = taken(with(ec2(), json!({"volumes": [{"name": "v"}]}), json!({})));
    assert_eq!(own["networkMode"], "bridge");
    assert_eq!(own["compatibilities"], json!(["EXTERNAL", "EC2"]));
    assert_eq!(own["volumes"], json!([{"name": "v", "host": {}}]));
    assert!(own.get("requiresCompatibilities").is_none());
}

#[test]
fn too_large_a_definition_is_refused() {
    let environment: Vec<Value> = (0..2000).map(|n| json!({"name": format!("NAME_{n}"), "value": "x".repeat(30)})).collect();
    let message = admitted(with(ec2(), json!({}), json!({"environment": environment}))).unwrap_err();
    assert!(message.ends_with("Max allowed length is '65536' bytes."), "{message}");
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    fn some<T: Clone + std::fmt::Debug + 'static>(values: Vec<T>) -> impl Strategy<Value = Option<T>> {
        prop::option::of(prop::sample::select(values))
    }

    fn containers() -> impl Strategy<Value = Value> {
        let one = (
            some(vec![0, 64, 256]),
            some(vec![16, 128]),
            some(vec![true]),
            prop::collection::vec((1..65535i32, some(vec!["tcp", "udp"]), some(vec![0])), 0..3),
            prop::collection::vec(("[A-Z]{1,5}", some(vec!["", "x"])), 0..3),
            some(vec![5, 30]),
        );
        prop::collection::vec(one, 1..4).prop_map(|all| {
            let each = all.into_iter().enumerate().map(|(n, (cpu, memory, essential, ports, environment, interval))| {
                let mut c = json!({"name": format!("c{n}"), "image": "nginx", "cpu": cpu, "memoryReservation": 8,
                    "memory": memory, "essential": essential});
                c["portMappings"] = ports.into_iter().map(|(port, protocol, host)|
                    json!({"containerPort": port, "protocol": protocol, "hostPort": host})).collect();
                c["environment"] = environment.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
                if let Some(interval) = interval {
                    c["healthCheck"] = json!({"command": ["CMD", "true"], "interval": interval});
                }
                c
            });
            each.collect()
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
