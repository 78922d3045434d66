//! Lent: memory of another owner, lent to an operation until it has completed.
#![expect(unsafe_code, reason = "the kernel uses the memory while nobody looks; proof at each impl")]

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use super::IoBuffer;

/// Memory that its owner lends to operations as a whole.
///
/// # Safety
///
/// The bytes stay where they are, and valid, until the value is dropped, wherever the value moves
/// and even if it is leaked; nobody else writes to them meanwhile.
pub(crate) unsafe trait Lend: Any + Send + fmt::Debug {
    /// The bytes.
    fn bytes(&self) -> &[u8];
    /// The same bytes, for reads.
    fn bytes_mut(&mut self) -> &mut [u8];
    /// The lasting memory in which the bytes lie, if they lie in such.
    fn region(&self) -> Option<Region>;
}

/// Memory that stays mapped where it is for as long as anybody has its owner, and is lent again and
/// again.
#[derive(Debug, Clone)]
pub(crate) struct Region {
    pub(crate) owner: Arc<dyn Any + Send + Sync>,
    pub(crate) start: *mut u8,
    pub(crate) len: usize,
}

/// A buffer whose memory the crate's own parts lend to an operation. It is no
/// [`Buffer`](super::Buffer) of the typed operations.
#[derive(Debug)]
pub struct LentBuffer(Box<dyn Lend>);

impl LentBuffer {
    /// Lends this memory.
    pub(crate) fn new(owner: impl Lend) -> Self {
        Self(Box::new(owner))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        self.0.bytes_mut()
    }

    /// The lasting memory in which the bytes lie.
    #[cfg(target_os = "linux")]
    pub(super) fn region(&self) -> Option<Region> {
        self.0.region()
    }

    /// The owner, if it is of this type.
    pub(crate) fn into_owner<T: Lend>(self) -> Option<T> {
        let any: Box<dyn Any> = self.0;
        any.downcast().ok().map(|owner| *owner)
    }
}

impl From<LentBuffer> for IoBuffer {
    fn from(buffer: LentBuffer) -> Self {
        Self::Lent(buffer)
    }
}

impl TryFrom<IoBuffer> for LentBuffer {
    type Error = IoBuffer;

    fn try_from(buffer: IoBuffer) -> Result<Self, IoBuffer> {
        match buffer {
            IoBuffer::Lent(buffer) => Ok(buffer),
            other => Err(other),
        }
    }
}
