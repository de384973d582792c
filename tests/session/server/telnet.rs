//! Destinations that speak telnet.

use super::client::{Client, Said};
use super::destination::Destination;
use super::place::Place;
use crate::harness::{PATIENCE, Scene, trials, trials_with};
use nix::sys::signal::Signal;
use nix::sys::socket::{MsgFlags, send};
use socket_protector::session::frame::{Command, Frame, Mode, event};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

trials![
    what_a_destination_asks_is_answered_while_nobody_is_there,
    a_client_that_comes_again_knows_whether_to_echo,
    a_window_is_told_with_its_bytes_doubled,
    input_and_commands_are_put_into_telnets_form,
    where_telnet_is_off_no_byte_is_touched,
    what_may_be_telnet_is_not_kept_for_ever,
    a_storm_of_questions_is_bounded,
    urgent_data_is_read_in_its_place_like_all_other,
];
trials_with!["test -x /usr/sbin/telnetd" => a_login_by_a_real_telnetd_goes_on];

/// Those that need another program, too.
pub(super) fn all() -> Vec<libtest_mimic::Trial> {
    [trials(), trials_with()].into_iter().flatten().collect()
}

const WILL_ECHO: &[u8] = b"\xff\xfb\x01";
const WONT_ECHO: &[u8] = b"\xff\xfc\x01";
const DO_ECHO: &[u8] = b"\xff\xfd\x01";

/// A destination that says and hears what the trial wants.
fn puppet() -> (Destination, Receiver<TcpStream>) {
    let (told, heard) = channel();
    let told: Mutex<Sender<TcpStream>> = Mutex::new(told);
    let destination = Destination::new(move |stream| {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        told.lock().unwrap().send(stream).unwrap();
    });
    (destination, heard)
}

#[track_caller]
fn hears(stream: &mut TcpStream, words: &[u8]) {
    let mut heard = vec![0; words.len()];
    stream.read_exact(&mut heard).unwrap();
    assert_eq!(heard, words);
}

fn what_a_destination_asks_is_answered_while_nobody_is_there() {
    let (destination, streams) = puppet();
    let place = Place::to(&destination.endpoint());
    let (client, ticket) = Client::create(place.address);
    let mut there = streams.recv_timeout(PATIENCE).unwrap();
    drop(client);
    place.wait_state(&ticket, "detached");
    // Each byte by itself.
    for byte in b"\xff\xfd\x18\xff\xfa\x18\x01\xff\xf0\xff\xfd\x27login: " {
        there.write_all(&[*byte]).unwrap();
    }
    hears(&mut there, b"\xff\xfb\x18\xff\xfa\x18\0XTERM-256COLOR\xff\xf0\xff\xfc\x27");
    let mut client = Client::come(place.address, &ticket, 0, Mode::Steal);
    client.expect("login: ");
    assert_eq!(client.output, b"login: ", "and nothing else");
}

fn a_client_that_comes_again_knows_whether_to_echo() {
    let (destination, streams) = puppet();
    let place = Place::to(&destination.endpoint());
    let (mut client, ticket) = Client::create(place.address);
    let mut there = streams.recv_timeout(PATIENCE).unwrap();
    there.write_all(&[b"Password: ", WILL_ECHO].concat()).unwrap();
    let hidden = |offset| Said::Event(offset, event::ECHO, vec![1]);
    client.until("echo is off", |said| *said == hidden(10));
    hears(&mut there, DO_ECHO);
    drop(client);
    // Loaded anew, in the middle of a password.
    let mut client = Client::come(place.address, &ticket, 10, Mode::Steal);
    client.until("echo is off", |said| *said == hidden(10));
    there.write_all(&[WONT_ECHO, b"Welcome"].concat()).unwrap();
    client.until("echo is on", |said| *said == Said::Event(10, event::ECHO, vec![0]));
    client.expect("Welcome");
}

fn a_window_is_told_with_its_bytes_doubled() {
    let (destination, streams) = puppet();
    let place = Place::to(&destination.endpoint());
    let (mut client, _ticket) = Client::create(place.address);
    let mut there = streams.recv_timeout(PATIENCE).unwrap();
    there.write_all(b"\xff\xfd\x1f").unwrap();
    hears(&mut there, b"\xff\xfb\x1f\xff\xfa\x1f\0\x50\0\x18\xff\xf0");
    client.say(&Frame::Resize { columns: 255, rows: 255 });
    hears(&mut there, b"\xff\xfa\x1f\0\xff\xff\0\xff\xff\xff\xf0");
}

fn input_and_commands_are_put_into_telnets_form() {
    let (destination, streams) = puppet();
    let place = Place::with(&destination.endpoint(), &["--telnet", "on"]);
    let (mut client, _ticket) = Client::create(place.address);
    let mut there = streams.recv_timeout(PATIENCE).unwrap();
    client.type_in(b"a\xffb\rc\r\nd");
    hears(&mut there, b"a\xff\xffb\r\nc\r\nd");
    for (command, byte) in [(Command::Interrupt, 0xf4), (Command::Break, 0xf3), (Command::AreYouThere, 0xf6)] {
        client.say(&Frame::Command(command));
        hears(&mut there, &[0xff, byte]);
    }
    client.until("all of it is written", |said| matches!(said, Said::Ack(ack) if ack.next == 8));
    client.say(&Frame::Fin { offset: 8 });
    assert_eq!(there.read(&mut [0]).unwrap(), 0, "the end comes behind all of it");
}

fn where_telnet_is_off_no_byte_is_touched() {
    let (destination, streams) = puppet();
    let place = Place::with(&destination.endpoint(), &["--telnet", "off"]);
    let (mut client, _ticket) = Client::create(place.address);
    let mut there = streams.recv_timeout(PATIENCE).unwrap();
    there.write_all(WILL_ECHO).unwrap();
    client.output_to(3);
    assert_eq!(client.output, WILL_ECHO);
    client.type_in(b"\xff\r\n");
    hears(&mut there, b"\xff\r\n");
}

fn what_may_be_telnet_is_not_kept_for_ever() {
    let (destination, streams) = puppet();
    let place = Place::to(&destination.endpoint());
    let (mut client, _ticket) = Client::create(place.address);
    let mut there = streams.recv_timeout(PATIENCE).unwrap();
    there.write_all(b"binary \xff\xfb").unwrap();
    client.output_to(9);
    assert_eq!(client.output, b"binary \xff\xfb");
    // At the end nothing is waited for.
    there.write_all(b"\xff").unwrap();
    drop(there);
    client.until("the end", |said| *said == Said::Fin(10));
    assert_eq!(client.output[9], 0xff);
}

/// As a telnetd says that it has thrown away what it was to say: the mark is a command whose second byte is urgent. A read
/// stops before it, and no event tells of what is behind it.
fn urgent_data_is_read_in_its_place_like_all_other() {
    let (destination, streams) = puppet();
    let place = Place::to(&destination.endpoint());
    let (mut client, _ticket) = Client::create(place.address);
    let mut there = streams.recv_timeout(PATIENCE).unwrap();
    there.write_all(&[WILL_ECHO, b"one, "].concat()).unwrap();
    hears(&mut there, DO_ECHO);
    client.expect("one, ");
    place.signal(Signal::SIGSTOP);
    there.write_all(b"two, ").unwrap();
    send(there.as_raw_fd(), b"\xff\xf2", MsgFlags::MSG_OOB).unwrap();
    there.write_all(b"three").unwrap();
    place.signal(Signal::SIGCONT);
    client.expect("one, two, three");
}

fn a_storm_of_questions_is_bounded() {
    let (destination, streams) = puppet();
    let place = Place::to(&destination.endpoint());
    let before = place.memory();
    let (mut client, _ticket) = Client::create(place.address);
    let mut there = streams.recv_timeout(PATIENCE).unwrap();
    there.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    // Each is refused; nobody reads that, so nothing more is read from there in the end.
    let storm = b"\xff\xfd\x27".repeat(20_000);
    let mut asked = 0;
    while asked < 1000 && there.write_all(&storm).is_ok() {
        asked += 1;
    }
    assert!(asked < 1000, "it was read for ever");
    assert!(place.memory() < before + (8 << 20), "{}", place.memory() - before);
    client.say(&Frame::Ping([3; 8]));
    client.until("an answer", |said| *said == Said::Pong([3; 8]));
    // A sub-negotiation without an end takes no room either.
    let (mut other, _other_ticket) = Client::create(place.address);
    let mut there = streams.recv_timeout(PATIENCE).unwrap();
    there.write_all(WILL_ECHO).unwrap();
    hears(&mut there, DO_ECHO);
    there.write_all(&[b"\xff\xfa\x18".to_vec(), vec![b'x'; 1 << 20]].concat()).unwrap();
    other.output_to((1 << 20) - 4096);
}

fn a_login_by_a_real_telnetd_goes_on() {
    let scene = Scene::new();
    // It asks as login(1) does, and nobody needs an account.
    let asks = "stty -echo; printf 'Password: '; read word; stty echo; echo; echo \"got $word\"; exec cat";
    let asks = scene.script("asks", asks);
    let destination = Destination::new(move |stream| {
        let [input, output] = [stream.try_clone().unwrap(), stream].map(|end| Stdio::from(OwnedFd::from(end)));
        let mut daemon = std::process::Command::new("/usr/sbin/telnetd");
        daemon.arg("-h").arg(format!("--exec-login={}", asks.display()));
        let mut daemon = daemon.stdin(input).stdout(output).stderr(Stdio::null()).spawn().unwrap();
        let _ = daemon.wait();
    });
    let place = Place::in_scene(scene, "127.0.0.1:0", &destination.endpoint(), &[]);
    let (client, ticket) = Client::create(place.address);
    // It negotiates for some time before it asks, with nobody there.
    drop(client);
    place.wait_session(&ticket, "it asks for a password", |session| session["bytes_out"].as_u64() >= Some(10));
    let mut client = Client::come(place.address, &ticket, 0, Mode::Steal);
    client.expect("Password: ");
    client.type_in(b"swordfish\r");
    client.expect("got swordfish");
    assert_eq!(String::from_utf8_lossy(&client.output).matches("swordfish").count(), 1, "it was not shown when typed");
    let next = client.output.len() as u64;
    drop(client);
    let mut client = Client::come(place.address, &ticket, next, Mode::Steal);
    client.type_in(b"and on\r");
    client.expect("and on\r\nand on\r\n");
    client.say(&Frame::Close);
    client.until("the end", |said| matches!(said, Said::Closed(_)));
}
