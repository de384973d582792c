//! The messages, word by word.

use super::{Build, Said, alert, hello, read, reload};
use crate::dev::gate::{Change, Generation};

#[test]
fn a_client_is_greeted_in_the_protocol_of_its_choice() {
    assert_eq!(
        hello(None),
        r#"{"command":"hello","protocols":["http://livereload.com/protocols/official-7"],"serverName":"socket-protector"}"#
    );
    assert!(hello(Some("a-1")).ends_with(r#","build":"a-1"}"#));
    let both = r#"{"command":"hello","protocols":["http://livereload.com/protocols/official-6","http://livereload.com/protocols/official-7"]}"#;
    assert_eq!(read(both), Said::Hello);
    assert_eq!(
        read(r#"{"command":"hello","protocols":["http://livereload.com/protocols/official-6"]}"#),
        Said::OtherProtocol
    );
    assert_eq!(read(r#"{"command":"hello","protocols":[]}"#), Said::OtherProtocol);
    assert_eq!(read(r#"{"command":"hello"}"#), Said::Hello);
}

#[test]
fn what_else_a_client_says_changes_nothing() {
    for message in
        ["", "{", "hello", "[]", "7", r#"{"command":"info","url":"http://x/"}"#, r#"{"command":7}"#, r#"["hello"]"#]
    {
        assert_eq!(read(message), Said::Else, "{message}");
    }
}

#[test]
fn a_change_is_one_message_whatever_has_changed() {
    let message = |path: &str| format!(r#"{{"command":"reload","path":"{path}","liveCSS":true,"build":"a-2"}}"#);
    let styles = ["css/a \"b\".css".to_owned(), "c.css".to_owned()];
    assert_eq!(reload(Change::Files, &styles, "a-2"), message("/"));
    assert_eq!(reload(Change::Styles, &styles[..1], "a-2"), message(r#"css/a \"b\".css"#));
    assert_eq!(reload(Change::Styles, &styles, "a-2"), message("*.css"));
    assert_eq!(reload(Change::Styles, &[], "a-2"), message("*.css"), "those whose paths nobody knows");
}

#[test]
fn a_build_is_known_by_its_process_its_generation_and_whether_it_answers() {
    let build = |generation, up| Build { generation: Generation(generation), up };
    let ids = [build(1, true).id("a"), build(1, true).id("b"), build(2, true).id("a"), build(2, false).id("a")];
    assert_eq!(ids, ["a-1", "b-1", "a-2", "a-2-failed"]);
}

#[test]
fn an_alert_is_one_message_whatever_its_text() {
    assert_eq!(alert("line 1\n\"2\""), r#"{"command":"alert","message":"line 1\n\"2\""}"#);
}
