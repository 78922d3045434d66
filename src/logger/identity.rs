//! Identity: the directory, id and names under which a logger is known.

use std::path::{Path, PathBuf};

use crate::adopt;
use crate::config::Builder;
use crate::emit::clock;
use crate::error::{Error, Kind};
use crate::lane::owner::{self, Owner};
use crate::lane::place::Place;
use crate::store::segment::CLOCK_UTC;

/// Makes the directory, with mode 0750, and returns its absolute path.
pub(super) fn make_dir(dir: &Path) -> Result<PathBuf, Error> {
    use std::os::unix::fs::DirBuilderExt as _;
    let refuse = |what, error| Error::at(Kind::Directory(what), dir, error);
    if dir.as_os_str().is_empty() {
        return Err(Error::config("the log directory has no name; give one, as `logs`"));
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o750).create(dir).map_err(|error| {
        if error.kind() == std::io::ErrorKind::AlreadyExists {
            return refuse("the log directory is a file; choose another name", error);
        }
        refuse("the log directory cannot be made; make it, or choose another", error)
    })?;
    let cannot = "the log directory cannot be used; choose another";
    std::fs::canonicalize(dir).map_err(|error| refuse(cannot, error))
}

pub(super) fn owner_of(
    config: &Builder,
    dir: &Path,
    logger: u64,
    place: &Place,
    spill: Option<PathBuf>,
) -> std::io::Result<Owner> {
    let (app, version) = config.app.clone().unwrap_or_else(|| (executable(), String::new()));
    Ok(Owner {
        logger,
        app,
        version,
        boot: owner::boot_id(),
        clock: if config.utc_ticks { CLOCK_UTC } else { clock::kind() },
        mount: adopt::mount_namespace(),
        pid: std::process::id(),
        start_ns: clock::wall_ns(),
        log_dir: dir.to_owned(),
        lanes: place.hint()?,
        spill,
    })
}

fn executable() -> String {
    let path = std::env::current_exe().ok();
    let stem = path.as_deref().and_then(Path::file_stem);
    stem.map_or_else(|| "app".into(), |stem| stem.to_string_lossy().into_owned())
}
