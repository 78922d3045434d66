//! Rivals of the ring: the same work for each queue, in one run, on pinned threads.
//!
//! ```text
//! cargo run --release -- [saturated|batch|evict|latency|single|memory|epoch]… [--rounds N] [--ms N]
//!                        [--only NAME-PART] [--items 8,64,256] [--capacity 1024]
//! cargo run --release -- lines
//! valgrind --tool=cachegrind --cache-sim=yes rivals-ring count KIND N
//! ```
//!
//! A KIND is evict, force_push, single, concurrent, batch or disruptor.
//!
//! Each figure is the median of the rounds, which go through all queues in turn, so that a slow
//! moment of the machine falls on all of them.

mod apart;
mod disruptor_run;
mod floor;
mod measure;
mod queues;

use measure::{Kind, Options, evict, latency, saturated, single};
use queues::{
    ArrayQueue, ArrayQueueForce, Channel, Concurrent, Heapless, Kanal, Queue, Rtrb, Thingbuf,
    Ttlog, TtlogOldest,
};

/// An item of `8 × N` bytes.
#[derive(Clone, Copy)]
pub struct Item<const N: usize>(#[allow(dead_code)] [u64; N]);

impl<const N: usize> Default for Item<N> {
    fn default() -> Self {
        Self([7; N])
    }
}

type Run = (&'static str, Box<dyn Fn() -> Vec<f64>>);

fn runs<const N: usize>(kind: Kind, producers: usize, o: &Options) -> Vec<Run> {
    fn of<T: Copy + Default + Send + Sync + 'static, Q: Queue<T>>(
        kind: Kind,
        producers: usize,
        o: &Options,
    ) -> Option<Run> {
        if producers > Q::PRODUCERS_MAX || !Q::NAME.contains(&*o.only) {
            return None;
        }
        let o = o.clone();
        Some((
            Q::NAME,
            Box::new(move || match kind {
                Kind::Saturated => saturated::<T, Q>(producers, 1, &o),
                Kind::Batch => saturated::<T, Q>(producers, 32, &o),
                Kind::Evict => evict::<T, Q>(producers, &o),
                Kind::Latency => latency::<T, Q>(producers, &o),
                Kind::Single => single::<T, Q>(&o),
            }),
        ))
    }
    if kind == Kind::Evict {
        return [
            of::<Item<N>, TtlogOldest<_>>(kind, producers, o),
            of::<Item<N>, ArrayQueueForce<_>>(kind, producers, o),
        ]
        .into_iter()
        .flatten()
        .collect();
    }
    let mut all: Vec<Run> = [
        of::<Item<N>, Ttlog<_>>(kind, producers, o),
        of::<Item<N>, ArrayQueue<_>>(kind, producers, o),
        of::<Item<N>, Channel<_>>(kind, producers, o),
        of::<Item<N>, Thingbuf<_>>(kind, producers, o),
        of::<Item<N>, Concurrent<_>>(kind, producers, o),
        of::<Item<N>, Kanal<_>>(kind, producers, o),
        of::<Item<N>, Rtrb<_>>(kind, producers, o),
    ]
    .into_iter()
    .flatten()
    .collect();
    if o.capacity == 1024 {
        all.extend(of::<Item<N>, Heapless<_>>(kind, producers, o));
    }
    if "disruptor".contains(&*o.only) && matches!(kind, Kind::Saturated | Kind::Batch) {
        let o = o.clone();
        let batch = if kind == Kind::Batch { 32 } else { 1 };
        let run = move || disruptor_run::saturated::<Item<N>>(producers, batch, &o);
        all.push(("disruptor", Box::new(run)));
    }
    all
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn table<const N: usize>(kind: Kind, producers: usize, o: &Options) {
    let runs = runs::<N>(kind, producers, o);
    let mut results = vec![Vec::new(); runs.len()];
    for _ in 0..o.rounds {
        for (run, results) in runs.iter().zip(&mut results) {
            results.push(run.1());
        }
    }
    println!("\n{kind:?}, {} bytes, capacity {}, {producers} producers", 8 * N, o.capacity);
    for (run, results) in runs.iter().zip(results) {
        let columns = (0..results[0].len())
            .map(|n| format!("{:9.1}", median(results.iter().map(|r| r[n]).collect())));
        println!("  {:22}{}  {}", run.0, columns.collect::<String>(), kind.unit());
    }
}

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("epoch") => return apart::epoch(),
        Some("memory") => return apart::memory(),
        Some("lines") => return floor::lines(),
        Some("count") => {
            let mut args = std::env::args().skip(2);
            let (what, times) = (args.next(), args.next().and_then(|n| n.parse().ok()));
            return floor::count(&what.unwrap_or_default(), times.unwrap_or(0));
        }
        _ => {}
    }
    let o = Options::from_args();
    for kind in &o.kinds {
        let producers: &[usize] = if *kind == Kind::Single { &[1] } else { &[1, 2, 4] };
        for bytes in &o.items {
            for producers in producers {
                match bytes {
                    8 => table::<1>(*kind, *producers, &o),
                    64 => table::<8>(*kind, *producers, &o),
                    256 => table::<32>(*kind, *producers, &o),
                    _ => eprintln!("items of 8, 64 or 256 bytes"),
                }
            }
        }
    }
}
