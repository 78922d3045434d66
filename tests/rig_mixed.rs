//! 4 threads × 1,000,000 `mixed` events, complete and in order per thread through `ttlog -o json`.
//!
//! In a release build the full count runs by default; a debug build logs 20,000 a thread.
//! `cargo test --release --test rig_mixed -- --nocapture`
#![expect(clippy::print_stdout, reason = "counts are the report of a rig")]

mod rig;

use rig::{Rig, mix, number};

const EVENTS: u64 = if cfg!(debug_assertions) { 20_000 } else { 1_000_000 };
const THREADS: u64 = 4;

/// Reads everything and compares count, order and a checksum of the fields with what `runs` logged.
fn check(rig: &Rig, runs: &[u64]) {
    let mut next = vec![[0_u64; THREADS as usize]; runs.len() + 1];
    let (mut count, mut checksum) = (0_u64, 0_u64);
    let mut bad = Vec::new();
    let wrong = rig::read::each_line(&rig.dir(), |line| {
        let message = line.split_once(r#""message":""#).and_then(|(_, rest)| rest.split_once('"'));
        let mut words = message.map_or("", |(message, _)| message).splitn(3, ' ');
        let id: Option<u64> = words.next().and_then(|word| word.parse().ok());
        let half: Option<f64> = words.next().and_then(|word| word.parse().ok());
        let (Some(id), Some(half), Some("hello world")) = (id, half, words.next()) else {
            return bad.push(line.to_owned());
        };
        let (run, t, n) = (id >> 48, id >> 40 & 0xff, id & 0xff_ffff_ffff);
        let at = &mut next[run as usize][t as usize];
        if *at != n && bad.len() < 10 {
            bad.push(format!("run {run} t {t}: {n} where {at} was expected"));
        }
        *at = n + 1;
        count += 1;
        checksum = checksum.wrapping_add(mix::sum(run, t, n) ^ half.to_bits());
    });
    assert_eq!(wrong, [""; 0]);
    assert_eq!(bad, [""; 0]);
    let all = || {
        runs.iter()
            .flat_map(|&run| (0..THREADS).flat_map(move |t| (0..EVENTS).map(move |n| (run, t, n))))
    };
    let expected = all().fold(0_u64, |sum, (run, t, n)| {
        sum.wrapping_add(mix::sum(run, t, n) ^ (n as f64 * 0.5).to_bits())
    });
    println!("{count} events, checksum {checksum:016x}, expected {expected:016x}");
    assert_eq!(count, runs.len() as u64 * THREADS * EVENTS);
    assert_eq!(checksum, expected);
}

fn arguments() -> String {
    format!("do=mixed threads={THREADS} events={EVENTS}")
}

#[test]
fn of_one_process() {
    let mut rig = Rig::new();
    let (run, outcome) = rig.run(&arguments());
    assert!(outcome.status.success(), "{outcome:?}");
    assert_eq!(outcome.number("lost"), 0, "{outcome:?}");
    println!("{}", outcome.stdout.trim());
    check(&rig, &[run]);
}

#[test]
fn of_three_processes_in_one_directory() {
    let mut rig = Rig::new();
    let mut three: Vec<_> = (0..3).map(|_| rig.start(&arguments())).collect();
    let mut runs = Vec::new();
    for running in &mut three {
        let told = running.line();
        println!("{told}");
        assert_eq!(number(&told, "lost"), 0);
        assert!(running.child.wait().expect("it ends").success());
        runs.push(running.run);
    }
    check(&rig, &runs);
}

#[test]
fn of_two_loggers_of_one_process_in_one_directory() {
    let mut rig = Rig::new();
    let (run, outcome) = rig.run(&format!("{} loggers=2", arguments()));
    assert!(outcome.status.success(), "{outcome:?}");
    assert_eq!(outcome.number("lost"), 0, "{outcome:?}");
    println!("{}", outcome.stdout.trim());
    check(&rig, &[run]);
}
