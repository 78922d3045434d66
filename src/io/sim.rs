//! Sim: a backend for tests that does what a kernel may do, and seldom does, by a seed.
//!
//! Operations are real calls on real descriptors, made within `poll` on the caller's thread. What
//! is simulated is all that lies between: order, delay, short transfers, failures, and completions
//! that come twice or belong to nobody. The same seed and the same operations give the same run.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use super::backend::IoBackend;
use super::portable::{self, Outcome};
use super::slab::Slab;
use super::{
    Error, ErrorKind, IoBackendKind, IoCompletion, IoFd, IoHandle, IoOperation, IoStats,
    SubmitError,
};
use crate::sync::deadline;

/// What a [`SimBackend`] does beside what it is asked for. The default is nothing.
#[derive(Debug, Clone, Default)]
pub struct SimConfig {
    /// Makes runs differ; the same seed gives the same run.
    pub seed: u64,
    /// Fails the operation that is the n-th to be submitted, counted from 0, with this error number.
    pub fail_at: Option<(u64, i32)>,
    /// Lets one in so many reads, writes, sends and receives fail with EINTR or EAGAIN; 0 for none.
    pub interrupt_one_in: u64,
    /// Lets reads, writes, sends and receives move a random part only.
    pub short: bool,
    /// Completes in random order.
    pub reorder: bool,
    /// Completes up to so many polls later.
    pub delay_polls: u64,
    /// Lets completions come twice.
    pub duplicate: bool,
    /// Lets completions come that belong to operations long gone.
    pub stale: bool,
}

/// A deterministic backend for tests.
///
/// ```
/// use ttlog::io::{IoBackend, IoOperation, SimBackend, SimConfig};
///
/// let config = SimConfig { fail_at: Some((1, 5)), reorder: true, ..SimConfig::default() };
/// let mut backend = SimBackend::new(config);
/// let handles: Vec<_> = (0..3).map(|_| backend.submit(IoOperation::Nop).unwrap()).collect();
/// let done = backend.poll(None)?;
/// let failed: Vec<_> = done.iter().filter(|done| done.result.is_err()).collect();
/// assert_eq!((failed.len(), failed[0].handle), (1, handles[1])); // EIO
/// # Ok::<(), ttlog::io::Error>(())
/// ```
#[derive(Debug)]
pub struct SimBackend {
    config: SimConfig,
    random: u64,
    slots: Slab<Slot>,
    turn: u64,
    /// Keys of operations that are gone, for stale completions.
    gone: Vec<u64>,
    bell: Arc<Bell>,
    stats: IoStats,
    not_sync: PhantomData<Cell<()>>,
}

#[derive(Debug)]
struct Slot {
    operation: IoOperation,
    number: u64,
    due: u64,
    until: Option<Instant>,
    is_cancelled: bool,
}

#[derive(Debug, Default)]
struct Bell {
    is_rung: AtomicBool,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // ord: Release, pairs with the AcqRel in `poll_into`.
        self.is_rung.store(true, Ordering::Release);
    }
}

/// How long it sleeps between looks at what is not ready.
const NAP: Duration = Duration::from_micros(50);

impl SimBackend {
    /// Makes a backend.
    #[must_use]
    pub fn new(config: SimConfig) -> Self {
        Self {
            random: config.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            config,
            slots: Slab::new(),
            turn: 0,
            gone: Vec::new(),
            bell: Arc::default(),
            stats: IoStats::new(IoBackendKind::Simulated),
            not_sync: PhantomData,
        }
    }

    /// A number below `end` (xorshift).
    fn below(&mut self, end: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % end.max(1)
    }

    /// One look at all that is due.
    fn step(&mut self, max: usize, out: &mut Vec<IoCompletion>) {
        self.turn += 1;
        let turn = self.turn;
        let mut due: Vec<_> = self.slots.keys().collect();
        due.retain(|key| self.slots.get_mut(*key).is_some_and(|slot| slot.due <= turn));
        due.sort_by_key(|key| self.slots.get_mut(*key).map(|slot| slot.number));
        if self.config.reorder {
            for at in (1..due.len()).rev() {
                due.swap(at, self.below(at as u64 + 1) as usize);
            }
        }
        for key in due {
            if out.len() >= max {
                break;
            }
            if let Some(outcome) = self.attempt(key) {
                self.arrive(key, Some(outcome), out);
                if self.config.duplicate && self.below(2) == 0 {
                    self.arrive(key, None, out);
                }
                if self.config.stale && !self.gone.is_empty() {
                    let pick = self.below(self.gone.len() as u64) as usize;
                    let stale = self.gone[pick];
                    self.arrive(stale, None, out);
                }
            }
        }
    }

    /// Makes the call; `None` when it would block.
    fn attempt(&mut self, key: u64) -> Option<Outcome> {
        let chance = self.config.interrupt_one_in;
        let (interrupt, cut) = (chance > 0 && self.below(chance) == 0, self.below(1 << 32));
        let short = self.config.short;
        let fail_at = self.config.fail_at;
        let is_even = self.below(2) == 0;
        let slot = self.slots.get_mut(key)?;
        if slot.is_cancelled {
            return Some(Err(Error::os(rustix::io::Errno::CANCELED.raw_os_error())));
        }
        if let Some((_, errno)) = fail_at.filter(|(number, _)| *number == slot.number) {
            return Some(Err(Error::os(errno)));
        }
        if slot.until.is_some_and(|until| until > Instant::now()) {
            return None;
        }
        let again = rustix::io::Errno::AGAIN.raw_os_error();
        if let IoOperation::Read { range, .. }
        | IoOperation::Write { range, .. }
        | IoOperation::Send { range, .. }
        | IoOperation::Recv { range, .. } = &mut slot.operation
        {
            if interrupt {
                let intr = rustix::io::Errno::INTR.raw_os_error();
                return Some(Err(Error::os(if is_even { intr } else { again })));
            }
            if short && range.len() > 1 {
                range.end = range.start + 1 + cut as usize % range.len();
            }
        }
        if portable::would_block(&slot.operation) {
            return None;
        }
        match portable::call(&mut slot.operation) {
            Err(error) if error.raw_os_error() == Some(again) => None,
            outcome => Some(outcome),
        }
    }

    /// A completion as a kernel gives it: by key alone, once, twice, or of nobody.
    fn arrive(&mut self, key: u64, outcome: Option<Outcome>, out: &mut Vec<IoCompletion>) {
        let Some(Slot { mut operation, .. }) = self.slots.remove(key) else {
            self.stats.stale += 1;
            return;
        };
        let Some(outcome) = outcome else { return };
        if self.gone.len() < 64 {
            self.gone.push(key);
        }
        operation.end();
        let (result, descriptor) = match outcome {
            Ok((n, descriptor)) => (Ok(n), descriptor),
            Err(error) => (Err(operation.error(error)), None),
        };
        let buffer = operation.into_buffer();
        out.push(IoCompletion { handle: IoHandle(key), result, buffer, descriptor });
    }
}

impl IoBackend for SimBackend {
    fn submit(&mut self, mut operation: IoOperation) -> Result<IoHandle, SubmitError> {
        if let Some(Err(error)) = operation.fd().map(IoFd::owned) {
            let error = operation.error(error);
            return Err(SubmitError { operation, error });
        }
        if let Err(error) = operation.begin() {
            return Err(SubmitError { operation, error });
        }
        if let IoOperation::Close { fd } = &operation
            && !fd.owned().is_ok_and(|fd| Arc::strong_count(fd) == 1)
        {
            let error = operation.error(Error::new(ErrorKind::InUse));
            return Err(SubmitError { operation, error });
        }
        let until = match &operation {
            IoOperation::Timeout { after } => Some(deadline(*after)),
            _ => None,
        };
        let due = match self.config.delay_polls {
            0 => 0,
            polls => self.turn + self.below(polls + 1),
        };
        let number = self.stats.submitted;
        self.stats.submitted += 1;
        let slot = Slot { operation, number, due, until, is_cancelled: false };
        Ok(IoHandle(self.slots.insert(slot)))
    }

    fn cancel(&mut self, handle: IoHandle) -> Result<bool, Error> {
        let slot = self.slots.get_mut(handle.0);
        Ok(slot.map(|slot| slot.is_cancelled = true).is_some())
    }

    fn poll_into(
        &mut self,
        timeout: Option<Duration>,
        out: &mut Vec<IoCompletion>,
    ) -> Result<usize, Error> {
        let (before, deadline) = (out.len(), timeout.map(deadline));
        loop {
            self.step(before + self.max_batch_size(), out);
            let n = out.len() - before;
            self.stats.completed += n as u64;
            let is_late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            let is_idle = timeout.is_none() && self.slots.len() == 0;
            // ord: AcqRel, pairs with the Release of a wake.
            if n > 0 || is_late || is_idle || self.bell.is_rung.swap(false, Ordering::AcqRel) {
                return Ok(n);
            }
            std::thread::sleep(NAP);
        }
    }

    fn in_flight(&self) -> usize {
        self.slots.len()
    }

    fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.bell))
    }

    fn stats(&self) -> IoStats {
        self.stats.clone()
    }
}
