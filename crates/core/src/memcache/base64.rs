//! Keys in base64, decoded exactly as memcached decodes them.
//!
//! The one rule: the result is the same as memcached's, because the proxy otherwise routes a key to
//! another server than the same key in another form. memcached (`base64_decode`, base64.c) skips
//! bytes that are not base64, ends at the first padded group and does not check that the unused
//! bits are zero; no library behaves like this.

use alloc::vec::Vec;

/// Room for any decoded key: 250 letters decode to fewer bytes.
pub type KeyRoom = [u8; 192];

/// The bytes of a base64 key. None if memcached finds none in it.
///
/// Requests are routed by these bytes, so the server of a key does not depend on its encoding.
pub fn decode_key<'a>(key: &[u8], room: &'a mut KeyRoom) -> Option<&'a [u8]> {
    let mut letters = key.iter().filter_map(|byte| Some((*byte, value(*byte)?)));
    if letters.clone().count() % 4 != 0 {
        return None;
    }
    let mut len = 0;
    while let (Some(a), Some(b), Some(c), Some(d)) =
        (letters.next(), letters.next(), letters.next(), letters.next())
    {
        let group = [a, b, c, d];
        let bits = group.iter().fold(0u32, |bits, (_, value)| bits << 6 | u32::from(*value));
        room.get_mut(len..len + 3)?.copy_from_slice(&bits.to_be_bytes()[1..]);
        let padding = group.iter().filter(|(byte, _)| *byte == b'=').count();
        match padding {
            0 => len += 3,
            1 | 2 => return Some(&room[..len + 3 - padding]),
            _ => return None,
        }
    }
    (len > 0).then_some(&room[..len])
}

/// The six bits of a letter; padding is zero.
fn value(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        b'=' => Some(0),
        _ => None,
    }
}

/// Appends a key in base64.
pub(super) fn encode_key(key: &[u8], out: &mut Vec<u8>) {
    for group in key.chunks(3) {
        let byte = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let digit = (bits >> (18 - 6 * place) & 63) as usize;
            out.push(if place <= group.len() { ALPHABET[digit] } else { b'=' });
        }
    }
}

/// The digits.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base64_key_is_its_bytes() {
        for (key, expected) in [
            (&b"YWJj"[..], Some(&b"abc"[..])),
            (b"YQ==", Some(b"a")),
            (b"YWI=", Some(b"ab")),
            (b"DQpFTkQNCg==", Some(b"\r\nEND\r\n")),
            // The unused bits are not zero.
            (b"YR==", Some(b"a")),
            // Bytes that are not base64 are skipped.
            (b"Y-W_J!j", Some(b"abc")),
            // Nothing counts behind a padded group.
            (b"YQ==YWJj", Some(b"a")),
            // Padding in the middle of a group counts where it stands.
            (b"Y=Jj", Some(b"\x60\x02")),
            (b"YWI", None),
            (b"!!", None),
            (b"", None),
            (b"====", None),
            (b"Y===", None),
        ] {
            let mut room: KeyRoom = [0; 192];
            assert_eq!(decode_key(key, &mut room), expected, "{}", key.escape_ascii());
        }
        let mut room: KeyRoom = [0; 192];
        assert_eq!(decode_key(&[b'A'; 248], &mut room), Some(&[0; 186][..]));
    }
}
