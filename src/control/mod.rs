//! Control: the thread that a running logger is steered by, and the socket by which others ask it.
//!
//! ```text
//!  set_filter(…, ttl) ──┐ wake      ┌─► the filter falls back
//!                       ├──► poll ──┼─► one request, one answer
//!  socket <id>.sock ────┘           └─► what rate limits left out is told
//! ```
//!
//! The scribe and the program's threads never wait for it. It serves one connection after another,
//! each for a bounded time, so that a client which says nothing holds up only the next.
//!
//! # Protocol
//!
//! A line each way, both ended by a line feed, then the server closes. The answer begins with `ok `
//! or `error `; further lines belong to the answer.
//!
//! ```text
//! level MS DIRECTIVES    sets the filter for MS milliseconds, 0 for good
//! flush MS               waits up to MS for everything to be in segments
//! rotate                 begins a new segment
//! dump                   has the flight recorder dumped beside the log
//! stats                  KEY=VALUE lines
//! ```

mod request;
mod socket;

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

pub use self::request::{Answer, ask};
use self::socket::Socket;
use crate::handle::Handle;
use crate::lane::process::Kept;
use crate::logger::Inner;
use crate::monitor::Mutex;

/// How often the thread looks whether its socket is still there.
const CHECK_EVERY: Duration = Duration::from_secs(5);
/// How often what limits left out is looked at, at least and at most.
const TELL_EVERY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// What the others have of the thread.
#[derive(Debug)]
pub(crate) struct Control {
    wake: Kept,
    stopped: AtomicBool,
    /// Why nobody can ask this logger.
    refused: Mutex<Option<String>>,
}

impl Control {
    /// What the thread will listen to.
    pub(crate) fn new() -> io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self {
            wake: Kept::new(File::from(wake)),
            stopped: AtomicBool::new(false),
            refused: Mutex::default(),
        })
    }

    /// Lets the thread look at what is due.
    pub(crate) fn wake(&self) {
        // Any number but 0 wakes, in either byte order; a counter that is full does as well.
        let _ = rustix::io::write(self.wake.file(), &[1, 0, 0, 0, 0, 0, 0, 0]);
    }

    /// Ends the thread, which nobody waits for: it may be serving somebody slow.
    pub(crate) fn stop(&self) {
        // ord: Release, pairs with the Acquire in `is_stopped`.
        self.stopped.store(true, Ordering::Release);
        self.wake();
    }

    fn hush(&self) {
        let _ = rustix::io::read(self.wake.file(), &mut [0; 8]);
    }

    fn is_stopped(&self) -> bool {
        // ord: Acquire, pairs with the Release in `stop`.
        self.stopped.load(Ordering::Acquire)
    }

    /// Why nobody can ask this logger by its socket, if so.
    pub(crate) fn refused(&self) -> Option<String> {
        self.refused.lock().clone()
    }
}

/// Runs until [`Control::stop`].
pub(crate) fn run(inner: &Arc<Inner>) {
    let control = &inner.control;
    let mut server = Server::new(inner);
    while !control.is_stopped() {
        let now = Instant::now();
        inner.fall_back(now);
        inner.limits.tell(false, &inner.lanes);
        server.look(now);
        let mut fds = vec![PollFd::new(control.wake.file(), PollFlags::IN)];
        fds.extend(server.socket.as_ref().map(|socket| PollFd::new(socket, PollFlags::IN)));
        let left = next(inner, &server).saturating_duration_since(Instant::now());
        // Whole milliseconds up: a timeout that is too short by one would make it turn in vain.
        let left = Timespec::try_from(left + Duration::from_millis(1)).ok();
        if poll(&mut fds, left.as_ref()).is_err() {
            // Interrupted, or without memory: neither comes again at once.
            std::thread::sleep(Duration::from_millis(1));
            continue;
        }
        let is_asked = fds.get(1).is_some_and(|fd| !fd.revents().is_empty());
        drop(fds);
        control.hush();
        if is_asked {
            server.serve();
        }
    }
}

/// When the thread has something to do next, if nobody wakes it.
fn next(inner: &Inner, server: &Server<'_>) -> Instant {
    let tell =
        inner.limits.shortest().map(|per| Instant::now() + per.clamp(TELL_EVERY.0, TELL_EVERY.1));
    [inner.filter.until(), tell].into_iter().flatten().fold(server.next_check, Instant::min)
}

/// The socket, and what is asked through it.
struct Server<'a> {
    inner: &'a Arc<Inner>,
    socket: Option<Socket>,
    next_check: Instant,
}

impl<'a> Server<'a> {
    fn new(inner: &'a Arc<Inner>) -> Self {
        Self { inner, socket: None, next_check: Instant::now() }
    }

    /// Makes the socket, again when its name went away.
    fn look(&mut self, now: Instant) {
        if now < self.next_check {
            return;
        }
        self.next_check = now + CHECK_EVERY;
        if self.socket.as_ref().is_some_and(Socket::is_named) {
            return;
        }
        let (dir, logger) = (self.inner.owner.dir(), self.inner.lanes.logger);
        let made = Socket::bind(dir, logger);
        *self.inner.control.refused.lock() = made.as_ref().err().map(ToString::to_string);
        self.socket = made.ok();
    }

    fn serve(&self) {
        let Some(socket) = &self.socket else { return };
        while let Some(peer) = socket.accept() {
            let handle = Handle(Some(self.inner.clone()));
            request::serve(&handle, &peer);
            if self.inner.control.is_stopped() {
                return;
            }
        }
    }
}

/// Where a logger listens.
#[must_use]
pub fn path(dir: &Path, logger: u64) -> std::path::PathBuf {
    dir.join(crate::store::name::control(logger))
}
