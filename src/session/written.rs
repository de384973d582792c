//! Sessions as bytes, for the process that takes over from this one. Pure.
//!
//! A value is written as its parts in their order, numbers from their highest byte on, and an enum as a byte that says
//! which of its variants follows. Times are written as what they are from now, so that they mean the same in a process whose
//! clock begins elsewhere. What is read may come from another version of this program: whatever is not exactly as it is
//! written here is refused, and nothing is had for a length before its bytes are there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// Changes with every change of what is written.
pub const FORM: u8 = 2;

/// No number of ours comes so far, and none of them can overflow by being counted on from below.
const MOST: u64 = 1 << 62;

/// Room that is kept behind a secret for what is written after it.
const ROOM: usize = 4 * 1024;

/// Why bytes are not what this version writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// Another version has written them.
    #[error("it is written in form {0}, and this program reads form {FORM}")]
    Form(u8),
    /// They end too early.
    #[error("it ends too early")]
    Short,
    /// They go on behind the end.
    #[error("{0} bytes follow its end")]
    Long(usize),
    /// A value that is never written.
    #[error("{what} cannot be {value}")]
    Value {
        /// Whose value.
        what: &'static str,
        /// Which.
        value: u64,
    },
    /// Values that do not fit together.
    #[error("{0} cannot be so")]
    Unfit(&'static str),
}

/// Bytes that grow.
#[derive(Debug)]
pub struct Writer {
    bytes: Vec<u8>,
    now: Instant,
}

impl Writer {
    /// Writes at this time.
    pub fn new(now: Instant) -> Self {
        Writer { bytes: vec![FORM], now }
    }

    /// As they are.
    pub fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// As they are, and so that no copy of them is left elsewhere when there is no room for more.
    pub fn put_secret(&mut self, bytes: &[u8]) {
        self.bytes.reserve(bytes.len() + ROOM);
        self.put(bytes);
    }

    /// With their number before them; in two parts.
    pub fn put_counted(&mut self, (front, back): (&[u8], &[u8])) {
        ((front.len() + back.len()) as u64).write(self);
        self.put(front);
        self.put(back);
    }

    /// All that was written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Bytes that are read from their front.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    now: Instant,
}

impl<'a> Reader<'a> {
    /// Reads at this time.
    ///
    /// # Errors
    /// They are of another version.
    pub fn new(bytes: &'a [u8], now: Instant) -> Result<Self, FormError> {
        match bytes.split_first() {
            Some((&FORM, bytes)) => Ok(Reader { bytes, now }),
            Some((other, _)) => Err(FormError::Form(*other)),
            None => Err(FormError::Short),
        }
    }

    /// The next ones.
    ///
    /// # Errors
    /// There are fewer.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], FormError> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or(FormError::Short)?;
        self.bytes = rest;
        Ok(taken)
    }

    /// As many as their number says.
    ///
    /// # Errors
    /// There are fewer.
    pub fn take_counted(&mut self) -> Result<&'a [u8], FormError> {
        let count = u64::read(self)?;
        self.take(usize::try_from(count).map_err(|_| FormError::Short)?)
    }

    /// That was all.
    ///
    /// # Errors
    /// It was not.
    pub fn end(self) -> Result<(), FormError> {
        if self.bytes.is_empty() { Ok(()) } else { Err(FormError::Long(self.bytes.len())) }
    }
}

/// Can be written and read back.
pub trait Form: Sized {
    /// Appends it.
    fn write(&self, to: &mut Writer);

    /// Takes it off the front.
    ///
    /// # Errors
    /// What is there is not one.
    fn read(from: &mut Reader<'_>) -> Result<Self, FormError>;
}

/// Reads and writes a struct by the names of its fields, all of them.
macro_rules! form_of_struct {
    ($name:ty { $($field:ident),+ $(,)? }) => {
        impl $crate::session::written::Form for $name {
            fn write(&self, to: &mut $crate::session::written::Writer) {
                let Self { $($field),+ } = self;
                $($crate::session::written::Form::write($field, to);)+
            }

            fn read(
                from: &mut $crate::session::written::Reader<'_>,
            ) -> Result<Self, $crate::session::written::FormError> {
                $(let $field = $crate::session::written::Form::read(from)?;)+
                Ok(Self { $($field),+ })
            }
        }
    };
}
pub(crate) use form_of_struct;

/// Reads and writes an enum by a number for each variant, all of them.
macro_rules! form_of_enum {
    ($name:ident { $($tag:literal => $variant:ident $(($($part:ident),+))? $({$($field:ident),+})?),+ $(,)? }) => {
        impl $crate::session::written::Form for $name {
            fn write(&self, to: &mut $crate::session::written::Writer) {
                match self {
                    $(Self::$variant $(($($part),+))? $({$($field),+})? => {
                        to.put(&[$tag]);
                        $($($crate::session::written::Form::write($part, to);)+)?
                        $($($crate::session::written::Form::write($field, to);)+)?
                    })+
                }
            }

            fn read(
                from: &mut $crate::session::written::Reader<'_>,
            ) -> Result<Self, $crate::session::written::FormError> {
                match <u8 as $crate::session::written::Form>::read(from)? {
                    $($tag => {
                        $($(let $part = $crate::session::written::Form::read(from)?;)+)?
                        $($(let $field = $crate::session::written::Form::read(from)?;)+)?
                        Ok(Self::$variant $(($($part),+))? $({$($field),+})?)
                    })+
                    other => Err($crate::session::written::FormError::Value {
                        what: stringify!($name),
                        value: other.into(),
                    }),
                }
            }
        }
    };
}
pub(crate) use form_of_enum;

/// Numbers by their bytes.
macro_rules! form_of_number {
    ($($number:ty),+) => {
        $(impl Form for $number {
            fn write(&self, to: &mut Writer) {
                to.put(&self.to_be_bytes());
            }

            fn read(from: &mut Reader<'_>) -> Result<Self, FormError> {
                Form::read(from).map(<$number>::from_be_bytes)
            }
        })+
    };
}
form_of_number!(u8, u16, u32);

impl Form for u64 {
    fn write(&self, to: &mut Writer) {
        to.put(&self.to_be_bytes());
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, FormError> {
        let value = Form::read(from).map(u64::from_be_bytes)?;
        if value < MOST { Ok(value) } else { Err(FormError::Value { what: "a number", value }) }
    }
}

impl Form for usize {
    fn write(&self, to: &mut Writer) {
        (*self as u64).write(to);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, FormError> {
        let value = u64::read(from)?;
        usize::try_from(value).map_err(|_| FormError::Value { what: "a number", value })
    }
}

impl Form for bool {
    fn write(&self, to: &mut Writer) {
        to.put(&[u8::from(*self)]);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, FormError> {
        match u8::read(from)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(FormError::Value { what: "yes or no", value: other.into() }),
        }
    }
}

impl<const SIZE: usize> Form for [u8; SIZE] {
    fn write(&self, to: &mut Writer) {
        to.put(self);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, FormError> {
        from.take(SIZE)?.try_into().map_err(|_| FormError::Short)
    }
}

impl Form for Vec<u8> {
    fn write(&self, to: &mut Writer) {
        to.put_counted((self, &[]));
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, FormError> {
        from.take_counted().map(<[u8]>::to_vec)
    }
}

impl Form for String {
    fn write(&self, to: &mut Writer) {
        to.put_counted((self.as_bytes(), &[]));
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, FormError> {
        String::from_utf8(Vec::read(from)?).map_err(|_| FormError::Unfit("a text"))
    }
}

impl<T: Form> Form for Option<T> {
    fn write(&self, to: &mut Writer) {
        self.is_some().write(to);
        if let Some(value) = self {
            value.write(to);
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, FormError> {
        if bool::read(from)? { T::read(from).map(Some) } else { Ok(None) }
    }
}

impl<A: Form, B: Form> Form for (A, B) {
    fn write(&self, to: &mut Writer) {
        self.0.write(to);
        self.1.write(to);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, FormError> {
        Ok((A::read(from)?, B::read(from)?))
    }
}

impl Form for Duration {
    fn write(&self, to: &mut Writer) {
        u64::try_from(self.as_nanos()).unwrap_or(MOST).min(MOST - 1).write(to);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, FormError> {
        u64::read(from).map(Duration::from_nanos)
    }
}

/// How long ago it was, or how long it is until then.
impl Form for Instant {
    fn write(&self, to: &mut Writer) {
        let (ago, until) = (to.now.checked_duration_since(*self), self.saturating_duration_since(to.now));
        ago.is_some().write(to);
        ago.unwrap_or(until).write(to);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, FormError> {
        let (ago, time) = <(bool, Duration)>::read(from)?;
        if !ago && time.is_zero() {
            return Err(FormError::Unfit("a time"));
        }
        let at = if ago { from.now.checked_sub(time) } else { from.now.checked_add(time) };
        // Before this machine's clock began nothing can have been that matters.
        at.or(ago.then_some(from.now)).ok_or(FormError::Unfit("a time"))
    }
}

impl Form for IpAddr {
    fn write(&self, to: &mut Writer) {
        match self {
            IpAddr::V4(address) => {
                to.put(&[4]);
                address.octets().write(to);
            }
            IpAddr::V6(address) => {
                to.put(&[6]);
                address.octets().write(to);
            }
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, FormError> {
        match u8::read(from)? {
            4 => <[u8; 4]>::read(from).map(|octets| Ipv4Addr::from(octets).into()),
            6 => <[u8; 16]>::read(from).map(|octets| Ipv6Addr::from(octets).into()),
            other => Err(FormError::Value { what: "an address", value: other.into() }),
        }
    }
}
