//! Whether what is written to a directory is encrypted on its disk, as far as the kernel of this machine tells.
//!
//! Seen are fscrypt directories, dm-crypt below any stack of devices (LVM, RAID, loop files), btrfs of several devices, and
//! file systems in user space that encrypt. All that a file may lie on has to be encrypted: one plain disk of a RAID is
//! one too many. What encrypts out of the kernel's sight (a provider's volume, a disk by itself, a hypervisor, a file
//! server) cannot be seen, and neither can ZFS's own encryption without its tools: the operator may state it, and it is
//! shown as stated.

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

/// Where a file lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    is_encrypted: bool,
    major: u32,
    minor: u32,
}

/// Where the kernel tells of files, devices and mounts.
struct Kernel<'k> {
    sys: PathBuf,
    mounts: PathBuf,
    look: &'k dyn Fn(&Path) -> io::Result<Seen>,
}

/// What is known of a directory that is there.
pub fn encryption(dir: &Path) -> Encryption {
    let kernel = Kernel {
        sys: "/sys".into(),
        mounts: "/proc/self/mountinfo".into(),
        look: &look,
    };
    kernel.file(dir, 0)
}

fn look(path: &Path) -> io::Result<Seen> {
    let told = rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::BASIC_STATS)?;
    Ok(Seen {
        is_encrypted: told.stx_attributes.bits() & ENCRYPTED != 0,
        major: told.stx_dev_major,
        minor: told.stx_dev_minor,
    })
}

impl Kernel<'_> {
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
        self.all(below.iter(), depth)
    }

    fn all<'p>(&self, blocks: impl Iterator<Item = &'p PathBuf>, depth: usize) -> Encryption {
        let mut found = None;
        for block in blocks {
            match (self.block(block, depth + 1), &found) {
                (no @ Encryption::No(_), _) => return no,
                (unknown @ Encryption::Unknown(_), _) => found = Some(unknown),
                (yes, None) => found = Some(yes),
                (_, Some(_)) => {}
            }
        }
        found.unwrap_or_else(|| Encryption::Unknown("no device is named".to_owned()))
    }

    /// By the file system that is mounted where a path lies.
    fn mount(&self, path: &Path, depth: usize) -> Encryption {
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let mounts = std::fs::read_to_string(&self.mounts).unwrap_or_default();
        let mounts = mounts.lines().filter_map(Mount::read);
        let holds = |mount: &Mount| path.starts_with(&mount.at);
        // Of two at one place the later hides the earlier.
        let Some(mount) = mounts
            .filter(holds)
            .max_by_key(|mount| mount.at.components().count())
        else {
            return Encryption::Unknown("what is mounted there is not told".to_owned());
        };
        match mount.kind.as_str() {
            kind if ENCRYPTING.contains(&kind) => Encryption::Yes(mount.kind),
            "btrfs" => self.btrfs(&mount, depth),
            kind => Encryption::Unknown(format!("{kind} does not tell what it lies on")),
        }
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
                return self.all(devices.iter(), depth);
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

        fn btrfs(&self, devices: &[&str]) -> &Self {
            let system = self.0.path().join("sys/fs/btrfs/0f-1/devices");
            create_dir_all(&system).unwrap();
            for device in devices {
                symlink(self.path(device), system.join(device)).unwrap();
            }
            self
        }

        /// Of `/state`, which has these numbers; any other folder lies on 8:1.
        fn told(&self, (major, minor): (u32, u32), mounts: &str) -> Encryption {
            let file = self.0.path().join("mountinfo");
            write(&file, mounts).unwrap();
            let look = |path: &Path| {
                let (major, minor) = match path == Path::new("/state") {
                    true => (major, minor),
                    false => (8, 1),
                };
                Ok(Seen {
                    is_encrypted: false,
                    major,
                    minor,
                })
            };
            let kernel = Kernel {
                sys: self.0.path().join("sys"),
                mounts: file,
                look: &look,
            };
            kernel.file(Path::new("/state"), 0)
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
            look: &look,
        };
        assert_eq!(
            kernel.file(Path::new("/state"), 0),
            Encryption::Yes("fscrypt".to_owned())
        );
        let gone = encryption(Path::new("/nowhere/at/all"));
        assert!(matches!(gone, Encryption::Unknown(_)), "{gone:?}");
    }
}
