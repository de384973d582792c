//! What is made from the definitions of the command line: completions and manual pages.

use super::failure::Failure;
use super::print::print;
use clap::Args;
use clap_complete::Shell;
use std::path::PathBuf;
use std::process::ExitCode;

/// `completions SHELL`
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// Which shell
    shell: Shell,
}

/// `man DIR`
#[derive(Debug, Args)]
pub(super) struct Man {
    /// The directory, which is made if it is not there
    directory: PathBuf,
}

impl Completions {
    pub(super) fn run(&self, mut command: clap::Command) -> Result<ExitCode, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "socket-protector", &mut script);
        print(&String::from_utf8_lossy(&script))
    }
}

impl Man {
    pub(super) fn run(&self, command: clap::Command) -> Result<ExitCode, Failure> {
        let written =
            std::fs::create_dir_all(&self.directory).and_then(|()| clap_mangen::generate_to(command, &self.directory));
        let failed =
            |error| Failure::of_io(&format!("cannot write manual pages to {}", self.directory.display()), &error);
        written.map(|()| ExitCode::SUCCESS).map_err(failed)
    }
}
