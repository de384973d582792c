//! The plain page: scripts off, a browser all the same; and what another site cannot do.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use super::stage::Stage;
use super::{destinations, guests};
use crate::harness::browser::{NEEDS, key};
use crate::harness::{PATIENCE, until};

guests![NEEDS;
    a_session_is_used_without_scripts,
    a_terminal_page_without_scripts_leads_to_the_plain_one,
    a_line_that_is_posted_twice_is_sent_once,
    a_line_in_whose_place_others_have_typed_is_not_sent_and_that_is_told,
    what_is_typed_at_a_password_is_hidden,
    both_pages_share_a_session,
    a_form_of_another_site_changes_nothing,
];

/// The plain page with a session, scripts off.
fn opened(stage: &Stage) {
    stage.browser.scripts(false);
    stage.browser.open(&stage.url("/plain"));
    turn(stage, || stage.browser.click("[value=open]"));
    wait_output(stage, "welcome");
}

/// Does what leads to another page, and waits for that.
#[track_caller]
fn turn(stage: &Stage, act: impl FnOnce()) {
    stage.browser.run("document.documentElement.dataset.old = 'yes'");
    act();
    stage.browser.until(
        "there is another page",
        "return document.readyState === 'complete' && document.documentElement.dataset.old === undefined",
    );
}

/// Loads the page again until the output has this: nothing does that by itself.
#[track_caller]
fn wait_output(stage: &Stage, what: &str) {
    until(&format!("the output has {what}"), PATIENCE, || {
        let output = stage.browser.text("#output");
        if output.contains(what) {
            return Ok(());
        }
        turn(stage, || stage.browser.click("nav a"));
        Err(output)
    });
}

fn send(stage: &Stage, line: &str) {
    stage.browser.click("#line");
    stage.browser.keys(line);
    turn(stage, || stage.browser.keys(key::ENTER));
}

fn a_session_is_used_without_scripts() {
    let stage = Stage::new(destinations::lines());
    opened(&stage);
    assert_eq!(stage.browser.text("#status"), "Live");
    send(&stage, "a <b>line</b> & more");
    wait_output(&stage, "you said: a <b>line</b> & more");
    // It is found again.
    stage.browser.open(&stage.url("/plain"));
    turn(&stage, || stage.browser.click("ul a"));
    wait_output(&stage, "you said: a <b>line</b>");
    let address = stage.browser.url();
    assert!(!address.contains("sks_"), "{address}");
    // By itself, where that is wanted.
    turn(&stage, || stage.browser.click("nav a:nth-child(2)"));
    assert_eq!(stage.browser.text("nav a:nth-child(2)"), "Stop loading by itself");
    turn(&stage, || stage.browser.click("nav a:nth-child(2)"));
    turn(&stage, || stage.browser.click("[value=end]"));
    stage.browser.until("there is no session", "return document.querySelector('[value=open]') !== null");
    stage.expect_quiet_console();
}

fn a_terminal_page_without_scripts_leads_to_the_plain_one() {
    let stage = Stage::new(destinations::lines());
    stage.browser.scripts(false);
    stage.browser.open(&stage.url("/"));
    turn(&stage, || stage.browser.click("noscript a"));
    turn(&stage, || stage.browser.click("[value=open]"));
    wait_output(&stage, "welcome");
}

fn a_line_that_is_posted_twice_is_sent_once() {
    let stage = Stage::new(destinations::lines());
    opened(&stage);
    let form = Posted::of(&stage);
    for _ in 0..3 {
        // As a browser does whose user is impatient, or whose answer was lost.
        assert_eq!(form.post(&stage, &form.own(), SAME, &form.token, "once"), "303");
    }
    wait_output(&stage, "you said: once");
    send(&stage, "twice");
    wait_output(&stage, "you said: twice");
    let output = stage.browser.text("#output");
    assert_eq!(output.matches("you said: once").count(), 1, "{output}");
}

fn a_line_in_whose_place_others_have_typed_is_not_sent_and_that_is_told() {
    let stage = Stage::new(destinations::lines());
    opened(&stage);
    let form = Posted::of(&stage);
    assert_eq!(form.post(&stage, &form.own(), SAME, &form.token, "theirs"), "303");
    // The page is one of before that.
    send(&stage, "mine");
    assert!(stage.browser.text(".notice").contains("was not sent"), "{}", stage.browser.text("main"));
    send(&stage, "again");
    wait_output(&stage, "you said: again");
    let output = stage.browser.text("#output");
    assert!(output.contains("you said: theirs") && !output.contains("mine"), "{output}");
}

fn what_is_typed_at_a_password_is_hidden() {
    let stage = Stage::new(destinations::telnet_lines());
    opened(&stage);
    let kind =
        |stage: &Stage| stage.browser.run("return document.querySelector('#line').type").as_str().unwrap().to_owned();
    assert_eq!(kind(&stage), "text");
    send(&stage, "secret");
    wait_output(&stage, "Password:");
    assert_eq!(kind(&stage), "password");
    stage.browser.reload();
    assert_eq!(kind(&stage), "password");
    send(&stage, "hunter");
    wait_output(&stage, "it has 6 letters");
    assert_eq!(kind(&stage), "text");
    assert!(!stage.browser.text("#output").contains("hunter"));
    turn(&stage, || stage.browser.click(".buttons a"));
    assert_eq!((kind(&stage).as_str(), stage.browser.text(".buttons a").as_str()), ("password", "Show what I type"));
}

fn both_pages_share_a_session() {
    let stage = Stage::new(destinations::lines());
    stage.open("/");
    stage.wait_line("welcome");
    stage.browser.keys("from the terminal");
    stage.browser.keys(key::ENTER);
    stage.wait_line("you said: from the terminal");
    let terminal = stage.browser.tab();
    stage.browser.new_tab();
    stage.browser.open(&stage.url("/plain"));
    turn(&stage, || stage.browser.click("ul a"));
    wait_output(&stage, "you said: from the terminal");
    send(&stage, "from the form");
    wait_output(&stage, "you said: from the form");
    // It only looked, and took nothing over.
    stage.browser.show(&terminal);
    stage.wait_phase("live");
    stage.wait_line("you said: from the form");
}

/// The status line and the rest of what is answered to a request by hand.
fn ask(stage: &Stage, head: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(stage.gateway()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    let rest = format!("Content-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    stream.write_all(format!("{head}{rest}").as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// A form as it is in the browser, to be posted by hand.
struct Posted {
    path: String,
    token: String,
    offset: String,
    cookies: String,
    host: String,
}

const SAME: &str = "Sec-Fetch-Site: same-origin\r\n";

impl Posted {
    fn of(stage: &Stage) -> Posted {
        let value = |script: &str| stage.browser.run(script).as_str().unwrap().to_owned();
        let cookies = stage.browser.devtools("Network.getCookies", &serde_json::json!({ "urls": [stage.url("/")] }));
        let pair =
            |cookie: &Value| format!("{}={}", cookie["name"].as_str().unwrap(), cookie["value"].as_str().unwrap());
        let cookies: Vec<_> = cookies["cookies"].as_array().unwrap().iter().map(pair).collect();
        Posted {
            path: value("return location.pathname"),
            token: value("return document.querySelector('[name=token]').value"),
            offset: value("return document.querySelector('[name=offset]').value"),
            cookies: cookies.join("; "),
            host: stage.gateway().to_string(),
        }
    }

    fn own(&self) -> String {
        format!("Origin: http://{}\r\n", self.host)
    }

    /// The status of the answer.
    fn post(&self, stage: &Stage, origin: &str, site: &str, token: &str, line: &str) -> String {
        let (path, host, cookies, offset) = (&self.path, &self.host, &self.cookies, &self.offset);
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\n{origin}{site}Cookie: {cookies}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\n"
        );
        let answer = ask(stage, &head, &format!("do=send&token={token}&offset={offset}&line={line}"));
        answer.split(' ').nth(1).unwrap_or_default().to_owned()
    }
}

fn a_form_of_another_site_changes_nothing() {
    let stage = Stage::new(destinations::lines());
    opened(&stage);
    let form = Posted::of(&stage);
    let (own, token) = (form.own(), form.token.as_str());
    let wrong = "0".repeat(64);
    for (origin, site, sent_token, why) in [
        ("Origin: http://evil.example\r\n", "Sec-Fetch-Site: cross-site\r\n", token, "another site"),
        ("Origin: http://127.0.0.1:1\r\n", "Sec-Fetch-Site: same-site\r\n", token, "another port"),
        ("Origin: null\r\n", SAME, token, "no origin that it would tell"),
        ("", SAME, token, "no origin"),
        (&own, "Sec-Fetch-Site: cross-site\r\n", token, "it says so itself"),
        (&own, SAME, &wrong, "a wrong token"),
        (&own, SAME, "", "no token"),
    ] {
        assert_eq!(form.post(&stage, origin, site, sent_token, "evil"), "403", "{why}");
    }
    let stranger = Posted { cookies: "other=1".to_owned(), ..Posted::of(&stage) };
    let status = stranger.post(&stage, &own, SAME, token, "evil");
    assert!(["401", "403", "404"].contains(&status.as_str()), "no cookie: {status}");
    assert_eq!(form.post(&stage, &own, SAME, token, "good"), "303");
    wait_output(&stage, "you said: good");
    assert!(!stage.browser.text("#output").contains("evil"));
}
