use super::*;

/// Domain names of the listing, all pages.
async fn listed(bed: &Bed, mut input: Value) -> Vec<String> {
    let mut out = Vec::new();
    loop {
        let page = bed.ok("ListCertificates", input.clone()).await;
        let names = page["CertificateSummaryList"].as_array().unwrap().iter();
        out.extend(names.map(|one| one["DomainName"].as_str().unwrap_or("-").to_owned()));
        match page.get("NextToken").and_then(Value::as_str) {
            Some(token) => input["NextToken"] = token.into(),
            None => return out,
        }
    }
}

#[tokio::test]
async fn listings_are_filtered_sorted_and_paged() {
    let bed = Bed::new().await;
    for name in ["a", "b", "c"] {
        bed.request(json!({"DomainName": format!("{name}.example.com"), "KeyAlgorithm": "EC_prime256v1"}))
            .await;
        bed.clock.advance(Duration::from_secs(1));
    }
    let rsa = bed.request(json!({"DomainName": "rsa.example.com"})).await;
    let own = own(&["own.example.com"], false, None, |params| {
        params.not_after = rcgen::date_time_ymd(2027, 1, 1);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    let asked = json!({"Certificate": blob(&own.pem), "PrivateKey": blob(&own.key_pem)});
    bed.clock.advance(Duration::from_secs(1));
    bed.ok("ImportCertificate", asked).await;

    assert_eq!(
        listed(&bed, json!({})).await,
        ["rsa.example.com"],
        "as AWS: only RSA unless asked"
    );
    let ec = || json!({"keyTypes": ["EC_prime256v1"]});
    for max in [1, 2, 5] {
        let sorted =
            |order: &str| json!({"Includes": ec(), "SortBy": "CREATED_AT", "SortOrder": order, "MaxItems": max});
        let mut names = listed(&bed, sorted("ASCENDING")).await;
        assert_eq!(
            names,
            ["a.example.com", "b.example.com", "c.example.com", "own.example.com"]
        );
        names.reverse();
        assert_eq!(listed(&bed, sorted("DESCENDING")).await, names);
        assert_eq!(listed(&bed, json!({"Includes": ec(), "MaxItems": max})).await.len(), 4);
    }
    let with = |filter: &str, value: Value| {
        let mut includes = ec();
        includes[filter] = value;
        json!({"Includes": includes})
    };
    assert_eq!(
        listed(&bed, with("extendedKeyUsage", json!(["TLS_WEB_CLIENT_AUTHENTICATION"])))
            .await
            .len(),
        4
    );
    assert_eq!(
        listed(&bed, with("extendedKeyUsage", json!(["TLS_WEB_SERVER_AUTHENTICATION"])))
            .await
            .len(),
        3
    );
    assert!(listed(&bed, with("keyUsage", json!(["CRL_SIGNING"]))).await.is_empty());
    assert!(listed(&bed, with("exportOption", json!("ENABLED"))).await.is_empty());
    assert!(listed(&bed, with("managedBy", json!("CLOUDFRONT"))).await.is_empty());
    let imported = json!({"Includes": ec(), "CertificateKeyPairOrigins": ["CUSTOMER_PROVIDED"]});
    assert_eq!(listed(&bed, imported).await, ["own.example.com"]);
    bed.in_use(Some(&rsa));
    let summary = bed.ok("ListCertificates", json!({})).await["CertificateSummaryList"][0].clone();
    assert_eq!(
        (&summary["InUse"], &summary["Status"]),
        (&json!(true), &json!("ISSUED"))
    );
    bed.clock.advance(DAY * 60);
    let expired = json!({"Includes": ec(), "CertificateStatuses": ["EXPIRED"]});
    assert_eq!(listed(&bed, expired).await, ["own.example.com"]);
    let pending = json!({"Includes": ec(), "CertificateStatuses": ["PENDING_VALIDATION"]});
    assert!(listed(&bed, pending).await.is_empty());
}

#[tokio::test]
async fn half_a_sorting_and_tokens_of_other_listings_are_refused() {
    let bed = Bed::new().await;
    for name in ["a", "b"] {
        bed.request(json!({"DomainName": format!("{name}.example.com"), "KeyAlgorithm": "EC_prime256v1"}))
            .await;
    }
    assert_eq!(
        bed.refused("ListCertificates", json!({"SortBy": "CREATED_AT"})).await.0,
        "ValidationException"
    );
    assert_eq!(
        bed.refused("ListCertificates", json!({"SortOrder": "ASCENDING"}))
            .await
            .0,
        "ValidationException"
    );
    let includes = json!({"keyTypes": ["EC_prime256v1"]});
    let page = bed
        .ok("ListCertificates", json!({"Includes": includes, "MaxItems": 1}))
        .await;
    let token = page["NextToken"].clone();
    assert!(token.is_string());
    let other = json!({"SortBy": "CREATED_AT", "SortOrder": "ASCENDING", "NextToken": token});
    assert_eq!(bed.refused("ListCertificates", other).await.0, "InvalidArgsException");
    assert_eq!(
        bed.refused("ListCertificates", json!({"NextToken": "x"})).await.0,
        "InvalidArgsException"
    );
}
