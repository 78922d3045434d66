//! Settle: what becomes of a completion: whose it is, and what its owner gets.
#![expect(unsafe_code, reason = "wraps descriptors that the kernel made; proof in super, U6")]

use std::os::fd::{FromRawFd as _, OwnedFd};
use std::task::Waker;

use io_uring::cqueue;

use super::super::fd::Target;
use super::super::slab::Slab;
use super::super::{Error, IoBuffer, IoCompletion, IoFd, IoHandle, IoOperation, IoStats};
use super::entry::Extra;
use super::registry::Table;

/// An operation that the ring owns.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) operation: IoOperation,
    pub(super) extra: Extra,
    pub(super) owner: Owner,
}

/// Who is to hear of a completion.
#[derive(Debug)]
pub(super) enum Owner {
    /// The caller of `reap`.
    Backend,
    /// A future or a token.
    Future(Option<Waker>),
    /// The same, whose task has joined those that the watcher knows, with this waker.
    Joined(Waker),
    /// The same, completed with this result.
    Done(i32),
    /// Nobody any more.
    Orphan,
    /// An operation of a batch.
    Batch { batch: u64, index: u32 },
    /// An operation that completes many times.
    Multi(Box<Multi>),
}

/// What a multishot operation has brought.
#[derive(Debug, Default)]
pub(super) struct Multi {
    pub(super) waker: Option<Waker>,
    /// Oldest first.
    pub(super) arrived: std::collections::VecDeque<Arrived>,
    pub(super) is_ended: bool,
}

/// One completion of many.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) result: i32,
    pub(super) flags: u32,
    pub(super) descriptor: Option<OwnedFd>,
}

/// What a completion asks the caller to do, after every borrow of the ring has ended.
#[derive(Debug)]
pub(super) enum Reaped {
    Backend(IoCompletion),
    Wake(Waker),
    Batch { batch: u64, index: u32, completion: IoCompletion },
    /// To be dropped.
    Orphan(#[expect(dead_code, reason = "dropped by the caller")] IoCompletion),
    /// A descriptor that nobody waits for any more.
    Descriptor(#[expect(dead_code, reason = "dropped by the caller")] OwnedFd),
}

/// What the kernel says of an operation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    pub(super) key: u64,
    pub(super) result: i32,
    pub(super) flags: u32,
}

impl Answer {
    #[inline(always)]
    pub(super) fn of(entry: &cqueue::Entry) -> Self {
        Self { key: entry.user_data(), result: entry.result(), flags: entry.flags() }
    }

    #[inline(always)]
    fn is_last(self) -> bool {
        !cqueue::more(self.flags)
    }
}

/// Where completions go as they are taken, while the ring is borrowed.
pub(super) trait Reaping {
    /// Settles the completion that is most: the only one of its operation. False leaves everything
    /// to [`settle_other`].
    fn plain(&mut self, slots: &mut Slab<InFlight>, answer: Answer) -> bool;
    /// What came of any other.
    fn other(&mut self, reaped: Reaped);
}

/// Of a backend, which has no others but its own.
impl Reaping for Vec<IoCompletion> {
    /// Of a read, a write or nothing, a success.
    ///
    /// Nothing is moved twice: what the operation owns goes from its slot to where it is wanted, and
    /// the slot, which owns nothing then, is forgotten as it stands.
    #[inline(always)]
    fn plain(&mut self, slots: &mut Slab<InFlight>, answer: Answer) -> bool {
        let Answer { key, result, .. } = answer;
        if result < 0 {
            return false;
        }
        let Some(mut held) = slots.held(key) else { return false };
        let InFlight { operation, owner: Owner::Backend, .. } = held.get_mut() else {
            return false;
        };
        if !answer.is_last() {
            return false;
        }
        // Before there is anything that would have to be dropped if there were no memory.
        if self.len() == self.capacity() {
            self.reserve(1);
        }
        let mut put = |buffer| {
            let (handle, result) = (IoHandle(key), Ok(result as usize));
            // Written where it stays.
            let place = self.spare_capacity_mut().as_mut_ptr();
            // SAFETY: there is room for one.
            let place = unsafe { &mut *place };
            place.write(IoCompletion { handle, result, buffer, descriptor: None });
            // SAFETY: it was written above.
            unsafe { self.set_len(self.len() + 1) };
        };
        match operation {
            IoOperation::Nop => put(None),
            IoOperation::Read { fd: fd @ IoFd(Target::Owned(_)), buffer, .. }
            | IoOperation::Write { fd: fd @ IoFd(Target::Owned(_)), buffer, .. } => {
                drop(fd.take());
                buffer.end();
                put(Some(std::mem::replace(buffer, IoBuffer::Vec(Vec::new()))));
            }
            _ => return false,
        }
        held.forget();
        true
    }

    #[cold]
    fn other(&mut self, reaped: Reaped) {
        if let Reaped::Backend(completion) = reaped {
            self.push(completion);
        }
    }
}

/// Of a ring.
impl Reaping for Vec<Reaped> {
    /// None: what becomes of any depends on its owner.
    #[inline(always)]
    fn plain(&mut self, _: &mut Slab<InFlight>, _: Answer) -> bool {
        false
    }

    #[inline]
    fn other(&mut self, reaped: Reaped) {
        self.push(reaped);
    }
}

/// Settles any other, and counts it.
#[inline(always)]
pub(super) fn settle_other(
    slots: &mut Slab<InFlight>,
    answer: Answer,
    tables: &mut Table,
    stats: &mut IoStats,
    into: &mut impl Reaping,
) {
    let Answer { key, result, flags } = answer;
    // By words, for which the answer need not lie in memory.
    settle_words(slots, key, (result, flags), tables, stats, into);
}

#[inline(never)]
fn settle_words(
    slots: &mut Slab<InFlight>,
    key: u64,
    (result, flags): (i32, u32),
    tables: &mut Table,
    stats: &mut IoStats,
    into: &mut impl Reaping,
) {
    let answer = Answer { key, result, flags };
    match settle(slots, answer, tables) {
        Some(reaped) => {
            stats.completed += u64::from(answer.is_last());
            if let Some(reaped) = reaped {
                into.other(reaped);
            }
        }
        // Of nobody: counted. A descriptor that it brought belongs to no one who is known.
        None => stats.stale += 1,
    }
}

/// Hands a completion to its owner. The outer `None` says that there is no such operation.
#[expect(clippy::option_option, reason = "no such operation, and nothing to do, are two things")]
#[inline]
fn settle(
    slots: &mut Slab<InFlight>,
    answer: Answer,
    tables: &mut Table,
) -> Option<Option<Reaped>> {
    let Answer { key, result, flags } = answer;
    let in_flight = slots.get_mut(key)?;
    match &mut in_flight.owner {
        Owner::Done(_) => return None, // its one completion was here (U2)
        Owner::Multi(multi) => {
            let brings = matches!(in_flight.operation, IoOperation::Accept { .. }) && result >= 0;
            // SAFETY: (U6) the kernel made it for this operation.
            let descriptor = brings.then(|| unsafe { OwnedFd::from_raw_fd(result) });
            multi.arrived.push_back(Arrived { result, flags, descriptor });
            multi.is_ended = answer.is_last();
            return Some(multi.waker.take().map(Reaped::Wake));
        }
        Owner::Orphan if !answer.is_last() => {
            let brings = matches!(in_flight.operation, IoOperation::Accept { .. }) && result >= 0;
            // SAFETY: (U6) the kernel made it for this operation.
            let descriptor = brings.then(|| unsafe { OwnedFd::from_raw_fd(result) });
            return Some(descriptor.map(Reaped::Descriptor));
        }
        Owner::Future(_) | Owner::Joined(_) => {
            tables.end(&in_flight.operation);
            let waker = match std::mem::replace(&mut in_flight.owner, Owner::Done(result)) {
                Owner::Future(waker) => waker,
                Owner::Joined(waker) => Some(waker),
                _ => None,
            };
            return Some(waker.map(Reaped::Wake));
        }
        Owner::Backend | Owner::Batch { .. } | Owner::Orphan => {}
    }
    tables.end(&in_flight.operation);
    let completion = in_flight.complete(key, result);
    let reaped = match in_flight.owner {
        Owner::Backend => Reaped::Backend(completion),
        Owner::Batch { batch, index } => Reaped::Batch { batch, index, completion },
        _ => Reaped::Orphan(completion),
    };
    slots.vacate(key);
    Some(Some(reaped))
}

impl InFlight {
    /// Turns the kernel's answer into a completion, which takes the operation out; its descriptor
    /// goes, its buffer comes back.
    #[inline]
    pub(super) fn complete(&mut self, key: u64, result: i32) -> IoCompletion {
        let (result, descriptor) = match result {
            n @ 0.. if self.operation.is_plain() => (Ok(n as usize), None),
            result => self.outcome(result),
        };
        self.operation.end();
        let buffer = std::mem::replace(&mut self.operation, IoOperation::Nop).into_buffer();
        IoCompletion { handle: IoHandle(key), result, buffer, descriptor }
    }

    /// The rarer ones.
    #[cold]
    fn outcome(&mut self, result: i32) -> (Result<usize, Error>, Option<IoFd>) {
        let mut descriptor = None;
        let result = match (&self.operation, result) {
            (IoOperation::Timeout { .. }, errno) if errno == -libc::ETIME => Ok(0),
            (IoOperation::Close { .. }, result) => close_result(&self.extra, result),
            (_, errno) if errno < 0 => Err(Error::os(-errno)),
            (IoOperation::Accept { .. } | IoOperation::Open { .. }, fd) => {
                // SAFETY: (U6) the kernel made it for this operation, and it is wrapped here alone.
                descriptor = Some(IoFd::from(unsafe { OwnedFd::from_raw_fd(fd) }));
                Ok(0)
            }
            (_, n) => Ok(n as usize),
        };
        (result.map_err(|error| self.operation.error(error)), descriptor)
    }
}

/// A close that never ran leaves the descriptor open: it is closed here.
fn close_result(extra: &Extra, result: i32) -> Result<usize, Error> {
    match (extra, result) {
        (_, 0..) => Ok(0),
        (Extra::Closing(fd), errno) if errno == -libc::ECANCELED || errno == -libc::EINVAL => {
            // SAFETY: (U6) the slot owned the number, and the kernel did not close it.
            drop(unsafe { OwnedFd::from_raw_fd(*fd) });
            Ok(0)
        }
        (_, errno) => Err(Error::os(-errno)),
    }
}
