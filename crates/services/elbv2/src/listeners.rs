//! What a listener may be: protocol, port, certificates, policies. Pure; CreateListener and ModifyListener admit here.

use crate::Elbv2;
use crate::api::{self, errors};
use crate::certificates::Fitness;
use crate::refusal::{configuration, unsupported, validation};
use crate::ssl_policies;
use neargate_core::AwsError;
use neargate_link::gateway::BalancerKind;
use neargate_store::Snapshot;

/// What a listener's connections need beyond protocol and port.
#[derive(Clone, Debug, PartialEq)]
pub struct Security {
    pub ssl_policy: Option<String>,
    /// ARN of the default certificate.
    pub certificate: Option<String>,
    pub alpn_policy: Option<String>,
}

/// The protocol of a listener of this kind of load balancer.
///
/// # Errors
/// `ValidationError`, `UnsupportedProtocol`.
pub fn protocol(kind: BalancerKind, asked: Option<String>) -> Result<String, AwsError> {
    let protocol = asked.ok_or_else(|| validation("A listener protocol must be specified"))?;
    let served: &[&str] = match kind {
        BalancerKind::Application => &["HTTPS", "HTTP"],
        BalancerKind::Network => &["TCP", "TLS", "UDP", "TCP_UDP"],
    };
    if served.contains(&protocol.as_str()) {
        return Ok(protocol);
    }
    if matches!(protocol.as_str(), "QUIC" | "TCP_QUIC" | "GENEVE") {
        return Err(errors::unsupported_protocol_exception(format!(
            "The listener protocol '{protocol}' is not supported by Neargate."
        )));
    }
    Err(validation(format!(
        "Listener protocol '{protocol}' must be one of '{}'",
        served.join(", ")
    )))
}

/// The port of a listener.
///
/// # Errors
/// `ValidationError`.
pub fn port(asked: Option<i32>) -> Result<u16, AwsError> {
    let asked = asked.ok_or_else(|| validation("A listener port must be specified"))?;
    let port = u16::try_from(asked).ok().filter(|p| *p > 0);
    port.ok_or_else(|| validation(format!("Listener port '{asked}' must be between 1 and 65535")))
}

/// Checks certificates and policies against the protocol; what is not given is `before`'s or AWS's default.
///
/// # Errors
/// `ValidationError`, `CertificateNotFound`, `SSLPolicyNotFound`, `ALPNPolicyNotFound`, `InvalidConfigurationRequest`.
pub fn security(
    service: &Elbv2,
    snapshot: &Snapshot,
    protocol: &str,
    asked: (Option<String>, Option<Vec<api::Certificate>>, Option<Vec<String>>),
    before: Option<&Security>,
) -> Result<Security, AwsError> {
    let (ssl_policy, certificates, alpn) = asked;
    let certificates = certificates.filter(|list| !list.is_empty());
    let alpn = alpn.filter(|list| !list.is_empty());
    let ssl_policy = ssl_policy.filter(|name| !name.is_empty());
    if !is_secure(protocol) {
        if certificates.is_some() {
            return Err(no_certificate(protocol));
        }
        if ssl_policy.is_some() {
            // AWS's own spelling.
            return Err(validation(format!(
                "An SSL policy cannot be specifed for {protocol} listeners"
            )));
        }
        if alpn.is_some() {
            return Err(configuration(format!(
                "An ALPN policy cannot be specified for {protocol} listeners"
            )));
        }
        return Ok(Security {
            ssl_policy: None,
            certificate: None,
            alpn_policy: None,
        });
    }
    if let Some(name) = &ssl_policy {
        ssl_policies::admit(name)?;
    }
    let certificate = match certificates.as_deref() {
        None => before.and_then(|b| b.certificate.clone()),
        Some([one]) => {
            if one.is_default.is_some() {
                return Err(validation(
                    "You cannot set the isDefault parameter for certificates of a listener",
                ));
            }
            Some(self::certificate(service, snapshot, one)?)
        }
        Some(_) => {
            return Err(errors::too_many_certificates_exception(
                "Up to '1' certificate lists can be specified, but a listener has exactly one default certificate",
            ));
        }
    };
    let Some(certificate) = certificate else {
        return Err(validation(format!(
            "A certificate must be specified for {protocol} listeners"
        )));
    };
    let alpn_policy = match alpn.as_deref() {
        None => before.and_then(|b| b.alpn_policy.clone()),
        Some(_) if protocol != "TLS" => {
            return Err(configuration(format!(
                "An ALPN policy cannot be specified for {protocol} listeners"
            )));
        }
        Some([one]) => {
            let known = ["HTTP1Only", "HTTP2Only", "HTTP2Optional", "HTTP2Preferred", "None"];
            if !known.contains(&one.as_str()) {
                return Err(errors::alpn_policy_not_supported_exception(format!(
                    "ALPN policy '{one}' is not supported"
                )));
            }
            Some(one.clone())
        }
        Some(_) => return Err(validation("Only one ALPN policy can be specified")),
    };
    Ok(Security {
        ssl_policy: ssl_policy
            .or_else(|| before.and_then(|b| b.ssl_policy.clone()))
            .or_else(|| Some(ssl_policies::DEFAULT.to_owned())),
        certificate: Some(certificate),
        alpn_policy: alpn_policy.filter(|_| protocol == "TLS"),
    })
}

/// The ARN of a certificate that is there.
///
/// # Errors
/// `ValidationError`, `CertificateNotFound`, `UnsupportedCertificate`.
pub fn certificate(service: &Elbv2, snapshot: &Snapshot, asked: &api::Certificate) -> Result<String, AwsError> {
    let arn = asked.certificate_arn.clone().filter(|arn| !arn.is_empty());
    let arn = arn.ok_or_else(|| validation("A certificate ARN must be specified"))?;
    match service.certificates.fitness(snapshot, &arn) {
        Fitness::Fit => Ok(arn),
        Fitness::Unfit => Err(AwsError::new(
            "UnsupportedCertificate",
            400,
            format!(
                "The certificate '{arn}' must have a fully-qualified domain name, a supported signature, and a supported key size."
            ),
        )),
        Fitness::Absent => Err(errors::certificate_not_found_exception(format!(
            "Certificate '{arn}' not found"
        ))),
    }
}

/// A listener without encryption has no use for certificates.
pub fn no_certificate(protocol: &str) -> AwsError {
    validation(format!("A certificate cannot be specified for {protocol} listeners"))
}

/// True when connections are encrypted.
pub fn is_secure(protocol: &str) -> bool {
    matches!(protocol, "HTTPS" | "TLS")
}

/// Mutual TLS can only be off, which HTTPS listeners show.
///
/// # Errors
/// `InvalidConfigurationRequest`, `ValidationError`.
pub fn mutual_authentication(
    protocol: &str,
    asked: Option<api::MutualAuthenticationAttributes>,
) -> Result<Option<api::MutualAuthenticationAttributes>, AwsError> {
    let off = || api::MutualAuthenticationAttributes {
        mode: Some("off".to_owned()),
        ..Default::default()
    };
    let Some(asked) = asked else {
        return Ok((protocol == "HTTPS").then(off));
    };
    match asked.mode.as_deref() {
        None | Some("off") if asked.trust_store_arn.is_none() => {}
        None | Some("off") => return Err(validation("A trust store cannot be specified when the mode is 'off'")),
        Some(mode @ ("passthrough" | "verify")) => {
            return Err(unsupported(format!("MutualAuthentication with the mode '{mode}'")));
        }
        Some(mode) => {
            return Err(validation(format!(
                "Mutual authentication mode '{mode}' must be one of 'off, passthrough, verify'"
            )));
        }
    }
    if protocol != "HTTPS" {
        return Err(configuration(format!(
            "Mutual authentication cannot be specified for {protocol} listeners"
        )));
    }
    Ok(Some(off()))
}
