//! The rules of docs/architecture.md that a text search can hold up: dependencies point one way,
//! pure files are pure, unsafe code has its place, and files stay small.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::harness::trials;

trials![
    dependencies_point_one_way,
    pure_files_import_nothing_impure,
    unsafe_code_is_confined,
    what_linux_alone_does_is_confined,
    files_are_small,
    the_rules_find_what_they_forbid,
];

/// Most lines of a source file.
const LONGEST: usize = 450;

/// Layers from the top; a module may use modules of lower layers and, below the roles, of its own.
const LAYERS: [&[&str]; 4] = [
    &["main"],
    &["cli"],
    &["supervise", "forward", "session", "dev"],
    &["reactor", "process", "net", "control", "logging", "takeover"],
];

/// Used by everybody: it uses nobody.
const FLOOR: [&str; 2] = ["sys", "time"];

/// Decisions without descriptors, clocks, logs or system calls.
const PURE: &[&str] = &[
    "net/proxy_protocol.rs",
    "net/proxy_protocol/",
    "supervise/state.rs",
    "supervise/state/",
    "supervise/hold.rs",
    "supervise/probe.rs",
    "supervise/seldom.rs",
    "net/status_line.rs",
    "net/connecting/attempts.rs",
    "net/relay/flow.rs",
    "net/relay/flow/",
    "net/relay/silence.rs",
    "net/resolve/queue.rs",
    "forward/state.rs",
    "forward/state/",
    "takeover/protocol.rs",
    "takeover/protocol/",
    "forward/restart/same_signal.rs",
    "session/state.rs",
    "session/state/",
    "session/sessions.rs",
    "session/sessions/written.rs",
    "session/guesses.rs",
    "session/replay.rs",
    "session/written.rs",
    "session/frame.rs",
    "session/frame/",
    "session/client_state.rs",
    "session/client_state/",
    "session/client/keys.rs",
    "session/client/keys/",
    "session/client/store/text.rs",
    "session/telnet.rs",
    "session/telnet/",
    "session/web/cookie.rs",
    "session/web/errand.rs",
    "session/web/errand/",
    "session/web/gate.rs",
    "session/web/gate/",
    "session/web/glance.rs",
    "session/web/handshake.rs",
    "session/web/handshake/",
    "session/web/reader.rs",
    "session/web/reader/",
    "session/web/plain/text.rs",
    "dev/address.rs",
    "dev/address/",
    "dev/gate.rs",
    "dev/gate/",
    "dev/echo.rs",
    "dev/error_page.rs",
    "dev/inject/policy.rs",
    "dev/proxy/framing.rs",
    "dev/proxy/framing/",
    "dev/proxy/hosts.rs",
    "dev/watch/never.rs",
    "dev/watch/settle.rs",
    "handoff/frame.rs",
    "handoff/gob.rs",
    "handoff/gob/",
    "handoff/key_value.rs",
    "handoff/metadata.rs",
];

/// Of `std::net`, what a pure file may use: addresses are values.
const ADDRESSES: [&str; 7] =
    ["IpAddr", "Ipv4Addr", "Ipv6Addr", "SocketAddr", "SocketAddrV4", "SocketAddrV6", "AddrParseError"];

/// Where unsafe code may be.
const UNSAFE: [&str; 2] = ["sys.rs", "ffi.rs"];

/// What other systems do not have, or do otherwise, without an error to tell so. The client library has its own place for it.
const LINUX: [&str; 2] = ["CLOCK_BOOTTIME", "fchmod"];
const LINUX_PLACES: [&str; 2] = ["sys", "handoff/path.rs"];

/// A source file: its path below `src` and its text.
struct Source {
    path: String,
    text: String,
}

fn dependencies_point_one_way() {
    check(wrong_way);
}

fn pure_files_import_nothing_impure() {
    check(impure);
}

fn unsafe_code_is_confined() {
    check(misplaced_unsafe);
}

fn what_linux_alone_does_is_confined() {
    check(misplaced_linux);
}

fn files_are_small() {
    check(too_long);
}

/// Applies a rule to every source file of the root package and of the client libraries.
fn check(rule: fn(&Source) -> Vec<String>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for part in ["src", "client-lib/src", "client-lib/c/src"] {
        let folder = root.join(part);
        let mut files = Vec::new();
        collect(&folder, &mut files);
        assert!(!files.is_empty(), "no source in {part}");
        for file in files {
            let path = file.strip_prefix(&folder).unwrap().to_str().unwrap().to_owned();
            let text = std::fs::read_to_string(&file).unwrap();
            found.extend(rule(&Source { path, text }).into_iter().map(|fault| format!("{part}/{fault}")));
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The lines that are neither comment nor test, with their numbers.
fn code(source: &Source) -> impl Iterator<Item = (usize, &str)> {
    let end = source.text.lines().position(|line| line.trim() == "#[cfg(test)]").unwrap_or(usize::MAX);
    let lines = source.text.lines().enumerate().take(end);
    lines.map(|(number, line)| (number + 1, line.split("//").next().unwrap_or_default()))
}

/// The paths that a line names after `crate::`, a group counting for each of its members.
fn crate_paths(line: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for rest in line.split("crate::").skip(1) {
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut member = String::new();
            for letter in group.chars() {
                match letter {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => paths.push(std::mem::take(&mut member)),
                    _ if depth == 0 => member.push(letter),
                    _ => {}
                }
            }
            paths.push(member);
        } else {
            paths.push(rest.chars().take_while(|&letter| letter.is_alphanumeric() || "_:".contains(letter)).collect());
        }
    }
    let paths = paths.into_iter().map(|path| path.trim().trim_matches(':').to_owned());
    paths.filter(|path| !path.is_empty()).collect()
}

/// The layer of a module's first name; 0 is the top.
fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

fn wrong_way(source: &Source) -> Vec<String> {
    let own = source.path.split(['/', '.']).next().unwrap_or_default();
    if own == "lib" {
        return Vec::new();
    }
    let mut faults = Vec::new();
    for (number, line) in joined_uses(source) {
        // `socket_protector::` is how the binary names the library.
        let line = line.replace("socket_protector::", "crate::");
        for path in crate_paths(&line) {
            let other = path.split("::").next().unwrap_or_default();
            let allowed = match (layer(own), layer(other)) {
                _ if own == other => true,
                (Some(from), Some(to)) => from < to || (from == to && from == LAYERS.len() - 1),
                (None, Some(_)) => !FLOOR.contains(&own),
                (_, None) => true,
            };
            if !allowed {
                faults.push(format!("{}:{number}: {own} must not use {other}", source.path));
            }
        }
    }
    faults
}

/// Code lines, with each `use` that spans several lines joined to one, numbered by its first.
fn joined_uses(source: &Source) -> Vec<(usize, String)> {
    let mut all: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    for (number, line) in code(source) {
        let text = line.trim();
        match all.last_mut() {
            Some((_, use_so_far)) if open => use_so_far.push_str(text),
            _ => {
                open = imported(text).is_some();
                all.push((number, text.to_owned()));
            }
        }
        open = open && !text.ends_with(';');
    }
    all
}

/// What a `use` statement names.
fn imported(line: &str) -> Option<&str> {
    let visible = ["pub(crate) ", "pub(super) ", "pub "];
    let statement = visible.iter().find_map(|word| line.strip_prefix(word)).unwrap_or(line);
    statement.strip_prefix("use ")
}

/// Whether the file is compiled for tests only.
fn of_tests(source: &Source) -> bool {
    source.path.ends_with("/tests.rs") || source.path.contains("/tests/")
}

fn impure(source: &Source) -> Vec<String> {
    let pure = |pure: &str| source.path == pure || (pure.ends_with('/') && source.path.starts_with(pure));
    if !PURE.iter().any(|path| pure(path)) || of_tests(source) {
        return Vec::new();
    }
    let folder = source.path.split('/').next().unwrap_or_default();
    let forbidden = ["Instant::now", "SystemTime", "fs::", "net::", "process::", "os::fd", "io::", "log::"];
    let mut faults = Vec::new();
    for (number, line) in joined_uses(source) {
        let line = without_addresses(&line);
        if let Some(what) = forbidden.iter().find(|what| line.contains(**what)) {
            faults.push(format!("{}:{number}: a pure file must not use {what}", source.path));
        }
        let Some(used) = imported(&line) else {
            continue;
        };
        let own = format!("crate::{folder}");
        let fine = ["std::", "core::", "super::", "self::", own.as_str()].iter().any(|start| used.starts_with(start));
        // A name of one word is an enum or module of the file itself.
        let local = used.chars().next().is_some_and(char::is_uppercase);
        if !fine && !local {
            faults.push(format!("{}:{number}: a pure file must not import {used}", source.path));
        }
    }
    faults
}

/// The line without the paths of `std::net` that name addresses only.
fn without_addresses(line: &str) -> String {
    let mut rest = line;
    let mut kept = String::new();
    while let Some((before, names)) = rest.split_once("std::net::") {
        kept.push_str(before);
        let end = if names.starts_with('{') {
            names.find('}').map_or(names.len(), |end| end + 1)
        } else {
            names.find(|letter: char| !letter.is_alphanumeric()).unwrap_or(names.len())
        };
        let (names, after) = names.split_at(end);
        let mut each = names.trim_matches(['{', '}']).split(',').map(str::trim).filter(|name| !name.is_empty());
        kept.push_str(if each.all(|name| ADDRESSES.contains(&name)) { "std::" } else { "std::net::" });
        rest = after;
    }
    kept + rest
}

fn misplaced_unsafe(source: &Source) -> Vec<String> {
    let file = source.path.rsplit('/').next().unwrap_or_default();
    if UNSAFE.contains(&file) || source.path.starts_with("sys/") || source.path.starts_with("ffi/") {
        return Vec::new();
    }
    // The keyword, and not a value such as 'unsafe-inline' or a text that is this word.
    let is_unsafe = |line: &str| {
        line.split(|letter: char| !(letter.is_alphanumeric() || "_-\"".contains(letter))).any(|word| word == "unsafe")
    };
    let lines = code(source).filter(|(_, line)| is_unsafe(line));
    lines.map(|(number, _)| format!("{}:{number}: unsafe code outside of sys.rs and ffi.rs", source.path)).collect()
}

fn misplaced_linux(source: &Source) -> Vec<String> {
    if LINUX_PLACES.iter().any(|place| source.path.starts_with(place)) {
        return Vec::new();
    }
    let lines =
        code(source).filter_map(|(number, line)| Some((number, LINUX.iter().find(|word| line.contains(**word))?)));
    lines.map(|(number, word)| format!("{}:{number}: {word} outside of sys", source.path)).collect()
}

fn too_long(source: &Source) -> Vec<String> {
    let lines = source.text.lines().count();
    let fault = format!("{}:{lines}: {lines} lines, {LONGEST} are the most", source.path);
    if lines > LONGEST { vec![fault] } else { Vec::new() }
}

/// Each rule, on a text that breaks it and on one that does not.
fn the_rules_find_what_they_forbid() {
    type Rule = fn(&Source) -> Vec<String>;
    let long = "// line\n".repeat(LONGEST + 1);
    let samples: [(Rule, &str, &str, bool); 38] = [
        (wrong_way, "net/listener.rs", "use crate::supervise::state::Phase;", true),
        (wrong_way, "net/listener.rs", "fn f() { crate::cli::run(); }", true),
        (wrong_way, "supervise/driver.rs", "use crate::{\n    net::Listener,\n    forward::{Rule, Relay},\n};", true),
        (wrong_way, "supervise.rs", "use crate::session::State;", true),
        (wrong_way, "session/server.rs", "use crate::forward::Rule;", true),
        (wrong_way, "net/stream.rs", "use crate::session::frame::Frame;", true),
        (
            wrong_way,
            "session/server/requests.rs",
            "use crate::control::wire::Reply;\nuse crate::net::stream::Stream;",
            false,
        ),
        (wrong_way, "sys.rs", "use crate::net::Listener;", true),
        (wrong_way, "reactor/timers.rs", "use crate::cli::failure::Failure;", true),
        (wrong_way, "supervise/driver.rs", "pub(crate) use crate::dev::Gate;", true),
        (wrong_way, "supervise/driver.rs", "use crate::{net::Listener, sys};\nuse crate::supervise::state;", false),
        (wrong_way, "cli/supervise.rs", "use crate::supervise::{self, driver};\nuse crate::net::endpoint;", false),
        (wrong_way, "main.rs", "use socket_protector::cli;", false),
        (wrong_way, "net/listener.rs", "// use crate::supervise::state;", false),
        (wrong_way, "control/server.rs", "use crate::reactor::Reactor;", false),
        (impure, "supervise/state.rs", "use log::info;", true),
        (impure, "supervise/state/reload.rs", "use crate::net::Listener;", true),
        (impure, "supervise/hold.rs", "let now = Instant::now();", true),
        (impure, "supervise/state.rs", "use std::{\n    os::fd::OwnedFd,\n};\nuse nix::unistd::Pid;", true),
        (impure, "supervise/state.rs", "use std::time::{Duration, Instant};\nuse super::ids::Generation;", false),
        (impure, "net/proxy_protocol/v1.rs", "use std::net::TcpStream;", true),
        (impure, "net/proxy_protocol/v1.rs", "use std::net::{SocketAddr, TcpStream};", true),
        (impure, "net/proxy_protocol.rs", "use std::net::{\n    IpAddr,\n    SocketAddr,\n};", false),
        (impure, "net/proxy_protocol.rs", "fn f(address: std::net::IpAddr) {}", false),
        (impure, "supervise/driver.rs", "use log::info;", false),
        (impure, "supervise/state.rs", "pub enum Cause {", false),
        (impure, "supervise/state/tests/walk.rs", "let now = Instant::now();", false),
        (misplaced_linux, "control/server.rs", "fchmod(&socket, mode)?;", true),
        (misplaced_linux, "session/server/clock.rs", "read(ClockId::CLOCK_BOOTTIME)", true),
        (misplaced_linux, "session/server/clock.rs", "// fchmod is elsewhere", false),
        (misplaced_linux, "sys/sockets.rs", "fchmod(&socket, mode)?;", false),
        (misplaced_unsafe, "net/listener.rs", "let fd = unsafe { adopt(3) };", true),
        (misplaced_unsafe, "net/listener.rs", "// unsafe is elsewhere\nlet unsafe_code = 1;", false),
        (misplaced_unsafe, "dev/inject.rs", "let csp = \"'unsafe-inline'\"; csp.contains(\"unsafe\")", false),
        (misplaced_unsafe, "sys.rs", "unsafe { adopt(3) }", false),
        (misplaced_unsafe, "net/page.rs", "const P: &str = \"style-src 'unsafe-inline'\";", false),
        (misplaced_unsafe, "net/page.rs", "f(\"'unsafe-inline'\", unsafe { adopt(3) })", true),
        (too_long, "net/listener.rs", &long, true),
    ];
    let mut wrong = BTreeMap::new();
    for (number, (rule, path, text, forbidden)) in samples.into_iter().enumerate() {
        let found = rule(&Source { path: path.to_owned(), text: text.to_owned() });
        if found.is_empty() == forbidden {
            wrong.insert(number, (text, found));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
