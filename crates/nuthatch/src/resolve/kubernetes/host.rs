//! Where the API server is.
//!
//! The one rule: Kubernetes gives its pods an address. Where a cluster gives a name in its place, the
//! name is asked for where the proxy asks for all names, so that nothing waits for another resolver.

use super::api::End;
use crate::resolve::conf::Conf;
use crate::resolve::figures::Failure;
use crate::resolve::hosts::Hosts;
use crate::resolve::names::{Outcome, Question};
use crate::resolve::query::Engine;
use crate::resolve::trouble::Trouble;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// The addresses of a host, in the order in which they are tried; `peer` names it in texts.
pub(super) async fn addresses(
    (host, port): (&str, u16),
    resolv_conf: &Path,
    peer: &str,
) -> Result<Vec<SocketAddr>, End> {
    let all = match host.parse::<IpAddr>() {
        Ok(address) => vec![address],
        Err(_) => look_up(host, resolv_conf).await.map_err(|failure| {
            End::new(Trouble::Unreachable, format!("{peer}: {}", failure.text()))
        })?,
    };
    Ok(all.into_iter().map(|address| (address, port).into()).collect())
}

/// Asks once: a connection lasts for minutes, so an answer that is kept would help nobody.
async fn look_up(host: &str, resolv_conf: &Path) -> Result<Vec<IpAddr>, Failure> {
    if let Some(addresses) = Hosts::new("/etc/hosts".into()).find(host) {
        return Ok(addresses);
    }
    let engine = Engine::new(Conf::read(resolv_conf)).map_err(|_| Failure::Unreachable)?;
    match engine.ask(&Question::Addresses(host.into())).await {
        Outcome::Found(found, _) => Ok(found.addresses().to_vec()),
        Outcome::Failed(failure) => Err(failure),
    }
}
