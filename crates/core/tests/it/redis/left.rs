//! What reaches a server that everybody has left: nothing that a client has asked since, and nothing of what
//! clients had there for themselves.

use super::{OK, QUEUED, array, confirmation, requests};
use crate::net::{MIGRATE, Net, engine, redis_options};
use crate::property::cases;
use crate::sim::resp::parse;
use nuthatch_core::error::ServerError;
use nuthatch_core::health::{Ejection, OnFailure, Order};
use nuthatch_core::mux::{ClientId, ConnId};
use nuthatch_core::ring::{Distribution, Hash, Member, Ring};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The first connection for one client alone.
const OWN: usize = 4;

/// Two servers, about which others decide.
fn pool() -> Net {
    let ejection = Ejection {
        on_failure: OnFailure::Rehash,
        journal_max: 1 << 20,
        retry_timeout: Duration::from_secs(100),
        ..Ejection::default()
    };
    let mut net = Net::with(engine(2, redis_options(), Some(ejection)));
    net.mux.share_arbiter();
    net
}

#[test]
fn what_begins_in_the_turn_in_which_its_server_is_left_is_not_sent() {
    for (asked, told) in
        [("MULTI;SET a 1", OK), ("WATCH a", ""), ("BLPOP a 0", ""), ("SUBSCRIBE a", "")]
    {
        let mut net = pool();
        let client = net.client();
        let (server, now) = (net.server(0), net.now());
        net.mux.handle_client_bytes(client, requests(asked).as_bytes(), now);
        net.mux.obey(server, Order::Leave(ServerError::Refused), 1, now);
        net.settle_now();
        assert_eq!(net.asked(OWN), "", "{asked}");
        assert_eq!(net.got(client), told.to_owned() + super::REFUSED, "{asked}");
        net.check_idle();
    }
}

#[test]
fn what_is_asked_in_the_turn_in_which_its_server_is_probed_is_not_sent() {
    let mut net = pool();
    let client = net.client();
    let (server, now) = (net.server(0), net.now());
    net.mux.handle_client_bytes(client, requests("GET a").as_bytes(), now);
    for order in [Order::Leave(ServerError::Ejected), Order::GoAway, Order::Probe] {
        net.mux.obey(server, order, 1, now);
    }
    net.settle_now();
    assert_eq!((net.asked(0).as_str(), net.is_connected(0)), ("", true), "it is the probe");
    assert_eq!(net.got(client), super::TIMED_OUT);
}

#[test]
fn nothing_begins_at_an_old_server_of_keys_that_move_once_it_is_left() {
    let mut net = pool();
    let member = |name: &str| Member { name: name.as_bytes().into(), weight: 1 };
    let members = ["server0", "server1", "server2"].map(member);
    let ring = Ring::new(Distribution::Modula, Hash::Fnv1a_64, None, members.into(), 1);
    let (stats, now) = ([(); 3].map(|()| Arc::default()), net.now());
    net.mux.migrate_servers(ring, &stats, |_| true, (MIGRATE, now)).unwrap();
    let server = net.server(0);
    for order in [Order::Leave(ServerError::Ejected), Order::GoAway] {
        net.mux.obey(server, order, 1, now);
        for key in 'a'..='z' {
            let client = net.client();
            net.say(client, &requests(&format!("WATCH {key}")));
            for id in net.mux.conns().to_vec() {
                let asked = net.asked(id.index());
                assert!(net.mux.server_of(id) != server || asked.is_empty(), "{asked}");
            }
            net.leave(client);
        }
    }
}

/// What happens to the pool.
#[derive(Clone, Debug)]
enum Act {
    /// A client says this; perhaps nothing else happens in this turn.
    Say(usize, usize),
    /// The end of a turn.
    Settle,
    /// Servers answer.
    Answer,
    /// Whether connections open at once.
    Accept(bool),
    /// The next order about the first server.
    Order,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        12 => (0..3usize, 0..SAYS.len()).prop_map(|(client, what)| Act::Say(client, what)),
        4 => Just(Act::Settle),
        3 => Just(Act::Answer),
        1 => any::<bool>().prop_map(Act::Accept),
        2 => Just(Act::Order),
    ];
    vec(act, 1..60)
}

/// What clients say; each key is another one.
const SAYS: [&str; 12] = [
    "MULTI",
    "EXEC",
    "DISCARD",
    "SET # 1",
    "SET # 1",
    "GET #",
    "WATCH #",
    "UNWATCH",
    "BLPOP # 0",
    "SUBSCRIBE #",
    "UNSUBSCRIBE",
    "MULTI;SET # 1;EXEC",
];

struct World {
    net: Net,
    clients: Vec<ClientId>,
    /// The number of the next key.
    next: u64,
    /// Of the first server: the number of the next key when it was left, and how many orders it got.
    left_at: Option<u64>,
    orders: usize,
    /// How many commands are queued on a connection.
    queued: BTreeMap<ConnId, Option<usize>>,
    /// What servers are still to answer.
    due: Vec<(ConnId, Vec<String>)>,
}

impl World {
    fn new() -> Self {
        let mut net = pool();
        let clients = (0..3).map(|_| net.client()).collect();
        let (queued, due) = (BTreeMap::new(), Vec::new());
        Self { net, clients, next: 0, left_at: None, orders: 0, queued, due }
    }

    fn act(&mut self, act: &Act) {
        match *act {
            Act::Say(client, what) => {
                if !self.net.is_open(self.clients[client]) {
                    self.clients[client] = self.net.client();
                }
                let id = self.clients[client];
                let said = requests(&SAYS[what].replace('#', &format!("k{:03}", self.next)));
                self.next += 1;
                let now = self.net.now();
                if self.net.mux.wants_read(id) {
                    self.net.mux.handle_client_bytes(id, said.as_bytes(), now);
                }
            }
            Act::Settle => self.settle(),
            Act::Answer => self.answer(),
            Act::Accept(accepts) => self.net.accepts = accepts,
            Act::Order => self.order(),
        }
    }

    fn order(&mut self) {
        self.look();
        let (server, now) = (self.net.server(0), self.net.now());
        let order = [Order::Leave(ServerError::Ejected), Order::GoAway, Order::Probe];
        let Some(order) = order.get(self.orders) else { return };
        if self.orders == 0 {
            // What was asked before may be under way.
            self.left_at = Some(self.next);
        }
        self.orders += 1;
        self.net.mux.obey(server, *order, 1, now);
    }

    fn settle(&mut self) {
        self.net.settle_now();
        self.look();
    }

    /// Looks at what has reached servers.
    fn look(&mut self) {
        let away = self.net.server(0);
        for id in self.net.mux.conns().to_vec() {
            let asked = self.net.asked(id.index());
            let mut rest = asked.as_bytes();
            while let Some((request, len)) = parse(rest) {
                rest = &rest[len..];
                let words: Vec<String> = request
                    .elements()
                    .iter()
                    .map(|it| it.text().expect("text").to_owned())
                    .collect();
                if let Some(left_at) = self.left_at.filter(|_| self.net.mux.server_of(id) == away) {
                    assert!(id.index() < OWN, "{words:?} on a connection for one client");
                    let number = words[1].strip_prefix('k').and_then(|it| it.parse::<u64>().ok());
                    assert!(number.is_none_or(|it| it < left_at), "{words:?} came after");
                    assert!(self.orders < 3 || number.is_none(), "{words:?} after a probe");
                }
                self.due.push((id, words));
            }
        }
    }

    fn answer(&mut self) {
        self.settle();
        for (id, words) in std::mem::take(&mut self.due) {
            if !self.net.mux.has_conn(id) || !self.net.is_connected(id.index()) {
                continue;
            }
            let queued = self.queued.entry(id).or_default();
            let reply = match (words[0].as_str(), &mut *queued) {
                ("EXEC", Some(count)) => format!("*{count}\r\n{}", OK.repeat(*count)),
                ("DISCARD", _) | ("MULTI" | "SET" | "WATCH" | "UNWATCH", None) => OK.to_owned(),
                (_, Some(count)) => {
                    *count += 1;
                    QUEUED.to_owned()
                }
                ("GET", _) => "$-1\r\n".to_owned(),
                ("BLPOP", _) => array(&format!("{} 1", words[1])),
                ("SUBSCRIBE", _) => confirmation("subscribe", &words[1], 1),
                ("UNSUBSCRIBE", _) => confirmation("unsubscribe", "k", 0),
                _ => ":0\r\n".to_owned(),
            };
            match words[0].as_str() {
                "MULTI" => *queued = Some(0),
                "EXEC" | "DISCARD" => *queued = None,
                _ => {}
            }
            self.net.answer(id.index(), &reply);
        }
    }
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn nothing_that_was_asked_after_a_server_was_left_reaches_it(acts in acts()) {
        let mut world = World::new();
        for act in &acts {
            world.act(act);
        }
        world.net.accepts = true;
        world.answer();
        world.answer();
    }
}
