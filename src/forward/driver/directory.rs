//! Our directory: somebody may clean it up while we run.

use super::Driver;
use crate::control::server::ControlError;
use crate::forward::{DriverError, PID_FILE_MODE, Source};
use crate::process::run_dir::RunDir;
use log::{error, warn};
use std::io::ErrorKind;
use std::time::{Duration, Instant};

/// Between two looks whether everything is still there.
const LOOK: Duration = Duration::from_secs(1);

impl Driver {
    /// Looks whether the control socket is still there, and the directory that it is in; what is gone is made again. What
    /// cannot be made is told of once, and tried again.
    pub(super) fn look_after_directory(&mut self) {
        match self.make_directory_again().and_then(|again| Ok((again, self.make_socket_again()?))) {
            Ok((false, true)) => warn!("the control socket was gone and is there again"),
            Ok(_) => self.amiss = None,
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

    fn make_socket_again(&mut self) -> Result<bool, ControlError> {
        let made = self.control.make_sure(&mut self.reactor)?;
        if made {
            // Who has connected already is not told of by an edge that came before we watched.
            self.reactor.again(Source::Control);
        }
        Ok(made)
    }

    /// With all that belongs in it: the log, the pid file and the saved rules.
    fn make_directory_again(&mut self) -> Result<bool, DriverError> {
        let directory = self.store.directory().to_owned();
        match std::fs::symlink_metadata(&directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            _ => return Ok(false),
        }
        RunDir::at(&directory).prepare()?;
        self.reopen_log();
        warn!("the directory {} was gone and is there again", directory.display());
        if let Some(pid_file) = &mut self.pid_file {
            pid_file.make_sure(PID_FILE_MODE)?;
        }
        self.store.forget();
        self.try_to_save();
        Ok(true)
    }
}
