//! Route: which logger a call goes to, and the one place where it enters a lane.

use std::sync::Arc;

use super::args::Args;
use super::callsite::Callsite;
use super::clock;
use super::raw::Cursor;
use super::span::{self, Id};
use super::told::ToldRecord;
use crate::lane::fill::{Record, Tells};
use crate::lane::lanes::Lanes;
use crate::lane::{entered, handle, living};
use crate::record::{Cause, FLAG_SPAN, HEAD_BYTES, Head, Level, RECORD_EVENT};

/// A record as a lane wants it.
#[derive(Debug)]
pub(crate) struct LaneRecord<A> {
    site: &'static Callsite,
    id: u32,
    flags: u8,
    args: A,
}

impl<A: Args> LaneRecord<A> {
    #[inline(always)]
    pub(crate) fn new(site: &'static Callsite, id: u32, flags: u8, args: A) -> Self {
        Self { site, id, flags, args }
    }
}

impl<A: Args> Record for LaneRecord<A> {
    #[inline(always)]
    fn payload_len(&self) -> usize {
        self.args.len()
    }

    fn level(&self) -> Level {
        self.site.metadata().level
    }

    fn tells(&self) -> Tells {
        if self.flags & FLAG_SPAN == 0 { Tells::Event } else { Tells::Placed }
    }

    #[inline(always)]
    fn fast_ticks() -> Option<u64> {
        clock::fast_ticks()
    }

    fn ticks(&self) -> u64 {
        clock::ticks()
    }

    #[inline(always)]
    fn head(&self, ticks: u64, words: u16, flags: u8) -> [u8; HEAD_BYTES] {
        Head::encode(self.id, words, RECORD_EVENT, self.flags | flags, ticks)
    }

    #[inline(always)]
    fn payload(&self, out: &mut [u8]) {
        self.args.write(&mut Cursor::new(out));
    }

    fn cut(&self, limit: usize) -> Vec<u8> {
        let args = self.args.limited(limit);
        let mut bytes = vec![0; args.len()];
        args.write(&mut Cursor::new(&mut bytes));
        bytes
    }
}

/// The way of a call to its logger.
pub trait Route: Copy {
    /// The id of a callsite whose kinds have been seen.
    fn id(self, site: &Callsite) -> u32;
    /// Hands a record over. `id` is the site's, or the one of its other definition.
    fn push<A: Args>(self, site: &'static Callsite, id: u32, flags: u8, args: A);
    /// Counts an event whose definition found no room.
    fn lose(self, level: Level);
    /// Counts an event that came while its thread was inside the list of callsites.
    fn lose_interrupted(self, level: Level);
    /// The logger's number within the process.
    fn serial(self) -> u32;
    /// The way that what is told of a span goes, now and later; `None` where nobody takes it.
    fn way(self) -> Option<Way>;
}

/// To the logger that `init` installed: the callsite's word.
#[derive(Debug, Clone, Copy)]
pub struct Global(u64);

impl Global {
    #[inline(always)]
    pub(super) fn new(word: u64) -> Self {
        Self(word)
    }
}

#[cfg(feature = "log")]
impl Global {
    /// Hands over a record that is no statement's of ttlog.
    pub(crate) fn push_record(self, record: impl Record) {
        handle::write_global((self.0 >> 32) as u32, record);
    }
}

impl Route for Global {
    #[inline(always)]
    fn id(self, _: &Callsite) -> u32 {
        self.0 as u32
    }

    #[inline(always)]
    fn push<A: Args>(self, site: &'static Callsite, id: u32, flags: u8, args: A) {
        let epoch = (self.0 >> 32) as u32;
        handle::write_global(epoch, LaneRecord::new(site, id, flags, args));
    }

    fn lose(self, level: Level) {
        living::lose_global((self.0 >> 32) as u32, Cause::Full, level);
    }

    fn lose_interrupted(self, level: Level) {
        living::lose_global((self.0 >> 32) as u32, Cause::Reentrant, level);
    }

    fn serial(self) -> u32 {
        (self.0 >> 32) as u32
    }

    fn way(self) -> Option<Way> {
        Some(Way(To::Global(self.serial())))
    }
}

/// What `logger: &handle` can name.
pub trait LoggerRef {
    /// True when the logger wants another event of this statement.
    fn wants(&self, site: &'static Callsite) -> bool;
    /// Takes a record of a callsite that has been defined under this id.
    fn push<A: Args>(&self, site: &'static Callsite, id: u32, flags: u8, args: A);
    /// Counts an event whose definition found no room.
    fn lose(&self, level: Level);
    /// Counts an event that came while its thread was inside the list of callsites.
    fn lose_interrupted(&self, level: Level) {
        self.lose(level);
    }
    /// The logger's number within the process, 0 for one that knows no spans.
    fn serial(&self) -> u32 {
        0
    }
    /// The way that what is told of a span goes.
    fn way(&self) -> Option<Way> {
        None
    }
}

impl<T: LoggerRef + ?Sized> LoggerRef for &T {
    fn wants(&self, site: &'static Callsite) -> bool {
        (**self).wants(site)
    }

    #[inline]
    fn push<A: Args>(&self, site: &'static Callsite, id: u32, flags: u8, args: A) {
        (**self).push(site, id, flags, args);
    }

    fn lose(&self, level: Level) {
        (**self).lose(level);
    }

    fn lose_interrupted(&self, level: Level) {
        (**self).lose_interrupted(level);
    }

    fn serial(&self) -> u32 {
        (**self).serial()
    }

    fn way(&self) -> Option<Way> {
        (**self).way()
    }
}

/// To a logger that the call names.
#[derive(Debug)]
pub struct Local<'l, H: ?Sized>(pub(super) &'l H);

impl<H: ?Sized> Clone for Local<'_, H> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<H: ?Sized> Copy for Local<'_, H> {}

impl<H: LoggerRef + ?Sized> Route for Local<'_, H> {
    #[inline(always)]
    fn id(self, site: &Callsite) -> u32 {
        site.id()
    }

    #[inline(always)]
    fn push<A: Args>(self, site: &'static Callsite, id: u32, flags: u8, args: A) {
        self.0.push(site, id, flags, args);
    }

    fn lose(self, level: Level) {
        self.0.lose(level);
    }

    fn lose_interrupted(self, level: Level) {
        self.0.lose_interrupted(level);
    }

    fn serial(self) -> u32 {
        self.0.serial()
    }

    fn way(self) -> Option<Way> {
        self.0.way()
    }
}

/// The way of what a span goes through, for as long as it is open.
#[derive(Debug, Clone)]
pub struct Way(To);

#[derive(Debug, Clone)]
enum To {
    /// The logger that is global and has this number.
    Global(u32),
    Named { lanes: Arc<Lanes>, tells_enters: bool },
}

impl Way {
    pub(crate) fn named(lanes: Arc<Lanes>, tells_enters: bool) -> Self {
        Self(To::Named { lanes, tells_enters })
    }

    pub(super) fn push(&self, record: ToldRecord<'_>) {
        match &self.0 {
            To::Global(serial) => handle::write_global(*serial, record),
            To::Named { lanes, .. } => handle::write_local(lanes, &record),
        }
    }

    /// True when the logger tells of each time that a thread enters or leaves.
    pub(super) fn tells_enters(&self) -> bool {
        match &self.0 {
            To::Global(serial) => entered::tells(*serial),
            To::Named { tells_enters, .. } => *tells_enters,
        }
    }
}

/// The way of an event that says which span it is in.
#[derive(Debug, Clone, Copy)]
pub struct Below<R> {
    to: R,
    span: u64,
}

/// The way of an event with `parent:`.
#[inline]
pub fn below<R: Route>(to: R, parent: impl Into<Option<Id>>) -> Below<R> {
    Below { to, span: span::id_for(to, parent) }
}

impl<R: Route> Route for Below<R> {
    #[inline(always)]
    fn id(self, site: &Callsite) -> u32 {
        self.to.id(site)
    }

    #[inline]
    fn push<A: Args>(self, site: &'static Callsite, id: u32, flags: u8, args: A) {
        if self.span == 0 && entered::current(self.to.serial()) == 0 {
            return self.to.push(site, id, flags, args);
        }
        // No span has the id 0: so the event says that it is in none.
        self.to.push(site, id, flags | FLAG_SPAN, WithSpan { span: self.span, args });
    }

    fn lose(self, level: Level) {
        self.to.lose(level);
    }

    fn lose_interrupted(self, level: Level) {
        self.to.lose_interrupted(level);
    }

    fn serial(self) -> u32 {
        self.to.serial()
    }

    fn way(self) -> Option<Way> {
        self.to.way()
    }
}

/// Values behind the id of a span.
#[derive(Debug, Clone, Copy)]
struct WithSpan<A> {
    span: u64,
    args: A,
}

impl<A: Args> Args for WithSpan<A> {
    #[inline(always)]
    fn len(&self) -> usize {
        8 + self.args.len()
    }

    #[inline(always)]
    fn write(&self, out: &mut Cursor<'_>) {
        out.put(self.span.to_le_bytes());
        self.args.write(out);
    }

    fn limited(&self, limit: usize) -> impl Args {
        WithSpan { span: self.span, args: self.args.limited(limit.saturating_sub(8)) }
    }
}
