//! How the pages look: on a phone, by day and by night, and that nothing jumps.

use serde_json::Value;

use super::stage::Stage;
use super::{destinations, guests};
use crate::harness::browser::{NEEDS, key};
use crate::harness::{PATIENCE, until};

guests![NEEDS;
    a_phone_has_all_of_it,
    a_phone_has_the_keys_that_its_keyboard_lacks,
    the_colours_are_those_of_the_system,
    nothing_moves_when_the_state_changes,
    the_terminal_fills_its_place_and_tells_its_size,
];

/// Whether the page is wider than the screen.
const OVERFLOWS: &str = "return document.documentElement.scrollWidth > innerWidth";

fn a_phone_has_all_of_it() {
    let stage = Stage::new(destinations::lines());
    stage.browser.phone(360, 640);
    stage.open("/");
    stage.wait_line("welcome");
    assert_eq!(stage.browser.run(OVERFLOWS), Value::Bool(false));
    let columns = "return document.querySelector('.xterm-screen').offsetWidth <= innerWidth";
    assert_eq!(stage.browser.run(columns), Value::Bool(true));
    // The buttons are behind one.
    let shown = "return getComputedStyle(document.querySelector('#tools')).display !== 'none'";
    assert_eq!(stage.browser.run(shown), Value::Bool(false));
    stage.browser.click("#more");
    assert_eq!(stage.browser.run(shown), Value::Bool(true));
    for button in ["#interrupt", "#break", "#ayt", "#new", "#end"] {
        let within = format!(
            "const place = document.querySelector('{button}').getBoundingClientRect();
             return place.left >= 0 && place.right <= innerWidth && place.bottom <= innerHeight && place.height >= 38"
        );
        assert_eq!(stage.browser.run(&within), Value::Bool(true), "{button}");
    }
    assert_eq!(stage.browser.run(OVERFLOWS), Value::Bool(false));
    stage.browser.click("#more");
    stage.browser.keys("short");
    stage.browser.keys(key::ENTER);
    stage.wait_line("you said: short");
    // Narrower than any phone.
    stage.browser.phone(320, 560);
    stage.browser.until("it fits", "return document.querySelector('.xterm-screen').offsetWidth <= innerWidth");
    assert_eq!(stage.browser.run(OVERFLOWS), Value::Bool(false));
}

fn a_phone_has_the_keys_that_its_keyboard_lacks() {
    use std::io::Read;
    let (sender, heard) = std::sync::mpsc::channel();
    let destination = destinations::serve(move |mut stream| {
        let sender = sender.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 1024];
            while let Ok(count @ 1..) = stream.read(&mut bytes) {
                sender.send(bytes[..count].to_vec()).unwrap();
            }
        });
    });
    let stage = Stage::new(destination);
    stage.browser.phone(390, 780);
    stage.open("/");
    stage.browser.until("local echo is on", "return document.querySelector('#echo').checked");
    stage.browser.click("#more");
    stage.browser.click("#echo");
    stage.browser.click("#more");
    for name in ["escape", "tab", "up", "left", "control"] {
        stage.browser.click(&format!("[data-key={name}]"));
    }
    assert_eq!(stage.browser.run("return document.activeElement.className"), "xterm-helper-textarea");
    stage.browser.keys("cc");
    let mut all = Vec::new();
    until("all keys have arrived", PATIENCE, || {
        all.extend(heard.recv_timeout(std::time::Duration::from_millis(50)).unwrap_or_default());
        // The one with Ctrl, and then one without.
        if all == b"\x1b\t\x1b[A\x1b[D\x03c" { Ok(()) } else { Err(all.escape_ascii().to_string()) }
    });
}

fn the_colours_are_those_of_the_system() {
    let stage = Stage::new(destinations::lines());
    let brightness =
        "const sum = (colour) => colour.match(/[0-9]+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0);
        const of = (selector, what) => sum(getComputedStyle(document.querySelector(selector))[what]);
        const ground = of('body', 'backgroundColor');
        return [ground - of('#status', 'color'), ground - of('.xterm-rows', 'color')]";
    for (scheme, sign) in [("dark", -1.0), ("light", 1.0), ("dark", -1.0)] {
        stage.browser.prefers(scheme);
        stage.open("/");
        stage.wait_line("welcome");
        // Also without loading it again.
        let other = if scheme == "dark" { "light" } else { "dark" };
        stage.browser.prefers(other);
        stage.browser.prefers(scheme);
        until("the colours have changed", PATIENCE, || {
            let contrast = stage.browser.run(brightness);
            let is_right = |part: &Value| part.as_f64().unwrap() * sign > 300.0;
            if contrast.as_array().unwrap().iter().all(is_right) {
                Ok(())
            } else {
                Err(format!("{scheme}: {contrast}"))
            }
        });
    }
}

fn nothing_moves_when_the_state_changes() {
    let mut stage = Stage::new(destinations::lines());
    stage.open("/");
    stage.wait_line("welcome");
    let places = "return ['#terminal', '.bar', '#interrupt', '#end', '.xterm-screen'].map((selector) => {
        const { x, y, width, height } = document.querySelector(selector).getBoundingClientRect();
        return [x, y, width, height]; })";
    let live = stage.browser.run(places);
    stage.kill_gateway();
    stage.browser.until("the card is there", "return !document.querySelector('#card').hidden");
    assert_eq!(stage.browser.run(places), live);
    let shifts = stage.browser.run(
        "return new Promise((done) => new PerformanceObserver((list) => done(list.getEntries().length)).observe({ type: 'layout-shift', buffered: true })
            || setTimeout(() => done(0), 300))",
    );
    assert_eq!(shifts, 0, "nothing has moved since the page was loaded");
    stage.start_gateway();
}

fn the_terminal_fills_its_place_and_tells_its_size() {
    let stage = Stage::new(destinations::lines());
    stage.open("/");
    stage.wait_line("welcome");
    let rows = "return document.querySelectorAll('.xterm-rows > div').length";
    stage.browser.size(1100, 700);
    let many = stage
        .browser
        .until("there are many rows", &format!("const rows = (() => {{ {rows} }})(); return rows > 25 && rows"));
    stage.browser.size(700, 400);
    stage.browser.until("there are fewer rows", &format!("return (() => {{ {rows} }})() < {many}"));
    let left_over = "return document.querySelector('#terminal').clientHeight - document.querySelector('.xterm-screen').offsetHeight";
    let left_over = stage.browser.run(left_over).as_i64().unwrap();
    assert!((0..40).contains(&left_over), "{left_over} pixels have no row");
}
