//! Metadata as Go programs with gobwas/graceful write it: a `map[string]interface{}` in the encoding of `encoding/gob`,
//! as far as that map needs it. Pure.
//!
//! Two gob messages, each with its length before it: the description of the map's type, which says by what number it is
//! called in this stream, then the value. Writing takes the number 65, the first that Go would take; reading takes the
//! one that is said. What Go calls int8, int32 and the like is read as [`Value::Int`], and so with uint and float.

use std::collections::BTreeMap;

/// A map of Go's. Strings of Go are bytes, of whatever encoding.
pub type Map = BTreeMap<Vec<u8>, Value>;

/// A value in the map.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// `nil`.
    Nil,
    /// `bool`.
    Bool(bool),
    /// `int`.
    Int(i64),
    /// `int64`.
    Int64(i64),
    /// `uint`.
    Uint(u64),
    /// `float64`.
    Float64(f64),
    /// `[]byte`.
    Bytes(Vec<u8>),
    /// `string`.
    String(Vec<u8>),
}

/// Why bytes are not such a map.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GobError {
    /// The bytes end too early, or a length within them points behind the end.
    #[error("the gob ends too early")]
    Short,
    /// Bytes behind the value, or behind a part of it.
    #[error("{0} bytes too many in the gob")]
    Surplus(usize),
    /// A number with more than eight bytes.
    #[error("a number in the gob is too big")]
    Number,
    /// It does not begin with the description of a map from strings to interfaces, or its value is of another type.
    #[error("the gob is no map from strings to values of any type")]
    NotTheMap,
    /// A value of a type that is none of those here.
    #[error("a value in the gob has the type {name:?}, number {id}")]
    Type {
        /// What Go calls it.
        name: String,
        /// Its number.
        id: i64,
    },
    /// A value that is not what its type allows.
    #[error("a value of type {name:?} in the gob is none")]
    Value {
        /// What Go calls the type.
        name: String,
    },
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::String(text.as_bytes().to_vec())
    }
}

/// The numbers of Go's own types, the same in every stream.
const BOOL: i64 = 1;
const INT: i64 = 2;
const UINT: i64 = 3;
const FLOAT: i64 = 4;
const BYTES: i64 = 5;
const STRING: i64 = 6;
const INTERFACE: i64 = 8;
/// The first number that is free for others.
const FIRST_FREE: i64 = 65;
/// What Go's library calls the type.
const NAME: &[u8] = b"Meta";
/// The field for maps in the description of a type; those before it are for arrays, slices and structures.
const MAP: i64 = 4;

/// Writes the map, its keys in ascending order.
pub fn encode(map: &Map) -> Vec<u8> {
    let mut description = Vec::new();
    write_int(&mut description, -FIRST_FREE);
    // Each field is told by its distance from the one before: here the map's, in it the name and the number of every
    // type, then the types of key and element. A zero ends a structure.
    description.push(MAP as u8);
    description.extend([1, 1]);
    write_bytes(&mut description, NAME);
    description.push(1);
    write_int(&mut description, FIRST_FREE);
    description.extend([0, 1]);
    write_int(&mut description, STRING);
    description.push(1);
    write_int(&mut description, INTERFACE);
    description.extend([0, 0]);

    let mut value = Vec::new();
    write_int(&mut value, FIRST_FREE);
    value.push(0);
    write_uint(&mut value, map.len() as u64);
    for (key, element) in map {
        write_bytes(&mut value, key);
        write_interface(&mut value, element);
    }
    let mut all = Vec::with_capacity(description.len() + value.len() + 10);
    write_bytes(&mut all, &description);
    write_bytes(&mut all, &value);
    all
}

fn write_interface(out: &mut Vec<u8>, value: &Value) {
    let mut inside = vec![0];
    let (name, id): (&str, i64) = match value {
        Value::Nil => return out.push(0),
        Value::Bool(value) => {
            write_uint(&mut inside, u64::from(*value));
            ("bool", BOOL)
        }
        Value::Int(value) => {
            write_int(&mut inside, *value);
            ("int", INT)
        }
        Value::Int64(value) => {
            write_int(&mut inside, *value);
            ("int64", INT)
        }
        Value::Uint(value) => {
            write_uint(&mut inside, *value);
            ("uint", UINT)
        }
        Value::Float64(value) => {
            // The exponent, which is seldom 0, comes last then, and short numbers stay short.
            write_uint(&mut inside, value.to_bits().swap_bytes());
            ("float64", FLOAT)
        }
        Value::Bytes(value) => {
            write_bytes(&mut inside, value);
            ("[]uint8", BYTES)
        }
        Value::String(value) => {
            write_bytes(&mut inside, value);
            ("string", STRING)
        }
    };
    write_bytes(out, name.as_bytes());
    write_int(out, id);
    write_bytes(out, &inside);
}

fn write_uint(out: &mut Vec<u8>, number: u64) {
    if number < 128 {
        return out.push(number as u8);
    }
    let bytes = number.to_be_bytes();
    let significant = &bytes[number.leading_zeros() as usize / 8..];
    out.push((significant.len() as u8).wrapping_neg());
    out.extend_from_slice(significant);
}

fn write_int(out: &mut Vec<u8>, number: i64) {
    // The sign goes to the lowest bit.
    write_uint(out, ((number << 1) ^ (number >> 63)) as u64);
}

fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    write_uint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads a map. Of a key that is there twice the last value counts.
pub fn decode(bytes: &[u8]) -> Result<Map, GobError> {
    let mut all = Reader(bytes);
    let id = described(all.bytes()?)?;
    let mut value = Reader(all.bytes()?);
    if value.int()? != id || value.uint()? != 0 {
        return Err(GobError::NotTheMap);
    }
    let mut map = Map::new();
    for _ in 0..value.uint()? {
        let key = value.bytes()?.to_vec();
        map.insert(key, value.interface()?);
    }
    value.end()?;
    all.end()?;
    Ok(map)
}

/// The number of the type that is described, if it is a map from strings to interfaces.
fn described(description: &[u8]) -> Result<i64, GobError> {
    let mut reader = Reader(description);
    let number = reader.int()?;
    if number >= 0 || reader.uint()? != MAP as u64 {
        return Err(GobError::NotTheMap);
    }
    let id = reader.map_type()?;
    if reader.uint()? != 0 || number.checked_neg() != Some(id) || id <= INTERFACE {
        return Err(GobError::NotTheMap);
    }
    reader.end()?;
    Ok(id)
}

/// What is still to be read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn uint(&mut self) -> Result<u64, GobError> {
        let (first, rest) = self.0.split_first().ok_or(GobError::Short)?;
        self.0 = rest;
        if *first < 128 {
            return Ok(u64::from(*first));
        }
        let length = usize::from(first.wrapping_neg());
        if length > size_of::<u64>() {
            return Err(GobError::Number);
        }
        let bytes = self.take(length)?;
        Ok(bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn int(&mut self) -> Result<i64, GobError> {
        let number = self.uint()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], GobError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(GobError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    /// Bytes with their length before them.
    fn bytes(&mut self) -> Result<&'a [u8], GobError> {
        let length = usize::try_from(self.uint()?).map_err(|_| GobError::Short)?;
        self.take(length)
    }

    fn end(&self) -> Result<(), GobError> {
        if self.0.is_empty() { Ok(()) } else { Err(GobError::Surplus(self.0.len())) }
    }

    /// The description of a map: what all types have (a name and a number), key, element.
    fn map_type(&mut self) -> Result<i64, GobError> {
        let (mut id, mut key, mut element) = (None, None, None);
        let mut field = 0;
        while let Some(next) = self.field(field)? {
            field = next;
            match field {
                1 => id = self.common_type()?,
                2 => key = Some(self.int()?),
                3 => element = Some(self.int()?),
                _ => return Err(GobError::NotTheMap),
            }
        }
        match (id, key, element) {
            (Some(id), Some(STRING), Some(INTERFACE)) => Ok(id),
            _ => Err(GobError::NotTheMap),
        }
    }

    fn common_type(&mut self) -> Result<Option<i64>, GobError> {
        let mut id = None;
        let mut field = 0;
        while let Some(next) = self.field(field)? {
            field = next;
            match field {
                1 => drop(self.bytes()?),
                2 => id = Some(self.int()?),
                _ => return Err(GobError::NotTheMap),
            }
        }
        Ok(id)
    }

    /// The next field of a structure after this one; none at its end.
    fn field(&mut self, last: u64) -> Result<Option<u64>, GobError> {
        match self.uint()? {
            0 => Ok(None),
            distance => Ok(Some(last.saturating_add(distance))),
        }
    }

    fn interface(&mut self) -> Result<Value, GobError> {
        let name = self.bytes()?;
        if name.is_empty() {
            return Ok(Value::Nil);
        }
        let name = || String::from_utf8_lossy(name).into_owned();
        let id = self.int()?;
        let mut inside = Reader(self.bytes()?);
        if inside.uint()? != 0 {
            return Err(GobError::Value { name: name() });
        }
        let value = match id {
            BOOL => match inside.uint()? {
                0 => Value::Bool(false),
                1 => Value::Bool(true),
                _ => return Err(GobError::Value { name: name() }),
            },
            INT if name() == "int64" => Value::Int64(inside.int()?),
            INT => Value::Int(inside.int()?),
            UINT => Value::Uint(inside.uint()?),
            FLOAT => Value::Float64(f64::from_bits(inside.uint()?.swap_bytes())),
            BYTES => Value::Bytes(inside.bytes()?.to_vec()),
            STRING => Value::String(inside.bytes()?.to_vec()),
            _ => return Err(GobError::Type { name: name(), id }),
        };
        inside.end()?;
        Ok(value)
    }
}

#[cfg(test)]
mod tests;
