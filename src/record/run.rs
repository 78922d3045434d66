//! Run: consecutive records of one lane, the unit that blocks hold and readers order by.
//!
//! # Layout
//!
//! ```text
//! 0           4              8              16        24               32
//! | lane u32  | generation   | position u64 | end u64 | first record   | count u32
//! 36              40        44        45             46              48
//! | body bytes u32| tid u32 | codec u8| name len u8  | losses len u16 | name, losses, body
//!
//! a loss: | cause u8 | level u8 | cumulative count u64 |
//! ```

use super::{Cause, Level, Losses};

/// Bytes of a run's head before name and losses.
const FIXED_BYTES: usize = 48;
const LOSS_BYTES: usize = 10;
/// The longest thread name kept, in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 64;
/// The longest head of a run in bytes.
pub const RUN_HEAD_BYTES_MAX: usize =
    FIXED_BYTES + NAME_BYTES_MAX + LOSS_BYTES * super::CAUSES * super::LEVELS;

/// Codec of a run's body: records as they lay in the lane.
pub const CODEC_RAW: u8 = 0;
/// Codec of a run's body: see [`super::compact`].
pub const CODEC_COMPACT: u8 = 1;

/// What a run says about its records: where they come from and what was lost before them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunHead {
    /// The lane's number within its logger.
    pub lane: u32,
    /// Counts the hand-outs of the lane; positions never restart within one.
    pub generation: u32,
    /// Byte position in the lane of the first record.
    pub position: u64,
    /// Byte position behind the last record, a pad at the buffer's end included.
    pub end: u64,
    /// Number of the first record within (lane, generation), pads not counted.
    pub first_record: u64,
    /// Number of records; 0 when the run carries losses alone.
    pub count: u32,
    /// The operating system's id of the thread; 0 for the common lane.
    pub tid: u32,
    /// The thread's name, empty when it has none.
    pub thread: String,
    /// Cumulative losses of (lane, generation) when the run was taken.
    pub losses: Losses,
}

impl RunHead {
    /// Writes the head in front of a body of `body_bytes` and returns its length; `None` when
    /// `out` is too short.
    pub fn encode(&self, codec: u8, body_bytes: u32, out: &mut [u8]) -> Option<usize> {
        let len = self.encoded_len();
        let out = out.get_mut(..len)?;
        let name = self.name_bytes();
        let n_losses = self.losses.iter().count();
        out[0..4].copy_from_slice(&self.lane.to_le_bytes());
        out[4..8].copy_from_slice(&self.generation.to_le_bytes());
        out[8..16].copy_from_slice(&self.position.to_le_bytes());
        out[16..24].copy_from_slice(&self.end.to_le_bytes());
        out[24..32].copy_from_slice(&self.first_record.to_le_bytes());
        out[32..36].copy_from_slice(&self.count.to_le_bytes());
        out[36..40].copy_from_slice(&body_bytes.to_le_bytes());
        out[40..44].copy_from_slice(&self.tid.to_le_bytes());
        out[44] = codec;
        out[45] = name.len() as u8;
        out[46..48].copy_from_slice(&(n_losses as u16).to_le_bytes());
        out[FIXED_BYTES..][..name.len()].copy_from_slice(name);
        let losses = out[FIXED_BYTES + name.len()..].chunks_exact_mut(LOSS_BYTES);
        for (out, (cause, level, count)) in losses.zip(self.losses.iter()) {
            out[0] = cause as u8;
            out[1] = level as u8;
            out[2..].copy_from_slice(&count.to_le_bytes());
        }
        Some(len)
    }

    /// Length that [`RunHead::encode`] will write.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        FIXED_BYTES + self.name_bytes().len() + LOSS_BYTES * self.losses.iter().count()
    }

    /// Reads a head; returns it with its codec, its own length and its body's length, or `None`
    /// when the bytes are no head. The body may be cut: the caller compares.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<(Self, u8, usize, usize)> {
        let fixed = bytes.first_chunk::<FIXED_BYTES>()?;
        let u32_at = |at: usize| fixed[at..].first_chunk().map(|b| u32::from_le_bytes(*b));
        let u64_at = |at: usize| fixed[at..].first_chunk().map(|b| u64::from_le_bytes(*b));
        let n_losses = usize::from(u16::from_le_bytes([fixed[46], fixed[47]]));
        let name_len = usize::from(fixed[45]);
        if name_len > NAME_BYTES_MAX || n_losses > super::CAUSES * super::LEVELS {
            return None;
        }
        let len = FIXED_BYTES + name_len + n_losses * LOSS_BYTES;
        let rest = bytes.get(FIXED_BYTES..len)?;
        let thread = std::str::from_utf8(&rest[..name_len]).ok()?.to_owned();
        let mut losses = Losses::NONE;
        for loss in rest[name_len..].chunks_exact(LOSS_BYTES) {
            let cause = *Cause::ALL.get(usize::from(loss[0]))?;
            let level = Level::from_u8(loss[1])?;
            losses.set(cause, level, u64::from_le_bytes(*loss[2..].first_chunk()?));
        }
        let head = Self {
            lane: u32_at(0)?,
            generation: u32_at(4)?,
            position: u64_at(8)?,
            end: u64_at(16)?,
            first_record: u64_at(24)?,
            count: u32_at(32)?,
            tid: u32_at(40)?,
            thread,
            losses,
        };
        let sane = head.position <= head.end
            && u64::from(head.count) * super::HEAD_BYTES as u64 <= head.end - head.position
            && head.first_record.checked_add(u64::from(head.count)).is_some();
        sane.then_some((head, fixed[44], len, u32_at(36)? as usize))
    }

    fn name_bytes(&self) -> &[u8] {
        thread_name_bytes(&self.thread)
    }
}

/// As much of a thread's name as is kept.
pub(crate) fn thread_name_bytes(thread: &str) -> &[u8] {
    let mut len = thread.len().min(NAME_BYTES_MAX);
    while !thread.is_char_boundary(len) {
        len -= 1;
    }
    &thread.as_bytes()[..len]
}

/// A run with its records as they lay in the lane, pads left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RawRun {
    /// Where the records come from.
    pub head: RunHead,
    /// Whole records, one behind another.
    pub bytes: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_reads_back_equal() {
        let mut losses = Losses::NONE;
        losses.add(Cause::Full, Level::Warn, 7);
        losses.add(Cause::Io, Level::Trace, u64::MAX);
        let head = RunHead {
            lane: 3,
            generation: 9,
            position: 4096,
            end: 8192,
            first_record: 77,
            count: 12,
            tid: 4242,
            thread: "worker-1".into(),
            losses,
        };
        let mut out = [0; RUN_HEAD_BYTES_MAX];
        let len = head.encode(CODEC_RAW, 512, &mut out).unwrap();
        assert_eq!(len, head.encoded_len());
        assert_eq!(RunHead::decode(&out), Some((head, CODEC_RAW, len, 512)));
    }

    #[test]
    fn head_with_lying_numbers_is_refused() {
        let mut out = [0; RUN_HEAD_BYTES_MAX];
        let head = RunHead { position: 0, end: 64, count: 1, ..RunHead::default() };
        head.encode(CODEC_RAW, 0, &mut out).unwrap();
        for (at, byte) in [(45, 255), (46, 255), (32, 255), (8, 255)] {
            let mut bad = out;
            bad[at] = byte;
            assert_eq!(RunHead::decode(&bad), None, "byte {at}");
        }
    }
}
