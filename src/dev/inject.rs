//! Our script in the pages of the program: into which answers it goes, and where.
//!
//! Pure: headers and bytes in, bytes out. A page is never held back: what comes in goes out, but for a tag that is not whole.

use lol_html::html_content::ContentType;
use lol_html::{MemorySettings, OutputSink, element, send};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub mod policy;
#[cfg(test)]
mod tests;

use policy::Ours;

/// At the most so much of a page is kept, in bytes: a tag that is not whole.
const MOST: usize = 256 * 1024;

/// What is asked, as far as it matters here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked<'a> {
    /// The method.
    pub method: &'a str,
    /// `Sec-Fetch-Dest`: what the browser wants it for.
    pub wanted_for: Option<&'a str>,
    /// There is a header that only scripts send, which put the answer into a page: `HX-Request`, `X-Requested-With`, `X-PJAX`,
    /// `Turbo-Frame`.
    pub by_script: bool,
}

/// What is answered, as far as it matters here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer<'a> {
    /// The status.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: Option<&'a str>,
    /// `Content-Encoding`.
    pub encoding: Option<&'a str>,
    /// `Content-Disposition`.
    pub disposition: Option<&'a str>,
}

/// Whether the answer to this may be a page that a browser shows.
pub fn may_be_page(asked: &Asked<'_>) -> bool {
    let shown = asked.wanted_for.is_none_or(|place| matches!(place, "document" | "iframe" | "frame"));
    asked.method == "GET" && shown && !asked.by_script
}

/// Whether an answer is a page that a browser shows, and that can be read.
pub fn is_page(asked: &Asked<'_>, answer: &Answer<'_>) -> bool {
    let whole = !matches!(answer.status, 100..=199 | 204 | 205 | 206 | 304);
    let as_it_is = answer.encoding.is_none_or(|encoding| encoding.trim().eq_ignore_ascii_case("identity"));
    let kept = answer.disposition.is_some_and(|text| text.trim_start().to_ascii_lowercase().starts_with("attachment"));
    may_be_page(asked) && whole && as_it_is && !kept && encoding(answer).is_some()
}

/// The encoding of its letters, if it is HTML in one of those that contain ASCII. Without a word about it: UTF-8, which
/// does as well for all of them, since our own letters are ASCII.
fn encoding(answer: &Answer<'_>) -> Option<lol_html::AsciiCompatibleEncoding> {
    let mut parts = answer.content_type?.split(';');
    let kind = parts.next()?.trim();
    if !kind.eq_ignore_ascii_case("text/html") && !kind.eq_ignore_ascii_case("application/xhtml+xml") {
        return None;
    }
    let charset = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"'))
    });
    match charset {
        Some(label) => lol_html::AsciiCompatibleEncoding::new(encoding_rs::Encoding::for_label(label.as_bytes())?),
        None => Some(lol_html::AsciiCompatibleEncoding::utf_8()),
    }
}

/// Where in the page we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Nothing but a DOCTYPE, comments and `<html>`.
    Before,
    /// Our script is there; a policy of the page may follow.
    Head,
    /// The head is over.
    Body,
}

#[derive(Debug)]
struct Progress {
    place: Place,
    out: Vec<u8>,
}

struct Out(Arc<Mutex<Progress>>);

impl OutputSink for Out {
    fn handle_chunk(&mut self, chunk: &[u8]) {
        lock(&self.0).out.extend_from_slice(chunk);
    }
}

/// Each holder leaves it whole.
fn lock(progress: &Mutex<Progress>) -> MutexGuard<'_, Progress> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts the script into one page.
pub struct Injection {
    /// Gone once there is nothing more to be changed.
    rewriter: Option<send::HtmlRewriter<'static, Out>>,
    progress: Arc<Mutex<Progress>>,
}

impl Injection {
    /// Into an answer that [is a page](is_page). `ours` is what the page's policies, where it has some within, must allow.
    pub fn new(answer: &Answer<'_>, ours: Ours) -> Self {
        let progress = Arc::new(Mutex::new(Progress { place: Place::Before, out: Vec::new() }));
        let seen = Arc::clone(&progress);
        let each = element!("*", move |element: &mut send::Element<'_, '_>| {
            visit(&mut lock(&seen).place, element, &ours);
            Ok(())
        });
        let memory = MemorySettings::new()
            .with_max_allowed_memory_usage(MOST)
            .with_graceful_bail_out_on_memory_limit_exceeded(true);
        let settings = send::Settings::new_send()
            .append_element_content_handler(each)
            .with_encoding(encoding(answer).unwrap_or_else(lol_html::AsciiCompatibleEncoding::utf_8))
            .with_memory_settings(memory)
            .with_strict(false);
        let rewriter = Some(send::HtmlRewriter::new(settings, Out(Arc::clone(&progress))));
        Injection { rewriter, progress }
    }

    /// Takes the next bytes of the page and gives those that can go out.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        let Some(rewriter) = &mut self.rewriter else { return bytes.to_vec() };
        // An error: a tag is longer than what may be kept of a page. The rewriter has given all out as it was.
        if rewriter.write(bytes).is_err() {
            self.rewriter = None;
        } else if lock(&self.progress).place == Place::Body {
            return self.finish();
        }
        std::mem::take(&mut lock(&self.progress).out)
    }

    /// Nothing follows, or nothing that is to be changed: gives what is left.
    pub fn finish(&mut self) -> Vec<u8> {
        if let Some(rewriter) = self.rewriter.take() {
            // The same: all that there was is out.
            let _ = rewriter.end();
        }
        std::mem::take(&mut lock(&self.progress).out)
    }
}

fn visit(place: &mut Place, element: &mut send::Element<'_, '_>, ours: &Ours) {
    if *place == Place::Body {
        return;
    }
    let name = element.tag_name();
    if *place == Place::Before {
        match name.as_str() {
            "html" => return,
            "head" => element.prepend(&ours.tag(), ContentType::Html),
            _ => element.before(&ours.tag(), ContentType::Html),
        }
        *place = Place::Head;
    }
    match name.as_str() {
        "meta" => {
            let about = element.get_attribute("http-equiv").unwrap_or_default();
            if about.trim().eq_ignore_ascii_case("content-security-policy")
                && let Some(allowed) = element.get_attribute("content").and_then(|text| policy::allow(&text, ours))
            {
                // The name is a constant that is one.
                let _ = element.set_attribute("content", &allowed);
            }
        }
        "head" | "title" | "link" | "style" | "script" | "noscript" | "template" | "base" => {}
        _ => *place = Place::Body,
    }
}
