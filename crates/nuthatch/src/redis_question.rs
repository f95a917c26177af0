//! What the proxy itself answers to clients of a Redis pool: `INFO`, `COMMAND`, `CONFIG GET`,
//! `CLIENT INFO` and `CLIENT LIST`, in the form of RESP2 or RESP3.
//!
//! The one rule: an answer is about the proxy and the client that asks, never about one server or
//! another client. A figure is counted, or it is 0 and `docs/redis.md` says so.

mod commands;
mod info;
mod pattern;
mod reply;

use crate::config::{Listen, Pool};
use crate::escape::escaped;
use crate::question::About;
use nuthatch_core::redis::{Arguments, Session};
use nuthatch_core::time::Instant;
use pattern::Pattern;
use reply::Reply;

/// The addresses of both ends of a client's connection.
#[derive(Clone, Debug)]
pub(crate) struct Ends {
    /// The client's.
    pub(crate) client: String,
    /// The proxy's.
    pub(crate) proxy: String,
}

impl Ends {
    /// Those of a connection that is gone.
    pub(crate) fn unknown() -> Self {
        Self { client: String::new(), proxy: String::new() }
    }
}

/// The answers of one turn. A turn is one moment, so who asks the same a thousand times gets one
/// answer as often: the others would wait while a thousand are made.
#[derive(Debug)]
pub(crate) struct Answers<'a> {
    about: About<'a>,
    now: Instant,
    /// What was asked last, whether by a client of RESP3, and the answer. A question about the
    /// client itself is not kept.
    asked: Vec<u8>,
    is_resp3: bool,
    answer: Vec<u8>,
}

impl<'a> Answers<'a> {
    /// None yet.
    pub(crate) fn new(about: About<'a>, now: Instant) -> Self {
        Self { about, now, asked: Vec::new(), is_resp3: false, answer: Vec::new() }
    }

    /// The answer to a client's request.
    pub(crate) fn to(
        &mut self,
        request: &[u8],
        client: &Session,
        ends: &dyn Fn() -> Ends,
    ) -> &[u8] {
        if self.asked != request || self.is_resp3 != client.is_resp3() {
            self.answer = answer(request, (client, ends), self.about, self.now);
            self.asked.clear();
            if !is_about_the_client(request) {
                self.asked.extend_from_slice(request);
            }
            self.is_resp3 = client.is_resp3();
        }
        &self.answer
    }
}

fn is_about_the_client(request: &[u8]) -> bool {
    Arguments::of(request).next().is_some_and(|name| name.eq_ignore_ascii_case(b"client"))
}

/// The answer to a request: an array of its words, which the engine has checked the number of.
fn answer(
    request: &[u8],
    (client, ends): (&Session, &dyn Fn() -> Ends),
    about: About<'_>,
    now: Instant,
) -> Vec<u8> {
    let mut words = Arguments::of(request);
    let mut next = || words.next().unwrap_or_default().to_ascii_lowercase();
    let mut reply = Reply::new(client.is_resp3());
    match &*next() {
        b"info" => reply.text(&info::text(words, about, now)),
        b"command" => commands::answer(words, about.pool, &mut reply),
        b"role" => role(&mut reply),
        b"config" if next() == b"get" => config(words, about.pool, &mut reply),
        b"client" => match &*next() {
            b"info" => reply.text(&line_of(client, ends, "info")),
            b"list" => client_list(words, client, ends, &mut reply),
            b"getredir" => reply.integer(-1),
            b"trackinginfo" => tracking(&mut reply),
            _ => reply.error(NO_ANSWER),
        },
        _ => reply.error(NO_ANSWER),
    }
    reply.into_bytes()
}

/// `ROLE`: to a client, the proxy is a master without replicas.
fn role(reply: &mut Reply) {
    reply.array(3);
    reply.bulk("master");
    reply.integer(0);
    reply.array(0);
}

/// `CLIENT TRACKINGINFO`: tracking is off, as the proxy refuses it.
fn tracking(reply: &mut Reply) {
    reply.map(3);
    reply.bulk("flags");
    reply.set(1);
    reply.bulk("off");
    reply.bulk("redirect");
    reply.integer(-1);
    reply.bulk("prefixes");
    reply.array(0);
}

/// For a command that the engine's table sends here and that is not above.
const NO_ANSWER: &str = "ERR the proxy has no answer to this command";

/// `CLIENT LIST [TYPE type] [ID id…]`: of all clients, only the one that asks.
fn client_list(
    mut words: Arguments<'_>,
    client: &Session,
    ends: &dyn Fn() -> Ends,
    reply: &mut Reply,
) {
    let mut is_listed = true;
    if let Some(option) = words.next() {
        match &*option.to_ascii_lowercase() {
            b"type" if words.len() == 1 => {
                let kind = words.next().unwrap_or_default().to_ascii_lowercase();
                match &*kind {
                    b"normal" => {}
                    b"master" | b"replica" | b"slave" | b"pubsub" => is_listed = false,
                    _ => return reply.error("ERR Unknown client type"),
                }
            }
            b"id" if words.len() > 0 => {
                let ids: Option<Vec<u64>> = words.map(number).collect();
                let Some(ids) = ids else { return reply.error("ERR Invalid client ID") };
                is_listed = ids.contains(&client.id());
            }
            _ => return reply.error("ERR syntax error"),
        }
    }
    reply.text(&if is_listed { line_of(client, ends, "list") } else { String::new() });
}

fn number(word: &[u8]) -> Option<u64> {
    str::from_utf8(word).ok()?.parse().ok()
}

/// What the client has said, in Redis's form.
fn line_of(client: &Session, ends: &dyn Fn() -> Ends, command: &str) -> String {
    let (shown, ends) = (String::from_utf8_lossy, ends());
    let (library, version) = client.library();
    format!(
        "id={} addr={} laddr={} fd=0 name={} age=0 idle=0 flags=N db={} sub=0 psub=0 ssub=0 multi=-1 \
         qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem=0 events=r \
         cmd=client|{command} user={} redir=-1 resp={} lib-name={} lib-ver={}\n",
        client.id(),
        ends.client,
        ends.proxy,
        shown(client.name()),
        client.db(),
        escaped(&shown(client.user())),
        if client.is_resp3() { 3 } else { 2 },
        shown(library),
        shown(version),
    )
}

/// `CONFIG GET pattern…`: the settings that clients ask for. Those of the servers are not known.
fn config(words: Arguments<'_>, pool: &Pool, reply: &mut Reply) {
    let Some(patterns) = words.map(Pattern::new).collect::<Option<Vec<_>>>() else {
        return reply.error(pattern::TOO_LONG);
    };
    let settings = settings(pool);
    let is_wanted = |name: &str| patterns.iter().any(|pattern| pattern.fits(name.as_bytes()));
    let found = || settings.iter().filter(|(name, _)| is_wanted(name));
    reply.map(found().count());
    for (name, value) in found() {
        reply.bulk(name);
        reply.bulk(value);
    }
}

fn settings(pool: &Pool) -> [(&'static str, String); 11] {
    [
        ("appendonly", "no".into()),
        ("cluster-enabled", "no".into()),
        ("databases", "1".into()),
        ("maxclients", pool.client_connections.to_string()),
        ("maxmemory", "0".into()),
        ("maxmemory-policy", "noeviction".into()),
        ("port", port(pool).to_string()),
        ("proto-max-bulk-len", pool.limits.item_size_max.to_string()),
        ("save", String::new()),
        ("tcp-keepalive", if pool.tcpkeepalive { "300" } else { "0" }.into()),
        ("timeout", "0".into()),
    ]
}

/// The first TCP port that the pool listens on; 0 if it has only unix sockets.
fn port(pool: &Pool) -> u16 {
    let ports = pool.listen.iter().filter_map(|listen| match listen {
        Listen::Tcp { port, .. } => Some(*port),
        Listen::Unix { .. } => None,
    });
    ports.into_iter().next().unwrap_or(0)
}

#[cfg(test)]
mod tests;
