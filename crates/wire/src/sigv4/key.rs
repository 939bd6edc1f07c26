//! Signing keys: derived from a secret for one day, region and service.

use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

/// The credential scope: what a signing key is good for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scope {
    /// `YYYYMMDD`.
    pub date: String,
    pub region: String,
    pub service: String,
}

impl Scope {
    pub fn text(&self) -> String {
        format!("{}/{}/{}/aws4_request", self.date, self.region, self.service)
    }
}

/// A derived key. Worth keeping: deriving costs four HMACs, using it one.
#[derive(Clone)]
pub struct SigningKey([u8; 32]);

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

impl SigningKey {
    pub fn derive(secret: &str, scope: &Scope) -> SigningKey {
        let date = mac(format!("AWS4{secret}").as_bytes(), scope.date.as_bytes());
        let region = mac(&date, scope.region.as_bytes());
        let service = mac(&region, scope.service.as_bytes());
        SigningKey(mac(&service, b"aws4_request"))
    }

    /// The signature of a string to sign, in hex.
    pub fn signature(&self, string_to_sign: &str) -> String {
        hex::encode(mac(&self.0, string_to_sign.as_bytes()))
    }

    /// Compares in constant time.
    pub fn accepts(&self, string_to_sign: &str, signature: &str) -> bool {
        self.signature(string_to_sign)
            .as_bytes()
            .ct_eq(signature.as_bytes())
            .into()
    }

    #[cfg(test)]
    pub(super) fn hex(&self) -> String {
        hex::encode(self.0)
    }
}

fn mac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut hmac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    hmac.update(message);
    hmac.finalize().into_bytes().into()
}
