//! Security policies of HTTPS and TLS listeners: those of AWS's whose protocols and ciphers a gateway serves.
//!
//! Gateways speak TLS 1.2 with forward secrecy and AEAD ciphers, and TLS 1.3. A policy is described with what of it is
//! served; policies made for older protocols, and those that promise certified ciphers (FIPS, RFC 9151), are refused by
//! name. Those named after post-quantum key exchange (PQ) offer it beside the classic ones. Source: "Security policies" of
//! the Application Load Balancers Guide.

use crate::api::{self, errors};
use crate::refusal::unsupported;
use neargate_core::AwsError;

/// What HTTPS and TLS listeners get that name none, as on AWS.
pub const DEFAULT: &str = "ELBSecurityPolicy-2016-08";

/// A policy and its protocols.
struct Policy {
    name: &'static str,
    twelve: bool,
    thirteen: bool,
}

const fn policy(name: &'static str, twelve: bool, thirteen: bool) -> Policy {
    Policy { name, twelve, thirteen }
}

static SERVED: &[Policy] = &[
    policy("ELBSecurityPolicy-2016-08", true, false),
    policy("ELBSecurityPolicy-FS-1-2-2019-08", true, false),
    policy("ELBSecurityPolicy-FS-1-2-Res-2019-08", true, false),
    policy("ELBSecurityPolicy-FS-1-2-Res-2020-10", true, false),
    policy("ELBSecurityPolicy-TLS-1-2-2017-01", true, false),
    policy("ELBSecurityPolicy-TLS-1-2-Ext-2018-06", true, false),
    policy("ELBSecurityPolicy-TLS13-1-2-2021-06", true, true),
    policy("ELBSecurityPolicy-TLS13-1-2-Ext1-2021-06", true, true),
    policy("ELBSecurityPolicy-TLS13-1-2-Ext1-PQ-2025-09", true, true),
    policy("ELBSecurityPolicy-TLS13-1-2-Ext2-2021-06", true, true),
    policy("ELBSecurityPolicy-TLS13-1-2-Ext2-PQ-2025-09", true, true),
    policy("ELBSecurityPolicy-TLS13-1-2-PQ-2025-09", true, true),
    policy("ELBSecurityPolicy-TLS13-1-2-Res-2021-06", true, true),
    policy("ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09", true, true),
    policy("ELBSecurityPolicy-TLS13-1-3-2021-06", false, true),
    policy("ELBSecurityPolicy-TLS13-1-3-PQ-2025-09", false, true),
];

static UNSERVED: &[&str] = &[
    "ELBSecurityPolicy-2015-05",
    "ELBSecurityPolicy-FS-1-1-2019-08",
    "ELBSecurityPolicy-FS-2018-06",
    "ELBSecurityPolicy-TLS-1-0-2015-04",
    "ELBSecurityPolicy-TLS-1-1-2017-01",
    "ELBSecurityPolicy-TLS13-1-0-2021-06",
    "ELBSecurityPolicy-TLS13-1-1-2021-06",
];

const THIRTEEN: [&str; 3] = [
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
];
const TWELVE: [&str; 4] = [
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
];

/// That a listener may have the policy.
///
/// # Errors
/// `SSLPolicyNotFound`; `InvalidConfigurationRequest` for AWS's policies that are not served.
pub fn admit(name: &str) -> Result<(), AwsError> {
    if SERVED.iter().any(|policy| policy.name == name) {
        return Ok(());
    }
    let special = name.starts_with("ELBSecurityPolicy-") && (name.contains("-FIPS-") || name.contains("RFC9151"));
    if special || UNSERVED.contains(&name) {
        return Err(unsupported(format!("The SSL policy '{name}'")));
    }
    Err(errors::ssl_policy_not_found_exception(format!(
        "SSL policy '{name}' not found"
    )))
}

/// The policies, ascending by name, as replies show them.
pub fn shapes() -> Vec<api::SslPolicy> {
    SERVED.iter().map(shape).collect()
}

fn shape(policy: &Policy) -> api::SslPolicy {
    let protocols = [(policy.twelve, "TLSv1.2"), (policy.thirteen, "TLSv1.3")];
    let thirteen = THIRTEEN.iter().filter(|_| policy.thirteen);
    let ciphers = thirteen.chain(TWELVE.iter().filter(|_| policy.twelve));
    let cipher = |(name, priority): (&&str, i32)| api::Cipher {
        name: Some((*name).to_owned()),
        priority: Some(priority),
    };
    api::SslPolicy {
        name: Some(policy.name.to_owned()),
        ssl_protocols: Some(
            protocols
                .iter()
                .filter(|(has, _)| *has)
                .map(|(_, name)| (*name).to_owned())
                .collect(),
        ),
        ciphers: Some(ciphers.zip(1..).map(cipher).collect()),
        supported_load_balancer_types: Some(vec!["application".to_owned(), "network".to_owned()]),
    }
}
