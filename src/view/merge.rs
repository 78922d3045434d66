//! Merge: all streams in one order, opening no block before its time.
//!
//! # Invariants
//!
//! - **M1** Within one boot (and clock) streams are merged by ticks; boots among each other by UTC.
//!   Comparing both in one heap would have no consistent order once a wall clock steps.
//! - **M2** Nothing is shown before every unit that is due at its time has been opened.
//! - **M3** Decoded bytes in memory stay near [`DECODED_BYTES_MAX`]: past it streams are set aside
//!   in a file and read back through windows.

use std::collections::binary_heap::PeekMut;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

use crate::record::Head;

use super::error::Error;
use super::item::{Damage, Item, Lost, Mark, Record};
use super::once::{LaneId, Skipped};
use super::plan::Axis;
use super::stream::{MARK, Spool, Stream};

const DECODED_BYTES_MAX: usize = 24 << 20;
const WINDOWS_BYTES_MAX: usize = 8 << 20;
const WINDOW_BYTES_MAX: usize = 128 << 10;
const WINDOW_BYTES_MIN: usize = 4 << 10;

/// A boot of a machine and the kind of clock: what has ticks that can be compared.
pub(super) type Clock = ([u8; 16], u8);

/// What the merge gives.
#[derive(Debug)]
pub(super) enum Shown {
    Item(Item),
    /// Numbers that were skipped here: damage, if no other run had them.
    Gap(Gap),
}

/// A place where numbers of records were skipped.
#[derive(Debug)]
pub(super) struct Gap {
    pub(super) lane: LaneId,
    pub(super) skipped: Skipped,
    pub(super) damage: Damage,
}

/// A stream's next entry; its greatest is the one to be shown first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Front {
    /// The key, complemented when the least comes first.
    rank: u64,
    /// Of equal keys that of one logger is shown first, whatever was opened when, so that `-r` is
    /// the reverse; of one logger's the stream that was opened first.
    order: std::cmp::Reverse<(u64, u64)>,
    stream: usize,
}

/// The streams of one clock.
#[derive(Debug, Default)]
struct Group {
    clock: Clock,
    fronts: BinaryHeap<Front>,
    /// Where the first stands on the axis of reading.
    place: Option<i64>,
}

#[derive(Debug)]
struct Slot {
    stream: Stream,
    memory: usize,
}

/// The streams that are open, and what decides their order.
#[derive(Debug)]
pub(super) struct Merge {
    axis: Axis,
    clocks: HashMap<Clock, usize>,
    groups: Vec<Group>,
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    n_opened: u64,
    n_set_aside: usize,
    memory: usize,
    spool: Option<Spool>,
    /// The latest time shown so far.
    shown_ns: i64,
}

impl Merge {
    pub(super) fn new(axis: Axis) -> Self {
        Self {
            axis,
            clocks: HashMap::new(),
            groups: Vec::new(),
            slots: Vec::new(),
            free: Vec::new(),
            n_opened: 0,
            n_set_aside: 0,
            memory: 0,
            spool: None,
            shown_ns: i64::MIN,
        }
    }

    /// The file for what does not fit into memory.
    pub(super) fn spool(&mut self) -> Result<&mut Spool, Error> {
        if self.spool.is_none() {
            let spool = Spool::new();
            self.spool = Some(spool.map_err(|e| Error::new(&std::env::temp_dir(), e.into()))?);
        }
        Ok(self.spool.as_mut().expect("it was just made"))
    }

    /// Takes a stream in; one without entries is dropped.
    pub(super) fn add(&mut self, clock: Clock, stream: Stream) -> Result<(), Error> {
        let Some(head) = stream.head() else { return Ok(()) };
        let (memory, logger) = (stream.memory(), stream.tables.logger.id);
        self.memory += memory;
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[index] = Some(Slot { stream, memory });
        let groups = &mut self.groups;
        let group = *self.clocks.entry(clock).or_insert_with(|| {
            groups.push(Group { clock, ..Group::default() });
            groups.len() - 1
        });
        self.n_opened += 1;
        let order = std::cmp::Reverse((rank(self.axis, !logger), self.n_opened));
        let rank = rank(self.axis, head.key);
        self.groups[group].fronts.push(Front { rank, order, stream: index });
        self.groups[group].place = None;
        if self.memory > DECODED_BYTES_MAX { self.set_aside() } else { Ok(()) }
    }

    /// Where the next item stands on the axis of reading, and its group.
    pub(super) fn nearest(&mut self) -> Option<(usize, i64)> {
        let mut nearest: Option<(usize, i64)> = None;
        for index in 0..self.groups.len() {
            let Some(place) = self.place(index) else { continue };
            let is_before = |other: usize| {
                let (clock, other) = (self.groups[index].clock, self.groups[other].clock);
                if self.axis.reverse { clock > other } else { clock < other }
            };
            let is_nearer = |(other, least)| place < least || place == least && is_before(other);
            if nearest.is_none_or(is_nearer) {
                nearest = Some((index, place));
            }
        }
        nearest
    }

    fn place(&mut self, group: usize) -> Option<i64> {
        let group = &mut self.groups[group];
        if group.place.is_none() {
            let front = group.fronts.peek()?;
            let stream = &self.slots[front.stream].as_ref()?.stream;
            let time_ns = stream.tables.timeline.wall_ns(stream.head()?.key);
            group.place = Some(self.axis.at(time_ns));
        }
        group.place
    }

    /// Takes the next item of a group, which [`Merge::nearest`] has just given.
    pub(super) fn take(&mut self, group: usize, place: i64) -> Result<Option<Shown>, Error> {
        let group = &mut self.groups[group];
        group.place = None;
        let Some(mut front) = group.fronts.peek_mut() else { return Ok(None) };
        let index = front.stream;
        let slot = self.slots[index].as_mut().expect("a front stands for a stream");
        let Some(entry) = slot.stream.head() else { return Ok(None) };
        let time_ns = self.axis.at(place);
        let late = !self.axis.reverse && time_ns < self.shown_ns;
        self.shown_ns = self.shown_ns.max(time_ns);
        let tables = &slot.stream.tables;
        let item = if entry.shape == MARK {
            match &tables.marks[entry.at as usize] {
                Mark::Damage(damage) => Shown::Item(Item::Damage(damage.clone())),
                Mark::Gap { lane, skipped, damage } => {
                    Shown::Gap(Gap { lane: *lane, skipped: *skipped, damage: damage.clone() })
                }
                Mark::Lost { losses, origin } => Shown::Item(Item::Lost(Lost {
                    tables: Arc::clone(tables),
                    losses: losses.clone(),
                    origin: *origin,
                    time_ns,
                })),
            }
        } else {
            // Its key is not below those of its lane's earlier records; its time is its own.
            let head = Head::read(slot.stream.bytes.get(entry.at as usize..).unwrap_or_default());
            let own = head.filter(|head| head.ticks != entry.key);
            let time_ns = own.map_or(time_ns, |head| tables.timeline.wall_ns(head.ticks));
            Shown::Item(Item::Record(Record {
                tables: Arc::clone(tables),
                bytes: Arc::clone(&slot.stream.bytes),
                at: entry.at,
                origin: entry.origin,
                shape: entry.shape,
                time_ns,
                late,
                spans: Arc::default(),
            }))
        };
        let was_aside = slot.stream.is_set_aside();
        let advanced = slot.stream.advance(self.spool.as_ref(), window(self.n_set_aside));
        let next = if advanced.is_ok() { slot.stream.head() } else { None };
        if was_aside {
            let memory = slot.stream.memory();
            self.memory = self.memory + memory - slot.memory;
            slot.memory = memory;
            self.n_set_aside -= usize::from(!slot.stream.is_set_aside());
        }
        match next {
            Some(next) => front.rank = rank(self.axis, next.key),
            None => {
                PeekMut::pop(front);
                self.memory -= slot.memory;
                self.slots[index] = None;
                self.free.push(index);
            }
        }
        advanced.map_err(|error| Error::new(&std::env::temp_dir(), error.into()))?;
        Ok(Some(item))
    }

    /// Moves the largest streams to a file until half of the memory is free.
    fn set_aside(&mut self) -> Result<(), Error> {
        let mut by_size: Vec<(usize, usize)> = Vec::new();
        for (index, slot) in self.slots.iter().enumerate() {
            if let Some(slot) = slot.as_ref().filter(|slot| !slot.stream.is_set_aside()) {
                by_size.push((slot.memory, index));
            }
        }
        by_size.sort_unstable_by(|a, b| b.cmp(a));
        self.spool()?;
        for (_, index) in by_size {
            if self.memory <= DECODED_BYTES_MAX / 2 {
                break;
            }
            let (Some(slot), Some(spool)) = (&mut self.slots[index], &mut self.spool) else {
                continue;
            };
            let result = slot.stream.set_aside(spool, window(self.n_set_aside + 1));
            result.map_err(|error| Error::new(&std::env::temp_dir(), error.into()))?;
            let memory = slot.stream.memory();
            self.memory = self.memory + memory - slot.memory;
            slot.memory = memory;
            self.n_set_aside += usize::from(slot.stream.is_set_aside());
        }
        Ok(())
    }
}

fn rank(axis: Axis, key: u64) -> u64 {
    if axis.reverse { key } else { !key }
}

fn window(n_set_aside: usize) -> usize {
    (WINDOWS_BYTES_MAX / n_set_aside.max(1)).clamp(WINDOW_BYTES_MIN, WINDOW_BYTES_MAX)
}
