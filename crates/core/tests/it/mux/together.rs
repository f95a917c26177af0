//! Several keys of one server in one command, while the server gets its keys back.

use super::steps::{give, obey};
use super::warming::{RETURNING, STEP_MS, command, ejection, key_of, keys, redis_warming};
use crate::net::{Net, engine, redis_options};
use nuthatch_core::error::ServerError;
use nuthatch_core::health::Order;
use nuthatch_core::mux::ClientId;

const REFUSED: &str = "-ERR Connection refused\r\n";
const CROSSSLOT: &str = "-CROSSSLOT Keys in request don't hash to the same server: use a hash_tag for keys that belong together\r\n";

/// Keys of the first server.
struct Tenths {
    /// Of those, the ones that it has.
    back: Vec<String>,
    /// Those that others have.
    away: Vec<String>,
}

/// Asks for all keys. The servers' connections are at every second place.
fn tenths(net: &mut Net, client: ClientId) -> Tenths {
    let (mut back, mut away) = (Vec::new(), Vec::new());
    for key in keys() {
        net.say(client, &command(&["GET", &key]));
        for conn in [0, 2, 4] {
            let asked = net.asked(conn);
            let removal = asked.contains("DEL");
            match conn {
                0 if !asked.is_empty() => back.push(key.clone()),
                _ if removal => away.push(key.clone()),
                _ => {}
            }
            if !asked.is_empty() {
                net.answer(conn, if removal { ":0\r\n$-1\r\n" } else { "$-1\r\n" });
            }
        }
    }
    net.got(client);
    Tenths { back, away }
}

fn union(one: &str, other: &str) -> String {
    command(&["SUNION", one, other])
}

/// What a client is told; nothing is sent.
fn told(net: &mut Net, client: ClientId, command: &str) -> String {
    net.say(client, command);
    assert_eq!([0, 2, 4].map(|conn| net.asked(conn)).concat(), "");
    net.got(client)
}

#[test]
fn keys_of_which_some_have_returned_are_refused_and_the_client_is_told_why() {
    let (mut net, client) = redis_warming(redis_options());
    let Tenths { back, away } = tenths(&mut net, client);
    for (one, other) in [(&back[0], &away[0]), (&away[0], &back[0])] {
        assert_eq!(told(&mut net, client, &union(one, other)), RETURNING);
        // A transaction, too, as long as it is not at the server.
        assert_eq!(told(&mut net, client, &command(&["WATCH", one, other])), RETURNING);
    }
    let others = keys().find(|key| !back.contains(key) && !away.contains(key));
    let others = others.expect("the other server has keys");
    assert_eq!(told(&mut net, client, &union(&back[0], &others)), CROSSSLOT);
    let three = command(&["SUNION", &back[0], &away[0], &others]);
    assert_eq!(told(&mut net, client, &three), CROSSSLOT);
    net.say(client, &union(&back[0], &back[1]));
    assert_eq!(net.asked(0), union(&back[0], &back[1]));
    net.answer(0, "*0\r\n");
    net.say(client, &union(&away[0], &away[1]));
    assert_eq!(net.asked(2), union(&away[0], &away[1]));
}

#[test]
fn keys_for_which_different_servers_stand_in_are_refused_and_the_client_is_told_why() {
    let mut net = Net::with(engine(3, redis_options(), Some(ejection())));
    let client = net.client();
    let refused = |net: &mut Net, away: &[String]| {
        let told = away[1..].iter().map(|key| {
            net.say(client, &union(&away[0], key));
            let asked = [2, 4].map(|conn| {
                let asked = net.asked(conn);
                let removals = asked.matches("DEL").count();
                net.answer(conn, &":0\r\n".repeat(removals));
                if asked.contains("SUNION") {
                    net.answer(conn, "*0\r\n");
                }
                asked.contains("SUNION")
            });
            (asked.contains(&true), net.got(client))
        });
        let told: Vec<_> = told.filter(|(is_asked, _)| !is_asked).map(|(_, told)| told).collect();
        assert!(!told.is_empty());
        told
    };
    net.accepts = false;
    let key = key_of(&net, 0);
    net.say(client, &command(&["GET", &key]));
    net.close_server(0, ServerError::Refused);
    assert_eq!(net.got(client), REFUSED);
    net.accepts = true;
    let Tenths { away, .. } = tenths(&mut net, client);
    assert!(refused(&mut net, &away).iter().all(|told| told == REFUSED));
    net.later(STEP_MS);
    let Tenths { back, .. } = tenths(&mut net, client);
    let away: Vec<String> = away.into_iter().filter(|key| !back.contains(key)).collect();
    assert!(refused(&mut net, &away).iter().all(|told| told == RETURNING));
}

/// A pool of two servers, of which the first was ejected by the operator and has a tenth of its keys now.
fn returned_by_operator() -> (Net, ClientId) {
    let mut mux = engine(2, redis_options(), Some(ejection()));
    mux.share_arbiter();
    let mut net = Net::with(mux);
    let client = net.client();
    obey(&mut net, &[Order::Leave(ServerError::Ejected), Order::GoAway, Order::Replay]);
    obey(&mut net, &give(1));
    (net, client)
}

#[test]
fn keys_of_which_some_have_returned_wait_for_the_next_step_if_it_has_begun() {
    let (mut other, client) = returned_by_operator();
    let Tenths { back, away } = tenths(&mut other, client);
    obey(&mut other, &give(2));
    let now = tenths(&mut other, client).back;
    let next = away.iter().find(|key| now.contains(key)).expect("one of the second tenth");
    let (mut net, client) = returned_by_operator();
    assert_eq!(told(&mut net, client, &union(&back[0], next)), RETURNING, "not: ejected");
    obey(&mut net, &give(2)[..1]);
    assert_eq!(told(&mut net, client, &union(&back[0], next)), "");
    obey(&mut net, &give(2)[1..]);
    assert_eq!(net.asked(0), union(&back[0], next));
}

/// The only other server is ejected by another worker's failures before the first
/// server has all of its keys back.
#[test]
fn if_nobody_stands_in_the_client_is_told_that_the_server_returns() {
    let (mut net, client) = returned_by_operator();
    let Tenths { away, .. } = tenths(&mut net, client);
    let (other, now) = (net.server(1), net.now());
    for order in [Order::Leave(ServerError::Reset), Order::GoAway] {
        net.mux.obey(other, order, 1, now);
    }
    assert_eq!(told(&mut net, client, &command(&["GET", &away[0]])), RETURNING);
    obey(&mut net, &[Order::Leave(ServerError::Reset), Order::GoAway]);
    assert_eq!(told(&mut net, client, &command(&["GET", &away[0]])), REFUSED);
}
