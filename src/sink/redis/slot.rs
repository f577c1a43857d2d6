//! The slots of a cluster: of a key, and for each a tag that lies in it.

use std::sync::LazyLock;

pub(super) const SLOTS: usize = 16_384;

/// Where a key lies: by what stands between its first braces, or by all of it.
pub(super) fn slot_of(key: &[u8]) -> u16 {
    let tag = key.iter().position(|&byte| byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        let length = rest.iter().position(|&byte| byte == b'}')?;
        (length > 0).then(|| &rest[..length])
    });
    crc16(tag.unwrap_or(key)) % SLOTS as u16
}

/// A number whose decimal digits, as a key's tag, put it into this slot.
pub(super) fn tag_of(slot: u16) -> u32 {
    static TAGS: LazyLock<Vec<u32>> = LazyLock::new(|| {
        let mut tags = vec![None; SLOTS];
        let mut missing = SLOTS;
        for number in 0.. {
            if missing == 0 {
                break;
            }
            let tag =
                &mut tags[usize::from(slot_of(itoa::Buffer::new().format(number).as_bytes()))];
            if tag.is_none() {
                *tag = Some(number);
                missing -= 1;
            }
        }
        tags.into_iter().flatten().collect()
    });
    TAGS[usize::from(slot)]
}

/// CRC16-CCITT (XMODEM): polynomial 1021, from zero, nothing reflected.
pub(super) fn crc16(bytes: &[u8]) -> u16 {
    static TABLE: LazyLock<[u16; 256]> = LazyLock::new(|| {
        let mut table = [0; 256];
        for (byte, entry) in (0_u16..).zip(&mut table) {
            *entry = (0..8).fold(byte << 8, |crc, _| {
                if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
            });
        }
        table
    });
    bytes.iter().fold(0, |crc, &byte| (crc << 8) ^ TABLE[usize::from((crc >> 8) as u8 ^ byte)])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As CLUSTER KEYSLOT answers.
    #[test]
    fn keys_lie_where_redis_says() {
        for (key, slot) in [
            ("123456789", 0x31C3),
            ("foo", 12_182),
            ("", 0),
            ("{foo}bar", 12_182),
            ("a{foo}{bar}", 12_182),
            ("{}foo", slot_of(b"{}foo")),
            ("{user1000", slot_of(b"{user1000")),
        ] {
            assert_eq!(slot_of(key.as_bytes()), slot, "{key}");
        }
        assert_ne!(slot_of(b"{}foo"), slot_of(b"foo"), "an empty tag is none");
    }

    #[test]
    fn each_slot_has_a_tag() {
        for slot in 0..SLOTS as u16 {
            assert_eq!(slot_of(format!("x:{{{}}}:y", tag_of(slot)).as_bytes()), slot);
        }
    }
}
