//! Machines coming and going: they are the container instances of every cluster.
//!
//! Control calls `node_joined` when a node introduces itself and `node_lost` when its connection ends. A short loss
//! changes nothing for its tasks; `reconcile::expiry` gives up those of services when it lasts.

use crate::Ecs;
use crate::records::NodeRecord;
use neargate_link::NodeHello;
use neargate_store::{CommitError, Txn};

/// Zones that nodes are spread over: as many as a default VPC has.
const ZONES: u32 = 3;

impl Ecs {
    /// Registers the node, or takes over what it says anew; it is connected from now on.
    ///
    /// # Errors
    /// When the store could not write.
    pub async fn node_joined(&self, hello: NodeHello) -> Result<(), CommitError> {
        let now = self.clock.now();
        let key = hello.node_id.clone();
        self.store
            .transact(|snapshot| {
                let known = snapshot.get::<NodeRecord>(&key);
                let record = match &known {
                    Some(known) if known.connected && known.hello == hello => {
                        return Ok::<_, CommitError>((Txn::new(), ()));
                    }
                    Some(known) => NodeRecord {
                        hello: hello.clone(),
                        availability_zone_index: known.availability_zone_index,
                        connected: true,
                        connectivity_at: if known.connected { known.connectivity_at } else { now },
                        registered_at: known.registered_at,
                        version: known.version + 1,
                    },
                    None => NodeRecord {
                        hello: hello.clone(),
                        availability_zone_index: emptiest_zone(
                            snapshot.range::<NodeRecord>("").map(|(_, n)| n.availability_zone_index),
                        ),
                        connected: true,
                        connectivity_at: now,
                        registered_at: now,
                        version: 1,
                    },
                };
                let mut txn = Txn::new();
                txn.unchanged::<NodeRecord>(snapshot, &key).put(&key, record);
                Ok((txn, ()))
            })
            .await
    }

    /// The node's connection ended. Call it only for the node's newest connection: a node that is back already is
    /// connected.
    ///
    /// # Errors
    /// When the store could not write.
    pub async fn node_lost(&self, node_id: &str) -> Result<(), CommitError> {
        let now = self.clock.now();
        self.store
            .transact(|snapshot| {
                let mut txn = Txn::new();
                if let Some(known) = snapshot.get::<NodeRecord>(node_id).filter(|n| n.connected) {
                    let mut record = NodeRecord::clone(&known);
                    record.connected = false;
                    record.connectivity_at = now;
                    record.version += 1;
                    txn.unchanged::<NodeRecord>(snapshot, node_id).put(node_id, record);
                }
                Ok::<_, CommitError>((txn, ()))
            })
            .await
    }
}

/// The zone with the fewest nodes.
fn emptiest_zone(taken: impl Iterator<Item = u32>) -> u32 {
    let mut counts = [0usize; ZONES as usize];
    for zone in taken {
        counts[(zone % ZONES) as usize] += 1;
    }
    (0..ZONES).min_by_key(|zone| counts[*zone as usize]).unwrap_or(0)
}
