//! Requests that are no single key's: `flush_all` to all servers, `version` to any one.

use crate::net::{Net, engine, options};
use nuthatch_core::mux::Options;

#[test]
fn flush_all_is_ok_when_all_servers_say_so() {
    let mut net = Net::new(2);
    let client = net.client();
    net.say(client, "flush_all 10\r\nflush_all noreply\r\nget a\r\n");
    assert_eq!(net.asked(0), "flush_all 10\r\nflush_all\r\nget a\r\n");
    assert_eq!(net.asked(1), "flush_all 10\r\nflush_all\r\n");
    net.answer(0, "OK\r\nOK\r\nEND\r\n");
    assert_eq!(net.got(client), "");
    net.answer(1, "OK\r\nOK\r\n");
    assert_eq!(net.got(client), "OK\r\nEND\r\n");
    assert_eq!(net.mux.stats().cmd_flush.read(), 2);
    net.check_idle();
}

#[test]
fn flush_all_is_refused_unless_allowed() {
    let mut net = Net::with(engine(2, Options { allow_flush: false, ..options() }, None));
    let client = net.client();
    net.say(client, "flush_all\r\nflush_all noreply\r\n");
    assert_eq!(
        net.got(client),
        "CLIENT_ERROR flush_all is not allowed: set allow_flush: true for this pool\r\n"
    );
    assert_eq!(net.asked(0) + &net.asked(1), "");
    net.check_idle();
}

#[test]
fn version_is_asked_of_one_server() {
    let mut net = Net::new(2);
    let client = net.client();
    net.say(client, "version\r\n");
    assert_eq!(net.asked(0), "version\r\n");
    net.answer(0, "VERSION 1.6.18\r\n");
    assert_eq!(net.got(client), "VERSION 1.6.18\r\n");
    net.check_idle();
}
