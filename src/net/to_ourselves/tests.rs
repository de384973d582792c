use super::{Coming, connect, is_connected, pair, reachable};
use crate::net::listener::Address;
use socket2::SockRef;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};

fn internet(text: &str) -> Address {
    Address::Internet(text.parse().unwrap())
}

#[test]
fn all_addresses_are_reached_by_loopback_and_one_by_itself() {
    assert_eq!(reachable(&internet("0.0.0.0:80")), [internet("127.0.0.1:80")]);
    assert_eq!(reachable(&internet("[::]:80")), [internet("[::1]:80"), internet("127.0.0.1:80")]);
    assert_eq!(reachable(&internet("192.0.2.7:80")), [internet("192.0.2.7:80")]);
    assert_eq!(reachable(&Address::Abstract(b"a".to_vec())), [Address::Abstract(b"a".to_vec())]);
    assert_eq!(reachable(&Address::Unnamed), []);
}

#[test]
fn a_connection_comes_about_without_waiting_for_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = connect(&[Address::of(listener.as_fd()).unwrap()]).unwrap();
    assert!(socket.nonblocking().unwrap());
    listener.accept().unwrap();
    assert!(is_connected(&socket).unwrap());
}

#[test]
fn a_refusal_is_told_at_once_or_once_it_has_come() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::of(gone.as_fd()).unwrap();
    drop(gone);
    let error = connect(&[address]).and_then(|socket| {
        while !is_connected(&socket)? {
            std::thread::yield_now();
        }
        Ok(())
    });
    assert_eq!(error.unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn the_second_address_is_tried_when_the_first_refuses() {
    let refusing = Address::Path("/no/such/socket".into());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    assert_eq!(connect(std::slice::from_ref(&refusing)).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(connect(&[refusing, Address::of(listener.as_fd()).unwrap()]).is_ok());
    assert_eq!(connect(&[]).unwrap_err().kind(), ErrorKind::AddrNotAvailable);
}

#[test]
fn unix_listeners_are_reached_by_path_and_by_name_and_a_full_queue_is_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    SockRef::from(&listener).listen(0).unwrap();
    let address = [Address::Path(path)];
    let _first = connect(&address).unwrap();
    let full = (0..8).find_map(|_| connect(&address).err()).unwrap();
    assert_eq!(full.kind(), ErrorKind::WouldBlock);
    let name = format!("connect-test-{}", std::process::id());
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    socket.bind(&socket2::SockAddr::unix(format!("\0{name}")).unwrap()).unwrap();
    socket.listen(1).unwrap();
    assert!(is_connected(&connect(&[Address::Abstract(name.into_bytes())]).unwrap()).unwrap());
}

#[test]
fn the_ends_of_a_pair_belong_together_and_are_of_the_listeners_kind() {
    for address in [internet("0.0.0.0:80"), internet("[::]:80"), Address::Path("/x".into())] {
        let (mut client, mut coming) = pair(&address).unwrap();
        let served = loop {
            match coming.arrive().unwrap() {
                Ok(served) => break served,
                Err(later) => coming = later,
            }
        };
        assert!(client.nonblocking().unwrap() && !SockRef::from(&served).nonblocking().unwrap());
        client.write_all(b"word").unwrap();
        let mut word = [0; 4];
        match address {
            Address::Internet(_) => TcpStream::from(served).read_exact(&mut word).unwrap(),
            Address::Path(_) | Address::Abstract(_) | Address::Unnamed => {
                UnixStream::from(served).read_exact(&mut word).unwrap();
            }
        }
        assert_eq!(&word, b"word");
    }
}

#[test]
fn a_stranger_at_the_private_listener_is_turned_away() {
    let (_client, coming) = pair(&internet("127.0.0.1:80")).unwrap();
    let Coming::Through { listener, .. } = coming else { panic!("{coming:?}") };
    let at = listener.local_addr().unwrap().as_socket().unwrap();
    let nobody = "127.0.0.1:1".parse::<std::net::SocketAddr>().unwrap().into();
    let mut waiting = Coming::Through { listener, from: nobody };
    let mut stranger = TcpStream::connect(at).unwrap();
    stranger.set_read_timeout(Some(std::time::Duration::from_millis(50))).unwrap();
    loop {
        waiting = waiting.arrive().unwrap().unwrap_err();
        match stranger.read(&mut [0]) {
            Ok(0) => break,
            Ok(_) => panic!("who spoke?"),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
    }
}
