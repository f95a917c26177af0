//! The version of a server, as it names it itself.

use core::fmt;

/// The version of a server, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    major: u16,
    minor: u16,
    patch: u16,
}

impl Version {
    pub(crate) const fn new(major: u16, minor: u16, patch: u16) -> Self {
        Self { major, minor, patch }
    }

    /// The version as a number, zero if not known; for counters.
    pub const fn to_bits(self) -> u64 {
        (self.major as u64) << 32 | (self.minor as u64) << 16 | self.patch as u64
    }

    /// The version of such a number.
    pub const fn from_bits(bits: u64) -> Self {
        let [_, _, major_high, major_low, minor_high, minor_low, patch_high, patch_low] =
            bits.to_be_bytes();
        Self {
            major: u16::from_be_bytes([major_high, major_low]),
            minor: u16::from_be_bytes([minor_high, minor_low]),
            patch: u16::from_be_bytes([patch_high, patch_low]),
        }
    }

    /// The version at the start of `text`, such as `1.6.21_1` or `1.6.0-beta1`.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let mut parts = text.splitn(3, |byte| *byte == b'.').map(leading_number);
        Some(Self { major: parts.next()??, minor: parts.next()??, patch: parts.next()?? })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// The number at the start of a text.
fn leading_number(text: &[u8]) -> Option<u16> {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    core::str::from_utf8(&text[..end]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_survives_as_a_number() {
        let version = Version::parse(b"1.6.18").unwrap();
        assert_eq!(Version::from_bits(version.to_bits()), version);
        assert_eq!(Version::default().to_bits(), 0);
    }
}
