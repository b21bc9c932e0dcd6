//! A record that a handler could not take, on its way to the handler of dead letters.
//!
//! In: the record, its bytes, and the error. Out: a send whose body is the record's value, byte by
//! byte, and whose headers are those of the record and what went wrong; and at the other end a
//! [`DeadLetter`] made of them.

use bytes::Bytes;

use super::{KafkaEventBuilder, KafkaRecord};
use crate::context::{Context, Request, Target};
use crate::error::TerminalError;
use crate::payload::{FromInput, Headers, Input, Raw};

const SERVICE: &str = "durably.dead-letter.service";
/// Of the object or workflow; without it, the handler is a service's.
const OBJECT_KEY: &str = "durably.dead-letter.key";
const HANDLER: &str = "durably.dead-letter.handler";
const INVOCATION: &str = "durably.dead-letter.invocation";
const CODE: &str = "durably.dead-letter.code";
const ERROR: &str = "durably.dead-letter.error";
/// Only where the input could not be decoded.
const UNDECODABLE: &str = "durably.dead-letter.undecodable";

/// So much of an error's text is kept. A record may be as large as a message, and its error too.
const MAX_ERROR: usize = 8 * 1024;

/// A Kafka record that a handler could not decode, or finally failed on: the input of the handler that a
/// [`KafkaPolicy`](crate::KafkaPolicy) sends such records to.
///
/// The value and the key are the bytes of the record; how it was meant to be read plays no part.
///
/// # Examples
///
/// A virtual object keeps what failed, here one for each topic, until somebody looks at it:
///
/// ```
/// use durably::prelude::*;
/// use durably::{DeadLetter, Raw};
///
/// struct Orders;
///
/// #[durably::object]
/// impl Orders {
///     #[handler(kafka(dead_letter = "DeadLetters/orders/record"))]
///     async fn on_event(&self, _ctx: &ObjectContext, event: KafkaEvent<u64>) -> HandlerResult<()> {
///         match event.into_value() {
///             Some(0) => Err(TerminalError::new("zero is no order").into()),
///             _ => Ok(()),
///         }
///     }
/// }
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Failed { partition: i32, offset: i64, why: String }
///
/// struct DeadLetters;
///
/// #[durably::object]
/// impl DeadLetters {
///     #[handler]
///     async fn record(&self, ctx: &ObjectContext, letter: DeadLetter) -> HandlerResult<()> {
///         let mut failed = ctx.get::<Vec<Failed>>("failed").await?.unwrap_or_default();
///         failed.push(Failed {
///             partition: letter.record.partition,
///             offset: letter.record.offset,
///             why: format!("{}: {}", letter.handler, letter.error),
///         });
///         ctx.set("failed", &failed);
///         Ok(())
///     }
/// }
///
/// # #[cfg(feature = "testing")] {
/// # use durably::testing::TestRuntime;
/// # let endpoint = Endpoint::builder().bind(Orders).bind(DeadLetters).build()?;
/// let mut runtime = TestRuntime::new(endpoint);
/// runtime.subscribe("orders", "Orders/on_event");
/// runtime.produce("orders", "ada", &0);
/// runtime.produce_raw("orders", Some(b"ada"), "no number");
/// runtime.run_until_idle();
///
/// let failed: Vec<Failed> = runtime.state("DeadLetters", "orders", "failed").unwrap_or_default();
/// assert_eq!(failed[0].why, "Orders/ada/on_event: zero is no order");
/// assert_eq!(failed[1].offset, 1);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// Where the record stood, and its key.
    pub record: KafkaRecord,
    /// The record's value; of a tombstone, empty.
    pub value: Bytes,
    /// The handler that could not take it.
    pub handler: Target,
    /// The invocation that failed.
    pub invocation_id: String,
    /// What it failed with: code and message, the latter cut at 8 KiB. Metadata are not kept.
    pub error: TerminalError,
    /// The input could not be decoded: no line of the handler ran.
    pub undecodable: bool,
}

impl DeadLetter {
    /// A request that gives the record to its handler once more, as the same record: for when the handler
    /// has been repaired. It is a new invocation, behind all that came for its key since.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{DeadLetter, prelude::*};
    ///
    /// struct DeadLetters;
    ///
    /// #[durably::service]
    /// impl DeadLetters {
    ///     /// Gives each record a second chance, a day later.
    ///     #[handler]
    ///     async fn record(&self, ctx: &Context, letter: DeadLetter) -> HandlerResult<()> {
    ///         letter.resend(ctx).send_after(Duration::from_secs(24 * 60 * 60));
    ///         Ok(())
    ///     }
    /// }
    /// ```
    pub fn resend<'a>(&self, ctx: &'a Context) -> Request<'a, Raw, Raw> {
        request(ctx, &self.handler, &self.record, &self.value)
    }

    /// A record that no invocation was made of: its key is no key for the handler.
    #[cfg(feature = "local-kafka")]
    pub(crate) fn of_unreadable(
        record: KafkaRecord,
        value: Bytes,
        service: &str,
        handler: &str,
        error: TerminalError,
    ) -> Self {
        Self {
            record,
            value,
            handler: Target::service(service.to_owned(), handler.to_owned()),
            invocation_id: String::new(),
            error,
            undecodable: true,
        }
    }

    /// All headers: those of the record, and what went wrong.
    #[cfg(feature = "local-kafka")]
    pub(crate) fn to_headers(&self) -> Headers {
        let own = self.own_headers().into_iter();
        let own = own.map(|(name, value)| (name.to_owned(), value));
        self.record.to_headers().into_iter().chain(own).collect()
    }

    /// What went wrong.
    fn own_headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = vec![
            (SERVICE, self.handler.service_name().to_owned()),
            (HANDLER, self.handler.handler_name().to_owned()),
            (INVOCATION, self.invocation_id.clone()),
            (CODE, self.error.code().to_string()),
            (ERROR, cut(self.error.message()).to_owned()),
        ];
        if let Some(key) = self.handler.key() {
            headers.push((OBJECT_KEY, key.to_owned()));
        }
        if self.undecodable {
            headers.push((UNDECODABLE, "true".to_owned()));
        }
        headers
    }
}

impl KafkaEventBuilder<Raw> {
    /// Makes the record into a dead letter, for tests of the handler that receives those: one that the
    /// handler failed on.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{KafkaEvent, Raw, Target, TerminalError};
    ///
    /// let record = KafkaEvent::builder(Raw::from("no JSON")).topic("orders").offset(42);
    /// let error = TerminalError::new("expected value at line 1").with_code(400);
    /// let letter = record.dead_letter(Target::object("Orders", "ada", "on_event"), error);
    /// assert_eq!((letter.record.offset, &letter.value[..]), (42, &b"no JSON"[..]));
    /// ```
    #[must_use]
    pub fn dead_letter(self, handler: Target, error: TerminalError) -> DeadLetter {
        DeadLetter {
            record: self.record,
            value: self.value.map(|Raw(value)| value).unwrap_or_default(),
            handler,
            invocation_id: "inv_1dead".to_owned(),
            error,
            undecodable: false,
        }
    }
}

impl FromInput for DeadLetter {
    type Body = Raw;
    const CONTENT_TYPE: &'static str = <Raw as FromInput>::CONTENT_TYPE;
    // A tombstone's body is empty.
    const REQUIRED: bool = false;

    fn from_input(input: Input) -> Result<Self, TerminalError> {
        let (headers, value) = input.into_parts();
        let required = |name: &str| {
            headers.get(name).map(str::to_owned).ok_or_else(|| {
                let what = "this is no dead letter of a Kafka record";
                TerminalError::new(format_args!("{what}: header {name} is missing")).with_code(400)
            })
        };
        let (service, handler) = (required(SERVICE)?, required(HANDLER)?);
        let error = TerminalError::new(required(ERROR)?);
        let code = headers.get(CODE).and_then(|code| code.parse().ok());
        let record = KafkaRecord::from_headers(&headers)?;
        Ok(Self {
            record: match record {
                Some(record) => record,
                None => return Err(required(super::TOPIC).err().unwrap_or(error)),
            },
            value,
            handler: match headers.get(OBJECT_KEY) {
                Some(key) => Target::object(service, key, handler),
                None => Target::service(service, handler),
            },
            invocation_id: required(INVOCATION)?,
            error: match code {
                Some(code) => error.with_code(code),
                None => error,
            },
            undecodable: headers.get(UNDECODABLE).is_some(),
        })
    }
}

/// Whether these are the headers of a dead letter.
pub(super) fn is_one(headers: &Headers) -> bool {
    headers.get(HANDLER).is_some()
}

/// Sends a record to the handler of dead letters.
pub(super) fn send(ctx: &Context, target: &Target, letter: &DeadLetter) {
    let request = request(ctx, target, &letter.record, &letter.value).name("dead letter");
    let headers = letter.own_headers().into_iter();
    let request = headers.fold(request, |request, (name, value)| {
        request.header(name, value)
    });
    request.send();
}

/// A request with the record's bytes, and the headers that describe it.
fn request<'a>(
    ctx: &'a Context,
    target: &Target,
    record: &KafkaRecord,
    value: &Bytes,
) -> Request<'a, Raw, Raw> {
    let request = Request::new(ctx, target.clone(), Raw(value.clone()));
    let headers = record.to_headers();
    headers.into_iter().fold(request, |request, (name, value)| {
        request.header(name, value)
    })
}

fn cut(message: &str) -> &str {
    message
        .get(..message.floor_char_boundary(MAX_ERROR))
        .unwrap_or_default()
}
