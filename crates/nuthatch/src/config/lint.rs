//! Warnings: valid settings that are probably not intended.
//!
//! The one rule: a warning describes the effect, with numbers from the pool's own ring if possible,
//! and a remedy. Settings that are common in good configurations cause no warning.

use std::collections::HashMap;
use std::collections::hash_map::Entry::{Occupied, Vacant};
use std::fmt;
use std::time::Duration;

use nuthatch_core::clocks::{Clock, Clocks};
use nuthatch_core::ring::{Distribution, Hash};

use super::{Address, Config, CrossShard, Discovered, Lookup, Pool, Server, address};
use crate::escape::escaped;

/// One warning about one pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The pool.
    pub pool: String,
    /// What will happen.
    pub trap: String,
    /// What to do about it.
    pub advice: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = format!("{}: {} {}", self.pool, self.trap, self.advice);
        write!(out, "{}", escaped(&line))
    }
}

/// The warnings about all pools, in the order of the pools.
#[must_use]
pub fn warnings(config: &Config) -> Vec<Warning> {
    let check = |pool: &Pool| {
        // Without servers, as when DNS tells of none yet, there is nothing to say of the ring.
        let lints = LINTS.iter().filter(|_| !pool.servers.is_empty());
        let found = lints.filter_map(|lint| lint(pool)).chain(discovered_by_address(pool));
        let warn = |(trap, advice)| Warning { pool: pool.name.clone(), trap, advice };
        found.map(warn).collect::<Vec<_>>()
    };
    config.pools.iter().flat_map(check).collect()
}

/// What will happen and what to do about it.
type Trap = (String, String);

const LINTS: &[fn(&Pool) -> Option<Trap>] = &[
    crc32_with_ketama,
    clustered_keys,
    no_points,
    random_keys,
    ejection_with_modula,
    order_of_modula,
    no_timeout,
    clock_longer_than_timeout,
    no_such_host,
    named_by_address,
    named_by_port,
    named_like_another,
    named_by_nothing,
    one_address_twice,
    first_key,
];

fn crc32_with_ketama(pool: &Pool) -> Option<Trap> {
    if pool.hash != Hash::Crc32 || pool.distribution != Distribution::Ketama || is_single(pool) {
        return None;
    }
    let counts = keys_by_server(pool, SAMPLE);
    let most = counts.iter().max()?;
    let server = &pool.servers[counts.iter().position(|count| count == most)?].name;
    Some((
        format!(
            "hash crc32 has only 15 bits, and ketama needs 32: of 1000 keys {most} go to {server}."
        ),
        "Use crc32a, which has 32; nearly every key moves once.".into(),
    ))
}

/// Keys that differ in their last characters only stay close together under `fnv1a_64`, which in
/// twemproxy has 32 bits and no final mixing.
fn clustered_keys(pool: &Pool) -> Option<Trap> {
    if pool.hash != Hash::Fnv1a_64 || pool.distribution != Distribution::Ketama {
        return None;
    }
    let servers = pool.servers.len();
    let used = used(pool);
    if used >= servers.min(10) {
        return None;
    }
    let better = |hash: &Hash| self::used(&Pool { hash: *hash, ..pool.clone() });
    let other = [Hash::Jenkins, Hash::Md5, Hash::Murmur].into_iter().max_by_key(better)?;
    Some((
        format!(
            "hash fnv1a_64 puts short numbered keys close together on the ring: \
             the 100 keys k0 to k99 use only {used} of your {servers} servers."
        ),
        format!(
            "With hash {} these keys use {}; changing the hash of a cache in use moves nearly every \
             key once.",
            other.name(),
            better(&other)
        ),
    ))
}

/// How many servers have at least one of the keys k0 to k99.
fn used(pool: &Pool) -> usize {
    keys_by_server(pool, CLUSTER).iter().filter(|count| **count > 0).count()
}

fn no_points(pool: &Pool) -> Option<Trap> {
    if pool.distribution != Distribution::Ketama {
        return None;
    }
    let mut has_points = vec![false; pool.servers.len()];
    for point in pool.ring(0).points() {
        has_points[point.member as usize] = true;
    }
    let servers = pool.servers.iter().zip(has_points);
    let names = list(servers.filter(|(_, has_points)| !has_points).map(|(server, _)| server))?;
    Some((
        format!(
            "The weight of {names} is too small against the other weights: the ring has no \
             point for {names}, so no key goes there."
        ),
        "Raise the weight, or remove the server from the list.".into(),
    ))
}

fn random_keys(pool: &Pool) -> Option<Trap> {
    if pool.distribution != Distribution::Random || is_single(pool) {
        return None;
    }
    Some((
        "distribution random sends each request to any server, so most keys are not found again."
            .into(),
        "Use ketama, unless all servers hold the same items.".into(),
    ))
}

fn ejection_with_modula(pool: &Pool) -> Option<Trap> {
    if pool.distribution != Distribution::Modula || !pool.auto_eject_hosts || is_single(pool) {
        return None;
    }
    Some((
        "With distribution modula, ejecting one server moves nearly all keys of all servers, and \
         so does the return of the server."
            .into(),
        "Use ketama, or set auto_eject_hosts: false.".into(),
    ))
}

fn order_of_modula(pool: &Pool) -> Option<Trap> {
    // The order of discovered servers is nobody's choice.
    let is_sorted = plain(pool).is_sorted_by_key(|server| server.index);
    if pool.distribution != Distribution::Modula || is_sorted {
        return None;
    }
    let order = list(plain(pool))?;
    Some((
        format!(
            "distribution modula numbers the servers by name, short names first, not by their \
             order in the list: {order}."
        ),
        "Write the list in this order, so that the list shows how keys are routed.".into(),
    ))
}

fn no_timeout(pool: &Pool) -> Option<Trap> {
    // These two end all that a request may wait for.
    if pool.timeout.is_some() || pool.clocks.queue.is_some() && pool.clocks.response.is_some() {
        return None;
    }
    Some((
        "Without a timeout, clients wait forever for a server that hangs, and the proxy never \
         ejects the server."
            .into(),
        "Set a timeout in milliseconds, such as timeout: 400.".into(),
    ))
}

fn clock_longer_than_timeout(pool: &Pool) -> Option<Trap> {
    let timeout = pool.timeout?;
    let Clocks { connect, queue, response } = pool.clocks;
    let all = [(Clock::Connect, connect), (Clock::Queue, queue), (Clock::Response, response)];
    let is_longer = |wait: &Option<Duration>| wait.is_some_and(|wait| wait > timeout);
    let longer = all.iter().filter(|(_, wait)| is_longer(wait));
    let names: Vec<_> = longer.map(|(clock, _)| clock.directive()).collect();
    if names.is_empty() {
        return None;
    }
    Some((
        format!(
            "timeout is {} ms and counts from the beginning, so it is over before {}, which is longer.",
            timeout.as_millis(),
            names.join(", ")
        ),
        "Set it to less than timeout, or leave it out.".into(),
    ))
}

/// Twemproxy takes any host. Most of these are two servers in one entry.
fn no_such_host(pool: &Pool) -> Option<Trap> {
    let host = |server: &&Server| match &server.address {
        Address::Tcp { host, .. } => !address::is_possible_host(host),
        Address::Unix(_) => false,
    };
    let server = pool.all_servers().find(host)?;
    let Address::Tcp { host, .. } = &server.address else { return None };
    Some((
        format!(
            "\"{host}\" of server \"{}\" is no IP address and can't be the name of a host, so \
             nothing can connect to that server.",
            server.configured
        ),
        "Write host:port:weight, each server in an entry of its own.".into(),
    ))
}

/// Only IP addresses: a host name is as stable as a name on the ring.
fn named_by_address(pool: &Pool) -> Option<Trap> {
    let is_ip = |server: &&Server| match &server.address {
        Address::Tcp { host, .. } => address::is_ip(host),
        Address::Unix(_) => false,
    };
    let unnamed = plain(pool).filter(|server| !server.named).filter(is_ip);
    let first = unnamed.clone().next()?;
    if is_single(pool) {
        return None;
    }
    let count = match (unnamed.count(), pool.servers.len()) {
        (unnamed, all) if unnamed == all => "Servers".to_owned(),
        (unnamed, all) => format!("{unnamed} of {all} servers"),
    };
    Some((
        format!(
            "{count} are on the ring under an IP address: when the address changes, the keys of the \
             server move."
        ),
        format!(
            "Give each server a name, as in \"{} {}\": the present name moves no keys, any other \
             name moves the keys of the server once.",
            first.configured, first.name
        ),
    ))
}

fn named_by_port(pool: &Pool) -> Option<Trap> {
    let port = |server: &&Server| match server.address {
        Address::Tcp { port, .. } if !server.named => Some(port),
        _ => None,
    };
    let short = pool.servers.iter().find(|server| port(server) == Some(11211))?;
    let long = pool.servers.iter().find(|server| port(server).is_some_and(|port| port != 11211))?;
    Some((
        format!(
            "The ring name of a server on port 11211 is the host alone ({}), on any other port \
             it is host:port ({}): a change of the port to or from 11211 moves keys.",
            short.name, long.name
        ),
        "Give each server a name.".into(),
    ))
}

/// Only names that differ from every address form: a server that has moved and keeps its old
/// address as its name is correct.
fn named_like_another(pool: &Pool) -> Option<Trap> {
    let is_address = |server: &&Server| {
        let name = &server.name;
        let is_default = |port| port == "11211";
        address::server(name).is_ok()
            || name.rsplit_once(':').is_some_and(|(_, port)| is_default(port))
    };
    let server = plain(pool).filter(|server| server.named).find(is_address)?;
    Some((
        format!(
            "The text after a space is the name of a server, so \"{} {}\" is one server named {}.",
            server.configured, server.name, server.name
        ),
        "If these are two servers, write two entries in the list.".into(),
    ))
}

/// As in twemproxy, where nothing of it is to be seen but an empty name in the statistics.
fn named_by_nothing(pool: &Pool) -> Option<Trap> {
    let server = pool.servers.iter().find(|server| server.name.is_empty())?;
    Some((
        format!(
            "The space at the end of \"{server}\" makes the name of the server empty, and the empty \
             name is on the ring."
        ),
        "Write a name, or no space; the keys of the server move once.".into(),
    ))
}

fn one_address_twice(pool: &Pool) -> Option<Trap> {
    let mut by_address: HashMap<_, &Server> = HashMap::new();
    let twice = pool.all_servers().find_map(|server| match by_address.entry(&server.address) {
        Occupied(first) => Some((*first.get(), server)),
        Vacant(place) => {
            place.insert(server);
            None
        }
    });
    let (first, second) = twice?;
    Some((
        format!("{} and {} have the same address, {}.", first.name, second.name, first.address),
        "To give that server more keys, list it once with a greater weight.".into(),
    ))
}

fn first_key(pool: &Pool) -> Option<Trap> {
    if !pool.redis || pool.cross_shard != CrossShard::FirstKey || is_single(pool) {
        return None;
    }
    Some((
        "With cross_shard: first_key, a command with keys of several servers runs on the server of \
         its first key and sees none of the other keys there: answers can be wrong without an error."
            .into(),
        "Use cross_shard: error, and hash_tag for keys that belong together.".into(),
    ))
}

/// Addresses of pods change.
fn discovered_by_address(pool: &Pool) -> Option<Trap> {
    let by_address = |entry: &&Discovered| matches!(entry.lookup, Lookup::Addresses { .. });
    let entry = pool.discovered.iter().find(by_address)?;
    Some((
        format!(
            "The servers of {entry} are on the ring under their addresses: when a server returns \
             under another address, as a pod does, its keys move."
        ),
        "Use dnssrv+_port._tcp.name, or list the servers by name.".into(),
    ))
}

/// The servers that the configuration lists.
fn plain(pool: &Pool) -> impl Iterator<Item = &Server> + Clone {
    pool.servers.iter().filter(|server| !server.discovered)
}

fn is_single(pool: &Pool) -> bool {
    pool.servers.len() == 1
}

/// The names of `servers`, or `None` if there are none.
fn list<'s>(servers: impl Iterator<Item = &'s Server>) -> Option<String> {
    let names: Vec<&str> = servers.map(|server| server.name.as_str()).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

/// How many of the keys each server has.
fn keys_by_server(pool: &Pool, keys: Keys) -> Vec<usize> {
    let mut ring = pool.ring(0);
    let mut counts = vec![0; pool.servers.len()];
    for i in 0..keys.count {
        counts[ring.route(format!("{}{i}", keys.prefix).as_bytes())] += 1;
    }
    counts
}

#[derive(Clone, Copy)]
struct Keys {
    prefix: &'static str,
    count: usize,
}

const SAMPLE: Keys = Keys { prefix: "user:", count: 1000 };
const CLUSTER: Keys = Keys { prefix: "k", count: 100 };

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// The traps of a pool with these directives, each as one line.
    fn traps(directives: &str) -> Vec<String> {
        let text = format!("p: {{listen: \"h:1\", timeout: 400, {directives}}}\n");
        let config = Config::parse(Path::new("a.yml"), text.as_bytes());
        let config = config.unwrap_or_else(|errors| panic!("{errors}"));
        warnings(&config).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_good_pool_has_no_traps() {
        let none = Vec::<String>::new();
        assert_eq!(traps("hash: murmur, servers: [a:11211:1, b:11211:1, c:11211:2]"), none);
        assert_eq!(traps("hash: md5, servers: [10.0.0.1:1:1 a, 10.0.0.2:1:1 b]"), none);
        assert_eq!(traps("servers: [10.0.0.1:1:1]"), none);
        assert_eq!(traps("hash: crc32, servers: [a:1:1]"), none);
        assert_eq!(traps("redis: true, hash: md5, servers: [a:1:1, b:1:1]"), none);
        assert_eq!(traps("redis: true, cross_shard: first_key, servers: [a:1:1]"), none);
        assert_eq!(traps("servers: [\"10.0.0.2:1:1 10.0.0.1:1\"]"), none);
        let many: Vec<_> = (1..=25).map(|i| format!("s{i}:11211:1")).collect();
        assert_eq!(traps(&format!("hash: md5, servers: [{}]", many.join(", "))), none);
    }

    /// Directives, and what is told of them.
    const TRAPS: &[(&str, &str)] = &[
        (
            "hash: crc32, servers: [a:1:1, b:1:1]",
            "p: hash crc32 has only 15 bits, and ketama needs 32: of 1000 keys 1000 go to b:1. \
             Use crc32a, which has 32; nearly every key moves once.",
        ),
        (
            "servers: [a:11211:1, b:11211:1, c:11211:1]",
            "p: hash fnv1a_64 puts short numbered keys close together on the ring: the 100 \
             keys k0 to k99 use only 2 of your 3 servers. With hash murmur these keys use 3; \
             changing the hash of a cache in use moves nearly every key once.",
        ),
        (
            "hash: md5, servers: [a:1:100000, b:1:1]",
            "p: The weight of b:1 is too small against the other weights: the ring has no \
             point for b:1, so no key goes there. Raise the weight, or remove the server from \
             the list.",
        ),
        (
            "distribution: random, servers: [a:1:1, b:1:1]",
            "p: distribution random sends each request to any server, so most keys are \
             not found again. Use ketama, unless all servers hold the same items.",
        ),
        (
            "hash: md5, servers: [\"a:11211:1,b:11211:1\", c:11211:1]",
            "p: \"a:11211:1,b\" of server \"a:11211:1,b:11211:1\" is no IP address and can't be the \
             name of a host, so nothing can connect to that server. Write host:port:weight, each \
             server in an entry of its own.",
        ),
        (
            "distribution: modula, auto_eject_hosts: true, servers: [a:1:1, b:1:1]",
            "p: With distribution modula, ejecting one server moves nearly all keys of all \
             servers, and so does the return of the server. Use ketama, or set auto_eject_hosts: false.",
        ),
        (
            "distribution: modula, servers: [\"h:1:2 aaa\", \"h:2:1 zz\"]",
            "p: distribution modula numbers the servers by name, short names first, not by \
             their order in the list: zz, aaa. Write the list in this order, so that the list \
             shows how keys are routed.",
        ),
        (
            "hash: md5, servers: [10.0.0.1:1:1, \"10.0.0.2:1:1 b\"]",
            "p: 1 of 2 servers are on the ring under an IP address: when the address changes, \
             the keys of the server move. Give each server a name, as in \"10.0.0.1:1:1 \
             10.0.0.1:1\": the present name moves no keys, any other name moves the keys of \
             the server once.",
        ),
        (
            "hash: md5, servers: [a:11211:1, b:11212:1]",
            "p: The ring name of a server on port 11211 is the host alone (a), on any other \
             port it is host:port (b:11212): a change of the port to or from 11211 moves keys. \
             Give each server a name.",
        ),
        (
            "hash: md5, servers: [\"a:11211:1 b:11211:1\"]",
            "p: The text after a space is the name of a server, so \"a:11211:1 b:11211:1\" is \
             one server named b:11211:1. If these are two servers, write two entries in the \
             list.",
        ),
        (
            "hash: md5, servers: [\"a:1:1 \", b:1:1]",
            "p: The space at the end of \"a:1:1 \" makes the name of the server empty, and the \
             empty name is on the ring. Write a name, or no space; the keys of the server move \
             once.",
        ),
        (
            "hash: md5, servers: [\"h:1:1 a\", \"h:1:1 b\"]",
            "p: a and b have the same address, h:1. To give that server more keys, list it \
             once with a greater weight.",
        ),
        (
            "connect_timeout: 400, queue_timeout: 401, response_timeout: 900, servers: [a:1:1]",
            "p: timeout is 400 ms and counts from the beginning, so it is over before queue_timeout, \
             response_timeout, which is longer. Set it to less than timeout, or leave it out.",
        ),
        (
            "redis: true, cross_shard: first_key, hash: md5, servers: [a:1:1, b:1:1]",
            "p: With cross_shard: first_key, a command with keys of several servers runs on the \
             server of its first key and sees none of the other keys there: answers can be wrong \
             without an error. Use cross_shard: error, and hash_tag for keys that belong together.",
        ),
    ];

    #[test]
    fn each_trap_is_told_with_what_happens_and_what_to_do() {
        for (directives, trap) in TRAPS {
            assert_eq!(traps(directives), [*trap], "{directives}");
        }
    }

    #[test]
    fn a_pool_whose_requests_all_end_needs_no_timeout() {
        for (clocks, is_told) in [
            ("queue_timeout: 100, response_timeout: 100", false),
            ("connect_timeout: 100, queue_timeout: 100, response_timeout: 100", false),
            ("connect_timeout: 100, queue_timeout: 100", true),
            ("connect_timeout: 100, response_timeout: 100", true),
            ("queue_timeout: 100, response_timeout: 0", true),
        ] {
            let text = format!("p: {{listen: \"h:1\", {clocks}, servers: [a:1:1]}}\n");
            let config = Config::parse(Path::new("a.yml"), text.as_bytes()).unwrap();
            assert_eq!(warnings(&config).len(), usize::from(is_told), "{clocks}");
        }
    }

    #[test]
    fn a_pool_without_a_timeout_is_told_of_it() {
        let text = b"p: {listen: \"h:1\", servers: [a:1:1]}\n";
        let config = Config::parse(Path::new("a.yml"), text).unwrap();
        let warnings: Vec<_> = warnings(&config).iter().map(ToString::to_string).collect();
        assert_eq!(
            warnings,
            [
                "p: Without a timeout, clients wait forever for a server that hangs, and the proxy never \
              ejects the server. Set a timeout in milliseconds, such as timeout: 400."
            ]
        );
    }
}
