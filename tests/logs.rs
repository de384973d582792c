//! Where words go: our own, and the children's stdout and stderr.

use std::collections::BTreeSet;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::client::ask;
use crate::harness::process::{Exit, alive, processor_time};
use crate::harness::{Setup, eventually, trials};

trials![
    in_the_foreground_stdout_is_ours_and_stderr_passes_byte_for_byte,
    long_and_unfinished_lines_pass,
    in_the_background_lines_name_generation_and_pid,
    usr1_reopens_the_log_without_losing_or_tearing_a_line,
    usr1_without_a_log_file_is_harmless,
    a_log_file_that_cannot_be_opened_is_a_failure,
    a_log_file_that_cannot_be_reopened_is_kept,
    a_blocked_reader_of_stderr_blocks_nobody,
    a_dead_reader_of_stdout_and_stderr_ends_nobody,
    a_flood_before_ready_delays_nobody,
    child_output_goes_to_its_own_file,
    quiet_and_verbose_set_the_level,
    a_full_disk_under_the_logs_ends_nobody,
    an_endless_line_costs_no_memory,
];

fn in_the_foreground_stdout_is_ours_and_stderr_passes_byte_for_byte() {
    let supervisor = Setup::alone().role("prints bytes 1").with("-q").env("RUST_LOG", "error").start();
    let scene = Arc::clone(&supervisor.scene);
    let wanted = [0, 159, 146, 150, b'\n', 27, b'[', b'm', b'\r', b'\n'];
    eventually("the bytes have passed", || {
        std::fs::read(scene.path("stderr")).unwrap().windows(wanted.len()).any(|window| window == wanted)
    });
    scene.role("prints lines 3");
    supervisor.reload().expect(0);
    eventually("the lines have passed", || {
        scene.read("stdout").contains("out line 2.2 of 3") && scene.read("stderr").contains("err line 2.2 of 3")
    });
    assert!(!scene.read("stdout").contains("err "), "{}", scene.read("stdout"));
}

fn long_and_unfinished_lines_pass() {
    let supervisor = Setup::alone().role("prints long 300000").start();
    let scene = Arc::clone(&supervisor.scene);
    let long = "x".repeat(300_000);
    eventually("the long line has passed", || scene.read("stderr").contains(&long));
    scene.role("prints unfinished 7");
    supervisor.reload().expect(0);
    eventually("the unfinished line has passed", || scene.read("stderr").contains("err no newline 7"));
}

fn in_the_background_lines_name_generation_and_pid() {
    let daemon = Setup::alone().daemon().role("prints lines 5").start();
    let scene = Arc::clone(&daemon.scene);
    eventually("the lines are logged", || scene.read("log").contains("err line 1.4 of 5"));
    let pid = daemon.serving_pid().to_string();
    let log = scene.read("log");
    let lines: Vec<_> = log.lines().filter(|line| line.contains("line 1.")).collect();
    assert_eq!(lines.len(), 10, "{log}");
    for line in lines {
        assert!(line.contains(&pid) && line.contains('1'), "no pid {pid}: {line}");
    }
    scene.role("prints unfinished 8");
    daemon.reload().expect(0);
    scene.role("prints long 200000");
    daemon.reload().expect(0);
    eventually("the unfinished line is logged", || scene.read("log").contains("err no newline 8"));
    // A line of any length is logged, be it in pieces, and the log stays a log of lines.
    eventually("the long line is logged", || scene.read("log").matches('x').count() >= 2 * 200_000);
    assert!(scene.read("log").ends_with('\n'));
}

fn usr1_reopens_the_log_without_losing_or_tearing_a_line() {
    const LINES: usize = 20_000;
    let daemon = Setup::alone().daemon().role(&format!("prints while_serving {LINES}")).launch();
    let scene = Arc::clone(&daemon.scene);
    let mut files = vec!["log".to_owned()];
    for turn in 0..5 {
        let old = format!("log.{turn}");
        std::fs::rename(scene.path("log"), scene.path(&old)).unwrap();
        files.push(old);
        daemon.signal(Signal::SIGUSR1);
        eventually("there is a new log file", || scene.path("log").exists());
    }
    let seen = || -> BTreeSet<String> {
        let texts: Vec<_> = files.iter().map(|file| scene.read(file)).collect();
        let lines = texts.iter().flat_map(|text| text.lines()).filter(|line| line.contains(" of 20000 "));
        lines
            .map(|line| {
                assert!(line.ends_with('|'), "a torn line: {line}");
                let begin = line.find("out line ").or_else(|| line.find("err line ")).expect("a whole line");
                let word: Vec<_> = line[begin..].split(' ').collect();
                format!("{} {}", word[0], word[2])
            })
            .collect()
    };
    crate::harness::until("every line is logged", Duration::from_secs(40), || {
        let last = scene.read("log");
        let done = |kind: &str| last.contains(&format!("{kind} line 1.{} of", LINES - 1));
        if done("out") && done("err") { Ok(()) } else { Err(format!("{} bytes", last.len())) }
    });
    assert_eq!(seen().len(), 2 * LINES, "lines are lost");
    ask(daemon.address());
}

fn usr1_without_a_log_file_is_harmless() {
    let supervisor = Setup::alone().start();
    supervisor.signal(Signal::SIGUSR1);
    supervisor.reload().expect(0);
    supervisor.signal(Signal::SIGPIPE);
    supervisor.signal(Signal::SIGCHLD);
    ask(supervisor.address());
    // The upgrade is for later; today it is caught and changes nothing.
    supervisor.signal(Signal::SIGUSR2);
    supervisor.reload().expect(0);
    ask(supervisor.address());
    assert!(alive(supervisor.pid()));
}

fn a_log_file_that_cannot_be_opened_is_a_failure() {
    let setup = Setup::alone().with_path("--log-file", "no/such/log");
    setup.run().expect(1).complains().says("no/such/log");
    let setup = Setup::alone().with_path("--child-log", "no/such/log");
    setup.run().expect(1).complains().says("no/such/log");
}

fn a_log_file_that_cannot_be_reopened_is_kept() {
    let daemon = Setup::alone().daemon().start();
    let scene = Arc::clone(&daemon.scene);
    std::fs::rename(scene.path("log"), scene.path("log.0")).unwrap();
    std::fs::create_dir(scene.path("log")).unwrap();
    daemon.signal(Signal::SIGUSR1);
    scene.role("prints lines 3");
    daemon.reload().expect(0);
    eventually("the old file is still written", || scene.read("log.0").contains("err line 2.2 of 3"));
    ask(daemon.address());
}

fn a_blocked_reader_of_stderr_blocks_nobody() {
    let mut supervisor = Setup::alone().role("prints while_serving 20000").piped().start();
    // Held, but not read.
    let pipes = supervisor.pipes();
    let before = processor_time(supervisor.pid());
    let address = supervisor.address();
    for _ in 0..5 {
        ask(address);
        supervisor.reload().expect(0);
    }
    supervisor.wait_settled();
    let used = processor_time(supervisor.pid()) - before;
    assert!(used < Duration::from_secs(5), "{used:?} of processor time");
    supervisor.signal(Signal::SIGTERM);
    assert_eq!(supervisor.wait_exit(), Exit::Code(0));
    drop(pipes);
}

fn a_dead_reader_of_stdout_and_stderr_ends_nobody() {
    let mut supervisor = Setup::alone().role("prints while_serving 3000").piped().start();
    drop(supervisor.pipes());
    let before = processor_time(supervisor.pid());
    for _ in 0..3 {
        ask(supervisor.address());
        supervisor.reload().expect(0);
    }
    supervisor.wait_settled();
    let used = processor_time(supervisor.pid()) - before;
    assert!(used < Duration::from_secs(5), "{used:?} of processor time");
    supervisor.signal(Signal::SIGTERM);
    assert_eq!(supervisor.wait_exit(), Exit::Code(0));
}

fn a_flood_before_ready_delays_nobody() {
    let mut supervisor = Setup::alone().role("prints lines 20000").piped().launch();
    let (mut out, mut err) = supervisor.pipes();
    let drain = std::thread::spawn(move || {
        let mut text = String::new();
        out.read_to_string(&mut text).unwrap();
        text
    });
    let errors = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        err.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    });
    supervisor.wait_serving();
    ask(supervisor.address());
    supervisor.signal(Signal::SIGTERM);
    assert_eq!(supervisor.wait_exit(), Exit::Code(0));
    let (out, err) = (drain.join().unwrap(), errors.join().unwrap());
    for (text, kind) in [(&out, "out"), (&err, "err")] {
        let lines = text.lines().filter(|line| line.starts_with(&format!("{kind} line 1."))).count();
        assert_eq!(lines, 20_000, "of {kind}");
    }
}

fn child_output_goes_to_its_own_file() {
    let supervisor = Setup::alone().role("prints lines 4").with_path("--child-log", "child-log").start();
    let scene = Arc::clone(&supervisor.scene);
    eventually("the file has the lines", || {
        let text = scene.read("child-log");
        text.contains("out line 1.3 of 4") && text.contains("err line 1.3 of 4")
    });
    assert!(!scene.read("stderr").contains("err line"), "{}", scene.read("stderr"));
    // Reload results carry the last lines in this mode, too.
    scene.role("crash_before_ready 50 3");
    supervisor.reload().expect(1).says("no such database: accounts");
    let supervisor = scene.setup().name(Some("log")).role("prints lines 4").with("--child-log log").start();
    eventually("the log has the lines", || scene.read("stderr").contains("err line 1.3 of 4"));
    ask(supervisor.address());
}

fn quiet_and_verbose_set_the_level() {
    let lengths: Vec<_> = ["-q", "-vv"]
        .map(|option| {
            let mut supervisor = Setup::alone().with(option).env("RUST_LOG", "").start();
            supervisor.reload().expect(0);
            supervisor.signal(Signal::SIGTERM);
            assert_eq!(supervisor.wait_exit(), Exit::Code(0));
            supervisor.scene.read("stderr").lines().count()
        })
        .into();
    assert_eq!(lengths[0], 0, "quiet is not quiet");
    assert!(lengths[1] > 0, "verbose is quiet");
}

fn a_full_disk_under_the_logs_ends_nobody() {
    for child_log in ["log", "/dev/full"] {
        let setup = Setup::alone().with("--log-file /dev/full --child-log").with(child_log);
        let mut supervisor = setup.role("prints while_serving 3000").start();
        for _ in 0..3 {
            ask(supervisor.address());
            supervisor.reload().expect(0);
        }
        supervisor.signal(Signal::SIGUSR1);
        ask(supervisor.address());
        supervisor.signal(Signal::SIGTERM);
        assert_eq!(supervisor.wait_exit(), Exit::Code(0));
    }
}

fn an_endless_line_costs_no_memory() {
    const LENGTH: usize = 30_000_000;
    for daemon in [false, true] {
        let setup = Setup::alone().role(&format!("prints long {LENGTH}"));
        let supervisor = if daemon { setup.daemon() } else { setup }.start();
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", supervisor.pid())).unwrap();
        let pages: usize = statm.split_whitespace().nth(1).unwrap().parse().unwrap();
        assert!(pages * 4096 < LENGTH, "{pages} pages resident");
        ask(supervisor.address());
    }
}
