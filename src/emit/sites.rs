//! Sites: the list of all callsites, what the global logger wants of them, and who learns their
//! definitions.

use std::cell::Cell;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use super::callsite::{Callsite, OFF};
#[cfg(feature = "log")]
use super::filter::Subject;
use super::filter::{Filter, Interest};
use super::limit::{self, Limits};
use super::redact::{self, Patterns};
use crate::lane::capture;
use crate::lane::thread::Raised;
use crate::monitor::{Guard, Mutex};
use crate::record::{Definition, Level};
use crate::sync::fixed::{AtomicU32, Ordering};

/// Learns each definition before the first record that names it. It is called under the lock of
/// the list of callsites: it must neither log nor wait for a thread that does.
pub trait DefinitionSink: Send + Sync {
    /// Takes a definition; false when there is no room for it. It may be told again what it knows.
    fn define(&self, definition: &Definition) -> bool;
}

/// Names a sink that was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SinkId(u64);

pub(crate) struct Registry {
    callsites: Vec<&'static Callsite>,
    definitions: Vec<Definition>,
    sinks: Vec<(SinkId, Arc<dyn DefinitionSink>)>,
    next_sink: u64,
    last_id: u32,
    pub(super) installed: Option<Installed>,
    /// Captures that are under way: while there is one, every statement takes the cold way.
    captures: u32,
}

/// The global logger.
pub(super) struct Installed {
    epoch: u32,
    pub(super) filter: Arc<Filter>,
    limits: Arc<Limits>,
    recorder: Option<Recorded>,
}

/// What the recorder of a logger takes of the events that its filter leaves out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recorded {
    /// The number by which calls name it.
    pub(crate) epoch: u32,
    /// Events from here on.
    pub(crate) level: Level,
}

impl Installed {
    /// Number of the recorder that takes what the filter leaves out, if it does.
    fn recorder(&self, level: Level) -> Option<u32> {
        self.recorder.filter(|recorder| level >= recorder.level).map(|recorder| recorder.epoch)
    }

    /// True when the logger or its recorder wants events of this target and level.
    #[cfg(feature = "log")]
    pub(super) fn wants(&self, target: &str, level: Level) -> bool {
        let of = Subject { target, name: "", level, is_span: false, has: &|_| false };
        self.filter.wants_here(&of) || self.recorder(level).is_some()
    }

    /// The least severe level that is wanted.
    pub(super) fn max_level(&self) -> Option<Level> {
        let recorder = self.recorder.map(|recorder| recorder.level);
        self.filter.max_level().into_iter().chain(recorder).min()
    }
}

pub(super) static REGISTRY: Mutex<Registry> = Mutex::new(Registry {
    callsites: Vec::new(),
    definitions: Vec::new(),
    sinks: Vec::new(),
    next_sink: 0,
    last_id: 0,
    installed: None,
    captures: 0,
});

/// Epoch of the logger that is installed, 0 without one, for who cannot enter the list.
pub(super) static INSTALLED: AtomicU32 = AtomicU32::new(0);

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Runs `job` on the list; `None` when this thread is in it already (a signal handler, an
/// allocator that logs).
pub(super) fn with_registry<T>(job: impl FnOnce(&mut Registry) -> T) -> Option<T> {
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            let _ = INSIDE.try_with(|inside| inside.set(false));
        }
    }
    if INSIDE.try_with(|inside| inside.replace(true)).unwrap_or(false) {
        return None;
    }
    let _leave = Leave;
    Some(job(&mut REGISTRY.lock()))
}

/// Keeps this thread out of the list, as a signal handler that interrupted its look at it.
pub(super) fn stay_out() -> Raised {
    Raised::new(&INSIDE)
}

impl Registry {
    pub(super) fn next_id(&mut self) -> Option<u32> {
        let id = self.last_id + 1;
        (id < OFF).then(|| {
            self.last_id = id;
            id
        })
    }

    pub(super) fn id_of(&mut self, site: &Callsite) -> Option<u32> {
        match site.id() {
            0 => {
                let id = self.next_id()?;
                // ord: Relaxed: told to others by the word or the kinds, which are stored later.
                site.id.store(id, Ordering::Relaxed);
                Some(id)
            }
            id => Some(id),
        }
    }

    /// Enters a callsite that is met for the first time.
    pub(super) fn list(&mut self, site: &'static Callsite) {
        if site.detour.list() {
            self.callsites.push(site);
            self.mask(site);
            self.update(site);
        }
    }

    fn update(&mut self, site: &'static Callsite) {
        let level = site.metadata.level;
        let interest = self.installed.as_ref().map_or(Interest::Never, |installed| {
            site.metadata.with_subject(|subject| installed.filter.interest(subject))
        });
        let wanted = self.installed.as_ref().filter(|_| interest != Interest::Never);
        let scope = wanted.filter(|_| interest == Interest::Sometimes).map(|it| it.filter.scope());
        // Limits are for events: without its span an event would say less.
        let limited = wanted.filter(|_| !site.metadata.is_span);
        let rule = limited.and_then(|installed| installed.limits.rule(site));
        // What is recorded is read beside the log, whose spans it names; it has none of its own.
        let recorder = || match site.metadata.is_span {
            true => None,
            false => self.installed.as_ref()?.recorder(level),
        };
        let epoch = wanted.map(|installed| installed.epoch);
        let otherwise = if epoch.is_none() || scope.is_some() { recorder() } else { None };
        if rule.is_some() {
            self.define_suppressed(site);
        }
        let mut word_of =
            |epoch: Option<u32>| match epoch.and_then(|epoch| Some((epoch, self.id_of(site)?))) {
                Some((epoch, id)) => u64::from(epoch) << 32 | u64::from(id),
                None => u64::from(OFF),
            };
        let outside = word_of(otherwise);
        let word = epoch.map_or(outside, |epoch| word_of(Some(epoch)));
        let is_on = word as u32 & OFF == 0;
        let is_special = rule.is_some() || scope.is_some() || site.detour.is_masked();
        let takes_detour = is_on && is_special || self.captures > 0;
        let scoped = scope.map(|scope| (scope, outside));
        site.detour.set(takes_detour.then_some(word), rule, scoped);
        // ord: Relaxed, as in `enabled`; who finds 0 asks the detour.
        site.word.store(if takes_detour { 0 } else { word }, Ordering::Relaxed);
    }

    /// Notes which values of a callsite are to be redacted.
    fn mask(&mut self, site: &'static Callsite) {
        site.detour.set_mask(redact::mask_of(&site.metadata, redact::is_secret));
        site.publish_kinds();
    }

    /// Makes the definition of the record that says how many events a limit left out.
    fn define_suppressed(&mut self, site: &'static Callsite) -> bool {
        let limiter = &site.detour.limiter;
        if limiter.definition() == 0
            && let Some(id) = self.next_id()
            && self.define(limit::definition(id, &site.metadata))
        {
            limiter.set_definition(id);
        }
        limiter.definition() != 0
    }

    fn update_all(&mut self) {
        for at in 0..self.callsites.len() {
            self.update(self.callsites[at]);
        }
        if let Some(hook) = ON_CHANGE.get() {
            hook(self.max_level());
        }
    }

    fn max_level(&self) -> Option<Level> {
        self.installed.as_ref().and_then(Installed::max_level)
    }

    /// Tells all sinks; false when one of them has no room, and is to be told again.
    pub(super) fn define(&mut self, definition: Definition) -> bool {
        let is_known = self.sinks.iter().all(|(_, sink)| sink.define(&definition));
        if is_known {
            self.definitions.push(definition);
        }
        is_known
    }
}

/// Is told of each change of what is wanted: the least severe level, `None` for nothing.
pub(super) static ON_CHANGE: OnceLock<fn(Option<Level>)> = OnceLock::new();

/// Calls `job` with what the global logger wants, under the lock of the list; `None` on a thread
/// that is in the list already.
#[cfg(feature = "log")]
pub(super) fn with_installed<T>(job: impl FnOnce(Option<&Installed>) -> T) -> Option<T> {
    with_registry(|registry| job(registry.installed.as_ref()))
}

/// Makes the logger with this epoch the global one, wanting what `filter` says, at most as often as
/// `limits` do; what it leaves out goes to the recorder. The logger must be ready for events.
pub(crate) fn install(
    epoch: u32,
    filter: Arc<Filter>,
    limits: Arc<Limits>,
    recorder: Option<Recorded>,
) {
    with_registry(|registry| {
        registry.installed = Some(Installed { epoch, filter, limits, recorder });
        // ord: Relaxed, see `Callsite::count_reentrant`.
        INSTALLED.store(epoch, Ordering::Relaxed);
        registry.update_all();
    });
}

/// Changes what the global logger with this epoch wants; nothing when it is another by now. False
/// when this thread is in the list of callsites already.
pub(crate) fn set_filter(epoch: u32, filter: Arc<Filter>) -> bool {
    let done = with_registry(|registry| {
        if let Some(installed) = registry.installed.as_mut().filter(|it| it.epoch == epoch) {
            installed.filter = filter;
            registry.update_all();
        }
    });
    done.is_some()
}

/// Lets every statement take the cold way, where a captured thread's events are found out, until as
/// many calls of [`end_capture`] have come.
pub(crate) fn begin_capture() {
    change_captures(|captures| captures + 1);
}

/// Ends what [`begin_capture`] began.
pub(crate) fn end_capture() {
    change_captures(|captures| captures - 1);
}

fn change_captures(change: impl FnOnce(u32) -> u32) {
    with_registry(|registry| {
        let before = std::mem::replace(&mut registry.captures, 0);
        registry.captures = change(before);
        capture::set_active(registry.captures);
        if (before == 0) != (registry.captures == 0) {
            registry.update_all();
        }
    });
}

/// From now on, values under keys that match are redacted, whichever logger they go to.
pub(crate) fn redact(serial: u32, patterns: Patterns) {
    change_redactions(|redactions| redactions.push((serial, patterns)));
}

/// Ends what [`redact()`] began for a logger.
pub(crate) fn end_redact(serial: u32) {
    change_redactions(|redactions| redactions.retain(|(other, _)| *other != serial));
}

fn change_redactions(change: impl FnOnce(&mut Vec<(u32, Patterns)>)) {
    with_registry(|registry| {
        redact::change(change);
        for at in 0..registry.callsites.len() {
            registry.mask(registry.callsites[at]);
        }
        registry.update_all();
    });
}

/// Makes sure that a callsite can say how many of its events a limit left out.
pub(crate) fn define_suppressed(site: &'static Callsite) -> bool {
    with_registry(|registry| registry.define_suppressed(site)).unwrap_or(false)
}

/// Turns every callsite off, as before a logger was installed.
pub fn uninstall() {
    with_registry(|registry| {
        registry.installed = None;
        // ord: Relaxed, as above.
        INSTALLED.store(0, Ordering::Relaxed);
        registry.update_all();
    });
}

/// Asks the filter again for every callsite.
pub fn rebuild_interest() {
    with_registry(Registry::update_all);
}

/// Tells `sink` every definition there is, and from now on each new one before a record uses it.
/// `None` when it has no room for them, or when this thread is in the list already.
pub fn add_sink(sink: Arc<dyn DefinitionSink>) -> Option<SinkId> {
    with_registry(|registry| {
        if !registry.definitions.iter().all(|definition| sink.define(definition)) {
            return None;
        }
        let id = SinkId(registry.next_sink);
        registry.next_sink += 1;
        registry.sinks.push((id, sink));
        Some(id)
    })
    .flatten()
}

/// The list, held by a thread that is about to fork, so that the child finds it whole.
pub(crate) struct Held(
    #[expect(dead_code, reason = "kept for its destructor")] Guard<'static, Registry>,
);

impl Drop for Held {
    fn drop(&mut self) {
        let _ = INSIDE.try_with(|inside| inside.set(false));
    }
}

/// Tries to hold the list until the time has come; not for a thread that is in it already.
pub(crate) fn hold(until: Instant) -> Option<Held> {
    if INSIDE.try_with(Cell::get).unwrap_or(true) {
        return None;
    }
    let guard = REGISTRY.try_lock_until(until)?;
    INSIDE.try_with(|inside| inside.set(true)).ok()?;
    Some(Held(guard))
}

/// In a child: forgets the parent's loggers. What they own is left as it is.
pub(crate) fn abandon() {
    with_registry(|registry| {
        std::mem::forget(std::mem::take(&mut registry.sinks));
        redact::change(Vec::clear);
        registry.installed = None;
        // ord: Relaxed, as above.
        INSTALLED.store(0, Ordering::Relaxed);
        for at in 0..registry.callsites.len() {
            registry.mask(registry.callsites[at]);
        }
        registry.update_all();
    });
}

/// Lets go of a sink.
pub fn remove_sink(id: SinkId) {
    let sink = with_registry(|registry| {
        let at = registry.sinks.iter().position(|(other, _)| *other == id)?;
        Some(registry.sinks.swap_remove(at).1)
    });
    // Its destructor runs here, outside of the lock.
    drop(sink);
}

/// Calls `job` with every definition, oldest first. `job` must not log.
pub fn for_each_definition(mut job: impl FnMut(&Definition)) {
    with_registry(|registry| registry.definitions.iter().for_each(&mut job));
}

/// Gives an id to a definition that is no statement's (a bridge's, a pipe's), and tells it to all
/// sinks. `None` when ids have run out, a sink has no room, or this thread is in the list already.
pub fn define(mut definition: Definition) -> Option<u32> {
    with_registry(|registry| {
        let id = registry.next_id()?;
        definition.id = id;
        registry.define(definition).then_some(id)
    })
    .flatten()
}
