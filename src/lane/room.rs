//! Room: how much memory the process may still take.

use std::io;
use std::path::Path;

/// Refuses a flight recorder of so many bytes where lanes lie in `base`, if that is too much.
pub(super) fn for_recorder(base: &Path, bytes: u64) -> io::Result<()> {
    let stat = rustix::fs::statvfs(base)?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let most = (free / 2).min(memory_left().unwrap_or(u64::MAX) / 4);
    if bytes <= most {
        return Ok(());
    }
    let (base, most) = (base.display(), most >> 10);
    let what = format!(
        "{base} and this process's cgroup have room for {most} KiB (half of what is free there, a \
         quarter of the memory left); use less, or lanes_in(a larger place)"
    );
    Err(io::Error::new(io::ErrorKind::StorageFull, what))
}

/// Memory that this process may still take, as far as its cgroup bounds it.
pub(super) fn memory_left() -> Option<u64> {
    let number = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let v2 = groups.lines().find_map(|line| line.strip_prefix("0::")).and_then(|group| {
        let base = format!("/sys/fs/cgroup{}", group.trim_end_matches('/'));
        let max = number(&format!("{base}/memory.max"))?;
        Some(max.saturating_sub(number(&format!("{base}/memory.current"))?))
    });
    let v1 = groups.lines().find_map(|line| line.split_once(":memory:")).and_then(|(_, group)| {
        let base = format!("/sys/fs/cgroup/memory{}", group.trim_end_matches('/'));
        let max = number(&format!("{base}/memory.limit_in_bytes"))?;
        Some(max.saturating_sub(number(&format!("{base}/memory.usage_in_bytes"))?))
    });
    v2.into_iter().chain(v1).min()
}

