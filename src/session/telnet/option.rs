//! The options of telnet that we know, and what we say to each. Pure.

/// Whose behaviour an option is about. Each side of an option is negotiated by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// Ours: the destination asks with DO and DONT, we say WILL and WONT.
    Ours,
    /// The destination's: it says WILL and WONT, we ask with DO and DONT.
    Theirs,
}

/// An option that we take part in, at least on one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Known {
    /// Eight bits, and no meaning in CR (RFC 856).
    Binary,
    /// The destination echoes what it gets, or hides it: a client must not echo by itself (RFC 857).
    Echo,
    /// No "go ahead" after each turn, which nobody waits for any more (RFC 858).
    SuppressGoAhead,
    /// The name of the client's terminal (RFC 1091).
    TerminalType,
    /// Marks at the ends of records, often of prompts (RFC 885).
    EndOfRecord,
    /// The size of the client's window (RFC 1073).
    WindowSize,
    /// A character set that both use; ours is UTF-8 (RFC 2066).
    Charset,
}

impl Known {
    /// All of them.
    pub const ALL: [Known; 7] = [
        Known::Binary,
        Known::Echo,
        Known::SuppressGoAhead,
        Known::TerminalType,
        Known::EndOfRecord,
        Known::WindowSize,
        Known::Charset,
    ];

    /// The option of this number, if we know it.
    pub fn of(number: u8) -> Option<Known> {
        Known::ALL.into_iter().find(|known| known.number() == number)
    }

    /// Its number, as assigned.
    pub fn number(self) -> u8 {
        match self {
            Known::Binary => 0,
            Known::Echo => 1,
            Known::SuppressGoAhead => 3,
            Known::TerminalType => 24,
            Known::EndOfRecord => 25,
            Known::WindowSize => 31,
            Known::Charset => 42,
        }
    }

    /// Whether we agree when the destination wants it on this side.
    pub fn agreed(self, side: Side) -> bool {
        match self {
            Known::Binary | Known::SuppressGoAhead | Known::Charset => true,
            // Whoever echoed to the destination would send its own words back to it, and it gets no records from us.
            Known::Echo | Known::EndOfRecord => side == Side::Theirs,
            Known::TerminalType | Known::WindowSize => side == Side::Ours,
        }
    }
}

/// Whether a number stands for an option that is in use anywhere: the assigned ones, but for the one that extends
/// the list, and those that games have taken without asking.
pub(super) fn in_use(number: u8) -> bool {
    matches!(number, 0..=49 | 69 | 70 | 85..=87 | 90 | 91 | 93 | 102 | 138..=140 | 200 | 201)
}
