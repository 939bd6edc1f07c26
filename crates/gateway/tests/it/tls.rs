//! TLS: which certificate a name gets, versions, and certificates that change under way.

use crate::rig::*;
use neargate_link::gateway::{Action, Certificate, GatewayTable, Protocol};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CipherSuite, ClientConfig, DigitallySignedStruct, Error, ProtocolVersion, SignatureScheme};
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

fn certificate(arn: &str, names: &[&str]) -> Certificate {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    Certificate {
        arn: arn.to_owned(),
        chain: made.cert.pem(),
        private_key: made.signing_key.serialize_pem(),
    }
}

fn table(port: u16, policy: &str, certificates: &[Certificate]) -> GatewayTable {
    let fixed = Action::FixedResponse {
        status: 200,
        content_type: None,
        body: "secure".to_owned(),
    };
    let mut table = simple(port, &[]);
    table.balancers = vec![balancer("web", port, vec![rule(None, Vec::new(), fixed)])];
    let listener = &mut table.balancers[0].listeners[0];
    listener.protocol = Protocol::Https;
    listener.ssl_policy = Some(policy.to_owned());
    listener.certificates = certificates.iter().map(|c| c.arn.clone()).collect();
    table.certificates = certificates.iter().map(|c| (c.arn.clone(), c.clone())).collect();
    table
}

const POLICY: &str = "ELBSecurityPolicy-TLS13-1-2-2021-06";

#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// A gateway that serves HTTPS under the policy, with a certificate of its own.
async fn serving(policy: &str) -> (u16, Rig) {
    let port = free_port();
    let one = [certificate("default", &["default.example"])];
    (port, Rig::serving(&table(port, policy, &one)).await)
}

/// A client that would rather have a hybrid key exchange.
async fn secure(port: u16, name: &str) -> std::io::Result<TlsStream<TcpStream>> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider
        .kx_groups
        .insert(0, rustls::crypto::aws_lc_rs::kx_group::X25519MLKEM768);
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone))
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, connect(port).await)
        .await
}

/// The names of the certificate that the server showed, as bytes to look for a name in.
fn shown(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

fn has(certificate: &[u8], name: &str) -> bool {
    certificate.windows(name.len()).any(|window| window == name.as_bytes())
}

#[tokio::test]
async fn a_name_gets_the_most_specific_certificate_and_others_the_default() {
    let port = free_port();
    let certificates = [
        certificate("default", &["default.example"]),
        certificate("wild", &["*.shop.example"]),
        certificate("exact", &["one.shop.example"]),
    ];
    let rig = Rig::serving(&table(port, POLICY, &certificates)).await;
    for (asked, given) in [
        ("one.shop.example", "one.shop.example"),
        ("two.shop.example", "*.shop.example"),
        ("a.two.shop.example", "default.example"),
        ("other.example", "default.example"),
    ] {
        let mut stream = secure(port, asked).await.unwrap();
        assert!(has(&shown(&stream), given), "{asked}");
        assert_eq!(stream.get_ref().1.protocol_version(), Some(ProtocolVersion::TLSv1_3));
        let cipher = stream.get_ref().1.negotiated_cipher_suite().unwrap().suite();
        assert_eq!(
            cipher,
            CipherSuite::TLS13_AES_128_GCM_SHA256,
            "the policy's first, not the client's"
        );
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let response = message(&mut stream, &mut Vec::new()).await.unwrap();
        assert!(response.ends_with("secure"), "{response}");
    }
    rig.end().await;
}

#[tokio::test]
async fn a_policy_admits_its_versions_only() {
    let (port, rig) = serving("ELBSecurityPolicy-2016-08").await;
    let stream = secure(port, "default.example").await.unwrap();
    assert_eq!(stream.get_ref().1.protocol_version(), Some(ProtocolVersion::TLSv1_2));
    rig.end().await;
}

#[tokio::test]
async fn hybrid_key_exchange_is_for_the_policies_named_after_it() {
    for (policy, hybrid) in [(POLICY, false), ("ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09", true)] {
        let (port, rig) = serving(policy).await;
        let stream = secure(port, "default.example").await.unwrap();
        let group = stream.get_ref().1.negotiated_key_exchange_group().unwrap().name();
        assert_eq!(
            group == rustls::NamedGroup::X25519MLKEM768,
            hybrid,
            "{policy}: {group:?}"
        );
        rig.end().await;
    }
}

#[tokio::test]
async fn plain_http_at_an_https_port_is_told_so() {
    let (port, rig) = serving(POLICY).await;
    for request in ["GET / HTTP/1.1\r\nHost: x\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut stream = connect(port).await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let response = message(&mut stream, &mut Vec::new()).await.unwrap();
        assert!(response.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{response}");
        assert!(
            response.contains("The plain HTTP request was sent to HTTPS port"),
            "{response}"
        );
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
    }
    rig.end().await;
}

#[tokio::test]
async fn certificates_change_while_connections_stay() {
    let port = free_port();
    let old = [certificate("default", &["old.example"])];
    let rig = Rig::serving(&table(port, POLICY, &old)).await;
    let mut stream = secure(port, "old.example").await.unwrap();
    let new = [certificate("default", &["new.example"])];
    rig.serve(&table(port, POLICY, &new)).await;
    assert!(has(&shown(&secure(port, "x.example").await.unwrap()), "new.example"));
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(message(&mut stream, &mut Vec::new()).await.unwrap().ends_with("secure"));
    rig.end().await;
}

#[tokio::test]
async fn a_certificate_that_is_none_is_a_problem_of_its_listener() {
    let port = free_port();
    let mut bad = certificate("bad", &["x.example"]);
    bad.private_key = "nothing".to_owned();
    let rig = Rig::start().await;
    let problems = rig.serve(&table(port, POLICY, &[bad])).await;
    assert_eq!(
        problems.iter().map(|p| &*p.listener).collect::<Vec<_>>(),
        [format!("arn-web-{port}")]
    );
    assert!(secure(port, "x.example").await.is_err());
    rig.end().await;
}

#[tokio::test]
async fn a_certificate_that_is_none_leaves_the_others_served() {
    let port = free_port();
    let mut bad = certificate("bad", &["x.example"]);
    bad.private_key = "nothing".to_owned();
    let good = [
        certificate("default", &["default.example"]),
        bad,
        certificate("two", &["two.example"]),
    ];
    let rig = Rig::start().await;
    assert_eq!(rig.serve(&table(port, POLICY, &good)).await.len(), 1);
    for (asked, given) in [("x.example", "default.example"), ("two.example", "two.example")] {
        assert!(has(&shown(&secure(port, asked).await.unwrap()), given), "{asked}");
    }
    rig.end().await;
}
