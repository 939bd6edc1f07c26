use super::*;

fn input(own: &Own, chain: Option<&str>) -> Value {
    let mut input = json!({"Certificate": blob(&own.pem), "PrivateKey": blob(&own.key_pem)});
    if let Some(chain) = chain {
        input["CertificateChain"] = blob(chain);
    }
    input
}

#[tokio::test]
async fn an_imported_certificate_is_described_as_what_it_is() {
    let bed = Bed::new().await;
    let root = own(&[], true, None, |_| {});
    let leaf = own(&["www.example.com", "*.example.net"], false, Some(&root), |_| {});
    let mut asked = input(&leaf, Some(&root.pem));
    asked["Tags"] = json!([{"Key": "a", "Value": "1"}]);
    let arn = arn_of(&bed.ok("ImportCertificate", asked).await);
    let told = bed.describe(&arn).await;
    for (member, value) in [
        ("DomainName", json!("www.example.com")),
        ("SubjectAlternativeNames", json!(["www.example.com", "*.example.net"])),
        ("Status", json!("ISSUED")),
        ("Type", json!("IMPORTED")),
        ("CertificateKeyPairOrigin", json!("CUSTOMER_PROVIDED")),
        ("Issuer", json!("Example authority")),
        ("KeyAlgorithm", json!("EC_prime256v1")),
        ("RenewalEligibility", json!("INELIGIBLE")),
        ("ImportedAt", json!(bed.now())),
    ] {
        assert_eq!(told[member], value, "{member}");
    }
    for absent in ["DomainValidationOptions", "IssuedAt", "RenewalSummary"] {
        assert!(told.get(absent).is_none_or(Value::is_null), "{absent}");
    }
    let found = crate::find(&bed.store.snapshot(), &arn).unwrap();
    assert_eq!(found.domains, ["www.example.com", "*.example.net"]);
    bed.admitted(&arn);
    let keys = stored_keys(&bed.store);
    assert!(keys.len() == 1 && !is_readable(&keys[0]));
    bed.clock.advance(DAY * 500);
    assert_eq!(bed.describe(&arn).await["Status"], "EXPIRED");
}

#[tokio::test]
async fn what_does_not_belong_together_is_refused_and_leaves_nothing() {
    let bed = Bed::new().await;
    let root = own(&[], true, None, |_| {});
    let leaf = own(&["www.example.com"], false, Some(&root), |_| {});
    let alone = own(&["www.example.com"], false, None, |_| {});
    let expired = own(&["www.example.com"], false, None, |p| {
        p.not_after = rcgen::date_time_ymd(2026, 2, 1)
    });
    let early = own(&["www.example.com"], false, None, |p| {
        p.not_before = rcgen::date_time_ymd(2027, 1, 1)
    });
    let foreign_key = Own {
        key_pem: root.key_pem.clone(),
        ..own(&["www.example.com"], false, None, |_| {})
    };
    let no_pem = Own {
        pem: "hello".into(),
        ..own(&["www.example.com"], false, None, |_| {})
    };
    for (asked, says) in [
        (input(&leaf, None), "not a valid self signed"),
        (input(&alone, Some(&root.pem)), "with the certificate chain"),
        (input(&leaf, Some("hello")), "certificate chain is in PEM format"),
        (input(&expired, None), "expired"),
        (input(&early, None), "not valid before 2027-01-01"),
        (input(&foreign_key, None), "does not match"),
        (input(&no_pem, None), "certificate is in PEM format"),
    ] {
        let (code, message) = bed.refused("ImportCertificate", asked).await;
        assert_eq!(code, "ValidationException");
        assert!(message.contains(says), "{message}");
    }
    assert_eq!(bed.store.snapshot().range::<crate::CertificateRecord>("").count(), 0);
}

#[tokio::test]
async fn a_reimport_keeps_arn_and_tags_and_replaces_the_rest() {
    let bed = Bed::new().await;
    let first = own(&["www.example.com"], false, None, |_| {});
    let mut asked = input(&first, None);
    asked["Tags"] = json!([{"Key": "a", "Value": "1"}]);
    let arn = arn_of(&bed.ok("ImportCertificate", asked).await);
    let created = bed.describe(&arn).await["CreatedAt"].clone();
    bed.clock.advance(DAY);
    let second = own(&["www.example.com", "more.example.com"], false, None, |_| {});
    let again = |own: &Own| {
        let mut asked = input(own, None);
        asked["CertificateArn"] = json!(arn);
        asked
    };
    assert_eq!(arn_of(&bed.ok("ImportCertificate", again(&second)).await), arn);
    let told = bed.describe(&arn).await;
    assert_eq!(
        told["SubjectAlternativeNames"],
        json!(["www.example.com", "more.example.com"])
    );
    assert_eq!((&told["CreatedAt"], &told["ImportedAt"]), (&created, &json!(bed.now())));
    let listed = bed.ok("ListTagsForCertificate", json!({"CertificateArn": arn})).await;
    assert_eq!(listed["Tags"], json!([{"Key": "a", "Value": "1"}]));
    bed.admitted(&arn);

    let mut tagged = again(&second);
    tagged["Tags"] = json!([{"Key": "b", "Value": "2"}]);
    assert_eq!(
        bed.refused("ImportCertificate", tagged).await.0,
        "InvalidParameterException"
    );
    let nameless = own(&[], false, None, |_| {});
    let (code, message) = bed.refused("ImportCertificate", again(&nameless)).await;
    assert_eq!(code, "ValidationException");
    assert!(message.contains("domain name"), "{message}");
    let narrower = own(&["www.example.com"], false, None, |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    assert_eq!(
        bed.refused("ImportCertificate", again(&narrower)).await.0,
        "ValidationException"
    );
    let issued = bed
        .request(json!({"DomainName": "a.example.com", "KeyAlgorithm": "EC_prime256v1"}))
        .await;
    let mut over_issued = again(&second);
    over_issued["CertificateArn"] = json!(issued);
    assert_eq!(
        bed.refused("ImportCertificate", over_issued).await.0,
        "ValidationException"
    );
    let mut nowhere = again(&second);
    nowhere["CertificateArn"] = json!("arn:aws:acm:us-east-1:000000000000:certificate/none");
    assert_eq!(
        bed.refused("ImportCertificate", nowhere).await.0,
        "ResourceNotFoundException"
    );
    assert_eq!(bed.describe(&arn).await, told, "refusals change nothing");
}
