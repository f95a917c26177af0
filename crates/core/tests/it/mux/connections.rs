//! Connections to servers: when they open, who shares them, who waits for them.

use super::{DESYNC, hit};
use crate::net::{Net, engine, options};
use nuthatch_core::error::ServerError;
use nuthatch_core::mux::{ClientId, Options};

#[test]
fn a_client_keeps_to_one_of_several_connections_of_a_server() {
    let options = Options { server_connections: 4, ..options() };
    let mut net = Net::with(engine(2, options, None));
    let clients: Vec<ClientId> = (0..5).map(|_| net.client()).collect();
    for &client in &clients {
        net.say(client, "get a\r\n");
        net.say(client, "get b c d\r\n");
    }
    for lane in 0..4 {
        let clients_here = if lane == 0 { 2 } else { 1 };
        assert_eq!(net.asked(lane), "get a\r\nget c\r\n".repeat(clients_here));
        assert_eq!(net.asked(4 + lane), "get b d\r\n".repeat(clients_here));
    }
    net.answer(1, "garbage\r\n");
    net.answer(5, "END\r\n");
    assert_eq!(net.got(clients[1]), DESYNC.repeat(2));
    net.answer(2, &(hit("a", "1") + "END\r\n"));
    net.answer(6, "END\r\n");
    assert_eq!(net.got(clients[2]), hit("a", "1") + "END\r\n", "in the other lane all is well");
}

#[test]
fn a_connection_is_opened_by_the_first_request_or_beforehand() {
    let mut net = Net::with(engine(2, Options { server_connections: 2, ..options() }, None));
    let client = net.client();
    assert!((0..4).all(|conn| !net.is_connected(conn)));
    net.mux.preconnect();
    net.say(client, "verbosity 1\r\n");
    assert_eq!([0, 1, 2, 3].map(|conn| net.is_connected(conn)), [true, false, true, false]);
    let open = [0, 1].map(|server| net.stats(server).server_connections.read());
    assert_eq!(open, [1, 1]);
    net.close_server(0, ServerError::Closed);
    assert!(!net.is_connected(0), "who is not needed is not opened again");
    net.say(client, "get a\r\n");
    assert!(net.is_connected(0));
    net.answer(0, "END\r\n");
    net.check_idle();
}

#[test]
fn requests_wait_while_their_connection_opens() {
    let mut net = Net::new(1);
    net.accepts = false;
    let client = net.client();
    net.say(client, "get a\r\n");
    net.say(client, "get b\r\n");
    assert_eq!(net.asked(0), "");
    net.open_server(0);
    assert_eq!(net.asked(0), "get a\r\nget b\r\n");
    net.answer(0, "END\r\nEND\r\n");
    assert_eq!(net.got(client), "END\r\nEND\r\n");
    net.check_idle();
}
