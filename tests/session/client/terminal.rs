//! Somebody at a terminal: what is shown, what is hidden, the keys that are for the client, and a terminal that is given
//! back as it was found.

use std::io::Write;
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::sys::termios::Termios;

use super::place::{Destination, Place, read, within};
use crate::harness::process::{send, stopped};
use crate::harness::pty::Pty;
use crate::harness::{PATIENCE, eventually, trials, until};

trials![
    a_line_is_shown_edited_and_sent,
    a_tilde_and_a_full_stop_leave,
    the_keys_are_explained,
    what_the_destination_echoes_is_not_shown_twice_and_passwords_not_at_all,
    a_session_that_is_resumed_hides_what_was_hidden,
    the_terminal_is_given_back_however_it_ends,
    it_stops_and_goes_on_as_shells_want_it,
    the_size_is_told_and_told_again_when_it_changes,
    commands_of_telnet_have_their_keys,
    one_who_polls_types_lines_and_does_not_see_what_is_hidden,
    a_control_key_is_a_signal_or_input,
];

const WILL_ECHO: [u8; 3] = [255, 251, 1];
const WONT_ECHO: [u8; 3] = [255, 252, 1];
const DO_NAWS: [u8; 3] = [255, 253, 31];

fn scene() -> (Destination, Place) {
    let destination = Destination::new();
    let place = Place::new(&destination.endpoint());
    (destination, place)
}

fn at_terminal(place: &Place, ways: &[&str]) -> Pty {
    Pty::start(&place.scene, &place.command(place.port, "state", ways))
}

/// Reads up to these bytes and returns all of it.
#[track_caller]
fn until_bytes(stream: &mut TcpStream, wanted: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !bytes.windows(wanted.len()).any(|window| window == wanted) {
        let mut byte = [0];
        std::io::Read::read_exact(stream, &mut byte).unwrap_or_else(|error| panic!("{error}: only {bytes:?}"));
        bytes.push(byte[0]);
    }
    bytes
}

/// Presses Enter, and again when nothing has come of it for some time.
#[track_caller]
fn enter_until(pty: &mut Pty, text: &str) {
    until(&format!("{text:?} is shown"), PATIENCE, || {
        pty.keys("\r");
        let shown = within(Duration::from_millis(500), || pty.screen().contains(text));
        if shown { Ok(()) } else { Err(pty.screen()) }
    });
}

fn same(one: &Termios, other: &Termios) -> bool {
    (one.input_flags, one.output_flags, one.local_flags, one.control_chars)
        == (other.input_flags, other.output_flags, other.local_flags, other.control_chars)
}

fn a_line_is_shown_edited_and_sent() {
    let (destination, place) = scene();
    let mut pty = at_terminal(&place, &["--follow"]);
    let mut stream = destination.accept();
    pty.waits_for(false, false, true);
    pty.keys("hellp\x7fo\r");
    pty.shows("hellp\x08 \x08o\r\n");
    assert_eq!(read(&mut stream, 7), "hello\r\n");
    stream.write_all(b"answer\n").unwrap();
    pty.shows("answer\r\n");
    pty.keys("~.");
    assert!(pty.ends().success());
}

fn a_tilde_and_a_full_stop_leave() {
    let (destination, place) = scene();
    let mut pty = at_terminal(&place, &["--follow"]);
    let mut stream = destination.accept();
    pty.waits_for(false, false, true);
    pty.keys("a~.\r");
    assert_eq!(read(&mut stream, 5), "a~.\r\n", "not within a line");
    pty.keys("~~.\r");
    assert_eq!(read(&mut stream, 4), "~.\r\n", "nor twice");
    pty.keys("~.");
    assert!(pty.ends().success());
    pty.shows("left; session ");
    assert!(place.state().exists());
    // End of file leaves as well.
    let mut pty = at_terminal(&place, &["--follow"]);
    pty.waits_for(false, false, true);
    stream.write_all(b"again\n").unwrap();
    pty.shows("again");
    pty.keys("\x04");
    assert!(pty.ends().success());
    assert!(destination.is_alone());
}

fn the_keys_are_explained() {
    let (destination, place) = scene();
    let mut pty = at_terminal(&place, &["--follow"]);
    let _stream = destination.accept();
    pty.waits_for(false, false, true);
    pty.keys("~?");
    for key in ["~.", "~^Z", "~A", "~B", "~I", "~?", "~~"] {
        pty.shows(key);
    }
    pty.keys("~.");
    assert!(pty.ends().success());
}

fn what_the_destination_echoes_is_not_shown_twice_and_passwords_not_at_all() {
    let (destination, place) = scene();
    let mut pty = at_terminal(&place, &["--follow"]);
    let mut stream = destination.accept();
    stream.write_all(&[&WILL_ECHO[..], b"Password: "].concat()).unwrap();
    pty.shows("Password: ");
    pty.waits_for(false, false, false);
    pty.keys("secret\r");
    until_bytes(&mut stream, b"secret\r");
    stream.write_all(&[&b"\r\nwelcome\r\n"[..], &WONT_ECHO].concat()).unwrap();
    pty.waits_for(false, false, true);
    pty.keys("visible\r");
    pty.shows("visible\r\n");
    assert!(!pty.screen().contains("secret"));
    until_bytes(&mut stream, b"visible\r\n");
    // Each key by itself where it is echoed from there.
    stream.write_all(&[&WILL_ECHO[..], b"$ "].concat()).unwrap();
    pty.shows("$ ");
    pty.waits_for(false, false, false);
    pty.keys("x");
    until_bytes(&mut stream, b"x");
    stream.write_all(b"<x>").unwrap();
    pty.shows("<x>");
    pty.keys("\r~.");
    assert!(pty.ends().success());
    assert!(!pty.screen().contains("secret"));
}

fn a_session_that_is_resumed_hides_what_was_hidden() {
    let (destination, place) = scene();
    let mut pty = at_terminal(&place, &["--follow"]);
    let mut stream = destination.accept();
    stream.write_all(&[&WILL_ECHO[..], b"Password: "].concat()).unwrap();
    pty.shows("Password: ");
    pty.waits_for(false, false, false);
    send(pty.pid(), Signal::SIGKILL);
    pty.ends();
    let mut pty = at_terminal(&place, &["--follow"]);
    pty.waits_for(false, false, false);
    pty.keys("secret\r");
    until_bytes(&mut stream, b"secret\r");
    stream.write_all(b"welcome").unwrap();
    pty.shows("welcome");
    assert!(!pty.screen().contains("secret"));
    pty.keys("~.");
    assert!(pty.ends().success());
}

fn the_terminal_is_given_back_however_it_ends() {
    let (destination, place) = scene();
    let mut stream = None;
    type End = fn(&mut Pty, &mut Option<TcpStream>);
    let ends: [(&str, End); 6] = [
        ("~.", |pty, _| pty.keys("~.")),
        ("TERM", |pty, _| send(pty.pid(), Signal::SIGTERM)),
        ("HUP", |pty, _| send(pty.pid(), Signal::SIGHUP)),
        ("QUIT", |pty, _| send(pty.pid(), Signal::SIGQUIT)),
        ("INT", |pty, _| send(pty.pid(), Signal::SIGINT)),
        ("the destination", |_, stream| drop(stream.take())),
    ];
    for (name, end) in ends {
        let mut pty = at_terminal(&place, &["--follow"]);
        let found = {
            // As it is before the client has set it, which takes a connection at least.
            let pty = Pty::start(&place.scene, std::process::Command::new("cat").arg("/dev/null"));
            pty.modes()
        };
        let known = stream.get_or_insert_with(|| destination.accept());
        known.write_all(&[&WILL_ECHO[..], b"!"].concat()).unwrap();
        pty.waits_for(false, false, false);
        end(&mut pty, &mut stream);
        let status = pty.ends();
        assert!(same(&pty.modes(), &found), "{name}: {status}");
    }
}

fn it_stops_and_goes_on_as_shells_want_it() {
    let (destination, place) = scene();
    let mut pty = at_terminal(&place, &["--follow"]);
    let mut stream = destination.accept();
    let found = Pty::start(&place.scene, std::process::Command::new("cat").arg("/dev/null")).modes();
    for keys in ["~\x1a", "\x1a"] {
        pty.waits_for(false, false, true);
        pty.keys(keys);
        eventually("it is stopped", || stopped(pty.pid()));
        assert!(same(&pty.modes(), &found));
        stream.write_all(b"meanwhile\n").unwrap();
        send(pty.pid(), Signal::SIGCONT);
        pty.shows("meanwhile");
        pty.waits_for(false, false, true);
    }
    // Stopped and continued by others, who leave the terminal as they like.
    send(pty.pid(), Signal::SIGSTOP);
    eventually("it is stopped", || stopped(pty.pid()));
    nix::sys::termios::tcsetattr(pty.terminal(), nix::sys::termios::SetArg::TCSANOW, &found).unwrap();
    send(pty.pid(), Signal::SIGCONT);
    pty.waits_for(false, false, true);
    pty.keys("~.");
    assert!(pty.ends().success());
}

fn the_size_is_told_and_told_again_when_it_changes() {
    let (destination, place) = scene();
    let mut pty = at_terminal(&place, &["--follow"]);
    let mut stream = destination.accept();
    stream.write_all(&DO_NAWS).unwrap();
    until_bytes(&mut stream, &[255, 250, 31, 0, 80, 0, 24, 255, 240]);
    pty.resize(132, 43);
    until_bytes(&mut stream, &[255, 250, 31, 0, 132, 0, 43, 255, 240]);
    pty.keys("~.");
    assert!(pty.ends().success());
}

fn commands_of_telnet_have_their_keys() {
    let (destination, place) = scene();
    let mut pty = at_terminal(&place, &["--follow"]);
    let mut stream = destination.accept();
    stream.write_all(&[&WILL_ECHO[..], b"$ "].concat()).unwrap();
    pty.shows("$ ");
    for (key, command) in [("~A", 246), ("~B", 243), ("~I", 244)] {
        pty.keys(key);
        until_bytes(&mut stream, &[255, command]);
    }
    pty.keys("~.");
    assert!(pty.ends().success());
}

fn one_who_polls_types_lines_and_does_not_see_what_is_hidden() {
    let (destination, place) = scene();
    let mut pty = at_terminal(&place, &[]);
    pty.shows("each Enter polls");
    pty.keys("hello\r");
    pty.shows("hello\r\n");
    let mut stream = destination.accept();
    assert_eq!(read(&mut stream, 7), "hello\r\n");
    stream.write_all(&[&WILL_ECHO[..], b"Password: "].concat()).unwrap();
    enter_until(&mut pty, "Password: ");
    pty.waits_for(true, false, true);
    pty.keys("secret\r");
    until_bytes(&mut stream, b"secret\r\n");
    stream.write_all(&[&WONT_ECHO[..], b"welcome"].concat()).unwrap();
    enter_until(&mut pty, "welcome");
    pty.waits_for(true, true, true);
    assert!(!pty.screen().contains("secret"));
    pty.keys("\x04");
    assert!(pty.ends().success());
}

fn a_control_key_is_a_signal_or_input() {
    let (destination, place) = scene();
    let mut pty = at_terminal(&place, &["--follow"]);
    let mut stream = destination.accept();
    stream.write_all(&[&WILL_ECHO[..], b"$ "].concat()).unwrap();
    pty.shows("$ ");
    pty.waits_for(false, false, false);
    pty.keys("\x03\x1a\x1c");
    until_bytes(&mut stream, b"\x03\x1a\x1c");
    stream.write_all(&WONT_ECHO).unwrap();
    pty.waits_for(false, false, true);
    pty.keys("\x03");
    assert_eq!(pty.ends().signal(), Some(Signal::SIGINT as i32));
    assert!(place.state().exists());
}
