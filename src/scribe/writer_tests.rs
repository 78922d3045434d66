//! The file thread alone, over disks that hang and fail.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::progress::Progress;
use super::queue::{Op, Queue};
use super::writer::{WriterSetup, run};
use crate::config::Durability;
use crate::io::{BackendQueue, Disk, DiskFile, FileDisk, IoChoice};
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

#[test]
fn s7_who_hands_over_does_not_wait_for_a_disk_that_hangs() {
    let dir = tempfile::tempdir().unwrap();
    let (go, told) = channel();
    let (queue, progress) = (Arc::new(Queue::default()), Arc::new(Progress::default()));
    let setup = WriterSetup {
        disk: Box::new(Hung(Mutex::new(told))),
        flight: Box::new(|| Ok(Box::new(BackendQueue::new(IoChoice::Auto)?))),
        dir: dir.path().to_owned(),
        durability: Durability::Never,
        segment_bytes: 1 << 20,
        queue: queue.clone(),
        progress: progress.clone(),
        wake: Box::new(|| ()),
        check_owner: Box::new(|| ()),
    };
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
