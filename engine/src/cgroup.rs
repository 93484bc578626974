//! The memory of a control group (cgroups of Linux, which is how containers are limited). Beyond it the system ends the process and says nothing; a budget makes it an error that names the op.

use std::fs;
use std::path::Path;

use crate::device::Device;

/// Sets the memory budget of a CPU device to what the process's control group has left, less a sixteenth of the limit for what is no tensor. Does nothing on other devices, other systems, and
/// where no group sets a limit.
pub fn keep_within(device: &Device) {
    let Some((limit, left)) = limit().zip(left()).filter(|_| device.is_cpu()) else { return };
    let budget = left.saturating_sub(limit / 16);
    tracing::info!("the control group allows {limit} bytes: {budget} for tensors");
    device.set_memory_budget(budget);
}

/// The bytes that the control groups of this process allow, if they set a limit.
pub fn limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    limit_of(&groups, Path::new("/sys/fs/cgroup"))
}

/// What this process has not taken yet of [`limit`].
pub fn left() -> Option<u64> {
    Some(limit()?.saturating_sub(resident_bytes()))
}

/// The smallest limit of the groups in `groups` (lines of `/proc/self/cgroup`: number, controllers, path) and of those above them; `root` is where the system shows groups.
fn limit_of(groups: &str, root: &Path) -> Option<u64> {
    let limits = groups.lines().flat_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (controllers, path) = (parts.nth(1).unwrap_or_default(), parts.next().unwrap_or_default());
        // version 2 has one tree for everything, version 1 one for each controller
        let (tree, file) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => (root.join("memory"), "memory.limit_in_bytes"),
            _ => return Vec::new(),
        };
        // in a container the path may be that of outside; its own group is then the root
        let above = Path::new(path.trim_start_matches('/')).ancestors();
        above.filter_map(|group| read_limit(&tree.join(group).join(file))).collect()
    });
    limits.min()
}

/// What a file says; version 1 says a number near 2⁶³ for none, version 2 a word.
fn read_limit(path: &Path) -> Option<u64> {
    let bytes: u64 = fs::read_to_string(path).ok()?.trim().parse().ok()?;
    (bytes < 1 << 60).then_some(bytes)
}

/// Bytes of this process that are in memory.
fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).map_or(0, |kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_limit_of_both_versions_counts() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let limit = |groups: &str| limit_of(groups, root.path());
        assert_eq!(limit("0::/a/b\n"), None);
        write("a/b/memory.max", "max\n");
        write("a/memory.max", "7000\n");
        assert_eq!(limit("0::/a/b\n"), Some(7000));
        write("memory/memory.limit_in_bytes", "9223372036854771712\n");
        write("memory/x/memory.limit_in_bytes", "5000\n");
        assert_eq!(limit("9:cpu,memory:/x\n0::/\n"), Some(5000));
        assert_eq!(limit("9:cpu:/x\n8:memory:/not/here\n"), None);
        // a container sees its own group as the root
        write("memory.max", "6000\n");
        assert_eq!(limit("0::/docker/1234\n"), Some(6000));
    }
}
