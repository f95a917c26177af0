//! What a start would stumble over, looked for before it: in the configuration and the flags
//! together, and in the file system.
//!
//! The one rule: nothing is opened, made or connected to, so that `-t` may look while the proxy
//! serves. What only a socket can tell is left to the start, and to `bind_check.rs`.

use std::error::Error;
use std::fmt;

use crate::args::Options;
use crate::config::capacity::Capacity;
use crate::config::clash::Claim;
use crate::config::{Config, Listen};
use crate::stats_port::listen_of;
use crate::{log, own_files, process};

/// All that is in the way of what the operator wants, such as a start; one sentence each.
#[derive(Debug)]
pub struct Obstacles(pub Vec<String>);

impl fmt::Display for Obstacles {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0.join("; "))
    }
}

impl Error for Obstacles {}

/// Looks whether the proxy can start; returns what to warn of. A missing directory of a unix socket is a
/// warning only: it may be made on the machine where the proxy is started.
///
/// # Errors
/// All that is in the way.
pub fn check(config: &Config, options: &Options) -> Result<Vec<String>, Obstacles> {
    let capacity =
        Capacity { workers: options.workers.get(), files_max: process::open_files_max() };
    let (shortage, lack) = match capacity.check(config) {
        Ok(shortage) => (shortage, None),
        Err(lack) => (None, Some(lack)),
    };
    let listeners = listeners(config, options);
    let mut found: Vec<String> = lack.into_iter().collect();
    found.extend(listeners.iter().filter_map(Listener::obstacle));
    found.extend(clashes(&listeners));
    let log = options.output.as_deref().map(log::check_file);
    let pid = options.pid_file.as_deref().map(own_files::check_pid_file);
    found.extend([log, pid].into_iter().flatten().filter_map(Result::err).map(|e| e.to_string()));
    let missing = listeners.iter().filter_map(Listener::missing_directory);
    if found.is_empty() {
        Ok(shortage.into_iter().chain(missing).collect())
    } else {
        Err(Obstacles(found))
    }
}

/// Something that listens.
struct Listener {
    /// What it is called: `pool 'alpha'`.
    name: String,
    listen: Listen,
    is_pool: bool,
}

fn listeners(config: &Config, options: &Options) -> Vec<Listener> {
    let of_pools = config.pools.iter().flat_map(|pool| {
        let name = format!("pool '{}'", pool.name);
        let one = move |listen: &Listen| Listener {
            name: name.clone(),
            listen: listen.clone(),
            is_pool: true,
        };
        pool.listen.iter().map(one)
    });
    let other = |name: &str, listen| Listener { name: name.into(), listen, is_pool: false };
    let admin = options.admin.clone().map(|listen| other("the admin port", listen));
    let stats = other("the statistics port", listen_of((&options.stats_addr, options.stats_port)));
    of_pools.chain([stats]).chain(admin).collect()
}

impl Listener {
    fn obstacle(&self) -> Option<String> {
        let Listen::Unix { path, .. } = &self.listen else { return None };
        let why = own_files::obstacle(path)?;
        Some(format!("{} can't listen on {}: {why}", self.name, self.listen))
    }

    fn missing_directory(&self) -> Option<String> {
        let Listen::Unix { path, .. } = &self.listen else { return None };
        let directory = path.parent().filter(|directory| !directory.is_dir())?.display();
        Some(format!("{} can't listen on {} before {directory} exists", self.name, self.listen))
    }
}

/// Where the statistics or the admin port take what a pool takes, or each other. The pools
/// themselves were compared when they were read.
fn clashes(listeners: &[Listener]) -> Vec<String> {
    let mut found = Vec::new();
    let mut before: Vec<(&Listener, Claim)> = Vec::new();
    for second in listeners {
        let Some(claim) = Claim::of(&second.listen) else { continue };
        let first = before.iter().find(|(_, first)| !second.is_pool && first.overlaps(&claim));
        if let Some((first, _)) = first {
            found.push(format!(
                "{} can't listen on {}: {} listens on {}",
                second.name, second.listen, first.name, first.listen
            ));
        }
        before.push((second, claim));
    }
    found
}
