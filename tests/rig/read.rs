//! Read: what `ttlog -o json` shows of a log directory, lanes of dead processes included.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use super::mix;

/// An event of the rigs, checked against its sum and its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) run: u64,
    pub(crate) t: u64,
    pub(crate) n: u64,
    /// The system's id of the thread.
    pub(crate) tid: u64,
}

/// A loss that was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) tid: u64,
    pub(crate) count: u64,
    /// How many of the rigs' events were shown before it.
    pub(crate) at: usize,
}

/// Everything that was read.
#[derive(Debug, Default)]
pub(crate) struct ReadBack {
    /// The rigs' events, in the order in which they were shown.
    pub(crate) events: Vec<Event>,
    /// Lines of other events.
    pub(crate) others: Vec<String>,
    /// Losses told, by cause.
    pub(crate) lost: BTreeMap<String, u64>,
    /// The same, one by one.
    pub(crate) told: Vec<Told>,
    /// Anything that should not be: damage, notes, an event whose sum is wrong.
    pub(crate) wrong: Vec<String>,
}

impl ReadBack {
    pub(crate) fn lost_total(&self) -> u64 {
        self.lost.values().sum()
    }
}

/// The command, built with the profile of this test.
pub(crate) fn command() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| super::build(&["--features", "cli", "--bin", "ttlog"], "ttlog"))
}

/// Reads a log directory.
pub(crate) fn read_back(dir: &Path) -> ReadBack {
    let mut read = ReadBack::default();
    let wrong = each_line(dir, |line| take(line, &mut read));
    read.wrong.extend(wrong);
    read
}

/// Calls `take` with every line of `ttlog -o json DIR`; returns what it said on stderr, and its
/// exit code when that is not 0.
pub(crate) fn each_line(dir: &Path, mut take: impl FnMut(&str)) -> Vec<String> {
    let mut command = Command::new(command());
    command.args(["-o", "json"]).arg(dir).env_remove("TTLOG_DIR");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("ttlog");
    let mut stderr = child.stderr.take().expect("piped");
    let notes = std::thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).expect("a pipe");
        text
    });
    let mut lines = BufReader::with_capacity(1 << 20, child.stdout.take().expect("piped"));
    let mut line = String::new();
    while lines.read_line(&mut line).expect("UTF-8") > 0 {
        take(line.trim_end());
        line.clear();
    }
    let status = child.wait().expect("it ends");
    let mut wrong: Vec<String> =
        notes.join().expect("the reader").lines().map(str::to_owned).collect();
    if !status.success() {
        wrong.push(format!("ttlog ended with {status}"));
    }
    wrong
}

fn take(line: &str, read: &mut ReadBack) {
    if line.contains(r#""kind":"lost""#) {
        return lost(line, read);
    }
    let fields = line.split_once(r#""fields":{"#).map(|(_, rest)| rest);
    let Some((run, rest)) = fields.and_then(|rest| number(rest, r#""run":"#)) else {
        return read.others.push(line.to_owned());
    };
    // A strict order of keys: whatever else stands there is no event of the rigs.
    let parsed = (|| {
        let (t, rest) = number(rest, r#","t":"#)?;
        let (n, rest) = number(rest, r#","n":"#)?;
        let (sum, rest) = number(rest, r#","sum":"#)?;
        let (text, rest) = rest.strip_prefix(r#","text":""#)?.split_once('"')?;
        let (_, thread) = rest.split_once(r#""thread":{"#)?;
        let (tid, _) = number(thread, r#""id":"#)?;
        (sum == mix::sum(run, t, n) && text == mix::text(n)).then_some(Event { run, t, n, tid })
    })();
    match parsed {
        Some(event) => read.events.push(event),
        None => read.wrong.push(format!("an invented event: {line}")),
    }
}

fn number<'a>(text: &'a str, key: &str) -> Option<(u64, &'a str)> {
    let rest = text.strip_prefix(key)?;
    let len = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    Some((rest[..len].parse().ok()?, &rest[len..]))
}

fn lost(line: &str, read: &mut ReadBack) {
    let line: serde_json::Value = serde_json::from_str(line).expect("strict JSON");
    let cause = line["cause"].as_str().expect("a cause").to_owned();
    let counts = line["lost"].as_object().expect("counts by level").values();
    let count: u64 = counts.map(|count| count.as_u64().expect("a count")).sum();
    *read.lost.entry(cause).or_default() += count;
    let tid = line["thread"]["id"].as_u64().unwrap_or(0);
    read.told.push(Told { tid, count, at: read.events.len() });
}
