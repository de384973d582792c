//! The new process' side: it tries what it is told, takes everything in without touching it, and begins when it is told to.

use super::protocol::{New, NewDoes, NewHears};
use super::{Exchange, ExchangeError, Word};
use log::{error, warn};
use std::error::Error;

/// What a role does on its way to take over.
pub trait Arrival {
    /// Why it cannot.
    type Error: Error + From<ExchangeError> + 'static;

    /// The version of its plans.
    const SCHEMA: u32;

    /// What of it is an error of the stream.
    fn of_exchange(error: &Self::Error) -> Option<&ExchangeError>;

    /// Hears the plan, and sees whether it could be served. Nothing has been handed over.
    ///
    /// # Errors
    /// It could not.
    fn rehearse(&mut self, exchange: &mut Exchange) -> Result<(), Self::Error>;

    /// Hears the plan as it is now, and takes in all that belongs to it, and touches none of it.
    ///
    /// # Errors
    /// It cannot.
    fn take_in(&mut self, exchange: &mut Exchange) -> Result<(), Self::Error>;
}

/// Comes to where it is to begin: from here on it serves, whatever becomes of the other process. The stream is returned
/// for what the two have to say to each other later.
///
/// # Errors
/// What stood in the way. The other process knows, and goes on.
pub fn arrive<A: Arrival>(mut exchange: Exchange, arrival: &mut A) -> Result<Exchange, A::Error> {
    let mut stage = New::default();
    loop {
        let (heard, mut failure) = match hear(stage, &mut exchange, arrival) {
            Ok(heard) => (heard, None),
            Err(error) => {
                error!("cannot take over: {}", crate::chain(&error));
                (meaning(A::of_exchange(&error)), Some(error))
            }
        };
        for act in stage.on(heard) {
            let said = match act {
                NewDoes::SayReady => exchange.say(&Word::Ready(A::SCHEMA)),
                NewDoes::SayRegistered => exchange.say(&Word::Registered),
                // From here on we serve, whether the other one has heard this or not.
                NewDoes::SayTaken => {
                    let _ = exchange.say(&Word::Taken);
                    Ok(())
                }
                NewDoes::SayFailed => {
                    let why = failure.as_ref().map_or_else(String::new, |error| crate::chain(error));
                    exchange.say(&Word::Failed(why))
                }
                NewDoes::Serve => return Ok(exchange),
                NewDoes::Exit => return Err(failure.take().unwrap_or_else(|| ExchangeError::Unwanted.into())),
            };
            // Who has gone is heard of next.
            if let Err(error) = said {
                warn!("{}", crate::chain(&error));
            }
        }
    }
}

fn hear<A: Arrival>(stage: New, exchange: &mut Exchange, arrival: &mut A) -> Result<NewHears, A::Error> {
    exchange.wind();
    match stage {
        New::Rehearsing => arrival.rehearse(exchange).map(|()| NewHears::Plan),
        New::Waiting => arrival.take_in(exchange).map(|()| NewHears::Offer),
        New::Registered | New::Serving | New::Ended => match exchange.hear::<Word>()? {
            Word::Commit => Ok(NewHears::Commit),
            word => Err(ExchangeError::OutOfTurn(word).into()),
        },
    }
}

/// What it means that something was not heard, or came to nothing.
fn meaning(error: Option<&ExchangeError>) -> NewHears {
    match error {
        Some(
            ExchangeError::Lost(_) | ExchangeError::Late(_) | ExchangeError::Line(_) | ExchangeError::OutOfTurn(_),
        ) => NewHears::Lost,
        Some(_) | None => NewHears::Unable,
    }
}
