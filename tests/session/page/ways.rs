//! The ways from the page to its session: chosen, or found where a WebSocket does not get through.

use std::net::Ipv4Addr;

use serde_json::json;

use super::stage::Stage;
use super::{destinations, guests};
use crate::harness::browser::{NEEDS, key};
use crate::harness::island::{on_an_island, shell};

guests![NEEDS;
    a_session_goes_on_over_every_way,
    every_way_leads_to_another_machine_without_tls,
    a_page_whose_websockets_do_not_get_through_takes_events,
    a_page_whose_events_do_not_get_through_either_polls,
    the_gateway_may_be_killed_on_every_way,
];

/// The way that the page says that it goes.
const WAY: &str = "return document.body.dataset.way";

fn say(stage: &Stage, word: &str) {
    stage.browser.keys(word);
    stage.browser.keys(key::ENTER);
    stage.wait_line(&format!("you said: {word}"));
}

fn a_session_goes_on_over_every_way() {
    let stage = Stage::new(destinations::lines());
    for (number, way) in ["ws", "poll", "sse", "ws", "sse", "poll"].into_iter().enumerate() {
        stage.open(&format!("/?transport={way}"));
        for earlier in 0..number {
            stage.wait_line(&format!("you said: word {earlier}"));
        }
        say(&stage, &format!("word {number}"));
        assert_eq!(stage.browser.run(WAY), way);
        let screen = stage.screen();
        assert_eq!(screen.matches("welcome").count(), 1, "{screen}");
        assert_eq!(stage.is("#break", "disabled"), way != "ws", "only a WebSocket carries telnet's commands");
    }
    stage.expect_quiet_console();
}

fn every_way_leads_to_another_machine_without_tls() {
    on_an_island(|| {
        shell("ip address add 192.0.2.1/32 dev lo");
        let stage = Stage::at(Ipv4Addr::new(192, 0, 2, 1), destinations::lines(), &[]);
        for way in ["poll", "sse", "ws"] {
            stage.open(&format!("/?transport={way}"));
            assert_eq!(stage.browser.run("return isSecureContext"), false, "so the browser says nothing of sites");
            say(&stage, &format!("by {way}"));
            assert_eq!(stage.browser.run(WAY), way);
        }
        stage.expect_quiet_console();
    });
}

/// Lets requests fail before the page's own scripts run.
fn forbid(stage: &Stage, script: &str) {
    stage.browser.devtools("Page.addScriptToEvaluateOnNewDocument", &json!({ "source": script }));
}

/// The gateway refuses the upgrade, as a proxy in front of it may.
const NO_SOCKETS: &str = "const Socket = WebSocket;
    WebSocket = class extends Socket { constructor(address, names) { super(`${address}/no`, names); } };";

fn a_page_whose_websockets_do_not_get_through_takes_events() {
    let stage = Stage::new(destinations::lines());
    forbid(&stage, NO_SOCKETS);
    stage.open("/");
    say(&stage, "hello");
    assert_eq!(stage.browser.run(WAY), "sse");
}

fn a_page_whose_events_do_not_get_through_either_polls() {
    let stage = Stage::new(destinations::lines());
    forbid(&stage, NO_SOCKETS);
    forbid(
        &stage,
        "const ask = fetch; fetch = (address, options) => String(address).endsWith('/events') ? Promise.reject(new TypeError('no')) : ask(address, options);",
    );
    stage.open("/");
    say(&stage, "hello");
    assert_eq!(stage.browser.run(WAY), "poll");
}

fn the_gateway_may_be_killed_on_every_way() {
    let mut stage = Stage::new(destinations::lines());
    for way in ["ws", "sse", "poll"] {
        stage.open(&format!("/?transport={way}"));
        say(&stage, &format!("before {way}"));
        stage.kill_gateway();
        stage.wait_phase("away");
        stage.start_gateway();
        stage.wait_phase("live");
        say(&stage, &format!("after {way}"));
        let screen = stage.screen();
        assert_eq!(screen.matches(&format!("you said: before {way}")).count(), 1, "{screen}");
    }
}
