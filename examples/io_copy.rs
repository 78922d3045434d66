//! Copies a file with several block sizes, four blocks in flight, and says how long it took.
//!
//! ```text
//! cargo run --release --example io_copy FROM TO [auto|uring|portable]
//! ```
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::HashMap;
use std::time::Instant;

use ttlog::io::{
    self, BufferPool, BufferPoolConfig, IoBackend, IoCompletion, IoFd, IoHandle, IoOperation,
};

const DEPTH: usize = 4;

/// What is in flight: where its block begins, how much of it is there, and which way it goes.
enum Step {
    Read { at: u64 },
    Write { at: u64, from: usize, end: usize },
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let [from, to, rest @ ..] = &args[..] else {
        return Err("usage: io_copy FROM TO [auto|uring|portable]".into());
    };
    let choice = rest.first().map_or(Ok(io::IoChoice::Auto), |name| name.parse())?;
    for block in [4 << 10, 64 << 10, 256 << 10, 1 << 20] {
        let mut backend = io::backend(choice)?;
        let begin = Instant::now();
        let n = copy(backend.as_mut(), from, to, block)?;
        let stats = backend.stats();
        let (kind, enters, took) = (stats.kind.name(), stats.enters, begin.elapsed());
        println!("{kind}: {n} bytes in blocks of {block}: {took:?}, {enters} calls");
    }
    Ok(())
}

/// Copies a file; its bytes.
fn copy(
    backend: &mut dyn IoBackend,
    from: &str,
    to: &str,
    block: usize,
) -> Result<u64, Box<dyn std::error::Error>> {
    let source = std::fs::File::open(from)?;
    let len = source.metadata()?.len();
    let (source, target) = (IoFd::from(source), IoFd::from(std::fs::File::create(to)?));
    let pool = BufferPool::new(BufferPoolConfig::default());
    let mut flying: HashMap<IoHandle, Step> = HashMap::new();
    let (mut next, mut copied) = (0, 0);
    while next < len || !flying.is_empty() {
        while next < len && flying.len() < DEPTH {
            let buffer = pool.allocate(block).ok_or("the pool has no buffer left")?;
            let handle = backend.submit(IoOperation::read(&source, buffer, next))?;
            flying.insert(handle, Step::Read { at: next });
            next += block as u64;
        }
        for done in backend.poll(None)? {
            let step = flying.remove(&done.handle).ok_or("a completion of nobody")?;
            let IoCompletion { result, buffer, .. } = done;
            let (n, buffer) = (result?, buffer.ok_or("a completion without its buffer")?);
            let (at, from, end) = match step {
                Step::Read { .. } if n == 0 => continue,
                Step::Read { at } => (at, 0, n),
                Step::Write { at, from, end } => {
                    copied += n as u64;
                    (at, from + n, end)
                }
            };
            if from < end {
                let write = IoOperation::write(&target, buffer, at + from as u64);
                let handle = backend.submit(write.in_range(from..end))?;
                flying.insert(handle, Step::Write { at, from, end });
            }
        }
    }
    backend.submit(IoOperation::fdatasync(&target))?;
    backend.poll(None)?.into_iter().try_for_each(|done| done.result.map(|_| ()))?;
    Ok(copied)
}
