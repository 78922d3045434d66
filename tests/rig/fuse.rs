//! Fuse: a file system that fails, shortens and delays on command (`verify/faultfs`); a rig that
//! cannot have one says that it did not run.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

/// The program, built when it is first needed; `None` says why it cannot be.
fn program() -> Option<&'static Path> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    let build = || {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let target = root.join("target/verify");
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--quiet", "--manifest-path"]);
        cargo.arg(root.join("verify/faultfs/Cargo.toml")).arg("--target-dir").arg(&target);
        let is_built = cargo.status().is_ok_and(|status| status.success());
        is_built.then(|| target.join("debug/faultfs"))
    };
    PROGRAM.get_or_init(build).as_deref()
}

/// A directory, mounted where everything may go wrong.
pub(crate) struct FaultFs {
    child: Child,
    lines: BufReader<ChildStdout>,
    at: PathBuf,
}

impl FaultFs {
    /// Mounts `backing` at `at`, within the namespace of this thread; says what hinders it.
    pub(crate) fn mount(backing: &Path, at: &Path, how: &str) -> Option<Self> {
        if !Path::new("/dev/fuse").exists() {
            super::not_run("needs /dev/fuse");
            return None;
        }
        let Some(program) = program() else {
            super::not_run("verify/faultfs could not be built");
            return None;
        };
        let mut command = Command::new(program);
        command.arg(backing).arg(at).args(how.split_whitespace());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("faultfs starts");
        let lines = BufReader::new(child.stdout.take().expect("piped"));
        let mut this = Self { child, lines, at: at.to_owned() };
        if this.line() != "mounted" {
            super::not_run("FUSE cannot be mounted here");
            return None;
        }
        Some(this)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("the pipe");
        line.trim().to_owned()
    }

    fn ask(&mut self, line: &str) -> String {
        writeln!(self.child.stdin.as_mut().expect("piped"), "{line}").expect("faultfs listens");
        self.line()
    }

    /// Says what is to go wrong from now on.
    pub(crate) fn tell(&mut self, line: &str) {
        assert_eq!(self.ask(line), "ok", "{line}");
    }

    /// What happened so far: `writes`, `syncs`, `failed`, `shortened`, `delayed`.
    pub(crate) fn count(&mut self, what: &str) -> u64 {
        super::number(&self.ask("counts"), what)
    }
}

impl Drop for FaultFs {
    fn drop(&mut self) {
        super::mounts::run("umount", &["-l", self.at.to_str().expect("UTF-8")]);
        // It ends with its input, unless it waits for somebody.
        drop(self.child.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
