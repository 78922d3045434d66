//! Rivals of io: the same work through ttlog and through the raw `io-uring` crate, row by row, and
//! end to end beside tokio-uring, compio, monoio and glommio.
//!
//! ```text
//! cargo run --release -- [rows|nop|read|append|scribe|encoded]… [--rounds N]
//! cargo run --release -- count SIDE-ROW N      # one row alone, N times, for callgrind:
//! for n in 10 60; do valgrind --tool=callgrind --callgrind-out-file=/dev/null \
//!     --toggle-collect='*counted*' target/release/rivals-io count own-push $n; done
//! ```
//!
//! The difference of the two counts is that of 50 rounds of 128 steps, without what the first rounds
//! do once.
//!
//! Each figure is the median of the rounds, which go through all in turn, so that a slow moment of
//! the machine falls on all of them.

mod coded_flood;
mod glommio_flood;
mod own;
mod raw;
mod raw_owned;
mod rivals;
mod scribe;

use std::time::Instant;

/// One way of doing a piece of work: a name, and nanoseconds for one operation.
type Way = (&'static str, Box<dyn FnMut() -> Vec<f64>>);

/// Operations of a row that are queued at once.
pub const ROW: usize = 128;

/// What a tool counts the instructions of.
#[inline(never)]
fn counted(work: impl FnOnce()) {
    work();
}

/// Nanoseconds of one of `n` steps.
pub fn time(n: usize, work: impl FnOnce()) -> f64 {
    let begin = Instant::now();
    counted(work);
    begin.elapsed().as_nanos() as f64 / n as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Runs all ways in turn; a line each, with its ratio to the first.
fn compare(title: &str, rounds: usize, mut ways: Vec<Way>) {
    let mut results = vec![Vec::new(); ways.len()];
    for _ in 0..rounds {
        for (way, results) in ways.iter_mut().zip(&mut results) {
            results.push((way.1)());
        }
    }
    println!("\n{title}");
    let mut first = None;
    for ((name, _), results) in ways.iter().zip(results) {
        let column = |at: usize| median(results.iter().map(|values| values[at]).collect());
        let value = column(0);
        let first = *first.get_or_insert(value);
        print!("  {name:24} {value:10.1} ns  {:5.2} x", value / first);
        match results[0].len() {
            3 => println!("   p50 {:.0}, p99 {:.0}", column(1), column(2)),
            _ => println!(),
        }
    }
}

fn boxed(name: &'static str, mut work: impl FnMut() -> f64 + 'static) -> Way {
    (name, Box::new(move || vec![work()]))
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [first, rest @ ..] = &*args
        && first == "count"
    {
        return count(rest);
    }
    let rounds = args.iter().position(|arg| arg == "--rounds");
    let rounds = rounds.map_or(9, |at| args[at + 1].parse().expect("a number"));
    let is_on = |name: &str| {
        let named = ["rows", "nop", "read", "append", "scribe", "encoded"];
        let any = args.iter().any(|arg| named.contains(&&**arg));
        !any || args.iter().any(|arg| arg == name)
    };
    if is_on("rows") {
        rows(rounds * 20);
    }
    if is_on("nop") {
        for batch in [1, 32] {
            compare(
                &format!("no-operation, there and back, {batch} at a time"),
                rounds,
                vec![
                    ("raw io-uring", Box::new(move || raw::nops(batch))),
                    ("ttlog backend", Box::new(move || own::nops(batch))),
                    ("ttlog Ring futures", Box::new(move || own::nop_futures(batch))),
                    ("tokio-uring", Box::new(move || rivals::tokio_nops(batch))),
                ],
            );
        }
    }
    if is_on("read") {
        compare(
            "1-byte reads of a cached file, 32 in flight",
            rounds,
            vec![
                boxed("raw io-uring", raw::reads),
                boxed("ttlog backend", own::reads),
                boxed("ttlog Ring futures", own::read_futures),
                boxed("tokio-uring", rivals::tokio_reads),
                boxed("compio", rivals::compio_reads),
                boxed("monoio", rivals::monoio_reads),
            ],
        );
    }
    if is_on("scribe") {
        scribe::floods(rounds, false);
        scribe::durable(rounds.min(5));
    }
    if args.iter().any(|arg| arg == "encoded") {
        scribe::floods(rounds, true);
    }
    if is_on("append") {
        compare(
            "256 KiB writes to a written file with O_DIRECT, 4 in flight, 128 MiB",
            rounds.min(5),
            vec![
                boxed("raw io-uring", || raw::appends(libc::O_DIRECT)),
                boxed("ttlog backend", || own::appends(libc::O_DIRECT)),
                boxed("ttlog Ring futures", || own::append_futures(libc::O_DIRECT)),
            ],
        );
        compare(
            "the same through the page cache",
            rounds.min(5),
            vec![
                boxed("raw io-uring", || raw::appends(0)),
                boxed("ttlog backend", || own::appends(0)),
                boxed("ttlog Ring futures", || own::append_futures(0)),
                boxed("tokio-uring", rivals::tokio_appends),
                boxed("compio", rivals::compio_appends),
                boxed("monoio", rivals::monoio_appends),
            ],
        );
    }
}

/// A row: its name for `count`, its title, and its sides, of which the first is what the others are
/// compared with.
type Row = (&'static str, &'static str, &'static [Side]);
type Side = (&'static str, fn() -> f64);

const ROWS: &[Row] = &[
    (
        "allocate",
        "a buffer from the pool and back (raw: a Vec of free ones)",
        &[
            ("raw", raw::allocate),
            ("raw-owned", raw_owned::allocate),
            ("own", own::allocate),
            ("own-shared", own::allocate_shared),
        ],
    ),
    (
        "push",
        "prepare and push one read",
        &[("raw", raw::push), ("raw-owned", raw_owned::push), ("own", own::push)],
    ),
    ("empty", "empty poll", &[("raw", raw::empty_poll), ("own", own::empty_poll)]),
    (
        "reap",
        "reap 128 completions, each",
        &[("raw", raw::reap), ("raw-owned", raw_owned::reap), ("own", own::reap)],
    ),
    (
        "reap-read",
        "reap 128 reads with their buffers, each",
        &[("raw", raw::reap_reads), ("raw-owned", raw_owned::reap_reads), ("own", own::reap_reads)],
    ),
    (
        "cancel",
        "push one cancellation",
        &[("raw", raw::cancel), ("raw-owned", raw_owned::cancel), ("own", own::cancel)],
    ),
    (
        "set-up",
        "whole set-up: buffer and push",
        &[("raw", raw::set_up), ("raw-owned", raw_owned::set_up), ("own", own::set_up)],
    ),
    (
        "future",
        "poll of a pending future (waker kept), and pooled buffer and read future made",
        &[("own-waker", own::waker), ("own", own::future)],
    ),
];

/// The rows of the budget: what each step costs without the kernel's part.
fn rows(rounds: usize) {
    for (_, title, sides) in ROWS {
        compare(title, rounds, sides.iter().map(|(side, work)| boxed(side, work)).collect());
    }
}

/// One side of one row alone, so often.
fn count(args: &[String]) {
    let [side_and_row, n] = args else { panic!("count SIDE-ROW N") };
    let named = |side: &str, row: &str| format!("{side}-{row}") == *side_and_row;
    let mut sides = ROWS
        .iter()
        .flat_map(|(row, _, sides)| sides.iter().map(move |(side, work)| (*side, *row, *work)));
    let (_, _, work) = sides.find(|(side, row, _)| named(side, row)).expect("a side and a row");
    (0..n.parse().expect("a number")).for_each(|_| {
        work();
    });
}

/// A file in a directory of the disk, filled with `len` bytes, opened for reading and writing.
pub fn file(len: usize, flags: i32) -> std::fs::File {
    use std::os::unix::fs::OpenOptionsExt as _;
    let path = std::env::temp_dir().join(format!("rivals-io-{}", std::process::id()));
    std::fs::write(&path, vec![7; len]).expect("room for the file");
    let mut options = std::fs::File::options();
    let file = options.read(true).write(true).custom_flags(flags).open(&path);
    let file = file.expect("just written");
    file.sync_all().expect("a disk");
    let _ = std::fs::remove_file(&path);
    file
}

pub const BLOCK: usize = 256 << 10;
pub const N_BLOCKS: usize = 512;
pub const DEPTH: usize = 4;
pub const N_READS: usize = 20_000;
pub const N_NOPS: usize = 20_000;
/// Reads in flight.
pub const READS: usize = 32;

/// The mean, and of single values the middle and the slow ones.
pub fn spread(mean: f64, mut each: Vec<f64>) -> Vec<f64> {
    each.sort_by(f64::total_cmp);
    vec![mean, each[each.len() / 2], each[each.len() * 99 / 100]]
}
