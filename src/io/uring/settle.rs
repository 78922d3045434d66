//! Settle: what becomes of a completion: whose it is, and what its owner gets.
#![expect(unsafe_code, reason = "wraps descriptors that the kernel made; proof in super, U6")]

use std::os::fd::{FromRawFd as _, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
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
    /// Nobody any more.
    Orphan,
    /// An operation of a batch.
    Batch { batch: u64, index: u32 },
    /// An operation that completes many times.
    Multi(Box<Multi>),
    /// A future or a token, completed with this result. It is the last, beside the tag of a slot
    /// without an operation, so that one comparison finds that there is nothing to cancel.
    Done(i32),
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
    /// The same with room for so many more.
    fn room(&mut self, n: usize) -> impl Room;
}

/// Room for completions.
pub(super) trait Room {
    /// Settles the completion that is most: the only one of its operation. False leaves everything
    /// to [`settle_other`].
    ///
    /// # Safety
    ///
    /// Of as many completions as there is room for, each is given here once, and to `other` then if
    /// the answer was false.
    unsafe fn plain(&mut self, slots: &mut Slab<InFlight>, answer: Answer) -> bool;

    /// What came of any other.
    ///
    /// # Safety
    ///
    /// As of [`plain`](Self::plain).
    unsafe fn other(&mut self, reaped: Reaped);
}

/// Of a backend, which has no others but its own.
impl Reaping for Vec<IoCompletion> {
    #[inline(always)]
    fn room(&mut self, n: usize) -> impl Room {
        self.reserve(n);
        RoomInVec { start: self.spare_capacity_mut().as_mut_ptr().cast(), n: 0, into: self }
    }
}

/// Room behind the last completion of a vector, which has those that were put there when this is
/// dropped.
struct RoomInVec<'a> {
    start: *mut IoCompletion,
    n: usize,
    into: &'a mut Vec<IoCompletion>,
}

impl RoomInVec<'_> {
    /// Puts a success where it stays, and first what lies in its slot, so that it is moved once.
    ///
    /// # Safety
    ///
    /// There is room for one more.
    #[inline(always)]
    unsafe fn put(&mut self, key: u64, result: i32, buffer: impl FnOnce() -> Option<IoBuffer>) {
        // SAFETY: as the caller promised, within the vector's memory.
        let place = unsafe { self.start.add(self.n) };
        macro_rules! put {
            ($field:ident, $value:expr) => {
                // SAFETY: as above.
                let at = unsafe { &raw mut (*place).$field };
                // SAFETY: nobody else knows of the place.
                unsafe { at.write($value) };
            };
        }
        put!(buffer, buffer());
        put!(handle, IoHandle(key));
        put!(result, Ok(result as usize));
        put!(descriptor, None);
        self.n += 1;
    }
}

impl Drop for RoomInVec<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        let len = self.into.len() + self.n;
        // SAFETY: `put` has written that many.
        unsafe { self.into.set_len(len) };
    }
}

impl Room for RoomInVec<'_> {
    /// Of a read, a write or nothing, a success.
    ///
    /// Nothing is moved twice: what the operation owns goes from its slot to where it is wanted, and
    /// the slot, which owns nothing then, is forgotten as it stands.
    #[inline(always)]
    unsafe fn plain(&mut self, slots: &mut Slab<InFlight>, answer: Answer) -> bool {
        let Answer { key, result, .. } = answer;
        if result < 0 {
            return rarely();
        }
        let Some(mut held) = slots.held(key) else { return rarely() };
        let InFlight { operation, owner: Owner::Backend, .. } = held.get_mut() else {
            return rarely();
        };
        if !answer.is_last() {
            return rarely();
        }
        let (IoOperation::Read { fd: IoFd(Target::Owned(fd)), buffer, .. }
        | IoOperation::Write { fd: IoFd(Target::Owned(fd)), buffer, .. }) = operation
        else {
            if !matches!(operation, IoOperation::Nop) {
                return rarely();
            }
            // SAFETY: as the caller promised.
            unsafe { self.put(key, result, || None) };
            held.forget();
            return true;
        };
        buffer.end();
        // SAFETY: the slot is forgotten below, and nothing panics before that.
        let fd = unsafe { std::ptr::read(fd) };
        // SAFETY: as above.
        let buffer = || Some(unsafe { std::ptr::read(buffer) });
        // SAFETY: as the caller promised.
        unsafe { self.put(key, result, buffer) };
        held.forget();
        drop(fd);
        true
    }

    #[inline(always)]
    unsafe fn other(&mut self, reaped: Reaped) {
        if let Reaped::Backend(completion) = reaped {
            // SAFETY: as the caller promised, within the vector's memory.
            let place = unsafe { self.start.add(self.n) };
            // SAFETY: nobody else knows of the place.
            unsafe { place.write(completion) };
            self.n += 1;
        }
    }
}

/// Tells the compiler what not to keep registers for.
#[cold]
#[inline(never)]
fn rarely() -> bool {
    false
}

/// Of a ring.
impl Reaping for Vec<Reaped> {
    #[inline(always)]
    fn room(&mut self, _: usize) -> impl Room {
        self
    }
}

impl Room for &mut Vec<Reaped> {
    /// None: what becomes of any depends on its owner.
    #[inline(always)]
    unsafe fn plain(&mut self, _: &mut Slab<InFlight>, _: Answer) -> bool {
        false
    }

    #[inline]
    unsafe fn other(&mut self, reaped: Reaped) {
        self.push(reaped);
    }
}

/// Drops what has no taker; wakers are woken, since their tasks may wait for something else.
pub(super) fn drop_quietly(reaped: Vec<Reaped>) {
    for one in reaped {
        if let Reaped::Wake(waker) = one {
            // Its panic was told by the hook, and must not keep what else there is.
            let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
    }
}

/// Settles any other, and counts it; what the caller has to do about it.
#[inline(always)]
pub(super) fn settle_other(
    slots: &mut Slab<InFlight>,
    answer: Answer,
    tables: &mut Table,
    stats: &mut IoStats,
) -> Option<Reaped> {
    let Answer { key, result, flags } = answer;
    // By words, for which the answer need not lie in memory.
    settle_words(slots, key, (result, flags), tables, stats)
}

#[inline(never)]
fn settle_words(
    slots: &mut Slab<InFlight>,
    key: u64,
    (result, flags): (i32, u32),
    tables: &mut Table,
    stats: &mut IoStats,
) -> Option<Reaped> {
    let answer = Answer { key, result, flags };
    let Some(reaped) = settle(slots, answer, tables) else {
        // Of nobody: counted. A descriptor that it brought belongs to no one who is known.
        stats.stale += 1;
        return None;
    };
    stats.completed += u64::from(answer.is_last());
    reaped
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
