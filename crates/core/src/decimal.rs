//! The digits of a number: both protocols write numbers in decimal.

/// Writes the digits of `number` at the end of `room`, without leading zeros. Returns where they begin.
///
/// # Panics
/// If `room` is too short; 20 bytes are enough for any number.
pub(crate) fn fill(number: u64, room: &mut [u8]) -> usize {
    let (mut start, mut rest) = (room.len(), number);
    loop {
        start -= 1;
        room[start] = b'0' + u8::try_from(rest % 10).expect("a remainder of ten");
        rest /= 10;
        if rest == 0 {
            return start;
        }
    }
}
