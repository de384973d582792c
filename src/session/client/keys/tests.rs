//! Keys and what follows of them.

use super::*;

fn typed(keys: &mut Keys, text: &str) -> Vec<Typed> {
    let mut typed = Vec::new();
    keys.typed(text.as_bytes(), &mut typed);
    typed
}

fn input(text: &str) -> Typed {
    Typed::Input(text.as_bytes().to_vec())
}

fn show(text: &str) -> Typed {
    Typed::Show(text.as_bytes().to_vec())
}

fn echoed() -> Keys {
    let mut keys = Keys::new();
    keys.remote_echo(true, &mut Vec::new());
    keys
}

#[test]
fn a_line_is_shown_and_goes_when_it_is_complete() {
    let mut keys = Keys::new();
    assert_eq!(typed(&mut keys, "ls"), [show("ls")]);
    assert_eq!(typed(&mut keys, "\r"), [show("\n"), input("ls\r\n")]);
    assert_eq!(typed(&mut keys, "\n"), [show("\n"), input("\r\n")]);
    assert_eq!(typed(&mut keys, "a\tb\x1b"), [show("a b^[")]);
    assert_eq!(typed(&mut keys, "\r"), [show("\n"), input("a\tb\x1b\r\n")]);
}

#[test]
fn a_line_can_be_edited_letter_by_letter() {
    let mut keys = Keys::new();
    typed(&mut keys, "aäx");
    assert_eq!(typed(&mut keys, "\x7f"), [show("\x08 \x08")]);
    assert_eq!(typed(&mut keys, "\x08"), [show("\x08 \x08")], "two bytes, one letter");
    assert_eq!(typed(&mut keys, "\x01\x7f"), [show("^A\x08 \x08\x08 \x08")]);
    assert_eq!(typed(&mut keys, "b\r"), [show("b\n"), input("ab\r\n")]);
    assert_eq!(typed(&mut keys, "\x7f"), [], "nothing is left");
    assert_eq!(typed(&mut keys, "abc\x15"), [show(&format!("abc{}", "\x08 \x08".repeat(3)))]);
    assert_eq!(typed(&mut keys, "\r"), [show("\n"), input("\r\n")]);
    assert_eq!(typed(&mut keys, "abc\x04"), [show("abc"), input("abc")]);
    assert_eq!(typed(&mut keys, "\x04"), [Typed::End]);
}

#[test]
fn a_line_has_a_bound() {
    let mut keys = Keys::new();
    typed(&mut keys, &"x".repeat(LONGEST));
    assert_eq!(typed(&mut keys, "yz"), [show("\x07\x07")]);
    let [Typed::Show(_), Typed::Input(line)] = &typed(&mut keys, "\r")[..] else { panic!() };
    assert_eq!(line.len(), LONGEST + 2);
}

#[test]
fn what_the_destination_echoes_goes_key_by_key_and_is_not_shown() {
    let mut keys = echoed();
    assert_eq!(typed(&mut keys, "pass\x7f\x03\x04\r"), [input("pass\x7f\x03\x04\r")]);
    let mut keys = Keys::new();
    typed(&mut keys, "begun");
    let mut rest = Vec::new();
    keys.remote_echo(true, &mut rest);
    assert_eq!(rest, [input("begun")]);
    keys.remote_echo(false, &mut rest);
    assert_eq!(typed(&mut keys, "x"), [show("x")]);
}

#[test]
fn a_tilde_at_the_beginning_of_a_line_is_for_the_client() {
    let words = [
        (".", Typed::Leave),
        ("?", Typed::Explain),
        ("\x1a", Typed::Suspend),
        ("A", Typed::Command(Command::AreYouThere)),
        ("B", Typed::Command(Command::Break)),
        ("I", Typed::Command(Command::Interrupt)),
    ];
    for (key, word) in words {
        for mut keys in [Keys::new(), echoed()] {
            assert_eq!(typed(&mut keys, "~"), [], "it waits for the second key");
            assert_eq!(typed(&mut keys, key), std::slice::from_ref(&word));
            typed(&mut keys, "a\r");
            assert_eq!(typed(&mut keys, &format!("~{key}")), std::slice::from_ref(&word));
            assert!(!typed(&mut keys, &format!("a~{key}")).contains(&word), "not within a line");
        }
    }
    assert_eq!(typed(&mut echoed(), "~~."), [input("~.")]);
    assert_eq!(typed(&mut echoed(), "~x"), [input("~x")]);
    assert_eq!(typed(&mut Keys::new(), "~~.\r"), [show("~.\n"), input("~.\r\n")]);
    // A line of which everything was taken away begins again.
    assert_eq!(typed(&mut Keys::new(), "a\x7f~."), [show("a\x08 \x08"), Typed::Leave]);
}
