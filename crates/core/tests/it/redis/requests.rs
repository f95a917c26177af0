//! How requests come: inline, with odd line ends, broken, or from a client without the password.

use super::{OK, bulk, requests};
use crate::net::{Net, engine, redis_options};
use nuthatch_core::mux::Options;
use nuthatch_core::redis::Settings;
use std::sync::Arc;

#[test]
fn a_line_with_a_zero_byte_does_not_end() {
    let mut net = Net::redis(1);
    let client = net.client();
    net.say(client, "PING\r\nECHO a\0b\r\nPING\r\n");
    assert_eq!(net.got(client), "+PONG\r\n");
    net.say(client, &"x".repeat(65_536));
    assert_eq!(net.got(client), "-ERR Protocol error: too big inline request\r\n");
}

#[test]
fn a_server_gets_the_plain_form_of_every_request() {
    for said in [
        "GET a\r\n",
        "GET a\n",
        "  GET   \"\\x61\"  \r\n",
        "GET 'a'\r\n",
        "*2\rx$3\r\nGET\r\n$1\r\na\r\n",
        "*2\r\n$3\rxGET\r\n$1\r\na\r\n",
        "*2\r\n$3\r\nGETxx$1\r\naxx",
        "\r\n*0\r\n*-1\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n",
    ] {
        let mut net = Net::redis(1);
        let client = net.client();
        net.say(client, said);
        assert_eq!(net.asked(0), requests("GET a"), "{said:?}");
        net.answer(0, "$-1\r\n");
        assert_eq!(net.got(client), "$-1\r\n");
        net.check_idle();
    }
}

#[test]
fn a_request_of_many_keys_may_be_inline() {
    let mut net = Net::redis(2);
    let client = net.client();
    net.say(client, "MSET a 1 b 'two words'\r\nPING\r\n");
    assert_eq!(net.asked(0), requests("MSET a 1"));
    assert_eq!(net.asked(2), "*3\r\n$4\r\nMSET\r\n$1\r\nb\r\n$9\r\ntwo words\r\n");
    net.answer(2, OK);
    net.answer(0, OK);
    assert_eq!(net.got(client), OK.to_owned() + "+PONG\r\n");
    net.check_idle();
}

#[test]
fn a_broken_request_closes_its_client_after_the_replies_before_it() {
    for (broken, error) in [
        ("*x\r\n", "invalid multibulk length"),
        ("*1048577\r\n", "invalid multibulk length"),
        ("*1\r\n$x\r\n", "invalid bulk length"),
        ("*1\r\n$-1\r\n", "invalid bulk length"),
        ("*1\r\n:1\r\n", "expected '$', got ':'"),
        ("*1\r\nGET\r\n", "expected '$', got 'G'"),
        ("GET \"a\r\n", "unbalanced quotes in request"),
        ("GET 'a'b\r\n", "unbalanced quotes in request"),
    ] {
        let mut net = Net::redis(1);
        let (client, other) = (net.client(), net.client());
        net.say(other, &requests("GET b"));
        net.say(client, &(requests("GET a") + broken + &requests("SET a 1")));
        assert_eq!(net.asked(0), requests("GET b;GET a"), "{broken:?}");
        net.answer(0, "+b\r\n+a\r\n");
        assert_eq!(net.got(client), format!("+a\r\n-ERR Protocol error: {error}\r\n"));
        assert!(!net.is_open(client) && net.is_open(other) && net.is_connected(0));
        assert_eq!(net.got(other), "+b\r\n");
        assert_eq!(net.mux.stats().client_framing_lost.read(), 1);
        net.check_idle();
    }
}

#[test]
fn a_line_of_more_than_64_kilobytes_closes_its_client() {
    for end in ["", "\r\n"] {
        let mut net = Net::redis(1);
        let client = net.client();
        net.say(client, &("x".repeat(65_537) + end));
        assert_eq!(net.got(client), "-ERR Protocol error: too big inline request\r\n");
        assert!(!net.is_open(client));
        assert_eq!(net.mux.stats().limit_line.read(), 1);
        net.check_idle();
    }
}

#[test]
fn an_error_shows_so_much_of_a_clients_text_as_redis_does() {
    let (a130, b50) = (&"a".repeat(130), &"b".repeat(50));
    for (said, error) in [
        (["fo\0o", "x\0y", "z"], "command 'fo', with args beginning with: 'x' 'z' ".to_owned()),
        (["\0", "", "\0"], "command '', with args beginning with: '' '' ".to_owned()),
        (["x", "y\r\nz", ""], "command 'x', with args beginning with: 'y  z' '' ".to_owned()),
        (["x", a130, "b"], format!("command 'x', with args beginning with: '{}' ", &a130[2..])),
        (
            ["x", &a130[30..], b50],
            format!("command 'x', with args beginning with: '{}' '{}' ", &a130[30..], &b50[25..]),
        ),
        (["client", "li\0st", "x"], "subcommand 'li'. Try CLIENT HELP.".to_owned()),
        (["client", a130, "x"], format!("subcommand '{}'. Try CLIENT HELP.", &a130[2..])),
    ] {
        let mut net = Net::redis(1);
        let client = net.client();
        net.say(client, &(format!("*{}\r\n", said.len()) + &said.map(bulk).concat()));
        assert_eq!(net.got(client), format!("-ERR unknown {error}\r\n"), "{said:?}");
        net.check_idle();
    }
}

#[test]
fn a_browser_is_closed_without_a_word() {
    let mut net = Net::redis(1);
    let client = net.client();
    net.say(client, "POST / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!((net.got(client), net.is_open(client)), (String::new(), false));
    net.check_idle();
}

#[test]
fn what_the_proxy_answers_itself_is_in_order() {
    let mut net = Net::redis(1);
    let client = net.client();
    net.say(client, &requests("PING;GET a;ECHO x;FOO a b;SELECT 0;SELECT 1;QUIT;GET a"));
    assert_eq!(net.asked(0), requests("GET a"));
    assert_eq!(net.got(client), "+PONG\r\n");
    net.answer(0, "$-1\r\n");
    let expected = "$-1\r\n$1\r\nx\r\n\
        -ERR unknown command 'FOO', with args beginning with: 'a' 'b' \r\n\
        +OK\r\n-ERR DB index is out of range: this pool has only database 0\r\n+OK\r\n";
    assert_eq!(net.got(client), expected);
    assert!(!net.is_open(client));
    net.check_idle();
}

#[test]
fn a_client_without_the_password_is_told_so_and_no_server_is_asked() {
    const NOAUTH: &str = "-NOAUTH Authentication required.\r\n";
    const WRONG: &str = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
    let settings = Settings { password: Some(b"acorn"[..].into()), ..Settings::default() };
    let options = Options { redis: Arc::new(settings), ..redis_options() };
    let mut net = Net::with(engine(1, options, None));
    net.greeting = Some("+OK\r\n*0\r\n");
    let client = net.client();
    net.say(client, &requests("GET a;MGET a b;PING;MULTI;BLPOP a 0;INFO"));
    assert_eq!(net.got(client), NOAUTH.repeat(6));
    net.say(client, &requests("AUTH nut;AUTH oak acorn;HELLO 3 AUTH default nut"));
    assert_eq!(net.got(client), WRONG.repeat(3));
    net.say(client, &requests("HELLO"));
    assert!(net.got(client).starts_with("-NOAUTH HELLO must be called"));
    net.say(client, &requests("AUTH default acorn;GET a"));
    assert_eq!((net.got(client), net.asked(0)), (OK.to_owned(), requests("GET a")));
    net.answer(0, "$-1\r\n");
    net.say(client, &requests("RESET;GET a"));
    assert_eq!(net.got(client), format!("$-1\r\n+RESET\r\n{NOAUTH}"));
    let other = net.client();
    net.say(other, &requests("GET a"));
    assert_eq!(net.got(other), NOAUTH);
    net.check_idle();
}

#[test]
fn a_client_without_the_password_may_not_send_much() {
    let settings = Settings { password: Some(b"acorn"[..].into()), ..Settings::default() };
    let options = Options { redis: Arc::new(settings), ..redis_options() };
    for (said, error) in [
        ("*11\r\n", "unauthenticated multibulk length"),
        ("*1\r\n$16385\r\n", "unauthenticated bulk length"),
    ] {
        let mut net = Net::with(engine(1, options.clone(), None));
        let client = net.client();
        net.say(client, said);
        assert_eq!(net.got(client), format!("-ERR Protocol error: {error}\r\n"));
        assert!(!net.is_open(client));
    }
}
