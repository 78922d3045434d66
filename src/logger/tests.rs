//! A start that fails half-way leaves nothing.

use std::cell::Cell;

use super::*;
use crate::io::sim_disk::SimDisk;
use crate::record::Level;

thread_local! {
    /// The disk of the next logger that this thread starts.
    pub(crate) static SIMULATED: Cell<Option<SimDisk>> = const { Cell::new(None) };
    /// The thread that cannot be started.
    pub(super) static REFUSED: Cell<&'static str> = const { Cell::new("") };
}

#[test]
fn a_start_whose_threads_cannot_be_started_leaves_nothing() {
    let (dir, lanes) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let count = |dir: &Path| std::fs::read_dir(dir).unwrap().count();
    let files = || {
        let names = std::fs::read_dir("/proc/self/task").unwrap().flatten();
        let comm = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm"));
        names.filter_map(|task| comm(task).ok()).filter(|n| n == "ttlog-files\n").count()
    };
    for name in ["ttlog-files", "ttlog-scribe", "ttlog-control", "ttlog-recorder"] {
        REFUSED.set(name);
        let before = files();
        let builder = Builder::new(dir.path()).lanes_in(lanes.path());
        let error = builder.flight_recorder(Level::Trace, 1 << 20).build().unwrap_err();
        assert!(error.to_string().contains("ulimit -u"), "{error}");
        assert_eq!((count(dir.path()), count(lanes.path())), (0, 0), "{name}");
        let began = Instant::now();
        while files() > before {
            assert!(began.elapsed() < Duration::from_secs(10), "its file thread lives on");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    REFUSED.set("");
    let handle = Builder::new(dir.path()).lanes_in(lanes.path()).build().unwrap();
    handle.shutdown(Duration::from_secs(60)).unwrap();
}

#[test]
fn s8_an_owner_file_that_could_not_follow_its_place_follows_later() {
    let (dir, lanes) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let handle = Builder::new(dir.path()).lanes_in(lanes.path()).build().unwrap();
    let inner = handle.0.as_ref().unwrap();
    let (owner, place) = (&inner.owner, &inner.lanes.place);
    let told = || Owner::read(&owner.dir().join(&owner.name)).unwrap().unwrap().lanes;
    // The log directory takes no new file under the name that it gets first.
    let in_the_way = dir.path().join(format!(".{}.{}", owner.name, std::process::id()));
    std::fs::create_dir(&in_the_way).unwrap();
    place::remove(place.path().unwrap());
    owner.check(&inner.lanes);
    assert!(!place.is_removed() && told() != place.hint().unwrap());
    std::fs::remove_dir(&in_the_way).unwrap();
    owner.check(&inner.lanes);
    assert_eq!(told(), place.hint().unwrap());
    handle.shutdown(Duration::from_secs(60)).unwrap();
}
