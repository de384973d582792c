//! The bodies that pass: of a request, which may have to be sent a second time, and of an answer, with whose end the request
//! is done.

use super::ticket::Ticket;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::HeaderMap;
use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Sleep;

/// So much of a request's body is kept for a second server.
const KEPT: usize = 64 * 1024;
/// So long a body waits for the server to ask for it, if it said that it would wait (RFC 9110, 10.1.1).
const EXPECT: Duration = Duration::from_secs(1);

/// Any error of a body.
pub(super) type BodyError = Box<dyn Error + Send + Sync>;
/// What is sent to clients.
pub(super) type Body = UnsyncBoxBody<Bytes, BodyError>;

/// A body of these bytes.
pub(super) fn whole(bytes: impl Into<Bytes>) -> Body {
    http_body_util::Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A body that the server of a former attempt reads on.
#[derive(Debug)]
struct Stale;

impl fmt::Display for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request goes to another server")
    }
}

impl Error for Stale {}

#[derive(Clone, Debug)]
enum Piece {
    Bytes(Bytes),
    Trailers(HeaderMap),
}

#[derive(Debug)]
struct Inner<B> {
    body: B,
    hint: SizeHint,
    kept: Vec<Piece>,
    size: usize,
    /// All that has come so far is kept.
    whole: bool,
    /// Who reads it: the last attempt.
    attempt: u64,
    /// The answer is over: a body that the server has not asked for will not be wanted.
    answered: bool,
    waker: Option<Waker>,
}

/// The body of a request, as it comes from the client.
#[derive(Debug)]
pub(super) struct Source<B>(Arc<Mutex<Inner<B>>>);

impl<B: HttpBody<Data = Bytes> + Unpin> Source<B> {
    pub(super) fn new(body: B) -> Self {
        let hint = body.size_hint();
        let (kept, size, whole, attempt) = (Vec::new(), 0, true, 0);
        let inner = Inner { body, hint, kept, size, whole, attempt, answered: false, waker: None };
        Source(Arc::new(Mutex::new(inner)))
    }

    /// Whether it could be sent again from its beginning.
    pub(super) fn is_kept(&self) -> bool {
        lock(&self.0).whole
    }

    /// Whether it is short enough to be kept once all of it has come.
    pub(super) fn will_be_kept(&self) -> bool {
        lock(&self.0).hint.exact().is_some_and(|length| length <= KEPT as u64)
    }

    /// The body from its beginning, as far as it is kept, for the next attempt. A former one gets no more.
    pub(super) fn send(&self, expected: Option<oneshot::Receiver<()>>) -> Sending<B> {
        let mut inner = lock(&self.0);
        inner.attempt += 1;
        let wait = expected.map(|asked| Wait::Asked(asked, Box::pin(tokio::time::sleep(EXPECT))));
        Sending { inner: Arc::clone(&self.0), attempt: inner.attempt, at: 0, wait }
    }
}

fn lock<B>(inner: &Mutex<Inner<B>>) -> MutexGuard<'_, Inner<B>> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The body of one attempt.
pub(super) struct Sending<B> {
    inner: Arc<Mutex<Inner<B>>>,
    attempt: u64,
    at: usize,
    wait: Option<Wait>,
}

/// Why a body is not sent yet.
enum Wait {
    /// It is sent when the server asks for it, or when this time has come.
    Asked(oneshot::Receiver<()>, Pin<Box<Sleep>>),
    /// The server has answered without it. Nothing of it may be sent, and its end must not be told.
    Unwanted,
}

impl<B> Sending<B> {
    /// Whether it may be sent.
    fn poll_wait(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        loop {
            match &mut self.wait {
                None => return Poll::Ready(Ok(())),
                Some(Wait::Asked(asked, time)) => match Pin::new(asked).poll(context) {
                    Poll::Ready(Ok(())) => self.wait = None,
                    Poll::Ready(Err(_)) => self.wait = Some(Wait::Unwanted),
                    Poll::Pending => {
                        std::task::ready!(time.as_mut().poll(context));
                        self.wait = None;
                    }
                },
                Some(Wait::Unwanted) => {
                    let mut inner = lock(&self.inner);
                    if inner.answered {
                        return Poll::Ready(Err(Stale.into()));
                    }
                    inner.waker = Some(context.waker().clone());
                    return Poll::Pending;
                }
            }
        }
    }
}

impl<B> HttpBody for Sending<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<BodyError>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Err(error) = std::task::ready!(this.poll_wait(context)) {
            return Poll::Ready(Some(Err(error)));
        }
        let mut inner = lock(&this.inner);
        if inner.attempt != this.attempt {
            return Poll::Ready(Some(Err(Stale.into())));
        }
        if let Some(piece) = inner.kept.get(this.at) {
            this.at += 1;
            return Poll::Ready(Some(Ok(match piece.clone() {
                Piece::Bytes(bytes) => Frame::data(bytes),
                Piece::Trailers(trailers) => Frame::trailers(trailers),
            })));
        }
        let frame = match std::task::ready!(Pin::new(&mut inner.body).poll_frame(context)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                // What is kept is not all of it.
                inner.whole = false;
                return Poll::Ready(Some(Err(error.into())));
            }
            None => return Poll::Ready(None),
        };
        inner.keep(&frame);
        this.at += 1;
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        let inner = lock(&self.inner);
        self.at >= inner.kept.len() && inner.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        lock(&self.inner).hint
    }
}

impl<B> Inner<B> {
    fn keep(&mut self, frame: &Frame<Bytes>) {
        if !self.whole {
            return;
        }
        self.size += frame.data_ref().map_or(0, Bytes::len);
        if self.size > KEPT {
            self.whole = false;
            self.kept = Vec::new();
        } else if let Some(bytes) = frame.data_ref() {
            self.kept.push(Piece::Bytes(bytes.clone()));
        } else if let Some(trailers) = frame.trailers_ref() {
            self.kept.push(Piece::Trailers(trailers.clone()));
        }
    }
}

/// The body of an answer. With its end, or when the client leaves, the request is done.
pub(super) struct Answering<B, R> {
    body: B,
    request: Source<R>,
    _ticket: Ticket,
}

impl<B, R> Answering<B, R> {
    pub(super) fn new(body: B, request: Source<R>, ticket: Ticket) -> Self {
        Answering { body, request, _ticket: ticket }
    }
}

impl<B, R> Drop for Answering<B, R> {
    fn drop(&mut self) {
        let mut inner = lock(&self.request.0);
        inner.answered = true;
        if let Some(waker) = inner.waker.take() {
            waker.wake();
        }
    }
}

impl<B, R> HttpBody for Answering<B, R>
where
    R: Unpin,
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<BodyError>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.body).poll_frame(context).map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::{KEPT, Source};
    use bytes::Bytes;
    use http_body::Body as _;
    use http_body_util::{BodyExt, StreamBody};
    use hyper::body::Frame;
    use std::convert::Infallible;

    fn stream(pieces: &[usize]) -> impl http_body::Body<Data = Bytes, Error = Infallible> + Unpin {
        let pieces = pieces.iter().map(|size| Ok(Frame::data(Bytes::from(vec![b'x'; *size])))).collect::<Vec<_>>();
        StreamBody::new(futures_util::stream::iter(pieces))
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
    }

    #[test]
    fn a_small_body_is_sent_again_from_its_beginning() {
        run(async {
            let source = Source::new(stream(&[10, 20, 30]));
            let mut first = source.send(None);
            assert_eq!(first.frame().await.unwrap().unwrap().into_data().unwrap().len(), 10);
            let second = source.send(None);
            assert!(first.frame().await.unwrap().is_err(), "a former attempt gets no more");
            assert!(source.is_kept());
            assert_eq!(second.collect().await.unwrap().to_bytes().len(), 60);
            assert_eq!(source.send(None).collect().await.unwrap().to_bytes().len(), 60);
        });
    }

    #[test]
    fn a_large_body_is_not_kept() {
        run(async {
            let source = Source::new(stream(&[KEPT, 1, 1]));
            let mut first = source.send(None);
            first.frame().await.unwrap().unwrap();
            assert!(source.is_kept());
            assert_eq!(first.collect().await.unwrap().to_bytes().len(), 2);
            assert!(!source.is_kept());
        });
    }

    #[test]
    fn an_expected_body_waits_until_it_is_asked_for() {
        run(async {
            let source = Source::new(stream(&[1]));
            let (ask, asked) = tokio::sync::oneshot::channel();
            let mut body = source.send(Some(asked));
            assert!(!body.is_end_stream());
            assert!(futures_util::FutureExt::now_or_never(body.frame()).is_none());
            ask.send(()).unwrap();
            assert!(futures_util::FutureExt::now_or_never(body.frame()).is_some());
            // One that was answered without it gets nothing of it.
            let source = Source::new(stream(&[1]));
            let (ask, asked) = tokio::sync::oneshot::channel();
            let mut body = source.send(Some(asked));
            drop(ask);
            assert!(futures_util::FutureExt::now_or_never(body.frame()).is_none());
            super::lock(&source.0).answered = true;
            assert!(body.frame().await.unwrap().is_err());
        });
    }
}
