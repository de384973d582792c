//! Descriptors from one end of a stream to the other, with their metadata.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

#[path = "common/files.rs"]
mod files;

use files::{Files, identity, raise_descriptor_limit};
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::socket::{setsockopt, sockopt};
use socket_protector_client::handoff::{self, Descriptor, Error, Kind, Receiver, Sender, frame, key_value};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::thread;
use std::time::Duration;

/// Any descriptor. Not the stream itself, which would then never end.
fn null() -> File {
    File::open("/dev/null").unwrap()
}

type Taken = Vec<(Descriptor, Vec<u8>)>;

/// All that the other end sends until it ends.
fn take_all(stream: &UnixStream) -> Result<Taken, Error> {
    let mut taken = Taken::new();
    handoff::receive_all_from(stream, |descriptor, metadata| {
        taken.push((descriptor, metadata.to_vec()));
        Ok(())
    })
    .map(|count| {
        assert_eq!(count, taken.len());
        taken
    })
}

/// The sizes of the messages that are in a stream, as the kernel gives them to a reader.
fn messages(stream: &UnixStream) -> Vec<(usize, usize)> {
    let mut all = Vec::new();
    loop {
        let mut arrived = Vec::new();
        let mut buffer = [0; 65_536];
        let received =
            socket_protector_client::descriptors::receive(stream.as_fd(), &mut buffer, &mut arrived, true).unwrap();
        assert!(!received.truncated);
        if received.bytes == 0 {
            return all;
        }
        all.push((received.bytes, arrived.len()));
    }
}

#[test]
fn every_descriptor_arrives_as_what_it_was_in_its_order() {
    raise_descriptor_limit();
    for count in [0, 1, 2, 170, 171, 253, 700] {
        let (here, there) = UnixStream::pair().unwrap();
        let files = Files::new(count);
        let all: Vec<(&File, String)> =
            files.iter().enumerate().map(|(index, file)| (file, format!("file {index}"))).collect();
        handoff::send_to(&here, &all).unwrap();
        drop(here);
        let taken = take_all(&there).unwrap();
        assert_eq!(taken.len(), count);
        for ((descriptor, metadata), (file, name)) in taken.iter().zip(&all) {
            assert_eq!(identity(descriptor), identity(file));
            assert_eq!(metadata, name.as_bytes());
            let flags = FdFlag::from_bits_retain(fcntl(descriptor, FcntlArg::F_GETFD).unwrap());
            assert!(flags.contains(FdFlag::FD_CLOEXEC));
        }
    }
}

#[test]
fn messages_keep_to_what_go_has_room_for_unless_told_otherwise() {
    let files = Files::new(253);
    let all: Vec<_> = files.iter().map(|file| (file, "")).collect();
    let cases: [(Sender, &[(usize, usize)]); 4] = [
        (Sender::new(), &[(680, 170), (332, 83)]),
        (Sender::new().most_descriptors(9999), &[(1012, 253)]),
        (Sender::new().most_bytes(18).most_descriptors(3), &[(12, 3); 84]),
        (Sender::new().most_bytes(11), &[(8, 2); 126]),
    ];
    for (mut sender, expected) in cases {
        let (here, there) = UnixStream::pair().unwrap();
        sender.send_to(&here, &all).unwrap();
        drop(here);
        assert_eq!(messages(&there)[..expected.len()], *expected);
    }
}

#[test]
fn metadata_of_every_length_arrives_and_too_much_is_refused_before_anything_is_sent() {
    for length in [0, 1, 4092] {
        let (here, there) = UnixStream::pair().unwrap();
        let metadata = vec![0xfe; length];
        handoff::send_to(&here, &[(&null(), &metadata), (&null(), &metadata)]).unwrap();
        drop(here);
        let taken = take_all(&there).unwrap();
        assert_eq!(taken.len(), 2);
        assert!(taken.iter().all(|(_, found)| *found == metadata));
    }
    let (here, there) = UnixStream::pair().unwrap();
    let error = handoff::send_to(&here, &[(null(), vec![1; 9]), (null(), vec![2; 4093])]).unwrap_err();
    assert_eq!(error.to_string(), "the metadata of descriptor 1 has 4093 bytes, 4092 are the most");
    drop(here);
    assert!(take_all(&there).unwrap().is_empty());
    // Where the receiver is known to take it.
    let (here, there) = UnixStream::pair().unwrap();
    let metadata = vec![3; 100_000];
    let sending = thread::spawn(move || {
        Sender::new().most_bytes(200_000).send_to(&here, &[(&null(), &metadata), (&null(), &metadata)]).unwrap();
    });
    let taken = take_all(&there).unwrap();
    assert_eq!(taken.iter().map(|(_, metadata)| metadata.len()).collect::<Vec<_>>(), [100_000, 100_000]);
    sending.join().unwrap();
}

#[test]
fn the_golden_message_goes_out_and_comes_in() {
    let golden: &[u8] = b"\0\0\0\0\x02\0\0\0hi";
    let (here, there) = UnixStream::pair().unwrap();
    handoff::send_to(&here, &[(null(), ""), (null(), "hi")]).unwrap();
    let mut bytes = [0; 64];
    assert_eq!((&there).read(&mut bytes).unwrap(), golden.len());
    assert_eq!(&bytes[..golden.len()], golden);
    socket_protector_client::descriptors::send(here.as_fd(), golden, &[null().as_fd(), null().as_fd()]).unwrap();
    drop(here);
    let metadata: Vec<Vec<u8>> = take_all(&there).unwrap().into_iter().map(|(_, metadata)| metadata).collect();
    assert_eq!(metadata, [&b""[..], b"hi"]);
}

#[test]
fn messages_follow_each_other_on_one_stream_and_one_call_takes_one() {
    let (here, there) = UnixStream::pair().unwrap();
    let mut sender = Sender::new();
    let file = null();
    for turn in 0..5 {
        sender.send_to(&here, &vec![(&file, "x"); turn]).unwrap();
    }
    let mut receiver = Receiver::new();
    for turn in 1..5 {
        assert_eq!(receiver.receive_from(&there, |_, _| Ok(())).unwrap(), turn);
    }
    // And in the other direction.
    sender.send_to(&there, &[(null(), "y")]).unwrap();
    assert_eq!(receiver.receive_from(&here, |_, _| Ok(())).unwrap(), 1);
    drop(here);
    assert_eq!(receiver.receive_from(&there, |_, _| Ok(())).unwrap(), 0);
}

/// What a program does for its own restart: all its connections, with what it knows of each, to a new process.
#[test]
fn many_hundreds_of_connections_move_with_their_metadata_over_one_non_blocking_stream() {
    const COUNT: usize = 900;
    raise_descriptor_limit();
    let (here, there) = UnixStream::pair().unwrap();
    // As small as it can be: every message is sent and received in parts.
    setsockopt(&here, sockopt::SndBuf, &0).unwrap();
    here.set_nonblocking(true).unwrap();
    there.set_nonblocking(true).unwrap();
    // Each is a stream of its own, but the other ends are closed: the limit of descriptors counts those here.
    let sockets: Vec<UnixStream> = (0..COUNT).map(|_| UnixStream::pair().unwrap().0).collect();
    let identities: Vec<_> = sockets.iter().map(identity).collect();
    let sending = thread::spawn(move || {
        let mut sender = Sender::new();
        let mut all = Vec::new();
        for (index, socket) in sockets.iter().enumerate() {
            let mut metadata = Vec::new();
            let index = (index as u32).to_le_bytes();
            key_value::encode(&[("index", &index[..]), ("unsent", &[7; 300])], &mut metadata).unwrap();
            all.push((socket, metadata));
        }
        // In several calls, as they become free.
        for some in all.chunks(400) {
            sender.send_to(&here, some).unwrap();
        }
    });
    let mut receiver = Receiver::new();
    let mut next = 0;
    loop {
        let count = receiver
            .receive_from(&there, |descriptor, metadata| {
                let map = key_value::KeyValue::decode(metadata)?;
                assert_eq!(map.get("index"), Some(&(next as u32).to_le_bytes()[..]));
                assert_eq!(map.get("unsent").map(<[u8]>::len), Some(300));
                assert_eq!(identity(&descriptor), identities[next]);
                next += 1;
                Ok(())
            })
            .unwrap();
        if count == 0 {
            break;
        }
    }
    sending.join().unwrap();
    assert_eq!(next, COUNT);
}

#[test]
fn one_byte_at_a_time_is_still_a_message() {
    let (here, there) = UnixStream::pair().unwrap();
    let mut message = Vec::new();
    for metadata in ["", "a", "some more"] {
        frame::append(&mut message, metadata.as_bytes());
    }
    let sending = thread::spawn(move || {
        let (first, rest) = message.split_first().unwrap();
        let file = null();
        let three = [file.as_fd(); 3];
        socket_protector_client::descriptors::send(here.as_fd(), &[*first], &three).unwrap();
        rest.iter().for_each(|byte| (&here).write_all(&[*byte]).unwrap());
        // The next message must not be read together with this one's last byte.
        handoff::send_to(&here, &[(null(), "next")]).unwrap();
    });
    let metadata: Vec<Vec<u8>> = take_all(&there).unwrap().into_iter().map(|(_, metadata)| metadata).collect();
    assert_eq!(metadata, [&b""[..], b"a", b"some more", b"next"]);
    sending.join().unwrap();
}

#[test]
fn a_callback_that_fails_ends_it_and_its_error_is_the_cause() {
    let (here, there) = UnixStream::pair().unwrap();
    handoff::send_to(&here, &[(null(), "0"), (null(), "1"), (null(), "2")]).unwrap();
    handoff::send_to(&here, &[(null(), "next")]).unwrap();
    let mut seen = 0;
    let error = handoff::receive_from(&there, |_, metadata| {
        seen += 1;
        if metadata == b"1" { Err("not this one".into()) } else { Ok(()) }
    })
    .unwrap_err();
    assert_eq!(seen, 2);
    assert_eq!(error.to_string(), "descriptor 1 was not taken");
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "not this one");
    // The stream goes on with the next message.
    drop(here);
    assert_eq!(take_all(&there).unwrap()[0].1, b"next");
}

/// One of each kind.
fn all_kinds(folder: &Files) -> Vec<(Kind, OwnedFd)> {
    let tcp = TcpListener::bind("[::1]:0").or_else(|_| TcpListener::bind("127.0.0.1:0")).unwrap();
    let connection = TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
    let unix = UnixListener::bind(folder.path("listener")).unwrap();
    vec![
        (Kind::TcpListener, tcp.into()),
        (Kind::TcpStream, connection.into()),
        (Kind::UnixListener, unix.into()),
        (Kind::UnixStream, UnixStream::pair().unwrap().0.into()),
        (Kind::UdpSocket, UdpSocket::bind("127.0.0.1:0").unwrap().into()),
        (Kind::UnixDatagram, UnixDatagram::unbound().unwrap().into()),
        (Kind::File, File::open("/dev/null").unwrap().into()),
        (Kind::File, File::open(folder.path("")).unwrap().into()),
        (Kind::Other, nix::sys::eventfd::EventFd::new().unwrap().into()),
        (Kind::Other, seqpacket()),
    ]
}

fn seqpacket() -> OwnedFd {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).unwrap()
}

/// What becomes of a descriptor when it is made each type in turn: those it can be.
fn adopted(descriptor: &OwnedFd) -> Vec<Kind> {
    let fresh = || Descriptor::from(descriptor.try_clone().unwrap());
    let tries = [
        (Kind::TcpListener, fresh().into_tcp_listener().map(OwnedFd::from)),
        (Kind::TcpStream, fresh().into_tcp_stream().map(OwnedFd::from)),
        (Kind::UnixListener, fresh().into_unix_listener().map(OwnedFd::from)),
        (Kind::UnixStream, fresh().into_unix_stream().map(OwnedFd::from)),
        (Kind::UdpSocket, fresh().into_udp_socket().map(OwnedFd::from)),
        (Kind::UnixDatagram, fresh().into_unix_datagram().map(OwnedFd::from)),
        (Kind::File, fresh().into_file().map(OwnedFd::from)),
    ];
    let mut kinds = Vec::new();
    for (kind, tried) in tries {
        match tried {
            Ok(_) => kinds.push(kind),
            Err(wrong) => {
                assert_eq!(wrong.expected, kind);
                assert_eq!(identity(&wrong.descriptor), identity(descriptor));
            }
        }
    }
    kinds
}

#[test]
fn a_descriptor_becomes_only_what_it_is() {
    let folder = Files::new(0);
    let (here, there) = UnixStream::pair().unwrap();
    let kinds = all_kinds(&folder);
    let all: Vec<_> = kinds.iter().map(|(_, descriptor)| (descriptor, "")).collect();
    handoff::send_to(&here, &all).unwrap();
    drop(here);
    for ((kind, sent), (arrived, _)) in kinds.iter().zip(take_all(&there).unwrap()) {
        assert_eq!(arrived.kind(), *kind);
        assert_eq!(identity(&arrived), identity(sent));
        let expected = if *kind == Kind::Other { vec![] } else { vec![*kind] };
        assert_eq!(adopted(&arrived.into()), expected);
    }
    let wrong = Descriptor::from(OwnedFd::from(File::open("/dev/null").unwrap())).into_tcp_listener().unwrap_err();
    assert_eq!(wrong.to_string(), "the descriptor is a file and not a TCP listener");
}

#[test]
fn the_blocking_mode_is_left_alone_and_is_shared() {
    let (here, there) = UnixStream::pair().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let is_nonblocking =
        |of: &TcpListener| OFlag::from_bits_retain(fcntl(of, FcntlArg::F_GETFL).unwrap()).contains(OFlag::O_NONBLOCK);
    handoff::send_to(&here, &[(&listener, "")]).unwrap();
    drop(here);
    let arrived = take_all(&there).unwrap().remove(0).0.into_tcp_listener().unwrap();
    assert!(!is_nonblocking(&arrived) && !is_nonblocking(&listener));
    arrived.set_nonblocking(true).unwrap();
    assert!(is_nonblocking(&listener));
}

#[test]
fn a_peer_that_takes_nothing_or_says_nothing_is_given_up() {
    let limit = Some(Duration::from_millis(50));
    let (here, there) = UnixStream::pair().unwrap();
    let error = Receiver::new().time_limit(limit).receive_from(&there, |_, _| Ok(())).unwrap_err();
    assert!(error.is_timeout() && matches!(error, Error::Receive { .. }), "{error:?}");
    let error = Receiver::new().time_limit(limit).receive_all_from(&there, |_, _| Ok(())).unwrap_err();
    assert!(error.is_timeout(), "{error:?}");
    let file = null();
    let much = vec![(&file, vec![0; 4000]); 300];
    let error = Sender::new().time_limit(limit).send_to(&here, &much).unwrap_err();
    assert!(error.is_timeout() && matches!(error, Error::Send { .. }), "{error:?}");
    drop(there);
    let error = handoff::send_to(&here, &[(null(), "")]).unwrap_err();
    assert!(matches!(&error, Error::Send { source } if source.kind() == std::io::ErrorKind::BrokenPipe), "{error:?}");
}

/// The kernel puts the credentials before the descriptors.
#[test]
fn a_stream_that_is_told_who_sends_takes_descriptors_too() {
    let (here, there) = UnixStream::pair().unwrap();
    nix::sys::socket::setsockopt(&there, nix::sys::socket::sockopt::PassCred, &true).unwrap();
    handoff::send_to(&here, &[(&null(), "one"), (&null(), "two")]).unwrap();
    assert_eq!(handoff::receive_from(&there, |_, _| Ok(())).unwrap(), 2);
}
