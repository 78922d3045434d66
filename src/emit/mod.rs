//! Emit: turns a statement into a record on the caller's thread.
//!
//! ```text
//! info!(…) ── Callsite::enabled ──► list of values ──► List::prepare ──► Route::push ──► lane
//!              one load, a branch    (((), &a), &b)     text into the     Args: measured,
//!                                                       thread's scratch  then copied
//! ```

pub(crate) mod args;
pub mod callsite;
pub mod clock;
pub(crate) mod detour;
mod cut;
pub mod field;
pub(crate) mod filter;
#[cfg(any(feature = "tracing", feature = "log"))]
pub(crate) mod foreign;
pub(crate) mod handler;
pub(crate) mod level;
pub(crate) mod limit;
pub(crate) mod metadata;
#[cfg(feature = "serde")]
pub(crate) mod nested;
pub(crate) mod raw;
pub(crate) mod redact;
pub(crate) mod route;
mod scratch;
pub(crate) mod scope;
pub(crate) mod sites;
pub mod span;
#[cfg(any(feature = "tracing", feature = "log"))]
pub(crate) mod table;
pub(crate) mod template;
#[cfg_attr(not(feature = "tracing"), expect(dead_code, reason = "what other front ends bring"))]
pub(crate) mod told;
pub(crate) mod value;
pub(crate) mod verdict;

pub(crate) use filter::Filter;

use std::fmt;

use args::{Args, COUNT_MAX, Deferred, Encoded, List, Message};
use callsite::{Callsite, Lost, Shape};
use raw::Cursor;
use route::Route;
use scratch::Scratch;

use crate::record::{FLAG_DYNAMIC, FLAG_TRUNCATED};

/// Logs the values of a list as one event.
#[inline(always)]
pub fn emit<R: Route, L: List>(site: &'static Callsite, to: R, list: L) {
    if const { L::FORMATS } {
        emit_formatted(site, to, list);
    } else {
        let mut nothing = Vec::new();
        let ready = list.prepare(&mut Scratch::new(&mut nothing));
        emit_ready::<_, L>(site, to, ready, &[], 0);
    }
}

/// Logs an event with a message: as template and arguments where the reader can format them
/// (`PLAIN` says so of the template), else as text.
#[inline(always)]
pub fn emit_message<const PLAIN: bool, R, L, C, F>(
    site: &'static Callsite,
    to: R,
    fields: L,
    captured: C,
    message: F,
) where
    R: Route,
    L: List,
    C: List,
    F: Fn(&mut dyn fmt::Write) -> fmt::Result,
{
    if const { PLAIN && C::DEFERRABLE } {
        emit(site, to, Deferred(captured));
    } else {
        emit(site, to, (fields, Message(&message)));
    }
}

/// Makes the texts first, since what makes them may log, panic or take its time.
#[inline(never)]
fn emit_formatted<R: Route, L: List>(site: &'static Callsite, to: R, list: L) {
    scratch::with(|buffer| {
        let mut scratch = Scratch::new(buffer);
        let ready = list.prepare(&mut scratch);
        let flags = if scratch.truncated() { FLAG_TRUNCATED } else { 0 };
        if emit_ready::<_, L>(site, to, ready, scratch.into_text(), flags) {
            scratch::wipe(buffer);
        }
    });
}

/// The values come by value: where they are plain, none of them needs an address before the lane
/// has made room. True when the text holds what is to be redacted.
#[inline(always)]
fn emit_ready<R: Route, L: List>(
    site: &'static Callsite,
    to: R,
    ready: L::Ready,
    text: &[u8],
    flags: u8,
) -> bool {
    if site.key() != L::KEY {
        // A copy, so that only this path puts the values into memory.
        return emit_unusual::<_, L>(site, to, Encoded::new(ready, text, false), flags);
    }
    if const { L::COUNT > COUNT_MAX } {
        let args = Encoded::new(ready, text, true);
        to.push(site, to.id(site), flags | FLAG_DYNAMIC, args);
    } else {
        let args = Encoded::new(ready, text, false);
        to.push(site, to.id(site), flags, args);
    }
    false
}

/// The first call of a callsite, and those of a generic function whose types differ from it. True
/// when some of the values are redacted.
#[cold]
#[inline(never)]
fn emit_unusual<R: Route, L: List>(
    site: &'static Callsite,
    to: R,
    args: Encoded<'_, L::Ready>,
    flags: u8,
) -> bool {
    match site.resolve(const { &Shape::of::<L>() }) {
        Ok((id, _)) if site.detour().is_masked() => {
            let mask = site.detour().mask();
            let mask = if const { L::DEFERRED } { mask.deferred } else { mask.formatted };
            push_masked(site, to, id, flags, args.dynamic(), mask);
            return true;
        }
        Ok((id, true)) => to.push(site, id, flags | FLAG_DYNAMIC, args.dynamic()),
        Ok((id, false)) => to.push(site, id, flags, args),
        Err(Lost::NoRoom) => to.lose(site.metadata().level),
        Err(Lost::Reentrant) => to.lose_interrupted(site.metadata().level),
        Err(Lost::Counted) => {}
    }
    false
}

/// Replaces values that are to be redacted before the record enters a lane. No copy of them stays.
#[inline(never)]
fn push_masked<R: Route>(
    site: &'static Callsite,
    to: R,
    id: u32,
    flags: u8,
    args: impl Args,
    mask: u64,
) {
    let mut values = vec![0; args.len()];
    args.write(&mut Cursor::new(&mut values));
    let masked = redact::masked(&values, mask);
    scratch::wipe(&mut values);
    to.push(site, id, flags | FLAG_DYNAMIC, redact::Bytes::new(&masked));
}
