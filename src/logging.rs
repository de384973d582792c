//! Where messages go: standard error in the foreground, syslog or a file in the background. Nothing here waits: what
//! cannot be written now is dropped and counted, since a log must not hold up a connection.

mod file;
mod stderr;
mod syslog;

use log::{LevelFilter, Log, Record};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

pub use stderr::StandardError;

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
    let mut builder = env_logger::Builder::new();
    builder.filter_level(level).parse_env(env_logger::Env::new().filter("RUST_LOG"));
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

    /// The line that tells of them, when there are any.
    fn take(&mut self) -> Option<String> {
        match std::mem::take(&mut self.0) {
            0 => None,
            count => Some(format!("{count} messages before this one were dropped: the log could not take them\n")),
        }
    }
}
