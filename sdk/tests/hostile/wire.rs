//! Bytes on the wire, written by hand so that they can be wrong: messages of the service protocol and
//! frames of HTTP/2.

/// The version that requests speak unless they say otherwise.
pub(crate) const V7: &str = "application/vnd.restate.invocation.v7";

/// Message types of the service protocol.
pub(crate) const START: u16 = 0x0000;
pub(crate) const SUSPENSION: u16 = 0x0001;
pub(crate) const ERROR: u16 = 0x0002;
pub(crate) const END: u16 = 0x0003;
pub(crate) const COMMAND_ACK: u16 = 0x0004;
pub(crate) const PROPOSE_RUN: u16 = 0x0005;
pub(crate) const RUN_ACK: u16 = 0x0007;
pub(crate) const INPUT: u16 = 0x0400;
pub(crate) const OUTPUT: u16 = 0x0401;
pub(crate) const SET_STATE: u16 = 0x0403;
pub(crate) const SLEEP: u16 = 0x040C;
pub(crate) const CALL: u16 = 0x040D;
pub(crate) const RUN: u16 = 0x0411;
pub(crate) const SLEEP_COMPLETION: u16 = 0x800C;
pub(crate) const CALL_COMPLETION: u16 = 0x800D;
pub(crate) const CALL_ID: u16 = 0x800E;
pub(crate) const RUN_COMPLETION: u16 = 0x8011;
pub(crate) const SIGNAL: u16 = 0xFBFF;

/// A message: its header and its payload.
pub(crate) fn message(ty: u16, payload: &[u8]) -> Vec<u8> {
    let mut message = header(ty, u32::try_from(payload.len()).unwrap());
    message.extend_from_slice(payload);
    message
}

/// The header of a message that announces this length.
pub(crate) fn header(ty: u16, length: u32) -> Vec<u8> {
    (u64::from(ty) << 48 | u64::from(length))
        .to_be_bytes()
        .to_vec()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A protobuf field that is a number.
pub(crate) fn number(tag: u32, value: u64) -> Vec<u8> {
    [varint(u64::from(tag) << 3), varint(value)].concat()
}

/// A protobuf field that is bytes, text or a message.
pub(crate) fn bytes(tag: u32, value: impl AsRef<[u8]>) -> Vec<u8> {
    let value = value.as_ref();
    let head = [varint(u64::from(tag) << 3 | 2), varint(value.len() as u64)].concat();
    [&head[..], value].concat()
}

/// Start with this many known entries, a complete and empty state and the key `key`.
pub(crate) fn start(known_entries: u64) -> Vec<u8> {
    let fields = [
        bytes(1, [7; 24]),
        bytes(2, "inv_1hostile"),
        number(3, known_entries),
        bytes(6, "key"),
    ];
    message(START, &fields.concat())
}

/// Input with this value.
pub(crate) fn input(value: impl AsRef<[u8]>) -> Vec<u8> {
    message(INPUT, &bytes(14, bytes(1, value)))
}

/// The journal of a new invocation.
pub(crate) fn journal(value: impl AsRef<[u8]>) -> Vec<u8> {
    [start(1), input(value)].concat()
}

/// A completion without a value.
pub(crate) fn void(ty: u16, id: u64) -> Vec<u8> {
    message(ty, &[number(1, id), bytes(4, [])].concat())
}

/// A completion with a value.
pub(crate) fn value(ty: u16, id: u64, value: &str) -> Vec<u8> {
    message(ty, &[number(1, id), bytes(5, bytes(1, value))].concat())
}

/// A message of a response.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Message {
    pub(crate) ty: u16,
    pub(crate) payload: Vec<u8>,
}

impl Message {
    pub(crate) fn is_terminator(&self) -> bool {
        matches!(self.ty, SUSPENSION | ERROR | END)
    }
}

/// The whole messages at the front of a response's body, and the length of what remains.
pub(crate) fn messages(mut body: &[u8]) -> (Vec<Message>, usize) {
    let mut messages = Vec::new();
    while let Some((header, rest)) = body.split_first_chunk::<8>() {
        let header = u64::from_be_bytes(*header);
        let length = (header & 0xFFFF_FFFF) as usize;
        let Some(payload) = rest.get(..length) else {
            break;
        };
        messages.push(Message {
            ty: (header >> 48) as u16,
            payload: payload.to_vec(),
        });
        body = &rest[length..];
    }
    (messages, body.len())
}

/// Whether a response's body holds what ends an attempt.
pub(crate) fn has_ended(body: &[u8]) -> bool {
    messages(body).0.iter().any(Message::is_terminator)
}

/// The messages of a whole body, of which exactly the last ends the attempt.
#[track_caller]
pub(crate) fn ended(body: &[u8]) -> Vec<Message> {
    let (messages, rest) = messages(body);
    assert_eq!(rest, 0, "an unfinished message: {messages:?}");
    let ends = messages.iter().filter(|message| message.is_terminator());
    assert_eq!(ends.count(), 1, "{messages:?}");
    assert!(messages.last().unwrap().is_terminator(), "{messages:?}");
    messages
}

#[derive(Clone, PartialEq, prost::Message)]
struct ErrorMessage {
    #[prost(uint32, tag = "1")]
    code: u32,
    #[prost(string, tag = "2")]
    text: String,
}

/// The code and the text of the Error that ends a body.
#[track_caller]
pub(crate) fn error(body: &[u8]) -> (u32, String) {
    let messages = ended(body);
    let last = messages.last().unwrap();
    assert_eq!(last.ty, ERROR, "{messages:?}");
    let error: ErrorMessage = prost::Message::decode(&last.payload[..]).unwrap();
    (error.code, error.text)
}

/// The value in the Output of a body that ends with End.
#[track_caller]
pub(crate) fn output(body: &[u8]) -> String {
    let messages = ended(body);
    assert_eq!(messages.last().unwrap().ty, END, "{messages:?}");
    let output = messages.iter().find(|message| message.ty == OUTPUT);
    // Value is field 14, its content field 1, both with lengths below 128 here.
    let payload = &output.unwrap().payload;
    assert_eq!((payload[0], payload[2]), (14 << 3 | 2, 1 << 3 | 2));
    String::from_utf8(payload[4..4 + usize::from(payload[3])].to_vec()).unwrap()
}

/// Frames of HTTP/2, for what no client library sends.
pub(crate) mod raw {
    pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const RST_STREAM: u8 = 3;
    pub(crate) const SETTINGS: u8 = 4;
    pub(crate) const PING: u8 = 6;
    pub(crate) const GOAWAY: u8 = 7;
    pub(crate) const WINDOW_UPDATE: u8 = 8;
    pub(crate) const CONTINUATION: u8 = 9;

    pub(crate) const END_STREAM: u8 = 1;
    pub(crate) const ACK: u8 = 1;
    pub(crate) const END_HEADERS: u8 = 4;

    pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend_from_slice(payload);
        frame
    }

    /// The preface and SETTINGS with an initial window, then as much for the connection.
    pub(crate) fn hello(window: u32) -> Vec<u8> {
        let mut settings = 4_u16.to_be_bytes().to_vec();
        settings.extend(window.to_be_bytes());
        let more = window - 65_535;
        [
            PREFACE.to_vec(),
            frame(SETTINGS, 0, 0, &settings),
            frame(WINDOW_UPDATE, 0, 0, &more.to_be_bytes()),
        ]
        .concat()
    }

    /// A field as HPACK, a literal that is never indexed.
    pub(crate) fn field(name: &str, value: &str) -> Vec<u8> {
        let mut field = vec![0];
        for text in [name, value] {
            // A prefix of 7 bits, then groups of 7.
            if text.len() < 127 {
                field.push(text.len() as u8);
            } else {
                field.push(127);
                let mut rest = text.len() - 127;
                while rest >= 128 {
                    field.push(rest as u8 | 128);
                    rest >>= 7;
                }
                field.push(rest as u8);
            }
            field.extend(text.as_bytes());
        }
        field
    }

    /// The fields of an invocation.
    pub(crate) fn invoke(path: &str) -> Vec<u8> {
        [
            field(":method", "POST"),
            field(":scheme", "http"),
            field(":authority", "localhost"),
            field(":path", path),
            field("content-type", super::V7),
        ]
        .concat()
    }

    /// The frames of an invocation whose request goes on.
    pub(crate) fn request(stream: u32, path: &str, body: &[u8]) -> Vec<u8> {
        [
            frame(HEADERS, END_HEADERS, stream, &invoke(path)),
            frame(DATA, 0, stream, body),
        ]
        .concat()
    }
}
