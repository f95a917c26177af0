//! How much a socket may read or write in a turn of the event loop, so that no other socket waits long.
//!
//! A turn that takes longer lets those wait who have become ready meanwhile; with a shorter one, more of the
//! time is spent on the turns themselves, and on the programs at the other ends, which wake up for each piece.

/// How many bytes a socket may read or write in this turn, about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Portion {
    /// A server connection, in all.
    pub(crate) share: usize,
    /// The most of a large message that one read or one write takes: the kernel copies it meanwhile.
    pub(crate) piece: usize,
}

/// How many bytes the ready sockets share in a turn.
const TURN_BYTES: usize = 512 * 1024;

/// Likewise, while clients ask for little beside others that ask for much.
const SHORT_TURN_BYTES: usize = 64 * 1024;

/// The least that each of them may.
const SHARE_MIN: usize = 32 * 1024;

impl Portion {
    /// What so many ready sockets may. `is_short` says that clients with small requests wait for the end of the
    /// turn, and others ask for much.
    pub(crate) fn new(ready: usize, is_short: bool) -> Self {
        let (bytes, piece) = match is_short {
            true => (SHORT_TURN_BYTES, SHORT_TURN_BYTES),
            false => (TURN_BYTES, usize::MAX),
        };
        Self { share: (bytes / ready.max(1)).max(SHARE_MIN), piece }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_shared_and_each_socket_gets_on() {
        let shares = [0, 1, 2, 8, 16, 17, 1000].map(|ready| Portion::new(ready, false).share);
        assert_eq!(shares.map(|share| share / 1024), [512, 512, 256, 64, 32, 32, 32]);
        let shares = [0, 1, 2, 3, 1000].map(|ready| Portion::new(ready, true).share);
        assert_eq!(shares.map(|share| share / 1024), [64, 64, 32, 32, 32]);
        assert_eq!(Portion::new(5, true).piece, SHORT_TURN_BYTES);
    }
}
