//! Callsite: the static half of a log statement, and the list of all of them.
//!
//! # Layout
//!
//! ```text
//! word    | logger epoch u32 | state u32 |   state 0: never seen; top bit: off; else the id
//! ```
//!
//! A callsite that takes the *detour* (a rate limit, keys to redact, a filter that wants it inside
//! of some spans alone) has the state 0, so that each call comes by the cold way, and finds there
//! what its word would be.
//!
//! # Invariants
//!
//! - **I1** A callsite's id never changes once given, and is below 2³¹.
//! - **I2** Its kinds are stored after every sink has taken its definition; so a record that names
//!   an id is behind the definition of that id (S11). Where a sink has no room for it the event is
//!   refused, and the next call tries again with the same id.

use super::args::{COUNT_MAX, KEY_DETOUR, KEY_NONE, List};
use super::detour::Detour;
use super::metadata::clean;
pub use super::metadata::{FieldName, Metadata};
use super::route::{Global, Local, LoggerRef};
use super::sites::{INSTALLED, REGISTRY, with_registry};
use super::verdict::Verdict;
pub use super::sites::{
    DefinitionSink, SinkId, add_sink, define, for_each_definition, rebuild_interest, remove_sink,
    uninstall,
};
pub(crate) use super::sites::{
    Recorded, define_suppressed, end_redact, install, redact, set_filter,
};
use crate::lane::{capture, living, process};
use crate::record::{Cause, Definition, Field, Level, Role};
use crate::sync::fixed::{AtomicU32, AtomicU64, Ordering};

/// A statement. Each expansion of a macro has one as a `static`.
#[derive(Debug)]
#[repr(C, align(16))] // the two words that a call reads lie in one cache line
pub struct Callsite {
    pub(super) word: AtomicU64,
    kinds: AtomicU64,
    /// For calls that name their logger.
    verdict: Verdict,
    /// 0 until it is given.
    pub(super) id: AtomicU32,
    /// Id under which the same statement logs its message the other way (deferred or formatted),
    /// which types of a generic function may ask for.
    other: AtomicU32,
    /// The same, from when it is given until every sink has its definition.
    other_given: AtomicU32,
    /// [`DEFERRED`] when the definition under `id` has arguments instead of a message.
    mode: AtomicU32,
    /// What makes calls take the cold way each time.
    pub(super) detour: Detour,
    pub(super) metadata: Metadata,
}

pub(super) const OFF: u32 = 1 << 31;
const DEFERRED: u32 = 1;

/// Why a call has no id to write with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    /// The event is counted as lost by now.
    Counted,
    /// The thread is inside the list of callsites: the logger counts the event.
    Reentrant,
    /// There is no room for the definition: the logger counts the event.
    NoRoom,
}

/// What a call wants to write, when it does not fit what the callsite remembers.
pub(super) struct Shape {
    key: u64,
    deferred: bool,
    dynamic: bool,
    kinds: fn(&mut Vec<u8>),
}

impl Shape {
    pub(super) const fn of<L: List>() -> Self {
        Self { key: L::KEY, deferred: L::DEFERRED, dynamic: L::COUNT > COUNT_MAX, kinds: L::kinds }
    }
}

impl Callsite {
    /// A callsite that nobody has used.
    #[must_use]
    pub const fn new(metadata: Metadata) -> Self {
        Self {
            word: AtomicU64::new(0),
            kinds: AtomicU64::new(KEY_NONE),
            verdict: Verdict::new(),
            id: AtomicU32::new(0),
            other: AtomicU32::new(0),
            other_given: AtomicU32::new(0),
            mode: AtomicU32::new(0),
            detour: Detour::new(),
            metadata,
        }
    }

    /// What the compiler knew.
    #[inline(always)]
    #[must_use]
    pub const fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The way to the global logger, when that wants this statement's events.
    #[inline(always)]
    pub fn enabled(&'static self) -> Option<Global> {
        // ord: Relaxed: the word decides alone. Whoever finds a new epoch in it takes the lock of
        // the logger that the epoch names before it uses anything of that logger.
        let word = self.word.load(Ordering::Relaxed);
        let state = word as u32;
        if state.cast_signed() < 0 {
            return None;
        }
        if state == 0 { self.register() } else { Some(Global::new(word)) }
    }

    /// The way to a logger that is named, when that wants this statement's events.
    #[inline(always)]
    pub fn enabled_for<'l, H>(&'static self, logger: &'l H) -> Option<Local<'l, H>>
    where
        H: LoggerRef + ?Sized,
    {
        logger.wants(self).then_some(Local(logger))
    }

    /// What a logger that calls name wants of it.
    #[inline(always)]
    pub(crate) fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// What makes calls take the cold way each time.
    pub(crate) fn detour(&self) -> &Detour {
        &self.detour
    }

    /// The id once there is one.
    #[inline(always)]
    pub(super) fn id(&self) -> u32 {
        // ord: Relaxed: asked only by who has seen the kinds, which are stored later (I2).
        self.id.load(Ordering::Relaxed)
    }

    /// The key of the kinds that records under [`Callsite::id`] have.
    #[inline(always)]
    pub(super) fn key(&self) -> u64 {
        // ord: Acquire, so that the Release in `resolve` puts the definition before the record.
        self.kinds.load(Ordering::Acquire)
    }

    #[cold]
    #[inline(never)]
    fn register(&'static self) -> Option<Global> {
        if process::is_forked() {
            if !self.metadata.is_span {
                self.count_forked();
            }
            return None;
        }
        if capture::current().is_some() {
            return self.captured();
        }
        if let Some(word) = self.detour.word() {
            return self.detoured(word);
        }
        let words = with_registry(|registry| {
            registry.list(self);
            // ord: check, under the lock that every store is under.
            (self.word.load(Ordering::Relaxed), self.detour.word())
        });
        match words {
            Some((_, Some(word))) => self.detoured(word),
            Some((word, None)) if word as u32 & OFF == 0 => Some(Global::new(word)),
            Some(_) => None,
            None => {
                self.count_reentrant();
                None
            }
        }
    }

    /// The way of a call that takes the detour, by what the word would be without it.
    fn detoured(&self, word: u64) -> Option<Global> {
        let is_on = |word: u64| word as u32 & OFF == 0;
        if let Some(outside) = self.detour.outside(self.metadata.level) {
            // Limits are for what the filter wants.
            return is_on(outside).then(|| Global::new(outside));
        }
        (is_on(word) && self.detour.passes(word)).then(|| Global::new(word))
    }

    /// The way to the test that captures this thread.
    fn captured(&'static self) -> Option<Global> {
        let id = with_registry(|registry| {
            registry.list(self);
            registry.id_of(self)
        })
        .flatten()?;
        Some(Global::new(u64::from(capture::SERIAL) << 32 | u64::from(id)))
    }

    /// The id and whether kinds must stand in the record, for a call that is not like the first.
    /// Defines the callsite if nobody has.
    #[cold]
    #[inline(never)]
    pub(super) fn resolve(&'static self, shape: &Shape) -> Result<(u32, bool), Lost> {
        if let Some(known) = self.known(shape) {
            return Ok(known);
        }
        if process::is_forked() {
            self.count_forked();
            return Err(Lost::Counted);
        }
        let resolved = with_registry(|registry| {
            if let Some(known) = self.known(shape) {
                return Ok(known);
            }
            registry.list(self);
            if self.detour.key() == KEY_NONE {
                let id = registry.id_of(self).ok_or(Lost::NoRoom)?;
                if !registry.define(self.definition(id, shape, shape.dynamic)) {
                    return Err(Lost::NoRoom);
                }
                // ord: Relaxed: ordered by the store below.
                self.mode.store(shape.deferred.into(), Ordering::Relaxed);
                self.detour.set_key(shape.key);
                self.publish_kinds();
                return Ok((id, shape.dynamic));
            }
            // ord: Relaxed, under the lock that every access is under.
            let id = match self.other_given.load(Ordering::Relaxed) {
                0 => registry.next_id().ok_or(Lost::NoRoom)?,
                given => given,
            };
            // ord: Relaxed, as above.
            self.other_given.store(id, Ordering::Relaxed);
            if !registry.define(self.definition(id, shape, true)) {
                return Err(Lost::NoRoom);
            }
            // ord: Release, partner of the Acquire in `known` (I2).
            self.other.store(id, Ordering::Release);
            Ok((id, true))
        });
        resolved.unwrap_or(Err(Lost::Reentrant))
    }

    fn known(&self, shape: &Shape) -> Option<(u32, bool)> {
        let key = self.detour.key();
        if key == KEY_NONE {
            return None;
        }
        if key == shape.key {
            return Some((self.id(), shape.dynamic));
        }
        // ord: Relaxed: stored before the key that was acquired.
        if (self.mode.load(Ordering::Relaxed) == DEFERRED) == shape.deferred {
            return Some((self.id(), true));
        }
        // ord: Acquire, partner of the Release in `resolve`.
        let other = self.other.load(Ordering::Acquire);
        (other != 0).then_some((other, true))
    }

    /// Lets calls compare with the key of the definition, or with none when they take the detour.
    pub(super) fn publish_kinds(&self) {
        let kinds = if self.detour.is_masked() { KEY_DETOUR } else { self.detour.key() };
        // ord: Release, partner of the Acquire in `key` (I2).
        self.kinds.store(kinds, Ordering::Release);
    }

    fn definition(&self, id: u32, shape: &Shape, dynamic: bool) -> Definition {
        let metadata = &self.metadata;
        let mut kinds = Vec::new();
        (shape.kinds)(&mut kinds);
        let names = metadata.fields.iter().map(|name| (name.to_name(), Role::Field));
        let arguments = metadata.arguments.iter().map(|name| (clean(name), Role::Argument));
        let message = std::iter::once((String::new(), Role::Message));
        // Of arguments and message the list has one or none, as its length shows.
        let tail: Vec<_> = if shape.deferred { arguments.collect() } else { message.collect() };
        let fields = names.chain(tail).zip(kinds);
        Definition {
            id,
            level: metadata.level,
            dynamic,
            target: metadata.target.to_owned(),
            name: metadata.name.to_owned(),
            file: metadata.file.to_owned(),
            line: metadata.line,
            module: metadata.module.to_owned(),
            template: metadata.template.filter(|_| shape.deferred).map(str::to_owned),
            fields: fields.map(|((name, role), kind)| Field { name, kind, role }).collect(),
        }
    }

    /// Counts an event of a forked child, whose parent's list of callsites it must not touch: a
    /// thread that is not there may hold its lock, and the table of definitions is the parent's.
    fn count_forked(&self) {
        count_forked(self.metadata.target, self.metadata.level);
    }

    /// Counts an event of a callsite that nobody knows yet: whether it was wanted is not known.
    fn count_reentrant(&self) {
        // ord: Relaxed, a number that says itself whether its logger lives.
        let installed = INSTALLED.load(Ordering::Relaxed);
        if installed != 0 {
            living::lose_global(installed, Cause::Reentrant, self.metadata.level);
        }
    }
}

/// Counts an event of a forked child if the global logger would have wanted it.
pub(crate) fn count_forked(target: &str, level: Level) {
    let wanted = REGISTRY.try_lock().is_none_or(|registry| {
        let installed = registry.installed.as_ref();
        installed.is_some_and(|installed| installed.filter.enabled(target, level))
    });
    if wanted {
        process::count_forked(level);
    }
}
