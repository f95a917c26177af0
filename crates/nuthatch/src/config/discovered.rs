//! Server entries that stand for several servers: `dns+name:port` and `dnssrv+_service._proto.name`,
//! which DNS turns into servers, and `k8s+service.namespace:port`, which Kubernetes does.
//!
//! The one rule: an entry stays as it was written; which servers it has now is not part of the
//! configuration. The first two prefixes are those of Thanos, Mimir and Loki; what follows `k8s+` is
//! what follows `kubernetes:///` in kuberesolver, gRPC's best known source of the same.

use std::fmt;

use super::address::{self, is_ip, is_possible_host};
use super::kubernetes::{self, PodPort, Service};
use super::value::Fault;

/// An entry that DNS or Kubernetes turns into servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discovered {
    /// What is looked up.
    pub lookup: Lookup,
    /// The name that is looked up, or the name of the Service.
    pub name: String,
    /// The weight of each server, at least 1.
    pub weight: u32,
    /// The text of the configuration.
    pub configured: String,
    /// Its place in the list of the configuration, from 0.
    pub index: usize,
}

/// What an entry looks up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// The addresses of a name (A and AAAA); each is a server on this port.
    Addresses {
        /// The port, from 1.
        port: u16,
    },
    /// The servers of a service (SRV).
    Services,
    /// The pods of a Service in Kubernetes, from its EndpointSlices.
    Pods {
        /// The Service.
        service: Service,
        /// The port of each pod.
        port: PodPort,
    },
}

impl fmt::Display for Discovered {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.configured)
    }
}

/// Reads an entry with one of the prefixes; none if it has no prefix. The index stays 0.
pub(super) fn parse(text: &str) -> Option<Result<Discovered, Fault>> {
    if let Some(rest) = text.strip_prefix("dns+") {
        return Some(addresses(text, rest));
    }
    if let Some(rest) = text.strip_prefix("k8s+") {
        return Some(pods(text, rest));
    }
    let prefixes = ["dnssrv+", "dnssrvnoa+"];
    let rest = prefixes.iter().find_map(|prefix| text.strip_prefix(prefix))?;
    Some(services(text, rest))
}

fn addresses(configured: &str, rest: &str) -> Result<Discovered, Fault> {
    let form = || Fault::new("has an invalid \"dns+name:port[:weight]\" format string", DNS_FORM);
    let parts: Vec<&str> = rest.split(':').collect();
    let (name, port, weight) = match parts[..] {
        [name, port] => (name, port, None),
        [name, port, weight] => (name, port, Some(weight)),
        _ => return Err(form()),
    };
    let port = address::server_port(port)?;
    let name = host(name).ok_or_else(form)?;
    discovered(Lookup::Addresses { port }, name, weight, configured)
}

fn services(configured: &str, rest: &str) -> Result<Discovered, Fault> {
    let form = || {
        let wrong = "has an invalid \"dnssrv+_service._proto.name[:weight]\" format string";
        Fault::new(wrong, SRV_FORM)
    };
    let (name, weight) = match rest.split_once(':') {
        Some((name, weight)) => (name, Some(weight)),
        None => (rest, None),
    };
    let mut labels = name.split('.');
    let is_service = [labels.next(), labels.next()]
        .iter()
        .all(|label| label.is_some_and(|label| label.len() > 1 && label.starts_with('_')));
    let name = host(name).filter(|_| is_service && labels.next().is_some()).ok_or_else(form)?;
    discovered(Lookup::Services, name, weight, configured)
}

fn pods(configured: &str, rest: &str) -> Result<Discovered, Fault> {
    if !cfg!(feature = "kubernetes") {
        return Err(Fault::new(kubernetes::NOT_BUILT_IN, kubernetes::HOW_TO_BUILD));
    }
    let (service, port, weight) = kubernetes::entry(rest)?;
    let name = service.name.to_string();
    discovered(Lookup::Pods { service, port }, &name, weight, configured)
}

fn host(text: &str) -> Option<&str> {
    (is_possible_host(text) && !is_ip(text)).then_some(text)
}

fn discovered(
    lookup: Lookup,
    name: &str,
    weight: Option<&str>,
    configured: &str,
) -> Result<Discovered, Fault> {
    let weight = weight.map_or(Ok(1), address::server_weight)?;
    let (name, configured) = (name.to_owned(), configured.to_owned());
    Ok(Discovered { lookup, name, weight, configured, index: 0 })
}

const DNS_FORM: &str = "write dns+name:port, such as dns+cache.example:11211, optionally followed by a \
    colon and a weight; the servers can't be given names";
const SRV_FORM: &str = "write dnssrv+_port._tcp.name, such as dnssrv+_memcached._tcp.cache.example, \
    optionally followed by a colon and a weight; the port and the names come from DNS";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_name_a_lookup_and_perhaps_a_weight() {
        let addresses = |port| Lookup::Addresses { port };
        for (text, lookup, name, weight) in [
            ("dns+cache.test:11211", addresses(11211), "cache.test", 1),
            ("dns+cache:1:7", addresses(1), "cache", 7),
            ("dns+cache.test.:11211", addresses(11211), "cache.test.", 1),
            ("dnssrv+_m._tcp.cache", Lookup::Services, "_m._tcp.cache", 1),
            ("dnssrvnoa+_m._tcp.cache.test:3", Lookup::Services, "_m._tcp.cache.test", 3),
        ] {
            let entry = parse(text).unwrap().unwrap();
            assert_eq!(entry.to_string(), text);
            assert_eq!((entry.lookup, &*entry.name, entry.weight), (lookup, name, weight));
        }
    }

    #[test]
    fn a_plain_server_is_no_such_entry() {
        for text in ["cache:11211:1", "dns:11211:1", "/dns+a:1", "DNS+a:1:1", "k8s:1:1", ""] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_can_not_be_looked_up_is_refused_with_the_form_that_is_right() {
        for text in [
            "dns+",
            "dns+cache",
            "dns+:11211",
            "dns+10.0.0.1:11211",
            "dns+[::1]:11211",
            "dns+::1:1",
            "dns+a b:1",
            "dns+cache:11211:1 name",
            "dns+cache:0",
            "dns+cache:x",
            "dns+cache:1:0",
            "dns+cache:1:1:1",
            "dnssrv+",
            "dnssrv+cache.test",
            "dnssrv+_m._tcp",
            "dnssrv+_._tcp.a",
            "dnssrv+_m._tcp.a:0",
            "dnssrv+_m._tcp.a:11211:1",
            "dnssrv+_m._tcp.a name",
            "dnssrv+_m._tcp..",
        ] {
            let fault = parse(text).unwrap().unwrap_err();
            assert!(fault.right.starts_with("write "), "{text:?}: {}", fault.right);
        }
    }
}
