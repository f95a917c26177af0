//! The table of the directives.

use super::super::capacity::{
    BULK_CONNECTIONS_MAX, DEDICATED_CONNECTIONS_MAX, SERVER_CONNECTIONS_MAX,
};
use super::super::value::Bounds;
use super::{Directive, Kind, Pools};

const INT: Bounds = Bounds::new(0, i32::MAX as u64);

/// A second has so many nanoseconds.
const RATE: Bounds = Bounds::new(0, 1_000_000_000);
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Every directive, first twemproxy's, then ours.
pub static DIRECTIVES: &[Directive] = &[
    Directive {
        name: "listen",
        kind: Kind::Listen,
        default: None,
        pools: Pools::All,
        doc: "The addresses that clients connect to: host:port, or /path and octal permissions, or \
            a list of these.",
    },
    Directive {
        name: "hash",
        kind: Kind::Hash,
        default: Some("fnv1a_64"),
        pools: Pools::All,
        doc: "The hash function for keys.",
    },
    Directive {
        name: "hash_tag",
        kind: Kind::HashTag,
        default: None,
        pools: Pools::All,
        doc: "Two characters; only the part of a key between them is hashed.",
    },
    Directive {
        name: "distribution",
        kind: Kind::Distribution,
        default: Some("ketama"),
        pools: Pools::All,
        doc: "How the hash of a key selects a server.",
    },
    Directive {
        name: "timeout",
        kind: Kind::Timeout(|pool| &mut pool.timeout, "for no timeout"),
        default: Some("-1"),
        pools: Pools::All,
        doc: "How long a request may take, whatever it waits for; -1 or 0 means no limit.",
    },
    Directive {
        name: "backlog",
        kind: Kind::Count(|pool| &mut pool.backlog, INT),
        default: Some("512"),
        pools: Pools::All,
        doc: "Length of the kernel's queue of connections that are not yet accepted.",
    },
    Directive {
        name: "client_connections",
        kind: Kind::Count(|pool| &mut pool.client_connections, INT),
        default: Some("0"),
        pools: Pools::All,
        doc: "Maximum number of clients; 0 means only the limit of open files.",
    },
    Directive {
        name: "slow_after",
        kind: Kind::Timeout(|pool| &mut pool.slow_after, "to show no request"),
        default: Some("-1"),
        pools: Pools::All,
        doc: "How long a request must take to stand in /slow; -1 or 0 means no request does.",
    },
    Directive {
        name: "slow_keys",
        kind: Kind::Flag(|pool| &mut pool.slow_keys),
        default: Some("false"),
        pools: Pools::All,
        doc: "Whether /slow shows keys; if not, only their hashes.",
    },
    Directive {
        name: "pool_rate_max",
        kind: Kind::Count(|pool| &mut pool.pool_rate_max, RATE),
        default: Some("0"),
        pools: Pools::All,
        doc: "Requests per second that servers are asked for all clients of the pool, with up to a second's worth at once; 0 means no limit.",
    },
    Directive {
        name: "pool_requests_max",
        kind: Kind::Count(|pool| &mut pool.pool_requests_max, RATE),
        default: Some("0"),
        pools: Pools::All,
        doc: "Maximum number of requests in flight for all clients of the pool; 0 means no limit.",
    },
    Directive {
        name: "address_rate_max",
        kind: Kind::Count(|pool| &mut pool.address_rate_max, RATE),
        default: Some("0"),
        pools: Pools::All,
        doc: "As pool_rate_max, for the clients of each address.",
    },
    Directive {
        name: "address_requests_max",
        kind: Kind::Count(|pool| &mut pool.address_requests_max, RATE),
        default: Some("0"),
        pools: Pools::All,
        doc: "As pool_requests_max, for the clients of each address.",
    },
    Directive {
        name: "redis",
        kind: Kind::Flag(|pool| &mut pool.redis),
        default: Some("false"),
        pools: Pools::All,
        doc: "Whether the pool speaks Redis; if not, it speaks memcached.",
    },
    Directive {
        name: "tcpkeepalive",
        kind: Kind::Flag(|pool| &mut pool.tcpkeepalive),
        default: Some("false"),
        pools: Pools::All,
        doc: "Probe idle connections of clients and servers, to detect peers that are gone.",
    },
    Directive {
        name: "reuseport",
        kind: Kind::Flag(|pool| &mut pool.reuseport),
        default: Some("false"),
        pools: Pools::All,
        doc: "Let several processes listen on the same port.",
    },
    Directive {
        name: "redis_auth",
        kind: Kind::Secret(|pool| &mut pool.redis_auth),
        default: None,
        pools: Pools::Redis,
        doc: "The password of a Redis pool: clients send it to the proxy, and the proxy to the servers.",
    },
    Directive {
        name: "redis_db",
        kind: Kind::Count(|pool| &mut pool.redis_db, INT),
        default: Some("0"),
        pools: Pools::All,
        doc: "The database of a Redis pool, on every server.",
    },
    Directive {
        name: "preconnect",
        kind: Kind::Flag(|pool| &mut pool.preconnect),
        default: Some("false"),
        pools: Pools::All,
        doc: "Connect to the servers at the start, before the first request.",
    },
    Directive {
        name: "auto_eject_hosts",
        kind: Kind::Flag(|pool| &mut pool.auto_eject_hosts),
        default: Some("false"),
        pools: Pools::All,
        doc: "Take a failing server off the ring for server_retry_timeout.",
    },
    Directive {
        name: "server_connections",
        kind: Kind::Count(
            |pool| &mut pool.server_connections,
            Bounds::new(1, SERVER_CONNECTIONS_MAX),
        ),
        default: Some("1"),
        pools: Pools::All,
        doc: "Connections to each server; with Redis, for RESP2 and RESP3 each.",
    },
    Directive {
        name: "server_retry_timeout",
        kind: Kind::Milliseconds(|pool| &mut pool.server_retry_timeout),
        default: Some("30000"),
        pools: Pools::All,
        doc: "How long an ejected server stays off the ring.",
    },
    Directive {
        name: "server_failure_limit",
        kind: Kind::Count(|pool| &mut pool.server_failure_limit, INT),
        default: Some("2"),
        pools: Pools::All,
        doc: "Failures in a row that eject a server.",
    },
    Directive {
        name: "servers",
        kind: Kind::Servers,
        default: None,
        pools: Pools::All,
        doc: "The servers: a list of host:port:weight or /path:weight, each with a name or \
            without, dns+name:port, dnssrv+_port._tcp.name and k8s+service.namespace:port.",
    },
    Directive {
        name: "sentinels",
        kind: Kind::Ignored,
        default: None,
        pools: Pools::All,
        doc: "No effect: twemproxy documents the directive but never implemented it.",
    },
    Directive {
        name: "allow_flush",
        kind: Kind::Flag(|pool| &mut pool.allow_flush),
        default: Some("false"),
        pools: Pools::All,
        doc: "Let clients empty all servers, as with flush_all and FLUSHALL.",
    },
    Directive {
        name: "connect_timeout",
        kind: Kind::Timeout(|pool| &mut pool.clocks.connect, "for timeout alone"),
        default: Some("-1"),
        pools: Pools::All,
        doc: "How long it may take to open a connection to a server, name look-up and greeting included; -1 \
            or 0 means only timeout.",
    },
    Directive {
        name: "queue_timeout",
        kind: Kind::Timeout(|pool| &mut pool.clocks.queue, "for timeout alone"),
        default: Some("-1"),
        pools: Pools::All,
        doc: "How long a request may wait until it is sent to its server; -1 or 0 means only timeout.",
    },
    Directive {
        name: "response_timeout",
        kind: Kind::Timeout(|pool| &mut pool.clocks.response, "for timeout alone"),
        default: Some("-1"),
        pools: Pools::All,
        doc: "How long a server may take to answer a request that was sent to it; -1 or 0 means only \
            timeout.",
    },
    Directive {
        name: "redis_user",
        kind: Kind::Word(|pool| &mut pool.redis_user),
        default: None,
        pools: Pools::Redis,
        doc: "The ACL user that the proxy logs in as on the servers, with the password.",
    },
    Directive {
        name: "redis_auth_file",
        kind: Kind::SecretFile(|pool| &mut pool.redis_auth_file),
        default: None,
        pools: Pools::Redis,
        doc: "The absolute path of a file that holds the password, in place of redis_auth.",
    },
    Directive {
        name: "cross_shard",
        kind: Kind::CrossShard,
        default: Some("error"),
        pools: Pools::Redis,
        doc: "What happens to a command that needs keys of several servers at once: error refuses \
            it, first_key sends it to the server of its first key.",
    },
    Directive {
        name: "migrate.window",
        kind: Kind::Span(|pool| &mut pool.migrate_window),
        default: Some("0s"),
        pools: Pools::All,
        doc: "How long keys with another server than before are looked for at the old one, which needs a \
            timeout; 0s means never.",
    },
    Directive {
        name: "migrate.settle",
        kind: Kind::Span(|pool| &mut pool.migrate_settle),
        default: Some("2m"),
        pools: Pools::All,
        doc: "The longest time between the change of the first proxy of a fleet and that of the last; less \
            than 2s counts as 2s.",
    },
    Directive {
        name: "migrate.moves_max",
        kind: Kind::Count(|pool| &mut pool.migrate_moves_max, Bounds::new(1, 1 << 20)),
        default: Some("4096"),
        pools: Pools::All,
        doc: "Maximum number of requests of one worker on their way for keys that move.",
    },
    Directive {
        name: "on_server_failure",
        kind: Kind::OnServerFailure,
        default: None,
        pools: Pools::All,
        doc: "What happens to the keys of a server that fails: rehash gives them to other servers, \
            error refuses their requests, miss finds nothing, gutter gives them to gutter_servers. \
            Not set, auto_eject_hosts decides.",
    },
    Directive {
        name: "gutter_servers",
        kind: Kind::GutterServers,
        default: None,
        pools: Pools::All,
        doc: "The servers that have the keys of servers that fail, with on_server_failure: gutter: a list as \
            that of servers, without dns+, dnssrv+ and k8s+.",
    },
    Directive {
        name: "gutter_ttl",
        kind: Kind::Span(|pool| &mut pool.gutter_ttl),
        default: Some("60s"),
        pools: Pools::All,
        doc: "How long a value may stay in a gutter server, whatever the client wants: 1s to 30d.",
    },
    Directive {
        name: "journal_max",
        kind: Kind::Size(|pool| &mut pool.journal_max, Bounds::new(0, GIB)),
        default: Some("8388608"),
        pools: Pools::All,
        doc: "Memory, in each worker, for the keys that a server misses while it is away; they are \
            removed there before it returns. Only with on_server_failure.",
    },
    Directive {
        name: "on_journal_full",
        kind: Kind::OnJournalFull,
        default: None,
        pools: Pools::All,
        doc: "What happens to a server that has missed more keys than journal_max holds: flush \
            empties it, stay keeps it away until the operator lets it return, return risks old values. \
            Default: flush with allow_flush, else stay.",
    },
    Directive {
        name: "server_failure_rate",
        kind: Kind::Percent(|pool| &mut pool.server_failure_rate),
        default: Some("0%"),
        pools: Pools::All,
        doc: "Share of failed requests that ejects a server, too: of at least 20 in 10 seconds, in one \
            worker. 0% means only failures in a row.",
    },
    Directive {
        name: "server_probes",
        kind: Kind::Count(|pool| &mut pool.server_probes, Bounds::new(0, 100)),
        default: Some("2"),
        pools: Pools::All,
        doc: "Probes in a row that must succeed before an ejected server returns; 0 lets it return \
            untested.",
    },
    Directive {
        name: "server_probe_timeout",
        kind: Kind::Milliseconds(|pool| &mut pool.server_probe_timeout),
        default: Some("1000"),
        pools: Pools::All,
        doc: "How long a probe may take.",
    },
    Directive {
        name: "server_slow_start",
        kind: Kind::Span(|pool| &mut pool.server_slow_start),
        default: Some("10s"),
        pools: Pools::All,
        doc: "In which time a server that returns gets its keys back, a tenth after the other; 0s for all at \
            once. Only with on_server_failure: rehash or gutter.",
    },
    Directive {
        name: "max_ejected",
        kind: Kind::Percent(|pool| &mut pool.max_ejected),
        default: Some("100%"),
        pools: Pools::All,
        doc: "Share of the servers that may be ejected at the same time; when more seem to fail, the fault \
            is probably elsewhere.",
    },
    Directive {
        name: "max_move",
        kind: Kind::Percent(|pool| &mut pool.max_move),
        default: Some("100%"),
        pools: Pools::All,
        doc: "A reload that gives more of the keys another server is refused, unless it is forced.",
    },
    Directive {
        name: "allow_keys",
        kind: Kind::Flag(|pool| &mut pool.allow_keys),
        default: Some("false"),
        pools: Pools::Redis,
        doc: "Let clients use KEYS, which searches all keys of every server.",
    },
    Directive {
        name: "dedicated_connections_max",
        kind: Kind::Count(
            |pool| &mut pool.dedicated_connections_max,
            Bounds::new(0, DEDICATED_CONNECTIONS_MAX),
        ),
        default: Some("256"),
        pools: Pools::Redis,
        doc: "Maximum number of server connections that one worker keeps for single clients, for \
            MULTI, blocking commands and pub/sub; 0 means none.",
    },
    Directive {
        name: "module_commands",
        kind: Kind::ModuleCommands,
        default: None,
        pools: Pools::Redis,
        doc: "Commands of modules: a list of name, first key, last key and step, as in COMMAND \
            INFO.",
    },
    Directive {
        name: "bulk_connections",
        kind: Kind::Count(|pool| &mut pool.bulk.connections, Bounds::new(0, BULK_CONNECTIONS_MAX)),
        default: Some("1"),
        pools: Pools::All,
        doc: "Further connections to each server, opened when a client asks for much, for such clients; \
            0 means that all clients use the same.",
    },
    Directive {
        name: "bulk_min",
        kind: Kind::Size(|pool| &mut pool.bulk.min, Bounds::new(16 << 10, GIB)),
        default: Some("65536"),
        pools: Pools::All,
        doc: "A request or a reply of so many bytes is much.",
    },
    Directive {
        name: "item_size_max",
        kind: Kind::Size(|pool| &mut pool.limits.item_size_max, Bounds::new(1, GIB)),
        default: Some("64m"),
        pools: Pools::All,
        doc: "Maximum bytes of one value; with Redis, of one argument or reply.",
    },
    Directive {
        name: "keys_max",
        kind: Kind::Count(|pool| &mut pool.limits.keys_max, Bounds::new(1, 16 * MIB)),
        default: Some("262144"),
        pools: Pools::All,
        doc: "Maximum number of keys in one request.",
    },
    Directive {
        name: "line_max",
        kind: Kind::Size(|pool| &mut pool.limits.line_max, Bounds::new(512, GIB)),
        default: Some("32m"),
        pools: Pools::Memcached,
        doc: "Maximum bytes of one command line; not for Redis.",
    },
    Directive {
        name: "client_requests_max",
        kind: Kind::Count(|pool| &mut pool.limits.client_requests_max, Bounds::new(1, MIB)),
        default: Some("1024"),
        pools: Pools::All,
        doc: "Maximum number of requests in flight for one client.",
    },
    Directive {
        name: "client_buffer_max",
        kind: Kind::Size(|pool| &mut pool.limits.client_buffer_max, Bounds::new(1, GIB)),
        default: Some("1m"),
        pools: Pools::All,
        doc: "Bytes of replies waiting for one client above which the proxy stops reading from it.",
    },
    Directive {
        name: "client_backlog_max",
        kind: Kind::Size(|pool| &mut pool.limits.client_backlog_max, Bounds::new(1, 16 * GIB)),
        default: Some("128m"),
        pools: Pools::All,
        doc: "Bytes of replies held for one client above which the next reply becomes an error.",
    },
    Directive {
        name: "server_requests_max",
        kind: Kind::Count(|pool| &mut pool.limits.server_requests_max, Bounds::new(1, 16 * MIB)),
        default: Some("16384"),
        pools: Pools::All,
        doc: "Maximum number of requests waiting on one server connection.",
    },
    Directive {
        name: "server_buffer_max",
        kind: Kind::Size(|pool| &mut pool.limits.server_buffer_max, Bounds::new(1, 16 * GIB)),
        default: Some("16m"),
        pools: Pools::All,
        doc: "Maximum bytes queued to one server connection.",
    },
    Directive {
        name: "memory_max",
        kind: Kind::Size(|pool| &mut pool.limits.memory_max, Bounds::new(MIB, 1024 * GIB)),
        default: Some("512m"),
        pools: Pools::All,
        doc: "Maximum bytes that one worker holds in buffers.",
    },
    Directive {
        name: "discovered_max",
        kind: Kind::Count(|pool| &mut pool.discovered_max, Bounds::new(1, 65535)),
        default: Some("1000"),
        pools: Pools::All,
        doc: "Maximum number of servers of one dns+, dnssrv+ or k8s+ entry.",
    },
];
