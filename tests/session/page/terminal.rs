//! The terminal page: what it says, what it shows, what it keeps.

use std::io::Read;
use std::time::Duration;

use super::stage::Stage;
use super::{destinations, guests};
use crate::harness::browser::{NEEDS, key};
use crate::harness::{PATIENCE, until};

guests![NEEDS;
    a_page_that_is_loaded_again_has_its_session_and_its_screen,
    the_second_tab_takes_over_and_the_first_one_says_so,
    a_new_session_is_another_one_in_another_tab,
    lines_are_shown_where_the_destination_does_not_echo,
    a_secret_is_not_shown_even_when_the_page_is_loaded_again,
    a_flood_is_drawn_to_its_end,
    an_end_of_the_destination_is_told_and_a_new_session_is_offered,
    a_destination_that_refuses_is_told,
    a_session_can_be_ended_after_a_question,
    what_is_typed_while_the_gateway_is_gone_arrives_when_it_is_back,
    several_lines_are_pasted_in_brackets_where_that_is_wanted,
    a_long_paste_arrives_whole_on_every_way,
    nothing_that_the_policy_forbids_runs,
];

fn a_page_that_is_loaded_again_has_its_session_and_its_screen() {
    let stage = Stage::new(destinations::lines());
    stage.open("/");
    stage.wait_line("welcome");
    stage.browser.keys("remember me");
    stage.browser.keys(key::ENTER);
    stage.wait_line("you said: remember me");
    for _ in 0..3 {
        stage.browser.reload();
        stage.wait_phase("live");
        let screen = stage.wait_line("you said: remember me");
        assert_eq!(screen.matches("welcome").count(), 1, "{screen}");
    }
    assert_eq!(stage.browser.run("return location.href"), stage.url("/"), "nothing of a session is in the address");
    assert_eq!(stage.browser.run("return document.cookie"), "", "scripts see no secret");
    stage.expect_quiet_console();
}

fn the_second_tab_takes_over_and_the_first_one_says_so() {
    let stage = Stage::new(destinations::lines());
    stage.open("/");
    stage.browser.keys("from the first");
    stage.browser.keys(key::ENTER);
    stage.wait_line("you said: from the first");
    let first = stage.browser.tab();

    let second = stage.browser.new_tab();
    stage.open("/");
    stage.wait_line("you said: from the first");

    stage.browser.show(&first);
    stage.wait_phase("taken");
    assert_eq!(stage.browser.text("#status"), "Taken over");
    assert_eq!(stage.browser.text("#why"), "Another window has this session now.");
    // It does not come back by itself, whatever else would make it try.
    stage.browser.run("dispatchEvent(new Event('online')); document.dispatchEvent(new Event('visibilitychange'))");
    stage.browser.show(&second);
    stage.browser.keys("from the second");
    stage.browser.keys(key::ENTER);
    stage.wait_line("you said: from the second");

    stage.browser.show(&first);
    stage.browser.click("#act");
    stage.wait_phase("live");
    stage.wait_line("you said: from the second");
    stage.browser.show(&second);
    stage.wait_phase("taken");
    stage.expect_quiet_console();
}

fn a_new_session_is_another_one_in_another_tab() {
    let stage = Stage::new(destinations::lines());
    stage.open("/");
    stage.browser.keys("in the first");
    stage.browser.keys(key::ENTER);
    stage.wait_line("you said: in the first");
    let first = stage.browser.tab();
    stage.browser.click("#new");
    let second = until("there is another tab", PATIENCE, || {
        stage.browser.tabs().into_iter().find(|tab| *tab != first).ok_or_else(String::new)
    });
    stage.browser.show(&second);
    stage.wait_phase("live");
    let screen = stage.wait_line("welcome");
    assert!(!screen.contains("in the first"), "{screen}");
    assert_eq!(stage.browser.url(), stage.url("/"));
    // Each tab keeps its own.
    stage.browser.reload();
    stage.wait_phase("live");
    assert!(!stage.wait_line("welcome").contains("in the first"));
    stage.browser.show(&first);
    stage.wait_phase("live");
    stage.browser.reload();
    stage.wait_line("you said: in the first");
}

fn lines_are_shown_where_the_destination_does_not_echo() {
    let stage = Stage::new(destinations::lines());
    stage.open("/");
    stage.wait_line("welcome");
    stage.browser.until("local echo is on", "return document.querySelector('#echo').checked");
    stage.browser.keys("helpp");
    stage.wait_line("helpp");
    stage.browser.keys(key::BACKSPACE);
    stage.browser.keys(key::ENTER);
    let screen = stage.wait_line("you said: help");
    assert!(screen.lines().any(|line| line == "help"), "{screen}");
    // The user may know better.
    stage.browser.click("#echo");
    // Then every key goes as it is, and this destination wants a line feed.
    stage.browser.keys("unseen");
    stage.browser.chord(&[key::CONTROL, "j"]);
    let screen = stage.wait_line("you said: unseen");
    assert!(!screen.lines().any(|line| line == "unseen"), "{screen}");
}

fn a_secret_is_not_shown_even_when_the_page_is_loaded_again() {
    let stage = Stage::new(destinations::telnet_lines());
    stage.open("/");
    stage.wait_line("welcome");
    stage.browser.until("local echo is on", "return document.querySelector('#echo').checked");
    stage.browser.keys("secret");
    stage.browser.keys(key::ENTER);
    stage.wait_line("Password:");
    stage.browser.until("local echo is off", "return !document.querySelector('#echo').checked");
    stage.browser.keys("hunter");
    for path in ["/", "/?transport=sse", "/?transport=poll", "/?transport=ws"] {
        stage.browser.open(&stage.url(path));
        // Typed as early as can be: before the page knows anything.
        stage.browser.keys("x");
        stage.wait_phase("live");
        stage.wait_line("Password:");
        stage.browser.keys("y");
        assert!(!stage.is("#echo", "checked"), "{path}");
        let screen = stage.screen();
        assert!(!screen.contains("hunter") && !screen.contains('x') && !screen.contains('y'), "{path}: {screen}");
    }
    stage.browser.keys(key::ENTER);
    stage.wait_screen("how long it was", |screen| screen.contains("it has 14 letters"));
    stage.browser.until("local echo is on again", "return document.querySelector('#echo').checked");
    stage.browser.keys("seen");
    stage.wait_line("seen");
}

fn a_flood_is_drawn_to_its_end() {
    let stage = Stage::with(destinations::lines(), &["--buffer=256KiB"]);
    stage.open("/");
    stage.wait_line("welcome");
    // More than all windows and buffers on the way together.
    stage.browser.keys("flood 400000");
    stage.browser.keys(key::ENTER);
    until("the last line is drawn", PATIENCE * 3, || {
        let screen = stage.screen();
        if screen.contains("line 400000") { Ok(()) } else { Err(screen) }
    });
    let screen = stage.screen();
    let numbers: Vec<u32> = screen.lines().filter_map(|line| line.strip_prefix("line ")?.parse().ok()).collect();
    assert!(numbers.len() > 10 && numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{screen}");
    stage.browser.keys("still here");
    stage.browser.keys(key::ENTER);
    stage.wait_line("you said: still here");
    stage.wait_phase("live");
}

fn an_end_of_the_destination_is_told_and_a_new_session_is_offered() {
    let stage = Stage::new(destinations::lines());
    for path in ["/", "/?transport=sse", "/?transport=poll"] {
        stage.open(path);
        stage.wait_line("welcome");
        stage.browser.keys("last words");
        stage.browser.keys(key::ENTER);
        stage.wait_line("you said: last words");
        stage.browser.keys("quit");
        stage.browser.keys(key::ENTER);
        stage.wait_phase("ended");
        assert_eq!(stage.browser.text("#status"), "Ended");
        assert_eq!(stage.browser.text("#why"), "The destination has closed the connection.");
        assert!(stage.screen().contains("last words"), "what it has said stays: {path}");
        stage.browser.click("#act");
        stage.wait_phase("live");
        let screen = stage.wait_line("welcome");
        assert!(!screen.contains("last words"), "{path}: {screen}");
    }
    stage.expect_quiet_console();
}

fn a_destination_that_refuses_is_told() {
    // Nobody listens there any more.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let stage = Stage::new(address);
    for path in ["/", "/?transport=sse", "/?transport=poll"] {
        stage.browser.open(&stage.url(path));
        stage.wait_phase("ended");
        assert_eq!(
            stage.browser.text("#why"),
            "The destination refused the connection or cannot be reached.",
            "{path}"
        );
    }
}

fn a_session_can_be_ended_after_a_question() {
    let (sender, ended) = std::sync::mpsc::channel();
    let destination = destinations::serve(move |mut stream| {
        let sender = sender.clone();
        std::thread::spawn(move || {
            let mut rest = Vec::new();
            // However it ends.
            let _ = stream.read_to_end(&mut rest);
            sender.send(()).unwrap();
        });
    });
    let stage = Stage::new(destination);
    for path in ["/", "/?transport=poll"] {
        stage.open(path);
        stage.browser.click("#end");
        stage.browser.until("it asks", "return document.querySelector('#ask').open");
        stage.browser.keys(key::ENTER);
        stage.browser.until("the safe answer is the first", "return !document.querySelector('#ask').open");
        stage.wait_phase("live");
        stage.browser.click("#end");
        stage.browser.click("#yes");
        stage.wait_phase("ended");
        assert_eq!(stage.browser.text("#why"), "You ended it.", "{path}");
        ended.recv_timeout(PATIENCE).expect("the destination's connection has ended");
    }
}

fn what_is_typed_while_the_gateway_is_gone_arrives_when_it_is_back() {
    let mut stage = Stage::new(destinations::lines());
    stage.open("/");
    stage.wait_line("welcome");
    stage.browser.keys("before");
    stage.browser.keys(key::ENTER);
    stage.wait_line("you said: before");
    stage.kill_gateway();
    stage.wait_phase("away");
    assert_eq!(stage.browser.text("#status"), "Away");
    stage.browser.keys("meanwhile");
    stage.browser.keys(key::ENTER);
    stage.browser.until_text("it counts the seconds and keys", "#since", |text| {
        text.starts_with('(') && text.ends_with(" s, 11 to be sent)") && !text.starts_with("(0")
    });
    stage.browser.until_text("it explains", "#why", |text| text.contains("goes on without you"));
    stage.start_gateway();
    stage.wait_phase("live");
    let screen = stage.wait_line("you said: meanwhile");
    assert_eq!(screen.matches("you said: before").count(), 1, "{screen}");
    assert_eq!(screen.matches("you said: meanwhile").count(), 1, "{screen}");
}

fn several_lines_are_pasted_in_brackets_where_that_is_wanted() {
    use std::io::Write;
    let (sender, heard) = std::sync::mpsc::channel();
    let destination = destinations::serve(move |mut stream| {
        let sender = sender.clone();
        std::thread::spawn(move || {
            stream.write_all(b"\x1b[?2004hready").unwrap();
            let mut bytes = [0; 1024];
            while let Ok(count @ 1..) = stream.read(&mut bytes) {
                sender.send(bytes[..count].to_vec()).unwrap();
            }
        });
    });
    let stage = Stage::new(destination);
    stage.open("/");
    stage.wait_line("ready");
    stage.browser.until("local echo is on", "return document.querySelector('#echo').checked");
    stage.browser.click("#echo");
    stage.browser.run(
        "const paste = new DataTransfer();
         paste.setData('text/plain', 'one\\ntwo');
         const target = document.querySelector('.xterm-helper-textarea');
         target.dispatchEvent(new ClipboardEvent('paste', { clipboardData: paste, bubbles: true, cancelable: true }))",
    );
    let mut all = Vec::new();
    until("the paste has arrived", PATIENCE, || {
        all.extend(heard.recv_timeout(Duration::from_millis(100)).unwrap_or_default());
        let text = String::from_utf8_lossy(&all).into_owned();
        if text.contains("\x1b[200~one\rtwo\x1b[201~") { Ok(()) } else { Err(text) }
    });
}

fn a_long_paste_arrives_whole_on_every_way() {
    use std::io::Write;
    /// More than all windows on the way together.
    const LINES: usize = 150_000;
    let expected: Vec<u8> = (0..LINES).flat_map(|line| format!("{line:06}\r").into_bytes()).collect();
    let same = expected.clone();
    let destination = destinations::serve(move |mut stream| {
        let expected = same.clone();
        std::thread::spawn(move || {
            stream.write_all(b"ready").unwrap();
            let mut all = vec![0; expected.len()];
            // A session that ends before is no paste.
            if stream.read_exact(&mut all).is_ok() {
                let what = if all == expected { "whole" } else { "in pieces" };
                stream.write_all(format!("\r\nit is {what}").as_bytes()).unwrap();
            }
            // Until the other side ends.
            let _ = stream.read_to_end(&mut all);
        });
    });
    let stage = Stage::new(destination);
    for way in ["ws", "sse", "poll"] {
        stage.open(&format!("/?transport={way}"));
        stage.wait_line("ready");
        stage.browser.until("local echo is on", "return document.querySelector('#echo').checked");
        stage.browser.click("#echo");
        stage.browser.run(&format!(
            "const paste = new DataTransfer();
             const lines = Array.from({{ length: {LINES} }}, (_, line) => `${{String(line).padStart(6, '0')}}\\n`);
             paste.setData('text/plain', lines.join(''));
             const target = document.querySelector('.xterm-helper-textarea');
             target.dispatchEvent(new ClipboardEvent('paste', {{ clipboardData: paste, bubbles: true, cancelable: true }}))"
        ));
        stage.wait_line("it is whole");
        assert_eq!(stage.browser.run("return document.body.dataset.way"), way);
        stage.browser.click("#end");
        stage.browser.click("#yes");
        stage.wait_phase("ended");
    }
}

fn nothing_that_the_policy_forbids_runs() {
    let stage = Stage::new(destinations::lines());
    stage.open("/");
    stage.wait_line("welcome");
    stage.expect_quiet_console();
    // What others might get into the page.
    stage.browser.run(
        "const script = document.createElement('script');
         script.textContent = 'window.inline = true';
         document.body.append(script);
         const image = new Image();
         image.src = 'https://example.com/x.png';
         document.body.append(image)",
    );
    assert!(stage.browser.run("return window.inline === undefined").as_bool().unwrap());
    let mut told = Vec::new();
    until("the console is told of both", PATIENCE, || {
        told.extend(stage.browser.console());
        let about =
            |what: &str| told.iter().any(|text| text.contains("Content Security Policy") && text.contains(what));
        if about("script") && about("example.com") { Ok(()) } else { Err(format!("{told:?}")) }
    });
}
