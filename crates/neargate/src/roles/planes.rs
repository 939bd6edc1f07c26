//! Services as the data planes' links see them: ECS for nodes, VPCs and names for networks, balancers for gateways.

use neargate_control::gateways::BalancerPlane;
use neargate_control::nodes::{BoxFuture, LogSink, NetworkPlane, TaskPlane};
use neargate_core::AwsError;
use neargate_ecs::Ecs;
use neargate_ecs::records::TaskRecord;
use neargate_elbv2::{CertificateSource, Elbv2, Fitness};
use neargate_link::gateway::{Certificate, GatewayTable, TargetReport};
use neargate_link::{
    LogBatch, LogOpening, NetworkEntry, NodeHello, ProtectionAnswer, ProtectionRequest, TaskReport, TaskSpec,
};
use neargate_logs::Logs;
use neargate_seal::{Seal, Sealed};
use neargate_store::{Change, CommitError, Snapshot, Txn};
use std::sync::Arc;

/// ECS as the node link sees it.
pub struct Tasks(pub Arc<Ecs>);

/// A full disk or a race passes, so the link tries again; what the store would never take, it would refuse for ever.
fn stored(done: Result<(), CommitError>) -> Result<(), AwsError> {
    done.map_err(|e| match e {
        CommitError::Storage(_) | CommitError::Conflict { .. } => {
            tracing::error!(error = %e, "cannot store what a data plane said");
            AwsError::internal()
        }
        other => AwsError::new("ClientException", 400, other.to_string()),
    })
}

impl TaskPlane for Tasks {
    fn node_joined(&self, hello: NodeHello) -> BoxFuture<'_, Result<(), AwsError>> {
        Box::pin(async move { stored(self.0.node_joined(hello).await) })
    }

    fn node_lost<'a>(&'a self, node_id: &'a str) -> BoxFuture<'a, Result<(), AwsError>> {
        Box::pin(async move { stored(self.0.node_lost(node_id).await) })
    }

    fn apply_reports<'a>(&'a self, node_id: &'a str, reports: Vec<TaskReport>) -> BoxFuture<'a, Result<(), AwsError>> {
        Box::pin(async move { stored(self.0.apply_reports(node_id, reports).await) })
    }

    fn task_protection<'a>(&'a self, node_id: &'a str, request: ProtectionRequest) -> BoxFuture<'a, ProtectionAnswer> {
        Box::pin(self.0.task_protection(node_id, request))
    }

    fn assignment(&self, snapshot: &Snapshot, task: &TaskRecord) -> Option<Arc<TaskSpec>> {
        neargate_ecs::assign::assignment(snapshot, task)
    }
}

/// CloudWatch Logs as the node link sees it.
pub struct LogLines(pub Arc<Logs>);

impl LogSink for LogLines {
    fn open(&self, opening: LogOpening) -> BoxFuture<'_, Result<(), AwsError>> {
        Box::pin(self.0.open_stream(opening))
    }

    fn ingest(&self, batch: LogBatch) -> BoxFuture<'_, Result<(), AwsError>> {
        Box::pin(self.0.ingest(batch))
    }
}

/// What nodes must know of VPCs and of names.
pub struct Networks;

impl NetworkPlane for Networks {
    fn table(&self, snapshot: &Snapshot) -> Vec<NetworkEntry> {
        let mut entries = neargate_ec2::network::table(snapshot);
        entries.extend(neargate_elbv2::names::table(snapshot));
        entries
    }

    fn changes(&self, snapshot: &Snapshot, change: &Change) -> Vec<(String, Option<NetworkEntry>)> {
        let mut changes = neargate_ec2::network::changes(snapshot, change);
        changes.extend(neargate_elbv2::names::changes(snapshot, change));
        changes
    }
}

/// Elastic Load Balancing as the gateway link sees it.
pub struct Balancers {
    pub elbv2: Arc<Elbv2>,
}

impl BalancerPlane for Balancers {
    fn table(&self, snapshot: &Snapshot) -> GatewayTable {
        neargate_elbv2::table::table(snapshot, &*self.elbv2.certificates)
    }

    fn concerns(&self, change: &Change) -> bool {
        neargate_elbv2::table::concerns(change)
            || neargate_acm::kinds()
                .iter()
                .chain(&neargate_iam::kinds())
                .any(|kind| change.key.starts_with(kind.prefix))
    }

    fn apply_reports(&self, reports: Vec<TargetReport>) -> BoxFuture<'_, Result<(), AwsError>> {
        Box::pin(async move { stored(self.elbv2.apply_reports(reports).await) })
    }
}

/// Certificates of ACM and IAM, opened for the gateway alone.
pub struct Certificates {
    pub seal: Arc<Seal>,
}

impl Certificates {
    fn open(&self, arn: &str, chain: String, key: &Sealed, context: &[u8]) -> Option<Certificate> {
        let opened = self.seal.open(context, key);
        let private_key = match opened.map(|bytes| String::from_utf8(bytes.to_vec())) {
            Ok(Ok(pem)) => pem,
            Ok(Err(_)) | Err(_) => {
                tracing::error!(arn, "the private key of a certificate cannot be opened");
                return None;
            }
        };
        Some(Certificate {
            arn: arn.to_owned(),
            chain,
            private_key,
        })
    }
}

impl CertificateSource for Certificates {
    fn fitness(&self, snapshot: &Snapshot, arn: &str) -> Fitness {
        let found = neargate_acm::find(snapshot, arn).or_else(|| neargate_iam::server_certificate(snapshot, arn));
        match found.map(|found| found.key_algorithm) {
            None => Fitness::Absent,
            // The gateway's TLS takes no smaller ones than 2048 bits, as AWS's load balancers.
            Some(neargate_acm::KeyAlgorithm::RSA_1024) => Fitness::Unfit,
            Some(_) => Fitness::Fit,
        }
    }

    fn load(&self, snapshot: &Snapshot, arn: &str) -> Option<Certificate> {
        if let Some(found) = neargate_acm::find(snapshot, arn) {
            return self.open(arn, found.chain_pem, &found.sealed_key, &found.context);
        }
        let found = neargate_iam::server_certificate(snapshot, arn)?;
        self.open(arn, found.chain_pem, &found.sealed_key, &found.context)
    }

    fn hold(&self, txn: &mut Txn, snapshot: &Snapshot, arn: &str) {
        if !neargate_acm::hold(txn, snapshot, arn) {
            neargate_iam::hold(txn, snapshot, arn);
        }
    }
}
