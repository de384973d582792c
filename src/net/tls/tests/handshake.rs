//! How a session begins, in pieces and with whoever is at the other end.

use super::*;

#[test]
fn a_handshake_may_come_byte_by_byte() {
    let folder = Folder::new();
    let files = ServerFiles { client_cas: Some(folder.path("authorities")), ..folder.server_files() };
    let own = folder.files("client", &folder.authority.make("a client"));
    let tls = ClientTls { cert_key: own.cert_key, private_key: Some(own.private_key), ..folder.client_tls() };
    let client = client_of(&tls, "localhost").unwrap();
    for (mine, theirs) in [(1, 1), (1, usize::MAX), (usize::MAX, 1), (7, 1000)] {
        let (mut server, mut client) = ends(&ServerIdentity::load(&files).unwrap(), &client);
        server.socket.most = mine;
        client.socket.most = theirs;
        assert!(server.session.handshaking() && client.session.handshaking());
        let (one, other) = shake(&mut server, &mut client);
        one.unwrap();
        other.unwrap();
        assert!(!server.session.handshaking() && !client.session.handshaking());
        assert_eq!(client.write(b"to the server").unwrap(), 13);
        assert_eq!(server.write(b"to the client").unwrap(), 13);
        assert_eq!(server.read_all().unwrap(), (b"to the server".to_vec(), false));
        assert_eq!(client.read_all().unwrap(), (b"to the client".to_vec(), false));
    }
}

/// `handshake` reports that it is blocked each time that the other side has to go on, and never waits.
#[test]
fn a_handshake_that_waits_for_the_peer_is_blocked() {
    let folder = Folder::new();
    let (mut server, mut client) = ends(&folder.server(), &folder.client());
    let go = |end: &mut End| end.session.handshake(&mut end.socket, &mut end.scratch).unwrap();
    assert_eq!(go(&mut server), Handshake::Blocked);
    assert_eq!(go(&mut client), Handshake::Blocked);
    assert_eq!(go(&mut client), Handshake::Blocked);
    assert_eq!(go(&mut server), Handshake::Blocked);
    assert_eq!(go(&mut client), Handshake::Done);
    assert_eq!(go(&mut server), Handshake::Done);
    assert_eq!(go(&mut server), Handshake::Done);
}

#[test]
fn what_comes_right_behind_the_handshake_is_read_without_the_socket() {
    let folder = Folder::new();
    let (mut server, mut client) = ends(&folder.server(), &folder.client());
    let text: Vec<u8> = (0..40_000_u32).flat_map(u32::to_le_bytes).take(9000).collect();
    let go = |end: &mut End| end.session.handshake(&mut end.socket, &mut end.scratch).unwrap();
    go(&mut client);
    go(&mut server);
    assert_eq!(go(&mut client), Handshake::Done);
    assert_eq!(client.write(&text).unwrap(), text.len());
    assert!(client.close_notify());
    // One read takes the end of the handshake, all of the text, and its end.
    assert_eq!(go(&mut server), Handshake::Done);
    let mut nothing = Portioned { socket: sockets().0, most: usize::MAX, written: 0 };
    let mut plain = [0; 1000];
    let mut all: Vec<u8> = Vec::new();
    loop {
        match server.session.read(&mut nothing, &mut plain, &mut server.scratch).unwrap() {
            Got::Plain { length, more } => {
                all.extend(&plain[..length]);
                assert!(more, "the end is still to come");
            }
            Got::Closed => break,
            Got::Blocked => panic!("the socket was needed after {} bytes", all.len()),
        }
    }
    assert!(all == text, "{} bytes", all.len());
}

#[test]
fn tls_1_2_and_1_3_are_spoken() {
    let folder = Folder::new();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let (here, there) = sockets();
        let mut server = End::new(folder.server().session().unwrap(), here);
        let mut client = End::new(other_client(&folder, &[version], &[]), there);
        let (one, other) = shake(&mut server, &mut client);
        one.unwrap();
        other.unwrap();
    }
}

#[test]
fn the_first_protocol_of_the_server_that_the_client_knows_is_agreed_on() {
    let folder = Folder::new();
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let cases: [(&[&str], &[&str], Option<&str>); 5] = [
        (&["h2", "http/1.1"], &["http/1.1", "h2"], Some("h2")),
        (&["h2", "http/1.1"], &["http/1.1"], Some("http/1.1")),
        (&["h2"], &[], None),
        (&[], &["h2"], None),
        (&[], &[], None),
    ];
    for (mine, theirs, agreed) in cases {
        let files = ServerFiles { alpn: names(mine), ..folder.server_files() };
        let tls = ClientTls { alpn: names(theirs), ..folder.client_tls() };
        let client = client_of(&tls, "localhost").unwrap();
        let (server, client) = connected(&ServerIdentity::load(&files).unwrap(), &client);
        for end in [server, client] {
            assert_eq!(end.session.alpn(), agreed.map(str::as_bytes), "{mine:?} {theirs:?}");
        }
    }
}

#[test]
fn without_a_common_protocol_there_is_no_session() {
    let folder = Folder::new();
    let files = ServerFiles { alpn: vec!["h2".to_owned()], ..folder.server_files() };
    let tls = ClientTls { alpn: vec!["imap".to_owned()], ..folder.client_tls() };
    let client = client_of(&tls, "localhost").unwrap();
    let (mut server, mut client) = ends(&ServerIdentity::load(&files).unwrap(), &client);
    let (server, client) = shake(&mut server, &mut client);
    assert_eq!(said(&server.unwrap_err()), "the TLS handshake failed: peer doesn't support any known protocol");
    let alert = "the TLS handshake failed: received fatal alert: NoApplicationProtocol";
    assert_eq!(said(&client.unwrap_err()), alert);
}

/// What a server that gets these bytes says, and what it sends.
fn answer_to(folder: &Folder, bytes: &[u8]) -> (String, Vec<u8>) {
    let (here, mut there) = sockets();
    let mut server = End::new(folder.server().session().unwrap(), here);
    there.write_all(bytes).unwrap();
    let error = server.session.handshake(&mut server.socket, &mut server.scratch).unwrap_err();
    server.leave();
    let mut answer = Vec::new();
    there.read_to_end(&mut answer).unwrap();
    (said(&error), answer)
}

#[test]
fn plain_http_gets_an_alert_and_a_clear_word() {
    let folder = Folder::new();
    for text in
        ["GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "SSH-2.0-OpenSSH_9.6\r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 1 1\r\n"]
    {
        let (error, answer) = answer_to(&folder, text.as_bytes());
        assert!(error.starts_with("the peer does not speak TLS: "), "{error}");
        // An alert, fatal. RFC 8446, sections 5.1 and 6.
        assert_eq!((answer.len(), answer[0], answer[5]), (7, 21, 2), "{answer:?}");
    }
}

#[test]
fn a_server_that_speaks_no_tls_is_told_from_one_that_does() {
    let folder = Folder::new();
    let (mut here, there) = sockets();
    let mut client = End::new(folder.client().session().unwrap(), there);
    here.write_all(b"220 mail.example.org ESMTP\r\n").unwrap();
    let error = client.session.handshake(&mut client.socket, &mut client.scratch).unwrap_err();
    assert!(matches!(error, SessionError::NotTls { .. }), "{error:?}");
}

#[test]
fn a_damaged_hello_gets_an_alert() {
    let folder = Folder::new();
    // A handshake record whose message is cut short by its own lengths.
    let (error, answer) = answer_to(&folder, b"\x16\x03\x01\x00\x08\x01\x00\x00\x04\x03\x03\xff\xff");
    assert!(error.starts_with("the TLS handshake failed: "), "{error}");
    assert_eq!((answer[0], answer[5]), (21, 2), "{answer:?}");
}

#[test]
fn a_peer_that_leaves_during_the_handshake_has_left() {
    let folder = Folder::new();
    let (mut server, mut client) = ends(&folder.server(), &folder.client());
    client.session.handshake(&mut client.socket, &mut client.scratch).unwrap();
    client.leave();
    let error = server.session.handshake(&mut server.socket, &mut server.scratch).unwrap_err();
    // Our answer cannot be sent, or can and is not answered.
    assert!(matches!(error, SessionError::Left | SessionError::Io { .. }), "{error:?}");

    let (here, there) = sockets();
    drop(there);
    let mut server = End::new(folder.server().session().unwrap(), here);
    let error = server.session.handshake(&mut server.socket, &mut server.scratch).unwrap_err();
    assert_eq!(said(&error), "the peer left during the TLS handshake");
}

/// The peer says why and closes; our own flight then meets a closed socket, and must not hide the reason.
#[test]
fn the_reason_of_a_peer_that_is_gone_is_heard() {
    let folder = Folder::new();
    let (mut here, there) = sockets();
    let mut client = End::new(folder.client().session().unwrap(), there);
    // A fatal alert: handshake_failure.
    here.write_all(b"\x15\x03\x03\x00\x02\x02\x28").unwrap();
    drop(here);
    let error = client.session.handshake(&mut client.socket, &mut client.scratch).unwrap_err();
    assert_eq!(said(&error), "the TLS handshake failed: received fatal alert: HandshakeFailure");
}

/// An end by the book, which anybody on the way could have sent.
#[test]
fn an_end_within_the_handshake_is_no_session() {
    let folder = Folder::new();
    let (mut here, there) = sockets();
    let mut client = End::new(folder.client().session().unwrap(), there);
    here.write_all(b"\x15\x03\x03\x00\x02\x01\x00").unwrap();
    let mut go = || client.session.handshake(&mut client.socket, &mut client.scratch);
    assert_eq!(go().unwrap(), Handshake::Blocked);
    here.shutdown(Shutdown::Write).unwrap();
    assert!(matches!(go(), Err(SessionError::Left)));
}

#[test]
fn a_failed_session_stays_failed() {
    let folder = Folder::new();
    let (here, mut there) = sockets();
    let mut server = End::new(folder.server().session().unwrap(), here);
    there.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert!(server.session.handshake(&mut server.socket, &mut server.scratch).is_err());
    there.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert!(server.session.handshake(&mut server.socket, &mut server.scratch).is_err());
    assert!(server.write(b"x").is_err());
}

/// Identities are shared by loops, and a connection may be handed from one loop to another.
#[test]
fn identities_are_shared_and_sessions_travel() {
    fn shared<T: Send + Sync>(_: &T) {}
    fn travels<T: Send>(_: T) {}
    let folder = Folder::new();
    let (server, client) = (folder.server(), folder.client());
    shared(&server);
    shared(&client);
    travels(server.session().unwrap());
    travels(client.session().unwrap());
}
