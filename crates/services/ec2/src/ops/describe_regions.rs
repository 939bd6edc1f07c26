//! DescribeRegions. Neargate answers in every region; those that AWS enables by default are listed, and the one asked.

use crate::filter::{self, Values};
use crate::{Ec2, api};
use neargate_core::{AwsError, RequestContext, Tags};

/// Regions that AWS enables for every account.
const REGIONS: [&str; 17] = [
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "ca-central-1",
    "eu-central-1",
    "eu-north-1",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-west-1",
    "us-west-2",
];

/// # Errors
/// `InvalidParameterValue`, `DryRunOperation`.
pub async fn handle(
    _service: &Ec2,
    cx: &RequestContext,
    input: api::DescribeRegionsRequest,
) -> Result<api::DescribeRegionsResult, AwsError> {
    filter::dry_run(input.dry_run)?;
    let mut all = REGIONS.to_vec();
    if let Err(at) = all.binary_search(&cx.region.as_str()) {
        all.insert(at, &cx.region);
    }
    let names = input.region_names.unwrap_or_default();
    let unknown = filter::missing(&names, |name| all.contains(&name));
    if !unknown.is_empty() {
        return Err(filter::invalid_value(format!(
            "Invalid region names provided: {}",
            unknown.join(", ")
        )));
    }
    let filters = input.filters.unwrap_or_default();
    filter::known(&filters, &FILTERS)?;
    let mut regions = Vec::new();
    for name in all {
        let region = api::Region {
            region_name: Some(name.to_owned()),
            endpoint: Some(format!("ec2.{name}.amazonaws.com")),
            opt_in_status: Some("opt-in-not-required".to_owned()),
            geography: None,
        };
        let asked = names.is_empty() || names.iter().any(|n| n == name);
        if asked && filter::passes(&filters, &Tags::default(), |name| values(&region, name)) {
            regions.push(region);
        }
    }
    Ok(api::DescribeRegionsResult { regions: Some(regions) })
}

/// The filters there are, beside tags.
const FILTERS: [&str; 3] = ["endpoint", "opt-in-status", "region-name"];

fn values(region: &api::Region, name: &str) -> Values {
    let value = match name {
        "endpoint" => &region.endpoint,
        "opt-in-status" => &region.opt_in_status,
        "region-name" => &region.region_name,
        _ => return None,
    };
    Some(value.iter().cloned().collect())
}
