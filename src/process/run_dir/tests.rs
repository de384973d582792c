//! With real directories; the environment is made up.

use std::error::Error;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;
use std::thread;

use super::*;

fn chosen(option: Option<&str>, user: u32, variables: &[(&str, &str)]) -> PathBuf {
    let variable = |name: &str| {
        let found = variables.iter().find(|(variable, _)| *variable == name);
        found.map(|(_, value)| OsString::from(value))
    };
    let choice = RunDir::choose(option.map(Path::new), Uid::from_raw(user), variable);
    choice.expect("there is something to go by").0
}

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").mode() & 0o7777
}

fn own_mode() -> u32 {
    if Uid::effective().is_root() { 0o711 } else { 0o700 }
}

fn refusal(path: &Path) -> String {
    let error = RunDir(path.to_owned()).prepare().expect_err("it is no run directory");
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

#[test]
fn the_first_that_is_given_is_chosen() {
    let ours = ("SOCKET_PROTECTOR_RUN_DIR", "/ours");
    let xdg = ("XDG_RUNTIME_DIR", "/xdg");
    let home = ("HOME", "/home/u");
    assert_eq!(chosen(Some("/option"), 1000, &[ours, xdg, home]), Path::new("/option"));
    assert_eq!(chosen(Some("/option"), 0, &[ours]), Path::new("/option"));
    assert_eq!(chosen(None, 1000, &[ours, xdg, home]), Path::new("/ours"));
    assert_eq!(chosen(None, 0, &[ours, xdg, home]), Path::new("/ours"));
    assert_eq!(chosen(None, 0, &[xdg, home]), Path::new("/run/socket-protector"));
    assert_eq!(chosen(None, 1000, &[xdg, home]), Path::new("/xdg/socket-protector"));
    assert_eq!(chosen(None, 1000, &[home]), Path::new("/home/u/.socket-protector"));
}

#[test]
fn variables_without_meaning_are_passed_over() {
    let home = ("HOME", "/home/u");
    let empty = [("SOCKET_PROTECTOR_RUN_DIR", ""), ("XDG_RUNTIME_DIR", ""), home];
    assert_eq!(chosen(None, 1000, &empty), Path::new("/home/u/.socket-protector"));
    let relative = [("XDG_RUNTIME_DIR", "run"), home];
    assert_eq!(chosen(None, 1000, &relative), Path::new("/home/u/.socket-protector"));
}

#[test]
fn without_a_variable_the_user_database_knows_the_home() {
    let user = Uid::effective();
    if let Ok(Some(entry)) = User::from_uid(user)
        && !user.is_root()
    {
        assert_eq!(chosen(None, user.as_raw(), &[]), entry.dir.join(".socket-protector"));
    }
    // No user has the number that stands for none.
    let nobody = RunDir::choose(None, Uid::from_raw(u32::MAX), |_| None);
    assert!(matches!(nobody, Err(RunDirError::Nowhere)));
}

#[test]
fn relative_paths_are_the_callers() {
    let here = std::env::current_dir().expect("there is one");
    assert_eq!(chosen(Some("run"), 1000, &[]), here.join("run"));
    assert_eq!(chosen(None, 1000, &[("SOCKET_PROTECTOR_RUN_DIR", "run")]), here.join("run"));
    assert!(matches!(RunDir::choose(Some(Path::new("")), Uid::from_raw(0), |_| None), Err(RunDirError::Find { .. })));
}

#[test]
fn it_is_made_with_its_parents() {
    let base = temporary();
    let run_dir = RunDir(base.path().join("a/b/c"));
    run_dir.prepare().expect("the base is ours");
    for path in ["a", "a/b", "a/b/c"] {
        assert_eq!(mode(&base.path().join(path)), own_mode());
    }
    run_dir.prepare().expect("it is ours now");
}

#[test]
fn many_may_make_it_at_once() {
    for _ in 0..50 {
        let base = temporary();
        let run_dir = RunDir(base.path().join("a/b"));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| run_dir.prepare().expect("the base is ours"));
            }
        });
    }
}

#[test]
fn an_existing_one_stays_as_it_is() {
    let base = temporary();
    for kept in [0o700, 0o711, 0o750, 0o755] {
        set_mode(base.path(), kept);
        RunDir(base.path().to_owned()).prepare().expect("it is ours");
        assert_eq!(mode(base.path()), kept);
    }
}

#[test]
fn one_that_others_may_write_to_is_refused() {
    let base = temporary();
    for (loose, shown) in [(0o720, "0720"), (0o702, "0702"), (0o777, "0777"), (0o1777, "1777")] {
        set_mode(base.path(), loose);
        let path = base.path().display();
        assert_eq!(
            refusal(base.path()),
            format!("the run directory {path} may be written by others (mode {shown}, expected 0700)")
        );
    }
}

#[test]
fn one_of_another_user_is_refused() {
    let base = temporary();
    let other = Uid::from_raw(Uid::effective().as_raw() + 1);
    let error = RunDir(base.path().to_owned()).examine(other).expect_err("it is not theirs");
    let (path, owner) = (base.path().display(), Uid::effective());
    assert_eq!(error.to_string(), format!("the run directory {path} belongs to uid {owner}, and we are uid {other}"));
}

#[test]
fn what_is_no_directory_is_refused() {
    let base = temporary();
    let file = base.path().join("file");
    fs::write(&file, "").expect("the base is ours");
    assert_eq!(refusal(&file), format!("the run directory {} is not a directory", file.display()));
    let below = file.join("run");
    let reason = "Not a directory (os error 20)";
    assert_eq!(refusal(&below), format!("cannot create the run directory {}: {reason}", below.display()));

    let (real, link, nowhere) = (base.path().join("real"), base.path().join("link"), base.path().join("nowhere"));
    fs::create_dir(&real).expect("the base is ours");
    symlink(&real, &link).expect("the base is ours");
    symlink("missing", &nowhere).expect("the base is ours");
    for link in [&link, &nowhere] {
        assert_eq!(refusal(link), format!("the run directory {} is not a directory", link.display()));
    }
    // A link on the way is the administrator's, as /var/run is.
    RunDir(link.join("run")).prepare().expect("the link leads to a directory of ours");
    assert!(refusal(&nowhere.join("run")).ends_with("No such file or directory (os error 2)"));
}

#[test]
fn a_socket_path_has_a_limit() {
    let name = |text: &str| text.parse::<InstanceName>().expect("a name");
    let run_dir = RunDir(PathBuf::from("/run/socket-protector"));
    assert_eq!(run_dir.socket_path(&name("web")).expect("short"), Path::new("/run/socket-protector/web.sock"));
    let directory = |length: usize| RunDir(PathBuf::from(format!("/{}", "d".repeat(length - 1))));
    // "/web.sock" is nine bytes long.
    assert_eq!(directory(98).socket_path(&name("web")).expect("it fits").as_os_str().len(), 107);
    let error = directory(99).socket_path(&name("web")).expect_err("one too many").to_string();
    assert!(error.ends_with("/web.sock is 108 bytes long; at most 107 are possible"), "{error}");
    // "/web.child/notify" is 17 bytes long.
    assert_eq!(directory(90).child_socket_path(&name("web"), "notify").expect("it fits").as_os_str().len(), 107);
    let error = directory(91).child_socket_path(&name("web"), "notify").expect_err("one too many").to_string();
    assert!(error.ends_with("/web.child/notify is 108 bytes long; at most 107 are possible"), "{error}");
}
