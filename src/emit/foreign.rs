//! Foreign: the statements of log, whose places are known only when they log.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

#[cfg(feature = "log")]
use super::callsite::{Callsite, FieldName, Metadata};
#[cfg(feature = "log")]
use super::sites::{self, Installed};
use super::table::Table;
use super::told::{Statement, Static};
#[cfg(feature = "log")]
use crate::lane::process;
use crate::record::{Level, Role};

/// Statements that are told apart: a program whose targets are made at run time could have any
/// number.
const STATEMENTS_MAX: usize = 1 << 14;

/// Where a record of log comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Origin<'a> {
    pub(crate) level: Level,
    pub(crate) target: &'a str,
    pub(crate) file: &'a str,
    pub(crate) line: u32,
    pub(crate) module: &'a str,
}

/// A statement of log.
#[derive(Debug)]
pub(crate) struct Foreign {
    pub(crate) statement: Statement,
    /// Whether the global logger wants it.
    #[cfg(feature = "log")]
    pub(crate) callsite: Callsite,
}

impl Foreign {
    fn new(origin: &Origin<'_>, names: &[&str]) -> Self {
        let message = std::iter::once((String::new(), Role::Message));
        let fields = names.iter().map(|name| ((*name).to_owned(), Role::Field));
        let statement = Statement::new(Static {
            level: origin.level,
            target: origin.target.to_owned(),
            name: "log event".to_owned(),
            file: origin.file.to_owned(),
            line: origin.line,
            module: origin.module.to_owned(),
            fields: message.chain(fields).collect(),
        });
        Self {
            statement,
            #[cfg(feature = "log")]
            callsite: Callsite::new(Metadata {
                level: origin.level,
                is_span: false,
                name: "",
                target: keep(origin.target),
                file: "",
                line: 0,
                module: "",
                // What filters ask for; the statement has them too.
                fields: names
                    .iter()
                    .map(|name| FieldName::Text(keep(name)))
                    .collect::<Vec<_>>()
                    .leak(),
                template: None,
                arguments: &[],
            }),
        }
    }
}

/// Kept as long as the table, that is, as long as the process.
#[cfg(feature = "log")]
fn keep(text: &str) -> &'static str {
    Box::leak(text.into())
}

static STATEMENTS: Table<Foreign> = Table::new();

/// The statement of this place whose records have a message, field 0, and fields of these names;
/// `None` when there are too many, or on a thread that is inside the list of them.
pub(crate) fn statement(origin: &Origin<'_>, names: &[&str]) -> Option<&'static Foreign> {
    statement_among(STATEMENTS_MAX, origin, names)
}

/// The statement of records with a message alone whose places are too many to tell them apart.
pub(crate) fn of_anywhere(level: Level) -> Option<&'static Foreign> {
    let anywhere = Origin { level, target: "log", file: "", line: 0, module: "" };
    statement_among(usize::MAX, &anywhere, &[])
}

fn statement_among(max: usize, origin: &Origin<'_>, names: &[&str]) -> Option<&'static Foreign> {
    let mut hasher = DefaultHasher::new();
    (origin, names).hash(&mut hasher);
    let hash = hasher.finish();
    let is_it = |foreign: &Foreign| {
        let always = foreign.statement.always();
        let here = Origin {
            level: always.level,
            target: &always.target,
            file: &always.file,
            line: always.line,
            module: &always.module,
        };
        let fields = always.fields[1..].iter().map(|(name, _)| &**name);
        here == *origin && fields.eq(names.iter().copied())
    };
    let make = || Foreign::new(origin, names);
    let found = STATEMENTS.find(hash, is_it);
    found.or_else(|| STATEMENTS.find_or_add(hash, max, is_it, make))
}

/// Calls `hook` now and whenever what the global logger wants changes, with the least severe level
/// that is wanted. It must not log.
#[cfg(feature = "log")]
pub(crate) fn on_change(hook: fn(Option<Level>)) {
    sites::with_installed(|installed| {
        let _ = sites::ON_CHANGE.set(hook);
        hook(installed.and_then(Installed::max_level));
    });
}

/// True when the global logger or its recorder wants events of this target and level; false on a thread that is in
/// the list of callsites already, and in a forked child.
#[cfg(feature = "log")]
pub(crate) fn wants(target: &str, level: Level) -> bool {
    let wants = |installed: Option<&Installed>| installed.is_some_and(|it| it.wants(target, level));
    !process::is_forked() && sites::with_installed(wants).unwrap_or(false)
}
