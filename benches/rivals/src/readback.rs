//! Readback: counts what arrived in a logger's output, and adds up the numbers it carries.

use std::env;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::event::Workload;
use crate::logger::Name;

/// Events found, and the sum of their numbers.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    pub events: u64,
    pub sum: u64,
}

/// Reads all that `logger` wrote below `dir`.
pub fn read(logger: Name, workload: Workload, dir: &Path) -> Result<Found> {
    if logger == Name::Ttlog {
        return read_through_command(workload, dir);
    }
    let mut found = Found::default();
    for path in files(dir)? {
        let file = File::open(&path).with_context(|| path.display().to_string())?;
        found.add_lines(workload, BufReader::with_capacity(1 << 20, file))?;
    }
    Ok(found)
}

/// Size of all files below `dir`.
pub fn bytes(dir: &Path) -> Result<u64> {
    files(dir)?.iter().map(|path| Ok(fs::metadata(path)?.len())).sum()
}

/// Through the command and its JSON, which is a contract: `$TTLOG_BIN`, else the one that
/// `cargo build --release --features cli` makes in the main package.
fn read_through_command(workload: Workload, dir: &Path) -> Result<Found> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/release/ttlog");
    let command = env::var_os("TTLOG_BIN").map_or(built, PathBuf::from);
    let mut child = Command::new(&command)
        .args(["-o", "json"])
        .arg(dir)
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| {
            format!("{}: set TTLOG_BIN to the ttlog command, or build it", command.display())
        })?;
    let mut found = Found::default();
    let stdout = child.stdout.take().context("stdout is piped")?;
    found.add_lines(workload, BufReader::with_capacity(1 << 20, stdout))?;
    let status = child.wait()?;
    ensure!(status.success(), "{} -o json {}: {status}", command.display(), dir.display());
    Ok(found)
}

/// All files below `dir`; a logger may keep some in directories of its own.
fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.extend(files(&entry.path())?);
        } else {
            found.push(entry.path());
        }
    }
    Ok(found)
}

impl Found {
    fn add_lines(&mut self, workload: Workload, mut lines: impl BufRead) -> Result<()> {
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line)? > 0 {
            if let Some(number) = number(workload, &line) {
                self.events += 1;
                self.sum = self.sum.wrapping_add(number);
            }
            line.clear();
        }
        Ok(())
    }
}

/// The number of the event that a line holds, 0 where events carry none, `None` for other lines.
fn number(workload: Workload, line: &[u8]) -> Option<u64> {
    let line = str::from_utf8(line).ok()?;
    match workload {
        Workload::OneU64 => leading_number(&line[line.rfind("x=")? + 2..]),
        Workload::OneStr => line.contains("hello world").then_some(0),
        Workload::Mixed => {
            // `… 123 4.5 hello world`: the float must parse, too.
            let mut words = line[..line.rfind(" hello world")?].rsplit([' ', '"']);
            words.next()?.parse::<f64>().ok()?;
            words.next()?.parse().ok()
        }
        Workload::Structured => {
            // Every field must be there, in whichever form.
            let rest = &line[line.find("request done").map(|_| line.find("user_id"))?? + 7..];
            let whole = ["/api/v1/orders", "latency", "ok"].iter().all(|part| line.contains(part));
            whole.then(|| leading_number(rest.trim_start_matches(['"', ':', '=', ' '])))?
        }
    }
}

fn leading_number(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_in_every_form_of_output() {
        let cases = [
            (Workload::OneU64, "2026 INFO a.rs:1 x=42\n", Some(42)),
            (Workload::OneU64, r#"{"msg":"x=42","level":"INFO"}"#, Some(42)),
            (Workload::Mixed, "2026 INFO rivals: 7 0.125 hello world", Some(7)),
            (Workload::Mixed, r#"{"message":"7 12 hello world"}"#, Some(7)),
            (Workload::Mixed, r#"{"message":"7 hello world"}"#, None),
            (Workload::OneStr, "INFO hello world", Some(0)),
            (
                Workload::Structured,
                r#"INFO r: request done user_id=9 path="/api/v1/orders" latency=1.5 ok=true"#,
                Some(9),
            ),
            (
                Workload::Structured,
                r#"{"message":"request done","fields":{"user_id":9,"path":"/api/v1/orders","latency":1.5,"ok":true}}"#,
                Some(9),
            ),
            (Workload::Structured, r#"{"message":"request done","fields":{"user_id":9}}"#, None),
            (Workload::OneU64, r#"{"kind":"lost","lost":{"INFO":1204}}"#, None),
        ];
        for (workload, line, expected) in cases {
            assert_eq!(number(workload, line.as_bytes()), expected, "{line}");
        }
    }
}
