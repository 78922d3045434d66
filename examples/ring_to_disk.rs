//! Many producers, one typed ring, one file: items go through a bounded ring into pooled, pinned
//! buffers, and from there to the disk with several writes in flight. In the end the file is read
//! back and counted.
//!
//! ```text
//!  producer ─┐
//!  producer ─┼─► LockFreeRingBuffer ─► take_batch ─► BufferPool ─► ttlog::io ─► FILE
//!  producer ─┘
//!
//! cargo run --release --example ring_to_disk [FILE [PRODUCERS [ITEMS]]]
//! ```
#![expect(clippy::print_stdout, reason = "an example shows what it does")]
#![cfg_attr(test, expect(dead_code, reason = "a test has no use for main"))]

use std::collections::HashMap;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ttlog::io::{
    self, BufferPool, BufferPoolConfig, IoBackend, IoBackendKind, IoChoice, IoCompletion, IoFd,
    IoHandle, IoOperation, PooledBuffer,
};
use ttlog::ring::{BackPressurePolicy, LockFreeRingBuffer};

/// Slots of the ring, items that are taken at a time, bytes of a buffer, buffers.
const RING: usize = 4096;
const BATCH: usize = 1024;
const BUFFER_BYTES: usize = 64 << 10;
const BUFFERS: usize = 8;

/// What a producer hands over: 16 bytes in the file.
#[derive(Debug, Clone, Copy)]
struct Item {
    producer: u64,
    n: u64,
}

const ITEM_BYTES: usize = 16;

/// What arrived, and by which way.
#[derive(Debug)]
pub(crate) struct Report {
    /// Items of each producer that are in the file, in the order in which they were pushed.
    pub(crate) arrived: Vec<u64>,
    /// Items that the ring says it delivered.
    pub(crate) delivered: u64,
    /// How often a producer slept on a full ring.
    pub(crate) parked: u64,
    /// Buffers that were made in all.
    pub(crate) buffers: usize,
    pub(crate) kind: IoBackendKind,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let number = |at: usize, default| args.get(at).map_or(Ok(default), |text| text.parse());
    let scratch = tempfile::tempdir()?;
    let file = args.first().map_or_else(|| scratch.path().join("items"), Into::into);
    let (producers, items) = (number(1, 4)?, number(2, 1_000_000)?);
    let began = Instant::now();
    let report = ring_to_disk(&file, producers, items, IoChoice::Auto)?;
    let arrived: u64 = report.arrived.iter().sum();
    println!(
        "{producers} producers, {} items taken, {arrived} in the file, in {:.1?} by {} through {} \
         buffers of 64 KiB; producers slept {} times",
        report.delivered,
        began.elapsed(),
        report.kind.name(),
        report.buffers,
        report.parked,
    );
    Ok(())
}

/// Sends `items` items of each producer to the file, and reads them back.
pub(crate) fn ring_to_disk(
    file: &Path,
    producers: u64,
    items: u64,
    choice: IoChoice,
) -> Result<Report, Box<dyn Error>> {
    let ring = LockFreeRingBuffer::new_shared(RING, BackPressurePolicy::Block);
    let target = IoFd::from(std::fs::File::create(file)?);
    let mut writer = Writer::new(target, io::backend(choice)?);
    thread::scope(|scope| -> Result<(), Box<dyn Error>> {
        for producer in 0..producers {
            let pushes = ring.clone_producer();
            scope.spawn(move || {
                for n in 0..items {
                    // Fails only once the ring is closed, and the consumer says why.
                    if pushes.push(Item { producer, n }).is_err() {
                        return;
                    }
                }
            });
        }
        let written = write_all(&ring, producers * items, &mut writer);
        // Producers that wait for room are told when the disk fails.
        ring.close();
        written
    })?;
    let stats = ring.stats();
    Ok(Report {
        arrived: count(&std::fs::read(file)?, producers)?,
        delivered: stats.delivered,
        parked: stats.parked,
        buffers: writer.pool.stats().capacity,
        kind: writer.backend.stats().kind,
    })
}

/// Takes so many items from the ring and writes them.
fn write_all(
    ring: &Arc<LockFreeRingBuffer<Item>>,
    n_items: u64,
    writer: &mut Writer,
) -> Result<(), Box<dyn Error>> {
    let takes = ring.clone_consumer()?;
    let mut n_taken = 0;
    while n_taken < n_items {
        for item in takes.take_batch_timeout(BATCH, Duration::from_secs(1)) {
            writer.push(item)?;
            n_taken += 1;
        }
    }
    writer.finish()
}

/// Fills buffers and keeps writes in flight.
struct Writer {
    target: IoFd,
    backend: Box<dyn IoBackend>,
    pool: BufferPool,
    /// The buffer that is being filled, and how far it is.
    filling: Option<(PooledBuffer, usize)>,
    offset: u64,
    /// Where each write in flight goes, and which part of its buffer.
    flying: HashMap<IoHandle, (u64, usize, usize)>,
}

impl Writer {
    fn new(target: IoFd, backend: Box<dyn IoBackend>) -> Self {
        let pool = BufferPool::new(BufferPoolConfig {
            size_classes: vec![BUFFER_BYTES],
            prealloc_count: BUFFERS,
            max_memory: BUFFERS * BUFFER_BYTES,
            ..BufferPoolConfig::default()
        });
        Self { target, backend, pool, filling: None, offset: 0, flying: HashMap::new() }
    }

    fn push(&mut self, item: Item) -> Result<(), Box<dyn Error>> {
        let (mut buffer, at) = match self.filling.take() {
            Some(filling) => filling,
            None => (self.buffer()?, 0),
        };
        buffer[at..at + 8].copy_from_slice(&item.producer.to_le_bytes());
        buffer[at + 8..at + ITEM_BYTES].copy_from_slice(&item.n.to_le_bytes());
        let end = at + ITEM_BYTES;
        if end + ITEM_BYTES > buffer.len() {
            return self.write(buffer, end);
        }
        self.filling = Some((buffer, end));
        Ok(())
    }

    /// A buffer of the pool, once one is there.
    fn buffer(&mut self) -> Result<PooledBuffer, Box<dyn Error>> {
        loop {
            if let Some(buffer) = self.pool.allocate(BUFFER_BYTES) {
                return Ok(buffer);
            }
            self.reap()?;
        }
    }

    fn write(&mut self, buffer: PooledBuffer, len: usize) -> Result<(), Box<dyn Error>> {
        let at = self.offset;
        self.offset += len as u64;
        let write = IoOperation::write(&self.target, buffer, at).in_range(0..len);
        let handle = self.backend.submit(write)?;
        self.flying.insert(handle, (at, 0, len));
        Ok(())
    }

    /// Waits for writes; what the disk took only a part of goes on.
    fn reap(&mut self) -> Result<(), Box<dyn Error>> {
        for IoCompletion { handle, result, buffer, .. } in self.backend.poll(None)? {
            let (at, from, end) = self.flying.remove(&handle).ok_or("a completion of nobody")?;
            let written = from + result?;
            if written < end {
                let buffer = buffer.ok_or("a completion without its buffer")?;
                let rest = IoOperation::write(&self.target, buffer, at + written as u64);
                let handle = self.backend.submit(rest.in_range(written..end))?;
                self.flying.insert(handle, (at, written, end));
            }
        }
        Ok(())
    }

    /// Writes what is left, and waits until all of it is on the disk.
    fn finish(&mut self) -> Result<(), Box<dyn Error>> {
        if let Some((buffer, len)) = self.filling.take() {
            self.write(buffer, len)?;
        }
        while !self.flying.is_empty() {
            self.reap()?;
        }
        self.backend.submit(IoOperation::fdatasync(&self.target))?;
        self.backend.poll(None)?.into_iter().try_for_each(|done| done.result.map(|_| ()))?;
        Ok(())
    }
}

/// Counts the items of each producer, which have to stand in the order of their numbers.
fn count(bytes: &[u8], producers: u64) -> Result<Vec<u64>, Box<dyn Error>> {
    let mut next = vec![0; usize::try_from(producers)?];
    let (items, rest) = bytes.as_chunks::<ITEM_BYTES>();
    if !rest.is_empty() {
        return Err("the file ends inside an item".into());
    }
    for item in items {
        let (producer, n) = item.split_at(8);
        let producer = usize::try_from(u64::from_le_bytes(producer.try_into()?))?;
        let n = u64::from_le_bytes(n.try_into()?);
        let next = next.get_mut(producer).ok_or("an item of nobody")?;
        if n != *next {
            return Err(format!("producer {producer}: {n} where {next} was to come").into());
        }
        *next += 1;
    }
    Ok(next)
}
