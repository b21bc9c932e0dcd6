//! Invocation ids as the server writes them: `inv_1`, then the partition key in 11 digits and the
//! invocation's own number in 22, both in base 62 and as little-endian numbers of their bytes. Seen on
//! server 1.7.12.

use crate::engine::invocation::RawId;

const PREFIX: &str = "inv_1";
const DIGITS: &[u8; 62] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
const PARTITION_DIGITS: usize = 11;
const NUMBER_DIGITS: usize = 22;

/// The bytes of an id, as Start carries them.
pub(super) fn raw_id(id: &str) -> Option<RawId> {
    let digits = id.strip_prefix(PREFIX)?.as_bytes();
    if digits.len() != PARTITION_DIGITS + NUMBER_DIGITS {
        return None;
    }
    let (partition, number) = digits.split_at(PARTITION_DIGITS);
    let partition = u64::try_from(base_62(partition)?).ok()?;
    let mut raw = RawId::default();
    let (front, back) = raw.split_at_mut(8);
    front.copy_from_slice(&partition.to_le_bytes());
    back.copy_from_slice(&base_62(number)?.to_le_bytes());
    Some(raw)
}

fn base_62(digits: &[u8]) -> Option<u128> {
    let mut number = 0_u128;
    for digit in digits {
        let value = DIGITS.iter().position(|known| known == digit)?;
        number = number.checked_mul(62)?.checked_add(value as u128)?;
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An id, and an awakeable's that its handler was given: the same bytes.
    #[test]
    fn ids_are_read_as_the_server_reads_them() {
        use base64::prelude::*;
        let awakeable = "grIiIGF_qQzHeqaLG5_49sIwrYZtZ-QaAAAAEQ";
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(awakeable).unwrap();
        let raw = raw_id("inv_115oNPF1D1aq0OKbfpqDzDDTgV3Vi3MwgT").unwrap();
        assert_eq!(raw, bytes[..24]);
    }

    #[test]
    fn what_is_no_id_has_no_bytes() {
        for wrong in [
            "",
            "inv_1",
            "inv_115oNPF1D1aq0OKbfpqDzDDTgV3Vi3Mwg",
            "inv_115oNPF1D1aq0OKbfpqDzDDTgV3Vi3Mwg!",
            "inv_1ZZZZZZZZZZZ0OKbfpqDzDDTgV3Vi3MwgT",
            "dep_115oNPF1D1aq0OKbfpqDzDDTgV3Vi3MwgT",
        ] {
            assert_eq!(raw_id(wrong), None, "{wrong}");
        }
    }
}
