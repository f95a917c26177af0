//! The verdict of the demo, over nodes that lie.

use std::io::Read;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use nuthatch_node::Figures;

use super::*;

/// A node and what stands before it: every `from` in what it says becomes a `to`.
fn liar(protocol: Protocol, from: u8, to: u8) -> SocketAddr {
    let node = Node::start(protocol, "127.0.0.1:0", NODE_MEMORY).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming() {
            let client = client.unwrap();
            let server = TcpStream::connect(node.address()).unwrap();
            let (heard, asked) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            thread::spawn(move || relay(heard, asked, |byte| byte));
            thread::spawn(move || {
                relay(server, client, |byte| if byte == from { to } else { byte });
            });
        }
    });
    address
}

fn relay(mut from: TcpStream, mut to: TcpStream, change: impl Fn(u8) -> u8) {
    let mut chunk = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut chunk) {
        chunk[..count].iter_mut().for_each(|byte| *byte = change(*byte));
        if to.write_all(&chunk[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

fn wrong(protocol: Protocol, nodes: &[SocketAddr]) -> Vec<String> {
    let stage = Stage::open(protocol, nodes).unwrap();
    let outcome = load::run(protocol, stage.address());
    stage.close().unwrap();
    outcome.wrong
}

const PROTOCOLS: [Protocol; 2] = [Protocol::Memcache, Protocol::Redis];

#[test]
fn honest_nodes_have_no_wrong_answer() {
    for protocol in PROTOCOLS {
        let start = |()| Node::start(protocol, "127.0.0.1:0", NODE_MEMORY).unwrap();
        let nodes = [(); NODES].map(start);
        let wrong = wrong(protocol, &nodes.each_ref().map(Node::address));
        assert_eq!(wrong, Vec::<String>::new(), "{protocol:?}");
    }
}

#[test]
fn a_node_that_lies_is_found_out() {
    for protocol in PROTOCOLS {
        let start = |()| Node::start(protocol, "127.0.0.1:0", NODE_MEMORY).unwrap().address();
        let honest = [(); 2].map(start);
        // Every header and every length is right.
        let liar = liar(protocol, b'~', b'!');
        let wrong = wrong(protocol, &[honest[0], liar, honest[1]]);
        assert_eq!(wrong.len(), load::CLIENTS, "{wrong:#?}");
        let request = if protocol == Protocol::Redis { "GET" } else { "\"get " };
        for text in wrong {
            assert!(text.contains(request) && text.contains('!'), "{text}");
        }
    }
}

#[test]
fn a_node_that_is_not_there_is_a_wrong_answer() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let wrong = wrong(Protocol::Memcache, &[address]);
    assert_eq!(wrong.len(), load::CLIENTS, "{wrong:#?}");
    assert!(wrong[0].contains("\"SERVER_ERROR Connection refused\\r\\n\""), "{}", wrong[0]);
}

#[test]
fn a_redis_node_answers_the_whole_load_rightly() {
    let node = Node::start(Protocol::Redis, "127.0.0.1:0", NODE_MEMORY).unwrap();
    let outcome = load::run(Protocol::Redis, node.address());
    assert_eq!(outcome.wrong, Vec::<String>::new());
    assert_eq!(node.figures(), Figures { requests: outcome.requests as u64, items: load::KEYS });
}

#[test]
fn a_load_finds_out_who_does_not_speak_redis() {
    let node = Node::start(Protocol::Memcache, "127.0.0.1:0", NODE_MEMORY).unwrap();
    let outcome = load::run(Protocol::Redis, node.address());
    assert_eq!(outcome.wrong.len(), load::CLIENTS);
    assert!(outcome.wrong[0].contains("was answered \"ERROR\\r\\n\""), "{}", outcome.wrong[0]);
}

#[test]
fn a_key_that_a_node_should_have_and_has_not_is_wrong() {
    let node = Node::start(Protocol::Memcache, "127.0.0.1:0", NODE_MEMORY).unwrap();
    let stage = Stage::open(Protocol::Memcache, &[node.address()]).unwrap();
    let rows = rows(&stage.pool, &[node]);
    stage.close().unwrap();
    let faults: Vec<_> = rows.iter().filter_map(Row::fault).collect();
    assert_eq!(faults, ["memcached-cluster-0 has 0 keys instead of 10000"]);
}

#[test]
fn the_configuration_is_one_without_traps() {
    let nodes = [SocketAddr::from(([127, 0, 0, 1], 40_001))];
    for (protocol, name) in PROTOCOLS.into_iter().zip(["memcached-cluster-0", "redis-0"]) {
        let text = configuration(protocol, 11211, &nodes);
        let config = Config::parse(Path::new("demo.yml"), text.as_bytes()).unwrap();
        assert_eq!(crate::config::lint::warnings(&config).len() + config.notes.len(), 0);
        assert_eq!(config.pools[0].servers[0].name, name);
        assert_eq!(config.pools[0].redis, protocol == Protocol::Redis);
    }
}
