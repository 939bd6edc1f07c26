//! Generated from the service model: shapes, schema, errors.

pub mod errors;
pub mod schema;
pub mod shapes;

pub use shapes::*;
