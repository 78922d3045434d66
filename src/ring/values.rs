//! Values: the cells of a ring's items, one after the other.
#![expect(unsafe_code, reason = "moves values through shared cells; proof in super, I1 to I4")]
//!
//! Who may touch which cell is settled in `slot`; here it is a condition of each call.

use std::alloc::{Layout, alloc, dealloc};
use std::mem::MaybeUninit;
use std::ops::RangeInclusive;
use std::ptr::NonNull;

#[cfg(all(target_os = "linux", not(miri), not(loom)))]
use rustix::mm::{Advice, madvise};

use crate::sync::cell::UnsafeCell;
use crate::sync::lines::{LINE_BYTES, ask_to_read, ask_to_write};

/// Values begin on a cache line, so that one of 64 bytes touches one line.
const VALUES_ALIGN: usize = LINE_BYTES;
/// A run of values is copied in parts of about this size: a long copy would be left to the string
/// instructions, which wait for each line that another processor has.
const PART_BYTES: usize = 16 * LINE_BYTES;
/// So far ahead, at least and at most, a batch asks for the lines that the next will write: as far
/// as the batch is long, if that lies between.
const AHEAD_BYTES_MIN: usize = 32 * LINE_BYTES;
const AHEAD_BYTES_MAX: usize = 64 * LINE_BYTES;
/// A take no longer than this asks for its lines itself, a part ahead; in a longer one the
/// processor foresees them better.
const SHORT_BYTES: usize = 64 * LINE_BYTES;
const SHORT_PART_BYTES: usize = 8 * LINE_BYTES;

const HUGE_PAGE_BYTES: usize = 2 << 20;
/// Values of so many bytes in all are put on huge pages. A larger ring's are not: a page comes when
/// it is touched first, and who pushes may wait long for a huge one.
const HUGE_BYTES: RangeInclusive<usize> = HUGE_PAGE_BYTES..=64 << 20;

/// Asks the kernel for huge pages, and for all of them now. Each is a hint: where it has none, the
/// memory is what it was.
///
/// # Safety
///
/// The memory is the caller's, and as large as that.
unsafe fn use_huge_pages(memory: NonNull<u8>, bytes: usize) {
    #[cfg(all(target_os = "linux", not(miri), not(loom)))]
    for advice in [Advice::LinuxHugepage, Advice::LinuxPopulateWrite] {
        // SAFETY: neither changes what is in the memory; the last page may be shared with others.
        let _ = unsafe { madvise(memory.as_ptr().cast(), bytes, advice) };
    }
    #[cfg(not(all(target_os = "linux", not(miri), not(loom))))]
    let _ = (memory, bytes);
}

/// How many values of type `T`, at least one, are about so many bytes.
const fn values_in<T>(bytes: usize) -> usize {
    match size_of::<T>() {
        0 => usize::MAX,
        size if size < bytes => bytes / size,
        _ => 1,
    }
}

/// The cells of the values, on cache lines; which of them are alive is told by the stamps.
pub(super) struct Values<T> {
    cells: NonNull<UnsafeCell<MaybeUninit<T>>>,
    len: usize,
}

// SAFETY: values go in on one thread and come out on another, which asks for `T: Send`; no two
// threads ever hold references to the same one (I1, I4).
unsafe impl<T: Send> Send for Values<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Values<T> {}

impl<T> Values<T> {
    fn layout(len: usize) -> Option<Layout> {
        let layout = Layout::array::<UnsafeCell<MaybeUninit<T>>>(len).ok()?;
        let is_huge = HUGE_BYTES.contains(&layout.size());
        layout.align_to(if is_huge { HUGE_PAGE_BYTES } else { VALUES_ALIGN }).ok()
    }

    pub(super) fn new(len: usize) -> Option<Self> {
        let layout = Self::layout(len)?;
        let cells = if layout.size() == 0 {
            NonNull::dangling()
        } else {
            // SAFETY: the size is not zero.
            let memory = unsafe { alloc(layout) };
            let memory = NonNull::new(memory)?;
            if layout.align() == HUGE_PAGE_BYTES {
                // SAFETY: as long as it was allocated, and nobody uses it yet.
                unsafe { use_huge_pages(memory, layout.size()) };
            }
            memory.cast()
        };
        for n in 0..len {
            // SAFETY: `n` is within the allocation.
            let cell = unsafe { cells.add(n) };
            // SAFETY: the memory is ours and large enough; nobody reads it yet.
            unsafe { cell.write(UnsafeCell::new(MaybeUninit::uninit())) };
        }
        Some(Self { cells, len })
    }

    /// Where a value lies, for hints alone.
    #[inline(always)]
    pub(super) fn address(&self, index: usize) -> *const u8 {
        self.cells.as_ptr().wrapping_add(index).cast()
    }

    /// Asks for the lines of `count` values from this index on, or as many as there are.
    #[inline(always)]
    fn ask(&self, index: usize, count: usize, ask: impl Fn(*const u8)) {
        let bytes = count.min(self.len.saturating_sub(index)) * size_of::<T>();
        let start = self.address(index);
        (0..bytes).step_by(LINE_BYTES).for_each(|at| ask(start.wrapping_add(at)));
    }

    #[inline(always)]
    fn cell(&self, index: usize) -> &UnsafeCell<MaybeUninit<T>> {
        debug_assert!(index < self.len);
        // SAFETY: every index is masked to below `len` (I6), and all cells were made in `new`.
        let cell = unsafe { self.cells.add(index) };
        // SAFETY: the cell lives as long as `self`.
        unsafe { cell.as_ref() }
    }

    /// # Safety
    ///
    /// The caller owns this slot, and it holds no value.
    #[inline(always)]
    pub(super) unsafe fn write(&self, index: usize, value: T) {
        self.cell(index).with_mut(|cell| {
            // SAFETY: the caller owns the slot.
            unsafe { cell.write(MaybeUninit::new(value)) }
        });
    }

    /// # Safety
    ///
    /// The caller owns this slot, which holds a value, and gives the value up in it.
    #[inline(always)]
    pub(super) unsafe fn read(&self, index: usize) -> T {
        self.cell(index).with(|cell| {
            // SAFETY: the caller owns the slot.
            let value = unsafe { cell.read() };
            // SAFETY: it holds a value.
            unsafe { value.assume_init() }
        })
    }

    /// Writes a run of values, and asks for the lines of those that come next: of the `behind` slots
    /// behind it, which nobody uses now.
    ///
    /// # Safety
    ///
    /// As for [`write`](Self::write), for each of `count` slots, none beyond the array's end; the
    /// values at `from` are given up.
    #[inline]
    pub(super) unsafe fn write_many(
        &self,
        index: usize,
        from: *const T,
        count: usize,
        behind: usize,
    ) {
        debug_assert!(index + count <= self.len, "I6");
        if cfg!(not(loom)) {
            let most = values_in::<T>(AHEAD_BYTES_MAX);
            let ahead = count.clamp(values_in::<T>(AHEAD_BYTES_MIN), most);
            let to = self.cells.as_ptr().cast::<T>().wrapping_add(index);
            for at in (0..count).step_by(values_in::<T>(PART_BYTES)) {
                let part = values_in::<T>(PART_BYTES).min(count - at);
                let asked = part.min((count + behind).saturating_sub(at + ahead));
                self.ask(index.saturating_add(at + ahead), asked, ask_to_write);
                let (from, to) = (from.wrapping_add(at), to.wrapping_add(at));
                // SAFETY: a cell is as its value in memory; the caller owns them all.
                unsafe { std::ptr::copy_nonoverlapping(from, to, part) };
            }
            return;
        }
        for n in 0..count {
            // SAFETY: `from` has `count` values.
            let value = unsafe { from.wrapping_add(n).read() };
            // SAFETY: the caller owns the slot.
            unsafe { self.write(index + n, value) };
        }
    }

    /// # Safety
    ///
    /// As for [`read`](Self::read), for as many slots as `to` is long, none beyond the end.
    #[inline]
    pub(super) unsafe fn read_many(&self, index: usize, to: &mut [MaybeUninit<T>]) {
        debug_assert!(index + to.len() <= self.len, "I6");
        if cfg!(not(loom)) {
            let is_short = size_of_val(to) <= SHORT_BYTES;
            let part = values_in::<T>(if is_short { SHORT_PART_BYTES } else { PART_BYTES });
            let (mut index, mut left) = (index, to.len());
            for to in to.chunks_mut(part) {
                left -= to.len();
                if is_short {
                    self.ask(index + to.len(), left.min(part), ask_to_read);
                }
                let from = self.cells.as_ptr().cast::<MaybeUninit<T>>().wrapping_add(index);
                // SAFETY: a cell is as its value in memory; the caller owns them all.
                unsafe { std::ptr::copy_nonoverlapping(from, to.as_mut_ptr(), to.len()) };
                index += to.len();
            }
            return;
        }
        for (n, place) in to.iter_mut().enumerate() {
            // SAFETY: the caller owns the slot, which holds a value.
            place.write(unsafe { self.read(index + n) });
        }
    }
}

impl<T> Drop for Values<T> {
    fn drop(&mut self) {
        let layout = Self::layout(self.len).expect("it was one when the cells were made");
        let cells = NonNull::slice_from_raw_parts(self.cells, self.len);
        // SAFETY: all cells were made in `new`; what they hold is not dropped with them.
        unsafe { cells.drop_in_place() };
        if layout.size() > 0 {
            // SAFETY: allocated with the same layout in `new`.
            unsafe { dealloc(self.cells.as_ptr().cast(), layout) };
        }
    }
}
