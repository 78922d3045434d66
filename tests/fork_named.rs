//! Fork: a child that starts its parent's loggers anew logs to the logger that its statements name,
//! by a filter of its own (R37).
#![expect(unsafe_code, reason = "forks, and waits for the child")]

mod shown;

use shown::{LONG, records};
use ttlog::{Builder, Handle};

fn statements(logger: &Handle, who: &str) {
    ttlog::info!(logger: logger, "info from {}", who);
    ttlog::warn!(logger: logger, "warn from {}", who);
}

#[test]
fn r37_a_child_names_its_parent_s_logger_and_sets_its_filter() {
    let dir = tempfile::tempdir().unwrap();
    let logger = Builder::new(dir.path()).filter("info").build().unwrap();
    statements(&logger, "the parent");
    // SAFETY: the child goes on with this thread alone, then ends.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        statements(&logger, "a child that is lost");
        let mut right = ttlog::reinit_after_fork().is_ok();
        statements(&logger, "the child");
        right &= logger.set_filter("warn", None).is_ok();
        statements(&logger, "the filtered child");
        right &= logger.shutdown(LONG).is_ok();
        statements(&logger, "the ended child");
        // SAFETY: ends the child without its parent's destructors.
        unsafe { libc::_exit(if right { 0 } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: a child of this test, and a number of its own.
    unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert_eq!(status, 0, "in the child");
    statements(&logger, "the parent again");
    logger.shutdown(LONG).unwrap();
    let records = records(dir.path());
    let mut told: Vec<_> = records.iter().map(|it| it.message().into_owned()).collect();
    told.sort();
    let of = |who: &str| [format!("info from {who}"), format!("warn from {who}")];
    let mut all = [of("the parent"), of("the child"), of("the parent again")].concat();
    all.push("warn from the filtered child".into());
    all.sort();
    assert_eq!(told, all);
}
