//! The colours of a terminal (ECMA-48, SGR) in HTML. All other escape sequences are dropped.

use super::escape_char;
use anstyle_parse::{DefaultCharAccumulator, Params, Parser, Perform};
use std::collections::BTreeSet;
use std::fmt::Write;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Colour {
    /// One of the sixteen, which the page has its own shades of.
    Named(u8),
    Exact(u8, u8, u8),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Style {
    ink: Option<Colour>,
    ground: Option<Colour>,
    bold: bool,
    dim: bool,
    italic: bool,
    underlined: bool,
    struck: bool,
    inverse: bool,
}

/// Adds `output` as text in spans to `text`, and to `rules` the style rules of its colours.
pub(super) fn html(output: &[u8], text: &mut String, rules: &mut String) {
    let mut painter = Painter { text, style: Style::default(), open: Style::default(), used: BTreeSet::new() };
    feed(output, &mut painter);
    painter.close();
    for (ground, colour) in painter.used {
        let property = if ground { "background" } else { "color" };
        let _ = match colour {
            Colour::Named(number) => write!(rules, ".{}{{{property}:var(--c{number})}}", class(ground, colour)),
            Colour::Exact(red, green, blue) => {
                write!(rules, ".{}{{{property}:#{red:02x}{green:02x}{blue:02x}}}", class(ground, colour))
            }
        };
    }
}

/// `output` without its escape sequences.
pub(super) fn plain(output: &[u8]) -> String {
    struct Plain(String);
    impl Perform for Plain {
        fn print(&mut self, letter: char) {
            self.0.push(letter);
        }
        fn execute(&mut self, byte: u8) {
            self.0.extend(whitespace(byte));
        }
    }
    let mut text = Plain(String::new());
    feed(output, &mut text);
    text.0
}

fn feed(output: &[u8], perform: &mut impl Perform) {
    let mut parser = Parser::<DefaultCharAccumulator>::new();
    for byte in String::from_utf8_lossy(output).bytes() {
        parser.advance(perform, byte);
    }
}

/// Of the control characters, those that make space.
fn whitespace(byte: u8) -> Option<char> {
    matches!(byte, b'\n' | b'\t').then_some(byte as char)
}

fn class(ground: bool, colour: Colour) -> String {
    let place = if ground { 'g' } else { 'f' };
    match colour {
        Colour::Named(number) => format!("{place}{number}"),
        Colour::Exact(red, green, blue) => format!("{place}x{red:02x}{green:02x}{blue:02x}"),
    }
}

struct Painter<'a> {
    text: &'a mut String,
    style: Style,
    /// The style of the span that is open; the plain one has none.
    open: Style,
    /// Whether it is a ground, and which.
    used: BTreeSet<(bool, Colour)>,
}

impl Perform for Painter<'_> {
    fn print(&mut self, letter: char) {
        self.open();
        escape_char(letter, self.text);
    }

    fn execute(&mut self, byte: u8) {
        self.text.extend(whitespace(byte));
    }

    fn csi_dispatch(&mut self, params: &Params, intermediates: &[u8], ignore: bool, action: u8) {
        if action == b'm' && intermediates.is_empty() && !ignore {
            self.style.change(params);
        }
    }
}

impl Painter<'_> {
    fn close(&mut self) {
        if self.open != Style::default() {
            self.text.push_str("</span>");
            self.open = Style::default();
        }
    }

    /// Makes the open span the one that what follows needs.
    fn open(&mut self) {
        if self.open == self.style {
            return;
        }
        self.close();
        self.open = self.style;
        if self.style == Style::default() {
            return;
        }
        let mut classes = Vec::new();
        let Style { mut ink, mut ground, bold, dim, italic, underlined, struck, inverse } = self.style;
        if inverse {
            (ink, ground) = (Some(ground.unwrap_or(Colour::Named(15))), Some(ink.unwrap_or(Colour::Named(0))));
        }
        for (place, colour) in [(false, ink), (true, ground)] {
            if let Some(colour) = colour {
                self.used.insert((place, colour));
                classes.push(class(place, colour));
            }
        }
        for (set, name) in [(bold, "b"), (dim, "d"), (italic, "i"), (underlined, "u"), (struck, "s")] {
            if set {
                classes.push(name.to_owned());
            }
        }
        let _ = write!(self.text, "<span class=\"{}\">", classes.join(" "));
    }
}

impl Style {
    /// What the numbers of a sequence say. Those that are not known change nothing.
    fn change(&mut self, params: &Params) {
        let mut numbers = params.iter();
        while let Some(number) = numbers.next() {
            match number {
                [] | [0] => *self = Style::default(),
                [1] => self.bold = true,
                [2] => self.dim = true,
                [3] => self.italic = true,
                [4, kind @ ..] => self.underlined = kind.first() != Some(&0),
                [7] => self.inverse = true,
                [9] => self.struck = true,
                [21] => self.underlined = true,
                [22] => (self.bold, self.dim) = (false, false),
                [23] => self.italic = false,
                [24] => self.underlined = false,
                [27] => self.inverse = false,
                [29] => self.struck = false,
                [number @ 30..=37] => self.ink = Some(Colour::Named((number - 30) as u8)),
                [39] => self.ink = None,
                [number @ 40..=47] => self.ground = Some(Colour::Named((number - 40) as u8)),
                [49] => self.ground = None,
                [number @ 90..=97] => self.ink = Some(Colour::Named((number - 82) as u8)),
                [number @ 100..=107] => self.ground = Some(Colour::Named((number - 92) as u8)),
                [place @ (38 | 48), rest @ ..] => {
                    let colour = if rest.is_empty() {
                        let mut next = || numbers.next().and_then(|number| number.first().copied());
                        exact(&mut next)
                    } else {
                        // With colons there may be the number of a colour space, which is empty mostly.
                        let skip = usize::from(rest.len() > 4 && rest[0] == 2);
                        let mut rest =
                            rest.iter().enumerate().filter(|(at, _)| skip == 0 || *at != 1).map(|(_, number)| *number);
                        exact(&mut || rest.next())
                    };
                    if let Some(colour) = colour {
                        *(if *place == 38 { &mut self.ink } else { &mut self.ground }) = Some(colour);
                    }
                }
                _ => {}
            }
        }
    }
}

/// A colour by what follows 38 or 48: `5;N` or `2;R;G;B`.
fn exact(next: &mut impl FnMut() -> Option<u16>) -> Option<Colour> {
    let byte = |next: &mut dyn FnMut() -> Option<u16>| next().and_then(|number| u8::try_from(number).ok());
    match next()? {
        5 => Some(match byte(next)? {
            number @ 0..=15 => Colour::Named(number),
            number @ 16..=231 => {
                let level = |step: u8| if step == 0 { 0 } else { 55 + step * 40 };
                let number = number - 16;
                Colour::Exact(level(number / 36), level(number / 6 % 6), level(number % 6))
            }
            number @ 232.. => {
                let grey = 8 + (number - 232) * 10;
                Colour::Exact(grey, grey, grey)
            }
        }),
        2 => Some(Colour::Exact(byte(next)?, byte(next)?, byte(next)?)),
        _ => None,
    }
}
