use super::*;

#[tokio::test]
async fn a_requested_certificate_is_issued_at_once_and_its_key_is_only_in_the_seal() {
    let bed = Bed::new().await;
    let arn = bed
        .request(json!({
            "DomainName": "WWW.example.com", "SubjectAlternativeNames": ["*.example.com", "example.com", "www.Example.com"],
            "ValidationMethod": "DNS", "Tags": [{"Key": "team", "Value": "web"}],
        }))
        .await;
    assert!(
        arn.starts_with("arn:aws:acm:us-east-1:000000000000:certificate/"),
        "{arn}"
    );
    let told = bed.describe(&arn).await;
    for (member, value) in [
        ("CertificateArn", json!(arn)),
        ("DomainName", json!("www.example.com")),
        (
            "SubjectAlternativeNames",
            json!(["www.example.com", "*.example.com", "example.com"]),
        ),
        ("Status", json!("ISSUED")),
        ("Type", json!("AMAZON_ISSUED")),
        ("CertificateKeyPairOrigin", json!("AWS_MANAGED")),
        ("KeyAlgorithm", json!("RSA_2048")),
        ("SignatureAlgorithm", json!("SHA256WITHECDSA")),
        ("Subject", json!("CN=www.example.com")),
        ("Issuer", json!("Neargate")),
        (
            "KeyUsages",
            json!([{"Name": "DIGITAL_SIGNATURE"}, {"Name": "KEY_ENCIPHERMENT"}]),
        ),
        ("RenewalEligibility", json!("ELIGIBLE")),
        ("InUseBy", json!([])),
        ("IssuedAt", json!(bed.now())),
        (
            "Options",
            json!({"CertificateTransparencyLoggingPreference": "ENABLED", "Export": "DISABLED"}),
        ),
    ] {
        assert_eq!(told[member], value, "{member}");
    }
    let days = (told["NotAfter"].as_f64().unwrap() - bed.now().secs() as f64) / 86_400.0;
    assert_eq!(days, 395.0);
    let validations = told["DomainValidationOptions"].as_array().unwrap();
    assert_eq!(validations.len(), 3);
    for validation in validations {
        assert_eq!(validation["ValidationStatus"], "SUCCESS");
        assert_eq!(validation["ValidationMethod"], "DNS");
        assert_eq!(validation["ResourceRecord"]["Type"], "CNAME");
    }
    let record = |at: usize| validations[at]["ResourceRecord"].clone();
    assert_eq!(record(1), record(2), "a wildcard is proved by the record of its domain");
    let (name, value) = (record(0)["Name"].clone(), record(0)["Value"].clone());
    assert!(name.as_str().unwrap().ends_with(".www.example.com."), "{name}");
    assert!(value.as_str().unwrap().ends_with(".acm-validations.aws."), "{value}");

    let admitted = bed.admitted(&arn);
    assert_eq!(admitted.chain_pem, Some(bed.authority_pem()));
    let got = bed.ok("GetCertificate", json!({"CertificateArn": arn})).await;
    assert_eq!(got["Certificate"], json!(admitted.certificate_pem));
    assert_eq!(got["CertificateChain"], json!(bed.authority_pem()));
    let printed = format!("{:?}", bed.store.snapshot());
    for text in [printed, got.to_string(), told.to_string()] {
        assert!(!text.contains("PRIVATE KEY"), "{text}");
    }
    let keys = stored_keys(&bed.store);
    assert!(keys.len() == 1 && !is_readable(&keys[0]));
    assert!(is_readable(admitted.key_pem.as_bytes()));
}

#[tokio::test]
async fn every_kind_of_key_that_aws_issues_is_issued_and_the_others_are_refused_by_name() {
    let bed = Bed::new().await;
    for (algorithm, validation) in [("RSA_2048", "DNS"), ("EC_prime256v1", "EMAIL"), ("EC_secp384r1", "DNS")] {
        let arn = bed
            .request(json!({"DomainName": "a.localhost", "KeyAlgorithm": algorithm, "ValidationMethod": validation}))
            .await;
        let told = bed.describe(&arn).await;
        assert_eq!(told["KeyAlgorithm"], algorithm);
        assert_eq!(told["DomainValidationOptions"][0]["ValidationMethod"], validation);
        assert_eq!(bed.admitted(&arn).facts.key_algorithm.as_str(), algorithm);
    }
    for algorithm in ["RSA_1024", "RSA_3072", "RSA_4096", "EC_secp521r1"] {
        let input = json!({"DomainName": "a.localhost", "KeyAlgorithm": algorithm});
        let (code, message) = bed.refused("RequestCertificate", input).await;
        assert_eq!(code, "InvalidParameterException");
        assert!(message.contains(algorithm), "{message}");
    }
}

#[tokio::test]
async fn mail_validation_tells_whom_it_would_have_asked() {
    let bed = Bed::new().await;
    let options = json!([{"DomainName": "www.example.com", "ValidationDomain": "example.com"}]);
    let arn = bed
        .request(json!({"DomainName": "www.example.com", "DomainValidationOptions": options}))
        .await;
    let validation = bed.describe(&arn).await["DomainValidationOptions"][0].clone();
    assert_eq!(validation["ValidationMethod"], "EMAIL");
    assert_eq!(validation["ValidationDomain"], "example.com");
    assert!(
        validation["ValidationEmails"]
            .as_array()
            .unwrap()
            .contains(&json!("admin@example.com"))
    );
    assert!(validation.get("ResourceRecord").is_none_or(Value::is_null));
}

#[tokio::test]
async fn what_is_not_supported_or_makes_no_sense_is_refused_and_leaves_nothing() {
    let bed = Bed::new().await;
    let pca = "arn:aws:acm-pca:us-east-1:000000000000:certificate-authority/11111111-2222-3333-4444-555555555555";
    let many: Vec<String> = (0..101).map(|n| format!("{n}.example.com")).collect();
    let long = format!("{}.{}.com", "a".repeat(40), "b".repeat(40));
    let validation = |of: &str, by: &str| json!([{"DomainName": of, "ValidationDomain": by}]);
    for (change, code, names) in [
        (
            json!({"CertificateAuthorityArn": pca}),
            "InvalidParameterException",
            "CertificateAuthorityArn",
        ),
        (
            json!({"ManagedBy": "CLOUDFRONT"}),
            "InvalidParameterException",
            "ManagedBy",
        ),
        (
            json!({"Options": {"Export": "ENABLED"}}),
            "InvalidParameterException",
            "Export",
        ),
        (
            json!({"Options": {"ValidationMethod": "DNS"}}),
            "InvalidParameterException",
            "Options.ValidationMethod",
        ),
        (json!({"ValidationMethod": "HTTP"}), "InvalidParameterException", "HTTP"),
        (json!({"DomainName": long}), "InvalidParameterException", "64"),
        (
            json!({"SubjectAlternativeNames": many}),
            "LimitExceededException",
            "100",
        ),
        (
            json!({"Tags": [{"Key": "aws:x", "Value": ""}]}),
            "InvalidTagException",
            "aws:x",
        ),
        (
            json!({"DomainValidationOptions": validation("www.example.com", "other.com")}),
            "InvalidDomainValidationOptionsException",
            "other.com",
        ),
        (
            json!({"DomainValidationOptions": validation("no.example.com", "example.com")}),
            "InvalidDomainValidationOptionsException",
            "no.example.com",
        ),
    ] {
        let mut input = json!({"DomainName": "www.example.com"});
        input
            .as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        let (told, message) = bed.refused("RequestCertificate", input.clone()).await;
        assert_eq!(told, code, "{input}: {message}");
        assert!(message.contains(names), "{message}");
    }
    assert_eq!(bed.store.snapshot().range::<crate::CertificateRecord>("").count(), 0);
}

#[tokio::test]
async fn a_token_gets_one_certificate_within_an_hour() {
    let bed = Bed::new().await;
    let input = json!({"DomainName": "a.example.com", "KeyAlgorithm": "EC_prime256v1", "IdempotencyToken": "once"});
    let (one, two) = tokio::join!(bed.request(input.clone()), bed.request(input.clone()));
    assert_eq!(one, two);
    let mut other = input.clone();
    other["DomainName"] = "b.example.com".into();
    let (code, message) = bed.refused("RequestCertificate", other).await;
    assert_eq!(code, "InvalidParameterException", "{message}");
    bed.clock.advance(Duration::from_secs(60 * 60 - 1));
    assert_eq!(bed.request(input.clone()).await, one);
    bed.clock.advance(Duration::from_secs(1));
    let later = bed.request(input.clone()).await;
    assert_ne!(later, one);
    bed.ok("DeleteCertificate", json!({"CertificateArn": later})).await;
    assert_ne!(
        bed.request(input.clone()).await,
        later,
        "a deleted certificate is not answered again"
    );
}

#[tokio::test]
async fn a_certificate_in_use_tells_by_what_and_cannot_be_deleted() {
    let bed = Bed::new().await;
    let arn = bed
        .request(json!({"DomainName": "a.example.com", "KeyAlgorithm": "EC_prime256v1"}))
        .await;
    bed.in_use(Some(&arn));
    assert_eq!(bed.describe(&arn).await["InUseBy"], json!([LOAD_BALANCER]));
    let (code, message) = bed.refused("DeleteCertificate", json!({"CertificateArn": arn})).await;
    assert_eq!(code, "ResourceInUseException");
    assert!(message.contains(&arn), "{message}");
    bed.in_use(None);
    bed.ok("DeleteCertificate", json!({"CertificateArn": arn})).await;
    assert!(crate::find(&bed.store.snapshot(), &arn).is_none());
    for operation in [
        "DescribeCertificate",
        "GetCertificate",
        "DeleteCertificate",
        "ListTagsForCertificate",
    ] {
        let (code, message) = bed.refused(operation, json!({"CertificateArn": arn})).await;
        assert_eq!(code, "ResourceNotFoundException", "{operation}");
        assert!(message.contains(&arn), "{message}");
    }
}

#[tokio::test]
async fn a_commit_that_begins_to_use_a_certificate_excludes_its_deletion() {
    let bed = Bed::new().await;
    let arn = bed
        .request(json!({"DomainName": "a.example.com", "KeyAlgorithm": "EC_prime256v1"}))
        .await;
    let before = bed.store.snapshot();
    bed.ok("DeleteCertificate", json!({"CertificateArn": arn})).await;
    let mut txn = neargate_store::Txn::new();
    assert!(crate::hold(&mut txn, &before, &arn));
    assert!(matches!(
        bed.store.commit(txn).await,
        Err(neargate_store::CommitError::Conflict { .. })
    ));
    let mut txn = neargate_store::Txn::new();
    assert!(!crate::hold(&mut txn, &bed.store.snapshot(), &arn));
}

#[tokio::test]
async fn certificates_belong_to_their_region() {
    let mut bed = Bed::new().await;
    let arn = bed
        .request(json!({"DomainName": "a.example.com", "KeyAlgorithm": "EC_prime256v1"}))
        .await;
    bed.region = "eu-west-1";
    let (code, _) = bed.refused("DescribeCertificate", json!({"CertificateArn": arn})).await;
    assert_eq!(code, "ResourceNotFoundException");
    let wrong = "arn:aws:acm:eu-west-1:000000000000:something/else";
    let (code, _) = bed
        .refused("DescribeCertificate", json!({"CertificateArn": wrong}))
        .await;
    assert_eq!(code, "InvalidArnException");
}

#[tokio::test]
async fn tags_are_added_replaced_and_removed_by_key_or_by_key_and_value() {
    let bed = Bed::new().await;
    let tags = json!([{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}]);
    let arn = bed
        .request(json!({"DomainName": "a.example.com", "KeyAlgorithm": "EC_prime256v1", "Tags": tags}))
        .await;
    let with = |tags: Value| json!({"CertificateArn": arn, "Tags": tags});
    bed.ok(
        "AddTagsToCertificate",
        with(json!([{"Key": "b", "Value": "3"}, {"Key": "c"}])),
    )
    .await;
    bed.ok(
        "RemoveTagsFromCertificate",
        with(json!([{"Key": "a", "Value": "other"}, {"Key": "c"}])),
    )
    .await;
    let listed = bed.ok("ListTagsForCertificate", json!({"CertificateArn": arn})).await;
    assert_eq!(
        listed["Tags"],
        json!([{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "3"}])
    );
    let many: Vec<Value> = (0..49).map(|n| json!({"Key": format!("k{n}"), "Value": ""})).collect();
    let (code, _) = bed.refused("AddTagsToCertificate", with(json!(many))).await;
    assert_eq!(code, "TooManyTagsException");
    let (code, _) = bed.refused("AddTagsToCertificate", with(json!([{"Key": "a<b"}]))).await;
    assert_eq!(code, "InvalidTagException");
}

#[tokio::test]
async fn options_of_a_requested_certificate_can_be_changed() {
    let bed = Bed::new().await;
    let mail = json!({ "DomainName": "example.com", "ValidationMethod": "EMAIL" });
    let arn = bed.call("RequestCertificate", mail).await.unwrap()["CertificateArn"].clone();
    let update = |options: Value| json!({ "CertificateArn": arn, "Options": options });
    let options = json!({ "CertificateTransparencyLoggingPreference": "DISABLED", "ValidationMethod": "DNS" });
    bed.call("UpdateCertificateOptions", update(options)).await.unwrap();
    let told = bed.describe(arn.as_str().unwrap()).await;
    assert_eq!(told["Options"]["CertificateTransparencyLoggingPreference"], "DISABLED");
    assert_eq!(told["DomainValidationOptions"][0]["ValidationMethod"], "DNS");
    for options in [json!({ "Export": "ENABLED" }), json!({ "ValidationMethod": "EMAIL" })] {
        let refused = bed.refused("UpdateCertificateOptions", update(options)).await;
        assert_eq!(refused.0, "ValidationException");
    }
}
