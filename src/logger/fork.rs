//! Fork: what a child inherits of its parent's loggers, and how it starts its own (R37).
//!
//! A child has one thread. Everything that it needs to start anew lies behind four locks, which the
//! forking thread takes before the fork, for moments, and gives back on both sides: the child finds
//! them free and what they protect whole. Whoever holds one of them for longer, as a start does, is
//! not waited for: then this child cannot start anew, and says so.
//!
//! What a parent's logger owns is left as it is, in memory that nobody frees: a destructor would end
//! what is the parent's.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{GLOBAL, Inner, RUNNING};
use crate::emit::sites;
use crate::error::{Error, Kind};
use crate::handle::Handle;
use crate::lane::{living, process};
use crate::monitor::Guard;

/// How long a fork waits for a lock that another thread has.
const WAIT: Duration = Duration::from_millis(100);

/// The locks, while a thread forks.
#[derive(Default)]
struct Held {
    global: Option<Guard<'static, Option<Arc<Inner>>>>,
    running: Option<Guard<'static, Vec<Arc<Inner>>>>,
    living: Option<living::Held>,
    sites: Option<sites::Held>,
}

impl Held {
    /// In the order in which a start takes them; no lock is waited for without a bound.
    fn take() -> Self {
        let until = Instant::now() + WAIT;
        let mut held = Self { global: GLOBAL.try_lock_until(until), ..Self::default() };
        if held.global.is_some() {
            held.running = RUNNING.try_lock_until(until);
        }
        if held.running.is_some() {
            held.living = living::hold(until);
        }
        if held.living.is_some() {
            held.sites = sites::hold(until);
        }
        held
    }
}

thread_local! {
    static HELD: RefCell<Held> = RefCell::default();
}

/// False in a child whose fork did not get all locks.
static IS_WHOLE: AtomicBool = AtomicBool::new(false);

/// For the parent before the fork, for it behind the fork, and for the child.
pub(super) const HOOKS: [extern "C" fn(); 3] = [before, in_parent, in_child];

extern "C" fn before() {
    // Nothing is held when a thread forks that is ending: then its child cannot start anew.
    let _ = HELD.try_with(|held| *held.borrow_mut() = Held::take());
}

extern "C" fn in_parent() {
    let _ = HELD.try_with(RefCell::take);
}

extern "C" fn in_child() {
    let held = HELD.try_with(RefCell::take).unwrap_or_default();
    // ord: Relaxed, the child has one thread.
    IS_WHOLE.store(held.sites.is_some(), Ordering::Relaxed);
}

/// Starts the loggers of the parent anew in a forked child, each with its configuration, lanes,
/// segments and threads of its own. Handles and layers that were made in the parent then lead to
/// them; spans that were opened there do not.
///
/// Until then a child's events count as lost ([`Cause::Forked`](crate::record::Cause::Forked)), and
/// it never touches what is its parent's. In a process that is no such child this does nothing.
///
/// Call it first thing in the child. A child of a process with several threads may do little by the
/// rules of POSIX, since locks that other threads held are never given back; ttlog's own are taken
/// care of, and so are those of the C library's allocator, but not those of other libraries.
///
/// # Errors
///
/// When the fork came while another thread was starting or ending a logger, or when a logger cannot
/// be started; then the others are, and what is logged to that one goes nowhere.
///
/// # Examples
///
/// ```no_run
/// # fn daemonize() {}
/// # fn main() -> Result<(), ttlog::Error> {
/// let logger = ttlog::init("logs")?;
/// daemonize(); // forks, and goes on in the child
/// ttlog::reinit_after_fork()?;
/// ttlog::info!("from the child");
/// # logger.flush(std::time::Duration::from_secs(5))?;
/// # Ok(())
/// # }
/// ```
pub fn reinit_after_fork() -> Result<(), Error> {
    if !process::is_forked() {
        return Ok(());
    }
    // ord: Relaxed, set before the child had a second thread.
    if !IS_WHOLE.load(Ordering::Relaxed) {
        return Err(Error::new(Kind::ForkedAmid));
    }
    let parents = std::mem::take(&mut *RUNNING.lock());
    std::mem::forget(GLOBAL.lock().take());
    living::abandon();
    sites::abandon();
    process::start_anew();
    let results: Vec<_> = parents.iter().map(start_anew).collect();
    std::mem::forget(parents);
    results.into_iter().collect()
}

fn start_anew(parent: &Arc<Inner>) -> Result<(), Error> {
    if parent.is_ended() {
        return Ok(());
    }
    let mut config = parent.config.clone();
    // They were told in the parent.
    config.warnings.clear();
    config.filter = Some(parent.filter.current().to_string());
    // ord: Relaxed, the child has one thread.
    let is_global = parent.is_global.load(Ordering::Relaxed);
    let Handle(started) = if is_global { config.init() } else { config.build() }?;
    if let Some(started) = started {
        let _ = parent.successor.set(started);
        // Layers look for the successor behind the end.
        parent.set_ended();
    }
    Ok(())
}
