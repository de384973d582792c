//! How a user is told what is wrong with the text of an endpoint, and where.

use thiserror::Error;

use super::problem::{Printable, Problem};

/// The most characters of a text that a caret is set under.
const WIDEST: usize = 76;

/// A text that is no endpoint: what is wrong with it, where, and what was expected instead.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("not an endpoint: '{}': {problem}, at character {}", Printable(text), self.character())]
pub struct ParseError {
    text: String,
    /// In bytes, from 0.
    offset: usize,
    problem: Problem,
}

impl ParseError {
    pub(super) fn new(text: &str, Fault { offset, problem }: Fault) -> Self {
        Self { text: text.to_owned(), offset, problem }
    }

    /// The text, and below it a caret under the place: two lines, without a line end. Of a long text, what is around it.
    pub fn pointed(&self) -> String {
        let place = self.character() - 1;
        let shown = |text: String| Printable(&text).to_string();
        let mut before = shown(self.text.chars().take(place).collect());
        let mut after = shown(self.text.chars().skip(place).collect());
        let width = |text: &str| text.chars().count();
        let is_long = width(&before) + width(&after) > WIDEST;
        if is_long && width(&before) > WIDEST / 2 {
            let kept: Vec<_> = before.chars().rev().take(WIDEST / 2 - 1).collect();
            before = std::iter::once('…').chain(kept.into_iter().rev()).collect();
        }
        let room = WIDEST - width(&before);
        if is_long && width(&after) > room {
            after = after.chars().take(room - 1).chain(['…']).collect();
        }
        format!("{before}{after}\n{:>1$}", '^', width(&before) + 1)
    }

    /// The position as people count: characters, from 1.
    fn character(&self) -> usize {
        self.text.char_indices().take_while(|(offset, _)| *offset < self.offset).count() + 1
    }
}

/// A problem and the byte it was found at, before the whole text is known.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) offset: usize,
    pub(super) problem: Problem,
}
