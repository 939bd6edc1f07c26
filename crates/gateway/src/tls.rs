//! TLS of listeners: which certificate a name gets, which versions a policy admits.
//!
//! Called when a table comes. Settings of a listener whose certificates and policy did not change are kept, and with them
//! its tickets, so that clients resume their sessions across tables. Invariant: a certificate that cannot be used is a
//! `Problem` of its listener and leaves the others served.

use crate::arrival::TlsFacts;
use neargate_link::gateway::{BalancerKind, Certificate, GatewayTable, Listener, Problem, Protocol};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CipherSuite, ProtocolVersion, ServerConfig, ServerConnection, SupportedProtocolVersion};
use std::collections::HashMap;
use std::sync::Arc;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// TLS 1.2 only, 1.3 only, or both.
const TWELVE: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];
const THIRTEEN: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
const BOTH: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

/// The settings of every listener that terminates TLS, by ARN.
#[derive(Debug, Default)]
pub struct Terminators {
    by_listener: HashMap<String, Arc<Terminator>>,
    /// By ARN, with what they were made of.
    keys: HashMap<String, (Certificate, Arc<Keyed>)>,
}

/// One listener's settings.
#[derive(Debug)]
pub struct Terminator {
    pub config: Arc<ServerConfig>,
    certificates: Arc<Certificates>,
    asked: Asked,
}

/// What settings are made of.
#[derive(Clone, Debug, PartialEq)]
struct Asked {
    certificates: Vec<Certificate>,
    policy: Option<String>,
    alpn: Vec<Vec<u8>>,
}

/// A certificate that can sign, and the names it is for.
#[derive(Debug)]
struct Keyed {
    key: Arc<CertifiedKey>,
    names: Vec<String>,
}

/// The certificates of a listener.
#[derive(Debug)]
struct Certificates {
    /// In the listener's order, the default first; never empty.
    all: Vec<Arc<Keyed>>,
    exact: HashMap<String, usize>,
    /// By what stands behind `*.`.
    wildcard: HashMap<String, usize>,
}

impl Terminators {
    /// Settings for every listener of `table`.
    pub fn compile(table: &GatewayTable, previous: &Terminators) -> (Terminators, Vec<Problem>) {
        let mut made = Terminators::default();
        let mut problems = Vec::new();
        for balancer in &table.balancers {
            let http2 = balancer
                .attributes
                .get("routing.http2.enabled")
                .is_none_or(|v| v != "false");
            for listener in &balancer.listeners {
                if !matches!(listener.protocol, Protocol::Https | Protocol::Tls) {
                    continue;
                }
                let alpn = alpn(balancer.kind, http2, listener.alpn_policy.as_deref());
                let messages = made.add(table, listener, alpn, previous);
                problems.extend(messages.into_iter().map(|message| Problem {
                    listener: listener.arn.clone(),
                    message,
                }));
            }
        }
        (made, problems)
    }

    pub fn of(&self, listener: &str) -> Option<&Arc<Terminator>> {
        self.by_listener.get(listener)
    }

    /// Adds a listener with those of its certificates that can be used. What is wrong with the others, or with all of it.
    fn add(
        &mut self,
        table: &GatewayTable,
        listener: &Listener,
        alpn: Vec<Vec<u8>>,
        previous: &Terminators,
    ) -> Vec<String> {
        let (mut certificates, mut problems) = (Vec::new(), Vec::new());
        for arn in &listener.certificates {
            let found = table.certificates.get(arn);
            let found = found.ok_or_else(|| format!("certificate {arn} is not there"));
            match found.and_then(|found| self.load(found, previous).map(|()| found.clone())) {
                Ok(usable) => certificates.push(usable),
                Err(problem) => problems.push(problem),
            }
        }
        if certificates.is_empty() && !problems.is_empty() {
            return problems;
        }
        let asked = Asked {
            certificates,
            policy: listener.ssl_policy.clone(),
            alpn,
        };
        let kept = previous.of(&listener.arn).filter(|kept| kept.asked == asked);
        let terminator = match kept {
            Some(kept) => Ok(kept.clone()),
            None => self.terminator(asked).map(Arc::new),
        };
        match terminator {
            Ok(terminator) => {
                self.by_listener.insert(listener.arn.clone(), terminator);
            }
            Err(problem) => problems.push(problem),
        }
        problems
    }

    fn load(&mut self, certificate: &Certificate, previous: &Terminators) -> Result<(), String> {
        if self.keys.contains_key(&certificate.arn) {
            return Ok(());
        }
        let kept = previous
            .keys
            .get(&certificate.arn)
            .filter(|(from, _)| from == certificate);
        let keyed = match kept {
            Some((_, keyed)) => keyed.clone(),
            None => Arc::new(keyed(certificate).map_err(|why| format!("certificate {}: {why}", certificate.arn))?),
        };
        self.keys.insert(certificate.arn.clone(), (certificate.clone(), keyed));
        Ok(())
    }

    fn terminator(&self, asked: Asked) -> Result<Terminator, String> {
        let all = asked
            .certificates
            .iter()
            .filter_map(|c| self.keys.get(&c.arn))
            .map(|(_, keyed)| keyed.clone());
        let certificates = Arc::new(Certificates::new(all.collect()).ok_or("the listener has no certificate")?);
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider(asked.policy.as_deref())))
            .with_protocol_versions(versions(asked.policy.as_deref()))
            .map_err(|e| e.to_string())?
            .with_no_client_auth()
            .with_cert_resolver(certificates.clone());
        // The order that DescribeSSLPolicies tells.
        config.ignore_client_order = true;
        config.alpn_protocols.clone_from(&asked.alpn);
        // Tickets instead of remembered sessions: they cost no memory and serve on every thread.
        config.ticketer = aws_lc_rs::Ticketer::new().map_err(|e| e.to_string())?;
        Ok(Terminator {
            config: Arc::new(config),
            certificates,
            asked,
        })
    }
}

impl Terminator {
    /// True when one of its certificates is for `name`.
    pub fn is_for(&self, name: &str) -> bool {
        self.certificates.find(&name.to_ascii_lowercase()).is_some()
    }

    /// ARN of the certificate that a client gets who asks for the name.
    fn certificate(&self, name: Option<&str>) -> Option<Arc<str>> {
        let at = name.and_then(|name| self.certificates.find(name)).unwrap_or(0);
        Some(self.asked.certificates.get(at)?.arn.as_str().into())
    }
}

impl Certificates {
    fn new(all: Vec<Arc<Keyed>>) -> Option<Certificates> {
        if all.is_empty() {
            return None;
        }
        let (mut exact, mut wildcard) = (HashMap::new(), HashMap::new());
        for (at, keyed) in all.iter().enumerate() {
            for name in &keyed.names {
                match name.strip_prefix("*.") {
                    Some(parent) => wildcard.entry(parent.to_owned()).or_insert(at),
                    None => exact.entry(name.clone()).or_insert(at),
                };
            }
        }
        Some(Certificates { all, exact, wildcard })
    }

    /// The most specific one for a name in lower case.
    fn find(&self, name: &str) -> Option<usize> {
        let parent = || name.split_once('.').and_then(|(_, parent)| self.wildcard.get(parent));
        self.exact.get(name).or_else(parent).copied()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // rustls gives names in lower case.
        let named = hello.server_name().and_then(|name| self.find(name));
        Some(self.all.get(named.unwrap_or(0))?.key.clone())
    }
}

fn keyed(certificate: &Certificate) -> Result<Keyed, String> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(certificate.chain.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|e| e.to_string())?;
    let leaf = chain.first().ok_or("it is empty")?;
    let names = names(leaf)?;
    let key = PrivateKeyDer::from_pem_slice(certificate.private_key.as_bytes()).map_err(|e| e.to_string())?;
    let key = aws_lc_rs::sign::any_supported_type(&key).map_err(|e| e.to_string())?;
    let key = CertifiedKey::new(chain, key);
    Ok(Keyed {
        key: Arc::new(key),
        names,
    })
}

/// The names of a certificate in lower case: its alternative names, or its common name when there are none.
fn names(leaf: &CertificateDer<'_>) -> Result<Vec<String>, String> {
    let (_, parsed) = X509Certificate::from_der(leaf).map_err(|e| e.to_string())?;
    let alternative = parsed.subject_alternative_name().map_err(|e| e.to_string())?;
    let names: Vec<String> = match alternative {
        Some(extension) => extension
            .value
            .general_names
            .iter()
            .filter_map(|name| match name {
                GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
                _ => None,
            })
            .collect(),
        None => {
            let common = parsed.subject().iter_common_name();
            common
                .filter_map(|name| name.as_str().ok())
                .map(str::to_ascii_lowercase)
                .collect()
        }
    };
    Ok(names)
}

/// Ciphers and key exchanges of a policy: hybrid ones, which no quantum computer breaks, where its name says so.
fn provider(policy: Option<&str>) -> CryptoProvider {
    use aws_lc_rs::cipher_suite as cipher;
    use aws_lc_rs::kx_group as exchange;
    let classic = [exchange::X25519, exchange::SECP256R1, exchange::SECP384R1];
    let hybrid = [exchange::X25519MLKEM768, exchange::SECP256R1MLKEM768];
    let is_hybrid = policy.is_some_and(|policy| policy.contains("-PQ-"));
    CryptoProvider {
        cipher_suites: vec![
            cipher::TLS13_AES_128_GCM_SHA256,
            cipher::TLS13_AES_256_GCM_SHA384,
            cipher::TLS13_CHACHA20_POLY1305_SHA256,
            cipher::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            cipher::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            cipher::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            cipher::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        ],
        kx_groups: hybrid.into_iter().filter(|_| is_hybrid).chain(classic).collect(),
        ..aws_lc_rs::default_provider()
    }
}

/// Control admits only policies whose versions these are.
fn versions(policy: Option<&str>) -> &'static [&'static SupportedProtocolVersion] {
    match policy {
        Some(policy) if policy.starts_with("ELBSecurityPolicy-TLS13-1-3-") => THIRTEEN,
        Some(policy) if policy.starts_with("ELBSecurityPolicy-TLS13-") => BOTH,
        _ => TWELVE,
    }
}

fn alpn(kind: BalancerKind, http2: bool, policy: Option<&str>) -> Vec<Vec<u8>> {
    let (one, two): (&[u8], &[u8]) = (b"http/1.1", b"h2");
    let list: &[&[u8]] = match (kind, policy) {
        (BalancerKind::Application, _) if http2 => &[two, one],
        (BalancerKind::Application, _) => &[one],
        (BalancerKind::Network, Some("HTTP1Only")) => &[one],
        (BalancerKind::Network, Some("HTTP2Only")) => &[two],
        (BalancerKind::Network, Some("HTTP2Optional")) => &[one, two],
        (BalancerKind::Network, Some("HTTP2Preferred")) => &[two, one],
        (BalancerKind::Network, _) => &[],
    };
    list.iter().map(|name| name.to_vec()).collect()
}

/// What was settled, as access logs name it.
pub fn facts(connection: &ServerConnection, terminator: &Terminator) -> TlsFacts {
    let version = match connection.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "-",
    };
    let cipher = match connection.negotiated_cipher_suite().map(|suite| suite.suite()) {
        Some(CipherSuite::TLS13_AES_128_GCM_SHA256) => "TLS_AES_128_GCM_SHA256",
        Some(CipherSuite::TLS13_AES_256_GCM_SHA384) => "TLS_AES_256_GCM_SHA384",
        Some(CipherSuite::TLS13_CHACHA20_POLY1305_SHA256) => "TLS_CHACHA20_POLY1305_SHA256",
        Some(CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256) => "ECDHE-ECDSA-AES128-GCM-SHA256",
        Some(CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384) => "ECDHE-ECDSA-AES256-GCM-SHA384",
        Some(CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256) => "ECDHE-ECDSA-CHACHA20-POLY1305",
        Some(CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256) => "ECDHE-RSA-AES128-GCM-SHA256",
        Some(CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384) => "ECDHE-RSA-AES256-GCM-SHA384",
        Some(CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256) => "ECDHE-RSA-CHACHA20-POLY1305",
        _ => "-",
    };
    let server_name: Option<Arc<str>> = connection.server_name().map(Arc::from);
    TlsFacts {
        version,
        cipher,
        certificate: terminator.certificate(server_name.as_deref()),
        server_name,
    }
}
