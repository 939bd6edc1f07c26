//! When a process should end: SIGTERM, or for a role, its supervisor gone.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Becomes true once; clones see the same.
pub type Shutdown = watch::Receiver<bool>;

/// For a role: SIGTERM, or the end of standard input, which the supervisor holds open. Ctrl-C reaches the whole
/// foreground group; the supervisor alone answers it.
///
/// # Errors
/// When signal handlers cannot be set.
pub fn of_role() -> Result<Shutdown, String> {
    let (tell, told) = watch::channel(false);
    let mut terminate = signal(SignalKind::terminate()).map_err(|e| e.to_string())?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|e| e.to_string())?;
    let (gone, supervisor_gone) = tokio::sync::oneshot::channel::<()>();
    std::thread::Builder::new()
        .name("supervisor".into())
        .stack_size(64 * 1024)
        .spawn(move || {
            let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            let _ = gone.send(());
        })
        .map_err(|e| e.to_string())?;
    tokio::spawn(async move {
        tokio::pin!(supervisor_gone);
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = &mut supervisor_gone => break,
                _ = interrupt.recv() => {}
            }
        }
        let _ = tell.send(true);
    });
    Ok(told)
}

/// Waits until `shutdown` says so.
pub async fn requested(mut shutdown: Shutdown) {
    let _ = shutdown.wait_for(|done| *done).await;
}
