//! Issuing, and the loop that issues certificates anew before they end.
//!
//! RequestCertificate and the loop are the callers. The loop looks at all certificates by itself, at least every hour,
//! so a renewal that failed or was missed is made up for; a renewed certificate keeps its ARN.

use crate::Acm;
use crate::authority::{IssueError, Subject};
use crate::plan;
use crate::records::{CertificateRecord, Issued, Order, Origin, TokenRecord};
use neargate_core::{AwsError, Timestamp};
use neargate_seal::Sealed;
use neargate_store::{CommitError, Txn};
use neargate_x509::Facts;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

const AT_LEAST_EVERY: Duration = Duration::from_secs(60 * 60);
/// Tokens forgotten in one commit; the store takes 128 changes.
const TOGETHER: usize = 100;

/// A certificate that was issued.
pub(crate) struct New {
    pub certificate_pem: String,
    pub chain_pem: String,
    pub sealed_key: Sealed,
    pub facts: Facts,
}

impl Acm {
    /// Issues what `order` asks for to the certificate with this ARN.
    ///
    /// # Errors
    /// `IssueError`.
    pub(crate) async fn issue(&self, arn: &str, order: &Order, now: Timestamp) -> Result<New, IssueError> {
        let authority = self.authority().await?;
        let chain_pem = authority.certificate_pem().to_owned();
        let validity = plan::validity(now, authority.not_after());
        let serial = self.ids.bytes();
        let asked = order.clone();
        let made = tokio::task::spawn_blocking(move || {
            authority.issue(&Subject {
                domains: &asked.domains,
                key_algorithm: asked.key_algorithm,
                validity,
                serial,
            })
        });
        let made = made.await.map_err(|_| IssueError::Stopped)??;
        let facts = neargate_x509::facts(&made.certificate_pem).ok_or(IssueError::Unreadable)?;
        let context = CertificateRecord::context(arn);
        Ok(New {
            certificate_pem: made.certificate_pem,
            chain_pem,
            sealed_key: self.seal.seal(&context, made.key_pem.as_bytes()),
            facts,
        })
    }

    /// Renews certificates of the local authority until `shutdown` says stop.
    pub async fn run(self: Arc<Self>, mut shutdown: watch::Receiver<bool>) {
        loop {
            let wake_in = self.renew_due().await;
            tokio::select! {
                () = tokio::time::sleep(wake_in) => {}
                // An error means that nobody can say stop any more.
                _ = shutdown.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// One pass: renews what is due and forgets old tokens. Answers when to look again.
    pub(crate) async fn renew_due(&self) -> Duration {
        let now = self.clock.now();
        let until = match self.authority().await {
            Ok(authority) => authority.not_after(),
            Err(error) => {
                tracing::error!(%error, "no certificate can be renewed, trying again");
                return AT_LEAST_EVERY;
            }
        };
        let snapshot = self.store.snapshot();
        let all: Vec<_> = snapshot.range::<CertificateRecord>("").collect();
        let all = all.iter().map(|(key, certificate)| (*key, &*certificate.record));
        let plan = plan::renewals(all, until, now);
        for key in &plan.due {
            match self.renew(key, now).await {
                Ok(()) => {}
                Err(error) => {
                    tracing::error!(certificate = %key, %error, "a certificate was not renewed, trying again")
                }
            }
        }
        if let Err(error) = self.forget_tokens(now).await {
            tracing::error!(%error, "old idempotency tokens were not removed, trying again");
        }
        plan.next
            .map_or(AT_LEAST_EVERY, |next| next.since(now).min(AT_LEAST_EVERY))
    }

    async fn renew(&self, key: &str, now: Timestamp) -> Result<(), AwsError> {
        let Some(found) = self.store.snapshot().get::<CertificateRecord>(key) else {
            return Ok(());
        };
        let Origin::Issued(issued) = &found.origin else {
            return Ok(());
        };
        let new = self.issue(&found.arn, &issued.order, now).await?;
        self.store
            .transact(|snapshot| {
                let mut txn = Txn::new();
                // Tags may have changed meanwhile, or it was deleted.
                if let Some(current) = snapshot.get::<CertificateRecord>(key)
                    && current.facts.serial == found.facts.serial
                {
                    let record = CertificateRecord {
                        certificate_pem: new.certificate_pem.clone(),
                        chain_pem: Some(new.chain_pem.clone()),
                        sealed_key: new.sealed_key.clone(),
                        facts: new.facts.clone(),
                        origin: Origin::Issued(Issued {
                            at: now,
                            renewed_at: Some(now),
                            ..issued.clone()
                        }),
                        ..(*current.record).clone()
                    };
                    txn.unchanged::<CertificateRecord>(snapshot, key).put(key, record);
                }
                Ok::<_, AwsError>((txn, ()))
            })
            .await?;
        tracing::info!(arn = %found.arn, until = %new.facts.not_after.iso8601(), "certificate renewed");
        Ok(())
    }

    async fn forget_tokens(&self, now: Timestamp) -> Result<(), CommitError> {
        loop {
            let forgotten = self
                .store
                .transact(|snapshot| {
                    let mut txn = Txn::new();
                    let ended = snapshot.range::<TokenRecord>("").filter(|(_, token)| token.ended(now));
                    let keys: Vec<_> = ended.take(TOGETHER).map(|(key, _)| key.to_owned()).collect();
                    for key in &keys {
                        txn.unchanged::<TokenRecord>(snapshot, key).delete::<TokenRecord>(key);
                    }
                    Ok::<_, CommitError>((txn, keys.len()))
                })
                .await?;
            if forgotten < TOGETHER {
                return Ok(());
            }
        }
    }
}
