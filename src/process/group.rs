//! Whether anything of a process group still runs.

use nix::unistd::Pid;
use std::fs;

/// Whether a living process other than the leader belongs to the group that `leader` leads.
///
/// There is no system call for this while the leader is a zombie, which holds the group; so /proc is read. Where it
/// is missing the answer is no.
pub fn has_survivors(leader: Pid) -> bool {
    let Ok(entries) = fs::read_dir("/proc") else {
        return false;
    };
    entries.flatten().any(|entry| {
        let pid = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
        pid.is_some_and(|pid| pid != leader.as_raw() && lives_in_group(pid, leader))
    })
}

fn lives_in_group(pid: i32, group: Pid) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    // The name, in brackets, may hold anything; see proc_pid_stat(5).
    let Some((_, fields)) = stat.rsplit_once(')') else {
        return false;
    };
    let mut fields = fields.split_whitespace();
    let state = fields.next();
    let group_of = fields.nth(1).and_then(|number| number.parse().ok());
    !matches!(state, Some("Z" | "X")) && group_of == Some(group.as_raw())
}
