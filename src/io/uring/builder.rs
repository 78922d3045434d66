//! Builder: how a ring is made.

use std::time::Duration;

use super::super::Error;
use super::probe;
use super::ring::Ring;

/// How a [`Ring`] is made.
///
/// ```
/// use ttlog::io::Ring;
///
/// # let Ok(_) = Ring::new(2) else { return Ok::<(), ttlog::io::Error>(()) };
/// let ring = Ring::builder().entries(64).build()?;
/// assert!(ring.capacity() >= 64);
/// # Ok::<(), ttlog::io::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct RingBuilder {
    entries: u32,
    sqpoll: Option<Duration>,
    drain_max: Duration,
}

impl RingBuilder {
    /// Operations that can be queued before the kernel is called; rounded up to a power of two and
    /// down to what the kernel takes. More may be in flight. Default 128.
    #[must_use]
    pub fn entries(mut self, entries: u32) -> Self {
        self.entries = entries;
        self
    }

    /// Lets a thread of the kernel look for operations, which sleeps after `idle` without any. It
    /// keeps a processor busy until then. Where it is refused the ring goes without it.
    #[must_use]
    pub fn sqpoll(mut self, idle: Duration) -> Self {
        self.sqpoll = Some(idle);
        self
    }

    /// How long dropping the ring waits for operations in flight, default 60 s. What has not ended
    /// then is leaked, and counted by [`leaked_operations`](super::leaked_operations).
    #[must_use]
    pub fn drain_max(mut self, time: Duration) -> Self {
        self.drain_max = time;
        self
    }

    /// Makes the ring and lets one empty operation pass through it.
    ///
    /// # Errors
    ///
    /// Says what the kernel refused, and the way out.
    pub fn build(&self) -> Result<Ring, Error> {
        let ring = probe::make(self.entries, probe::Mode::Movable, self.sqpoll)?;
        Ring::of(ring, self.drain_max)
    }
}

impl Ring {
    /// Settings beyond the number of entries.
    #[must_use]
    pub fn builder() -> RingBuilder {
        RingBuilder { entries: 128, sqpoll: None, drain_max: Duration::from_secs(60) }
    }
}
