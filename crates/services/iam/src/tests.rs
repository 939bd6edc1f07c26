//! Through the service's table, on a store in memory.

use crate::{Iam, ServerCertificateRecord};
use neargate_core::clock::ManualClock;
use neargate_core::ids::RandomIds;
use neargate_core::{AwsError, RequestContext, Timestamp};
use neargate_seal::Seal;
use neargate_store::{Snapshot, Store};
use neargate_wire::dispatch::ServiceDispatch as _;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

/// 2026-12-01T00:00:00Z.
const NOW: Timestamp = Timestamp::from_secs(1_796_083_200);
const LOAD_BALANCER: &str = "arn:aws:elasticloadbalancing:us-east-1:000000000000:loadbalancer/app/web/0123456789abcdef";

/// A service of its own, with everything it stands on.
struct Bed {
    iam: Iam,
    region: &'static str,
    /// ARNs of certificates that a load balancer uses.
    used: Arc<Mutex<BTreeSet<String>>>,
    _dir: TempDir,
}

impl Bed {
    fn new() -> Bed {
        let dir = tempfile::tempdir().unwrap();
        let used: Arc<Mutex<BTreeSet<String>>> = Arc::default();
        let users = used.clone();
        let in_use = move |_: &Snapshot, arn: &str| match users.lock().unwrap().contains(arn) {
            true => vec![LOAD_BALANCER.to_owned()],
            false => Vec::new(),
        };
        Bed {
            iam: Iam {
                store: Store::in_memory(&crate::kinds()),
                clock: Arc::new(ManualClock::at(NOW)),
                ids: Arc::new(RandomIds),
                account: "000000000000".into(),
                seal: Arc::new(Seal::open_or_create(dir.path().join("seal.key")).unwrap()),
                in_use: Arc::new(in_use),
            },
            region: "us-east-1",
            used,
            _dir: dir,
        }
    }

    fn use_by_load_balancer(&self, arns: &[&str]) {
        *self.used.lock().unwrap() = arns.iter().map(|arn| (*arn).to_owned()).collect();
    }

    async fn call(&self, operation: &str, input: Value) -> Result<Value, AwsError> {
        let cx = RequestContext {
            request_id: "r".into(),
            region: self.region.into(),
            account: "000000000000".into(),
            caller_arn: "arn:aws:iam::000000000000:root".into(),
            caller_id: "000000000000".into(),
            access_key: "AKIA".into(),
            now: NOW,
        };
        let running = self.iam.call(operation, &cx, input).expect("served");
        Ok(running.await?.tree().unwrap())
    }

    async fn ok(&self, operation: &str, input: Value) -> Value {
        self.call(operation, input)
            .await
            .unwrap_or_else(|e| panic!("{operation}: {e}"))
    }

    /// The code and the message of a refusal.
    async fn refused(&self, operation: &str, input: Value) -> (String, String) {
        match self.call(operation, input).await {
            Ok(answer) => panic!("{operation} answered {answer}"),
            Err(error) => (error.code.into_owned(), error.message),
        }
    }

    /// Uploads and answers the ARN.
    async fn upload(&self, name: &str, path: &str) -> String {
        let input = upload(name, path, &own(None, false, 2028), None);
        let answer = self.ok("UploadServerCertificate", input).await;
        answer["ServerCertificateMetadata"]["Arn"].as_str().unwrap().to_owned()
    }

    async fn listed(&self, mut input: Value) -> Vec<String> {
        let mut out = Vec::new();
        loop {
            let page = self.ok("ListServerCertificates", input.clone()).await;
            let list = page["ServerCertificateMetadataList"].as_array().unwrap().iter();
            out.extend(list.map(|one| one["ServerCertificateName"].as_str().unwrap().to_owned()));
            let marker = page.get("Marker").and_then(Value::as_str);
            assert_eq!(page["IsTruncated"], json!(marker.is_some()));
            match marker {
                Some(marker) => input["Marker"] = marker.into(),
                None => return out,
            }
        }
    }

    fn key_opens(&self, arn: &str) -> bool {
        let Some(found) = crate::server_certificate(&self.iam.store.snapshot(), arn) else {
            return false;
        };
        let key = self.iam.seal.open(&found.context, &found.sealed_key).unwrap();
        assert_eq!(found.arn, arn);
        key.starts_with(b"-----BEGIN PRIVATE KEY-----")
    }
}

struct Own {
    pem: String,
    key_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

fn own(by: Option<&Own>, ca: bool, until: i32) -> Own {
    let mut params = CertificateParams::new(vec!["www.example.com".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(until, 1, 1);
    if ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    let key = KeyPair::generate().unwrap();
    let pem = match by {
        Some(by) => params.signed_by(&key, &by.issuer).unwrap().pem(),
        None => params.self_signed(&key).unwrap().pem(),
    };
    Own {
        pem,
        key_pem: key.serialize_pem(),
        issuer: Issuer::new(params, key),
    }
}

fn upload(name: &str, path: &str, own: &Own, chain: Option<&str>) -> Value {
    let mut input = json!({
        "ServerCertificateName": name, "Path": path, "CertificateBody": own.pem, "PrivateKey": own.key_pem,
    });
    if let Some(chain) = chain {
        input["CertificateChain"] = chain.into();
    }
    input
}

fn named(name: &str) -> Value {
    json!({"ServerCertificateName": name})
}

#[tokio::test]
async fn an_uploaded_certificate_is_answered_as_it_was_sent_without_its_key() {
    let bed = Bed::new();
    let root = own(None, true, 2028);
    let leaf = own(Some(&root), false, 2028);
    let mut input = upload("web", "/company/", &leaf, Some(&root.pem));
    input["Tags"] = json!([{"Key": "a", "Value": "1"}]);
    let answer = bed.ok("UploadServerCertificate", input).await;
    let metadata = answer["ServerCertificateMetadata"].clone();
    let arn = "arn:aws:iam::000000000000:server-certificate/company/web";
    assert_eq!(
        (&metadata["Arn"], &metadata["Path"]),
        (&json!(arn), &json!("/company/"))
    );
    assert_eq!(metadata["UploadDate"], json!(NOW));
    assert_eq!(
        metadata["Expiration"],
        json!(Timestamp::parse_iso8601("2028-01-01T00:00:00Z"))
    );
    let id = metadata["ServerCertificateId"].as_str().unwrap();
    assert!(id.starts_with("ASCA") && id.len() == 21, "{id}");
    let got = bed.ok("GetServerCertificate", named("web")).await["ServerCertificate"].clone();
    assert_eq!(got["ServerCertificateMetadata"], metadata);
    assert_eq!(got["CertificateBody"], json!(leaf.pem.trim()));
    assert_eq!(got["CertificateChain"], json!(root.pem.trim()));
    assert_eq!(got["Tags"], json!([{"Key": "a", "Value": "1"}]));
    assert!(!got.to_string().contains("PRIVATE KEY"));
    let found = crate::server_certificate(&bed.iam.store.snapshot(), arn).unwrap();
    assert_eq!(found.domains, ["www.example.com"]);
    let opened = bed.iam.seal.open(&found.context, &found.sealed_key).unwrap();
    assert_eq!(opened.as_slice(), leaf.key_pem.replace("\r\n", "\n").as_bytes());
    assert_eq!(found.chain_pem.matches("BEGIN CERTIFICATE").count(), 2);
    assert!(crate::server_certificate(&bed.iam.store.snapshot(), "arn:aws:iam::000000000000:role/x").is_none());
}

#[tokio::test]
async fn what_does_not_belong_together_or_is_there_already_is_refused() {
    let bed = Bed::new();
    let root = own(None, true, 2028);
    let leaf = own(Some(&root), false, 2028);
    let other = own(None, true, 2028);
    let foreign_key = Own {
        key_pem: other.key_pem.clone(),
        ..own(None, false, 2028)
    };
    let change = |member: &str, value: &str| {
        let mut input = upload("web", "/", &leaf, Some(&root.pem));
        input[member] = value.into();
        input
    };
    for (input, code, says) in [
        (upload("web", "/", &foreign_key, None), "KeyPairMismatch", "match"),
        (change("CertificateBody", "hello"), "MalformedCertificate", "PEM"),
        (
            change("CertificateBody", &format!("{0}{0}", leaf.pem)),
            "MalformedCertificate",
            "one public key",
        ),
        (
            change("CertificateChain", "hello"),
            "MalformedCertificate",
            "chain is in PEM",
        ),
        (
            change("CertificateChain", &other.pem),
            "MalformedCertificate",
            "invalid certificate is: 0",
        ),
        (
            change("PrivateKey", "hello"),
            "MalformedCertificate",
            "Private Key is not in PEM",
        ),
        (
            upload("web", "/", &own(None, false, 2026), None),
            "MalformedCertificate",
            "expired",
        ),
    ] {
        let (told, message) = bed.refused("UploadServerCertificate", input).await;
        assert_eq!(told, code, "{message}");
        assert!(message.contains(says), "{message}");
    }
    assert!(bed.listed(json!({})).await.is_empty());
    bed.upload("web", "/").await;
    let (code, message) = bed
        .refused("UploadServerCertificate", upload("web", "/other/", &leaf, None))
        .await;
    assert_eq!(code, "EntityAlreadyExists");
    assert_eq!(message, "The Server Certificate with name web already exists.");
    for operation in [
        "GetServerCertificate",
        "DeleteServerCertificate",
        "ListServerCertificateTags",
    ] {
        let (code, message) = bed.refused(operation, named("nobody")).await;
        assert_eq!(code, "NoSuchEntity");
        assert_eq!(message, "The Server Certificate with name nobody cannot be found.");
    }
}

#[tokio::test]
async fn of_two_uploads_of_one_name_one_wins() {
    let bed = Bed::new();
    let leaf = own(None, false, 2028);
    let (one, two) = tokio::join!(
        bed.call("UploadServerCertificate", upload("web", "/", &leaf, None)),
        bed.call("UploadServerCertificate", upload("web", "/", &leaf, None)),
    );
    assert_ne!(one.is_ok(), two.is_ok());
    assert_eq!(one.err().or(two.err()).unwrap().code, "EntityAlreadyExists");
}

#[tokio::test]
async fn listings_go_by_path_and_in_pages_in_every_region() {
    let mut bed = Bed::new();
    for (name, path) in [
        ("c", "/company/web/"),
        ("a", "/company/web/"),
        ("b", "/"),
        ("d", "/company/"),
    ] {
        bed.upload(name, path).await;
    }
    bed.region = "eu-west-1";
    for max in [1, 3, 4] {
        assert_eq!(bed.listed(json!({"MaxItems": max})).await, ["a", "b", "c", "d"]);
        assert_eq!(
            bed.listed(json!({"MaxItems": max, "PathPrefix": "/company/web"})).await,
            ["a", "c"]
        );
    }
    assert!(bed.listed(json!({"PathPrefix": "/none"})).await.is_empty());
    let page = bed.ok("ListServerCertificates", json!({"MaxItems": 1})).await;
    for marker in [
        json!({"Marker": "x"}),
        json!({"Marker": page["Marker"], "PathPrefix": "/company/"}),
    ] {
        assert_eq!(bed.refused("ListServerCertificates", marker).await.0, "ValidationError");
    }
}

#[tokio::test]
async fn a_certificate_in_use_cannot_be_deleted_and_terraform_knows_why() {
    let bed = Bed::new();
    let arn = bed.upload("web", "/").await;
    bed.use_by_load_balancer(&[&arn]);
    let (code, message) = bed.refused("DeleteServerCertificate", named("web")).await;
    assert_eq!(code, "DeleteConflict");
    assert!(
        message.contains(&format!("is currently in use by {LOAD_BALANCER}.")),
        "{message}"
    );
    bed.use_by_load_balancer(&[]);
    bed.ok("DeleteServerCertificate", named("web")).await;
    assert!(!bed.key_opens(&arn));
}

#[tokio::test]
async fn a_renamed_certificate_goes_on_serving_what_uses_it_under_its_old_arn() {
    let bed = Bed::new();
    let old = bed.upload("web", "/").await;
    let taken = bed.upload("taken", "/").await;
    let rename = |from: &str, to: &str| json!({"ServerCertificateName": from, "NewServerCertificateName": to});
    let (code, _) = bed.refused("UpdateServerCertificate", rename("web", "taken")).await;
    assert_eq!(code, "EntityAlreadyExists");
    let before = bed.ok("GetServerCertificate", named("web")).await["ServerCertificate"].clone();
    bed.use_by_load_balancer(&[&old]);
    let mut input = rename("web", "site");
    input["NewPath"] = "/new/".into();
    bed.ok("UpdateServerCertificate", input).await;
    let new = "arn:aws:iam::000000000000:server-certificate/new/site";
    let after = bed.ok("GetServerCertificate", named("site")).await["ServerCertificate"].clone();
    assert_eq!(after["ServerCertificateMetadata"]["Arn"], new);
    assert_eq!(after["CertificateBody"], before["CertificateBody"]);
    let id = |of: &Value| of["ServerCertificateMetadata"]["ServerCertificateId"].clone();
    assert_eq!(id(&after), id(&before));
    assert!(bed.key_opens(new) && bed.key_opens(&old) && bed.key_opens(&taken));
    assert_eq!(
        bed.refused("GetServerCertificate", named("web")).await.0,
        "NoSuchEntity"
    );
    assert_eq!(
        bed.refused("DeleteServerCertificate", named("site")).await.0,
        "DeleteConflict"
    );
    // Another one under the old name would be served in its place.
    let (code, _) = bed.refused("UpdateServerCertificate", rename("taken", "web")).await;
    assert_eq!(code, "EntityAlreadyExists");
    // Not in use: the old ARN is another's.
    bed.use_by_load_balancer(&[]);
    assert_eq!(bed.upload("web", "/").await, old);
    bed.ok("DeleteServerCertificate", named("site")).await;
    assert!(bed.key_opens(&old));
    bed.ok("UpdateServerCertificate", rename("web", "last")).await;
    assert!(!bed.key_opens(&old));
    bed.ok("UpdateServerCertificate", named("last")).await;
}

#[tokio::test]
async fn tags_are_added_replaced_removed_and_listed_in_pages() {
    let bed = Bed::new();
    bed.upload("web", "/").await;
    let with = |tags: Value| json!({"ServerCertificateName": "web", "Tags": tags});
    bed.ok(
        "TagServerCertificate",
        with(json!([{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])),
    )
    .await;
    bed.ok(
        "TagServerCertificate",
        with(json!([{"Key": "b", "Value": "3"}, {"Key": "c", "Value": "4"}])),
    )
    .await;
    bed.ok(
        "UntagServerCertificate",
        json!({"ServerCertificateName": "web", "TagKeys": ["a", "none"]}),
    )
    .await;
    let first = bed
        .ok(
            "ListServerCertificateTags",
            json!({"ServerCertificateName": "web", "MaxItems": 1}),
        )
        .await;
    assert_eq!(
        (&first["Tags"], &first["IsTruncated"]),
        (&json!([{"Key": "b", "Value": "3"}]), &json!(true))
    );
    let rest = json!({"ServerCertificateName": "web", "Marker": first["Marker"]});
    let rest = bed.ok("ListServerCertificateTags", rest).await;
    assert_eq!(
        (&rest["Tags"], &rest["IsTruncated"]),
        (&json!([{"Key": "c", "Value": "4"}]), &json!(false))
    );
    let many: Vec<Value> = (0..49).map(|n| json!({"Key": format!("k{n}"), "Value": ""})).collect();
    assert_eq!(
        bed.refused("TagServerCertificate", with(json!(many))).await.0,
        "LimitExceeded"
    );
    let reserved = with(json!([{"Key": "aws:x", "Value": ""}]));
    assert_eq!(bed.refused("TagServerCertificate", reserved).await.0, "InvalidInput");
}

#[tokio::test]
async fn a_commit_that_begins_to_use_a_certificate_excludes_its_deletion() {
    let bed = Bed::new();
    let arn = bed.upload("web", "/").await;
    let before = bed.iam.store.snapshot();
    bed.ok("DeleteServerCertificate", named("web")).await;
    let mut txn = neargate_store::Txn::new();
    assert!(crate::hold(&mut txn, &before, &arn));
    assert!(matches!(
        bed.iam.store.commit(txn).await,
        Err(neargate_store::CommitError::Conflict { .. })
    ));
    assert!(!crate::hold(
        &mut neargate_store::Txn::new(),
        &bed.iam.store.snapshot(),
        &arn
    ));
    assert_eq!(bed.iam.store.snapshot().count(ServerCertificateRecord::COUNTER), 0);
}
