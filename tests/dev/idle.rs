//! That nothing is done where there is nothing to do.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use nix::unistd::Pid;

use super::browser::socket::{CHANNEL, Socket};
use super::stage::{Proxy, Setup};
use crate::harness::process::{alive, children};
use crate::harness::{PATIENCE, holds_for, trials, until};

trials![a_proxy_without_requests_sleeps, a_proxy_with_open_pages_sleeps,];

/// Shorter than some threads stay for more to do, so several of these may have to pass.
const WINDOW: Duration = Duration::from_secs(2);
/// The thread that looks once a second whether the control socket is still there, as that of every instance does.
const CONTROL: &str = "control";

/// How often a thread has waited for something.
type Waits = BTreeMap<(Pid, String), u64>;

fn waits(processes: &[Pid]) -> Waits {
    let threads = |pid: &Pid| {
        let pid = *pid;
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        tasks.filter_map(move |task| {
            let status = fs::read_to_string(task.path().join("status")).ok()?;
            let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            let count = field("voluntary_ctxt_switches:")?.parse().ok()?;
            Some(((pid, format!("{} {}", field("Name:")?, task.file_name().display())), count))
        })
    };
    processes.iter().flat_map(threads).collect()
}

/// Waits until none of our threads has been woken for a while, but the one that looks at the control socket.
#[track_caller]
fn sleeps(proxy: &Proxy) {
    let keepers: Vec<_> = children(proxy.pid()).into_iter().collect();
    assert_eq!(keepers.len(), 1);
    let ours = [proxy.pid(), keepers[0]];
    until("nothing is done", PATIENCE * 2, || {
        let (before, since) = (waits(&ours), Instant::now());
        assert!(holds_for(WINDOW, || alive(proxy.pid())));
        let (after, seconds) = (waits(&ours), since.elapsed().as_secs() + 1);
        let (looks, others): (Waits, Waits) = after.into_iter().partition(|((_, name), _)| name.starts_with(CONTROL));
        let quiet = before.iter().filter(|((_, name), _)| !name.starts_with(CONTROL)).eq(&others);
        let rarely = looks.iter().all(|(thread, count)| count - before[thread] <= seconds);
        if quiet && rarely { Ok(()) } else { Err(format!("{before:?}, then {looks:?} {others:?}")) }
    });
}

fn a_proxy_without_requests_sleeps() {
    let proxy = Setup::new().with(&["--overlap"]).start();
    proxy.wait_version("1");
    sleeps(&proxy);
    proxy.change("2");
    proxy.wait_version("2");
    until("the first server is gone", PATIENCE, || match children(proxy.pid()).len() {
        1 => Ok(()),
        count => Err(format!("{count} keepers")),
    });
    sleeps(&proxy);
}

fn a_proxy_with_open_pages_sleeps() {
    let proxy = Setup::new().livereload().start();
    proxy.wait_version("1");
    let extension = std::net::SocketAddr::new(proxy.address.ip(), 35729);
    let mut open: Vec<_> = (0..10).map(|_| Socket::join(proxy.address, CHANNEL).0).collect();
    open.extend((0..10).map(|_| Socket::join(extension, "/livereload").0));
    // A connection that is kept for the next request.
    let mut kept = proxy.client();
    kept.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let head = kept.head();
    kept.body(&head);
    sleeps(&proxy);
    proxy.change("2");
    for socket in &mut open {
        assert_eq!(socket.hear()["command"], "reload");
    }
    proxy.wait_version("2");
    sleeps(&proxy);
    drop(open);
    sleeps(&proxy);
}
