//! Children that have much to say.

use std::io::Write;
use std::process::ExitCode;

/// Says `count` things of a kind on stdout and stderr, then serves like `echo`.
pub(super) fn run(what: &str, count: usize) -> ExitCode {
    match what {
        "lines" => lines(count),
        "long" => say(&"x".repeat(count), "\n"),
        "unfinished" => say(&format!("no newline {count}"), ""),
        "bytes" => {
            // Neither text nor lines; what goes wrong with an output is not this child's affair.
            let _ = std::io::stderr().write_all(&[0, 159, 146, 150, b'\n', 27, b'[', b'm', b'\r', b'\n']);
        }
        "while_serving" => {
            std::thread::spawn(move || lines(count));
        }
        _ => panic!("no such output: {what}"),
    }
    super::echo::run()
}

fn lines(count: usize) {
    let generation = super::wire::generation();
    for number in 0..count {
        say(&format!("line {generation}.{number} of {count} {}", "-".repeat(number % 100)), "|\n");
    }
}

/// An output without a reader is not this child's affair either.
fn say(text: &str, end: &str) {
    let _ = std::io::stdout().write_all(format!("out {text}{end}").as_bytes());
    let _ = std::io::stdout().flush();
    let _ = std::io::stderr().write_all(format!("err {text}{end}").as_bytes());
}
