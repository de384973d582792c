//! The only unsafe code of this package: system calls that the safe crates do not offer, and what Linux alone does so.

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use std::ffi::{CStr, c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

mod clock;
mod sockets;
pub(crate) use clock::slept;
pub(crate) use sockets::{Mode, accept, bind_for_owner, splice};

/// What the child does between the fork and the program.
pub(crate) struct ChildSteps<'a> {
    /// The paths to try, in order.
    pub(crate) candidates: &'a [&'a CStr],
    /// The words of the command.
    pub(crate) arguments: &'a [&'a CStr],
    /// The environment, `NAME=value` each.
    pub(crate) environment: &'a [&'a CStr],
    /// The name of a further variable that holds the child's own pid.
    pub(crate) pid_variable: Option<&'a CStr>,
    /// From where to where descriptors go. No source is among the targets.
    pub(crate) descriptors: &'a [(RawFd, RawFd)],
    /// The working directory; where it is gone, the caller's.
    pub(crate) directory: Option<&'a CStr>,
    /// The soft and the hard limit of open files.
    pub(crate) open_files: Option<(u64, u64)>,
    /// The signal that the child gets when its parent dies; 0 for none.
    pub(crate) death_signal: c_int,
    /// Whether it leads a session, and not only a process group.
    pub(crate) session: bool,
}

/// The step that failed in the child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Fork,
    Prepare,
    Directory,
    Execute,
}

/// What the child has from its parent, in the parent's memory.
struct Shared<'a> {
    steps: &'a ChildSteps<'a>,
    /// NULL-terminated arrays for execve(2).
    argv: Vec<*const libc::c_char>,
    envp: Vec<*const libc::c_char>,
    /// The variable with the child's pid, to be completed by the child.
    pid_text: Vec<u8>,
    pid_at: usize,
    parent: libc::pid_t,
    failed: Option<(Step, Errno)>,
}

const CHILD_STACK: usize = 64 * 1024;
/// Of the largest `u32`.
const DIGITS: usize = 10;

/// Starts a child in a process group of its own with the caller suspended until its program runs or has failed to
/// (vfork(2) semantics: nothing is copied, so the size of the caller does not matter, and an error comes back through
/// shared memory). All signals are at their default and none is blocked in the program.
///
/// # Errors
/// The step that failed and why. The child is reaped then.
pub(crate) fn spawn(steps: &ChildSteps<'_>) -> Result<Pid, (Step, Errno)> {
    let mut stack = vec![0_u8; CHILD_STACK];
    let mut shared = Shared::new(steps);
    // No handler of ours may run in the child, which shares our memory, before its dispositions are reset.
    let blocked = block_all_signals();
    // SAFETY: the child runs on a stack of its own, which outlives it: CLONE_VFORK suspends this thread until the child has
    // left for its program or exited. Other threads, where there are such, know neither the stack nor `shared`, and the
    // child takes no lock that one of them could hold. The top is 16-byte aligned, as the ABI asks.
    let result = unsafe {
        let top = stack.as_mut_ptr().add(CHILD_STACK);
        let top = top.sub(top as usize % 16);
        let argument = ptr::from_mut(&mut shared).cast::<c_void>();
        libc::clone(child_main, top.cast(), libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD, argument)
    };
    let result = Errno::result(result);
    restore_signals(&blocked);
    let pid = Pid::from_raw(result.map_err(|errno| (Step::Fork, errno))?);
    match shared.failed {
        None => Ok(pid),
        Some(failed) => {
            // It has exited, so this does not wait.
            while nix::sys::wait::waitpid(pid, None) == Err(Errno::EINTR) {}
            Err(failed)
        }
    }
}

impl<'a> Shared<'a> {
    fn new(steps: &'a ChildSteps<'a>) -> Self {
        let mut pid_text = Vec::new();
        let mut envp = pointers(steps.environment);
        if let Some(name) = steps.pid_variable {
            pid_text.extend_from_slice(name.to_bytes());
            pid_text.push(b'=');
        }
        let pid_at = pid_text.len();
        pid_text.resize(pid_at + DIGITS + 1, 0);
        if steps.pid_variable.is_some() {
            // The vector is not resized any more, so this stays where it points to.
            envp.insert(0, pid_text.as_ptr().cast());
        }
        let parent = Pid::this().as_raw();
        Shared { steps, argv: pointers(steps.arguments), envp, pid_text, pid_at, parent, failed: None }
    }
}

fn pointers(words: &[&CStr]) -> Vec<*const libc::c_char> {
    words.iter().map(|word| word.as_ptr()).chain([ptr::null()]).collect()
}

/// The child's side of [`spawn`]: async-signal-safe calls only, no allocation.
extern "C" fn child_main(argument: *mut c_void) -> c_int {
    // SAFETY: the argument is the `Shared` of `spawn`, whose thread is suspended, so nothing else uses it.
    let shared = unsafe { &mut *argument.cast::<Shared<'_>>() };
    shared.failed = Some(match prepare_child(shared) {
        Ok(()) => (Step::Execute, execute(shared)),
        Err(failed) => failed,
    });
    // SAFETY: ends the child without running anything of the parent's.
    unsafe { libc::_exit(127) }
}

fn prepare_child(shared: &mut Shared<'_>) -> Result<(), (Step, Errno)> {
    let steps = shared.steps;
    let done = |result: c_int| Errno::result(result).map(drop).map_err(|errno| (Step::Prepare, errno));
    reset_signals();
    // SAFETY: plain system calls on values, and on strings and sets that outlive them.
    unsafe {
        done(if steps.session { libc::setsid().min(0) } else { libc::setpgid(0, 0) })?;
        if steps.death_signal != 0 {
            done(libc::prctl(libc::PR_SET_PDEATHSIG, steps.death_signal))?;
            if libc::getppid() != shared.parent {
                // The parent died before the line above took effect.
                libc::_exit(1);
            }
        }
        if let Some(directory) = steps.directory
            && let Err(errno) = Errno::result(libc::chdir(directory.as_ptr()))
            // A directory that is gone is no reason not to serve: the one that we hold open as ours stays.
            && !matches!(errno, Errno::ENOENT | Errno::ENOTDIR)
        {
            return Err((Step::Directory, errno));
        }
        for &(from, to) in steps.descriptors {
            done(libc::dup2(from, to))?;
        }
        // Not earlier: under a low limit the places of the descriptors could be out of reach.
        if let Some((soft, hard)) = steps.open_files {
            let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
            done(libc::setrlimit(libc::RLIMIT_NOFILE, &limit))?;
        }
        write_decimal(libc::getpid().unsigned_abs(), &mut shared.pid_text[shared.pid_at..]);
        let mut none = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&mut none);
        done(libc::sigprocmask(libc::SIG_SETMASK, &none, ptr::null_mut()))
    }
}

/// Tries the candidates as execvp(3) does, but never a shell for a file of unknown format.
fn execute(shared: &Shared<'_>) -> Errno {
    let mut result = Errno::ENOENT;
    for candidate in shared.steps.candidates {
        // SAFETY: both arrays are NULL-terminated arrays of NUL-terminated strings that outlive the call.
        unsafe { libc::execve(candidate.as_ptr(), shared.argv.as_ptr(), shared.envp.as_ptr()) };
        match Errno::last() {
            Errno::ENOENT | Errno::ENOTDIR => {}
            Errno::EACCES => result = Errno::EACCES,
            errno => return errno,
        }
    }
    result
}

fn reset_signals() {
    // The system call itself, since glibc keeps two signals for itself and those may be ignored too. All zero is the
    // default disposition without flags and mask, in the layout that x86, arm, riscv and powerpc share; elsewhere the
    // call fails for its size argument, and exec resets all that is caught, which leaves what the caller ignored.
    let default = [0_u64; 4];
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: reads `default` only; numbers that cannot be set fail without effect.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), ptr::null_mut::<u64>(), 8_usize) };
    }
}

fn write_decimal(mut value: u32, text: &mut [u8]) {
    let mut digits = [0_u8; DIGITS];
    let mut count = 0;
    while count == 0 || value > 0 {
        digits[count] = b'0' + (value % 10) as u8;
        value /= 10;
        count += 1;
    }
    for (place, digit) in text.iter_mut().zip(digits[..count].iter().rev().chain(&[0])) {
        *place = *digit;
    }
}

fn block_all_signals() -> libc::sigset_t {
    // SAFETY: both sets are ours and initialised by the calls.
    unsafe {
        let mut all = std::mem::zeroed::<libc::sigset_t>();
        let mut before = std::mem::zeroed::<libc::sigset_t>();
        libc::sigfillset(&mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &all, &mut before);
        before
    }
}

fn restore_signals(set: &libc::sigset_t) {
    // SAFETY: a set that sigprocmask(2) itself gave.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, set, ptr::null_mut()) };
}

/// Gives signals their default disposition: for commands that a terminal's ^C shall end.
pub(crate) fn default_signals(signals: &[c_int]) {
    for &signal in signals {
        // SAFETY: the default disposition needs no handler.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Columns and rows of a terminal; see ioctl_tty(2), TIOCGWINSZ.
///
/// # Errors
/// Those of ioctl(2): it is no terminal.
pub(crate) fn window_size(terminal: BorrowedFd<'_>) -> io::Result<(u16, u16)> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the call fills in one such structure, which is ours.
    match unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, ptr::from_mut(&mut size)) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok((size.ws_col, size.ws_row)),
    }
}

/// A descriptor that becomes readable when the process exits; see pidfd_open(2). Close-on-exec.
///
/// # Errors
/// Those of pidfd_open(2).
pub(crate) fn pidfd_open(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: a system call on values; on success the result is a new descriptor, which nobody else owns.
    unsafe {
        let result = libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0);
        match RawFd::try_from(result) {
            Ok(descriptor) if descriptor >= 0 => Ok(OwnedFd::from_raw_fd(descriptor)),
            Ok(_) | Err(_) => Err(io::Error::last_os_error()),
        }
    }
}

/// A duplicate of a descriptor of another process, close-on-exec; see pidfd_getfd(2), Linux 5.6.
///
/// # Errors
/// Those of pidfd_getfd(2): we must be permitted to trace that process.
pub(crate) fn pidfd_getfd(process: BorrowedFd<'_>, number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: a system call on values; on success the result is a new descriptor, which nobody else owns.
    unsafe {
        let result = libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0);
        match RawFd::try_from(result) {
            Ok(descriptor) if descriptor >= 0 => Ok(OwnedFd::from_raw_fd(descriptor)),
            Ok(_) | Err(_) => Err(io::Error::last_os_error()),
        }
    }
}

/// What the kernel counts of all that was written to a unix socket and that its peer has not read; see unix(7).
///
/// # Errors
/// Those of ioctl(2), SIOCOUTQ.
pub(crate) fn unread_by_peer(socket: BorrowedFd<'_>) -> io::Result<usize> {
    let mut bytes: c_int = 0;
    // SAFETY: writes one int, which outlives the call. SIOCOUTQ is the same number as TIOCOUTQ.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result == 0 { Ok(usize::try_from(bytes).unwrap_or(0)) } else { Err(io::Error::last_os_error()) }
}

/// Sends a signal to the process of a pidfd, and never to another; see pidfd_send_signal(2).
///
/// # Errors
/// Those of pidfd_send_signal(2): ESRCH once it has ended.
pub(crate) fn pidfd_send_signal(process: BorrowedFd<'_>, signal: Signal) -> io::Result<()> {
    let (number, none) = (process.as_raw_fd(), ptr::null::<libc::siginfo_t>());
    // SAFETY: without a siginfo the kernel makes one as kill(2) does; everything else is values.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, number, signal as c_int, none, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Marks every descriptor from `first` on close-on-exec; see close_range(2), Linux 5.11.
///
/// # Errors
/// Those of close_range(2); `Unsupported` kernels are the caller's business.
pub(crate) fn close_on_exec_from(first: RawFd) -> io::Result<()> {
    let first = libc::c_uint::try_from(first).unwrap_or(0);
    // SAFETY: sets a flag on descriptors, closes none.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A further number for the same open file, at `above` or higher, close-on-exec.
///
/// # Errors
/// Those of fcntl(2), F_DUPFD_CLOEXEC.
pub(crate) fn duplicate_above(descriptor: BorrowedFd<'_>, above: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: on success the result is a new descriptor, which nobody else owns.
    unsafe {
        match libc::fcntl(descriptor.as_raw_fd(), libc::F_DUPFD_CLOEXEC, above) {
            -1 => Err(io::Error::last_os_error()),
            number => Ok(OwnedFd::from_raw_fd(number)),
        }
    }
}

/// Whether a descriptor, by its number, survives exec; `None` when it is not open.
pub(crate) fn survives_exec(number: RawFd) -> Option<bool> {
    // SAFETY: reads a flag; a number that is not open makes it fail.
    match unsafe { libc::fcntl(number, libc::F_GETFD) } {
        -1 => None,
        flags => Some(flags & libc::FD_CLOEXEC == 0),
    }
}

/// Marks a descriptor, by its number, close-on-exec. It changes nothing for whoever uses it in this process.
pub(crate) fn close_on_exec(number: RawFd) {
    // SAFETY: sets a flag; a number that is not open makes it fail without effect.
    unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
}

/// Takes a TCP socket back to where it was before it listened, or was shut down; see connect(2) on `AF_UNSPEC`.
///
/// # Errors
/// Those of connect(2).
pub(crate) fn disconnect(socket: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: a sockaddr is numbers, for all of which zero is a value; AF_UNSPEC is that of its family.
    let nowhere = unsafe { std::mem::zeroed::<libc::sockaddr>() };
    let length = size_of_val(&nowhere) as libc::socklen_t;
    // SAFETY: reads `length` bytes of `nowhere`.
    if unsafe { libc::connect(socket.as_raw_fd(), &raw const nowhere, length) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Looks at a descriptor that is only a number yet; `None` when it is not open.
pub(crate) fn look_at<T>(number: RawFd, look: impl FnOnce(BorrowedFd<'_>) -> T) -> Option<T> {
    survives_exec(number)?;
    // SAFETY: it is open (just seen, so it is not -1), and the borrow ends with this call.
    Some(look(unsafe { BorrowedFd::borrow_raw(number) }))
}

/// Takes over a descriptor that this process was started with, once: from now on it is close-on-exec, as all are that
/// have an owner. A standard one, which the whole process uses, leads to the null device then.
///
/// # Errors
/// `NotFound` when it is not open or has an owner, else those of fcntl(2).
pub(crate) fn take_over(number: RawFd) -> io::Result<OwnedFd> {
    if survives_exec(number) != Some(true) {
        return Err(io::ErrorKind::NotFound.into());
    }
    if number <= libc::STDERR_FILENO {
        let absent = || Err(io::ErrorKind::NotFound.into());
        let taken = look_at(number, |standard| duplicate_above(standard, libc::STDERR_FILENO + 1));
        let taken = taken.unwrap_or_else(absent)?;
        let null = std::fs::File::options().read(true).write(true).open("/dev/null")?;
        // SAFETY: a standard descriptor is nobody's own, and after this it is open as before.
        return if unsafe { libc::dup2(null.as_raw_fd(), number) } < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(taken)
        };
    }
    close_on_exec(number);
    // SAFETY: it is open, and nothing in this process owns it: what we make is close-on-exec from birth, which it was
    // not until a moment ago.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use super::{Mode, accept, survives_exec, write_decimal};
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::{AsFd, AsRawFd};

    #[test]
    fn a_connection_is_close_on_exec_and_blocks_whatever_its_listener_does() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let connection = accept(listener.as_fd(), Mode::Blocking).unwrap();
        assert_eq!(survives_exec(connection.as_raw_fd()), Some(false));
        assert_eq!(fcntl(&connection, FcntlArg::F_GETFL).unwrap() & OFlag::O_NONBLOCK.bits(), 0);
        assert_eq!(accept(listener.as_fd(), Mode::Blocking).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    }

    #[test]
    fn decimal_text_has_no_leading_zero_and_ends_with_nul() {
        for (value, text) in [(0, "0\0"), (7, "7\0"), (4_194_304, "4194304\0"), (u32::MAX, "4294967295\0")] {
            let mut place = [b'x'; 11];
            write_decimal(value, &mut place);
            assert_eq!(&place[..text.len()], text.as_bytes());
        }
    }
}
