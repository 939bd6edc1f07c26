//! Gateways as control sees them: each gets the whole table of load balancers and tells how targets do.
//!
//! The control process calls `Gateways::serve`. A table goes out when a gateway connects and whenever a commit changed
//! it; commits that come together make one table. Invariants: no target report is acknowledged before it is stored;
//! generations grow, also across restarts of control, because they are revisions of the store.

use crate::nodes::BoxFuture;
use neargate_core::AwsError;
use neargate_link::gateway::TargetReport;
use neargate_link::{Connection, FromGateway, GatewayTable, LinkError, LinkListener, Sender, ToGateway};
use neargate_store::{Change, Snapshot, Store, concerned};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;

/// What gateways mean to Elastic Load Balancing.
pub trait BalancerPlane: Send + Sync + 'static {
    /// Everything a gateway serves; depends on nothing but its argument.
    fn table(&self, snapshot: &Snapshot) -> GatewayTable;

    /// True when the change may alter the table.
    fn concerns(&self, change: &Change) -> bool;

    /// How targets do; answers once it is stored. Some may have been reported before.
    fn apply_reports(&self, reports: Vec<TargetReport>) -> BoxFuture<'_, Result<(), AwsError>>;
}

type GatewayConnection = Connection<ToGateway, FromGateway>;

/// Control's side of the gateway link.
#[derive(Clone)]
pub struct Gateways {
    store: Store,
    plane: Arc<dyn BalancerPlane>,
}

/// A table with the revision it was made of.
type Offered = Option<(u64, Arc<GatewayTable>)>;

const ACCEPT_AGAIN: Duration = Duration::from_millis(200);
const RETRY: Duration = Duration::from_millis(200);

impl Gateways {
    pub fn new(store: Store, plane: Arc<dyn BalancerPlane>) -> Gateways {
        Gateways { store, plane }
    }

    /// Serves gateways until the future is dropped; they go on with their last table and connect to the next control.
    pub async fn serve(self, listener: LinkListener) {
        let (offer, offered) = watch::channel(None);
        let mut tasks = JoinSet::new();
        tasks.spawn(self.clone().follow(offer));
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => {
                        let (gateways, offered) = (self.clone(), offered.clone());
                        tasks.spawn(async move {
                            match accepted.establish_as::<ToGateway, FromGateway>().await {
                                Ok(connection) => gateways.session(connection, offered).await,
                                Err(LinkError::Io(error)) => tracing::debug!(%error, "a connection ended before it was greeted"),
                                Err(error) => tracing::warn!(%error, "a gateway's connection was refused"),
                            }
                        });
                    }
                    Err(error) => {
                        tracing::error!(%error, "cannot accept gateways");
                        tokio::time::sleep(ACCEPT_AGAIN).await;
                    }
                },
                Some(ended) = tasks.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "serving a gateway failed");
                    }
                }
            }
        }
    }

    /// Makes a new table whenever a commit may have changed it.
    async fn follow(self, offer: watch::Sender<Offered>) {
        let mut changes = self.store.changes();
        loop {
            self.offer(&offer);
            if !concerned(&mut changes, |change| self.plane.concerns(change)).await {
                return;
            }
            // What came meanwhile is in the snapshot that the next table is made of.
            while let Ok(_) | Err(broadcast::error::TryRecvError::Lagged(_)) = changes.try_recv() {}
        }
    }

    fn offer(&self, offer: &watch::Sender<Offered>) {
        let snapshot = self.store.snapshot();
        let table = self.plane.table(&snapshot);
        offer.send_if_modified(|current| {
            let same = current.as_ref().is_some_and(|(_, held)| **held == table);
            if !same {
                *current = Some((snapshot.revision(), Arc::new(table)));
            }
            !same
        });
    }

    async fn session(self, connection: GatewayConnection, mut offered: watch::Receiver<Offered>) {
        let (sender, mut receiver) = connection.split();
        offered.mark_changed();
        let mut name = String::from("gateway");
        loop {
            let outcome = tokio::select! {
                changed = offered.changed() => match changed {
                    Ok(()) => push(&sender, &name, &mut offered).await,
                    Err(_) => return,
                },
                frame = receiver.recv() => match frame {
                    Ok(Some(frame)) => self.heard(&sender, &mut name, frame.message).await,
                    Ok(None) => return,
                    Err(error) => Err(error),
                },
            };
            match outcome {
                Ok(()) => {}
                Err(error @ (LinkError::Closed | LinkError::Io(_))) => {
                    tracing::debug!(%error, "a gateway's connection ended");
                    return;
                }
                Err(error) => {
                    tracing::warn!(%error, "a gateway's connection ended");
                    return;
                }
            }
        }
    }

    async fn heard(
        &self,
        sender: &Sender<ToGateway>,
        name: &mut String,
        message: FromGateway,
    ) -> Result<(), LinkError> {
        match message {
            FromGateway::Hello { gateway_id, .. } => *name = gateway_id,
            FromGateway::Applied { problems, .. } => {
                for problem in problems {
                    tracing::warn!(listener = problem.listener, "{}", problem.message);
                }
            }
            FromGateway::Targets { sequence, targets } => {
                self.store_targets(targets).await;
                sender.send(name, &ToGateway::Stored { sequence }).await?;
            }
        }
        Ok(())
    }

    /// Server faults (a full disk) are tried again without end; what is refused for good is told and passed over.
    async fn store_targets(&self, targets: Vec<TargetReport>) {
        loop {
            match self.plane.apply_reports(targets.clone()).await {
                Ok(()) => return,
                Err(error) if error.is_client_fault() => {
                    tracing::error!(%error, "reports of targets were refused and are dropped");
                    return;
                }
                Err(error) => {
                    tracing::error!(%error, "reports of targets cannot be stored; trying again");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }
}

async fn push(sender: &Sender<ToGateway>, name: &str, offered: &mut watch::Receiver<Offered>) -> Result<(), LinkError> {
    let Some((generation, table)) = offered.borrow_and_update().clone() else {
        return Ok(());
    };
    sender.send(name, &ToGateway::Table { generation, table }).await
}
