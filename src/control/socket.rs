//! Socket: where a logger listens: a name in the log directory that its user alone can open.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, fchmod};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::lane::process::Kept;
use crate::store::name;

/// Connections that may wait.
const BACKLOG: i32 = 16;

/// A socket that listens; its name goes with it.
#[derive(Debug)]
pub(super) struct Socket {
    file: Kept,
    path: PathBuf,
    /// Device and inode of the name.
    id: (u64, u64),
}

impl Socket {
    /// Listens under the logger's name in its directory, with mode 0600 from the first instant.
    pub(super) fn bind(dir: &Path, logger: u64) -> io::Result<Self> {
        let explain = |error: io::Error| {
            io::Error::new(error.kind(), format!("no socket in {}: {error}", dir.display()))
        };
        Self::try_bind(dir, logger).map_err(explain)
    }

    fn try_bind(dir: &Path, logger: u64) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        // The name gets the mode that the socket has when it is bound.
        fchmod(&fd, Mode::RUSR | Mode::WUSR)?;
        let file = Kept::new(File::from(fd));
        let name = name::control(logger);
        let path = dir.join(&name);
        // The id is this logger's: whoever left such a name is not there any more.
        let _ = std::fs::remove_file(&path);
        let (_dir, short) = short(dir, &name)?;
        rustix::net::bind(file.file(), &SocketAddrUnix::new(&short)?)?;
        rustix::net::listen(file.file(), BACKLOG)?;
        let id = id_of(&path)?;
        Ok(Self { file, path, id })
    }

    /// True while its name is there and its own.
    pub(super) fn is_named(&self) -> bool {
        id_of(&self.path).is_ok_and(|id| id == self.id)
    }

    /// The next connection of this user's, or of root's; others are closed.
    pub(super) fn accept(&self) -> Option<UnixStream> {
        loop {
            let fd = rustix::net::accept_with(self.file.file(), SocketFlags::CLOEXEC).ok()?;
            let peer = rustix::net::sockopt::socket_peercred(&fd).ok();
            let own = rustix::process::geteuid();
            if peer.is_some_and(|peer| peer.uid == own || peer.uid.is_root()) {
                return Some(UnixStream::from(fd));
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.file().as_fd()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.is_named() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Connects to the socket with this path.
pub(super) fn connect(path: &Path) -> io::Result<UnixStream> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let name = name.to_str().ok_or(io::ErrorKind::InvalidInput)?;
    let (_dir, short) = short(dir, name)?;
    UnixStream::connect(short)
}

/// A name that fits an address, however long the directory's is, and what keeps it good.
fn short(dir: &Path, name: &str) -> io::Result<(File, PathBuf)> {
    use std::os::fd::AsRawFd as _;
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = File::from(rustix::fs::open(dir, flags, Mode::empty())?);
    let path = PathBuf::from(format!("/proc/self/fd/{}/{name}", fd.as_raw_fd()));
    Ok((fd, path))
}

fn id_of(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = std::fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};

    use super::*;

    #[test]
    fn a_socket_is_its_user_s_alone_however_long_its_directory_s_name_is() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("d".repeat(200));
        std::fs::create_dir(&dir).unwrap();
        let socket = Socket::bind(&dir, 7).unwrap();
        let path = dir.join(name::control(7));
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        assert!(metadata.file_type().is_socket());
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        assert!(socket.accept().is_none(), "nobody came, and it does not wait");
        let _client = connect(&path).unwrap();
        assert!(socket.accept().is_some());
        std::fs::rename(&path, dir.join("moved")).unwrap();
        assert!(!socket.is_named());
        drop(socket);
        assert!(dir.join("moved").exists(), "only its own name is removed");
    }
}
