//! Reads of several keys: split over the servers, merged in the order of the keys.

use super::{DESYNC, hit, value};
use crate::net::{Net, engine, options};
use nuthatch_core::limits::Limits;
use nuthatch_core::mux::{Event, Options};

#[test]
fn a_multi_get_is_split_and_merged_in_the_order_of_its_keys() {
    let mut net = Net::new(2);
    let client = net.client();
    net.say(client, "gets  a b c d a \r\n");
    assert_eq!(net.asked(0), "gets a c a\r\n");
    assert_eq!(net.asked(1), "gets b d\r\n");
    net.answer(1, "VALUE b 0 1 7\r\n2\r\nEND\r\n");
    assert_eq!(net.got(client), "");
    net.answer(0, "VALUE a 0 1 8\r\n1\r\nVALUE a 0 1 8\r\n1\r\nEND\r\n");
    assert_eq!(
        net.got(client),
        "VALUE a 0 1 8\r\n1\r\nVALUE b 0 1 7\r\n2\r\nVALUE a 0 1 8\r\n1\r\nEND\r\n"
    );
    let stats = net.mux.stats();
    assert_eq!((stats.results.get_hits(), stats.results.get_misses()), (3, 2));
    assert_eq!((stats.cmd_get.read(), stats.requests.read(), stats.fragments.read()), (5, 1, 2));
    net.check_idle();
}

#[test]
fn one_word_that_is_no_key_refuses_a_whole_multi_get() {
    let mut net = Net::new(2);
    let client = net.client();
    let long = "k".repeat(251);
    for keys in [format!("a {long} b"), format!("{long} a"), "a b\0 c".into(), "a b\r".into()] {
        net.say(client, &format!("get {keys}\r\n"));
        assert_eq!(net.got(client), "CLIENT_ERROR bad command line format\r\n");
    }
    assert_eq!(net.asked(0) + &net.asked(1), "", "nothing was sent for the keys before it");
    net.check_idle();
}

#[test]
fn more_keys_than_the_limit_are_refused() {
    let limits = Limits { keys_max: 2, ..Limits::default() };
    let mut net = Net::with(engine(2, Options { limits, ..options() }, None));
    let client = net.client();
    net.say(client, "get a b c\r\n");
    let error = "CLIENT_ERROR too many keys in one request: keys_max\r\n";
    assert_eq!(net.got(client), error);
    net.say(client, "get a b\r\n");
    assert_eq!(net.asked(0) + &net.asked(1), "get a\r\nget b\r\n");
    assert_eq!(net.mux.stats().limit_keys.read(), 1);
}

#[test]
fn values_of_a_fragment_may_come_in_any_order() {
    let mut net = Net::new(1);
    let client = net.client();
    net.say(client, "get a b c\r\n");
    net.answer(0, &(value("c", "3") + &value("a", "1")));
    net.answer(0, "END\r\n");
    assert_eq!(net.got(client), value("a", "1") + &value("c", "3") + "END\r\n");
    net.check_idle();
}

#[test]
fn one_failed_fragment_fails_a_multi_get() {
    let mut net = Net::new(2);
    let client = net.client();
    net.say(client, "get a b\r\nget c\r\n");
    net.answer(1, &(value("b", "2") + "SERVER_ERROR out of memory\r\n"));
    net.answer(0, &(value("a", "1") + "END\r\n" + &hit("c", "3")));
    assert_eq!(net.got(client), "SERVER_ERROR out of memory\r\n".to_owned() + &hit("c", "3"));
    net.check_idle();
}

#[test]
fn a_value_nobody_asked_for_is_a_desync() {
    for stray in ["z", "b"] {
        let mut net = Net::new(2);
        let client = net.client();
        net.say(client, "get a b c\r\nget d\r\n");
        net.answer(0, &(value("a", "1") + &value(stray, "2") + "END\r\n"));
        assert!(net.events.iter().any(|event| matches!(event, Event::Desync { .. })));
        net.answer(1, &(value("b", "2") + "END\r\n" + &hit("d", "4")));
        assert_eq!(net.got(client), DESYNC.to_owned() + &hit("d", "4"));
        net.check_idle();
    }
}

#[test]
fn a_value_comes_as_often_as_it_was_asked_for_and_not_more_often() {
    let mut net = Net::new(1);
    let client = net.client();
    net.say(client, "get a b\r\n");
    net.answer(0, &(value("a", "1") + &value("a", "1") + "END\r\n"));
    assert_eq!(net.got(client), DESYNC);
    assert_eq!(net.mux.stats().desync_total.read(), 1);
    net.check_idle();
}

#[test]
fn a_long_read_with_an_expiry_is_cut_into_lines_that_a_server_takes() {
    for command in ["gat 0", "gats 4294967295"] {
        let mut net = Net::new(2);
        let client = net.client();
        let keys = (b'a'..=b'z').chain(b'a'..=b'z');
        let keys: Vec<String> = keys.map(|key| format!("{:0>250}", char::from(key))).collect();
        net.say(client, &format!("{command} {}\r\n", keys.join(" ")));
        let mut asked = Vec::new();
        for conn in 0..2 {
            for line in net.asked(conn).split_inclusive("\r\n") {
                assert!(
                    line.len() <= 1024,
                    "an old server closes on 1025 bytes without a line end"
                );
                let words: Vec<&str> = line.trim_end().split(' ').collect();
                assert!(matches!(words[..2], ["gat", "0"] | ["gats", "-1"]), "{words:?}");
                asked.extend(words[2..].iter().map(ToString::to_string));
                let values = words[2..].iter().map(|key| value(key, &key[249..]));
                net.answer(conn, &(values.collect::<String>() + "END\r\n"));
            }
        }
        let values: String = keys.iter().map(|key| value(key, &key[249..])).collect();
        assert_eq!(net.got(client), values + "END\r\n");
        let mut expected = keys.clone();
        expected.sort();
        asked.sort();
        assert_eq!(asked, expected);
        net.check_idle();
    }
}

#[test]
fn a_very_long_get_is_cut_into_lines_that_a_server_reads_at_once() {
    let mut net = Net::new(2);
    let client = net.client();
    let keys: Vec<String> = (0..1000).map(|key| format!("{key:0>99}")).collect();
    net.say(client, &format!("get {}\r\n", keys.join(" ")));
    let mut asked = 0;
    for conn in 0..2 {
        let request = net.asked(conn);
        let lines: Vec<&str> = request.split_inclusive("\r\n").collect();
        for line in &lines {
            assert!(line.starts_with("get ") && line.len() <= 16_000, "{} bytes", line.len());
            let keys: Vec<&str> = line[4..].trim_end().split(' ').collect();
            asked += keys.len();
            let values = keys.iter().map(|key| value(key, &key[90..]));
            net.answer(conn, &(values.collect::<String>() + "END\r\n"));
        }
        // Not into more than needed: all but the last are full.
        let shortest = lines.iter().rev().skip(1).map(|line| line.len()).min();
        assert!(shortest > Some(15_850), "{shortest:?}");
    }
    assert_eq!(asked, 1000);
    let values: String = keys.iter().map(|key| value(key, &key[90..])).collect();
    assert_eq!(net.got(client), values + "END\r\n");
    net.check_idle();
}

#[test]
fn a_long_get_goes_to_each_server_in_one_line() {
    for command in ["get", "gets", "bget"] {
        let mut net = Net::new(1);
        let client = net.client();
        net.say(client, &format!("{command} {}\r\n", vec!["a"; 5000].join(" ")));
        let asked = net.asked(0);
        assert_eq!(asked.matches("\r\n").count(), 1, "{command}");
        let name = if command == "bget" { "get" } else { command };
        assert!(asked.starts_with(&format!("{name} a ")), "memcached takes long lines of these");
        net.answer(0, "END\r\n");
        net.check_idle();
    }
}
