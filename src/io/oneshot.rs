//! Oneshot: one value from the thread that makes it to the task that waits for it.
//!
//! Value and waker lie in one cell under one lock, so that a value never comes between looking and
//! waiting (O1), a task that waits is woken exactly when its value is there (O2), and a value whose
//! taker is gone is dropped by its maker, a waker whose maker is gone is woken (O3). No code of a
//! user runs under the lock.

use std::task::{Context, Poll, Waker};

use crate::sync::{Arc, Mutex};

#[derive(Debug)]
struct Cell<T> {
    value: Option<T>,
    waker: Option<Waker>,
    is_sender_gone: bool,
    is_receiver_gone: bool,
}

/// Gives the value.
#[derive(Debug)]
pub(super) struct Sender<T>(Arc<Mutex<Cell<T>>>);

/// Waits for the value.
#[derive(Debug)]
pub(super) struct Receiver<T>(Arc<Mutex<Cell<T>>>);

pub(super) fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let cell = Cell { value: None, waker: None, is_sender_gone: false, is_receiver_gone: false };
    let cell = Arc::new(Mutex::new(cell));
    (Sender(Arc::clone(&cell)), Receiver(cell))
}

impl<T> Sender<T> {
    /// Gives the value, and gives it back when nobody waits any more.
    pub(super) fn send(self, value: T) -> Option<T> {
        let mut cell = self.0.lock();
        if cell.is_receiver_gone {
            return Some(value);
        }
        cell.value = Some(value);
        None // dropping `self` wakes
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut cell = self.0.lock();
        cell.is_sender_gone = true;
        let waker = cell.waker.take();
        drop(cell);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Receiver<T> {
    /// The value; `Err` when none will come.
    pub(super) fn poll(&self, context: &mut Context<'_>) -> Poll<Result<T, ()>> {
        let mut cell = self.0.lock();
        if let Some(value) = cell.value.take() {
            return Poll::Ready(Ok(value));
        }
        if cell.is_sender_gone {
            return Poll::Ready(Err(()));
        }
        if cell.waker.as_ref().is_some_and(|old| old.will_wake(context.waker())) {
            return Poll::Pending;
        }
        drop(cell);
        // A clone is a user's code, so it is made without the lock, and the value looked for again.
        let waker = context.waker().clone();
        let mut cell = self.0.lock();
        if let Some(value) = cell.value.take() {
            return Poll::Ready(Ok(value));
        }
        if cell.is_sender_gone && !crate::sync::mutant("oneshot_blind") {
            return Poll::Ready(Err(()));
        }
        let old = cell.waker.replace(waker);
        drop(cell);
        drop(old);
        Poll::Pending
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut cell = self.0.lock();
        cell.is_receiver_gone = true;
        let left = (cell.value.take(), cell.waker.take());
        drop(cell);
        drop(left);
    }
}

#[cfg(all(test, loom))]
mod models {
    use loom::thread;

    use super::*;

    /// Runs a future on this thread of the model.
    fn block_on<F: Future>(future: F) -> F::Output {
        struct Unpark(thread::Thread);
        impl std::task::Wake for Unpark {
            fn wake(self: std::sync::Arc<Self>) {
                self.0.unpark();
            }
        }
        let waker = Waker::from(std::sync::Arc::new(Unpark(thread::current())));
        let mut future = std::pin::pin!(future);
        loop {
            match future.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(output) => return output,
                Poll::Pending => thread::park(),
            }
        }
    }

    fn check(model: impl Fn() + Send + Sync + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(model);
    }

    /// O1, O2: the value arrives whether it comes before the first poll, between looking and
    /// waiting, or after.
    #[test]
    fn model_a_value_is_never_missed() {
        check(|| {
            let (sender, receiver) = channel();
            let maker = thread::spawn(move || assert!(sender.send(7).is_none()));
            let value = block_on(std::future::poll_fn(|cx| receiver.poll(cx)));
            assert_eq!(value, Ok(7));
            maker.join().unwrap();
        });
    }

    /// O3: whoever goes first, the other hears of it.
    #[test]
    fn model_who_is_gone_is_noticed() {
        check(|| {
            let (sender, receiver) = channel::<u8>();
            let maker = thread::spawn(move || drop(sender));
            let value = block_on(std::future::poll_fn(|cx| receiver.poll(cx)));
            assert_eq!(value, Err(()));
            maker.join().unwrap();
        });
        check(|| {
            let (sender, receiver) = channel();
            let counted = loom::sync::Arc::new(());
            let maker = thread::spawn({
                let value = counted.clone();
                move || drop(sender.send(value))
            });
            drop(receiver);
            maker.join().unwrap();
            assert_eq!(loom::sync::Arc::strong_count(&counted), 1);
        });
    }
}
