//! Daemons started as a supervisor starts them: with descriptors and variables.

use super::{Supervisor, eventually};
use socket_protector_client::wire::FromChild;
use std::path::Path;
use std::process::{Command, Stdio};

/// The listener as 3 and the channel as 9, and then `exec`, which keeps the process number that LISTEN_PID names.
pub(crate) const LISTENER: &str = "LISTEN_FDS=1 LISTEN_PID=$$ LISTEN_FDNAMES=web SOCKET_PROTECTOR_CHANNEL=9 \
                                   exec \"$0\" \"$@\" 3<&0 9<&1 0</dev/null 1>&2";
pub(crate) const CONNECTIONS: &str = "SOCKET_PROTECTOR_CHANNEL=9 exec \"$0\" \"$@\" 9<&1 1>&2";

/// The daemon, to be started by a shell line whose standard input and output are these descriptors.
pub(crate) fn daemon(program: &Path, line: &str, input: impl Into<Stdio>, output: impl Into<Stdio>) -> Command {
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", line])
        .arg(program)
        .envs([("SOCKET_PROTECTOR_GENERATION", "12"), ("SOCKET_PROTECTOR_NAME", "web.1")])
        .stdin(input)
        .stdout(output)
        .stderr(Stdio::piped());
    command
}

pub(crate) fn says_hello_and_ready(supervisor: &Supervisor) {
    let next = || {
        let mut heard = None;
        eventually(|| {
            heard = supervisor.heard();
            heard.is_some()
        });
        heard
    };
    assert_eq!(next(), Some(FromChild::Hello { version: 1 }));
    assert_eq!(next(), Some(FromChild::Ready));
}
