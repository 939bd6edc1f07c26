//! Wakers for the parts of a connection's task: each part runs only when it was woken itself, and the task is not
//! scheduled anew for what happens while it runs.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};

/// The task that bells wake.
#[derive(Debug)]
pub struct Task {
    waker: Mutex<Waker>,
    runs: AtomicBool,
}

/// What one part of the task is woken by.
#[derive(Debug)]
pub struct Bell {
    task: Arc<Task>,
    rang: AtomicBool,
}

impl Task {
    pub fn new() -> Arc<Task> {
        Arc::new(Task {
            waker: Mutex::new(Waker::noop().clone()),
            runs: AtomicBool::new(false),
        })
    }

    /// A bell that has rung: its part runs first of all.
    pub fn bell(self: &Arc<Task>) -> Arc<Bell> {
        Arc::new(Bell {
            task: self.clone(),
            rang: AtomicBool::new(true),
        })
    }

    /// It runs now; `waker` schedules it from when it rests on.
    pub fn run(&self, waker: &Waker) {
        self.runs.store(true, SeqCst);
        let mut kept = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        if !kept.will_wake(waker) {
            kept.clone_from(waker);
        }
    }

    /// It ran; it is scheduled anew if a bell rang that nobody heard.
    pub fn rest(&self, bells: &[&Bell]) {
        self.runs.store(false, SeqCst);
        if bells.iter().any(|bell| bell.rang()) {
            self.wake();
        }
    }

    fn wake(&self) {
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        waker.wake_by_ref();
    }
}

impl Bell {
    /// Whether it rang since it was last heard.
    pub fn rang(&self) -> bool {
        self.rang.load(SeqCst)
    }

    /// As `rang`, and hears it.
    pub fn hear(&self) -> bool {
        self.rang() && self.rang.swap(false, SeqCst)
    }

    pub fn ring(&self) {
        // Whoever stores second sees what the other one stored: `runs` or `rang`.
        self.rang.store(true, SeqCst);
        if !self.task.runs.load(SeqCst) {
            self.task.wake();
        }
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Bell>) {
        self.ring();
    }

    fn wake_by_ref(self: &Arc<Bell>) {
        self.ring();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scheduled(AtomicBool);

    impl Wake for Scheduled {
        fn wake(self: Arc<Scheduled>) {
            self.0.store(true, SeqCst);
        }
    }

    #[test]
    fn a_task_is_scheduled_for_what_rings_while_it_rests_and_for_what_it_did_not_hear() {
        let scheduled = Arc::new(Scheduled(AtomicBool::new(false)));
        let waker = Waker::from(scheduled.clone());
        let was_scheduled = || scheduled.0.swap(false, SeqCst);
        let task = Task::new();
        let (one, other) = (task.bell(), task.bell());

        task.run(&waker);
        assert!(one.hear() && other.hear(), "both parts run first");
        one.ring();
        assert!(one.hear() && !other.hear(), "only the one that rang");
        task.rest(&[&one, &other]);
        assert!(!was_scheduled(), "it heard while it ran");

        Waker::from(other.clone()).wake();
        assert!(was_scheduled() && !one.hear() && other.hear());

        task.run(&waker);
        one.ring();
        assert!(!was_scheduled());
        task.rest(&[&one, &other]);
        assert!(was_scheduled(), "nobody heard it");
    }
}
