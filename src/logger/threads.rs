//! Threads: what runs beside a logger's callers, and what each is started with.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;

use crossbeam_utils::sync::Parker;

use super::owner_lock::OwnerLock;
#[cfg(test)]
use super::tests;
use crate::config::{Builder, Console, Durability};
use crate::error::{Error, Kind};
use crate::io::{BackendQueue, Disk, DiskQueue, FileDisk};
use crate::lane::catalog::Catalog;
use crate::lane::lanes::{Lanes, LanesSetup};
use crate::lane::place::Place;
use crate::lane::staging::{BUFFERS_MAX, Staging};
use crate::lane::{living, process, thread};
use crate::notice;
use crate::record::Anchor;
use crate::scribe::console::{self, ConsoleSetup};
use crate::scribe::progress::Progress;
use crate::scribe::spill::SpillPlan;
use crate::scribe::tap::Tap;
use crate::scribe::{Queue, WriterSetup};
use crate::store::segment::SegmentHeader;

/// Staging buffers for blocks that are filled and written, where none is kept until it is durable.
const BUFFERS: usize = 24;

/// What callers write into and the scribe fills, and where the scribe sleeps.
pub(super) fn make_lanes(
    config: &Builder,
    place: Place,
    owner: &OwnerLock,
) -> io::Result<(Arc<Lanes>, Parker, Staging)> {
    let (lanes, parker) = Lanes::new(LanesSetup {
        serial: living::next_serial(),
        logger: owner.owner.lock().logger,
        place,
        lane_bytes: config.lane_bytes_used(),
        on_full: config.on_full(),
    })?;
    let n_buffers = match config.durability {
        Durability::Never => BUFFERS,
        _ => BUFFERS_MAX,
    };
    let staging = Staging::new(&lanes, n_buffers)?;
    Ok((Arc::new(lanes), parker, staging))
}

/// Starts the console's thread, if there is to be one; the log is whole without it.
pub(super) fn start_console(
    console: Console,
    catalog: &Arc<Catalog>,
    now: fn() -> Anchor,
) -> Option<Arc<Tap>> {
    if console == Console::Off {
        return None;
    }
    let tap = Arc::new(Tap::default());
    let setup = ConsoleSetup { tap: tap.clone(), catalog: catalog.clone(), console, now };
    match spawn("ttlog-console", move || console::run(setup)) {
        Ok(_) => Some(tap),
        Err(error) => {
            notice::say(&format!("no console: {error}"));
            None
        }
    }
}

pub(super) fn spawn<R: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> R + Send + 'static,
) -> Result<JoinHandle<R>, Error> {
    #[cfg(test)]
    if tests::REFUSED.get() == name {
        let refused = io::ErrorKind::WouldBlock.into();
        return Err(Error::caused_by(Kind::Thread, refused));
    }
    let work = move || {
        thread::mark_internal();
        // Signals are for the program's own threads.
        process::block_signals();
        work()
    };
    std::thread::Builder::new()
        .name(name.into())
        .stack_size(512 << 10)
        .spawn(work)
        .map_err(|error| Error::caused_by(Kind::Thread, error))
}

pub(super) fn writer_setup(
    config: &Builder,
    owner: &Arc<OwnerLock>,
    queue: &Arc<Queue>,
    progress: &Arc<Progress>,
    lanes: &Arc<Lanes>,
) -> WriterSetup {
    let (owner, lanes, dir) = (owner.clone(), lanes.clone(), owner.dir.clone());
    let (check, choice) = (lanes.clone(), config.io.unwrap_or_default());
    let disk: Box<dyn Disk> = Box::new(FileDisk);
    let flight = move || Ok(Box::new(BackendQueue::new(choice)?) as Box<dyn DiskQueue>);
    let flight: Box<dyn Fn() -> io::Result<_> + Send> = Box::new(flight);
    #[cfg(test)]
    let (disk, flight) = match tests::SIMULATED.take() {
        Some(sim) => {
            let queue = sim.clone();
            let made = move || Ok(Box::new(queue.queue()) as Box<dyn DiskQueue>);
            (Box::new(sim) as Box<dyn Disk>, Box::new(made) as Box<_>)
        }
        None => (disk, flight),
    };
    WriterSetup {
        disk,
        flight,
        dir,
        durability: config.durability,
        segment_bytes: config.rotate_used().size_max(),
        queue: queue.clone(),
        progress: progress.clone(),
        wake: Box::new(move || lanes.ready.wake()),
        check_owner: Box::new(move || owner.check(&check)),
    }
}

/// Where a logger's spill files go and what they have in common, if its policies make any.
pub(super) fn spill_plan(
    config: &Builder,
    owner: &OwnerLock,
    header: &SegmentHeader,
    numbers: &Arc<AtomicU64>,
) -> Option<SpillPlan> {
    Some(SpillPlan {
        dir: owner.owner.lock().spill.clone()?,
        log_dir: owner.dir.clone(),
        header: header.clone(),
        quota: config.spill_quota,
        numbers: numbers.clone(),
        durability: config.durability,
    })
}
