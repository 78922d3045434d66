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
pub mod field;
pub(crate) mod filter;
pub(crate) mod level;
pub(crate) mod raw;
pub(crate) mod route;
mod scratch;
pub(crate) mod template;
pub(crate) mod value;

pub(crate) use filter::Filter;

use std::fmt;

use args::{COUNT_MAX, Deferred, Encoded, List, Message};
use callsite::{Callsite, Shape};
use route::Route;
use scratch::Scratch;

use crate::record::{FLAG_DYNAMIC, FLAG_TRUNCATED};

/// Logs the values of a list as one event.
#[inline(always)]
pub fn emit<R: Route, L: List>(site: &'static Callsite, to: R, list: L) {
    if site.key() == L::KEY {
        if const { L::COUNT > COUNT_MAX } {
            push::<true, _, _>(site, to, to.id(site), list);
        } else {
            push::<false, _, _>(site, to, to.id(site), list);
        }
    } else {
        emit_unusual(site, to, list);
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

/// The first call of a callsite, and those of a generic function whose types differ from it.
#[cold]
#[inline(never)]
fn emit_unusual<R: Route, L: List>(site: &'static Callsite, to: R, list: L) {
    match site.resolve(const { &Shape::of::<L>() }) {
        Some((id, true)) => push::<true, _, _>(site, to, id, list),
        Some((id, false)) => push::<false, _, _>(site, to, id, list),
        None => {}
    }
}

#[inline(always)]
fn push<const DYNAMIC: bool, R: Route, L: List>(site: &'static Callsite, to: R, id: u32, list: L) {
    if const { L::FORMATS } {
        push_formatted::<DYNAMIC, _, _>(site, to, id, list);
    } else {
        let mut nothing = Vec::new();
        let ready = list.prepare(&mut Scratch::new(&mut nothing));
        let flags = if DYNAMIC { FLAG_DYNAMIC } else { 0 };
        to.push(id, site.metadata().level, flags, &Encoded::new(ready, &[], DYNAMIC));
    }
}

/// Makes the texts first, since what makes them may log, panic or take its time.
#[inline(never)]
fn push_formatted<const DYNAMIC: bool, R: Route, L: List>(
    site: &'static Callsite,
    to: R,
    id: u32,
    list: L,
) {
    scratch::with(|buffer| {
        let mut scratch = Scratch::new(buffer);
        let ready = list.prepare(&mut scratch);
        let mut flags = if DYNAMIC { FLAG_DYNAMIC } else { 0 };
        if scratch.truncated() {
            flags |= FLAG_TRUNCATED;
        }
        let args = Encoded::new(ready, scratch.into_text(), DYNAMIC);
        to.push(id, site.metadata().level, flags, &args);
    });
}
