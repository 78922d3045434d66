//! Faultfs: shows a directory at a mount point, and lets go wrong what it is told on standard input.
//!
//! ```text
//! faultfs DIRECTORY MOUNTPOINT [cached]
//! ```
//!
//! It says `mounted`, then answers each line (see [`faults`]) with one. Files are opened past the
//! kernel's page cache, so that each write comes here as it was made, and what is answered is what
//! the program sees; with `cached` they are not, for a loop device. It ends with its input.

mod faults;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io::{BufRead as _, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, KernelConfig, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr,
    ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs,
    ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use faults::Faults;

/// Nothing is remembered by the kernel.
const TTL: Duration = Duration::ZERO;
/// Longest write that comes in one piece.
const WRITE_BYTES_MAX: u32 = 1 << 20;
const THREADS: usize = 8;

struct FaultFs {
    faults: Arc<Faults>,
    is_cached: bool,
    /// Where each inode lies, and the files that are open.
    paths: Mutex<HashMap<u64, PathBuf>>,
    open: Mutex<HashMap<u64, Arc<File>>>,
    n_opened: AtomicU64,
}

fn errno(error: std::io::Error) -> Errno {
    Errno::from_i32(error.raw_os_error().unwrap_or(5))
}

fn time(seconds: i64, nanos: i64) -> SystemTime {
    UNIX_EPOCH + Duration::new(seconds.max(0) as u64, nanos as u32)
}

/// The root's number is the protocol's.
fn number(metadata: &Metadata, is_root: bool) -> INodeNo {
    if is_root { INodeNo(1) } else { INodeNo(metadata.ino()) }
}

fn attributes(metadata: &Metadata, ino: INodeNo) -> FileAttr {
    FileAttr {
        ino,
        size: metadata.len(),
        blocks: metadata.blocks(),
        atime: time(metadata.atime(), metadata.atime_nsec()),
        mtime: time(metadata.mtime(), metadata.mtime_nsec()),
        ctime: time(metadata.ctime(), metadata.ctime_nsec()),
        crtime: UNIX_EPOCH,
        kind: FileType::from_std(metadata.file_type()).unwrap_or(FileType::RegularFile),
        perm: (metadata.mode() & 0o7777) as u16,
        nlink: metadata.nlink() as u32,
        uid: metadata.uid(),
        gid: metadata.gid(),
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

impl FaultFs {
    fn path(&self, ino: INodeNo) -> Result<PathBuf, Errno> {
        self.paths.lock().expect("paths").get(&ino.0).cloned().ok_or(Errno::from_i32(2))
    }

    fn child(&self, parent: INodeNo, name: &OsStr) -> Result<PathBuf, Errno> {
        Ok(self.path(parent)?.join(name))
    }

    fn file(&self, fh: FileHandle) -> Result<Arc<File>, Errno> {
        self.open.lock().expect("files").get(&fh.0).cloned().ok_or(Errno::from_i32(9))
    }

    fn keep(&self, file: File) -> FileHandle {
        let fh = self.n_opened.fetch_add(1, Ordering::Relaxed) + 1;
        self.open.lock().expect("files").insert(fh, Arc::new(file));
        FileHandle(fh)
    }

    /// Attributes of what lies there, whose number is known from now on.
    fn look(&self, path: &Path) -> Result<FileAttr, Errno> {
        let metadata = std::fs::symlink_metadata(path).map_err(errno)?;
        let ino = number(&metadata, false);
        self.paths.lock().expect("paths").insert(ino.0, path.to_owned());
        Ok(attributes(&metadata, ino))
    }

    /// Of a file that may have no name any more.
    fn metadata(&self, ino: INodeNo, fh: Option<FileHandle>) -> Result<Metadata, Errno> {
        if let Some(fh) = fh {
            return self.file(fh)?.metadata().map_err(errno);
        }
        let named = std::fs::symlink_metadata(self.path(ino)?);
        match named {
            Ok(metadata) if ino.0 == 1 || metadata.ino() == ino.0 => Ok(metadata),
            _ => {
                let open = self.open.lock().expect("files");
                let mut files = open.values().filter_map(|file| file.metadata().ok());
                files.find(|metadata| metadata.ino() == ino.0).ok_or(Errno::from_i32(2))
            }
        }
    }

    fn flags(&self) -> FopenFlags {
        if self.is_cached { FopenFlags::empty() } else { FopenFlags::FOPEN_DIRECT_IO }
    }

    fn open_there(&self, path: &Path, flags: OpenFlags) -> Result<FileHandle, Errno> {
        // Always for both: what is allowed, the kernel has looked at.
        let is_written = flags.0 & 3 != 0;
        let mut options = File::options();
        let file = options.read(true).write(is_written).open(path).map_err(errno)?;
        Ok(self.keep(file))
    }

    fn create_there(&self, path: &Path, mode: u32) -> Result<(FileAttr, FileHandle), Errno> {
        self.faults.room().map_err(Errno::from_i32)?;
        let mut options = File::options();
        let made = options.read(true).write(true).create_new(true).mode(mode & 0o7777).open(path);
        let fh = self.keep(made.map_err(errno)?);
        Ok((self.look(path)?, fh))
    }

    fn write_there(&self, fh: FileHandle, offset: u64, data: &[u8]) -> Result<u32, Errno> {
        let n = self.faults.write(offset, data).map_err(Errno::from_i32)?;
        self.file(fh)?.write_all_at(&data[..n], offset).map_err(errno)?;
        Ok(n as u32)
    }

    fn read_there(&self, fh: FileHandle, offset: u64, size: u32) -> Result<Vec<u8>, Errno> {
        let (file, mut bytes) = (self.file(fh)?, vec![0; size as usize]);
        let mut n = 0;
        while n < bytes.len() {
            match file.read_at(&mut bytes[n..], offset + n as u64).map_err(errno)? {
                0 => break,
                more => n += more,
            }
        }
        bytes.truncate(n);
        Ok(bytes)
    }

    fn reserve(&self, fh: FileHandle, offset: u64, len: u64, mode: i32) -> Result<(), Errno> {
        self.faults.room().map_err(Errno::from_i32)?;
        let mode = rustix::fs::FallocateFlags::from_bits_retain(mode as u32);
        let reserved = rustix::fs::fallocate(self.file(fh)?, mode, offset, len);
        reserved.map_err(|error| errno(error.into()))
    }

    fn list(&self, ino: INodeNo) -> Result<Vec<(INodeNo, FileType, std::ffi::OsString)>, Errno> {
        let mut entries = vec![
            (ino, FileType::Directory, ".".into()),
            (INodeNo(1), FileType::Directory, "..".into()),
        ];
        for entry in std::fs::read_dir(self.path(ino)?).map_err(errno)?.flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            let kind = FileType::from_std(metadata.file_type()).unwrap_or(FileType::RegularFile);
            entries.push((INodeNo(metadata.ino()), kind, entry.file_name()));
        }
        Ok(entries)
    }
}

/// Answers with one of two.
macro_rules! answer {
    ($reply:expr, $result:expr, |$done:pat_param| $say:expr) => {
        match $result {
            Ok($done) => $say,
            Err(errno) => $reply.error(errno),
        }
    };
}

impl Filesystem for FaultFs {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        // Long writes in one piece. Asynchronous ones stay off: of those the kernel says that all was
        // written when the answer is less.
        let _ = config.set_max_write(WRITE_BYTES_MAX);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.child(parent, name).and_then(|path| self.look(&path));
        answer!(reply, found, |attr| reply.entry(&TTL, &attr, Generation(0)));
    }

    fn getattr(&self, _: &Request, ino: INodeNo, fh: Option<FileHandle>, reply: ReplyAttr) {
        let found = self.metadata(ino, fh);
        answer!(reply, found, |metadata| reply.attr(&TTL, &attributes(&metadata, ino)));
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        fh: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let set = || {
            let open = |path: PathBuf| File::options().write(true).open(path).map_err(errno);
            if let Some(size) = size {
                match fh {
                    Some(fh) => self.file(fh)?.set_len(size).map_err(errno)?,
                    None => open(self.path(ino)?)?.set_len(size).map_err(errno)?,
                }
            }
            if let Some(mode) = mode {
                let mode = std::fs::Permissions::from_mode(mode & 0o7777);
                std::fs::set_permissions(self.path(ino)?, mode).map_err(errno)?;
            }
            self.metadata(ino, fh)
        };
        answer!(reply, set(), |metadata| reply.attr(&TTL, &attributes(&metadata, ino)));
    }

    fn mkdir(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        reply: ReplyEntry,
    ) {
        let make = |path: PathBuf| {
            std::fs::DirBuilder::new().mode(mode & 0o7777).create(&path).map_err(errno)?;
            self.look(&path)
        };
        let made = self.child(parent, name).and_then(make);
        answer!(reply, made, |attr| reply.entry(&TTL, &attr, Generation(0)));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let done = self.child(parent, name).and_then(|p| std::fs::remove_file(p).map_err(errno));
        answer!(reply, done, |()| reply.ok());
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let done = self.child(parent, name).and_then(|p| std::fs::remove_dir(p).map_err(errno));
        answer!(reply, done, |()| reply.ok());
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let rename = || {
            let (from, to) = (self.child(parent, name)?, self.child(new_parent, new_name)?);
            std::fs::rename(from, &to).map_err(errno)?;
            self.look(&to).map(drop)
        };
        answer!(reply, rename(), |()| reply.ok());
    }

    fn open(&self, _: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let opened = self.path(ino).and_then(|path| self.open_there(&path, flags));
        answer!(reply, opened, |fh| reply.opened(fh, self.flags()));
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let made = self.child(parent, name).and_then(|path| self.create_there(&path, mode));
        answer!(reply, made, |(attr, fh)| {
            reply.created(&TTL, &attr, Generation(0), fh, self.flags())
        });
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        answer!(reply, self.read_there(fh, offset, size), |bytes| reply.data(&bytes));
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        answer!(reply, self.write_there(fh, offset, data), |n| reply.written(n));
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.open.lock().expect("files").remove(&fh.0);
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        answer!(reply, self.faults.sync().map_err(Errno::from_i32), |()| reply.ok());
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        answer!(reply, self.faults.sync().map_err(Errno::from_i32), |()| reply.ok());
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        answer!(reply, self.list(ino), |entries| {
            for (at, (ino, kind, name)) in entries.into_iter().enumerate().skip(offset as usize) {
                if reply.add(ino, at as u64 + 1, kind, name) {
                    break;
                }
            }
            reply.ok();
        });
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let blocks = if self.faults.room().is_ok() { 1 << 20 } else { 0 };
        reply.statfs(1 << 21, blocks, blocks, 1 << 20, 1 << 20, 4096, 255, 4096);
    }

    fn fallocate(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        offset: u64,
        len: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        answer!(reply, self.reserve(fh, offset, len, mode), |()| reply.ok());
    }
}

fn main() -> std::io::Result<()> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let [directory, mountpoint, rest @ ..] = &args[..] else {
        return Err(std::io::Error::other("faultfs DIRECTORY MOUNTPOINT [cached]"));
    };
    let faults = Arc::new(Faults::default());
    let root = std::fs::canonicalize(directory)?;
    let fs = FaultFs {
        faults: faults.clone(),
        is_cached: rest.iter().any(|arg| arg == "cached"),
        paths: Mutex::new(HashMap::from([(1, root)])),
        open: Mutex::default(),
        n_opened: AtomicU64::new(0),
    };
    let mut config = Config::default();
    config.mount_options = vec![MountOption::FSName("faultfs".into())];
    config.n_threads = Some(THREADS);
    let mounted = fuser::spawn_mount(fs, mountpoint, &config)?;
    let mut out = std::io::stdout();
    writeln!(out, "mounted")?;
    for line in std::io::stdin().lock().lines() {
        writeln!(out, "{}", faults.tell(&line?))?;
    }
    drop(mounted);
    Ok(())
}
