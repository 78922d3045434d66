//! Temp: files without a name, for what must be read twice.

use std::fs::File;
use std::io;

use rustix::fs::{Mode, OFlags};

/// Makes one in the directory for temporary files.
pub(crate) fn file() -> io::Result<File> {
    let dir = std::env::temp_dir();
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    if let Ok(fd) = rustix::fs::open(&dir, flags | OFlags::TMPFILE, mode) {
        return Ok(File::from(fd));
    }
    let name = dir.join(format!(".ttlog-{}-{:p}", std::process::id(), &mode));
    let fd = rustix::fs::open(&name, flags | OFlags::CREATE | OFlags::EXCL, mode)?;
    std::fs::remove_file(&name)?;
    Ok(File::from(fd))
}
