//! The safe ring: ownership, errors, wakers, batches, registrations. Linux with io_uring.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]

use std::cell::RefCell;
use std::future::Future;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use ttlog::io::{
    Batch, BufferPool, BufferPoolConfig, BufferState, ErrorKind, IoBackend as _, IoBuffer, IoFd,
    IoOperation, MAX_BATCH_SIZE, OFFSET_NONE, OpenOptions, Operation, PinnedBuffer, Registry, Ring,
    UringBackend,
};

/// A ring, or none where the system has no io_uring: then the test says so.
fn ring(entries: u32) -> Option<Ring> {
    Ring::new(entries).map_err(|error| println!("not run: {error}")).ok()
}

fn temp_file(bytes: &[u8]) -> (tempfile::NamedTempFile, IoFd) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    let fd = IoFd::from(file.reopen().unwrap());
    (file, fd)
}

/// A pipe that nobody writes to: reads of it stay in flight.
fn quiet_pipe() -> (IoFd, std::io::PipeWriter) {
    let (reader, writer) = std::io::pipe().unwrap();
    (IoFd::from(reader), writer)
}

/// An executor that knows nothing of rings: parks its thread.
fn park_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        std::thread::park();
    }
}

#[test]
fn bytes_go_out_and_come_back() {
    let Some(ring) = ring(8) else { return };
    let (file, fd) = temp_file(b"");
    let (result, buffer) = ring.block_on(ring.write_all(&fd, b"hello world".to_vec(), 0));
    result.unwrap();
    assert_eq!(std::fs::read(file.path()).unwrap(), buffer);
    let (n, buffer) = ring.block_on(ring.read(&fd, PinnedBuffer::with_capacity_aligned(64), 6));
    assert_eq!((n.unwrap(), &buffer[..5]), (5, &b"world"[..]));
    assert_eq!((buffer.is_available(), buffer.generation()), (true, 2));
    let pieces = vec![IoBuffer::from(vec![0; 3]), PinnedBuffer::with_capacity_aligned(4).into()];
    let (n, pieces) = ring.block_on(ring.read_vectored(&fd, pieces, 0));
    assert_eq!(n.unwrap(), 7);
    assert_eq!((pieces[0].as_slice(), pieces[1].as_slice()), (&b"hel"[..], &b"lo w"[..]));
    let (n, _) = ring.block_on(ring.write_vectored(&fd, pieces, 11));
    assert_eq!(n.unwrap(), 7);
    ring.block_on(ring.fsync(&fd)).unwrap();
    ring.block_on(ring.fdatasync(&fd)).unwrap();
    assert_eq!(std::fs::read(file.path()).unwrap(), b"hello worldhello w");
    assert_eq!(ring.tracker().in_flight, 0);
}

#[test]
fn a_whole_buffer_goes_through_a_pipe_piece_by_piece() {
    let Some(ring) = ring(8) else { return };
    let (mut reader, writer) = std::io::pipe().unwrap();
    let all: Vec<_> = (0..1 << 20).map(|n: u32| (n % 251) as u8).collect();
    let read = std::thread::spawn(move || {
        let mut read = Vec::new();
        reader.read_to_end(&mut read).map(|_| read)
    });
    let (written, all) = ring.block_on(ring.write_all(writer, all, OFFSET_NONE));
    written.unwrap();
    assert!(read.join().unwrap().unwrap() == all);
}

#[test]
fn a_ring_that_waits_for_ever_ends_with_nothing_in_flight() {
    match Ring::builder().drain_max(Duration::MAX).build() {
        Ok(ring) => drop(ring),
        Err(error) => println!("not run: {error}"),
    }
}

#[test]
fn files_are_opened_and_closed() {
    let Some(ring) = ring(8) else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    let options = OpenOptions::new().write(true).create_new(true).mode(0o600);
    let fd = ring.block_on(ring.open(&path, options).unwrap()).unwrap();
    let again = ring.block_on(ring.open(&path, options).unwrap());
    assert_eq!(again.unwrap_err().kind(), ErrorKind::Os(libc_exist()));
    let clone = fd.clone();
    assert_eq!(ring.block_on(ring.close_fd(fd)).unwrap_err().kind(), ErrorKind::InUse);
    let number = clone.as_fd().unwrap().as_raw_fd();
    ring.block_on(ring.close_fd(clone)).unwrap();
    assert!(!std::path::Path::new(&format!("/proc/self/fd/{number}")).exists() || number < 3);
    assert!(ring.open("a\0b", options).is_err());
}

fn libc_exist() -> i32 {
    rustix::io::Errno::EXIST.raw_os_error()
}

#[test]
fn an_error_brings_the_same_buffer_back() {
    let Some(ring) = ring(8) else { return };
    let read_only = IoFd::from(std::fs::File::open("/dev/null").unwrap());
    let buffer = PinnedBuffer::with_capacity_aligned(64);
    let start = buffer.as_ptr();
    let (result, buffer) = ring.block_on(ring.write(&read_only, buffer, 7));
    let error = result.unwrap_err();
    assert_eq!(error.raw_os_error(), Some(9));
    let number = read_only.as_fd().unwrap().as_raw_fd();
    let text = error.to_string();
    assert!(text.starts_with(&format!("write of descriptor {number} at 7: ")), "{text}");
    assert_eq!(buffer.as_ptr(), start);
    // What is refused before the kernel hears of it, too.
    buffer.mark_in_use();
    let (result, buffer) = ring.block_on(ring.write(&read_only, buffer, 0));
    assert_eq!(result.unwrap_err().kind(), ErrorKind::BufferInFlight);
    assert_eq!((buffer.as_ptr(), buffer.is_available()), (start, false));
    buffer.mark_available();
    let operation = IoOperation::read(&read_only, buffer, 0).in_range(60..65);
    let done = ring.block_on(ring.run(operation));
    assert_eq!(done.result.unwrap_err().kind(), ErrorKind::OutOfBounds { end: 65, len: 64 });
    assert!(done.buffer.is_some());
}

#[test]
fn more_operations_than_the_queue_has_places() {
    let Some(ring) = ring(2) else { return };
    assert_eq!(ring.capacity(), 2);
    let (_file, fd) = temp_file(&[7; 300]);
    let reads: Vec<_> = (0..300).map(|at| ring.read(&fd, vec![0], at)).collect();
    for read in reads {
        let (n, byte) = ring.block_on(read);
        assert_eq!((n.unwrap(), byte[0]), (1, 7));
    }
    let stats = ring.stats();
    assert_eq!((stats.submitted, stats.completed, stats.stale), (300, 300, 0));
}

#[test]
fn what_has_no_room_among_the_completions_is_brought_without_waiting() {
    let Some(_) = ring(1) else { return };
    let mut backend = UringBackend::new(1).unwrap();
    let mut done = Vec::new();
    for _ in 0..3 {
        // Room for two: the kernel keeps the others until it is called.
        let n = (0..50).take_while(|_| backend.submit(IoOperation::Nop).is_ok()).count();
        assert!(n > 2);
        for _ in 0..2 * n {
            backend.poll_into(Some(Duration::ZERO), &mut done).unwrap();
        }
        assert_eq!((done.drain(..).count(), backend.in_flight()), (n, 0));
    }
}

#[test]
fn a_queue_without_room_marks_a_buffer_once() {
    let Some(_) = ring(1) else { return };
    let mut backend = UringBackend::new(1).unwrap();
    let zero = IoFd::from(std::fs::File::open("/dev/zero").unwrap());
    let pool = BufferPool::new(BufferPoolConfig::default());
    for _ in 0..8 {
        let (pinned, pooled) = (PinnedBuffer::with_capacity_aligned(16), pool.allocate(16));
        backend.submit(IoOperation::read(&zero, pinned, 0)).unwrap();
        backend.submit(IoOperation::read(&zero, pooled.unwrap(), 0)).unwrap();
        while backend.in_flight() > 0 {
            for done in backend.poll(None).unwrap() {
                match done.buffer {
                    Some(IoBuffer::Pinned(buffer)) => assert_eq!(buffer.generation(), 2),
                    Some(IoBuffer::Pooled(buffer)) => {
                        assert_eq!(buffer.pinned().generation() % 2, 0);
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    }
}

#[test]
fn a_thousand_operations_reuse_one_buffer() {
    let Some(ring) = ring(8) else { return };
    let zero = IoFd::from(std::fs::File::open("/dev/zero").unwrap());
    let mut buffer = PinnedBuffer::with_capacity_aligned(16);
    let start = buffer.as_ptr();
    for _ in 0..1000 {
        buffer = ring.block_on(ring.read(&zero, buffer, OFFSET_NONE)).1;
    }
    assert_eq!((buffer.as_ptr(), buffer.generation()), (start, 2000));
}

#[test]
fn dropped_futures_give_their_buffers_to_the_pool_in_the_end() {
    let Some(ring) = ring(64) else { return };
    let (pipe, _writer) = quiet_pipe();
    let pool = BufferPool::new(BufferPoolConfig::default());
    for n in 0..1000 {
        let mut future = ring.read(&pipe, pool.allocate(4096).unwrap(), OFFSET_NONE);
        if n % 3 > 0 {
            let poll = pin!(&mut future).poll(&mut Context::from_waker(Waker::noop()));
            assert!(poll.is_pending());
        }
        drop(future);
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    while pool.stats().in_use > 0 {
        assert!(Instant::now() < deadline, "{:?}", pool.stats());
        ring.block_on(ring.nop()).unwrap();
    }
    assert_eq!(ring.tracker().in_flight, 0);
}

#[test]
fn leaked_futures_keep_their_buffers_until_the_ring_ends() {
    let Some(ring) = ring(64) else { return };
    let (pipe, _writer) = quiet_pipe();
    let pool = BufferPool::new(BufferPoolConfig::default());
    for _ in 0..100 {
        std::mem::forget(ring.read(&pipe, pool.allocate(4096).unwrap(), OFFSET_NONE));
    }
    ring.submit().unwrap();
    assert_eq!((pool.stats().in_use, ring.tracker().in_flight), (100, 100));
    ring.close().unwrap();
    assert_eq!(pool.stats().in_use, 0);
    // And they can be used again.
    let buffers: Vec<_> = (0..100).map(|_| pool.allocate(4096).unwrap()).collect();
    assert!(buffers.iter().all(|buffer| buffer.pinned().is_available()));
}

#[test]
fn a_cancelled_operation_gives_its_buffer_once() {
    let Some(ring) = ring(8) else { return };
    let (pipe, writer) = quiet_pipe();
    let mut read = ring.read(&pipe, vec![0; 8], OFFSET_NONE);
    assert!(pin!(&mut read).poll(&mut Context::from_waker(Waker::noop())).is_pending());
    let handle = read.handle().unwrap();
    assert!(read.cancel().unwrap());
    let (result, buffer) = ring.block_on(read);
    assert!(result.unwrap_err().is_cancelled());
    assert_eq!(buffer.len(), 8);
    assert!(!ring.cancel(handle).unwrap());
    let timeout = ring.timeout(Duration::from_secs(3600));
    assert!(timeout.cancel().unwrap());
    assert!(ring.block_on(timeout).unwrap_err().is_cancelled());
    drop(writer);
}

#[test]
fn a_timeout_takes_its_time() {
    let Some(ring) = ring(8) else { return };
    let begin = Instant::now();
    ring.block_on(ring.timeout(Duration::from_millis(30))).unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(30));
}

#[test]
fn a_ring_moves_with_work_in_flight() {
    let Some(ring) = ring(8) else { return };
    let (pipe, mut writer) = quiet_pipe();
    let submit =
        |n: usize| Operation::read().set_fd(&pipe).set_buffer(vec![0; n]).submit(&ring).unwrap();
    let (first, second) = (submit(4), submit(4));
    assert_eq!(first.buffer_state(&ring), BufferState::InFlight(first.handle()));
    let pending = first.result(&ring).unwrap_err();
    assert_eq!(pending.error.kind(), ErrorKind::OperationPending);
    let (first, other) = (pending.operation, Ring::new(2).unwrap());
    let elsewhere = first.result(&other).unwrap_err();
    assert_eq!(elsewhere.error.kind(), ErrorKind::NotRegistered);
    let first = elsewhere.operation;
    let moved = std::thread::spawn(move || {
        writer.write_all(b"abcdefgh").unwrap();
        let done = first.wait(&ring).into_parts();
        drop(second); // given up: its buffer goes with its completion
        ring.block_on(ring.nop()).unwrap();
        (done, ring)
    });
    let ((result, buffer), ring) = moved.join().unwrap();
    assert_eq!(result.unwrap(), 4);
    // Which of two reads of one pipe is served first is the kernel's choice.
    assert!(
        [b"abcd", b"efgh"].contains(&&<[u8; 4]>::try_from(buffer.unwrap().as_slice()).unwrap())
    );
    ring.block_on(ring.nop()).unwrap();
    ring.reap();
    assert_eq!(ring.tracker().in_flight, 0);
}

/// The kernel cancels what waits when the thread ends that handed it over: nothing is lost by that.
#[test]
fn what_waits_comes_back_from_a_thread_that_has_ended() {
    let Some(ring) = ring(8) else { return };
    let (pipe, mut writer) = quiet_pipe();
    let read = |ring: &Ring, buffer: IoBuffer| {
        Operation::read().set_fd(&pipe).set_buffer(buffer).submit(ring).unwrap()
    };
    let (ring, begun) = std::thread::scope(|scope| {
        let begin = || {
            let begun = read(&ring, vec![0; 4].into());
            (ring, begun)
        };
        scope.spawn(begin).join().unwrap()
    });
    std::thread::sleep(Duration::from_millis(20));
    writer.write_all(b"x").unwrap();
    let (result, buffer) = begun.wait(&ring).into_parts();
    let (result, buffer) = match result {
        Err(error) if error.is_cancelled() => read(&ring, buffer.unwrap()).wait(&ring).into_parts(),
        other => (other, buffer),
    };
    assert_eq!((result.unwrap(), buffer.unwrap().as_slice()), (1, &b"x\0\0\0"[..]));
}

#[test]
fn an_operation_without_its_parts_comes_back() {
    let Some(ring) = ring(8) else { return };
    let refused = Operation::read().set_buffer(vec![1, 2]).set_offset(3).submit(&ring).unwrap_err();
    assert!(refused.to_string().contains("set_fd"), "{refused}");
    let mut operation = refused.operation;
    assert_eq!(operation.take_buffer().unwrap().as_slice(), [1, 2]);
    let zero = std::fs::File::open("/dev/zero").unwrap();
    let refused = operation.set_fd(zero).submit(&ring).unwrap_err();
    assert!(refused.to_string().contains("set_buffer"), "{refused}");
    let operation = refused.operation.set_buffer(vec![1; 4]).set_range(2..9);
    let mut refused = operation.submit(&ring).unwrap_err();
    assert_eq!(refused.error.kind(), ErrorKind::OutOfBounds { end: 9, len: 4 });
    assert_eq!(refused.operation.take_buffer().unwrap().len(), 4);
}

#[test]
fn any_executor_is_woken_and_waits_without_work() {
    // Alone in a process, so that its processor time, with the thread that watches, is all.
    const CHILD: &str = "IO_IDLE_CHILD";
    if std::env::var_os(CHILD).is_none() {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["any_executor_is_woken_and_waits_without_work", "--exact", "--nocapture"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        print!("{}", String::from_utf8_lossy(&output.stdout));
        assert!(output.status.success(), "{output:?}");
        return;
    }
    let Some(ring) = ring(8) else { return };
    let (pipe, mut writer) = quiet_pipe();
    let cpu = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    };
    let before = cpu();
    let late = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(1));
        writer.write_all(b"x").unwrap();
    });
    let (n, _) = park_on(ring.read(&pipe, vec![0; 8], OFFSET_NONE));
    assert_eq!(n.unwrap(), 1);
    late.join().unwrap();
    let spent = cpu() - before;
    println!("1 s of waiting under another executor: {spent:?} of CPU in the process");
    assert!(spent < Duration::from_millis(10), "{spent:?}");
}

#[test]
fn tasks_of_another_executor_wake_each_other() {
    let Some(ring) = ring(8) else { return };
    let (pipe, writer) = quiet_pipe();
    // A leaked future's waker leads nowhere; others must not wait for it.
    let mut lost = ring.read(&pipe, vec![0; 1], OFFSET_NONE);
    assert!(pin!(&mut lost).poll(&mut Context::from_waker(Waker::noop())).is_pending());
    std::mem::forget(lost);
    for _ in 0..20 {
        park_on(ring.timeout(Duration::from_millis(1))).unwrap();
    }
    drop(writer);
}

#[test]
fn wakers_and_destructors_may_call_back() {
    thread_local! {
        static RING: RefCell<Option<Rc<Ring>>> = const { RefCell::new(None) };
    }
    struct CallsBack(std::sync::atomic::AtomicU64);
    impl CallsBack {
        fn call() {
            RING.with_borrow(|ring| {
                if let Some(ring) = ring {
                    ring.reap();
                    drop(ring.nop());
                    let _ = (ring.submit(), ring.tracker(), ring.stats());
                }
            });
        }
    }
    impl Wake for CallsBack {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Self::call();
        }
    }
    impl Drop for CallsBack {
        fn drop(&mut self) {
            Self::call();
        }
    }
    let Some(ring) = ring(8) else { return };
    let ring = Rc::new(ring);
    RING.set(Some(Rc::clone(&ring)));
    let (pipe, mut writer) = quiet_pipe();
    let poll = |future: &mut (dyn Future<Output = _> + Unpin)| {
        let waker = Waker::from(Arc::new(CallsBack(0.into())));
        let poll = std::pin::Pin::new(future).poll(&mut Context::from_waker(&waker));
        assert!(matches!(poll, Poll::Pending));
    };
    let mut read = ring.read(&pipe, vec![0; 8], OFFSET_NONE);
    poll(&mut read);
    poll(&mut read); // the first waker is dropped for the second
    writer.write_all(b"y").unwrap();
    let (n, _) = ring.block_on(read);
    assert_eq!(n.unwrap(), 1);
    let mut dropped = ring.read(&pipe, vec![0; 8], OFFSET_NONE);
    poll(&mut dropped);
    drop(dropped);
    ring.block_on(ring.timeout(Duration::from_millis(5))).unwrap();
    RING.set(None);
}

#[test]
fn a_batch_is_checked_before_anything_begins() {
    let Some(ring) = ring(8) else { return };
    let nops = |n: usize| {
        let mut batch = Batch::new();
        for _ in 0..n {
            batch.push(IoOperation::Nop);
        }
        batch
    };
    let refused = |batch: Batch| ring.submit_batch(batch).unwrap_err().error.kind();
    assert!(matches!(refused(nops(0)), ErrorKind::BatchInvalid(_)));
    let (size, max) = (MAX_BATCH_SIZE + 1, MAX_BATCH_SIZE);
    assert_eq!(refused(nops(size)), ErrorKind::BatchTooLarge { size, max });
    for (dependent, on) in [(0, 0), (0, 7), (7, 0)] {
        let mut batch = nops(3);
        batch.depends(dependent, on);
        assert!(matches!(refused(batch), ErrorKind::BatchInvalid(_)), "{dependent} {on}");
    }
    let mut circle = nops(3);
    circle.depends(0, 1).depends(1, 2).depends(2, 0);
    assert!(matches!(refused(circle), ErrorKind::BatchInvalid(_)));
    assert_eq!(ring.stats().submitted, 0);
    let all = ring.block_on(ring.submit_batch(nops(max)).unwrap());
    assert_eq!((all.len(), all.iter().filter(|done| done.result.is_ok()).count()), (max, max));
}

#[test]
fn a_dependent_sees_what_it_depends_on() {
    let Some(ring) = ring(8) else { return };
    let (_file, fd) = temp_file(b"........");
    for _ in 0..50 {
        let mut batch = Batch::new();
        let read = batch.push(IoOperation::read(&fd, vec![0; 8], 0));
        let write = batch.push(IoOperation::write(&fd, b"abcdefgh".to_vec(), 0));
        batch.depends(read, write);
        let results = park_on(ring.submit_batch(batch).unwrap());
        assert_eq!(results[read].buffer.as_ref().unwrap().as_slice(), b"abcdefgh");
        assert_eq!(results[write].result.as_ref().unwrap(), &8);
    }
}

#[test]
fn after_a_failure_nothing_that_depends_on_it_begins() {
    let Some(ring) = ring(8) else { return };
    let (file, fd) = temp_file(b"as it was");
    let read_only = IoFd::from(std::fs::File::open("/dev/null").unwrap());
    let (pipe, _writer) = quiet_pipe();
    for fail_fast in [false, true] {
        let mut batch = Batch::new();
        batch.fail_fast(fail_fast);
        let fine = batch.push(IoOperation::fsync(&fd));
        let bad = batch.push(IoOperation::write(&read_only, vec![1], 0));
        let dependent = batch.push(IoOperation::write(&fd, b"changed".to_vec(), 0));
        let deeper = batch.push(IoOperation::write(&fd, b"changed".to_vec(), 0));
        batch.depends(dependent, bad).depends(deeper, dependent);
        let waits =
            fail_fast.then(|| batch.push(IoOperation::read(&pipe, vec![0; 4], OFFSET_NONE)));
        let results = ring.block_on(ring.submit_batch(batch).unwrap());
        assert!(results[fine].result.is_ok() || fail_fast);
        assert_eq!(results[bad].result.as_ref().unwrap_err().raw_os_error(), Some(9));
        for never in [dependent, deeper] {
            let error = results[never].result.as_ref().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Cancelled);
            assert_eq!(results[never].buffer.as_ref().unwrap().as_slice(), b"changed");
        }
        if let Some(waits) = waits {
            assert!(results[waits].result.as_ref().unwrap_err().is_cancelled());
            assert!(results[waits].buffer.is_some());
        }
    }
    assert_eq!(std::fs::read(file.path()).unwrap(), b"as it was");
    assert_eq!(ring.tracker().in_flight, 0);
}

#[test]
fn a_dropped_batch_frees_its_buffers_with_their_completions() {
    let Some(ring) = ring(8) else { return };
    let (pipe, _writer) = quiet_pipe();
    let pool = BufferPool::new(BufferPoolConfig::default());
    let make = || {
        let mut batch = Batch::new();
        for _ in 0..20 {
            let buffer = pool.allocate(4096).unwrap();
            batch.push(IoOperation::read(&pipe, buffer, OFFSET_NONE));
        }
        batch
    };
    drop(ring.submit_batch(make()).unwrap());
    std::mem::forget(ring.submit_batch(make()).unwrap());
    let deadline = Instant::now() + Duration::from_secs(10);
    while pool.stats().in_use > 20 {
        assert!(Instant::now() < deadline);
        ring.block_on(ring.timeout(Duration::from_millis(1))).unwrap();
    }
    drop(ring);
    assert_eq!(pool.stats().in_use, 0);
}

#[test]
fn the_kernel_uses_what_is_registered() {
    let Some(ring) = ring(8) else { return };
    let fdinfo = || {
        let path = format!("/proc/self/fdinfo/{}", ring.as_raw_fd());
        std::fs::read_to_string(path).unwrap()
    };
    let registry = Registry::new(&ring);
    let (_file, fd) = temp_file(b"registered");
    let file = registry.register_file(&fd).unwrap();
    let buffer = PinnedBuffer::with_capacity_aligned(8192);
    let buffer = registry.register_buffer(buffer).map_err(|(_, error)| error).unwrap();
    let info = fdinfo();
    assert!(info.contains("UserFiles:\t256"), "{info}");
    assert!(
        info.contains(&format!("{:#x}/8192", buffer.as_ptr() as usize)) || info.contains("/8192"),
        "{info}"
    );
    // The read names the registered file and buffer alone.
    let (n, buffer) = ring.block_on(ring.read(&file, buffer, 0));
    assert_eq!((n.unwrap(), &buffer[..10]), (10, &b"registered"[..]));
    let named = IoFd::from(&file);
    registry.unregister_file(file).unwrap();
    let (refused, buffer) = ring.block_on(ring.read(&named, buffer, 0));
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::NotRegistered);
    // In another ring the buffer is an ordinary one.
    let other = Ring::new(2).unwrap();
    let (n, buffer) = other.block_on(other.read(&fd, buffer, 0));
    assert_eq!(n.unwrap(), 10);
    let (buffer, error) = Registry::new(&other).unregister_buffer(buffer).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotRegistered);
    drop(registry.unregister_buffer(buffer).unwrap());
    assert!(!fdinfo().contains("/8192"), "{}", fdinfo());
}

#[test]
fn registrations_are_kept_while_used_and_their_places_used_again() {
    let Some(ring) = ring(8) else { return };
    let registry = Registry::new(&ring);
    let (pipe, writer) = quiet_pipe();
    let file = registry.register_file(&pipe).unwrap();
    let mut read = ring.read(&file, vec![0; 4], OFFSET_NONE);
    assert!(pin!(&mut read).poll(&mut Context::from_waker(Waker::noop())).is_pending());
    let (file, error) = registry.unregister_file(file).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InUse);
    drop(writer);
    assert_eq!(ring.block_on(read).0.unwrap(), 0);
    registry.unregister_file(file).unwrap();
    // More than the table has, one after the other, unregistered or dropped.
    for n in 0..1000 {
        let file = registry.register_file(&pipe).unwrap();
        let buffer = PinnedBuffer::with_capacity_aligned(4096);
        let buffer = registry.register_buffer(buffer).map_err(|(_, error)| error).unwrap();
        if n % 2 == 0 {
            registry.unregister_file(file).unwrap();
            registry.unregister_buffer(buffer).unwrap();
        }
    }
    let all: Vec<_> = (0..256).map(|_| registry.register_file(&pipe).unwrap()).collect();
    assert_eq!(registry.register_file(&pipe).unwrap_err().kind(), ErrorKind::Busy);
    drop(all);
}

#[test]
fn one_operation_accepts_and_receives_many_times() {
    let Some(ring) = ring(16) else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut incoming = ring.accept_multi(listener).unwrap();
    let mut pairs = Vec::new();
    for _ in 0..10 {
        let client = TcpStream::connect(address).unwrap();
        match ring.block_on(incoming.next()).expect("it goes on") {
            Ok(server) => pairs.push((client, server)),
            Err(error) => return println!("not run: {error}"),
        }
    }
    let unseen = TcpStream::connect(address).unwrap();
    drop(incoming);
    drop(unseen);
    let (mut client, server) = pairs.pop().unwrap();
    let mut bytes = ring.recv_multi(&server, 4, 256).unwrap();
    let sent: Vec<u8> = (0..20_000).map(|n| (n % 251) as u8).collect();
    let writer = std::thread::spawn({
        let sent = sent.clone();
        move || client.write_all(&sent).unwrap()
    });
    let mut received = Vec::new();
    while let Some(more) = ring.block_on(bytes.next()) {
        match more {
            Ok(more) => received.extend(more),
            Err(error) => return println!("not run: {error}"),
        }
    }
    writer.join().unwrap();
    assert!(received == sent, "{} of {} bytes", received.len(), sent.len());
    drop((bytes, server, pairs));
    ring.close().unwrap();
}

#[test]
fn a_thousand_rings_leave_nothing_behind() {
    if ring(2).is_none() {
        return;
    }
    let cycle = || {
        let ring = Ring::new(8).unwrap();
        let (pipe, writer) = quiet_pipe();
        let mut read = ring.read(&pipe, vec![0; 4096], OFFSET_NONE);
        assert!(pin!(&mut read).poll(&mut Context::from_waker(Waker::noop())).is_pending());
        std::mem::forget(read);
        drop((ring, writer));
    };
    // Other tests of this process open and close files, so a child does it alone.
    if std::env::var_os("IO_RING_CYCLES").is_none() {
        let own = std::env::current_exe().unwrap();
        let output = std::process::Command::new(own)
            .args(["a_thousand_rings_leave_nothing_behind", "--exact", "--nocapture"])
            .env("IO_RING_CYCLES", "1")
            .output()
            .unwrap();
        print!("{}", String::from_utf8_lossy(&output.stdout));
        assert!(output.status.success(), "{output:?}");
        return;
    }
    let n_fds = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let resident = || {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4
    };
    (0..100).for_each(|_| cycle());
    let before = (n_fds(), resident());
    (0..1000).for_each(|_| cycle());
    let after = (n_fds(), resident());
    println!("descriptors and KiB before and after 1,000 rings: {before:?}, {after:?}");
    assert_eq!(before.0, after.0);
    assert!(after.1 < before.1 + 1024, "{before:?} {after:?}");
}
