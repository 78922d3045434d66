//! Metadata: what is known of a statement when it is compiled.

use super::filter::Subject;
use crate::record::Level;

/// What is known of a statement when it is compiled.
#[derive(Debug)]
#[expect(missing_docs, reason = "made by macros only; named as in `record::Definition`")]
pub struct Metadata {
    pub level: Level,
    /// True for a statement that opens spans.
    pub is_span: bool,
    pub name: &'static str,
    pub target: &'static str,
    pub file: &'static str,
    pub line: u32,
    pub module: &'static str,
    pub fields: &'static [FieldName],
    pub template: Option<&'static str>,
    /// Names of the template's arguments, empty for positional ones.
    pub arguments: &'static [&'static str],
}

/// A field's name as the macro saw it.
#[derive(Debug, Clone, Copy)]
pub enum FieldName {
    /// Identifiers with dots, perhaps with blanks between and `r#` before them.
    Path(&'static str),
    /// Any text.
    Text(&'static str),
}

impl Metadata {
    /// True when events of the statement have a field of this name.
    pub(crate) fn has_field(&self, name: &str) -> bool {
        self.fields.iter().any(|field| field.to_name() == name)
    }

    /// Tells a filter what it is asked about.
    pub(crate) fn with_subject<R>(&self, job: impl FnOnce(&Subject<'_>) -> R) -> R {
        let Self { target, name, level, is_span, .. } = *self;
        let has = |name: &str| self.has_field(name);
        job(&Subject { target, name, level, is_span, has: &has })
    }
}

impl FieldName {
    pub(super) fn to_name(self) -> String {
        match self {
            Self::Path(path) => path.split('.').map(clean).collect::<Vec<_>>().join("."),
            Self::Text(text) => text.to_owned(),
        }
    }
}

/// An identifier without blanks around it and without the mark of a raw one.
pub(super) fn clean(name: &str) -> String {
    let name = name.trim();
    name.strip_prefix("r#").unwrap_or(name).to_owned()
}
