//! Reads /dev/zero with buffers that are made anew, and with those of a pool; tells what it costs.
//!
//! ```text
//! cargo run --release --example io_pool
//! ```
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Instant;

use ttlog::io::{
    self, BufferPool, BufferPoolConfig, IoBuffer, IoChoice, IoFd, IoOperation, PinnedBuffer,
};

const BLOCK: usize = 256 << 10;
const N_READS: usize = 2000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let zero = IoFd::from(std::fs::File::open("/dev/zero")?);
    let pool = BufferPool::new(BufferPoolConfig::default());
    let anew = || Some(IoBuffer::from(PinnedBuffer::with_capacity_aligned(BLOCK)));
    let pooled = || pool.allocate(BLOCK).map(IoBuffer::from);
    read(&zero, "a new buffer each", anew)?;
    read(&zero, "a pooled buffer each", pooled)?;
    println!("the pool: {:?}", pool.stats());
    Ok(())
}

fn read(
    zero: &IoFd,
    name: &str,
    buffer: impl Fn() -> Option<IoBuffer>,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut backend = io::backend(IoChoice::Auto)?;
    let begin = Instant::now();
    for _ in 0..N_READS {
        let buffer = buffer().ok_or("the pool has no buffer left")?;
        backend.submit(IoOperation::read(zero, buffer, 0))?;
        backend.poll(None)?.into_iter().try_for_each(|done| done.result.map(|_| ()))?;
    }
    println!("{name}: {:?} for {N_READS} reads of {BLOCK} bytes", begin.elapsed());
    Ok(())
}
