//! Our directory: somebody may clean it up while we run, with our pid file, our control socket and the saved rules.

use super::Driver;
use crate::forward::{DriverError, PID_FILE_MODE, Source};
use crate::process::run_dir::RunDir;
use log::{error, warn};
use std::io::ErrorKind;
use std::time::{Duration, Instant};

/// Between two looks whether everything is still there.
const LOOK: Duration = Duration::from_secs(1);

impl Driver {
    /// Looks whether everything is still there; what is gone is made again. What cannot be made is told of once, and tried
    /// again.
    pub(super) fn look_after_directory(&mut self) {
        match self.make_again() {
            Ok(()) => self.amiss = None,
            Err(error) => {
                let text = crate::chain(&error);
                if self.amiss.as_ref() != Some(&text) {
                    error!("{text}; trying again until it works");
                }
                self.amiss = Some(text);
            }
        }
        self.look_later();
    }

    pub(super) fn look_later(&mut self) {
        self.reactor.set_deadline(Source::Socket, Some(Instant::now() + LOOK));
    }

    fn make_again(&mut self) -> Result<(), DriverError> {
        let whole = self.make_directory_again()?;
        // Before the socket: if another forwarder has come to the directory it has the pid file, and the socket is its own.
        if let Some(pid_file) = &mut self.pid_file {
            pid_file.make_sure(PID_FILE_MODE)?;
        }
        if self.control.make_sure(&mut self.reactor)? {
            // Who has connected already is not told of by an edge that came before we watched.
            self.reactor.again(Source::Control);
            if whole {
                warn!("the control socket was gone and is there again");
            }
        }
        Ok(())
    }

    /// With the log and the saved rules. Whether it was there.
    fn make_directory_again(&mut self) -> Result<bool, DriverError> {
        let directory = self.store.directory().to_owned();
        match std::fs::symlink_metadata(&directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            _ => return Ok(true),
        }
        RunDir::at(&directory).prepare()?;
        self.reopen_log();
        warn!("the directory {} was gone and is there again", directory.display());
        self.store.forget();
        self.try_to_save();
        Ok(false)
    }
}
