//! Probe: makes rings with what the kernel has, and says why it cannot.
#![expect(unsafe_code, reason = "queues entries without memory; proof at the block")]

use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::time::Duration;

use io_uring::{Builder, IoUring, Probe, cqueue, opcode, squeue, types};

use super::super::{Error, ErrorKind};
use super::core::LEAKED;

/// Operations whose memory was leaked, since the start of the process, because the kernel did not
/// end them in time when their ring was dropped. Not zero only after a disk or device hung.
#[must_use]
pub fn leaked_operations() -> u64 {
    LEAKED.load(Ordering::Relaxed) // ord: Relaxed, a counter
}

/// Who may call into a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// One thread at a time.
    Movable,
    /// The thread that made it.
    OneThread,
}

/// What a ring is made with, best first; each needs a newer kernel than the next.
type Flags = fn(&mut Builder<squeue::Entry, cqueue::Entry>);
const ONE_THREAD: &[(&str, Flags)] = &[
    ("DEFER_TASKRUN", |b| {
        b.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag();
    }),
    ("SINGLE_ISSUER", |b| {
        b.setup_single_issuer().setup_coop_taskrun().setup_taskrun_flag();
    }),
    ("COOP_TASKRUN", |b| {
        b.setup_coop_taskrun().setup_taskrun_flag();
    }),
    ("plain", |_| {}),
];
const MOVABLE: &[(&str, Flags)] = &[("plain", |_| {})];

/// Makes a ring, as good as the kernel has it, and lets an operation pass through it.
pub(super) fn make(entries: u32, mode: Mode, sqpoll: Option<Duration>) -> Result<IoUring, Error> {
    let ladder = if mode == Mode::OneThread { ONE_THREAD } else { MOVABLE };
    if let Some(idle) = sqpoll
        && let Ok(ring) = set_up(entries, &MOVABLE[0].1, Some(idle))
        && let Ok(ring) = check(ring)
    {
        return Ok(ring);
    }
    let mut refused = None;
    for (_, flags) in ladder {
        match set_up(entries, flags, None) {
            Ok(ring) => return check(ring),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => refused = Some(error),
            Err(error) => return Err(explain(&error)),
        }
    }
    Err(refused.map_or_else(|| Error::os(libc::EINVAL), |error| explain(&error)))
}

/// The ladder's step that a ring for one thread gets.
pub(in super::super) fn probe() -> Result<&'static str, Error> {
    for (name, flags) in ONE_THREAD {
        match set_up(8, flags, None) {
            Ok(ring) => return check(ring).map(|_| *name),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
            Err(error) => return Err(explain(&error)),
        }
    }
    Err(Error::os(libc::EINVAL))
}

fn set_up(entries: u32, flags: &Flags, sqpoll: Option<Duration>) -> std::io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder.setup_clamp();
    if let Some(idle) = sqpoll {
        builder.setup_sqpoll(u32::try_from(idle.as_millis()).unwrap_or(u32::MAX));
    }
    flags(&mut builder);
    builder.build(entries.max(1))
}

fn unsupported(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::Unsupported(why.into()))
}

/// Says what a refused set-up means, and the way out.
fn explain(error: &std::io::Error) -> Error {
    let why = match error.raw_os_error() {
        Some(libc::ENOSYS) => "ENOSYS: the kernel has no io_uring, or a seccomp filter hides it; \
             use Linux 5.11 or newer, or allow io_uring_setup in the container's profile"
            .to_owned(),
        Some(libc::EPERM | libc::EACCES) => match disabled() {
            Some(level @ ("1" | "2")) => format!(
                "EPERM: sysctl kernel.io_uring_disabled is {level}; set it to 0 to allow io_uring"
            ),
            _ => "EPERM: a seccomp filter or security module forbids io_uring_setup; allow it in \
                 the container's profile"
                .to_owned(),
        },
        Some(libc::ENOMEM) => format!(
            "ENOMEM: a ring needs locked memory, and RLIMIT_MEMLOCK is {}; raise it (ulimit -l, \
             LimitMEMLOCK=)",
            memlock()
        ),
        Some(libc::EMFILE | libc::ENFILE) => {
            "EMFILE: no descriptor is left for a ring; raise ulimit -n".to_owned()
        }
        _ => format!("io_uring_setup failed: {error}"),
    };
    unsupported(why)
}

fn disabled() -> Option<&'static str> {
    let text = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok()?;
    ["0", "1", "2"].into_iter().find(|level| *level == text.trim())
}

fn memlock() -> String {
    match rustix::process::getrlimit(rustix::process::Resource::Memlock).current {
        Some(bytes) => format!("{bytes} bytes"),
        None => "unlimited".into(),
    }
}

/// Lets an operation pass, and looks whether everything that is needed is there.
fn check(mut ring: IoUring) -> Result<IoUring, Error> {
    if !ring.params().is_feature_nodrop() || !ring.params().is_feature_ext_arg() {
        return Err(unsupported("the kernel's io_uring is older than Linux 5.11"));
    }
    let refused = |error: std::io::Error| {
        unsupported(format!(
            "io_uring_enter is refused although io_uring_setup is not ({error}); allow both in \
             the container's profile"
        ))
    };
    let result = pass(&mut ring, opcode::Nop::new().build()).map_err(refused)?;
    if result != 0 {
        return Err(unsupported(format!("an empty operation failed with {result}")));
    }
    static MISSING: OnceLock<Option<&'static str>> = OnceLock::new();
    let missing = match MISSING.get() {
        Some(missing) => *missing,
        None => {
            let missing = missing(&mut ring)?;
            *MISSING.get_or_init(|| missing)
        }
    };
    match missing {
        Some(name) => Err(unsupported(format!("the kernel's io_uring has no {name}"))),
        None => Ok(ring),
    }
}

/// The first operation that the kernel does not have.
fn missing(ring: &mut IoUring) -> Result<Option<&'static str>, Error> {
    const NEEDED: &[(u8, &str)] = &[
        (opcode::Read::CODE, "IORING_OP_READ"),
        (opcode::Write::CODE, "IORING_OP_WRITE"),
        (opcode::Fsync::CODE, "IORING_OP_FSYNC"),
        (opcode::Accept::CODE, "IORING_OP_ACCEPT"),
        (opcode::Connect::CODE, "IORING_OP_CONNECT"),
        (opcode::Send::CODE, "IORING_OP_SEND"),
        (opcode::Recv::CODE, "IORING_OP_RECV"),
        (opcode::OpenAt::CODE, "IORING_OP_OPENAT"),
        (opcode::Close::CODE, "IORING_OP_CLOSE"),
        (opcode::Timeout::CODE, "IORING_OP_TIMEOUT"),
        (opcode::PollAdd::CODE, "IORING_OP_POLL_ADD"),
        (opcode::AsyncCancel::CODE, "IORING_OP_ASYNC_CANCEL"),
    ];
    let mut probe = Probe::new();
    if ring.submitter().register_probe(&mut probe).is_ok() {
        return Ok(NEEDED.iter().find(|(code, _)| !probe.is_supported(*code)).map(|(_, name)| *name));
    }
    // Where registering is forbidden, an operation on no descriptor tells: EINVAL is what a kernel
    // says of one that it does not know, EBADF of one that it does.
    let read = opcode::Read::new(types::Fd(-1), std::ptr::null_mut(), 0).build();
    match pass(ring, read)? {
        errno if errno == -libc::EBADF => Ok(None),
        _ => Ok(Some("IORING_OP_READ")),
    }
}

/// Lets one entry that names no memory pass through a ring that nobody else has yet.
fn pass(ring: &mut IoUring, entry: squeue::Entry) -> std::io::Result<i32> {
    // SAFETY: the entry points to no memory.
    let pushed = unsafe { ring.submission().push(&entry) };
    pushed.map_err(|_| std::io::Error::other("the new queue is full"))?;
    loop {
        match ring.submit_and_wait(1) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            Ok(_) => {}
        }
        if let Some(entry) = ring.completion().next() {
            return Ok(entry.result());
        }
    }
}

#[cfg(test)]
mod tests {
    use io_uring::register::Restriction;

    use super::*;

    /// A ring that is allowed some operations alone is what an older kernel is.
    #[test]
    fn a_missing_operation_is_named() {
        let mut builder = IoUring::builder();
        builder.setup_r_disabled();
        let Ok(mut ring) = builder.build(8) else { return println!("not run: no io_uring") };
        let mut allowed = [Restriction::sqe_op(opcode::Nop::CODE)];
        ring.submitter().register_restrictions(&mut allowed).unwrap();
        ring.submitter().register_enable_rings().unwrap();
        assert_eq!(missing(&mut ring).unwrap(), Some("IORING_OP_READ"));
        // And a whole one has all that is needed.
        let mut whole = set_up(8, &MOVABLE[0].1, None).unwrap();
        assert_eq!(missing(&mut whole).unwrap(), None);
    }
}
