use super::*;
use crate::records::TokenRecord;
use tokio::sync::watch;

#[tokio::test]
async fn an_issued_certificate_is_renewed_under_its_arn_and_an_imported_one_is_not() {
    let bed = Bed::new().await;
    let arn = bed
        .request(json!({"DomainName": "a.example.com", "KeyAlgorithm": "EC_prime256v1"}))
        .await;
    let own = own(&["own.example.com"], false, None, |_| {});
    let asked = json!({"Certificate": blob(&own.pem), "PrivateKey": blob(&own.key_pem)});
    let imported = arn_of(&bed.ok("ImportCertificate", asked).await);
    let (issued, left) = (bed.describe(&arn).await, bed.describe(&imported).await);

    bed.clock.advance(DAY * 335 - Duration::from_secs(60));
    assert_eq!(
        bed.acm.renew_due().await,
        Duration::from_secs(60),
        "it wakes when the next one is due"
    );
    assert_eq!(bed.describe(&arn).await["Serial"], issued["Serial"]);
    bed.clock.advance(Duration::from_secs(60));
    assert_eq!(bed.acm.renew_due().await, Duration::from_secs(3600));
    let renewed = bed.describe(&arn).await;
    assert_ne!(renewed["Serial"], issued["Serial"]);
    assert_eq!(renewed["CreatedAt"], issued["CreatedAt"]);
    assert_eq!(renewed["SubjectAlternativeNames"], issued["SubjectAlternativeNames"]);
    assert_eq!(renewed["RenewalSummary"]["RenewalStatus"], "SUCCESS");
    assert_eq!(renewed["RenewalSummary"]["UpdatedAt"], json!(bed.now()));
    bed.admitted(&arn);
    assert_eq!(bed.describe(&imported).await["Serial"], left["Serial"]);
    let once = bed.store.snapshot().revision();
    bed.acm.renew_due().await;
    assert_eq!(bed.store.snapshot().revision(), once, "a second pass changes nothing");
}

#[tokio::test]
async fn the_loop_renews_what_became_due_while_nobody_ran_and_stops_when_told() {
    let bed = Bed::new().await;
    let token = json!({"DomainName": "a.example.com", "KeyAlgorithm": "EC_prime256v1", "IdempotencyToken": "t"});
    let arn = bed.request(token).await;
    let serial = bed.describe(&arn).await["Serial"].clone();
    bed.clock.advance(DAY * 500);
    assert_eq!(bed.describe(&arn).await["Status"], "EXPIRED");
    let (stop, stopped) = watch::channel(false);
    let mut revisions = bed.store.revisions();
    let running = tokio::spawn(bed.acm.clone().run(stopped));
    let done = async {
        while bed.describe(&arn).await["Serial"] == serial || bed.store.snapshot().range::<TokenRecord>("").count() > 0
        {
            revisions.changed().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(60), done)
        .await
        .expect("renewed, and the old token forgotten");
    assert_eq!(bed.describe(&arn).await["Status"], "ISSUED");
    stop.send(true).unwrap();
    running.await.unwrap();
}

#[tokio::test]
async fn tags_changed_and_certificates_deleted_before_a_renewal_stay_so() {
    let bed = Bed::new().await;
    let arn = bed
        .request(json!({"DomainName": "a.example.com", "KeyAlgorithm": "EC_prime256v1"}))
        .await;
    let gone = bed
        .request(json!({"DomainName": "b.example.com", "KeyAlgorithm": "EC_prime256v1"}))
        .await;
    bed.clock.advance(DAY * 400);
    let tags = json!([{"Key": "a", "Value": "1"}]);
    let (_, _, _) = tokio::join!(
        bed.acm.renew_due(),
        bed.ok("AddTagsToCertificate", json!({"CertificateArn": arn, "Tags": tags})),
        bed.ok("DeleteCertificate", json!({"CertificateArn": gone})),
    );
    assert_eq!(
        bed.ok("ListTagsForCertificate", json!({"CertificateArn": arn})).await["Tags"],
        tags
    );
    assert_eq!(bed.describe(&arn).await["Status"], "ISSUED");
    assert!(crate::find(&bed.store.snapshot(), &gone).is_none());
}
