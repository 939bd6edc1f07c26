use crate::{Admitted, Fault, KeyAlgorithm, admit, facts};
use neargate_core::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};

/// 2026-12-01.
const NOW: Timestamp = Timestamp::from_secs(1_796_083_200);

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("fixtures/", $name))
    };
}

fn try_admit(certificate: &str, chain: Option<&str>, key: &str) -> Result<Admitted, Fault> {
    admit(certificate.as_bytes(), chain.map(str::as_bytes), key.as_bytes(), NOW)
}

fn refused(certificate: &str, chain: Option<&str>, key: &str) -> Fault {
    try_admit(certificate, chain, key).expect_err("refused")
}

/// A certificate and what signs with it.
struct Made {
    pem: String,
    key_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

fn made(name: &str, ca: bool, by: Option<&Made>) -> Made {
    let mut params = CertificateParams::new(vec![format!("{name}.Example.com"), "*.example.net".into()]).unwrap();
    params
        .distinguished_name
        .push(DnType::CommonName, format!("{name}.example.com"));
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2027, 1, 1);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    if ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    }
    let key = KeyPair::generate().unwrap();
    let pem = match by {
        Some(by) => params.signed_by(&key, &by.issuer).unwrap().pem(),
        None => params.self_signed(&key).unwrap().pem(),
    };
    Made {
        pem,
        key_pem: key.serialize_pem(),
        issuer: Issuer::new(params, key),
    }
}

#[test]
fn a_certificate_is_let_through_with_its_chain_and_says_what_it_is() {
    let root = made("root", true, None);
    let middle = made("middle", true, Some(&root));
    let leaf = made("www", false, Some(&middle));
    let chain = format!("{}{}", middle.pem, root.pem);
    let admitted = try_admit(&leaf.pem, Some(&chain), &leaf.key_pem).unwrap();
    assert!(!admitted.self_signed);
    let facts = &admitted.facts;
    assert_eq!(facts.domains, ["www.example.com", "*.example.net"]);
    assert_eq!(
        (facts.subject.as_str(), facts.issuer.as_str()),
        ("CN=www.example.com", "middle.example.com")
    );
    assert_eq!(facts.key_algorithm, KeyAlgorithm::EC_prime256v1);
    assert_eq!(facts.signature_algorithm, "SHA256WITHECDSA");
    assert_eq!(facts.key_usages, ["DIGITAL_SIGNATURE"]);
    let usage = &facts.extended_key_usages[0];
    assert_eq!(
        (usage.name.as_str(), usage.oid.as_str()),
        ("TLS_WEB_SERVER_AUTHENTICATION", "1.3.6.1.5.5.7.3.1")
    );
    assert_eq!(facts.not_after.iso8601(), "2027-01-01T00:00:00.000Z");
    let windows = chain.replace('\n', "\r\n");
    assert_eq!(
        try_admit(&leaf.pem, Some(&windows), &leaf.key_pem).unwrap().chain_pem,
        admitted.chain_pem
    );
    let again = crate::facts(&admitted.certificate_pem).unwrap();
    assert_eq!(&again, facts);
    assert!(try_admit(&root.pem, None, &root.key_pem).unwrap().self_signed);
}

#[test]
fn a_chain_out_of_order_or_of_others_is_refused_at_its_place() {
    let root = made("root", true, None);
    let middle = made("middle", true, Some(&root));
    let leaf = made("www", false, Some(&middle));
    let no_authority = made("plain", false, Some(&root));
    let below_it = made("www", false, Some(&no_authority));
    // Same name, another key.
    let impostor = made("middle", true, None);
    for (leaf, chain, at) in [
        (&leaf, format!("{}{}", root.pem, middle.pem), 0),
        (&leaf, format!("{}{}{}", middle.pem, middle.pem, root.pem), 1),
        (&leaf, format!("{}{}", leaf.pem, middle.pem), 0),
        (&leaf, impostor.pem, 0),
        (&below_it, no_authority.pem, 0),
    ] {
        assert_eq!(refused(&leaf.pem, Some(&chain), &leaf.key_pem), Fault::ChainBroken(at));
    }
    assert_eq!(refused(&leaf.pem, Some("no chain"), &leaf.key_pem), Fault::ChainNotPem);
    assert_eq!(
        refused(&leaf.pem, Some(&leaf.key_pem), &leaf.key_pem),
        Fault::ChainNotPem
    );
}

#[test]
fn every_kind_of_key_that_acm_knows_is_taken_in_every_form() {
    for (certificate, key, algorithm) in [
        (
            fixture!("rsa1024.pem"),
            fixture!("rsa1024.key.pem"),
            KeyAlgorithm::RSA_1024,
        ),
        (
            fixture!("rsa1024.pem"),
            fixture!("rsa1024.pkcs1.pem"),
            KeyAlgorithm::RSA_1024,
        ),
        (
            fixture!("p256.pem"),
            fixture!("p256.sec1.pem"),
            KeyAlgorithm::EC_prime256v1,
        ),
        (
            fixture!("p521.pem"),
            fixture!("p521.key.pem"),
            KeyAlgorithm::EC_secp521r1,
        ),
    ] {
        let admitted = try_admit(certificate, None, key).unwrap();
        assert_eq!(admitted.facts.key_algorithm, algorithm);
        assert!(admitted.self_signed, "{algorithm:?}");
        let again = try_admit(&admitted.certificate_pem, None, &admitted.key_pem).unwrap();
        assert_eq!(again.facts, admitted.facts);
    }
    let old = try_admit(fixture!("rsa1024.pem"), None, fixture!("rsa1024.key.pem")).unwrap();
    assert_eq!(old.facts.issuer, "Example GmbH");
    assert_eq!(old.facts.signature_algorithm, "SHA256WITHRSA");
    let sec1 = try_admit(fixture!("p256.pem"), None, fixture!("p256.sec1.pem")).unwrap();
    assert_eq!(sec1.facts.domains, ["sec1.example.com"]);
    assert!(sec1.key_pem.starts_with("-----BEGIN EC PRIVATE KEY-----\n"));
    for algorithm in [&rcgen::PKCS_RSA_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let mut params = CertificateParams::new(vec!["www.example.com".into()]).unwrap();
        params.not_after = date_time_ymd(2030, 1, 1);
        let pem = params.self_signed(&key).unwrap().pem();
        assert!(try_admit(&pem, None, &key.serialize_pem()).unwrap().self_signed);
    }
}

#[test]
fn keys_of_others_and_keys_that_nothing_here_takes_are_refused_by_name() {
    let rsa = fixture!("rsa1024.pem");
    let own = made("www", false, None);
    let other = made("www", false, None);
    assert_eq!(refused(&own.pem, None, &other.key_pem), Fault::KeyMismatch);
    assert_eq!(refused(&own.pem, None, fixture!("rsa1024.key.pem")), Fault::KeyMismatch);
    assert_eq!(refused(&own.pem, None, fixture!("p521.key.pem")), Fault::KeyMismatch);
    assert_eq!(refused(rsa, None, &own.key_pem), Fault::KeyMismatch);
    assert_eq!(refused(rsa, None, fixture!("encrypted.pkcs8.pem")), Fault::KeyEncrypted);
    assert_eq!(refused(rsa, None, fixture!("encrypted.pkcs1.pem")), Fault::KeyEncrypted);
    assert_eq!(refused(rsa, None, rsa), Fault::KeyNotPem);
    assert_eq!(refused(rsa, None, ""), Fault::KeyNotPem);
    let nonsense = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    assert_eq!(refused(rsa, None, nonsense), Fault::KeyUnreadable);
    assert_eq!(refused(&own.pem, None, nonsense), Fault::KeyUnreadable);
    let two = format!("{0}{0}", own.key_pem);
    assert_eq!(refused(&own.pem, None, &two), Fault::KeyNotPem);
    let unsupported = |certificate, key| match refused(certificate, None, key) {
        Fault::KeyUnsupported(kind) => kind,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        unsupported(fixture!("rsa1536.pem"), fixture!("rsa1536.key.pem")),
        "RSA with 1536 bits"
    );
    assert_eq!(
        unsupported(fixture!("ed25519.pem"), fixture!("ed25519.key.pem")),
        "algorithm 1.3.101.112"
    );
}

#[test]
fn a_small_rsa_key_whose_numbers_do_not_fit_is_refused() {
    let good = pem::parse(fixture!("rsa1024.pkcs1.pem")).unwrap();
    let mut numbers = good.contents().to_vec();
    // A bit inside the private exponent: n and e still are those of the certificate.
    numbers[200] ^= 1;
    let changed = pem::encode(&pem::Pem::new("RSA PRIVATE KEY", numbers));
    assert_eq!(refused(fixture!("rsa1024.pem"), None, &changed), Fault::KeyUnreadable);
}

#[test]
fn what_is_no_certificate_or_not_valid_now_is_refused() {
    let own = made("www", false, None);
    for text in ["", "no certificate", own.key_pem.as_str()] {
        assert_eq!(refused(text, None, &own.key_pem), Fault::CertificateNotPem);
    }
    let two = format!("{0}{0}", own.pem);
    assert_eq!(refused(&two, None, &own.key_pem), Fault::CertificateCount);
    let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert_eq!(refused(nonsense, None, &own.key_pem), Fault::CertificateUnreadable);
    assert!(facts(nonsense).is_none());
    let at = |now| {
        admit(own.pem.as_bytes(), None, own.key_pem.as_bytes(), now)
            .map(|_| ())
            .unwrap_err()
    };
    let (early, late) = (Timestamp::from_secs(1_000_000_000), Timestamp::from_secs(2_000_000_000));
    assert!(matches!(at(early), Fault::NotYetValid(from) if from.iso8601().starts_with("2026-01-01")));
    assert!(matches!(at(late), Fault::Expired(to) if to.iso8601().starts_with("2027-01-01")));
}
