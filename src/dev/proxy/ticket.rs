//! A request as the gate knows it: it comes, may be lost by its server, and is done when this is dropped.

use crate::dev::event::{Event, Inbox, Verdict};
use crate::dev::gate::Request;
use tokio::sync::oneshot;

/// One request.
#[derive(Debug)]
pub(super) struct Ticket {
    request: Request,
    inbox: Inbox,
}

impl Ticket {
    /// Asks where it goes. None: there is nobody to ask any more.
    pub(super) async fn ask(request: Request, inbox: Inbox) -> (Ticket, Option<Verdict>) {
        let ticket = Ticket { request, inbox };
        let verdict = ticket.verdict(Event::Came).await;
        (ticket, verdict)
    }

    /// Its server has not answered: asks where else it goes.
    pub(super) async fn lost(&self, may_replay: bool) -> Option<Verdict> {
        self.verdict(|request, reply| Event::Lost(request, may_replay, reply)).await
    }

    async fn verdict(&self, event: impl FnOnce(Request, oneshot::Sender<Verdict>) -> Event) -> Option<Verdict> {
        let (reply, verdict) = oneshot::channel();
        self.inbox.send(event(self.request, reply)).ok()?;
        verdict.await.ok()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let _ = self.inbox.send(Event::Done(self.request));
    }
}
