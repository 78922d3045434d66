//! Config: what a logger can be told, in code and by the environment.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::back_pressure::Fallback;
use crate::error::{Error, Kind};
use crate::io::IoChoice;
use crate::lane::place::LanesChoice;
use crate::lane::staging::LANES_BYTES_MIN;
use crate::record::{CODEC_COMPACT, CODEC_RAW, Level};
use crate::ring::BackPressurePolicy;
use crate::store::keep::Keep;
use crate::store::pack::{How, LEVELS};
use crate::store::rotate::Rotate;

/// Smallest budget of disk that retention takes.
const KEEP_BYTES_MIN: u64 = 1 << 20;

/// When written events become durable, that is, survive a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// When the kernel gets to it, or when [`crate::Handle::sync`] is called.
    Never,
    /// At least this often while there is something new. The default is one second.
    Interval(Duration),
    /// With every block, that is at most `write_within` after the call.
    EveryBlock,
}

/// A longer interval is this one: a clock reaches its end, and nobody waits for it.
const INTERVAL_MAX: Duration = Duration::from_secs(366 * 86_400);

/// Which segments are written past the page cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direct {
    /// Those of a flood.
    #[default]
    Auto,
    /// All, where the file system can.
    Always,
    /// None.
    Never,
}

/// How events are encoded as they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// Records as they lay in their lanes.
    None,
    /// Small and cheap: less work for the machine than writing the raw bytes. Segments of a quiet
    /// program, whose blocks are small, are packed when they are sealed.
    Compact,
    /// Compact as they are written; every segment is packed with this level of zstd, 1 to 22, when
    /// it is sealed. Without the feature `zstd` packing makes blocks larger, and no more.
    Zstd(i32),
}

/// Where events are shown while they are logged, beside the log itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Console {
    /// Nowhere.
    #[default]
    Off,
    /// On standard error.
    Stderr,
    /// On standard output.
    Stdout,
}

/// Prepares a logger.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), ttlog::Error> {
/// # let dir = tempfile::tempdir().expect("a directory");
/// let logger = ttlog::Builder::new(dir.path()).app("orders", "1.4.2").filter("info").build()?;
/// ttlog::info!(logger: &logger, user.id = 42, "hello");
/// logger.flush(std::time::Duration::from_secs(5))?;
/// # logger.shutdown(std::time::Duration::from_secs(5))?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `init` or `build`"]
pub struct Builder {
    pub(crate) dir: PathBuf,
    pub(crate) app: Option<(String, String)>,
    pub(crate) filter: Option<String>,
    pub(crate) lane_bytes: usize,
    pub(crate) lanes_bytes_max: usize,
    pub(crate) lanes: Option<LanesChoice>,
    pub(crate) write_within: Duration,
    pub(crate) durability: Durability,
    pub(crate) rotate: Rotate,
    pub(crate) keep: Option<Keep>,
    pub(crate) compression: Compression,
    pub(crate) io: Option<IoChoice>,
    pub(crate) direct: Direct,
    pub(crate) disabled: bool,
    /// Target, how many events, in how long.
    pub(crate) limits: Vec<(String, u32, Duration)>,
    /// Patterns of keys.
    pub(crate) redact: Vec<String>,
    pub(crate) log_panics: bool,
    pub(crate) flush_on_signals: bool,
    /// Each time that a thread enters or leaves a span is told.
    pub(crate) span_enters: bool,
    pub(crate) console: Console,
    /// Ticks are UTC, told by who logs.
    pub(crate) utc_ticks: bool,
    /// What happens when a lane is full; `None` for the default.
    pub(crate) on_full: Option<BackPressurePolicy>,
    /// The same for events at and above a level.
    pub(crate) on_full_at: Option<(Level, BackPressurePolicy)>,
    /// Bytes that spill files may take.
    pub(crate) spill_quota: u64,
    /// How long a call waits for the spiller.
    pub(crate) spill_wait: Option<Duration>,
    /// How long `Block` waits, and what comes then.
    pub(crate) block_timeout: Option<(Duration, Fallback)>,
    /// From which level on the flight recorder keeps what the filter leaves out, in how many bytes.
    pub(crate) recorder: Option<(Level, usize)>,
    /// The level of events that ask for a dump.
    pub(crate) dump_on: Option<Level>,
    /// What the environment says that could not be used.
    pub(crate) warnings: Vec<String>,
}

impl Builder {
    /// A logger that writes into this directory, with the defaults that each setter names.
    pub fn new(dir: impl AsRef<Path>) -> Self {
        Self {
            dir: dir.as_ref().to_owned(),
            app: None,
            filter: None,
            lane_bytes: 1 << 20,
            lanes_bytes_max: 64 << 20,
            lanes: None,
            write_within: Duration::from_millis(100),
            durability: Durability::Interval(Duration::from_secs(1)),
            rotate: Rotate::size(64 << 20),
            keep: None,
            compression: Compression::Compact,
            io: None,
            direct: Direct::Auto,
            disabled: false,
            limits: Vec::new(),
            redact: Vec::new(),
            log_panics: false,
            flush_on_signals: false,
            span_enters: false,
            console: Console::Off,
            utc_ticks: false,
            on_full: None,
            on_full_at: None,
            block_timeout: None,
            spill_quota: 1 << 30,
            spill_wait: None,
            recorder: None,
            dump_on: None,
            warnings: Vec::new(),
        }
    }

    /// Names the program in its segments; by default the name of the executable, without a version.
    pub fn app(mut self, name: impl Into<String>, version: impl Into<String>) -> Self {
        self.app = Some((name.into(), version.into()));
        self
    }

    /// Sets which events are logged, in `RUST_LOG`'s syntax: `info,orders::db=debug`. By default
    /// events at INFO and above.
    pub fn filter(mut self, directives: impl Into<String>) -> Self {
        self.filter = Some(directives.into());
        self
    }

    /// Takes the filter from `RUST_LOG`, if it is set and no filter was given in code.
    pub fn env_filter(mut self) -> Self {
        let set = std::env::var_os("RUST_LOG").filter(|it| !it.is_empty() && self.filter.is_none());
        match set.map(std::ffi::OsString::into_string) {
            None => {}
            Some(Err(_)) => self.warnings.push("RUST_LOG is not UTF-8, and is ignored".into()),
            Some(Ok(text)) => {
                let (_, bad) = crate::emit::Filter::parse_lossy(&text);
                let told = |bad| format!("RUST_LOG: {bad}; the directive is ignored");
                self.warnings.extend(bad.into_iter().map(told));
                self.filter = Some(text);
            }
        }
        self
    }

    /// Takes from the environment what code did not set: `RUST_LOG`, `TTLOG_DISABLE`,
    /// `TTLOG_LANES`, `TTLOG_IO`, `TTLOG_ON_FULL`, `TTLOG_KEEP`. A value that cannot be used is told once on
    /// stderr, and the default stands.
    pub fn env(self) -> Self {
        let mut this = self.env_filter();
        match std::env::var("TTLOG_DISABLE").as_deref() {
            Ok("1") => this.disabled = true,
            Ok("" | "0") | Err(_) => {}
            Ok(other) => this
                .warnings
                .push(format!("TTLOG_DISABLE={other:?} is neither 1 nor 0; the logger stays on")),
        }
        if this.lanes.is_none()
            && let Some(lanes) = std::env::var_os("TTLOG_LANES").filter(|text| !text.is_empty())
        {
            if lanes == "private" {
                this.lanes = Some(LanesChoice::Private);
            } else if Path::new(&lanes).is_dir() {
                this.lanes = Some(LanesChoice::In(lanes.into()));
            } else {
                this.warnings.push(format!(
                    "TTLOG_LANES={}: not a directory, nor the word private; lanes lie in {}",
                    lanes.display(),
                    crate::lane::place::SHARED_MEMORY,
                ));
            }
        }
        if this.io.is_none()
            && let Some(text) = std::env::var_os("TTLOG_IO").filter(|text| !text.is_empty())
        {
            match text.to_string_lossy().parse::<IoChoice>() {
                // What cannot be is a reason for another way here, and not to have no log.
                Ok(IoChoice::Uring) => match crate::io::probe().uring {
                    Ok(_) => this.io = Some(IoChoice::Uring),
                    Err(reason) => this
                        .warnings
                        .push(format!("TTLOG_IO=uring: {reason}; it is done portably")),
                },
                Ok(choice) => this.io = Some(choice),
                Err(error) => this.warnings.push(format!("TTLOG_IO: {error}; it stays auto")),
            }
        }
        this.env_on_full();
        if this.keep.is_none()
            && let Some(keep) = std::env::var_os("TTLOG_KEEP").filter(|text| !text.is_empty())
        {
            let keep = keep.to_string_lossy();
            match keep.parse::<Keep>().map(|keep| (keep, keep_error(&keep))) {
                Ok((keep, None)) => this.keep = Some(keep),
                Ok((_, Some(why))) | Err(why) => {
                    this.warnings.push(format!("TTLOG_KEEP: {why}; the default of 2 GiB stands"));
                }
            }
        }
        this
    }

    /// Sets the size of the largest lane in bytes; rounded up to a power of two from 32 KiB to
    /// 64 MiB. The default is 1 MiB. The longest record takes half of it, at most 128 KiB.
    pub fn lane_bytes(mut self, bytes: usize) -> Self {
        self.lane_bytes = bytes;
        self
    }

    /// Bounds what lanes, staging and spares take together, in bytes; by default 64 MiB, and 1 MiB
    /// at least. A quarter of the free shared memory and an eighth of the memory that the cgroup has
    /// left bound it too.
    pub fn lanes_bytes_max(mut self, bytes: usize) -> Self {
        self.lanes_bytes_max = bytes;
        self
    }

    /// With true, the default, lanes lie in shared memory, so that what a call accepted survives
    /// any death of the process; with false in private memory, which dies with it.
    pub fn crash_safe(mut self, crash_safe: bool) -> Self {
        self.lanes = Some(if crash_safe { LanesChoice::Shared } else { LanesChoice::Private });
        self
    }

    /// Puts lanes into a directory of choice, for example a volume that outlives the container.
    ///
    /// On a disk a store into a lane may stall for as long as the file system does; a tmpfs never
    /// does.
    pub fn lanes_in(mut self, dir: impl AsRef<Path>) -> Self {
        self.lanes = Some(LanesChoice::In(dir.as_ref().to_owned()));
        self
    }

    /// Bounds the time from a call to its event in a segment, while the disk answers; from 2 ms,
    /// by default 100 ms.
    pub fn write_within(mut self, within: Duration) -> Self {
        self.write_within = within;
        self
    }

    /// Sets when events become durable; by default every second.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = match durability {
            Durability::Interval(interval) => Durability::Interval(interval.min(INTERVAL_MAX)),
            other => other,
        };
        self
    }

    /// Sets when a new segment begins; by default at 64 MiB.
    pub fn rotate(mut self, rotate: Rotate) -> Self {
        self.rotate = rotate;
        self
    }

    /// Sets what is kept of this app's segments in the directory, those of earlier runs and of other
    /// processes included; by default 2 GiB. It is applied when a logger starts, when it begins a
    /// segment, and now and then.
    pub fn keep(mut self, keep: Keep) -> Self {
        self.keep = Some(keep);
        self
    }

    /// Sets how events are encoded; by default compact.
    pub fn compress(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// Sets how blocks are written past the page cache, as those of a flood are; by default by
    /// io_uring where it works. [`IoChoice::Uring`] makes a start fail where it does not.
    pub fn io(mut self, choice: IoChoice) -> Self {
        self.io = Some(choice);
        self
    }

    /// Sets which segments are written past the page cache, for tests and measurements.
    #[doc(hidden)]
    pub fn direct(mut self, direct: Direct) -> Self {
        self.direct = direct;
        self
    }

    /// Lets each statement of this target, and of those below it, log at most `n` events in each
    /// stretch of time of this length. What is left out is counted in [`crate::Stats::suppressed`],
    /// and the log says how many, with the field `suppressed`, before the statement's next event or
    /// when the stretch is over. Of several limits the one with the longest target counts.
    ///
    /// A statement's count is one for all loggers of the process that limit it.
    pub fn limit(mut self, target: impl Into<String>, n: u32, per: Duration) -> Self {
        self.limits.push((target.into(), n, per));
        self
    }

    /// Keeps values out of the log whose key matches one of these patterns, in any case: `*` stands
    /// for any text, `?` for one character. A key matches as a whole or from one of its dots on, so
    /// that `password` is `user.password` too. The value's place says `[redacted]`; it reaches
    /// neither lane nor file.
    ///
    /// Keys are the names of fields and of a message's named arguments. A message that is made from
    /// a variable with such a name (`"{password}"`) is redacted as a whole. What a value's own
    /// `Debug` or `Display` shows is not looked into: see [`crate::Redacted`].
    ///
    /// While this logger lives its patterns hold for every logger of the process.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), ttlog::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// let logger = ttlog::Builder::new(dir.path()).redact(["password", "*token*"]).build()?;
    /// ttlog::info!(logger: &logger, user.password = "hunter2", "logged in"); // [redacted]
    /// # logger.shutdown(std::time::Duration::from_secs(5))?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn redact(mut self, keys: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.redact.extend(keys.into_iter().map(Into::into));
        self
    }

    /// Logs each panic of the process as an `ERROR` of target `panic`, with its message, place,
    /// thread and backtrace, waits up to a second for it to be in a segment, and then calls the hook
    /// that was there before. By default panics are left to that hook alone; what was logged before
    /// a panic is safe either way.
    ///
    /// The hook stays for the life of the process, and logs while there is a global logger that was
    /// started so.
    pub fn log_panics(mut self) -> Self {
        self.log_panics = true;
        self
    }

    /// At SIGTERM and SIGINT, brings everything into segments, for up to three seconds, before the
    /// signal has its effect. By default signals are left alone; what was accepted is readable
    /// either way, this makes it so without the lanes.
    ///
    /// A handler that was there before is called at once, as if this had not been installed. Where
    /// the effect is the default one, the process ends by it when the flush is over, unless somebody
    /// installed a handler later: then the end is left to that one. A signal that is ignored stays
    /// so.
    pub fn flush_on_signals(mut self) -> Self {
        self.flush_on_signals = true;
        self
    }

    /// With true, each time that a thread enters or leaves a span is in the log; by default false:
    /// how long a span was busy is told when it closes.
    pub fn span_enters(mut self, told: bool) -> Self {
        self.span_enters = told;
        self
    }

    /// Shows events as they come, for development: a line each in its spans, local time, coloured on a
    /// terminal (`NO_COLOR`, `CLICOLOR_FORCE` and `TERM=dumb` count), control characters escaped. By
    /// default nowhere.
    ///
    /// A thread of its own writes them, up to half of `write_within` behind the calls. What a
    /// terminal does not take in time is left out there, with a line that says how many; the log has
    /// everything. The end of the process waits up to a second for what is still to be shown.
    pub fn console(mut self, console: Console) -> Self {
        self.console = console;
        self
    }

    pub(crate) fn codec(&self) -> u8 {
        match self.compression {
            Compression::None => CODEC_RAW,
            Compression::Compact | Compression::Zstd(_) => CODEC_COMPACT,
        }
    }

    /// How sealed segments are packed, if they are.
    pub(crate) fn packing(&self) -> Option<How> {
        match self.compression {
            Compression::None => None,
            Compression::Compact => Some(How { level: 1, only_small: true }),
            Compression::Zstd(level) => Some(How { level, only_small: false }),
        }
    }

    /// What is kept.
    pub(crate) fn keep_used(&self) -> Keep {
        self.keep.unwrap_or_default()
    }

    /// When segments end: at no more than an eighth of the disk that all may take.
    pub(crate) fn rotate_used(&self) -> Rotate {
        self.keep_used().total.map_or(self.rotate, |total| self.rotate.at_most(total / 8))
    }

    /// Refuses settings that make no sense.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let refuse = |what: String| Err(Error::new(Kind::Setting(what)));
        if self.write_within < Duration::from_millis(2) {
            return refuse("write_within is too short; use 2 ms or more".into());
        }
        if self.write_within > Duration::from_secs(3600) {
            return refuse("write_within is too long; use an hour or less".into());
        }
        if self.rotate.size_max() < 64 << 10 {
            return refuse(
                "segments would be too small; use Rotate::size of 64 KiB or more".into(),
            );
        }
        if let Compression::Zstd(level) = self.compression
            && !LEVELS.contains(&level)
        {
            return refuse(format!("zstd has no level {level}; use one from 1 to 22"));
        }
        if let Some(why) = keep_error(&self.keep_used()) {
            return refuse(why);
        }
        if self.lane_bytes == 0 || self.lane_bytes > 64 << 20 {
            return refuse("lane_bytes must be from 1 to 64 MiB".into());
        }
        if self.lanes_bytes_max < LANES_BYTES_MIN {
            return refuse("lanes_bytes_max is too small; use 1 MiB or more".into());
        }
        if let Some((target, n, per)) = self.limits.iter().find(|it| it.1 == 0 || it.2.is_zero()) {
            return refuse(format!(
                "limit({target:?}, {n}, {per:?}) lets nothing pass; use the filter {target}=off"
            ));
        }
        if let Durability::Interval(interval) = self.durability
            && interval.is_zero()
        {
            return refuse("an interval of 0 is Durability::EveryBlock; say so".into());
        }
        self.check_recorder()?;
        self.check_on_full()
    }

    /// Size of the largest lane as it is used.
    pub(crate) fn lane_bytes_used(&self) -> usize {
        self.lane_bytes.next_power_of_two().max(crate::lane::lanes::FIRST_BYTES)
    }
}

/// Why limits make no sense, with the way out.
fn keep_error(keep: &Keep) -> Option<String> {
    if keep.total.is_some_and(|total| total < KEEP_BYTES_MIN) {
        return Some("segments need room; use Keep::total of 1 MiB or more".into());
    }
    let no_segment = keep.count == Some(0);
    no_segment.then(|| "the segment being written stays; use Keep::count of 1 or more".into())
}
