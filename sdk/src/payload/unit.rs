//! Finds out whether a type is a unit (`()`, unit structs, newtypes of them), which is read from an
//! empty body, or from any other.
//!
//! There is no specialisation in Rust, and a size of zero is not enough (`enum One { A }` is `"A"`
//! in JSON). So a probe asks the type's own `serde` implementation: a deserializer that knows
//! nothing but units. It allocates only to explain an error.

use std::cell::Cell;
use std::fmt;

use serde::de::{self, DeserializeOwned, Deserializer, Expected, Visitor};

/// The unit value of a type that takes one; for all others an error that says what is expected.
pub(super) fn from_empty_body<T: DeserializeOwned>() -> Result<T, EmptyBody> {
    T::deserialize(UnitDeserializer {
        asked: &Cell::new(false),
    })
}

/// The unit value of a type that asks for one and nothing else.
///
/// A lenient implementation may swallow errors and come up with a default: that is no unit, and
/// must not hide that the body was malformed.
pub(super) fn from_ignored_body<T: DeserializeOwned>() -> Option<T> {
    let asked = Cell::new(false);
    T::deserialize(UnitDeserializer { asked: &asked })
        .ok()
        .filter(|_| asked.get())
}

/// An empty body where a value was expected.
#[derive(Debug)]
pub(super) enum EmptyBody {
    Expected(String),
    Custom(String),
}

impl fmt::Display for EmptyBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expected(expected) => write!(f, "the body is empty; expected {expected}"),
            Self::Custom(message) => write!(f, "the body is empty: {message}"),
        }
    }
}

impl std::error::Error for EmptyBody {}

impl de::Error for EmptyBody {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Custom(message.to_string())
    }
}

struct UnitDeserializer<'a> {
    /// Set when the type asked for a unit.
    asked: &'a Cell<bool>,
}

impl<'de> Deserializer<'de> for UnitDeserializer<'_> {
    type Error = EmptyBody;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, EmptyBody> {
        Err(EmptyBody::Expected((&visitor as &dyn Expected).to_string()))
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, EmptyBody> {
        self.asked.set(true);
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, EmptyBody> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, EmptyBody> {
        visitor.visit_newtype_struct(self)
    }

    // Takes whatever there is, so nothing as well.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, EmptyBody> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        seq tuple tuple_struct map struct enum identifier
    }
}
