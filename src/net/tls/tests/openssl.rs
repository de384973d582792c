//! The same against OpenSSL, where its command is installed.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use super::*;

/// The command with its pipes; killed and reaped at the end. `None`: not installed.
struct Openssl {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Openssl {
    fn run(arguments: &[&str]) -> Option<Self> {
        let mut command = Command::new("openssl");
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().ok()?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        Some(Self { child, input, output })
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line
    }
}

impl Drop for Openssl {
    fn drop(&mut self) {
        drop(self.child.kill());
        self.child.wait().unwrap();
    }
}

/// A blocking socket with a deadline, which a session takes for one that blocks.
fn patient(socket: &TcpStream) {
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
}

#[test]
fn openssl_as_a_client_is_served() {
    let folder = Folder::new();
    let server = ServerIdentity::load(&folder.server_files()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let root = folder.path("authorities/root.pem");
    for version in ["-tls1_2", "-tls1_3"] {
        let arguments = ["s_client", version, "-quiet", "-verify_return_error", "-verify_hostname", "localhost"];
        let more = ["-servername", "localhost", "-CAfile", &root, "-connect", &address];
        let Some(mut client) = Openssl::run(&[&arguments[..], &more].concat()) else { return };
        let (mut socket, _) = listener.accept().unwrap();
        patient(&socket);
        let mut session = server.session().unwrap();
        let mut scratch = vec![0; 20_000];
        assert_eq!(session.handshake(&mut socket, &mut scratch).unwrap(), Handshake::Done);
        assert_eq!(session.server_name(), Some("localhost"));
        client.input.as_mut().unwrap().write_all(b"a question\n").unwrap();
        let mut plain = [0; 1000];
        let got = session.read(&mut socket, &mut plain, &mut scratch).unwrap();
        assert_eq!(got, Got::Plain { length: 11, more: false });
        assert_eq!(&plain[..11], b"a question\n");
        assert_eq!(session.write(&mut socket, b"an answer\n").unwrap(), 10);
        assert_eq!(client.line(), "an answer\n");
        assert!(session.close_notify(&mut socket).unwrap());
        assert_eq!(client.line(), "", "the client ends with us");
        assert_eq!(client.child.wait().unwrap().code(), Some(0));
    }
}

/// A server that wants our certificate, turns each line round, and ends by the book or not.
#[test]
fn openssl_as_a_server_is_believed() {
    let folder = Folder::new();
    let files = folder.server_files();
    let own = folder.files("client", &folder.authority.make("a client"));
    let tls = ClientTls { cert_key: own.cert_key, private_key: Some(own.private_key), ..folder.client_tls() };
    let client = client_of(&tls, "localhost").unwrap();
    let root = folder.path("authorities/root.pem");
    let certificate = files.cert_key.unwrap();
    for version in ["-tls1_2", "-tls1_3"] {
        let arguments = ["s_server", version, "-accept", "127.0.0.1:0", "-rev", "-naccept", "1"];
        let pair = ["-key", &files.private_key, "-cert", &certificate];
        let verify = ["-Verify", "2", "-verify_return_error", "-CAfile", &root];
        let Some(mut server) = Openssl::run(&[&arguments[..], &pair, &verify].concat()) else { return };
        let address = loop {
            let line = server.line();
            assert!(!line.is_empty(), "openssl has ended");
            if let Some(address) = line.strip_prefix("ACCEPT ") {
                break address.trim().to_owned();
            }
        };
        let mut socket = TcpStream::connect(address).unwrap();
        patient(&socket);
        let mut session = client.session().unwrap();
        let mut scratch = vec![0; 20_000];
        assert_eq!(session.handshake(&mut socket, &mut scratch).unwrap(), Handshake::Done);
        assert_eq!(session.write(&mut socket, b"stressed\n").unwrap(), 9);
        let mut plain = [0; 1000];
        let Got::Plain { length, .. } = session.read(&mut socket, &mut plain, &mut scratch).unwrap() else {
            panic!("no answer");
        };
        assert_eq!(&plain[..length], b"desserts\n");
        // Killed, it says no goodbye.
        server.child.kill().unwrap();
        let error = session.read(&mut socket, &mut plain, &mut scratch).unwrap_err();
        assert!(matches!(error, SessionError::Truncated), "{error:?}");
    }
}

/// The command in docs/tls.md for a certificate that needs no authority.
#[test]
fn a_certificate_as_the_page_makes_it_is_believed() {
    let folder = Folder::new();
    let page = include_str!("../../../../docs/tls.md");
    let start = page.find("openssl req -x509 -newkey").unwrap();
    let end = page[start..].find("\n\n").unwrap();
    let command = page[start..start + end].replace("\\\n", " ").replace("db.example.org", "localhost");
    let words: Vec<&str> = command.split_whitespace().skip(1).collect();
    let made = Command::new("openssl").args(words).current_dir(folder.path("authorities")).output();
    let Ok(made) = made else { return };
    assert!(made.status.success(), "{made:?}");
    fs::remove_file(folder.path("authorities/root.pem")).unwrap();
    let files = ServerFiles {
        private_key: folder.path("authorities/key.pem"),
        cert_key: Some(folder.path("authorities/crt.pem")),
        ..folder.server_files()
    };
    connected(&ServerIdentity::load(&files).unwrap(), &folder.client());
}
