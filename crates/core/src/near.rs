//! Finds a byte that is nearly always near: the end of a line.
//!
//! A search that is made for long texts costs forty instructions before it looks at the first byte. Here,
//! the first bytes are looked at in blocks of eight, in line; only what is further away is searched so.

/// A one in each byte of a block, and the top bit of each.
pub(crate) const ONES: u64 = 0x0101_0101_0101_0101;
pub(crate) const TOPS: u64 = ONES << 7;

/// How many blocks are looked at first.
const BLOCKS: usize = 4;

/// Where the first `wanted` is in `bytes`.
#[inline(always)]
pub(crate) fn find(wanted: u8, bytes: &[u8]) -> Option<usize> {
    let (blocks, _) = bytes.as_chunks::<8>();
    let near = &blocks[..blocks.len().min(BLOCKS)];
    for (index, block) in near.iter().enumerate() {
        let found = marks(wanted, u64::from_le_bytes(*block));
        if found != 0 {
            return Some(8 * index + found.trailing_zeros() as usize / 8);
        }
    }
    find_from(wanted, bytes, 8 * near.len())
}

#[inline(never)]
fn find_from(wanted: u8, bytes: &[u8], start: usize) -> Option<usize> {
    memchr::memchr(wanted, &bytes[start..]).map(|at| start + at)
}

/// The top bits of the bytes of a block that are `wanted`. Bits after the first of them have no meaning.
///
/// They are those of `(d - 1) & !d`, where a byte of `d` is zero if it is `wanted`.
#[inline(always)]
pub(crate) fn marks(wanted: u8, block: u64) -> u64 {
    let diff = block ^ (ONES * u64::from(wanted));
    diff.wrapping_sub(ONES) & !diff & TOPS
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
