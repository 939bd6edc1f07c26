//! The link to control: takes tables, tells which are served and how targets do, and connects again for ever.
//!
//! Run by the gateway beside its workers. Invariant: a table of an older generation than the one that is served is not
//! taken; one is told as served when no thread serves an older one; and what control has not stored is said again.

use crate::ledger::Ledger;
use neargate_link::connection::Timing;
use neargate_link::gateway::{Problem, TargetReport};
use neargate_link::{Connection, FromGateway, GatewayTable, LinkError, ToGateway, unix};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

type GatewayLink = Connection<FromGateway, ToGateway>;

const SOONEST: Duration = Duration::from_millis(50);
const LATEST: Duration = Duration::from_secs(1);

/// A table to serve.
pub struct Offer {
    pub generation: u64,
    pub table: Arc<GatewayTable>,
    pub answer: oneshot::Sender<Taken>,
}

/// What became of a table.
pub struct Taken {
    /// What of it cannot be served.
    pub problems: Vec<Problem>,
    /// Answered by each thread that serves it.
    pub obeyed: Vec<oneshot::Receiver<()>>,
}

/// What a session needs.
pub struct Session {
    pub socket: PathBuf,
    /// Names this gateway to control.
    pub name: String,
    pub offers: mpsc::Sender<Offer>,
    pub reports: mpsc::Receiver<TargetReport>,
    /// The generation that is served.
    pub generation: u64,
}

impl Session {
    /// Goes on until the future is dropped.
    pub async fn run(mut self) {
        let mut ledger = Ledger::default();
        let mut pause = SOONEST;
        loop {
            let outcome = match unix::connect_as(&self.socket, Timing::default()).await {
                Ok(link) => {
                    pause = SOONEST;
                    self.talk(link, &mut ledger).await
                }
                Err(error) => Err(error),
            };
            if let Err(error) = outcome {
                tracing::debug!(%error, "control is away");
            }
            let again = tokio::time::sleep(pause);
            tokio::pin!(again);
            // Checks go on meanwhile, and their reports must not be held up.
            loop {
                tokio::select! {
                    () = &mut again => break,
                    Some(report) = self.reports.recv() => ledger.note(report),
                }
            }
            pause = (pause * 2).min(LATEST);
        }
    }

    async fn talk(&mut self, mut link: GatewayLink, ledger: &mut Ledger) -> Result<(), LinkError> {
        let hello = FromGateway::Hello {
            gateway_id: self.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        link.send(&self.name, &hello).await?;
        ledger.reconnected();
        loop {
            if let Some((sequence, targets)) = ledger.next() {
                let message = FromGateway::Targets { sequence, targets };
                link.send(&self.name, &message).await?;
            }
            tokio::select! {
                frame = link.recv() => match frame? {
                    None => return Ok(()),
                    Some(frame) => match frame.message {
                        ToGateway::Stored { sequence } => ledger.stored(sequence),
                        ToGateway::Table { generation, table } => self.take(&link, ledger, generation, table).await?,
                    },
                },
                Some(report) = self.reports.recv() => {
                    ledger.note(report);
                    while let Ok(report) = self.reports.try_recv() {
                        ledger.note(report);
                    }
                }
            }
        }
    }

    async fn take(
        &mut self,
        link: &GatewayLink,
        ledger: &mut Ledger,
        generation: u64,
        table: Arc<GatewayTable>,
    ) -> Result<(), LinkError> {
        if generation < self.generation {
            tracing::warn!(generation, served = self.generation, "an older table is not taken");
            return Ok(());
        }
        ledger.keep_only(&table);
        let (answer, answered) = oneshot::channel();
        let offer = Offer {
            generation,
            table,
            answer,
        };
        // Nobody takes tables any more when the gateway is about to end.
        let Ok(()) = self.offers.send(offer).await else {
            return Ok(());
        };
        let Ok(Taken { problems, obeyed }) = answered.await else {
            return Ok(());
        };
        for thread in obeyed {
            // One that is gone serves nothing older.
            let _ = thread.await;
        }
        self.generation = generation;
        link.send(&self.name, &FromGateway::Applied { generation, problems })
            .await
    }
}
