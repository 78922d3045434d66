//! Mounts: file systems of a rig's own, in a mount namespace of its own thread; without root a rig
//! says that it did not run.
#![expect(unsafe_code, reason = "mounts in a namespace of its own, through libc")]

use std::ffi::CString;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Runs `job` on a thread with a mount namespace of its own; false when that is not to be had.
pub(crate) fn in_namespace(job: impl FnOnce() + Send) {
    if !rustix::process::getuid().is_root() {
        return super::not_run("needs root, to mount");
    }
    // What the job needs is built before, outside.
    let _ = (super::child_program(), super::read::command());
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: changes what this thread alone sees.
            if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
                return super::not_run("needs a mount namespace of its own");
            }
            assert!(mount(None, Path::new("/"), libc::MS_REC | libc::MS_PRIVATE, ""));
            job();
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

pub(crate) fn mount(source: Option<&Path>, at: &Path, flags: u64, data: &str) -> bool {
    let text = |path: &Path| CString::new(path.to_string_lossy().as_bytes()).expect("no zeros");
    let source = source.map_or_else(|| CString::from(c"tmpfs"), text);
    let (at, data) = (text(at), CString::new(data).expect("no zeros"));
    // SAFETY: all are strings that live until the call returns.
    unsafe {
        libc::mount(source.as_ptr(), at.as_ptr(), c"tmpfs".as_ptr(), flags, data.as_ptr().cast())
            == 0
    }
}

/// Unmounts when the test is through, so that the directory can be removed.
pub(crate) struct Mounted<'a>(&'a Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let path = CString::new(self.0.to_string_lossy().as_bytes()).expect("no zeros");
        // SAFETY: a string.
        unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
    }
}

pub(crate) fn tmpfs<'a>(at: &'a Path, size: &str) -> Mounted<'a> {
    assert!(mount(None, at, 0, &format!("size={size},mode=0777")), "a tmpfs of {size}");
    Mounted(at)
}

/// Fills a file system to the last byte.
pub(crate) fn fill(dir: &Path) {
    use std::io::Write as _;
    let mut file = std::fs::File::create(dir.join("ballast")).expect("a file");
    let chunk = vec![0xff; 4096];
    while file.write_all(&chunk).is_ok() {}
}

/// Runs a program; true when it succeeds.
pub(crate) fn run(program: &str, args: &[&str]) -> bool {
    Command::new(program).args(args).output().is_ok_and(|out| out.status.success())
}

/// An ext4 on a loop device, which it keeps from mount to mount.
pub(crate) struct Loop {
    device: String,
    at: PathBuf,
}

/// `EXT4_IOC_SHUTDOWN` of the kernel, which is also `XFS_IOC_GOINGDOWN`.
const SHUTDOWN: libc::c_ulong = 0x8004_587d;
/// Without the journal: what was not synced is gone.
const WITHOUT_LOG: u32 = 2;

impl Loop {
    /// Makes and mounts one of so many bytes; `None` where that is not to be had.
    pub(crate) fn ext4(image: &Path, bytes: u64, at: &Path) -> Option<Self> {
        let file = std::fs::File::create(image).expect("a file");
        file.set_len(bytes).expect("a sparse file");
        let image = image.to_str().expect("UTF-8");
        let found = Command::new("losetup").args(["--find", "--show", image]).output().ok()?;
        let device = String::from_utf8(found.stdout).expect("UTF-8").trim().to_owned();
        // From here on the device is given back.
        let this = found.status.success().then(|| Self { device, at: at.to_owned() })?;
        (run("mkfs.ext4", &["-q", "-F", &this.device]) && this.mount("")).then_some(this)
    }

    /// Mounts it, again after a power cut.
    pub(crate) fn mount(&self, options: &str) -> bool {
        let at = self.at.to_str().expect("UTF-8");
        run("mount", &["-t", "ext4", "-o", &format!("noatime{options}"), &self.device, at])
    }

    /// Cuts the power: from here on every call on it fails, and what was not synced is gone.
    pub(crate) fn cut_power(&self) -> bool {
        use std::os::linux::fs::MetadataExt as _;
        let root = std::fs::File::open(&self.at).expect("its root");
        let on = |path: &Path| std::fs::metadata(path).expect("a directory").st_dev();
        assert_ne!(on(&self.at), on(self.at.parent().expect("a parent")), "it is mounted");
        let how = WITHOUT_LOG;
        // SAFETY: the call reads one u32, which lives until it returns.
        unsafe { libc::ioctl(root.as_raw_fd(), SHUTDOWN, &raw const how) == 0 }
    }

    /// Lets every call that would change it hang for as long as the result lives; `None` where that
    /// is not to be had.
    pub(crate) fn freeze(&self) -> Option<Frozen<'_>> {
        let at = self.at.to_str().expect("UTF-8");
        run("fsfreeze", &["-f", at]).then(|| Frozen(at))
    }

    /// Unmounts it; nobody may have a file of it open. The kernel closes those of a dead process's
    /// io_uring a little later than its others.
    pub(crate) fn unmount(&self) -> bool {
        let at = self.at.to_str().expect("UTF-8");
        for _ in 0..1000 {
            if run("umount", &[at]) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }
}

/// A file system that hangs.
pub(crate) struct Frozen<'a>(&'a str);

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        let _ = run("fsfreeze", &["-u", self.0]);
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = run("umount", &["-l", self.at.to_str().expect("UTF-8")]);
        // At once, or when the last of the mount goes.
        let _ = run("losetup", &["-d", &self.device]);
    }
}
