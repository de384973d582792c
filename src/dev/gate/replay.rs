//! Which requests may be sent a second time.

/// How far a request has got at a server that then did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt<'a> {
    /// The request's method: its letters are not folded (RFC 9110, 9.1).
    pub method: &'a str,
    /// A part of the request may have reached the server.
    pub sent: bool,
    /// All of the body is still at hand, or there is none.
    pub body_kept: bool,
    /// A part of the answer has reached us, be it only an interim one that was passed on.
    pub answered: bool,
}

/// Whether another server may get the request.
///
/// One that has not been sent may go anywhere. What may have been done already is done again only where the method says
/// that this changes nothing: the idempotent ones of RFC 9110, 9.2.2.
pub fn may_replay(attempt: Attempt<'_>) -> bool {
    let idempotent = matches!(attempt.method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE");
    !attempt.answered && attempt.body_kept && (!attempt.sent || idempotent)
}
