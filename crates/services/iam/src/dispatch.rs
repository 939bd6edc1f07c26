//! Every operation that IAM serves, in one table.

use crate::{Iam, api, ops};
use neargate_core::RequestContext;
use neargate_wire::dispatch::{Running, ServiceDispatch, find};
use neargate_wire::schema::Service;
use serde_json::Value;

neargate_wire::routes! { Iam;
    "DeleteServerCertificate" => ops::delete_server_certificate::handle,
    "GetServerCertificate" => ops::get_server_certificate::handle,
    "ListServerCertificateTags" => ops::list_server_certificate_tags::handle,
    "ListServerCertificates" => ops::list_server_certificates::handle,
    "TagServerCertificate" => ops::tag_server_certificate::handle,
    "UntagServerCertificate" => ops::untag_server_certificate::handle,
    "UpdateServerCertificate" => ops::update_server_certificate::handle,
    "UploadServerCertificate" => ops::upload_server_certificate::handle,
}

impl ServiceDispatch for Iam {
    fn schema(&self) -> &'static Service {
        &api::schema::SERVICE
    }

    fn call<'a>(&'a self, operation: &str, cx: &'a RequestContext, input: Value) -> Option<Running<'a>> {
        find(routes(), operation).map(|route| (route.call)(self, cx, input))
    }
}
