//! AWS Certificate Manager: imported certificates, and ones that a local authority issues.

pub mod api;
