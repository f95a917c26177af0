//! Names of clients, servers and connections that stay while others come and go.
//!
//! An id is a place and how often something was given one. Places are small and dense, for tables
//! beside the engine's, and are used again; an id is not, so an id that was kept too long names nobody.

/// Declares an id.
macro_rules! id {
    ($(#[$about:meta])* $id:ident) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $id {
            index: u32,
            generation: u32,
        }

        impl $id {
            pub(super) fn new(index: usize, generation: u32) -> Self {
                let index = u32::try_from(index).expect("the limits keep them below 2^32");
                Self { index, generation }
            }

            /// Its place: small and dense, and another's when this one is gone.
            #[inline]
            pub const fn index(self) -> usize {
                self.index as usize
            }

            /// The whole id as a number, of which the place is the lower half.
            pub const fn to_bits(self) -> u64 {
                (self.generation as u64) << 32 | self.index as u64
            }

            /// The id of such a number.
            pub const fn from_bits(bits: u64) -> Self {
                let [g3, g2, g1, g0, i3, i2, i1, i0] = bits.to_be_bytes();
                Self {
                    index: u32::from_be_bytes([i3, i2, i1, i0]),
                    generation: u32::from_be_bytes([g3, g2, g1, g0]),
                }
            }
        }
    };
}

id! {
    /// A client of one [`Mux`](super::Mux).
    ClientId
}

id! {
    /// A server of one [`Mux`](super::Mux)'s pool.
    ServerId
}

id! {
    /// A server connection of one [`Mux`](super::Mux), of which there are `server_connections` to
    /// each server.
    ConnId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_as_a_number() {
        let id = ConnId::new(70_000, 0xffff_fffe);
        assert_eq!(ConnId::from_bits(id.to_bits()), id);
        assert_eq!(id.to_bits() & 0xffff_ffff, 70_000);
    }
}
