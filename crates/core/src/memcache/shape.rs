//! Which replies of a server match which request.

use crate::message::{Expect, Outcomes};

/// The kind of replies that match a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `VALUE` of the one key, or not, and `END`.
    Value,
    /// `VALUE`s of the keys of a fragment, and `END`.
    Values,
    /// The answers to storage commands but `cas`.
    Stored,
    /// The answers to `cas`.
    Swapped,
    /// A number or `NOT_FOUND`.
    Number,
    /// `DELETED` or `NOT_FOUND`.
    Deleted,
    /// `TOUCHED` or `NOT_FOUND`.
    Touched,
    /// `OK`.
    Ok,
    /// `VERSION`.
    Version,
    /// The answers to `mg`.
    MetaGet,
    /// The answers to `mg` with the flag `k`: what is found names its key.
    MetaGetKey,
    /// The answers to `ms`, `md`, `ma`.
    MetaStored,
    /// The answers to `me`.
    MetaDebug,
}

impl Shape {
    const ALL: [Self; 13] = [
        Self::Value,
        Self::Values,
        Self::Stored,
        Self::Swapped,
        Self::Number,
        Self::Deleted,
        Self::Touched,
        Self::Ok,
        Self::Version,
        Self::MetaGet,
        Self::MetaGetKey,
        Self::MetaStored,
        Self::MetaDebug,
    ];

    /// A reply of this shape is expected; outcomes in `hidden` are not sent to the client.
    pub const fn expect(self, hidden: Outcomes) -> Expect {
        Expect { kind: self as u8, hidden }
    }

    /// The shape of the expected reply.
    #[inline]
    pub const fn of(expect: Expect) -> Self {
        Self::ALL[expect.kind as usize]
    }

    /// Whether these are the replies to a meta command.
    pub const fn is_meta(self) -> bool {
        matches!(self, Self::MetaGet | Self::MetaGetKey | Self::MetaStored | Self::MetaDebug)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_survives_as_a_number() {
        for shape in Shape::ALL {
            assert_eq!(Shape::of(shape.expect(Outcomes::NONE)), shape);
        }
    }
}
