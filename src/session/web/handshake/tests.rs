use super::{Attached, Handshake, Pair, Step, Want};
use crate::session::client_state::Breach;
use crate::session::credential::{BootId, Mac, Nonce, Secret, SessionId, Transcript};
use crate::session::frame::{Accept, Decoder, Destination, Frame, Hello, Mode, Refusal};
use std::sync::Arc;

pub(in crate::session::web) fn hello() -> Hello {
    Hello {
        version: 1,
        boot: BootId([0xb0; 16]),
        nonce: Nonce([0x5e; 32]),
        max_payload: 16_384,
        window: 256 * 1024,
        heartbeat: 15,
        ttl: 3600,
    }
}

pub(in crate::session::web) fn pair() -> Arc<Pair> {
    Arc::new(Pair { id: SessionId([0x1d; 16]), secret: Secret::new([7; 32]) })
}

/// An ACCEPT with nothing in it.
pub(in crate::session::web) fn accept() -> Accept {
    Accept {
        id: SessionId([0x1d; 16]),
        epoch: 2,
        input_next: 0,
        output_base: 0,
        output_next: 0,
        destination: Destination::Open,
        input_ended: false,
        output_ended: false,
        expires: 3600,
        secret: None,
        mac: Mac([0; 32]),
    }
}

fn said() -> Transcript {
    Transcript { version: 1, boot: BootId([0xb0; 16]), server: Nonce([0x5e; 32]), client: Nonce([0xc1; 32]) }
}

/// The same with the proof of a server that knows this secret.
fn signed(mut accept: Accept, secret: &Secret) -> Accept {
    let mut proved = Vec::new();
    accept.proved(&mut proved);
    accept.mac = secret.key().accept(&said(), &proved);
    accept
}

fn begun(want: Want) -> (Handshake, Vec<u8>) {
    let mut handshake = Handshake::new(want, Nonce([0xc1; 32]));
    let mut out = Vec::new();
    assert!(matches!(handshake.hear(Frame::Hello(hello()), &mut out), Ok(Step::Wait)));
    (handshake, out)
}

fn resume() -> Want {
    Want::Resume { pair: pair(), mode: Mode::Steal, next: 4096 }
}

fn attached(step: Result<Step, Breach>) -> Attached {
    match step {
        Ok(Step::Attached(attached)) => *attached,
        other => panic!("not attached: {other:?}"),
    }
}

#[test]
fn a_session_is_resumed_with_a_proof_and_without_its_secret() {
    let (mut handshake, out) = begun(resume());
    let mut decoder = Decoder::new();
    decoder.feed(&out);
    let Some(Frame::Resume(said_first)) = decoder.frame().unwrap() else { panic!("no RESUME") };
    assert_eq!(said_first.mac, pair().secret.key().resume(&said(), pair().id, 4096, Mode::Steal.code()));
    assert_eq!((said_first.boot_seen, said_first.next), (hello().boot, 4096));
    assert!(!out.windows(32).any(|bytes| bytes == [7; 32]));
    let answer = Frame::Accept(signed(accept(), &pair().secret));
    let attached = attached(handshake.hear(answer, &mut Vec::new()));
    assert_eq!((attached.accept.epoch, attached.terms.longest, attached.new.is_none()), (2, 16_376, true));
}

#[test]
fn a_new_session_comes_with_its_secret_and_the_proof_to_confirm_it() {
    let (mut handshake, out) = begun(Want::New { ttl: 60 });
    let mut decoder = Decoder::new();
    decoder.feed(&out);
    assert!(matches!(decoder.frame().unwrap(), Some(Frame::New(new)) if new.ttl == 60));
    let secret = Secret::new([9; 32]);
    let answer = signed(Accept { secret: Some(Secret::new([9; 32])), ..accept() }, &secret);
    let attached = attached(handshake.hear(Frame::Accept(answer), &mut Vec::new()));
    let (pair, confirm) = attached.new.unwrap();
    assert!(pair.secret == secret && attached.accept.secret.is_none());
    assert_eq!(confirm, secret.key().confirm(&said(), pair.id));
}

#[test]
fn a_server_that_does_not_know_the_secret_is_not_believed() {
    let wrong = [
        (resume(), signed(accept(), &Secret::new([8; 32]))),
        (resume(), signed(Accept { id: SessionId([0; 16]), ..accept() }, &pair().secret)),
        (resume(), signed(Accept { secret: Some(Secret::new([7; 32])), ..accept() }, &pair().secret)),
        (Want::New { ttl: 0 }, signed(accept(), &pair().secret)),
        (Want::New { ttl: 0 }, signed(Accept { secret: Some(Secret::new([9; 32])), ..accept() }, &pair().secret)),
    ];
    for (want, accept) in wrong {
        let (mut handshake, _) = begun(want);
        assert!(matches!(handshake.hear(Frame::Accept(accept), &mut Vec::new()), Err(Breach::Proof)));
    }
}

#[test]
fn what_is_refused_is_told_before_and_after_the_greeting() {
    let mut fresh = Handshake::new(resume(), Nonce([0xc1; 32]));
    let version = Refusal::Version { least: 2, most: 3 };
    assert!(
        matches!(fresh.hear(Frame::Reject(version), &mut Vec::new()), Ok(Step::Refused(refusal)) if refusal == version)
    );
    let (mut handshake, _) = begun(resume());
    assert!(matches!(
        handshake.hear(Frame::Reject(Refusal::Denied), &mut Vec::new()),
        Ok(Step::Refused(Refusal::Denied))
    ));
}

#[test]
fn words_out_of_order_are_a_breach() {
    let mut fresh = Handshake::new(resume(), Nonce([0xc1; 32]));
    let early = Frame::Accept(signed(accept(), &pair().secret));
    assert!(matches!(fresh.hear(early, &mut Vec::new()), Err(Breach::Order)));
    let (mut handshake, _) = begun(resume());
    assert!(matches!(handshake.hear(Frame::Hello(hello()), &mut Vec::new()), Err(Breach::Order)));
    for hello in [Hello { version: 2, ..hello() }, Hello { max_payload: 8, ..hello() }] {
        let mut fresh = Handshake::new(resume(), Nonce([0xc1; 32]));
        assert!(matches!(fresh.hear(Frame::Hello(hello), &mut Vec::new()), Err(Breach::Hello)));
    }
}
