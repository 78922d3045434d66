//! Settle: what becomes of a completion: whose it is, and what its owner gets.
#![expect(unsafe_code, reason = "wraps descriptors that the kernel made; proof in super, U6")]

use std::os::fd::{FromRawFd as _, OwnedFd};
use std::task::Waker;

use io_uring::cqueue;

use super::super::slab::Slab;
use super::super::{Error, IoBuffer, IoCompletion, IoFd, IoHandle, IoOperation};
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

/// Where completions go as they are taken, while the ring is borrowed.
pub(super) trait Reaping {
    /// One of [`settle_plain`].
    fn plain(&mut self, completion: IoCompletion);
    /// Any other.
    fn other(&mut self, reaped: Reaped);
}

/// Of a backend, which has no others but its own.
impl Reaping for Vec<IoCompletion> {
    #[inline(always)]
    fn plain(&mut self, completion: IoCompletion) {
        self.push(completion);
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
    fn plain(&mut self, completion: IoCompletion) {
        self.push(Reaped::Backend(completion));
    }

    #[inline]
    fn other(&mut self, reaped: Reaped) {
        self.push(reaped);
    }
}

/// Settles the completion that is most: the only one of a read, a write or nothing, a success, of
/// which a backend hears. False leaves everything to [`settle`].
///
/// Nothing is moved twice: what the operation owns goes from its slot to where it is wanted, and the
/// slot, which owns nothing then, is forgotten as it stands.
#[inline(always)]
pub(super) fn settle_plain(
    slots: &mut Slab<InFlight>,
    entry: &cqueue::Entry,
    tables: &mut Table,
    into: &mut impl Reaping,
) -> bool {
    let (key, result, flags) = (entry.user_data(), entry.result(), entry.flags());
    let Some(InFlight { operation, extra: Extra::None, owner: Owner::Backend }) =
        slots.get_mut(key)
    else {
        return false;
    };
    if result < 0 || cqueue::more(flags) {
        return false;
    }
    let (handle, result) = (IoHandle(key), Ok(result as usize));
    match operation {
        IoOperation::Nop => {
            into.plain(IoCompletion { handle, result, buffer: None, descriptor: None });
        }
        IoOperation::Read { .. } | IoOperation::Write { .. } => {
            tables.end(operation);
            let (IoOperation::Read { fd, buffer, .. } | IoOperation::Write { fd, buffer, .. }) =
                operation
            else {
                return false;
            };
            drop(fd.take());
            buffer.end();
            let buffer = Some(std::mem::replace(buffer, IoBuffer::Vec(Vec::new())));
            into.plain(IoCompletion { handle, result, buffer, descriptor: None });
        }
        _ => return false,
    }
    slots.forget(key);
    true
}

/// Hands a completion to its owner. The outer `None` says that there is no such operation.
#[expect(clippy::option_option, reason = "no such operation, and nothing to do, are two things")]
pub(super) fn settle(
    slots: &mut Slab<InFlight>,
    key: u64,
    entry: &cqueue::Entry,
    is_last: bool,
    tables: &mut Table,
) -> Option<Option<Reaped>> {
    let in_flight = slots.get_mut(key)?;
    let result = entry.result();
    match &mut in_flight.owner {
        Owner::Done(_) => return None, // its one completion was here (U2)
        Owner::Multi(multi) => {
            let brings = matches!(in_flight.operation, IoOperation::Accept { .. }) && result >= 0;
            // SAFETY: (U6) the kernel made it for this operation.
            let descriptor = brings.then(|| unsafe { OwnedFd::from_raw_fd(result) });
            multi.arrived.push_back(Arrived { result, flags: entry.flags(), descriptor });
            multi.is_ended = is_last;
            return Some(multi.waker.take().map(Reaped::Wake));
        }
        Owner::Orphan if !is_last => {
            let brings = matches!(in_flight.operation, IoOperation::Accept { .. }) && result >= 0;
            // SAFETY: (U6) the kernel made it for this operation.
            let descriptor = brings.then(|| unsafe { OwnedFd::from_raw_fd(result) });
            return Some(descriptor.map(Reaped::Descriptor));
        }
        Owner::Future(waker) => {
            let waker = waker.take();
            in_flight.owner = Owner::Done(result);
            tables.end(&in_flight.operation);
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
