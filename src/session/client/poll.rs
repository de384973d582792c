//! The client that polls: each line of standard input is one connection, which brings the line, prints what there is,
//! and ends.

mod lines;

use self::lines::Lines;
use super::driver::{Driver, News};
use super::standard::Read;
use super::terminal::Typing;
use super::voice::{Voice, quoted};
use super::{ClientError, Outcome, conclude, sent_away};
use crate::session::client_state::{Breach, End, Next};
use crate::session::frame::{Closed, Refusal};
use nix::sys::signal::Signal;
use std::time::Instant;

/// More bytes of lines that cannot be brought are not read.
const MOST_UNSENT: usize = 1024 * 1024;
/// What came of one poll.
enum Polled {
    /// All that there was has been printed, and what was typed has arrived.
    Done,
    /// It came to nothing, or not to its end.
    Failed,
    /// The client ends.
    Over(Result<Outcome, ClientError>),
}

/// Polls for each line until there is none any more or the session ends.
pub(super) fn run(driver: &mut Driver, voice: &Voice, server: &str, end_input: bool) -> Result<Outcome, ClientError> {
    let mut lines = Lines::default();
    let mut failed = false;
    // It is told once, and may take several polls to be brought back.
    let mut ended = None;
    echo(driver)?;
    greet(driver, voice);
    loop {
        if let Some(line) = lines.whole.front() {
            // Without room something has to arrive first.
            let taken = line.len() <= driver.client.room() || !driver.client.takes_input();
            if taken {
                if driver.client.input(line) < line.len() {
                    voice.complain(None, &format!("{} bytes are not sent: the input has ended", line.len()));
                }
                lines.whole.pop_front();
            }
            match once(driver, voice, server, &mut ended)? {
                Polled::Done => failed = false,
                Polled::Failed => failed = true,
                Polled::Over(outcome) => return outcome,
            }
            if taken || !failed {
                continue;
            }
        }
        if lines.ended && end_input && driver.client.ticket().is_some() {
            driver.client.finish();
            let polled = once(driver, voice, server, &mut ended)?;
            return last(driver, &lines, polled);
        }
        // What cannot be brought is tried again at the next Enter, as long as there are not too many.
        if lines.ended || lines.length() > MOST_UNSENT {
            return leave(driver, &lines, failed);
        }
        let before = lines.whole.len();
        while lines.whole.len() == before && !lines.ended {
            if !read(driver, &mut lines)? {
                driver.turn()?;
            }
            if let Some(ending) = signalled(driver)? {
                return Ok(ending);
            }
            if driver.output.is_closed() {
                return Ok(Outcome::Left);
            }
        }
    }
}

/// What came of one more connection, which was to end the input behind all lines.
fn last(driver: &mut Driver, lines: &Lines, polled: Polled) -> Result<Outcome, ClientError> {
    match polled {
        Polled::Done => leave(driver, lines, false),
        Polled::Failed => leave(driver, lines, true),
        Polled::Over(outcome) => outcome,
    }
}

fn greet(driver: &Driver, voice: &Voice) {
    if driver.terminal.is_some() {
        voice.note(None, "each Enter polls, with what was typed before it; ^D leaves");
    }
}

/// Reads standard input; whether something came of it.
fn read(driver: &mut Driver, lines: &mut Lines) -> Result<bool, ClientError> {
    if !driver.input_ready {
        return Ok(false);
    }
    let mut room = [0; 4096];
    match driver.input.read(&mut room).map_err(|source| ClientError::Input { source })? {
        Read::Bytes(count) => lines.push(&room[..count]),
        Read::Later => {
            driver.input_ready = false;
            return Ok(false);
        }
        Read::End => lines.end(),
    }
    Ok(true)
}

/// There is nothing more to poll for.
fn leave(driver: &mut Driver, lines: &Lines, failed: bool) -> Result<Outcome, ClientError> {
    let kept = driver.client.ticket().is_some();
    let unread = lines.length();
    match (driver.client.waiting() + unread, failed) {
        (0, false) => Ok(Outcome::Left),
        (0, true) => Err(ClientError::Unpolled),
        (waiting, _) if kept && unread == 0 => Err(ClientError::Waiting(waiting)),
        (waiting, _) => Err(ClientError::Unsent(waiting)),
    }
}

/// One connection.
fn once(driver: &mut Driver, voice: &Voice, server: &str, ended: &mut Option<End>) -> Result<Polled, ClientError> {
    driver.client.ask(Instant::now());
    driver.connects = true;
    let mut asked = false;
    loop {
        driver.turn()?;
        let had_ended = ended.is_some();
        while let Some(news) = driver.news.pop_front() {
            if let Some(polled) = understand(driver, voice, server, news, ended)? {
                driver.hang_up(Instant::now());
                if !matches!(polled, Polled::Over(_)) {
                    driver.settle(Instant::now())?;
                }
                echo(driver)?;
                return Ok(polled);
            }
        }
        if let Some(ending) = signalled(driver)? {
            return Ok(Polled::Over(Ok(ending)));
        }
        if driver.output.is_closed() {
            return Ok(Polled::Over(Ok(Outcome::Left)));
        }
        // An end that came since is to be brought back as well.
        asked &= had_ended == ended.is_some();
        if !asked && has_all(driver, ended.is_some())? {
            if ended.is_some() {
                driver.client.finish();
            }
            driver.client.check();
            asked = true;
        }
        if asked && driver.client.is_checked() {
            break;
        }
    }
    driver.hang_up(Instant::now());
    driver.settle(Instant::now())?;
    echo(driver)?;
    let waiting = driver.client.waiting();
    match *ended {
        Some(end) => Ok(Polled::Over(conclude(driver, voice, well(end)))),
        None if waiting > 0 => {
            voice.complain(None, &format!("the destination takes no input at the moment: {waiting} bytes wait"));
            Ok(Polled::Failed)
        }
        None => Ok(Polled::Done),
    }
}

/// Whether all that there was is written and kept; what comes meanwhile is for the next poll, unless it is the end.
fn has_all(driver: &mut Driver, ended: bool) -> Result<bool, ClientError> {
    let Some(mark) = driver.client.caught_up() else {
        return Ok(false);
    };
    if driver.output.written() < mark && !driver.output.is_done() {
        return Ok(false);
    }
    if !driver.has_kept(mark) {
        driver.settle(Instant::now())?;
    }
    Ok(!ended || driver.is_settled())
}

/// The end of a destination that has ended well, or has not.
pub(super) fn well(end: End) -> Result<(), ClientError> {
    match end {
        End::Eof => Ok(()),
        End::Reset(_) | End::Failed(_) => Err(ClientError::Destination(end)),
    }
}

/// What follows of news; how the poll ends, if it does.
fn understand(
    driver: &mut Driver,
    voice: &Voice,
    server: &str,
    news: News,
    ended: &mut Option<End>,
) -> Result<Option<Polled>, ClientError> {
    let failed = |text: &str| {
        voice.complain(None, text);
        Ok(Some(Polled::Failed))
    };
    let over = |error| Ok(Some(Polled::Over(Err(error))));
    match news {
        News::Attached { .. }
        | News::Uncertain(_)
        | News::InputLost
        | News::Gap { .. }
        | News::GoAway(_)
        | News::RemoteEcho(_)
        | News::NotSaved(_) => {
            remark(driver, voice, &news);
            Ok(None)
        }
        News::Ended(end) => {
            *ended = Some(end);
            Ok(None)
        }
        News::Refused(Refusal::OutOfRange { .. }) => {
            driver.client.from_oldest();
            driver.client.ask(Instant::now());
            Ok(None)
        }
        News::Refused(source @ (Refusal::Denied | Refusal::Gone)) => match driver.client.next() {
            // It is complete, and only the server's last word was lost.
            Next::Never => Ok(Some(Polled::Over(conclude(driver, voice, ended.map_or(Ok(()), well))))),
            // The server had never heard of it: another one is made.
            Next::At(_) => Ok(None),
            Next::Asked | Next::Connected => over(ClientError::Refused { server: server.to_owned(), source }),
        },
        News::Refused(refusal) => failed(&refusal.to_string()),
        News::Detached(reason) => failed(sent_away(reason)),
        News::Closed(reason) => {
            let how = match (*ended, reason) {
                (Some(end), _) => well(end),
                (None, Closed::Complete) => Ok(()),
                (None, reason) => Err(ClientError::Closed(reason)),
            };
            let outcome = put_out(driver)?.map_or_else(|| conclude(driver, voice, how), Ok);
            Ok(Some(Polled::Over(outcome)))
        }
        News::Cut(error) => failed(&format!("{}; Enter goes on", crate::chain(&error))),
        News::Unreachable(error) => failed(&crate::chain(&error)),
        News::Silent => failed("the server says nothing; Enter goes on"),
        News::Breach(source @ (Breach::Proof | Breach::Hello | Breach::Offset)) => {
            over(ClientError::Breach { server: server.to_owned(), source })
        }
        News::Breach(breach) => failed(&crate::chain(&breach)),
    }
}

/// Writes what is still to be written, as long as somebody takes it; the end, if a signal says so meanwhile.
pub(super) fn put_out(driver: &mut Driver) -> Result<Option<Outcome>, ClientError> {
    while !driver.output.is_done() && !driver.output.is_closed() {
        driver.turn()?;
        if let Some(outcome) = signalled(driver)? {
            return Ok(Some(outcome));
        }
    }
    Ok(None)
}

/// Says what there is to be said of news that end nothing.
pub(super) fn remark(driver: &mut Driver, voice: &Voice, news: &News) {
    let hidden = driver.is_echoed_remotely();
    let lost = if let News::InputLost = news { driver.client.undelivered() } else { Vec::new() };
    let terminal = driver.terminal.as_ref();
    match news {
        News::Attached { new: true } => {
            let id = driver.client.ticket().map(|ticket| ticket.id.to_string()).unwrap_or_default();
            voice.note(terminal, &format!("new session {}", id.get(..8).unwrap_or_default()));
            if driver.is_in_clear_to_elsewhere() {
                voice.complain(terminal, "warning: its secret went through the network in clear");
            }
        }
        News::Uncertain(uncertain) => {
            let text = quoted(uncertain, hidden);
            let text =
                format!("others have sent input, so this may have arrived or not, and is not sent again: {text}");
            voice.complain(terminal, &text);
        }
        News::InputLost if lost.is_empty() => voice.complain(terminal, "the destination takes no more input"),
        News::InputLost => {
            let text = quoted(&lost, hidden);
            voice.complain(terminal, &format!("the destination takes no more input; not delivered: {text}"));
        }
        News::Gap { from, to } => voice.complain(terminal, &gap(*from, *to)),
        News::GoAway(seconds) => voice.note(terminal, &format!("the server ends in {seconds} s")),
        News::NotSaved(error) => voice.complain(terminal, &format!("{}; the session goes on", crate::chain(error))),
        _ => {}
    }
}

fn gap(from: u64, to: u64) -> String {
    format!("{} bytes of output are gone: from byte {from} to byte {to}", to.saturating_sub(from))
}

/// What is typed is shown unless the destination shows or hides it.
fn echo(driver: &mut Driver) -> Result<(), ClientError> {
    let typing = if driver.is_echoed_remotely() { Typing::HiddenLines } else { Typing::Lines };
    match &mut driver.terminal {
        Some(terminal) => terminal.set(typing).map_err(|source| ClientError::Terminal { source }),
        None => Ok(()),
    }
}

/// Does what the signals say; the end, if one of them is one.
pub(super) fn signalled(driver: &mut Driver) -> Result<Option<Outcome>, ClientError> {
    for signal in std::mem::take(&mut driver.caught) {
        match signal {
            Signal::SIGINT | Signal::SIGTERM | Signal::SIGHUP | Signal::SIGQUIT => {
                return Ok(Some(Outcome::Signal(signal)));
            }
            Signal::SIGWINCH => resized(driver),
            Signal::SIGTSTP => stop(driver)?,
            Signal::SIGCONT => {
                if let Some(terminal) = &driver.terminal {
                    terminal.apply().map_err(|source| ClientError::Terminal { source })?;
                }
                resized(driver);
            }
            _ => {}
        }
    }
    Ok(None)
}

/// Stops this process, and goes on here when it does.
pub(super) fn stop(driver: &mut Driver) -> Result<(), ClientError> {
    match &driver.terminal {
        Some(terminal) => terminal.stop().map_err(|source| ClientError::Terminal { source })?,
        None => {
            let stopped = nix::sys::signal::raise(Signal::SIGSTOP);
            stopped.map_err(|errno| ClientError::Terminal { source: errno.into() })?;
        }
    }
    resized(driver);
    Ok(())
}

fn resized(driver: &mut Driver) {
    if let Some((columns, rows)) = driver.terminal.as_ref().and_then(|terminal| terminal.size()) {
        driver.client.resize(columns, rows);
    }
}
