//! One file per operation.

pub mod delete_server_certificate;
pub mod get_server_certificate;
pub mod list_server_certificate_tags;
pub mod list_server_certificates;
pub mod tag_server_certificate;
pub mod untag_server_certificate;
pub mod update_server_certificate;
pub mod upload_server_certificate;
