//! The page that says what is wrong, where the browser expected the program's own.
//!
//! Pure: bytes in, text out. Nothing of what the program has written is believed to be markup: it is text, coloured as a
//! terminal would colour it.

mod colour;
#[cfg(test)]
mod tests;

use crate::dev::inject::policy::Ours;
use std::fmt::Write;

/// At the most so much of what the program has written is shown, from its end.
const MOST: usize = 64 * 1024;

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure<'a> {
    /// In a few words: `The server has ended with status 3`.
    pub title: &'a str,
    /// What was run, as a line for a reader; empty where that does not matter.
    pub command: &'a str,
    /// The last that it has written to its standard error, with the escape sequences of a terminal.
    pub output: &'a [u8],
    /// What is to be expected: `It is started again when a file changes.`
    pub outlook: &'a str,
}

impl Failure<'_> {
    /// What is shown of the output: from the beginning of a line, unless one line is too long.
    fn shown(&self) -> &[u8] {
        let Some(excess) = self.output.len().checked_sub(MOST).filter(|excess| *excess > 0) else { return self.output };
        let rest = &self.output[excess..];
        match rest.iter().position(|byte| *byte == b'\n') {
            Some(end) if end + 1 < rest.len() => &rest[end + 1..],
            Some(_) | None => rest,
        }
    }
}

/// The page, for browsers.
///
/// `ours` has the nonce of its Content-Security-Policy ([`policy`]), and the script that loads the page again when there is
/// something new.
pub fn html(failure: &Failure<'_>, ours: &Ours) -> String {
    let (mut text, mut rules) = (String::new(), String::new());
    colour::html(failure.shown(), &mut text, &mut rules);
    let mut page = String::with_capacity(text.len() + 2048);
    page.push_str("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    page.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>");
    escape(failure.title, &mut page);
    let _ = write!(page, "</title>\n<style nonce=\"{}\">{STYLE}{rules}</style>\n", ours.nonce);
    let _ = write!(page, "{}\n</head>\n<body>\n<main>\n<h1>", ours.tag());
    escape(failure.title, &mut page);
    page.push_str("</h1>\n");
    if !failure.command.is_empty() {
        page.push_str("<p class=\"command\"><code>");
        escape(failure.command, &mut page);
        page.push_str("</code></p>\n");
    }
    if !text.is_empty() {
        let _ = writeln!(page, "<pre tabindex=\"0\" aria-label=\"The last output\">{text}</pre>");
    }
    page.push_str("<p role=\"status\">");
    escape(failure.outlook, &mut page);
    page.push_str("</p>\n</main>\n</body>\n</html>\n");
    page
}

/// The Content-Security-Policy of the page.
pub fn policy(ours: &Ours) -> String {
    let Ours { nonce, channel, .. } = ours;
    format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src {channel}; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    )
}

/// The same as text, for everybody else.
pub fn plain(failure: &Failure<'_>) -> String {
    let mut text = format!("{}\n", failure.title);
    if !failure.command.is_empty() {
        let _ = write!(text, "\n{}\n", failure.command);
    }
    let output = output_as_text(failure);
    if !output.is_empty() {
        let _ = write!(text, "\n{}\n", output.trim_end_matches('\n'));
    }
    let _ = write!(text, "\n{}\n", failure.outlook);
    text
}

/// What is shown of the output, without colours.
pub fn output_as_text(failure: &Failure<'_>) -> String {
    colour::plain(failure.shown())
}

/// Adds text so that it is text in HTML, also within attributes.
fn escape(text: &str, page: &mut String) {
    for letter in text.chars() {
        escape_char(letter, page);
    }
}

fn escape_char(letter: char, page: &mut String) {
    match letter {
        '&' => page.push_str("&amp;"),
        '<' => page.push_str("&lt;"),
        '>' => page.push_str("&gt;"),
        '"' => page.push_str("&quot;"),
        '\'' => page.push_str("&#39;"),
        // Control characters have no place in HTML, but for those that make space.
        _ if letter.is_control() && !matches!(letter, '\n' | '\t') => page.push('\u{fffd}'),
        _ => page.push(letter),
    }
}

const STYLE: &str = "\
:root{color-scheme:light dark;--ground:#fdfcfa;--ink:#23211e;--soft:#6d675e;--line:#e4dfd6;--panel:#f4f1eb;--mark:#b3261e;\
--c0:#23211e;--c1:#b3261e;--c2:#2e7d32;--c3:#8a6100;--c4:#1e5aa8;--c5:#8e2f8b;--c6:#00727d;--c7:#6d675e;\
--c8:#8b857b;--c9:#d5392f;--c10:#3c9a41;--c11:#a87800;--c12:#3a7bd0;--c13:#b04cad;--c14:#0090a0;--c15:#4b4741}\
@media (prefers-color-scheme:dark){:root{--ground:#171614;--ink:#e9e5de;--soft:#a09a90;--line:#34312c;--panel:#1f1d1a;--mark:#ff8a80;\
--c0:#6d675e;--c1:#ff8a80;--c2:#81c784;--c3:#e6c167;--c4:#82b1ff;--c5:#e1a1df;--c6:#6fd3de;--c7:#d2ccc2;\
--c8:#8b857b;--c9:#ffa99f;--c10:#a5d6a7;--c11:#f3d58a;--c12:#a9c9ff;--c13:#efc2ed;--c14:#9be7ef;--c15:#ffffff}}\
body{margin:0;background:var(--ground);color:var(--ink);font:16px/1.5 system-ui,sans-serif}\
main{max-width:60rem;margin:0 auto;padding:2.5rem 1.25rem}\
h1{font-size:1.375rem;line-height:1.25;margin:0 0 .25rem;padding-left:.75rem;border-left:4px solid var(--mark);overflow-wrap:anywhere}\
p{margin:.75rem 0;color:var(--soft)}\
code,pre{font:13px/1.55 ui-monospace,monospace}\
.command{overflow-wrap:anywhere}\
pre{margin:1rem 0;padding:1rem;background:var(--panel);border:1px solid var(--line);border-radius:6px;overflow:auto;color:var(--ink);\
white-space:pre-wrap;overflow-wrap:anywhere}\
pre:focus-visible{outline:2px solid var(--c4);outline-offset:2px}\
.b{font-weight:700}.d{opacity:.7}.i{font-style:italic}.u{text-decoration:underline}.s{text-decoration:line-through}";
