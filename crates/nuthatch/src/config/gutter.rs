//! The gutter of a pool: the servers that have the keys of servers that fail, with `on_server_failure: gutter`.
//!
//! The one rule: a server is either one of the pool or one of the gutter. It is listed, not discovered: whoever needs a
//! gutter needs it most when look-ups fail, too.

use std::time::Duration;

use nuthatch_core::health::OnFailure;
use nuthatch_core::ring::{Distribution, Member, Ring};

use super::finding::Finding;
use super::raw::{RawPool, Scalar, Value};
use super::value::{Fault, span_text};
use super::{Pool, Server, address, discovered};

/// memcached counts in seconds, and takes a longer time for one of the wall clock.
const TTL_MIN: Duration = Duration::from_secs(1);
const TTL_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Reads a server of the gutter; its index stays 0.
pub(super) fn server(text: &str) -> Result<Server, Fault> {
    if discovered::parse(text).is_some() {
        let wrong = "has an entry that DNS or Kubernetes turns into servers";
        return Err(Fault::new(wrong, "list each gutter server as host:port:weight"));
    }
    address::server(text)
}

/// The errors about the gutter of a pool, and the remarks.
pub(super) fn check(pool: &Pool, raw: &RawPool) -> (Vec<Finding>, Vec<Finding>) {
    let (mut errors, mut notes) = (Vec::new(), Vec::new());
    let place = |name: &str| raw.entry(name).map_or(&raw.name, |entry| &entry.directive);
    let is_wanted = pool.on_server_failure == Some(OnFailure::Gutter);
    let is_given = raw.entry("gutter_servers").is_some_and(|entry| !texts(&entry.value).is_empty());
    if is_wanted && !is_given {
        let wrong =
            "conf: directive \"on_server_failure\" is gutter, and there are no gutter_servers";
        let right = "add gutter_servers: and below it each server on a line as - host:port:weight, or write \
                     another on_server_failure";
        errors.push(place("on_server_failure").remark(wrong.into(), right));
    }
    for name in ["gutter_servers", "gutter_ttl"] {
        if let Some(entry) = raw.entry(name).filter(|_| !is_wanted) {
            let wrong =
                format!("directive \"{name}\" has no effect without on_server_failure: gutter");
            let right = "add on_server_failure: gutter, or remove it";
            notes.push(entry.directive.remark(wrong, right));
        }
    }
    if is_wanted && pool.distribution == Distribution::Random {
        let wrong =
            "conf: directive \"on_server_failure\" is gutter, and distribution is random".into();
        let right = "write another distribution: random draws a server for each request";
        errors.push(place("on_server_failure").remark(wrong, right));
    }
    if !(TTL_MIN..=TTL_MAX).contains(&pool.gutter_ttl) {
        let wrong = format!("conf: directive \"gutter_ttl\" is {}", span_text(pool.gutter_ttl));
        errors.push(place("gutter_ttl").remark(wrong, "write a time from 1s to 30d"));
    }
    let total: u64 = pool.gutter_servers.iter().map(|server| u64::from(server.weight)).sum();
    if u32::try_from(total).is_err() {
        let wrong = format!("the sum of the weights, {total}, does not fit into 32 bits");
        let right = "divide all weights by the same number";
        errors.push(place("gutter_servers").remark(wrong, right));
    }
    errors.extend(in_both(pool, raw));
    (errors, notes)
}

/// The servers that are in both lists.
fn in_both<'p>(pool: &'p Pool, raw: &'p RawPool) -> impl Iterator<Item = Finding> + 'p {
    let texts = raw.entry("gutter_servers").map_or_else(Vec::new, |entry| texts(&entry.value));
    pool.gutter_servers.iter().filter_map(move |server| {
        let other = pool.servers.iter().find(|other| other.address == server.address)?;
        // A server that can't be read is left out, so the places differ: it is sought by its text.
        let text = texts.iter().find(|text| text.text == server.to_string())?;
        let wrong = format!(
            "conf: pool '{}' has server '{}' as '{}' in servers, too",
            pool.name, server.address, other.name
        );
        let right = "remove it from one of the lists: when it fails, its keys need another server";
        Some(text.is_wrong(wrong, right))
    })
}

fn texts(value: &Value) -> Vec<&Scalar> {
    match value {
        Value::One(one) if one.text.is_empty() => Vec::new(),
        Value::One(one) => vec![one],
        Value::Many(all) => all.iter().collect(),
    }
}

impl Pool {
    /// The servers of the gutter; none if they are listed and not used.
    #[must_use]
    pub fn gutter(&self) -> &[Server] {
        match self.on_server_failure {
            Some(OnFailure::Gutter) => &self.gutter_servers,
            _ => &[],
        }
    }

    /// The servers of the pool and of its gutter.
    pub(crate) fn all_servers(&self) -> impl Iterator<Item = &Server> {
        self.servers.iter().chain(self.gutter())
    }

    /// The ring of the gutter; without members if the pool has none.
    #[must_use]
    pub fn gutter_ring(&self, seed: u64) -> Ring {
        let member =
            |server: &Server| Member { name: server.name.as_bytes().into(), weight: server.weight };
        let members = self.gutter().iter().map(member).collect();
        Ring::new(self.distribution, self.hash, self.hash_tag, members, seed)
    }
}
