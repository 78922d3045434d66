//! Callsite: the static half of a log statement, and the list of all of them.
//!
//! # Layout
//!
//! ```text
//! word    | logger epoch u32 | state u32 |   state 0: never seen; top bit: off; else the id
//! ```
//!
//! # Invariants
//!
//! - **I1** A callsite's id never changes once given, and is below 2³¹.
//! - **I2** Its kinds are stored after every sink has taken its definition; so a record that names
//!   an id is behind the definition of that id (S11). Where a sink has no room for it the event is
//!   refused, and the next call tries again with the same id.

use std::cell::Cell;
use std::sync::Arc;

use parking_lot::Mutex;

use super::args::{COUNT_MAX, KEY_NONE, List};
use super::filter::Filter;
use super::route::{Global, Local, LoggerRef};
use crate::lane::{handle, process};
use crate::record::{Cause, Definition, Field, Level, Role};
use crate::sync::fixed::{AtomicU32, AtomicU64, Ordering};

/// What is known of a statement when it is compiled.
#[derive(Debug)]
#[expect(missing_docs, reason = "made by macros only; named as in `record::Definition`")]
pub struct Metadata {
    pub level: Level,
    pub name: &'static str,
    pub target: &'static str,
    pub file: &'static str,
    pub line: u32,
    pub module: &'static str,
    pub fields: &'static [FieldName],
    pub template: Option<&'static str>,
    /// Names of the template's arguments, empty for positional ones.
    pub arguments: &'static [&'static str],
}

/// A field's name as the macro saw it.
#[derive(Debug, Clone, Copy)]
pub enum FieldName {
    /// Identifiers with dots, perhaps with blanks between and `r#` before them.
    Path(&'static str),
    /// Any text.
    Text(&'static str),
}

/// A statement. Each expansion of a macro has one as a `static`.
#[derive(Debug)]
#[repr(C, align(16))] // the two words that a call reads lie in one cache line
pub struct Callsite {
    word: AtomicU64,
    kinds: AtomicU64,
    /// 0 until it is given.
    id: AtomicU32,
    /// Id under which the same statement logs its message the other way (deferred or formatted),
    /// which types of a generic function may ask for.
    other: AtomicU32,
    /// The same, from when it is given until every sink has its definition.
    other_given: AtomicU32,
    /// [`DEFERRED`] when the definition under `id` has arguments instead of a message.
    mode: AtomicU32,
    metadata: Metadata,
}

const OFF: u32 = 1 << 31;
const DEFERRED: u32 = 1;

/// Learns each definition before the first record that names it. It is called under the lock of
/// the list of callsites: it must neither log nor wait for a thread that does.
pub trait DefinitionSink: Send + Sync {
    /// Takes a definition; false when there is no room for it. It may be told again what it knows.
    fn define(&self, definition: &Definition) -> bool;
}

/// Names a sink that was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SinkId(u64);

struct Registry {
    callsites: Vec<&'static Callsite>,
    definitions: Vec<Definition>,
    sinks: Vec<(SinkId, Arc<dyn DefinitionSink>)>,
    next_sink: u64,
    last_id: u32,
    installed: Option<(u32, Arc<Filter>)>,
}

static REGISTRY: Mutex<Registry> = Mutex::new(Registry {
    callsites: Vec::new(),
    definitions: Vec::new(),
    sinks: Vec::new(),
    next_sink: 0,
    last_id: 0,
    installed: None,
});

/// Epoch of the logger that is installed, 0 without one, for who cannot enter the list.
static INSTALLED: AtomicU32 = AtomicU32::new(0);

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Runs `job` on the list; `None` when this thread is in it already (a signal handler, an
/// allocator that logs).
fn with_registry<T>(job: impl FnOnce(&mut Registry) -> T) -> Option<T> {
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
            id: AtomicU32::new(0),
            other: AtomicU32::new(0),
            other_given: AtomicU32::new(0),
            mode: AtomicU32::new(0),
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
    #[inline]
    pub fn enabled_for<'l, H: LoggerRef + ?Sized>(&self, logger: &'l H) -> Option<Local<'l, H>> {
        logger.wants(self.metadata.target, self.metadata.level).then_some(Local(logger))
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
            self.count_forked();
            return None;
        }
        let word = with_registry(|registry| {
            // ord: check, under the lock that every store is under.
            if self.word.load(Ordering::Relaxed) == 0 {
                registry.callsites.push(self);
                registry.update(self);
            }
            // ord: check, as above.
            self.word.load(Ordering::Relaxed)
        });
        match word {
            Some(word) if word as u32 & OFF == 0 => Some(Global::new(word)),
            Some(_) => None,
            None => {
                self.count_reentrant();
                None
            }
        }
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
            if self.key() == KEY_NONE {
                let id = registry.id_of(self).ok_or(Lost::NoRoom)?;
                if !registry.define(self.definition(id, shape, shape.dynamic)) {
                    return Err(Lost::NoRoom);
                }
                // ord: Relaxed: ordered by the store below.
                self.mode.store(shape.deferred.into(), Ordering::Relaxed);
                // ord: Release, partner of the Acquire in `key` (I2).
                self.kinds.store(shape.key, Ordering::Release);
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
        let key = self.key();
        if key == KEY_NONE {
            return None;
        }
        if key == shape.key {
            return Some((self.id(), shape.dynamic));
        }
        // ord: Relaxed: stored before the kinds that `key` acquired.
        if (self.mode.load(Ordering::Relaxed) == DEFERRED) == shape.deferred {
            return Some((self.id(), true));
        }
        // ord: Acquire, partner of the Release in `resolve`.
        let other = self.other.load(Ordering::Acquire);
        (other != 0).then_some((other, true))
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
        let Metadata { target, level, .. } = self.metadata;
        let wanted = REGISTRY.try_lock().is_none_or(|registry| {
            let filter = registry.installed.as_ref().map(|(_, filter)| filter);
            filter.is_some_and(|filter| filter.enabled(target, level))
        });
        if wanted {
            process::count_forked(level);
        }
    }

    /// Counts an event of a callsite that nobody knows yet: whether it was wanted is not known.
    fn count_reentrant(&self) {
        // ord: Relaxed, a number that says itself whether its logger lives.
        let installed = INSTALLED.load(Ordering::Relaxed);
        if installed != 0 {
            handle::lose_global(installed, Cause::Reentrant, self.metadata.level);
        }
    }
}

impl FieldName {
    fn to_name(self) -> String {
        match self {
            Self::Path(path) => path.split('.').map(clean).collect::<Vec<_>>().join("."),
            Self::Text(text) => text.to_owned(),
        }
    }
}

/// An identifier without blanks around it and without the mark of a raw one.
fn clean(name: &str) -> String {
    let name = name.trim();
    name.strip_prefix("r#").unwrap_or(name).to_owned()
}

impl Registry {
    fn next_id(&mut self) -> Option<u32> {
        let id = self.last_id + 1;
        (id < OFF).then(|| {
            self.last_id = id;
            id
        })
    }

    fn id_of(&mut self, site: &Callsite) -> Option<u32> {
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

    fn update(&mut self, site: &Callsite) {
        let Metadata { target, level, .. } = site.metadata;
        let epoch = self
            .installed
            .as_ref()
            .and_then(|(epoch, filter)| filter.enabled(target, level).then_some(*epoch));
        let word = match epoch.and_then(|epoch| Some((epoch, self.id_of(site)?))) {
            Some((epoch, id)) => u64::from(epoch) << 32 | u64::from(id),
            None => u64::from(OFF),
        };
        // ord: Relaxed, as in `enabled`.
        site.word.store(word, Ordering::Relaxed);
    }

    fn update_all(&mut self) {
        for at in 0..self.callsites.len() {
            self.update(self.callsites[at]);
        }
    }

    /// Tells all sinks; false when one of them has no room, and is to be told again.
    fn define(&mut self, definition: Definition) -> bool {
        let is_known = self.sinks.iter().all(|(_, sink)| sink.define(&definition));
        if is_known {
            self.definitions.push(definition);
        }
        is_known
    }
}

/// Makes the logger with this epoch the global one, wanting what `filter` says; a second call
/// changes both. The logger must be ready for events.
pub fn install(epoch: u32, filter: Arc<Filter>) {
    with_registry(|registry| {
        registry.installed = Some((epoch, filter));
        // ord: Relaxed, see `count_reentrant`.
        INSTALLED.store(epoch, Ordering::Relaxed);
        registry.update_all();
    });
}

/// Turns every callsite off, as before [`install`].
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
