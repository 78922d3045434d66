//! Secrets: a program that logs what must stay out of the log, and wipes its own copies at once.
//!
//! What is found in its memory afterwards is therefore not the program's. A secret is put together
//! at run time from bytes that do not show it, so that the executable does not hold it either.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tracing_subscriber::layer::SubscriberExt as _;
use ttlog::Redacted;

use super::{Args, builder, tell};

/// What the rig looks for, each byte changed by [`MASK`].
const MASKED: [u8; 14] = *b"\x0c\x08\x1c\x0f\x09\x07\x50\x1b\x17\x12\x0f\x19\x50\x44";
const MASK: u8 = 0x7d;

/// A secret in one allocation that is overwritten when it is dropped.
struct Secret(String);

impl Secret {
    fn new(n: u64) -> Self {
        let mut text = String::with_capacity(40);
        for masked in std::hint::black_box(&MASKED) {
            text.push(char::from(masked ^ MASK));
        }
        for at in 0..8 {
            // Not the digits of `n`, so that no counter can be taken for it.
            text.push(char::from(b'a' + ((n >> (at * 3)) % 8) as u8));
        }
        Self(text)
    }
}

/// Overwrites a text where it lies.
fn wipe(text: &mut str) {
    // SAFETY: zeros are valid text.
    for byte in unsafe { text.as_bytes_mut() } {
        let byte: *mut u8 = byte;
        // SAFETY: a valid byte of the text; volatile, so that it is really written.
        unsafe { byte.write_volatile(0) };
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

/// A secret that is told apart by its type.
struct Hidden(Redacted<String>);

impl Hidden {
    fn new(n: u64) -> Self {
        let mut secret = Secret::new(n);
        Self(Redacted(std::mem::take(&mut secret.0)))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        wipe(&mut self.0.0);
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &"ada").field("token", &self.0).finish()
    }
}

impl fmt::Display for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused {}", self.0)
    }
}

impl std::error::Error for Hidden {}

/// Logs by every way that a value may take.
fn log(n: u64) {
    let secret = Secret::new(n);
    let password = secret.0.as_str();
    let hidden = Hidden::new(n);
    let error: &(dyn std::error::Error + 'static) = &hidden;
    ttlog::info!(n, password, "a field");
    ttlog::info!(n, user.password = password, "behind a dot");
    ttlog::info!(n, PassWord = %password, "in any case, as Display makes it");
    ttlog::info!(n, password = ?Some(password), "as Debug makes it");
    ttlog::info!(n, password = Some(password), "optional");
    ttlog::info!(n, access_token = password.as_bytes(), "bytes");
    ttlog::info!(n, "password" = password, "a key that is text");
    ttlog::info!({ n = n }, "an argument {password}", password = password);
    ttlog::info!({ n = n }, "a captured variable {password}");
    ttlog::info!({ n = n }, "one that cannot be put off {password:>w$}", w = 60);
    ttlog::info!({ n = n }, "made here {password} {:?}", Some(1), password = password);
    ttlog::info!(n, hidden = %hidden.0, also = ?hidden.0, "by type {} {:?}", hidden.0, hidden.0);
    ttlog::info!(n, login = ?hidden, "inside of a Debug");
    ttlog::info!(n, error, "inside of an error");
    // Through the bridge of log, and through tracing.
    log::info!(n, password; "by log");
    log::info!(n, access_token:? = password; "by log and Debug");
    let span = tracing::info_span!("login", password, late_token = tracing::field::Empty);
    let _entered = span.enter();
    span.record("late_token", password);
    tracing::info!(n, password, "by tracing");
    tracing::info!(n, password = ?Some(password), access_token = %password, "formatted");
    tracing::info!(n, password = password.as_bytes(), "bytes");
    tracing::info!(n, password = error, "an error");
    // The last, so that nothing is made where its text was.
    let own = ttlog::info_span!("login", password = %password, late_token = ttlog::field::Empty);
    own.record("late_token", password);
    drop(own.entered());
}

/// Logs with four threads until lanes have overflowed into spill files, tells so, goes on, and
/// aborts when it is asked to.
pub(crate) fn run(args: &Args) {
    let all: [&str; 2] = ["password", "*token*"];
    let keys = if args.number("open", 0) == 1 { &[][..] } else { &all[..] };
    // Everything that is mapped is to be in a core file.
    std::fs::write("/proc/self/coredump_filter", "0xff").expect("the filter");
    let handle = builder(args).redact(keys.to_vec()).init().expect("a logger");
    ttlog::bridge::init().expect("the bridge");
    let layer = ttlog::layer(args.dir()).lane_bytes(32 << 10).redact(keys.to_vec());
    let (layer, traced) = layer.build().expect("a layer");
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer))
        .expect("the first");
    let stop = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        for t in 0..4 {
            scope.spawn(move || {
                for n in (t..).step_by(4) {
                    log(n);
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                }
            });
        }
        while handle.stats().spilled == 0 || traced.stats().written == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        let places = [handle.health().lanes, traced.health().lanes];
        let places: Vec<_> =
            places.iter().flatten().map(|place| place.display().to_string()).collect();
        tell(&format!("spilled={} lanes={}", handle.stats().spilled, places.join(":")));
        let mut line = String::new();
        let _ = std::io::stdin().read_line(&mut line);
        stop.store(true, Ordering::Relaxed);
    });
    // This thread's buffers are there to the end.
    log(0);
    // Its threads are through, so that nobody is about to wipe what he is just logging.
    tell("still");
    let _ = std::io::stdin().read_line(&mut String::new());
    std::process::abort();
}
