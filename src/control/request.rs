//! Request: one line that a logger is asked, and its answer.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use super::socket;
use crate::error::Error;
use crate::handle::Handle;

/// How long a client may take for its line, and for taking the answer.
const CLIENT_WAIT: Duration = Duration::from_secs(1);
/// How long a flush is waited for at most.
const FLUSH_WAIT_MAX: Duration = Duration::from_secs(30);
/// How long a dump is waited for; it goes on behind that.
const DUMP_WAIT: Duration = Duration::from_secs(10);
/// The longest request, and the longest answer.
const BYTES_MAX: usize = 64 << 10;

/// What a logger said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It did what was asked.
    Ok(String),
    /// It did not, and why.
    Error(String),
}

/// Asks the logger that listens at `path`.
///
/// # Errors
///
/// When nobody listens there, or nobody answers in time.
pub fn ask(path: &Path, request: &str, timeout: Duration) -> io::Result<Answer> {
    let mut stream = socket::connect(path)?;
    stream.set_read_timeout(Some(timeout.max(Duration::from_millis(1))))?;
    stream.set_write_timeout(Some(CLIENT_WAIT))?;
    stream.write_all(format!("{}\n", request.replace('\n', " ")).as_bytes())?;
    let mut text = String::new();
    stream.take(BYTES_MAX as u64).read_to_string(&mut text)?;
    let text = text.trim_end_matches('\n');
    match text.split_once(' ').unwrap_or((text, "")) {
        ("ok", rest) => Ok(Answer::Ok(rest.to_owned())),
        ("error", rest) => Ok(Answer::Error(rest.to_owned())),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "no answer of a logger")),
    }
}

/// Answers one client; what it does not take in time is dropped.
pub(super) fn serve(handle: &Handle, stream: &UnixStream) {
    let _ = stream.set_write_timeout(Some(CLIENT_WAIT));
    let answer = match read_line(stream, Instant::now() + CLIENT_WAIT) {
        Some(line) => answer(handle, line.trim()),
        None => Err("no line, or one that is too long or not text".into()),
    };
    let text = match answer {
        Ok(text) => format!("ok {text}\n"),
        Err(why) => format!("error {}\n", why.replace('\n', " ")),
    };
    let mut stream = stream;
    let _ = stream.write_all(text.as_bytes());
}

/// The client's line, if it is there by then; what comes behind it is nobody's.
fn read_line(mut stream: &UnixStream, until: Instant) -> Option<String> {
    let (mut line, mut piece) = (Vec::new(), [0; 1024]);
    loop {
        // A timeout of its own for each read would leave the end to the client.
        let left = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
        stream.set_read_timeout(Some(left)).ok()?;
        let n = match stream.read(&mut piece) {
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return None,
        };
        line.extend_from_slice(&piece[..n]);
        if let Some(end) = line.iter().position(|byte| *byte == b'\n') {
            line.truncate(end);
            return String::from_utf8(line).ok();
        }
        if n == 0 || line.len() > BYTES_MAX {
            return None;
        }
    }
}

fn answer(handle: &Handle, line: &str) -> Result<String, String> {
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    let said = |error: Error| error.to_string();
    match verb {
        "level" => {
            let (ms, directives) = rest.trim_start().split_once(' ').unwrap_or((rest, ""));
            let ms = milliseconds(ms)?;
            let ttl = (!ms.is_zero()).then_some(ms);
            handle.set_filter(directives, ttl).map_err(said)?;
            Ok(filter(handle))
        }
        "flush" => {
            let wait = milliseconds(rest)?.min(FLUSH_WAIT_MAX);
            handle.flush(wait).map(|flushed| format!("events={}", flushed.events)).map_err(said)
        }
        "rotate" => handle.rotate().map(|()| String::new()).map_err(said),
        "dump" => match handle.dump(DUMP_WAIT).map_err(said)? {
            Some(dumped) => Ok(format!(
                "file={}\nevents={}\nrecorded={}",
                dumped.path.display().to_string().replace('\n', " "),
                dumped.events,
                dumped.recorded
            )),
            None => Err("the logger is disabled".into()),
        },
        "stats" => Ok(stats(handle)),
        _ => Err(format!("{verb:?} is no request; ask for level, flush, rotate, dump or stats")),
    }
}

fn milliseconds(text: &str) -> Result<Duration, String> {
    let explain = |_| format!("{text:?} is no number of milliseconds");
    text.trim().parse().map(Duration::from_millis).map_err(explain)
}

/// The filter that stands, and how long.
fn filter(handle: &Handle) -> String {
    let left = handle.filter_left().map_or(0, |left| left.as_millis());
    format!("filter={}\nfilter_left_ms={left}", handle.filter())
}

fn stats(handle: &Handle) -> String {
    let (stats, health) = (handle.stats(), handle.health());
    let mut lines = vec![
        format!("written={}", stats.written),
        format!("durable={}", stats.durable),
        format!("lost={}", stats.lost()),
        format!("suppressed={}", stats.suppressed),
        format!("truncated={}", stats.truncated),
        format!("bytes_written={}", stats.bytes_written),
        format!("segments={}", stats.segments),
        format!("lanes={}", stats.lanes),
        format!("lanes_bytes={}", stats.lanes_bytes),
        format!("disk_errors={}", stats.disk_errors),
        format!("crash_safe={}", health.crash_safe),
    ];
    let troubles = [("lanes_reason", health.lanes_reason), ("failing", health.failing)];
    for (key, why) in troubles.into_iter().chain([("suspect", health.suspect)]) {
        lines.extend(why.map(|why| format!("{key}={}", why.replace('\n', " "))));
    }
    lines.push(filter(handle));
    lines.join("\n")
}
