//! One direction of a pair: bytes from one socket to the other, by copy or within the kernel.
//!
//! Bytes are read into the one large buffer of the loop and written at once. Only what the receiver does not take is
//! kept, and nothing more is read in that direction until it is gone. A direction that stays busy goes through a pipe
//! instead, which is borrowed for each portion.

use std::io;
use std::time::{Duration, Instant};

use super::end::End;
use super::flow::{Flow, Way};
use super::pool::{Buffers, Pipe, Pipes, Tail};

/// The buffer of a loop. Measured: larger ones gain nothing, and 64 KiB is the worst size there is.
const SCRATCH: usize = 256 * 1024;
/// Some TLS records.
const CIPHER: usize = 64 * 1024;
/// What is read after the receiver has not taken everything, so that little is kept for one that takes nothing.
const NARROW: usize = 16 * 1024;
/// How many bytes of one direction go before others have their turn.
const BUDGET: usize = 256 * 1024;
/// A portion that makes a direction busy …
const LARGE: usize = 64 * 1024;
/// … after so many in a row.
const BUSY: u8 = 4;
/// A portion that a copy moves as well.
const SMALL: usize = 16 * 1024;
/// A direction that was idle as long is busy no more.
const IDLE: Duration = Duration::from_secs(1);

/// What the pairs of a loop share.
#[derive(Debug)]
pub(super) struct Tools {
    pub(super) scratch: Box<[u8]>,
    /// For what TLS sessions read; empty before the first.
    cipher: Vec<u8>,
    pub(super) buffers: Buffers,
    pub(super) pipes: Pipes,
    /// The time at which the loop woke.
    pub(super) now: Instant,
}

impl Tools {
    pub(super) fn new(pipes: Pipes) -> Self {
        let scratch = vec![0; SCRATCH].into_boxed_slice();
        Tools { scratch, cipher: Vec::new(), buffers: Buffers::default(), pipes, now: Instant::now() }
    }

    /// Room for what a TLS session reads.
    pub(super) fn cipher(&mut self) -> &mut [u8] {
        self.cipher.resize(CIPHER, 0);
        &mut self.cipher
    }
}

/// Bytes that are under way.
#[derive(Debug)]
enum Held {
    Nothing,
    Tail(Tail),
    Pipe(Pipe),
}

/// One direction.
#[derive(Debug)]
pub(super) struct Lane {
    held: Held,
    /// Large portions in a row, up to [`BUSY`].
    busy: u8,
    splicing: bool,
    /// The last bytes went through a pipe.
    piped: bool,
    /// The receiver has not taken everything the last time.
    narrow: bool,
    /// The kernel cannot splice these sockets.
    never: bool,
    /// Bytes that were held have been written since it was asked last.
    flushed: bool,
    /// Bytes received ever.
    pub(super) moved: u64,
}

impl Lane {
    pub(super) fn new() -> Self {
        Lane {
            held: Held::Nothing,
            busy: 0,
            splicing: false,
            piped: false,
            narrow: false,
            never: false,
            flushed: false,
            moved: 0,
        }
    }

    /// A lane that has moved so many bytes elsewhere, and these not yet.
    pub(super) fn resumed(moved: u64, unsent: &[u8], buffers: &mut Buffers) -> Self {
        let held = if unsent.is_empty() { Held::Nothing } else { Held::Tail(buffers.keep(unsent)) };
        Lane { held, moved, ..Lane::new() }
    }

    /// Whether bytes are under way.
    pub(super) fn holds(&self) -> bool {
        !matches!(self.held, Held::Nothing)
    }

    /// Whether bytes go through a pipe.
    pub(super) fn splices(&self) -> bool {
        self.piped
    }

    /// Whether bytes that were held have been written since this was asked last.
    pub(super) fn take_flushed(&mut self) -> bool {
        std::mem::take(&mut self.flushed)
    }

    /// Whether there is something to do at once.
    pub(super) fn could_go_on(&self, way: Way, source: &End, sink: &End, flow: &Flow) -> bool {
        let reads = flow.reads(way) && source.readable;
        if self.holds() { sink.writable || !flow.delivers(way) } else { reads && sink.writable }
    }

    /// Moves bytes until either socket would block or others shall have their turn.
    pub(super) fn run(&mut self, way: Way, ends: (&mut End, &mut End), flow: &mut Flow, tools: &mut Tools) {
        let (source, sink) = ends;
        let mut budget = BUDGET;
        while self.flush(way, sink, flow, tools) && flow.reads(way) && source.readable && sink.writable && budget > 0 {
            let received = if self.splicing && source.is_plain() && sink.is_plain() {
                self.splice(way, (source, sink), flow, tools)
            } else {
                self.copy(way, (source, sink), flow, tools)
            };
            if let Some(count) = received {
                self.moved += count as u64;
                self.learn(count);
                budget = budget.saturating_sub(count);
            }
        }
    }

    /// After some time without bytes, the next ones are few until shown otherwise.
    pub(super) fn calm_down(&mut self, idle: Duration) {
        if idle >= IDLE {
            self.busy = 0;
            self.splicing = false;
            self.piped = false;
        }
    }

    fn learn(&mut self, count: usize) {
        if count >= LARGE {
            self.busy = (self.busy + 1).min(BUSY);
        } else if count < SMALL {
            self.busy = self.busy.saturating_sub(if self.splicing { 1 } else { BUSY });
        }
        self.splicing = !self.never && if self.splicing { self.busy > 0 } else { self.busy == BUSY };
    }

    /// Writes what is held; true when nothing is left.
    fn flush(&mut self, way: Way, sink: &mut End, flow: &mut Flow, tools: &mut Tools) -> bool {
        while self.holds() {
            if !flow.delivers(way) {
                self.drop_held(tools);
                break;
            }
            if !sink.writable {
                return false;
            }
            let written = match &mut self.held {
                Held::Nothing => break,
                Held::Tail(tail) => sink.write(tail.bytes()).map(|count| tail.written(count)),
                Held::Pipe(pipe) => pipe.empty(sink.stream()),
            };
            self.flushed |= written.is_ok();
            match written {
                Ok(true) => self.drop_held(tools),
                // It says when it takes more; with a pipe the kernel has to be asked until it says that it would block.
                Ok(false) if matches!(self.held, Held::Pipe(_)) => {}
                Ok(false) => sink.is_full(way.to(), flow),
                Err(error) => sink.write_failed(&error, way, flow),
            }
        }
        true
    }

    /// Nothing is held any more: what was is written, or can reach nobody.
    pub(super) fn drop_held(&mut self, tools: &mut Tools) {
        match std::mem::replace(&mut self.held, Held::Nothing) {
            Held::Nothing => {}
            Held::Tail(tail) => tools.buffers.give_back(tail),
            Held::Pipe(pipe) => tools.pipes.give_back(pipe),
        }
    }

    /// Reads into the loop's buffer and writes from it; what is left over is kept. `None` when nothing was received.
    fn copy(&mut self, way: Way, ends: (&mut End, &mut End), flow: &mut Flow, tools: &mut Tools) -> Option<usize> {
        let (source, sink) = ends;
        let room = if self.narrow { NARROW } else { SCRATCH };
        let room = &mut tools.scratch[..room];
        let count = match source.read(room, &mut tools.cipher) {
            Ok(0) => {
                source.ended(way, flow);
                return None;
            }
            Ok(count) => count,
            Err(error) => {
                source.read_failed(&error, way, flow);
                return None;
            }
        };
        if source.has_ended() {
            source.ended(way, flow);
        }
        self.piped = false;
        let full = count == room.len();
        let bytes = &room[..count];
        let written = match sink.write(bytes) {
            Ok(written) => written,
            Err(error) => {
                sink.write_failed(&error, way, flow);
                0
            }
        };
        if written == count {
            self.narrow &= !full;
        } else if flow.delivers(way) {
            sink.is_full(way.to(), flow);
            self.narrow = true;
            self.held = Held::Tail(tools.buffers.keep(&bytes[written..]));
        }
        Some(count)
    }

    /// Takes bytes into a pipe, to be flushed. `None` when nothing was received.
    ///
    /// Before urgent data splice(2) stops, and then says that there is nothing, or an end, though bytes follow. So what it
    /// says of that is not believed: recv(2) decides.
    fn splice(&mut self, way: Way, ends: (&mut End, &mut End), flow: &mut Flow, tools: &mut Tools) -> Option<usize> {
        let (source, sink) = ends;
        let Some(mut pipe) = tools.pipes.lend(tools.now) else {
            self.splicing = false;
            self.busy = 0;
            return None;
        };
        match pipe.fill(source.stream()) {
            Ok(0) => {
                tools.pipes.give_back(pipe);
                self.copy(way, (source, sink), flow, tools)
            }
            Ok(count) => {
                self.held = Held::Pipe(pipe);
                self.piped = true;
                Some(count)
            }
            Err(error) => {
                tools.pipes.give_back(pipe);
                if error.kind() == io::ErrorKind::WouldBlock {
                    return self.copy(way, (source, sink), flow, tools);
                }
                if error.kind() == io::ErrorKind::InvalidInput {
                    self.never = true;
                    self.splicing = false;
                } else {
                    source.read_failed(&error, way, flow);
                }
                None
            }
        }
    }

    /// The bytes that are under way, for another process.
    ///
    /// # Errors
    /// Those of read(2), from a pipe.
    pub(super) fn into_unsent(self, tools: &mut Tools) -> io::Result<Vec<u8>> {
        match self.held {
            Held::Nothing => Ok(Vec::new()),
            Held::Tail(tail) => {
                let bytes = tail.bytes().to_vec();
                tools.buffers.give_back(tail);
                Ok(bytes)
            }
            Held::Pipe(pipe) => tools.pipes.take_bytes(pipe),
        }
    }
}
