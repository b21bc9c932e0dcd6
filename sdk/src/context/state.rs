//! State: values under keys, of a virtual object or a workflow.

use std::{borrow::Cow, fmt, marker::PhantomData};

use super::{
    ObjectContext, SharedObjectContext, SharedWorkflowContext, WorkflowContext,
    awakeable::encode,
    future::{self, DurableFuture, unexpected},
};
use crate::{
    error::{BoxError, TerminalError},
    executor::Cell,
    journal::{Command, Journal},
    payload::{Decode, Encode},
    protocol::message::{NotificationResult, StateKeys},
};

/// A key of the state that knows the type of its value.
///
/// # Examples
///
/// ```
/// use durably::{StateKey, prelude::*};
///
/// const SEEN: StateKey<u64> = StateKey::new("seen");
///
/// async fn count(ctx: &ObjectContext) -> HandlerResult<u64> {
///     let seen = ctx.get(SEEN).await?.unwrap_or_default() + 1;
///     ctx.set(SEEN, &seen);
///     Ok(seen)
/// }
/// ```
pub struct StateKey<T: ?Sized> {
    name: Cow<'static, str>,
    marker: PhantomData<fn(&T)>,
}

impl<T: ?Sized> StateKey<T> {
    /// A key with a fixed name.
    ///
    /// # Examples
    ///
    /// See [`StateKey`].
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self {
            name: Cow::Borrowed(name),
            marker: PhantomData,
        }
    }

    /// A key with a name that is made at run time.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::StateKey;
    /// let key: StateKey<u64> = StateKey::owned(format!("seen-{}", 7));
    /// assert_eq!(key.name(), "seen-7");
    /// ```
    #[must_use]
    pub fn owned(name: String) -> Self {
        Self {
            name: Cow::Owned(name),
            marker: PhantomData,
        }
    }

    /// The name under which the value is stored.
    ///
    /// # Examples
    ///
    /// See [`StateKey::owned`].
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl<T: ?Sized> fmt::Debug for StateKey<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StateKey").field(&self.name).finish()
    }
}

impl<T: ?Sized> AsRef<str> for StateKey<T> {
    fn as_ref(&self) -> &str {
        &self.name
    }
}

impl<T: ?Sized> Clone for StateKey<T> {
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            marker: PhantomData,
        }
    }
}

/// What can name a value of type `T` in the state: text, for any type, or a [`StateKey`] of it.
///
/// # Examples
///
/// ```
/// use durably::{Key, StateKey};
///
/// fn name_of(key: impl Key<u64>) -> String {
///     key.name().to_owned()
/// }
/// assert_eq!(name_of("seen"), name_of(StateKey::new("seen")));
/// ```
pub trait Key<T: ?Sized> {
    /// The name under which the value is stored.
    ///
    /// # Examples
    ///
    /// See [`Key`].
    fn name(&self) -> &str;
}

impl<T: ?Sized> Key<T> for &str {
    fn name(&self) -> &str {
        self
    }
}

impl<T: ?Sized> Key<T> for String {
    fn name(&self) -> &str {
        self
    }
}

impl<T: ?Sized> Key<T> for &String {
    fn name(&self) -> &str {
        self
    }
}

impl<T: ?Sized> Key<T> for StateKey<T> {
    fn name(&self) -> &str {
        &self.name
    }
}

impl<T: ?Sized> Key<T> for &StateKey<T> {
    fn name(&self) -> &str {
        &self.name
    }
}

fn get<'a, T: Decode>(cell: &'a Cell, key: &str) -> DurableFuture<'a, Option<T>> {
    let leaf = cell.issue_read(|journal| journal.issue_get_state(key));
    DurableFuture::new(cell, leaf, future::optional)
}

fn get_keys(cell: &Cell) -> DurableFuture<'_, Vec<String>> {
    let leaf = cell.issue_read(Journal::issue_get_state_keys);
    DurableFuture::new(cell, leaf, decode_keys)
}

fn decode_keys(
    _: &Cell,
    result: NotificationResult,
) -> Result<Result<Vec<String>, TerminalError>, BoxError> {
    match result {
        NotificationResult::StateKeys(keys) => sorted(keys).map(Ok),
        other => Err(unexpected(&other)),
    }
}

/// Keys are bytes on the wire and UTF-8 here. Those of an eager read are sorted already; the server
/// (1.7.12) answers a lazy one in no order that means anything.
fn sorted(keys: StateKeys) -> Result<Vec<String>, BoxError> {
    let mut keys = keys
        .keys
        .into_iter()
        .map(|key| {
            String::from_utf8(key.to_vec())
                .map_err(|error| format!("a state key is not UTF-8: {error}"))
        })
        .collect::<Result<Vec<_>, _>>()?;
    keys.sort_unstable();
    Ok(keys)
}

fn set<T: Encode + ?Sized>(cell: &Cell, key: &str, value: &T) {
    if let Some(value) = encode(cell, value, || format!("the value for state key `{key}`")) {
        cell.issue(
            Command::SetState {
                key,
                value: &value,
                stable: T::STABLE,
            },
            "",
        );
    }
}

macro_rules! state_reads {
    ($context:ident) => {
        impl $context {
            /// Reads a value of the state; `None` if the key is not set.
            ///
            /// # Journal
            ///
            /// A state read, one completion id. It is answered at once if the runtime sent the
            /// state along.
            ///
            /// # Examples
            ///
            /// ```
            /// use durably::prelude::*;
            ///
            #[doc = concat!("async fn seen(ctx: &", stringify!($context), ") -> HandlerResult<u64> {")]
            ///     Ok(ctx.get::<u64>("seen").await?.unwrap_or_default())
            /// }
            /// ```
            pub fn get<T: Decode>(&self, key: impl Key<T>) -> DurableFuture<'_, Option<T>> {
                get(self.cell(), key.name())
            }

            /// All keys of the state, sorted.
            ///
            /// # Journal
            ///
            /// A read of the state keys, one completion id.
            ///
            /// # Examples
            ///
            /// ```
            /// use durably::prelude::*;
            ///
            #[doc = concat!("async fn keys(ctx: &", stringify!($context), ") -> HandlerResult<Vec<String>> {")]
            ///     Ok(ctx.get_keys().await?)
            /// }
            /// ```
            pub fn get_keys(&self) -> DurableFuture<'_, Vec<String>> {
                get_keys(self.cell())
            }
        }
    };
}

macro_rules! state_writes {
    ($context:ident) => {
        impl $context {
            /// Sets a value of the state. A value that cannot be encoded ends the attempt.
            ///
            /// # Journal
            ///
            /// A SetState command, no completion id. On replay the bytes are compared: put types
            /// that serialize differently each time, such as a `HashMap`, into
            /// [`Unstable`](crate::Unstable).
            ///
            /// # Examples
            ///
            /// ```
            /// use durably::prelude::*;
            ///
            #[doc = concat!("async fn mark(ctx: &", stringify!($context), ") -> HandlerResult<()> {")]
            ///     ctx.set("status", "ready");
            ///     Ok(())
            /// }
            /// ```
            pub fn set<T: Encode + ?Sized>(&self, key: impl Key<T>, value: &T) {
                set(self.cell(), key.name(), value);
            }

            /// Clears a key of the state.
            ///
            /// # Examples
            ///
            /// ```
            /// use durably::prelude::*;
            ///
            #[doc = concat!("async fn forget(ctx: &", stringify!($context), ") -> HandlerResult<()> {")]
            ///     ctx.clear("status");
            ///     Ok(())
            /// }
            /// ```
            pub fn clear(&self, key: impl AsRef<str>) {
                self.cell().issue(Command::ClearState { key: key.as_ref() }, "");
            }

            /// Clears all keys of the state.
            ///
            /// # Examples
            ///
            /// ```
            /// use durably::prelude::*;
            ///
            #[doc = concat!("async fn forget_all(ctx: &", stringify!($context), ") -> HandlerResult<()> {")]
            ///     ctx.clear_all();
            ///     Ok(())
            /// }
            /// ```
            pub fn clear_all(&self) {
                self.cell().issue(Command::ClearAllState, "");
            }
        }
    };
}

state_reads!(SharedObjectContext);
state_reads!(SharedWorkflowContext);
state_writes!(ObjectContext);
state_writes!(WorkflowContext);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted_whatever_their_order() {
        let keys = ["text", "total", "a"].map(bytes::Bytes::from).to_vec();
        assert_eq!(sorted(StateKeys { keys }).unwrap(), ["a", "text", "total"]);
        let keys = vec![bytes::Bytes::from_static(b"\xFF")];
        assert!(sorted(StateKeys { keys }).is_err());
    }
}
