//! The daemon of the page for users, and the examples.

use super::*;

/// The program of docs/c.md.
#[test]
fn the_page_for_users_has_a_daemon_that_works() {
    let page = std::fs::read_to_string(client_lib().join("../docs/c.md")).unwrap();
    let (_, rest) = page.split_once("```c\n").unwrap();
    let source = Path::new(env!("CARGO_TARGET_TMPDIR")).join("page.c");
    std::fs::write(&source, rest.split_once("```").unwrap().0).unwrap();
    let Some(program) = program(&source, Standard::C11, &["-lsocket_protector"]) else {
        return;
    };
    let (supervisor, channel) = Supervisor::new();
    let daemon = Daemon::on(channel, &program, "");
    hears(&supervisor, FromChild::Hello { version: 1 });
    let mut answer = String::new();
    pass(&supervisor, 1)[0].read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "Hello, World\n");
    drop(supervisor);
    daemon.ends("");
    let outside = Command::new(program).output().unwrap();
    assert_eq!(outside.status.code(), Some(1));
    assert_eq!(outside.stderr, b"no supervisor: No such file or directory\n");
}

fn echoes(client: &mut TcpStream, text: &str) {
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    client.write_all(text.as_bytes()).unwrap();
    let mut echoed = vec![0; text.len()];
    client.read_exact(&mut echoed).unwrap();
    assert_eq!(echoed, text.as_bytes());
}

#[test]
fn the_examples_echo_and_drain() {
    let examples = client_lib().join("examples/c");
    let poll = program(&examples.join("echo_poll.c"), Standard::C11, &["-lsocket_protector"]);
    let class = program(&examples.join("echo_class.cpp"), Standard::Cpp17, &["-lsocket_protector"]);
    for program in poll.into_iter().chain(class) {
        let (supervisor, channel) = Supervisor::new();
        let mut daemon = Daemon::on(channel, &program, "4321");
        hears(&supervisor, FromChild::Hello { version: 1 });
        hears(&supervisor, FromChild::Ready);
        let mut clients = pass(&supervisor, 16);
        clients.iter_mut().for_each(|client| echoes(client, "before"));
        drop(supervisor);
        clients.iter_mut().for_each(|client| echoes(client, "after the drain"));
        assert!(daemon.child.try_wait().unwrap().is_none());
        drop(clients);
        daemon.ends("");
    }
}
