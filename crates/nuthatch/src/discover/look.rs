//! What DNS and Kubernetes say of the entries now, in words: for commands that do not serve, and for a change
//! that would need servers that nobody knows.

use super::{Answers, Discovery, expand, is_usable, lock, question, servers_before, servers_of};
use crate::config::{Config, Discovered, Lookup, Pool};
use crate::generation::Generation;
use crate::resolve::{self, Resolver};
use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

/// One entry, and what DNS or Kubernetes says of it now.
#[derive(Debug)]
pub struct Told {
    pool: String,
    entry: String,
    /// Who has no answer, and why, if there is none.
    lacks: String,
    servers: Option<Vec<String>>,
    max: usize,
}

impl Told {
    /// Whether the entry has no servers, or too many.
    #[must_use]
    pub fn is_wrong(&self) -> bool {
        let is_wrong = |servers: &Vec<_>| servers.is_empty() || servers.len() > self.max;
        self.servers.as_ref().is_none_or(is_wrong)
    }
}

impl fmt::Display for Told {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.pool, self.entry)?;
        match &self.servers {
            None => write!(
                out,
                " has no servers now: {}. The proxy starts without them and asks again until there is an \
                 answer.",
                self.lacks
            ),
            Some(servers) if servers.is_empty() => {
                write!(out, " has no servers now: no pod of the Service has a port of this name.")
            }
            Some(servers) if servers.len() > self.max => {
                let (count, max) = (servers.len(), self.max);
                write!(
                    out,
                    " has {count} servers now, more than discovered_max, {max}, so the proxy uses \
                     none of them. Raise discovered_max."
                )
            }
            Some(servers) if servers.len() > SHOWN_MAX => {
                let (count, shown) = (servers.len(), servers[..SHOWN_MAX].join(", "));
                write!(out, " has {count} servers now: {shown} and others")
            }
            Some(servers) => {
                write!(out, " has {} servers now: {}", servers.len(), servers.join(", "))
            }
        }
    }
}

/// How many servers of an entry are named.
const SHOWN_MAX: usize = 5;

/// Gives the pools of a configuration the servers that DNS and Kubernetes tell of now, within `patience`, for
/// commands that do not serve. Says what each entry has.
pub fn look(config: &mut Config, options: &resolve::Options, patience: Duration) -> Vec<Told> {
    let resolver = Resolver::new(options.clone());
    let discovery = Discovery::new(&config.pools, &resolver, Duration::ZERO);
    discovery.wait(patience);
    let mut told = Vec::new();
    for pool in &mut config.pools {
        told.extend(pool.discovered.iter().map(|entry| Told {
            pool: pool.name.clone(),
            entry: entry.configured.clone(),
            lacks: lacks(entry, &resolver),
            servers: discovery.lock().get(&question(entry)).map(|found| {
                let servers = servers_of(entry, found, pool.discovered_max);
                servers.into_iter().map(|server| server.name).collect()
            }),
            max: pool.discovered_max,
        }));
        pool.servers = expand(pool, &discovery.lock(), &[]).servers;
    }
    told
}

/// Checks that a pool has servers.
///
/// # Errors
/// The entries for which DNS has no answer, or too many servers.
pub fn require(pool: &Pool) -> Result<(), String> {
    if !pool.servers.is_empty() {
        return Ok(());
    }
    let entries: Vec<_> = pool.discovered.iter().map(Discovered::to_string).collect();
    Err(format!(
        "pool '{}' has no servers now: there are none for {}",
        pool.name,
        entries.join(", ")
    ))
}

/// Who has no answer for an entry, and why.
fn lacks(entry: &Discovered, resolver: &Resolver) -> String {
    if !matches!(entry.lookup, Lookup::Pods { .. }) {
        return "DNS has no answer for it".to_owned();
    }
    let reason = resolver.figures().kubernetes.reason(&entry.name);
    let reason = reason.map_or_else(String::new, |reason| format!(" ({reason})"));
    format!("Kubernetes has no answer for it{reason}")
}

/// The entries without usable servers that pools would get while they serve `before`: with each of them, a
/// pool would lose the servers that it has for none. An entry that the pool has already is none of them.
pub(crate) fn unknown(
    pools: &[Pool],
    answers: &Mutex<Answers>,
    before: &Generation,
) -> Vec<String> {
    let answers = lock(answers);
    let of_pool = |pool: &Pool| {
        let is_served = !servers_before(pool, Some(before)).is_empty();
        let old = before.pools.iter().find(|shared| shared.pool.name == pool.name);
        let is_new = |entry: &&Discovered| {
            let is_same = |old: &Discovered| old.lookup == entry.lookup && old.name == entry.name;
            !old.is_some_and(|old| old.pool.discovered.iter().any(is_same))
        };
        let told = pool.discovered.iter().filter(|_| is_served).filter(is_new).filter_map(|entry| {
            let count = answers.get(&question(entry)).map(|found| servers_of(entry, found, pool.discovered_max).len());
            let lack = match count {
                Some(servers) if is_usable(servers, pool) => return None,
                Some(0) => "no pod of the Service has a port of this name".to_owned(),
                Some(servers) => {
                    format!("it has {servers} servers, and discovered_max is {}", pool.discovered_max)
                }
                None => lacks(entry, &before.resolver),
            };
            Some(format!(
                "pool {}: {entry} has no servers now: {lack}. The proxy takes the configuration when \
                 there are some; POST /reload?force=true takes it now",
                pool.name
            ))
        });
        told.collect::<Vec<_>>()
    };
    pools.iter().flat_map(of_pool).collect()
}
