//! Panics: logs each, brings it to the disk within a bound, has flight recorders dumped, and calls
//! the hook that was there.

use std::backtrace::Backtrace;
use std::cell::Cell;
use std::fmt::Write;
use std::panic::PanicHookInfo;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{GLOBAL, RUNNING};
use crate::emit::callsite::{Callsite, FieldName, Metadata};
use crate::emit::{emit_message, field};
use crate::lane::{process, thread};
use crate::notice;
use crate::record::Level;
use crate::scribe::progress::Ask;

/// How long a panic waits for the disk.
const FLUSH_WAIT: Duration = Duration::from_secs(1);
/// How long it waits for a flight recorder's dump.
const DUMP_WAIT: Duration = Duration::from_secs(2);

static INSTALLED: Once = Once::new();
/// The last panic waited in vain: the next does not wait, until one is answered again.
static WAITED_IN_VAIN: AtomicBool = AtomicBool::new(false);

/// The statement that all panics are logged by.
static SITE: Callsite = Callsite::new(Metadata {
    is_span: false,
    level: Level::Error,
    name: "panic",
    target: "panic",
    file: "",
    line: 0,
    module: "",
    fields: &[
        FieldName::Path("panic.file"),
        FieldName::Path("panic.line"),
        FieldName::Path("panic.column"),
        FieldName::Path("panic.thread"),
        FieldName::Path("backtrace"),
    ],
    template: None,
    arguments: &[],
});

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Installs the hook, once in a process.
pub(super) fn install() {
    if std::thread::panicking() {
        notice::say(
            "panics are not logged: a logger that is started while its thread panics may \
                     not change the panic hook",
        );
        return;
    }
    INSTALLED.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            // The logger's own threads log nothing, and a hook that panics is not entered again.
            if !thread::is_internal() && !INSIDE.replace(true) {
                tell(info);
                INSIDE.set(false);
            }
            before(info);
        }));
    });
}

/// Logs a panic, then has the recorder of each logger dumped, where the panic is by then.
fn tell(info: &PanicHookInfo<'_>) {
    if process::is_forked() {
        return;
    }
    // A thread that panics while it starts or ends a logger may have the lock.
    let running = RUNNING.try_lock().map(|running| running.clone()).unwrap_or_default();
    let recorders: Vec<_> = running.iter().filter_map(|inner| inner.begin_panic()).collect();
    log(info);
    recorders.iter().for_each(|panicking| panicking.dump(DUMP_WAIT));
}

fn log(info: &PanicHookInfo<'_>) {
    let Some(inner) = wanted() else { return };
    let payload = info.payload();
    let message = payload.downcast_ref::<&str>().copied();
    let message = message.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let message = message.unwrap_or("Box<dyn Any>");
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("");
    let (file, line, column) =
        info.location().map_or(("", 0, 0), |at| (at.file(), at.line(), at.column()));
    let backtrace = Backtrace::force_capture();
    let backtrace = field::display(backtrace);
    if let Some(to) = SITE.enabled() {
        let fields = ((((((), &file), &line), &column), &thread), &backtrace);
        let write = |out: &mut dyn Write| write!(out, "panicked: {message}");
        emit_message::<false, _, _, _, _>(&SITE, to, fields, (), write);
    }
    // ord: Relaxed, a hint.
    let wait = if WAITED_IN_VAIN.load(Ordering::Relaxed) { Duration::ZERO } else { FLUSH_WAIT };
    let ticket = inner.ask(Ask::Flush);
    let answered = inner.progress.wait(ticket, wait).is_ok();
    // ord: Relaxed, a hint.
    WAITED_IN_VAIN.store(!answered, Ordering::Relaxed);
}

/// The global logger, if it was started to log panics, or with a flight recorder.
fn wanted() -> Option<std::sync::Arc<super::Inner>> {
    if process::is_forked() {
        return None;
    }
    // A thread that panics while it starts or ends a logger has the lock.
    let global = GLOBAL.try_lock()?.clone()?;
    let wants = global.config.log_panics || global.recorder.get().is_some();
    (wants && !global.is_ended()).then_some(global)
}
