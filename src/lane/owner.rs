//! Owner: the small file that says whose lanes and segments these are, and its lock (rule S8).
//!
//! One lies in the log directory for each logger, a copy in the place of its lanes. Both are made
//! under a temporary name, locked, then renamed into place, so that whoever sees the name sees the
//! lock; both locks live as long as the logger. The text is `key=value` lines; values are
//! percent-encoded, so that a path with any bytes stays one line.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags};

const FIRST_LINE: &str = "ttlog owner 1";
/// A longer owner file is not ours.
const OWNER_BYTES_MAX: u64 = 64 << 10;
/// How often an owner file is made anew that somebody took for a leftover.
const TRIES: usize = 5;

/// Where a logger's lanes lie. A hint only: whoever follows it checks device, inode and mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LanesHint {
    /// The directory.
    pub path: PathBuf,
    /// Its device number.
    pub device: u64,
    /// Its inode number.
    pub inode: u64,
}

/// What an owner file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The logger's random id.
    pub logger: u64,
    /// Name of the program.
    pub app: String,
    /// Version of the program.
    pub version: String,
    /// Id of the boot that its ticks and lanes belong to.
    pub boot: [u8; 16],
    /// Kind of its clock.
    pub clock: u8,
    /// Inode of its mount namespace: paths mean the same only within one.
    pub mount: u64,
    /// Its process.
    pub pid: u32,
    /// When it started, UTC in nanoseconds.
    pub start_ns: i64,
    /// Its log directory.
    pub log_dir: PathBuf,
    /// Its lanes; `None` when they lie in private memory.
    pub lanes: Option<LanesHint>,
    /// Where its spill files lie, if it makes any.
    pub spill: Option<PathBuf>,
}

impl Owner {
    pub(crate) fn encode(&self) -> String {
        let mut text = format!(
            "{FIRST_LINE}\nlogger={:016x}\napp={}\nversion={}\nboot={}\nclock={}\nmount={}\npid={}\n\
             start={}\nlog={}\n",
            self.logger,
            escape(self.app.as_bytes()),
            escape(self.version.as_bytes()),
            self.boot.iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
            self.clock,
            self.mount,
            self.pid,
            self.start_ns,
            escape(self.log_dir.as_os_str().as_bytes()),
        );
        if let Some(lanes) = &self.lanes {
            let path = escape(lanes.path.as_os_str().as_bytes());
            text += &format!("lanes={path}\ndevice={}\ninode={}\n", lanes.device, lanes.inode);
        }
        if let Some(spill) = &self.spill {
            text += &format!("spill={}\n", escape(spill.as_os_str().as_bytes()));
        }
        text
    }

    /// Reads an owner file's text; `None` when it is none of ours.
    pub(crate) fn decode(text: &str) -> Option<Self> {
        let body = text.strip_prefix(FIRST_LINE)?.strip_prefix('\n')?;
        let get = |key: &str| {
            body.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).map(unescape)
        };
        let text = |key| String::from_utf8(get(key)??).ok();
        let path = |key| Some(PathBuf::from(OsString::from_vec(get(key)??)));
        let boot = text("boot")?;
        let mut boot_id = [0; 16];
        for (at, byte) in boot_id.iter_mut().enumerate() {
            *byte = u8::from_str_radix(boot.get(at * 2..at * 2 + 2)?, 16).ok()?;
        }
        let lanes = match path("lanes") {
            Some(path) => Some(LanesHint {
                path,
                device: text("device")?.parse().ok()?,
                inode: text("inode")?.parse().ok()?,
            }),
            None => None,
        };
        Some(Self {
            logger: u64::from_str_radix(&text("logger")?, 16).ok()?,
            app: text("app")?,
            version: text("version")?,
            boot: boot_id,
            clock: text("clock")?.parse().ok()?,
            mount: text("mount")?.parse().ok()?,
            pid: text("pid")?.parse().ok()?,
            start_ns: text("start")?.parse().ok()?,
            log_dir: path("log")?,
            lanes,
            spill: path("spill"),
        })
    }

    /// Reads the owner file at `path`; `Ok(None)` when it is not one of ours.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened or read.
    pub fn read(path: &Path) -> io::Result<Option<Self>> {
        let file = open(path, OFlags::RDONLY)?;
        if !file.metadata()?.is_file() {
            return Ok(None);
        }
        let mut text = String::new();
        match file.take(OWNER_BYTES_MAX).read_to_string(&mut text) {
            Ok(_) => Ok(Self::decode(&text)),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes the owner file `name` into `dir` and returns it, locked.
    pub(crate) fn publish(&self, dir: &Path, name: &str) -> io::Result<File> {
        let temporary = dir.join(format!(".{name}.{}", std::process::id()));
        let mut tries = 0;
        loop {
            let made = self.try_publish(&temporary, &dir.join(name));
            if made.is_ok() || tries == TRIES {
                return made;
            }
            // Whoever clears leftovers may have taken it before it was locked.
            tries += 1;
        }
    }

    fn try_publish(&self, temporary: &Path, path: &Path) -> io::Result<File> {
        let _ = std::fs::remove_file(temporary);
        let mut file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags((OFlags::NOFOLLOW | OFlags::CLOEXEC).bits() as i32)
            .open(temporary)?;
        let made = file
            .write_all(self.encode().as_bytes())
            .and_then(|()| Ok(rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?))
            .and_then(|()| std::fs::rename(temporary, path));
        if made.is_err() {
            let _ = std::fs::remove_file(temporary);
        }
        made.map(|()| file)
    }
}

/// Removes what publishers left that died before they could rename it (S12).
pub(crate) fn clear_leftovers(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name().into_string().unwrap_or_default();
        let parsed = name.strip_prefix('.').and_then(|rest| rest.rsplit_once('.'));
        let is_ours = parsed.is_some_and(|(name, pid)| {
            crate::store::name::parse_owner(name).is_some() && pid.parse::<u32>().is_ok()
        });
        if is_ours && let Ok(Taken::Free(_lock)) = try_take(&entry.path()) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// The kernel's id of this boot, zeros when it does not tell.
#[must_use]
pub(crate) fn boot_id() -> [u8; 16] {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    parse_boot_id(&text).unwrap_or_default()
}

fn parse_boot_id(text: &str) -> Option<[u8; 16]> {
    let digits: Vec<u32> =
        text.trim().chars().filter(|c| *c != '-').map(|c| c.to_digit(16)).collect::<Option<_>>()?;
    let mut id = [0; 16];
    if digits.len() != 32 {
        return None;
    }
    for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = (pair[0] << 4 | pair[1]) as u8;
    }
    Some(id)
}

/// A lock that is held while this lives, and by this process alone: a child that is forked meanwhile
/// lets go of it.
pub(crate) type Lock = super::process::Kept;

/// What a try at a lock found.
#[derive(Debug)]
pub(crate) enum Taken {
    /// Nobody held it; now the caller does.
    Free(Lock),
    /// Somebody holds it, or the name changed hands meanwhile.
    Held,
}

/// Tries to take the lock on the file with this name, without waiting.
pub(crate) fn try_take(path: &Path) -> io::Result<Taken> {
    let file = open(path, OFlags::RDWR)?;
    let lock = Lock::new(file);
    let file = lock.file();
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Ok(Taken::Held),
        Err(error) => return Err(error.into()),
    }
    let is_named = still_named(file, path);
    Ok(if is_named { Taken::Free(lock) } else { Taken::Held })
}

/// Tries to take the lock on a directory, without waiting: who removes or replaces segments in it
/// holds that (S12). `None` when somebody else does.
pub(crate) fn try_take_dir(dir: &Path) -> io::Result<Option<Lock>> {
    let lock = Lock::new(open(dir, OFlags::RDONLY | OFlags::DIRECTORY)?);
    let file = lock.file();
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(still_named(file, dir).then_some(lock)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// True when somebody holds the lock on this file. A reader looks with a shared lock for a moment,
/// so that readers do not disturb one another.
pub(crate) fn is_held(path: &Path) -> io::Result<bool> {
    let file = open(path, OFlags::RDONLY)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => {
            // Not by closing: a child that another thread is just starting would keep it a moment.
            let _ = rustix::fs::flock(&file, FlockOperation::Unlock);
            Ok(false)
        }
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// True when `path` still names this very file.
pub(crate) fn still_named(file: &File, path: &Path) -> bool {
    let (Ok(held), Ok(named)) = (file.metadata(), std::fs::symlink_metadata(path)) else {
        return false;
    };
    held.dev() == named.dev() && held.ino() == named.ino()
}

fn open(path: &Path, access: OFlags) -> io::Result<File> {
    let flags = access | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    Ok(File::from(rustix::fs::open(path, flags, rustix::fs::Mode::empty())?))
}

fn escape(bytes: &[u8]) -> String {
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'%';
    bytes
        .iter()
        .map(
            |&byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02x}") },
        )
        .collect()
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte == b'%' {
            let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
            out.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &rest[2..];
        } else {
            out.push(byte);
        }
    }
    Some(out)
}

#[cfg(test)]
impl Owner {
    /// One of a test, without lanes.
    pub(crate) fn of_test(logger: u64, log_dir: &Path) -> Self {
        Self {
            logger,
            app: "app".into(),
            version: String::new(),
            boot: [0; 16],
            clock: 1,
            mount: 0,
            pid: 1,
            start_ns: 0,
            log_dir: log_dir.to_owned(),
            lanes: None,
            spill: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Owner {
        Owner {
            logger: 0xfeed,
            app: "or ders\n".into(),
            version: "1.4%".into(),
            boot: [7; 16],
            clock: 1,
            mount: 99,
            pid: 4242,
            start_ns: -5,
            log_dir: "/var/log/ä b".into(),
            spill: Some("/var/log/a b/spill".into()),
            lanes: Some(LanesHint { path: "/dev/shm/x".into(), device: 1, inode: 2 }),
        }
    }

    #[test]
    fn boot_ids_are_read() {
        let id = parse_boot_id("01234567-89ab-cdef-0011-2233445566ff\n").unwrap();
        assert_eq!(id[..4], [0x01, 0x23, 0x45, 0x67]);
        assert_eq!(id[15], 0xff);
        assert_eq!(parse_boot_id("nonsense"), None);
        assert_eq!(boot_id(), boot_id());
    }

    #[test]
    fn owner_reads_back_equal() {
        assert_eq!(Owner::decode(&sample().encode()), Some(sample()));
        let private = Owner { lanes: None, ..sample() };
        assert_eq!(Owner::decode(&private.encode()), Some(private));
    }

    #[test]
    fn every_cut_of_an_owner_file_is_refused_or_whole() {
        let text = sample().encode();
        for len in 0..text.len() {
            if let Some(owner) = text.get(..len).and_then(Owner::decode) {
                assert_eq!(owner.logger, 0xfeed);
            }
        }
        assert_eq!(Owner::decode("ttlog owner 1\nlogger=zz\n"), None);
    }

    #[test]
    fn s8_the_lock_is_there_as_soon_as_the_name_and_gone_with_the_owner() {
        let dir = tempfile::tempdir().unwrap();
        let file = sample().publish(dir.path(), "x.owner").unwrap();
        let path = dir.path().join("x.owner");
        assert_eq!(Owner::read(&path).unwrap(), Some(sample()));
        assert!(matches!(try_take(&path).unwrap(), Taken::Held));
        assert!(is_held(&path).unwrap());
        drop(file);
        assert!(matches!(try_take(&path).unwrap(), Taken::Free(_)));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    /// A child that another thread is starting has all descriptors until it runs its program.
    #[test]
    fn s8_a_lock_is_gone_with_its_owner_though_a_child_still_has_the_descriptor() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.owner");
        let lock = Lock::new(sample().publish(dir.path(), "x.owner").unwrap());
        let of_a_child = lock.file().try_clone().unwrap();
        drop(lock);
        assert!(!is_held(&path).unwrap());
        let Ok(Taken::Free(lock)) = try_take(&path) else { panic!("nobody has it") };
        drop(of_a_child);
        assert!(matches!(try_take(&path).unwrap(), Taken::Held));
        // What a forked child has: the same open file, noted nowhere.
        super::super::process::close_kept(lock.file().try_clone().unwrap());
        assert!(matches!(try_take(&path).unwrap(), Taken::Held));
    }

    #[test]
    fn s12_what_a_dead_publisher_left_is_cleared_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let left = dir.path().join(".000000000000feed.owner.4242");
        for path in [&left, &dir.path().join(".profile.owner.1"), &dir.path().join("a.owner.1")] {
            std::fs::write(path, "x").unwrap();
        }
        let busy = dir.path().join(".000000000000beef.owner.1");
        let _held = sample().publish(dir.path(), ".000000000000beef.owner.1").unwrap();
        clear_leftovers(dir.path());
        assert!(!left.exists() && busy.exists());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);
    }

    #[test]
    fn s8_a_lock_on_a_name_that_changed_hands_is_let_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.owner");
        drop(sample().publish(dir.path(), "x.owner").unwrap());
        let old = open(&path, OFlags::RDWR).unwrap();
        let _new = sample().publish(dir.path(), "x.owner").unwrap();
        assert!(!still_named(&old, &path));
        assert!(matches!(try_take(&path).unwrap(), Taken::Held));
    }

    #[test]
    fn a_symlink_and_a_directory_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.owner");
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert!(Owner::read(&path).is_err());
        assert!(try_take(&path).is_err());
        assert_eq!(Owner::read(dir.path()).unwrap(), None);
    }
}
