//! Signals: brings everything into segments when the process is told to end, then lets it end.
#![expect(unsafe_code, reason = "installs signal handlers and calls those before; proof in N1-N3")]
//!
//! ```text
//! signal ──► handler: counts it, wakes the thread, calls the handler that was there before
//!                │
//!                └──► thread: flushes every logger, then what the signal does by default
//! ```
//!
//! # Invariants
//!
//! - **N1** The handler makes async-signal-safe calls alone, and keeps `errno`.
//! - **N2** What the handler reads is stored before it is installed, and never changed behind that.
//! - **N3** A handler that was there before is called as the kernel would have called it.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};

use super::{EXIT_WAIT, RUNNING, spawn};
use crate::error::{Error, Kind};
use crate::lane::process::{self, Kept};
use crate::monitor::Mutex;
use crate::scribe::progress::Ask;

const SIGNALS: [libc::c_int; 2] = [libc::SIGTERM, libc::SIGINT];

/// What the signals did before.
static BEFORE: [OnceLock<Action>; 2] = [const { OnceLock::new() }; 2];
/// Signals that the thread has not looked at.
static PENDING: [AtomicBool; 2] = [const { AtomicBool::new(false) }; 2];
/// Where the thread sleeps; -1 without one.
static WAKE: AtomicI32 = AtomicI32::new(-1);
/// The process that the thread is of, counted in forks, from 1.
static STARTED: AtomicU32 = AtomicU32::new(0);
static STARTING: Mutex<()> = Mutex::new(());

struct Action(libc::sigaction);

/// Installs the handlers, once, and starts the thread, once in a process.
pub(super) fn install() -> Result<(), Error> {
    let _starting = STARTING.lock();
    let generation = process::generation() + 1;
    // ord: Relaxed, under the lock.
    if STARTED.load(Ordering::Relaxed) != generation {
        let refused = |error| Error::caused_by(Kind::Thread, error);
        let fd = eventfd(0, EventfdFlags::CLOEXEC).map_err(|error| refused(error.into()))?;
        let wake = Kept::new(File::from(fd));
        let number = wake.file().as_raw_fd();
        drop(spawn("ttlog-signals", move || run(&wake))?);
        // ord: Release, pairs with the Acquire in `handler`: the thread is there.
        WAKE.store(number, Ordering::Release);
        // ord: Relaxed, under the lock.
        STARTED.store(generation, Ordering::Relaxed);
    }
    for (signal, before) in SIGNALS.into_iter().zip(&BEFORE) {
        let was = current(signal);
        if before.get().is_none() && was.sa_sigaction != libc::SIG_IGN {
            // N2: before the handler can run.
            let _ = before.set(Action(was));
            take_over(signal, &was);
        }
    }
    Ok(())
}

/// Waits for signals for as long as the process lives.
fn run(wake: &Kept) {
    let mut counter = [0; 8];
    while rustix::io::retry_on_intr(|| rustix::io::read(wake.file(), &mut counter)).is_ok() {
        for (at, signal) in SIGNALS.into_iter().enumerate() {
            // ord: Acquire, pairs with the Release in `handler`.
            if PENDING[at].swap(false, Ordering::Acquire) {
                flush_all();
                let is_default =
                    BEFORE[at].get().is_some_and(|it| it.0.sa_sigaction == libc::SIG_DFL);
                // Who installed a handler behind this one has decided what the signal does.
                if is_default && current(signal).sa_sigaction == address() {
                    set_default(signal);
                    unblock(signal);
                    // SAFETY: no conditions; it ends the process.
                    unsafe { libc::raise(signal) };
                }
            }
        }
    }
}

/// Brings everything into segments that was accepted by now, within a bound for all loggers.
fn flush_all() {
    let until = Instant::now() + EXIT_WAIT;
    let Some(running) = RUNNING.try_lock_until(until).map(|running| running.clone()) else {
        return;
    };
    let wants = running.iter().filter(|inner| inner.config.flush_on_signals && !inner.is_ended());
    let asked: Vec<_> = wants.map(|inner| (inner, inner.ask(Ask::Flush))).collect();
    for (inner, ticket) in asked {
        let left = until.saturating_duration_since(Instant::now());
        let _ = inner.progress.wait(ticket, left.max(Duration::from_millis(1)));
    }
}

extern "C" fn handler(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: (N1) this thread's own errno.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    let kept = unsafe { errno.read() };
    let Some(at) = SIGNALS.iter().position(|one| *one == signal) else { return };
    let told = tell(at);
    let before = BEFORE[at].get().map_or(libc::SIG_DFL, |before| before.0.sa_sigaction);
    if before == libc::SIG_DFL {
        if !told {
            // Nobody is there to wait for: at once. It is blocked until the handler returns.
            set_default(signal);
            // SAFETY: (N1) async-signal-safe.
            unsafe { libc::raise(signal) };
        }
    } else if before != libc::SIG_IGN {
        call(&BEFORE[at], signal, info, context);
    }
    // SAFETY: as above.
    unsafe { errno.write(kept) };
}

/// Wakes the thread; false when this process has none.
fn tell(at: usize) -> bool {
    // ord: Acquire, pairs with the Release in `install`.
    let wake = WAKE.load(Ordering::Acquire);
    // ord: Relaxed, stored behind the descriptor, which a child's is not.
    if wake < 0 || STARTED.load(Ordering::Relaxed) != process::generation() + 1 {
        return false;
    }
    // ord: Release, pairs with the Acquire in `run`.
    PENDING[at].store(true, Ordering::Release);
    let one = [1_u8, 0, 0, 0, 0, 0, 0, 0];
    // SAFETY: (N1) async-signal-safe; eight bytes of this frame.
    let wrote = unsafe { libc::write(wake, one.as_ptr().cast(), one.len()) };
    wrote == one.len() as isize
}

/// Calls the handler that was there before (N3).
fn call(
    before: &OnceLock<Action>,
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    let Some(Action(before)) = before.get() else { return };
    if before.sa_flags & libc::SA_SIGINFO != 0 {
        type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);
        // SAFETY: (N3) the kernel was told that it is such a function, and it is not 0 or 1.
        let handler: Handler = unsafe { std::mem::transmute(before.sa_sigaction) };
        handler(signal, info, context);
    } else {
        // SAFETY: (N3) as above, of one argument.
        let handler: extern "C" fn(libc::c_int) =
            unsafe { std::mem::transmute(before.sa_sigaction) };
        handler(signal);
    }
}

fn address() -> libc::sighandler_t {
    let handler: extern "C" fn(_, _, _) = handler;
    handler as *const () as libc::sighandler_t
}

/// What a signal does at the moment.
fn current(signal: libc::c_int) -> libc::sigaction {
    // SAFETY: all zero is a valid value of the C type.
    let mut now: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: only asks.
    unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut now) };
    now
}

fn take_over(signal: libc::c_int, before: &libc::sigaction) {
    let mut new = *before;
    new.sa_sigaction = address();
    new.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART | before.sa_flags & libc::SA_ONSTACK;
    // SAFETY: the handler keeps to N1.
    unsafe { libc::sigaction(signal, &raw const new, std::ptr::null_mut()) };
}

fn set_default(signal: libc::c_int) {
    // SAFETY: all zero is a valid value of the C type, and means the default.
    let new: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: (N1) async-signal-safe.
    unsafe { libc::sigaction(signal, &raw const new, std::ptr::null_mut()) };
}

/// Lets this thread, which takes no signals, take this one.
fn unblock(signal: libc::c_int) {
    // SAFETY: all zero is a valid value of the C type; sigemptyset then sets it.
    let mut set = unsafe { std::mem::zeroed() };
    // SAFETY: the set is this function's own.
    unsafe { libc::sigemptyset(&raw mut set) };
    // SAFETY: as above.
    unsafe { libc::sigaddset(&raw mut set, signal) };
    // SAFETY: changes the mask of this thread alone.
    unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut()) };
}
