//! Whether what is written to a directory is encrypted on its disk, as far as the kernel of this machine tells.
//!
//! Seen are fscrypt directories, dm-crypt below any stack of devices (LVM, RAID, loop files), btrfs of several devices, and
//! file systems in user space that encrypt. All that a file may lie on has to be encrypted: one plain disk of a RAID is
//! one too many. What encrypts out of the kernel's sight (a provider's volume, a disk by itself, a hypervisor, a file
//! server) cannot be seen, and neither can ZFS's own encryption without its tools: the operator may state it, and it is
//! shown as stated. What leaves a directory without anybody's doing is looked at by [`beside`].

pub mod beside;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxFlags};

/// As the kernel prefixes the names of its devices of dm-crypt. Those that only check (`CRYPT-VERITY-`, `CRYPT-INTEGRITY-`)
/// are not among them.
const CRYPT: [(&str, &str); 5] = [
    ("CRYPT-LUKS1-", "LUKS1"),
    ("CRYPT-LUKS2-", "LUKS2"),
    ("CRYPT-PLAIN-", "plain dm-crypt"),
    ("CRYPT-TCRYPT-", "TrueCrypt or VeraCrypt"),
    ("CRYPT-BITLK-", "BitLocker"),
];
/// File systems that encrypt what they keep.
const ENCRYPTING: [&str; 2] = ["fuse.gocryptfs", "ecryptfs"];
/// `STATX_ATTR_ENCRYPTED`, which statx(2) sets for files of fscrypt.
const ENCRYPTED: u64 = 0x800;
/// Devices on top of each other are looked through no deeper.
const DEPTH_MAX: usize = 16;

/// What is known of a directory; each with how, or why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Encryption {
    Yes(String),
    No(String),
    Unknown(String),
}

impl Encryption {
    /// Why it is not known to be encrypted.
    pub fn doubt(self) -> Option<String> {
        match self {
            Self::Yes(_) => None,
            Self::No(why) | Self::Unknown(why) => Some(why),
        }
    }
}

/// Where a file lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    is_encrypted: bool,
    major: u32,
    minor: u32,
}

/// Where the kernel tells of files, devices, mounts and swap.
struct Kernel<'k> {
    sys: PathBuf,
    mounts: PathBuf,
    swaps: PathBuf,
    look: &'k dyn Fn(&Path) -> io::Result<Seen>,
}

/// What is known of a directory that is there.
pub fn encryption(dir: &Path) -> Encryption {
    Kernel::here().file(dir, 0)
}

/// The same beside a directory whose volume is stated to be encrypted: what lies on that volume is as well.
pub fn encryption_beside(dir: &Path, stated: Option<&Path>) -> Encryption {
    Kernel::here().beside(dir, stated.map(existing))
}

/// The directory, or the one in which it would be made.
pub fn existing(dir: &Path) -> &Path {
    let top = Path::new(if dir.is_absolute() { "/" } else { "." });
    dir.ancestors().find(|place| place.exists()).unwrap_or(top)
}

fn look(path: &Path) -> io::Result<Seen> {
    let told = rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::BASIC_STATS)?;
    Ok(Seen {
        is_encrypted: told.stx_attributes.bits() & ENCRYPTED != 0,
        major: told.stx_dev_major,
        minor: told.stx_dev_minor,
    })
}

/// What is known of several together: one that is plain is one too many.
fn all(each: impl Iterator<Item = Encryption>) -> Option<Encryption> {
    let mut found = None;
    for one in each {
        match (one, &found) {
            (no @ Encryption::No(_), _) => return Some(no),
            (unknown @ Encryption::Unknown(_), _) => found = Some(unknown),
            (yes, None) => found = Some(yes),
            (_, Some(_)) => {}
        }
    }
    found
}

impl Kernel<'_> {
    fn here() -> Self {
        Self {
            sys: "/sys".into(),
            mounts: "/proc/self/mountinfo".into(),
            swaps: "/proc/swaps".into(),
            look: &look,
        }
    }

    fn beside(&self, dir: &Path, stated: Option<&Path>) -> Encryption {
        let volume = |dir| (self.look)(dir).map(|seen| (seen.major, seen.minor)).ok();
        let is_stated = |stated| volume(dir).is_some() && volume(dir) == volume(stated);
        match self.file(dir, 0) {
            Encryption::No(_) | Encryption::Unknown(_) if stated.is_some_and(is_stated) => {
                Encryption::Yes("the volume of [state] dir is stated to be".to_owned())
            }
            seen => seen,
        }
    }

    fn file(&self, path: &Path, depth: usize) -> Encryption {
        let shown = path.display();
        match (self.look)(path) {
            Err(error) => Encryption::Unknown(format!("{shown} cannot be looked at ({error})")),
            Ok(seen) if seen.is_encrypted => Encryption::Yes("fscrypt".to_owned()),
            // File systems that lie on no single device have numbers of their own.
            Ok(Seen { major: 0, .. }) => self.mount(path, depth),
            Ok(Seen { major, minor, .. }) => {
                let block = self.sys.join(format!("dev/block/{major}:{minor}"));
                self.block(&block, depth)
            }
        }
    }

    /// A device by its folder under `/sys`.
    fn block(&self, block: &Path, depth: usize) -> Encryption {
        let Ok(block) = block.canonicalize() else {
            return Encryption::Unknown(format!("{} is not there", block.display()));
        };
        let name = block
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if depth > DEPTH_MAX {
            return Encryption::Unknown(format!("{name} lies on too many devices"));
        }
        let told = |file: &str| std::fs::read_to_string(block.join(file)).unwrap_or_default();
        let uuid = told("dm/uuid");
        if let Some((_, how)) = CRYPT.iter().find(|(prefix, _)| uuid.starts_with(prefix)) {
            return Encryption::Yes((*how).to_owned());
        }
        let backing = told("loop/backing_file");
        if let Some(folder) = Path::new(backing.trim_end())
            .parent()
            .filter(|_| !backing.is_empty())
        {
            return self.file(folder, depth + 1);
        }
        if block.join("partition").exists()
            && let Some(disk) = block.parent()
        {
            return self.block(disk, depth + 1);
        }
        let below = std::fs::read_dir(block.join("slaves")).into_iter().flatten();
        let below: BTreeSet<PathBuf> = below.flatten().map(|entry| entry.path()).collect();
        if below.is_empty() {
            return Encryption::No(format!("{name} is a plain device"));
        }
        self.blocks(below.iter(), depth)
    }

    fn blocks<'p>(&self, blocks: impl Iterator<Item = &'p PathBuf>, depth: usize) -> Encryption {
        let each = blocks.map(|block| self.block(block, depth + 1));
        all(each).unwrap_or_else(|| Encryption::Unknown("no device is named".to_owned()))
    }

    /// By the file system that is mounted where a path lies.
    fn mount(&self, path: &Path, depth: usize) -> Encryption {
        let Some(mount) = self.mount_of(path) else {
            return Encryption::Unknown("what is mounted there is not told".to_owned());
        };
        match mount.kind.as_str() {
            kind if ENCRYPTING.contains(&kind) => Encryption::Yes(mount.kind),
            "btrfs" => self.btrfs(&mount, depth),
            kind => Encryption::Unknown(format!("{kind} does not tell what it lies on")),
        }
    }

    fn mount_of(&self, path: &Path) -> Option<Mount> {
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let mounts = std::fs::read_to_string(&self.mounts).unwrap_or_default();
        let mounts = mounts.lines().filter_map(Mount::read);
        let holds = |mount: &Mount| path.starts_with(&mount.at);
        // Of two at one place the later hides the earlier.
        mounts
            .filter(holds)
            .max_by_key(|mount| mount.at.components().count())
    }

    /// All devices of the file system that the mount's device is one of.
    fn btrfs(&self, mount: &Mount, depth: usize) -> Encryption {
        let device = mount.source.canonicalize();
        let device = device.unwrap_or_else(|_| mount.source.clone());
        let name = device.file_name().unwrap_or_default();
        let systems = std::fs::read_dir(self.sys.join("fs/btrfs")).into_iter().flatten();
        for system in systems.flatten() {
            let devices = std::fs::read_dir(system.path().join("devices"))
                .into_iter()
                .flatten();
            let devices: BTreeSet<PathBuf> = devices.flatten().map(|entry| entry.path()).collect();
            if devices.iter().any(|device| device.file_name() == Some(name)) {
                return self.blocks(devices.iter(), depth);
            }
        }
        Encryption::Unknown("btrfs does not tell its devices".to_owned())
    }
}

/// A line of mountinfo(5).
struct Mount {
    at: PathBuf,
    kind: String,
    source: PathBuf,
}

impl Mount {
    fn read(line: &str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mut after = after.split(' ');
        Some(Self {
            at: unescaped(before.split(' ').nth(4)?).into(),
            kind: after.next()?.to_owned(),
            source: unescaped(after.next()?).into(),
        })
    }
}

/// Blanks stand as `\040` there.
fn unescaped(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (escape, meant)| {
            text.replace(escape, meant)
        })
}

#[cfg(test)]
mod tests {
    use std::fs::{create_dir_all, write};
    use std::os::unix::fs::symlink;

    use super::*;

    /// A tree as sysfs has it: devices with files and what lies below each, by number.
    struct Tree(tempfile::TempDir);

    impl Tree {
        fn new() -> Self {
            let tree = Self(tempfile::tempdir().unwrap());
            create_dir_all(tree.0.path().join("sys/dev/block")).unwrap();
            tree
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join("sys/devices").join(name)
        }

        /// `name` may be `disk/partition`.
        fn device(&self, number: &str, name: &str, files: &[(&str, &str)], below: &[&str]) -> &Self {
            let device = self.path(name);
            create_dir_all(device.join("slaves")).unwrap();
            for (file, content) in files {
                create_dir_all(device.join(file).parent().unwrap()).unwrap();
                write(device.join(file), content).unwrap();
            }
            for other in below {
                let link = device.join("slaves").join(other.rsplit('/').next().unwrap());
                symlink(self.path(other), link).unwrap();
            }
            symlink(device, self.0.path().join("sys/dev/block").join(number)).unwrap();
            self
        }

        /// By its name, as devices of swap are found.
        fn named(&self, name: &str) -> &Self {
            let names = self.0.path().join("sys/class/block");
            create_dir_all(&names).unwrap();
            symlink(self.path(name), names.join(name.rsplit('/').next().unwrap())).unwrap();
            self
        }

        fn btrfs(&self, devices: &[&str]) -> &Self {
            let system = self.0.path().join("sys/fs/btrfs/0f-1/devices");
            create_dir_all(&system).unwrap();
            for device in devices {
                symlink(self.path(device), system.join(device)).unwrap();
            }
            self
        }

        /// Of `/state`, which has these numbers.
        fn told(&self, numbers: (u32, u32), mounts: &str) -> Encryption {
            self.look(numbers, mounts, |kernel| kernel.file(Path::new("/state"), 0))
        }

        /// A look where `/state` has these numbers, and any other folder lies on 8:1.
        fn look<T>(&self, state: (u32, u32), mounts: &str, ask: impl Fn(&Kernel<'_>) -> T) -> T {
            let file = self.0.path().join("mountinfo");
            write(&file, mounts).unwrap();
            let look = |path: &Path| {
                let (major, minor) = match path.starts_with("/state") {
                    true => state,
                    false => (8, 1),
                };
                Ok(Seen {
                    is_encrypted: false,
                    major,
                    minor,
                })
            };
            ask(&Kernel {
                sys: self.0.path().join("sys"),
                mounts: file,
                swaps: self.0.path().join("swaps"),
                look: &look,
            })
        }

        fn swap(&self, swaps: &str, groups: &str) -> Encryption {
            let head = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
            write(self.0.path().join("swaps"), format!("{head}{swaps}")).unwrap();
            self.look((8, 16), "", |kernel| kernel.swap(groups))
        }
    }

    const LUKS: &[(&str, &str)] = &[("dm/uuid", "CRYPT-LUKS2-0123-state\n")];
    const LVM: &[(&str, &str)] = &[("dm/uuid", "LVM-abc\n")];
    const PART: &[(&str, &str)] = &[("partition", "1\n")];

    fn is_yes(told: &Encryption) -> bool {
        matches!(told, Encryption::Yes(_))
    }

    #[test]
    fn what_lies_on_devices_is_encrypted_where_all_of_them_are() {
        let plain = Tree::new();
        plain
            .device("8:0", "sda", &[], &[])
            .device("8:1", "sda/sda1", PART, &[]);
        assert_eq!(
            plain.told((8, 1), ""),
            Encryption::No("sda is a plain device".to_owned())
        );

        let luks = Tree::new();
        luks.device("8:0", "sda", &[], &[])
            .device("253:0", "dm-0", LUKS, &["sda"]);
        assert_eq!(luks.told((253, 0), ""), Encryption::Yes("LUKS2".to_owned()));
        luks.device("253:1", "dm-1", LVM, &["dm-0"]);
        assert!(is_yes(&luks.told((253, 1), "")), "a volume of LVM on LUKS");
        luks.device("8:16", "sdb", &[], &[]);
        luks.device("9:0", "md0", &[], &["dm-0", "sdb"]);
        assert!(
            matches!(luks.told((9, 0), ""), Encryption::No(_)),
            "RAID with a plain leaf"
        );
        luks.device("253:2", "dm-2", LUKS, &["sdb"]);
        luks.device("9:1", "md1", &[], &["dm-0", "dm-2"]);
        assert!(is_yes(&luks.told((9, 1), "")), "RAID of LUKS");
        luks.device("253:9", "dm-9", LUKS, &["md0"]);
        assert!(is_yes(&luks.told((253, 9), "")), "LUKS on a RAID of whatever");

        for uuid in [
            "CRYPT-VERITY-1-a",
            "CRYPT-INTEGRITY-1-a",
            "LVM-CRYPT-LUKS2-",
            "crypt-luks2-",
        ] {
            let other = Tree::new();
            other.device("8:0", "sda", &[], &[]);
            other.device("253:0", "dm-0", &[("dm/uuid", uuid)], &["sda"]);
            assert!(matches!(other.told((253, 0), ""), Encryption::No(_)), "{uuid}");
        }
        assert!(
            matches!(plain.told((259, 7), ""), Encryption::Unknown(_)),
            "not in /sys"
        );
    }

    #[test]
    fn a_file_that_is_a_disk_lies_where_it_lies() {
        let tree = Tree::new();
        tree.device("8:1", "dm-0", LUKS, &[]);
        tree.device(
            "7:0",
            "loop0",
            &[("loop/backing_file", "/images/disk.img\n")],
            &[],
        );
        assert!(is_yes(&tree.told((7, 0), "")));
        let plain = Tree::new();
        plain.device("8:1", "sda", &[], &[]);
        plain.device(
            "7:0",
            "loop0",
            &[("loop/backing_file", "/images/disk.img\n")],
            &[],
        );
        assert!(matches!(plain.told((7, 0), ""), Encryption::No(_)));
        // A circle ends.
        let circle = Tree::new();
        circle.device(
            "8:1",
            "loop1",
            &[("loop/backing_file", "/images/disk.img\n")],
            &[],
        );
        assert!(matches!(circle.told((8, 1), ""), Encryption::Unknown(_)));
    }

    #[test]
    fn file_systems_without_a_device_are_told_by_their_mount() {
        let line = |at: &str, kind: &str, source: &str| {
            format!("36 35 0:41 / {at} rw,noatime shared:1 - {kind} {source} rw\n")
        };
        let tree = Tree::new();
        tree.device("253:0", "dm-0", LUKS, &[])
            .device("8:16", "sdb", &[], &[])
            .btrfs(&["dm-0"]);
        let btrfs = line("/state", "btrfs", "/dev/dm-0");
        assert!(is_yes(
            &tree.told((0, 41), &(line("/", "overlay", "overlay") + &btrfs))
        ));
        tree.btrfs(&["sdb"]);
        assert!(
            matches!(tree.told((0, 41), &btrfs), Encryption::No(_)),
            "of two devices one is plain"
        );
        assert!(is_yes(
            &tree.told((0, 41), &line("/", "fuse.gocryptfs", "/vault"))
        ));
        for kind in ["overlay", "zfs", "nfs4", "tmpfs", "cifs"] {
            let told = tree.told((0, 41), &line("/", kind, "x"));
            assert!(matches!(told, Encryption::Unknown(_)), "{kind}: {told:?}");
        }
        assert!(matches!(tree.told((0, 41), ""), Encryption::Unknown(_)));
        let hidden = line("/", "fuse.gocryptfs", "a") + &line("/state", "tmpfs", "b");
        assert!(matches!(tree.told((0, 41), &hidden), Encryption::Unknown(_)));
        let blank = Mount::read(r"36 35 0:41 / /my\040state rw - btrfs /dev/my\040disk rw").unwrap();
        assert_eq!(
            (blank.at.to_str(), blank.source.to_str()),
            (Some("/my state"), Some("/dev/my disk"))
        );
    }

    #[test]
    fn a_directory_of_fscrypt_is_encrypted_whatever_it_lies_on() {
        let look = |_: &Path| {
            Ok(Seen {
                is_encrypted: true,
                major: 8,
                minor: 1,
            })
        };
        let kernel = Kernel {
            sys: "/nowhere".into(),
            mounts: "/nowhere".into(),
            swaps: "/nowhere".into(),
            look: &look,
        };
        assert_eq!(
            kernel.file(Path::new("/state"), 0),
            Encryption::Yes("fscrypt".to_owned())
        );
        let gone = encryption(Path::new("/nowhere/at/all"));
        assert!(matches!(gone, Encryption::Unknown(_)), "{gone:?}");
    }

    /// A plain disk `sda` with a partition, and LUKS on another disk.
    fn machine() -> Tree {
        let tree = Tree::new();
        tree.device("8:0", "sda", &[], &[])
            .device("8:1", "sda/sda1", PART, &[])
            .device("8:16", "sdb", &[], &[])
            .device("253:0", "dm-0", LUKS, &["sdb"])
            .device("253:1", "dm-1", LVM, &["dm-0"])
            .device("252:0", "zram0", &[("backing_dev", "none\n")], &[])
            .device("252:1", "zram1", &[("backing_dev", "/dev/sda1\n")], &[])
            .device("252:2", "zram2", &[("backing_dev", "/dev/dm-0\n")], &[]);
        for name in ["sda/sda1", "dm-0", "dm-1", "zram0", "zram1", "zram2"] {
            tree.named(name);
        }
        tree
    }

    #[test]
    fn swap_is_encrypted_where_all_of_it_is() {
        let (yes, no, unknown) = ("yes", "no", "unknown");
        let tree = machine();
        for (swaps, expected) in [
            ("", yes),
            ("/dev/dm-0 partition 999 0 -2\n", yes),
            ("/dev/dm-1\t\tpartition\t999\t0\t-2\n", yes),
            ("/dev/sda1 partition 999 0 -2\n", no),
            ("/dev/dm-0 partition 999 0 -2\n/dev/sda1 partition 999 0 -3\n", no),
            ("/dev/sdz9 partition 999 0 -2\n", unknown),
            (
                "/dev/sdz9 partition 999 0 -2\n/dev/dm-0 partition 999 0 -3\n",
                unknown,
            ),
            ("/dev/sdz9 partition 999 0 -2\n/dev/sda1 partition 999 0 -3\n", no),
            ("/swap\\040file file 999 0 -2\n", no),
            ("/state/swap file 999 0 -2\n", no),
            ("/dev/zram0 partition 999 0 100\n", yes),
            ("/dev/zram1 partition 999 0 100\n", no),
            ("/dev/zram2 partition 999 0 100\n", yes),
        ] {
            let told = tree.swap(swaps, "0::/user.slice\n");
            let found = match &told {
                Encryption::Yes(_) => yes,
                Encryption::No(_) => no,
                Encryption::Unknown(_) => unknown,
            };
            assert_eq!(found, expected, "{swaps}: {told:?}");
        }
        write(tree.0.path().join("swaps"), "head\n/state/swap file 9 0 -2\n").unwrap();
        assert!(is_yes(&tree.look((253, 1), "", |kernel| kernel.swap(""))));
        std::fs::remove_file(tree.0.path().join("swaps")).unwrap();
        let hidden = tree.look((8, 1), "", |kernel| kernel.swap(""));
        assert!(matches!(hidden, Encryption::Unknown(_)), "{hidden:?}");
    }

    #[test]
    fn what_is_kept_from_swapping_is_not_swapped_out() {
        const PLAIN: &str = "/dev/sda1 partition 999 0 -2\n";
        let tree = machine();
        let groups = tree.0.path().join("sys/fs/cgroup/system.slice/storesync.service");
        create_dir_all(&groups).unwrap();
        let of = "12:memory:/elsewhere\n0::/system.slice/storesync.service\n";
        let set = |dir: &Path, most: &str| write(dir.join("memory.swap.max"), most).unwrap();
        assert!(!is_yes(&tree.swap(PLAIN, of)), "nothing is said");
        set(&groups, "max\n");
        assert!(!is_yes(&tree.swap(PLAIN, of)));
        set(&groups, "0\n");
        assert!(is_yes(&tree.swap(PLAIN, of)));
        assert!(!is_yes(&tree.swap(PLAIN, "0::/user.slice\n")), "another's");
        set(&groups, "1048576\n");
        assert!(!is_yes(&tree.swap(PLAIN, of)));
        set(groups.parent().unwrap(), "0\n");
        assert!(is_yes(&tree.swap(PLAIN, of)), "of the groups around it");
    }

    #[test]
    fn what_is_spilled_is_in_memory_or_on_a_volume() {
        let tree = machine();
        let mounts = "1 1 0:41 / /state rw - tmpfs tmpfs rw\n2 1 0:42 / /state/net rw - nfs4 a:/b rw\n";
        let told = |numbers, dir: &str, stated: Option<&str>| {
            tree.look(numbers, mounts, |kernel| {
                kernel.spilled(Path::new(dir), stated.map(Path::new))
            })
        };
        assert!(is_yes(&told((0, 41), "/state", None)), "in memory");
        assert!(matches!(
            told((0, 42), "/state/net", None),
            Encryption::Unknown(_)
        ));
        assert!(is_yes(&told((253, 1), "/state", None)));
        assert!(matches!(told((253, 1), "/tmp", None), Encryption::No(_)));
        assert!(
            matches!(told((253, 1), "/tmp", Some("/state")), Encryption::No(_)),
            "another volume than the stated one"
        );
        assert!(is_yes(&told((253, 1), "/tmp", Some("/var"))), "the stated one");
        assert!(
            is_yes(&told((0, 42), "/state/net", Some("/state"))),
            "a stated one that tells nothing"
        );
    }

    #[test]
    fn a_folder_that_is_not_there_lies_where_it_would_be_made() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("a/b/c");
        assert_eq!(existing(&inner), dir.path());
        assert_eq!(existing(dir.path()), dir.path());
        assert_eq!(existing(Path::new("not-there/at-all")), Path::new("."));
        assert_eq!(existing(Path::new("/not-there/at-all")), Path::new("/"));
    }
}
