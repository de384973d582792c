//! Whatever comes from another process instead of sessions, telnet and clients is refused, or it can be used as one and is
//! written as it was read.

#![no_main]

use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use socket_protector::session::frame::Decoder;
use socket_protector::session::sessions::{Limits, Sessions};
use socket_protector::session::state::{Input, Policy, Session};
use socket_protector::session::telnet::{Received, Telnet};
use socket_protector::session::written::{Form, FormError, Reader, Writer};

fuzz_target!(|bytes: &[u8]| {
    let now = Instant::now();
    let whole = |read: &dyn Fn(&mut Reader<'_>) -> Result<(), FormError>| {
        let _ = Reader::new(bytes, now).and_then(|mut from| read(&mut from));
    };
    whole(&|from| {
        let policy = Policy::default();
        let mut session = Session::read(from, &policy, policy.allowance)?;
        let mut to = Writer::new(now);
        session.write(&mut to);
        let again = to.into_bytes();
        assert_eq!(bytes[..again.len()], again[..]);
        let (mut actions, mut out) = (Vec::new(), Vec::new());
        for connection in session.connections().collect::<Vec<_>>() {
            session.transmit(connection, 4096, &mut out);
        }
        session.on(now, Input::Output(b"output"), &mut actions);
        if let Some(deadline) = session.deadline() {
            session.on(deadline, Input::Deadline, &mut actions);
        }
        session.on(now, Input::Eof, &mut actions);
        Ok(())
    });
    whole(&|from| {
        let mut telnet = Telnet::read(from)?;
        telnet.receive(b"\xff\xfd\x1f\xff\xfa\x18\x01\xff\xf0\r\0", &mut Received::default());
        telnet.send(b"\r\n\xff", &mut Vec::new());
        Ok(())
    });
    whole(&|from| {
        let mut decoder = Decoder::read(from)?;
        decoder.feed(bytes);
        while let Ok(Some(_)) = decoder.frame() {}
        Ok(())
    });
    if let Ok(mut sessions) = Sessions::<u8>::read((bytes, now), [0; 32], Policy::default(), Limits::default()) {
        let _ = Reader::new(bytes, now).and_then(|mut from| sessions.read_one(&mut from));
    }
});
