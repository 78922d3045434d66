//! The file thread alone, over disks that hang and fail.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::progress::Progress;
use super::queue::{Op, Queue};
use super::writer::{WriterSetup, run};
use crate::config::Durability;
use crate::io::{BackendQueue, Disk, DiskFile, FileDisk, IoChoice, IoFd};
use crate::store::segment::SegmentHeader;

/// A disk that hangs until it is told to go on.
#[derive(Debug)]
struct Hung(Mutex<Receiver<()>>);

impl Disk for Hung {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.0.lock().recv().expect("the test tells it");
        FileDisk.create(path)
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        FileDisk.open(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        FileDisk.rename(from, to)
    }
    fn unlink(&self, path: &Path) -> io::Result<()> {
        FileDisk.unlink(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        FileDisk.sync_dir(path)
    }
}

fn setup(
    disk: Box<dyn Disk>,
    dir: &Path,
    durability: Durability,
    queue: &Arc<Queue>,
    progress: &Arc<Progress>,
) -> WriterSetup {
    WriterSetup {
        disk,
        flight: Box::new(|| Ok(Box::new(BackendQueue::new(IoChoice::Auto)?))),
        dir: dir.to_owned(),
        durability,
        segment_bytes: 1 << 20,
        queue: queue.clone(),
        progress: progress.clone(),
        wake: Box::new(|| ()),
        check_owner: Box::new(|| ()),
    }
}

#[test]
fn s7_who_hands_over_does_not_wait_for_a_disk_that_hangs() {
    let dir = tempfile::tempdir().unwrap();
    let (go, told) = channel();
    let (queue, progress) = (Arc::new(Queue::default()), Arc::new(Progress::default()));
    let disk = Box::new(Hung(Mutex::new(told)));
    let setup = setup(disk, dir.path(), Durability::Never, &queue, &progress);
    let thread = std::thread::spawn(|| run(setup));
    let began = Instant::now();
    let path = dir.path().join("x.ttlog");
    let header = SegmentHeader { logger: 7, ..SegmentHeader::default() };
    queue.push(Op::Begin { path: path.clone(), header: header.clone() });
    queue.push(Op::Sync);
    queue.push(Op::Check);
    queue.push(Op::End);
    assert!(queue.take_free().is_empty() && !queue.is_ended() && !queue.take_vanished());
    assert!(began.elapsed() < Duration::from_secs(5));
    go.send(()).unwrap();
    thread.join().unwrap();
    assert!(queue.is_ended());
    assert_eq!(std::fs::read(path).unwrap()[..100], header.encode()[..100]);
}

/// A disk that notes which files were synced, by the names under which they were made; and how
/// often it will have no descriptor to open a directory with.
#[derive(Debug, Clone, Default)]
struct Noting(Arc<Mutex<Vec<PathBuf>>>, Arc<Mutex<u32>>);

#[derive(Debug)]
struct Noted(Noting, PathBuf, Box<dyn DiskFile>);

impl Disk for Noting {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = FileDisk.create(path)?;
        Ok(Box::new(Noted(self.clone(), path.to_owned(), file)))
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        FileDisk.open(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        FileDisk.rename(from, to)
    }
    fn unlink(&self, path: &Path) -> io::Result<()> {
        FileDisk.unlink(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut refusals = self.1.lock();
        if *refusals > 0 {
            *refusals -= 1;
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        FileDisk.sync_dir(path)
    }
}

impl DiskFile for Noted {
    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), (usize, io::Error)> {
        self.2.write_at(bytes, offset)
    }
    fn reserve(&self, len: u64) -> io::Result<()> {
        self.2.reserve(len)
    }
    fn truncate(&self, len: u64) -> io::Result<()> {
        self.2.truncate(len)
    }
    fn sync(&self) -> io::Result<()> {
        self.0.0.lock().push(self.1.clone());
        self.2.sync()
    }
    fn len(&self) -> io::Result<u64> {
        self.2.len()
    }
    fn is_linked(&self) -> bool {
        self.2.is_linked()
    }
    fn is_named(&self, path: &Path) -> bool {
        self.2.is_named(path)
    }
    fn set_direct(&self, direct: bool) -> io::Result<()> {
        self.2.set_direct(direct)
    }
    fn fd(&self) -> io::Result<IoFd> {
        self.2.fd()
    }
}

#[test]
fn s6_a_segment_that_somebody_renamed_is_synced_too() {
    for durability in [Durability::Never, Durability::Interval(Duration::from_secs(3600))] {
        let dir = tempfile::tempdir().unwrap();
        let disk = Noting::default();
        let (queue, progress) = (Arc::new(Queue::default()), Arc::new(Progress::default()));
        let setup = setup(Box::new(disk.clone()), dir.path(), durability, &queue, &progress);
        let thread = std::thread::spawn(|| run(setup));
        let header = SegmentHeader { logger: 7, ..SegmentHeader::default() };
        let names = ["a.ttlog", "b.ttlog"].map(|name| dir.path().join(name));
        queue.push(Op::Begin { path: names[0].clone(), header: header.clone() });
        while !names[0].exists() {
            std::thread::yield_now();
        }
        std::fs::rename(&names[0], dir.path().join("a.ttlog.1")).unwrap();
        queue.push(Op::Check);
        // The scribe is told, and begins another.
        while !queue.take_vanished() {
            std::thread::yield_now();
        }
        queue.push(Op::Begin { path: names[1].clone(), header });
        queue.push(Op::Sync);
        queue.push(Op::End);
        thread.join().unwrap();
        assert_eq!(*disk.0.lock(), names, "{durability:?}");
    }
}

#[test]
fn a_directory_that_no_descriptor_is_left_for_costs_no_segment() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Noting::default();
    *disk.1.lock() = 3;
    let (queue, progress) = (Arc::new(Queue::default()), Arc::new(Progress::default()));
    let durability = Durability::Interval(Duration::from_secs(3600));
    let setup = setup(Box::new(disk.clone()), dir.path(), durability, &queue, &progress);
    let thread = std::thread::spawn(|| run(setup));
    let path = dir.path().join("a.ttlog");
    let header = SegmentHeader { logger: 7, ..SegmentHeader::default() };
    queue.push(Op::Begin { path: path.clone(), header });
    queue.push(Op::Sync);
    queue.push(Op::End);
    thread.join().unwrap();
    assert_eq!((*disk.1.lock(), disk.0.lock().contains(&path)), (0, true));
    assert!(!queue.take_vanished(), "the segment goes on");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}
