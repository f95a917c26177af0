//! What the clients of a pool have used of their quotas.
//!
//! The one rule: the lock is for a client that comes, never for a request.

use nuthatch_core::quota::Usage;
use nuthatch_core::time::Instant;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// So many addresses are kept without a look at which of them have clients.
const ADDRESSES_MIN: usize = 64;

/// What was used, by all clients and by those of each address.
#[derive(Debug, Default)]
pub(crate) struct Usages {
    pub(crate) pool: Arc<Usage>,
    addresses: Mutex<Addresses>,
}

#[derive(Debug, Default)]
struct Addresses {
    usages: HashMap<Option<IpAddr>, Arc<Usage>>,
    /// With more addresses than that, those are dropped that have no clients and a full bucket.
    max: usize,
}

impl Usages {
    /// What the clients of an address have used; those of unix sockets have none, and share it.
    ///
    /// A client that comes again soon has what it left of the bucket.
    pub(crate) fn of(&self, address: Option<IpAddr>, now: Instant) -> Arc<Usage> {
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(usage) = addresses.usages.get(&address) {
            return Arc::clone(usage);
        }
        if addresses.usages.len() >= addresses.max {
            let is_used =
                |usage: &Arc<Usage>| Arc::strong_count(usage) > 1 || !usage.is_unused(now);
            addresses.usages.retain(|_, usage| is_used(usage));
            addresses.max = (2 * addresses.usages.len()).max(ADDRESSES_MIN);
        }
        let usage = Arc::default();
        addresses.usages.insert(address, Arc::clone(&usage));
        usage
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn address(number: u32) -> Option<IpAddr> {
        Some(Ipv4Addr::from_bits(number).into())
    }

    #[test]
    fn clients_of_one_address_share_what_they_have_used() {
        let usages = Usages::default();
        let (first, second) =
            (usages.of(address(1), Instant::default()), usages.of(address(1), Instant::default()));
        assert!(Arc::ptr_eq(&first, &second));
        assert!(!Arc::ptr_eq(&first, &usages.of(address(2), Instant::default())));
        let unix = usages.of(None, Instant::default());
        assert!(Arc::ptr_eq(&unix, &usages.of(None, Instant::default())));
    }

    #[test]
    fn addresses_without_clients_take_no_memory() {
        let usages = Usages::default();
        let kept: Vec<_> =
            (0..100).map(|number| usages.of(address(number), Instant::default())).collect();
        (1000..100_000).for_each(|number| drop(usages.of(address(number), Instant::default())));
        assert!(usages.addresses.lock().unwrap().usages.len() <= 200);
        let is_same = |number: u32| {
            Arc::ptr_eq(&kept[number as usize], &usages.of(address(number), Instant::default()))
        };
        assert!((0..100).all(is_same));
    }
}
