//! DescribeCapacityReservation.

use crate::{Elbv2, api, find};
use neargate_core::{AwsError, RequestContext};

/// Nothing is ever reserved: a load balancer has what its machine has. Terraform asks for it after every create.
///
/// # Errors
/// `LoadBalancerNotFound`, `ValidationError`.
pub async fn handle(
    service: &Elbv2,
    cx: &RequestContext,
    input: api::DescribeCapacityReservationInput,
) -> Result<api::DescribeCapacityReservationOutput, AwsError> {
    let arn = input.load_balancer_arn.unwrap_or_default();
    find::load_balancer(&service.store.snapshot(), &cx.region, &arn)?;
    Ok(api::DescribeCapacityReservationOutput {
        capacity_reservation_state: Some(Vec::new()),
        ..Default::default()
    })
}
