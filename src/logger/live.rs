//! Live: the filter of a running logger, which can be changed for good or for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::monitor::Mutex;
use arc_swap::ArcSwap;

use crate::emit::Filter;
use crate::emit::verdict::Version;

/// The filter that stands, and the one that it falls back to.
#[derive(Debug)]
pub(crate) struct Live {
    current: ArcSwap<Filter>,
    /// Under which statements remember what it wants of them.
    version: Version,
    /// It was set since the start.
    was_set: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// What was set for good.
    base: Arc<Filter>,
    /// When what was set for a while ends.
    until: Option<Instant>,
}

impl Live {
    pub(super) fn new(filter: &Filter) -> Self {
        let filter = Arc::new(filter.clone().in_use());
        let state = Mutex::new(State { base: filter.clone(), until: None });
        Self {
            current: ArcSwap::new(filter),
            version: Version::new(),
            was_set: AtomicBool::new(false),
            state,
        }
    }

    /// The filter that stands.
    pub(crate) fn current(&self) -> Arc<Filter> {
        self.current.load_full()
    }

    #[inline(always)]
    pub(crate) fn version(&self) -> &Version {
        &self.version
    }

    /// Looks at the filter that stands, without a lock.
    #[inline]
    pub(crate) fn with<R>(&self, look: impl FnOnce(&Filter) -> R) -> R {
        look(&self.current.load())
    }

    /// True when the filter was set since the start, for who had none of its own.
    #[cfg(feature = "tracing")]
    #[inline]
    pub(crate) fn was_set(&self) -> bool {
        // ord: Relaxed, as in `set`.
        self.was_set.load(Ordering::Relaxed)
    }

    /// When the filter falls back.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.state.lock().until
    }

    /// Sets the filter, for good or for a while. `apply` tells the callsites; changes take turns.
    pub(crate) fn set(
        &self,
        filter: Filter,
        ttl: Option<Duration>,
        apply: impl FnOnce(&Arc<Filter>) -> bool,
    ) -> bool {
        let filter = Arc::new(filter.in_use());
        let mut state = self.state.lock();
        if !apply(&filter) {
            return false;
        }
        self.current.store(filter.clone());
        self.version.renew();
        // ord: Relaxed, a hint: the filter is looked at behind it.
        self.was_set.store(true, Ordering::Relaxed);
        // A time that no clock reaches is for good, but for the filter that is kept beneath.
        state.until = ttl.and_then(|ttl| Instant::now().checked_add(ttl));
        if ttl.is_none() {
            state.base = filter;
        }
        true
    }

    /// Falls back to what was set for good, once the time is over.
    pub(crate) fn fall_back(&self, now: Instant, apply: impl FnOnce(&Arc<Filter>) -> bool) {
        let mut state = self.state.lock();
        if state.until.is_some_and(|until| until <= now) && apply(&state.base) {
            self.current.store(state.base.clone());
            self.version.renew();
            state.until = None;
        }
    }
}
