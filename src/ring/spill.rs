//! Spill: how a ring is made whose overflow goes to files.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

#[cfg(loom)]
pub(super) use super::items_loom as items;
#[cfg(not(loom))]
pub(super) use crate::store::items;

use super::core::Core;
use super::inlet::Inlet;
use super::overflow::Files;
use super::policy::BackPressurePolicy;
use super::queue::LockFreeRingBuffer;
use crate::error::{Error, Kind};
use crate::sync::Arc;

const QUOTA_BYTES: u64 = 1 << 30;

/// How items become bytes and come back.
pub(super) struct Codec<T> {
    pub(super) encode: fn(&T, &mut Vec<u8>) -> io::Result<()>,
    pub(super) decode: fn(&[u8]) -> io::Result<T>,
}

impl<T> Clone for Codec<T> {
    fn clone(&self) -> Self {
        Self { ..*self }
    }
}

/// Makes rings whose overflow goes to files, and comes back from them in order.
///
/// A push that finds the ring full writes its item to a file in the directory; so does every push
/// after it, until takes have made room and all items have come back from the files. So order holds
/// as in a ring that is never full. While nothing is in files, pushes and takes are those of an
/// ordinary ring.
///
/// # What lies in files
///
/// A spilled item is in the page cache when its push returns, so that it survives the process, by
/// whatever signal that dies; it is not synced, so that after power loss it may be gone. Items are
/// struck out of the files before the take that takes them returns. What was not taken when a ring
/// was dropped, or its process killed, is taken up by the next ring in the directory for items of
/// the same type (by [`std::any::type_name`]), ahead of its own; items in the slots go with the ring
/// unless they had come from files. Files of living rings, of other types and of loggers are left
/// alone, so that all of them may share a directory.
///
/// The files, `ring-….ttspill`, are those of FORMAT.md: damage is found by checksums. An item that
/// is damaged, or that its decoder refuses, is skipped, and counted as
/// [`damaged`](super::Stats::damaged).
///
/// # When the disk fails
///
/// [`PushError::Spill`](super::PushError::Spill) gives the item back with what the file system said;
/// when the [`quota`](Self::quota) is reached, that is [`io::ErrorKind::QuotaExceeded`]. Nothing that
/// was accepted is lost by that, and the next push tries again. Spilling writes on the thread that
/// pushes, in an async push too, and may wait for the disk and for others that spill.
///
/// ```
/// use ttlog::ring::Spill;
///
/// # let dir = tempfile::tempdir().unwrap();
/// # let dir = dir.path();
/// let encode = |n: &u64, out: &mut Vec<u8>| Ok(out.extend(n.to_le_bytes()));
/// let decode = |bytes: &[u8]| {
///     bytes.try_into().map(u64::from_le_bytes).map_err(std::io::Error::other)
/// };
/// let ring = Spill::with_codec(dir, encode, decode).quota(1 << 20).ring(4).unwrap();
/// (0..100).for_each(|n| ring.push(n).unwrap());
/// assert_eq!(ring.stats().spilled, 96);
/// assert_eq!(ring.drain(), Vec::from_iter(0..100));
/// ```
#[must_use = "a ring is made by `ring`"]
pub struct Spill<T> {
    dir: PathBuf,
    quota_bytes: u64,
    codec: Codec<T>,
}

impl<T: 'static> Spill<T> {
    /// Takes the directory and what turns items into bytes and back. An item has at most 4 MiB.
    ///
    /// ```
    /// use std::io;
    /// use ttlog::ring::Spill;
    ///
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let dir = dir.path();
    /// let encode = |text: &String, out: &mut Vec<u8>| Ok(out.extend(text.as_bytes()));
    /// let decode = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(io::Error::other);
    /// let ring = Spill::with_codec(dir, encode, decode).ring(1).unwrap();
    /// ring.push("in a slot".into()).unwrap();
    /// ring.push("in a file".into()).unwrap();
    /// assert_eq!(ring.drain(), ["in a slot", "in a file"]);
    /// ```
    pub fn with_codec(
        dir: impl AsRef<Path>,
        encode: fn(&T, &mut Vec<u8>) -> io::Result<()>,
        decode: fn(&[u8]) -> io::Result<T>,
    ) -> Self {
        let codec = Codec { encode, decode };
        Self { dir: dir.as_ref().to_owned(), quota_bytes: QUOTA_BYTES, codec }
    }

    /// Bounds the bytes that the ring's files take together, those included that it takes up; by
    /// default 1 GiB.
    ///
    /// ```
    /// use ttlog::ring::{PushError, Spill};
    ///
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let dir = dir.path();
    /// let encode = |item: &Vec<u8>, out: &mut Vec<u8>| Ok(out.extend(item));
    /// let spill = Spill::with_codec(dir, encode, |bytes| Ok(bytes.to_vec()));
    /// let ring = spill.quota(100_000).ring(1).unwrap();
    /// ring.push(vec![0; 200_000]).unwrap();
    /// let error = ring.push(vec![1; 200_000]).unwrap_err();
    /// assert!(matches!(&error, PushError::Spill { item, .. } if item[0] == 1));
    /// ```
    pub fn quota(mut self, bytes: u64) -> Self {
        self.quota_bytes = bytes;
        self
    }

    /// Makes a ring for `capacity` items in memory, and takes up what rings before left in the
    /// directory, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// If the capacity is 0 or needs more memory than there is, or if the directory cannot be
    /// made, read or written.
    ///
    /// ```
    /// use ttlog::ring::Spill;
    ///
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let dir = dir.path();
    /// let encode = |byte: &u8, out: &mut Vec<u8>| Ok(out.push(*byte));
    /// let spill = || Spill::with_codec(dir, encode, |bytes| Ok(bytes[0]));
    /// let before = spill().ring(2).unwrap();
    /// (1..=5).for_each(|n| before.push(n).unwrap());
    /// drop(before);
    /// let ring = spill().ring(2).unwrap();
    /// assert_eq!(ring.drain(), [3, 4, 5]);
    /// ```
    pub fn ring(self, capacity: usize) -> Result<LockFreeRingBuffer<T>, Error> {
        self.core(capacity).map(|core| LockFreeRingBuffer { core: Arc::new(core) })
    }

    pub(super) fn core(self, capacity: usize) -> Result<Core<T>, Error> {
        let mut core = Core::new(capacity, BackPressurePolicy::DropNewest, 0)?;
        let of = std::any::type_name::<T>();
        let inlet = Inlet::open(&self.dir, of, self.quota_bytes).map_err(|error| {
            let what = "the spill directory cannot be used; make it writable, or choose another";
            Error::at(Kind::Directory(what), &self.dir, error)
        })?;
        core.policy = BackPressurePolicy::SpillToDisk(self.dir);
        let files = Files::new(self.codec, inlet);
        files.begin(&core);
        core.overflow = Some(Box::new(files));
        Ok(core)
    }
}

impl<T> Clone for Spill<T> {
    fn clone(&self) -> Self {
        let Self { dir, quota_bytes, codec } = self;
        Self { dir: dir.clone(), quota_bytes: *quota_bytes, codec: codec.clone() }
    }
}

impl<T> fmt::Debug for Spill<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spill")
            .field("dir", &self.dir)
            .field("quota_bytes", &self.quota_bytes)
            .finish_non_exhaustive()
    }
}

#[cfg(feature = "serde")]
mod with_serde {
    use super::*;
    use serde::{Serialize, de::DeserializeOwned};

    impl<T: Serialize + DeserializeOwned + 'static> Spill<T> {
        /// Takes the directory, for items that serde knows. In files they are MessagePack with the
        /// names of fields, so that a program whose types have changed as serde allows (a field with
        /// a default, an unknown one) still reads what the one before spilled.
        ///
        /// ```
        /// use serde::{Deserialize, Serialize};
        /// use ttlog::ring::Spill;
        ///
        /// #[derive(Serialize, Deserialize, PartialEq, Debug)]
        /// struct Order {
        ///     id: u64,
        ///     note: Option<String>,
        /// }
        ///
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let dir = dir.path();
        /// let ring = Spill::new(dir).quota(64 << 20).ring(1).unwrap();
        /// ring.push(Order { id: 1, note: None }).unwrap();
        /// ring.push(Order { id: 2, note: Some("late".into()) }).unwrap();
        /// assert_eq!(ring.drain()[1], Order { id: 2, note: Some("late".into()) });
        /// ```
        pub fn new(dir: impl AsRef<Path>) -> Self {
            Self::with_codec(
                dir,
                |item, out| rmp_serde::encode::write_named(out, item).map_err(io::Error::other),
                |bytes| rmp_serde::from_slice(bytes).map_err(io::Error::other),
            )
        }
    }

    impl<T: Serialize + DeserializeOwned + 'static> LockFreeRingBuffer<T> {
        /// Makes a ring for `capacity` items in memory; those beyond go to files in the directory,
        /// and come back in order before newer ones. What rings before left there comes first.
        ///
        /// [`Spill`] says what that promises, and has a quota to set, 1 GiB otherwise.
        ///
        /// # Errors
        ///
        /// If the capacity is 0 or needs more memory than there is, or if the directory cannot be
        /// made, read or written.
        ///
        /// ```
        /// use ttlog::ring::LockFreeRingBuffer;
        ///
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let dir = dir.path();
        /// let ring = LockFreeRingBuffer::with_spill(2, dir).unwrap();
        /// for n in 0..5 {
        ///     ring.push(format!("item {n}")).unwrap();
        /// }
        /// assert_eq!((ring.len(), ring.stats().spilled), (5, 3));
        /// assert_eq!(ring.take_batch(2), ["item 0", "item 1"]);
        /// assert_eq!(ring.drain(), ["item 2", "item 3", "item 4"]);
        /// ```
        pub fn with_spill(capacity: usize, dir: impl AsRef<Path>) -> Result<Self, Error> {
            Spill::new(dir).ring(capacity)
        }
    }
}
