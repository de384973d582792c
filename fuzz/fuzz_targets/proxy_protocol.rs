//! Headers of the PROXY protocol: any bytes are read or refused, alike however they are cut, and what is read survives
//! being written.

#![no_main]

use libfuzzer_sys::fuzz_target;
use socket_protector::net::endpoint::ProxyVersion;
use socket_protector::net::proxy_protocol::{Header, HeaderError, Parser, Progress};

fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Result<(Header, usize), HeaderError> {
    let mut parser = Parser::new();
    let mut taken = 0;
    for piece in pieces {
        match parser.push(piece)? {
            Progress::More => taken += piece.len(),
            Progress::Done { header, used } => return Ok((header, taken + used)),
        }
    }
    Err(parser.ended())
}

fuzz_target!(|input: (usize, &[u8])| {
    let (size, bytes) = input;
    let whole = read(std::iter::once(bytes));
    assert_eq!(read(bytes.chunks(size.clamp(1, 300))), whole);
    if let Ok((header, _)) = whole {
        let written = header.to_bytes(ProxyVersion::V2);
        assert_eq!(read(std::iter::once(&written[..])), Ok((header, written.len())));
    }
});
