//! Process: what a logger must know of the life of its process: fork and exit.
#![expect(unsafe_code, reason = "hooks of libc and descriptors by number; proof in H1-H2 below")]
//!
//! # Invariants
//!
//! - **H1** A forked child never writes into its parent's lanes: its one thread is turned off in
//!   the atfork handler, which only touches atomics and thread-locals without destructors, and
//!   makes async-signal-safe calls alone. What belongs to an earlier generation of the process is
//!   never written to again, whoever starts anew.
//!   The forking thread takes no signals from before the fork until then, so that no handler runs
//!   in a child that does not know yet that it is one.
//! - **H2** A child does not keep its parent's locks: their descriptors become `/dev/null` in the
//!   child, under the same numbers, so that a later close of them closes nothing else.

use std::cell::Cell;
use std::fs::File;
use std::os::fd::{AsRawFd as _, RawFd};
use std::sync::Once;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};

use rustix::fs::FlockOperation;

use crate::record::{CAUSES, Cause, LEVELS, Level, Losses};

/// Locks that a child must not keep, at most.
const KEPT_MAX: usize = 256;

/// How many forks lie between this process and the first that had a logger.
static GENERATION: AtomicU32 = AtomicU32::new(0);
/// The generation that has started loggers, or may.
static STARTED: AtomicU32 = AtomicU32::new(0);
static KEPT: [AtomicI32; KEPT_MAX] = [const { AtomicI32::new(-1) }; KEPT_MAX];
static HOOKS: Once = Once::new();

/// True in a forked child that has not started anew.
pub(crate) fn is_forked() -> bool {
    // ord: Relaxed, a check; set before the child has a second thread.
    STARTED.load(Ordering::Relaxed) != generation()
}

/// Which process this is, counted in forks: what was made in another is the parent's.
#[inline]
pub(crate) fn generation() -> u32 {
    // ord: Relaxed, changed only while a child has one thread.
    GENERATION.load(Ordering::Relaxed)
}

/// Lets this process start loggers of its own.
pub(crate) fn start_anew() {
    // ord: Relaxed, as above.
    STARTED.store(generation(), Ordering::Relaxed);
}

/// Notes a lock's descriptor, so that children let go of it (H2).
pub(crate) fn keep_from_children(file: &File) {
    let fd = file.as_raw_fd();
    forget_kept(fd);
    for kept in &KEPT {
        // ord: Relaxed, read only by a child of this process, whose memory is a copy.
        if kept.compare_exchange(-1, fd, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            return;
        }
    }
}

/// Forgets a descriptor that is about to be closed; false when it was not noted.
fn forget_kept(fd: RawFd) -> bool {
    let forget = |kept: &AtomicI32| {
        // ord: Relaxed, as above.
        kept.compare_exchange(fd, -1, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    };
    KEPT.iter().filter(|kept| forget(kept)).count() > 0
}

/// Lets go of a lock and closes it. Closing alone would leave it, for a moment, to a child that
/// another thread is just starting: that has the descriptor until it runs its program.
pub(crate) fn close_kept(file: File) {
    // In a forked child none is noted any more: a lock that it did not take stays its parent's.
    if forget_kept(file.as_raw_fd()) {
        let _ = rustix::fs::flock(&file, FlockOperation::Unlock);
    }
    drop(file);
}

/// A descriptor that is closed in children, and with this.
#[derive(Debug)]
pub(crate) struct Kept(Option<File>);

impl Kept {
    pub(crate) fn new(file: File) -> Self {
        keep_from_children(&file);
        Self(Some(file))
    }

    pub(crate) fn file(&self) -> &File {
        self.0.as_ref().expect("put there by `new`, taken by the destructor")
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some(file) = self.0.take() {
            close_kept(file);
        }
    }
}

/// What is to be called at the turns of a process's life.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hooks {
    pub(crate) at_exit: extern "C" fn(),
    /// Around a fork: in the parent before and behind it, in the child behind it.
    pub(crate) at_fork: [extern "C" fn(); 3],
}

/// Installs the hooks, once in a process.
pub(crate) fn install(hooks: Hooks) {
    HOOKS.call_once(|| {
        let Hooks { at_exit, at_fork: [before, in_parent, behind_in_child] } = hooks;
        // In a child what is installed first runs first, before a fork it runs last.
        // SAFETY: (H1) the handler keeps to what a child may do.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        // SAFETY: the functions are `extern "C"` and do not unwind; in the child the last one only
        // gives back locks that its own thread took.
        unsafe { libc::pthread_atfork(Some(before), Some(in_parent), Some(behind_in_child)) };
        // SAFETY: (H1) they change the forking thread's mask alone.
        unsafe { libc::pthread_atfork(Some(hold_signals), Some(let_signals), Some(let_signals)) };
        // SAFETY: the function is `extern "C"` and does not unwind.
        unsafe { libc::atexit(at_exit) };
    });
}

thread_local! {
    /// The mask of a thread that forks. Without a destructor, as a child needs it.
    static MASK: Cell<Option<libc::sigset_t>> = const { Cell::new(None) };
}

/// Before a fork: no handler runs on this thread until [`let_signals`].
extern "C" fn hold_signals() {
    // SAFETY: all zero is a valid value of the C type; sigfillset then sets it.
    let (mut all, mut was) = unsafe { std::mem::zeroed::<(libc::sigset_t, libc::sigset_t)>() };
    // SAFETY: the set is this function's own.
    unsafe { libc::sigfillset(&raw mut all) };
    // SAFETY: (H1) changes the mask of this thread alone.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const all, &raw mut was) };
    MASK.set(Some(was));
}

/// Behind a fork, in parent and child.
extern "C" fn let_signals() {
    if let Some(was) = MASK.take() {
        // SAFETY: (H1) as above, and async-signal-safe.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const was, std::ptr::null_mut()) };
    }
}

/// Blocks every signal on this thread but those that mean a fault.
pub(crate) fn block_signals() {
    // SAFETY: all zero is a valid value of the C type; sigfillset then sets it.
    let mut set = unsafe { std::mem::zeroed() };
    // SAFETY: the set is this function's own.
    unsafe { libc::sigfillset(&raw mut set) };
    for fault in [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP] {
        // SAFETY: as above.
        unsafe { libc::sigdelset(&raw mut set, fault) };
    }
    // SAFETY: changes the mask of this thread alone.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
}

/// Has this thread, which nobody is to wait for, give way to others; without it works as well.
///
/// Nice 10 leaves it a tenth of a processor beside one busy thread. At 19 it is a seventieth: on a busy
/// machine a second passes until it runs, and so long the end of its process takes, which waits for
/// each thread to run once more.
pub(crate) fn lower_priority() {
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), 10);
}

extern "C" fn in_child() {
    // ord: Relaxed, the child has one thread.
    GENERATION.fetch_add(1, Ordering::Relaxed);
    super::hot::turn_off();
    // SAFETY: (H1) open is async-signal-safe.
    let null = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
    for kept in &KEPT {
        // ord: Relaxed, the child has one thread.
        let fd = kept.swap(-1, Ordering::Relaxed);
        if fd >= 0 && null >= 0 {
            // SAFETY: (H1, H2) dup3 is async-signal-safe, and the number stays valid.
            unsafe { libc::dup3(null, fd, libc::O_CLOEXEC) };
        } else if fd >= 0 {
            // SAFETY: (H1) close is async-signal-safe.
            unsafe { libc::close(fd) };
        }
    }
    if null >= 0 {
        // SAFETY: as above.
        unsafe { libc::close(null) };
    }
}

/// Events that found no logger to count them.
static UNPLACED: [AtomicU64; CAUSES * LEVELS] = [const { AtomicU64::new(0) }; CAUSES * LEVELS];

/// Counts an event of a forked child.
pub(crate) fn count_forked(level: Level) {
    count_unplaced(Cause::Forked, level);
}

/// Counts an event that no logger could be asked about.
pub(crate) fn count_unplaced(cause: Cause, level: Level) {
    // ord: Relaxed, a counter.
    UNPLACED[cause as usize * LEVELS + level as usize].fetch_add(1, Ordering::Relaxed);
}

/// The events that no logger could be asked about, since the process began.
pub(crate) fn unplaced() -> Losses {
    let mut losses = Losses::NONE;
    for (at, count) in UNPLACED.iter().enumerate() {
        // ord: Relaxed, a counter.
        let count = count.load(Ordering::Relaxed);
        losses.set(Cause::ALL[at / LEVELS], Level::ALL[at % LEVELS], count);
    }
    losses
}
