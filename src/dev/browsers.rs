//! What browsers are told, and what those hear who come later.

use super::error_page;
use super::event::{Failure, News};
use super::livereload::{self, Build};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::broadcast;

/// So many messages may wait for one browser; one that is behind further loads its page again.
const NEWS: usize = 16;
/// At the most so much of what a program has written is shown in a page that stays, in bytes.
const LONGEST_ALERT: usize = 8 * 1024;

/// All browsers that listen.
#[derive(Debug)]
pub(super) struct Browsers {
    /// This process and no other.
    token: String,
    now: Mutex<Now>,
    news: broadcast::Sender<Arc<str>>,
}

/// What one would get now.
#[derive(Debug, Default)]
struct Now {
    build: Option<String>,
    /// The message that the last change has failed, while an older server answers.
    alert: Option<Arc<str>>,
}

/// What one who comes hears first, and where the rest comes from.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) first: Vec<Arc<str>>,
    pub(super) news: broadcast::Receiver<Arc<str>>,
}

impl Browsers {
    /// Nobody listens yet.
    pub(super) fn new(token: String) -> Browsers {
        let (news, _) = broadcast::channel(NEWS);
        Browsers { token, now: Mutex::default(), news }
    }

    /// A change between these two steps would be missed or told twice, so that they are one for all who look.
    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells all of them.
    pub(super) fn tell(&self, news: &News) {
        let mut now = self.now();
        let message: Arc<str> = match news {
            News::Reload { change, paths, build } => {
                let id = build.id(&self.token);
                let message = livereload::reload(*change, paths, &id);
                *now = Now { build: Some(id), alert: None };
                message.into()
            }
            News::Alert(failure) => {
                let message: Arc<str> = livereload::alert(&alert(failure)).into();
                now.alert = Some(Arc::clone(&message));
                message
            }
        };
        // Nobody may be listening.
        let _ = self.news.send(message);
    }

    /// One more listens.
    pub(super) fn join(&self) -> Joined {
        let now = self.now();
        let hello = livereload::hello(now.build.as_deref()).into();
        Joined { first: [hello].into_iter().chain(now.alert.clone()).collect(), news: self.news.subscribe() }
    }

    /// One has missed something: it begins anew, with this message.
    pub(super) fn join_again(&self) -> Joined {
        let now = self.now();
        let build = now.build.as_deref().unwrap_or_default();
        let reload = livereload::reload(super::gate::Change::Files, &[], build).into();
        Joined { first: [reload].into_iter().chain(now.alert.clone()).collect(), news: self.news.subscribe() }
    }

    /// What a page is known by that shows this.
    pub(super) fn id(&self, build: Option<Build>) -> String {
        build.map_or_else(|| format!("{}-0", self.token), |build| build.id(&self.token))
    }
}

/// A failure as text for a page that stays.
fn alert(failure: &Failure) -> String {
    let output = failure.lines.join(&b'\n');
    let excess = output.len().saturating_sub(LONGEST_ALERT);
    let shown = error_page::Failure { title: &failure.summary, command: "", output: &output[excess..], outlook: "" };
    format!("{}\n\n{}", failure.summary, error_page::output_as_text(&shown)).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::{Browsers, LONGEST_ALERT, NEWS};
    use crate::dev::event::{Failure, News};
    use crate::dev::gate::{Change, Generation};
    use crate::dev::livereload::Build;
    use std::sync::Arc;
    use tokio::sync::broadcast::error::TryRecvError;

    fn reload(generation: u64) -> News {
        let build = Build { generation: Generation(generation), up: true };
        News::Reload { change: Change::Files, paths: Vec::new(), build }
    }

    fn failed(line: &[u8]) -> News {
        News::Alert(Arc::new(Failure {
            summary: "the build failed".into(),
            lines: vec![line.to_vec()],
            of_build: true,
        }))
    }

    #[test]
    fn one_who_comes_hears_what_there_is_and_then_each_change_once() {
        let browsers = Browsers::new("a".into());
        assert!(!browsers.join().first[0].contains("build"), "nothing is there yet");
        browsers.tell(&reload(1));
        let mut joined = browsers.join();
        assert_eq!(joined.first.len(), 1);
        assert!(joined.first[0].contains(r#""build":"a-1""#));
        assert_eq!(joined.news.try_recv(), Err(TryRecvError::Empty), "what was told before is not told again");
        browsers.tell(&reload(2));
        assert!(joined.news.try_recv().unwrap().contains(r#""build":"a-2""#));
        assert_eq!(joined.news.try_recv(), Err(TryRecvError::Empty));
    }

    #[test]
    fn a_failure_is_told_to_those_who_come_later_until_something_else_is_there() {
        let browsers = Browsers::new("a".into());
        browsers.tell(&reload(1));
        browsers.tell(&failed(b"\x1b[31merror\x1b[0m: x"));
        let joined = browsers.join();
        assert!(joined.first[0].contains(r#""build":"a-1""#), "the old one answers");
        assert!(joined.first[1].contains(r"the build failed\n\nerror: x"), "{:?}", joined.first);
        browsers.tell(&reload(3));
        assert_eq!(browsers.join().first.len(), 1);
    }

    #[test]
    fn an_alert_has_the_end_of_a_long_output() {
        let browsers = Browsers::new("a".into());
        browsers.tell(&failed(&[vec![b'x'; 3 * LONGEST_ALERT], b"the end".to_vec()].concat()));
        let alert = browsers.join().first[1].to_string();
        assert!(alert.len() < LONGEST_ALERT + 200 && alert.contains("the end"));
    }

    #[test]
    fn one_who_is_far_behind_loads_its_page_again() {
        let browsers = Browsers::new("a".into());
        let mut joined = browsers.join();
        for generation in 1..=NEWS as u64 + 1 {
            browsers.tell(&reload(generation));
        }
        assert_eq!(joined.news.try_recv(), Err(TryRecvError::Lagged(1)));
        let mut again = browsers.join_again();
        assert!(again.first[0].contains("reload") && again.first[0].contains(r#""build":"a-17""#));
        assert_eq!(again.news.try_recv(), Err(TryRecvError::Empty));
    }

    #[test]
    fn a_page_before_anything_was_there_is_known_as_such() {
        let browsers = Browsers::new("a".into());
        assert_eq!(browsers.id(None), "a-0");
        assert_eq!(browsers.id(Some(Build { generation: Generation(2), up: false })), "a-2-failed");
    }
}
