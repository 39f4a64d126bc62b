//! What leaves a state directory without anybody's doing: memory that is swapped out, and what SQLite puts into files of its
//! own where a query has no room in memory.
//!
//! A hibernation writes all memory to the swap, whatever a control group says: a machine that does so needs swap that is
//! encrypted.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use crate::store::volume::{Encryption, Kernel, all, existing, unescaped};

/// What is known of the swap that a process may be written to: this one, or the one with this number.
pub fn swap(pid: Option<u32>) -> Encryption {
    let pid = pid.map_or_else(|| "self".to_owned(), |pid| pid.to_string());
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    Kernel::here().swap(&groups)
}

/// Where SQLite of this process would put such files, and what is known of that folder; on the volume of a directory that
/// is stated to be encrypted, it is as well.
pub fn spill(stated: Option<&Path>) -> (PathBuf, Encryption) {
    let dir = spill_dir(|name| std::env::var_os(name));
    let told = Kernel::here().spilled(&dir, stated.map(existing));
    (dir, told)
}

/// The first of these that may be written, as SQLite has it.
fn spill_dir(variable: impl Fn(&str) -> Option<OsString>) -> PathBuf {
    let named = ["SQLITE_TMPDIR", "TMPDIR"].into_iter().filter_map(variable);
    let usual = ["/var/tmp", "/usr/tmp", "/tmp"].map(OsString::from);
    let is_usable =
        |dir: &PathBuf| dir.is_dir() && rustix::fs::access(dir, Access::WRITE_OK | Access::EXEC_OK).is_ok();
    let mut all = named.chain(usual).map(PathBuf::from);
    all.find(is_usable).unwrap_or_else(|| PathBuf::from("."))
}

impl Kernel<'_> {
    /// By the control groups of a process, as cgroups(7) has them.
    pub(super) fn swap(&self, groups: &str) -> Encryption {
        if self.is_kept_in_memory(groups) {
            return Encryption::Yes("its control group is not swapped out".to_owned());
        }
        let Ok(swaps) = std::fs::read_to_string(&self.swaps) else {
            return Encryption::Unknown(format!("{} cannot be read", self.swaps.display()));
        };
        let each = swaps.lines().skip(1).map(|line| self.swap_area(line));
        all(each).unwrap_or_else(|| Encryption::Yes("there is none".to_owned()))
    }

    /// Whether the group or one around it may use no swap.
    fn is_kept_in_memory(&self, groups: &str) -> bool {
        let group = groups.lines().find_map(|line| line.strip_prefix("0::/"));
        let around = group.into_iter().flat_map(|group| Path::new(group).ancestors());
        let top = self.sys.join("fs/cgroup");
        let mut most = around.map(|group| std::fs::read_to_string(top.join(group).join("memory.swap.max")));
        most.any(|most| most.is_ok_and(|most| most.trim() == "0"))
    }

    /// By a line of `/proc/swaps`.
    fn swap_area(&self, line: &str) -> Encryption {
        let mut words = line.split_whitespace();
        let area = PathBuf::from(unescaped(words.next().unwrap_or_default()));
        let told = match words.next() {
            Some("partition") => self.swap_device(&area),
            _ => self.file(&area, 0),
        };
        let shown = |why| format!("{}: {why}", area.display());
        match told {
            Encryption::No(why) => Encryption::No(shown(why)),
            Encryption::Unknown(why) => Encryption::Unknown(shown(why)),
            yes => yes,
        }
    }

    fn swap_device(&self, device: &Path) -> Encryption {
        let block = |device: &Path| {
            let name = device.file_name().unwrap_or_default();
            self.sys.join("class/block").join(name)
        };
        // Of zram alone: it is memory, packed, unless it is told to write to a device.
        match std::fs::read_to_string(block(device).join("backing_dev")) {
            Ok(backing) if backing.trim() == "none" => Encryption::Yes("in memory".to_owned()),
            Ok(backing) => self.block(&block(Path::new(backing.trim())), 1),
            Err(_) => self.block(&block(device), 0),
        }
    }

    /// What is in memory is on a disk by way of the swap alone.
    pub(super) fn spilled(&self, dir: &Path, stated: Option<&Path>) -> Encryption {
        let is_of_no_device = (self.look)(dir).is_ok_and(|seen| seen.major == 0);
        let mount = self.mount_of(dir).filter(|_| is_of_no_device);
        match mount {
            Some(mount) if ["tmpfs", "ramfs"].contains(&mount.kind.as_str()) => {
                Encryption::Yes(format!("{}, in memory", mount.kind))
            }
            _ => self.beside(dir, stated),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlite_takes_the_first_folder_that_it_may_write() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let of = |sqlite: Option<&Path>, system: Option<&Path>| {
            spill_dir(|name| match name {
                "SQLITE_TMPDIR" => sqlite.map(OsString::from),
                "TMPDIR" => system.map(OsString::from),
                _ => None,
            })
        };
        let nowhere = Path::new("/nowhere/at/all");
        assert_eq!(of(Some(one.path()), Some(other.path())), one.path());
        assert_eq!(of(None, Some(other.path())), other.path());
        assert_eq!(of(Some(nowhere), Some(other.path())), other.path());
        assert_eq!(of(Some(nowhere), None), of(None, None));
    }
}
