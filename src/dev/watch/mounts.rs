//! File systems on which others change files without our system knowing: network shares, and directories of the host of a
//! virtual machine. They are known by their type, which is in /proc/self/mountinfo, since all that are made of FUSE, virtiofs
//! among them, have one number in statfs(2). See proc_pid_mountinfo(5).

use nix::sys::stat::{major, minor};
use nix::sys::statfs;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const HOST: &str = "a directory of the host of a virtual machine";
const SMB: &str = "a share of SMB";
const VIRTUALBOX: &str = "a shared folder of VirtualBox";
const VMWARE: &str = "a shared folder of VMware";
const CEPH: &str = "a share of Ceph";

/// Types, and what they are called. Most of what is made of FUSE is not here: an encrypted directory, another system's disk, or
/// several disks that look like one are changed by us alone, and the kernel tells.
const REMOTE: [(&str, &str); 28] = [
    ("nfs", "NFS"),
    ("nfs4", "NFS"),
    ("cifs", SMB),
    ("smb3", SMB),
    ("afs", "AFS"),
    ("ceph", CEPH),
    ("lustre", "Lustre"),
    ("9p", HOST),
    ("virtiofs", HOST),
    ("drvfs", HOST),
    // Docker Desktop, in its various ways.
    ("fakeowner", HOST),
    ("osxfs", HOST),
    ("fuse.osxfs", HOST),
    ("fuse.grpcfuse", HOST),
    ("prl_fs", "a shared folder of Parallels"),
    ("vboxsf", VIRTUALBOX),
    ("vmhgfs", VMWARE),
    ("fuse.vmhgfs-fuse", VMWARE),
    ("fuse.sshfs", "sshfs"),
    ("fuse.gvfsd-fuse", "GVfs"),
    ("fuse.rclone", "rclone"),
    ("fuse.s3fs", "S3"),
    ("fuse.gcsfuse", "Google Cloud Storage"),
    ("fuse.glusterfs", "a share of Gluster"),
    ("fuse.ceph", CEPH),
    ("fuse.ceph-fuse", CEPH),
    ("fuse.juicefs", "JuiceFS"),
    ("fuse.davfs", "WebDAV"),
];

/// What a directory is on, if it is on one of these.
pub(super) fn remote(directory: &Path) -> Option<&'static str> {
    match fs::read_to_string("/proc/self/mountinfo") {
        Ok(table) => {
            let directory = fs::canonicalize(directory).ok()?;
            let device = fs::metadata(&directory).ok()?.dev();
            named(mounted(&table, &directory, (major(device), minor(device)))?)
        }
        Err(_) => numbered(statfs::statfs(directory).ok()?.filesystem_type().0),
    }
}

fn named(kind: &str) -> Option<&'static str> {
    REMOTE.iter().find(|(name, _)| *name == kind).map(|(_, words)| *words)
}

/// By the number, which is less.
fn numbered(magic: i64) -> Option<&'static str> {
    const CIFS: i64 = 0xFF53_4D42;
    const SMB2: i64 = 0xFE53_4D42;
    const P9: i64 = 0x0102_1997;
    const VBOX: i64 = 0x786f_4256;
    const NFS: i64 = statfs::NFS_SUPER_MAGIC.0;
    let kind = match magic {
        NFS => "nfs",
        CIFS | SMB2 => "cifs",
        P9 => "9p",
        VBOX => "vboxsf",
        _ => return None,
    };
    named(kind)
}

/// The type of the file system that a path is on, by the table of mounts: of those above it the nearest, and of those at the same
/// place the last. Another one may have been mounted over it, so one with the path's own device comes before all others.
fn mounted<'a>(table: &'a str, path: &Path, device: (u64, u64)) -> Option<&'a str> {
    let device = format!("{}:{}", device.0, device.1);
    let above = table.lines().filter_map(mount).filter(|mount| path.starts_with(&mount.place));
    let nearest = above.max_by_key(|mount| (mount.device == device, mount.place.as_os_str().len()));
    nearest.map(|mount| mount.kind)
}

struct Mount<'a> {
    device: &'a str,
    place: PathBuf,
    kind: &'a str,
}

fn mount(line: &str) -> Option<Mount<'_>> {
    let (place, rest) = line.split_once(" - ")?;
    let mut fields = place.split(' ');
    let device = fields.nth(2)?;
    let place = unescaped(fields.nth(1)?);
    Some(Mount { device, place, kind: rest.split(' ').next()? })
}

/// A path of the table, in which blanks and a few others are `\040` and the like.
fn unescaped(text: &str) -> PathBuf {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..3).and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match code.filter(|_| *first == b'\\') {
            Some(code) => {
                bytes.push(code);
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::{HOST, VIRTUALBOX, mounted, named, numbered, remote};
    use std::path::Path;

    /// Lines as they are on various machines.
    const TABLE: &str = r"27 0 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw
30 27 0:40 / /work rw - virtiofs work rw
31 27 0:41 / /home/me/far\040away rw,nosuid shared:9 master:2 - fuse.sshfs me@far: rw
32 27 0:42 / /home/me/secret rw - fuse.gocryptfs /home/me/.secret rw
33 27 8:17 / /media/usb rw - fuseblk /dev/sdb1 rw
34 27 0:43 / /vagrant rw - vboxsf vagrant rw
35 27 0:44 / /host_mnt/Users rw - fakeowner /run/host_mark/Users rw
36 27 0:45 / /over rw - nfs4 server:/a rw
37 27 0:46 / /over rw - tmpfs tmpfs rw
38 27 0:47 / /hidden/deep rw - nfs server:/b rw
39 27 0:48 / /hidden rw - tmpfs tmpfs rw
garbage";

    #[test]
    fn what_others_change_unseen_is_told_from_what_is_changed_here() {
        let at = |path: &str, device| mounted(TABLE, Path::new(path), device).and_then(named);
        assert_eq!(at("/work/app", (0, 40)), Some(HOST));
        assert_eq!(at("/host_mnt/Users/me/app", (0, 44)), Some(HOST));
        assert_eq!(at("/home/me/far away/app", (0, 41)), Some("sshfs"));
        assert_eq!(at("/vagrant", (0, 43)), Some(VIRTUALBOX));
        for (path, device) in [
            ("/home/me", (254, 0)),
            ("/worker", (254, 0)),
            ("/home/me/secret/app", (0, 42)),
            ("/media/usb/app", (8, 17)),
            ("/over/app", (0, 46)),
            ("/hidden/deep/app", (0, 48)),
        ] {
            assert_eq!(at(path, device), None, "{path}");
        }
        // A file system whose directories have devices of their own.
        assert_eq!(at("/work/app", (0, 99)), Some(HOST));
        assert_eq!(at("/home/me", (0, 99)), None);
    }

    #[test]
    fn without_the_table_the_number_has_to_do() {
        assert_eq!([0x6969, 0x786f_4256, 0x0102_1997].map(numbered), [Some("NFS"), Some(VIRTUALBOX), Some(HOST)]);
        assert_eq!([0xEF53, 0x6573_5546].map(numbered), [None; 2], "of FUSE most is local");
    }

    #[test]
    fn a_directory_of_this_machine_is_local() {
        assert_eq!(remote(Path::new("/proc/self")), None);
    }
}
