//! Through the service's table, on a store in memory.

mod authority;
mod import;
mod list;
mod renewal;
mod request;
mod when_to_renew;

use crate::Acm;
use neargate_core::clock::ManualClock;
use neargate_core::ids::RandomIds;
use neargate_core::{AwsError, RequestContext, Timestamp};
use neargate_seal::Seal;
use neargate_store::{Snapshot, Store};
use neargate_wire::dispatch::ServiceDispatch as _;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;

/// 2026-12-01T00:00:00Z.
const NOW: i64 = 1_796_083_200_000;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const LOAD_BALANCER: &str = "arn:aws:elasticloadbalancing:us-east-1:000000000000:loadbalancer/app/web/0123456789abcdef";

/// A service of its own, with everything it stands on.
struct Bed {
    acm: Arc<Acm>,
    clock: Arc<ManualClock>,
    store: Store,
    dir: TempDir,
    region: &'static str,
    /// ARN of the certificate that a load balancer uses.
    used: Arc<Mutex<Option<String>>>,
}

impl Bed {
    async fn new() -> Bed {
        let clock = Arc::new(ManualClock::at(Timestamp(NOW)));
        let store = Store::in_memory(&crate::kinds());
        let dir = tempfile::tempdir().unwrap();
        let used = Arc::new(Mutex::new(None));
        let acm = open(&store, &dir, &clock, &used).await;
        Bed {
            acm,
            clock,
            store,
            dir,
            region: "us-east-1",
            used,
        }
    }

    /// Opens the service again on the same records and files.
    async fn restart(&mut self) {
        self.acm = open(&self.store, &self.dir, &self.clock, &self.used).await;
    }

    fn now(&self) -> Timestamp {
        neargate_core::Clock::now(&*self.clock)
    }

    fn in_use(&self, arn: Option<&str>) {
        *self.used.lock().unwrap() = arn.map(str::to_owned);
    }

    async fn call(&self, operation: &str, input: Value) -> Result<Value, AwsError> {
        let cx = RequestContext {
            request_id: "r".into(),
            region: self.region.into(),
            account: "000000000000".into(),
            caller_arn: "arn:aws:iam::000000000000:root".into(),
            caller_id: "000000000000".into(),
            access_key: "AKIA".into(),
            now: self.now(),
        };
        let running = self.acm.call(operation, &cx, input).expect("served");
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

    /// Requests a certificate and answers its ARN.
    async fn request(&self, input: Value) -> String {
        arn_of(&self.ok("RequestCertificate", input).await)
    }

    async fn describe(&self, arn: &str) -> Value {
        self.ok("DescribeCertificate", json!({"CertificateArn": arn})).await["Certificate"].clone()
    }

    fn authority_pem(&self) -> String {
        self.acm.authority_pem().unwrap()
    }

    /// Checks that the certificate's sealed key opens and belongs to it under its chain.
    fn admitted(&self, arn: &str) -> neargate_x509::Admitted {
        let found = crate::find(&self.store.snapshot(), arn).expect("found");
        let key = self.acm.seal.open(&found.context, &found.sealed_key).expect("opens");
        let end = "-----END CERTIFICATE-----\n";
        let (leaf, chain) = found.chain_pem.split_at(found.chain_pem.find(end).unwrap() + end.len());
        let chain = (!chain.is_empty()).then_some(chain.as_bytes());
        neargate_x509::admit(leaf.as_bytes(), chain, &key, self.now()).unwrap_or_else(|fault| panic!("{fault:?}"))
    }
}

/// What lies in the store of every private key, as bytes.
fn stored_keys(store: &Store) -> Vec<Vec<u8>> {
    let snapshot = store.snapshot();
    let certificates = snapshot.range::<crate::CertificateRecord>("");
    let sealed = certificates.map(|(_, certificate)| serde_json::to_value(&certificate.sealed_key).unwrap());
    sealed
        .map(|sealed| serde_json::from_value::<neargate_core::Blob>(sealed).unwrap().0)
        .collect()
}

fn is_readable(key: &[u8]) -> bool {
    key.windows(11).any(|window| window == b"PRIVATE KEY")
}

async fn open(store: &Store, dir: &TempDir, clock: &Arc<ManualClock>, used: &Arc<Mutex<Option<String>>>) -> Arc<Acm> {
    let seal = Arc::new(Seal::open_or_create(dir.path().join("master.key")).unwrap());
    let (clock, used) = (clock.clone(), used.clone());
    let in_use = move |_: &Snapshot, arn: &str| match used.lock().unwrap().as_deref() == Some(arn) {
        true => vec![LOAD_BALANCER.to_owned()],
        false => Vec::new(),
    };
    let acm = Acm {
        store: store.clone(),
        clock,
        ids: Arc::new(RandomIds),
        account: "000000000000".into(),
        seal,
        in_use: Arc::new(in_use),
    };
    acm.open(&dir.path().join("ca.pem")).await.unwrap();
    Arc::new(acm)
}

fn arn_of(answer: &Value) -> String {
    answer["CertificateArn"].as_str().unwrap().to_owned()
}

/// A certificate of the user's own making.
struct Own {
    pem: String,
    key_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

fn own(domains: &[&str], ca: bool, by: Option<&Own>, change: impl FnOnce(&mut CertificateParams)) -> Own {
    let names: Vec<String> = domains.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    let common = domains.first().copied().unwrap_or("Example authority");
    params.distinguished_name.push(DnType::CommonName, common);
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2028, 1, 1);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    if ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    }
    change(&mut params);
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

fn blob(text: &str) -> Value {
    serde_json::to_value(neargate_core::Blob(text.as_bytes().to_vec())).unwrap()
}
