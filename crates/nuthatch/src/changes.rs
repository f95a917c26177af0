//! What differs between two generations, in words, and what speaks against a change.
//!
//! The one rule: what differs stands in a line of its own, and no line has a secret.

use crate::config::directive::{DIRECTIVES, Kind};
use crate::config::{Pool, Secret, Server};
use crate::diff;
use crate::discover::{self, Answers};
use crate::generation::Generation;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

/// A change of what is served.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) before: Arc<Generation>,
    pub(crate) after: Generation,
    /// What differs, in a line each.
    pub(crate) lines: Vec<String>,
    /// What speaks against the change, unless it is forced.
    pub(crate) obstacles: Vec<String>,
}

impl Change {
    /// The change from `before` to these pools, with the servers that DNS and Kubernetes tell of.
    pub(crate) fn to(
        pools: Vec<Pool>,
        answers: &Mutex<Answers>,
        before: &Arc<Generation>,
        workers: usize,
    ) -> Self {
        let unknown = discover::unknown(&pools, answers, before);
        let after = before.next(discover::expanded(pools, answers, before), workers);
        let (lines, too_many) = compare(before, &after);
        // Without the servers of an entry, the share of the keys says nothing.
        let obstacles = if unknown.is_empty() { too_many } else { unknown };
        Self { before: Arc::clone(before), after, lines, obstacles }
    }
}

/// What differs, in a line each, and the pools of which too many keys would move.
fn compare(before: &Generation, after: &Generation) -> (Vec<String>, Vec<String>) {
    let (mut changes, mut too_many) = (Vec::new(), Vec::new());
    for new in &after.pools {
        let name = &new.pool.name;
        let Some(old) = before.pool(new.id) else {
            changes.push(format!("pool {name}: added, {} servers", new.servers.len()));
            continue;
        };
        let of_pool = differences(&old.pool, &new.pool);
        if of_pool.is_empty() {
            continue;
        }
        changes.extend(of_pool.iter().map(|what| format!("pool {name}: {what}")));
        // With the same servers in the same places, no key need be asked.
        let is_same = old.has_servers_of(new);
        let share = if is_same { 0.0 } else { diff::moved_share(&old.pool, &new.pool) };
        if share > 0.0 {
            changes.push(format!("pool {name}: {share:.1} % of the keys have another server"));
        }
        let max = new.pool.max_move;
        if share > f64::from(max) {
            too_many.push(format!(
                "pool {name}: {share:.1} % of the keys would have another server, and max_move is \
                 {max} %; POST /reload?force=true reloads nevertheless"
            ));
        }
    }
    let gone = before.pools.iter().filter(|old| after.pool(old.id).is_none());
    changes.extend(gone.map(|old| format!("pool {}: removed", old.pool.name)));
    (changes, too_many)
}

/// What differs between two configurations of a pool, without secrets.
fn differences(old: &Pool, new: &Pool) -> Vec<String> {
    let (mut before, mut after) = (old.clone(), new.clone());
    let mut found = Vec::new();
    for directive in DIRECTIVES.iter().filter(|directive| !directive.is_ignored()) {
        let (was, is) = (directive.shown(&mut before), directive.shown(&mut after));
        match directive.kind {
            Kind::Servers => {
                found.extend(servers("server", [&old.servers, &new.servers]));
            }
            Kind::GutterServers => {
                found.extend(servers("gutter server", [&old.gutter_servers, &new.gutter_servers]));
            }
            Kind::Secret(slot)
                if is_other(slot(&mut before).as_ref(), slot(&mut after).as_ref()) =>
            {
                found.push(format!("{} is another one", directive.name));
            }
            _ if was != is => found.push(format!("{} {was} -> {is}", directive.name)),
            _ => {}
        }
    }
    found
}

fn is_other(before: Option<&Secret>, after: Option<&Secret>) -> bool {
    before.map(Secret::expose) != after.map(Secret::expose)
}

fn servers(what: &str, [old, new]: [&[Server]; 2]) -> Vec<String> {
    let by_name = |servers: &[Server]| -> BTreeMap<String, BTreeSet<String>> {
        let mut all = BTreeMap::<_, BTreeSet<_>>::new();
        for server in servers {
            // All servers of an entry for DNS have its text.
            let place = match server.discovered {
                true => format!("{}:{}", server.address, server.weight),
                false => server.configured.clone(),
            };
            all.entry(server.name.clone()).or_default().insert(place);
        }
        all
    };
    let (before, after) = (by_name(old), by_name(new));
    let shown = |all: &BTreeSet<String>| all.iter().cloned().collect::<Vec<_>>().join(", ");
    let changed = after.iter().filter_map(|(name, is)| match before.get(name) {
        None => Some(format!("{what} {name} added ({})", shown(is))),
        Some(was) if was != is => Some(format!("{what} {name} {} -> {}", shown(was), shown(is))),
        Some(_) => None,
    });
    let gone = before.keys().filter(|name| !after.contains_key(*name));
    changed.chain(gone.map(|name| format!("{what} {name} removed"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Address, Config};
    use std::path::Path;

    fn pool() -> Pool {
        let text = b"p: {listen: \"h:1\", servers: [\"a:1:1 x\"]}\n";
        let config = Config::parse(Path::new("a.yml"), text);
        config.unwrap_or_else(|errors| panic!("{errors}")).pools.remove(0)
    }

    #[test]
    fn a_pool_gets_its_first_servers_without_a_moved_key_and_loses_all_with_its_last() {
        let (with, mut without) = (pool(), pool());
        without.servers.clear();
        for (before, after, share) in
            [(&without, &with, 0.0), (&with, &without, 100.0), (&without, &without, 0.0)]
        {
            let moved = diff::moved_share(before, after);
            assert!((moved - share).abs() < 1e-9, "{moved}, not {share}");
        }
    }

    #[test]
    fn a_server_of_dns_that_has_another_port_differs() {
        let (mut before, mut after) = (pool(), pool());
        for (pool, port) in [(&mut before, 1), (&mut after, 2)] {
            let server = &mut pool.servers[0];
            (server.discovered, server.configured) = (true, "dnssrv+_m._tcp.cache".into());
            server.address = Address::Tcp { host: "m-0.cache.".into(), port };
        }
        assert_eq!(differences(&before, &before), Vec::<String>::new());
        assert_eq!(differences(&before, &after), ["server x m-0.cache.:1:1 -> m-0.cache.:2:1"]);
    }
}
