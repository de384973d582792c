//! Makes odd surroundings, then executes the program given after `--`.

use std::ffi::CString;
use std::process::ExitCode;

use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Pid, Uid, close, execvp, setgid, setgroups, setuid};

/// Applies the words in pairs, in their order.
pub(super) fn run(words: &[&str]) -> ExitCode {
    let end = words.iter().position(|&word| word == "--").expect("a command after --");
    for pair in words[..end].chunks(2) {
        let [what, value] = pair else { panic!("{pair:?} lacks its value") };
        apply(what, value);
    }
    let words: Vec<CString> = words[end + 1..].iter().map(|&word| CString::new(word).unwrap()).collect();
    // Not by the standard library, which would change what it does with PIPE.
    let Err(error) = execvp(&words[0], &words);
    eprintln!("cannot execute {:?}: {error}", words[0]);
    ExitCode::FAILURE
}

fn apply(what: &str, value: &str) {
    match what {
        "ignore" => crate::sys::ignore(value.parse().unwrap()),
        "block" => {
            let mut set = SigSet::empty();
            set.add(value.parse::<Signal>().unwrap());
            sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None).unwrap();
        }
        "stray" => stray(value.parse().unwrap()),
        "close" => close(value.parse::<i32>().unwrap()).unwrap(),
        "umask" => {
            umask(Mode::from_bits(u32::from_str_radix(value, 8).unwrap()).unwrap());
        }
        "nofile" => limit(Resource::RLIMIT_NOFILE, value),
        "nofile_soft" => {
            let (_, hard) = nix::sys::resource::getrlimit(Resource::RLIMIT_NOFILE).unwrap();
            setrlimit(Resource::RLIMIT_NOFILE, value.parse().unwrap(), hard).unwrap();
        }
        "user" => become_user(value.parse().unwrap()),
        "processes" => {
            let (pid, soft) = value.split_once(':').unwrap();
            crate::sys::limit_processes(Pid::from_raw(pid.parse().unwrap()), soft.parse().unwrap());
        }
        "leave" => std::fs::remove_dir(std::env::current_dir().unwrap()).unwrap(),
        _ => panic!("no such surroundings: {what}"),
    }
}

fn limit(resource: Resource, value: &str) {
    let value = value.parse().unwrap();
    setrlimit(resource, value, value).unwrap();
}

/// Leaves an inheritable descriptor at this number.
fn stray(number: i32) {
    let file = std::fs::File::open("/etc/passwd").unwrap();
    crate::sys::duplicate_to(&file, number);
}

fn become_user(id: u32) {
    setgroups(&[]).unwrap();
    setgid(Gid::from_raw(id)).unwrap();
    setuid(Uid::from_raw(id)).unwrap();
}
