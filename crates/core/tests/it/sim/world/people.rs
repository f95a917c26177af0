//! What clients say and read, and how they come and go.

use super::*;

impl<S: Server> World<S> {
    /// A person connects, for the first time or again.
    pub(super) fn connect(&mut self, person: usize) {
        let id = self.mux.open_client();
        if self.person_of.len() <= id.index() {
            self.person_of.resize(id.index() + 1, usize::MAX);
        }
        self.person_of[id.index()] = person;
        let may_be_quiet = self.plan.limits != TINY && !self.plan.clocks;
        let person_now = &mut self.people[person];
        person_now.client = S::Client::new(may_be_quiet);
        person_now.id = Some(id);
        person_now.said_all = false;
        self.at(100, Event::Ask(person));
    }

    pub(super) fn ask(&mut self, person: usize) {
        let this = &mut self.people[person];
        let Some(id) = this.id else { return };
        if self.plan.errors && self.random.chance(10) {
            self.mux.close_client(id);
            return self.reconnect(person);
        }
        let this = &mut self.people[person];
        for _ in 0..self.random.length(20) {
            if this.left == 0 || this.client.has_ended() {
                break;
            }
            this.left -= 1;
            self.count += 1;
            this.client.ask_anything(&mut self.random, self.count, self.plan.size_max);
        }
        self.start_saying(person);
        if self.people[person].left > 0 && !self.people[person].client.has_ended() {
            self.at(20_000, Event::Ask(person));
        }
        self.maybe_say_all(person);
    }

    pub(super) fn start_saying(&mut self, person: usize) {
        let this = &mut self.people[person];
        if !this.says && !this.client.outbox().is_empty() {
            this.says = true;
            self.at(50, Event::Say(person));
        }
    }

    pub(super) fn say(&mut self, person: usize) {
        let this = &mut self.people[person];
        this.says = false;
        let Some(id) = this.id else { return };
        if this.client.outbox().is_empty() || !self.mux.wants_read(id) {
            return;
        }
        this.waits_since = self.now;
        let now = Instant::from_nanos(self.now);
        let most = this.client.outbox().len().min(20_000);
        let count = self.random.length(most);
        let mut bytes: Vec<u8> = this.client.outbox().drain(..count).collect();
        if let Some(input) = self.mux.client_input(id) {
            let direct = bytes.len().min(input.capacity() - input.len());
            input.extend(bytes.drain(..direct));
            self.mux.handle_client_filled(id, direct, now);
        }
        if !bytes.is_empty() {
            self.mux.handle_client_bytes(id, &bytes, now);
        }
        if self.mux.wants_read(id) {
            self.start_saying(person);
        }
        self.maybe_say_all(person);
    }

    pub(super) fn listen(&mut self, person: usize) {
        let this = &mut self.people[person];
        this.listens = false;
        let Some(id) = this.id else { return };
        let output = self.mux.client_output(id);
        if output.is_empty() {
            return;
        }
        let count = self.random.length(output.len());
        let bytes = output[..count].to_vec();
        self.mux.handle_client_written(id, count);
        let home = |key: &str| {
            let home = self.ring.clone().route(key.as_bytes());
            (!self.failed[home]).then_some(home)
        };
        let histories = self.servers.iter().map(Server::history).collect();
        let truth = Truth { histories, home: &home, errors: self.plan.errors };
        self.people[person].client.receive(&bytes, &truth);
        self.look_after_client(id);
        self.maybe_say_all(person);
    }

    /// Who has asked everything and got everything says so.
    pub(super) fn maybe_say_all(&mut self, person: usize) {
        let this = &mut self.people[person];
        let Some(id) = this.id else { return };
        if this.left == 0 && this.client.is_satisfied() && !this.said_all {
            this.said_all = true;
            self.mux.handle_client_eof(id);
        }
    }

    pub(super) fn reconnect(&mut self, person: usize) {
        self.people[person].id = None;
        if self.people[person].left > 0 {
            self.connect(person);
        }
    }

    pub(super) fn look_after_client(&mut self, id: ClientId) {
        let person = self.person_of[id.index()];
        if self.mux.is_done(id) {
            let this = &self.people[person];
            let shed = self.mux.stats().limit_memory.read() > 0;
            // What a Redis client has at a server is lost with its connection.
            let lost = self.plan.errors && S::PROTOCOL == Protocol::Redis;
            let may_end = shed || lost || this.said_all || this.client.expects_end();
            assert!(may_end, "closed for no reason");
            self.mux.close_client(id);
            return self.reconnect(person);
        }
        if self.mux.wants_read(id) {
            self.start_saying(person);
        }
        let this = &mut self.people[person];
        if !this.listens && !self.mux.client_output(id).is_empty() {
            this.listens = true;
            let slowness = this.slowness;
            self.at(slowness, Event::Listen(person));
        }
    }
}
