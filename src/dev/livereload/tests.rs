//! The messages, word by word.

use super::{Said, alert, hello, read, reload};
use crate::dev::gate::Change;

#[test]
fn a_client_is_greeted_in_the_protocol_of_its_choice() {
    assert_eq!(
        hello(),
        r#"{"command":"hello","protocols":["http://livereload.com/protocols/official-7"],"serverName":"socket-protector"}"#
    );
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
fn pages_are_loaded_anew_and_styles_exchanged() {
    let page = r#"{"command":"reload","path":"/","liveCSS":true}"#;
    assert_eq!(reload(Change::Files, &["a.css".into()]), [page]);
    assert_eq!(reload(Change::Styles, &[]), [page], "one whose path nobody knows");
    let styles = ["css/a.css".to_owned(), "b \"c\".css".to_owned()];
    assert_eq!(
        reload(Change::Styles, &styles),
        [
            r#"{"command":"reload","path":"css/a.css","liveCSS":true}"#,
            r#"{"command":"reload","path":"b \"c\".css","liveCSS":true}"#
        ]
    );
}

#[test]
fn an_alert_is_one_message_whatever_its_text() {
    assert_eq!(alert("line 1\n\"2\""), r#"{"command":"alert","message":"line 1\n\"2\""}"#);
}
