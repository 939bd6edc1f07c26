//! The gateway role: load balancers for real, or, beside simulated nodes, a gateway that only pretends.

use super::ready;
use crate::instance::Instance;
use crate::shutdown::{self, Shutdown};
use crate::{paths, succession};
use neargate_gateway::GatewayConfig;
use neargate_gateway::handover::Sockets;
use neargate_gateway::simulated;

pub async fn run(instance: &Instance, shutdown: Shutdown) -> Result<(), String> {
    let link_socket = paths::gateway_socket(&instance.data);
    let shutdown = shutdown::requested(shutdown);
    let settings = &instance.settings;
    let sockets = match succession::channel() {
        Some(channel) => Sockets::inherited(channel).map_err(|e| format!("take the listening sockets over: {e}"))?,
        None => Sockets::default(),
    };
    if settings.simulated_nodes.is_some() {
        ready()?;
        let ends = async {
            tokio::select! {
                () = shutdown => {}
                () = sockets.superseded() => {}
            }
        };
        simulated::run(&link_socket, ends).await;
        return Ok(());
    }
    let config = GatewayConfig {
        link_socket,
        state_dir: instance.data.clone(),
        logs_dir: paths::s3(&instance.data),
        loopback: settings.load_balancer_listen,
        account: settings.account.clone(),
        region: settings.region.clone(),
        threads: 0,
        sockets,
    };
    let mut told = Ok(());
    neargate_gateway::run(config, || told = ready(), shutdown)
        .await
        .map_err(|e| e.to_string())?;
    told
}
