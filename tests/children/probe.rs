//! A child that describes itself in a JSON file, then serves like `echo`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};

/// Writes the description and serves.
pub(super) fn run(file: &Path) -> ExitCode {
    let new = file.with_extension("new");
    fs::write(&new, describe().to_string()).unwrap();
    fs::rename(new, file).unwrap();
    super::echo::run()
}

fn describe() -> Value {
    let environment: BTreeMap<String, String> = std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
        .collect();
    json!({
        "pid": std::process::id(),
        "ppid": nix::unistd::getppid().as_raw(),
        "group": nix::unistd::getpgrp().as_raw(),
        "cwd": fs::read_link("/proc/self/cwd").unwrap().to_string_lossy(),
        "environment": environment,
        "arguments": std::env::args().collect::<Vec<_>>(),
        "descriptors": descriptors(),
        "status": status(),
        "limits": fs::read_to_string("/proc/self/limits").unwrap(),
    })
}

/// Numbers with target and open flags (octal, with close-on-exec as 02000000).
fn descriptors() -> Value {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir("/proc/self/fd").unwrap() {
        let number = entry.unwrap().file_name().into_string().unwrap();
        let Ok(target) = fs::read_link(format!("/proc/self/fd/{number}")) else {
            continue;
        };
        let target = target.to_string_lossy().into_owned();
        // The descriptor by which we read this very directory is not inherited.
        if target.ends_with("/fd") && target.starts_with("/proc/") {
            continue;
        }
        let details = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap_or_default();
        let flags = details.lines().find_map(|line| line.strip_prefix("flags:")).unwrap_or_default();
        let address = socket2::SockRef::from(&*std::mem::ManuallyDrop::new(crate::sys::adopt(number.parse().unwrap())))
            .local_addr()
            .ok()
            .and_then(|address| address.as_socket());
        all.insert(number, json!({"target": target, "flags": flags.trim(), "address": address}));
    }
    json!(all)
}

/// The lines of `/proc/self/status`. Our own runtime ignores PIPE, which the test must know.
fn status() -> Value {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    json!(pairs.map(|(name, value)| (name, value.trim())).collect::<BTreeMap<_, _>>())
}
