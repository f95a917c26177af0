//! `nuthatch -t --bind`: opens every listener that a start would open, and closes it again.
//!
//! The one rule: nothing stays and nothing of others changes. A unix socket whose file is there
//! already is only looked at, and no client is taken from a proxy that shares its port. An address in
//! use is told at once: the start would wait for a process that ends, but a test is of this moment.

use crate::admin;
use crate::args::Options;
use crate::config::{Config, Listen, Pool};
use crate::listener::Listeners;
use crate::own_files::OwnFiles;
use crate::patience::Patience;
use crate::preflight::Obstacles;
use crate::stats_port;
use crate::systemd::Inherited;
use crate::takeover::{self, Listening};
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

/// Tries all listeners: those of the pools, of the statistics, of the admin port, and the control
/// socket.
///
/// # Errors
/// Each that can't be opened, with what would be right.
pub fn check(config: &Config, options: &Options, inherited: Inherited) -> Result<(), Obstacles> {
    let (files, listening) = (OwnFiles::for_check(), Listening::with(inherited.sockets));
    let (around, patience) = ((&files, &listening), Patience::default());
    let pools: Vec<Arc<Pool>> = config.pools.iter().cloned().map(Arc::new).collect();
    let mut refused = Vec::new();
    let mut listeners = Listeners::for_check(options.workers.get(), around);
    // All stay open until the end, so that one is in the way of another as at a start.
    let _of_pools = listeners.open_possible(&pools, |listen, error| {
        refused.push(format!("{error}; {}", remedy(listen, &error)));
    });
    let address = (options.stats_addr.as_str(), options.stats_port);
    let _stats = stats_port::open(address, around, &patience).map_err(|error| {
        let listen = stats_port::listen_of(address);
        refused.push(format!("{error}; {}", remedy(&listen, &error)));
    });
    let control = options.control.as_deref();
    let _control = control.map(|path| {
        takeover::open_control(path, around, &patience).map_err(|error| {
            refused.push(format!("{error}; {}", remedy_of_path(path, &error)));
        })
    });
    let _admin = options.admin.as_ref().map(|listen| {
        admin::open(listen, &listening, &patience).map_err(|error| {
            refused.push(format!("{error}; {}", remedy(listen, &error)));
        })
    });
    files.remove();
    if refused.is_empty() { Ok(()) } else { Err(Obstacles(refused)) }
}

/// What would be right.
fn remedy(listen: &Listen, error: &io::Error) -> String {
    let (host, port) = match listen {
        Listen::Tcp { host, port } => (host, *port),
        Listen::Unix { path, .. } => return remedy_of_path(path, error),
    };
    let address: Option<IpAddr> = host.parse().ok();
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "end what listens there, or choose another port or address".into()
        }
        io::ErrorKind::AddrNotAvailable => {
            "this machine has no such address: write one of its addresses, or * for all".into()
        }
        io::ErrorKind::PermissionDenied => format!(
            "this user may not listen on port {port}: choose a port from 1024, or give the program the \
             capability NET_BIND_SERVICE"
        ),
        _ if address.is_none() => "check the host name and the name server".into(),
        _ if address.is_some_and(|ip| ip.is_ipv6()) => {
            "if the kernel has no IPv6, write an address of IPv4, or * for all".into()
        }
        _ => "choose another address".into(),
    }
}

fn remedy_of_path(path: &Path, error: &io::Error) -> String {
    let directory = path.parent().unwrap_or(path).display();
    match error.kind() {
        io::ErrorKind::AddrInUse => "end the other process, or choose another path".into(),
        io::ErrorKind::AlreadyExists => "remove it, or choose another path".into(),
        io::ErrorKind::NotFound => format!("make the directory {directory}"),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            format!("let this user write to the directory {directory}, or choose another path")
        }
        _ => "choose another path".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remedy_fits_the_error() {
        let tcp = |host: &str| Listen::Tcp { host: host.into(), port: 80 };
        let unix = Listen::Unix { path: "/run/a/b.sock".into(), mode: None };
        let no_ipv6 = io::Error::from_raw_os_error(97);
        for (listen, error, right) in [
            (tcp("*"), io::ErrorKind::PermissionDenied.into(), "choose a port from 1024"),
            (tcp("10.0.0.1"), io::ErrorKind::AddrNotAvailable.into(), "or * for all"),
            (tcp("::1"), no_ipv6, "if the kernel has no IPv6"),
            (tcp("cache"), io::Error::other("no such host"), "check the host name"),
            (
                unix.clone(),
                io::ErrorKind::PermissionDenied.into(),
                "write to the directory /run/a,",
            ),
            (unix, io::ErrorKind::AlreadyExists.into(), "remove it"),
        ] {
            let told = remedy(&listen, &error);
            assert!(told.contains(right), "{listen} {error}: {told}");
        }
    }
}
