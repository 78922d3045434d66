//! Event: the four workloads and the values that fill them.

use std::hint::black_box;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::logger::Producer;

/// A text that the compiler may not take for a constant.
const TEXT: &str = "hello world";
const PATH: &str = "/api/v1/orders";
/// Values of `x` and `user_id` lie below this.
const VALUE_MAX: u64 = 1_000_000;

/// What is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Workload {
    /// `x={}` with a u64.
    OneU64,
    /// `{}` with "hello world" as an argument that is no constant.
    OneStr,
    /// `{} {} {}` with a u64, an f64 and that string.
    Mixed,
    /// `request done` with the fields user_id, path, latency and ok.
    Structured,
}

impl Workload {
    /// Name on the command line and in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::OneU64 => "one_u64",
            Self::OneStr => "one_str",
            Self::Mixed => "mixed",
            Self::Structured => "structured",
        }
    }

    /// The sum of the numbers that the first `events` events of a thread carry, as a reader of the
    /// output must find it; 0 where events carry none.
    pub fn checksum(self, thread: u64, events: u64) -> u64 {
        if self == Self::OneStr {
            return 0;
        }
        let mut values = Values::new(thread);
        (0..events).fold(0, |sum: u64, _| sum.wrapping_add(values.draw().number))
    }
}

/// One kind of event, chosen when the measuring loop is compiled.
pub trait Event {
    /// Logs the next event.
    fn emit<P: Producer>(producer: &mut P, values: &mut Values);
}

/// [`Workload::OneU64`].
#[derive(Debug)]
pub struct OneU64;
/// [`Workload::OneStr`].
#[derive(Debug)]
pub struct OneStr;
/// [`Workload::Mixed`].
#[derive(Debug)]
pub struct Mixed;
/// [`Workload::Structured`].
#[derive(Debug)]
pub struct Structured;

impl Event for OneU64 {
    #[inline(always)]
    fn emit<P: Producer>(producer: &mut P, values: &mut Values) {
        producer.one_u64(black_box(values.draw().number));
    }
}

impl Event for OneStr {
    #[inline(always)]
    fn emit<P: Producer>(producer: &mut P, values: &mut Values) {
        values.draw();
        producer.one_str(black_box(TEXT));
    }
}

impl Event for Mixed {
    #[inline(always)]
    fn emit<P: Producer>(producer: &mut P, values: &mut Values) {
        let drawn = values.draw();
        producer.mixed(black_box(drawn.number), black_box(drawn.float()), black_box(TEXT));
    }
}

impl Event for Structured {
    #[inline(always)]
    fn emit<P: Producer>(producer: &mut P, values: &mut Values) {
        let drawn = values.draw();
        producer.structured(
            black_box(drawn.number),
            black_box(PATH),
            black_box(drawn.float()),
            black_box(drawn.bits & 1 == 0),
        );
    }
}

/// Pseudo-random numbers, the same for every run of a thread's number.
#[derive(Debug)]
pub struct Values {
    state: u64,
}

impl Values {
    /// Starts the row of the thread with this number.
    pub fn new(thread: u64) -> Self {
        Self { state: thread.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d }
    }

    #[inline(always)]
    fn draw(&mut self) -> Drawn {
        self.state =
            self.state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let bits = self.state >> 32;
        Drawn { bits, number: (bits * VALUE_MAX) >> 32 }
    }
}

struct Drawn {
    bits: u64,
    number: u64,
}

impl Drawn {
    /// A float with three decimals at most: short to print, which is kind to those who print it.
    #[inline(always)]
    fn float(&self) -> f64 {
        (self.bits & 0xffff) as f64 * 0.125
    }
}
