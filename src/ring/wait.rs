//! Wait: who sleeps on a ring, how it is woken, and why a push need not fence to know.
//!
//! # Ordering
//!
//! A sleeper sets its side's flag, fences, looks at the ring once more, then sleeps. Its partner
//! changes the ring, then reads the flag. If both fence, one of the two sees the other (I7). The
//! partner runs on the hot path, so its fence is the compiler's only, and the sleeper pays for
//! both: `membarrier` makes the kernel run a full fence on every processor that runs a thread of
//! this process, at one moment *m* between the sleeper's store and its second look. A partner's
//! change before *m* is seen by that look; a partner's read of the flag after *m* sees it set; and
//! since the change comes before the read in the program, and the compiler keeps it so, there is no
//! third case. Where the kernel has no `membarrier`, both sides run a full fence, which is also
//! what the models check.
//!
//! Locks here are cold: nobody takes one while nobody sleeps. They are never held while code of a
//! user runs, so a waker is woken, and dropped, outside.

use std::collections::{BTreeMap, BTreeSet};
use std::task::Waker;

use super::position::Positions;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use crate::sync::thread::{self, Thread};
use crate::sync::{Mutex, barrier, call_each, compiler_fence, mutant};

/// How many sleeping producers one take wakes; each of them wakes the next.
const WAKES_MAX: usize = 4;
/// How many a producer wakes that has slept and found room.
const WAKES_PASSED_ON: usize = 2;
/// After so many takes, producers that have not waited give way to one that has.
pub(super) const PATIENCE_TAKES: u64 = 64;

/// A thread that parks or a task that pends.
#[derive(Debug)]
pub(super) enum Sleeper {
    Thread(Thread),
    Task(Waker),
}

impl Sleeper {
    pub(super) fn this_thread() -> Self {
        Self::Thread(thread::current())
    }

    fn wake(self) {
        match self {
            Self::Thread(thread) => thread.unpark(),
            Self::Task(waker) => waker.wake(),
        }
    }
}

/// Wakes them all, also when a waker among them panics.
pub(super) fn wake_each(sleepers: impl IntoIterator<Item = Sleeper>) {
    call_each(sleepers, Sleeper::wake);
}

/// The two fences of the module's docs.
#[derive(Debug)]
pub(super) struct Fences {
    asymmetric: bool,
    /// True once the kernel has refused a barrier that it had granted before.
    refused: AtomicBool,
}

impl Fences {
    pub(super) fn new() -> Self {
        Self { asymmetric: barrier::is_ready(), refused: AtomicBool::new(false) }
    }

    /// Fences that do without the kernel.
    #[cfg(all(test, not(loom)))]
    pub(super) fn symmetric() -> Self {
        Self { asymmetric: false, refused: AtomicBool::new(false) }
    }

    /// Those of a kernel that grants barriers no more.
    #[cfg(all(test, not(loom)))]
    pub(super) fn refused() -> Self {
        Self { asymmetric: true, refused: AtomicBool::new(true) }
    }

    /// None at all, for models in which nobody sleeps: a fence there hides a missing Release, and
    /// with `membarrier` there is none on the way of a push.
    #[cfg(all(test, loom))]
    pub(super) fn none() -> Self {
        Self { asymmetric: true, refused: AtomicBool::new(false) }
    }

    /// True if `flag`, of a partner that may sleep, was set before the change just made (I7).
    #[inline(always)]
    pub(super) fn someone_sleeps(&self, flag: &AtomicBool) -> bool {
        if self.asymmetric {
            // ord: SeqCst for the compiler alone, pairs with the sleeper's barrier.
            compiler_fence(Ordering::SeqCst);
        } else if !mutant("partner_fence") {
            // ord: SeqCst, pairs with the one in `announce`; with AcqRel the load below may pass
            // the change before it, and both sides miss each other.
            fence(Ordering::SeqCst);
        }
        // ord: Relaxed, ordered by the fence.
        flag.load(Ordering::Relaxed)
    }

    /// Says whether [`announce`](Self::announce) can be relied on.
    pub(super) fn is_reliable(&self) -> bool {
        // ord: a check.
        !self.refused.load(Ordering::Relaxed)
    }

    /// Makes a flag just set known to partners; false if the kernel refused, and the sleeper must
    /// look again by itself.
    pub(super) fn announce(&self) -> bool {
        if self.asymmetric {
            let ran = barrier::run();
            if !ran {
                // ord: Relaxed, it is read by the thread that stored it, or later by others.
                self.refused.store(true, Ordering::Relaxed);
            }
            return ran;
        }
        if !mutant("sleeper_fence") {
            // ord: SeqCst, pairs with the one in `someone_sleeps`.
            fence(Ordering::SeqCst);
        }
        true
    }
}

/// The takers that wait for items.
#[derive(Debug)]
pub(super) struct Takers {
    list: Mutex<TakerList>,
}

#[derive(Debug, Default)]
struct TakerList {
    sleepers: Vec<(u64, Sleeper)>,
    next: u64,
}

impl Takers {
    pub(super) fn new() -> Self {
        Self { list: Mutex::new(TakerList::default()) }
    }

    /// Puts a sleeper on the list, or in the place that `ticket` still has there.
    pub(super) fn enlist(&self, at: &Positions, ticket: &mut Option<u64>, sleeper: Sleeper) {
        let mut list = self.list.lock();
        let place = list.sleepers.iter_mut().find(|(id, _)| Some(*id) == *ticket);
        let replaced = match place {
            Some((_, old)) => Some(std::mem::replace(old, sleeper)),
            None => {
                let id = list.next;
                list.next += 1;
                list.sleepers.push((id, sleeper));
                *ticket = Some(id);
                None
            }
        };
        // ord: Relaxed, made known by `announce`.
        at.taker_sleeps().store(true, Ordering::Relaxed);
        drop(list);
        drop(replaced);
    }

    /// Takes a sleeper off the list, if it is still there.
    pub(super) fn strike(&self, at: &Positions, ticket: u64) {
        let mut list = self.list.lock();
        let place = list.sleepers.iter().position(|(id, _)| *id == ticket);
        let struck = place.map(|index| list.sleepers.swap_remove(index));
        if list.sleepers.is_empty() {
            Self::lower_flags(at);
        }
        drop(list);
        drop(struck);
    }

    /// Wakes every sleeping taker: they are few, and each looks for itself.
    #[cold]
    pub(super) fn wake_all(&self, at: &Positions) {
        wake_each(self.leave(at));
    }

    /// Takes all sleepers off the list, for the caller to wake.
    pub(super) fn leave(&self, at: &Positions) -> Vec<Sleeper> {
        let mut list = self.list.lock();
        let sleepers = std::mem::take(&mut list.sleepers);
        Self::lower_flags(at);
        drop(list);
        sleepers.into_iter().map(|(_, sleeper)| sleeper).collect()
    }

    fn lower_flags(at: &Positions) {
        // ord: Relaxed, both are written under the list's lock only; a partner that still reads
        // true finds an empty list.
        at.taker_sleeps().store(false, Ordering::Relaxed);
        // ord: as above.
        at.consumer.turn_wanted().store(false, Ordering::Relaxed);
    }
}

/// The producers that wait for room, in the order in which they came.
#[derive(Debug)]
pub(super) struct Pushers {
    queue: Mutex<PusherQueue>,
    /// After how many takes others give way; `None` if they never do.
    patience_takes: Option<u64>,
    /// How often a producer went to sleep.
    pub(super) parked: AtomicU64,
    /// The most takes that one waited for.
    pub(super) longest_wait_takes: AtomicU64,
}

#[derive(Debug, Default)]
struct PusherQueue {
    waiting: BTreeMap<u64, Waiting>,
    /// The tickets of threads among them.
    threads: BTreeSet<u64>,
    next: u64,
    /// Every ticket below it has its grant.
    ungranted_from: u64,
    /// Threads that have a grant and have not come back yet.
    granted_threads: usize,
    /// While a thread has waited too long, those who join from this ticket on get no grant.
    held_from: Option<u64>,
}

#[derive(Debug)]
struct Waiting {
    /// Who to wake; `None` once granted: it may claim when it comes.
    sleeper: Option<Sleeper>,
    is_thread: bool,
    /// The ring's count of takes when it began to wait.
    since_takes: u64,
}

impl Pushers {
    pub(super) fn new(patience_takes: Option<u64>) -> Self {
        Self {
            queue: Mutex::new(PusherQueue::default()),
            patience_takes,
            parked: AtomicU64::new(0),
            longest_wait_takes: AtomicU64::new(0),
        }
    }

    /// Joins the end of the queue. The caller then announces and calls [`grant`](Self::grant),
    /// since room may have come just before the flag was set.
    pub(super) fn join<'a>(&'a self, at: &'a Positions, sleeper: Sleeper) -> Place<'a> {
        let is_thread = matches!(sleeper, Sleeper::Thread(_));
        // ord: counter.
        self.parked.fetch_add(1, Ordering::Relaxed);
        let mut queue = self.queue.lock();
        // ord: Relaxed, made known by `announce`. Raised before the takes are read, so that one
        // that follows waits for the lock, however long we are kept from running here.
        at.consumer.pusher_sleeps().store(true, Ordering::Relaxed);
        let since_takes = at.consumer.takes();
        let ticket = queue.next;
        queue.next += 1;
        queue.waiting.insert(ticket, Waiting { sleeper: Some(sleeper), is_thread, since_takes });
        if is_thread {
            queue.threads.insert(ticket);
        }
        drop(queue);
        Place { pushers: self, at, ticket }
    }

    /// Wakes those who have waited longest, as many as there is room for and a few at most: each
    /// that finds room wakes others, so that not one thread pays for all.
    #[cold]
    pub(super) fn grant(&self, at: &Positions) {
        self.grant_some(at, WAKES_MAX);
    }

    fn grant_some(&self, at: &Positions, wakes_max: usize) {
        let mut woken = [const { None }; WAKES_MAX];
        let mut queue = self.queue.lock();
        let room = at.free().saturating_sub(queue.granted_threads);
        self.weigh(at, &mut queue);
        let PusherQueue { waiting, ungranted_from, granted_threads, held_from, next, .. } =
            &mut *queue;
        let until = held_from.unwrap_or(*next).max(*ungranted_from);
        let mut grants = woken.iter_mut().take(room.min(wakes_max));
        for (ticket, place) in waiting.range_mut(*ungranted_from..until) {
            if place.sleeper.is_some() {
                let Some(grant) = grants.next() else { break };
                *grant = place.sleeper.take();
                *granted_threads += usize::from(place.is_thread);
            }
            *ungranted_from = ticket + 1;
        }
        drop(queue);
        wake_each(woken.into_iter().flatten());
    }

    /// Lets all go on, since the ring is closed, for the caller to wake.
    pub(super) fn grant_all(&self, at: &Positions) -> Vec<Sleeper> {
        let mut queue = self.queue.lock();
        let PusherQueue { waiting, granted_threads, ungranted_from, next, .. } = &mut *queue;
        let ungranted = waiting.values_mut().filter(|place| place.sleeper.is_some());
        let sleepers: Vec<_> = ungranted
            .filter_map(|place| {
                *granted_threads += usize::from(place.is_thread);
                place.sleeper.take()
            })
            .collect();
        *ungranted_from = *next;
        at.hold(false);
        sleepers
    }

    /// Holds newcomers back while the thread that has waited longest has waited too long: until all
    /// who wait now have pushed, each once, nobody else does but on what the copy of the head has
    /// promised. A task counts for nothing here, since it may never be polled again.
    fn weigh(&self, at: &Positions, queue: &mut PusherQueue) {
        let Some(patience_takes) = self.patience_takes else { return };
        let oldest = queue.threads.first().and_then(|ticket| queue.waiting.get_key_value(ticket));
        let waited = |place: &Waiting| at.consumer.takes().wrapping_sub(place.since_takes);
        match oldest {
            Some((ticket, place)) if waited(place) > patience_takes && !at.is_closed() => {
                // Those whom the last hold kept out are next, with all who came meanwhile.
                if queue.held_from.is_none_or(|held_from| held_from <= *ticket) {
                    queue.held_from = Some(queue.next);
                }
                at.hold(true);
            }
            _ => {
                if queue.held_from.take().is_some() {
                    at.hold(false);
                }
            }
        }
    }
}

/// A place in the queue of producers; dropping it leaves the queue.
#[derive(Debug)]
pub(super) struct Place<'a> {
    pushers: &'a Pushers,
    at: &'a Positions,
    ticket: u64,
}

impl Place<'_> {
    /// True if this producer may claim now. If not, `waker` is woken when it may.
    pub(super) fn is_granted(&self, waker: Option<&Waker>) -> bool {
        // Cloned before the lock is taken: a clone is code of a user.
        let mut sleeper = waker.map(|waker| Sleeper::Task(waker.clone()));
        let mut queue = self.pushers.queue.lock();
        let place = queue.waiting.get_mut(&self.ticket).expect("it stays until the place drops");
        let granted = place.sleeper.is_none();
        if !granted && sleeper.is_some() {
            std::mem::swap(&mut place.sleeper, &mut sleeper);
        }
        drop(queue);
        granted
    }

    /// Gives a grant back that met a full ring; the place in the queue stays. The caller calls
    /// [`Pushers::grant`] afterwards, since room may have come meanwhile.
    pub(super) fn wait_again(&self, sleeper: Sleeper) {
        let mut queue = self.pushers.queue.lock();
        let place = queue.waiting.get_mut(&self.ticket).expect("it stays until the place drops");
        let before = place.sleeper.replace(sleeper);
        if before.is_none() && place.is_thread {
            queue.granted_threads -= 1;
        }
        queue.ungranted_from = queue.ungranted_from.min(self.ticket);
        drop(queue);
        drop(before);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut queue = self.pushers.queue.lock();
        let left = queue.waiting.remove(&self.ticket).expect("it stays until the place drops");
        if left.is_thread {
            queue.threads.remove(&self.ticket);
            queue.granted_threads -= usize::from(left.sleeper.is_none());
        }
        let waited = self.at.consumer.takes().wrapping_sub(left.since_takes);
        if left.is_thread {
            // ord: counter.
            self.pushers.longest_wait_takes.fetch_max(waited, Ordering::Relaxed);
        }
        let alone = queue.waiting.is_empty();
        if alone {
            // ord: Relaxed, written under the lock only; a partner that still reads true finds an
            // empty queue.
            self.at.consumer.pusher_sleeps().store(false, Ordering::Relaxed);
        }
        self.pushers.weigh(self.at, &mut queue);
        drop(queue);
        if !alone && !mutant("grant_kept") {
            // Passes the wake on, also if this one was granted and went away without a claim.
            self.pushers.grant_some(self.at, WAKES_PASSED_ON);
        }
    }
}
