//! Site: a statement that opens spans, and the values that it gives them.

use std::sync::OnceLock;

use super::super::callsite::{Callsite, Metadata};
use super::super::redact;
use super::super::route::{Global, Local, LoggerRef};
use super::super::told::{Statement, Static, Values};
use super::super::value::Value;
use crate::record::Role;

/// A statement that opens spans. Each expansion of a macro has one as a `static`.
#[derive(Debug)]
pub struct SpanSite {
    /// Whether spans are wanted.
    callsite: Callsite,
    /// What its records say.
    statement: OnceLock<Statement>,
}

impl SpanSite {
    /// A statement that nobody has used.
    #[must_use]
    pub const fn new(metadata: Metadata) -> Self {
        Self { callsite: Callsite::new(metadata), statement: OnceLock::new() }
    }

    /// What the compiler knew.
    #[must_use]
    pub const fn metadata(&self) -> &Metadata {
        self.callsite.metadata()
    }

    /// The way to the global logger, when that wants this statement's spans.
    #[inline(always)]
    pub fn enabled(&'static self) -> Option<Global> {
        self.callsite.enabled()
    }

    /// The way to a logger that is named, when that wants this statement's spans.
    #[inline]
    pub fn enabled_for<'l, H>(&'static self, logger: &'l H) -> Option<Local<'l, H>>
    where
        H: LoggerRef + ?Sized,
    {
        self.callsite.enabled_for(logger)
    }

    pub(super) fn statement(&'static self) -> &'static Statement {
        self.statement.get_or_init(|| {
            let metadata = self.metadata();
            let fields = metadata.fields.iter().map(|name| (name.to_name(), Role::Field));
            // As in tracing, the message of a span is one field among others.
            let message = metadata.template.map(|_| ("message".to_owned(), Role::Field));
            Statement::new(Static {
                level: metadata.level,
                target: metadata.target.to_owned(),
                name: metadata.name.to_owned(),
                file: metadata.file.to_owned(),
                line: metadata.line,
                module: metadata.module.to_owned(),
                fields: fields.chain(message).collect(),
            })
        })
    }

    /// True when the message shows a value whose key is secret.
    pub(super) fn hides_message(&self) -> bool {
        redact::is_any() && redact::hides_message(self.metadata())
    }
}

/// The values of a span's fields, as the macro lists them: `(((), &a), &b)`.
pub trait Fields {
    /// Puts each value, and returns how many fields that are.
    fn tell(self, values: &mut Values<'_>) -> usize;
}

impl Fields for () {
    fn tell(self, _: &mut Values<'_>) -> usize {
        0
    }
}

impl<L: Fields, V: Value + ?Sized> Fields for (L, &V) {
    fn tell(self, values: &mut Values<'_>) -> usize {
        let at = self.0.tell(values);
        values.value(at, self.1);
        at + 1
    }
}
