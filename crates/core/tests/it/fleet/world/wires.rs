//! What goes over the connections of proxies to servers.

use super::*;

impl<K: Kind> World<K> {
    pub(in crate::fleet) fn drop_wire(&mut self, proxy: usize, conn: usize) {
        let wire = &mut self.proxies[proxy].wires[conn];
        *wire = Wire { epoch: wire.epoch + 1, ..Wire::default() };
    }

    pub(in crate::fleet) fn open(&mut self, proxy: usize, conn: usize, epoch: u64) {
        let now = self.instant();
        let this = &mut self.proxies[proxy];
        let wire = &mut this.wires[conn];
        if let Some(id) = wire.id.filter(|_| wire.epoch == epoch) {
            if self.absence.refuses(proxy, this.server_of[&this.mux.server_of(id)]) {
                *wire = Wire { epoch: wire.epoch + 1, ..Wire::default() };
                return this.mux.handle_conn_closed(id, ServerError::Refused, now);
            }
            wire.is_open = true;
            this.mux.handle_conn_open(id, now);
        }
    }

    /// A server gets bytes, though perhaps nobody will hear the answer.
    pub(in crate::fleet) fn arrive(
        &mut self,
        (proxy, conn, epoch): (usize, usize, u64),
        server: usize,
        bytes: &[u8],
    ) {
        if self.absence.loses((proxy, conn, epoch), server) {
            return;
        }
        if let Some(at) = self.absence.stands_still_until(server) {
            return self.push(at, Event::Arrive(proxy, conn, epoch, server, bytes.to_vec()));
        }
        let mut inbox = self.inboxes.remove(&(proxy, conn, epoch)).unwrap_or_default();
        inbox.extend_from_slice(bytes);
        let mut replies = Vec::new();
        let mut rest = inbox.clone();
        let number = (proxy as u64) << 48 | (conn as u64) << 32 | epoch;
        while let Some(reply) = self.servers[server].serve(number, &mut inbox, self.now) {
            let asked = &rest[..rest.len() - inbox.len()];
            self.trace((proxy, conn, server), asked, &reply);
            rest.clone_from(&inbox);
            replies.extend_from_slice(&reply);
            if K::CAPS_AT_ONCE {
                self.check_cap(server);
            }
        }
        if !inbox.is_empty() {
            self.inboxes.insert((proxy, conn, epoch), inbox);
        }
        let is_heard = self.proxies[proxy].wires[conn].epoch == epoch;
        if is_heard && !replies.is_empty() {
            let at = self.now + self.delay(server);
            let wire = &mut self.proxies[proxy].wires[conn];
            wire.here = wire.here.max(at);
            let at = wire.here;
            self.push(at, Event::Return(proxy, conn, epoch, replies));
        }
    }

    /// Tells what a server is asked about the key that `FLEET_TRACE` names.
    pub(in crate::fleet) fn trace(&self, place: (usize, usize, usize), asked: &[u8], reply: &[u8]) {
        let Some(key) = &self.traced else { return };
        let (asked, reply) = (String::from_utf8_lossy(asked), String::from_utf8_lossy(reply));
        if asked.contains(key) {
            let (proxy, conn, server) = place;
            eprintln!(
                "{} us: proxy {proxy} conn {conn} server {server}: {asked:?} {reply:?}",
                self.now / 1000
            );
        }
    }

    pub(in crate::fleet) fn look_after_conn(&mut self, proxy: usize, id: ConnId) {
        let conn = id.index();
        let places = self.proxies[proxy].wires.len().max(conn + 1);
        self.proxies[proxy].wires.resize_with(places, Wire::default);
        if self.proxies[proxy].mux.take_must_close(id) {
            self.drop_wire(proxy, conn);
        }
        if !self.proxies[proxy].mux.has_conn(id) {
            return;
        }
        let now = self.instant();
        let this = &mut self.proxies[proxy];
        let server = this.server_of[&this.mux.server_of(id)];
        this.wires[conn].id = Some(id);
        let epoch = this.wires[conn].epoch;
        if this.mux.wants_open(id) {
            this.mux.handle_conn_opening(id, now);
            let at = self.now + self.delay(server);
            return self.push(at, Event::Open(proxy, conn, epoch));
        }
        while self.proxies[proxy].mux.conn_state(id).is_connected()
            && !self.proxies[proxy].mux.conn_output(id).is_empty()
        {
            let delay = self.delay(server);
            let this = &mut self.proxies[proxy];
            let mut output = this.mux.conn_output(id).to_vec();
            // What is sent together may arrive in two pieces, with requests of others between them.
            if self.random.chance(200) {
                output.truncate(1 + self.random.index(output.len()));
            }
            this.mux.handle_conn_written(id, output.len(), now);
            let wire = &mut this.wires[conn];
            wire.there = wire.there.max(self.now + delay);
            let at = wire.there;
            self.push(at, Event::Arrive(proxy, conn, epoch, server, output));
        }
    }
}
