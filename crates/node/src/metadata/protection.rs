//! What tasks ask control about their protection from scale-in, on its way there and back.
//!
//! The server asks, the keeper carries. Invariants: no more than `WAITING` wait at once; whoever stops to wait takes the
//! question back, so that control is never asked what nobody waits for; an answer reaches the one that asked, or nobody.

use neargate_link::{ProtectionAnswer, ProtectionChange, ProtectionRequest};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

/// Questions at once, of all tasks.
const WAITING: usize = 64;
/// As the ECS agent waits for ECS.
const ANSWERED_WITHIN: Duration = Duration::from_secs(4);

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// Too many wait already.
    Throttled,
    /// Control did not answer in time.
    TimedOut,
}

/// The questions that wait.
#[derive(Debug, Default)]
pub struct Questions {
    waiting: Mutex<Waiting>,
    asked: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Number of the latest question.
    last: u64,
    by_number: BTreeMap<u64, Question>,
}

#[derive(Debug)]
struct Question {
    request: ProtectionRequest,
    sent: bool,
    answer: oneshot::Sender<ProtectionAnswer>,
}

impl Questions {
    /// Asks control about a task's protection, or to change it.
    ///
    /// # Errors
    /// Why there is no answer. A change may have been made all the same when it timed out.
    pub async fn ask(&self, task_id: &str, change: Option<ProtectionChange>) -> Result<ProtectionAnswer, Unanswered> {
        self.ask_for(ANSWERED_WITHIN, task_id, change).await
    }

    async fn ask_for(
        &self,
        patience: Duration,
        task_id: &str,
        change: Option<ProtectionChange>,
    ) -> Result<ProtectionAnswer, Unanswered> {
        let (answer, answered) = oneshot::channel();
        let number = {
            let mut waiting = self.lock();
            if waiting.by_number.len() >= WAITING {
                return Err(Unanswered::Throttled);
            }
            waiting.last += 1;
            let number = waiting.last;
            let request = ProtectionRequest {
                number,
                task_id: task_id.to_owned(),
                change,
            };
            let question = Question {
                request,
                sent: false,
                answer,
            };
            waiting.by_number.insert(number, question);
            number
        };
        let _taken_back = TakenBack { all: self, number };
        self.asked.notify_one();
        match tokio::time::timeout(patience, answered).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) | Err(_) => Err(Unanswered::TimedOut),
        }
    }

    /// The next question for control. May be dropped while it waits.
    pub async fn next(&self) -> ProtectionRequest {
        loop {
            if let Some(question) = self.lock().by_number.values_mut().find(|q| !q.sent) {
                question.sent = true;
                return question.request.clone();
            }
            self.asked.notified().await;
        }
    }

    /// Control's answer.
    pub fn answered(&self, number: u64, answer: ProtectionAnswer) {
        if let Some(question) = self.lock().by_number.remove(&number) {
            // Who no longer waits needs no answer.
            let _ = question.answer.send(answer);
        }
    }

    /// On a new connection everything that waits is asked again.
    pub fn reconnected(&self) {
        self.lock().by_number.values_mut().for_each(|q| q.sent = false);
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a question back once nobody waits for its answer.
struct TakenBack<'a> {
    all: &'a Questions,
    number: u64,
}

impl Drop for TakenBack<'_> {
    fn drop(&mut self) {
        self.all.lock().by_number.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    const NOT_PROTECTED: ProtectionAnswer = ProtectionAnswer::Protection { until: None };

    fn ask(all: &Arc<Questions>, task: &'static str) -> tokio::task::JoinHandle<Result<ProtectionAnswer, Unanswered>> {
        let all = all.clone();
        tokio::spawn(async move { all.ask(task, None).await })
    }

    #[tokio::test]
    async fn answers_reach_who_asked_also_over_another_connection() {
        let all = Arc::new(Questions::default());
        let (one, two) = (ask(&all, "one"), ask(&all, "two"));
        let (first, second) = (all.next().await, all.next().await);
        all.reconnected();
        assert_eq!(all.next().await, first);
        let failure = ProtectionAnswer::Failure {
            reason: "TASK_NOT_VALID".to_owned(),
            detail: None,
        };
        all.answered(second.number, failure.clone());
        all.answered(first.number, NOT_PROTECTED);
        all.answered(first.number, failure.clone());
        let (one, two) = (one.await.unwrap(), two.await.unwrap());
        let (of_first, of_second) = match first.task_id.as_str() {
            "one" => (one, two),
            _ => (two, one),
        };
        assert_eq!((of_first, of_second), (Ok(NOT_PROTECTED), Ok(failure)));
        assert!(all.lock().by_number.is_empty());
    }

    #[tokio::test]
    async fn who_stops_to_wait_is_not_asked_for_and_only_so_many_wait() {
        let all = Arc::new(Questions::default());
        let waiting: Vec<_> = (0..WAITING).map(|_| ask(&all, "many")).collect();
        while all.lock().by_number.len() < WAITING {
            tokio::task::yield_now().await;
        }
        assert_eq!(all.ask("late", None).await, Err(Unanswered::Throttled));
        for waits in waiting {
            waits.abort();
            assert!(waits.await.unwrap_err().is_cancelled());
        }
        let late = all.ask_for(Duration::from_millis(1), "late", None).await;
        assert_eq!(late, Err(Unanswered::TimedOut));
        let another = ask(&all, "another");
        assert_eq!(all.next().await.task_id, "another");
        another.abort();
    }
}
