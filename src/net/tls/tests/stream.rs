//! What is carried, and how it ends.

use super::*;

/// A socket that takes nothing and has nothing.
struct Shut;

impl Read for Shut {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}

impl Write for Shut {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn each_side_ends_its_own_direction() {
    let folder = Folder::new();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let (here, there) = sockets();
        let server = End::new(folder.server().session().unwrap(), here);
        ends_one_by_one(server, End::new(other_client(&folder, &[version], &[]), there));
    }
}

fn ends_one_by_one(mut server: End, mut client: End) {
    let (one, other) = shake(&mut server, &mut client);
    one.unwrap();
    other.unwrap();
    assert_eq!(client.write(b"request").unwrap(), 7);
    assert!(client.close_notify());
    client.socket.socket.shutdown(Shutdown::Write).unwrap();
    assert_eq!(server.read_all().unwrap(), (b"request".to_vec(), true));
    // The other direction goes on.
    assert_eq!(server.write(b"answer").unwrap(), 6);
    assert_eq!(client.read_all().unwrap(), (b"answer".to_vec(), false));
    assert_eq!(server.write(b" and more").unwrap(), 9);
    assert!(server.close_notify());
    server.socket.socket.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.read_all().unwrap(), (b" and more".to_vec(), true));
    // And stays ended.
    assert_eq!(client.read_all().unwrap(), (Vec::new(), true));
    assert_eq!(server.read_all().unwrap(), (Vec::new(), true));
}

#[test]
fn nothing_is_written_behind_our_own_end() {
    let folder = Folder::new();
    let (mut server, _client) = connected(&folder.server(), &folder.client());
    assert!(server.close_notify());
    assert_eq!(said(&server.write(b"late").unwrap_err()), "the connection failed: broken pipe");
}

#[test]
fn an_end_is_told_once_and_sent_once() {
    let folder = Folder::new();
    let (mut server, mut client) = connected(&folder.server(), &folder.client());
    client.read_all().unwrap();
    assert!(server.close_notify() && server.close_notify());
    let mut bytes = [0; 100];
    // One record: an alert in disguise.
    assert_eq!(client.socket.read(&mut bytes).unwrap(), 5 + 2 + 1 + 16);
}

#[test]
fn an_end_of_file_without_the_alert_is_no_end() {
    let folder = Folder::new();
    let (mut server, mut client) = connected(&folder.server(), &folder.client());
    assert_eq!(client.write(b"half of it").unwrap(), 10);
    client.leave();
    let mut plain = [0; 100];
    // What came is handed out first, however it is asked for.
    assert_eq!(server.read(&mut plain[..6]).unwrap(), Got::Plain { length: 6, more: true });
    assert_eq!(server.read(&mut plain[6..]).unwrap(), Got::Plain { length: 4, more: true });
    assert_eq!(&plain[..10], b"half of it");
    for _ in 0..2 {
        let error = server.read(&mut plain).unwrap_err();
        assert!(matches!(error, SessionError::Truncated), "{error:?}");
    }
}

#[test]
fn an_end_in_the_middle_of_a_record_is_no_end() {
    let folder = Folder::new();
    let (mut server, mut client) = connected(&folder.server(), &folder.client());
    client.socket.most = 30;
    client.write(&[7; 1000]).unwrap();
    let mut bytes = [0; 2000];
    let length = server.socket.socket.read(&mut bytes).unwrap();
    let (here, mut there) = sockets();
    there.write_all(&bytes[..length - 1]).unwrap();
    drop(there);
    server.socket.socket = here;
    assert!(matches!(server.read_all(), Err(SessionError::Truncated)));
}

#[test]
fn what_came_before_a_forged_record_is_handed_out() {
    let folder = Folder::new();
    let (mut server, mut client) = connected(&folder.server(), &folder.client());
    client.write(b"genuine").unwrap();
    client.socket.socket.write_all(b"\x17\x03\x03\x00\x20forged: thirty-two bytes of noise").unwrap();
    let mut plain = [0; 100];
    assert_eq!(server.read(&mut plain).unwrap(), Got::Plain { length: 7, more: true });
    assert_eq!(&plain[..7], b"genuine");
    let error = said(&server.read(&mut plain).unwrap_err());
    assert_eq!(error, "the TLS session failed: cannot decrypt peer's message");
    // And the forger hears of it.
    client.read_all().unwrap_err();
}

#[test]
fn the_sockets_own_error_is_told() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::from_raw_os_error(libc::ECONNRESET))
        }
    }
    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::from_raw_os_error(libc::EPIPE))
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let folder = Folder::new();
    let (mut server, _client) = connected(&folder.server(), &folder.client());
    let reset = server.session.read(&mut Broken, &mut [0; 10], &mut server.scratch).unwrap_err();
    assert_eq!(said(&reset), "the connection failed: Connection reset by peer (os error 104)");
    let broken = server.session.write(&mut Broken, b"x").unwrap_err();
    assert_eq!(said(&broken), "the connection failed: Broken pipe (os error 32)");
}

#[test]
fn what_is_held_for_a_peer_that_does_not_read_is_bounded() {
    let folder = Folder::new();
    let (mut server, mut client) = connected(&folder.server(), &folder.client());
    let text: Vec<u8> = (0..1_000_000_u32).map(|number| (number % 251) as u8).collect();
    let mut taken = server.session.write(&mut Shut, &text).unwrap();
    assert!(taken > 0 && taken <= 64 * 1024, "{taken}");
    assert!(server.session.wants_write());
    assert_eq!(server.session.write(&mut Shut, &text[taken..]).unwrap(), 0);
    assert!(!server.session.flush(&mut Shut).unwrap());
    // Nothing of it is lost when the socket goes on.
    let mut all: Vec<u8> = Vec::new();
    while all.len() < text.len() {
        let count = server.write(&text[taken..]).unwrap();
        taken += count;
        server.session.flush(&mut server.socket).unwrap();
        all.extend(client.read_all().unwrap().0);
    }
    assert!(all == text);
    assert!(!server.session.wants_write());
}

#[test]
fn an_end_waits_behind_what_is_held() {
    let folder = Folder::new();
    let (mut server, mut client) = connected(&folder.server(), &folder.client());
    let taken = server.session.write(&mut Shut, &[1; 100_000]).unwrap();
    assert!(!server.session.close_notify(&mut Shut).unwrap());
    assert!(server.session.flush(&mut server.socket).unwrap());
    let (all, closed) = client.read_all().unwrap();
    assert_eq!((all.len(), closed), (taken, true));
}

/// Nothing is read from the socket beyond the caller's buffers, so a fast peer fills the kernel's buffers and not ours.
#[test]
fn what_is_read_ahead_is_bounded_and_given_back() {
    let folder = Folder::new();
    let (mut server, mut client) = connected(&folder.server(), &folder.client());
    let text: Vec<u8> = (0..150_000_u32).map(|number| (number % 251) as u8).collect();
    let mut sent = 0;
    let mut all: Vec<u8> = Vec::new();
    let mut plain = [0; 10];
    // Room for ciphertext that shrinks and grows again: what is ahead then goes through it in several parts.
    for scratch in [40_000, 9_000, 5_000].into_iter().cycle() {
        if all.len() == text.len() {
            break;
        }
        sent += client.write(&text[sent..]).unwrap();
        match server.session.read(&mut server.socket, &mut plain, &mut vec![0; scratch]).unwrap() {
            Got::Plain { length, .. } => all.extend(&plain[..length]),
            Got::Closed | Got::Blocked => {}
        }
        assert!(server.session.ahead.len() <= 40_000);
    }
    assert!(all == text);
    assert_eq!(server.session.ahead.capacity(), 0);
}

#[test]
fn a_blocked_read_and_an_empty_socket_are_told() {
    let folder = Folder::new();
    let (mut server, mut client) = connected(&folder.server(), &folder.client());
    client.read_all().unwrap();
    let mut plain = [0; 100];
    assert_eq!(client.read(&mut plain).unwrap(), Got::Blocked);
    server.write(b"hello").unwrap();
    assert_eq!(client.read(&mut plain).unwrap(), Got::Plain { length: 5, more: false });
    assert_eq!(client.read(&mut plain).unwrap(), Got::Blocked);
    // The end came along: there will be no other event to read it at.
    server.write(b"bye").unwrap();
    server.close_notify();
    assert_eq!(client.read(&mut plain).unwrap(), Got::Plain { length: 3, more: true });
    assert_eq!(client.read(&mut plain).unwrap(), Got::Closed);
}
