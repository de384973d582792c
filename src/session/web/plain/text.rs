//! Output of a terminal as plain text. Pure.
//!
//! It knows what makes most output readable: lines, carriage return, backspace, tabs and clearing. Colours and other
//! commands are left out. A program that fills the screen wants the terminal page.

/// So many of the last letters are shown, and no line in part. Text is never as long, also where each letter is a tab: only who moves
/// about on the screen makes more of little.
const MOST_LETTERS: usize = 1024 * 1024;
/// A line goes on as another one behind so many columns: so nothing is lost, and no command costs more than that.
const MOST_COLUMNS: usize = 4096;
/// A command that is longer has lost its end.
const LONGEST_COMMAND: usize = 4096;

/// What the last line says who asks for something that others should not see.
const SECRETS: [&str; 6] = ["password", "passphrase", "passcode", "pin", "secret", "token"];

/// What there is to be seen after this output.
pub fn shown(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let mut page = Page::default();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\u{1b}' => page.command(&mut letters),
            '\u{9b}' => page.control_sequence(&mut letters),
            letter => page.letter(letter),
        }
    }
    page.into_text()
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

#[derive(Default)]
struct Page {
    lines: std::collections::VecDeque<Vec<char>>,
    /// In all of them.
    letters: usize,
    line: Vec<char>,
    column: usize,
}

impl Page {
    fn letter(&mut self, letter: char) {
        match letter {
            '\n' => self.end_line(),
            '\r' => self.column = 0,
            '\u{8}' => self.column = self.column.saturating_sub(1),
            '\t' => (0..8 - self.column % 8).for_each(|_| self.put(' ')),
            letter if letter.is_control() || is_invisible(letter) => {}
            letter => self.put(letter),
        }
    }

    fn put(&mut self, letter: char) {
        if self.column >= MOST_COLUMNS {
            self.end_line();
        }
        if self.line.len() <= self.column {
            self.line.resize(self.column + 1, ' ');
        }
        self.line[self.column] = letter;
        self.column += 1;
    }

    fn end_line(&mut self) {
        self.letters += self.line.len() + 1;
        self.lines.push_back(std::mem::take(&mut self.line));
        while self.letters > MOST_LETTERS {
            self.letters -= self.lines.pop_front().map_or(self.letters, |line| line.len() + 1);
        }
        self.column = 0;
    }

    /// What follows ESC.
    fn command(&mut self, letters: &mut std::str::Chars<'_>) {
        match letters.next() {
            Some('[') => self.control_sequence(letters),
            Some(']' | 'P' | 'X' | '^' | '_') => string(letters),
            Some(' '..='/') => {
                letters.next();
            }
            Some('c') => *self = Page::default(),
            Some(_) | None => {}
        }
    }

    /// What follows ESC `[`: numbers, then the letter that says what to do.
    fn control_sequence(&mut self, letters: &mut std::str::Chars<'_>) {
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
            'J' if number >= 2 => (self.lines, self.letters, self.line) = Default::default(),
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
            text.extend(line);
            text.push('\n');
        }
        text.extend(self.line);
        text
    }
}

/// Up to BEL or ESC and a backslash; its text is not for showing.
fn string(letters: &mut std::str::Chars<'_>) {
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
