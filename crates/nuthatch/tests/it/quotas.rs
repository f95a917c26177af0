//! Limits for neighbours: who sends more than the quota is told so, whatever worker serves, and the others are not.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Instant;

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use rustix::process::Signal;

use crate::conn::Conn;
use crate::harness::{Memcached, Program, pool};
use crate::observed::Observed;

const RATE: usize = 200;

/// A connection from this machine's address with that last byte.
fn conn_from(last: u8, port: u16) -> Conn {
    let fd = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&fd, &SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0))).unwrap();
    connect(&fd, &SocketAddr::from((Ipv4Addr::LOCALHOST, port))).unwrap();
    Conn::over(TcpStream::from(fd))
}

/// Asks so often, over all connections in turn. Says how many requests were carried out, and that all replies came.
fn carried_out(conns: &mut [Conn], requests: usize, error: &str) -> usize {
    let mut done = 0;
    for number in 0..requests {
        let conn = &mut conns[number % conns.len()];
        conn.send("touch k 0\r\n");
        match conn.read_line().unwrap().as_slice() {
            b"NOT_FOUND\r\n" => done += 1,
            line => assert_eq!(String::from_utf8_lossy(line), error),
        }
    }
    done
}

#[test]
#[ignore = "needs memcached: run make it"]
fn an_address_that_asks_too_much_is_told_so_over_all_workers_and_others_are_not() {
    let memcached = Memcached::start();
    let settings = |rate: usize| format!("address_rate_max: {rate}");
    let mut proxy = Observed::start(
        Program::UnderTest.command(),
        &settings(RATE),
        &[memcached.entry()],
        &["--workers=2"],
    );
    let port = proxy.proxy.port;
    let conns = |last: u8| (0..6).map(|_| conn_from(last, port)).collect::<Vec<_>>();
    let (mut loud, mut polite) = (conns(2), conns(3));
    let error = "SERVER_ERROR too many requests per second from this address: address_rate_max\r\n";
    let begun = Instant::now();
    let done = carried_out(&mut loud, 3 * RATE, error);
    let refilled = begun.elapsed().as_secs_f64() * RATE as f64;
    // What the bucket held, and what came in meanwhile; each worker may be one request ahead.
    let most = RATE as f64 + refilled + 2.0;
    assert!((RATE as f64..=most).contains(&(done as f64)), "{done} of {RATE}, {refilled} more");
    assert_eq!(carried_out(&mut polite, RATE / 2, error), RATE / 2);
    let refused = proxy.metric(&format!(
        "nuthatch_limit_reached_total{{pool=\"pool{port}\",limit=\"address_rate_max\"}}"
    ));
    assert_eq!(refused, Some((3 * RATE - done) as f64));
    // A reload changes the quota of clients that are connected.
    let config = pool(port, &settings(0), &[memcached.entry()]);
    fs::write(proxy.proxy.dir.join("nutcracker.yml"), config).unwrap();
    proxy.proxy.process.signal(Signal::HUP);
    proxy.wait_for_log("configuration changed");
    assert_eq!(carried_out(&mut loud, 2 * RATE, error), 2 * RATE);
}
