//! The state file where disks, directories and other people are not as they should be.

use std::os::unix::fs::PermissionsExt;

use super::place::{Destination, Place, read};
use crate::harness::island::{ISLAND, on_an_island, shell};
use crate::harness::{eventually, trials, trials_with};

trials![
    a_file_that_cannot_be_used_is_told_and_nothing_is_connected,
    a_file_is_for_its_owner_alone,
    a_session_is_kept_nowhere_else,
];
trials_with![
    ISLAND => a_full_disk_is_told_and_nothing_is_lost,
    ISLAND => a_full_disk_does_not_end_one_who_stays,
];

fn a_file_that_cannot_be_used_is_told_and_nothing_is_connected() {
    let destination = Destination::new();
    let place = Place::new(&destination.endpoint());
    let set = |mode| std::fs::set_permissions(place.state(), std::fs::Permissions::from_mode(mode)).unwrap();
    let refused = |words: &str, hint: &str| {
        for ways in [&[][..], &["--follow"]] {
            let mut client = place.client(ways);
            let _ = client.try_say(b"\n");
            client.end().expect(1).says(words).says(hint);
        }
    };
    place.scene.write("state", "nonsense");
    set(0o600);
    refused("is damaged: it does not begin with", "hint: --new");
    set(0o644);
    refused("is open to others (mode 0644, expected 0600)", "hint: ");
    std::fs::remove_file(place.state()).unwrap();
    std::os::unix::fs::symlink("elsewhere", place.state()).unwrap();
    refused("is not a regular file", "");
    std::fs::remove_file(place.state()).unwrap();
    std::fs::create_dir(place.state()).unwrap();
    refused("is not a regular file", "");
    let mut client = place.start(place.command(place.port, "no/such/state", &[]));
    let _ = client.try_say(b"\n");
    client.end().expect(1).says("cannot create the state file").says("No such file or directory");
    assert!(destination.is_alone());
}

fn a_file_is_for_its_owner_alone() {
    let destination = Destination::new();
    let place = Place::new(&destination.endpoint());
    let shell = "umask 0; exec \"$@\"";
    let client = place.command(place.port, "state", &[]);
    let mut command = std::process::Command::new("sh");
    command.args(["-c", shell, "sh"]).arg(client.get_program()).args(client.get_args());
    place.scene.mark(&mut command);
    let mut client = place.start(command);
    client.say("\n");
    client.end().expect(0);
    assert_eq!(std::fs::metadata(place.state()).unwrap().permissions().mode() & 0o7777, 0o600);
}

fn a_session_is_kept_nowhere_else() {
    let destination = Destination::new();
    let place = Place::new(&destination.endpoint());
    place.poll("\n").expect(0);
    let text = std::fs::read_to_string(place.state()).unwrap();
    let secret = text.lines().find_map(|line| line.strip_prefix("secret ")).unwrap().to_owned();
    let files = |path: std::path::PathBuf| std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let found = files(place.scene.path(".")).chain(files(place.scene.path("run")));
    let found: Vec<_> = found.filter(|path| path.is_file()).collect();
    for file in found.iter().filter(|file| !file.ends_with("state")) {
        assert!(!String::from_utf8_lossy(&std::fs::read(file).unwrap()).contains(&secret), "{}", file.display());
    }
}

/// A folder with room for few files, and that room taken or not.
fn disk(place: &Place) -> (std::path::PathBuf, impl Fn(bool)) {
    let folder = place.scene.path("disk");
    std::fs::create_dir(&folder).unwrap();
    shell(&format!("mount -t tmpfs -o size=64k,mode=700 tmpfs {}", folder.display()));
    let stone = folder.join("stone");
    let fill = move |full: bool| {
        if full {
            shell(&format!("! dd if=/dev/zero of={} bs=4k 2> /dev/null", stone.display()));
        } else {
            std::fs::remove_file(&stone).unwrap();
        }
    };
    (folder, fill)
}

fn a_full_disk_is_told_and_nothing_is_lost() {
    on_an_island(|| {
        let destination = Destination::new();
        let place = Place::new(&destination.endpoint());
        let (folder, fill) = disk(&place);
        fill(true);
        // A new session whose secret cannot be kept is none.
        let ended = place.poll_by(place.port, "disk/state", "line\n").expect(1);
        ended.says("cannot write the state file").says("No space left on device");
        assert!(destination.is_alone());
        fill(false);
        place.poll_by(place.port, "disk/state", "one\n").expect(0);
        let mut stream = destination.accept();
        assert_eq!(read(&mut stream, 5), "one\r\n");
        let kept = std::fs::read(folder.join("state")).unwrap();
        fill(true);
        let ended = place.poll_by(place.port, "disk/state", "two\n").expect(1);
        ended.says("cannot write the state file").says("No space left on device");
        assert_eq!(std::fs::read(folder.join("state")).unwrap(), kept, "the one that was there is whole");
        fill(false);
        place.poll_by(place.port, "disk/state", "three\n").expect(0);
        assert_eq!(read(&mut stream, 7), "three\r\n", "what was told not to be kept was not sent");
    });
}

fn a_full_disk_does_not_end_one_who_stays() {
    on_an_island(|| {
        let destination = Destination::new();
        let place = Place::new(&destination.endpoint());
        let (folder, fill) = disk(&place);
        let mut client = place.start(place.command(place.port, "disk/state", &["--follow"]));
        let mut stream = destination.accept();
        fill(true);
        std::io::Write::write_all(&mut stream, b"hello\n").unwrap();
        client.prints("hello\n");
        client.tells("No space left on device (os error 28); the session goes on");
        client.say("still here\n");
        assert_eq!(read(&mut stream, 11), "still here\n");
        fill(false);
        eventually("it is kept after all", || {
            std::fs::read_to_string(folder.join("state")).is_ok_and(|text| text.contains("output 6\ninput 11\n"))
        });
        client.kill();
    });
}
