//! smoke
#[inline(never)]
fn one_call(x: u64) {
    ttlog::info!("x={}", x);
}
#[inline(never)]
fn four(u: u64, l: f64, ok: bool, p: &str) {
    ttlog::info!(user_id = u, path = p, latency = l, ok, "request done");
}
fn main() {
    let dir = std::env::args().nth(1).unwrap();
    let n: u64 = std::env::args().nth(2).unwrap().parse().unwrap();
    let h = ttlog::Builder::new(&dir).init().unwrap();
    let b = std::time::Instant::now();
    for i in 0..n {
        one_call(i);
    }
    println!("{:.1} ns", b.elapsed().as_nanos() as f64 / n as f64);
    let b = std::time::Instant::now();
    for i in 0..n {
        four(i, i as f64, true, "/api/v1/orders");
    }
    println!("{:.1} ns", b.elapsed().as_nanos() as f64 / n as f64);
    println!("{:?}", h.flush(std::time::Duration::from_secs(60)));
    println!("{:?}", h.stats());
}
