//! A restart that waits, since a server has made the change itself each time it started: what comes meanwhile.

use std::time::Duration;

use super::stage::{Proxy, Setup};
use crate::harness::{eventually, stays, trials};

trials![a_post_that_comes_while_a_restart_waits_is_not_cut, a_reload_while_a_restart_waits_is_one_restart_for_both,];

/// A restart waits so long at first.
const WAIT: Duration = Duration::from_secs(1);
/// So often it is tried anew where this machine was slower than that.
const TRIES: u32 = 5;

/// A proxy called `delay` whose server has just been found to write into a watched file at each start, so that the next start
/// waits; and how often it was started until then. What makes `site/../quiet` ends that.
fn waiting(setup: Setup) -> (Proxy, usize) {
    let proxy = setup
        .fixed()
        .with(&["--name", "delay", "--stop-timeout", "300s"])
        .shell("[ -e ../quiet ] || echo \"$$\" > made.log; exec $WEB")
        .start();
    proxy.wait_said("--exclude 'made.log' helps");
    let reloads = proxy.reloads();
    (proxy, reloads)
}

/// Tries until the machine was fast enough to do it while the restart waited.
#[track_caller]
fn in_time(mut attempt: impl FnMut() -> bool) {
    assert!((0..TRIES).any(|_| attempt()), "the restart never waited long enough");
}

fn a_post_that_comes_while_a_restart_waits_is_not_cut() {
    in_time(|| {
        let answer = "body\nuntil go\nsend HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok";
        let (proxy, reloads) = waiting(Setup::new().script("slow", answer));
        let mut post = proxy.client();
        post.send("POST /slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc");
        eventually("the server has it", || proxy.scene.path("web/bodies").exists());
        if proxy.reloads() > reloads {
            proxy.scene.write("web/go", "");
            return false;
        }
        eventually("the restart waits no longer", || proxy.reloads() > reloads);
        let before = proxy.servers();
        proxy.scene.write("web/go", "");
        let head = post.head();
        assert_eq!((head.status, post.body(&head)), (200, b"ok".to_vec()));
        eventually("then it comes", || proxy.servers().iter().all(|pid| !before.contains(pid)));
        true
    });
}

fn a_reload_while_a_restart_waits_is_one_restart_for_both() {
    in_time(|| {
        let (proxy, reloads) = waiting(Setup::new());
        proxy.scene.write("quiet", "");
        proxy.scene.cli(&["reload", "delay"]).expect(0);
        let said = proxy.said();
        let next = said.lines().filter(|line| line.contains(" reload: ")).nth(reloads).unwrap();
        if !next.ends_with("reload: asked for") {
            return false;
        }
        stays("there was one restart", WAIT * 3 / 2, || proxy.reloads() == reloads + 1);
        true
    });
}
