//! The frame decoder: any bytes, cut anywhere.

use bytes::Bytes;

use super::plan::Plan;
use crate::protocol::{
    MessageType,
    frame::{Frame, FrameDecoder, FrameError, HEADER_LEN, Limits, header},
    message::Incoming,
};

/// The largest payload that is taken, and the largest journal.
const LIMITS: [(usize, usize); 6] = [
    (0, 1 << 30),
    (16, 1 << 30),
    (300, 1 << 30),
    (64 << 20, 1 << 30),
    (u32::MAX as usize, usize::MAX),
    (300, 100),
];

/// `limit, cuts (length first), stream…`
///
/// - The frames are those of the stream, however it is cut; above the limits, the header is refused.
/// - What the decoder holds are the bytes that came and were not handed out, and its memory is about
///   theirs: a declared length costs nothing, and neither do pieces that are very small.
/// - A frame is a message or an error.
///
/// # Panics
///
/// If one of these does not hold.
pub fn frames(data: &[u8]) {
    let mut plan = Plan::new(data);
    let (incoming, journal) = *plan.choose(&LIMITS);
    let limits = Limits {
        incoming,
        journal,
        ..Limits::default()
    };
    let cuts = plan.cuts();
    let stream = plan.rest();
    let (expected, error) = model(stream, limits);

    let mut decoder = FrameDecoder::new(limits);
    let (mut decoded, mut refused) = (Vec::new(), None);
    let (mut pushed, mut taken) = (0, 0);
    'stream: for chunk in cuts.chunks(stream) {
        pushed += chunk.len();
        decoder.push(chunk);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => {
                    taken += HEADER_LEN + frame.payload.len();
                    decoded.push(frame);
                }
                Ok(None) => break,
                Err(error) => {
                    refused = Some(error);
                    break 'stream;
                }
            }
        }
        let (held, memory) = decoder.held();
        // The header of a frame that is not whole has been read.
        let waiting = pushed - taken;
        assert!(
            held == waiting || held + HEADER_LEN == waiting,
            "{held} of {waiting}"
        );
        assert!(memory <= 2 * held + 8192, "{memory} bytes for {held}");
    }
    assert_eq!(refused, error);
    assert_eq!(decoded, expected);
    for frame in decoded {
        let ty = frame.ty;
        match Incoming::decode(frame) {
            Ok(Incoming::Command(command, _)) => assert!(ty == command && ty.is_command()),
            Ok(_) => assert!(!ty.is_command()),
            Err(error) => assert!(error.to_string().contains(&ty.to_string())),
        }
    }
}

/// The frames of a stream, and why what follows is none.
fn model(mut stream: &[u8], limits: Limits) -> (Vec<Frame>, Option<FrameError>) {
    let (mut frames, mut journal) = (Vec::new(), 0);
    while let Some((head, rest)) = stream.split_first_chunk::<HEADER_LEN>() {
        let [high, low, f1, f2, l1, l2, l3, l4] = *head;
        let ty = MessageType(u16::from_be_bytes([high, low]));
        let length = u32::from_be_bytes([l1, l2, l3, l4]);
        if f1 & 0x7f == 0 && f2 == 0 {
            assert_eq!(
                &header(ty, f1 != 0, length),
                head,
                "a header is written as read"
            );
        }
        let length = length as usize;
        let limit = limits.incoming;
        if length > limit {
            return (frames, Some(FrameError::TooLarge { ty, length, limit }));
        }
        // What a journal is made of: Start, commands, notifications.
        if ty.0 == 0 || (0x0400..=0xfbff).contains(&ty.0) {
            journal += HEADER_LEN + length;
        }
        let limit = limits.journal;
        if journal > limit {
            return (frames, Some(FrameError::JournalTooLarge { limit }));
        }
        let Some((payload, rest)) = rest.split_at_checked(length) else {
            break;
        };
        let payload = Bytes::copy_from_slice(payload);
        frames.push(Frame { ty, payload });
        stream = rest;
    }
    (frames, None)
}
