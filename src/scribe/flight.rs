//! Flight: blocks that the kernel writes while the next ones are filled.
#![expect(unsafe_code, reason = "lends staging memory to the kernel; proof above the impl")]

use std::collections::VecDeque;
use std::io;
use std::task::Waker;
use std::time::Duration;

use super::batch::Block;
use crate::io::{DiskQueue, Ended, IoFd, Lend, LentBuffer};

/// Blocks in flight at most: more gain nothing (IO.md of the design, section 1).
const DEPTH: usize = 4;

// SAFETY: a staged block lies in a mapping that its buffer owns, and a copied one on the heap: both
// stay where they are until the value is dropped, and B1 and B3 of `lane::staging` keep everybody
// else from writing to them.
unsafe impl Lend for Block {
    fn bytes(&self) -> &[u8] {
        self.bytes()
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.bytes_mut()
    }
}

/// A block that is, or was, in flight.
#[derive(Debug)]
pub(super) struct Flying {
    id: u64,
    len: usize,
    pub(super) offset: u64,
    pub(super) events: u32,
    /// The block, when it is back, and how many of its bytes were written.
    back: Option<(Block, io::Result<usize>)>,
}

impl Flying {
    /// The block, and why it is not written whole; only of one that has landed.
    pub(super) fn into_block(self) -> (Block, io::Result<()>) {
        let (block, result) = self.back.expect("it has landed");
        let whole = result.and_then(|n| match n == self.len {
            true => Ok(()),
            false => Err(io::ErrorKind::WriteZero.into()),
        });
        (block, whole)
    }
}

/// The blocks in flight, oldest first.
#[derive(Debug)]
pub(super) struct Flight {
    queue: Box<dyn DiskQueue>,
    flying: VecDeque<Flying>,
    ended: Vec<Ended>,
}

impl Flight {
    pub(super) fn new(queue: Box<dyn DiskQueue>) -> Self {
        Self { queue, flying: VecDeque::new(), ended: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.flying.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.flying.len() >= DEPTH
    }

    pub(super) fn waker(&self) -> Waker {
        self.queue.waker()
    }

    /// Begins to write a block at `offset`; gives it back when that cannot begin.
    pub(super) fn begin(
        &mut self,
        fd: &IoFd,
        block: Block,
        offset: u64,
        events: u32,
    ) -> Result<(), Block> {
        let len = block.bytes().len();
        match self.queue.begin(fd, LentBuffer::new(block), offset) {
            Ok(id) => {
                self.flying.push_back(Flying { id, len, offset, events, back: None });
                Ok(())
            }
            Err((bytes, _)) => Err(owner(bytes)),
        }
    }

    /// Takes what has ended; waits for something to end until the time has passed.
    pub(super) fn reap(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let result = self.queue.reap(timeout, &mut self.ended);
        for Ended { id, result, bytes } in self.ended.drain(..) {
            if let Some(flying) = self.flying.iter_mut().find(|flying| flying.id == id) {
                flying.back = Some((owner(bytes), result));
            }
        }
        result
    }

    /// The oldest block, once it has landed: blocks are written in the order of their offsets for
    /// everybody who asks.
    pub(super) fn pop_landed(&mut self) -> Option<Flying> {
        self.flying.front()?.back.as_ref()?;
        self.flying.pop_front()
    }

    /// True when all have landed.
    pub(super) fn has_landed(&self) -> bool {
        self.flying.iter().all(|flying| flying.back.is_some())
    }
}

fn owner(bytes: LentBuffer) -> Block {
    bytes.into_owner().expect("nothing else is lent to this queue")
}
