//! AWS's wire protocols: schemas, validation, codecs and Signature Version 4.
//!
//! A request's body becomes a JSON value tree keyed by model member names (`schema` says which), is validated against
//! the model's constraints, and is then read into a generated struct. Replies go the other way. A further protocol only
//! adds a codec file. This crate knows no service and no socket.

pub mod codec;
pub mod dialect;
pub mod dispatch;
pub mod request;
pub mod schema;
pub mod sigv4;
mod structure;
pub mod validate;

pub use dialect::Dialect;
pub use dispatch::{Reply, Route, ServiceDispatch};
pub use request::Request;
pub use schema::{Operation, Protocol, Service, Shape};

#[doc(hidden)]
pub use serde as __serde;
