//! zstd, within bounds: bytes in, bytes out, or why not.
//!
//! Decoder and encoder are written in Rust, so a function is built for Lambda's machines without a C
//! compiler for them. The encoder knows only the fastest level.

use std::io::Read as _;

use bytes::Bytes;
use ruzstd::decoding::StreamingDecoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

/// The content coding.
pub(super) const ZSTD: &str = "zstd";

/// A window that every decoder should allow. The server's have 2 MiB.
const COMMON_WINDOW: usize = 8 * 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub(super) enum UnpackError {
    #[error("cannot be unpacked: {0}")]
    Invalid(String),
    #[error("is larger than {0} bytes once unpacked (see `LambdaEndpoint::max_body_size`)")]
    TooLarge(usize),
}

/// Unpacks all frames of `packed`, to at most `limit` bytes.
pub(super) fn unpack(mut packed: &[u8], limit: usize) -> Result<Bytes, UnpackError> {
    let window = limit.max(COMMON_WINDOW);
    let mut unpacked = Vec::new();
    while !packed.is_empty() {
        let decoder = StreamingDecoder::new_with_max_window_size(&mut packed, window as u64)
            .map_err(|error| UnpackError::Invalid(error.to_string()))?;
        // One more than there may be, to see that there are more.
        let room = limit - unpacked.len();
        decoder
            .take((room as u64).saturating_add(1))
            .read_to_end(&mut unpacked)
            .map_err(|error| UnpackError::Invalid(error.to_string()))?;
        if unpacked.len() > limit {
            return Err(UnpackError::TooLarge(limit));
        }
    }
    Ok(unpacked.into())
}

pub(super) fn pack(bytes: &[u8]) -> Bytes {
    compress_to_vec(bytes, CompressionLevel::Fastest).into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One block of a single byte repeated, as often as a block may: 131,072 times in 4 bytes.
    fn bomb(blocks: usize) -> Vec<u8> {
        // Magic number, no checksum or size, a window of 2 MiB.
        let mut packed = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 11 << 3];
        for left in (0..blocks).rev() {
            let header = (131_072_u32 << 3) | (1 << 1) | u32::from(left == 0);
            packed.extend_from_slice(&header.to_le_bytes()[..3]);
            packed.push(b'!');
        }
        packed
    }

    #[test]
    fn what_is_packed_is_unpacked() {
        for len in [0, 1, 1000, 3_000_000] {
            let bytes: Vec<u8> = (0..len).map(|i: u32| (i % 251) as u8).collect();
            let packed = pack(&bytes);
            assert_eq!(unpack(&packed, bytes.len()).unwrap(), bytes);
            if len > 0 {
                let error = unpack(&packed, bytes.len() - 1).unwrap_err();
                assert!(matches!(error, UnpackError::TooLarge(_)), "{error}");
            }
        }
        // Two frames are one stream.
        let two = [pack(b"first, "), pack(b"second")].concat();
        assert_eq!(unpack(&two, 100).unwrap(), "first, second");
        assert_eq!(unpack(b"", 0).unwrap(), "");
    }

    #[test]
    fn a_bomb_is_given_up_at_the_limit() {
        assert_eq!(unpack(&bomb(3), 1 << 20).unwrap().len(), 3 * 131_072);
        // 13 GB in 400 kB.
        let error = unpack(&bomb(100_000), 1 << 20).unwrap_err();
        assert!(error.to_string().contains("larger than 1048576 bytes"));
        // A window of 2 GiB is announced, and nothing follows.
        let error = unpack(&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3], 1 << 20).unwrap_err();
        assert!(matches!(error, UnpackError::Invalid(_)), "{error}");
    }

    #[test]
    fn what_is_cut_off_is_no_frame() {
        let packed = pack(&b"durable ".repeat(1000));
        for len in 1..packed.len() {
            assert!(unpack(&packed[..len], 1 << 20).is_err(), "{len} bytes");
        }
    }

    proptest! {
        #[test]
        fn nonsense_is_an_error_or_within_the_limit(
            at in 0_usize..500,
            with in any::<[u8; 3]>(),
            text in "[a-d ]{50,400}",
        ) {
            let mut packed = pack(text.as_bytes()).to_vec();
            for (byte, with) in packed.iter_mut().skip(at % 60).zip(with) {
                *byte = with;
            }
            if let Ok(unpacked) = unpack(&packed, 4096) {
                prop_assert!(unpacked.len() <= 4096);
            }
        }
    }
}
