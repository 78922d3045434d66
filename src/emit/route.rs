//! Route: which logger a call goes to, and the one place where it enters a lane.

use super::args::Args;
use super::callsite::Callsite;
use super::clock;
use super::raw::Cursor;
use crate::lane::fill::Record;
use crate::lane::handle;
use crate::record::{Cause, HEAD_BYTES, Head, Level, RECORD_EVENT};

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
        handle::lose_global((self.0 >> 32) as u32, Cause::Full, level);
    }

    fn lose_interrupted(self, level: Level) {
        handle::lose_global((self.0 >> 32) as u32, Cause::Reentrant, level);
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
}

/// What `parent:` may name. Events do not keep it yet.
pub trait Parent {}
impl Parent for Option<u64> {}
impl<T: ?Sized> Parent for &T {}

/// Checks the type of a parent, which is not evaluated.
pub fn ignore_parent(_: impl Parent) {}
