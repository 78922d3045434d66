//! Spiller: the thread that empties full lanes into spill files.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_utils::sync::Parker;

use super::super::batch::{Batch, Ready};
use super::super::intake::{run_head, stride_end, try_take};
use super::Spill;
use super::file::SpillFile;
use crate::config::Durability;
use crate::io::FileDisk;
use crate::lane::catalog::CatalogView;
use crate::lane::hand_out::Lane;
use crate::lane::park;
use crate::lane::staging::{BUFFER_BYTES, SPILL_BUFFERS, SPILL_FIRST, Staging};
use crate::notice::Seldom;
use crate::record::compact::Encoder;
use crate::record::{CODEC_RAW, Cause, HEAD_BYTES};

/// A lane is looked at for so long after its producer found it full.
const HOT: Duration = Duration::from_millis(100);
/// How often hot lanes are looked at.
const NAP: Duration = Duration::from_micros(200);
/// First and longest pause before a refused block is tried again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// The spiller's state.
pub(super) struct Spiller {
    spill: Arc<Spill>,
    catalog: CatalogView,
    encoder: Encoder,
    staging: Staging,
    batch: Option<Batch>,
    file: Option<SpillFile>,
    /// Lanes that were full a moment ago.
    hot: Vec<(Arc<Lane>, Instant)>,
    next_sync: Instant,
    seldom: Seldom,
}

impl Spiller {
    /// Runs until no lane has overflown for a moment, or the logger ends.
    pub(super) fn run(spill: Arc<Spill>) {
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1_000));
        let parker = spill.setup.lanes.overflow.attend();
        let kept = spill.state.lock().staging.take();
        let lanes = &spill.setup.lanes;
        let staging = kept.map_or_else(
            || Staging::numbered(lanes, SPILL_BUFFERS, SPILL_FIRST),
            Ok,
        );
        let Ok(staging) = staging else {
            // No room in shared memory: the scribe alone empties lanes.
            spill.setup.lanes.overflow.leave();
            let mut state = spill.state.lock();
            (state.is_spilling, state.retry_at) = (false, Some(Instant::now() + PAUSE.1));
            return;
        };
        let mut spiller = Self {
            catalog: CatalogView::new(spill.setup.catalog.clone()),
            encoder: Encoder::new(),
            staging,
            batch: None,
            file: None,
            hot: Vec::new(),
            next_sync: Instant::now(),
            seldom: Seldom::new(Duration::from_secs(60)),
            spill,
        };
        spiller.spill_while_hot(&parker);
        spiller.spill.setup.lanes.overflow.leave();
        spiller.end_file();
        let (spill, staging) = (spiller.spill, spiller.staging);
        spill.leave(staging);
        // Whoever found its lane full while this thread was leaving asks again.
        let mut any = false;
        spill.setup.lanes.registry.walk(|lane| any |= lane.overflows());
        if any {
            spill.setup.lanes.overflow.want();
            spill.setup.lanes.ready.wake();
        }
    }

    fn spill_while_hot(&mut self, parker: &Parker) {
        loop {
            self.meet();
            if self.hot.is_empty() || self.spill.is_ending() || self.is_out_of_quota() {
                return;
            }
            let mut any = false;
            for lane in self.hot.iter().map(|(lane, _)| lane.clone()).collect::<Vec<_>>() {
                let memory = lane.memory();
                if memory.tail().saturating_sub(memory.head()) > memory.data_len() as u64 / 4 {
                    any |= self.empty(&lane);
                }
            }
            self.write_block();
            self.sync_when_due();
            if !any {
                parker.park_timeout(NAP);
            }
        }
    }

    /// Notes which lanes are full, and forgets those that were not for a while.
    fn meet(&mut self) {
        let now = Instant::now();
        let mut found = Vec::new();
        self.spill.setup.lanes.overflow.take_wanted();
        self.spill.setup.lanes.registry.walk(|lane| {
            if lane.take_overflows() {
                found.push(lane.clone());
            }
        });
        for lane in found {
            self.hot.retain(|(known, _)| !Arc::ptr_eq(known, &lane));
            self.hot.push((lane, now));
        }
        self.hot.retain(|(_, since)| now.duration_since(*since) < HOT);
    }

    fn is_out_of_quota(&self) -> bool {
        let spill = &self.spill;
        let open = self.file.as_ref().map_or(0, SpillFile::len);
        let state = spill.state.lock();
        let is_out = state.bytes + open + BUFFER_BYTES as u64 > spill.setup.plan.quota;
        if is_out {
            // Under the lock: the drainer, which takes it back, comes before or behind.
            spill.setup.lanes.overflow.set_refused(true);
        }
        is_out
    }

    /// Takes what a lane holds; false when nothing could be taken.
    fn empty(&mut self, lane: &Arc<Lane>) -> bool {
        let until = lane.memory().tail();
        let capacity = lane.memory().data_len() as u64;
        let mut any = false;
        while lane.memory().head() < until {
            if !self.has_batch() {
                return any;
            }
            let Some(batch) = &mut self.batch else { return any };
            let Some(mut taking) = try_take(lane) else { return any };
            let committed = taking.committed(until);
            let at_end = (taking.head() + committed.len() as u64).is_multiple_of(capacity);
            if committed.is_empty() || committed.len() < HEAD_BYTES && at_end {
                let pad = committed.len() as u64;
                taking.give_back(pad, 0);
                continue;
            }
            let stride = &committed[..committed.len().min(stride_end(committed))];
            // What was lost is for the scribe to tell; but an eviction stands before what is left.
            let told = taking.told();
            let losses = told.with(Cause::Evicted, &lane.losses());
            let lost = losses.since(&told).total();
            let head = run_head(lane, (taking.head(), taking.n_taken(), losses));
            match batch.add(&mut self.encoder, &self.catalog, head, stride, lost, CODEC_RAW) {
                // The scribe counts what cannot be read.
                Err(_) => return any,
                Ok(encoded) if encoded.written == 0 => {
                    drop(taking);
                    self.write_block();
                    if self.spill.is_ending() || self.is_out_of_quota() {
                        return any;
                    }
                }
                Ok(encoded) => {
                    self.encoder.take_spans(|records| self.spill.setup.spans.lock().note(records));
                    if lost > 0 {
                        self.spill.setup.spans.lock().lose();
                    }
                    if let Some(tap) = &self.spill.setup.tap {
                        let (run, lost) = ((lane.tid, &*lane.thread), losses.since(&told));
                        tap.add(run, lost, &stride[..encoded.consumed]);
                    }
                    if lost > 0 {
                        taking.set_told(losses);
                    }
                    taking.give_back(encoded.consumed as u64, u64::from(encoded.count));
                    drop(taking);
                    any = true;
                    park::fence_heads();
                    lane.wake_producer();
                }
            }
        }
        any
    }

    /// Makes sure that there is a block to fill.
    fn has_batch(&mut self) -> bool {
        if self.batch.is_none()
            && let Some(buffer) = self.staging.take(&self.spill.setup.lanes)
        {
            self.batch = Some(Batch::new(buffer, &mut self.encoder));
            // ord: Release, pairs with the Acquire in `begun`: before any head moves.
            self.spill.begun.fetch_add(1, Ordering::Release);
        }
        self.batch.is_some()
    }

    /// Ends the current block and writes it, however long the disk refuses: what it holds is in
    /// staging meanwhile, and stays there when the logger ends before.
    fn write_block(&mut self) {
        let Some(batch) = self.batch.take() else { return };
        if batch.is_empty() {
            self.staging.give_back(batch.into_buffer());
            self.add_written(0, 0);
            return;
        }
        let now = (self.spill.setup.now)();
        if self.file.as_ref().is_some_and(SpillFile::is_full) {
            self.end_file();
        }
        let mut pause = PAUSE.0;
        while self.file.is_none() {
            match SpillFile::create(&FileDisk, &self.spill.setup.plan, now.wall_ns) {
                Ok(file) => self.file = Some(file),
                Err(error) if self.is_refused(&error, &mut pause) => return,
                Err(_) => {}
            }
        }
        let (first, last) = batch.ticks(&now);
        let mut anchors = self.spill.setup.lanes.place.anchors_around(first, last);
        if anchors.last().is_none_or(|anchor| anchor.ticks < last || anchors.len() < 2) {
            anchors.push(now);
        }
        let Some(file) = &mut self.file else { return };
        let (salt, offset, seq) = file.next_block();
        let Ready { block, len, events, entry } =
            batch.seal(&self.encoder, salt, offset, seq, &anchors, file.align());
        self.spill.setup.lanes.alarm.look(entry.levels);
        loop {
            let Some(file) = &mut self.file else { return };
            match file.write(block.bytes()) {
                Ok(()) => {
                    file.add(&block, entry, len);
                    break;
                }
                Err(error) if self.is_refused(&error, &mut pause) => return,
                Err(_) => {}
            }
        }
        self.spill.setup.lanes.overflow.set_refused(false);
        self.staging.give_back(block.into_buffer());
        self.add_written(u64::from(events), len as u64);
    }

    /// Says that the spill disk refuses, and pauses; true when the logger ends meanwhile.
    fn is_refused(&mut self, error: &std::io::Error, pause: &mut Duration) -> bool {
        self.spill.setup.lanes.overflow.set_refused(true);
        let dir = self.spill.dir().display().to_string();
        self.seldom.say(|| format!("could not spill into {dir}: {error}; trying again"));
        std::thread::sleep(*pause);
        *pause = (*pause * 2).min(PAUSE.1);
        self.spill.is_ending()
    }

    fn add_written(&self, events: u64, bytes: u64) {
        self.spill.setup.progress.add_spilled(events, bytes);
        // ord: Release, pairs with the Acquire in `has`.
        self.spill.written.fetch_add(1, Ordering::Release);
        self.spill.setup.lanes.ready.wake();
    }

    fn sync_when_due(&mut self) {
        let spill = &self.spill;
        let asked = std::mem::take(&mut spill.state.lock().sync_wanted);
        let is_due = match spill.setup.plan.durability {
            Durability::EveryBlock => true,
            Durability::Interval(interval) if Instant::now() >= self.next_sync => {
                self.next_sync = Instant::now() + interval;
                true
            }
            _ => asked,
        };
        if is_due {
            self.sync();
        }
    }

    fn sync(&mut self) {
        // ord: Relaxed, this thread's own.
        let written = self.spill.written.load(Ordering::Relaxed);
        // ord: Relaxed, as above.
        if written == self.spill.durable.load(Ordering::Relaxed) {
            return;
        }
        let synced = self.file.as_ref().map_or(Ok(()), |f| f.sync(&FileDisk, &self.spill.setup.plan));
        match synced {
            Ok(()) => self.spill.setup.progress.set_spilled_durable(),
            Err(error) => {
                let why = format!("could not sync {}: {error}", self.spill.dir().display());
                self.seldom.say(|| format!("{why}; see health()"));
                self.spill.setup.progress.set_spill_suspect(why);
            }
        }
        // Also when it failed: to wait for it would be in vain, and who asks is told so.
        // ord: Release, pairs with the Acquire in `has`.
        self.spill.durable.store(written, Ordering::Release);
        self.spill.setup.lanes.ready.wake();
    }

    /// Ends the file, which is then the drainer's.
    fn end_file(&mut self) {
        self.write_block();
        if let Some(file) = &self.file {
            file.seal();
        }
        self.sync();
        let Some(file) = self.file.take() else { return };
        let (path, len) = (file.path.clone(), file.len());
        let mut state = self.spill.state.lock();
        state.files.push((path, len));
        state.bytes += len;
    }
}
