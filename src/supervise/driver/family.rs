//! Which generation a process belongs to, and which of its processes a generation lives by.

use super::Driver;
use crate::process::spawn::signal_group;
use crate::supervise::main_process::MainProcess;
use crate::supervise::state::Number;
use crate::supervise::worker::Worker;
use log::{info, warn};
use nix::sys::signal::Signal;
use nix::unistd::{Pid, Uid, getpgid};
use socket_protector_client::descriptors::Sender;
use socket_protector_client::environment::SOCKET_PROTECTOR_GENERATION;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::str::FromStr;
use std::time::Instant;

/// How far up from a process its leader is looked for.
const ANCESTORS: usize = 64;
/// How much of a process's environment is looked at.
const ENVIRONMENT: u64 = 256 * 1024;

impl Driver {
    /// The generation whose words a process speaks: only our own user and root are listened to. Others are not even
    /// looked at, since how long it takes to read their environment is for them to decide.
    pub(super) fn generation_that_speaks(&self, pid: i32, uid: u32) -> Option<Number> {
        let uid = Uid::from_raw(uid);
        if uid.is_root() || uid == Uid::effective() { self.generation_of(pid) } else { None }
    }

    /// The generation that a process belongs to: by its process group or by descent; or, where it has left both, as
    /// daemons do, by the environment that it was started with.
    fn generation_of(&self, pid: i32) -> Option<Number> {
        self.by_descent(pid).or_else(|| self.by_environment(pid))
    }

    pub(super) fn by_descent(&self, pid: i32) -> Option<Number> {
        let mut pid = pid;
        for _ in 0..ANCESTORS {
            if pid <= 1 {
                return None;
            }
            let group = getpgid(Some(Pid::from_raw(pid))).ok();
            let found = self.workers.iter().find(|(_, worker)| is_of(worker, Pid::from_raw(pid), group));
            if let Some((number, _)) = found {
                return Some(*number);
            }
            pid = parent(pid)?;
        }
        None
    }

    /// Nobody can make this true of a process of another user; and what our own user wants to feign it could do itself.
    fn by_environment(&self, pid: i32) -> Option<Number> {
        let mut environment = Vec::new();
        File::open(format!("/proc/{pid}/environ")).ok()?.take(ENVIRONMENT).read_to_end(&mut environment).ok()?;
        let value = |name: &str| {
            let mut variables = environment.split(|byte| *byte == 0);
            variables.find_map(|variable| variable.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
        };
        value("NOTIFY_SOCKET").filter(|path| *path == self.notify.path().as_os_str().as_bytes())?;
        let number = Number(std::str::from_utf8(value(SOCKET_PROTECTOR_GENERATION)?).ok()?.parse().ok()?);
        Some(number).filter(|number| self.workers.contains_key(number))
    }

    /// Whether a process that one of this generation has named may belong to it. One that is just executing its program
    /// has no environment yet, and may have lost its parent, so that it cannot be told.
    fn belongs(&self, number: Number, pid: i32) -> bool {
        let is_its = || self.generation_of(pid) == Some(number);
        is_its() || is_executing(pid) || is_its()
    }

    /// A generation lives by this process from now on.
    pub(super) fn follow(&mut self, number: Number, pid: i32, sender: Sender) {
        let pid = Pid::from_raw(pid);
        let Some(worker) = self.workers.get_mut(&number) else {
            return;
        };
        if worker.main.as_ref().is_some_and(|main| main.pid() == pid) {
            return;
        }
        if worker.process.pid() == pid {
            if worker.exit.is_none() {
                worker.main = None;
            }
            return;
        }
        // First the descriptor, which can mean no other process, then what that process is.
        let main = MainProcess::watch(&mut self.reactor, pid, number);
        // Its user first, as above.
        let is_its = user(pid) == Some(sender.uid) && self.belongs(number, pid.as_raw());
        match main {
            Ok(main) if is_its && !main.has_ended() => {
                if let Some(worker) = self.workers.get_mut(&number) {
                    worker.main = Some(main);
                    if let Some(more) = worker.main_told.tell(Instant::now()) {
                        info!("generation {number} lives by process {pid} from now on{more}");
                    }
                }
            }
            Ok(_) | Err(_) => {
                if let Some(more) = self.not_followed.tell(Instant::now()) {
                    warn!("generation {number} cannot live by process {pid}, which is none of its own{more}");
                }
            }
        }
    }

    /// The process that a generation lived by has ended. What is left of it goes, too; unless another process was named
    /// in its place, be it by a word that comes with its end.
    pub(super) fn main_ended(&mut self, number: Number) {
        self.hear_last_words();
        let Some(worker) = self.workers.get_mut(&number) else {
            return;
        };
        let Some(main) = worker.main.take_if(|main| main.has_ended()) else {
            return;
        };
        let leader_has_gone = worker.exit.is_some();
        info!("generation {number}: process {}, by which it lived, has ended", main.pid());
        if self.machine.starting() == Some(number) {
            self.why = Some((number, self.why(number, format!("lost process {} before it was ready", main.pid()))));
        }
        if leader_has_gone {
            self.check_group(number);
        } else if let Some(worker) = self.workers.get(&number) {
            // Its end is what tells that the generation is gone.
            signal_group(&worker.process, Signal::SIGKILL);
        }
    }
}

fn is_of(worker: &Worker, pid: Pid, group: Option<Pid>) -> bool {
    let is = |leader: Pid| leader == pid || Some(leader) == group;
    is(worker.process.pid()) || worker.main.as_ref().is_some_and(|main| is(main.pid()) && !main.has_ended())
}

/// A field of proc_pid_stat(5), by its number there.
fn field<T: FromStr>(stat: &str, number: usize) -> Option<T> {
    // The second, a name in brackets, may hold anything.
    stat.rsplit_once(')')?.1.split_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
}

fn parent(pid: i32) -> Option<i32> {
    field(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?, 4)
}

/// Whether a process that we may look into is in the middle of execve(2).
fn is_executing(pid: i32) -> bool {
    let mut first = [0];
    // That it can be opened tells that we may, and that the zeros in `stat` are no refusal.
    let empty = File::open(format!("/proc/{pid}/environ")).and_then(|mut file| file.read(&mut first));
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    empty.is_ok_and(|bytes| bytes == 0) && stat.is_ok_and(|stat| has_no_environment_yet(&stat))
}

/// It has memory, which no thread of the kernel has, and no place in it for an environment, be it an empty one.
fn has_no_environment_yet(stat: &str) -> bool {
    field(stat, 23).is_some_and(|size: u64| size > 0) && field(stat, 51) == Some(0_u64)
}

/// The effective user of a process.
pub(super) fn user(pid: Pid) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{field, has_no_environment_yet, is_executing};

    /// A line of `stat` with the size of the memory and the end of the environment.
    fn stat(size: u64, environment_end: u64) -> String {
        let fields = (3..=52).map(|number| match number {
            23 => size,
            51 => environment_end,
            _ => number,
        });
        let fields: Vec<String> = fields.map(|value| value.to_string()).collect();
        format!("7 (a ) b) {}", fields.join(" "))
    }

    #[test]
    fn a_field_is_found_whatever_the_name_is() {
        assert_eq!(field(&stat(1, 2), 4), Some(4));
        assert_eq!(field(&stat(1, 2), 51), Some(2));
        assert_eq!(field::<u64>("7 (x) S", 51), None);
    }

    #[test]
    fn a_process_in_the_middle_of_its_execution_is_known() {
        assert!(has_no_environment_yet(&stat(4096, 0)));
        assert!(!has_no_environment_yet(&stat(4096, 7)), "it runs, with an empty environment or not");
        assert!(!has_no_environment_yet(&stat(0, 0)), "a thread of the kernel");
        assert!(!is_executing(std::process::id().cast_signed()));
        assert!(!is_executing(2));
    }
}
