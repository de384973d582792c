//! The plain page: a session without scripts. The gateway shows the output as text, and a form posts the input. Pure.
//!
//! `GET /plain` is [`start`] and `GET /plain/ID` is [`session`]; their forms come back to where they were as a [`Form`], and
//! the answer to that is a redirect (303) to [`Query::location`], so that loading the page again posts nothing again. A form
//! is believed only if three things are right: the cookie, `Origin`, and the form's own [token], which is made of what only
//! the cookie has. So another site can post nothing here, though forms have a simple content type.
//!
//! Input has its offset in the form: the same form posted twice is sent once. Two more headers belong to these documents
//! than to others: [`PLAIN_POLICY`](super::page::PLAIN_POLICY) and
//! [`PLAIN_REFERRER_POLICY`](super::page::PLAIN_REFERRER_POLICY).

use crate::session::frame::{Command, Destination};

pub mod form;
pub mod text;
pub mod token;

pub use form::{Action, BadForm, Form, MAX_FORM, Query};

/// Where the plain page is; a session's id follows as another part of the path.
pub const PATH: &str = "/plain";

/// How often a page that loads itself does so, in seconds.
pub const REFRESH_SECONDS: u16 = 5;

/// What is told of a form whose line, or the end of it, is in the field again.
pub const NOT_ALL: &str =
    "Not all of your line was sent: what was not is in the field again, unless it is typed hidden.";
/// What is told of a form whose line was not sent.
pub const NOTHING: &str = "The destination does not take its input: your line was not sent.";
/// What is told of a form for an input that is over.
pub const NO_MORE: &str = "The input has ended: your line was not sent.";
/// What is told of a form whose line is in the place of others.
const CONFLICT: &str = "Others have typed meanwhile: your line was not sent. Here is what there is now.";

/// What is to be shown of a session.
#[derive(Clone, Debug)]
pub struct View<'a> {
    /// Which: its id as text.
    pub id: &'a str,
    /// The output that there still is.
    pub output: &'a [u8],
    /// Where that begins in the stream. Beyond 0, something before it is not shown.
    pub base: u64,
    /// How much more output there is behind it by now.
    pub more: u64,
    /// All before this was seen on a page or has arrived elsewhere, or is not to be had any more. What is between here and `base` is
    /// skipped, and does not count as arrived.
    pub first: u64,
    /// Where the input goes on.
    pub input_next: u64,
    /// What the destination has said last about echo, and where in the output it said so.
    pub echo: Option<Echo>,
    /// What became of the destination.
    pub destination: Destination,
    /// How the page was asked for.
    pub query: Query,
    /// Something to be told once, as that a form was too old.
    pub notice: Option<&'a str>,
    /// What is in the field: what could not be sent. What is typed hidden is not shown by its being there.
    pub line: &'a str,
}

/// The destination echoes or hides what is typed, or does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    /// Bytes of output before it.
    pub offset: u64,
    /// It does.
    pub on: bool,
}

/// The page of somebody who is at no session. `ids`: the sessions that the browser has cookies of.
pub fn start(token: &str, ids: &[&str], notice: Option<&str>) -> String {
    let link = |id: &&str| {
        let (location, id) = (text::escape(&Query::default().location(id, None)), text::escape(id));
        format!("<li><a href=\"{location}\">Go on with session {}</a></li>", id.get(..8).unwrap_or(&id))
    };
    let links: String = ids.iter().map(link).collect();
    let links = if links.is_empty() { links } else { format!("<ul>{links}</ul>") };
    fill(
        include_str!("page/plain_start.html"),
        &[
            ("version", super::page::version()),
            ("notice", &notice_text(notice)),
            ("sessions", &links),
            ("token", &text::escape(token)),
        ],
    )
}

/// The page of a session. Wherever it leads, it says what of the output was seen: all that is shown on it, unless something
/// before that was not; or what its user leaves out.
pub fn session(view: &View<'_>, token: &str) -> String {
    let (view, shown) = &view.cut();
    let seen = view.skipped().unwrap_or_else(|| view.next());
    let query = Query { seen: Some(seen), after: None, from: None, conflict: false, ..view.query };
    let hidden = query.hidden.unwrap_or_else(|| asks_for_secret(view, shown));
    let address = |query: Query| text::escape(&query.location(view.id, None));
    let refresh = if query.refresh { refresh_element(&address(query)) } else { String::new() };
    let (refresh_label, refresh_link) = match query.refresh {
        true => ("Stop loading by itself", Query { refresh: false, ..query }),
        false => ("Load by itself", Query { refresh: true, ..query }),
    };
    let (typing_label, typing) = if hidden { ("Show what I type", false) } else { ("Hide what I type", true) };
    let over = is_over(view.destination);
    let conflict = view.query.conflict.then_some(CONFLICT);
    fill(
        include_str!("page/plain.html"),
        &[
            ("action", &text::escape(&format!("{PATH}/{}", view.id))),
            ("version", super::page::version()),
            ("refresh", &refresh),
            ("notice", &notice_text(view.notice.or(conflict))),
            ("status", words(view.destination)),
            ("phase", if over { "ended" } else { "live" }),
            ("gap", &before_text(view, query, token)),
            ("output", &text::escape(shown)),
            ("more", &behind_text(view, query)),
            ("token", &text::escape(token)),
            ("offset", &view.input_next.to_string()),
            ("kept", &form::kept(&query)),
            ("type", if hidden { "password" } else { "text" }),
            ("line", &if hidden { String::new() } else { text::escape(view.line) }),
            ("disabled", if over { " disabled" } else { "" }),
            ("reload", &address(query)),
            ("refresh_label", refresh_label),
            ("refresh_link", &address(refresh_link)),
            ("typing_label", typing_label),
            ("typing_link", &address(Query { hidden: Some(typing), ..query })),
        ],
    )
}

impl View<'_> {
    /// What of it fits on a page, and that as text. What is looked for is shown from its beginning, and else what is new.
    fn cut(&self) -> (View<'_>, String) {
        let whole = if self.more > 0 { text::whole(self.output) } else { self.output.len() };
        let keep = if self.query.from.is_some() { text::Keep::First } else { text::Keep::Last };
        let text::Shown { text, part } = text::shown(&self.output[..whole], keep);
        let more = self.more + (self.output.len() - part.end) as u64;
        (View { base: self.base + part.start as u64, output: &self.output[part], more, ..self.clone() }, text)
    }

    /// What is before the page and was on none begins here.
    fn skipped(&self) -> Option<u64> {
        (self.base > self.first).then_some(self.first)
    }

    /// Where what is shown ends.
    fn next(&self) -> u64 {
        self.base + self.output.len() as u64
    }
}

/// What is told of the output before that on the page.
fn before_text(view: &View<'_>, query: Query, token: &str) -> String {
    let Some(skipped) = view.skipped() else {
        let gone = "<p class=\"gap\">What came before is not shown.</p>";
        return if view.base > 0 { gone.to_owned() } else { String::new() };
    };
    let address = |query: Query| text::escape(&query.location(view.id, None));
    let show = address(Query { from: Some(skipped), ..query });
    // What drops output is no link, which programs may follow by themselves.
    let (action, token) = (text::escape(&format!("{PATH}/{}", view.id)), text::escape(token));
    let kept = form::kept(&Query { seen: Some(view.next()), ..query });
    format!(
        "<form method=\"post\" action=\"{action}\" class=\"gap\"><input type=\"hidden\" name=\"token\" value=\"{token}\">{kept}\
         {} bytes before this are not shown. They are kept, and the destination may have to wait. \
         <a href=\"{show}\">Show them</a> <button name=\"do\" value=\"leave-out\">Leave them out</button></form>",
        view.base - skipped
    )
}

/// What is told of the output behind that on the page.
fn behind_text(view: &View<'_>, query: Query) -> String {
    if view.more == 0 {
        return String::new();
    }
    let on = text::escape(&Query { from: Some(view.next()), ..query }.location(view.id, None));
    format!("<p class=\"gap\">{} bytes more have come. <a href=\"{on}\">Go on</a></p>", view.more)
}

/// The input that a form means: what is typed, and Enter. CR LF is what telnet and lines alike understand.
pub fn line(typed: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(typed.len() + 2);
    bytes.extend_from_slice(typed.as_bytes());
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// What is left of a line of which the first so many bytes were sent, with what ends it. It is sent by whole letters; one of which
/// a part was sent could not be typed any more.
pub fn rest(typed: &str, sent: u64) -> &str {
    let sent = usize::try_from(sent).unwrap_or(usize::MAX);
    (sent..typed.len()).find_map(|at| typed.get(at..)).unwrap_or_default()
}

/// The command that a button stands for.
pub fn command(action: Action) -> Option<Command> {
    match action {
        Action::Interrupt => Some(Command::Interrupt),
        Action::Break => Some(Command::Break),
        Action::AreYouThere => Some(Command::AreYouThere),
        Action::Open | Action::Send | Action::LeaveOut | Action::End => None,
    }
}

/// Whether what is typed next may well be a secret: the destination has begun to echo or hide within the last line, as
/// those do that hide a password; or the last line asks for one; or there is more, which may ask for one and is not seen here.
fn asks_for_secret(view: &View<'_>, shown: &str) -> bool {
    let last = view.output.iter().rposition(|byte| *byte == b'\n').map_or(0, |place| place + 1);
    let line_begins = view.base.saturating_add(last as u64);
    let hides = view.echo.is_some_and(|echo| echo.on && echo.offset > 0 && echo.offset >= line_begins);
    view.more > 0 || hides || text::is_prompt_for_secret(shown)
}

fn refresh_element(again: &str) -> String {
    format!("<meta http-equiv=\"refresh\" content=\"{REFRESH_SECONDS}; url={again}\">")
}

fn notice_text(notice: Option<&str>) -> String {
    notice.map_or_else(String::new, |notice| format!("<p class=\"notice\" role=\"alert\">{}</p>", text::escape(notice)))
}

fn is_over(destination: Destination) -> bool {
    !matches!(destination, Destination::Connecting | Destination::Open)
}

/// The same words as on the terminal page.
fn words(destination: Destination) -> &'static str {
    match destination {
        Destination::Connecting => "Connecting",
        Destination::Open => "Live",
        Destination::Eof => "Ended: the destination has closed the connection",
        Destination::Reset => "Ended: the connection to the destination broke",
        Destination::Refused => "Ended: the destination refused the connection or cannot be reached",
        Destination::Timeout => "Ended: the destination did not answer in time",
        Destination::Unresolved => "Ended: the destination's name is not known",
    }
}

/// Puts each value in its place, `{{name}}`, in one pass: what looks like a place in a value stays text.
fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut rest = template;
    let mut filled = String::with_capacity(template.len() + values.iter().map(|(_, value)| value.len()).sum::<usize>());
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").unwrap_or((after, ""));
        filled.push_str(before);
        filled.push_str(values.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value));
        rest = after;
    }
    filled.push_str(rest);
    filled
}

#[cfg(test)]
mod tests;
