use super::{FarEnd, in_table, look};
use crate::net::listener::Address;
use crate::net::to_ourselves::{connect, is_connected};
use nix::sys::stat::fstat;
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::Write;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

fn listeners() -> Vec<Socket> {
    let v4: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    let v6: std::net::SocketAddr = "[::1]:0".parse().unwrap();
    let name = SockAddr::unix(format!("\0far-end-{}-{:?}", std::process::id(), std::thread::current().id())).unwrap();
    let kinds = [(Domain::IPV4, v4.into()), (Domain::IPV6, v6.into()), (Domain::UNIX, name)];
    let bound = kinds.into_iter().map(|(domain, address)| {
        let socket = Socket::new(domain, Type::STREAM, None).unwrap();
        socket.bind(&address).unwrap();
        socket.listen(8).unwrap();
        socket
    });
    bound.collect()
}

fn client(listener: &Socket) -> Socket {
    connect(&[Address::of(listener.as_fd()).unwrap()]).unwrap()
}

/// Whether the end of it is seen, which may reach a connection of the internet a moment after the other end was closed.
fn comes_to_be_closed(client: &Socket) -> bool {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match look(client.as_fd()).unwrap() {
            FarEnd::Closed => return true,
            FarEnd::Held(_) => return false,
            FarEnd::Waiting if Instant::now() > deadline => return false,
            FarEnd::Waiting => std::thread::yield_now(),
        }
    }
}

#[test]
fn it_waits_until_somebody_accepts_and_is_theirs_until_it_is_closed() {
    for listener in listeners() {
        let client = client(&listener);
        assert_eq!(look(client.as_fd()).unwrap(), FarEnd::Waiting);
        let (served, _) = listener.accept().unwrap();
        let inode = fstat(&served).unwrap().st_ino;
        assert_eq!(look(client.as_fd()).unwrap(), FarEnd::Held(inode));
        drop(served);
        assert!(comes_to_be_closed(&client));
    }
}

#[test]
fn one_that_spoke_before_it_closed_is_closed_and_one_that_reset_too() {
    for listener in listeners() {
        let first = client(&listener);
        let (mut served, _) = listener.accept().unwrap();
        served.write_all(b"hello").unwrap();
        assert!(matches!(look(first.as_fd()).unwrap(), FarEnd::Held(_)));
        drop(served);
        assert!(comes_to_be_closed(&first));
        let second = client(&listener);
        let (served, _) = listener.accept().unwrap();
        served.set_linger(Some(Duration::ZERO)).unwrap();
        drop(served);
        assert!(comes_to_be_closed(&second));
    }
}

#[test]
fn one_of_ipv4_at_a_socket_for_both_families_is_found() {
    let listener = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
    listener.set_only_v6(false).unwrap();
    listener.bind(&"[::]:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    listener.listen(8).unwrap();
    let port = listener.local_addr().unwrap().as_socket().unwrap().port();
    let client = connect(&[Address::Internet(([127, 0, 0, 1], port).into())]).unwrap();
    let (served, _) = listener.accept().unwrap();
    assert_eq!(look(client.as_fd()).unwrap(), FarEnd::Held(fstat(&served).unwrap().st_ino));
    assert!(is_in_table(&client, fstat(&served).unwrap().st_ino), "the table tells the same");
}

/// Whether the table names this inode for the other end. It is printed in portions, and what is beside an entry may
/// come and go meanwhile, so one look may miss it.
fn is_in_table(client: &Socket, inode: u64) -> bool {
    let (near, far) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
    let look = || in_table(far.as_socket().unwrap(), near.as_socket().unwrap()).unwrap();
    (0..1000).any(|_| look() == inode)
}

#[test]
fn the_table_tells_what_the_kernel_answers() {
    for listener in listeners().into_iter().take(2) {
        let client = client(&listener);
        while !is_connected(&client).unwrap() {
            std::thread::yield_now();
        }
        assert!(is_in_table(&client, 0), "nobody has accepted it");
        let (served, _) = listener.accept().unwrap();
        assert!(is_in_table(&client, fstat(&served).unwrap().st_ino));
    }
}
