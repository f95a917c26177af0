//! What follows `k8s+` in a server entry: a Service of Kubernetes and a port of its pods.
//!
//! The one rule: the name of a Service is the one that DNS has for it, complete or shortened at its
//! end, so that the names of its pods on the ring are those that DNS has for them, too.

use std::fmt;
use std::sync::Arc;

use super::address;
use super::value::{Fault, digits};

/// A Service of Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Service {
    /// The shortest spelling: `service`, `service.namespace`, or `service.namespace.svc.` and the
    /// cluster's domain, if it is not the usual one. So one Service has one name, however it was
    /// written, except that the namespace of the proxy's own pod is known only when it runs.
    pub name: Arc<str>,
}

impl Service {
    fn parse(text: &str) -> Option<Self> {
        let labels: Vec<&str> = text.split('.').collect();
        let is_right = labels.iter().all(|label| is_label(label))
            && labels.get(2).is_none_or(|third| *third == "svc")
            && text.len() <= 200;
        if !is_right {
            return None;
        }
        let (object, rest) = text.split_once('.').unwrap_or((text, ""));
        let (namespace, rest) = rest.split_once('.').unwrap_or((rest, ""));
        let is_usual = rest == "svc" || rest.strip_prefix("svc.") == Some(USUAL_DOMAIN);
        let name = if is_usual { format!("{object}.{namespace}") } else { text.to_owned() };
        Some(Self { name: name.into() })
    }

    /// The same with this namespace, if it has none.
    #[cfg(feature = "kubernetes")]
    pub(crate) fn within(&self, namespace: &str) -> Self {
        if self.namespace().is_some() || !is_label(namespace) {
            return self.clone();
        }
        Self { name: format!("{}.{namespace}", self.name).into() }
    }

    /// The name of the object.
    #[must_use]
    pub fn object(&self) -> &str {
        self.part(0).unwrap_or_default()
    }

    /// The namespace; none means that of the proxy's own pod.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        self.part(1)
    }

    /// The domain of the cluster.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.part(3).unwrap_or(USUAL_DOMAIN)
    }

    /// The last part has what is left.
    fn part(&self, nth: usize) -> Option<&str> {
        self.name.splitn(4, '.').nth(nth)
    }
}

/// The port of the pods of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PodPort {
    /// The same for all, from 1.
    Number(u16),
    /// The name of a port in the EndpointSlices.
    Name(String),
}

impl fmt::Display for PodPort {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(out),
            Self::Name(name) => name.fmt(out),
        }
    }
}

/// Reads `service.namespace:port[:weight]`. The weight is returned as it was written.
pub(super) fn entry(text: &str) -> Result<(Service, PodPort, Option<&str>), Fault> {
    let form =
        || Fault::new("has an invalid \"k8s+service.namespace:port[:weight]\" format string", FORM);
    let parts: Vec<&str> = text.split(':').collect();
    let (name, port, weight) = match parts[..] {
        [name, port] => (name, port, None),
        [name, port, weight] => (name, port, Some(weight)),
        _ => return Err(form()),
    };
    let service = Service::parse(name).ok_or_else(form)?;
    let port = if digits(port).is_some() {
        PodPort::Number(address::server_port(port)?)
    } else if is_label(port) && port.len() <= PORT_NAME_MAX {
        PodPort::Name(port.to_owned())
    } else {
        return Err(form());
    };
    Ok((service, port, weight))
}

/// Whether this is a label of a DNS name as Kubernetes requires it of Services, namespaces and host names.
pub(crate) fn is_label(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_outer = |byte: Option<&u8>| byte.is_some_and(|byte| *byte != b'-');
    let bytes = text.as_bytes();
    bytes.iter().copied().all(is_inner)
        && is_outer(bytes.first())
        && is_outer(bytes.last())
        && bytes.len() <= 63
}

/// The domain of a cluster that has no other one.
const USUAL_DOMAIN: &str = "cluster.local";

/// Kubernetes allows names of ports of so many bytes.
const PORT_NAME_MAX: usize = 15;

const FORM: &str = "write k8s+service.namespace:port, such as k8s+memcached.default:11211 or \
    k8s+memcached.default:memcached, optionally followed by a colon and a weight; the port is a number \
    or the name of a port of the Service; without a namespace, it is the one of the proxy's own pod";

pub(super) const NOT_BUILT_IN: &str =
    "has a Service of Kubernetes, and this program is built without them";
pub(super) const HOW_TO_BUILD: &str = "build it with \"cargo build --release --features kubernetes\", or \
    the image with \"--build-arg FEATURES=kubernetes\"; or write dnssrv+_port._tcp.name, which needs neither";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_named_as_in_dns_and_has_one_name_in_all_spellings() {
        let other = "m.cache.svc.k8s.example.org";
        for (text, name, object, namespace, domain) in [
            ("m:1", "m", "m", None, "cluster.local"),
            ("svc:1", "svc", "svc", None, "cluster.local"),
            ("m.svc:1", "m.svc", "m", Some("svc"), "cluster.local"),
            ("m.svc.svc:1", "m.svc", "m", Some("svc"), "cluster.local"),
            ("m.cache:1", "m.cache", "m", Some("cache"), "cluster.local"),
            ("m.cache.svc:1", "m.cache", "m", Some("cache"), "cluster.local"),
            ("m.cache.svc.cluster.local:1", "m.cache", "m", Some("cache"), "cluster.local"),
            ("m.cache.svc.k8s.example.org:1", other, "m", Some("cache"), "k8s.example.org"),
            ("m.cache.svc.x.svc:1", "m.cache.svc.x.svc", "m", Some("cache"), "x.svc"),
        ] {
            let (service, port, weight) = entry(text).unwrap();
            assert_eq!(
                (service.object(), service.namespace(), service.domain()),
                (object, namespace, domain)
            );
            assert_eq!((&*service.name, port, weight), (name, PodPort::Number(1), None));
        }
    }

    #[cfg(feature = "kubernetes")]
    #[test]
    fn a_service_without_a_namespace_is_in_the_one_of_the_proxy() {
        let within = |text: &str, namespace| {
            let (service, ..) = entry(&format!("{text}:1")).unwrap();
            service.within(namespace).name.to_string()
        };
        assert_eq!(within("m", "cache"), "m.cache");
        assert_eq!(within("m.other", "cache"), "m.other");
        assert_eq!(within("m", ""), "m");
    }

    #[test]
    fn a_port_is_a_number_or_a_name() {
        let name = |name: &str| PodPort::Name(name.to_owned());
        for (text, port, weight) in [
            ("m:11211", PodPort::Number(11211), None),
            ("m:memcached", name("memcached"), None),
            ("m:m-1:7", name("m-1"), Some("7")),
        ] {
            let (_, found, found_weight) = entry(text).unwrap();
            assert_eq!((found.to_string(), found, found_weight), (port.to_string(), port, weight));
        }
    }

    #[test]
    fn what_is_no_service_or_no_port_is_refused() {
        for text in [
            "",
            "m",
            ":1",
            "m:",
            "m.:1",
            ".cache:1",
            "m.cache.pod:1",
            "m.cache.svc.:1",
            "M.cache:1",
            "m_1:1",
            "-m:1",
            "m-:1",
            "m..cache:1",
            "m:0",
            "m:65536",
            "m:Name",
            "m:-x",
            "m:a-name-of-16-bts",
            "m:1:1:1",
            "m:1 name",
            "[::1]:1",
        ] {
            assert!(entry(text).is_err(), "{text}");
        }
        assert!(entry(&format!("{}:1", "m".repeat(64))).is_err());
    }
}
