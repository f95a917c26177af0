//! The JSON pages of the admin port.
//!
//! The one rule: a page shows the active values, not the text of the file: it has defaults, and no
//! secrets.

use super::{Admin, PATHS};
use crate::changes::Change;
use crate::config::Pool;
use crate::config::directive::DIRECTIVES;
use crate::figures;
use crate::generation::{Generation, SharedPool, SharedServer, Verdict};
use crate::route;
use nuthatch_core::error::ServerError;
use nuthatch_core::health::Stage;
use nuthatch_core::memcache;
use nuthatch_core::ring::Ring;
use nuthatch_core::stats::ServerStats;
use nuthatch_core::version::Version;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

pub(super) fn index() -> Value {
    let paths = PATHS.iter().map(|(path, what)| ((*path).to_owned(), json!(what)));
    json!({ "nuthatch": env!("CARGO_PKG_VERSION"), "paths": Map::from_iter(paths) })
}

pub(super) fn config(admin: &Admin) -> Value {
    let generation = admin.generation();
    let pools = generation.pools.iter().map(|shared| {
        let values = DIRECTIVES.iter().filter(|directive| !directive.is_ignored());
        let mut shown = Pool::clone(&shared.pool);
        let values =
            values.map(|directive| (directive.name.to_owned(), directive.shown(&mut shown)));
        let mut pool = Map::from_iter(values);
        pool.insert("ring_hash".into(), json!(ring_hash(&shared.ring)));
        (shared.pool.name.clone(), pool.into())
    });
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "source": admin.reloader.source.to_string(),
        "generation": generation.number,
        "file": file(admin, &generation),
        "workers": admin.inboxes.len(),
        "pools": Map::from_iter(pools),
    })
}

/// What differs between the file and what is served: what a reload would change, or why it would be
/// refused.
fn file(admin: &Admin, generation: &Arc<Generation>) -> Value {
    match admin.reloader.read() {
        Err(errors) => json!({ "state": "refused", "errors": errors }),
        Ok(None) => Value::Null,
        Ok(Some(config)) => {
            let (answers, workers) = (&admin.reloader.answers, admin.inboxes.len());
            let change = Change::to(config.pools, answers, generation, workers);
            let state = match (&change.lines[..], &change.obstacles[..]) {
                ([], []) => "same",
                (_, []) => "differs",
                _ => "refused",
            };
            json!({ "state": state, "changes": change.lines, "errors": change.obstacles })
        }
    }
}

/// A ring's fingerprint, cut to the bits that a number in JSON or Prometheus keeps without loss.
pub(super) fn ring_hash(ring: &Ring) -> u64 {
    ring.fingerprint() >> 12
}

/// The last slow requests of each pool.
pub(super) fn slow(admin: &Admin) -> Value {
    let generation = admin.generation();
    let pools = generation.pools.iter().map(|shared| {
        let requests = shared.slow.page(shared.pool.slow_keys);
        (shared.pool.name.clone(), requests)
    });
    json!({ "pools": Map::from_iter(pools) })
}

pub(super) fn servers(admin: &Admin) -> Value {
    let generation = admin.generation();
    let pools = generation.pools.iter().map(|shared| {
        let servers = shared.numbered();
        let servers = servers.map(|(ring, number, of)| server(of, ring, number, &of.workers));
        (shared.pool.name.clone(), servers.collect())
    });
    json!({ "pools": Map::from_iter(pools) })
}

/// One server, with its figures in each worker.
fn server(shared: &SharedServer, ring: &Ring, number: usize, stats: &[Arc<ServerStats>]) -> Value {
    let workers = shared.stats();
    let sum = |counter| figures::of_server(workers.clone(), counter);
    let errors = ServerError::OF_SERVERS.into_iter().map(|error| {
        let count = |stats: &Arc<ServerStats>| stats.more.errors[error as usize].read();
        (error.name().to_owned(), json!(stats.iter().map(count).sum::<u64>()))
    });
    let (server, addresses) = (&shared.server, &shared.addresses);
    json!({
        "name": server.name,
        "address": server.address.to_string(),
        "connected_to": addresses.connected_to(),
        "tried": addresses.tried(),
        "versions": versions(stats),
        "weight": server.weight,
        "gutter": shared.is_gutter,
        "ring_share": ring.share_of(number),
        "points": ring.points_of(number),
        "state": figures::state(&workers),
        "ejected_in_workers": sum(|stats| &stats.more.is_ejected),
        "ejections": sum(|stats| &stats.more.ejections),
        "away": away(shared),
        "journal": {
            "keys": sum(|stats| &stats.more.journal_keys),
            "bytes": sum(|stats| &stats.more.journal_bytes),
            "overflows": sum(|stats| &stats.more.journal_overflows),
            "refused": sum(|stats| &stats.more.removals_refused),
        },
        "caps_refused": sum(|stats| &stats.more.caps_refused),
        "probes": sum(|stats| &stats.more.probes),
        "connections": sum(|stats| &stats.server_connections),
        "requests": sum(|stats| &stats.requests),
        "responses": sum(|stats| &stats.responses),
        "in_queue": sum(|stats| &stats.in_queue),
        "out_queue": sum(|stats| &stats.out_queue),
        "errors": Map::from_iter(errors),
    })
}

/// Why a server is not used, since when, and when it is tried next; null while it is used.
fn away(shared: &SharedServer) -> Value {
    let Some(Verdict { seen, since, next_try }) = shared.verdict() else { return Value::Null };
    let stage = match seen.stage {
        Stage::Live => "live",
        Stage::Draining => "draining",
        Stage::Leaving => "leaving",
        Stage::Away => "away",
        Stage::Held => "held",
        Stage::Returning => "returning",
        Stage::Warming => "warming",
    };
    let reason = match seen.by_operator {
        true => Some("operator"),
        false => seen.error.map(ServerError::name),
    };
    json!({
        "stage": stage,
        "reason": reason,
        "keys_percent": seen.share.percent(),
        "since_seconds": since.as_secs_f64(),
        "next_try_seconds": next_try.map(|at| at.as_secs_f64()),
    })
}

/// The number of the server of this name, if it can be ejected.
pub(super) fn find_server(admin: &Admin, name: &str, pool: Option<&str>) -> Result<u64, String> {
    let generation = admin.generation();
    let (name, pool) = (decoded(name)?, pool.map(decoded).transpose()?);
    let pool = pool.map(|pool| String::from_utf8_lossy(&pool).into_owned());
    let shared = choose(&generation, pool.as_deref())?;
    let is_it = |server: &&Arc<SharedServer>| server.server.name.as_bytes() == name;
    let Some(server) = shared.servers.iter().find(is_it) else {
        let names: Vec<&str> = shared.servers.iter().map(|it| it.server.name.as_str()).collect();
        let (pool, names) = (&shared.pool.name, names.join(", "));
        return Err(format!("pool {pool} has no server of this name; its servers are {names}"));
    };
    match shared.pool.ejection() {
        Some(_) => Ok(server.number),
        None => Err(format!(
            "pool {} never ejects servers: set on_server_failure or auto_eject_hosts",
            shared.pool.name
        )),
    }
}

/// What the server said its version is when a connection was opened, in each worker: one, unless it
/// was replaced and not every worker has noticed.
fn versions(figures: &[Arc<ServerStats>]) -> BTreeSet<String> {
    let known = figures.iter().map(|stats| stats.more.version.read()).filter(|bits| *bits > 0);
    known.map(|bits| Version::from_bits(bits).to_string()).collect()
}

/// The server of the key in a query.
pub(super) fn way(admin: &Admin, query: &str) -> Result<Value, String> {
    let value = |name: &str| {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let text = pairs.into_iter().find(|(key, _)| *key == name).map(|(_, text)| text);
        text.map(decoded).transpose()
    };
    let key = value("key")?.ok_or("the key is missing: request /route?key=KEY")?;
    let name = value("pool")?.map(|name| String::from_utf8_lossy(&name).into_owned());
    // Any bytes are a key of a Redis pool.
    let is_key = |pool: &Pool| {
        pool.redis || memcache::next_key(&key).is_some_and(|(_, rest)| rest.is_empty())
    };
    let wrong = "invalid key: a key has 1 to 250 bytes, none of them NUL, line feed, carriage return or \
                 space";
    let generation = admin.generation();
    if !generation.pools.iter().any(|shared| is_key(&shared.pool)) {
        return Err(wrong.into());
    }
    let SharedPool { pool, ring, gutter_ring, .. } = choose(&generation, name.as_deref())?;
    if !is_key(pool) {
        return Err(wrong.into());
    }
    if pool.servers.is_empty() {
        return Err(format!("the pool {} has no servers now", pool.name));
    }
    Ok(route::explain(pool, (ring, gutter_ring), &key))
}

/// The bytes that a text stands for.
fn decoded(text: &str) -> Result<Vec<u8>, String> {
    let is_byte = |rest: &str| {
        rest.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    match text.split('%').skip(1).find(|rest| !is_byte(rest)) {
        None => Ok(percent_decode_str(text).collect()),
        Some(rest) => {
            let wrong: String = rest.chars().take(2).collect();
            Err(format!("invalid value: '%{wrong}' is no byte; write % itself as %25"))
        }
    }
}

/// The pool of that name, or the only one.
fn choose<'g>(generation: &'g Generation, name: Option<&str>) -> Result<&'g SharedPool, String> {
    let pools = &generation.pools;
    let all = || {
        let names: Vec<&str> = pools.iter().map(|shared| shared.pool.name.as_str()).collect();
        names.join(", ")
    };
    match (name, &pools[..]) {
        (None, [only]) => Ok(only),
        (None, _) => Err(format!(
            "the pool is missing: add pool=POOL to the request; the pools are {}",
            all()
        )),
        (Some(name), _) => {
            let found = pools.iter().find(|shared| shared.pool.name == name);
            found.ok_or_else(|| format!("there is no pool {name:?}; the pools are {}", all()))
        }
    }
}
