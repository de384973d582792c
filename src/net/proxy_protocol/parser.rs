//! Reading a header that comes in pieces of any size.

use super::error::HeaderError;
use super::{Header, v1, v2};

/// Takes the bytes of a connection until its header is complete. Keeps at most the addresses: 232 bytes.
#[derive(Debug, Default)]
pub struct Parser {
    pub(super) kept: Vec<u8>,
    form: Form,
    /// What was skipped behind the addresses.
    skipped: usize,
}

/// What is known of the header so far.
#[derive(Debug, Clone, Copy, Default)]
enum Form {
    /// What came is how both versions begin, or how one of them does.
    #[default]
    Open,
    /// A line of text.
    Line,
    /// Version 2, up to its length.
    Fixed,
    /// Version 2, the part whose length the fixed part tells.
    Rest { shape: v2::Shape, left: u16 },
}

/// How far a header has come.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// All bytes were taken and there is more to come.
    More,
    /// The header is complete.
    Done {
        /// What it says.
        header: Header,
        /// How many of the last bytes belong to it; those behind are the client's own.
        used: usize,
    },
}

impl Parser {
    /// At the start of a connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes. After `Done` or an error the parser is spent.
    ///
    /// # Errors
    /// As soon as it is certain that this is no header.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Progress, HeaderError> {
        for (index, &byte) in bytes.iter().enumerate() {
            if let Some(header) = self.take(byte)? {
                return Ok(Progress::Done { header, used: index + 1 });
            }
        }
        Ok(Progress::More)
    }

    /// What to say when the connection ends, or its time is over, before the header is complete.
    pub fn ended(&self) -> HeaderError {
        HeaderError::Ended { received: self.kept.len() + self.skipped }
    }

    fn take(&mut self, byte: u8) -> Result<Option<Header>, HeaderError> {
        match self.form {
            Form::Open => {
                self.kept.push(byte);
                self.form = opened(&self.kept)?;
                Ok(None)
            }
            Form::Line => {
                self.kept.push(byte);
                v1::decode(&self.kept)
            }
            Form::Fixed => {
                self.kept.push(byte);
                match v2::shape(&self.kept)? {
                    None => Ok(None),
                    Some((shape, 0)) => Ok(Some(shape.decode(&[]))),
                    Some((shape, left)) => {
                        self.form = Form::Rest { shape, left };
                        Ok(None)
                    }
                }
            }
            Form::Rest { shape, left } => {
                if self.kept.len() < v2::FIXED + shape.needed() {
                    self.kept.push(byte);
                } else {
                    self.skipped += 1;
                }
                self.form = Form::Rest { shape, left: left - 1 };
                Ok((left == 1).then(|| shape.decode(&self.kept[v2::FIXED..])))
            }
        }
    }
}

/// The version that these first bytes belong to, if one can tell.
fn opened(kept: &[u8]) -> Result<Form, HeaderError> {
    match kept {
        v1::START => Ok(Form::Line),
        v2::SIGNATURE => Ok(Form::Fixed),
        _ if v1::START.starts_with(kept) || v2::SIGNATURE.starts_with(kept) => Ok(Form::Open),
        _ => Err(HeaderError::Absent),
    }
}
