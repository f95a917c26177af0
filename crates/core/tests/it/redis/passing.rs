//! Clients that pass from one multiplexer to another, with what they have said and what binds them.

use super::{OK, QUEUED, array, bulk, confirmation, requests};
use crate::net::{Net, engine, redis_options};
use nuthatch_core::mux::Options;
use nuthatch_core::redis::Settings;
use std::sync::Arc;

/// The first connection for one client alone.
const OWN: usize = 4;

#[test]
fn a_client_keeps_its_name_its_protocol_and_its_login() {
    let settings = Settings { password: Some(b"secret"[..].into()), ..Settings::default() };
    let net = || {
        let options = Options { redis: Arc::new(settings.clone()), ..redis_options() };
        Net::with(engine(2, options, None))
    };
    let (mut old, mut new) = (net(), net());
    let (client, stranger) = (old.client(), old.client());
    old.say(client, &requests("HELLO 3 AUTH default secret SETNAME me"));
    old.say(client, &requests("CLIENT SETINFO lib-name lib;CLIENT SETINFO lib-ver 1"));
    old.got(client);
    let passing = old.mux.pass(client).expect("it is idle");
    let client = new.arrive(passing);
    new.say(client, &requests("CLIENT GETNAME"));
    assert_eq!(new.got(client), bulk("me"));
    let session = new.mux.session(client).redis().expect("a Redis pool");
    assert!(session.is_resp3());
    assert_eq!(session.library(), (&b"lib"[..], &b"1"[..]));
    new.say(client, &requests("GET a"));
    assert!(new.greeted(1).contains(&array("HELLO 3")[4..]), "a connection in RESP3");
    assert_eq!(new.greeted(0), "", "none in RESP2");
    let passing = old.mux.pass(stranger).expect("it is idle");
    let stranger = new.arrive(passing);
    new.say(stranger, &requests("GET a"));
    assert!(new.got(stranger).starts_with("-NOAUTH"));
}

#[test]
fn a_transaction_is_carried_out_before_its_client_passes() {
    let mut old = Net::redis(2);
    let client = old.client();
    old.say(client, &requests("MULTI"));
    assert_eq!(old.mux.pass(client), None, "no server knows of it yet");
    old.say(client, &requests("SET a 1"));
    old.answer(OWN, &format!("{OK}{QUEUED}"));
    assert_eq!(old.mux.pass(client), None);
    assert!(old.mux.wants_read(client));
    old.say(client, &requests("EXEC"));
    assert_eq!(old.mux.pass(client), None);
    old.answer(OWN, "*1\r\n+OK\r\n");
    old.settle_now();
    assert!(old.mux.pass(client).is_some());
    old.settle_now();
    old.check_idle();
}

#[test]
fn who_watches_a_key_or_has_subscriptions_stays() {
    let mut old = Net::redis(2);
    let (watcher, subscriber) = (old.client(), old.client());
    old.say(watcher, &requests("WATCH a"));
    old.answer(OWN, OK);
    assert_eq!(old.mux.pass(watcher), None);
    old.say(watcher, &requests("UNWATCH"));
    old.answer(OWN, OK);
    assert!(old.mux.pass(watcher).is_some());
    old.settle_now();
    old.say(subscriber, &array("SUBSCRIBE a"));
    assert_eq!(old.mux.pass(subscriber), None);
    old.answer(OWN, &confirmation("subscribe", "a", 1));
    assert_eq!(old.mux.pass(subscriber), None);
}
