//! Open options: how a file is opened by an operation.

/// How a file is opened.
///
/// ```
/// use ttlog::io::OpenOptions;
///
/// let log = OpenOptions::new().write(true).create(true).mode(0o640);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct OpenOptions {
    read: bool,
    write: bool,
    flags: rustix::fs::OFlags,
    mode: u32,
}

impl OpenOptions {
    /// Neither for reading nor for writing, which is taken as reading; mode 0666 less the umask.
    #[must_use]
    pub fn new() -> Self {
        Self { read: false, write: false, flags: rustix::fs::OFlags::CLOEXEC, mode: 0o666 }
    }

    fn with(mut self, flag: rustix::fs::OFlags, on: bool) -> Self {
        self.flags.set(flag, on);
        self
    }

    /// For reading.
    #[must_use]
    pub fn read(mut self, on: bool) -> Self {
        self.read = on;
        self
    }

    /// For writing.
    #[must_use]
    pub fn write(mut self, on: bool) -> Self {
        self.write = on;
        self
    }

    /// Makes the file if it is not there.
    #[must_use]
    pub fn create(self, on: bool) -> Self {
        self.with(rustix::fs::OFlags::CREATE, on)
    }

    /// Makes the file, and fails if it is there.
    #[must_use]
    pub fn create_new(self, on: bool) -> Self {
        self.with(rustix::fs::OFlags::CREATE | rustix::fs::OFlags::EXCL, on)
    }

    /// Empties the file.
    #[must_use]
    pub fn truncate(self, on: bool) -> Self {
        self.with(rustix::fs::OFlags::TRUNC, on)
    }

    /// Past the page cache (O_DIRECT): offsets, lengths and addresses must be aligned.
    #[cfg(target_os = "linux")]
    #[must_use]
    pub fn direct(self, on: bool) -> Self {
        self.with(rustix::fs::OFlags::DIRECT, on)
    }

    /// Permissions of a new file.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    pub(super) fn flags(&self) -> rustix::fs::OFlags {
        use rustix::fs::OFlags;
        let access = match (self.read, self.write) {
            (_, false) => OFlags::RDONLY,
            (false, true) => OFlags::WRONLY,
            (true, true) => OFlags::RDWR,
        };
        self.flags | access
    }

    pub(super) fn mode_bits(&self) -> u32 {
        self.mode
    }
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self::new()
    }
}
