//! Stickiness cookies: AWSALB, AWSALBTG and AWSALBAPP-0, with the CORS twins of the first two. Source: "Sticky sessions
//! for your Application Load Balancer" of the ELB guide.
//!
//! Values are encrypted and authenticated (AES-256-GCM-SIV, so that a repeated nonce gives nothing away but equality)
//! and bound to their purpose: what was altered, made up or has expired counts as absent.

use crate::head::Headers;
use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use neargate_core::Timestamp;
use std::fmt::Write as _;
use std::time::Duration;

pub(crate) const LB: &str = "AWSALB";
pub(crate) const LB_CORS: &str = "AWSALBCORS";
pub(crate) const GROUP: &str = "AWSALBTG";
pub(crate) const GROUP_CORS: &str = "AWSALBTGCORS";
pub(crate) const APP: &str = "AWSALBAPP-0";

/// What an application cookie becomes when its application no longer sets one.
const REMOVED: &str = "_remove_";

const PLAIN: usize = 24;
const TAG: usize = 16;
const SEALED: usize = NONCE_LEN + PLAIN + TAG;

/// What a cookie is for: one made for one purpose is worth nothing for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Group,
    Lb,
    App,
}

impl Purpose {
    fn name(self) -> &'static [u8] {
        match self {
            Purpose::Group => b"neargate stickiness group",
            Purpose::Lb => b"neargate stickiness lb",
            Purpose::App => b"neargate stickiness app",
        }
    }
}

/// What a cookie says, by the tags of group and target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub expires: Timestamp,
    pub group: u64,
    /// Zero in a group's cookie.
    pub target: u64,
}

/// The key of all cookies of a gateway; kept, so that clients stay with their targets over its restart.
pub struct CookieKey(LessSafeKey);

impl CookieKey {
    pub fn new(bytes: &[u8; 32]) -> CookieKey {
        let key = UnboundKey::new(&AES_256_GCM_SIV, bytes).expect("AES-256-GCM-SIV takes keys of 32 bytes");
        CookieKey(LessSafeKey::new(key))
    }

    pub(crate) fn seal(&self, purpose: Purpose, ticket: Ticket, now: Timestamp, random: u64) -> String {
        let mut nonce = [0; NONCE_LEN];
        nonce[..8].copy_from_slice(&random.to_be_bytes());
        nonce[8..].copy_from_slice(&now.millis().to_be_bytes()[4..]);
        let mut plain = [0; PLAIN];
        plain[..8].copy_from_slice(&ticket.expires.millis().to_be_bytes());
        plain[8..16].copy_from_slice(&ticket.group.to_be_bytes());
        plain[16..].copy_from_slice(&ticket.target.to_be_bytes());
        let tag = self
            .0
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(purpose.name()),
                &mut plain,
            )
            .expect("a few bytes are never too long to seal");
        let mut sealed = [0; SEALED];
        sealed[..NONCE_LEN].copy_from_slice(&nonce);
        sealed[NONCE_LEN..NONCE_LEN + PLAIN].copy_from_slice(&plain);
        sealed[NONCE_LEN + PLAIN..].copy_from_slice(tag.as_ref());
        STANDARD.encode(sealed)
    }

    /// None: not a cookie of this gateway for this purpose, or expired.
    pub(crate) fn open(&self, purpose: Purpose, value: &[u8], now: Timestamp) -> Option<Ticket> {
        let mut sealed = [0; SEALED + 2];
        let length = STANDARD.decode_slice(value, &mut sealed).ok()?;
        let (nonce, body) = sealed.get_mut(..length)?.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let plain = self.0.open_in_place(nonce, Aad::from(purpose.name()), body).ok()?;
        let number = |at: usize| Some(u64::from_be_bytes(plain.get(at..at + 8)?.try_into().ok()?));
        let ticket = Ticket {
            expires: Timestamp::from_millis(number(0)? as i64),
            group: number(8)?,
            target: number(16)?,
        };
        (ticket.expires > now).then_some(ticket)
    }
}

impl std::fmt::Debug for CookieKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CookieKey(..)")
    }
}

/// Calls `each` with name and value of every cookie that the client sent.
pub(crate) fn visit(headers: &dyn Headers, each: &mut dyn FnMut(&[u8], &[u8])) {
    headers.visit("cookie", &mut |line| {
        for pair in line.split(|b| *b == b';') {
            let pair = pair.trim_ascii();
            if let Some(equals) = pair.iter().position(|b| *b == b'=') {
                each(&pair[..equals], &pair[equals + 1..]);
            }
        }
    });
}

/// True when a response sets the cookie.
pub(crate) fn is_set(response: &dyn Headers, name: &str) -> bool {
    let mut found = false;
    response.visit("set-cookie", &mut |line| {
        let pair = line.split(|b| *b == b';').next().unwrap_or_default();
        let equals = pair.iter().position(|b| *b == b'=');
        found = found || equals.is_some_and(|at| pair[..at].trim_ascii() == name.as_bytes());
    });
    found
}

/// A `Set-Cookie` value.
pub(crate) fn set(name: &str, value: &str, expires: Timestamp, attributes: &str) -> String {
    let mut line = String::with_capacity(160);
    // Writing to a string does not fail.
    let _ = write!(
        line,
        "{name}={value}; Expires={}; Path=/{attributes}",
        http_date(expires)
    );
    line
}

/// Takes an application's stickiness back from a client.
pub(crate) fn remove(now: Timestamp) -> String {
    set(APP, REMOVED, now.plus(Duration::from_secs(7 * 86_400)), "")
}

/// What the twin for requests across origins has besides.
pub(crate) fn cors_attributes(https: bool) -> &'static str {
    if https {
        "; SameSite=None; Secure"
    } else {
        "; SameSite=None"
    }
}

/// IMF-fixdate of RFC 9110.
fn http_date(at: Timestamp) -> String {
    let at = jiff::Timestamp::from_millisecond(at.millis()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

#[cfg(test)]
mod tests;
