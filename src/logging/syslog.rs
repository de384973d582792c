//! The system's log, by a socket that does not block and is made again when the log daemon was restarted.

use super::Dropped;
use log::{Level, Record};
use std::io;
use std::os::unix::net::UnixDatagram;
use std::sync::{Mutex, PoisonError};
use syslog::{Facility, Formatter3164, Logger, LoggerBackend};

const SOCKETS: [&str; 2] = ["/dev/log", "/var/run/syslog"];

pub(super) struct Syslog(Mutex<State>);

struct State {
    logger: Option<Logger<LoggerBackend, Formatter3164>>,
    dropped: Dropped,
}

impl Syslog {
    pub(super) fn new() -> Self {
        Syslog(Mutex::new(State { logger: connect().ok(), dropped: Dropped::default() }))
    }

    pub(super) fn write(&self, record: &Record<'_>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(notice) = state.dropped.notice()
            && state.write(Level::Warn, &notice)
        {
            state.dropped.forget();
        }
        if !state.write(record.level(), &record.args().to_string()) {
            state.dropped.note();
        }
    }
}

impl State {
    fn write(&mut self, level: Level, text: &str) -> bool {
        let sent = self.logger.as_mut().is_some_and(|logger| send(logger, level, text));
        if sent {
            return true;
        }
        self.logger = connect().ok();
        self.logger.as_mut().is_some_and(|logger| send(logger, level, text))
    }
}

pub(super) fn reachable() -> bool {
    connect().is_ok()
}

fn connect() -> io::Result<Logger<LoggerBackend, Formatter3164>> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    SOCKETS
        .iter()
        .map(|path| socket.connect(path))
        .find(Result::is_ok)
        .unwrap_or_else(|| Err(io::Error::new(io::ErrorKind::NotFound, "no system log")))?;
    let formatter = Formatter3164 {
        facility: Facility::LOG_DAEMON,
        hostname: None,
        process: "socket-protector".into(),
        pid: std::process::id(),
    };
    Ok(Logger::new(LoggerBackend::Unix(socket), formatter))
}

fn send(logger: &mut Logger<LoggerBackend, Formatter3164>, level: Level, text: &str) -> bool {
    let sent = match level {
        Level::Error => logger.err(text),
        Level::Warn => logger.warning(text),
        Level::Info => logger.info(text),
        Level::Debug | Level::Trace => logger.debug(text),
    };
    sent.is_ok()
}
