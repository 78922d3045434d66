//! Room: how much memory the process may still take.

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

