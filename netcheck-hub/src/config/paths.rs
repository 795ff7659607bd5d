//! How many paths are probed at a time, and how much memory the hub may take for them.

use std::fs;
use std::path::Path;
use std::time::Duration;

use netcheck_analysis::plan::rotation::Rotation;

use super::{FlagError, duration};

/// Flags about how many paths are probed at a time.
#[derive(clap::Args, Clone, Debug)]
pub struct PathsFlags {
    /// How many paths each node probes at a time, at most. Where it has more, they take turns.
    #[arg(
        long,
        env = "NETCHECK_PATHS_PER_NODE",
        value_name = "NUMBER",
        default_value = "1000",
        value_parser = clap::value_parser!(u32).range(16..=100_000)
    )]
    pub paths_per_node: u32,

    /// How long it may take until every path had its turn (duration). Where --paths-per-node does not allow it, it takes
    /// longer, and the report says how long.
    #[arg(long, env = "NETCHECK_COVER", value_name = "DURATION", default_value = "10m", value_parser = cover)]
    pub cover: Duration,

    /// How much memory the hub may take (as 2GiB; off: any). Where all nodes' paths would take more, each probes fewer at a
    /// time than --paths-per-node says, and the report says so [default: the limit of the hub's own control group].
    #[arg(long, env = "NETCHECK_MEMORY_LIMIT", value_name = "BYTES|off", value_parser = limit)]
    pub memory_limit: Option<Limit>,
}

fn cover(text: &str) -> Result<Duration, FlagError> {
    duration(text, Duration::from_secs(10), Duration::from_secs(24 * 3600))
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(Option<u64>);

/// Why the flag's value is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}, or off")]
struct LimitError(super::bytes::BytesError);

/// Less is no hub.
const LEAST_BYTES: u64 = 128 << 20;

fn limit(text: &str) -> Result<Limit, LimitError> {
    if text == "off" {
        return Ok(Limit(None));
    }
    super::bytes::of(text, LEAST_BYTES).map(|bytes| Limit(Some(bytes))).map_err(LimitError)
}

impl PathsFlags {
    /// How nodes' paths take turns.
    #[must_use]
    pub fn rotation(&self, interval: Duration) -> Rotation {
        Rotation { paths_per_node: self.paths_per_node as usize, cover: self.cover, interval }
    }

    /// How many bytes the hub may take; none where there is no limit.
    #[must_use]
    pub fn memory_limit(&self) -> Option<u64> {
        self.memory_limit.map_or_else(|| of_control_group(Path::new("/")), |limit| limit.0)
    }
}

/// The least limit of the own control group and those that it is in (the kernel's Documentation/admin-guide/cgroup-v2.rst,
/// `memory.max`; of version 1 `memory.limit_in_bytes`, as its own name space shows it).
fn of_control_group(root: &Path) -> Option<u64> {
    let own = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let groups = root.join("sys/fs/cgroup");
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"));
    let unified = path.into_iter().flat_map(|path| {
        Path::new(path)
            .ancestors()
            .map(|ancestor| groups.join(ancestor).join("memory.max"))
            .collect::<Vec<_>>()
    });
    let limits = unified.chain([groups.join("memory/memory.limit_in_bytes")]);
    let read = |file| fs::read_to_string(file).ok()?.trim().parse().ok();
    // Version 1 says a number near 2^63 where there is no limit.
    limits.filter_map(read).filter(|&bytes: &u64| bytes < 1 << 60).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_off() {
        assert_eq!(limit("2GiB"), Ok(Limit(Some(2 << 30))));
        assert_eq!(limit("off"), Ok(Limit(None)));
        for text in ["", "none", "1MiB", "-2GiB"] {
            assert!(limit(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_least_limit_of_the_groups_around_counts() {
        let root = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            let file = root.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        assert_eq!(of_control_group(root.path()), None, "no control groups");
        write("proc/self/cgroup", "0::/pods/hub\n");
        write("sys/fs/cgroup/pods/hub/memory.max", "max\n");
        assert_eq!(of_control_group(root.path()), None);
        write("sys/fs/cgroup/pods/memory.max", "2147483648\n");
        assert_eq!(of_control_group(root.path()), Some(2 << 30));
        write("sys/fs/cgroup/pods/hub/memory.max", "1073741824\n");
        assert_eq!(of_control_group(root.path()), Some(1 << 30));
        // Version 1, and a container's own name space.
        write("proc/self/cgroup", "4:memory:/pods/hub\n");
        write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(of_control_group(root.path()), None);
        write("sys/fs/cgroup/memory/memory.limit_in_bytes", "536870912\n");
        assert_eq!(of_control_group(root.path()), Some(512 << 20));
        write("proc/self/cgroup", "0::/\n");
        write("sys/fs/cgroup/memory.max", "268435456\n");
        assert_eq!(of_control_group(root.path()), Some(256 << 20));
    }
}
