//! `MULTI`, `EXEC`, `DISCARD` and `WATCH`: over a connection of the client's own, to one server.

use super::{ABORTED, CROSS_SHARD, OK, QUEUED, array, confirmation, requests};
use crate::net::{Net, TIMEOUT_MS, engine, redis_options};
use nuthatch_core::error::ServerError;
use nuthatch_core::health::{Ejection, Order, Report};
use nuthatch_core::limits::Limits;
use nuthatch_core::mux::Options;
use nuthatch_core::quota::{Quota, Quotas};
use std::sync::Arc;

const EJECTED: &str = "-ERR the server is ejected by the operator\r\n";

/// The first connection for one client alone.
const OWN: usize = 4;

#[test]
fn a_server_learns_of_a_transaction_with_its_first_command() {
    let mut net = Net::redis(2);
    let client = net.client();
    net.say(client, &requests("MULTI"));
    assert_eq!((net.got(client), net.mux.conns().len()), (OK.to_owned(), 4));
    net.say(client, &requests("SET a 1"));
    assert_eq!(net.asked(OWN), requests("MULTI;SET a 1"));
    net.answer(OWN, "+OK\r\n+QUEUED\r\n");
    net.say(client, &requests("GET c;PING;EXEC"));
    assert_eq!(net.asked(OWN), requests("GET c;PING;EXEC"));
    let result = "*3\r\n+OK\r\n$-1\r\n+PONG\r\n";
    net.answer(OWN, &(QUEUED.repeat(2) + result));
    assert_eq!(net.got(client), QUEUED.repeat(3) + result);
    assert_eq!([net.asked(0), net.asked(2)], ["", ""]);
    net.check_idle();
}

#[test]
fn a_transaction_in_one_pipeline_is_sent_at_once_and_frees_its_connection() {
    let mut net = Net::redis(2);
    let (one, two) = (net.client(), net.client());
    for client in [one, two, one] {
        net.say(client, &requests("MULTI;SET a 1;INCR a;EXEC;GET a"));
        assert_eq!(net.asked(OWN), requests("MULTI;SET a 1;INCR a;EXEC"));
        assert_eq!(net.asked(0), "", "it must not overtake the transaction");
        net.answer(OWN, "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n:2\r\n");
        assert_eq!(net.asked(0), requests("GET a"));
        net.answer(0, "$1\r\n2\r\n");
        assert_eq!(
            net.got(client),
            OK.to_owned() + &QUEUED.repeat(2) + "*2\r\n+OK\r\n:2\r\n$1\r\n2\r\n"
        );
        assert_eq!(net.mux.conns().len(), OWN + 1, "it is used again");
    }
    net.check_idle();
}

#[test]
fn two_clients_never_share_a_transaction() {
    let mut net = Net::redis(2);
    let (one, two) = (net.client(), net.client());
    for (client, conn) in [(one, OWN), (two, OWN + 1)] {
        net.say(client, &requests("MULTI;SET a 1"));
        assert_eq!(net.asked(conn), requests("MULTI;SET a 1"));
    }
}

#[test]
fn a_key_of_another_server_aborts_a_transaction() {
    let mut net = Net::redis(2);
    let client = net.client();
    net.say(client, &requests("MULTI;SET a 1;SET b 2;MGET a b;SET c 3;EXEC"));
    assert_eq!(net.asked(OWN), requests("MULTI;SET a 1;SET c 3;DISCARD"));
    net.answer(OWN, "+OK\r\n+QUEUED\r\n+QUEUED\r\n+OK\r\n");
    let expected = [OK, QUEUED, CROSS_SHARD, CROSS_SHARD, QUEUED, ABORTED].concat();
    assert_eq!(net.got(client), expected);
    net.say(client, &requests("MULTI;SET a 1"));
    assert_eq!(net.asked(OWN), requests("MULTI;SET a 1"), "the connection is free again");
}

#[test]
fn a_command_that_the_proxy_refuses_aborts_a_transaction() {
    for refused in [
        "SET a",
        "FOO a",
        "OBJECT FOO a",
        "OBJECT ENCODING",
        "CONFIG GET x",
        "SELECT 1",
        "KEYS *",
        "DBSIZE",
        "SUBSCRIBE a",
    ] {
        for first in ["SET a 1", ""] {
            let mut net = Net::redis(2);
            let client = net.client();
            net.say(client, &requests("MULTI"));
            if !first.is_empty() {
                net.say(client, &requests(first));
            }
            net.say(client, &requests(&format!("{refused};EXEC;PING")));
            if !first.is_empty() {
                assert_eq!(net.asked(OWN), requests("MULTI;SET a 1;DISCARD"), "{refused}");
                net.answer(OWN, "+OK\r\n+QUEUED\r\n+OK\r\n");
            }
            let got = net.got(client);
            assert!(got.ends_with(&(ABORTED.to_owned() + "+PONG\r\n")), "{refused}: {got}");
            net.check_idle();
        }
    }
}

#[test]
fn what_redis_says_about_a_transaction_the_proxy_says_as_well() {
    for (said, expected) in [
        ("MULTI;EXEC", "+OK\r\n*0\r\n"),
        ("MULTI;DISCARD", "+OK\r\n+OK\r\n"),
        ("MULTI;MULTI;EXEC", "+OK\r\n-ERR MULTI calls can not be nested\r\n*0\r\n"),
        ("MULTI;WATCH a;EXEC", "+OK\r\n-ERR WATCH inside MULTI is not allowed\r\n*0\r\n"),
        ("EXEC", "-ERR EXEC without MULTI\r\n"),
        ("DISCARD", "-ERR DISCARD without MULTI\r\n"),
        ("UNWATCH", "+OK\r\n"),
        ("MULTI;EXEC;EXEC", "+OK\r\n*0\r\n-ERR EXEC without MULTI\r\n"),
        ("MULTI;RESET;EXEC", "+OK\r\n+RESET\r\n-ERR EXEC without MULTI\r\n"),
    ] {
        let mut net = Net::redis(2);
        let client = net.client();
        net.say(client, &requests(said));
        assert_eq!(net.got(client), expected, "{said}");
        assert_eq!(net.mux.conns().len(), 4, "no server needs to know");
        net.check_idle();
    }
}

#[test]
fn commands_without_keys_wait_for_the_first_key_of_their_transaction() {
    let mut net = Net::redis(2);
    let client = net.client();
    net.say(client, &requests("MULTI;PING;ECHO x"));
    assert_eq!((net.got(client), net.mux.conns().len()), (OK.to_owned() + &QUEUED.repeat(2), 4));
    net.say(client, &requests("GET b;PING;EXEC"));
    assert_eq!(net.asked(OWN), requests("MULTI;PING;ECHO x;GET b;PING;EXEC"));
    let server = net.mux.server_of(net.conn(OWN));
    assert_eq!(server, net.server(1), "that of b");
    let result = "*4\r\n+PONG\r\n$1\r\nx\r\n$-1\r\n+PONG\r\n";
    net.answer(OWN, &(OK.to_owned() + &QUEUED.repeat(4) + result));
    assert_eq!(net.got(client), QUEUED.repeat(2) + result);
    net.check_idle();
}

#[test]
fn a_transaction_without_any_key_is_carried_out_by_some_server() {
    let mut net = Net::redis(2);
    let client = net.client();
    for _ in 0..2 {
        net.say(client, &requests("MULTI;PING;EXEC"));
        assert_eq!(net.asked(OWN), requests("MULTI;PING;EXEC"));
        net.answer(OWN, "+OK\r\n+QUEUED\r\n*1\r\n+PONG\r\n");
        assert_eq!(net.got(client), "+OK\r\n+QUEUED\r\n*1\r\n+PONG\r\n");
    }
    net.say(client, &requests("MULTI;PING;DISCARD"));
    assert_eq!((net.got(client), net.asked(OWN)), ([OK, QUEUED, OK].concat(), String::new()));
    net.check_idle();
}

#[test]
fn no_more_than_some_kilobytes_of_commands_wait_for_a_key() {
    let mut net = Net::redis(2);
    let client = net.client();
    let request = requests(&format!("ECHO {}", "x".repeat(4096)));
    net.say(client, &(requests("MULTI") + &request + &requests("EXEC")));
    let got = net.got(client);
    assert!(got.starts_with("+OK\r\n-ERR no key says which server this is for"), "{got}");
    assert!(got.ends_with(ABORTED));
    net.check_idle();
}

#[test]
fn watched_keys_bind_a_client_to_their_server_until_exec() {
    let mut net = Net::redis(2);
    let client = net.client();
    net.say(client, &requests("WATCH a;GET a"));
    assert_eq!((net.asked(OWN), net.asked(0)), (requests("WATCH a"), String::new()));
    net.answer(OWN, OK);
    assert_eq!(net.asked(0), requests("GET a"));
    net.answer(0, "$1\r\n1\r\n");
    net.say(client, &requests("WATCH b"));
    assert_eq!(net.got(client), format!("{OK}$1\r\n1\r\n{CROSS_SHARD}"));
    net.say(client, &requests("MULTI;SET a 2;EXEC"));
    assert_eq!(net.asked(OWN), requests("MULTI;SET a 2;EXEC"));
    net.answer(OWN, "+OK\r\n+QUEUED\r\n*-1\r\n");
    assert_eq!(net.got(client), format!("{OK}{QUEUED}*-1\r\n"));
    net.say(client, &requests("WATCH b"));
    assert_eq!(net.asked(OWN + 1), requests("WATCH b"), "it is bound no longer");
}

#[test]
fn an_empty_transaction_ends_the_watch_at_its_server() {
    let mut net = Net::redis(2);
    let client = net.client();
    net.say(client, &requests("WATCH a;MULTI;EXEC"));
    assert_eq!(net.asked(OWN), requests("WATCH a;MULTI;EXEC"));
    net.answer(OWN, "+OK\r\n+OK\r\n*0\r\n");
    assert_eq!(net.got(client), "+OK\r\n+OK\r\n*0\r\n");
    net.check_idle();
}

#[test]
fn a_client_that_goes_away_takes_its_connection_along() {
    for said in ["WATCH a", "MULTI;SET a 1", "WATCH a;MULTI", "BLPOP a 0", "SUBSCRIBE a"] {
        for is_answered in [false, true] {
            let mut net = Net::redis(2);
            let client = net.client();
            net.say(client, &requests(said));
            net.asked(OWN);
            let conn = net.conn(OWN);
            if is_answered {
                net.answer(
                    OWN,
                    match said {
                        "MULTI;SET a 1" => "+OK\r\n+QUEUED\r\n",
                        "SUBSCRIBE a" => "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n",
                        "BLPOP a 0" => continue,
                        _ => OK,
                    },
                );
            }
            net.leave(client);
            assert!(!net.mux.has_conn(conn) && !net.is_connected(OWN), "{said}");
            assert_eq!(net.mux.conns().len(), 4);
            net.check_idle();
            let next = net.client();
            net.say(next, &requests("MULTI;SET c 1"));
            assert_eq!(net.asked(OWN), requests("MULTI;SET c 1"));
            assert_eq!(net.greeted(OWN), requests("HELLO 2"), "it is a new connection");
            net.answer(OWN, "+OK\r\n+QUEUED\r\n");
            assert_eq!(net.got(next), format!("{OK}{QUEUED}"));
        }
    }
}

#[test]
fn a_client_whose_transaction_is_lost_is_closed() {
    for said in ["WATCH a", "MULTI;SET a 1", "WATCH a;MULTI", "SUBSCRIBE a"] {
        let mut net = Net::redis(2);
        let client = net.client();
        net.say(client, &requests(said));
        net.close_server(OWN, ServerError::Reset);
        let got = net.got(client);
        assert!(got.contains(super::RESET), "{said}: {got}");
        assert!(!net.is_open(client), "{said}");
        net.check_idle();
    }
}

#[test]
fn a_client_whose_connection_is_lost_with_nothing_of_its_own_there_goes_on() {
    let mut net = Net::redis(2);
    let client = net.client();
    net.say(client, &requests("MULTI;SET a 1;EXEC;GET b"));
    net.answer(OWN, "+OK\r\n+QUEUED\r\n");
    net.close_server(OWN, ServerError::Reset);
    assert_eq!(net.asked(2), requests("GET b"));
    net.answer(2, "$-1\r\n");
    assert_eq!(net.got(client), format!("{OK}{QUEUED}{}$-1\r\n", super::RESET));
    assert!(net.is_open(client));
    net.check_idle();
}

#[test]
fn a_transaction_of_a_resp3_client_has_a_resp3_connection() {
    let mut net = Net::redis(2);
    let (old, new) = (net.client(), net.client());
    net.say(old, &requests("MULTI;SET a 1;EXEC"));
    net.answer(OWN, "+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n");
    net.say(new, &requests("HELLO 3;MULTI;SET a 1;EXEC"));
    assert_eq!(net.greeted(OWN + 1), requests("HELLO 3"));
    assert_eq!(net.asked(OWN + 1), requests("MULTI;SET a 1;EXEC"));
}

#[test]
fn a_late_reply_within_a_transaction_is_dropped() {
    let mut net = Net::redis(2);
    let client = net.client();
    net.say(client, &requests("MULTI;SET a 1"));
    net.later(TIMEOUT_MS);
    assert_eq!(net.got(client), OK.to_owned() + super::TIMED_OUT);
    net.say(client, &requests("DISCARD;GET a"));
    net.answer(OWN, "+OK\r\n+QUEUED\r\n+OK\r\n");
    net.answer(0, "$-1\r\n");
    assert_eq!(net.got(client), OK.to_owned() + "$-1\r\n");
    net.check_idle();
}

#[test]
fn several_keys_of_one_server_may_be_in_a_transaction() {
    let mut net = Net::redis(2);
    let client = net.client();
    net.say(client, &requests("MULTI;MSET a 1 c 2;MGET a c;BLPOP a c 0;EXEC"));
    assert_eq!(net.asked(OWN), requests("MULTI;MSET a 1 c 2;MGET a c;BLPOP a c 0;EXEC"));
    let result = format!("*3\r\n+OK\r\n{}*-1\r\n", array("1 2"));
    net.answer(OWN, &(OK.to_owned() + &QUEUED.repeat(3) + &result));
    assert_eq!(net.got(client), OK.to_owned() + &QUEUED.repeat(3) + &result);
    net.check_idle();
}

#[test]
fn a_connection_that_is_to_be_replaced_is_kept_until_the_transaction_is_over() {
    let mut net = Net::redis(2);
    let client = net.client();
    net.say(client, &requests("MULTI;SET a 1"));
    net.answer(OWN, "+OK\r\n+QUEUED\r\n");
    let own = net.conn(OWN);
    net.mux.reconnect_when_idle(own);
    net.settle_now();
    net.say(client, &requests("EXEC"));
    assert!(net.asked(OWN).ends_with(&requests("EXEC")), "on the same connection");
    assert!(net.is_connected(OWN));
    net.answer(OWN, "*1\r\n+OK\r\n");
    assert!(!net.is_connected(OWN), "the transaction is over");
    net.say(client, &requests("MULTI;SET a 1;EXEC"));
    assert_eq!(net.asked(OWN), requests("MULTI;SET a 1;EXEC"));
    assert_eq!(net.mux.conns().len(), OWN + 1, "it is used again");
    net.answer(OWN, "+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n");
    net.check_idle();
}

#[test]
fn on_a_server_that_is_drained_what_was_begun_ends_and_nothing_is_begun() {
    let ejection = Some(Ejection::default());
    let mut net = Net::with(engine(1, redis_options(), ejection));
    // Another one decides, so the server is used on.
    net.mux.share_arbiter();
    let (first, second) = (net.client(), net.client());
    net.say(first, &requests("MULTI;SET a 1"));
    net.answer(2, "+OK\r\n+QUEUED\r\n");
    net.mux.obey(net.server(0), Order::Drain, 7, net.now());
    let begins = |net: &mut Net| {
        for request in ["WATCH a", "BLPOP a 0", "SUBSCRIBE a"] {
            net.say(second, &requests(request));
            assert_eq!(net.got(second), EJECTED, "{request}");
        }
        net.say(second, &requests("MULTI;SET a 1;EXEC"));
        assert_eq!(net.got(second), OK.to_owned() + EJECTED + ABORTED);
    };
    begins(&mut net);
    net.later(1);
    assert_eq!(net.mux.next_report(), None, "a transaction is open");
    // The next one does not begin behind it.
    net.say(first, &requests("GET a;EXEC;MULTI;SET a 2;EXEC"));
    assert_eq!(net.asked(2), requests("MULTI;SET a 1;GET a;EXEC"));
    net.answer(2, &(QUEUED.to_owned() + "*2\r\n+OK\r\n$-1\r\n"));
    let told = OK.to_owned() + &QUEUED.repeat(2) + "*2\r\n+OK\r\n$-1\r\n" + OK + EJECTED + ABORTED;
    assert_eq!(net.got(first), told);
    net.later(1);
    assert_eq!(net.mux.next_report(), Some((net.server(0), Report::Done(7))));
    begins(&mut net);
    net.say(second, &requests("GET a"));
    net.answer(0, "$-1\r\n");
    assert_eq!(net.got(second), "$-1\r\n", "what is no transaction goes on");
    net.mux.obey(net.server(0), Order::Keep, 7, net.now());
    net.say(second, &requests("WATCH a"));
    net.answer(2, OK);
    assert_eq!(net.got(second), OK, "it is used again");
}

#[test]
fn a_server_that_is_left_is_drained_no_longer() {
    let mut net = Net::with(engine(1, redis_options(), Some(Ejection::default())));
    net.mux.share_arbiter();
    let client = net.client();
    net.say(client, &requests("MULTI;SET a 1"));
    net.mux.obey(net.server(0), Order::Drain, 7, net.now());
    net.mux.obey(net.server(0), Order::Leave(ServerError::Ejected), 8, net.now());
    assert_eq!(net.mux.next_report(), Some((net.server(0), Report::Done(8))));
    // Its transaction has ended with that, but nobody asks for it.
    net.later(1);
    assert_eq!(net.mux.next_report(), None);
}

#[test]
fn a_transaction_whose_end_is_refused_is_over() {
    for order in [Order::Drain, Order::Leave(ServerError::Ejected)] {
        let mut net = Net::with(engine(2, redis_options(), Some(Ejection::default())));
        net.mux.share_arbiter();
        let client = net.client();
        for server in [0, 1] {
            net.mux.obey(net.server(server), order, 7, net.now());
        }
        // No key says for which server it is.
        net.say(client, &requests("MULTI;PING;EXEC"));
        let told = net.got(client);
        assert!(told.starts_with(&(OK.to_owned() + QUEUED + "-ERR ")), "{told}");
        net.say(client, &requests("MULTI"));
        assert_eq!(net.got(client), OK, "{told}");
    }
}

#[test]
fn a_reload_that_ends_ejection_ends_a_drain() {
    let mut net = Net::with(engine(1, redis_options(), Some(Ejection::default())));
    net.mux.share_arbiter();
    let client = net.client();
    net.mux.obey(net.server(0), Order::Drain, 7, net.now());
    net.later(1);
    net.mux.set_options(redis_options());
    net.say(client, &requests("BLPOP a 0"));
    assert_eq!(net.got(client), "", "it is asked");
}

#[test]
fn a_quota_refuses_nothing_that_no_server_is_asked() {
    let mut net = Net::redis(1);
    let client = net.client();
    net.say(client, &requests("SUBSCRIBE a"));
    net.answer(2, &confirmation("subscribe", "a", 1));
    net.got(client);
    let pool = Quota { per_second: 1, in_flight: 0 };
    net.mux.set_quotas(Quotas { pool, ..Quotas::default() }, &Arc::default());
    net.say(client, &requests("UNSUBSCRIBE a;PING;MULTI"));
    net.answer(2, &confirmation("unsubscribe", "a", 0));
    let told = confirmation("unsubscribe", "a", 0) + "+PONG\r\n" + OK;
    assert_eq!(net.got(client), told, "a transaction has begun");
}

#[test]
fn a_transaction_with_a_command_that_has_waited_too_long_is_not_carried_out() {
    let limits = Limits { server_requests_max: 4, ..Limits::default() };
    let mut net = Net::with(engine(1, Options { limits, ..redis_options() }, None));
    let client = net.client();
    net.say(client, &requests("MULTI;SET a 1;SET b 2;SET c 3;SET d 4"));
    assert_eq!(net.asked(2), requests("MULTI;SET a 1;SET b 2;SET c 3"));
    net.later(TIMEOUT_MS);
    assert_eq!(net.got(client), OK.to_owned() + &super::TIMED_OUT.repeat(4));
    net.say(client, &requests("EXEC"));
    assert_eq!((net.asked(2), net.got(client)), (requests("DISCARD"), ABORTED.to_owned()));
}

#[test]
fn a_transaction_without_one_of_its_commands_is_not_carried_out_and_ends() {
    let mut net = Net::redis(1);
    let pool = Quota { per_second: 2, in_flight: 0 };
    net.mux.set_quotas(Quotas { pool, ..Quotas::default() }, &Arc::default());
    let client = net.client();
    net.say(client, &requests("MULTI;SET a 1;SET b 2;SET c 3;EXEC;GET a"));
    let told = net.got(client);
    net.answer(2, "+OK\r\n+QUEUED\r\n+QUEUED\r\n");
    let told = told + &net.got(client);
    let error = "-ERR too many requests per second in this pool: pool_rate_max\r\n";
    assert_eq!(told.matches(error).count(), 2, "{told}");
    assert!(told.contains("-EXECABORT"), "{told}");
    assert!(net.asked(2).ends_with(&requests("DISCARD")));
}
