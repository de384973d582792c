//! Makes odd surroundings, then executes the program given after `--`.

use std::ffi::CString;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::ExitCode;

use nix::fcntl::{FcntlArg, fcntl};
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
        "tcp4" => inherit(value, TcpListener::bind("127.0.0.1:0").unwrap()),
        "tcp6" => inherit(value, TcpListener::bind("[::1]:0").unwrap()),
        "udp4" => inherit(value, UdpSocket::bind("127.0.0.1:0").unwrap()),
        "connected" => inherit(value, UnixStream::pair().unwrap().0),
        "unix" => {
            let (number, path) = value.split_once(':').unwrap();
            inherit(number, UnixListener::bind(path).unwrap());
        }
        "passed" => passed(value),
        "queue" => {
            // Of a network of its own, since the number is the network's.
            crate::sys::own_network();
            std::fs::write("/proc/sys/net/unix/max_dgram_qlen", value).unwrap();
        }
        "leave" => std::fs::remove_dir(std::env::current_dir().unwrap()).unwrap(),
        _ => panic!("no such surroundings: {what}"),
    }
}

fn limit(resource: Resource, value: &str) {
    let value = value.parse().unwrap();
    setrlimit(resource, value, value).unwrap();
}

/// Leaves a socket at this number, as a manager does.
fn inherit(number: &str, socket: impl Into<OwnedFd>) {
    let socket = socket.into();
    // Out of the way first: it may have that very number.
    let high = crate::sys::adopt(fcntl(&socket, FcntlArg::F_DUPFD_CLOEXEC(100)).unwrap());
    drop(socket);
    crate::sys::duplicate_to(&high, number.parse().unwrap());
}

/// Says `COUNT[:NAME...]` of what was left from number 3 on, as a manager does; `COUNT@PID` for another process.
fn passed(value: &str) {
    let (count, names) = value.split_once(':').map_or((value, None), |(count, names)| (count, Some(names)));
    let own = std::process::id().to_string();
    let (count, pid) = count.split_once('@').unwrap_or((count, &own));
    crate::sys::set_variable("LISTEN_FDS", count);
    crate::sys::set_variable("LISTEN_PID", pid);
    if let Some(names) = names {
        crate::sys::set_variable("LISTEN_FDNAMES", names);
    }
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
