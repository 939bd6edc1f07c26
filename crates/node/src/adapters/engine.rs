//! The engine of `neargate-runtime`: a shim per task, spoken to over its socket without blocking.
//!
//! One tokio task owns each connection: it writes requests, matches replies by id and hands events on. Dropping the
//! holder closes the connection and leaves shim and containers as they are.

use super::blocking;
use crate::ports::{Attached, BoxFuture, Engine, EngineError, EngineEvent, Holder};
use neargate_runtime::{
    ContainerLaunch, Event, Exec, ExecResult, Failure, FailureCode, Message, Reply, Request, ShimClient, ShimError,
    ShimExe, ShimLaunch, TaskState,
};
use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};

/// Starts shims made of one program.
pub struct ShimEngine {
    exe: Arc<ShimExe>,
}

impl ShimEngine {
    /// # Errors
    /// As `ShimExe::open`.
    pub fn open(exe: &Path) -> io::Result<ShimEngine> {
        Ok(ShimEngine {
            exe: Arc::new(ShimExe::open(exe)?),
        })
    }
}

impl Engine for ShimEngine {
    fn spawn(
        &self,
        launch: ShimLaunch,
        events: mpsc::UnboundedSender<EngineEvent>,
    ) -> BoxFuture<'_, Result<Arc<dyn Holder>, EngineError>> {
        let exe = self.exe.clone();
        Box::pin(async move {
            let client = blocking(move || ShimClient::spawn(&exe, &launch))
                .await
                .map_err(error)?;
            Ok(ShimHolder::over(client, events)? as Arc<dyn Holder>)
        })
    }

    fn attach<'a>(
        &'a self,
        task_dir: &'a Path,
        events: mpsc::UnboundedSender<EngineEvent>,
    ) -> BoxFuture<'a, Result<Option<Attached>, EngineError>> {
        let task_dir = task_dir.to_owned();
        Box::pin(async move {
            let Some((client, state)) = blocking(move || ShimClient::attach(&task_dir)).await.map_err(error)? else {
                return Ok(None);
            };
            Ok(Some((ShimHolder::over(client, events)? as Arc<dyn Holder>, state)))
        })
    }

    fn clean_up<'a>(&'a self, task_dir: &'a Path) -> BoxFuture<'a, Result<Option<TaskState>, String>> {
        let task_dir = task_dir.to_owned();
        Box::pin(blocking(move || {
            neargate_runtime::cleanup(&task_dir).map_err(|e| format!("clean up after the task's shim: {e}"))?;
            neargate_runtime::read_state(&task_dir).map_err(|e| format!("read the shim's state: {e}"))
        }))
    }
}

fn error(error: ShimError) -> EngineError {
    match error {
        ShimError::Refused(failure) => refusal(&failure),
        ShimError::Lost(why) => EngineError::Lost(why),
        io @ ShimError::Io { .. } => EngineError::Refused(io.to_string()),
    }
}

fn refusal(failure: &Failure) -> EngineError {
    match failure.code {
        FailureCode::NotApplicable => EngineError::NotApplicable(failure.to_string()),
        FailureCode::CannotCreateContainerError | FailureCode::CannotStartContainerError => {
            EngineError::Refused(failure.to_string())
        }
    }
}

type Answer = oneshot::Sender<Result<Reply, EngineError>>;

struct ShimHolder {
    requests: mpsc::UnboundedSender<(Request, Answer)>,
}

impl ShimHolder {
    fn over(client: ShimClient, events: mpsc::UnboundedSender<EngineEvent>) -> Result<Arc<ShimHolder>, EngineError> {
        // SAFETY: the client owns its socket and never replaces or closes it while it lives.
        let client = unsafe { AsyncFd::register_with_interest(client, Interest::READABLE) };
        let client = client.map_err(|e| EngineError::Lost(e.to_string()))?;
        let (requests, asked) = mpsc::unbounded_channel();
        tokio::spawn(converse(client, asked, events));
        Ok(Arc::new(ShimHolder { requests }))
    }

    async fn ask(&self, request: Request) -> Result<Reply, EngineError> {
        let gone = || EngineError::Lost("the shim is gone".to_owned());
        let (answer, answered) = oneshot::channel();
        self.requests.send((request, answer)).map_err(|_| gone())?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }

    async fn order(&self, request: Request) -> Result<(), EngineError> {
        self.ask(request).await.map(drop)
    }
}

impl Holder for ShimHolder {
    fn start(&self, launch: ContainerLaunch) -> BoxFuture<'_, Result<(), EngineError>> {
        Box::pin(self.order(Request::Start(Box::new(launch))))
    }

    fn signal<'a>(&'a self, container: &'a str, signal: i32) -> BoxFuture<'a, Result<(), EngineError>> {
        Box::pin(self.order(Request::Signal {
            container: container.to_owned(),
            signal,
        }))
    }

    fn exec(&self, exec: Exec) -> BoxFuture<'_, Result<ExecResult, EngineError>> {
        Box::pin(async move {
            match self.ask(Request::Exec(exec)).await? {
                Reply::Exec(result) => Ok(result),
                other => Err(EngineError::Lost(format!("unexpected reply {other:?}"))),
            }
        })
    }

    fn shut_down(&self) -> BoxFuture<'_, Result<(), EngineError>> {
        Box::pin(self.order(Request::Shutdown))
    }
}

/// Carries requests and replies until the shim or the holder is gone.
async fn converse(
    mut client: AsyncFd<ShimClient>,
    mut asked: mpsc::UnboundedReceiver<(Request, Answer)>,
    events: mpsc::UnboundedSender<EngineEvent>,
) {
    let mut waiting: HashMap<u64, Answer> = HashMap::new();
    let lost = loop {
        tokio::select! {
            request = asked.recv() => {
                let Some((request, answer)) = request else { return };
                match client.get_mut().send(request) {
                    Ok(id) => drop(waiting.insert(id, answer)),
                    Err(e) => {
                        let _ = answer.send(Err(error(e)));
                        break EngineError::Lost("the shim is gone".to_owned());
                    }
                }
            }
            ready = client.readable_mut() => {
                let mut ready = match ready {
                    Ok(ready) => ready,
                    Err(e) => break EngineError::Lost(e.to_string()),
                };
                let received = ready.get_inner_mut().receive();
                ready.clear_ready();
                match received {
                    Ok(messages) => {
                        if let Some(refused) = deliver(messages, &mut waiting, &events) {
                            break EngineError::Refused(refused.to_string());
                        }
                    }
                    Err(e) => break error(e),
                }
            }
        }
    };
    for (_, answer) in waiting {
        let _ = answer.send(Err(lost.clone()));
    }
    asked.close();
    while let Ok((_, answer)) = asked.try_recv() {
        let _ = answer.send(Err(lost.clone()));
    }
    let _ = events.send(EngineEvent::Lost);
}

/// Hands messages to whom they are for. Answers the refusal of the shim as a whole, under id 0.
fn deliver(
    messages: Vec<Message>,
    waiting: &mut HashMap<u64, Answer>,
    events: &mpsc::UnboundedSender<EngineEvent>,
) -> Option<Failure> {
    for message in messages {
        match message {
            // Nobody listens once the task is over; nothing is left to be told then.
            Message::Event(Event::Started { container, at, .. }) => {
                let _ = events.send(EngineEvent::Started { container, at });
            }
            Message::Event(Event::Exited { container, exit }) => {
                let _ = events.send(EngineEvent::Exited { container, exit });
            }
            Message::Reply { id, result } => match (waiting.remove(&id), result) {
                (Some(answer), result) => {
                    let _ = answer.send(result.map_err(|f| refusal(&f)));
                }
                (None, Err(failure)) => return Some(failure),
                (None, Ok(_)) => {}
            },
        }
    }
    None
}
