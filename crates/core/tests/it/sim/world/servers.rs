//! What servers take and answer over their connections, late, in pieces, or not at all.

use super::*;

impl<S: Server> World<S> {
    pub(super) fn fault(&mut self) {
        if self.people.iter().all(|person| person.left == 0) {
            return;
        }
        let server = self.random.index(self.plan.servers);
        if self.random.chance(self.plan.faults.hang) {
            self.failed[server] = true;
            self.hung_until[server] = self.now + self.random.below(3_000_000 * TIMEOUT_MS);
        }
        if self.random.chance(self.plan.faults.die) {
            self.failed[server] = true;
            self.down_until[server] = self.now + self.random.below(2_000_000 * TIMEOUT_MS);
            if self.random.chance(500) {
                self.servers[server].flush();
            }
            for conn in 0..self.wires.len() {
                if self.wires[conn].open && self.server_at(conn) == server {
                    let id = self.id_at(conn);
                    self.drop_wire(conn);
                    let error = self.random.pick(&[ServerError::Reset, ServerError::Closed]);
                    self.mux.handle_conn_closed(id, error, self.now());
                }
            }
        }
        if self.plan.changes {
            self.change_servers();
            if S::PROTOCOL == Protocol::Memcache {
                let moved = self.random.index(self.mux.conns().len());
                self.mux.reconnect_when_idle(self.mux.conns()[moved]);
            }
        }
        self.at(10_000, Event::Fault);
    }

    /// Some servers are in the pool now, others not.
    pub(super) fn change_servers(&mut self) {
        let mut members: Vec<usize> = (0..self.plan.servers).collect();
        if self.random.chance(500) {
            members.remove(self.random.index(self.plan.servers));
        }
        // No server has all that was ever stored under its keys.
        self.failed.fill(true);
        let stats: Vec<_> = members.iter().map(|member| Arc::clone(&self.stats[*member])).collect();
        self.mux.set_servers(ring_of(&members), &stats, |_| true);
        self.server_of.extend(self.mux.servers().iter().copied().zip(members));
    }

    pub(super) fn id_at(&self, conn: usize) -> ConnId {
        self.wires[conn].id.expect("only connections have events")
    }

    /// The server to which a connection leads.
    pub(super) fn server_at(&self, conn: usize) -> usize {
        self.server_of[&self.mux.server_of(self.id_at(conn))]
    }

    pub(super) fn drop_wire(&mut self, conn: usize) {
        let epoch = self.wires[conn].epoch + 1;
        self.servers.iter_mut().for_each(|server| server.disconnect(conn));
        self.wires[conn] = Wire { epoch, ..Wire::default() };
    }

    pub(super) fn open(&mut self, conn: usize, epoch: u64) {
        if self.wires[conn].epoch != epoch {
            return;
        }
        let id = self.id_at(conn);
        if self.now < self.down_until[self.server_at(conn)] {
            self.drop_wire(conn);
            return self.mux.handle_conn_closed(id, ServerError::Refused, self.now());
        }
        self.wires[conn].open = true;
        self.mux.handle_conn_open(id, self.now());
    }

    pub(super) fn write(&mut self, conn: usize, epoch: u64) {
        if self.wires[conn].epoch != epoch {
            return;
        }
        self.wires[conn].writes = false;
        let id = self.id_at(conn);
        let output = self.mux.conn_output(id);
        if output.is_empty() {
            return;
        }
        let count = self.random.length(output.len());
        self.wires[conn].inbox.extend_from_slice(&output[..count]);
        self.mux.handle_conn_written(id, count, self.now());
        self.at(200, Event::Serve(conn, epoch));
        self.look_after_conn(id);
    }

    pub(super) fn serve(&mut self, conn: usize, epoch: u64) {
        if self.wires[conn].epoch != epoch {
            return;
        }
        let server = self.server_at(conn);
        if self.now < self.hung_until[server] {
            return self.at(1000 * TIMEOUT_MS, Event::Serve(conn, epoch));
        }
        let faults = self.plan.faults;
        let wire = &mut self.wires[conn];
        while let Some(mut reply) = self.servers[server].serve(conn, &mut wire.inbox) {
            if reply.bytes.is_empty() {
                self.count += 1;
                let end = self.now + 1_000_000 * self.random.below(TIMEOUT_MS * 3);
                self.events.push(Reverse((end, self.count, Event::GiveUp(conn, epoch))));
                continue;
            }
            if self.random.chance(faults.garbage) {
                self.failed[server] = true;
                reply = Reply { bytes: b"gar bage\r\n".to_vec(), hit: None };
            }
            if let Some(key) = reply.hit.as_ref().filter(|_| self.random.chance(faults.lie)) {
                reply = Reply { bytes: S::lie(key), hit: None };
            }
            wire.replies.push(reply);
            if self.random.chance(faults.surplus) {
                self.failed[server] = true;
                wire.replies.push(Reply { bytes: S::SURPLUS.to_vec(), hit: None });
            }
            if let [.., one, two] = &mut wire.replies[..]
                && one.hit.is_some()
                && two.hit.is_some()
                && one.hit != two.hit
                && self.random.chance(faults.swap)
            {
                self.failed[server] = true;
                std::mem::swap(one, two);
            }
        }
        for reply in wire.replies.drain(..) {
            wire.outbox.extend_from_slice(&reply.bytes);
        }
        self.start_reading(conn);
        self.deliver(server);
    }

    /// Brings connections what they get besides replies.
    pub(super) fn deliver(&mut self, server: usize) {
        for (conn, bytes) in self.servers[server].take_sent() {
            self.wires[conn].outbox.extend_from_slice(&bytes);
            self.start_reading(conn);
            // What it has sent since is served now.
            let epoch = self.wires[conn].epoch;
            self.at(200, Event::Serve(conn, epoch));
        }
    }

    pub(super) fn give_up(&mut self, conn: usize, epoch: u64) {
        if self.wires[conn].epoch == epoch {
            let server = self.server_at(conn);
            self.servers[server].give_up(conn);
            self.deliver(server);
        }
    }

    pub(super) fn start_reading(&mut self, conn: usize) {
        let wire = &mut self.wires[conn];
        if !wire.reads && !wire.outbox.is_empty() {
            wire.reads = true;
            let epoch = wire.epoch;
            self.at(200, Event::Read(conn, epoch));
        }
    }

    pub(super) fn read(&mut self, conn: usize, epoch: u64) {
        if self.wires[conn].epoch != epoch {
            return;
        }
        let (id, now) = (self.id_at(conn), self.now());
        let wire = &mut self.wires[conn];
        wire.reads = false;
        let count = self.random.length(wire.outbox.len());
        let mut bytes: Vec<u8> = wire.outbox.drain(..count).collect();
        if let Some(input) = self.mux.conn_input(id) {
            let direct = bytes.len().min(input.capacity() - input.len());
            input.extend(bytes.drain(..direct));
            self.mux.handle_server_filled(id, now);
        }
        if !bytes.is_empty() {
            self.mux.handle_server_bytes(id, &bytes, now);
        }
        self.start_reading(conn);
    }

    pub(super) fn look_after_conn(&mut self, id: ConnId) {
        if self.wires.len() <= id.index() {
            self.wires.resize_with(id.index() + 1, Wire::default);
        }
        if self.mux.take_must_close(id) {
            self.drop_wire(id.index());
        }
        if !self.mux.has_conn(id) {
            return;
        }
        self.wires[id.index()].id = Some(id);
        let epoch = self.wires[id.index()].epoch;
        if self.mux.wants_open(id) {
            self.mux.handle_conn_opening(id, self.now());
            self.at(500, Event::Open(id.index(), epoch));
        }
        let is_open = self.mux.conn_state(id).is_connected();
        let wire = &mut self.wires[id.index()];
        assert!(!is_open || wire.open, "a connection is open that is not");
        if is_open && !wire.writes && !self.mux.conn_output(id).is_empty() {
            wire.writes = true;
            self.at(100, Event::Write(id.index(), epoch));
        }
    }
}
