//! Directive: one part of a filter, and what it speaks of.

use std::fmt;

use super::value::Wanted;
use super::{Subject, is_within};
use crate::record::Level;

/// One directive: of events and spans (*static*), of what is inside of spans (*granting*), or, with
/// names of fields alone, of both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Directive {
    /// Empty for every target.
    pub(super) target: String,
    /// The name of a span.
    pub(super) span: Option<String>,
    /// Fields that an event or span must have, sorted by name.
    pub(super) fields: Vec<Demand>,
    /// The least severe level; `None` for none at all.
    pub(super) level: Option<Level>,
}

/// A field, and the value that it must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Demand {
    pub(super) name: String,
    pub(super) value: Option<Wanted>,
}

impl Directive {
    pub(super) fn of(target: &str, level: Option<Level>) -> Self {
        Self { target: target.to_owned(), span: None, fields: Vec::new(), level }
    }

    /// True when it says of a statement, from what the compiler knew, whether it is wanted.
    pub(super) fn is_static(&self) -> bool {
        self.span.is_none() && self.fields.iter().all(|field| field.value.is_none())
    }

    /// True when it wants what happens inside of spans that it speaks of.
    pub(super) fn grants(&self) -> bool {
        self.span.is_some() || !self.fields.is_empty()
    }

    /// True when both speak of the same.
    pub(super) fn is_alike(&self, other: &Self) -> bool {
        self.target == other.target && self.span == other.span && self.fields == other.fields
    }

    /// True when it speaks of an event.
    pub(super) fn speaks_of(&self, target: &str, has: impl Fn(&str) -> bool) -> bool {
        self.is_static()
            && is_within(target, &self.target)
            && self.fields.iter().all(|field| has(&field.name))
    }

    /// True when it speaks of spans of this statement; which values they have decides then.
    pub(super) fn cares_about(&self, span: &Subject<'_>) -> bool {
        self.grants()
            && is_within(span.target, &self.target)
            && self.span.as_ref().is_none_or(|name| name == span.name)
            && self.fields.iter().all(|field| (span.has)(&field.name))
    }

    /// The values that it demands.
    pub(super) fn values(&self) -> impl Iterator<Item = (&str, &Wanted)> {
        let wanted = |field: &'_ Demand| field.value.is_some();
        let fields = self.fields.iter().filter(move |field| wanted(field));
        fields.filter_map(|field| Some((&*field.name, field.value.as_ref()?)))
    }

    /// Why it does not speak of an event that it nearly speaks of.
    pub(super) fn why_not(&self, target: &str) -> String {
        if !self.is_static() {
            return format!("`{self}` speaks of what is inside of such a span");
        }
        if !is_within(target, &self.target) {
            return format!("`{self}` speaks of {} and {}::…", self.target, self.target);
        }
        let names: Vec<_> = self.fields.iter().map(|field| &*field.name).collect();
        format!("`{self}` speaks of events with these fields alone: {}", names.join(", "))
    }
}

impl fmt::Display for Directive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.target)?;
        if self.grants() {
            write!(f, "[{}", self.span.as_deref().unwrap_or_default())?;
            for (i, field) in self.fields.iter().enumerate() {
                write!(f, "{}{}", if i == 0 { "{" } else { "," }, field.name)?;
                if let Some(value) = &field.value {
                    write!(f, "={value}")?;
                }
            }
            f.write_str(if self.fields.is_empty() { "]" } else { "}]" })?;
        }
        let is_bare = self.target.is_empty() && !self.grants();
        let level = self.level.map_or("off", Level::as_str).to_ascii_lowercase();
        write!(f, "{}{level}", if is_bare { "" } else { "=" })
    }
}
