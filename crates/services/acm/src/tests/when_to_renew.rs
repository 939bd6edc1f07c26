use super::*;
use crate::plan::{renewals, validity};
use crate::records::{CertificateRecord, Origin};
use proptest::prelude::*;

/// Issued and imported records in turn that end at these seconds.
async fn samples() -> Vec<CertificateRecord> {
    let bed = Bed::new().await;
    let arn = bed
        .request(json!({"DomainName": "a.example.com", "KeyAlgorithm": "EC_prime256v1"}))
        .await;
    let issued = (*crate::resolve::by_arn(&bed.store.snapshot(), &arn).unwrap().record).clone();
    let imported = CertificateRecord {
        origin: Origin::Imported { at: bed.now() },
        ..issued.clone()
    };
    vec![issued, imported]
}

#[test]
fn renewals_are_in_time_worth_it_and_never_of_imported_ones() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let samples = runtime.block_on(samples());
    let year = 365 * 86_400i64;
    let ends = proptest::collection::vec((0..2usize, 0..3 * year), 0..8);
    let all = (ends, 0..2 * year, 0..5 * year);
    proptest!(|((ends, now, until) in all)| {
        let (now, until) = (Timestamp::from_secs(now), Timestamp::from_secs(until));
        let records: Vec<_> = ends.iter().enumerate().map(|(at, (sample, end))| {
            let mut record = samples[*sample].clone();
            record.facts.not_after = Timestamp::from_secs(*end);
            (at.to_string(), record)
        }).collect();
        let plan = renewals(records.iter().map(|(key, record)| (key.as_str(), record)), until, now);
        prop_assert!(plan.next.is_none_or(|next| next > now));
        for (key, record) in &records {
            let due = plan.due.contains(key);
            let end = record.facts.not_after;
            let imported = matches!(record.origin, Origin::Imported { .. });
            let new_end = validity(now, until).not_after;
            prop_assert!(new_end <= until);
            if due {
                prop_assert!(!imported && now >= end.minus(DAY * 60) && new_end > end);
            } else if !imported && now < end.minus(DAY * 60) {
                prop_assert!(plan.next.is_some_and(|next| next <= end.minus(DAY * 60)));
            } else if !imported {
                prop_assert!(new_end <= end.plus(DAY), "left only when renewing gains nothing");
            }
        }
    });
}
