//! Processes that share what was passed.

use super::*;

#[test]
fn processes_that_fork_share_the_connections_and_not_the_end() {
    for program in in_c() {
        let (supervisor, channel) = Supervisor::new();
        let mut daemon = Daemon::on(channel, &program, "forked");
        let mut pids = vec![daemon.pid().as_raw()];
        for _ in 0..2 {
            let mut line = String::new();
            daemon.said.read_line(&mut line).unwrap();
            pids.push(line.trim_end().strip_prefix("pid ").unwrap().parse().unwrap());
        }
        let ended = pids.remove(1);
        eventually(|| stat(ended).is_none_or(|fields| fields[0] == "Z"));
        // Nobody is kept awake by the one that has ended: they sleep, and use no time.
        let used = || -> u64 { pids.iter().map(|&pid| ticks(pid)).sum() };
        eventually(|| pids.iter().all(|&pid| stat(pid).is_some_and(|fields| fields[0] == "S")));
        let before = used();
        std::thread::sleep(Duration::from_millis(200));
        assert!(used() - before <= 4, "{} ticks", used() - before);
        for _ in 0..5 {
            pass(&supervisor, 2).iter_mut().for_each(answered);
        }
        drop(supervisor);
        daemon.ends("done\n");
    }
}

/// The fields of /proc/PID/stat from the state on.
fn stat(pid: i32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(text.rsplit_once(") ")?.1.split(' ').map(str::to_owned).collect())
}

fn ticks(pid: i32) -> u64 {
    stat(pid).map_or(0, |fields| fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap())
}

#[test]
fn an_event_loop_of_a_forked_process_is_told_of_its_own_alone() {
    for program in in_c() {
        let (supervisor, channel) = Supervisor::new();
        let mut waiting = pass(&supervisor, 2);
        Daemon::on(channel, &program, "forked_polled").ends("done\n");
        waiting.iter_mut().for_each(answered);
    }
}
