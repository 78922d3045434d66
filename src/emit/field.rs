//! Field: markers that say how a value becomes text, under the names that tracing gives them.

use std::fmt;

use super::raw::{Format, Formatted};
use super::value::Value;

/// A field that is declared and has no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Empty;

/// Logs a value as its `Display` writes it; `%x` is short for it.
#[derive(Clone)]
pub struct DisplayValue<T: fmt::Display>(T);

/// Logs a value as its `Debug` writes it; `?x` is short for it.
#[derive(Clone)]
pub struct DebugValue<T: fmt::Debug>(T);

/// Logs `value` as its `Display` writes it.
///
/// # Examples
///
/// ```
/// let path = std::path::Path::new("/tmp");
/// ttlog::info!(path = ttlog::field::display(path.display()));
/// ttlog::info!(path = %path.display()); // the same
/// ```
#[inline(always)]
pub fn display<T: fmt::Display>(value: T) -> DisplayValue<T> {
    DisplayValue(value)
}

/// Logs `value` as its `Debug` writes it.
#[inline(always)]
pub fn debug<T: fmt::Debug>(value: T) -> DebugValue<T> {
    DebugValue(value)
}

impl<T: fmt::Display> fmt::Debug for DisplayValue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T: fmt::Display> fmt::Display for DisplayValue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T: fmt::Debug> fmt::Debug for DebugValue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T: fmt::Display> Format for &DisplayValue<T> {
    #[inline]
    fn format(self, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "{}", self.0)
    }
}

impl<T: fmt::Debug> Format for &DebugValue<T> {
    #[inline]
    fn format(self, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "{:?}", self.0)
    }
}

impl Value for Empty {
    type Raw<'a> = Self;
    #[inline(always)]
    fn raw(&self) -> Self {
        Self
    }
}

impl<T: fmt::Display> Value for DisplayValue<T> {
    type Raw<'a>
        = Formatted<&'a Self>
    where
        Self: 'a;
    #[inline(always)]
    fn raw(&self) -> Formatted<&Self> {
        Formatted(self)
    }
}

impl<T: fmt::Debug> Value for DebugValue<T> {
    type Raw<'a>
        = Formatted<&'a Self>
    where
        Self: 'a;
    #[inline(always)]
    fn raw(&self) -> Formatted<&Self> {
        Formatted(self)
    }
}
