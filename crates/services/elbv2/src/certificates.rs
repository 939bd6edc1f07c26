//! Certificates, which other services keep: ACM's, and IAM's server certificates.

use neargate_link::gateway::Certificate;
use neargate_store::Snapshot;

/// Finds the certificates that listeners name.
pub trait CertificateSource: Send + Sync {
    /// True when the ARN names a certificate that can serve.
    fn exists(&self, snapshot: &Snapshot, arn: &str) -> bool;

    /// The certificate with its key; none when it is gone.
    fn load(&self, snapshot: &Snapshot, arn: &str) -> Option<Certificate>;
}
