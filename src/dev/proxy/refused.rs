//! The answer to a request that no server answers: a page for browsers, JSON for programs that want it, otherwise text.

use super::body::{Body, whole};
use crate::dev::error_page::{self, Failure as Shown};
use crate::dev::event::Refusal;
use crate::dev::gate::Why;
use crate::dev::inject::policy::Ours;
use hyper::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, VARY,
};
use hyper::{HeaderMap, Response, StatusCode};
use serde_json::json;

const NOSNIFF: HeaderName = HeaderName::from_static("x-content-type-options");
/// What follows when there is a server again.
const LOADED_AGAIN: &str = "This page is loaded again when there is a server.";
const TRIED_AGAIN: &str = "It is tried again when a file changes.";

/// What the client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Html,
    Json,
    Text,
}

/// What the commands are, as lines for a reader.
#[derive(Clone, Debug, Default)]
pub(in crate::dev) struct Commands {
    pub(in crate::dev) server: String,
    pub(in crate::dev) build: String,
}

impl Form {
    /// The one of the media types with the greatest weight (RFC 9110, 12.5.1) that is named; of equal ones the first.
    pub(super) fn of(headers: &HeaderMap) -> Form {
        let lines = headers.get_all(ACCEPT).into_iter().filter_map(|line| line.to_str().ok());
        let mut best = (Form::Text, 0.0);
        for range in lines.flat_map(|line| line.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let form = match parts.next().unwrap_or_default().to_ascii_lowercase().as_str() {
                "text/html" | "application/xhtml+xml" => Form::Html,
                "application/json" => Form::Json,
                "text/plain" => Form::Text,
                _ => continue,
            };
            let weight = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
            let weight = weight.map_or(1.0, |weight| weight.parse().unwrap_or(0.0));
            if weight > best.1 {
                best = (form, weight);
            }
        }
        best.0
    }
}

/// The answer. `ours`: what lets a page load itself again.
pub(super) fn answer(refusal: &Refusal, form: Form, commands: &Commands, ours: Option<&Ours>) -> Response<Body> {
    let (title, command, outlook) = words(refusal, commands);
    let lines = refusal.failure.iter().filter(|_| refusal.why == Why::Failed).flat_map(|failure| &failure.lines);
    let output = lines.flat_map(|line| [line.as_slice(), b"\n"].concat()).collect::<Vec<u8>>();
    let shown = Shown { title: &title, command, output: &output, outlook };
    let (kind, text) = match (form, ours) {
        (Form::Html, Some(ours)) => ("text/html; charset=utf-8", error_page::html(&shown, ours)),
        (Form::Json, _) => ("application/json", as_json(refusal.why, &shown)),
        (Form::Html | Form::Text, _) => ("text/plain; charset=utf-8", error_page::plain(&shown)),
    };
    let mut response = Response::new(whole(text));
    *response.status_mut() = status(refusal.why);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    // What is wrong now is not what will be wrong the next time.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(VARY, HeaderValue::from_static("accept"));
    headers.insert(NOSNIFF, HeaderValue::from_static("nosniff"));
    if let (Form::Html, Some(policy)) = (form, ours.and_then(|ours| error_page::policy(ours).parse().ok())) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    if refusal.why == Why::Full {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// The status of a refusal.
fn status(why: Why) -> StatusCode {
    match why {
        Why::Failed | Why::Full | Why::Ending => StatusCode::SERVICE_UNAVAILABLE,
        Why::TooLong => StatusCode::GATEWAY_TIMEOUT,
        Why::Lost => StatusCode::BAD_GATEWAY,
    }
}

/// What has happened, what was run, and what is to be expected.
fn words<'a>(refusal: &Refusal, commands: &'a Commands) -> (String, &'a str, &'static str) {
    let title = |text: &str| text.to_owned();
    match (refusal.why, &refusal.failure) {
        (Why::Failed, Some(failure)) => {
            let command = if failure.of_build { &commands.build } else { &commands.server };
            (sentence(&failure.summary), command, TRIED_AGAIN)
        }
        (Why::Failed, None) => (title("The server does not run"), &commands.server, TRIED_AGAIN),
        (Why::Full, _) => (title("Too many requests wait for the server"), "", LOADED_AGAIN),
        (Why::TooLong, _) => (title("The server was not ready in time for this request"), "", LOADED_AGAIN),
        (Why::Lost, _) => {
            (title("The server has not answered this request"), "", "It has closed the connection, or refused it.")
        }
        (Why::Ending, _) => (title("The proxy ends"), "", "It is to be started again by whoever has started it."),
    }
}

fn as_json(why: Why, shown: &Shown<'_>) -> String {
    let code = match why {
        Why::Failed => "failed",
        Why::Full => "full",
        Why::TooLong => "too_long",
        Why::Lost => "lost",
        Why::Ending => "ending",
    };
    let output = error_page::output_as_text(shown);
    json!({"error": code, "message": shown.title, "command": shown.command, "output": output}).to_string()
}

/// With a capital letter.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::{Commands, Form, answer};
    use crate::dev::event::{Failure, Refusal};
    use crate::dev::gate::Why;
    use crate::dev::inject::policy::Ours;
    use http_body_util::BodyExt;
    use hyper::header::{ACCEPT, HeaderMap};
    use std::sync::Arc;

    const EVERY: [(Why, u16); 5] =
        [(Why::Failed, 503), (Why::Full, 503), (Why::Ending, 503), (Why::TooLong, 504), (Why::Lost, 502)];

    fn refusal(why: Why, of_build: bool) -> Refusal {
        let lines = vec![b"\x1b[31merror\x1b[0m: <no>".to_vec(), b"\x07x".to_vec()];
        let failure = Failure { summary: "the server exited with status 3".into(), lines, of_build };
        Refusal { why, failure: Some(Arc::new(failure)), build: None }
    }

    fn text(refusal: &Refusal, form: Form) -> String {
        let commands = Commands { server: "./serve".into(), build: "make all".into() };
        let ours = Ours::on("localhost", false, "a-1".into(), "n0nce".into());
        let body = answer(refusal, form, &commands, ours.as_ref()).into_body();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        String::from_utf8(runtime.block_on(body.collect()).unwrap().to_bytes().to_vec()).unwrap()
    }

    #[test]
    fn a_failure_is_told_with_its_last_lines_in_each_form() {
        let failed = refusal(Why::Failed, false);
        let expected =
            "The server exited with status 3\n\n./serve\n\nerror: <no>\nx\n\nIt is tried again when a file changes.\n";
        assert_eq!(text(&failed, Form::Text), expected);
        let page = text(&failed, Form::Html);
        assert!(page.contains("error</span>: &lt;no&gt;") && page.contains("./serve"), "{page}");
        let json: serde_json::Value = serde_json::from_str(&text(&failed, Form::Json)).unwrap();
        assert_eq!(json["error"], "failed");
        assert_eq!(json["output"], "error: <no>\nx\n");
        assert!(text(&refusal(Why::Failed, true), Form::Text).contains("\nmake all\n"), "the build's command");
    }

    #[test]
    fn other_refusals_say_nothing_of_a_failure_that_is_not_theirs() {
        for (why, _) in EVERY.iter().filter(|(why, _)| *why != Why::Failed) {
            for form in [Form::Text, Form::Html, Form::Json] {
                assert!(!text(&refusal(*why, false), form).contains("error: "), "{why:?}");
            }
        }
    }

    #[test]
    fn each_refusal_has_its_status_and_is_kept_by_nobody() {
        for (why, status) in EVERY {
            for form in [Form::Text, Form::Html, Form::Json] {
                let ours = Ours::on("localhost", false, "a-1".into(), "n0nce".into());
                let response = answer(&refusal(why, false), form, &Commands::default(), ours.as_ref());
                let headers = response.headers();
                assert_eq!(response.status(), status);
                assert_eq!(headers["cache-control"], "no-store");
                assert_eq!(headers.contains_key("retry-after"), why == Why::Full);
                let policy = headers.get("content-security-policy").map(|policy| policy.to_str().unwrap());
                assert_eq!(policy.is_some_and(|policy| policy.contains("'nonce-n0nce'")), form == Form::Html);
            }
        }
    }

    #[test]
    fn a_client_gets_the_form_that_it_wants_most() {
        let form = |accepted: &'static str| {
            Form::of(&HeaderMap::from_iter([(ACCEPT, hyper::header::HeaderValue::from_static(accepted))]))
        };
        assert_eq!(Form::of(&HeaderMap::new()), Form::Text);
        for (accepted, wanted) in [
            ("*/*", Form::Text),
            ("", Form::Text),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Form::Html),
            ("application/json", Form::Json),
            ("application/json, text/plain, */*", Form::Json),
            ("text/html;q=0.5, application/json;q=0.9", Form::Json),
            ("Text/HTML; charset=utf-8 ; Q=0.1", Form::Html),
            ("text/html;q=0", Form::Text),
            ("text/html;q=x", Form::Text),
            ("text/plain, text/html", Form::Text),
            ("image/png", Form::Text),
        ] {
            assert_eq!(form(accepted), wanted, "{accepted}");
        }
    }
}
