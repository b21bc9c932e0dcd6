//! JSON for every `serde` type: one pass in the ordinary case, a second one only to explain an error.

use std::cell::Cell;
use std::error::Error;
use std::fmt;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Decode, Encode, unit};
use crate::error::BoxError;

const JSON: &str = "application/json";

#[diagnostic::do_not_recommend]
impl<T: Serialize + ?Sized> Encode for T {
    const CONTENT_TYPE: &'static str = JSON;
    const STABLE: bool = true;

    fn encode(&self) -> Result<Bytes, BoxError> {
        let mut json = SCRATCH.try_with(Cell::take).unwrap_or_default();
        json.clear();
        serde_json::to_writer(&mut json, self)?;
        if json.len() > KEPT {
            return Ok(json.into());
        }
        // A unit is an empty body. `None`, NaN and `Value::Null` are `null` too, but have a size.
        let body = if size_of_val(self) == 0 && json == b"null" {
            Bytes::new()
        } else {
            Bytes::copy_from_slice(&json)
        };
        // Nobody sees it but the next value that is written here.
        let _ = SCRATCH.try_with(|scratch| scratch.set(json));
        Ok(body)
    }
}

/// A buffer of up to this many bytes is kept for the next value.
const KEPT: usize = 16 * 1024;

thread_local! {
    /// What a value is written to: its length is known only afterwards, and a body of just that length
    /// is one allocation, where a growing one is several. A value that writes another one within its own
    /// serialization finds it taken, and gets a new one.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

#[diagnostic::do_not_recommend]
impl<T: DeserializeOwned> Decode for T {
    const CONTENT_TYPE: &'static str = JSON;
    // Of the types that unit values have, this knows all that a manifest is likely to meet.
    const REQUIRED: bool = size_of::<T>() != 0;

    fn decode(bytes: Bytes) -> Result<Self, BoxError> {
        if bytes.is_empty() {
            return Ok(unit::from_empty_body()?);
        }
        serde_json::from_slice(&bytes).or_else(|cause| match unit::from_ignored_body() {
            Some(unit) => Ok(unit),
            None => Err(explain::<T>(&bytes, cause).into()),
        })
    }
}

/// Decodes once more, now keeping track of the path. This costs, so only a failure pays for it.
fn explain<T: DeserializeOwned>(bytes: &[u8], cause: serde_json::Error) -> JsonError {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
        Err(error) => {
            let path = error.path();
            let path = path.iter().next().map(|_| path.to_string());
            JsonError {
                path,
                cause: error.into_inner(),
            }
        }
        // The value was fine and something follows it.
        Ok(_) => JsonError { path: None, cause },
    }
}

/// Why and where a body is not the JSON of a type.
#[derive(Debug)]
struct JsonError {
    /// `None`: it concerns the value as a whole.
    path: Option<String>,
    cause: serde_json::Error,
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.path {
            write!(f, "`{path}`: ")?;
        }
        // The cause is part of this text, hence not a `source()` as well.
        self.cause.fmt(f)
    }
}

impl Error for JsonError {}
