//! Names of log files within the bucket.

use crate::settings::LogPlace;
use neargate_core::Timestamp;
use std::net::IpAddr;

/// `PREFIX/AWSLogs/ACCOUNT/elasticloadbalancing/REGION/yyyy/mm/dd/ACCOUNT_elasticloadbalancing_REGION_app.NAME.ID_END_ADDRESS_RANDOM.log.gz`.
///
/// `balancer`: `Balancer::id`; `address`: the balancer's own; `end`: of the time that the file is about.
pub fn alb_key(
    place: &LogPlace,
    account: &str,
    region: &str,
    balancer: &str,
    address: IpAddr,
    end: Timestamp,
    random: u64,
) -> String {
    key(place, account, region, balancer, Some(address), end, random)
}

/// The same for a Network Load Balancer: without an address.
pub fn nlb_key(place: &LogPlace, account: &str, region: &str, balancer: &str, end: Timestamp, random: u64) -> String {
    key(place, account, region, balancer, None, end, random)
}

fn key(
    place: &LogPlace,
    account: &str,
    region: &str,
    balancer: &str,
    address: Option<IpAddr>,
    end: Timestamp,
    random: u64,
) -> String {
    let end = jiff::Timestamp::from_millisecond(end.millis()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let address = address.map_or(String::new(), |address| format!("{address}_"));
    format!(
        "{prefix}AWSLogs/{account}/elasticloadbalancing/{region}/{day}/{account}_elasticloadbalancing_{region}_{balancer}_{end}_{address}{random}.log.gz",
        prefix = prefix(place),
        day = end.strftime("%Y/%m/%d"),
        balancer = balancer.replace('/', "."),
        end = end.strftime("%Y%m%dT%H%MZ"),
        random = letters(random),
    )
}

/// The file that AWS writes when an Application Load Balancer's log is switched on: `PREFIX/AWSLogs/ACCOUNT/ELBAccessLogTestFile`.
pub fn test_key(place: &LogPlace, account: &str) -> String {
    format!("{}AWSLogs/{account}/ELBAccessLogTestFile", prefix(place))
}

fn prefix(place: &LogPlace) -> String {
    match place.prefix.trim_matches('/') {
        "" => String::new(),
        prefix => format!("{prefix}/"),
    }
}

/// Eight letters and digits.
fn letters(mut random: u64) -> String {
    const ALPHABET: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let next = |_| {
        let letter = ALPHABET[(random % 36) as usize];
        random /= 36;
        char::from(letter)
    };
    (0..8).map(next).collect()
}
