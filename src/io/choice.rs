//! Choice: which backend is taken, and why.

use super::backend::IoBackend;
use super::{Error, ErrorKind, PortableBackend};

/// Entries of the rings that are made here.
#[cfg(target_os = "linux")]
const ENTRIES: u32 = 256;

/// How I/O is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum IoChoice {
    /// io_uring where it works, else the portable way, with the reason in the statistics.
    #[default]
    Auto,
    /// io_uring or an error.
    Uring,
    /// Readiness and threads.
    Portable,
}

impl std::str::FromStr for IoChoice {
    type Err = Error;

    /// `auto`, `uring` or `portable`.
    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "auto" => Ok(Self::Auto),
            "uring" => Ok(Self::Uring),
            "portable" => Ok(Self::Portable),
            other => Err(Error::new(ErrorKind::Invalid(format!(
                "`{other}` is no way of doing I/O; use auto, uring or portable"
            )))),
        }
    }
}

/// What I/O this system has.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Probe {
    /// The best flags that a ring for one thread can have, or why there is no io_uring and the way
    /// out.
    pub uring: Result<&'static str, String>,
}

/// Tries io_uring: makes a ring, lets an operation pass through it, looks for all that is needed.
///
/// ```
/// match ttlog::io::probe().uring {
///     Ok(flags) => println!("io_uring with {flags}"),
///     Err(reason) => println!("portable: {reason}"),
/// }
/// ```
#[must_use]
pub fn probe() -> Probe {
    #[cfg(target_os = "linux")]
    let uring = super::uring::probe().map_err(|error| error.to_string());
    #[cfg(not(target_os = "linux"))]
    let uring = Err("io_uring is Linux's".to_owned());
    Probe { uring }
}

/// Makes a backend that may move between threads.
///
/// # Errors
///
/// For [`IoChoice::Uring`] why it cannot be, and the way out; else only if the system has no
/// descriptor left.
///
/// ```
/// use ttlog::io::{self, IoBackendKind, IoChoice};
///
/// let backend = io::backend(IoChoice::Auto)?;
/// let stats = backend.stats();
/// assert!(stats.kind == IoBackendKind::Uring || stats.reason.is_some());
/// # Ok::<(), io::Error>(())
/// ```
pub fn backend(choice: IoChoice) -> Result<Box<dyn IoBackend>, Error> {
    make(choice, false)
}

/// The same for the calling thread alone, where that costs less.
pub(super) fn backend_for_this_thread(choice: IoChoice) -> Result<Box<dyn IoBackend>, Error> {
    make(choice, true)
}

fn make(choice: IoChoice, one_thread: bool) -> Result<Box<dyn IoBackend>, Error> {
    let reason = match choice {
        IoChoice::Portable => None,
        IoChoice::Auto | IoChoice::Uring => match uring(one_thread) {
            Ok(backend) => return Ok(backend),
            Err(error) if choice == IoChoice::Uring => return Err(error),
            Err(error) => Some(error.to_string()),
        },
    };
    Ok(Box::new(PortableBackend::new()?.because(reason)))
}

#[cfg(target_os = "linux")]
fn uring(one_thread: bool) -> Result<Box<dyn IoBackend>, Error> {
    use super::UringBackend;
    Ok(Box::new(match one_thread {
        true => UringBackend::for_this_thread(ENTRIES)?,
        false => UringBackend::new(ENTRIES)?,
    }))
}

#[cfg(not(target_os = "linux"))]
fn uring(_: bool) -> Result<Box<dyn IoBackend>, Error> {
    Err(Error::new(ErrorKind::Unsupported("io_uring is Linux's".into())))
}
