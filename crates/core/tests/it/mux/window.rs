//! How much may be in flight, by client and by server, and who is held until there is room.

use super::{hit, set};
use crate::net::{Net, engine, options};
use nuthatch_core::error::ServerError;
use nuthatch_core::limits::Limits;
use nuthatch_core::mux::{ClientId, Options};

#[test]
fn clients_that_wait_for_a_server_are_served_in_turn() {
    let limits = Limits { server_requests_max: 4, ..Limits::default() };
    let mut net = Net::with(engine(1, Options { limits, ..options() }, None));
    let clients: Vec<ClientId> = (0..20).map(|_| net.client()).collect();
    let mut served = vec![0; clients.len()];
    clients.iter().for_each(|client| net.say(*client, "get a\r\n"));
    for _ in 0..200 {
        net.answer(0, &(hit("a", "1") + &hit("a", "1")));
        for (client, served) in clients.iter().zip(&mut served) {
            if !net.got(*client).is_empty() {
                *served += 1;
                net.say(*client, "get a\r\n");
            }
        }
    }
    assert!(served.iter().all(|served| (18..=22).contains(served)), "{served:?}");
}

#[test]
fn a_client_has_only_so_many_requests_in_flight() {
    let mut net = Net::with_limits(1, Limits { client_requests_max: 3, ..Limits::default() });
    let client = net.client();
    net.say(client, &"get a\r\n".repeat(5));
    assert_eq!(net.asked(0), "get a\r\n".repeat(3));
    assert!(!net.mux.wants_read(client));
    net.answer(0, "END\r\n");
    assert_eq!(net.asked(0), "get a\r\n");
    net.answer(0, &"END\r\n".repeat(3));
    assert_eq!(net.asked(0), "get a\r\n");
    assert!(net.mux.wants_read(client));
    net.answer(0, "END\r\n");
    assert_eq!(net.got(client), "END\r\n".repeat(5));
    assert!(net.mux.stats().limit_client_paused.read() > 0);
    net.check_idle();
}

#[test]
fn a_new_client_gets_few_in_flight_until_its_replies_are_seen_to_be_small() {
    let mut net = Net::new(1);
    let client = net.client();
    let mut most = 0;
    net.say(client, &"get a\r\n".repeat(1000));
    let mut left = 1000;
    while left > 0 {
        let asked = net.asked(0).len() / "get a\r\n".len();
        most = most.max(asked);
        assert!(most > 16 || asked <= 16, "64 KiB are guessed for each");
        net.answer(0, &"END\r\n".repeat(asked));
        left -= asked;
    }
    assert!(most > 100, "{most}");
    assert_eq!(net.got(client), "END\r\n".repeat(1000));
    net.check_idle();
}

#[test]
fn a_client_that_does_not_read_is_not_read_from() {
    let mut net = Net::new(1);
    let client = net.client();
    net.set_reading(client, false);
    let reply = hit("a", &"x".repeat(100_000));
    let mut asked = 0;
    net.say(client, &"get a\r\n".repeat(1000));
    loop {
        let requests = net.asked(0).len() / "get a\r\n".len();
        if requests == 0 {
            break;
        }
        asked += requests;
        net.answer(0, &reply.repeat(requests));
    }
    let kept = net.mux.client_output(client).len();
    assert!(kept < (1 << 20) + 17 * reply.len(), "{kept} bytes are kept");
    assert!(!net.mux.wants_read(client));
    net.set_reading(client, true);
    while asked < 1000 {
        let requests = net.asked(0).len() / "get a\r\n".len();
        assert!(requests > 0, "it goes on once it reads");
        asked += requests;
        net.answer(0, &reply.repeat(requests));
    }
    assert_eq!(net.got(client).len(), 1000 * reply.len());
    net.check_idle();
}

#[test]
fn a_full_server_queue_holds_clients_and_lets_them_go_on() {
    let mut net = Net::with_limits(2, Limits { server_requests_max: 4, ..Limits::default() });
    let (one, two) = (net.client(), net.client());
    net.say(one, &"get a\r\n".repeat(6));
    net.say(two, "get b\r\nget c\r\nget d\r\n");
    assert_eq!((net.asked(0), net.asked(1)), ("get a\r\n".repeat(4), "get b\r\n".to_owned()));
    assert!(!net.mux.wants_read(one) && !net.mux.wants_read(two));
    net.answer(1, "END\r\n");
    assert_eq!(net.got(two), "END\r\n", "what it asked for before comes");
    net.answer(0, "END\r\n");
    assert_eq!(net.asked(0), "", "not for every single place");
    net.answer(0, "END\r\n");
    let asked = net.asked(0);
    assert_eq!(asked.len(), "get a\r\n".len() * 2, "half of it was free: {asked}");
    net.answer(0, &"END\r\n".repeat(4));
    net.answer(0, "END\r\n");
    net.answer(1, "END\r\n");
    assert_eq!(net.got(one), "END\r\n".repeat(6));
    assert_eq!(net.got(two), "END\r\n".repeat(2));
    net.check_idle();
}

#[test]
fn a_request_of_many_servers_is_queued_whole_or_not_at_all() {
    let mut net = Net::with_limits(2, Limits { server_requests_max: 1, ..Limits::default() });
    let (one, two) = (net.client(), net.client());
    net.say(one, "get b\r\n");
    net.say(two, "get a b\r\n");
    assert_eq!((net.asked(0), net.asked(1)), (String::new(), "get b\r\n".to_owned()));
    net.answer(1, "END\r\n");
    assert_eq!((net.asked(0), net.asked(1)), ("get a\r\n".to_owned(), "get b\r\n".to_owned()));
    net.answer(0, "END\r\n");
    net.answer(1, "END\r\n");
    net.say(one, "get b\r\n");
    net.say(two, "flush_all\r\n");
    assert_eq!((net.asked(0), net.asked(1)), (String::new(), "get b\r\n".to_owned()));
    net.answer(1, "END\r\n");
    net.answer(0, "OK\r\n");
    net.answer(1, "OK\r\n");
    assert_eq!(net.got(two), "END\r\nOK\r\n");
    net.check_idle();
}

#[test]
fn a_full_queue_of_bytes_holds_clients_too() {
    let mut net = Net::with_limits(1, Limits { server_buffer_max: 100, ..Limits::default() });
    net.set_server_reading(0, false);
    let client = net.client();
    net.say(client, &(set("a", &"x".repeat(100)) + "get a\r\n"));
    assert!(!net.mux.wants_read(client));
    net.set_server_reading(0, true);
    assert!(net.mux.wants_read(client));
    net.answer(0, "STORED\r\nEND\r\n");
    assert_eq!(net.got(client), "STORED\r\nEND\r\n");
    net.check_idle();
}

#[test]
fn whoever_waits_for_a_lost_server_goes_on() {
    let mut net = Net::with_limits(1, Limits { server_requests_max: 1, ..Limits::default() });
    let (one, two) = (net.client(), net.client());
    net.say(one, "get a\r\n");
    net.say(two, "get b\r\n");
    net.close_server(0, ServerError::Closed);
    assert_eq!(net.got(one), "SERVER_ERROR unknown\r\n");
    assert_eq!(net.asked(0), "get a\r\nget b\r\n");
    net.answer(0, "END\r\n");
    assert_eq!(net.got(two), "END\r\n");
    net.check_idle();
}
