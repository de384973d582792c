//! `session client --list`: the sessions that are kept.

use crate::cli::print::{print, print_json};
use crate::cli::table::table;
use crate::cli::{Common, Failure};
use crate::session::client::{Kept, SUFFIX, Store, StoreError};
use serde_json::{Value, json};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A file, and what is in it.
type Entry = (PathBuf, Kept);

pub(super) fn run(state: Option<&Path>, as_json: bool, common: &Common) -> Result<ExitCode, Failure> {
    let (entries, unread) = match state {
        Some(state) => look(vec![state.to_owned()]),
        None => look(files(common.run_dir()?.path())?),
    };
    if as_json {
        let sessions = entries.iter().map(as_value).collect::<Vec<_>>();
        print_json(&json!({"schema": 1, "sessions": sessions}))?;
    } else {
        print(&table(&rows(&entries)))?;
    }
    // What cannot be read keeps nobody from seeing the others.
    match unread.into_iter().next() {
        None => Ok(ExitCode::SUCCESS),
        Some(error) => Err(Failure::failed(&error).hint_if(error.hint())),
    }
}

/// Where clients keep their sessions if nobody says where, in the order of their names.
fn files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |error: &io::Error| Failure::of_io(&format!("cannot read the directory {}", folder.display()), error);
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(&error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| failed(&error))?.path();
        if path.to_string_lossy().ends_with(SUFFIX) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn look(files: Vec<PathBuf>) -> (Vec<Entry>, Vec<StoreError>) {
    let (mut entries, mut unread) = (Vec::new(), Vec::new());
    for path in files {
        match Store::look(&path) {
            Ok(Some(kept)) => entries.push((path, kept)),
            Ok(None) => {}
            Err(error) => unread.push(error),
        }
    }
    (entries, unread)
}

fn short(kept: &Kept) -> String {
    kept.ticket.id.to_string()[..8].to_owned()
}

fn rows(entries: &[Entry]) -> Vec<Vec<String>> {
    let mut rows = vec![["session", "server", "output", "input", "waiting", "file"].map(String::from).to_vec()];
    for (path, kept) in entries {
        let progress = &kept.progress;
        rows.push(vec![
            short(kept),
            kept.server.clone(),
            progress.output.to_string(),
            progress.input.to_string(),
            progress.queued.len().to_string(),
            path.display().to_string(),
        ]);
    }
    rows
}

fn as_value((path, kept): &Entry) -> Value {
    let progress = &kept.progress;
    json!({
        "id": short(kept),
        "server": kept.server,
        "output": progress.output,
        "input": progress.input,
        "waiting": progress.queued.len(),
        "file": path.display().to_string(),
    })
}
