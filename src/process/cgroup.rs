//! Where the files of this process's control groups are, for both versions. Pure, except for the reader passed in.
//!
//! A group is also limited by the groups above it: all visible ones are read, and the lowest limit applies.

use std::path::{Path, PathBuf};

use super::parse;

/// One version of control groups, for one kind of resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    First,
    Second,
}

/// The folders of the groups, starting with the process's own.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Chain {
    version: Version,
    dirs: Vec<PathBuf>,
}

/// The groups that limit this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Groups {
    memory: Option<Chain>,
    cpu: Option<Chain>,
}

/// A mounted hierarchy.
struct Mount<'a> {
    /// The part of the hierarchy that is mounted.
    root: &'a str,
    at: String,
    version: Version,
    controllers: &'a str,
}

/// Decodes a path from mountinfo, where characters such as spaces are octal numbers.
fn unescaped(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        plain.push_str(before);
        let octal = after.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(byte) => plain.push(char::from(byte)),
            None => plain.push('\\'),
        }
        rest = if octal.is_some() { &after[3..] } else { after };
    }
    plain + rest
}

fn mounts(mountinfo: &str) -> Vec<Mount<'_>> {
    let mount = |line: &'_ str| -> Option<(usize, Version)> {
        let (before, after) = line.split_once(" - ")?;
        let version = match after.split(' ').next()? {
            "cgroup" => Version::First,
            "cgroup2" => Version::Second,
            _ => return None,
        };
        Some((before.len(), version))
    };
    let read = |line| {
        let (end, version) = mount(line)?;
        let mut fields = line[..end].split(' ').skip(3);
        let (root, at) = (fields.next()?, unescaped(fields.next()?));
        let controllers = line[end + 3..].split(' ').nth(2).unwrap_or_default();
        Some(Mount { root, at, version, controllers })
    };
    mountinfo.lines().filter_map(read).collect()
}

impl Mount<'_> {
    /// Returns the folders of this group and of those above it, as far as they are mounted.
    fn dirs(&self, group: &str) -> Vec<PathBuf> {
        // In a container the group's path may not be mounted. The mount is then the container's own group.
        let inside = match self.root {
            "/" => group.strip_prefix('/').unwrap_or(group),
            root => {
                group.strip_prefix(root).filter(|rest| rest.is_empty() || rest.starts_with('/')).unwrap_or_default()
            }
        };
        let inside = inside.trim_matches('/');
        let inside = if inside.split('/').any(|part| part == "..") { "" } else { inside };
        let own = if inside.is_empty() { PathBuf::from(&self.at) } else { Path::new(&self.at).join(inside) };
        own.ancestors().take_while(|dir| dir.starts_with(&self.at)).map(Path::to_path_buf).collect()
    }
}

impl Groups {
    /// Parses the contents of `/proc/self/cgroup` and `/proc/self/mountinfo`. Returns `None` if no hierarchy is mounted.
    pub(super) fn of(cgroup: &str, mountinfo: &str) -> Option<Groups> {
        let mounts = mounts(mountinfo);
        let lines: Vec<(&str, &str)> =
            cgroup.lines().filter_map(|line| line.split_once(':')?.1.split_once(':')).collect();
        let has = |list: &str, name: &str| list.split(',').any(|one| one == name);
        let chain = |controller: &str| {
            let first = || {
                let group = lines.iter().find(|(list, _)| has(list, controller))?.1;
                let mount = mounts
                    .iter()
                    .find(|mount| mount.version == Version::First && has(mount.controllers, controller))?;
                Some(Chain { version: Version::First, dirs: mount.dirs(group) })
            };
            let second = || {
                let group = lines.iter().find(|(list, _)| list.is_empty())?.1;
                let mount = mounts.iter().find(|mount| mount.version == Version::Second)?;
                Some(Chain { version: Version::Second, dirs: mount.dirs(group) })
            };
            first().or_else(second)
        };
        let groups = Groups { memory: chain("memory"), cpu: chain("cpu") };
        (groups.memory.is_some() || groups.cpu.is_some()).then_some(groups)
    }

    /// Returns the name of the file with a group's memory limit.
    pub(super) fn memory_file(&self) -> &'static str {
        match self.memory.as_ref().map(|chain| chain.version) {
            Some(Version::First) => "memory.limit_in_bytes",
            Some(Version::Second) | None => "memory.max",
        }
    }

    /// Returns the lowest memory limit among the groups.
    pub(super) fn least(&self, limit: impl Fn(&Path) -> Option<u64>) -> Option<u64> {
        self.memory.as_ref()?.dirs.iter().filter_map(|dir| limit(dir)).min()
    }

    /// Returns the folders that may contain a processor quota.
    pub(super) fn cpu_dirs(&self) -> &[PathBuf] {
        self.cpu.as_ref().map_or(&[], |chain| &chain.dirs)
    }

    /// Returns how many processors one group may use, according to the files in its folder.
    pub(super) fn processors(&self, file: &dyn Fn(&str) -> Option<String>) -> Option<f64> {
        match self.cpu.as_ref()?.version {
            Version::First => parse::quota(&file("cpu.cfs_quota_us")?, &file("cpu.cfs_period_us")?),
            Version::Second => {
                let text = file("cpu.max")?;
                let (quota, period) = text.trim().split_once(' ')?;
                parse::quota(quota, period)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dirs(chain: Option<&Chain>) -> Vec<&str> {
        chain.map_or(Vec::new(), |chain| chain.dirs.iter().filter_map(|dir| dir.to_str()).collect())
    }

    #[test]
    fn the_second_version_and_the_groups_above() {
        let mounted = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        let groups = Groups::of("0::/system.slice/edge.service\n", mounted).unwrap();
        let expected = ["/sys/fs/cgroup/system.slice/edge.service", "/sys/fs/cgroup/system.slice", "/sys/fs/cgroup"];
        assert_eq!(dirs(groups.memory.as_ref()), expected);
        assert_eq!(groups.memory_file(), "memory.max");
        let limits = |dir: &Path| match dir.to_str() {
            Some("/sys/fs/cgroup/system.slice") => Some(100),
            Some("/sys/fs/cgroup/system.slice/edge.service") => Some(300),
            _ => None,
        };
        assert_eq!(groups.least(limits), Some(100), "a group above is tighter");
        assert_eq!(groups.processors(&|file| (file == "cpu.max").then(|| "50000 100000\n".to_owned())), Some(0.5));
        assert_eq!(groups.processors(&|_| Some("max 100000\n".to_owned())), None);
    }

    #[test]
    fn a_container_sees_its_own_group_alone() {
        // The path is the host's, and the mount is the group itself.
        let mounted = "41 40 0:27 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        let groups = Groups::of("0::/docker/abc\n", mounted).unwrap();
        assert_eq!(dirs(groups.memory.as_ref()), ["/sys/fs/cgroup"]);
        let elsewhere = Groups::of("0::/../other\n", "41 40 0:27 / /sys/fs/cgroup ro - cgroup2 cgroup rw\n").unwrap();
        assert_eq!(dirs(elsewhere.memory.as_ref()), ["/sys/fs/cgroup"]);
    }

    #[test]
    fn the_first_version_has_a_hierarchy_for_each() {
        let mounted = "33 32 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                       34 32 0:30 / /sys/fs/cgroup/cpu\\040all rw - cgroup cgroup rw,cpu,cpuacct\n";
        let groups = Groups::of("9:memory:/m\n3:cpu,cpuacct:/c\n0::/\n", mounted).unwrap();
        assert_eq!(dirs(groups.memory.as_ref()), ["/sys/fs/cgroup/memory/m", "/sys/fs/cgroup/memory"]);
        assert_eq!(dirs(groups.cpu.as_ref()), ["/sys/fs/cgroup/cpu all/c", "/sys/fs/cgroup/cpu all"]);
        assert_eq!(groups.memory_file(), "memory.limit_in_bytes");
        let file = |name: &str| match name {
            "cpu.cfs_quota_us" => Some("200000\n".to_owned()),
            "cpu.cfs_period_us" => Some("100000\n".to_owned()),
            _ => None,
        };
        assert_eq!(groups.processors(&file), Some(2.0));
    }

    #[test]
    fn without_a_hierarchy_there_is_none() {
        assert_eq!(Groups::of("0::/\n", "24 1 0:22 / /proc rw - proc proc rw\n"), None);
        assert_eq!(Groups::of("garbage", "garbage - cgroup2"), None);
    }
}
