//! Core: the ring of the kernel and the operations that are in it.
#![expect(unsafe_code, reason = "shares memory with the kernel; proof in super, U1-U7")]

use std::mem::ManuallyDrop;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use io_uring::{IoUring, opcode, squeue, types};

use super::super::slab::{FIRST_KEY, Slab};
use super::super::{
    Error, ErrorKind, IoBackendKind, IoCompletion, IoOperation, IoStats,
    LentBuffer, SubmitError,
};
use super::doorbell::Doorbell;
use super::entry::{self, Extra, Tables as _};
use super::probe::Mode;
use super::registry::Table;
use super::settle::{Answer, InFlight, Multi, Owner, Reaping, Room as _, drop_quietly, settle_other};
use crate::sync::deadline;

/// Answers to cancellations.
const KEY_CANCEL: u64 = 0;
/// The doorbell was rung.
const KEY_DOORBELL: u64 = 1;
/// Buffers were provided.
const KEY_PROVIDED: u64 = 2;
const _: () = assert!(KEY_PROVIDED < FIRST_KEY, "no operation has any of these");

/// Operations whose memory was given up because they did not end.
pub(super) static LEAKED: AtomicU64 = AtomicU64::new(0);

/// The kernel's ring with what is in flight.
pub(super) struct Core {
    ring: ManuallyDrop<IoUring>,
    slots: ManuallyDrop<Slab<InFlight>>,
    /// False when a call would neither hand anything over nor bring anything: one look at what is
    /// here instead of several at what the kernel may have changed.
    is_active: bool,
    /// The kernel keeps completions to itself until it is called, or takes entries by itself.
    is_lazy: bool,
    /// Completions that the kernel owes for the entries which it has taken.
    n_owed: usize,
    /// They were more than there is room for, and have not all come since.
    is_overdrawn: bool,
    doorbell: Option<Arc<Doorbell>>,
    is_doorbell_armed: bool,
    was_rung: bool,
    pub(super) tables: Table,
    pub(super) stats: IoStats,
    /// How long a drop waits for the kernel.
    pub(super) drain_max: Duration,
    /// Memory that the kernel may fill until the ring has ended (U7).
    provided: ManuallyDrop<Vec<Box<[u8]>>>,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").field("stats", &self.stats).finish_non_exhaustive()
    }
}

impl Core {
    pub(super) fn new(ring: IoUring, mode: Mode) -> Self {
        let is_lazy = mode == Mode::OneThread || ring.params().is_setup_sqpoll();
        Self {
            ring: ManuallyDrop::new(ring),
            slots: ManuallyDrop::new(Slab::new()),
            is_active: is_lazy,
            is_lazy,
            n_owed: 0,
            is_overdrawn: false,
            doorbell: None,
            is_doorbell_armed: false,
            was_rung: false,
            tables: Table::new(),
            stats: IoStats::new(IoBackendKind::Uring),
            drain_max: Duration::from_secs(60),
            provided: ManuallyDrop::default(),
        }
    }

    pub(super) fn uring(&self) -> &IoUring {
        &self.ring
    }

    pub(super) fn with_table<R>(&mut self, work: impl FnOnce(&mut Table, &IoUring) -> R) -> R {
        work(&mut self.tables, &self.ring)
    }

    /// Registers the memory in which a buffer lies, unless it is, or the kernel refused it before.
    pub(super) fn register_lent(&mut self, buffer: &LentBuffer) {
        if self.stats.unregistered.is_some() || self.tables.lent(buffer).is_some() {
            return;
        }
        match self.tables.add_lent(&self.ring, buffer) {
            Ok(n) => self.stats.registered = n,
            Err(error) => self.stats.unregistered = Some(error.to_string()),
        }
    }

    #[inline]
    pub(super) fn capacity(&self) -> usize {
        self.ring.params().sq_entries() as usize
    }

    /// Operations whose last completion has not come.
    #[inline]
    pub(super) fn in_flight(&self) -> usize {
        (self.stats.submitted - self.stats.completed) as usize
    }

    /// Takes an operation; the kernel hears of it at the next `enter`.
    #[inline(always)]
    pub(super) fn push(
        &mut self,
        operation: IoOperation,
        owner: Owner,
    ) -> Result<u64, SubmitError> {
        match self.push_plain(operation, owner) {
            Ok(key) => Ok(key),
            Err((operation, owner)) => self.push_any(operation, owner),
        }
    }

    /// Takes what is most: an operation that needs neither tables nor memory of its own, for which
    /// there is room. It gives back any other, and whatever is to be refused, as it was.
    #[inline(always)]
    pub(super) fn push_plain(
        &mut self,
        mut operation: IoOperation,
        owner: Owner,
    ) -> Result<u64, (IoOperation, Owner)> {
        let Some(piece) = entry::begin_plain(&mut operation) else {
            return Err((operation, owner));
        };
        let mut submission = self.ring.submission();
        if let Some(vacant) = self.slots.vacant_now() {
            let entry = piece.build().user_data(vacant.key());
            // SAFETY: (U1) what the entry points to lies in the slot before the queue is given back,
            // which is when the kernel sees it.
            if unsafe { submission.push(&entry) }.is_ok() {
                let key = vacant.insert(InFlight { operation, extra: Extra::None, owner });
                self.stats.submitted += 1;
                self.is_active = true;
                return Ok(key);
            }
        }
        entry::unbegin_plain(&mut operation);
        Err((operation, owner))
    }

    /// Takes any operation, or refuses it.
    #[inline(never)]
    pub(super) fn push_any(
        &mut self,
        mut operation: IoOperation,
        owner: Owner,
    ) -> Result<u64, SubmitError> {
        let piece = match operation.begin() {
            Ok(piece) => piece,
            Err(error) => return Err(SubmitError { operation, error }),
        };
        if let Err(error) = self.make_room() {
            operation.end();
            let error = operation.error(error);
            return Err(SubmitError { operation, error });
        }
        let mut extra = Extra::None;
        let vacant = self.slots.vacant();
        let key = vacant.key();
        match entry::build(&mut operation, piece, &self.tables, key, &mut extra) {
            Ok(entry) => {
                self.tables.begin(&operation);
                vacant.insert(InFlight { operation, extra, owner });
                self.stats.submitted += 1;
                self.push_entry(&entry);
                Ok(key)
            }
            Err(error) => {
                operation.end();
                let error = operation.error(error);
                Err(SubmitError { operation, error })
            }
        }
    }

    /// The same for an entry of the caller's making; the operation owns what it points to.
    pub(super) fn push_multi(
        &mut self,
        operation: IoOperation,
        entry: squeue::Entry,
        multi: Box<Multi>,
    ) -> Result<u64, Error> {
        self.make_room()?;
        let in_flight = InFlight { operation, extra: Extra::None, owner: Owner::Multi(multi) };
        let key = self.slots.insert(in_flight);
        self.stats.submitted += 1;
        // Nobody knows how many completions it is going to have.
        self.is_lazy = true;
        self.push_entry(&entry.user_data(key));
        Ok(key)
    }

    /// Gives memory to the kernel, to be filled by operations that choose from a new group; where
    /// the memory is, and the group.
    pub(super) fn provide(&mut self, memory: Box<[u8]>, len: u32) -> Result<(usize, u16), Error> {
        self.make_room()?;
        let at = self.provided.len();
        let group = u16::try_from(at).map_err(|_| Error::new(ErrorKind::Busy))?;
        let n = (memory.len() / len as usize) as u16;
        self.provided.push(memory);
        let start = self.provided[at].as_mut_ptr();
        let entry = opcode::ProvideBuffers::new(start, len as i32, n, group, 0).build();
        self.push_entry(&entry.user_data(KEY_PROVIDED));
        Ok((at, group))
    }

    /// Copies what the kernel put into one of the provided buffers, and provides it again.
    pub(super) fn take_provided(
        &mut self,
        at: usize,
        (id, len, group): (u16, u32, u16),
        n_bytes: usize,
    ) -> Result<Vec<u8>, Error> {
        let from = id as usize * len as usize;
        let piece = &mut self.provided[at][from..from + len as usize];
        let bytes = piece[..n_bytes].to_vec();
        let entry = opcode::ProvideBuffers::new(piece.as_mut_ptr(), len as i32, 1, group, id);
        self.make_room()?;
        self.push_entry(&entry.build().user_data(KEY_PROVIDED));
        Ok(bytes)
    }

    /// Makes room for one entry, or says that there is none.
    #[inline]
    fn make_room(&mut self) -> Result<(), Error> {
        if !self.ring.submission().is_full() {
            return Ok(());
        }
        self.make_room_by_call()
    }

    #[cold]
    fn make_room_by_call(&mut self) -> Result<(), Error> {
        self.enter(0, None)?;
        match self.ring.submission().is_full() {
            false => Ok(()),
            true => Err(Error::new(ErrorKind::Busy)),
        }
    }

    /// Queues an entry for which there is room.
    #[inline]
    fn push_entry(&mut self, entry: &squeue::Entry) {
        let is_pushed = self.try_push_entry(|| entry.clone());
        debug_assert!(is_pushed, "room was made");
    }

    /// Queues an entry, which is built where it goes; false when there is no room.
    #[inline(always)]
    fn try_push_entry(&mut self, entry: impl FnOnce() -> squeue::Entry) -> bool {
        self.is_active = true;
        let mut submission = self.ring.submission();
        // SAFETY: (U1) what the entry points to lies in a slot, is provided for good, or is nothing.
        unsafe { submission.push(&entry()) }.is_ok()
    }

    /// Hands queued operations over.
    #[inline]
    pub(super) fn flush(&mut self) -> Result<(), Error> {
        if self.is_idle() { Ok(()) } else { self.enter(0, None) }
    }

    /// True when a call would neither hand anything over nor bring anything.
    #[inline(always)]
    pub(super) fn is_idle(&mut self) -> bool {
        !self.is_active || self.is_idle_after_all()
    }

    #[inline]
    fn is_idle_after_all(&mut self) -> bool {
        let submission = self.ring.submission();
        submission.is_empty() && !submission.cq_overflow() && !submission.taskrun()
    }

    /// Hands over, and waits for `want` completions. Returns early after a signal, a doorbell, the
    /// timeout, or when the kernel wants completions to be taken first.
    pub(super) fn enter(&mut self, want: usize, timeout: Option<Duration>) -> Result<(), Error> {
        if want > 0 {
            self.arm_doorbell();
        }
        self.stats.enters += 1;
        let n_before = self.ring.submission().len();
        let entered = match timeout {
            Some(timeout) => {
                let time = types::Timespec::from(timeout);
                let args = types::SubmitArgs::new().timespec(&time);
                self.ring.submitter().submit_with_args(want, &args)
            }
            None => self.ring.submit_and_wait(want),
        };
        let n_cq_entries = self.ring.params().cq_entries() as usize;
        let submission = self.ring.submission();
        self.n_owed += n_before - submission.len().min(n_before);
        // As long as all that the kernel owes has room, it holds nothing back. Once it found none, it
        // may say so only after room was made: so until it owes nothing but the doorbell's answer.
        self.is_overdrawn |= self.n_owed > n_cq_entries;
        self.is_overdrawn &= self.n_owed > usize::from(self.is_doorbell_armed);
        self.is_active = self.is_lazy
            || self.is_overdrawn
            || !submission.is_empty()
            || submission.cq_overflow();
        drop(submission);
        match entered.map_err(|error| (error.raw_os_error().unwrap_or(0), error)) {
            Ok(_) => Ok(()),
            Err((libc::ETIME | libc::EINTR | libc::EAGAIN | libc::EBUSY, _)) => Ok(()),
            Err((_, error)) => Err(Error::from(error).during("io_uring_enter", None, None)),
        }
    }

    /// What wakes a thread in `enter`.
    pub(super) fn doorbell(&mut self) -> Result<&Arc<Doorbell>, Error> {
        if self.doorbell.is_none() {
            self.doorbell = Some(Doorbell::new()?);
        }
        Ok(self.doorbell.as_ref().expect("made above"))
    }

    fn arm_doorbell(&mut self) {
        let Some(doorbell) = self.doorbell.clone().filter(|_| !self.is_doorbell_armed) else {
            return;
        };
        if self.make_room().is_ok() {
            let fd = types::Fd(doorbell.fd().as_raw_fd());
            let entry = opcode::PollAdd::new(fd, libc::POLLIN as u32).build();
            self.push_entry(&entry.user_data(KEY_DOORBELL));
            self.is_doorbell_armed = true;
        }
    }

    /// True when the last `reap` found that the doorbell was rung.
    pub(super) fn was_rung(&self) -> bool {
        self.was_rung
    }

    /// True when completions can be taken without a call.
    #[inline(always)]
    pub(super) fn has_completions(&mut self) -> bool {
        // Its drop would store the head, of which nothing was taken.
        !ManuallyDrop::new(self.ring.completion()).is_empty()
    }

    /// Takes up to `max` completions and gives what they ask for. Returns how many there were.
    #[inline]
    pub(super) fn reap(&mut self, max: usize, into: &mut impl Reaping) -> usize {
        let (mut n_other, mut rung) = (0, false);
        let mut completions = self.ring.completion();
        let n = completions.len().min(max);
        let mut into = into.room(n);
        for _ in 0..n {
            // SAFETY: there were as many, and nobody else takes any (U4).
            unsafe { std::hint::assert_unchecked(!completions.is_empty()) };
            let Some(entry) = completions.next() else { break };
            let answer = Answer::of(&entry);
            // SAFETY: there is room for as many.
            if unsafe { into.plain(&mut self.slots, answer) } {
                continue;
            }
            n_other += 1;
            if answer.key < FIRST_KEY {
                rung |= answer.key == KEY_DOORBELL;
            } else if let Some(reaped) =
                settle_other(&mut self.slots, answer, &mut self.tables, &mut self.stats)
            {
                // SAFETY: as above; it was not plain.
                unsafe { into.other(reaped) };
            }
        }
        drop(completions);
        self.n_owed = self.n_owed.saturating_sub(n);
        self.stats.completed += (n - n_other) as u64;
        self.was_rung = rung;
        if rung {
            self.is_doorbell_armed = false;
            if let Some(doorbell) = &self.doorbell {
                doorbell.clear();
            }
        }
        n
    }

    /// The completion of a future that is done; it is given once.
    #[inline]
    pub(super) fn take_done(&mut self, key: u64) -> Option<IoCompletion> {
        let &mut InFlight { owner: Owner::Done(result), .. } = self.slots.get_mut(key)? else {
            return None;
        };
        let completion = self.slots.get_mut(key)?.complete(key, result);
        self.slots.vacate(key);
        Some(completion)
    }

    /// True until the completion was taken or given up.
    pub(super) fn state(&mut self, key: u64) -> Option<&mut Owner> {
        self.slots.get_mut(key).map(|in_flight| &mut in_flight.owner)
    }

    /// Forgets who waits for an operation. What is done already is returned, to be dropped.
    pub(super) fn orphan(&mut self, key: u64) -> (Option<IoCompletion>, Option<Waker>) {
        if let Some(done) = self.take_done(key) {
            return (Some(done), None);
        }
        match self.slots.get_mut(key) {
            Some(in_flight) => match std::mem::replace(&mut in_flight.owner, Owner::Orphan) {
                Owner::Future(waker) => (None, waker),
                Owner::Joined(waker) => (None, Some(waker)),
                _ => (None, None),
            },
            None => (None, None),
        }
    }

    /// Gives up a multishot operation: its slot goes with its last completion, or now if that was
    /// here. What it holds is returned, to be dropped.
    pub(super) fn orphan_multi(&mut self, key: u64) -> Option<(Owner, Option<IoOperation>)> {
        let in_flight = self.slots.get_mut(key)?;
        let owner = std::mem::replace(&mut in_flight.owner, Owner::Orphan);
        let is_ended = matches!(&owner, Owner::Multi(multi) if multi.is_ended);
        let removed = if is_ended { self.slots.remove(key) } else { None };
        Some((owner, removed.map(|in_flight| in_flight.operation)))
    }

    /// Queues a request to end an operation early; false when there is none in flight.
    #[inline]
    pub(super) fn cancel(&mut self, key: u64) -> Result<bool, Error> {
        match self.slots.get_mut(key) {
            None | Some(InFlight { owner: Owner::Done(_), .. }) => return Ok(false),
            Some(InFlight { operation: IoOperation::Close { .. }, .. }) => return Ok(true),
            Some(_) => {}
        }
        let entry = || opcode::AsyncCancel::new(key).build().user_data(KEY_CANCEL);
        if !self.try_push_entry(entry) {
            self.make_room_by_call()?;
            self.push_entry(&entry());
        }
        Ok(true)
    }

    /// Cancels everything and takes completions until nothing is in flight, for `drain_max` at
    /// most; what is left then.
    pub(super) fn drain(&mut self) -> usize {
        let deadline = deadline(self.drain_max);
        let keys: Vec<_> = self.slots.keys().collect();
        for key in keys {
            // Without room it ends by itself.
            let _ = self.cancel(key);
        }
        while self.in_flight() > 0 {
            let mut left = Vec::new();
            if self.reap(usize::MAX, &mut left) > 0 {
                drop_quietly(left);
                continue;
            }
            let time = deadline.saturating_duration_since(Instant::now());
            if time.is_zero() || self.enter(1, Some(time)).is_err() {
                break;
            }
        }
        self.in_flight()
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        let left = self.drain();
        if left > 0 {
            // (U3) The kernel may still use it: nothing of it is freed.
            LEAKED.fetch_add(left as u64, Ordering::Relaxed); // ord: Relaxed, a counter
            // What has completed is not the kernel's any more (U2).
            let keys: Vec<_> = self.slots.keys().collect();
            for key in keys {
                drop(self.take_done(key));
            }
            return;
        }
        // SAFETY: (U3) nothing is in flight; dropped here alone, and the ring before its memory.
        unsafe { ManuallyDrop::drop(&mut self.ring) };
        // SAFETY: (U3) as above.
        unsafe { ManuallyDrop::drop(&mut self.slots) };
        // SAFETY: (U3, U7) the ring has ended, so the kernel fills nothing any more.
        unsafe { ManuallyDrop::drop(&mut self.provided) };
    }
}
