//! Times of expiry: the options of `SET` and the commands `EXPIRE` and the like.

use super::fault::Fault;
use super::number::integer;
use super::store::Millis;

/// How a number says when a key expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Seconds,
    Millis,
    /// Seconds since 1970.
    SecondsDate,
    /// Milliseconds since 1970.
    MillisDate,
}

impl Unit {
    /// The unit of a time that is to come. `command` is for the error.
    pub(crate) fn future(
        self,
        word: &[u8],
        now: Millis,
        command: &'static str,
    ) -> Result<Millis, Fault> {
        let number = integer(word)?;
        let at = self.at(number, now).filter(|_| number > 0);
        at.ok_or_else(|| Fault::expire_time(command))
    }

    /// A time that may have passed; `None` if no clock can show it.
    pub(crate) fn at(self, number: i64, now: Millis) -> Option<Millis> {
        match self {
            Self::Seconds => number.checked_mul(1000)?.checked_add(now),
            Self::Millis => number.checked_add(now),
            Self::SecondsDate => number.checked_mul(1000),
            Self::MillisDate => Some(number),
        }
    }
}
