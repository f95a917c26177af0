//! Single steps of a proxy between a server that all keys leave and the one to which they go, while another
//! proxy writes at a moment that chance would rarely find.

use super::server::Redis;
use crate::fleet::MIGRATE;
use crate::fleet::kind::Server;
use crate::fleet::world::{ring_of, stats_of};
use crate::sim::resp::array;
use nuthatch_core::clocks::Clocks;
use nuthatch_core::limits::Limits;
use nuthatch_core::mux::{Bulk, ClientId, ConnId, Mux, Options, Phase};
use nuthatch_core::protocol::Protocol;
use nuthatch_core::time::Instant;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const OLD: usize = 0;
const NEW: usize = 1;

struct Pair {
    mux: Mux,
    client: ClientId,
    servers: [Redis; 2],
    /// What each connection has sent and its server has not seen.
    sent: BTreeMap<ConnId, Vec<u8>>,
    now: Instant,
}

impl Pair {
    /// Keys move from the old server, which has these.
    fn moving(keys: &[&str]) -> Self {
        let options = Options {
            protocol: Protocol::Redis,
            timeout: None,
            clocks: Clocks::default(),
            ejection: None,
            server_connections: 1,
            bulk: Bulk::NONE,
            allow_flush: true,
            redis: Arc::default(),
            limits: Limits::default(),
            epoch: Duration::from_secs(1_700_000_000),
        };
        let mut mux = Mux::new(ring_of(&[OLD]), options, Arc::default(), &stats_of(&[OLD]));
        let client = mux.open_client();
        let (servers, sent) = (Default::default(), BTreeMap::new());
        let now = Instant::default().after(Duration::from_secs(1));
        let mut pair = Self { mux, client, servers, sent, now };
        for line in keys {
            pair.at(OLD, line);
        }
        let how = (MIGRATE, now);
        pair.mux
            .migrate_servers(ring_of(&[NEW]), &stats_of(&[NEW]), |_| true, how)
            .expect("none moves");
        pair.later(MIGRATE.settle + MIGRATE.pause);
        assert_eq!(
            pair.mux.migration(pair.now).map(|progress| progress.phase),
            Some(Phase::Moving)
        );
        pair
    }

    fn later(&mut self, time: Duration) {
        self.now = self.now.after(time);
        self.mux.handle_timeout(self.now);
    }

    /// What another proxy asks a server.
    fn at(&mut self, server: usize, line: &str) -> String {
        let mut request = array(&line.split(' ').collect::<Vec<&str>>());
        let reply = self.servers[server].serve(0, &mut request, self.now.as_nanos());
        String::from_utf8(reply.expect("a whole request")).expect("text")
    }

    fn say(&mut self, line: &str) {
        let request = array(&line.split(' ').collect::<Vec<&str>>());
        self.mux.handle_client_bytes(self.client, &request, self.now);
        self.look_after();
    }

    fn look_after(&mut self) {
        while let Some(id) = self.mux.next_dirty_conn() {
            if self.mux.wants_open(id) {
                self.mux.handle_conn_opening(id, self.now);
                self.mux.handle_conn_open(id, self.now);
            }
            let output = self.mux.conn_output(id).to_vec();
            self.mux.handle_conn_written(id, output.len(), self.now);
            self.sent.entry(id).or_default().extend_from_slice(&output);
        }
    }

    /// Lets a server answer the next request that it was sent. The request's first word.
    fn step(&mut self, server: usize) -> String {
        let leads_there = |id: &ConnId| self.mux.servers().contains(&self.mux.server_of(*id));
        let is_new = server == NEW;
        let found =
            self.sent.iter().find(|(id, sent)| !sent.is_empty() && leads_there(id) == is_new);
        let id = *found.expect("it was asked").0;
        let sent = self.sent.get_mut(&id).expect("it is there");
        let before = sent.clone();
        let reply =
            self.servers[server].serve(1, sent, self.now.as_nanos()).expect("a whole request");
        let asked = String::from_utf8(before[..before.len() - sent.len()].to_vec()).expect("text");
        self.mux.handle_server_bytes(id, &reply, self.now);
        self.look_after();
        asked.lines().nth(2).expect("a word").to_owned()
    }

    /// Lets a server answer all that it was sent up to a request with this word.
    fn until(&mut self, server: usize, word: &str) {
        for _ in 0..10 {
            if self.step(server) == word {
                return;
            }
        }
        panic!("{word} does not come");
    }

    /// Lets both servers answer until nothing is on its way. What the client got.
    fn finish(&mut self) -> String {
        while self.sent.values().any(|sent| !sent.is_empty()) {
            let leads_there = |id: &ConnId| self.mux.servers().contains(&self.mux.server_of(*id));
            let (id, _) = self.sent.iter().find(|(_, sent)| !sent.is_empty()).expect("one is left");
            let server = if leads_there(id) { NEW } else { OLD };
            self.step(server);
        }
        let output = self.mux.client_output(self.client).to_vec();
        self.mux.handle_client_written(self.client, output.len());
        String::from_utf8(output).expect("text")
    }
}

/// A request is carried out on what another proxy has written, not on nothing.
#[test]
fn what_others_have_written_since_it_was_fetched_is_not_dropped() {
    for write in ["SET k 50", "PEXPIRE k 900000"] {
        let mut pair = Pair::moving(&["SET k 7"]);
        pair.say("INCR k");
        pair.until(NEW, "HELLO");
        // Whether it is there, and the mark.
        pair.until(NEW, "EXISTS");
        pair.until(NEW, "EVAL");
        pair.until(OLD, "HELLO");
        pair.until(OLD, "EVAL");
        pair.until(NEW, "EVAL");
        assert_eq!(pair.at(NEW, "GET k"), "$1\r\n7\r\n", "it is copied");
        // Another proxy, for which keys do not move yet, writes, and lets the new server forget.
        pair.at(OLD, write);
        pair.at(NEW, "DEL k k:nuthatch-moving");
        let expected = if write.starts_with("SET") { ":51\r\n" } else { ":8\r\n" };
        assert_eq!(pair.finish(), expected, "{write}");
        assert_eq!(pair.at(OLD, "EXISTS k"), ":0\r\n");
        let left = pair.at(NEW, "PTTL k");
        assert_eq!(left == ":-1\r\n", write.starts_with("SET"), "{left}");
    }
}

/// As long as other proxies may read at the old server, a read leaves the value there.
#[test]
fn reads_copy_when_no_proxy_reads_the_old_server_only() {
    let mut pair = Pair::moving(&["SET k 7"]);
    pair.say("GET k");
    assert_eq!(pair.finish(), "$1\r\n7\r\n");
    assert_eq!(
        (pair.at(OLD, "EXISTS k"), pair.at(NEW, "EXISTS k")),
        (":1\r\n".into(), ":0\r\n".into())
    );
    pair.later(MIGRATE.settle);
    pair.say("GET k");
    assert_eq!(pair.finish(), "$1\r\n7\r\n");
    assert_eq!(
        (pair.at(OLD, "EXISTS k"), pair.at(NEW, "EXISTS k")),
        (":0\r\n".into(), ":1\r\n".into())
    );
}
