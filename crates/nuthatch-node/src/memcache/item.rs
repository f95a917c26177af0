//! An item: a value and its metadata, as in memcached.

/// Seconds since 1970. memcached's clock has the same resolution.
pub(crate) type Seconds = u32;

/// The largest item including its metadata, in bytes: memcached's default (`-I 1m`).
pub(crate) const ITEM_SIZE_MAX: usize = 1 << 20;

/// From so many seconds on, an exptime is a date and not a delay (protocol.txt, "Expiration
/// times").
const MONTH: i64 = 60 * 60 * 24 * 30;

#[derive(Debug, Clone, Default)]
pub(crate) struct Item {
    pub(crate) data: Vec<u8>,
    /// The client's flags, which the node does not interpret.
    pub(crate) flags: u32,
    /// The time of expiry; `None` means never.
    pub(crate) expires: Option<Seconds>,
    /// The number of its last change.
    pub(crate) cas: u64,
    /// When it was last written or read.
    pub(crate) accessed: Seconds,
    /// Whether it was read since it was written.
    pub(crate) fetched: bool,
    /// Whether it was invalidated, but may still be returned.
    pub(crate) stale: bool,
    /// Whether a client was told to recache it.
    pub(crate) has_winner: bool,
    /// Its key in base64, if it was stored with this form: replies repeat the key in this form.
    pub(crate) base64_key: Option<Box<[u8]>>,
}

impl Item {
    pub(crate) fn is_expired(&self, now: Seconds) -> bool {
        self.expires.is_some_and(|at| at <= now)
    }

    /// Notes that it was read.
    pub(crate) fn access(&mut self, now: Seconds) {
        self.fetched = true;
        self.accessed = now;
    }

    /// The item that replaces it when its value grows; only these fields are copied.
    pub(crate) fn heir(&self, data: Vec<u8>) -> Self {
        Self { data, flags: self.flags, expires: self.expires, ..Self::default() }
    }

    /// Its bytes as memcached counts them: a head of 56, the key and the value with their ends,
    /// and flags if it has any.
    pub(crate) fn size(&self, key: &[u8]) -> usize {
        let flags = if self.flags == 0 { 0 } else { 4 };
        56 + key.len() + 1 + flags + self.data.len() + 2
    }

    /// The value as a number: its leading digits, if they end at the end or at a space.
    pub(crate) fn number(&self) -> Option<u64> {
        let mut words = self.data.trim_ascii_start().split(u8::is_ascii_whitespace);
        words.next().and_then(parse)
    }
}

/// The time of expiry for this exptime: 0 means never, a negative number at once.
pub(crate) fn deadline(exptime: i64, now: Seconds) -> Option<Seconds> {
    let at = match exptime {
        0 => return None,
        ..0 => 0,
        1..=MONTH => i64::from(now) + exptime,
        _ => exptime,
    };
    Some(at.try_into().unwrap_or(Seconds::MAX))
}

/// A word as a number.
pub(crate) fn parse<N: std::str::FromStr>(word: &[u8]) -> Option<N> {
    str::from_utf8(word).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exptimes_are_delays_up_to_thirty_days_and_dates_beyond() {
        let now = 1_700_000_000;
        assert_eq!(deadline(0, now), None);
        assert_eq!(deadline(-1, now), Some(0));
        assert_eq!(deadline(10, now), Some(1_700_000_010));
        assert_eq!(deadline(2_592_000, now), Some(1_702_592_000));
        assert_eq!(deadline(2_592_001, now), Some(2_592_001));
        assert_eq!(deadline(1_700_000_060, now), Some(1_700_000_060));
    }

    #[test]
    fn a_value_is_a_number_up_to_the_first_space() {
        let number = |data: &[u8]| Item { data: data.into(), ..Item::default() }.number();
        assert_eq!(number(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(number(b" 7   "), Some(7));
        assert_eq!(number(b"5 apples"), Some(5));
        for bad in [&b""[..], b" ", b"5x", b"-5", b"18446744073709551616", b"\xff"] {
            assert_eq!(number(bad), None, "{bad:?}");
        }
    }
}
