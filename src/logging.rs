//! Where messages go: standard error in the foreground, syslog or a file in the background. Nothing here waits: what
//! cannot be written now is dropped and counted, since a log must not hold up a connection.

mod file;
mod stderr;
mod syslog;

use log::{LevelFilter, Log, Record};
use std::borrow::Cow;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

pub use stderr::StandardError;

/// The target of lines that children wrote.
pub const CHILD: &str = "child";

/// Where messages go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Standard error.
    Stderr,
    /// The system's log, facility daemon.
    Syslog,
    /// Appended to a file.
    File(PathBuf),
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The log file cannot be opened.
    #[error("cannot open the log file {}", .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What open(2) said.
        source: std::io::Error,
    },
}

/// A handle to the log that has been started.
#[derive(Clone, Debug)]
pub struct Logging {
    file: Option<Arc<Mutex<file::File>>>,
}

impl Logging {
    /// Opens the log file afresh, as after a rotation. When it cannot be opened the old one stays in use.
    ///
    /// # Errors
    /// The file that cannot be opened.
    pub fn reopen(&self) -> Result<(), LogError> {
        match &self.file {
            Some(file) => file.lock().unwrap_or_else(PoisonError::into_inner).reopen(),
            None => Ok(()),
        }
    }
}

/// Starts the log of this process; once. `RUST_LOG` is honoured where it is set, else `level` holds.
///
/// # Errors
/// A log file that cannot be opened.
pub fn start(level: LevelFilter, destination: &Destination) -> Result<Logging, LogError> {
    let mut builder = filters(level, std::env::var("RUST_LOG").ok().as_deref());
    builder.format(|line, record| {
        let time = line.timestamp_millis();
        writeln!(line, "{time} {:5} {}", record.level(), record.args())
    });
    let mut logging = Logging { file: None };
    match destination {
        Destination::Stderr => {
            builder.target(env_logger::Target::Pipe(Box::new(StandardError::default())));
        }
        Destination::File(path) => {
            let file = Arc::new(Mutex::new(file::File::open(path)?));
            builder.target(env_logger::Target::Pipe(Box::new(file::Shared(Arc::clone(&file)))));
            logging.file = Some(file);
        }
        Destination::Syslog => {
            let filter = builder.build();
            log::set_max_level(filter.filter());
            set(Box::new(Filtered { filter, to: syslog::Syslog::new() }));
            return Ok(logging);
        }
    }
    let logger = builder.build();
    log::set_max_level(logger.filter());
    set(Box::new(logger));
    Ok(logging)
}

/// What is said at all: what the variable asks for, and by the level what it does not mention.
fn filters(level: LevelFilter, variable: Option<&str>) -> env_logger::Builder {
    let mut builder = env_logger::Builder::new();
    // What children write is not ours to leave out, however little we say ourselves.
    builder.filter_level(level).filter_module(CHILD, level.max(LevelFilter::Info));
    match variable.filter(|text| !text.is_empty()) {
        Some(text) => drop(builder.parse_filters(text)),
        // It warns of each watched directory that is removed. One that would stand beside those of the variable would win, being
        // about a module.
        None if level <= LevelFilter::Info => drop(builder.filter_module("notify", level.min(LevelFilter::Error))),
        None => {}
    }
    builder
}

fn set(logger: Box<dyn Log>) {
    // Fails only when a log has been started before; the first one stays.
    let _ = log::set_boxed_logger(logger);
}

/// Whether the system's log can be reached; where it cannot, it is tried again at every message.
pub fn has_syslog() -> bool {
    syslog::reachable()
}

/// The level for the number of `-v` less the number of `-q`.
pub fn level(verbosity: i16) -> LevelFilter {
    match verbosity {
        ..=-2 => LevelFilter::Error,
        -1 => LevelFilter::Warn,
        0 => LevelFilter::Info,
        1 => LevelFilter::Debug,
        2.. => LevelFilter::Trace,
    }
}

/// Applies env_logger's filter to a destination that it does not know.
struct Filtered {
    filter: env_logger::Logger,
    to: syslog::Syslog,
}

impl Log for Filtered {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        self.filter.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if self.filter.matches(record) {
            self.to.write(record);
        }
    }

    fn flush(&self) {}
}

/// Opens a file to append to. A fifo without a reader is an error here and no wait.
///
/// # Errors
/// The file that cannot be opened.
pub fn open_append(path: &Path) -> Result<std::fs::File, LogError> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .map_err(|source| LogError::Open { path: path.to_owned(), source })
}

/// How many messages were dropped since it was last told.
#[derive(Debug, Default)]
struct Dropped(u64);

impl Dropped {
    fn note(&mut self) {
        self.0 += 1;
    }

    /// It has been told.
    fn forget(&mut self) {
        self.0 = 0;
    }

    /// The line, after one that tells of those that were dropped, when there are any.
    fn note_before<'a>(&self, line: &'a [u8]) -> Cow<'a, [u8]> {
        match self.notice() {
            None => Cow::Borrowed(line),
            Some(notice) => Cow::Owned([notice.as_bytes(), b"\n", line].concat()),
        }
    }

    fn notice(&self) -> Option<String> {
        let count = self.0;
        (count > 0).then(|| format!("{count} messages before this one were dropped: the log could not take them"))
    }
}

#[cfg(test)]
mod tests {
    use super::{Dropped, LogError, file, filters, open_append};
    use log::{Level, LevelFilter, Log};
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    #[test]
    fn the_variable_says_what_is_said_of_others_too() {
        let said = |level: LevelFilter, variable: Option<&str>, target: &str, of: Level| {
            let logger = filters(level, variable).build();
            logger.enabled(&log::Metadata::builder().level(of).target(target).build())
        };
        for unset in [None, Some("")] {
            assert!(!said(LevelFilter::Info, unset, "notify::inotify", Level::Warn));
            assert!(said(LevelFilter::Info, unset, "notify::inotify", Level::Error));
            assert!(said(LevelFilter::Debug, unset, "notify::inotify", Level::Debug));
            assert!(said(LevelFilter::Off, unset, super::CHILD, Level::Info));
        }
        for set in ["debug", "notify=debug"] {
            assert!(said(LevelFilter::Info, Some(set), "notify::inotify", Level::Debug), "{set}");
        }
        assert!(!said(LevelFilter::Info, Some("warn"), "socket_protector", Level::Info));
    }

    #[test]
    fn what_was_dropped_is_told_once_it_can_be() {
        let mut dropped = Dropped::default();
        assert_eq!(&*dropped.note_before(b"a\n"), b"a\n");
        dropped.note();
        dropped.note();
        let told = dropped.note_before(b"a\n");
        assert!(told.starts_with(b"2 messages before this one were dropped") && told.ends_with(b"\na\n"));
        dropped.forget();
        assert_eq!(&*dropped.note_before(b"a\n"), b"a\n");
    }

    #[test]
    fn a_rotated_log_file_is_opened_afresh_and_kept_when_that_fails() {
        let directory = tempfile::tempdir().unwrap();
        let (path, old) = (directory.path().join("log"), directory.path().join("log.1"));
        let file = Arc::new(Mutex::new(file::File::open(&path).unwrap()));
        let mut writer = file::Shared(Arc::clone(&file));
        writer.write_all(b"one\n").unwrap();
        std::fs::rename(&path, &old).unwrap();
        writer.write_all(b"two\n").unwrap();
        file.lock().unwrap().reopen().unwrap();
        writer.write_all(b"three\n").unwrap();
        assert_eq!(std::fs::read(&old).unwrap(), b"one\ntwo\n");
        assert_eq!(std::fs::read(&path).unwrap(), b"three\n");
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(matches!(file.lock().unwrap().reopen(), Err(LogError::Open { .. })));
    }

    #[test]
    fn a_fifo_without_a_reader_is_an_error_and_no_wait() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fifo");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(open_append(&path).is_err());
    }
}
