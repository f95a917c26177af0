//! A pool before its directives are read.
//!
//! The one rule: the defaults are those of the table.

use std::time::Duration;

use nuthatch_core::clocks::Clocks;
use nuthatch_core::mux::Bulk;
use nuthatch_core::ring::{Distribution, Hash};

use super::directive::DIRECTIVES;
use super::{Checked, CrossShard, Limits, Pool};

/// A pool in which every directive has its default.
pub(super) fn blank(name: &str) -> Pool {
    let mut pool = Pool {
        name: name.into(),
        listen: Vec::new(),
        hash: Hash::Fnv1a_64,
        hash_tag: None,
        distribution: Distribution::Ketama,
        timeout: None,
        clocks: Clocks::default(),
        backlog: 0,
        client_connections: 0,
        slow_after: None,
        slow_keys: false,
        pool_rate_max: 0,
        pool_requests_max: 0,
        address_rate_max: 0,
        address_requests_max: 0,
        tcpkeepalive: false,
        reuseport: false,
        preconnect: false,
        auto_eject_hosts: false,
        server_connections: 0,
        bulk: Bulk::NONE,
        server_retry_timeout: Duration::ZERO,
        server_failure_limit: 0,
        on_server_failure: None,
        gutter_ttl: Duration::ZERO,
        journal_max: 0,
        on_journal_full: None,
        server_failure_rate: 0,
        server_probes: 0,
        server_probe_timeout: Duration::ZERO,
        server_slow_start: Duration::ZERO,
        max_ejected: 100,
        redis: false,
        redis_user: None,
        redis_auth: None,
        redis_auth_file: None,
        redis_db: 0,
        cross_shard: CrossShard::Error,
        migrate_window: Duration::ZERO,
        migrate_settle: Duration::ZERO,
        migrate_moves_max: 0,
        max_move: 100,
        allow_keys: false,
        dedicated_connections_max: 0,
        module_commands: Vec::new(),
        servers: Vec::new(),
        gutter_servers: Vec::new(),
        discovered: Vec::new(),
        discovered_max: 0,
        allow_flush: false,
        limits: Limits {
            item_size_max: 0,
            keys_max: 0,
            line_max: 0,
            client_requests_max: 0,
            client_buffer_max: 0,
            client_backlog_max: 0,
            server_requests_max: 0,
            server_buffer_max: 0,
            memory_max: 0,
        },
        _checked: Checked,
    };
    for directive in DIRECTIVES {
        if let Some(default) = directive.default {
            directive.set(&mut pool, default).expect("a test reads every default of the table");
        }
    }
    pool
}
