//! A child that speaks sd_notify(3), by itself: what it does is a list of steps, each `WHAT:ARGUMENT...`.

use std::fs::File;
use std::io::{IoSlice, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::Signal;
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};

use socket_protector_client::Protector;

use super::misbehave::park;
use super::serve::Service;
use super::wire::{Channel, VERSION, generation, listeners, stored};

/// The process that the last `fork` started.
static LAST: AtomicU32 = AtomicU32::new(0);

/// Takes the steps in order. None of them ends it but `serve`, at the drain.
pub(super) fn run(steps: &[&str]) -> ExitCode {
    for step in steps {
        let words: Vec<&str> = step.split(':').collect();
        match words[..] {
            ["serve"] => return serve(),
            ["serve_alone"] => return serve_until_killed(),
            ["after", ms] => thread::sleep(super::milliseconds(ms)),
            ["deaf"] => crate::sys::ignore(Signal::SIGTERM),
            ["until", file] => {
                while std::fs::remove_file(file).is_err() {
                    thread::sleep(Duration::from_millis(5));
                }
            }
            ["exit", code] => return ExitCode::from(code.parse::<u8>().unwrap()),
            ["fork", ..] => fork(step),
            ["hello"] => {
                let channel = std::mem::ManuallyDrop::new(Channel::from_env().unwrap());
                channel.hello(VERSION);
                channel.ready();
            }
            ["line", text] => line(text),
            _ => notify(&words),
        }
    }
    park()
}

/// The steps that go to the socket.
fn notify(words: &[&str]) {
    match words[..] {
        ["say", text] => say(text, &[]),
        ["say_many", text, count] => (0..count.parse().unwrap()).for_each(|_: u32| say(text, &[])),
        ["mainpid", "self"] => say(&format!("MAINPID={}", std::process::id()), &[]),
        ["mainpid", "last"] => say(&format!("MAINPID={}", LAST.load(Ordering::Relaxed)), &[]),
        ["mainpid", pid] => say(&format!("MAINPID={pid}"), &[]),
        ["mainpid_many", count] => {
            for turn in 0..count.parse::<u32>().unwrap() {
                let pid = if turn % 2 == 0 { LAST.load(Ordering::Relaxed) } else { std::process::id() };
                say(&format!("MAINPID={pid}"), &[]);
            }
        }
        ["hex", digits] => say_bytes(&hex(digits), &[]),
        ["long", count] => say_bytes(&vec![b'x'; count.parse().unwrap()], &[]),
        ["ping", ms, count] => ping(super::milliseconds(ms), count.parse().unwrap()),
        ["flood", text] => {
            let text = text.to_owned();
            thread::spawn(move || {
                for number in 0_u64.. {
                    say(&format!("{text} {number}"), &[]);
                }
            });
        }
        ["flood_store"] => {
            thread::spawn(|| {
                for number in 0_u64.. {
                    let (kept, gone) = UnixStream::pair().unwrap();
                    drop(gone);
                    say("FDSTORE=1;FDNAME=gone", &[kept.into()]);
                    say("FDSTORE=1;FDNAME=more", &[memory(&number.to_string())]);
                }
            });
        }
        ["barrier", file] => barrier(file.as_ref()),
        ["store", name, content] => say(&format!("FDSTORE=1;FDNAME={name}"), &[memory(content)]),
        ["store_many", name, count, times] => {
            for turn in 0..times.parse().unwrap() {
                let files: Vec<_> =
                    (0..count.parse().unwrap()).map(|at: u32| memory(&format!("{turn}.{at}"))).collect();
                say(&format!("FDSTORE=1;FDNAME={name}"), &files);
            }
        }
        ["store_hung_up", name, poll] => {
            let (kept, gone) = UnixStream::pair().unwrap();
            drop(gone);
            say(&format!("FDSTORE=1;FDNAME={name};FDPOLL={poll}"), &[kept.into()]);
        }
        ["stored", file] => write_down(file.as_ref()),
        ["stored_or", name, content, file] => {
            if std::env::var("LISTEN_FDNAMES").is_ok_and(|names| names.split(':').any(|known| known == name)) {
                write_down(file.as_ref());
            } else {
                say(&format!("FDSTORE=1;FDNAME={name}"), &[memory(content)]);
            }
        }
        _ => panic!("no such step: {words:?}"),
    }
}

/// Keeps its memory by the client library, which also takes what clients there are.
pub(super) fn by_library(path: &Path) -> ExitCode {
    let protector = Protector::from_env().unwrap().expect("a supervisor");
    let names = protector.stored_names();
    let mut text = format!("names {names:?} listeners {}\n", protector.listeners().len());
    match protector.take_stored("state").pop() {
        None => {
            protector.store("state", &[memory("kept").as_fd()]).unwrap();
            protector.store("gone", &[memory("1").as_fd(), memory("2").as_fd()]).unwrap();
            protector.unstore("gone").unwrap();
            protector.store("a:b", &[]).unwrap_err();
        }
        Some(descriptor) => {
            let mut file = File::from(descriptor);
            file.rewind().unwrap();
            file.read_to_string(&mut text).unwrap();
        }
    }
    assert!(protector.take_stored("state").is_empty(), "taken twice");
    std::fs::write(path, text).unwrap();
    let service = Service::new(protector.generation());
    protector.incoming().for_each(|connection| service.take(connection.unwrap().into()));
    service.finish();
    ExitCode::SUCCESS
}

/// Serves until the end of the channel, which it never greets; TERM it survives, to finish what it has.
fn serve() -> ExitCode {
    const MOST: usize = 48;
    crate::sys::ignore(Signal::SIGTERM);
    let channel = Channel::from_env().expect("a channel");
    let service = Service::new(generation());
    super::echo::serve(&channel, &listeners(), |connection| {
        service.wait_for_fewer_than(MOST);
        service.take(connection);
    });
    service.finish();
    ExitCode::SUCCESS
}

/// Serves the inherited listener without a channel, until TERM ends it in its default way.
fn serve_until_killed() -> ExitCode {
    let service = Service::new(generation());
    let listener = std::net::TcpListener::from(crate::sys::adopt(3));
    listener.set_nonblocking(false).unwrap();
    loop {
        match listener.accept() {
            Ok((connection, _)) => service.take(connection.into()),
            Err(error) => eprintln!("cannot accept: {error}"),
        }
    }
}

/// `fork:group|session:STEPS` takes steps in a process of its own; they are joined by `+`, and have `.` for `:`.
fn fork(step: &str) {
    let [_, how, steps] = step.splitn(3, ':').collect::<Vec<_>>()[..] else { panic!("{step}") };
    let mut command = match how {
        "group" => Command::new(std::env::current_exe().unwrap()),
        "session" => {
            let mut command = Command::new("setsid");
            command.arg(std::env::current_exe().unwrap());
            command
        }
        _ => panic!("no such fork: {how}"),
    };
    command.args(["child", "notifies"]).args(steps.split('+').map(|step| step.replace('.', ":")));
    LAST.store(command.spawn().unwrap().id(), Ordering::Relaxed);
}

/// Sends lines that are joined by semicolons. `%` is a blank, since steps are separated by those.
pub(super) fn say(text: &str, descriptors: &[OwnedFd]) {
    say_bytes(text.replace(';', "\n").replace('%', " ").as_bytes(), descriptors);
}

fn say_bytes(bytes: &[u8], descriptors: &[OwnedFd]) {
    // An environment variable that is missing is a supervisor's mistake.
    let address = UnixAddr::new(Path::new(&std::env::var("NOTIFY_SOCKET").unwrap())).unwrap();
    let socket = UnixDatagram::unbound().unwrap();
    let raw: Vec<_> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let control = if raw.is_empty() { Vec::new() } else { vec![ControlMessage::ScmRights(&raw)] };
    match sendmsg(socket.as_raw_fd(), &[IoSlice::new(bytes)], &control, MsgFlags::empty(), Some(&address)) {
        Ok(_) => {}
        // Nobody listens any more, so nobody is to be told.
        Err(Errno::ECONNREFUSED | Errno::ENOENT) => park(),
        Err(error) => panic!("cannot send to {}: {error}", address),
    }
}

/// Waits until all that was said has been dealt with, and says so in a file.
fn barrier(file: &Path) {
    let (read, write) = nix::unistd::pipe().unwrap();
    say("BARRIER=1", &[write]);
    assert_eq!(File::from(read).read(&mut [0]).unwrap(), 0);
    std::fs::write(file, "passed").unwrap();
}

fn ping(every: Duration, count: u32) {
    thread::spawn(move || {
        for _ in 0..count {
            say("WATCHDOG=1", &[]);
            thread::sleep(every);
        }
    });
}

fn line(text: &str) {
    let number = std::env::var("NOTIFY_FD").expect("NOTIFY_FD").parse().unwrap();
    let mut pipe = File::from(crate::sys::adopt(number));
    pipe.write_all(text.replace("\\n", "\n").as_bytes()).unwrap();
}

fn hex(digits: &str) -> Vec<u8> {
    digits.as_bytes().chunks(2).map(|two| u8::from_str_radix(str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

fn memory(content: &str) -> OwnedFd {
    let mut file = File::from(memfd_create(c"stored", MFdFlags::MFD_CLOEXEC).unwrap());
    file.write_all(content.as_bytes()).unwrap();
    file.into()
}

/// Writes a line `NAME CONTENT` for each stored descriptor, and one with the variables.
fn write_down(path: &Path) {
    let mut text = String::new();
    for (name, descriptor) in stored() {
        let mut content = String::new();
        let mut file = File::from(descriptor);
        // A socket has no content and cannot be rewound.
        if file.rewind().is_ok() {
            file.read_to_string(&mut content).unwrap();
        }
        text += &format!("{name} {content}\n");
        // The numbers are in use to the end, so that a duplicate would be seen.
        std::mem::forget(file);
    }
    text += &format!("names {}\n", std::env::var("LISTEN_FDNAMES").unwrap_or_default());
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, path).unwrap();
}
