//! Tests of the ring from within: stopped producers, wrapped positions, layout.

use super::core::{Core, Taker};
use super::position::Refusal;
use super::{BackPressurePolicy, LockFreeRingBuffer, PushError};
