//! Bare: the two that log nothing, the empty loop and the floor.

use std::hint::black_box;
use std::path::Path;

use anyhow::Result;

use super::{Logger, Producer};
use crate::floor::Floor;

/// Only makes the values.
#[derive(Debug)]
pub struct Empty;

impl Logger for Empty {
    type Producer<'a> = Self;

    fn start(_dir: &Path) -> Result<Self> {
        Ok(Self)
    }

    fn producer(&self) -> Self {
        Self
    }

    fn settle(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Does nothing: each event's values have been made, behind `black_box`, before they come here.
impl Producer for Empty {
    #[inline(always)]
    fn one_u64(&mut self, _x: u64) {}

    #[inline(always)]
    fn one_str(&mut self, _text: &str) {}

    #[inline(always)]
    fn mixed(&mut self, _x: u64, _y: f64, _text: &str) {}

    #[inline(always)]
    fn structured(&mut self, _user_id: u64, _path: &str, _latency: f64, _ok: bool) {}

    #[inline(always)]
    fn disabled(&mut self, _x: u64) {}
}

/// Reads the clock and copies into a buffer of the thread's own.
#[derive(Debug)]
pub struct Private;

impl Logger for Private {
    type Producer<'a> = FloorCalls;

    fn start(_dir: &Path) -> Result<Self> {
        Ok(Self)
    }

    fn producer(&self) -> FloorCalls {
        // The compiler must not know that nobody else looks into the buffer.
        FloorCalls(black_box(Floor::default()))
    }

    fn settle(&mut self) -> Result<()> {
        Ok(())
    }
}

/// One thread's private buffer.
#[derive(Debug)]
pub struct FloorCalls(Floor);

impl Producer for FloorCalls {
    #[inline(always)]
    fn one_u64(&mut self, x: u64) {
        self.0.one_u64(x);
    }

    #[inline(always)]
    fn one_str(&mut self, text: &str) {
        self.0.one_str(text);
    }

    #[inline(always)]
    fn mixed(&mut self, x: u64, y: f64, text: &str) {
        self.0.mixed(x, y, text);
    }

    #[inline(always)]
    fn structured(&mut self, user_id: u64, path: &str, latency: f64, ok: bool) {
        self.0.structured(user_id, path, latency, ok);
    }

    #[inline(always)]
    fn disabled(&mut self, _x: u64) {}
}
