//! Replies that are errors: all of them pass, and few are a failure of their server.

use super::requests;
use crate::net::{Net, TIMEOUT_MS, engine, redis_options};
use nuthatch_core::error::ServerError;
use nuthatch_core::health::Ejection;
use nuthatch_core::mux::Event;
use std::time::Duration;

fn net(failure_limit: u32) -> Net {
    let ejection =
        Ejection { failure_limit, retry_timeout: Duration::from_secs(1), ..Ejection::default() };
    Net::with(engine(2, redis_options(), Some(ejection)))
}

#[test]
fn an_error_of_a_command_is_a_reply_like_any_other() {
    for error in [
        "-OOM command not allowed when used memory > 'maxmemory'.\r\n",
        "-BUSY Redis is busy running a script.\r\n",
        "-READONLY You can't write against a read only replica.\r\n",
        "-MOVED 3999 127.0.0.1:6381\r\n",
        "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n",
        "-ERR odd \t text \u{1}\r\n",
        "-LOADINGS is another word\r\n",
        "-\r\n",
        "!5\r\nERR x\r\n",
    ] {
        let mut net = net(1);
        let client = net.client();
        net.say(client, &requests("GET a;GET a"));
        net.answer(0, &(error.to_owned() + "$-1\r\n"));
        assert_eq!(net.got(client), error.to_owned() + "$-1\r\n");
        assert_eq!(net.events, [], "{error}");
        assert_eq!(net.mux.stats().server_ejects.read(), 0);
        net.check_idle();
    }
}

#[test]
fn a_server_that_loads_its_data_has_failed_and_its_text_passes() {
    const LOADING: &str = "-LOADING Redis is loading the dataset in memory\r\n";
    for request in ["GET a", "MGET a c", "MGET a b"] {
        let mut net = net(2);
        let client = net.client();
        for _ in 0..2 {
            net.say(client, &requests(request));
            net.answer(0, LOADING);
            if request == "MGET a b" {
                net.answer(2, "*1\r\n$1\r\n2\r\n");
            }
            assert_eq!(net.got(client), LOADING, "{request}");
        }
        let ejected = Event::Ejected { server: net.server(0), error: ServerError::Loading };
        assert_eq!(net.events, [ejected]);
        let errors = &net.stats(0).more.errors;
        assert_eq!(errors[ServerError::Loading as usize].read(), 2);
        assert!(net.is_connected(0), "the server may say it to the next one, too");
        net.say(client, &requests("GET a"));
        assert_eq!((net.asked(2).contains("GET"), net.got(client)), (true, String::new()));
        net.later(TIMEOUT_MS);
    }
}

#[test]
fn a_reply_between_two_loading_errors_ends_the_row_of_failures() {
    let mut net = net(2);
    let client = net.client();
    for reply in ["-LOADING x\r\n", "$-1\r\n", "-LOADING x\r\n"] {
        net.say(client, &requests("GET a"));
        net.answer(0, reply);
        assert_eq!(net.got(client), reply);
    }
    assert_eq!(net.mux.stats().server_ejects.read(), 0);
}

#[test]
fn hits_and_misses_are_counted_by_key() {
    let mut net = Net::redis(2);
    let client = net.client();
    net.say(client, &requests("GET a;GET a;MGET a b c;GET c"));
    net.answer(0, "$1\r\n1\r\n$-1\r\n*2\r\n$1\r\n1\r\n$-1\r\n-ERR no\r\n");
    net.answer(2, "*1\r\n$1\r\n2\r\n");
    net.got(client);
    assert_eq!(net.mux.stats().results.get_hits(), 3);
    net.check_idle();
}
