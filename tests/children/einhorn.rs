//! Children that speak to einhorn's socket, the good one and the others.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitCode};
use std::time::Duration;

use super::{echo, plain};

fn connect() -> UnixStream {
    let stream = UnixStream::connect(std::env::var_os("EINHORN_SOCK_PATH").unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// What comes until the other side closes.
fn answer(mut stream: &UnixStream) -> String {
    let mut answer = String::new();
    match stream.read_to_string(&mut answer) {
        Ok(_) => {}
        // It closed with something unread.
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("not let go: {error}"),
    }
    answer
}

/// Sends the ACK, as einhorn's libraries do: it is neither answered nor kept.
pub(super) fn acknowledge(form: &str) -> ExitCode {
    let pid = std::process::id();
    let line = match form {
        "json" => format!("{{\"command\":\"worker:ack\",\"pid\":{pid}}}\n"),
        "yaml" => format!("---%0Acommand: worker:ack%0Apid: {pid}%0A\n"),
        _ => panic!("no such form: {form}"),
    };
    let mut stream = connect();
    stream.write_all(line.as_bytes()).unwrap();
    assert_eq!(answer(&stream), "");
    ExitCode::SUCCESS
}

/// A worker that knows einhorn's descriptors and ACK, and TERM, and nothing else.
pub(super) fn run(start: Duration, form: &str, from: &str) -> ExitCode {
    assert_eq!(std::env::var("EINHORN_MASTER_PID").unwrap(), nix::unistd::getppid().to_string());
    std::thread::sleep(start);
    match from {
        "itself" => drop(acknowledge(form)),
        "descendant" => {
            let mut helper = Command::new(std::env::current_exe().unwrap());
            assert!(helper.args(["child", "einhorn_ack", form]).status().unwrap().success());
        }
        _ => panic!("no such sender: {from}"),
    }
    plain::run()
}

/// Says something else than ACK, then serves.
pub(super) fn says(what: &str) -> ExitCode {
    let mut kept = Vec::new();
    let say = |bytes: &[u8]| {
        let mut stream = connect();
        // It may be let go before it has said all.
        let _ = stream.write_all(bytes);
        answer(&stream)
    };
    match what {
        "ping" => assert_eq!(say(b"{\"command\":\"worker:ping\",\"pid\":1,\"request_id\":\"a\"}\n"), ""),
        "pieces" => {
            let mut stream = connect();
            for byte in b"{\"command\":\"state\"}\n" {
                stream.write_all(&[*byte]).unwrap();
            }
            assert!(answer(&stream).contains("no such command: state"));
        }
        "twice" => {
            for _ in 0..2 {
                acknowledge("json");
            }
        }
        "state" => {
            let answer = say(b"{\"command\":\"state\",\"id\":7}\n");
            assert!(answer.starts_with("---%0Amessage: \"no such command: state"), "{answer}");
            assert!(answer.ends_with("%0Arequest_id: 7%0A\n"), "{answer}");
        }
        "nonsense" => assert!(say(b"\xff\xfe\x00\n").contains("this is no message")),
        "long" => assert!(say(&[b'x'; 100_000]).contains("this is no message")),
        "half" => {
            let mut stream = connect();
            stream.write_all(b"{\"command\":").unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            assert_eq!(answer(&stream), "");
        }
        "flood" => (0..2000).for_each(|_| drop(connect())),
        "nothing" => kept.extend((0..200).map(|_| connect())),
        _ => panic!("no such thing to say: {what}"),
    }
    echo::run()
}
