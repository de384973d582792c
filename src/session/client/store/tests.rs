//! The state file: what it says, who may have it, and what may be wrong with it.

use super::text::{self, Fault};
use super::*;
use crate::session::credential::{BootId, Secret, SessionId};
use std::os::unix::fs::{PermissionsExt, symlink};

fn kept(output: u64) -> Kept {
    let ticket = Ticket { id: SessionId([0x1d; 16]), secret: Secret::new([7; 32]), boot: BootId([0xb0; 16]) };
    let progress = Progress { epoch: 3, output, input: 20, queued: b"l\0s\r\n".to_vec(), ended: false, fresh: true };
    Kept { server: "localhost:9009".to_owned(), ticket, progress, remote_echo: true }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn text() -> String {
    String::from_utf8(text::write(&kept(10)).to_vec()).unwrap()
}

#[test]
fn what_is_written_is_read() {
    assert_eq!(text::read(text().as_bytes()), Ok(kept(10)));
    let mut other = kept(u64::MAX);
    (other.progress.queued, other.progress.ended, other.remote_echo) = (vec![], true, false);
    assert_eq!(text::read(&text::write(&other)), Ok(other));
}

#[test]
fn a_text_that_is_not_whole_is_damaged() {
    let text = text();
    for length in 0..text.len() {
        assert!(text::read(&text.as_bytes()[..length]).is_err(), "{length}");
    }
    assert_eq!(text::read(b"\xff"), Err(Fault::Head));
    assert_eq!(text::read(format!("{text}\n").as_bytes()), Err(Fault::Tail));
    assert_eq!(text::read(text.replace(" 1\n", " 2\n").as_bytes()), Err(Fault::Head));
    let wrong = [
        ("output 10", "output -1", Fault::Line { number: 6, name: "output" }),
        ("sks_", "sks-", Fault::Line { number: 12, name: "secret" }),
        ("fresh yes", "fresh maybe", Fault::Line { number: 9, name: "fresh" }),
        ("queued 6", "queued +6", Fault::Line { number: 11, name: "queued" }),
        ("id 1d", "id xd", Fault::Line { number: 3, name: "id" }),
    ];
    for (right, wrong, fault) in wrong {
        assert_eq!(text::read(text.replace(right, wrong).as_bytes()), Err(fault));
    }
}

#[test]
fn a_file_is_replaced_as_a_whole_and_read_again() {
    let folder = folder();
    let path = folder.path().join("state");
    let (mut store, found) = Store::open(&path, false).unwrap();
    assert!(found.is_none());
    store.save(&kept(10)).unwrap();
    store.save(&kept(11)).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left of the old one");
    assert_eq!(Store::look(&path).unwrap(), Some(kept(11)), "whoever uses it");
    drop(store);
    let (store, found) = Store::open(&path, false).unwrap();
    assert_eq!(found, Some(kept(11)));
    store.remove().unwrap();
    assert!(!path.exists());
    assert_eq!(Store::look(&path).unwrap(), None);
}

#[test]
fn one_that_is_empty_goes_with_its_client() {
    let folder = folder();
    let path = folder.path().join("state");
    drop(Store::open(&path, false).unwrap());
    assert!(!path.exists());
    let (mut store, _) = Store::open(&path, false).unwrap();
    store.save(&kept(1)).unwrap();
    drop(store);
    // One that is not wanted stays until there is another one.
    let (store, found) = Store::open(&path, true).unwrap();
    assert!(found.is_none());
    drop(store);
    assert_eq!(Store::look(&path).unwrap(), Some(kept(1)));
}

#[test]
fn one_client_at_a_time_has_it_also_after_it_was_replaced() {
    let folder = folder();
    let path = folder.path().join("state");
    let (mut store, _) = Store::open(&path, false).unwrap();
    for _ in 0..3 {
        assert!(matches!(Store::open(&path, false), Err(StoreError::InUse { .. })));
        assert!(matches!(Store::open(&path, true), Err(StoreError::InUse { .. })));
        store.save(&kept(1)).unwrap();
    }
    drop(store);
    drop(Store::open(&path, false).unwrap());
}

#[test]
fn many_who_come_at_once_are_one_and_refusals() {
    let folder = folder();
    let path = folder.path().join("state");
    let holders = std::sync::atomic::AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for round in 0..50 {
                    if let Ok((mut store, _)) = Store::open(&path, false) {
                        assert_eq!(holders.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                        store.save(&kept(round)).unwrap();
                        assert_eq!(holders.fetch_sub(1, std::sync::atomic::Ordering::SeqCst), 1);
                        match round % 2 {
                            0 => store.remove().unwrap(),
                            _ => drop(store),
                        }
                    }
                }
            });
        }
    });
}

#[test]
fn what_others_could_have_read_or_written_is_refused() {
    let folder = folder();
    let path = folder.path().join("state");
    std::fs::write(&path, text()).unwrap();
    for mode in [0o644, 0o660, 0o601] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let error = Store::open(&path, false).unwrap_err();
        assert!(matches!(&error, StoreError::Readable { mode: found, .. } if *found == mode), "{error}");
        assert!(matches!(Store::open(&path, true), Err(StoreError::Readable { .. })), "nor is it replaced");
        assert!(matches!(Store::look(&path), Err(StoreError::Readable { .. })));
    }
    let link = folder.path().join("link");
    symlink(&path, &link).unwrap();
    for odd in [link.as_path(), folder.path(), Path::new("/dev/null")] {
        let error = Store::open(odd, false).unwrap_err();
        assert!(matches!(error, StoreError::Irregular { .. } | StoreError::Foreign { .. }), "{error}");
    }
    let nowhere = folder.path().join("no/where");
    assert!(matches!(Store::open(&nowhere, false), Err(StoreError::Make { .. })));
}

#[test]
fn one_that_is_damaged_is_told_and_may_be_replaced() {
    let folder = folder();
    let path = folder.path().join("state");
    let damaged = [b"nonsense".to_vec(), text().into_bytes()[..100].to_vec(), vec![b'x'; LONGEST as usize + 1]];
    for bytes in damaged {
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let error = Store::open(&path, false).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
        assert!(!crate::chain(&error).contains("sks_"), "it may hold a secret");
        let (mut store, _) = Store::open(&path, true).unwrap();
        store.save(&kept(1)).unwrap();
        drop(store);
        assert_eq!(Store::look(&path).unwrap(), Some(kept(1)));
    }
}

#[test]
fn what_cannot_be_written_leaves_what_was_there() {
    let folder = folder();
    let path = folder.path().join("state");
    let (mut store, _) = Store::open(&path, false).unwrap();
    store.save(&kept(1)).unwrap();
    // A directory cannot be taken away as a file can.
    std::fs::create_dir(folder.path().join("state.new")).unwrap();
    let error = store.save(&kept(2)).unwrap_err();
    assert!(matches!(error, StoreError::Write { .. }), "{error}");
    assert_eq!(Store::look(&path).unwrap(), Some(kept(1)));
    std::fs::remove_dir(folder.path().join("state.new")).unwrap();
    store.save(&kept(3)).unwrap();
    assert_eq!(Store::look(&path).unwrap(), Some(kept(3)));
}

#[test]
fn each_server_has_its_own_name() {
    assert_eq!(default_name("localhost:9009"), "localhost:9009.session");
    assert_eq!(default_name("unix:/run/s%1"), "unix:%2frun%2fs%251.session");
    for odd in ["..", "", &"x".repeat(300), "a\nb/c"] {
        let name = default_name(odd);
        assert!(!name.contains(['/', '\n']) && name.len() < 256 && Path::new(&name).file_name().is_some(), "{name}");
    }
    assert_ne!(default_name(&"x".repeat(300)), default_name(&"x".repeat(301)));
}
