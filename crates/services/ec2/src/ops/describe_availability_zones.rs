//! DescribeAvailabilityZones: three zones in every region.

use crate::filter::{self, Values};
use crate::{Ec2, api, region};
use neargate_core::{AwsError, RequestContext, Tags};

/// # Errors
/// `InvalidParameterValue`, `DryRunOperation`.
pub async fn handle(
    _service: &Ec2,
    cx: &RequestContext,
    input: api::DescribeAvailabilityZonesRequest,
) -> Result<api::DescribeAvailabilityZonesResult, AwsError> {
    filter::dry_run(input.dry_run)?;
    let all: Vec<api::AvailabilityZone> = (0..region::ZONES.len()).map(|index| zone(&cx.region, index)).collect();
    let names = input.zone_names.unwrap_or_default();
    let ids = input.zone_ids.unwrap_or_default();
    let is = |have: &Option<String>, asked: &str| have.as_deref() == Some(asked);
    if let Some(name) = filter::missing(&names, |name| all.iter().any(|z| is(&z.zone_name, name))).first() {
        return Err(filter::invalid_value(format!("Invalid availability zone: [{name}]")));
    }
    if let Some(id) = filter::missing(&ids, |id| all.iter().any(|z| is(&z.zone_id, id))).first() {
        return Err(filter::invalid_value(format!("Invalid availability zone-id: [{id}]")));
    }
    let filters = input.filters.unwrap_or_default();
    filter::known(&filters, &FILTERS)?;
    let mut zones = Vec::new();
    for zone in all {
        let named = names.is_empty() && ids.is_empty()
            || names.iter().any(|name| is(&zone.zone_name, name))
            || ids.iter().any(|id| is(&zone.zone_id, id));
        if named && filter::passes(&filters, &Tags::default(), |name| values(&zone, name)) {
            zones.push(zone);
        }
    }
    Ok(api::DescribeAvailabilityZonesResult {
        availability_zones: Some(zones),
    })
}

fn zone(region: &str, index: usize) -> api::AvailabilityZone {
    api::AvailabilityZone {
        zone_name: Some(region::zone_name(region, index)),
        zone_id: Some(region::zone_id(region, index)),
        region_name: Some(region.to_owned()),
        group_name: Some(format!("{region}-zg-1")),
        network_border_group: Some(region.to_owned()),
        zone_type: Some("availability-zone".to_owned()),
        state: Some("available".to_owned()),
        opt_in_status: Some("opt-in-not-required".to_owned()),
        messages: Some(Vec::new()),
        ..Default::default()
    }
}

/// The filters there are, beside tags.
const FILTERS: [&str; 11] = [
    "group-long-name",
    "group-name",
    "message",
    "opt-in-status",
    "parent-zone-id",
    "parent-zone-name",
    "region-name",
    "state",
    "zone-id",
    "zone-name",
    "zone-type",
];

fn values(zone: &api::AvailabilityZone, name: &str) -> Values {
    let value = match name {
        "group-long-name" => &zone.group_long_name,
        "group-name" => &zone.group_name,
        "message" => &None,
        "opt-in-status" => &zone.opt_in_status,
        "parent-zone-id" => &zone.parent_zone_id,
        "parent-zone-name" => &zone.parent_zone_name,
        "region-name" => &zone.region_name,
        "state" => &zone.state,
        "zone-id" => &zone.zone_id,
        "zone-name" => &zone.zone_name,
        "zone-type" => &zone.zone_type,
        _ => return None,
    };
    Some(value.iter().cloned().collect())
}
