//! smoke
use std::time::{Duration, Instant};
fn main() {
    let dir = std::env::args().nth(1).unwrap();
    let n: u64 = std::env::args().nth(2).unwrap().parse().unwrap();
    let t: u64 = std::env::args().nth(3).unwrap().parse().unwrap();
    let h = ttlog::init(&dir).unwrap();
    let s = String::from("hello world");
    let begin = Instant::now();
    std::thread::scope(|sc| {
        for th in 0..t {
            let s = &s;
            sc.spawn(move || {
                let b = Instant::now();
                for i in 0..n {
                    ttlog::info!("{} {} {}", i * t + th, i as f64 * 0.5, s);
                }
                println!(
                    "thread {:?} {:.1} ns/call",
                    b.elapsed(),
                    b.elapsed().as_nanos() as f64 / n as f64
                );
            });
        }
    });
    let f = h.flush(Duration::from_secs(30));
    let e = begin.elapsed();
    println!("{f:?} {e:?} {:.1} M/s", (n * t) as f64 / e.as_secs_f64() / 1e6);
    println!("{:?} {:?}", h.stats(), h.health());
}
