//! Where the CPU quota of this thread's cgroup is accounted, in version 1 and 2 of cgroups. Pure, but for
//! [`cpu_stat`].

use std::path::{Path, PathBuf};

/// The `cpu.stat` of this thread's cgroup.
pub(crate) fn cpu_stat() -> Option<PathBuf> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let folder = folder(&read("/proc/thread-self/cgroup")?, &read("/proc/thread-self/mountinfo")?)?;
    Some(folder.join("cpu.stat"))
}

/// The folder of a thread's cgroup with the cpu controller, from its cgroup (cgroups(7)) and the mounts that it sees
/// (proc_pid_mountinfo(5)). With version 1 the controller has a hierarchy of its own.
fn folder(cgroup: &str, mountinfo: &str) -> Option<PathBuf> {
    let lines: Vec<(&str, &str)> = cgroup
        .lines()
        .filter_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            Some((controllers, path))
        })
        .collect();
    let has_cpu = |list: &str| list.split(',').any(|word| word == "cpu");
    let first = lines.iter().find(|(controllers, _)| has_cpu(controllers));
    let (version_1, &(_, path)) = match first {
        Some(line) => (true, line),
        None => (false, lines.iter().find(|(controllers, _)| controllers.is_empty())?),
    };
    mountinfo.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut kind = kind.split(' ');
        let wanted = match kind.next()? {
            "cgroup" => version_1 && has_cpu(kind.nth(1)?),
            "cgroup2" => !version_1,
            _ => false,
        };
        let mut mount = mount.split(' ').skip(3);
        let (root, at) = (mount.next()?, mount.next()?);
        wanted.then(|| below(path, root, at))
    })
}

/// Where `path` of a hierarchy shows whose part from `root` on is mounted at `at`.
fn below(path: &str, root: &str, at: &str) -> PathBuf {
    let rest = Path::new(path).strip_prefix(root).unwrap_or(Path::new(path));
    Path::new(at).join(rest.strip_prefix("/").unwrap_or(rest))
}

/// For how long the cgroup's threads were kept from running, from its `cpu.stat`; nanoseconds.
pub(crate) fn throttled_ns(cpu_stat: &str) -> u64 {
    let value = |line: &str, name: &str| line.strip_prefix(name)?.trim().parse::<u64>().ok();
    let of = |line: &str| {
        value(line, "throttled_usec ").map(|us| us.saturating_mul(1000)).or(value(line, "throttled_time "))
    };
    cpu_stat.lines().find_map(of).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "31 24 0:26 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n\
        32 24 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
        33 24 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
    const V2: &str = "30 23 0:25 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn the_folder_of_either_version() {
        // A container that sees only its own part of the hierarchy, with or without a cgroup namespace.
        let part = "32 24 0:27 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n";
        for (cgroup, mounts, expected) in [
            ("4:cpuset:/\n3:cpu,cpuacct:/pods/a\n0::/\n", V1, Some("/sys/fs/cgroup/cpu,cpuacct/pods/a")),
            ("3:cpu,cpuacct:/\n", V1, Some("/sys/fs/cgroup/cpu,cpuacct")),
            ("0::/kubepods.slice/x.scope\n", V2, Some("/sys/fs/cgroup/kubepods.slice/x.scope")),
            ("0::/\n", V2, Some("/sys/fs/cgroup")),
            ("3:cpu,cpuacct:/docker/abc\n", part, Some("/sys/fs/cgroup/cpu,cpuacct")),
            ("3:cpu,cpuacct:/docker/abc/d\n", part, Some("/sys/fs/cgroup/cpu,cpuacct/d")),
            ("4:cpuset:/\n", V1, None),
            ("3:cpu:/a\n", V2, None),
            ("", "", None),
        ] {
            assert_eq!(folder(cgroup, mounts), expected.map(PathBuf::from), "{cgroup}");
        }
    }

    #[test]
    fn throttled_time_in_either_unit() {
        let v2 = "usage_usec 9\nnr_periods 5\nnr_throttled 3\nthrottled_usec 250000\n";
        assert_eq!(throttled_ns(v2), 250_000_000);
        assert_eq!(throttled_ns("nr_periods 5\nnr_throttled 3\nthrottled_time 250000000\n"), 250_000_000);
        assert_eq!(throttled_ns("usage_usec 9\n"), 0, "no quota");
    }
}
