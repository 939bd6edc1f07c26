//! The gateway role: its process is supervised from the start; it serves once load balancers exist.

use super::ready;
use crate::shutdown::{self, Shutdown};

pub async fn run(shutdown: Shutdown) -> Result<(), String> {
    ready()?;
    shutdown::requested(shutdown).await;
    Ok(())
}
