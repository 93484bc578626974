//! How much memory there is.

use std::fs;

/// Bytes that this process may still take on this machine, or `None` where the system does not say: what Linux calls available, or what is left of the process's own limit (control groups) if that is less.
pub fn available_bytes() -> Option<u64> {
    let read = |path: &str| fs::read_to_string(path).ok();
    let of_machine = available_of(&read("/proc/meminfo")?)?;
    let groups = [
        ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"],
        ["/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"],
    ];
    let left = |[limit, used]: [&str; 2]| left_of(&read(limit)?, &read(used)?);
    Some(groups.into_iter().filter_map(left).fold(of_machine, u64::min))
}

/// The line `MemAvailable` of `/proc/meminfo`, in bytes.
fn available_of(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(1024 * line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?)
}

/// What is left of a limit, `max` if there is none.
fn left_of(limit: &str, used: &str) -> Option<u64> {
    Some(limit.trim().parse::<u64>().ok()?.saturating_sub(used.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_linux_are_understood() {
        assert_eq!(available_of("MemTotal:  100 kB\nMemAvailable:   23456 kB\nBuffers: 1 kB\n"), Some(23_456 * 1024));
        assert_eq!(available_of("MemTotal:  100 kB\n"), None);
        assert_eq!([left_of("1000\n", "300\n"), left_of("max\n", "300\n"), left_of("100\n", "300\n")], [Some(700), None, Some(0)]);
    }
}
