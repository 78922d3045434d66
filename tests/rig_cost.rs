//! What a logger costs that has little to do: a thousand threads that logged once, and idle CPU.
#![expect(clippy::print_stdout, reason = "counts are the report of a rig")]

mod rig;

use rig::{Rig, number};

/// Memory above the same program without ttlog: the mark is for release builds, a debug build's
/// calls touch more of each thread's stack.
const KIB_MAX: u64 = if cfg!(debug_assertions) { 56 << 10 } else { 40 << 10 };

/// What the line says of an idle process's share of a processor.
fn idle_percent(line: &str) -> f64 {
    let percent = line.strip_prefix("idle_cpu_percent=").and_then(|rest| rest.split(' ').next());
    percent.expect("it").parse().expect("a number")
}

#[test]
fn a_thousand_threads_that_logged_once_take_forty_mebibytes_and_no_cpu() {
    let mut told = Vec::new();
    for ttlog in [0, 1] {
        let mut rig = Rig::new();
        let mut running = rig.start(&format!("do=thousand threads=1000 ttlog={ttlog} idle=6000"));
        let memory = running.line();
        let cpu = running.line();
        println!("ttlog={ttlog}: {memory}; {cpu}");
        if ttlog == 1 {
            println!("{}", running.line());
        }
        // Of the threads that live on: staging that only the start needed was given back by then.
        told.push((number(&cpu, "rss_kib"), idle_percent(&cpu)));
    }
    let above = told[1].0 - told[0].0;
    println!("{above} KiB above the same program without ttlog, idle CPU {} %", told[1].1);
    assert!(above <= KIB_MAX, "{above} KiB");
    // A thousand lanes to look at twenty times a second; the mark is for release builds.
    let percent_max = if cfg!(debug_assertions) { 20.0 } else { 2.0 };
    assert!(told[1].1 < percent_max, "{} %", told[1].1);
}

#[test]
fn an_idle_process_takes_half_a_percent_of_a_cpu_at_most() {
    let mut rig = Rig::new();
    let mut running = rig.start("do=thousand threads=4 idle=6000");
    let (memory, cpu) = (running.line(), running.line());
    println!("four threads that logged once: {memory}; {cpu}");
    assert!(idle_percent(&cpu) < 0.5, "{cpu}");
}

#[test]
fn a_busy_scribe_s_turn_costs_time_for_busy_lanes_and_not_for_those_that_exist() {
    let mut costs = Vec::new();
    for threads in [4, 1000] {
        let mut rig = Rig::new();
        let args = format!("do=thousand threads={threads} idle=3000 busy=1");
        let mut running = rig.start(&args);
        let (_, idle, busy) = (running.line(), running.line(), running.line());
        println!("{threads} lanes that are quiet: {busy} ({idle})");
        costs.push(number(&busy, "scribe_ns_a_burst"));
    }
    // What looking at all lanes twenty times a second takes is not in it. A turn over a thousand
    // lanes would take some 100 microseconds more.
    assert!(costs[1] < costs[0] * 3 / 2 + 10_000, "{costs:?} ns a burst");
}
