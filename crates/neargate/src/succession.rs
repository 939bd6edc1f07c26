//! How one gateway follows another without a refused connection.
//!
//! `up` keeps duplicates of what the gateway listens on (`neargate_gateway::handover`) and gives them to the next one. One
//! that dies is started again. At SIGHUP a new one is started from the program on disk while the old one serves; once it
//! serves, the old one stops accepting, finishes what it runs, and ends.

use crate::up::{self, Launch, Role, tell};
use std::fs::File;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Names the descriptor of a gateway's channel to `up`.
pub const CHANNEL: &str = "NEARGATE_SOCKETS_FD";
/// Set for a gateway whose predecessor still runs.
pub const TAKES_OVER: &str = "NEARGATE_TAKES_OVER";

/// How long a gateway that was followed may finish what it runs: as long as targets may drain by default.
const LEAVE_WITHIN: Duration = Duration::from_secs(300);

/// The gateways that were, beside the one that is.
pub struct Succession {
    hangup: Signal,
    /// Hanging up means that the terminal was closed, when there was one and it is gone.
    at_terminal: bool,
    leaving: JoinSet<()>,
    ending: watch::Sender<bool>,
}

impl Succession {
    pub fn new() -> Result<Succession, String> {
        Ok(Succession {
            hangup: signal(SignalKind::hangup()).map_err(|e| e.to_string())?,
            at_terminal: has_terminal(),
            leaving: JoinSet::new(),
            ending: watch::Sender::new(false),
        })
    }

    /// Keeps a gateway running, until the terminal is gone.
    pub async fn keep(&mut self, launch: &Launch<'_>, gateway: &mut Role) {
        loop {
            tokio::select! {
                ended = gateway.child.wait() => up::again(launch, gateway, ended).await,
                _ = self.hangup.recv() => {
                    if self.at_terminal && !has_terminal() {
                        return;
                    }
                    self.follow(launch, gateway).await;
                }
                Some(_) = self.leaving.join_next() => {}
            }
        }
    }

    async fn follow(&mut self, launch: &Launch<'_>, gateway: &mut Role) {
        tell("neargate: starting the gateway anew");
        match up::start(launch, "gateway", true).await {
            Ok(new) => {
                let old = std::mem::replace(gateway, new);
                if let Some(sockets) = &old.sockets {
                    sockets.supersede();
                }
                self.leaving.spawn(leave(old, self.ending.subscribe()));
                tell("neargate: the new gateway serves");
            }
            Err(why) => tell(&format!("neargate: the gateway stays the one it was: {why}")),
        }
    }

    /// Ends the gateways that were.
    pub async fn end(mut self) {
        self.ending.send_replace(true);
        while self.leaving.join_next().await.is_some() {}
    }
}

/// Lets a gateway finish what it runs.
async fn leave(mut old: Role, mut ending: watch::Receiver<bool>) {
    tokio::select! {
        _ = old.child.wait() => return,
        () = tokio::time::sleep(LEAVE_WITHIN) => {}
        _ = ending.wait_for(|ending| *ending) => {}
    }
    up::end(&mut [old]).await;
}

fn has_terminal() -> bool {
    File::open("/dev/tty").is_ok()
}

/// For a gateway: its predecessor lives until this one serves.
pub fn takes_over() -> bool {
    std::env::var_os(TAKES_OVER).is_some()
}

/// For a gateway: the channel over which `up` hands on and keeps sockets; none when started by hand.
pub fn channel() -> Option<OwnedFd> {
    let fd = std::env::var(CHANNEL).ok()?.parse().ok()?;
    // SAFETY: `up` left this descriptor open for this process, and nothing else here uses it.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}
