//! Questions about the proxy: the embedder answers, and the answers leave in their turn.

use super::{hit, set};
use crate::net::Net;
use nuthatch_core::limits::Limits;
use nuthatch_core::time::Instant;

#[test]
fn a_question_is_handed_out_as_it_was_written() {
    let mut net = Net::new(1);
    let client = net.client();
    net.say(client, "stats\r\n stats  detail on\nmn\r\n");
    assert_eq!(net.got(client), "asked: stats\r\nasked:  stats  detail on\r\nMN\r\n");
    assert_eq!(net.asked(0), "");
    net.check_idle();
}

#[test]
fn an_answer_waits_for_the_replies_before_it_and_is_waited_for() {
    let mut net = Net::new(2);
    let client = net.client();
    net.say(client, "get a\r\nstats\r\nget b\r\nfoo\r\n");
    net.answer(1, &hit("b", "2"));
    assert_eq!(net.got(client), "");
    net.answer(0, &hit("a", "1"));
    assert_eq!(net.got(client), hit("a", "1") + "asked: stats\r\n" + &hit("b", "2") + "ERROR\r\n");
    net.answers_questions = false;
    net.say(client, "stats\r\nget b\r\nfoo\r\nmn\r\n");
    net.answer(1, &hit("b", "2"));
    assert_eq!(net.got(client), "", "all wait for the first");
    let question = net.mux.next_question().unwrap();
    assert!(net.mux.next_question().is_none());
    net.mux.answer_question(question, b"END\r\n");
    net.later(0);
    assert_eq!(net.got(client), "END\r\n".to_owned() + &hit("b", "2") + "ERROR\r\nMN\r\n");
    net.check_idle();
}

#[test]
fn a_client_that_goes_away_costs_nothing_whether_its_question_was_seen_or_not() {
    let mut net = Net::new(1);
    net.answers_questions = false;
    let [seen, unseen, stays] = [0; 3].map(|_| net.client());
    net.say(seen, "stats seen\r\n");
    net.say(unseen, "stats unseen\r\nstats\r\n");
    net.say(stays, "stats stays\r\n");
    let question = net.mux.next_question().unwrap();
    assert_eq!(question.what(), b"stats seen");
    net.leave(seen);
    net.leave(unseen);
    let newcomer = net.client();
    net.mux.answer_question(question, b"nobody's\r\n");
    net.answers_questions = true;
    net.say(newcomer, "mn\r\n");
    assert_eq!(
        (net.got(newcomer), net.got(stays)),
        ("MN\r\n".into(), "asked: stats stays\r\n".into())
    );
    net.check_idle();
}

#[test]
fn a_client_that_ends_its_input_gets_the_answer_first() {
    let mut net = Net::new(1);
    let client = net.client();
    net.answers_questions = false;
    net.say(client, "stats\r\nquit\r\n");
    assert!(net.is_open(client));
    net.answers_questions = true;
    net.later(0);
    assert_eq!((net.got(client), net.is_open(client)), ("asked: stats\r\n".into(), false));
    net.check_idle();
}

#[test]
fn a_client_has_as_many_questions_in_flight_as_requests() {
    let limits = Limits { client_requests_max: 2, ..Limits::default() };
    let mut net = Net::with_limits(1, limits);
    let client = net.client();
    net.answers_questions = false;
    net.say(client, &"stats\r\n".repeat(5));
    assert_eq!(net.mux.requests_in_flight(), 2);
    assert!(net.mux.memory() > 0);
    net.answers_questions = true;
    net.later(0);
    assert_eq!(net.got(client), "asked: stats\r\n".repeat(5));
    net.check_idle();
}

#[test]
fn a_client_has_as_many_questions_in_a_turn_as_its_window_has_room_for_answers() {
    let limits = Limits { client_buffer_max: 100_000, ..Limits::default() };
    let mut net = Net::with_limits(1, limits);
    net.answers_questions = false;
    let client = net.client();
    net.say(client, &"stats\r\n".repeat(100));
    // A newcomer's answers are taken to be large.
    assert_eq!(net.mux.requests_in_flight(), 2);
    net.answers_questions = true;
    net.later(0);
    assert_eq!(net.got(client), "asked: stats\r\n".repeat(100));
    net.check_idle();
}

#[test]
fn a_turn_has_room_for_so_many_questions_and_the_next_for_the_others() {
    let mut net = Net::new(1);
    let clients: Vec<_> = (0..300).map(|_| net.client()).collect();
    for client in &clients {
        net.mux.handle_client_bytes(*client, &b"stats\r\n".repeat(8), Instant::default());
    }
    assert_eq!(net.mux.requests_in_flight(), 1024);
    net.settle_now();
    for client in clients {
        assert_eq!(net.got(client), "asked: stats\r\n".repeat(8));
    }
    net.check_idle();
}

#[test]
fn what_is_asked_counts_as_memory_until_it_is_answered() {
    let mut net = Net::with_limits(1, Limits { memory_max: 100_000, ..Limits::default() });
    net.answers_questions = false;
    let clients = [0; 4].map(|_| net.client());
    for client in clients {
        net.say(client, &format!("stats {}\r\n", "x".repeat(2000)).repeat(20));
    }
    assert_eq!(net.mux.stats().limit_memory.read(), 2);
    net.answers_questions = true;
    net.later(0);
    assert_eq!(clients.map(|client| net.is_open(client)), [true, false, false, true]);
    net.check_idle();
}

#[test]
fn an_answer_that_finds_too_much_unread_is_an_error() {
    let limits = Limits { client_backlog_max: 100, client_buffer_max: 1000, ..Limits::default() };
    let mut net = Net::with_limits(1, limits);
    let client = net.client();
    net.set_reading(client, false);
    net.say(client, &format!("{}stats\r\nstats\r\n", set("a", "1")));
    net.answer(0, "STORED\r\n");
    net.say(client, &format!("stats {}\r\n", "x".repeat(90)));
    net.set_reading(client, true);
    let got = net.got(client);
    assert_eq!(got, format!("STORED\r\n{}{}", "asked: stats\r\n".repeat(2), super::BACKLOG));
    net.check_idle();
}
