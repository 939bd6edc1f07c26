use super::*;
use crate::AuthorityError;
use crate::records::AuthorityRecord;

#[tokio::test]
async fn the_authority_is_made_once_and_its_certificate_lies_in_the_data_directory() {
    let mut bed = Bed::new().await;
    let pem = bed.authority_pem();
    let file = bed.dir.path().join("ca.pem");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), pem);
    let facts = neargate_x509::facts(&pem).unwrap();
    assert_eq!(facts.issuer, "Neargate");
    assert!(facts.not_after > bed.now().plus(DAY * 3650));
    let before = bed
        .request(json!({"DomainName": "a.example.com", "KeyAlgorithm": "EC_prime256v1"}))
        .await;
    std::fs::remove_file(&file).unwrap();
    bed.restart().await;
    assert_eq!(bed.authority_pem(), pem);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), pem, "the file is put back");
    let after = bed
        .request(json!({"DomainName": "b.example.com", "KeyAlgorithm": "EC_prime256v1"}))
        .await;
    bed.admitted(&before);
    bed.admitted(&after);
}

#[tokio::test]
async fn instances_that_open_together_agree_on_one_authority() {
    let bed = Bed::new().await;
    let store = Store::in_memory(&crate::kinds());
    let (one, two) = tokio::join!(
        open(&store, &bed.dir, &bed.clock, &bed.used),
        open(&store, &bed.dir, &bed.clock, &bed.used)
    );
    assert_eq!(one.authority_pem(), two.authority_pem());
}

#[tokio::test]
async fn an_authority_near_its_end_goes_on_under_the_same_name_and_key() {
    let mut bed = Bed::new().await;
    let old = bed.authority_pem();
    bed.clock.advance(DAY * 3300);
    bed.restart().await;
    let new = bed.authority_pem();
    assert_ne!(old, new);
    let arn = bed
        .request(json!({"DomainName": "a.example.com", "KeyAlgorithm": "EC_prime256v1"}))
        .await;
    let found = crate::find(&bed.store.snapshot(), &arn).unwrap();
    let key = bed.acm.seal.open(&found.context, &found.sealed_key).unwrap();
    let leaf = bed.ok("GetCertificate", json!({"CertificateArn": arn})).await["Certificate"].clone();
    for trusted in [old, new] {
        let leaf = leaf.as_str().unwrap().as_bytes();
        assert!(neargate_x509::admit(leaf, Some(trusted.as_bytes()), &key, bed.now()).is_ok());
    }
}

#[tokio::test]
async fn without_its_master_key_the_authority_says_so_instead_of_making_another() {
    let bed = Bed::new().await;
    let before = bed
        .store
        .snapshot()
        .get::<AuthorityRecord>(AuthorityRecord::KEY)
        .unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let acm = Acm {
        seal: Arc::new(Seal::open_or_create(elsewhere.path().join("master.key")).unwrap()),
        ..(*bed.acm).clone()
    };
    let opened = acm.open(&elsewhere.path().join("ca.pem")).await;
    assert!(matches!(opened, Err(AuthorityError::Key(_))));
    let after = bed
        .store
        .snapshot()
        .get::<AuthorityRecord>(AuthorityRecord::KEY)
        .unwrap();
    assert_eq!(after.record, before.record);
    assert!(!elsewhere.path().join("ca.pem").exists());
}
