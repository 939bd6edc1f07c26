//! A load balancer of the instance under test, made by the API as anybody would.

use crate::Result;
use crate::client::Client;
use serde_json::{Value, json};

/// Calls a query operation of Elastic Load Balancing or EC2; the XML answer.
pub fn call(client: &mut Client, service: &str, action: &str, members: &[(&str, &str)]) -> Result<String> {
    let version = if service == "ec2" { "2016-11-15" } else { "2015-12-01" };
    let mut form = format!("Action={action}&Version={version}");
    for (name, value) in members {
        form.push('&');
        form.push_str(name);
        form.push('=');
        for byte in value.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => form.push(byte as char),
                other => form.push_str(&format!("%{other:02X}")),
            }
        }
    }
    client.query(service, &form).map_err(|e| format!("{action}: {e}"))
}

fn elb(client: &mut Client, action: &str, members: &[(&str, &str)]) -> Result<String> {
    call(client, "elasticloadbalancing", action, members)
}

/// The text of the first element `name`.
pub fn text(xml: &str, name: &str) -> Result<String> {
    texts(xml, name).into_iter().next().ok_or(format!("no {name} in {xml}"))
}

/// The texts of all elements `name`.
pub fn texts(xml: &str, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    xml.split(&open)
        .skip(1)
        .filter_map(|rest| rest.split(&close).next().map(str::to_owned))
        .collect()
}

/// The default VPC: its id, its subnets and its default security group.
pub struct Vpc {
    pub id: String,
    /// A balancer is in the first two; what is elsewhere gets no requests.
    pub subnets: Vec<String>,
    pub group: String,
}

pub fn vpc(client: &mut Client) -> Result<Vpc> {
    let subnets = call(client, "ec2", "DescribeSubnets", &[])?;
    let groups = call(client, "ec2", "DescribeSecurityGroups", &[])?;
    Ok(Vpc {
        id: text(&subnets, "vpcId")?,
        subnets: texts(&subnets, "subnetId"),
        group: text(&groups, "groupId")?,
    })
}

/// Lets everyone in, on every port.
pub fn open(client: &mut Client, group: &str) -> Result<()> {
    let members = [
        ("GroupId", group),
        ("IpPermissions.1.IpProtocol", "-1"),
        ("IpPermissions.1.IpRanges.1.CidrIp", "0.0.0.0/0"),
    ];
    call(client, "ec2", "AuthorizeSecurityGroupIngress", &members).map(|_| ())
}

/// An internet-facing application load balancer with access logs on.
pub fn balancer(client: &mut Client, vpc: &Vpc, name: &str) -> Result<String> {
    let made = elb(
        client,
        "CreateLoadBalancer",
        &[
            ("Name", name),
            ("Subnets.member.1", &vpc.subnets[0]),
            ("Subnets.member.2", &vpc.subnets[1]),
            ("SecurityGroups.member.1", &vpc.group),
        ],
    )?;
    let arn = text(&made, "LoadBalancerArn")?;
    let logs = [
        ("LoadBalancerArn", arn.as_str()),
        ("Attributes.member.1.Key", "access_logs.s3.enabled"),
        ("Attributes.member.1.Value", "true"),
        ("Attributes.member.2.Key", "access_logs.s3.bucket"),
        ("Attributes.member.2.Value", "bench"),
    ];
    elb(client, "ModifyLoadBalancerAttributes", &logs)?;
    Ok(arn)
}

/// An HTTP target group that is checked every five seconds.
pub fn target_group(client: &mut Client, vpc: &Vpc, name: &str, port: u16, path: &str) -> Result<String> {
    let port = port.to_string();
    let made = elb(
        client,
        "CreateTargetGroup",
        &[
            ("Name", name),
            ("Protocol", "HTTP"),
            ("Port", &port),
            ("VpcId", &vpc.id),
            ("TargetType", "ip"),
            ("HealthCheckPath", path),
            ("HealthCheckIntervalSeconds", "5"),
            ("HealthCheckTimeoutSeconds", "2"),
            ("HealthyThresholdCount", "2"),
        ],
    )?;
    text(&made, "TargetGroupArn")
}

pub fn register(client: &mut Client, group: &str, address: &str) -> Result<()> {
    let members = [("TargetGroupArn", group), ("Targets.member.1.Id", address)];
    elb(client, "RegisterTargets", &members).map(|_| ())
}

/// Asks until a target of the group is healthy.
pub fn wait_healthy(client: &mut Client, group: &str) -> Result<()> {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        let health = elb(client, "DescribeTargetHealth", &[("TargetGroupArn", group)])?;
        if texts(&health, "State").iter().any(|s| s == "healthy") {
            return Ok(());
        }
        if std::time::Instant::now() > until {
            return Err(format!("no target is healthy: {health}"));
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// A listener whose first `rules` rules match nothing that is asked, and whose last forwards everything to `group`.
pub fn listener(
    client: &mut Client,
    balancer: &str,
    port: u16,
    group: &str,
    rules: usize,
    certificate: Option<&str>,
) -> Result<()> {
    let port = port.to_string();
    let mut members = vec![
        ("LoadBalancerArn", balancer),
        ("Port", &port),
        ("Protocol", if certificate.is_some() { "HTTPS" } else { "HTTP" }),
        ("DefaultActions.member.1.Type", "fixed-response"),
        ("DefaultActions.member.1.FixedResponseConfig.StatusCode", "404"),
    ];
    if let Some(arn) = certificate {
        members.push(("Certificates.member.1.CertificateArn", arn));
    }
    let made = elb(client, "CreateListener", &members)?;
    let arn = text(&made, "ListenerArn")?;
    for n in 1..=rules {
        let last = n == rules;
        let path = if last { "/*".to_owned() } else { format!("/never/{n}/*") };
        let priority = n.to_string();
        let members = [
            ("ListenerArn", arn.as_str()),
            ("Priority", &priority),
            ("Conditions.member.1.Field", "path-pattern"),
            ("Conditions.member.1.PathPatternConfig.Values.member.1", &path),
            ("Actions.member.1.Type", "forward"),
            ("Actions.member.1.TargetGroupArn", group),
        ];
        elb(client, "CreateRule", &members)?;
    }
    Ok(())
}

/// Imports a certificate with its key, both PEM; its ARN.
pub fn import(client: &mut Client, certificate: &str, key: &str) -> Result<String> {
    let input = json!({ "Certificate": base64(certificate.as_bytes()), "PrivateKey": base64(key.as_bytes()) });
    let answer: Value = client.json("acm", "CertificateManager.ImportCertificate", &input)?;
    answer["CertificateArn"]
        .as_str()
        .map(str::to_owned)
        .ok_or("no certificate ARN".into())
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0u32, |w, b| w << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for n in 0..4 {
            out.push(match n <= chunk.len() {
                true => DIGITS[(word >> (18 - 6 * n) & 63) as usize] as char,
                false => '=',
            });
        }
    }
    out
}

/// Has targets that leave finish what they do within so many seconds.
pub fn drain_within(client: &mut Client, group: &str, seconds: u32) -> Result<()> {
    let seconds = seconds.to_string();
    let members = [
        ("TargetGroupArn", group),
        ("Attributes.member.1.Key", "deregistration_delay.timeout_seconds"),
        ("Attributes.member.1.Value", &seconds),
    ];
    elb(client, "ModifyTargetGroupAttributes", &members).map(|_| ())
}
