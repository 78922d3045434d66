//! Raw owned: the rows of `raw` with the least that owns, as any program needs that does not know
//! what it is given: buffer and file are kept in a slab for as long as the kernel has them, whose keys
//! hold an index and a generation, and a buffer of a pool comes back by itself.
#![expect(unsafe_code, reason = "the raw interface is unsafe")]

use std::cell::RefCell;
use std::hint::black_box;
use std::mem::ManuallyDrop;
use std::os::fd::AsRawFd as _;
use std::rc::Rc;
use std::sync::Arc;

use io_uring::{IoUring, opcode, types};

use crate::raw::{drain_each, with};
use crate::{ROW, time};

type Kept = (Vec<u8>, Arc<std::fs::File>);

#[derive(Default)]
struct Slots {
    places: Vec<(u32, Option<Kept>)>,
    free: Vec<u32>,
}

impl Slots {
    fn insert(&mut self, kept: Option<Kept>) -> u64 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push((0, None));
            self.places.len() as u32 - 1
        });
        let place = &mut self.places[index as usize];
        place.1 = kept;
        u64::from(place.0) << 32 | u64::from(index)
    }

    fn holds(&self, key: u64) -> bool {
        let place = self.places.get(key as u32 as usize);
        place.is_some_and(|place| place.0 == (key >> 32) as u32)
    }

    fn remove(&mut self, key: u64) -> Option<Option<Kept>> {
        let place = self.places.get_mut(key as u32 as usize)?;
        if place.0 != (key >> 32) as u32 {
            return None;
        }
        place.0 += 1;
        self.free.push(key as u32);
        Some(place.1.take())
    }
}

thread_local! {
    static SLOTS: RefCell<(Slots, Arc<std::fs::File>)> = RefCell::new((
        Slots::default(),
        Arc::new(std::fs::File::open("/dev/zero").expect("/dev/zero")),
    ));
}

fn push_one(ring: &mut IoUring, slots: &mut Slots, file: &Arc<std::fs::File>, buffer: Vec<u8>) {
    let (start, fd) = (buffer.as_ptr().cast_mut(), types::Fd(file.as_raw_fd()));
    let key = slots.insert(Some((buffer, Arc::clone(file))));
    let read = opcode::Read::new(fd, start, 64).build().user_data(key);
    // SAFETY: the slot keeps the buffer.
    unsafe { ring.submission().push(&read) }.expect("room");
}

fn take_back(ring: &mut IoUring, slots: &mut Slots, free: &mut Vec<Vec<u8>>) {
    drain_each(ring, ROW, |entry| {
        let kept = slots.remove(entry.user_data()).expect("it was pushed");
        free.extend(kept.map(|(buffer, _)| buffer));
    });
}

pub fn push() -> f64 {
    with(|ring, free, _| {
        SLOTS.with_borrow_mut(|(slots, file)| {
            let buffers = std::mem::take(free);
            let pushed = time(ROW, || {
                for buffer in buffers {
                    push_one(ring, slots, file, buffer);
                }
            });
            take_back(ring, slots, free);
            pushed
        })
    })
}

pub fn set_up() -> f64 {
    with(|ring, free, _| {
        SLOTS.with_borrow_mut(|(slots, file)| {
            let pushed = time(ROW, || {
                for _ in 0..ROW {
                    let buffer = free.pop().expect("one is there");
                    push_one(ring, slots, file, buffer);
                }
            });
            take_back(ring, slots, free);
            pushed
        })
    })
}

pub fn reap() -> f64 {
    with(|ring, _, _| {
        SLOTS.with_borrow_mut(|(slots, _)| {
            for _ in 0..ROW {
                let nop = opcode::Nop::new().build().user_data(slots.insert(None));
                // SAFETY: it names no memory.
                unsafe { ring.submission().push(&nop) }.expect("room");
            }
            ring.submit_and_wait(ROW).expect("enter");
            let mut out = Vec::with_capacity(ROW);
            time(ROW, || {
                out.extend(ring.completion().map(|entry| {
                    let kept = slots.remove(entry.user_data()).expect("it was pushed");
                    (entry.user_data(), entry.result(), kept.map(|(buffer, _)| buffer))
                }));
                assert_eq!(out.len(), ROW);
            })
        })
    })
}

/// Of one thread, its buffers too: they are not counted, and have one length.
type Pool = Rc<RefCell<Vec<Box<[u8]>>>>;

struct Lent {
    buffer: ManuallyDrop<Box<[u8]>>,
    pool: Pool,
}

fn lend(pool: &Pool) -> Option<Lent> {
    let buffer = ManuallyDrop::new(pool.borrow_mut().pop()?);
    Some(Lent { buffer, pool: Rc::clone(pool) })
}

impl Drop for Lent {
    fn drop(&mut self) {
        // SAFETY: taken here alone.
        let buffer = unsafe { ManuallyDrop::take(&mut self.buffer) };
        self.pool.borrow_mut().push(buffer);
    }
}

pub fn allocate() -> f64 {
    let pool = Pool::default();
    pool.borrow_mut().push(vec![0; 4096].into());
    time(ROW, || {
        for _ in 0..ROW {
            black_box(lend(&pool));
        }
    })
}

pub fn reap_reads() -> f64 {
    with(|ring, free, _| {
        SLOTS.with_borrow_mut(|(slots, file)| {
            for buffer in std::mem::take(free) {
                push_one(ring, slots, file, buffer);
            }
            ring.submit_and_wait(ROW).expect("enter");
            let mut out = Vec::with_capacity(ROW);
            let reaped = time(ROW, || {
                out.extend(ring.completion().map(|entry| {
                    let kept = slots.remove(entry.user_data()).expect("it was pushed");
                    (entry.user_data(), entry.result(), kept.map(|(buffer, _)| buffer))
                }));
                assert_eq!(out.len(), ROW);
            });
            free.extend(out.into_iter().filter_map(|(_, _, buffer)| buffer));
            reaped
        })
    })
}

/// Looks whether there is such an operation.
pub fn cancel() -> f64 {
    with(|ring, _, _| {
        SLOTS.with_borrow_mut(|(slots, _)| {
            let keys: Vec<_> = (0..ROW).map(|_| slots.insert(None)).collect();
            let pushed = time(ROW, || {
                for key in &keys {
                    let is_there = slots.holds(*key);
                    if is_there {
                        let cancel = opcode::AsyncCancel::new(*key).build().user_data(u64::MAX);
                        // SAFETY: it names no memory.
                        unsafe { ring.submission().push(&cancel) }.expect("room");
                    }
                    black_box(is_there);
                }
            });
            drain_each(ring, ROW, |_| {});
            keys.into_iter().for_each(|key| assert!(slots.remove(key).is_some()));
            pushed
        })
    })
}
