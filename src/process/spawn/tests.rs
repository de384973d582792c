use super::{Exit, Launch, Process, SpawnError, signal_leader, spawn};
use nix::sys::signal::Signal;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

fn words(command: &[&str]) -> Vec<OsString> {
    command.iter().map(OsString::from).collect()
}

fn launch(command: &[OsString], descriptors: &[(BorrowedFd<'_>, RawFd)]) -> Result<Process, SpawnError> {
    spawn(&Launch {
        command,
        environment: &[("PATH".into(), "/usr/bin:/bin".into())],
        listen_pid: true,
        descriptors,
        directory: None,
        open_files: None,
        death_signal: None,
        session: false,
    })
}

fn wait(process: &Process) -> Exit {
    let descriptor = process.exit_descriptor().unwrap();
    let mut poll = [nix::poll::PollFd::new(descriptor.as_fd(), nix::poll::PollFlags::POLLIN)];
    nix::poll::poll(&mut poll, 10_000_u16).unwrap();
    process.exit().unwrap()
}

/// Runs a shell line and gives its output.
fn output(line: &str) -> String {
    let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
    let process = launch(&words(&["sh", "-c", line]), &[(write.as_fd(), 1)]).unwrap();
    drop::<OwnedFd>(write);
    let mut text = String::new();
    File::from(read).read_to_string(&mut text).unwrap();
    process.reap();
    text.trim_end().to_string()
}

#[test]
fn the_child_knows_its_own_pid_and_leads_its_group() {
    let text = output("echo $$ $LISTEN_PID; cut -d' ' -f5 /proc/$$/stat");
    let mut numbers = text.split_whitespace();
    let pid = numbers.next().unwrap();
    assert!(numbers.all(|number| number == pid), "{text}");
}

#[test]
fn exit_status_and_signal_are_told_apart_and_keep_the_pid() {
    let process = launch(&words(&["sh", "-c", "exit 7"]), &[]).unwrap();
    assert_eq!(wait(&process), Exit::Status(7));
    assert_eq!(process.exit(), Some(Exit::Status(7)), "looking does not reap");
    process.reap();
    let process = launch(&words(&["sleep", "100"]), &[]).unwrap();
    assert_eq!(process.exit(), None);
    signal_leader(&process, Signal::SIGTERM);
    assert_eq!(wait(&process), Exit::Signal(Signal::SIGTERM));
    process.reap();
}

#[test]
fn what_cannot_run_is_told_by_kind() {
    let directory = tempfile::tempdir().unwrap();
    let plain = directory.path().join("plain");
    std::fs::write(&plain, "no program").unwrap();
    let of = |program: &str| launch(&words(&[program]), &[]).unwrap_err();
    assert!(matches!(of("/nonexistent/program"), SpawnError::NotFound { .. }));
    assert!(matches!(of("surely-no-such-command"), SpawnError::NotFound { .. }));
    assert!(matches!(of(""), SpawnError::NotFound { .. }));
    assert!(matches!(of(directory.path().to_str().unwrap()), SpawnError::NotExecutable { .. }));
    assert!(matches!(of(plain.to_str().unwrap()), SpawnError::NotExecutable { .. }));
    std::fs::set_permissions(&plain, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    assert!(matches!(of(plain.to_str().unwrap()), SpawnError::NotExecutable { .. }), "no shell for an unknown format");
    std::fs::write(&plain, "#!/nonexistent/interpreter\n").unwrap();
    assert!(matches!(of(plain.to_str().unwrap()), SpawnError::NotExecutable { .. }));
    assert!(matches!(of("a\0b"), SpawnError::Nul { .. }));
}

#[test]
fn descriptors_arrive_under_their_numbers_even_crosswise_and_no_other_does() {
    crate::process::stray::deal_with(crate::process::stray::Stray::CloseOnExec);
    let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
    let null = super::null_device().unwrap();
    let (a, b) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
    let pairs = [(a.as_fd(), 4), (b.as_fd(), 3), (write.as_fd(), 1), (null.as_fd(), 0), (null.as_fd(), 2)];
    let process = launch(&words(&["ls", "/proc/self/fd"]), &pairs).unwrap();
    drop::<OwnedFd>(write);
    let mut text = String::new();
    File::from(read).read_to_string(&mut text).unwrap();
    process.reap();
    // ls opens the directory as 5.
    assert_eq!(text.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3", "4", "5"]);
}

#[test]
fn signals_are_at_their_default_and_none_is_blocked() {
    let text = output("cat /proc/self/status | grep -E '^Sig(Blk|Ign|Cgt)' | cut -f2 | tr '\\n' ' '");
    assert_eq!(text, "0000000000000000 0000000000000000 0000000000000000");
}
