//! The runtime's side of the wire: messages to an attempt are encoded, what an attempt says is decoded.
//!
//! In flows what a runtime wants to say (`Start`, recorded entries, notifications, acks) and out come
//! frames; in flow the bytes of a response and out come [`Outgoing`] messages. It is written from the
//! protocol and shares with the library only the structs of incoming messages, so that a mistake in
//! the encoder does not cancel itself out.

mod decode;
mod messages;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderValue, Method, Request, Uri, header};
use prost::Message as _;

pub(crate) use self::{
    decode::{Awaited, CommandMessage, Outgoing, OutgoingDecoder},
    messages::*,
};
use crate::protocol::{
    MessageType, ProtocolVersion,
    message::{Notification, NotificationId, NotificationResult},
};

/// The signal that cancels an invocation.
pub(crate) const CANCEL: u32 = 1;
/// The first signal id of an awakeable.
pub(crate) const FIRST_AWAKEABLE: u32 = 17;

/// A message on its way to the SDK, or an entry of a stored journal.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Msg {
    pub(crate) ty: MessageType,
    pub(crate) payload: Bytes,
}

impl Msg {
    pub(crate) fn new(ty: MessageType, message: &impl prost::Message) -> Self {
        Self::raw(ty, message.encode_to_vec())
    }

    pub(crate) fn raw(ty: MessageType, payload: impl Into<Bytes>) -> Self {
        let payload = payload.into();
        Self { ty, payload }
    }

    /// A notification; `ty` is the completion's, or SIGNAL.
    pub(crate) fn notification(
        ty: MessageType,
        id: NotificationId,
        result: NotificationResult,
    ) -> Self {
        let message = Notification {
            id: Some(id),
            result: Some(result),
        };
        Self::new(ty, &message)
    }

    /// The ack of a run's proposal (v7).
    pub(crate) fn run_ack(id: u32) -> Self {
        Self::new(MessageType::RUN_ACK, &Ack { id })
    }

    /// What a notification says; `None` for anything else.
    pub(crate) fn as_notification(&self) -> Option<Notification> {
        if !self.ty.is_notification() {
            return None;
        }
        Notification::decode(self.payload.clone()).ok()
    }

    pub(crate) fn write(&self, buffer: &mut BytesMut) {
        buffer.reserve(8 + self.payload.len());
        buffer.put_u16(self.ty.0);
        buffer.put_u16(0);
        // A payload is never near 4 GiB: messages are limited to far less.
        buffer.put_u32(u32::try_from(self.payload.len()).unwrap_or(u32::MAX));
        buffer.put_slice(&self.payload);
    }

    pub(crate) fn frame(&self) -> Bytes {
        let mut bytes = BytesMut::new();
        self.write(&mut bytes);
        bytes.freeze()
    }
}

/// The request of an attempt at an invocation.
pub(crate) fn invoke<B>(
    version: ProtocolVersion,
    service: &str,
    handler: &str,
    id: &str,
    body: B,
) -> Request<B> {
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    // Names of services and handlers hold nothing that a path cannot; those that do are nobody's, and the
    // endpoint says so.
    let path = format!("/invoke/{service}/{handler}");
    *request.uri_mut() = Uri::try_from(path).unwrap_or_default();
    let headers = request.headers_mut();
    let content_type = HeaderValue::from_static(version.content_type());
    headers.insert(header::ACCEPT, content_type.clone());
    headers.insert(header::CONTENT_TYPE, content_type);
    if let Ok(id) = HeaderValue::try_from(id) {
        headers.insert("x-restate-invocation-id", id);
    }
    request
}

/// The notification that completes a command of this type, and the one for its invocation id.
pub(crate) fn completion_type(command: MessageType) -> MessageType {
    match command {
        MessageType::GET_LAZY_STATE => MessageType::LAZY_STATE_COMPLETION,
        MessageType::GET_LAZY_STATE_KEYS => MessageType::LAZY_STATE_KEYS_COMPLETION,
        MessageType::GET_PROMISE => MessageType::GET_PROMISE_COMPLETION,
        MessageType::PEEK_PROMISE => MessageType::PEEK_PROMISE_COMPLETION,
        MessageType::COMPLETE_PROMISE => MessageType::COMPLETE_PROMISE_COMPLETION,
        MessageType::SLEEP => MessageType::SLEEP_COMPLETION,
        MessageType::ONE_WAY_CALL => MessageType::CALL_INVOCATION_ID,
        MessageType::RUN => MessageType::RUN_COMPLETION,
        MessageType::ATTACH_INVOCATION => MessageType::ATTACH_COMPLETION,
        MessageType::GET_INVOCATION_OUTPUT => MessageType::OUTPUT_COMPLETION,
        _ => MessageType::CALL_COMPLETION,
    }
}
