//! What holds of what clients have read, and of what servers keep.

use super::*;

impl<K: Kind> World<K> {
    pub(in crate::fleet) fn check(&mut self) {
        for proxy in &self.proxies {
            assert_eq!(proxy.mux.requests_in_flight(), 0);
            assert_eq!(proxy.mux.memory(), 0);
            assert_eq!(proxy.mux.client_count(), 0);
            let migration = proxy.mux.migration(Instant::from_nanos(self.now));
            assert_eq!(migration, None, "keys move for ever");
            assert_eq!(proxy.mux.stats().migration.in_flight.read(), 0);
            if let Some(last) = self.plan.rings.last() {
                let lanes = (self.plan.server_connections + self.plan.bulk.connections) * K::LANES;
                let servers = last.len() + self.plan.gutter.len();
                let own = proxy.mux.conns().len() - servers * lanes;
                assert!(own == 0 || K::FILLS, "connections are left");
            }
        }
        // Where a mark can't be released, it goes by itself.
        let is_calm =
            self.plan.faults == 0 && (self.plan.ejection.is_none() || !self.plan.migrates);
        let is_sure = self.plan.old.is_empty() && is_calm;
        let lease = if is_sure { 0 } else { 5000 * MS };
        let marks = self.servers.iter_mut().any(|server| server.has_marks(self.now + lease));
        assert!(!marks, "a mark is left");
        for server in self.plan.gutter {
            self.check_cap(*server);
        }
        K::check(&self.records, &self.plan);
    }

    /// Checks that no value stays longer in the gutter than it may.
    pub(in crate::fleet) fn check_cap(&mut self, server: usize) {
        let Some(ejection) = self.plan.ejection else { return };
        if self.plan.gutter.contains(&server) {
            let stay = self.servers[server].longest_stay(self.now);
            let ttl = ejection.gutter_ttl;
            assert!(Duration::from_nanos(stay) <= ttl, "uncapped: {stay} ns at server {server}");
        }
    }

    pub(in crate::fleet) fn sum(&self, name: &str) -> u64 {
        let stats = self.proxies.iter().map(|proxy| &proxy.mux.stats().migration);
        let read = |(found, counter): (&str, &nuthatch_core::stats::Counter)| {
            (found == name).then(|| counter.read())
        };
        stats.flat_map(|stats| stats.all().filter_map(read).collect::<Vec<_>>()).sum()
    }
}
