//! Clients that ask for much use connections of their own, in order; nobody waits for their turn long.

use super::{hit, set};
use crate::net::{Net, TIMEOUT_MS, engine, options, redis_options};
use nuthatch_core::mux::{Bulk, ClientId, Mux, Options};
use nuthatch_core::time::Instant;
use std::time::Duration;

const SHARED: usize = 0;
const OF_BULK: usize = 1;

/// One server with a connection for all and one for bulk.
fn net() -> Net {
    let bulk = Bulk { connections: 1, ..Bulk::NONE };
    Net::with(engine(1, Options { bulk, ..options() }, None))
}

fn bulk_clients(net: &Net) -> u64 {
    net.mux.stats().bulk_clients.read()
}

fn large() -> String {
    hit("a", &"x".repeat(100_000))
}

/// A client whose last reply was a large one.
fn bulky(net: &mut Net) -> ClientId {
    let client = net.client();
    net.say(client, "get a\r\n");
    assert_eq!(net.asked(SHARED), "get a\r\n");
    net.answer(SHARED, &large());
    assert_eq!(net.got(client), large());
    client
}

#[test]
fn a_client_of_large_replies_changes_its_connection_and_others_do_not() {
    let mut net = net();
    let small = net.client();
    let client = bulky(&mut net);
    net.say(client, "get a\r\n");
    net.say(small, "get c\r\n");
    assert_eq!([SHARED, OF_BULK].map(|conn| net.asked(conn)), ["get c\r\n", "get a\r\n"]);
    net.answer(SHARED, &hit("c", "1"));
    assert_eq!(net.got(small), hit("c", "1"), "it does not wait for the large one");
    assert_eq!(bulk_clients(&net), 1);
    assert!(net.mux.has_bulk());
    let before = net.now();
    net.later(1);
    net.answer(OF_BULK, &large());
    net.say(client, "get a\r\n");
    assert_eq!(net.mux.asked_for_little(), before, "the other one did");
    net.answer(OF_BULK, &large());
    net.leave(client);
    net.leave(small);
    assert_eq!(bulk_clients(&net), 0);
    net.check_idle();
}

#[test]
fn a_connection_for_bulk_is_not_opened_before_it_is_needed() {
    let mut net = net();
    net.mux.preconnect();
    net.settle_now();
    assert_eq!([SHARED, OF_BULK].map(|conn| net.is_connected(conn)), [true, false]);
    let client = bulky(&mut net);
    assert!(!net.is_connected(OF_BULK));
    net.say(client, "get a\r\n");
    assert!(net.is_connected(OF_BULK));
    net.answer(OF_BULK, "END\r\n");
    net.check_idle();
}

#[test]
fn the_first_large_value_to_be_stored_goes_over_the_connection_for_bulk_already() {
    let mut net = net();
    let client = net.client();
    let value = set("a", &"x".repeat(100_000));
    let (head, rest) = value.split_at(1000);
    net.say(client, head);
    net.say(client, rest);
    assert_eq!([SHARED, OF_BULK].map(|conn| net.asked(conn)), [String::new(), value.clone()]);
    net.answer(OF_BULK, "STORED\r\n");
    assert_eq!(net.got(client), "STORED\r\n");
    net.check_idle();
}

#[test]
fn a_large_request_waits_for_replies_that_are_due_and_overtakes_none() {
    let mut net = net();
    let client = net.client();
    let value = set("a", &"x".repeat(100_000));
    let (head, rest) = value.split_at(1000);
    net.say(client, &("get a\r\nset a 0 0 1 noreply\r\n1\r\n".to_owned() + head));
    net.say(client, rest);
    assert_eq!(net.asked(SHARED), "get a\r\nset a 0 0 1\r\n1\r\n");
    assert_eq!(net.asked(OF_BULK), "");
    assert!(!net.mux.wants_read(client));
    net.answer(SHARED, "END\r\n");
    assert_eq!(net.asked(OF_BULK), "", "the silent one is still on its way");
    net.answer(SHARED, "STORED\r\n");
    assert_eq!(net.asked(OF_BULK), value);
    assert!(net.mux.wants_read(client));
    net.answer(OF_BULK, "STORED\r\n");
    assert_eq!(net.got(client), "END\r\nSTORED\r\n");
    net.check_idle();
}

#[test]
fn wide_multigets_and_deep_pipelines_are_bulk_too() {
    let keys: String = (0..256).map(|key| format!(" k{key}")).collect();
    for request in [format!("get{keys}\r\n"), "get a\r\n".repeat(64)] {
        let mut net = net();
        let client = net.client();
        net.say(client, &request);
        while !net.asked(SHARED).is_empty() {
            net.answer(SHARED, &"END\r\n".repeat(if request.contains('k') { 1 } else { 16 }));
        }
        net.say(client, "get c\r\n");
        let is_deep = !request.contains('k');
        // The first requests of a client are few, as their replies may be large.
        let place = if is_deep && bulk_clients(&net) == 0 { SHARED } else { OF_BULK };
        assert_eq!(net.asked(place), "get c\r\n", "{request}");
        assert!(is_deep || bulk_clients(&net) == 1);
    }
}

#[test]
fn a_client_that_never_stops_asking_changes_nevertheless() {
    let mut net = net();
    let client = net.client();
    let mut answered = 0;
    let mut was_in_bulk = 0;
    net.say(client, &"get a\r\n".repeat(5000));
    while answered < 5000 {
        for conn in [SHARED, OF_BULK] {
            let asked = net.asked(conn).len() / "get a\r\n".len();
            net.answer(conn, &"END\r\n".repeat(asked));
            answered += asked;
            was_in_bulk += if conn == OF_BULK { asked } else { 0 };
        }
    }
    assert!(was_in_bulk > 4000, "{was_in_bulk}");
    assert_eq!(net.got(client), "END\r\n".repeat(5000));
    net.check_idle();
}

#[test]
fn a_client_returns_when_it_has_asked_for_little_long_enough() {
    let mut net = net();
    let client = bulky(&mut net);
    for _ in 0..255 {
        net.say(client, "get c\r\n");
        assert_eq!(net.asked(OF_BULK), "get c\r\n");
        net.answer(OF_BULK, "END\r\n");
    }
    net.say(client, "get c\r\n");
    assert_eq!(net.asked(SHARED), "get c\r\n");
    net.answer(SHARED, "END\r\n");
    assert_eq!(bulk_clients(&net), 0);
    net.check_idle();
}

#[test]
fn a_client_does_not_return_while_a_reply_is_due() {
    let mut net = net();
    let client = bulky(&mut net);
    net.say(client, "get c\r\n");
    for _ in 0..300 {
        net.say(client, "get c\r\n");
        assert_eq!(net.asked(SHARED), "");
        net.answer(OF_BULK, "END\r\n");
    }
    net.answer(OF_BULK, "END\r\n");
    net.say(client, "get c\r\n");
    assert_eq!(net.asked(SHARED), "get c\r\n");
    net.answer(SHARED, "END\r\n");
    net.check_idle();
}

#[test]
fn a_large_request_waits_for_a_silent_one_alone() {
    let mut net = net();
    let client = net.client();
    let value = set("a", &"x".repeat(100_000));
    let (head, rest) = value.split_at(1000);
    net.say(client, &("set a 0 0 1 noreply\r\n1\r\n".to_owned() + head));
    net.say(client, rest);
    assert_eq!([SHARED, OF_BULK].map(|conn| net.asked(conn)), ["set a 0 0 1\r\n1\r\n", ""]);
    net.answer(SHARED, "STORED\r\n");
    assert_eq!(net.asked(OF_BULK), value);
    net.answer(OF_BULK, "STORED\r\n");
    net.check_idle();
}

#[test]
fn a_client_does_not_change_while_the_server_may_carry_out_what_ran_out_of_time() {
    let mut net = net();
    let client = bulky(&mut net);
    let other = net.client();
    // A second client keeps its own large reply for later, so its request runs out of time.
    net.say(other, "set a 0 0 1\r\n1\r\n");
    net.later(TIMEOUT_MS);
    assert_eq!(net.got(other), "SERVER_ERROR Connection timed out\r\n");
    net.asked(SHARED);
    net.say(client, "get a\r\n");
    assert_eq!(net.asked(SHARED), "get a\r\n", "it stays");
    net.answer(SHARED, &("STORED\r\n".to_owned() + &large()));
    net.say(client, "get a\r\n");
    assert_eq!(net.asked(OF_BULK), "get a\r\n");
    net.answer(OF_BULK, "END\r\n");
    net.check_idle();
}

#[test]
fn without_connections_for_bulk_nobody_is_bulky() {
    let mut net = Net::new(1);
    let client = bulky(&mut net);
    net.say(client, "get a\r\n");
    assert_eq!(net.asked(SHARED), "get a\r\n");
    net.answer(SHARED, "END\r\n");
    assert_eq!(net.mux.stats().bulk_moves.read(), 0);
    net.check_idle();
}

#[test]
fn redis_clients_of_both_versions_change_to_connections_of_their_version() {
    let bulk = Bulk { connections: 1, ..Bulk::NONE };
    let large = format!("$100000\r\n{}\r\n", "x".repeat(100_000));
    for (hello, conns) in [("", [0, 1]), ("*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n", [2, 3])] {
        let mut net = Net::with(engine(1, Options { bulk, ..redis_options() }, None));
        let client = net.client();
        if !hello.is_empty() {
            net.say(client, hello);
            net.got(client);
        }
        for conn in conns {
            net.say(client, "*2\r\n$3\r\nGET\r\n$1\r\na\r\n");
            assert_eq!(net.asked(conn), "*2\r\n$3\r\nGET\r\n$1\r\na\r\n");
            net.answer(conn, &large);
            assert_eq!(net.got(client), large);
        }
        net.check_idle();
    }
}

/// Turns of a worker: each reads once from each client that may be read from, and once from each server.
struct Turns {
    mux: Mux,
    now: Instant,
    /// Whole requests that the server has not answered, by connection.
    asked: Vec<Vec<u8>>,
}

impl Turns {
    fn new(bulk: Bulk) -> Self {
        let mux = engine(1, Options { bulk, ..options() }, None);
        Self { mux, now: Instant::default(), asked: vec![Vec::new(); 8] }
    }

    /// One turn. The server answers all that it has.
    fn turn(&mut self, floods: &[ClientId]) {
        self.now = self.now.after(Duration::from_micros(100));
        for asked in 0..self.asked.len() {
            let count = std::mem::take(&mut self.asked[asked]).len() / "get a\r\n".len();
            if count > 0 {
                let id = *self
                    .mux
                    .conns()
                    .iter()
                    .find(|id| id.index() == asked)
                    .expect("it was asked over it");
                self.mux.handle_server_bytes(id, "END\r\n".repeat(count).as_bytes(), self.now);
            }
        }
        for &flood in floods {
            if self.mux.wants_read(flood) {
                self.mux.handle_client_bytes(flood, "get a\r\n".repeat(9000).as_bytes(), self.now);
            }
        }
        self.mux.handle_timeout(self.now);
        self.mux.resume(self.now);
        while let Some(id) = self.mux.next_dirty_conn() {
            if self.mux.wants_open(id) {
                self.mux.handle_conn_opening(id, self.now);
                self.mux.handle_conn_open(id, self.now);
                let count = self.mux.conn_output(id).len();
                self.mux.handle_conn_written(id, count, self.now);
                self.mux.handle_server_bytes(id, b"VERSION 1.6.18\r\n", self.now);
            }
            let output = self.mux.conn_output(id).to_vec();
            self.asked[id.index()].extend_from_slice(&output);
            self.mux.handle_conn_written(id, output.len(), self.now);
        }
        while self.mux.next_dirty_client().is_some() {}
    }

    fn read(&mut self, client: ClientId) -> usize {
        let count = self.mux.client_output(client).len();
        self.mux.handle_client_written(client, count);
        count
    }
}

#[test]
fn in_a_turn_a_flood_takes_no_more_than_its_share_and_everybody_is_served() {
    for bulk in [Bulk::NONE, Bulk { connections: 1, ..Bulk::NONE }] {
        let mut turns = Turns::new(bulk);
        let floods: Vec<ClientId> = (0..3).map(|_| turns.mux.open_client()).collect();
        let polite = turns.mux.open_client();
        let mut of_floods = [0; 3];
        for turn in 0..200 {
            turns.turn(&floods);
            for (flood, sum) in floods.iter().zip(&mut of_floods) {
                *sum += turns.read(*flood);
            }
            let before: usize = turns.asked.iter().map(|asked| asked.len() / 7).sum();
            assert!(before <= 3 * 2 * 128, "{before} requests in turn {turn}");
            turns.mux.handle_client_bytes(polite, b"get a\r\n", turns.now);
            turns.turn(&floods);
            turns.turn(&floods);
            assert_eq!(turns.read(polite), "END\r\n".len(), "in turn {turn}");
        }
        let (least, most) = (of_floods.iter().min().unwrap(), of_floods.iter().max().unwrap());
        assert!(*least > 0 && most - least <= most / 10, "{of_floods:?}");
    }
}
