//! The digits of ids, as the server reads them: base 62 of invocations, base64 of awakeables.

use base64::{DecodeError, Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

/// A number of base 62, if it has no more than 128 bits.
pub(crate) fn base_62(digits: &str) -> Option<u128> {
    digits.bytes().try_fold(0_u128, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'z' => digit - b'a' + 10,
            b'A'..=b'Z' => digit - b'A' + 36,
            _ => return None,
        };
        number.checked_mul(62)?.checked_add(u128::from(value))
    })
}

/// What stands behind the `sign_1` of an awakeable's id: with padding or without, but no more than there can be.
pub(crate) fn base_64(encoded: &str) -> Result<Vec<u8>, DecodeError> {
    let padded = encoded.strip_suffix("==");
    let unpadded = padded.or_else(|| encoded.strip_suffix('='));
    BASE64_URL_SAFE_NO_PAD.decode(unpadded.unwrap_or(encoded))
}
