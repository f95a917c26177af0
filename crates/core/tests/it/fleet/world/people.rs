//! What clients ask, and what they take for an answer.

use super::*;

impl<K: Kind> World<K> {
    pub(in crate::fleet) fn ask(&mut self, person: usize) -> usize {
        let this = &mut self.people[person];
        let proxy = this.proxy;
        if this.is_closed {
            return proxy;
        }
        if self.now >= self.end {
            if this.client.awaits() == 0 {
                self.proxies[proxy].mux.handle_client_eof(this.id);
            } else {
                let at = self.now + 20 * MS;
                self.push(at, Event::Ask(person));
            }
            return proxy;
        }
        if self.plan.faults > 0 && self.random.chance(5) {
            let (id, now) = (this.id, self.now);
            this.client.leave();
            self.proxies[proxy].mux.close_client(id);
            self.proxies[proxy].person_of.remove(&id);
            let proxy = self.random.index(self.plan.proxies);
            self.enter(proxy);
            self.now = now;
            return proxy;
        }
        // So that old servers keep some values that are replaced later.
        let spares_some = self.plan.ends_early
            && self.changes.iter().enumerate().any(|(number, change)| {
                let spared = match number {
                    0 => change + SETTLE..change + WHOLE - 1500 * MS,
                    _ => change - 100 * MS..change + 2 * SETTLE,
                };
                spared.contains(&self.now)
            });
        let asks = !self.plan.is_crowded || this.client.awaits() == 0;
        if asks && self.proxies[proxy].mux.wants_read(this.id) {
            let mut bytes = String::new();
            let many = if self.plan.is_crowded { 1 } else { self.random.pick(&[1, 1, 1, 2, 4]) };
            for _ in 0..many {
                self.count += 1;
                if self.plan.flushes && self.random.chance(10) {
                    bytes += &this.client.flush(&mut self.records, self.now);
                }
                let value = (&mut self.random, self.count);
                let records = (&mut self.records, spares_some);
                bytes += &this.client.ask(value, records, self.now);
                if let Some(progress) =
                    self.proxies[proxy].mux.migration(Instant::from_nanos(self.now))
                {
                    *self.asked.entry(progress.phase).or_default() += 1;
                }
            }
            this.asked = (this.client.awaits() == 1).then_some(self.now);
            let now = Instant::from_nanos(self.now);
            self.proxies[proxy].mux.handle_client_bytes(this.id, bytes.as_bytes(), now);
        }
        let is_hot = self.changes.iter().any(|change| {
            (change.saturating_sub(300 * MS)..change + 3 * SETTLE + WINDOW).contains(&self.now)
        });
        let is_hot = is_hot || self.plan.ejection.is_some();
        let pause = if is_hot { 20 * MS } else { 600 * MS };
        let at = self.now + self.random.below(pause);
        self.push(at, Event::Ask(person));
        proxy
    }

    pub(in crate::fleet) fn look_after_client(&mut self, proxy: usize, id: ClientId) {
        let this = &mut self.proxies[proxy];
        let output = this.mux.client_output(id).to_vec();
        let person = this.person_of[&id];
        if !output.is_empty() {
            this.mux.handle_client_written(id, output.len());
            self.people[person].client.receive(&output, &mut self.records, self.now);
            self.note_wait(person);
        }
        let this = &mut self.proxies[proxy];
        if this.mux.is_done(id) {
            this.mux.close_client(id);
            this.person_of.remove(&id);
            let person = &mut self.people[person];
            // The proxy closes a client whose transaction is lost with its connection.
            person.client.leave();
            person.is_closed = true;
            if self.now < self.end {
                self.enter(proxy);
            }
        }
    }
}
