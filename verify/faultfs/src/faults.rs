//! Faults: what is to go wrong, as it is told line by line, and what has.
//!
//! ```text
//! fail write|sync NTH TIMES ERRNO [TEXT]   of the writes (that hold TEXT) or syncs from now on, so
//!                                          many fail, the first of them being the NTH, from 0;
//!                                          of a write that goes on where the last one ended, as one
//!                                          that came in pieces does, it is not: a loop device takes
//!                                          what was written in part for written
//! full BYTES ERRNO                         so many bytes are taken, the last write in part; then
//!                                          everything that needs room fails
//! short SEED                               every write takes a random part of its bytes
//! delay PERMILLE MS SEED                   a random share of writes and syncs waits so long
//! heal                                     nothing goes wrong any more
//! counts                                   tells what happened so far
//! ```

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// An operation that may go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Write,
    Sync,
}

#[derive(Debug, Default)]
struct Plan {
    fail: Option<Fail>,
    /// Bytes that are left, and what is said then.
    full: Option<(u64, i32)>,
    /// State of the random numbers of what they are for.
    short: Option<u64>,
    delay: Option<(u64, Duration, u64)>,
}

#[derive(Debug)]
struct Fail {
    kind: Kind,
    /// Operations that pass before, and fail then.
    pass: u64,
    times: u64,
    errno: i32,
    text: Vec<u8>,
}

/// What is to go wrong, and what has.
#[derive(Debug, Default)]
pub struct Faults {
    plan: Mutex<Plan>,
    /// Where the last write ended.
    end: AtomicU64,
    writes: AtomicU64,
    syncs: AtomicU64,
    failed: AtomicU64,
    shortened: AtomicU64,
    delayed: AtomicU64,
}

fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

impl Faults {
    fn plan(&self) -> std::sync::MutexGuard<'_, Plan> {
        self.plan.lock().expect("nobody panics with it")
    }

    /// Does what a line says; the answer.
    pub fn tell(&self, line: &str) -> String {
        let words: Vec<_> = line.split_whitespace().collect();
        let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok());
        let mut plan = self.plan();
        let kind = match words.get(1) {
            Some(&"write") => Some(Kind::Write),
            Some(&"sync") => Some(Kind::Sync),
            _ => None,
        };
        match (words.first().copied(), kind, number(1), number(2), number(3), number(4)) {
            (Some("fail"), Some(kind), _, Some(pass), Some(times), Some(errno)) => {
                let text = words.get(5).copied().unwrap_or("").into();
                plan.fail = Some(Fail { kind, pass, times, errno: errno as i32, text });
            }
            (Some("full"), _, Some(bytes), Some(errno), ..) => {
                plan.full = Some((bytes, errno as i32));
            }
            (Some("short"), _, Some(seed), ..) => plan.short = Some(seed | 1),
            (Some("delay"), _, Some(permille), Some(ms), Some(seed), _) => {
                plan.delay = Some((permille, Duration::from_millis(ms), seed | 1));
            }
            (Some("heal"), ..) => *plan = Plan::default(),
            (Some("counts"), ..) => {
                let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
                return format!(
                    "writes={} syncs={} failed={} shortened={} delayed={}",
                    get(&self.writes),
                    get(&self.syncs),
                    get(&self.failed),
                    get(&self.shortened),
                    get(&self.delayed)
                );
            }
            _ => return format!("not understood: {line}"),
        }
        "ok".into()
    }

    /// How many of these bytes are to be written, or what is to be said instead. Waits, if that is
    /// to be.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<usize, i32> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        let end = self.end.swap(offset + bytes.len() as u64, Ordering::Relaxed);
        self.wait();
        let mut plan = self.plan();
        let failed = if offset == end { None } else { plan.fails(Kind::Write, bytes) };
        if let Some(errno) = failed {
            self.failed.fetch_add(1, Ordering::Relaxed);
            return Err(errno);
        }
        let mut n = bytes.len();
        if let Some(state) = &mut plan.short {
            n = 1 + (random(state) % n.max(1) as u64) as usize;
        }
        if let Some((left, errno)) = &mut plan.full {
            if *left == 0 {
                self.failed.fetch_add(1, Ordering::Relaxed);
                return Err(*errno);
            }
            n = n.min(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= n as u64;
        }
        let n = n.min(bytes.len());
        self.shortened.fetch_add(u64::from(n < bytes.len()), Ordering::Relaxed);
        Ok(n)
    }

    /// What a sync is to say.
    pub fn sync(&self) -> Result<(), i32> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.wait();
        let failed = self.plan().fails(Kind::Sync, &[]);
        self.failed.fetch_add(u64::from(failed.is_some()), Ordering::Relaxed);
        failed.map_or(Ok(()), Err)
    }

    /// What asking for room is to say.
    pub fn room(&self) -> Result<(), i32> {
        self.plan().full.map_or(Ok(()), |(_, errno)| Err(errno))
    }

    fn wait(&self) {
        let mut plan = self.plan();
        let Some((permille, time, state)) = &mut plan.delay else { return };
        let is_slow = random(state) % 1000 < *permille;
        let time = *time;
        drop(plan);
        if is_slow {
            self.delayed.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(time);
        }
    }
}

impl Plan {
    fn fails(&mut self, kind: Kind, bytes: &[u8]) -> Option<i32> {
        let fail = self.fail.as_mut().filter(|fail| fail.kind == kind && fail.times > 0)?;
        let text = &fail.text[..];
        if !text.is_empty() && !bytes.windows(text.len()).any(|window| window == text) {
            return None;
        }
        if fail.pass > 0 {
            fail.pass -= 1;
            return None;
        }
        fail.times -= 1;
        Some(fail.errno)
    }
}
