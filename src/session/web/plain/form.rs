//! What comes back of the plain page: the query of its address, and its forms. Pure.

use thiserror::Error;
use zeroize::Zeroizing;

/// The longest form that is read, in bytes.
pub const MAX_FORM: usize = 64 * 1024;

/// What the address of the plain page says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// The page loads itself again and again.
    pub refresh: bool,
    /// Whether what is typed is hidden; if the user has not said, the page decides.
    pub hidden: Option<bool>,
    /// The page may wait a moment for output from this offset on.
    pub after: Option<u64>,
    /// The output before this was on the pages before it, or is to be left out: only now does it count as arrived.
    pub seen: Option<u64>,
    /// What is to be shown begins here, and not with the latest output.
    pub from: Option<u64>,
    /// The form before was not sent, since others had typed in its place.
    pub conflict: bool,
}

/// What a button means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make a session.
    Open,
    /// Send what was typed, and Enter.
    Send,
    /// Telnet's IP.
    Interrupt,
    /// Telnet's BRK.
    Break,
    /// Telnet's AYT.
    AreYouThere,
    /// Do without the output that is before the page.
    LeaveOut,
    /// Close the session.
    End,
}

/// A form that was posted. It has no `Debug`, since what was typed may be a secret; that is wiped.
#[derive(Clone)]
pub struct Form {
    /// What is to be done.
    pub action: Action,
    /// The form's token, to be checked before anything else.
    pub token: String,
    /// Where in the input the line belongs.
    pub offset: u64,
    /// What was typed.
    pub line: Zeroizing<String>,
    /// How the page was asked for, and so how to go back to it.
    pub query: Query,
}

/// Why a body is no form of ours. It repeats nothing of the body.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum BadForm {
    /// Longer than [`MAX_FORM`].
    #[error("a form has at most {MAX_FORM} bytes")]
    TooLong,
    /// Not `application/x-www-form-urlencoded` in UTF-8.
    #[error("the form is not encoded as forms are")]
    Encoding,
    /// The field is missing, is there twice, or has a value that we do not know.
    #[error("the form's field {0:?} is missing or wrong")]
    Field(&'static str),
}

impl Query {
    /// From the part of the address behind `?`. What is not known or wrong counts as not said: it is but a view.
    pub fn parse(query: &str) -> Query {
        let mut parsed = Query::default();
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            match name {
                "refresh" => parsed.refresh = value == "on",
                "typing" => parsed.hidden = hidden(value),
                "after" => parsed.after = value.parse().ok(),
                "seen" => parsed.seen = value.parse().ok(),
                "from" => parsed.from = value.parse().ok(),
                "told" => parsed.conflict = value == "conflict",
                _ => {}
            }
        }
        parsed
    }

    /// The address that says so of a session, with the offset that its output is to go beyond.
    pub fn location(&self, id: &str, after: Option<u64>) -> String {
        let refresh = self.refresh.then(|| "refresh=on".to_owned());
        let typing = self.hidden.map(|hidden| format!("typing={}", typing(hidden)));
        let number = |name: &str, value: Option<u64>| value.map(|value| format!("{name}={value}"));
        let numbers = [number("after", after), number("seen", self.seen), number("from", self.from)];
        let conflict = self.conflict.then(|| "told=conflict".to_owned());
        let pairs: Vec<_> = [refresh, typing, conflict].into_iter().chain(numbers).flatten().collect();
        let query = if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) };
        let place = if self.from.is_some() { "output" } else { "end" };
        format!("{}/{id}{query}#{place}", super::PATH)
    }
}

impl Form {
    /// From the body of a request.
    pub fn parse(body: &[u8]) -> Result<Form, BadForm> {
        if body.len() > MAX_FORM {
            return Err(BadForm::TooLong);
        }
        let fields = fields(body)?;
        let action = one(&fields, "do").and_then(action).ok_or(BadForm::Field("do"))?;
        let token = one(&fields, "token").ok_or(BadForm::Field("token"))?.to_owned();
        let wants_line = action == Action::Send;
        let line = match one(&fields, "line") {
            Some(line) => Zeroizing::new(line.to_owned()),
            None if wants_line => return Err(BadForm::Field("line")),
            None => Zeroizing::default(),
        };
        let offset = match one(&fields, "offset").map(str::parse) {
            Some(Ok(offset)) => offset,
            None if !wants_line => 0,
            Some(Err(_)) | None => return Err(BadForm::Field("offset")),
        };
        let refresh = one(&fields, "refresh") == Some("on");
        let hidden = one(&fields, "typing").and_then(hidden);
        let seen = one(&fields, "seen").and_then(|seen| seen.parse().ok());
        Ok(Form { action, token, offset, line, query: Query { refresh, hidden, seen, ..Query::default() } })
    }
}

/// The fields by which a form keeps how its page was asked for.
pub(super) fn kept(query: &Query) -> String {
    let refresh = if query.refresh { "<input type=\"hidden\" name=\"refresh\" value=\"on\">" } else { "" };
    let typing = query.hidden.map_or_else(String::new, |hidden| {
        format!("<input type=\"hidden\" name=\"typing\" value=\"{}\">", typing(hidden))
    });
    let seen =
        query.seen.map_or_else(String::new, |seen| format!("<input type=\"hidden\" name=\"seen\" value=\"{seen}\">"));
    format!("{refresh}{typing}{seen}")
}

fn typing(hidden: bool) -> &'static str {
    if hidden { "hidden" } else { "shown" }
}

fn hidden(value: &str) -> Option<bool> {
    match value {
        "hidden" => Some(true),
        "shown" => Some(false),
        _ => None,
    }
}

fn action(value: &str) -> Option<Action> {
    match value {
        "open" => Some(Action::Open),
        "send" => Some(Action::Send),
        "interrupt" => Some(Action::Interrupt),
        "break" => Some(Action::Break),
        "are-you-there" => Some(Action::AreYouThere),
        "leave-out" => Some(Action::LeaveOut),
        "end" => Some(Action::End),
        _ => None,
    }
}

type Fields = Vec<(String, Zeroizing<String>)>;

/// The value of a field that is there once.
fn one<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    let mut values = fields.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let first = values.next();
    if values.next().is_some() { None } else { first }
}

fn fields(body: &[u8]) -> Result<Fields, BadForm> {
    let pairs = body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let equals = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
            let value = pair.get(equals + 1..).unwrap_or_default();
            Ok((decode(&pair[..equals])?.to_string(), decode(value)?))
        })
        .collect()
}

/// `+` is a space, `%` and two digits are a byte. Made with room for all, so that no copy stays behind.
fn decode(encoded: &[u8]) -> Result<Zeroizing<String>, BadForm> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.iter();
    while let Some(&byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit =
                    || rest.next().and_then(|digit| char::from(*digit).to_digit(16)).ok_or(BadForm::Encoding);
                (digit()? << 4 | digit()?) as u8
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).map(Zeroizing::new).map_err(|_| BadForm::Encoding)
}
