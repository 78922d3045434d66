//! R16: io_uring forbidden or odd. Each variant runs the command and an example in a child in which
//! a seccomp filter, a limit or strace refuses something; the bytes on disk are the same.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]
#![expect(unsafe_code, reason = "a seccomp launcher: calls prctl and setrlimit before exec")]

mod rig;

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Output};

use ttlog::io::{IoFd, PinnedBuffer, Registry, Ring};

const SETUP: u32 = 425;
const ENTER: u32 = 426;
const REGISTER: u32 = 427;

/// Answers one system call of the child with an error, as a container's profile does.
fn deny(command: &mut Command, call: u32, errno: i32) {
    let statement = |code: u32, k: u32, jt, jf| libc::sock_filter { code: code as u16, jt, jf, k };
    let filter = [
        // The call's number; then this error for that one, and leave for all others.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, call, 0, 1),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | errno as u32, 0, 0),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let install = move || {
        let mut filter = filter;
        let program = libc::sock_fprog { len: 4, filter: filter.as_mut_ptr() };
        // SAFETY: two numbers.
        let no_new = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        // SAFETY: the program and its statements live until the call returns.
        let set = unsafe {
            libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program)
        };
        if no_new == 0 && set == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    };
    // SAFETY: the closure makes two system calls and allocates nothing.
    unsafe { command.pre_exec(install) };
}

fn doctor() -> PathBuf {
    rig::read::command().to_owned()
}

fn copy_program() -> PathBuf {
    rig::build(&["--example", "io_copy", "--features", "cli"], "examples/io_copy")
}

/// What `ttlog doctor` says about one thing.
fn finding(output: &Output, what: &str) -> serde_json::Value {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.into_iter().find(|line| line["what"] == what).unwrap_or_else(|| panic!("{output:?}"))
}

/// Runs doctor and the copy with something refused; the backend and the cause, both as told.
fn run(refuse: impl Fn(&mut Command)) -> (String, String) {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(doctor());
    command.args(["doctor", "-o", "json"]).arg(dir.path());
    refuse(&mut command);
    let told = command.output().unwrap();
    assert!(told.status.success(), "{told:?}");
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    let bytes: Vec<u8> = (0..3_000_001u32).map(|n| (n * 13 % 251) as u8).collect();
    std::fs::write(&from, &bytes).unwrap();
    let mut command = Command::new(copy_program());
    command.arg(&from).arg(&to).arg("auto");
    refuse(&mut command);
    let copied = command.output().unwrap();
    assert!(copied.status.success(), "{copied:?}");
    assert!(std::fs::read(&to).unwrap() == bytes, "the copy differs");
    let backend = finding(&told, "io")["value"].as_str().unwrap().to_owned();
    let used = String::from_utf8(copied.stdout).unwrap();
    assert!(used.starts_with(&backend), "doctor says {backend}, the copy says {used}");
    let why = finding(&told, "io_uring")["why"].as_str().unwrap().to_owned();
    (backend, why + finding(&told, "memlock")["why"].as_str().unwrap())
}

#[test]
fn whatever_is_refused_the_bytes_are_the_same_and_doctor_says_why() {
    if let Err(error) = Ring::new(2) {
        return println!("not run: {error}");
    }
    let cases = [
        ("nothing", 0, 0, "io_uring", ""),
        ("set-up, EPERM", SETUP, libc::EPERM, "portable", "EPERM"),
        ("set-up, ENOSYS", SETUP, libc::ENOSYS, "portable", "ENOSYS"),
        ("set-up, ENOMEM", SETUP, libc::ENOMEM, "portable", "RLIMIT_MEMLOCK"),
        ("enter alone", ENTER, libc::EPERM, "portable", "io_uring_enter is refused"),
        ("register alone", REGISTER, libc::EPERM, "io_uring", "memory cannot be registered"),
    ];
    for (name, call, errno, backend, cause) in cases {
        let (used, why) = run(|command| {
            if call > 0 {
                deny(command, call, errno);
            }
        });
        println!("R16, {name} refused: {used}. {why}");
        assert_eq!(used, backend, "{name}");
        assert!(why.contains(cause), "{name}: {why}");
    }
}

/// A flood is written whatever is refused; what is not as well as it might be is told.
#[test]
fn a_logger_writes_floods_whatever_is_refused_and_says_why() {
    if let Err(error) = Ring::new(2) {
        return println!("not run: {error}");
    }
    let cases = [
        ("nothing", 0, 0, "None"),
        ("registering, EPERM", REGISTER, libc::EPERM, "written without being registered"),
        ("locked memory", REGISTER, libc::ENOMEM, "written without being registered"),
        ("set-up, EPERM", SETUP, libc::EPERM, "EPERM"),
        ("enter alone", ENTER, libc::EPERM, "io_uring_enter is refused"),
    ];
    for (name, call, errno, cause) in cases {
        let mut rig = rig::Rig::new();
        let (mut command, run) = rig.command("do=asked threads=2 direct=1 rotate=1048576");
        if call > 0 {
            deny(&mut command, call, errno);
        }
        let mut running = rig::Running::new(command, run);
        running.line();
        for _ in 0..3 {
            running.ask("log 40000");
            assert_eq!(running.ask("flush 60000"), "flushed=true");
        }
        let stats = running.ask("stats");
        let reason = stats.split_once("io_reason=").unwrap().1;
        println!("{name} refused: {reason}");
        assert!(reason.contains(cause), "{name}: {stats}");
        let end = running.ask("quit");
        let _ = running.child.wait();
        let read = rig::read::read_back(&rig.dir());
        assert_eq!(read.wrong, [""; 0]);
        let tally = rig::compare(&rig::by_thread(&read), run, &rig.counts(run));
        assert_eq!((tally.read + rig::number(&end, "lost"), tally.returned), (240_000, 240_000));
    }
}

/// Who asks for io_uring by name hears at the start that there is none, and logs all the same.
#[test]
fn io_uring_that_was_asked_for_and_is_refused_is_one_clear_line() {
    if let Err(error) = Ring::new(2) {
        return println!("not run: {error}");
    }
    for (call, cause) in [(SETUP, "EPERM"), (ENTER, "io_uring_enter is refused"), (0, "")] {
        let mut rig = rig::Rig::new();
        let (mut command, run) = rig.command("do=log events=1000 threads=2 direct=1");
        command.env("TTLOG_IO", "uring");
        if call > 0 {
            deny(&mut command, call, libc::EPERM);
        }
        let outcome = rig::outcome(command);
        assert_eq!(outcome.number("lost"), 0, "{outcome:?}");
        let told: Vec<_> = outcome.stderr.lines().collect();
        println!("{told:?}");
        assert_eq!(told.len(), usize::from(call > 0), "{told:?}");
        let is_clear = |line: &&str| {
            line.contains("TTLOG_IO=uring") && line.contains(cause) && line.contains("portably")
        };
        assert!(told.iter().all(is_clear), "{told:?}");
        assert_eq!(rig::read::read_back(&rig.dir()).events.len(), 2000, "run {run}");
    }
}

/// `ttlog doctor` as another user, from a copy that this one can read.
fn doctor_of_nobody() -> (tempfile::TempDir, Command) {
    let program = tempfile::tempdir().unwrap();
    let copy = program.path().join("ttlog");
    std::fs::copy(doctor(), &copy).unwrap();
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(program.path(), readable).unwrap();
    let mut command = Command::new(copy);
    command.args(["doctor", "-o", "json"]).current_dir("/").uid(65_534).gid(65_534);
    (program, command)
}

/// The sysctl as it was, whatever happens meanwhile.
struct Sysctl(String);

impl Sysctl {
    const PATH: &str = "/proc/sys/kernel/io_uring_disabled";

    fn set(level: &str) -> Option<Self> {
        let before = std::fs::read_to_string(Self::PATH).ok()?;
        let this = Self(before);
        std::fs::write(Self::PATH, level).ok().map(|()| this)
    }
}

impl Drop for Sysctl {
    fn drop(&mut self) {
        let restored = std::fs::write(Self::PATH, &self.0);
        assert!(restored.is_ok(), "{} was {}", Self::PATH, self.0);
    }
}

/// Level 1 refuses io_uring to whoever has no CAP_SYS_ADMIN, so that programs of root go on; level 2,
/// which refuses it to all, is set with `IO_SYSCTL_ALL=1`:
///
/// ```text
/// cargo test --features cli --test io_denied sysctl -- --ignored --nocapture
/// ```
#[test]
#[ignore = "sets a sysctl of the whole machine for a moment; see above"]
fn the_sysctl_that_forbids_it_is_named() {
    if !rustix::process::getuid().is_root() || Ring::new(2).is_err() {
        return println!("not run: needs root, and io_uring");
    }
    let levels: &[&str] =
        if std::env::var_os("IO_SYSCTL_ALL").is_some() { &["1", "2"] } else { &["1"] };
    for level in levels {
        let (_program, mut command) = doctor_of_nobody();
        let Some(set) = Sysctl::set(level) else {
            return println!("not run: the sysctl cannot be set");
        };
        let output = command.output();
        let refused = Ring::new(2).is_err();
        drop(set);
        let output = output.unwrap();
        let (uring, backend) = (finding(&output, "io_uring"), finding(&output, "io"));
        println!("R16, sysctl {level}: {}. {}", backend["value"], uring["why"]);
        assert_eq!(backend["value"], "portable");
        let why = uring["why"].as_str().unwrap();
        assert!(why.contains(&format!("kernel.io_uring_disabled is {level}")), "{why}");
        assert_eq!(refused, *level == "2", "level 1 spares root");
    }
    assert!(Ring::new(2).is_ok(), "it is as it was");
}

/// RLIMIT_MEMLOCK charges the ring itself, but not root's: as another user.
#[test]
fn without_locked_memory_the_portable_way_is_taken() {
    if !rustix::process::getuid().is_root() {
        return println!("not run: needs root, to become another user");
    }
    let (_program, mut command) = doctor_of_nobody();
    let limit = || {
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the limit lives until the call returns.
        let set = unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const none) };
        if set == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    };
    // SAFETY: one system call.
    unsafe { command.pre_exec(limit) };
    let output = command.output().unwrap();
    let (uring, backend) = (finding(&output, "io_uring"), finding(&output, "io"));
    println!("R16, RLIMIT_MEMLOCK 0: {}. {}", backend["value"], uring["why"]);
    match backend["value"].as_str() {
        Some("portable") => assert!(uring["why"].as_str().unwrap().contains("RLIMIT_MEMLOCK")),
        // Kernels that charge rings to the cgroup have nothing to refuse.
        other => assert_eq!(other, Some("io_uring")),
    }
    assert_eq!(finding(&output, "memlock")["state"], "worse");
}

#[test]
fn one_place_is_queue_enough() {
    let Ok(ring) = Ring::new(1) else { return println!("not run: no io_uring") };
    assert_eq!(ring.capacity(), 1);
    let zero = IoFd::from(std::fs::File::open("/dev/zero").unwrap());
    let reads: Vec<_> = (0..100).map(|_| ring.read(&zero, vec![1; 8], 0)).collect();
    for read in reads {
        let (n, bytes) = ring.block_on(read);
        assert_eq!((n.unwrap(), bytes), (8, vec![0; 8]));
    }
}

/// RIG-SYS: the first set-up, with SQPOLL, is refused by strace; the ring goes without.
#[test]
fn without_sqpoll_the_ring_does_without() {
    const CHILD: &str = "IO_SQPOLL_CHILD";
    if std::env::var_os(CHILD).is_some() {
        let idle = std::time::Duration::from_millis(10);
        let ring = Ring::builder().entries(8).sqpoll(idle).build().unwrap();
        ring.block_on(ring.nop()).unwrap();
        return;
    }
    let own = std::env::current_exe().unwrap();
    for inject in [None, Some("inject=io_uring_setup:error=EPERM:when=1")] {
        let mut command = match inject {
            None => Command::new(&own),
            Some(inject) => {
                let mut strace = Command::new("strace");
                strace.args(["-f", "-o", "/dev/null", "-e", inject]).arg(&own);
                strace
            }
        };
        command.args(["--exact", "without_sqpoll_the_ring_does_without"]).env(CHILD, "1");
        match command.output() {
            Err(error) => println!("not run: strace: {error}"),
            Ok(output) => assert!(output.status.success(), "{inject:?}: {output:?}"),
        }
    }
}

/// Registering is refused to a child: plain buffers go on, and the refusal gives the buffer back.
#[test]
fn a_refused_registration_gives_the_buffer_back() {
    const CHILD: &str = "IO_REGISTER_CHILD";
    if std::env::var_os(CHILD).is_some() {
        let ring = Ring::new(8).unwrap();
        let buffer = PinnedBuffer::with_capacity_aligned(4096);
        let (buffer, error) = Registry::new(&ring).register_buffer(buffer).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
        let zero = IoFd::from(std::fs::File::open("/dev/zero").unwrap());
        assert_eq!(ring.block_on(ring.read(&zero, buffer, 0)).0.unwrap(), 4096);
        return;
    }
    if Ring::new(2).is_err() {
        return println!("not run: no io_uring");
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "a_refused_registration_gives_the_buffer_back"]).env(CHILD, "1");
    deny(&mut command, REGISTER, libc::EPERM);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
}
