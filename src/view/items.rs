//! Items: the iterator over a log, which opens what the merge needs next.

use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use crate::lane::outside::{self, Found, Owner, Snapshot};
use crate::record::{Head, RunHead, Timeline};
use crate::store::segment::BlockRef;

use super::error::Error;
use super::gone::GoneLanes;
use super::item::{Damage, Item, Logger};
use super::merge::{Gap, Merge, Shown};
use super::once::{Aside, Lanes};
use super::plan::{Axis, Files, Planned, Read, Unit, Walk};
use super::query::Query;
use super::shot::{Run, Shot};
use super::source::Source;
use super::spans::{self, Spans};
use super::stream::Spool;
use super::weave::{Gaps, Loom, Place, Shapes};

/// Bytes of lanes and staging that are kept in memory until their time comes.
const RUNS_BYTES_MAX: usize = 8 << 20;

/// The items of a log in their order.
#[derive(Debug)]
pub struct Items {
    source: Source,
    query: Query,
    axis: Axis,
    files: Files,
    shots: Vec<Shot>,
    plan: BinaryHeap<Planned>,
    /// Files that are due before their own time, as a clock that was set back demands.
    hurried: HashMap<usize, i64>,
    merge: Merge,
    lanes: Lanes,
    shapes: Shapes,
    spans: Spans,
    /// Events that damage is known to have cost, by logger, until a gap shows them missing.
    told: HashMap<u64, u64>,
    ready: VecDeque<Result<Item, Error>>,
    notes: Vec<String>,
    gone: Vec<GoneLanes>,
    payload: Vec<u8>,
    runs_bytes: usize,
    bytes_done: u64,
    /// While following: what was there at the start is shown from this time on.
    start_ns: Option<i64>,
    /// True when nothing was passed over at the start.
    is_whole: bool,
    /// Nothing later than this is shown yet.
    limit_ns: i64,
}

impl Items {
    pub(super) fn new(source: &Source, query: Query, start_ns: Option<i64>) -> Self {
        let axis = Axis { reverse: query.reverse };
        let is_later = start_ns.is_some() || query.since_ns > i64::MIN;
        let mut items = Self {
            source: source.clone(),
            axis,
            files: Files::default(),
            shots: Vec::new(),
            plan: BinaryHeap::new(),
            hurried: HashMap::new(),
            merge: Merge::new(axis),
            lanes: Lanes::beginning(is_later),
            shapes: Shapes::default(),
            spans: Spans::default(),
            told: HashMap::new(),
            ready: VecDeque::new(),
            notes: Vec::new(),
            gone: Vec::new(),
            payload: Vec::new(),
            runs_bytes: 0,
            bytes_done: 0,
            start_ns: None,
            is_whole: start_ns.is_none(),
            limit_ns: i64::MAX,
            query,
        };
        let since_ns = items.query.since_ns;
        items.query.since_ns = start_ns.map_or(since_ns, |start_ns| since_ns.max(start_ns));
        items.files.passed_ns = items.query.since_ns;
        items.look();
        (items.files.passed_ns, items.files.follows) = (i64::MIN, start_ns.is_some());
        items.start_ns = start_ns.map(|_| since_ns);
        items
    }

    /// What could not be read and is no damage, such as lanes of another user; each is told once.
    pub fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// Bytes of files read so far, and of all files.
    #[must_use]
    pub fn progress(&self) -> (u64, u64) {
        (self.bytes_done, self.files.files.iter().map(|file| file.bytes).sum())
    }

    /// Looks for what was logged since, and lets items up to `limit_ns` pass: the iterator ends
    /// there and goes on after the next call.
    ///
    /// The limit gives events time to arrive, so that they are shown in their order; one that
    /// arrives later is shown as it comes, marked [`crate::render::Event::late`].
    pub fn refresh(&mut self, limit_ns: i64) {
        self.limit_ns = limit_ns;
        self.look();
    }

    /// Lists lanes and staging, then files (S5), and plans what is new.
    fn look(&mut self) {
        if let Some(since_ns) = self.start_ns.filter(|_| self.plan.is_empty()) {
            // From now on the query's own times decide: what is new is not compared with the start.
            self.query.since_ns = since_ns;
            self.start_ns = None;
        }
        self.look_at_lanes();
        for index in 0..self.files.files.len() {
            if !self.files.files[index].sealed {
                match self.files.walk(index) {
                    Ok(walk) => self.plan_walk(index, walk),
                    Err(error) => self.miss(index, error),
                }
                self.files.let_go_replaced(index);
            }
        }
        self.look_at_files();
        self.tell_gone();
    }

    /// Takes in the files that are not known yet.
    fn look_at_files(&mut self) {
        let (fresh, errors) = self.files.take_in(&self.source);
        self.ready.extend(errors.into_iter().map(Err));
        self.plan_files(fresh);
    }

    /// Plans files, those of each logger in the order in which they were written; what was spilled
    /// was written beside the others.
    fn plan_files(&mut self, mut fresh: Vec<usize>) {
        let files = &self.files.files;
        fresh.sort_by_key(|i| (files[*i].logger.id, files[*i].is_apart(), files[*i].number));
        let alike = |i: &usize| (files[*i].logger.id, files[*i].is_apart());
        for files_of_one in fresh.chunk_by(|a, b| alike(a) == alike(b)) {
            let due = |i: &usize| self.axis.due(files[*i].first_ns, files[*i].last_ns);
            let mut dues: Vec<i64> = files_of_one.iter().map(due).collect();
            self.axis.settle(&mut dues);
            for (due, index) in dues.into_iter().zip(files_of_one) {
                let own = self.axis.due(files[*index].first_ns, files[*index].last_ns);
                let number = files[*index].number << 32;
                if due < own {
                    self.hurried.insert(*index, due);
                }
                self.plan.push(self.axis.plan(due, number, Unit::File(*index)));
            }
        }
    }

    fn plan_walk(&mut self, index: usize, walk: Walk) {
        let file = &self.files.files[index];
        for damage in walk.damages {
            if let Some(records) = damage.records {
                *self.told.entry(file.logger.id).or_default() += records;
            }
            self.ready.push_back(Ok(Item::Damage(Damage {
                file: file.path.clone(),
                offset: damage.offset,
                records: damage.records,
                reason: damage.reason.as_str().into(),
                is_gap: false,
            })));
        }
        let due = |b: &BlockRef| self.axis.due(b.header.first_wall_ns, b.header.last_wall_ns);
        let mut dues: Vec<i64> = walk.blocks.iter().map(due).collect();
        self.axis.settle(&mut dues);
        let (number, since_ns) = (file.number << 32, file.since_ns(&self.query));
        for (i, (due, block)) in dues.into_iter().zip(walk.blocks).enumerate() {
            if Files::is_wanted(&self.query, since_ns, &block.header) {
                let due = self.hurried.get(&index).map_or(due, |hurried| due.min(*hurried));
                let number = number + i as u64 + 1;
                self.plan.push(self.axis.plan(due, number, Unit::Block(index, block)));
            }
        }
    }

    fn look_at_lanes(&mut self) {
        for dir in self.source.dirs.clone() {
            let owners = match outside::owners(&dir) {
                Ok((owners, notes)) => {
                    self.notes.extend(notes);
                    owners
                }
                Err(error) => {
                    self.notes.push(format!("{}: owner files: {error}", dir.display()));
                    continue;
                }
            };
            for found in owners {
                self.look_at_place(found);
            }
        }
    }

    fn tell_gone(&mut self) {
        let gone = std::mem::take(&mut self.gone).into_iter();
        self.notes.extend(gone.filter_map(|gone| gone.told(&self.files)));
    }

    fn look_at_place(&mut self, found: Found) {
        let owner = found.owner;
        if found.alive {
            self.files.alive.insert(owner.logger);
        } else {
            self.files.alive.remove(&owner.logger);
        }
        let Some(place) = owner.lanes.as_ref().map(|lanes| lanes.path.clone()) else { return };
        if let Some(why) = outside::unseen(&owner) {
            return self.notes.push(format!("process {}: {why}", owner.pid));
        }
        let (mut runs, mut told) = (Vec::new(), Vec::new());
        let snapshot = outside::each_run(&owner, &mut |run| {
            spans::collect(&run.bytes, &mut told);
            let id = (owner.logger, run.head.lane, run.head.generation);
            if !self.lanes.has_all(id, run.head.position, run.head.end) {
                let ticks = Head::read(&run.bytes).map(|head| head.ticks);
                runs.push((ticks, self.hold(run.head, run.bytes)));
            }
        });
        match snapshot {
            Ok(snapshot) => {
                if snapshot.has_spilled {
                    self.files.spilled.insert(owner.logger);
                }
                self.files.staged.insert(owner.logger);
                let (definitions, shapes) = (&snapshot.definitions, &mut self.shapes);
                self.spans.note_all(owner.logger, &told, definitions, shapes);
                return self.plan_shot(place, &owner, snapshot, runs);
            }
            // Its logger has ended, or its lanes have been adopted, since the owner file was read.
            Err(_) if !found.path.exists() => {}
            Err(error) => {
                let (pid, place) = (owner.pid, place.display());
                let note = format!("lanes of process {pid} in {place} cannot be read: {error}");
                match error.kind() {
                    // One that lives may be at its end, which takes them away before the owner file.
                    std::io::ErrorKind::NotFound => {
                        self.gone.push(GoneLanes::new(owner.logger, &found.path, note));
                    }
                    _ => self.notes.push(note),
                }
            }
        }
        runs.iter().for_each(|(_, run)| self.runs_bytes -= run.bytes_in_memory());
    }

    /// Plans the runs of a place, each with the ticks of its first record if it has one.
    fn plan_shot(
        &mut self,
        place: PathBuf,
        owner: &Owner,
        mut snapshot: Snapshot,
        mut found: Vec<(Option<u64>, Run)>,
    ) {
        for note in std::mem::take(&mut snapshot.notes) {
            self.notes.push(note);
        }
        let mut timeline = Timeline::default();
        for anchor in &snapshot.anchors {
            timeline.add(*anchor);
        }
        let logger = Arc::new(Logger {
            id: owner.logger,
            boot: owner.boot,
            clock: owner.clock,
            pid: owner.pid,
            app: owner.app.clone(),
            host: String::new(),
        });
        found.sort_by_key(|(_, run)| run.head().map(|h| (h.lane, h.generation, h.position)));
        // One whose runs have all been taken is not named by the plan any more.
        let is_done = |shot: &Shot| shot.runs.iter().all(|run| matches!(run, Run::Taken));
        let shot = self.shots.iter().position(is_done).unwrap_or(self.shots.len());
        let last_anchor = timeline.anchors().last().map_or(i64::MIN, |anchor| anchor.wall_ns);
        // From the last run on: the lane of the one before, and when that is due.
        let mut next: Option<((u32, u32), i64)> = None;
        for (i, (ticks, run)) in found.iter().enumerate().rev() {
            let lane = run.head().map(|head| (head.lane, head.generation));
            // A run of losses alone is behind its lane's earlier records, wherever they lie: due with
            // the lane's next run, and last of all when there is none. (Who follows has no last.)
            let last_of_all = self.limit_ns.max(last_anchor);
            let behind = || next.filter(|(of, _)| Some(*of) == lane).map_or(last_of_all, |it| it.1);
            let first = ticks.map_or_else(behind, |ticks| timeline.wall_ns(ticks));
            let due = self.axis.due(first, ticks.map_or(i64::MAX, |_| last_anchor.max(first)));
            let number = (1 << 62) + i as u64;
            self.plan.push(self.axis.plan(due, number, Unit::Run(shot, i)));
            next = lane.map(|lane| (lane, first));
        }
        if found.is_empty() {
            return;
        }
        let runs = found.into_iter().map(|(_, run)| run).collect();
        let new = Shot { logger, place, snapshot, runs };
        match self.shots.get_mut(shot) {
            Some(done) => *done = new,
            None => self.shots.push(new),
        }
    }

    /// Keeps a run until its time comes, in memory while there is room.
    fn hold(&mut self, head: RunHead, bytes: Vec<u8>) -> Run {
        if self.runs_bytes + bytes.len() > RUNS_BYTES_MAX {
            let spooled = self.merge.spool().map(|spool: &mut Spool| spool.append(&bytes));
            match spooled {
                Ok(Ok(start)) => return Run::Spooled(head, start, bytes.len()),
                Ok(Err(error)) => self.tell(Error::new(&std::env::temp_dir(), error.into())),
                Err(error) => self.tell(error),
            }
        }
        self.runs_bytes += bytes.len();
        Run::Memory(head, bytes)
    }

    /// What a gap cost beyond what other damage has told, now that every run that could have filled
    /// it was read.
    fn gap(&mut self, gap: Gap) -> Option<Damage> {
        let Gap { lane, skipped, damage } = gap;
        let missing = self.lanes.missing(lane, &skipped);
        let told = self.told.entry(lane.0).or_default();
        let records = missing.saturating_sub(*told);
        *told = told.saturating_sub(missing);
        let is_damage = records > 0
            && !self.files.has_gone(lane.0)
            && (!skipped.is_start || self.files.has_first(lane.0));
        is_damage.then_some(Damage { records: Some(records), ..damage })
    }

    /// A file could not be read. One that was packed is taken in anew; when retention has removed it
    /// or a new name replaced it, there may be names that were not listed yet (S5).
    fn miss(&mut self, index: usize, error: Error) {
        let file = &mut self.files.files[index];
        if !(file.listed && error.is_gone()) {
            return self.tell(error);
        }
        let is_news = !file.sealed || file.bytes > 0;
        (file.sealed, file.bytes) = (true, 0);
        match self.files.replaced(index) {
            Some(fresh) => self.plan_files(vec![fresh]),
            None if is_news => self.look_at_files(),
            None => {}
        }
    }

    fn tell(&mut self, error: Error) {
        self.ready.push_back(Err(error));
    }

    /// Opens the unit that is due next.
    fn open(&mut self) {
        let Some(planned) = self.plan.pop() else { return };
        let (file, result) = match planned.unit {
            Unit::File(index) => (Some(index), self.open_file(index)),
            Unit::Block(index, block) => (Some(index), self.open_block(index, &block)),
            Unit::Run(shot, run) => (None, self.open_run(shot, run)),
        };
        match (file, result) {
            (_, Ok(())) => {}
            (Some(index), Err(error)) => self.miss(index, error),
            (None, Err(error)) => self.tell(error),
        }
    }

    fn open_file(&mut self, index: usize) -> Result<(), Error> {
        let walk = match self.files.files[index].blocks.take() {
            Some(walk) => walk,
            None => self.files.walk(index)?,
        };
        self.plan_walk(index, walk);
        Ok(())
    }

    fn open_block(&mut self, index: usize, block: &BlockRef) -> Result<(), Error> {
        let mut payload = std::mem::take(&mut self.payload);
        let damage = self.files.read(index, block, &mut payload);
        let file = &self.files.files[index];
        self.bytes_done += block.header.padded_len(crate::store::block::ALIGN);
        match damage? {
            Read::Whole => {}
            Read::Unfinished => return Ok(()),
            Read::Damaged(damage) => {
                let walk = Walk { blocks: Vec::new(), damages: vec![damage] };
                self.plan_walk(index, walk);
                return Ok(());
            }
        }
        let (logger, segment, offset) = (&file.logger, Some(file.number), block.offset);
        let gaps = match self.query.is_gapless() {
            true => self.files.gaps(file, self.is_whole),
            false => Gaps::None,
        };
        let since_ns = file.since_ns(&self.query);
        let place = Place { logger, file: &file.path, offset, segment, gaps };
        let (query, lanes) = (&self.query, &mut self.lanes);
        let mut loom = Loom { query, lanes, shapes: &mut self.shapes, spans: &mut self.spans };
        let stream = loom.block(place, since_ns, &block.header, &payload);
        self.payload = payload;
        self.merge.add((file.logger.boot, file.logger.clock), stream)
    }

    /// Tells the losses that waited for runs of their lanes, now that there is nothing else; false
    /// when there were none.
    fn tell_aside(&mut self) -> Result<bool, Error> {
        let aside = self.lanes.take_aside();
        let any = !aside.is_empty();
        for Aside { head, logger, file, segment, anchors } in aside {
            // Of a lane whose next one has begun nothing comes any more.
            let is_dead = segment.is_some() && !self.files.alive.contains(&logger.id);
            let is_told = is_dead && self.query.is_gapless() && self.is_whole;
            let gaps = if is_told { Gaps::All } else { Gaps::None };
            let place = Place { logger: &logger, file: &file, offset: 0, segment, gaps };
            let (query, lanes) = (&self.query, &mut self.lanes);
            let mut loom = Loom { query, lanes, shapes: &mut self.shapes, spans: &mut self.spans };
            let stream = loom.last_run(place, &head, &anchors);
            self.merge.add((logger.boot, logger.clock), stream)?;
        }
        Ok(any)
    }

    fn open_run(&mut self, shot: usize, run: usize) -> Result<(), Error> {
        let shot = &mut self.shots[shot];
        let (head, bytes) = match std::mem::replace(&mut shot.runs[run], Run::Taken) {
            Run::Memory(head, bytes) => {
                self.runs_bytes -= bytes.len();
                (head, bytes)
            }
            Run::Spooled(head, start, len) => {
                let bytes = self.merge.spool()?.read(start, len);
                (head, bytes.map_err(|e| Error::new(&std::env::temp_dir(), e.into()))?)
            }
            Run::Taken => return Ok(()),
        };
        let (logger, file) = (&shot.logger, &shot.place);
        let place = Place { logger, file, offset: 0, segment: None, gaps: Gaps::None };
        let (query, lanes) = (&self.query, &mut self.lanes);
        let mut loom = Loom { query, lanes, shapes: &mut self.shapes, spans: &mut self.spans };
        let (definitions, anchors) = (&shot.snapshot.definitions, &shot.snapshot.anchors);
        let stream = loom.run(place, &head, &bytes, definitions, anchors);
        self.merge.add((shot.logger.boot, shot.logger.clock), stream)
    }
}

impl Iterator for Items {
    type Item = Result<Item, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                return Some(ready);
            }
            let nearest = self.merge.nearest();
            let due = self.plan.peek().map(|planned| planned.due);
            match (nearest, due) {
                (None, None) => match self.tell_aside() {
                    Ok(true) => {}
                    Ok(false) => return None,
                    Err(error) => return Some(Err(error)),
                },
                (Some((group, place)), due) if due.is_none_or(|due| due > place) => {
                    if !self.axis.reverse && place > self.limit_ns {
                        return None;
                    }
                    match self.merge.take(group, place) {
                        Ok(Some(Shown::Item(item))) => {
                            let (files, shapes) = (&self.files.files, &mut self.shapes);
                            return Some(Ok(self.spans.complete(item, files, shapes)));
                        }
                        Ok(Some(Shown::Gap(gap))) => {
                            if let Some(damage) = self.gap(gap) {
                                return Some(Ok(Item::Damage(damage)));
                            }
                        }
                        Ok(None) => {}
                        Err(error) => return Some(Err(error)),
                    }
                }
                _ => self.open(),
            }
        }
    }
}
