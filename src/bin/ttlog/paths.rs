//! Paths: what the command reads when it is told, and when it is not.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ttlog::view::Source;

use crate::{Failure, output, temp};

/// What standard input is read as, once it is; it stands so in what is told of it.
static STDIN: OnceLock<String> = OnceLock::new();

/// The logs to read, and what keeps standard input readable.
#[derive(Debug)]
pub(crate) struct Input {
    pub(crate) source: Source,
    /// True when a path could not be opened; it has been told.
    pub(crate) failed: bool,
    _stdin: Option<File>,
}

/// Opens the paths that were given, or those that are meant without any.
pub(crate) fn open(given: &[PathBuf]) -> Result<Input, Failure> {
    let mut paths = given_or_default(given)?;
    let mut stdin = None;
    for path in &mut paths {
        if path == Path::new("-") && stdin.is_none() {
            let file =
                spool().map_err(|error| Failure::Other(format!("standard input: {error}")))?;
            let name = format!("/proc/self/fd/{}", file.as_raw_fd());
            *path = PathBuf::from(STDIN.get_or_init(|| name));
            stdin = Some(file);
        }
    }
    let (source, errors) = Source::open_all(&paths);
    for error in &errors {
        let hint = if looks_like_verb(error.path()) {
            "; it is no command either, which `ttlog help` lists"
        } else {
            ""
        };
        output::note(&format!("{error}{hint}"));
    }
    Ok(Input { source, failed: !errors.is_empty(), _stdin: stdin })
}

/// True for a name that is not there, and that a verb could have.
fn looks_like_verb(path: &Path) -> bool {
    let is_word = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase());
    path.to_str().is_some_and(is_word) && !path.exists()
}

/// A text about paths, with standard input under its own name.
pub(crate) fn named(text: &str) -> Cow<'_, str> {
    match STDIN.get() {
        Some(stdin) if text.contains(&**stdin) => text.replace(&**stdin, "standard input").into(),
        _ => text.into(),
    }
}

/// The log directory that was given, or the one that is meant without any.
pub(crate) fn dir(given: Option<&Path>) -> Result<PathBuf, Failure> {
    given.map_or_else(default, |dir| Ok(dir.to_owned()))
}

/// The paths that were given, or the one that is meant without any.
pub(crate) fn given_or_default(given: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    if given.is_empty() { default().map(|path| vec![path]) } else { Ok(given.to_vec()) }
}

fn default() -> Result<PathBuf, Failure> {
    if let Some(dir) = std::env::var_os("TTLOG_DIR").filter(|dir| !dir.is_empty()) {
        return Ok(dir.into());
    }
    let logs = Path::new("logs");
    if logs.is_dir() {
        return Ok(logs.to_owned());
    }
    let here = Path::new(".");
    if Source::is_log_dir(here) {
        return Ok(here.to_owned());
    }
    Err(Failure::Usage(
        "no logs here: there is no directory ./logs, and . holds no ttlog files; give a path, as \
         in 'ttlog /var/log/app', or set TTLOG_DIR"
            .into(),
    ))
}

/// Standard input as a file that can be read at any place.
fn spool() -> io::Result<File> {
    let mut file = temp::file()?;
    let mut input = io::stdin().lock();
    let mut piece = vec![0; 256 << 10];
    loop {
        match input.read(&mut piece)? {
            0 => return Ok(file),
            n => file.write_all(&piece[..n])?,
        }
    }
}
