//! Finds a byte that is nearly always near: the end of a line.
//!
//! A search that is made for long texts costs forty instructions before it looks at the first byte. Here,
//! the first bytes are looked at in blocks of eight, in line; only what is further away is searched so.

const ONES: u64 = 0x0101_0101_0101_0101;
const TOPS: u64 = ONES << 7;

/// How many blocks are looked at first.
const BLOCKS: usize = 4;

/// Where the first `wanted` is in `bytes`.
#[inline(always)]
pub(crate) fn find(wanted: u8, bytes: &[u8]) -> Option<usize> {
    let (blocks, rest) = bytes.as_chunks::<8>();
    for (index, block) in blocks.iter().take(BLOCKS).enumerate() {
        if let Some(at) = find_in(wanted, *block) {
            return Some(8 * index + at);
        }
    }
    if blocks.len() < BLOCKS && bytes.len() >= 8 && !rest.is_empty() {
        // The last eight bytes, of which the first ones were looked at already.
        let last = bytes.len() - 8;
        return bytes
            .last_chunk::<8>()
            .and_then(|block| find_in(wanted, *block))
            .map(|at| last + at);
    }
    find_far(wanted, bytes, bytes.len().min(8 * BLOCKS))
}

/// Where it is among the bytes from `start` on, or in so few bytes that they are no block.
#[inline(never)]
fn find_far(wanted: u8, bytes: &[u8], start: usize) -> Option<usize> {
    let start = if bytes.len() < 8 { 0 } else { start };
    memchr::memchr(wanted, &bytes[start..]).map(|at| start + at)
}

/// The top bits of `(d - 1) & !d` are those of the bytes of `d` that are zero, up to the first of them.
#[inline(always)]
fn find_in(wanted: u8, block: [u8; 8]) -> Option<usize> {
    let diff = u64::from_le_bytes(block) ^ (ONES * u64::from(wanted));
    let found = diff.wrapping_sub(ONES) & !diff & TOPS;
    (found != 0).then_some(found.trailing_zeros() as usize / 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_one_is_found_wherever_it_is() {
        for len in 0..80 {
            for filler in [0, 1, b'\t', b'\n' - 1, b'\n' + 1, 0x7f, 0x80, 0x8a, 0xff] {
                let mut bytes = [filler; 80];
                assert_eq!(find(b'\n', &bytes[..len]), None, "{len} of {filler:#x}");
                bytes[len] = b'\n';
                assert_eq!(find(b'\n', &bytes[..len]), None, "it is behind {len} of {filler:#x}");
                for at in (0..len).rev() {
                    bytes[at] = b'\n';
                    assert_eq!(find(b'\n', &bytes[..len]), Some(at), "{len} of {filler:#x}");
                    bytes[at] = filler;
                    bytes[(at + 3).min(79)] = b'\n';
                    bytes[at] = b'\n';
                    assert_eq!(find(b'\n', &bytes[..len]), Some(at), "{len}, one of several");
                    bytes[(at + 3).min(79)] = filler;
                    bytes[at] = filler;
                    bytes[len] = b'\n';
                }
            }
        }
    }
}
