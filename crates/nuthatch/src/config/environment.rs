//! The pool that the environment describes, for a container without a configuration file.
//!
//! The one rule: each variable sets a directive. The variables become the same raw pool as a file,
//! and the same checks apply; only some defaults differ, so that clients do not notice the loss of
//! a server.

use super::address;
use super::directive::{Directive, Kind};
use super::raw::{Entry, RawPool, Scalar, Value};
use super::value::{self, Fault};
use super::{Address, Server, discovered, redis, secret};

/// The name of the pool that the environment describes, unless `REDIS` is true.
pub const POOL: &str = "memcached";

/// Its name if `REDIS` is true.
pub const REDIS_POOL: &str = "redis";

/// One variable.
#[derive(Debug)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// Its value if it is unset or empty; `None` if there is no default.
    pub default: Option<&'static str>,
    /// What it sets, in one sentence.
    pub doc: &'static str,
    /// The directive that gets its text; `None` for the variables that are combined.
    directive: Option<&'static str>,
}

impl Variable {
    /// Whether the text is as good as none. Spaces are a password.
    fn is_unset(&self, text: &str) -> bool {
        match self.directive.and_then(Directive::find).map(|directive| directive.kind) {
            Some(Kind::Secret(_)) => text.is_empty(),
            _ => text.trim().is_empty(),
        }
    }

    /// The text in the form of a file: words in lower case, `true` and `false` for all forms of yes
    /// and no. An invalid text is not changed, so that the error shows it, and of a password only
    /// a line end at its end is removed.
    fn spelled(&self, given: &str) -> String {
        let text = given.trim();
        let lower = text.to_lowercase();
        let kind = self.directive.and_then(Directive::find).map(|directive| directive.kind);
        match (kind, &*lower) {
            (Some(Kind::Secret(_)), _) => secret::without_line_end(given).into(),
            (Some(Kind::CrossShard), _) if redis::cross_shard(&lower).is_ok() => lower,
            (Some(Kind::Flag(_)), "true" | "yes" | "on" | "1") => "true".into(),
            (Some(Kind::Flag(_)), "false" | "no" | "off" | "0") => "false".into(),
            (Some(Kind::Hash), _) if value::hash(&lower).is_ok() => lower,
            (Some(Kind::Distribution), _) if value::distribution(&lower).is_ok() => lower,
            _ => text.into(),
        }
    }
}

const fn plain(
    name: &'static str,
    directive: &'static str,
    default: Option<&'static str>,
    doc: &'static str,
) -> Variable {
    Variable { name, default, doc, directive: Some(directive) }
}

const fn composed(
    name: &'static str,
    default: Option<&'static str>,
    doc: &'static str,
) -> Variable {
    Variable { name, default, doc, directive: None }
}

/// Every variable that is read.
pub static VARIABLES: &[Variable] = &[
    composed("SERVERS", None, "The servers, separated by commas: host:port[:weight] [name]."),
    composed("LISTEN_HOST", Some("127.0.0.1"), "The address to listen on; * is all addresses."),
    composed("LISTEN_PORT", Some("11211"), "The port to listen on."),
    composed("LISTEN_SOCKET", None, "A unix socket to listen on as well: /path [permissions]."),
    plain("HASH", "hash", Some("fnv1a_64"), "The hash function for keys."),
    plain(
        "HASH_TAG",
        "hash_tag",
        None,
        "Two characters; only the part of a key between them is hashed.",
    ),
    plain(
        "DISTRIBUTION",
        "distribution",
        Some("ketama"),
        "How the hash of a key selects a server.",
    ),
    plain(
        "AUTO_EJECT_HOSTS",
        "auto_eject_hosts",
        Some("true"),
        "Take failing servers off the ring.",
    ),
    plain(
        "TIMEOUT",
        "timeout",
        Some("2000"),
        "Milliseconds that a server may take to connect or to answer.",
    ),
    plain(
        "CONNECT_TIMEOUT",
        "connect_timeout",
        None,
        "Milliseconds that it may take to open a connection to a server.",
    ),
    plain(
        "QUEUE_TIMEOUT",
        "queue_timeout",
        None,
        "Milliseconds that a request may wait until it is sent to its server.",
    ),
    plain(
        "RESPONSE_TIMEOUT",
        "response_timeout",
        None,
        "Milliseconds that a server may take to answer what was sent to it.",
    ),
    plain(
        "SERVER_RETRY_TIMEOUT",
        "server_retry_timeout",
        Some("2000"),
        "Milliseconds that an ejected server stays off the ring.",
    ),
    plain(
        "SERVER_FAILURE_LIMIT",
        "server_failure_limit",
        Some("1"),
        "Failures in a row that eject a server.",
    ),
    plain(
        "ON_SERVER_FAILURE",
        "on_server_failure",
        None,
        "What becomes of a failing server's keys: rehash, error, miss or gutter.",
    ),
    composed("GUTTER_SERVERS", None, "The servers that get these keys then, as in SERVERS."),
    plain("GUTTER_TTL", "gutter_ttl", None, "How long a value may stay there, such as 60s."),
    plain(
        "JOURNAL_MAX",
        "journal_max",
        None,
        "Bytes in each worker for keys that a server misses while it is away.",
    ),
    plain(
        "ON_JOURNAL_FULL",
        "on_journal_full",
        None,
        "What becomes of a server that missed more: flush, stay or return.",
    ),
    plain(
        "MAX_EJECTED",
        "max_ejected",
        None,
        "Share of the servers that may be ejected at the same time.",
    ),
    plain(
        "SERVER_CONNECTIONS",
        "server_connections",
        Some("1"),
        "Connections to each server; with Redis, for RESP2 and RESP3 each.",
    ),
    plain("PRECONNECT", "preconnect", Some("false"), "Connect to the servers at the start."),
    plain(
        "CLIENT_CONNECTIONS",
        "client_connections",
        None,
        "Maximum number of clients; 0 means only the limit of open files.",
    ),
    plain(
        "SLOW_AFTER",
        "slow_after",
        None,
        "Milliseconds from which on a request stands in /slow.",
    ),
    plain("SLOW_KEYS", "slow_keys", None, "Whether /slow shows keys; if not, only their hashes."),
    plain(
        "POOL_RATE_MAX",
        "pool_rate_max",
        None,
        "Requests per second of all clients; 0 means no limit.",
    ),
    plain(
        "POOL_REQUESTS_MAX",
        "pool_requests_max",
        None,
        "Requests in flight of all clients; 0 means no limit.",
    ),
    plain(
        "ADDRESS_RATE_MAX",
        "address_rate_max",
        None,
        "Requests per second of the clients of each address; 0 means no limit.",
    ),
    plain(
        "ADDRESS_REQUESTS_MAX",
        "address_requests_max",
        None,
        "Requests in flight of the clients of each address; 0 means no limit.",
    ),
    plain(
        "ALLOW_FLUSH",
        "allow_flush",
        None,
        "Let clients empty all servers, as with flush_all and FLUSHALL.",
    ),
    plain(
        "ITEM_SIZE_MAX",
        "item_size_max",
        None,
        "Maximum bytes of one value; with Redis, of one argument or reply.",
    ),
    plain("KEYS_MAX", "keys_max", None, "Maximum number of keys in one request."),
    plain("LINE_MAX", "line_max", None, "Maximum bytes of one command line; not for Redis."),
    plain(
        "CLIENT_REQUESTS_MAX",
        "client_requests_max",
        None,
        "Maximum number of requests in flight for one client.",
    ),
    plain(
        "CLIENT_BUFFER_MAX",
        "client_buffer_max",
        None,
        "Bytes of unread replies of a client above which the proxy stops reading.",
    ),
    plain(
        "CLIENT_BACKLOG_MAX",
        "client_backlog_max",
        None,
        "Bytes of unread replies of a client above which replies become errors.",
    ),
    plain(
        "SERVER_REQUESTS_MAX",
        "server_requests_max",
        None,
        "Maximum number of requests waiting on a server connection.",
    ),
    plain(
        "SERVER_BUFFER_MAX",
        "server_buffer_max",
        None,
        "Maximum bytes queued to a server connection.",
    ),
    plain("MEMORY_MAX", "memory_max", None, "Maximum bytes that one worker holds in buffers."),
    plain(
        "DISCOVERED_MAX",
        "discovered_max",
        None,
        "Maximum number of servers of one dns+, dnssrv+ or k8s+ entry.",
    ),
    plain(
        "REDIS",
        "redis",
        Some("false"),
        "Whether the pool speaks Redis; then it is named redis.",
    ),
    plain(
        "REDIS_AUTH",
        "redis_auth",
        None,
        "The password that clients send, and that the proxy sends to servers.",
    ),
    plain(
        "REDIS_AUTH_FILE",
        "redis_auth_file",
        None,
        "The absolute path of a file with the password, in place of REDIS_AUTH.",
    ),
    plain(
        "REDIS_USER",
        "redis_user",
        None,
        "The ACL user that the proxy logs in as on the servers.",
    ),
    plain("REDIS_DB", "redis_db", None, "The database on every server."),
    plain(
        "CROSS_SHARD",
        "cross_shard",
        None,
        "Commands with keys of several servers: error, or first_key.",
    ),
    plain(
        "MIGRATE_WINDOW",
        "migrate.window",
        None,
        "How long moved keys are looked for at their old server; 0s means never.",
    ),
    plain(
        "MIGRATE_SETTLE",
        "migrate.settle",
        None,
        "The longest time from the change of a fleet's first proxy to its last.",
    ),
    plain(
        "MIGRATE_MOVES_MAX",
        "migrate.moves_max",
        None,
        "Maximum number of a worker's requests for keys that move.",
    ),
    plain("ALLOW_KEYS", "allow_keys", None, "Let clients use KEYS."),
    plain(
        "DEDICATED_CONNECTIONS_MAX",
        "dedicated_connections_max",
        None,
        "Maximum number of connections of a worker for single clients.",
    ),
    plain(
        "MODULE_COMMANDS",
        "module_commands",
        None,
        "Commands of modules, separated by commas: name first last step.",
    ),
];

/// The raw pool; `variable` returns a variable by its name.
pub(super) fn pool(variable: impl Fn(&str) -> Option<String>) -> RawPool {
    let text = |known: &Variable| {
        let given = variable(known.name).filter(|text| !known.is_unset(text));
        given.map(|text| known.spelled(&text)).or_else(|| known.default.map(Into::into))
    };
    let value = |name: &str| VARIABLES.iter().find(|known| known.name == name).and_then(text);

    let mut listen = listen(value("LISTEN_HOST"), value("LISTEN_PORT"));
    listen.extend(value("LISTEN_SOCKET").map(listen_socket));
    let servers = value("SERVERS").unwrap_or_default();

    let mut entries = vec![
        Entry { directive: scalar("listen", "listen".into()), value: Value::Many(listen) },
        servers_of("SERVERS", "servers", &servers),
    ];
    let gutter = value("GUTTER_SERVERS");
    entries.extend(gutter.map(|text| servers_of("GUTTER_SERVERS", "gutter_servers", &text)));
    for known in VARIABLES {
        if let (Some(directive), Some(text)) = (known.directive, text(known)) {
            let value = match Directive::find(directive) {
                Some(list) if list.takes_list() => Value::Many(split(known.name, &text).collect()),
                _ => Value::One(scalar(known.name, text)),
            };
            entries.push(Entry { directive: scalar(known.name, directive.into()), value });
        }
    }
    let is_redis = value("REDIS").is_some_and(|text| value::flag(&text) == Ok(true));
    let name = if is_redis { REDIS_POOL } else { POOL };
    RawPool { name: scalar("", name.into()), entries }
}

fn scalar(label: &str, text: String) -> Scalar {
    Scalar { text, label: label.into(), mark: None, fault: None }
}

/// A text that is wrong as it was given.
fn wrong(label: &str, text: String, fault: Fault) -> Scalar {
    Scalar { fault: Some(fault), ..scalar(label, text) }
}

/// The address of two variables, or what is wrong with each.
fn listen(host: Option<String>, port: Option<String>) -> Vec<Scalar> {
    let (host, port) = (host.unwrap_or_default(), port.unwrap_or_default());
    let faults = [
        host_fault(&host).map(|fault| wrong("LISTEN_HOST", host.clone(), fault)),
        port_fault(&port).map(|fault| wrong("LISTEN_PORT", port.clone(), fault)),
    ];
    let faults: Vec<_> = faults.into_iter().flatten().collect();
    if faults.is_empty() {
        vec![scalar("LISTEN_HOST:LISTEN_PORT", host_port(&host, &port))]
    } else {
        faults
    }
}

fn host_fault(host: &str) -> Option<Fault> {
    let fault = address::listen_host(host).err()?;
    let is_with_port = address::listen(host).is_ok();
    Some(match host {
        _ if host.starts_with('/') => Fault::new(
            "has no IP address or host name",
            "write the path of a unix socket to LISTEN_SOCKET",
        ),
        _ if is_with_port => {
            Fault::new("has no IP address or host name", "write the port to LISTEN_PORT")
        }
        _ => fault,
    })
}

/// Kubernetes sets `NAME_PORT` to a URL for every Service of the namespace.
fn port_fault(port: &str) -> Option<Fault> {
    let fault = address::listen_port(port).err()?;
    if !port.contains("://") {
        return Some(fault);
    }
    let right = "write a port; Kubernetes sets this variable for a Service named \"listen\", unless \
                 the pod has enableServiceLinks: false";
    Some(Fault { right: right.into(), ..fault })
}

fn listen_socket(path: String) -> Scalar {
    let form = || {
        let wrong = "has no path of a unix socket";
        Fault::new(wrong, "write an absolute path, such as /run/nuthatch.sock")
    };
    let fault = (!path.starts_with('/')).then(form);
    Scalar { fault, ..scalar("LISTEN_SOCKET", path) }
}

fn host_port(host: &str, port: &str) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// The entries of a list with commas; empty entries, such as after a last comma, are skipped.
fn split(name: &str, text: &str) -> impl Iterator<Item = Scalar> {
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    items.enumerate().map(move |(i, item)| scalar(&format!("{name}[{i}]"), item.into()))
}

/// The servers of a variable, as a directive.
fn servers_of(name: &str, directive: &str, text: &str) -> Entry {
    let servers = split(name, text).map(|item| server(&item.label, &item.text));
    Entry { directive: scalar(name, directive.into()), value: Value::Many(servers.collect()) }
}

fn server(label: &str, text: &str) -> Scalar {
    match separator_fault(text).or_else(|| server_fault(text)) {
        Some(fault) => wrong(label, text.into(), fault),
        None if discovered::parse(text).is_some() => scalar(label, text.into()),
        None => scalar(label, with_weight(text)),
    }
}

/// What is wrong with one server. A host that can't be one is an error here: no file of twemproxy's
/// has to work.
fn server_fault(text: &str) -> Option<Fault> {
    if let Some(entry) = discovered::parse(text) {
        return entry.err();
    }
    match address::server(&with_weight(text)) {
        Ok(Server { address: Address::Tcp { host, .. }, .. }) => {
            let right = "write an IP address or a host name; an IPv6 address stands in brackets, and \
                         commas separate servers";
            let fault = || Fault::new("has no IP address or host name", right);
            (!address::is_possible_host(&host)).then(fault)
        }
        Ok(_) => None,
        Err(fault) if fault.wrong == address::NO_SERVER => Some(Fault::new(
            "has an invalid \"hostname:port[:weight] [name]\" format string",
            "write host:port such as cache-1:11211, and commas between servers",
        )),
        Err(fault) => Some(fault),
    }
}

/// `host:port` and `/path`, which have no weight, with the weight 1.
fn with_weight(server: &str) -> String {
    let (address, name) = match server.split_once(' ') {
        Some((address, name)) => (address, Some(name)),
        None => (server, None),
    };
    // Colons after the bracket of an IPv6 address count as after a host.
    let colons = address.rsplit(']').next().unwrap_or_default().matches(':').count();
    let is_weighted = colons > usize::from(!address.starts_with('/'));
    match (is_weighted, name) {
        (true, _) => server.into(),
        (false, Some(name)) => format!("{address}:1 {name}"),
        (false, None) => format!("{address}:1"),
    }
}

/// The error for an entry of `SERVERS` that contains several servers: servers with another
/// separator than a comma would be parsed as one server with a name. A name that is the server's
/// own address is accepted.
fn separator_fault(server: &str) -> Option<Fault> {
    let is_separator = |c: char| c.is_whitespace() || c.is_control() || ";|".contains(c);
    let parts = server.split(is_separator).filter(|part| !part.is_empty());
    let looks_like_address = |part: &&str| {
        let is_server = || address::server(&with_weight(part)).is_ok();
        part.starts_with('/') || discovered::parse(part).is_some() || is_server()
    };
    let is_own = address::server(server).is_ok_and(|it| it.named && it.is_named_by_its_address());
    if is_own || parts.filter(looks_like_address).count() < 2 {
        return None;
    }
    let wrong = "contains several addresses where one server is expected";
    Some(Fault::new(wrong, "separate servers by commas, such as SERVERS=a:11211,b:11211"))
}
