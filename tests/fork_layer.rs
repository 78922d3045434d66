//! Fork: a child that starts its parent's loggers anew logs through the layers that the parent made
//! (R37).
#![cfg(feature = "tracing")]
#![expect(unsafe_code, reason = "forks, and waits for the child")]

mod shown;

use shown::{LONG, records};
use tracing_subscriber::prelude::*;
use ttlog::Handle;

/// Runs `job` in a child that has started anew; true when that, and the job, went well.
fn in_child(job: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child goes on with this thread alone, then ends.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        tracing::info!("counted as lost");
        let right = ttlog::reinit_after_fork().is_ok() && job();
        // SAFETY: ends the child without its parent's destructors.
        unsafe { libc::_exit(if right { 0 } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: a child of this test, and a number of its own.
    unsafe { libc::waitpid(pid, &raw mut status, 0) };
    status == 0
}

fn child(handles: &[&Handle; 2]) -> bool {
    tracing::info!(child = 1, "from a child");
    tracing::info_span!("span", child = 1).in_scope(|| tracing::warn!("in a span"));
    let grandchild = in_child(|| {
        tracing::info!("from a grandchild");
        handles.iter().all(|handle| handle.shutdown(LONG).is_ok())
    });
    let thread = std::thread::spawn(|| tracing::info!("from a child's thread"));
    thread.join().is_ok() && grandchild && handles.iter().all(|it| it.shutdown(LONG).is_ok())
}

#[test]
fn r37_a_child_that_starts_anew_logs_through_its_parent_s_layers() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
    let (first, one) = ttlog::layer(dirs[0].path()).build().expect("a logger");
    let (second, other) = ttlog::layer(dirs[1].path()).filter("warn").build().expect("another");
    let _default = tracing_subscriber::registry().with(first).with(second).set_default();
    let global = tracing::dispatcher::get_default(Clone::clone);
    tracing::dispatcher::set_global_default(global).expect("none was set");
    let held = tracing::info_span!("held over the fork").entered();
    tracing::info!("from the parent");
    assert!(in_child(|| child(&[&one, &other])), "in the child");
    tracing::info!("from the parent again");
    drop(held);
    for handle in [&one, &other] {
        assert_eq!(handle.stats().lost(), 0);
        handle.shutdown(LONG).expect("a disk that answers");
    }
    let told = |n: usize| {
        let records = records(dirs[n].path());
        let span = |r: &ttlog::view::Record| r.spans().last().map(|it| it.name.clone());
        let mut told: Vec<_> = records
            .iter()
            .map(|r| (r.message().into_owned(), span(r).unwrap_or_default()))
            .collect();
        told.sort();
        told
    };
    let expected = [
        ("from a child", ""),
        ("from a child's thread", ""),
        ("from a grandchild", ""),
        ("from the parent", "held over the fork"),
        ("from the parent again", "held over the fork"),
        ("in a span", "span"),
    ];
    let expected = expected.map(|(message, span)| (message.to_owned(), span.to_owned()));
    assert_eq!(told(0), expected);
    assert_eq!(told(1), [("in a span".to_owned(), String::new())]);
}
