//! What a proxy for development is called, and the lock by which it alone has that name.

use super::DevError;
use super::settings::Settings;
use crate::process::instance_name::InstanceName;
use crate::process::pid_file::{PidFile, PidFileError};
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

/// Nobody reads it, and who cannot open it cannot lock it.
const LOCK_MODE: u32 = 0o600;

/// A name that is ours as long as this lives.
#[derive(Debug)]
pub(super) struct Instance {
    name: InstanceName,
    control: PathBuf,
    _lock: PidFile,
}

impl Instance {
    /// Takes the name that the command line gives, if it gives one.
    ///
    /// # Errors
    /// The run directory cannot be used, or another instance has the name.
    pub(super) fn named(settings: &Settings) -> Result<Option<Instance>, DevError> {
        settings.run_dir.prepare()?;
        settings.name.clone().map(|name| Instance::take(settings, name)).transpose()
    }

    /// Takes a name that tells where browsers come: `dev-8000`. One that is taken, as by a proxy at the same port of another
    /// address, gets our pid behind it.
    ///
    /// # Errors
    /// The run directory cannot be used.
    pub(super) fn unnamed(settings: &Settings, listeners: &[TcpListener]) -> Result<Instance, DevError> {
        let port =
            listeners.first().and_then(|listener| listener.local_addr().ok()).map_or(0, |address| address.port());
        let taken = match Instance::take(settings, name(&format!("dev-{port}"))?) {
            Err(DevError::Name { .. }) => format!("dev-{port}-{}", std::process::id()),
            done => return done,
        };
        Instance::take(settings, name(&taken)?)
    }

    /// # Errors
    /// Its control socket would have too long a path, or another instance has it.
    fn take(settings: &Settings, name: InstanceName) -> Result<Instance, DevError> {
        let control = settings.run_dir.socket_path(&name)?;
        match PidFile::create(&control.with_extension("lock"), LOCK_MODE) {
            Ok(lock) => Ok(Instance { name, control, _lock: lock }),
            Err(PidFileError::Held { pid, .. }) => Err(DevError::Name { name, pid }),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn name(&self) -> &InstanceName {
        &self.name
    }

    /// The path of the control socket.
    pub(super) fn control(&self) -> &Path {
        &self.control
    }
}

fn name(text: &str) -> Result<InstanceName, DevError> {
    let begin = |error| DevError::Begin { what: "find a name for this instance", source: io::Error::other(error) };
    text.parse().map_err(begin)
}
