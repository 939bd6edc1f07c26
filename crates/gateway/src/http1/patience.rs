//! How long a connection waits: one timer, set again only when it fires, however often something happens.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// The timer of one connection.
pub struct Patience<'t> {
    sleep: Pin<&'t mut Sleep>,
    since: Instant,
    limit: Duration,
}

impl<'t> Patience<'t> {
    pub fn new(sleep: Pin<&'t mut Sleep>, limit: Duration) -> Patience<'t> {
        Patience {
            sleep,
            since: Instant::now(),
            limit,
        }
    }

    /// From now on it waits so long.
    pub fn wait(&mut self, limit: Duration) {
        self.limit = limit;
        self.touch();
    }

    /// Something happened.
    pub fn touch(&mut self) {
        self.since = Instant::now();
    }

    /// Ready once nothing happened for the limit.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let due = self.since + self.limit;
        if self.sleep.deadline() > due {
            self.sleep.as_mut().reset(due);
        }
        while self.sleep.as_mut().poll(cx).is_ready() {
            if Instant::now() >= due {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(due);
        }
        Poll::Pending
    }
}
