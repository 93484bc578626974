//! How much memory there is.

use percept_engine::cgroup;

/// Bytes that this process may still take on this machine, or `None` where the system does not say: what Linux calls available, or what is left of the limit of the process's container if that is less.
pub fn available_bytes() -> Option<u64> {
    let of_machine = available_of(&std::fs::read_to_string("/proc/meminfo").ok()?)?;
    Some(cgroup::left().map_or(of_machine, |left| left.min(of_machine)))
}

/// The line `MemAvailable` of `/proc/meminfo`, in bytes.
fn available_of(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(1024 * line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_linux_says_is_understood() {
        assert_eq!(available_of("MemTotal:  100 kB\nMemAvailable:   23456 kB\nBuffers: 1 kB\n"), Some(23_456 * 1024));
        assert_eq!(available_of("MemTotal:  100 kB\n"), None);
    }
}
