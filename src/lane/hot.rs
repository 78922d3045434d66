//! Hot: a thread's producers that are reached by one load, for what it logs all the time.
#![expect(unsafe_code, reason = "lends producers that live as long as their thread; T2")]
//!
//! # Invariants
//!
//! - **T2** What a thread [keeps](super::kept) has a destructor, its hot producers have none: a call
//!   after the destructor ran finds no lane there and uses the common one.

use super::recorder;
use super::ring::Producer;

thread_local! {
    /// The producer for the global logger.
    static GLOBAL: Producer = const { Producer::new() };
    /// The same for the one logger that has [claimed](super::living::claim_layer) it for calls by a
    /// layer.
    static LAYER: Producer = const { Producer::new() };
    /// The same for one of the loggers that this thread's calls name: as a rule there is no other.
    static NAMED: Producer = const { Producer::new() };
}

/// This thread's producer for the global logger.
#[inline(always)]
pub(super) fn global<'a>() -> &'a Producer {
    // A closure that did more would not be inlined into the call.
    let producer = GLOBAL.with(std::ptr::from_ref::<Producer>);
    // SAFETY: (T2) without a destructor it lives as long as its thread, and `&Producer` is not Send.
    unsafe { &*producer }
}

/// This thread's producer for the logger that has claimed this way.
#[cfg(feature = "tracing")]
#[inline(always)]
pub(super) fn layer<'a>() -> &'a Producer {
    let producer = LAYER.with(std::ptr::from_ref::<Producer>);
    // SAFETY: (T2) as in `global`.
    unsafe { &*producer }
}

/// This thread's producer for one of the loggers that its calls name.
#[inline(always)]
pub(super) fn named<'a>() -> &'a Producer {
    let producer = NAMED.with(std::ptr::from_ref::<Producer>);
    // SAFETY: (T2) as in `global`.
    unsafe { &*producer }
}

/// Calls `job` with each of this thread's producers for loggers that are not named.
pub(super) fn for_unnamed(mut job: impl FnMut(&Producer)) {
    GLOBAL.with(&mut job);
    LAYER.with(&mut job);
    recorder::with_producer(job);
}

/// Turns this thread off in a forked child: every call takes the cold way, which sees the fork.
pub(super) fn turn_off() {
    for_unnamed(Producer::detach);
    named().detach();
}

/// Says whether this thread is in a span of the logger with this number, to those of its producers
/// that ask nobody else.
pub(super) fn mark(serial: u32, in_span: bool) {
    for producer in [global(), named()] {
        if producer.owner() == serial {
            producer.set_marked(in_span);
        }
    }
}
