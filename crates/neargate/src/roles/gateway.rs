//! The gateway role.

use super::ready;
use crate::shutdown::{self, Shutdown};

pub async fn run(shutdown: Shutdown) -> Result<(), String> {
    ready()?;
    neargate_gateway::run(shutdown::requested(shutdown)).await;
    Ok(())
}
