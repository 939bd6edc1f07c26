//! For how long certificates are issued and when they are issued anew. Pure: records and the time are arguments.

use crate::records::{CertificateRecord, Origin};
use neargate_core::Timestamp;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// As ACM issues them: 13 months.
const VALID_FOR: Duration = DAY.saturating_mul(395);
/// As ACM does: renewal begins so long before the end.
const RENEW_BEFORE: Duration = DAY.saturating_mul(60);
/// Clocks of clients may be behind.
const BACKDATED: Duration = Duration::from_secs(60 * 60);
/// A new certificate that ends hardly later than the old one is not worth a change.
const WORTH: Duration = DAY;

/// First and last moment of validity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    pub not_before: Timestamp,
    pub not_after: Timestamp,
}

/// The validity of a certificate issued at `now` by an authority that ends at `authority_until`.
pub fn validity(now: Timestamp, authority_until: Timestamp) -> Validity {
    Validity {
        not_before: now.minus(BACKDATED),
        not_after: now.plus(VALID_FOR).min(authority_until),
    }
}

/// Which certificates to issue anew, and when to look again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renewals {
    /// Keys of records.
    pub due: Vec<String>,
    /// When the next one is due; none when there is none.
    pub next: Option<Timestamp>,
}

/// Decides over all certificates; imported ones are their owners' to renew.
pub fn renewals<'a>(
    certificates: impl IntoIterator<Item = (&'a str, &'a CertificateRecord)>,
    authority_until: Timestamp,
    now: Timestamp,
) -> Renewals {
    let mut out = Renewals::default();
    let obtainable = validity(now, authority_until).not_after;
    for (key, certificate) in certificates {
        if let Origin::Imported { .. } = certificate.origin {
            continue;
        }
        let due_at = certificate.facts.not_after.minus(RENEW_BEFORE);
        if now < due_at {
            out.next = Some(out.next.map_or(due_at, |next| next.min(due_at)));
        } else if obtainable > certificate.facts.not_after.plus(WORTH) {
            out.due.push(key.to_owned());
        }
    }
    out
}
