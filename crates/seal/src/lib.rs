//! Secrets at rest: envelope encryption under a key of the instance.
