//! The names that programs compile against, each in the shape that they may rely on.
//!
//! Most of it is proven by compiling; what is cheap to run is run.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ttlog::ring::{self, LockFreeRingBuffer};
use ttlog::view::{Item, Query, Record, Source, Value};
use ttlog::{
    BackPressurePolicy, Builder, Compression, Console, Durability, Error, Fallback, Flushed,
    Handle, Health, IoChoice, Keep, Level, Redacted, Rotate, Stats,
};

const SECOND: Duration = Duration::from_secs(1);

/// Every setter; the same ones build a layer.
fn builder(dir: &Path) -> Builder {
    Builder::new(dir)
        .app("orders", "1.4.2")
        .filter("info,orders::db=debug")
        .lane_bytes(1 << 20)
        .lanes_bytes_max(64 << 20)
        .crash_safe(true)
        .write_within(Duration::from_millis(100))
        .back_pressure(BackPressurePolicy::SpillToDisk(dir.to_owned()))
        .back_pressure_at(Level::WARN, BackPressurePolicy::Block)
        .block_timeout(Duration::from_millis(50), Fallback::DropNewest)
        .spill_quota(1 << 30)
        .spill_wait(Duration::from_millis(50))
        .durability(Durability::Interval(SECOND))
        .rotate(Rotate::size(64 << 20).or(Rotate::daily()))
        .keep(
            Keep::total(2 << 30).age(Duration::from_secs(7 * 86_400)).count(100).min_free(1 << 30),
        )
        .compress(Compression::Compact)
        .io(IoChoice::Auto)
        .console(Console::Stderr)
        .flight_recorder(Level::TRACE, 16 << 20)
        .dump_on(Level::ERROR)
}

#[test]
fn a_logger_with_every_setting_logs_and_ends() {
    let dir = tempfile::tempdir().unwrap();
    let logger: Handle = builder(dir.path()).build().unwrap();
    ttlog::info!(logger: &logger, user.id = 42_u64, "hello");
    ttlog::trace!(logger: &logger, "for the flight recorder alone");
    let flushed: Result<Flushed, Error> = logger.flush(SECOND * 10);
    let _: u64 = flushed.unwrap().events;
    let _: Result<Flushed, Error> = logger.sync(SECOND * 10);
    let (_, _): (Stats, Health) = (logger.stats(), logger.health());
    let _: Result<(), Error> = logger.rotate();
    let _: Result<(), Error> = logger.set_filter("debug", Some(SECOND));
    let _: Result<Flushed, Error> = logger.snapshot(dir.path().join("snapshot.ttlog"));
    drop(logger.flush_async());
    let _: Result<Flushed, Error> = logger.shutdown(SECOND * 10);

    let mut records = Vec::new();
    for item in Source::open(dir.path()).unwrap().query(&Query::new().level(Level::INFO)) {
        match item.unwrap() {
            Item::Record(record) => records.push(record),
            Item::Lost(_) | Item::Damage(_) => panic!("nothing is lost"),
            _ => {}
        }
    }
    let record: &Record = &records[0];
    let _: (i64, Level) = (record.time_ns(), record.level());
    let _: std::borrow::Cow<'_, str> = record.message();
    assert_eq!(record.field("user.id"), Some(Value::from(42_u64)));
    assert_eq!(record.fields().count(), 1);
    assert_eq!(record.spans().len(), 0);
    let _ = (record.target(), record.thread(), record.pid(), record.file(), record.line());
}

/// Never called: what the process has once.
#[expect(dead_code, reason = "compiling is the test")]
fn global(dir: &Path) -> Result<(), Error> {
    let _: Handle = ttlog::init(dir)?;
    let _: Handle = Builder::new(dir).env_filter().lanes_in(dir).env().init()?;
    let _: () = ttlog::reinit_after_fork()?;
    let _: u8 = ttlog::in_signal_handler(|| 7);
    #[cfg(feature = "log")]
    let _: () = ttlog::bridge::init()?;
    Ok(())
}

#[cfg(feature = "tracing")]
#[expect(dead_code, reason = "compiling is the test")]
fn layer(dir: &Path) -> Result<(), Error> {
    let builder: ttlog::LayerBuilder = ttlog::layer(dir).lane_bytes(1 << 20).dump_on(Level::ERROR);
    let (_, _): (ttlog::Layer, Handle) = builder.flight_recorder(Level::TRACE, 1 << 20).build()?;
    Ok(())
}

#[test]
fn settings_are_named_as_documented() {
    let _ = [Durability::Never, Durability::EveryBlock];
    let _ = [IoChoice::Uring, IoChoice::Portable];
    let _ = [Compression::None, Compression::Zstd(3)];
    let _ = [Fallback::DropOldest, Fallback::SpillToDisk("spill".into())];
    let _ = [BackPressurePolicy::DropOldest, BackPressurePolicy::DropNewest];
    let _ = Rotate::hourly();
    assert_eq!(Level::TRACE, Level::Trace);
    assert_eq!(Level::ERROR, Level::Error);
    assert!(Level::TRACE < Level::ERROR);
    let secret = Redacted::from("secret");
    assert!(!format!("{secret:?}").contains("secret"));
}

#[test]
fn macros_have_their_names() {
    if ttlog::enabled!(Level::ERROR) {
        ttlog::event!(Level::ERROR, "x");
    }
    ttlog::warn!("x");
    ttlog::error!("x");
    ttlog::debug!("x");
    let _entered = ttlog::info_span!("request", id = 1).entered();
    drop(ttlog::span!(Level::INFO, "a"));
    drop((ttlog::trace_span!("a"), ttlog::debug_span!("a"), ttlog::warn_span!("a")));
    drop(ttlog::error_span!("a"));
}

#[test]
fn capture_gives_what_was_logged() {
    let captured: ttlog::test::Captured = ttlog::test::capture(|| ttlog::info!("here"));
    assert_eq!((captured.len(), captured.records().len()), (1, 1));
    assert!(captured.any(|record: &Record| record.message() == "here"));
}

#[test]
fn the_typed_ring_has_its_names() {
    let ring: LockFreeRingBuffer<u32> = LockFreeRingBuffer::new(4, BackPressurePolicy::Block);
    let _: Result<LockFreeRingBuffer<u32>, Error> =
        LockFreeRingBuffer::try_new(0, BackPressurePolicy::Block);
    let pushed: Result<(), ring::PushError<u32>> = ring.push(1);
    pushed.unwrap();
    ring.push_timeout(2, SECOND).unwrap();
    let batch: Result<usize, ring::BatchPushError<u32>> = ring.push_batch(vec![3, 4]);
    assert_eq!(batch.unwrap(), 2);
    assert_eq!(ring.take_batch(1), [1]);
    let mut out = Vec::new();
    assert_eq!(ring.take_into(&mut out, 1), 1);
    assert_eq!(ring.drain(), [3, 4]);
    let _: (usize, usize, BackPressurePolicy) =
        (ring.len(), ring.capacity(), ring.policy().clone());
    let _: ring::Stats = ring.stats();
    drop((ring.push_async(1), ring.take_batch_async(1)));
    ring.close();
    assert!(ring.is_closed());
    let refused: ring::PushError<u32> = ring.push(1).unwrap_err();
    match refused {
        ring::PushError::BufferFull(_) => panic!("it is closed"),
        ring::PushError::Closed(item) => assert_eq!(item, 1),
        ring::PushError::Spill { item: _, source } => {
            let _: io::Error = source;
        }
        _ => {}
    }
    let shared: Arc<LockFreeRingBuffer<u32>> =
        LockFreeRingBuffer::new_shared(4, BackPressurePolicy::DropNewest);
    let producer: ring::ProducerHandle<u32> = shared.clone_producer();
    producer.clone().push(1).unwrap();
    let consumer: Result<ring::ConsumerHandle<u32>, ring::TakeError> = shared.clone_consumer();
    assert_eq!(consumer.unwrap().take_batch(4), [1]);
    let mut newest: ring::RingBuffer<u32> = ring::RingBuffer::new(2);
    (0..3).for_each(|n| newest.push(n));
    assert_eq!(newest.take_snapshot(), [1, 2]);
}

#[test]
fn values_have_their_names() {
    fn is_value<V: ttlog::Value>(_: V) {}
    is_value(42_u64);
    #[cfg(feature = "serde")]
    is_value(ttlog::serde(&[1, 2]));
}

#[cfg(feature = "serde")]
#[test]
fn the_typed_ring_spills() {
    let dir = tempfile::tempdir().unwrap();
    let ring: Result<LockFreeRingBuffer<u32>, Error> =
        LockFreeRingBuffer::with_spill(2, dir.path().join("spill"));
    let ring = ring.unwrap();
    (0..10).for_each(|n| ring.push(n).unwrap());
    let mut taken = Vec::new();
    while taken.len() < 10 {
        taken.extend(ring.take_batch(4));
    }
    assert_eq!(taken, (0..10).collect::<Vec<_>>());
}

#[test]
fn io_has_its_names() {
    use ttlog::io::{
        BatchFuture, BufferError, BufferPool, BufferPoolConfig, BufferPoolStats, BufferState,
        Building, Completed, Driver, GenerationCounter, IoBackend, IoCompletion, IoFuture,
        IoHandle, IoOperation, IoState, Operation, OperationTracker, PinnedBuffer, PooledBuffer,
        ReadFuture, RegisteredBuffer, RegisteredFd, Registry, Remote, Ring, Submitted, WriteFuture,
    };
    #[expect(dead_code, reason = "compiling is the test")]
    fn named(
        _: (BatchFuture, ReadFuture<Vec<u8>>, WriteFuture<Vec<u8>>, IoFuture),
        _: (Operation<Building>, Operation<Submitted>, Operation<Completed<usize>>),
        _: (Driver, Remote, Ring, Registry, RegisteredFd, RegisteredBuffer),
        _: (IoOperation, IoCompletion, IoHandle, IoState, BufferState),
        _: (OperationTracker, GenerationCounter, BufferError, ttlog::io::Error),
        _: Box<dyn IoBackend>,
    ) {
    }
    let buffer = PinnedBuffer::with_capacity_aligned(4096);
    let _ = PinnedBuffer::with_capacity_numa(4096, None);
    let _: bool = buffer.is_available();
    let _ = buffer.generation();
    let _ = buffer.mark_in_use();
    let _ = buffer.mark_available();
    let pool = BufferPool::new(BufferPoolConfig::default());
    let _ = pool.prealloc(4096, 1);
    let lent: Option<PooledBuffer> = pool.allocate(4096);
    assert!(lent.is_some());
    let _: BufferPoolStats = pool.stats();
}
