//! With real files, real races and a real second process.

use std::error::Error;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Stdio};
use std::sync::Barrier;
use std::sync::atomic::AtomicUsize;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tempfile::TempDir;

use super::*;

/// Names the pid file that this binary, started again by a test, is to hold.
const HOLD: &str = "SOCKET_PROTECTOR_TEST_HOLD_PID_FILE";

/// The locked file, as another process gets it.
fn copy(file: &PidFile) -> OwnedFd {
    file.as_fd().try_clone_to_owned().expect("a descriptor")
}

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    fn with(content: &str) -> Self {
        let place = Self::new();
        fs::write(place.path(), content).expect("the directory is ours");
        place
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("x.pid")
    }

    fn create(&self) -> Result<PidFile, PidFileError> {
        PidFile::create(&self.path(), 0o644)
    }

    fn content(&self) -> String {
        fs::read_to_string(self.path()).expect("there is a pid file")
    }

    /// The names in the directory: no test leaves more than the pid file there.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).expect("the directory is there");
        let names = entries.map(|entry| entry.expect("it can be read").file_name().display().to_string());
        let mut names = names.collect::<Vec<_>>();
        names.sort();
        names
    }
}

fn own_line() -> String {
    format!("{}\n", process::id())
}

fn refusal(path: &Path) -> PidFileError {
    PidFile::create(path, 0o644).expect_err("no pid file can be there")
}

/// The error and its cause, as a user sees them.
fn rendered(error: &PidFileError) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

#[test]
fn it_holds_the_number_and_goes_with_its_owner() {
    let place = Place::new();
    let file = place.create().expect("nobody else is there");
    assert_eq!(place.content(), own_line());
    assert_eq!(fs::metadata(place.path()).expect("it is there").mode() & 0o7777, 0o644);
    assert_eq!(fs::metadata(place.path()).expect("it is there").nlink(), 1);
    assert_eq!(place.names(), ["x.pid"]);
    drop(file);
    assert!(place.names().is_empty());
    drop(place.create().expect("the first one is gone"));
}

#[test]
fn a_stale_file_is_no_obstacle() {
    // Of nobody, of a process that lives but does not hold it, of no meaning, of ours, of any size.
    for content in ["2147483647\n", "1\n", "", "garbage", &own_line(), &"9".repeat(100_000)] {
        let place = Place::with(content);
        let file = place.create().expect("nobody holds it");
        assert_eq!(place.content(), own_line());
        assert_eq!(place.names(), ["x.pid"]);
        drop(file);
        assert!(place.names().is_empty());
    }
}

#[test]
fn a_second_instance_is_refused_before_the_file_is_touched() {
    for place in [Place::new(), Place::with("1\n")] {
        let _first = place.create().expect("nobody else is there");
        let before = fs::metadata(place.path()).expect("it is there");
        let error = refusal(&place.path());
        let pid = process::id();
        assert_eq!(
            error.to_string(),
            format!("the pid file {} is held by a running process (pid {pid})", place.path().display())
        );
        let after = fs::metadata(place.path()).expect("it is there");
        let touched = |m: &fs::Metadata| (m.ino(), m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec());
        assert_eq!(touched(&before), touched(&after));
        assert_eq!(place.content(), own_line());
        assert_eq!(place.names(), ["x.pid"]);
    }
}

#[test]
fn a_number_without_a_process_is_not_reported() {
    for content in ["2147483647\n", "garbage\n", "-1\n", "0\n", ""] {
        let place = Place::with(content);
        let holder = Flock::lock(File::open(place.path()).expect("it is there"), FlockArg::LockExclusive);
        let _holder = holder.expect("nobody holds it");
        let error = refusal(&place.path());
        assert_eq!(error.to_string(), format!("the pid file {} is held by a running process", place.path().display()));
        assert_eq!(place.content(), content);
    }
}

/// Started by `a_second_process`: holds the file until it is killed. Without its variable it has nothing to do.
#[test]
fn hold_until_killed() {
    if let Some(path) = std::env::var_os(HOLD) {
        let _file = PidFile::create(path.as_ref(), 0o644).expect("nobody else is there");
        // Ends with the test that started us, too.
        drop(io::stdin().read(&mut [0]));
    }
}

fn second_process(path: &Path) -> Child {
    let name = format!("{}::hold_until_killed", module_path!().split_once("::").expect("a module of a crate").1);
    let mut child = Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", &name])
        .env(HOLD, path)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("this binary runs");
    let deadline = Instant::now() + Duration::from_secs(20);
    while !path.exists() {
        assert!(child.try_wait().expect("it is our child").is_none(), "the second process ended");
        assert!(Instant::now() < deadline, "the second process made no pid file");
        thread::sleep(Duration::from_millis(1));
    }
    child
}

#[test]
fn a_second_process_is_named_and_its_death_frees_the_file() {
    let place = Place::new();
    let mut child = second_process(&place.path());
    let error = refusal(&place.path());
    let holder = format!("is held by a running process (pid {})", child.id());
    assert!(error.to_string().ends_with(&holder), "{error}");
    child.kill().expect("it is our child");
    child.wait().expect("it is our child");
    assert_eq!(place.content(), format!("{}\n", child.id()));
    let _file = place.create().expect("the holder is dead");
    assert_eq!(place.content(), own_line());
}

#[test]
fn of_many_starters_exactly_one_wins() {
    const STARTERS: usize = 8;
    for round in 0..200 {
        let place = if round % 2 == 0 { Place::new() } else { Place::with("1\n") };
        let barrier = Barrier::new(STARTERS);
        let results: Vec<_> = thread::scope(|scope| {
            let start = || {
                barrier.wait();
                place.create()
            };
            let starters: Vec<_> = (0..STARTERS).map(|_| scope.spawn(start)).collect();
            starters.into_iter().map(|starter| starter.join().expect("it does not panic")).collect()
        });
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "round {round}: {results:?}");
        for error in results.iter().filter_map(|result| result.as_ref().err()) {
            assert!(matches!(error, PidFileError::Held { .. }), "round {round}: {}", rendered(error));
        }
        assert_eq!(place.content(), own_line());
        assert_eq!(place.names(), ["x.pid"]);
        drop(results);
        assert!(place.names().is_empty());
    }
}

#[test]
fn holders_that_come_and_go_are_never_two() {
    let place = Place::new();
    let (inside, wins) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let come_and_go = || {
        for _ in 0..300 {
            match place.create() {
                Ok(file) => {
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two holders");
                    wins.fetch_add(1, Ordering::SeqCst);
                    inside.fetch_sub(1, Ordering::SeqCst);
                    drop(file);
                }
                Err(PidFileError::Held { .. }) => {}
                Err(other) => panic!("{}", rendered(&other)),
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(come_and_go);
        }
    });
    assert!(wins.into_inner() > 0);
    assert!(place.names().is_empty());
}

#[test]
fn what_is_not_ours_any_more_stays() {
    let place = Place::new();
    let file = place.create().expect("nobody else is there");
    let other = place.0.path().join("other");
    fs::write(&other, "1\n").expect("the directory is ours");
    fs::rename(&other, place.path()).expect("the directory is ours");
    drop(file);
    assert_eq!(place.content(), "1\n");

    let file = place.create().expect("nobody holds the other file");
    fs::remove_file(place.path()).expect("the directory is ours");
    drop(file);
    assert!(place.names().is_empty());
}

#[test]
fn only_regular_files_are_replaced() {
    let place = Place::new();
    let path = place.path();
    let refused = |kind: &str| {
        let expected = format!("the pid file {} is {kind}; expected a regular file or none", path.display());
        assert_eq!(refusal(&path).to_string(), expected);
        assert_eq!(place.names().iter().filter(|name| *name != "target").count(), 1);
    };
    fs::create_dir(&path).expect("the directory is ours");
    refused("a directory");
    fs::remove_dir(&path).expect("it is empty");

    // Would wait for a writer for ever if it were opened carelessly.
    mkfifo(&path, Mode::S_IRWXU).expect("the directory is ours");
    refused("a pipe");
    fs::remove_file(&path).expect("the directory is ours");

    let target = place.0.path().join("target");
    symlink(&target, &path).expect("the directory is ours");
    refused("a symbolic link");
    fs::write(&target, "untouched").expect("the directory is ours");
    refused("a symbolic link");
    assert_eq!(fs::read_to_string(&target).expect("it is there"), "untouched");
    fs::remove_file(&path).expect("the directory is ours");

    let _socket = UnixListener::bind(&path).expect("the directory is ours");
    refused("a socket");
    assert!(rendered(&refusal(Path::new("/dev/null"))).contains("/dev/null is a device"));
    assert!(rendered(&refusal(Path::new("/"))).contains("/ is a directory"));
}

#[test]
fn impossible_places_are_named_with_the_reason() {
    let place = Place::with("1\n");
    let below_a_file = place.path().join("y.pid");
    assert_eq!(
        rendered(&refusal(&below_a_file)),
        format!("cannot read the pid file {}: Not a directory (os error 20)", below_a_file.display())
    );
    let nowhere = place.0.path().join("missing/y.pid");
    assert_eq!(
        rendered(&refusal(&nowhere)),
        format!("cannot create the pid file {}: No such file or directory (os error 2)", nowhere.display())
    );
    let long = place.0.path().join("n".repeat(256));
    assert!(rendered(&refusal(&long)).ends_with("File name too long (os error 36)"));
    assert!(rendered(&refusal(Path::new(""))).starts_with("cannot read the pid file : "));
    assert_eq!(place.names(), ["x.pid"]);
    // Where a pid file's name just fits, so does its temporary one.
    drop(PidFile::create(&place.0.path().join("n".repeat(255)), 0o644).expect("it fits"));
    assert_eq!(place.names(), ["x.pid"]);
}

#[test]
fn an_unwritable_directory_is_named_with_the_reason() {
    let place = Place::new();
    let directory = place.0.path();
    fs::set_permissions(directory, Permissions::from_mode(0o500)).expect("it is ours");
    // The superuser may write anyway, and then finds a file like any other.
    match place.create() {
        Ok(_) => assert!(nix::unistd::geteuid().is_root()),
        Err(error) => {
            assert!(rendered(&error).ends_with("x.pid: Permission denied (os error 13)"), "{}", rendered(&error))
        }
    }
    fs::set_permissions(directory, Permissions::from_mode(0o700)).expect("it is ours");
}

#[test]
fn names_in_use_are_passed_over() {
    let place = Place::new();
    let (first, _) = Temporary::create(&place.path()).expect("the directory is ours");
    let taken = first.0.as_ref().expect("it has a name").display().to_string();
    let (start, number) = taken.rsplit_once('-').expect("a number at the end");
    let number: u64 = number.parse().expect("a number at the end");
    for next in number + 1..number + 50 {
        fs::write(format!("{start}-{next}"), "left behind").expect("the directory is ours");
    }
    let file = place.create().expect("there are more names");
    assert_eq!(place.content(), own_line());
    drop((first, file));
    let touched = fs::read_dir(place.0.path()).expect("it is there").filter(|entry| {
        let path = entry.as_ref().expect("it can be read").path();
        fs::read_to_string(path).expect("a file") != "left behind"
    });
    assert_eq!(touched.count(), 0);
}

#[test]
fn a_relative_path_is_the_callers() {
    // In the directory of the sources, where tests are run; the file is gone again with the next line.
    let name = format!("target-{}.pid", process::id());
    let file = PidFile::create(Path::new(&name), 0o644).expect("the directory is ours");
    assert_eq!(file.path, std::env::current_dir().expect("there is one").join(&name));
    drop(file);
    assert!(!Path::new(&name).exists());
}

#[test]
fn a_file_passes_to_another_process_without_a_moment_without_a_lock() {
    let place = Place::new();
    let old = PidFile::create(&place.path(), 0o644).expect("nobody has it");
    // The same open file, as another process has it after it was sent.
    let shared = copy(&old);
    let prepared = Prepared::new(&place.path(), 0o644, shared).expect("the directory is ours");
    assert_eq!(place.names().len(), 2, "it is beside the other one");
    let mut new = prepared.take().expect("it was given to us");
    assert_eq!(place.names(), ["x.pid"]);
    assert!(matches!(PidFile::create(&place.path(), 0o644), Err(PidFileError::Held { .. })));
    old.leave();
    assert!(place.path().exists(), "who leaves takes nothing along");
    new.make_sure(0o644).expect("it is ours");
    fs::remove_file(place.path()).expect("it is there");
    new.make_sure(0o644).expect("nobody has it");
    assert!(matches!(PidFile::create(&place.path(), 0o644), Err(PidFileError::Held { .. })));
    drop(new);
    assert!(!place.path().exists());
}

#[test]
fn what_is_prepared_and_not_taken_changes_nothing() {
    let place = Place::new();
    let old = PidFile::create(&place.path(), 0o644).expect("nobody has it");
    drop(Prepared::new(&place.path(), 0o644, copy(&old)).expect("the directory is ours"));
    assert_eq!(place.names(), ["x.pid"]);
    // What one that was killed has left goes by the number of that process.
    fs::write(place.0.path().join(".pid-999999-0"), "").expect("the directory is ours");
    old.clean_up_after(Pid::from_raw(999_999));
    assert_eq!(place.names(), ["x.pid"]);
    // And what another one has left that it had started by its content; not what somebody is making.
    let beside = |name: &str, text: &str| {
        let path = place.0.path().join(name);
        fs::write(&path, text).expect("the directory is ours");
        path
    };
    beside(".pid-999998-0", "999998\n");
    beside(".pid-999997-0", "");
    let made = File::open(beside(".pid-999996-0", "999996\n")).expect("it is there");
    let made = Flock::lock(made, FlockArg::LockExclusiveNonblock).expect("nobody has it");
    old.clean_up_after(Pid::from_raw(999_999));
    assert_eq!(place.names(), [".pid-999996-0", ".pid-999997-0", "x.pid"]);
    drop(made);
    drop(old);
    // Somebody has removed the file, and another instance has come.
    let old = PidFile::create(&place.path(), 0o644).expect("nobody has it");
    let prepared = Prepared::new(&place.path(), 0o644, copy(&old));
    let prepared = prepared.expect("the directory is ours");
    fs::remove_file(place.path()).expect("it is there");
    let other = PidFile::create(&place.path(), 0o644).expect("nobody has it");
    assert!(matches!(prepared.take(), Err(PidFileError::Held { .. })));
    drop(other);
}
