//! Our directory: somebody may clean it up while we run, with our pid file, our control socket and the saved rules.

use super::Driver;
use crate::forward::{DriverError, PID_FILE, PID_FILE_MODE, Source};
use crate::process::pid_file::PidFile;
use crate::process::run_dir::RunDir;
use log::{error, warn};
use std::io::ErrorKind;
use std::time::{Duration, Instant};

/// How a look at the directory has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claimed {
    /// It was ours all the time.
    Still,
    /// It is ours again.
    Anew,
}

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
        // Before the socket: if another forwarder has come to the directory it has the pid file, and the socket is its own.
        let claimed = self.claim()?;
        if claimed == Claimed::Anew {
            self.try_to_save();
        }
        if self.control.make_sure(&mut self.reactor)? {
            // Who has connected already is not told of by an edge that came before we watched.
            self.reactor.again(Source::Control);
            if claimed == Claimed::Still {
                warn!("the control socket was gone and is there again");
            }
        }
        Ok(())
    }

    /// Makes sure that the directory is ours, and safe, and our pid file in it. Nothing else there may be touched before
    /// that, neither the log nor the saved rules nor the socket: they may be another forwarder's.
    pub(super) fn claim(&mut self) -> Result<Claimed, DriverError> {
        let directory = self.store.directory().to_owned();
        let run_dir = RunDir::at(&directory);
        let gone = matches!(std::fs::symlink_metadata(&directory), Err(error) if error.kind() == ErrorKind::NotFound);
        if gone {
            run_dir.prepare()?
        } else {
            run_dir.see_that_it_is_safe()?
        }
        let made = match &mut self.pid_file {
            Some(pid_file) => pid_file.make_sure(PID_FILE_MODE)?,
            // A process that has taken over could not have it then.
            None => {
                self.pid_file = Some(PidFile::create(&directory.join(PID_FILE), PID_FILE_MODE)?);
                true
            }
        };
        if gone {
            self.reopen_log();
            warn!("the directory {} was gone and is there again", directory.display());
        }
        if !made {
            return Ok(Claimed::Still);
        }
        // Others may have been here meanwhile, or nothing is left.
        self.store.look_again();
        Ok(Claimed::Anew)
    }
}
