//! Pages in a real browser: loaded again when there is something new, once, and otherwise left alone.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{PAGE, guests, site, write};
use crate::dev::stage::{Proxy, free_port};
use crate::harness::Scene;
use crate::harness::browser::{Browser, NEEDS, Tab};

guests![
    NEEDS => tabs_load_their_page_once_for_each_change,
    NEEDS => a_style_sheet_is_exchanged_and_the_page_stays,
    NEEDS => several_style_sheets_are_exchanged_at_once,
    NEEDS => a_failure_is_shown_and_the_page_comes_back_by_itself,
    NEEDS => two_proxies_tell_their_own_pages_alone,
    NEEDS => with_overlap_a_failure_is_noted_on_the_page_that_stays,
    NEEDS => pages_with_strict_policies_are_loaded_again,
    NEEDS => a_proxy_that_is_started_anew_loads_its_pages_once,
    NEEDS => pages_may_have_the_script_by_hand,
    NEEDS => a_request_waits_while_the_server_starts,
    NEEDS => a_page_that_stays_old_is_loaded_again_once,
    NEEDS => pages_by_tls_are_loaded_again,
];

/// The script hears.
const LIVE: &str = "return document.documentElement.getAttribute('data-socket-protector') === 'live'";

/// Opens a page and waits until it would hear of a change.
#[track_caller]
fn open(browser: &Browser, proxy: &Proxy, path: &str) {
    browser.open(&format!("http://{}{path}", proxy.address));
    browser.until("the page hears", LIVE);
}

/// Waits until a page has this version and hears.
#[track_caller]
fn until_version(browser: &Browser, version: &str) {
    browser.until("the page is the new one", &format!("return document.title === '{version}'"));
    browser.until("the page hears", LIVE);
}

/// How often the page was loaded in its tab.
fn loads(browser: &Browser) -> u64 {
    browser.run("return Number(sessionStorage.loads)").as_u64().unwrap()
}

fn tabs_load_their_page_once_for_each_change() {
    for options in [&["--inject"][..], &["--inject", "--overlap"]] {
        let proxy = site().with(options).start();
        let browser = Browser::start(&proxy.scene);
        let mut tabs: Vec<Tab> = vec![browser.tab()];
        open(&browser, &proxy, "/");
        for _ in 0..2 {
            tabs.push(browser.new_tab());
            open(&browser, &proxy, "/");
        }
        for version in [2, 3] {
            write(&proxy, "version", &version.to_string());
            for tab in &tabs {
                browser.show(tab);
                until_version(&browser, &version.to_string());
                assert_eq!(loads(&browser), version, "once for each version");
            }
        }
    }
}

fn a_style_sheet_is_exchanged_and_the_page_stays() {
    let proxy = site().with(&["--inject"]).start();
    let browser = Browser::start(&proxy.scene);
    open(&browser, &proxy, "/");
    browser.run("window.state = 'kept'; return 1");
    for colour in ["rgb(2, 2, 2)", "rgb(3, 3, 3)"] {
        write(&proxy, "style.css", &format!("p {{ color: {colour} }}"));
        let is_so = format!("return getComputedStyle(document.getElementById('word')).color === '{colour}'");
        browser.until("the style is the new one", &is_so);
        browser.until("the old one is gone", "return document.querySelectorAll('link').length === 1");
    }
    assert_eq!((browser.run("return window.state"), loads(&browser)), (json!("kept"), 1));
    // It is still told of other changes.
    write(&proxy, "version", "2");
    until_version(&browser, "2");
    assert_eq!(loads(&browser), 2);
}

fn several_style_sheets_are_exchanged_at_once() {
    let proxy = site().with(&["--inject"]).start();
    let links = "<link rel=stylesheet href=/style.css><link rel=stylesheet href=/other.css></head>";
    write(&proxy, "two.html", &PAGE.replace("<link rel=stylesheet href=/style.css></head>", links));
    write(&proxy, "other.css", "p { background-color: rgb(1, 1, 1) }");
    let browser = Browser::start(&proxy.scene);
    open(&browser, &proxy, "/two.html");
    browser.run("window.state = 'kept'; return 1");
    for colour in ["rgb(2, 2, 2)", "rgb(3, 3, 3)"] {
        write(&proxy, "style.css", &format!("p {{ color: {colour} }}"));
        write(&proxy, "other.css", &format!("p {{ background-color: {colour} }}"));
        let both = format!(
            "const style = getComputedStyle(document.getElementById('word')); \
             return style.color === '{colour}' && style.backgroundColor === '{colour}'"
        );
        browser.until("both styles are the new ones", &both);
        browser.until("the old ones are gone", "return document.querySelectorAll('link').length === 2");
    }
    assert_eq!((browser.run("return window.state"), loads(&browser)), (json!("kept"), 1));
}

fn a_failure_is_shown_and_the_page_comes_back_by_itself() {
    let proxy = site().with(&["--inject"]).start();
    let browser = Browser::start(&proxy.scene);
    open(&browser, &proxy, "/");
    write(
        &proxy,
        "broken",
        "\u{1b}[31mTraceback\u{1b}[0m <script>window.hacked = 1</script><img src=x onerror='hacked = 1'>",
    );
    browser.until("the failure is shown", "return document.title.includes('exited with status 3')");
    assert_eq!(browser.text("h1"), "The server exited with status 3");
    assert!(browser.text("pre").contains("<script>window.hacked = 1</script>"), "{}", browser.text("pre"));
    let colour = "return getComputedStyle(document.querySelector('pre span')).color !== getComputedStyle(document.querySelector('pre')).color";
    assert_eq!(browser.run(colour), true, "colours are kept");
    assert_eq!(browser.run("return window.hacked || 0"), 0);
    browser.until("the page hears", LIVE);
    // It is the one of the last failure.
    write(&proxy, "broken", "another one");
    browser
        .until("the next failure is shown", "return document.querySelector('pre').textContent.includes('another one')");
    browser.until("the page hears", LIVE);
    std::fs::remove_file(proxy.site("broken")).unwrap();
    until_version(&browser, "1");
    let refused = browser.console().into_iter().filter(|message| message.contains("Content Security Policy"));
    assert_eq!(refused.collect::<Vec<_>>(), Vec::<String>::new());
}

fn two_proxies_tell_their_own_pages_alone() {
    let (one, other) = (site().with(&["--inject"]).start(), site().with(&["--inject"]).start());
    let browser = Browser::start(&one.scene);
    let first = browser.tab();
    open(&browser, &one, "/");
    let second = browser.new_tab();
    open(&browser, &other, "/");
    write(&other, "version", "2");
    until_version(&browser, "2");
    browser.show(&first);
    assert_eq!((browser.run("return document.title"), loads(&browser)), (json!("1"), 1));
    write(&one, "version", "3");
    until_version(&browser, "3");
    assert_eq!(loads(&browser), 2);
    browser.show(&second);
    assert_eq!((browser.run("return document.title"), loads(&browser)), (json!("2"), 2));
}

fn with_overlap_a_failure_is_noted_on_the_page_that_stays() {
    let proxy = site().with(&["--inject", "--overlap"]).start();
    let browser = Browser::start(&proxy.scene);
    open(&browser, &proxy, "/");
    browser.run("window.state = 'kept'; return 1");
    write(&proxy, "broken", "a <b>mistake</b>");
    browser.until("there is a note", "return document.querySelector('[role=alert]') !== null");
    assert!(browser.text("[role=alert]").contains("a <b>mistake</b>"), "{}", browser.text("[role=alert]"));
    assert_eq!((browser.run("return window.state"), browser.text("#word")), (json!("kept"), "word".to_owned()));
    // One who loads it again sees the old one, and the note.
    browser.reload();
    browser.until("there is a note", "return document.querySelector('[role=alert]') !== null");
    browser.click("[role=alert]");
    browser.until("it can be put away", "return document.querySelector('[role=alert]') === null");
    std::fs::remove_file(proxy.site("broken")).unwrap();
    browser.until("the page is loaded again", "return Number(sessionStorage.loads) === 3");
    assert_eq!(browser.run("return document.querySelector('[role=alert]')"), Value::Null);
}

fn pages_with_strict_policies_are_loaded_again() {
    let proxy = site().with(&["--inject"]).start();
    let meta =
        "<head><meta http-equiv=Content-Security-Policy content=\"script-src 'self'; connect-src 'none'\"></head>";
    for (name, policy, head) in [
        ("self.html", "default-src 'self'", ""),
        ("none.html", "default-src 'none'", ""),
        ("nonce.html", "script-src 'nonce-abc' 'strict-dynamic'; connect-src 'self'; object-src 'none'", ""),
        ("trusted.html", "require-trusted-types-for 'script'; script-src 'none'", ""),
        ("meta.html", "img-src *", meta),
    ] {
        write(&proxy, &format!("{name}.head"), &format!("Content-Security-Policy: {policy}\n"));
        write(&proxy, name, &format!("<!DOCTYPE html><html>{head}<title>@version@</title><body><p>x</p></html>"));
    }
    let browser = Browser::start(&proxy.scene);
    for (version, name) in (2..).zip(["self.html", "none.html", "nonce.html", "trusted.html", "meta.html"]) {
        open(&browser, &proxy, &format!("/{name}"));
        write(&proxy, "version", &version.to_string());
        until_version(&browser, &version.to_string());
        let refused = browser.console().into_iter().filter(|message| message.contains("__socket_protector"));
        assert_eq!(refused.collect::<Vec<_>>(), Vec::<String>::new(), "{name}");
    }
}

fn a_proxy_that_is_started_anew_loads_its_pages_once() {
    let front = format!("127.0.0.1:{}", free_port());
    let mut proxy = site().front(&front).with(&["--inject"]).start();
    // On a scene of its own, since nothing may be left of the proxy on its one.
    let browser = Browser::start(&Scene::new());
    open(&browser, &proxy, "/");
    proxy.stop(Signal::SIGTERM);
    browser.until("the page is alone", &LIVE.replace("===", "!=="));
    let next = site().front(&front).with(&["--inject"]).start();
    write(&next, "version", "2");
    until_version(&browser, "2");
    let loaded = loads(&browser);
    assert!(loaded <= 3, "once for the new proxy, and once for its change, if that came later: {loaded}");
    // Who has asked before and asks again is left alone: a change that follows is the next load.
    write(&next, "version", "3");
    until_version(&browser, "3");
    assert_eq!(loads(&browser), loaded + 1);
}

fn pages_may_have_the_script_by_hand() {
    let proxy = site().livereload().start();
    let port = format!("http://{}:35729", proxy.address.ip());
    for (name, script) in [
        ("own.html", "/__socket_protector/reload.js".to_owned()),
        ("port.html", format!("{port}/livereload.js?snipver=1")),
    ] {
        write(&proxy, name, &PAGE.replace("</body>", &format!("<script src='{script}'></script></body>")));
    }
    let browser = Browser::start(&proxy.scene);
    for (version, name) in [("2", "own.html"), ("3", "port.html")] {
        open(&browser, &proxy, &format!("/{name}"));
        write(&proxy, "version", version);
        until_version(&browser, version);
    }
}

fn a_request_waits_while_the_server_starts() {
    let setup = site().with(&["--inject"]);
    let words = format!(
        "while [ ! -e ../go ]; do sleep 0.02; done; exec {} child pages 127.0.0.1:{{port}}",
        crate::harness::scene::suite()
    );
    let proxy = setup.command(&["sh", "-c", &words]).start();
    let browser = Browser::start(&proxy.scene);
    let scene = std::sync::Arc::clone(&proxy.scene);
    std::thread::scope(|scope| {
        let opened = scope.spawn(|| open(&browser, &proxy, "/"));
        // The driver answers only when the page is there.
        scene.write("go", "");
        opened.join().unwrap();
    });
    assert_eq!((browser.run("return document.title"), loads(&browser)), (json!("1"), 1));
}

fn a_page_that_stays_old_is_loaded_again_once() {
    let proxy = site().start();
    // As if something between kept it: it shows what came from another server, whatever is asked.
    let script = "<script src='/__socket_protector/reload.js' data-build='another'></script></body>";
    write(&proxy, "kept.html", &PAGE.replace("</body>", script));
    let browser = Browser::start(&proxy.scene);
    browser.open(&format!("http://{}/kept.html", proxy.address));
    browser.until("it is loaded again", "return Number(sessionStorage.loads) === 2");
    browser.until("the page hears", LIVE);
    write(&proxy, "style.css", "p { color: rgb(2, 2, 2) }");
    browser.until("the style is the new one", "return getComputedStyle(word).color === 'rgb(2, 2, 2)'");
    assert_eq!(loads(&browser), 2);
}

fn pages_by_tls_are_loaded_again() {
    let proxy = site().with(&["--inject", "--tls"]).start();
    let browser = Browser::start(&proxy.scene);
    browser.devtools("Security.setIgnoreCertificateErrors", &json!({ "ignore": true }));
    browser.open(&format!("https://{}/", proxy.address));
    browser.until("the page hears", LIVE);
    write(&proxy, "version", "2");
    until_version(&browser, "2");
    assert_eq!(loads(&browser), 2);
    write(&proxy, "broken", "a mistake");
    browser.until("the failure is shown", "return document.title.includes('exited with status 3')");
    browser.until("the page hears", LIVE);
    std::fs::remove_file(proxy.site("broken")).unwrap();
    until_version(&browser, "2");
}
