//! What is told of progress, and to whom.

use std::task::Waker;
use std::time::Duration;

use super::progress::{ASKED_MAX, Ask, Progress, Unanswered};

#[test]
fn a_spill_file_whose_sync_failed_is_never_called_durable() {
    let progress = Progress::default();
    progress.add_spilled(3, 100);
    progress.set_spilled_durable();
    progress.add_spilled(4, 100);
    progress.set_spill_suspect("could not sync".into());
    progress.set_spilled_durable();
    assert_eq!(progress.spilled(), (7, 3), "also when a later sync succeeds");
    let (flush, sync) = (progress.ask(Ask::Flush), progress.ask(Ask::Sync));
    progress.set_goal(flush, 0, false);
    progress.set_goal(sync, 0, true);
    let answer = |ticket| progress.wait(ticket, Duration::ZERO).map(|mark| mark.events);
    assert_eq!(answer(flush), Ok(7));
    assert_eq!(answer(sync), Err(Unanswered::Suspect), "whatever the log's disk has");
}

#[test]
fn more_requests_than_fit_wait_for_the_scribe_and_all_are_answered() {
    let progress = Progress::default();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..ASKED_MAX {
                    let ticket = progress.ask(Ask::Flush);
                    assert!(progress.wait(ticket, Duration::from_secs(60)).is_ok());
                }
                let tickets: Vec<_> =
                    (0..ASKED_MAX).map(|_| progress.ask(Ask::Flush)).collect();
                for ticket in tickets {
                    assert!(progress.wait(ticket, Duration::from_secs(60)).is_ok());
                }
            });
        }
        let mut n_answered = 0;
        while n_answered < 8 * ASKED_MAX {
            let asked = progress.take_asked();
            assert!(asked.len() <= ASKED_MAX);
            n_answered += asked.len();
            asked.iter().for_each(|(ticket, _)| progress.set_goal(*ticket, 0, false));
        }
    });
    assert!(!progress.is_asked());
}

#[test]
fn the_end_answers_what_was_asked_before_and_refuses_the_rest() {
    let progress = Progress::default();
    let [flush, sync] = [Ask::Flush, Ask::Sync].map(|ask| progress.ask(ask));
    progress.refuse_asks();
    let late = (0..2 * ASKED_MAX).map(|_| progress.ask(Ask::Flush)).last().unwrap();
    progress.set_last_goals([].into_iter(), 0, false);
    progress.end();
    assert!(progress.wait(flush, Duration::ZERO).is_ok());
    for ticket in [sync, late] {
        assert_eq!(progress.wait(ticket, Duration::ZERO), Err(Unanswered::Ended));
    }
}

/// A waker that asks how far it has come, and counts.
#[derive(Debug, Default)]
struct Asks(Progress, std::sync::atomic::AtomicU64);

impl std::task::Wake for Asks {
    fn wake(self: std::sync::Arc<Self>) {
        // ord: Relaxed, a counter.
        self.1.fetch_add(self.0.written().blocks, std::sync::atomic::Ordering::Relaxed);
    }
}

#[test]
fn a_waker_may_ask_how_far_it_has_come() {
    let asks = std::sync::Arc::new(Asks::default());
    let (woken, told) = std::sync::mpsc::channel();
    let of_thread = asks.clone();
    std::thread::spawn(move || {
        let ticket = of_thread.0.ask(Ask::Flush);
        assert_eq!(of_thread.0.poll(ticket, &of_thread.clone().into()), None);
        of_thread.0.add_written(3, 100);
        // ord: Relaxed, a counter.
        woken.send(of_thread.1.load(std::sync::atomic::Ordering::Relaxed)).unwrap();
    });
    assert_eq!(told.recv_timeout(Duration::from_secs(60)), Ok(1), "it waits for itself");
}

#[test]
fn nothing_is_kept_for_who_went_away() {
    let progress = Progress::default();
    for has_goal in [false, true] {
        let ticket = progress.ask(Ask::Flush);
        assert_eq!(progress.take_asked(), [(ticket, Ask::Flush)]);
        if has_goal {
            progress.set_goal(ticket, 1, false);
        }
        assert_eq!(progress.poll(ticket, Waker::noop()), None);
        progress.abandon(ticket);
        assert_eq!(progress.n_kept(), usize::from(!has_goal));
        assert_eq!(progress.take_abandoned(ticket), !has_goal);
    }
    assert_eq!(progress.n_kept(), 0);
}

#[test]
fn somebody_is_awaited_until_the_last_answer_is_fetched() {
    let progress = Progress::default();
    assert!(!progress.is_awaited());
    let [first, second] = [Ask::Flush, Ask::Flush].map(|ask| progress.ask(ask));
    assert_eq!(progress.poll(first, Waker::noop()), None);
    assert!(progress.is_awaited(), "a task");
    progress.set_goal(first, 0, false);
    assert!(progress.is_awaited(), "it has not looked");
    assert!(progress.poll(first, Waker::noop()).is_some());
    progress.set_goal(second, 1, false);
    assert_eq!(progress.wait(second, Duration::ZERO), Err(Unanswered::Timeout));
    assert!(!progress.is_awaited(), "nobody is left");
}
