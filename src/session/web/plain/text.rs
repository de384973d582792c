//! Output of a terminal as plain text. Pure.
//!
//! It knows what makes most output readable: lines, carriage return, backspace, tabs and clearing. Colours and other
//! commands are left out. A program that fills the screen wants the terminal page.

use std::collections::VecDeque;
use std::ops::Range;

/// Of more letters some are left for another page. Text is never as long, also where each letter is a tab: only who moves about on
/// the screen makes more of little.
const MOST_LETTERS: usize = 1024 * 1024;
/// A line goes on as another one behind so many columns: so nothing is lost, and no command costs more than that.
const MOST_COLUMNS: usize = 4096;
/// A command that is longer has lost its end.
const LONGEST_COMMAND: usize = 4096;

/// What the last line says who asks for something that others should not see.
const SECRETS: [&str; 6] = ["password", "passphrase", "passcode", "pin", "secret", "token"];

/// What is shown of output that makes too much text for a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Its beginning.
    First,
    /// Its end.
    Last,
}

/// What there is to be seen.
#[derive(Debug, PartialEq, Eq)]
pub struct Shown {
    /// As text.
    pub text: String,
    /// Which bytes of the output that is.
    pub part: Range<usize>,
}

/// What there is to be seen after this output.
pub fn shown(output: &[u8], keep: Keep) -> Shown {
    let mut page = Page::default();
    let mut letters = Letters::new(output);
    while keep == Keep::Last || page.letters <= MOST_LETTERS {
        page.at = letters.at;
        let Some(letter) = letters.next() else {
            break;
        };
        page.hear(letter, &mut letters);
        if keep == Keep::Last {
            page.forget();
        }
    }
    let part = page.from..letters.at;
    Shown { text: page.into_text(), part }
}

/// How much of the output makes a page behind which there is more: its whole lines, or its whole letters and commands if there is not
/// one line.
pub fn whole(output: &[u8]) -> usize {
    if let Some(newline) = output.iter().rposition(|byte| *byte == b'\n') {
        return newline + 1;
    }
    let (mut page, mut letters, mut whole) = (Page::default(), Letters::new(output), 0);
    while let Some(letter) = letters.next() {
        page.hear(letter, &mut letters);
        if letters.ran_out {
            break;
        }
        whole = letters.at;
    }
    // A command that is longer than a page would never end.
    if whole == 0 { output.len() } else { whole }
}

/// As text of a document, also within the quotes of an attribute.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// Whether the last line asks for a secret: `Password:`.
pub(super) fn is_prompt_for_secret(shown: &str) -> bool {
    let last = shown.rsplit('\n').next().unwrap_or_default().trim_end().to_lowercase();
    last.ends_with([':', '?', '>'])
        && last.split(|letter: char| !letter.is_alphanumeric()).any(|word| SECRETS.contains(&word))
}

/// The letters of output, and where they are in it; what is no UTF-8 is shown as such.
struct Letters<'a> {
    output: &'a [u8],
    /// Where the next one begins.
    at: usize,
    /// Another one was wanted, or the rest of one, and there was none.
    ran_out: bool,
}

impl Letters<'_> {
    fn new(output: &[u8]) -> Letters<'_> {
        Letters { output, at: 0, ran_out: false }
    }
}

impl Iterator for Letters<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        let rest = self.output.get(self.at..).unwrap_or_default();
        let few = &rest[..rest.len().min(4)];
        let Some(chunk) = few.utf8_chunks().next() else {
            self.ran_out = true;
            return None;
        };
        let letter = chunk.valid().chars().next();
        if letter.is_none() {
            self.ran_out |= std::str::from_utf8(few).is_err_and(|error| error.error_len().is_none());
        }
        self.at += letter.map_or(chunk.invalid().len(), char::len_utf8);
        Some(letter.unwrap_or(char::REPLACEMENT_CHARACTER))
    }
}

/// A line that has ended.
struct Line {
    letters: Vec<char>,
    /// Where in the output the next one begins.
    until: usize,
}

#[derive(Default)]
struct Page {
    lines: VecDeque<Line>,
    /// In all of them.
    letters: usize,
    /// Where in the output the first of them begins, and where what is heard just now does.
    from: usize,
    at: usize,
    line: Vec<char>,
    column: usize,
}

impl Page {
    /// A letter, or a command that begins with it.
    fn hear(&mut self, letter: char, letters: &mut Letters<'_>) {
        match letter {
            '\u{1b}' => self.command(letters),
            '\u{9b}' => self.control_sequence(letters),
            letter => self.letter(letter),
        }
    }

    fn letter(&mut self, letter: char) {
        match letter {
            '\n' => self.end_line(self.at + 1),
            '\r' => self.column = 0,
            '\u{8}' => self.column = self.column.saturating_sub(1),
            '\t' => (0..8 - self.column % 8).for_each(|_| self.put(' ')),
            letter if letter.is_control() || is_invisible(letter) => {}
            letter => self.put(letter),
        }
    }

    fn put(&mut self, letter: char) {
        if self.column >= MOST_COLUMNS {
            self.end_line(self.at);
        }
        if self.line.len() <= self.column {
            self.line.resize(self.column + 1, ' ');
        }
        self.line[self.column] = letter;
        self.column += 1;
    }

    fn end_line(&mut self, until: usize) {
        self.letters += self.line.len() + 1;
        self.lines.push_back(Line { letters: std::mem::take(&mut self.line), until });
        self.column = 0;
    }

    /// Does without the first lines of too many.
    fn forget(&mut self) {
        while self.letters > MOST_LETTERS
            && let Some(line) = self.lines.pop_front()
        {
            self.letters -= line.letters.len() + 1;
            self.from = line.until;
        }
    }

    /// The screen is cleared: what was on it stays, and another line begins.
    fn clear(&mut self) {
        if !self.line.is_empty() {
            self.end_line(self.at);
        }
    }

    /// What follows ESC.
    fn command(&mut self, letters: &mut Letters<'_>) {
        match letters.next() {
            Some('[') => self.control_sequence(letters),
            Some(']' | 'P' | 'X' | '^' | '_') => string(letters),
            Some(' '..='/') => {
                letters.next();
            }
            Some('c') => self.clear(),
            Some(_) | None => {}
        }
    }

    /// What follows ESC `[`: numbers, then the letter that says what to do.
    fn control_sequence(&mut self, letters: &mut Letters<'_>) {
        let mut numbers = String::new();
        for letter in letters.take(LONGEST_COMMAND) {
            match letter {
                '@'..='~' => return self.control(letter, &numbers),
                ' '..='?' => numbers.push(letter),
                // It broke off.
                letter => return self.letter(letter),
            }
        }
    }

    fn control(&mut self, letter: char, numbers: &str) {
        let number = numbers.parse().unwrap_or(0_usize);
        let count = number.max(1);
        match letter {
            // Never to the left, also where the line is full.
            'C' => self.column = self.column.max(self.column.saturating_add(count).min(MOST_COLUMNS - 1)),
            'D' => self.column = self.column.saturating_sub(count),
            'G' => self.column = (count - 1).min(MOST_COLUMNS - 1),
            'J' if number >= 2 => self.clear(),
            'K' if number == 0 => self.line.truncate(self.column),
            'K' => self.line.clear(),
            'P' => {
                let end = self.column.saturating_add(count).min(self.line.len());
                self.line.drain(self.column.min(end)..end);
            }
            _ => {}
        }
    }

    fn into_text(self) -> String {
        let mut text = String::new();
        for line in self.lines {
            text.extend(line.letters);
            text.push('\n');
        }
        text.extend(self.line);
        text
    }
}

/// Up to BEL or ESC and a backslash; its text is not for showing.
fn string(letters: &mut Letters<'_>) {
    let mut escaped = false;
    for letter in letters.take(LONGEST_COMMAND) {
        if letter == '\u{7}' || letter == '\u{9c}' || (escaped && letter == '\\') {
            return;
        }
        escaped = letter == '\u{1b}';
    }
}

/// What turns the direction of a text around: nobody shall be made to read something else than what is there.
fn is_invisible(letter: char) -> bool {
    matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
