//! Checks raw pools: the result is pools, or findings.
//!
//! The one rule: no check stops another. An error is reported with its place and the rest of the
//! pool is still checked, so that one run shows all errors; an invalid pool never leaves this
//! module.

use std::collections::hash_map::Entry::{Occupied, Vacant};
use std::collections::{HashMap, HashSet};

use nuthatch_core::health::OnOverflow;
use nuthatch_core::ring::pool_order;

use super::blank::blank;
use super::capacity::{self, CONNECTIONS_MAX};
use super::clash::Listeners;
use super::directive::{DIRECTIVES, Directive, Kind, Pools};
use super::finding::{ConfigErrors, Finding, Report};
use super::gutter;
use super::raw::{Entry, RawPool, Scalar, Value};
use super::secret::Secret;
use super::value::{self, Fault};
use super::{Checked, Config, Discovered, Pool, Source};
use crate::suggest;

/// Reads a source and checks all of it.
pub(super) fn config(
    source: Source,
    read: impl FnOnce(&mut Report) -> Vec<RawPool>,
) -> Result<Config, ConfigErrors> {
    let mut report = Report::new(source);
    let raw = read(&mut report);
    let mut checks = Checks {
        report,
        pools: Vec::new(),
        pool_names: HashSet::new(),
        server_names: HashSet::new(),
        module_commands: HashSet::new(),
        listeners: Listeners::default(),
    };
    for pool in &raw {
        checks.pool(pool);
    }
    checks.finish()
}

struct Checks {
    report: Report,
    /// The pools so far; the last one is being read.
    pools: Vec<Pool>,
    pool_names: HashSet<String>,
    /// The names of the servers of the last pool.
    server_names: HashSet<String>,
    /// The names of the commands of modules of the last pool.
    module_commands: HashSet<String>,
    /// What is listened on.
    listeners: Listeners,
}

impl Checks {
    fn finish(self) -> Result<Config, ConfigErrors> {
        let Self { mut report, mut pools, .. } = self;
        if pools.is_empty() && report.errors.is_empty() {
            report.errors.push(Finding {
                mark: None,
                path: String::new(),
                value: None,
                wrong: format!("conf: '{}' has no pools", report.source),
                right: "write `pool name:`, then its directives, indented".into(),
            });
        }
        if !report.errors.is_empty() {
            report.errors.sort_by_key(|finding| finding.mark);
            return Err(ConfigErrors { source: report.source, findings: report.errors });
        }
        report.notes.sort_by_key(|finding| finding.mark);
        for pool in &mut pools {
            for servers in [&mut pool.servers, &mut pool.gutter_servers] {
                servers.sort_by(|a, b| pool_order(a.name.as_bytes(), b.name.as_bytes()));
            }
        }
        pools.sort_by(|a, b| pool_order(a.name.as_bytes(), b.name.as_bytes()));
        Ok(Config {
            pools,
            source: report.source,
            notes: report.notes,
            stamp: None,
            _checked: Checked,
        })
    }

    fn pool(&mut self, raw: &RawPool) {
        self.pool_name(&raw.name);
        self.pools.push(blank(&raw.name.text));
        self.server_names.clear();
        self.module_commands.clear();
        let mut seen: HashMap<&str, &Scalar> = HashMap::new();
        for entry in &raw.entries {
            match seen.entry(&entry.directive.text) {
                Occupied(first) => self.duplicate(&entry.directive, first.get()),
                Vacant(place) => {
                    place.insert(&entry.directive);
                    self.entry(entry);
                }
            }
        }
        self.required(raw, "listen");
        self.required(raw, "servers");
        self.protocol(raw);
        self.password(raw);
        self.combinations(raw);
        self.gutter(raw);
        self.migration(raw);
    }

    fn pool_name(&mut self, name: &Scalar) {
        if name.text.is_empty() || name.text.contains('\0') {
            let wrong = "the name of the pool is empty or has a NUL in it".into();
            self.error(name.is_wrong(wrong, "write a name such as memcached"));
        }
        if !self.pool_names.insert(name.text.clone()) {
            let wrong =
                format!("conf: '{}' has pools with same name {}", self.report.source, name.text);
            self.error(name.remark(wrong, "rename one of them"));
        }
    }

    fn duplicate(&mut self, directive: &Scalar, first: &Scalar) {
        let wrong = format!("conf: directive \"{}\" is a duplicate", directive.text);
        let right = match first.mark {
            Some(mark) => format!("line {} has the first; keep one of them", mark.line),
            None => "keep one of them".into(),
        };
        self.error(directive.remark(wrong, right));
    }

    /// Reads one directive into the last pool.
    fn entry(&mut self, Entry { directive: name, value }: &Entry) {
        let Some(directive) = Directive::find(&name.text) else {
            return self.unknown(name);
        };
        match value {
            _ if directive.is_ignored() => {
                let wrong = format!("directive \"{}\" has no effect, as in twemproxy", name.text);
                self.report.notes.push(name.remark(wrong, "remove it"));
            }
            Value::One(one) if directive.takes_list() && one.text.is_empty() => {}
            Value::One(one) if one.text.is_empty() => {
                // An empty value has no place: the place of the directive is used.
                self.value(directive, &Scalar { mark: name.mark, ..one.clone() });
            }
            Value::One(one) => self.value(directive, one),
            Value::Many(all) if directive.takes_list() => {
                for one in all {
                    self.value(directive, one);
                }
            }
            Value::Many(_) => {
                let wrong = format!("conf: directive \"{}\" has an invalid value", name.text);
                self.error(name.remark(wrong, "write one value, not a list"));
            }
        }
    }

    fn unknown(&mut self, name: &Scalar) {
        let wrong = format!("conf: directive \"{}\" is unknown", name.text);
        if Directive::has_parts(&name.text) {
            let wrong = format!("conf: directive \"{}\" has parts", name.text);
            let right = format!("write them in braces, such as {}: {{window: 10m}}", name.text);
            return self.error(name.remark(wrong, right));
        }
        let right = match suggest::nearest(&name.text, DIRECTIVES.iter().map(|known| known.name)) {
            Some(known) => format!("did you mean \"{known}\"?"),
            None => "remove it; docs/config.md lists all directives".into(),
        };
        self.error(name.remark(wrong, right));
    }

    fn value(&mut self, directive: &Directive, value: &Scalar) {
        let pool = self.pools.last_mut().expect("the pool of an entry was pushed before it");
        let set = if let Some(fault) = &value.fault {
            Err(fault.clone())
        } else if has_control(directive, &value.text) {
            Err(Fault::new("has an invalid value", "remove the control character"))
        } else {
            directive.set(pool, &value.text)
        };
        let fault = match (set, directive.kind) {
            (Err(fault), _) => {
                let wrong = format!("conf: directive \"{}\" {}", directive.name, fault.wrong);
                Some((wrong, fault.right))
            }
            (Ok(()), Kind::Listen) => self.listen_clash(),
            (Ok(()), Kind::Servers) => self.server_clash(),
            (Ok(()), Kind::GutterServers) => self.gutter_clash(),
            (Ok(()), Kind::ModuleCommands) => self.module_command_clash(),
            (Ok(()), _) => None,
        };
        match fault {
            Some((wrong, right)) if directive.hides(&value.text) => {
                self.error(value.remark(wrong, right));
            }
            Some((wrong, right)) => self.error(value.is_wrong(wrong, right)),
            None => {}
        }
    }

    /// Whether the address that was just read is listened on already.
    fn listen_clash(&mut self) -> Option<(String, String)> {
        let pool = self.pools.last()?;
        let clash = self.listeners.add(&pool.name, pool.listen.last()?)?;
        Some((clash.to_string(), clash.right().into()))
    }

    /// Whether the server that was just read has the name of an earlier one.
    fn server_clash(&mut self) -> Option<(String, String)> {
        let pool = self.pools.last()?;
        // The entries come one after the other, so the last one has the greatest index.
        let last = pool.servers.len() + pool.discovered.len() - 1;
        if let Some(entry) = pool.discovered.last().filter(|entry| entry.index == last) {
            let (others, _) = pool.discovered.split_at(pool.discovered.len() - 1);
            let is_same =
                |other: &&Discovered| (&other.name, &other.lookup) == (&entry.name, &entry.lookup);
            let other = others.iter().find(is_same)?;
            let wrong = format!("conf: pool '{}' looks up '{other}' twice", pool.name);
            return Some((wrong, "keep one of them".into()));
        }
        let name = &pool.servers.last()?.name;
        if self.server_names.insert(name.clone()) {
            return None;
        }
        let wrong = format!("conf: pool '{}' has servers with same name '{name}'", pool.name);
        Some((wrong, "keep one of them, or give them different names".into()))
    }

    /// Whether the gutter server that was just read has the name of an earlier one, or of a server of the pool.
    fn gutter_clash(&mut self) -> Option<(String, String)> {
        let pool = self.pools.last()?;
        let name = &pool.gutter_servers.last()?.name;
        if self.server_names.insert(name.clone()) {
            return None;
        }
        let wrong = format!("conf: pool '{}' has servers with same name '{name}'", pool.name);
        Some((wrong, "keep one of them, or give them different names".into()))
    }

    fn gutter(&mut self, raw: &RawPool) {
        let pool = self.pools.last().expect("the pool was pushed before its gutter");
        let (errors, notes) = gutter::check(pool, raw);
        self.report.errors.extend(errors);
        self.report.notes.extend(notes);
    }

    /// Whether the command that was just read was described before.
    fn module_command_clash(&mut self) -> Option<(String, String)> {
        let pool = self.pools.last()?;
        let name = &pool.module_commands.last()?.name;
        if self.module_commands.insert(name.clone()) {
            return None;
        }
        let wrong =
            format!("conf: pool '{}' has module commands with same name '{name}'", pool.name);
        Some((wrong, "keep one of them".into()))
    }

    /// Checks that `listen` or `servers` was given, well or badly.
    fn required(&mut self, raw: &RawPool, name: &str) {
        let entry = raw.entry(name);
        let is_given = entry.is_some_and(|entry| match &entry.value {
            Value::One(one) => !one.text.is_empty(),
            Value::Many(all) => !all.is_empty(),
        });
        if is_given {
            return;
        }
        let wrong = match name {
            "servers" => format!("conf: pool '{}' has no servers", raw.name.text),
            _ => format!("conf: directive \"{name}:\" is missing"),
        };
        let right = match (name, &self.report.source) {
            (_, Source::Environment) => {
                "set SERVERS, such as SERVERS=10.0.0.1:11211,10.0.0.2:11211, or name a \
                 configuration file with -c"
            }
            ("servers", _) => {
                "write servers: and below it each server on a line as - host:port:weight"
            }
            _ => "write the address, such as listen: 127.0.0.1:11211",
        };
        let place = entry.map_or(&raw.name, |entry| &entry.directive);
        self.error(place.remark(wrong, right));
    }

    /// Checks that each directive is one for the protocol of the pool.
    fn protocol(&mut self, raw: &RawPool) {
        let pool = self.pools.last().expect("the pool was pushed before its protocol");
        let (is_redis, redis_db) = (pool.redis, pool.redis_db);
        let is_known = raw.entry("redis").is_none_or(|entry| match &entry.value {
            Value::One(one) => value::flag(&one.text).is_ok(),
            Value::Many(_) => false,
        });
        if !is_known {
            return;
        }
        for directive in DIRECTIVES {
            let Some(Entry { directive: place, .. }) = raw.entry(directive.name) else { continue };
            let name = directive.name;
            let without_effect = |kind| {
                let wrong = format!("directive \"{name}\" has no effect in a {kind} pool");
                place.remark(wrong, "remove it")
            };
            match directive.pools {
                Pools::Redis if !is_redis => {
                    let wrong =
                        format!("conf: directive \"{name}:\" is only valid for a redis pool");
                    let right = match self.report.source {
                        Source::Environment => "remove the variable, or set REDIS to true",
                        Source::File(_) => "remove it, or set redis: true",
                    };
                    self.error(place.remark(wrong, right));
                }
                Pools::Memcached if is_redis => self.report.notes.push(without_effect("redis")),
                // twemproxy accepts it in every pool.
                Pools::All if name == "redis_db" && !is_redis && redis_db > 0 => {
                    self.report.notes.push(without_effect("memcached"));
                }
                _ => {}
            }
        }
    }

    /// Checks where the password of a Redis pool comes from, and reads its file.
    fn password(&mut self, raw: &RawPool) {
        let pool = self.pools.last_mut().expect("the pool was pushed before its password");
        if !pool.redis {
            return;
        }
        let (text, file) = (raw.entry("redis_auth"), raw.entry("redis_auth_file"));
        match (text, file, raw.entry("redis_user")) {
            (Some(_), Some(file), _) => {
                let wrong = "conf: directives \"redis_auth:\" and \"redis_auth_file:\" exclude each \
                             other";
                self.error(file.directive.remark(wrong.into(), "keep one of them"));
            }
            (Some(text), None, _) if self.report.is_public => {
                let wrong = "every user of this machine can read the password in the file".into();
                let right = "write the password to a file that only the proxy can read, and its path \
                             to redis_auth_file";
                self.report.notes.push(text.directive.remark(wrong, right));
            }
            (None, Some(Entry { value: Value::One(path), .. }), _) => {
                let Some(read) = pool.redis_auth_file.as_deref().map(Secret::read) else { return };
                match read {
                    Ok(secret) => pool.redis_auth = Some(secret),
                    Err(Fault { wrong, right }) => {
                        let wrong = format!("conf: directive \"redis_auth_file\" {wrong}");
                        self.error(path.is_wrong(wrong, right));
                    }
                }
            }
            (None, None, Some(user)) => {
                let wrong = "conf: directive \"redis_user:\" needs a password".into();
                let right = "add redis_auth_file or redis_auth, or remove redis_user";
                self.error(user.directive.remark(wrong, right));
            }
            _ => {}
        }
    }

    /// Checks what depends on more than one directive.
    fn combinations(&mut self, raw: &RawPool) {
        let pool = self.pools.last_mut().expect("the pool was pushed before its combinations");
        // twemproxy counts before it compares, so with 0 it ejects at the first failure, as with 1.
        pool.server_failure_limit = pool.server_failure_limit.max(1);
        let limits = pool.limits;
        let flushes = pool.on_journal_full == Some(OnOverflow::Flush) && !pool.allow_flush;
        let each =
            if pool.discovered.is_empty() { "" } else { " with discovered_max servers each" };
        let connections = capacity::connections(pool);
        let (count, each_max) = (capacity::formula(pool), capacity::server_connections_max(pool));
        let plain: u64 = pool.servers.iter().map(|server| u64::from(server.weight)).sum();
        let most = |entry: &Discovered| u64::from(entry.weight) * pool.discovered_max as u64;
        let total = plain + pool.discovered.iter().map(most).sum::<u64>();
        if limits.client_backlog_max < limits.client_buffer_max {
            let wrong = format!("is less than client_buffer_max, {}", limits.client_buffer_max);
            let right = "raise client_backlog_max, or lower client_buffer_max";
            self.about(raw, "client_backlog_max", wrong, right);
        }
        if flushes {
            let wrong =
                "conf: directive \"on_journal_full\" is flush, and allow_flush is not true".into();
            let right = "add allow_flush: true, or write on_journal_full: stay";
            self.about(raw, "on_journal_full", wrong, right);
        }
        if connections > CONNECTIONS_MAX {
            let wrong = format!("{count} is {connections}, more than {CONNECTIONS_MAX}");
            let right = format!("lower it to at most {each_max}");
            self.about(raw, "server_connections", wrong, &right);
        }
        if u32::try_from(total).is_err() {
            let wrong = format!("the sum of the weights{each}, {total}, does not fit into 32 bits");
            self.about(raw, "servers", wrong, "divide all weights by the same number");
        }
    }

    /// Checks that keys move only where it is known when the last request at an old server has ended.
    fn migration(&mut self, raw: &RawPool) {
        let pool = self.pools.last().expect("the pool was pushed before its combinations");
        if !pool.migrate_window.is_zero() && pool.timeout.is_none() {
            let wrong = "conf: directive \"migrate.window\" needs a timeout".into();
            let right = "add timeout with a number of milliseconds, such as 400: without it a request may \
                         stay at its old server while values move";
            self.about(raw, "migrate.window", wrong, right);
        }
    }

    /// Reports an error of a directive that may be missing.
    fn about(&mut self, raw: &RawPool, name: &str, wrong: String, right: &str) {
        let place = raw.entry(name).map_or(&raw.name, |entry| &entry.directive);
        self.error(place.remark(wrong, right));
    }

    fn error(&mut self, finding: Finding) {
        self.report.errors.push(finding);
    }
}

/// Whether a control character stands where twemproxy has none. The names of servers and hash tags
/// may have any but NUL, at which twemproxy cuts a name.
fn has_control(directive: &Directive, text: &str) -> bool {
    match (directive.kind, text.rsplit_once(' ')) {
        (Kind::HashTag, _) => false,
        (Kind::Servers | Kind::GutterServers, Some((configured, name))) => {
            configured.contains(char::is_control) || name.contains('\0')
        }
        _ => text.contains(char::is_control),
    }
}
