//! The flags of the meta commands (protocol.txt, "Meta Commands"), parsed once before anything is
//! done.
//!
//! The one rule: the accepted flags and the errors for others are those of memcached 1.6.18. Most
//! flags are accepted with every command, even if they have no effect.

use nuthatch_core::memcache::Words;

use super::item::{Seconds, deadline, parse};

/// The meaning of the flags. Flags that only add a word to the reply are parsed again when the
/// reply is written, because the reply has these words in the order of the request.
#[derive(Debug, Clone)]
pub(crate) struct Flags<'a> {
    pub(crate) words: Words<'a>,
    /// `v`: with the value.
    pub(crate) value: bool,
    /// `u`: do not count the read as an access.
    pub(crate) unseen: bool,
    /// `I`: invalidate the item, or accept an older CAS id.
    pub(crate) invalidate: bool,
    /// `T`: the new expiry.
    pub(crate) expires: Option<Option<Seconds>>,
    /// `N`: create a missing item, with this expiry.
    pub(crate) vivify: Option<Option<Seconds>>,
    /// `R`: let one client recache an item that expires before this.
    pub(crate) recache: Option<Option<Seconds>>,
    /// `C`: only the item with this CAS id.
    pub(crate) cas: Option<u64>,
    /// `F`: the client's flags.
    pub(crate) client_flags: u32,
    /// `M`: the mode, one letter.
    pub(crate) mode: Option<u8>,
    /// `D`: the delta.
    pub(crate) delta: u64,
    /// `J`: the initial value.
    pub(crate) initial: u64,
}

/// Why flags are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadFlag {
    Duplicate,
    Unknown,
    Token,
    ClientFlags,
    Mode,
}

impl BadFlag {
    /// The error of `mg` and `ms`; `ma` and `md` use [`BAD_FLAG`] for all errors.
    pub(crate) const fn text(self) -> &'static [u8] {
        match self {
            Self::Duplicate => b"CLIENT_ERROR duplicate flag\r\n",
            Self::Unknown => b"CLIENT_ERROR invalid flag\r\n",
            Self::Token => b"CLIENT_ERROR bad token in command line format\r\n",
            Self::ClientFlags => b"CLIENT_ERROR bad command line format\r\n",
            Self::Mode => b"CLIENT_ERROR incorrect length for M token\r\n",
        }
    }
}

pub(crate) const BAD_FLAG: &[u8] = b"CLIENT_ERROR invalid or duplicate flag\r\n";

impl<'a> Flags<'a> {
    /// Parses the words after the key, or after the length of `ms`.
    pub(crate) fn read(words: Words<'a>, now: Seconds) -> Result<Self, BadFlag> {
        let mut flags = Self {
            words: words.clone(),
            value: false,
            unseen: false,
            invalidate: false,
            expires: None,
            vivify: None,
            recache: None,
            cas: None,
            client_flags: 0,
            mode: None,
            delta: 1,
            initial: 0,
        };
        let mut seen = 0_u128;
        for word in words {
            let letter = word[0];
            let bit = 1_u128 << (letter & 0x7f);
            if seen & bit != 0 {
                return Err(BadFlag::Duplicate);
            }
            seen |= bit;
            flags.take(letter, &word[1..], now)?;
        }
        Ok(flags)
    }

    fn take(&mut self, letter: u8, token: &[u8], now: Seconds) -> Result<(), BadFlag> {
        let number = || parse::<u64>(token).ok_or(BadFlag::Token);
        let until = || match parse::<i32>(token) {
            Some(exptime) => Ok(Some(deadline(exptime.into(), now))),
            None => Err(BadFlag::Token),
        };
        match letter {
            b'v' => self.value = true,
            b'u' => self.unseen = true,
            b'I' => self.invalidate = true,
            b'T' => self.expires = until()?,
            b'N' => self.vivify = until()?,
            b'R' => self.recache = until()?,
            b'C' => self.cas = Some(number()?),
            b'D' => self.delta = number()?,
            b'J' => self.initial = number()?,
            b'F' => self.client_flags = parse(token).ok_or(BadFlag::ClientFlags)?,
            b'M' => match token {
                [mode] => self.mode = Some(*mode),
                _ => return Err(BadFlag::Mode),
            },
            // Words in the reply, flags that the core handles, and flags for proxies.
            b's' | b't' | b'c' | b'f' | b'h' | b'l' | b'k' | b'O' | b'q' | b'b' | b'P' | b'L' => {}
            _ => return Err(BadFlag::Unknown),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(line: &[u8]) -> Option<BadFlag> {
        Flags::read(Words::new(line), 1_700_000_000).err()
    }

    #[test]
    fn flags_are_read_with_their_tokens() {
        let flags = Flags::read(Words::new(b"v T30 N-1 C7 Mi D2 J3 F4 I"), 1_700_000_000).unwrap();
        assert!(flags.value && flags.invalidate && !flags.unseen);
        assert_eq!(flags.expires, Some(Some(1_700_000_030)));
        assert_eq!(flags.vivify, Some(Some(0)));
        assert_eq!((flags.cas, flags.mode, flags.client_flags), (Some(7), Some(b'i'), 4));
        assert_eq!((flags.delta, flags.initial), (2, 3));
    }

    #[test]
    fn what_is_unknown_twice_or_unreadable_is_refused() {
        assert_eq!(refusal(b"v k s t c f h l q b u Ox P1 L2"), None);
        assert_eq!(refusal(b"v k v"), Some(BadFlag::Duplicate));
        assert_eq!(refusal(b"v z"), Some(BadFlag::Unknown));
        assert_eq!(refusal(b"T1x"), Some(BadFlag::Token));
        assert_eq!(refusal(b"C-1"), Some(BadFlag::Token));
        assert_eq!(refusal(b"F"), Some(BadFlag::ClientFlags));
        assert_eq!(refusal(b"Mset"), Some(BadFlag::Mode));
    }
}
