//! Tasks for tests, made from a line of text.

use neargate_link::{
    ContainerSpec, HealthCheck, InterfaceSpec, LaunchType, LogSpec, NamespaceMode, NetworkSpec, TaskSpec,
};
use std::net::Ipv4Addr;

/// An awsvpc task at 172.31.0.10 whose essential containers are named by `names`; `name?` is not essential, `name+`
/// has a health check.
pub fn task(names: &str) -> TaskSpec {
    let container = |word: &str| ContainerSpec {
        name: word.trim_end_matches(['?', '+']).to_owned(),
        id: format!("id-of-{}", word.trim_end_matches(['?', '+'])),
        image: "busybox".to_owned(),
        essential: !word.ends_with('?'),
        health_check: word.ends_with('+').then(|| HealthCheck {
            command: vec!["CMD".to_owned(), "true".to_owned()],
            interval: 30,
            timeout: 5,
            retries: 3,
            start_period: 0,
        }),
        log: LogSpec::JsonFile,
        ..ContainerSpec::default()
    };
    TaskSpec {
        arn: "arn:aws:ecs:us-east-1:000000000000:task/default/0123456789abcdef0123456789abcdef".to_owned(),
        id: "0123456789abcdef0123456789abcdef".to_owned(),
        region: "us-east-1".to_owned(),
        cluster: "default".to_owned(),
        family: "web".to_owned(),
        revision: 1,
        launch_type: LaunchType::Fargate,
        service: None,
        availability_zone: None,
        tags: Default::default(),
        network: NetworkSpec::Awsvpc(InterfaceSpec {
            interface_id: "eni-0123456789abcdef0".to_owned(),
            mac: "0a:00:00:00:00:0a".to_owned(),
            address: Ipv4Addr::new(172, 31, 0, 10),
            subnet_prefix: 20,
            gateway: Ipv4Addr::new(172, 31, 0, 1),
            vpc_cidr: (Ipv4Addr::new(172, 31, 0, 0), 16),
            private_dns_name: "ip-172-31-0-10.ec2.internal".to_owned(),
            vpc_id: "vpc-1".to_owned(),
            groups: Vec::new(),
        }),
        containers: names.split_whitespace().map(container).collect(),
        volumes: Vec::new(),
        cpu: None,
        memory: None,
        ephemeral_storage_gib: None,
        pid_mode: NamespaceMode::Private,
        ipc_mode: NamespaceMode::Private,
        stop: None,
    }
}
