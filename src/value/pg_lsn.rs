//! pg_lsn: a position in the log. A zero byte, which begins no NULL and no error, then its 64 bits, most
//! significant first, so that it orders as a number.

/// `X/Y` in upper case without leading zeros, as Postgres prints it.
pub(super) fn encode(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let slash = text.iter().position(|&byte| byte == b'/')?;
    let (high, low) = text.split_at_checked(slash)?;
    put(u64::from(half(high)?) << 32 | u64::from(half(low.get(1..)?)?), out);
    Some(())
}

fn half(digits: &[u8]) -> Option<u32> {
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'A'..=b'F');
    if !digits.iter().all(is_digit) || (digits.len() > 1 && digits.first() == Some(&b'0')) {
        return None;
    }
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Appends the datum of a position.
pub fn put(lsn: u64, out: &mut Vec<u8>) {
    out.push(0);
    out.extend_from_slice(&lsn.to_be_bytes());
}

/// The position with which the bytes begin, and what follows it.
pub fn split(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (lsn, rest) = bytes.strip_prefix(&[0])?.split_first_chunk()?;
    Some((u64::from_be_bytes(*lsn), rest))
}

pub(super) fn len(bytes: &[u8]) -> Option<usize> {
    (bytes.len() >= 9).then_some(9)
}

pub(super) fn write_text(datum: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (lsn, []) = split(datum)? else { return None };
    let low = lsn & u64::from(u32::MAX);
    out.extend_from_slice(format!("{:X}/{low:X}", lsn >> 32).as_bytes());
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_print_as_they_came_and_order_as_numbers() {
        let texts = ["0/0", "0/9", "0/16B3748", "0/FFFFFFFF", "1/0", "A/10", "FFFFFFFF/FFFFFFFF"];
        let mut before = Vec::new();
        for text in texts {
            let mut datum = Vec::new();
            encode(text.as_bytes(), &mut datum).unwrap();
            assert_eq!(len(&datum), Some(9));
            assert!(before < datum, "{text}");
            let mut printed = Vec::new();
            write_text(&datum, &mut printed).unwrap();
            assert_eq!(printed, text.as_bytes());
            before = datum;
        }
        for text in ["", "/", "0", "0/", "/0", "00/1", "0/01", "0/a", "0/100000000"] {
            assert_eq!(encode(text.as_bytes(), &mut Vec::new()), None, "{text}");
        }
    }
}
