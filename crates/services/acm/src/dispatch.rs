//! Every operation that ACM serves, in one table.

use crate::{Acm, api, ops};
use neargate_core::RequestContext;
use neargate_wire::dispatch::{Running, ServiceDispatch, find};
use neargate_wire::schema::Service;
use serde_json::Value;

neargate_wire::routes! { Acm;
    "AddTagsToCertificate" => ops::add_tags_to_certificate::handle,
    "DeleteCertificate" => ops::delete_certificate::handle,
    "DescribeCertificate" => ops::describe_certificate::handle,
    "GetCertificate" => ops::get_certificate::handle,
    "ImportCertificate" => ops::import_certificate::handle,
    "ListCertificates" => ops::list_certificates::handle,
    "ListTagsForCertificate" => ops::list_tags_for_certificate::handle,
    "RemoveTagsFromCertificate" => ops::remove_tags_from_certificate::handle,
    "RequestCertificate" => ops::request_certificate::handle,
    "UpdateCertificateOptions" => ops::update_certificate_options::handle,
}

impl ServiceDispatch for Acm {
    fn schema(&self) -> &'static Service {
        &api::schema::SERVICE
    }

    fn call<'a>(&'a self, operation: &str, cx: &'a RequestContext, input: Value) -> Option<Running<'a>> {
        find(routes(), operation).map(|route| (route.call)(self, cx, input))
    }
}
