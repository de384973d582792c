//! What every command has in common that asks a running instance.

use super::failure::Failure;
use crate::control::client::AskError;
use crate::control::wire::Reply;
use crate::process::instance_name::InstanceName;
use crate::process::output::printable;
use crate::process::run_dir::RunDir;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// An instance that does not answer for so long is taken for stuck.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// The control socket of an instance.
pub(super) fn socket(run_dir: &RunDir, name: &InstanceName) -> Result<PathBuf, Failure> {
    run_dir.socket_path(name).map_err(|error| Failure::failed(&error).code(2))
}

/// The control sockets of a run directory, by name. A directory that is not there holds none.
pub(super) fn sockets(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(Failure::of_io(&format!("cannot read {}", directory.display()), &error));
        }
    };
    let mut paths = entries.flatten().map(|entry| entry.path()).collect::<Vec<_>>();
    paths.retain(|path| path.extension() == Some(OsStr::new("sock")));
    paths.sort();
    Ok(paths)
}

/// Why an instance did not answer, if it is there at all.
pub(super) fn no_answer(run_dir: &RunDir, name: &dyn fmt::Display, error: &AskError) -> Failure {
    if error.is_nobody() {
        Failure::told(format!("no instance named {name} is running in {}", run_dir.path().display()))
            .hint("'socket-protector status' shows those that are")
    } else {
        Failure::failed(error)
    }
}

/// What was asked for, or why it was not to be had, as the instance tells it.
pub(super) fn result<T: DeserializeOwned>(reply: Reply) -> Result<T, Failure> {
    if reply.ok {
        return read(reply.result.unwrap_or_else(|| Value::Object(serde_json::Map::new())));
    }
    let lines = reply.lines.iter().map(|line| printable(line.as_bytes()));
    let failure = Failure::told(printable(reply.error.as_deref().unwrap_or("failed").as_bytes()));
    let failure = failure.lines(lines.collect());
    Err(failure.hint_if(reply.hint.map(|hint| printable(hint.as_bytes()))))
}

/// An answer as what it should be.
pub(super) fn read<T: DeserializeOwned>(value: Value) -> Result<T, Failure> {
    serde_json::from_value(value).map_err(|error| Failure::told(format!("the answer is not understood: {error}")))
}

#[cfg(test)]
mod tests {
    use super::result;
    use crate::control::wire::Reply;
    use serde_json::Value;

    #[test]
    fn what_an_instance_has_to_say_is_told_whole_and_printable() {
        let reply = Reply {
            lines: vec!["its last\u{7} line".into()],
            hint: Some("what could be done".into()),
            ..Reply::failed("why not")
        };
        let told = result::<Value>(reply).unwrap_err().about("cannot reload x").to_string();
        let lines = told.lines().collect::<Vec<_>>();
        assert_eq!(lines.len(), 3, "{told}");
        assert_eq!(lines[0], "socket-protector: cannot reload x: why not");
        assert!(lines[1].starts_with("  | its last") && !lines[1].contains('\u{7}'), "{told}");
        assert_eq!(lines[2], "hint: what could be done");
    }
}
