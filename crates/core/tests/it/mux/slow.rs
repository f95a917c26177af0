//! Requests that took long: what is told of them, and that what is quick, or nobody's, is not.

use super::{hit, set};
use crate::net::{Net, TIMEOUT_MS};
use nuthatch_core::error::ServerError;
use nuthatch_core::message::Class;
use nuthatch_core::mux::Slow;
use std::time::Duration;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn slow(net: &mut Net) -> Vec<Slow> {
    std::iter::from_fn(|| net.mux.next_slow()).collect()
}

#[test]
fn a_request_is_slow_from_the_time_on_that_was_set() {
    for kept in [None, Some(ms(20))] {
        let mut net = Net::new(1);
        net.mux.set_slow(kept);
        let client = net.client();
        net.later(5);
        net.say(client, "get quick\r\n");
        net.later(19);
        net.answer(0, "END\r\n");
        net.say(client, &set("written", "12345"));
        net.later(20);
        net.answer(0, "STORED\r\n");
        net.say(client, "get a b\r\ndelete gone\r\n");
        net.later(30);
        net.answer(0, &(hit("a", "1") + "SERVER_ERROR no\r\n"));
        let entries = slow(&mut net);
        let waits: Vec<_> = entries.iter().map(|it| it.waited).collect();
        let told: Vec<_> = entries
            .iter()
            .map(|it| {
                let key = String::from_utf8_lossy(it.key()).into_owned();
                (key, it.class, it.took, it.bytes, it.hash.is_some(), it.is_error)
            })
            .collect();
        let set_len = u32::try_from(set("written", "12345").len()).unwrap();
        let expected = [
            ("written".to_owned(), Class::Set, ms(20), (set_len, 8), true, false),
            (String::new(), Class::Get, ms(30), (9, 5), false, false),
            ("gone".to_owned(), Class::Delete, ms(30), (13, 17), true, true),
        ];
        assert!(
            kept.is_none() || waits.iter().all(|wait| *wait == Some(Duration::ZERO)),
            "{waits:?}"
        );
        if kept.is_none() {
            assert_eq!(told, []);
        } else {
            assert_eq!(told, expected);
        }
        net.check_idle();
    }
}

#[test]
fn a_request_that_ran_out_of_time_or_was_lost_is_slow_and_its_late_reply_is_not() {
    let mut net = Net::new(1);
    net.mux.set_slow(Some(ms(20)));
    let client = net.client();
    net.say(client, "get a\r\nset b 0 0 1 noreply\r\nx\r\n");
    net.later(TIMEOUT_MS);
    net.answer(0, "END\r\nSTORED\r\n");
    net.say(client, "incr c 1\r\n");
    net.later(25);
    net.close_server(0, ServerError::Reset);
    let told: Vec<_> =
        slow(&mut net).iter().map(|it| (it.key().to_vec(), it.failed, it.took)).collect();
    let late = (Some(ServerError::TimedOut), ms(TIMEOUT_MS));
    let expected = [
        (b"a".to_vec(), late.0, late.1),
        (b"b".to_vec(), late.0, late.1),
        (b"c".to_vec(), Some(ServerError::Reset), ms(25)),
    ];
    assert_eq!(told, expected);
    assert_eq!(net.mux.stats().slow_requests.read(), 3);
}

#[test]
fn long_keys_are_cut_and_bursts_are_counted() {
    let mut net = Net::redis(1);
    net.mux.set_slow(Some(ms(1)));
    let key = "k".repeat(1000);
    let request = format!("*2\r\n$3\r\nGET\r\n$1000\r\n{key}\r\n");
    let clients: Vec<_> = (0..100).map(|_| net.client()).collect();
    clients.iter().for_each(|client| net.say(*client, &request));
    net.later(5);
    net.answer(0, &"$-1\r\n".repeat(100));
    let told = slow(&mut net);
    assert_eq!((told.len(), net.mux.stats().slow_requests.read()), (64, 100));
    assert_eq!((told[0].key(), told[0].hash), (&key.as_bytes()[..64], None));
    clients.into_iter().for_each(|client| assert_eq!(net.got(client), "$-1\r\n"));
    net.check_idle();
}
