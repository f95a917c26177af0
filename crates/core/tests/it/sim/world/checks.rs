//! What holds whatever happens, and what is left in the end.

use super::*;

impl<S: Server> World<S> {
    pub(super) fn check_bounds(&self) {
        let limits = &self.plan.limits;
        assert!(self.mux.memory() <= limits.memory_max, "{} bytes", self.mux.memory());
        let reply_max = self.plan.size_max + 5000;
        for person in &self.people {
            let kept = person.id.map_or(0, |id| self.mux.client_output(id).len());
            assert!(kept <= limits.client_backlog_max + reply_max, "{kept} bytes for a client");
        }
        for id in self.mux.conns() {
            let queued = self.mux.conn_output(*id).len();
            assert!(queued <= limits.server_buffer_max + self.plan.size_max + 300, "{queued}");
        }
        for (name, counter) in self.stats.iter().flat_map(|server| server.all()) {
            assert!(counter.read() < 1 << 60, "{name} is below zero");
        }
    }

    /// Nobody waits longer for a reply than a request may take, where every request gets a place in a queue
    /// at once.
    pub(super) fn check_deadlines(&mut self) {
        let Options { timeout, clocks, .. } = self.mux.options();
        let parts = clocks.queue.zip(clocks.response).map(|(queue, response)| queue + response);
        let longest = [*timeout, parts].into_iter().flatten().min().expect("every request ends");
        for person in &mut self.people {
            let Some(id) = person.id else { continue };
            let is_busy =
                !self.mux.client_output(id).is_empty() || !person.client.outbox().is_empty();
            if is_busy || person.client.is_satisfied() {
                person.waits_since = self.now;
            }
            let waited = Duration::from_nanos(self.now - person.waits_since);
            assert!(waited <= longest, "{waited:?} for a reply, {:?}", self.mux.options());
        }
    }

    pub(super) fn check_idle(&self) {
        assert!(self.people.iter().all(|person| person.id.is_none()), "somebody still waits");
        assert_eq!(self.mux.client_count(), 0);
        assert_eq!(self.mux.requests_in_flight(), 0);
        assert_eq!(self.mux.memory(), 0);
        let stats = self.mux.stats();
        assert_eq!(stats.client_connections.read(), 0);
        for server in &self.stats {
            let queues = [&server.in_queue, &server.in_queue_bytes];
            let queues = queues.into_iter().chain([&server.out_queue, &server.out_queue_bytes]);
            assert!(queues.into_iter().all(|gauge| gauge.read() == 0), "{server:?}");
        }
    }
}
