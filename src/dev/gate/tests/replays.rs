//! Which requests may go to a second server.

use crate::dev::gate::{Attempt, may_replay};

const WHOLE: Attempt<'static> = Attempt { method: "GET", sent: true, body_kept: true, answered: false };

#[test]
fn what_changes_nothing_may_be_sent_again() {
    for method in ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"] {
        assert!(may_replay(Attempt { method, ..WHOLE }), "{method}");
    }
}

#[test]
fn what_may_have_been_done_is_not_done_again() {
    for method in ["POST", "PATCH", "CONNECT", "get", "PURGE", ""] {
        assert!(!may_replay(Attempt { method, ..WHOLE }), "{method}");
        assert!(may_replay(Attempt { method, sent: false, ..WHOLE }), "{method} that was not sent");
    }
}

#[test]
fn nothing_is_sent_again_whose_body_is_gone_or_whose_answer_has_begun() {
    for sent in [false, true] {
        assert!(!may_replay(Attempt { sent, body_kept: false, ..WHOLE }));
        assert!(!may_replay(Attempt { sent, answered: true, ..WHOLE }));
    }
}
