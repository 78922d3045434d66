//! Wake: one thread of the process that watches rings whose owners sleep elsewhere.
//!
//! A future of a ring is polled by an executor that knows nothing of rings. While it is pending,
//! its thread sleeps wherever the executor sleeps, so somebody has to wake it when a completion
//! comes: this thread does, with `epoll` on the descriptors of rings that have waiting tasks. It
//! starts with the first of them, sleeps in the kernel, and touches no ring.
#![expect(unsafe_code, reason = "borrows the descriptor of a ring; proof at the block")]

use std::collections::HashMap;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::event::{Timespec, epoll};

use super::super::Error;
use super::waiters::Bell;

/// A woken task that has not looked after this long may be gone: then all are woken.
const PATIENCE: Duration = Duration::from_millis(2);

static WATCH: Mutex<Option<Arc<Watch>>> = Mutex::new(None);

#[derive(Debug)]
struct Watch {
    epoll: OwnedFd,
    bells: Mutex<HashMap<u64, Arc<Bell>>>,
    next: std::sync::atomic::AtomicU64,
}

/// A ring that is being watched; ends when it is dropped, which must be before the ring is.
#[derive(Debug)]
pub(super) struct Watched {
    watch: Arc<Watch>,
    id: u64,
    ring: RawFd,
    pub(super) bell: Arc<Bell>,
}

/// Watches a ring. The caller keeps `ring` open for as long as it has the answer.
pub(super) fn watch(ring: RawFd) -> Result<Watched, Error> {
    let watch = started()?;
    // ord: Relaxed, a counter.
    let id = watch.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let bell = Arc::new(Bell::new());
    watch.bells.lock().insert(id, Arc::clone(&bell));
    let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
    // SAFETY: the caller keeps it open.
    let fd = unsafe { BorrowedFd::borrow_raw(ring) };
    let added = epoll::add(&watch.epoll, fd, epoll::EventData::new_u64(id), flags);
    let watched = Watched { watch, id, ring, bell };
    added?;
    Ok(watched)
}

fn started() -> Result<Arc<Watch>, Error> {
    let mut started = WATCH.lock();
    if let Some(watch) = &*started {
        return Ok(Arc::clone(watch));
    }
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let watch = Arc::new(Watch { epoll, bells: Mutex::default(), next: 0.into() });
    let of_thread = Arc::clone(&watch);
    std::thread::Builder::new().name("ttlog-io-wake".into()).spawn(move || of_thread.run())?;
    *started = Some(Arc::clone(&watch));
    Ok(watch)
}

impl Watch {
    fn run(&self) {
        let mut events = [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }; 64];
        // Rings whose woken task has not looked yet: bell and how often it had looked.
        let mut unseen: Vec<(Arc<Bell>, u64)> = Vec::new();
        loop {
            let patience = Timespec { tv_sec: 0, tv_nsec: PATIENCE.subsec_nanos().into() };
            let timeout = (!unseen.is_empty()).then_some(&patience);
            let n = match epoll::wait(&self.epoll, &mut events, timeout) {
                Ok(n) => n,
                Err(rustix::io::Errno::INTR) => 0,
                // The kernel's refusal of one wait says nothing about the next.
                Err(_) => {
                    std::thread::sleep(PATIENCE);
                    0
                }
            };
            for (bell, looks) in std::mem::take(&mut unseen) {
                bell.wake_all_unless_seen(looks);
            }
            for event in &events[..n] {
                let bell = self.bells.lock().get(&event.data.u64()).cloned();
                if let Some(bell) = bell {
                    unseen.push((Arc::clone(&bell), bell.looks()));
                    bell.wake_one();
                }
            }
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // SAFETY: the ring is dropped after this, so the descriptor is open.
        let fd = unsafe { BorrowedFd::borrow_raw(self.ring) };
        // Closing the ring removes it as well.
        let _ = epoll::delete(&self.watch.epoll, fd);
        let bell = self.watch.bells.lock().remove(&self.id);
        drop(bell);
    }
}
