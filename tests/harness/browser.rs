//! A browser without a screen: Chromium, by way of its WebDriver (`chromedriver`). It knows nothing of any page.
//!
//! The protocol is JSON over HTTP (<https://www.w3.org/TR/webdriver2/>), spoken here by hand. Everything waits for a
//! condition with a deadline. When a trial fails, its last picture and what the console said are kept.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::process::{send, tagged};
use super::{PATIENCE, Scene, eventually, until};

/// A shell command that succeeds where there is a browser to be had.
pub(crate) const NEEDS: &str = "command -v chromedriver && command -v chromium";

/// Keys that are no letters, as WebDriver names them.
pub(crate) mod key {
    pub(crate) const BACKSPACE: &str = "\u{e003}";
    pub(crate) const TAB: &str = "\u{e004}";
    pub(crate) const ENTER: &str = "\u{e007}";
    pub(crate) const SHIFT: &str = "\u{e008}";
    pub(crate) const CONTROL: &str = "\u{e009}";
    pub(crate) const ESCAPE: &str = "\u{e00c}";
    pub(crate) const UP: &str = "\u{e013}";
}

/// By this the processes of one browser are found, wherever they have gone.
const TAG: &str = "BROWSER_TAG";

/// How long the driver may take to answer: it waits itself for pages to be there.
const ANSWER: Duration = Duration::from_secs(60);

/// A browser with a profile of its own.
pub(crate) struct Browser {
    scene: Arc<Scene>,
    driver: Child,
    port: u16,
    session: String,
    tag: String,
}

/// A window or tab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tab(String);

impl Browser {
    /// Starts one with its files in the scene.
    pub(crate) fn start(scene: &Arc<Scene>) -> Browser {
        static BROWSERS: AtomicU32 = AtomicU32::new(0);
        let number = BROWSERS.fetch_add(1, Ordering::Relaxed);
        let tag = format!("{}-{number}", std::process::id());
        let (driver, port) = start_driver(scene, &tag);
        let mut browser = Browser { scene: Arc::clone(scene), driver, port, session: String::new(), tag };
        let profile = scene.path(&format!("browser-{number}"));
        let opened = browser.ask("POST", "/session", &capabilities(&profile));
        browser.session = format!("/session/{}", opened["sessionId"].as_str().unwrap());
        browser
    }

    /// Loads a page and waits until it is there.
    pub(crate) fn open(&self, url: &str) {
        self.command("POST", "/url", &json!({ "url": url }));
    }

    pub(crate) fn reload(&self) {
        self.command("POST", "/refresh", &json!({}));
    }

    pub(crate) fn url(&self) -> String {
        self.command("GET", "/url", &Value::Null).as_str().unwrap().to_owned()
    }

    /// What a script returns: `return document.title`.
    #[track_caller]
    pub(crate) fn run(&self, script: &str) -> Value {
        self.command("POST", "/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Waits until a script returns something that is true.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, script: &str) -> Value {
        until(what, PATIENCE, || {
            let value = self.run(script);
            let holds = !matches!(&value, Value::Null | Value::Bool(false)) && value != json!("") && value != json!(0);
            if holds { Ok(value) } else { Err(format!("{value}")) }
        })
    }

    /// The visible text of the element that a selector finds first.
    #[track_caller]
    pub(crate) fn text(&self, selector: &str) -> String {
        let element = self.element(selector);
        self.command("GET", &format!("/element/{element}/text"), &Value::Null).as_str().unwrap().to_owned()
    }

    /// Waits until the text of that element satisfies; the text.
    #[track_caller]
    pub(crate) fn until_text(&self, what: &str, selector: &str, satisfies: impl Fn(&str) -> bool) -> String {
        until(what, PATIENCE, || {
            let text = self.text(selector);
            if satisfies(&text) { Ok(text) } else { Err(text) }
        })
    }

    /// Clicks as a user does: the element has to be visible, and nothing may be in front of it.
    #[track_caller]
    pub(crate) fn click(&self, selector: &str) {
        let element = self.element(selector);
        self.command("POST", &format!("/element/{element}/click"), &json!({}));
    }

    /// Types into whatever has the focus.
    pub(crate) fn keys(&self, text: &str) {
        let strokes = text.chars().flat_map(|key| [stroke("keyDown", key), stroke("keyUp", key)]);
        self.act(strokes.collect());
    }

    /// Presses several keys together, the last one last: `[key::CONTROL, "c"]`.
    pub(crate) fn chord(&self, keys: &[&str]) {
        let letters: Vec<char> = keys.iter().filter_map(|key| key.chars().next()).collect();
        let down = letters.iter().map(|&key| stroke("keyDown", key));
        let up = letters.iter().rev().map(|&key| stroke("keyUp", key));
        self.act(down.chain(up).collect());
    }

    fn act(&self, strokes: Vec<Value>) {
        let source = json!({ "type": "key", "id": "keyboard", "actions": strokes });
        self.command("POST", "/actions", &json!({ "actions": [source] }));
    }

    /// The tab that commands go to.
    pub(crate) fn tab(&self) -> Tab {
        Tab(self.command("GET", "/window", &Value::Null).as_str().unwrap().to_owned())
    }

    /// All tabs.
    pub(crate) fn tabs(&self) -> Vec<Tab> {
        let handles = self.command("GET", "/window/handles", &Value::Null);
        handles.as_array().unwrap().iter().map(|handle| Tab(handle.as_str().unwrap().to_owned())).collect()
    }

    /// A tab more, to which commands go from now on.
    pub(crate) fn new_tab(&self) -> Tab {
        let made = self.command("POST", "/window/new", &json!({ "type": "tab" }));
        let tab = Tab(made["handle"].as_str().unwrap().to_owned());
        self.show(&tab);
        tab
    }

    /// Commands go to this tab from now on.
    pub(crate) fn show(&self, tab: &Tab) {
        self.command("POST", "/window", &json!({ "handle": tab.0 }));
    }

    /// Lets the screen be one of a phone: so many pixels, and a finger for a mouse.
    pub(crate) fn phone(&self, width: u32, height: u32) {
        let screen = json!({ "width": width, "height": height, "deviceScaleFactor": 2, "mobile": true });
        self.devtools("Emulation.setDeviceMetricsOverride", &screen);
        self.devtools("Emulation.setTouchEmulationEnabled", &json!({ "enabled": true }));
    }

    /// Lets the screen have so many pixels.
    pub(crate) fn size(&self, width: u32, height: u32) {
        let screen = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", &screen);
    }

    /// Lets the user prefer `light` or `dark`.
    pub(crate) fn prefers(&self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.devtools("Emulation.setEmulatedMedia", &json!({ "features": features }));
    }

    /// Whether pages may run scripts of theirs. Ours, by [`Browser::run`], always may.
    pub(crate) fn scripts(&self, may_run: bool) {
        self.devtools("Emulation.setScriptExecutionDisabled", &json!({ "value": !may_run }));
    }

    /// One command of the developer tools (<https://chromedevtools.github.io/devtools-protocol/>).
    pub(crate) fn devtools(&self, command: &str, parameters: &Value) -> Value {
        self.command("POST", "/goog/cdp/execute", &json!({ "cmd": command, "params": parameters }))
    }

    /// What the console was told since the last call: `SEVERE http://… Uncaught …`.
    pub(crate) fn console(&self) -> Vec<String> {
        let entries = self.command("POST", "/se/log", &json!({ "type": "browser" }));
        let text = |entry: &Value, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
        let entries = entries.as_array().cloned().unwrap_or_default();
        entries.iter().map(|entry| format!("{} {}", text(entry, "level"), text(entry, "message"))).collect()
    }

    #[track_caller]
    fn element(&self, selector: &str) -> String {
        let found = self.command("POST", "/element", &json!({ "using": "css selector", "value": selector }));
        found.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned()
    }

    #[track_caller]
    fn command(&self, method: &str, path: &str, body: &Value) -> Value {
        self.ask(method, &format!("{}{path}", self.session), body)
    }

    #[track_caller]
    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        self.try_ask(method, path, body).unwrap_or_else(|error| panic!("{method} {path} {body}: {error}"))
    }

    fn try_ask(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let answer = exchange(self.port, method, path, body).map_err(|error| error.to_string())?;
        let mut answer: Value = serde_json::from_str(&answer).map_err(|error| format!("{error}: {answer}"))?;
        let value = answer["value"].take();
        match value.get("error").and_then(Value::as_str) {
            Some(error) => Err(format!("{error}: {}", value["message"].as_str().unwrap_or_default())),
            None => Ok(value),
        }
    }

    /// What can be seen of a trial that failed.
    fn report(&self) {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("pictures");
        let file = folder.join(format!("{}.png", self.tag));
        let picture = self.try_ask("GET", &format!("{}/screenshot", self.session), &Value::Null);
        if let (Ok(()), Ok(Value::String(picture))) = (std::fs::create_dir_all(&folder), picture) {
            let kept = std::fs::write(&file, from_base64(&picture));
            eprintln!("--- a picture of the browser: {} {kept:?}", file.display());
        }
        let console = self.try_ask("POST", &format!("{}/se/log", self.session), &json!({ "type": "browser" }));
        eprintln!("--- its console: {console:#?}");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.report();
        }
        // It may be gone already, which is as good.
        let _ = self.try_ask("DELETE", &self.session, &Value::Null);
        let _ = self.driver.kill();
        let _ = self.driver.wait();
        let tag = format!("{TAG}={}", self.tag);
        let everybody = || {
            let left = tagged(&tag);
            left.iter().for_each(|&pid| send(pid, Signal::SIGKILL));
            left.is_empty()
        };
        if std::thread::panicking() {
            everybody();
        } else {
            eventually("every process of the browser is gone", everybody);
        }
        let _ = &self.scene;
    }
}

/// Starts a driver; it listens at a port that it finds by itself.
fn start_driver(scene: &Scene, tag: &str) -> (Child, u16) {
    // It looks for a port that is free on IPv4 and on IPv6 alike, and ends if the second one is taken just then.
    for _ in 0..10 {
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").env(TAG, tag).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut driver = scene.mark(&mut command).spawn().expect("cannot start chromedriver");
        match port_of(&mut driver) {
            Some(port) => return (driver, port),
            None => driver.wait().unwrap(),
        };
    }
    panic!("chromedriver does not say where it listens");
}

/// What the driver says when it listens: `ChromeDriver was started successfully on port 1234.`
fn port_of(driver: &mut Child) -> Option<u16> {
    let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
    let line = lines.find_map(|line| line.ok().filter(|line| line.contains("started successfully on port")))?;
    // What it says later has nobody to read it, and must not block it.
    std::thread::spawn(move || lines.for_each(drop));
    let digits = line.rsplit("on port ").next().unwrap().trim_end_matches('.');
    Some(digits.parse().unwrap_or_else(|_| panic!("no port: {line}")))
}

fn capabilities(profile: &Path) -> Value {
    let arguments = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--window-size=1100,760",
    ];
    let mut arguments: Vec<String> = arguments.map(str::to_owned).to_vec();
    arguments.push(format!("--user-data-dir={}", profile.display()));
    json!({ "capabilities": { "alwaysMatch": {
        "goog:chromeOptions": { "args": arguments },
        "goog:loggingPrefs": { "browser": "ALL" },
    } } })
}

fn stroke(what: &str, key: char) -> Value {
    json!({ "type": what, "value": key.to_string() })
}

/// One request on a connection of its own; the body of the answer.
fn exchange(port: u16, method: &str, path: &str, body: &Value) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(ANSWER))?;
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    let mut answer = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        answer.read_line(&mut line)?;
        if line.trim_end().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().map_err(std::io::Error::other)?;
        }
    }
    let mut bytes = vec![0; length];
    answer.read_exact(&mut bytes)?;
    String::from_utf8(bytes).map_err(std::io::Error::other)
}

/// RFC 4648, with padding.
fn from_base64(text: &str) -> Vec<u8> {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let letters = text.bytes().filter_map(|letter| LETTERS.iter().position(|&known| known == letter));
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_usize, 0);
    for letter in letters {
        bits = bits << 6 | letter;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    bytes
}
