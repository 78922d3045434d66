//! One suite over every backend: io_uring, portable, simulated, and each behind a driver.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use ttlog::io::{
    self, BufferPool, BufferPoolConfig, Driver, ErrorKind, IoBackend, IoBackendKind, IoBuffer,
    IoChoice, IoCompletion, IoFd, IoHandle, IoOperation, IoState, OFFSET_NONE, OpenOptions,
    PortableBackend, Remote, SimBackend, SimConfig,
};

type Backend = Box<dyn IoBackend>;

/// Every backend of this system; the simulated one also with all that it can do wrong.
fn backends() -> Vec<(&'static str, Backend)> {
    let sim = |config| Box::new(SimBackend::new(config)) as Backend;
    let odd = SimConfig {
        seed: 7,
        reorder: true,
        delay_polls: 5,
        duplicate: true,
        stale: true,
        ..SimConfig::default()
    };
    let portable = PortableBackend::new().unwrap();
    let mut all: Vec<(_, Backend)> = vec![
        ("portable", Box::new(portable)),
        ("simulated", sim(SimConfig::default())),
        ("simulated, odd", sim(odd)),
    ];
    match io::backend(IoChoice::Uring) {
        Ok(uring) => all.push(("io_uring", uring)),
        Err(error) => println!("not run on io_uring: {error}"),
    }
    #[cfg(target_os = "linux")]
    if let Ok(own) = io::UringBackend::for_this_thread(64) {
        all.push(("io_uring, one thread", Box::new(own)));
    }
    all
}

/// Waits for one operation.
fn finish(backend: &mut Backend, handle: IoHandle) -> IoCompletion {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        for done in backend.poll(Some(Duration::from_millis(100))).unwrap() {
            if done.handle == handle {
                return done;
            }
        }
        assert!(Instant::now() < deadline);
    }
}

fn run(backend: &mut Backend, operation: IoOperation) -> IoCompletion {
    let handle = backend.submit(operation).unwrap();
    finish(backend, handle)
}

fn temp() -> (tempfile::NamedTempFile, IoFd) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let fd = IoFd::from(file.reopen().unwrap());
    (file, fd)
}

type Case = (&'static str, fn(&mut Backend));

const CASES: &[Case] = &[
    ("files are written, synced and read back", files),
    ("vectored operations", vectored),
    ("files are opened and closed", open_and_close),
    ("connections are made and used", sockets),
    ("a blocked operation is cancelled once", cancel),
    ("timeouts and empty polls", timeouts),
    ("no time is too long", long_times),
    ("what has no positions ignores them", without_positions),
    ("what is full takes a part", full),
    ("what is quiet holds up nobody", quiet),
    ("a waker ends a wait", waker),
    ("what is refused comes back", refused),
    ("errors bring the buffer back", errors),
    ("many operations at once", many),
    ("buffers go back to their pool", pooled),
];

#[test]
fn every_backend_passes_the_same_cases() {
    let mut counts = HashMap::new();
    let n_backends = backends().len();
    for at in 0..n_backends {
        for (name, case) in CASES {
            let (kind, mut backend) = backends().swap_remove(at);
            println!("{kind}: {name}");
            case(&mut backend);
            let stats = backend.stats();
            assert_eq!(backend.in_flight(), 0, "{kind}: {name}");
            assert_eq!(stats.submitted, stats.completed, "{kind}: {name}");
            *counts.entry(kind).or_insert(0) += 1;
        }
    }
    println!("cases run on each backend: {counts:?}");
    assert!(counts.values().all(|n| *n == CASES.len()));
}

fn files(backend: &mut Backend) {
    let (file, fd) = temp();
    let done = run(backend, IoOperation::write(&fd, b"hello world".to_vec(), 0));
    assert_eq!((done.result.unwrap(), done.buffer.unwrap().len()), (11, 11));
    let part = IoOperation::write(&fd, b"WORLD!!".to_vec(), 6).in_range(0..5);
    assert_eq!(run(backend, part).result.unwrap(), 5);
    assert_eq!(run(backend, IoOperation::fsync(&fd)).result.unwrap(), 0);
    assert_eq!(run(backend, IoOperation::fdatasync(&fd)).result.unwrap(), 0);
    assert_eq!(std::fs::read(file.path()).unwrap(), b"hello WORLD");
    let done = run(backend, IoOperation::read(&fd, vec![0; 64], 6));
    assert_eq!(done.result.unwrap(), 5);
    assert_eq!(&done.buffer.unwrap().as_slice()[..5], b"WORLD");
    assert_eq!(run(backend, IoOperation::read(&fd, vec![0; 8], 99)).result.unwrap(), 0);
}

fn vectored(backend: &mut Backend) {
    let (file, fd) = temp();
    let buffers = || vec![IoBuffer::from(b"ab".to_vec()), IoBuffer::from(b"cde".to_vec())];
    for (offset, expected) in [(OFFSET_NONE, "abcde"), (5, "abcdeabcde")] {
        let write = IoOperation::WriteVectored { fd: fd.clone(), buffers: buffers(), offset };
        assert_eq!(run(backend, write).result.unwrap(), 5);
        assert_eq!(std::fs::read_to_string(file.path()).unwrap(), expected);
    }
    let buffers = vec![IoBuffer::from(vec![0; 4]), IoBuffer::from(vec![0; 9])];
    let done = run(backend, IoOperation::ReadVectored { fd, buffers, offset: 0 });
    assert_eq!(done.result.unwrap(), 10);
    let Some(IoBuffer::Many(buffers)) = done.buffer else { panic!("several went in") };
    assert_eq!(buffers[0].as_slice(), b"abcd");
    assert_eq!(&buffers[1].as_slice()[..6], b"eabcde");
}

fn open_and_close(backend: &mut Backend) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new");
    let options = OpenOptions::new().read(true).write(true).create_new(true).mode(0o640);
    let done = run(backend, IoOperation::open(&path, options).unwrap());
    let fd = done.descriptor.expect("it is open");
    assert_eq!(run(backend, IoOperation::write(&fd, b"x".to_vec(), 0)).result.unwrap(), 1);
    let again = run(backend, IoOperation::open(&path, options).unwrap());
    let exists = rustix::io::Errno::EXIST.raw_os_error();
    assert_eq!(again.result.unwrap_err().raw_os_error(), Some(exists));
    let clone = fd.clone();
    match backend.submit(IoOperation::close(fd)) {
        Err(refused) => assert_eq!(refused.error.kind(), ErrorKind::InUse),
        Ok(_) => panic!("a clone has it"),
    }
    assert_eq!(run(backend, IoOperation::close(clone)).result.unwrap(), 0);
}

fn sockets(backend: &mut Backend) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let listener = IoFd::from(listener);
    let accept = backend.submit(IoOperation::accept(&listener)).unwrap();
    let client = IoFd::stream_socket(&address).unwrap();
    let connect = backend.submit(IoOperation::connect(&client, address)).unwrap();
    let mut server = None;
    let mut is_connected = false;
    let deadline = Instant::now() + Duration::from_secs(20);
    while server.is_none() || !is_connected {
        for done in backend.poll(Some(Duration::from_millis(100))).unwrap() {
            assert_eq!(done.result.unwrap(), 0);
            assert!([accept, connect].contains(&done.handle));
            is_connected |= done.handle == connect;
            server = server.or(done.descriptor);
        }
        assert!(Instant::now() < deadline);
    }
    let server = server.unwrap();
    // A receive that waits, and is served.
    let recv = backend.submit(IoOperation::recv(&server, vec![0; 16])).unwrap();
    assert_eq!(run_beside(backend, IoOperation::send(&client, b"ping".to_vec()), recv), 4);
    let refused = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
    let nobody = IoFd::stream_socket(&refused).unwrap();
    let done = run(backend, IoOperation::connect(&nobody, refused));
    assert!(done.result.is_err());
    drop(client);
    assert_eq!(run(backend, IoOperation::recv(&server, vec![0; 16])).result.unwrap(), 0);
}

/// Runs an operation while another is in flight, and waits for both; bytes of the other.
fn run_beside(backend: &mut Backend, operation: IoOperation, other: IoHandle) -> usize {
    let handle = backend.submit(operation).unwrap();
    let (mut left, mut bytes) = (2, 0);
    let deadline = Instant::now() + Duration::from_secs(20);
    while left > 0 {
        for done in backend.poll(Some(Duration::from_millis(100))).unwrap() {
            assert!([handle, other].contains(&done.handle));
            let n = done.result.unwrap();
            if done.handle == other {
                bytes = n;
            }
            left -= 1;
        }
        assert!(Instant::now() < deadline);
    }
    bytes
}

fn cancel(backend: &mut Backend) {
    let (reader, writer) = std::io::pipe().unwrap();
    let reader = IoFd::from(reader);
    let read = backend.submit(IoOperation::read(&reader, vec![0; 8], OFFSET_NONE)).unwrap();
    let wait = backend.submit(IoOperation::timeout(Duration::from_secs(3600))).unwrap();
    assert!(backend.poll(Some(Duration::from_millis(5))).unwrap().is_empty());
    for handle in [read, wait] {
        assert!(backend.cancel(handle).unwrap());
        let done = finish(backend, handle);
        assert_eq!(done.state(), IoState::Cancelled);
        assert!(!backend.cancel(handle).unwrap());
    }
    let nop = run(backend, IoOperation::Nop);
    assert!(!backend.cancel(nop.handle).unwrap());
    drop(writer);
}

fn timeouts(backend: &mut Backend) {
    assert!(backend.poll(Some(Duration::ZERO)).unwrap().is_empty());
    assert!(backend.poll(None).unwrap().is_empty(), "nothing is in flight");
    let begin = Instant::now();
    assert!(backend.poll(Some(Duration::from_millis(20))).unwrap().is_empty());
    let waited = begin.elapsed();
    assert!(waited >= Duration::from_millis(19), "{waited:?}");
    let begin = Instant::now();
    let done = run(backend, IoOperation::timeout(Duration::from_millis(30)));
    assert_eq!(done.result.unwrap(), 0);
    assert!(begin.elapsed() >= Duration::from_millis(29));
}

fn long_times(backend: &mut Backend) {
    let wait = backend.submit(IoOperation::timeout(Duration::MAX)).unwrap();
    let nop = backend.submit(IoOperation::Nop).unwrap();
    let done = backend.poll(Some(Duration::MAX)).unwrap();
    assert_eq!(done.iter().map(|done| done.handle).collect::<Vec<_>>(), [nop]);
    assert!(backend.cancel(wait).unwrap());
    assert_eq!(finish(backend, wait).state(), IoState::Cancelled);
}

fn without_positions(backend: &mut Backend) {
    use rustix::io::Errno;
    let many = |bytes: &[u8]| vec![IoBuffer::from(bytes.to_vec())];
    let (mut reader, writer) = std::io::pipe().unwrap();
    let writer = IoFd::from(writer);
    assert_eq!(run(backend, IoOperation::write(&writer, b"ab".to_vec(), 0)).result.unwrap(), 2);
    let write = IoOperation::WriteVectored { fd: writer, buffers: many(b"cd"), offset: 7 };
    assert_eq!(run(backend, write).result.unwrap(), 2);
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, b"abcd");
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(b"efg").unwrap();
    let reader = IoFd::from(reader);
    assert_eq!(run(backend, IoOperation::read(&reader, vec![0; 2], 0)).result.unwrap(), 2);
    let read = IoOperation::ReadVectored { fd: reader, buffers: many(&[0; 9]), offset: 7 };
    assert_eq!(run(backend, read).result.unwrap(), 1);
    let (one, other) = std::os::unix::net::UnixStream::pair().unwrap();
    let (one, other) = (IoFd::from(one), IoFd::from(other));
    assert_eq!(run(backend, IoOperation::write(&one, b"hi".to_vec(), 0)).result.unwrap(), 2);
    let done = run(backend, IoOperation::write(&one, b"hi".to_vec(), 7));
    assert_eq!(done.result.unwrap_err().raw_os_error(), Some(Errno::SPIPE.raw_os_error()));
    assert_eq!(run(backend, IoOperation::read(other, vec![0; 9], 0)).result.unwrap(), 2);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let client = IoFd::stream_socket(&address).unwrap();
    assert_eq!(run(backend, IoOperation::connect(&client, address)).result.unwrap(), 0);
    let again = run(backend, IoOperation::connect(&client, address)).result.unwrap_err();
    if cfg!(target_os = "linux") {
        assert_eq!(again.raw_os_error(), Some(Errno::ISCONN.raw_os_error()));
    }
}

/// Whoever else writes of them has to wait, but the backend and its threads do not.
fn full(backend: &mut Backend) {
    let large = || vec![7; 8 << 20];
    let (reader, writer) = std::io::pipe().unwrap();
    let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    for fd in [IoFd::from(writer), IoFd::from(one)] {
        for vectored in [false, true] {
            let buffers = vec![IoBuffer::from(vec![7; 3]), IoBuffer::from(large())];
            let write = match vectored {
                true => IoOperation::WriteVectored { fd: fd.clone(), buffers, offset: OFFSET_NONE },
                false => IoOperation::write(&fd, large(), OFFSET_NONE),
            };
            let handle = backend.submit(write).unwrap();
            let deadline = Instant::now() + Duration::from_millis(200);
            let mut done = None;
            while done.is_none() && Instant::now() < deadline {
                done = backend.poll(Some(Duration::from_millis(20))).unwrap().pop();
            }
            let done = done.unwrap_or_else(|| {
                assert!(backend.cancel(handle).unwrap());
                finish(backend, handle)
            });
            match done.result {
                Ok(n) => assert!((1..8 << 20).contains(&n), "{n}"),
                Err(error) => assert!(error.is_cancelled(), "{error}"),
            }
        }
    }
    drop(reader);
}

fn quiet(backend: &mut Backend) {
    let quiet = |_| {
        #[cfg(target_os = "linux")]
        return IoFd::from(
            rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap(),
        );
        #[cfg(not(target_os = "linux"))]
        return IoFd::from(std::os::unix::net::UnixDatagram::unbound().unwrap());
    };
    let read = |fd: IoFd| IoOperation::read(fd, vec![0; 8], OFFSET_NONE);
    let reads: Vec<_> = (0..9).map(quiet).map(|fd| backend.submit(read(fd)).unwrap()).collect();
    files(backend);
    // Not quiet at all, and of no readiness.
    assert_eq!(
        run(backend, read(std::fs::File::open("/dev/zero").unwrap().into())).result.unwrap(),
        8
    );
    for handle in reads {
        assert!(backend.cancel(handle).unwrap());
        assert_eq!(finish(backend, handle).state(), IoState::Cancelled);
    }
}

fn waker(backend: &mut Backend) {
    let waker = backend.waker();
    for _ in 0..3 {
        let waker = waker.clone();
        let thread = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(10));
            waker.wake();
        });
        let begin = Instant::now();
        assert!(backend.poll(Some(Duration::from_secs(20))).unwrap().is_empty());
        assert!(begin.elapsed() < Duration::from_secs(10));
        thread.join().unwrap();
    }
}

fn refused(backend: &mut Backend) {
    let (_file, fd) = temp();
    let refused = backend.submit(IoOperation::read(&fd, vec![0; 4], 0).in_range(2..5));
    let refused = refused.unwrap_err();
    assert_eq!(refused.error.kind(), ErrorKind::OutOfBounds { end: 5, len: 4 });
    assert_eq!(refused.operation.into_buffer().unwrap().len(), 4);
    let buffer = io::PinnedBuffer::with_capacity_aligned(8);
    buffer.mark_in_use();
    let refused = backend.submit(IoOperation::write(&fd, buffer, 0)).unwrap_err();
    assert_eq!(refused.error.kind(), ErrorKind::BufferInFlight);
}

fn errors(backend: &mut Backend) {
    let read_only = IoFd::from(std::fs::File::open("/dev/null").unwrap());
    let done = run(backend, IoOperation::write(&read_only, vec![9; 3], 5));
    let error = done.result.unwrap_err();
    assert_eq!(error.raw_os_error(), Some(9));
    assert!(error.to_string().starts_with("write of descriptor"), "{error}");
    assert_eq!(done.buffer.unwrap().as_slice(), [9; 3]);
}

fn many(backend: &mut Backend) {
    let (file, fd) = temp();
    let n = 3000;
    let mut handles = HashMap::new();
    let mut seen = 0;
    for at in 0..n {
        let bytes = vec![(at % 251) as u8; 10];
        let handle = backend.submit(IoOperation::write(&fd, bytes, at * 10)).unwrap();
        assert!(handles.insert(handle, at).is_none());
        if at % 400 == 0 {
            for done in backend.poll(Some(Duration::ZERO)).unwrap() {
                assert!(handles.remove(&done.handle).is_some());
                seen += 1;
            }
        }
    }
    while !handles.is_empty() {
        let done = backend.poll(Some(Duration::from_secs(20))).unwrap();
        assert!(!done.is_empty() && done.len() <= backend.max_batch_size());
        for done in done {
            let at = handles.remove(&done.handle).expect("once");
            assert_eq!(done.result.unwrap(), 10);
            assert_eq!(done.buffer.unwrap().as_slice(), [(at % 251) as u8; 10]);
            seen += 1;
        }
    }
    assert_eq!(seen, n);
    let bytes = std::fs::read(file.path()).unwrap();
    assert!(bytes.chunks(10).enumerate().all(|(at, ten)| *ten == [(at % 251) as u8; 10]));
}

fn pooled(backend: &mut Backend) {
    let pool = BufferPool::new(BufferPoolConfig { max_memory: 1 << 20, ..Default::default() });
    let (_file, fd) = temp();
    for at in 0..1000 {
        let buffer = pool.allocate(5000).expect("all came back");
        drop(run(backend, IoOperation::write(&fd, buffer, at * 5000)));
    }
    assert_eq!((pool.stats().in_use, pool.stats().refused), (0, 0));
}

/// Drivers over each backend.
fn drivers(work: impl Fn(&'static str, Remote)) {
    let mut names = Vec::new();
    for at in 0..backends().len() {
        let (made, answer) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let (name, backend) = backends().swap_remove(at);
            let (driver, remote) = Driver::with_backend(backend);
            made.send((name, remote)).unwrap();
            driver.run()
        });
        let (name, remote) = answer.recv().unwrap();
        work(name, remote);
        thread.join().unwrap().unwrap();
        names.push(name);
    }
    println!("run behind drivers over: {names:?}");
}

#[test]
fn an_echo_server_serves_many_clients_behind_each_driver() {
    drivers(|name, remote| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let of_server = remote.clone();
        let served = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counter = served.clone();
        remote
            .spawn(move || async move {
                let listener = IoFd::from(listener);
                for _ in 0..20 {
                    let accepted = of_server.submit(IoOperation::accept(&listener)).unwrap().await;
                    let client = accepted.descriptor.unwrap();
                    let (remote, counter) = (of_server.clone(), counter.clone());
                    of_server.spawn(move || echo(remote, client, counter)).unwrap();
                }
            })
            .unwrap();
        let clients: Vec<_> = (0..20)
            .map(|n| {
                std::thread::spawn(move || {
                    let mut stream = TcpStream::connect(address).unwrap();
                    let sent: Vec<u8> = (0..20_000u32).map(|at| (at * n % 253) as u8).collect();
                    let mut received = vec![0; sent.len()];
                    let mut writer = stream.try_clone().unwrap();
                    let bytes = sent.clone();
                    let half = std::thread::spawn(move || writer.write_all(&bytes).unwrap());
                    stream.read_exact(&mut received).unwrap();
                    half.join().unwrap();
                    assert!(sent == received);
                })
            })
            .collect();
        clients.into_iter().for_each(|client| client.join().unwrap());
        remote.shutdown();
        drop(remote);
        let n = served.load(std::sync::atomic::Ordering::Relaxed);
        println!("{name}: {n} bytes echoed before the last client had all");
        assert!(n <= 20 * 20_000);
    });
}

async fn echo(
    remote: Remote,
    client: IoFd,
    served: std::sync::Arc<std::sync::atomic::AtomicUsize>,
) {
    let mut buffer = IoBuffer::from(vec![0; 4096]);
    loop {
        let Ok(recv) = remote.submit(IoOperation::recv(&client, buffer)) else { return };
        let done = recv.await;
        let (Ok(n @ 1..), Some(bytes)) = (done.result, done.buffer) else { return };
        let (mut from, mut bytes) = (0, bytes);
        while from < n {
            let send = IoOperation::send(&client, bytes).in_range(from..n);
            let Ok(send) = remote.submit(send) else { return };
            let done = send.await;
            let (Ok(more), Some(back)) = (done.result, done.buffer) else { return };
            from += more;
            served.fetch_add(more, std::sync::atomic::Ordering::Relaxed);
            bytes = back;
        }
        buffer = bytes;
    }
}

#[test]
fn a_file_is_copied_behind_each_driver() {
    let dir = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = (0..1_000_003u32).map(|n| (n * 7 % 255) as u8).collect();
    let from = dir.path().join("from");
    std::fs::write(&from, &bytes).unwrap();
    drivers(|name, remote| {
        for block in [4096, 65_536, 300_000] {
            let to = dir.path().join("to");
            let (source, target) = (
                IoFd::from(std::fs::File::open(&from).unwrap()),
                IoFd::from(std::fs::File::create(&to).unwrap()),
            );
            let reads: Vec<_> = (0..bytes.len().div_ceil(block))
                .map(|n| {
                    let at = (n * block) as u64;
                    let read = IoOperation::read(&source, vec![0; block], at);
                    (at, remote.submit(read).unwrap())
                })
                .collect();
            let writes: Vec<_> = reads
                .into_iter()
                .map(|(at, read)| {
                    let done = read.wait();
                    let n = done.result.unwrap();
                    let write = IoOperation::write(&target, done.buffer.unwrap(), at);
                    remote.submit(write.in_range(0..n)).unwrap()
                })
                .collect();
            let n: usize = writes.into_iter().map(|write| write.wait().result.unwrap()).sum();
            let sync = remote.submit(IoOperation::fdatasync(&target)).unwrap();
            assert!(sync.wait().result.is_ok());
            assert_eq!(n, bytes.len());
            assert!(std::fs::read(&to).unwrap() == bytes, "{name}, blocks of {block}");
        }
    });
}

#[test]
fn results_come_back_to_the_driver_that_asked() {
    let (first, one) = Driver::spawn(IoChoice::Auto).unwrap();
    let (second, two) = Driver::spawn(IoChoice::Auto).unwrap();
    let (told, answers) = std::sync::mpsc::channel();
    let target = second.clone();
    first
        .spawn(move || async move {
            let origin = std::thread::current().id();
            for n in 0..10_000_usize {
                let done = target.submit(IoOperation::write(null(), vec![n as u8; 1], 0));
                let done = done.unwrap().await;
                assert_eq!(std::thread::current().id(), origin);
                assert_eq!(done.buffer.unwrap().as_slice(), [n as u8]);
            }
            told.send(()).unwrap();
        })
        .unwrap();
    answers.recv_timeout(Duration::from_secs(60)).unwrap();
    drop((first, second));
    one.join().unwrap().unwrap();
    two.join().unwrap().unwrap();
}

fn null() -> IoFd {
    thread_local! {
        static NULL: IoFd = IoFd::from(
            std::fs::File::options().write(true).open("/dev/null").unwrap()
        );
    }
    NULL.with(IoFd::clone)
}

#[test]
fn a_dropped_future_is_cancelled_and_an_aborted_driver_ends() {
    drivers(|name, remote| {
        let (reader, _writer) = std::io::pipe().unwrap();
        let reader = IoFd::from(reader);
        let pool = BufferPool::new(BufferPoolConfig::default());
        let read = || {
            let buffer = pool.allocate(4096).unwrap();
            remote.submit(IoOperation::read(&reader, buffer, OFFSET_NONE)).unwrap()
        };
        (0..100).for_each(|_| drop(read()));
        let deadline = Instant::now() + Duration::from_secs(20);
        while pool.stats().in_use > 0 {
            assert!(Instant::now() < deadline, "{name}");
            std::thread::sleep(Duration::from_millis(1));
        }
        let cancelled = read();
        assert!(cancelled.cancel());
        assert_eq!(cancelled.wait().state(), IoState::Cancelled);
        let (waits, leaked) = (read(), read());
        std::mem::forget(leaked);
        remote.abort();
        assert_eq!(waits.wait().state(), IoState::Cancelled, "{name}");
        match remote.submit(IoOperation::Nop) {
            Err(refused) => assert_eq!(refused.error.kind(), ErrorKind::Closed),
            Ok(_) => panic!("{name}: it has ended"),
        }
    });
}

#[test]
fn an_aborted_driver_ends_beside_a_task_that_always_has_work() {
    drivers(|_, remote| {
        let busy = |context: &mut Context<'_>| {
            context.waker().wake_by_ref();
            Poll::<()>::Pending
        };
        remote.spawn(move || std::future::poll_fn(busy)).unwrap();
        remote.abort();
    });
}

#[test]
fn many_wakes_are_one_poll() {
    let (mut driver, _remote) = Driver::with_backend(Box::new(PortableBackend::new().unwrap()));
    let n_polls = Rc::new(Cell::new(0));
    let waker = Rc::new(RefCell::new(None));
    driver.spawn_local({
        let (n_polls, waker) = (Rc::clone(&n_polls), Rc::clone(&waker));
        std::future::poll_fn(move |context| {
            n_polls.set(n_polls.get() + 1);
            waker.replace(Some(context.waker().clone()));
            Poll::Pending
        })
    });
    for n in 1..4 {
        while driver.run_once().unwrap() {}
        assert_eq!(n_polls.get(), n);
        (0..1000).for_each(|_| waker.borrow().as_ref().unwrap().wake_by_ref());
    }
}

/// D2: what another thread hands over while the driver ends is answered, too.
#[test]
fn a_driver_that_ends_answers_whoever_is_about_to_ask() {
    for round in 0..3000 {
        let (driver, remote) =
            Driver::with_backend(Box::new(SimBackend::new(SimConfig::default())));
        let (asks, is_asked) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            asks.send(()).unwrap();
            while let Ok(future) = remote.submit(IoOperation::Nop) {
                let waker = std::task::Waker::noop();
                let deadline = Instant::now() + Duration::from_secs(20);
                let mut future = std::pin::pin!(future);
                while future.as_mut().poll(&mut Context::from_waker(waker)).is_pending() {
                    assert!(Instant::now() < deadline, "nobody answers");
                    std::thread::yield_now();
                }
            }
        });
        is_asked.recv().unwrap();
        (0..round % 500).for_each(|_| std::hint::spin_loop());
        drop(driver);
        thread.join().unwrap();
    }
}

#[test]
fn a_shutdown_waits_for_what_was_handed_over() {
    drivers(|name, remote| {
        let (file, fd) = temp();
        let writes: Vec<_> = (0..500)
            .map(|at| remote.submit(IoOperation::write(&fd, vec![1; 100], at * 100)).unwrap())
            .collect();
        remote.shutdown();
        let n: usize = writes.into_iter().map(|write| write.wait().result.unwrap()).sum();
        assert_eq!((n, file.path().metadata().unwrap().len()), (50_000, 50_000), "{name}");
    });
}

#[test]
fn an_idle_driver_costs_nothing() {
    let (remote, thread) = Driver::spawn(IoChoice::Auto).unwrap();
    let (told, answer) = std::sync::mpsc::channel();
    let probe = remote.clone();
    remote
        .spawn(move || async move {
            let cpu = || {
                let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
                Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
            };
            let before = cpu();
            let wait = IoOperation::timeout(Duration::from_millis(500));
            drop(probe.submit(wait).unwrap().await);
            told.send(cpu() - before).unwrap();
        })
        .unwrap();
    let spent = answer.recv_timeout(Duration::from_secs(20)).unwrap();
    println!("a driver that waits for 500 ms: {spent:?} of CPU");
    assert!(spent < Duration::from_millis(5), "{spent:?}");
    drop(remote);
    thread.join().unwrap().unwrap();
}

/// R15: short transfers, EINTR, EAGAIN, any order, stale and repeated completions: the bytes are
/// those of a plain write.
#[test]
fn whatever_a_kernel_does_the_file_is_the_same() {
    let mut n_operations = 0;
    let n_seeds: u64 = std::env::var("IO_SEEDS").ok().map_or(40, |n| n.parse().unwrap());
    for seed in 0..n_seeds {
        let config = SimConfig {
            seed,
            interrupt_one_in: 7,
            short: true,
            reorder: true,
            delay_polls: 4,
            duplicate: true,
            stale: true,
            ..SimConfig::default()
        };
        let mut backend = SimBackend::new(config);
        let (file, fd) = temp();
        let expected: Vec<u8> = (0..64_000u64).map(|n| ((n + seed) * 31 % 251) as u8).collect();
        // What is in flight: from which byte of its block on.
        let mut flying = HashMap::new();
        for (block, bytes) in expected.chunks(1000).enumerate() {
            let write = IoOperation::write(&fd, bytes.to_vec(), block as u64 * 1000);
            flying.insert(backend.submit(write).unwrap(), (block, 0));
        }
        while !flying.is_empty() {
            for done in backend.poll(None).unwrap() {
                let (block, from) = flying.remove(&done.handle).expect("once, and ours");
                n_operations += 1;
                let from = match done.result {
                    Ok(n) => from + n,
                    Err(error) => {
                        assert!([Some(4), Some(11)].contains(&error.raw_os_error()), "{error}");
                        from
                    }
                };
                if from < 1000 {
                    let at = (block * 1000 + from) as u64;
                    let write = IoOperation::write(&fd, done.buffer.unwrap(), at);
                    let handle = backend.submit(write.in_range(from..1000)).unwrap();
                    flying.insert(handle, (block, from));
                }
            }
        }
        assert!(std::fs::read(file.path()).unwrap() == expected, "seed {seed}");
        assert!(backend.stats().stale > 0);
    }
    println!("R15: {n_operations} operations over {n_seeds} seeds");
}

#[test]
fn auto_says_what_it_took() {
    let stats = io::backend(IoChoice::Auto).unwrap().stats();
    match io::probe().uring {
        Ok(flags) => assert_eq!(
            (stats.kind, stats.reason.is_none()),
            (IoBackendKind::Uring, !flags.is_empty())
        ),
        Err(why) => assert_eq!((stats.kind, stats.reason), (IoBackendKind::Portable, Some(why))),
    }
    let portable = io::backend(IoChoice::Portable).unwrap().stats();
    assert_eq!((portable.kind, portable.reason), (IoBackendKind::Portable, None));
    assert_eq!("uring".parse::<IoChoice>().unwrap(), IoChoice::Uring);
    assert!("kqueue".parse::<IoChoice>().unwrap_err().to_string().contains("use auto"));
}
