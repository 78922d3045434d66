//! Counts the instructions of calls, with valgrind, which must be installed:
//!
//! ```console
//! $ cargo run --release --example instructions
//! $ cargo run --release --example instructions layer-4-1 floor-4-1
//! ```
//!
//! Each kind is counted in two processes of its own, and what 20,000 calls more took in the second
//! is divided by them; after each thousand the logger is flushed, uncounted. So what is counted is
//! a call that finds room, and now and then one that opens the next stretch of its lane.
//!
//! To run N calls of a kind without counting, for other tools: `instructions KIND N`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

#[path = "../benches/common/clock.rs"]
mod clock;
#[path = "../benches/common/logged.rs"]
mod logged;
#[path = "../benches/common/traced.rs"]
mod traced;

use std::error::Error;
use std::hint::black_box;
use std::process::Command;
use std::time::Duration;

use tracing_subscriber::prelude::*;
use ttlog::{Builder, Handle, Level};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Calls that are counted.
const CALLS: u64 = 20_000;
/// Calls between two flushes: a lane holds them. The first of these rounds makes lanes and
/// definitions, and gives the lane its size.
const ROUND: u64 = 1_000;
const LONG: Duration = Duration::from_secs(60);

/// By ttlog's own macros.
const OWN: &[(&str, &str)] = &[
    ("logged", "`info!(\"x={}\", x)`"),
    ("local", "`info!(logger: &handle, \"x={}\", x)`"),
    ("structured", "`info!` with four fields and a message"),
    ("in-span", "`info!(\"x={}\", x)` in a span"),
    ("span", "`info_span!(\"a\", x)`: opened, entered, left, closed"),
    ("disabled", "`trace!(\"x={}\", x)`, disabled"),
    ("disabled-span", "`trace_span!(\"a\", x)`, disabled"),
    ("recorded", "`trace!(\"x={}\", x)`, below the filter, kept by a flight recorder"),
    ("recorded-structured", "the same with four fields and a message"),
];
/// By other front ends, each with a floor.
const OTHERS: &[(&str, &str)] = &[
    ("layer-span", "span of tracing, one field: opened, entered, left, closed"),
    ("log", "`log::info!` with a message"),
    ("log-fields", "`log::info!` with four key-values"),
];

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match &args[..] {
        [] => table(),
        [kind, n] if n.parse::<u64>().is_ok() => run(kind, n.parse()?),
        kinds => kinds.iter().try_for_each(|kind| {
            println!("{kind} {:.1}", count(kind)?);
            Ok(())
        }),
    }
}

/// Counts all kinds and prints tables.
fn table() -> Result<()> {
    println!("| call | instructions |\n| --- | --- |");
    for (kind, what) in OWN {
        println!("| {what} | {:.1} |", count(kind)?);
    }
    println!("\n| fields | spans | floor | ttlog | ratio |\n| --- | --- | --- | --- | --- |");
    for fields in [0, 4, 16] {
        for spans in [0, 1, 3] {
            let [floor, layer] = both(&format!("layer-{fields}-{spans}"))?;
            let ratio = layer / floor;
            println!("| {fields} | {spans} | {floor:.0} | {layer:.0} | {ratio:.2} |");
        }
    }
    println!("\n| call | floor | ttlog | ratio |\n| --- | --- | --- | --- |");
    for (kind, what) in OTHERS {
        let [floor, ttlog] = both(kind)?;
        println!("| {what} | {floor:.0} | {ttlog:.0} | {:.2} |", ttlog / floor);
    }
    Ok(())
}

/// Instructions of a call of a kind, of its floor and as it is.
fn both(kind: &str) -> Result<[f64; 2]> {
    let floor = match kind.strip_prefix("layer") {
        Some(of) => format!("floor{of}"),
        None => format!("floor-{kind}"),
    };
    Ok([count(&floor)?, count(kind)?])
}

/// Instructions of a call of a kind.
fn count(kind: &str) -> Result<f64> {
    let [first, all] = [ROUND, ROUND + CALLS].map(|n| count_all(kind, n));
    Ok((all? - first?) / CALLS as f64)
}

/// Instructions of so many calls of a kind.
fn count_all(kind: &str, n: u64) -> Result<f64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg("--toggle-collect=*counted_loop*")
        .arg(std::env::current_exe()?)
        .args([kind, &n.to_string()])
        .output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    let collected = text.split_once("Collected :").map(|(_, rest)| rest);
    let collected = collected.and_then(|rest| rest.split_whitespace().next());
    match collected.map(str::parse::<f64>) {
        Some(Ok(collected)) if output.status.success() => Ok(collected),
        _ => Err(format!("valgrind could not count {kind}: {text}").into()),
    }
}

/// What is counted.
#[inline(never)]
fn counted_loop(n: u64, call: impl Fn(u64)) {
    (0..n).for_each(|n| call(black_box(n)));
}

/// Runs a kind.
fn run(kind: &str, n: u64) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let with_layer = || -> Result<Handle> {
        let (layer, handle) = ttlog::layer(dir.path()).build()?;
        tracing_subscriber::registry().with(layer).try_init()?;
        Ok(handle)
    };
    let handle = match kind {
        "floor-log" | "floor-log-fields" => {
            log::set_logger(&logged::Text)?;
            log::set_max_level(log::LevelFilter::Info);
            None
        }
        _ if kind.starts_with("floor") => {
            tracing_subscriber::registry().with(traced::Floor).try_init()?;
            None
        }
        _ if kind.starts_with("layer") => Some(with_layer()?),
        _ => {
            let mut builder = Builder::new(dir.path()).filter("info");
            if kind.starts_with("recorded") {
                builder = builder.flight_recorder(Level::TRACE, 16 << 20);
            }
            let handle = builder.init()?;
            ttlog::bridge::init()?;
            Some(handle)
        }
    };
    let to = Rounds { n, handle: handle.as_ref() };
    match kind {
        "logged" => to.run(|x| ttlog::info!("x={}", x)),
        "local" => {
            let handle = handle.as_ref().ok_or("a logger's handle")?;
            to.run(|x| ttlog::info!(logger: handle, "x={}", x))
        }
        "structured" => to.run(|x| {
            let path = black_box(traced::PATH);
            ttlog::info!(user_id = x, path, latency = 0.5, ok = true, "request done");
        }),
        "in-span" => {
            let _span = ttlog::info_span!("a").entered();
            to.run(|x| ttlog::info!("x={}", x))
        }
        "span" => to.run(|x| drop(ttlog::info_span!("a", x).entered())),
        "disabled" | "recorded" => to.run(|x| ttlog::trace!("x={}", x)),
        "disabled-span" => to.run(|x| drop(black_box(ttlog::trace_span!("a", x)))),
        "recorded-structured" => to.run(|x| {
            let path = black_box(traced::PATH);
            ttlog::trace!(user_id = x, path, latency = 0.5, ok = true, "request done");
        }),
        "log" | "floor-log" => to.run(|_| logged::message()),
        "log-fields" | "floor-log-fields" => to.run(logged::key_values),
        "layer-span" | "floor-span" => to.run(traced::span),
        _ => events(kind, &to),
    }?;
    if let Some(handle) = handle {
        handle.shutdown(LONG)?;
    }
    Ok(())
}

/// Runs a kind `layer-FIELDS-SPANS`, or `floor-…`.
fn events(kind: &str, to: &Rounds<'_>) -> Result<()> {
    let unknown = || format!("{kind}: there is no such kind; examples/instructions.rs has them");
    let (_, numbers) = kind.split_once('-').ok_or_else(unknown)?;
    let (fields, spans) = numbers.split_once('-').ok_or_else(unknown)?;
    traced::in_spans(spans.parse()?, || match fields {
        "0" => to.run(|_| traced::no_fields()),
        "4" => to.run(traced::four_fields),
        "16" => to.run(traced::sixteen_fields),
        _ => Err(unknown().into()),
    })
}

/// Calls, a thousand at a time.
struct Rounds<'h> {
    n: u64,
    handle: Option<&'h Handle>,
}

impl Rounds<'_> {
    fn run(&self, call: impl Fn(u64)) -> Result<()> {
        for first in (0..self.n).step_by(ROUND as usize) {
            counted_loop(ROUND.min(self.n - first), &call);
            if let Some(handle) = self.handle {
                handle.flush(LONG)?;
            }
        }
        Ok(())
    }
}
