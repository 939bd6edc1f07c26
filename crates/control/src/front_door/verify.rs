//! Whose request is this: the signature against the key it names.

use super::FrontDoor;
use super::credentials::Secret;
use neargate_core::Timestamp;
use neargate_wire::Request;
use neargate_wire::sigv4::{Claim, Fault, Scope, SigningKey};
use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use subtle::ConstantTimeEq as _;

/// Who signed a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub arn: String,
    pub id: String,
    pub access_key: String,
    /// Region of the credential scope.
    pub region: String,
}

impl FrontDoor {
    /// Checks `claim`, read from `request`, for the service whose signing name is `service`.
    pub(super) fn verify(
        &self,
        claim: &Claim,
        request: &Request<'_>,
        service: &str,
        now: Timestamp,
    ) -> Result<Caller, Fault> {
        let found = self.credentials.find(&claim.access_key).ok_or(Fault::UnknownKey)?;
        let token_fits = match (&found.session_token, &claim.session_token) {
            (None, None) => true,
            (Some(ours), Some(theirs)) => ours.reveal().as_bytes().ct_eq(theirs.as_bytes()).into(),
            _ => false,
        };
        if !token_fits {
            return Err(Fault::UnknownKey);
        }
        let key = self.keys.get(&claim.access_key, &found.secret, &claim.scope);
        claim.verify(request, service, now, &key)?;
        self.keys.keep(&claim.access_key, found.secret, &claim.scope, key);
        Ok(Caller {
            arn: found.caller_arn,
            id: found.caller_id,
            access_key: claim.access_key.clone(),
            region: claim.scope.region.clone(),
        })
    }
}

/// Derived signing keys of today's callers. Only keys that verified a request are kept, so that strangers cannot fill it.
#[derive(Default)]
pub struct KeyCache(RwLock<HashMap<(String, Scope), (Secret, SigningKey)>>);

impl KeyCache {
    /// When full it starts over: a day's worth of regions and services is far below this.
    const MOST: usize = 1024;

    fn get(&self, access_key: &str, secret: &Secret, scope: &Scope) -> SigningKey {
        let at = (access_key.to_owned(), scope.clone());
        if let Some((of, key)) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&at)
            && of == secret
        {
            return key.clone();
        }
        SigningKey::derive(secret.reveal(), scope)
    }

    fn keep(&self, access_key: &str, secret: Secret, scope: &Scope, key: SigningKey) {
        let at = (access_key.to_owned(), scope.clone());
        let known = self
            .0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&at)
            .is_some_and(|(of, _)| *of == secret);
        if known {
            return;
        }
        let mut keys = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= Self::MOST {
            keys.clear();
        }
        keys.insert(at, (secret, key));
    }
}
