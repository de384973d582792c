//! The terminal page without a mouse, and for those who hear it.

use super::stage::Stage;
use super::{destinations, guests};
use crate::harness::browser::{NEEDS, key};

guests![NEEDS;
    everything_can_be_reached_by_the_keyboard,
    the_focus_can_be_seen,
    the_state_is_told_to_those_who_hear_the_page,
    the_screen_can_be_heard,
    what_is_selected_is_copied_and_not_interrupted,
];

/// What has the focus: its id, or its class.
const FOCUS: &str = "const { id, className } = document.activeElement; return id || className";

fn leave_terminal(stage: &Stage) {
    stage.browser.chord(&[key::CONTROL, key::SHIFT, key::UP]);
}

fn everything_can_be_reached_by_the_keyboard() {
    let stage = Stage::new(destinations::lines());
    stage.open("/");
    stage.wait_line("welcome");
    assert_eq!(stage.browser.run(FOCUS), "xterm-helper-textarea", "one may type at once");
    leave_terminal(&stage);
    let mut reached = Vec::new();
    for _ in 0..7 {
        reached.push(stage.browser.run(FOCUS).as_str().unwrap().to_owned());
        stage.browser.keys(key::TAB);
    }
    assert_eq!(reached, ["interrupt", "break", "ayt", "echo", "reader", "new", "end"]);
    leave_terminal(&stage);
    // Back.
    stage.browser.run("document.querySelector('#end').focus()");
    stage.browser.keys(key::ESCAPE);
    assert_eq!(stage.browser.run(FOCUS), "xterm-helper-textarea");
    // A button, by the keyboard alone; then a question, answered so.
    leave_terminal(&stage);
    (0..6).for_each(|_| stage.browser.keys(key::TAB));
    stage.browser.keys(key::ENTER);
    stage.browser.until("it asks", "return document.querySelector('#ask').open");
    stage.browser.keys(key::ESCAPE);
    stage.browser.until("it asks no more", "return !document.querySelector('#ask').open");
    stage.wait_phase("live");
    // Where the tools are behind a button.
    stage.browser.size(600, 500);
    stage.browser.run("document.querySelector('.xterm-helper-textarea').focus()");
    leave_terminal(&stage);
    assert_eq!(stage.browser.run(FOCUS), "more");
    stage.browser.keys(key::ENTER);
    stage.browser.keys(key::TAB);
    assert_eq!(stage.browser.run(FOCUS), "interrupt");
}

fn the_focus_can_be_seen() {
    let stage = Stage::new(destinations::lines());
    stage.open("/");
    leave_terminal(&stage);
    for _ in 0..7 {
        let outline = "const { outlineStyle, outlineWidth } = getComputedStyle(document.activeElement);
            return outlineStyle !== 'none' && parseFloat(outlineWidth) >= 2";
        assert!(stage.browser.run(outline).as_bool().unwrap(), "{}", stage.browser.run(FOCUS));
        stage.browser.keys(key::TAB);
    }
    stage.browser.keys(key::ESCAPE);
    stage.browser.run("document.querySelector('.xterm-helper-textarea').focus()");
    let shadow = "return getComputedStyle(document.querySelector('#terminal')).boxShadow";
    assert_ne!(stage.browser.run(shadow), "none");
}

fn the_state_is_told_to_those_who_hear_the_page() {
    let mut stage = Stage::new(destinations::lines());
    stage.open("/");
    stage.wait_line("welcome");
    let live = "return document.querySelector('[aria-live=polite]#status').textContent";
    assert_eq!(stage.browser.run(live), "Live");
    // What counts the seconds would be read out each second.
    assert_eq!(
        stage.browser.run("return document.querySelector('#since').closest('[aria-live]')"),
        serde_json::Value::Null
    );
    stage.browser.run(
        "window.told = [];
         new MutationObserver(() => window.told.push(document.querySelector('#status').textContent))
             .observe(document.querySelector('#status'), { childList: true, characterData: true, subtree: true })",
    );
    stage.kill_gateway();
    stage.browser.until_text("it counts", "#since", |text| text.starts_with("(3") || text.starts_with("(4"));
    stage.start_gateway();
    stage.wait_phase("live");
    assert_eq!(stage.browser.run("return window.told.join()"), "Away,Live", "each once");
    assert_eq!(
        stage.browser.run("return document.querySelectorAll('button:not([aria-label])')[0].textContent.length > 0"),
        true
    );
    assert_eq!(stage.browser.run("return document.documentElement.lang"), "en");
}

fn the_screen_can_be_heard() {
    let stage = Stage::new(destinations::lines());
    stage.open("/");
    stage.wait_line("welcome");
    let tree = "return document.querySelector('.xterm-accessibility-tree')?.textContent ?? ''";
    assert_eq!(stage.browser.run(tree), "");
    stage.browser.click("#reader");
    stage.browser.until("the screen is there as text", &format!("return (() => {{ {tree} }})().includes('welcome')"));
    // It stays so.
    stage.browser.reload();
    stage.wait_line("welcome");
    stage.browser.until("the screen is there as text", &format!("return (() => {{ {tree} }})().includes('welcome')"));
    assert!(stage.is("#reader", "checked"));
}

fn what_is_selected_is_copied_and_not_interrupted() {
    let stage = Stage::new(destinations::lines());
    stage.open("/");
    stage.wait_line("welcome");
    stage.browser.run("window.copied = []; document.addEventListener('copy', (event) => setTimeout(() => window.copied.push(event.defaultPrevented)))");
    stage.browser.chord(&[key::CONTROL, "c"]);
    assert_eq!(stage.browser.run("return window.copied.length"), 0, "nothing is selected: it is a key like others");
    // A double click selects the word.
    stage.browser.run(
        "const place = document.querySelector('.xterm-rows > div').getBoundingClientRect();
         for (const [type, detail] of [['mousedown', 1], ['mouseup', 1], ['mousedown', 2], ['mouseup', 2]]) {
             document.querySelector('.xterm-screen').dispatchEvent(new MouseEvent(type, { bubbles: true, cancelable: true,
                 clientX: place.left + 20, clientY: place.top + 5, detail, button: 0, buttons: 1, view: window }));
         }",
    );
    stage
        .browser
        .until("the word is selected", "return document.querySelector('.xterm-selection').children.length > 0");
    stage.browser.chord(&[key::CONTROL, "c"]);
    stage.browser.until("it is copied", "return window.copied.length > 0 && window.copied[0]");
    stage
        .browser
        .until("it is selected no more", "return document.querySelector('.xterm-selection').children.length === 0");
}
