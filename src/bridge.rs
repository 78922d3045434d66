//! Bridge: records of log go to the global logger.
//!
//! ```text
//! log::info!(…) ─► Bridge::log ─► emit/foreign: its statement ─► emit/told: its values ─► lane
//! ```
//!
//! A record of log says its place anew each time; the first one of a place makes a statement of it,
//! which is wanted or not as one of ttlog's own. `log::set_max_level` follows the filter, so that
//! what nobody wants does not even come here.

use std::time::Duration;

use log::kv::{Error as KvError, Key, Value, VisitSource, VisitValue};

use crate::emit::redact;
use crate::emit::foreign::{self, Foreign, Origin};
use crate::emit::told::{Values, What, with_values};
use crate::emit::callsite;
use crate::error::Error;
use crate::lane::process;
use crate::logger;
use crate::record::Level;

/// Names of key-values that are looked up without an allocation.
const NAMES: usize = 16;
/// How long `log::Log::flush` waits for the disk.
const FLUSH_WAIT: Duration = Duration::from_secs(5);

/// Sends the records of log to the logger that [`init`](crate::init) starts, before or after this
/// call, with their key-values, targets and places.
///
/// `log::max_level` follows the filter from now on.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), ttlog::Error> {
/// # let dir = tempfile::tempdir().expect("a directory");
/// let handle = ttlog::init(dir.path())?;
/// ttlog::bridge::init()?;
/// log::info!(user = 42, ok = true; "logged in");
/// # handle.shutdown(std::time::Duration::from_secs(5))?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// When log has a logger already.
pub fn init() -> Result<(), Error> {
    let taken = "log has a logger already; start one only, and call bridge::init once";
    log::set_logger(&Bridge).map_err(|_| Error::config(taken))?;
    foreign::on_change(|level| log::set_max_level(max_level(level)));
    Ok(())
}

#[derive(Debug)]
struct Bridge;

impl log::Log for Bridge {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        foreign::wants(metadata.target(), level_of(metadata.level()))
    }

    fn log(&self, record: &log::Record<'_>) {
        let origin = Origin {
            level: level_of(record.level()),
            target: record.target(),
            file: record.file().unwrap_or_default(),
            line: record.line().unwrap_or_default(),
            module: record.module_path().unwrap_or_default(),
        };
        let mut names = Names::default();
        // Visiting fails only when the visitor does.
        let _ = record.key_values().visit(&mut names);
        match names.with(|names| foreign::statement(&origin, names)) {
            Some(foreign) => put(foreign, origin.level, |values| {
                values.text(0, *record.args());
                let _ = record.key_values().visit(&mut Fields { values, next: 1 });
            }),
            None => put_plain(&origin, record),
        }
    }

    fn flush(&self) {
        if let Some(handle) = logger::global() {
            // log has no way to say that the disk did not answer; `health` does.
            let _ = handle.flush(FLUSH_WAIT);
        }
    }
}

/// Logs a record of a statement, if it is wanted.
fn put(foreign: &'static Foreign, level: Level, fill: impl FnOnce(&mut Values<'_>)) {
    use crate::emit::route::Route as _;
    let Some(to) = foreign.callsite.enabled() else { return };
    let result = with_values(&foreign.statement, |values| {
        fill(values);
        foreign.statement.record(What::Event, values, |record| to.push_record(record))
    });
    if result.is_err() {
        to.lose(level);
    }
}

/// Logs a record whose place cannot be told apart from others any more: its key-values as text.
#[cold]
fn put_plain(origin: &Origin<'_>, record: &log::Record<'_>) {
    struct Text(String);
    impl<'kvs> VisitSource<'kvs> for Text {
        fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), KvError> {
            self.0 += &match redact::is_secret(key.as_str()) {
                true => format!(" {key}={}", redact::REDACTED),
                false => format!(" {key}={value}"),
            };
            Ok(())
        }
    }
    if process::is_forked() {
        return callsite::count_forked(origin.target, origin.level);
    }
    if !foreign::wants(origin.target, origin.level) {
        return;
    }
    let Some(foreign) = foreign::of_anywhere(origin.level) else { return };
    let mut text = Text(format!("{}: {}", origin.target, record.args()));
    let _ = record.key_values().visit(&mut text);
    put(foreign, origin.level, |values| values.str(0, &text.0));
}

/// The names of a record's key-values.
#[derive(Debug, Default)]
struct Names<'kvs> {
    few: [&'kvs str; NAMES],
    n_few: usize,
    /// All of them, when there are more, or when one is not borrowed.
    many: Vec<String>,
}

impl<'kvs> VisitSource<'kvs> for Names<'kvs> {
    fn visit_pair(&mut self, key: Key<'kvs>, _: Value<'kvs>) -> Result<(), KvError> {
        match (key.to_borrowed_str(), self.few.get_mut(self.n_few)) {
            (Some(name), Some(place)) if self.many.is_empty() => {
                *place = name;
                self.n_few += 1;
            }
            _ => {
                if self.many.is_empty() {
                    self.many.extend(self.few[..self.n_few].iter().map(|&name| name.to_owned()));
                }
                self.many.push(key.as_str().to_owned());
            }
        }
        Ok(())
    }
}

impl Names<'_> {
    fn with<R>(&self, job: impl FnOnce(&[&str]) -> R) -> R {
        if self.many.is_empty() {
            return job(&self.few[..self.n_few]);
        }
        job(&self.many.iter().map(|name| &**name).collect::<Vec<_>>())
    }
}

/// Puts the values of key-values behind each other.
struct Fields<'v, 'a> {
    values: &'v mut Values<'a>,
    next: usize,
}

impl<'kvs> VisitSource<'kvs> for Fields<'_, '_> {
    fn visit_pair(&mut self, _: Key<'kvs>, value: Value<'kvs>) -> Result<(), KvError> {
        let field = self.next;
        self.next += 1;
        value.visit(OneValue { values: self.values, field })
    }
}

struct OneValue<'v, 'a> {
    values: &'v mut Values<'a>,
    field: usize,
}

macro_rules! visits {
    ($($visit:ident $put:ident $type:ty;)*) => { $(
        fn $visit(&mut self, value: $type) -> Result<(), KvError> {
            self.values.$put(self.field, value);
            Ok(())
        }
    )* };
}

impl<'v> VisitValue<'v> for OneValue<'_, '_> {
    visits! {
        visit_u64 u64 u64;
        visit_i64 i64 i64;
        visit_u128 u128 u128;
        visit_i128 i128 i128;
        visit_f64 f64 f64;
        visit_bool bool bool;
        visit_char char char;
        visit_str str &str;
        visit_error error &(dyn std::error::Error + 'static);
    }

    fn visit_borrowed_error(
        &mut self,
        value: &'v (dyn std::error::Error + 'static),
    ) -> Result<(), KvError> {
        self.visit_error(value)
    }

    fn visit_any(&mut self, value: Value<'_>) -> Result<(), KvError> {
        #[cfg(feature = "serde")]
        if self.values.nested(self.field, &value) {
            return Ok(());
        }
        self.values.text(self.field, format_args!("{value}"));
        Ok(())
    }

    fn visit_null(&mut self) -> Result<(), KvError> {
        Ok(()) // as `None` in ttlog's own macros
    }
}

fn level_of(level: log::Level) -> Level {
    match level {
        log::Level::Trace => Level::Trace,
        log::Level::Debug => Level::Debug,
        log::Level::Info => Level::Info,
        log::Level::Warn => Level::Warn,
        log::Level::Error => Level::Error,
    }
}

fn max_level(level: Option<Level>) -> log::LevelFilter {
    match level {
        None => log::LevelFilter::Off,
        Some(Level::Trace) => log::LevelFilter::Trace,
        Some(Level::Debug) => log::LevelFilter::Debug,
        Some(Level::Info) => log::LevelFilter::Info,
        Some(Level::Warn) => log::LevelFilter::Warn,
        Some(Level::Error) => log::LevelFilter::Error,
    }
}
