//! EndpointSlices of one Service, and the pods in them.
//!
//! The one rule: a pod is one server, however many slices and addresses it is in. Its name is the one
//! that the DNS of the cluster gives it: its host name, else the name of the object, else its address;
//! `identity.rs` has what is one pod.

use super::identity::{self, Names};
use crate::config::is_label;
use serde_json::Value;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// The slices of a Service by their names.
#[derive(Debug, Default)]
pub(super) struct Slices {
    all: BTreeMap<String, Slice>,
}

/// What is needed of an EndpointSlice.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Slice {
    /// Those of TCP, each name once and in order. Most pods of a Service are in such slices only.
    ports: Ports,
    endpoints: Vec<Endpoint>,
}

/// Ports with their names, in order. All pods of a slice share them.
pub(super) type Ports = Arc<[(String, u16)]>;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) address: IpAddr,
    /// Pods of a StatefulSet have one, if the Service is the one that the StatefulSet names.
    pub(super) hostname: Option<String>,
    /// The name of the object.
    pub(super) pod: Option<String>,
    /// What the object does not share with the one of the same name that comes after it.
    pub(super) uid: Option<String>,
    is_ready: bool,
    pub(super) is_terminating: bool,
}

/// Where a pod can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::resolve) struct Endpoints {
    /// One of each version that it has, IPv4 first.
    pub(super) addresses: Vec<IpAddr>,
    pub(super) ports: Ports,
    /// The name of the object.
    pub(super) object: Option<String>,
    /// Whether a pod of the same name may come after it.
    pub(super) returns: bool,
}

impl Slices {
    /// Adds a slice, or replaces the one of its name. Returns whether there is room.
    pub(super) fn put(&mut self, name: String, slice: Slice) -> bool {
        self.all.insert(name, slice);
        let endpoints = self.all.values().map(|slice| slice.endpoints.len()).sum::<usize>();
        let has_room = |slice: &Slice| slice.ports.len() <= PORTS_MAX;
        self.all.len() <= SLICES_MAX
            && endpoints <= ENDPOINTS_MAX
            && self.all.values().all(has_room)
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.all.remove(name);
    }

    /// The pods by their complete names; `service` is the complete name of the Service.
    ///
    /// Whether a pod is ready does not count: a pod that restarts would move its keys twice, and the
    /// proxy sees for itself which servers answer. Without a host name, no other pod comes under the
    /// name, so such a pod counts only until it begins to end.
    pub(super) fn pods(&self, service: &str) -> BTreeMap<String, Endpoints> {
        let mut all: Vec<(&Slice, &Endpoint)> = Vec::new();
        for slice in self.all.values() {
            all.extend(slice.endpoints.iter().map(|endpoint| (slice, endpoint)));
        }
        let names = Names::of(all.iter().map(|(_, endpoint)| *endpoint));
        // While a pod is replaced, both may be there. All addresses are those of the first one.
        all.sort_by_key(|(_, it)| (it.is_terminating, Reverse(it.is_ready), &it.pod, it.address));
        let mut pods: BTreeMap<String, (&Endpoint, Endpoints)> = BTreeMap::new();
        for (slice, endpoint) in all {
            let Some((name, returns)) = names.find(endpoint) else { continue };
            let (first, pod) = pods.entry(format!("{name}.{service}")).or_insert_with(|| {
                let (addresses, ports) = (Vec::new(), Arc::clone(&slice.ports));
                (endpoint, Endpoints { addresses, ports, object: endpoint.pod.clone(), returns })
            });
            if identity::is_same_pod(first, endpoint) {
                pod.add(endpoint.address, &slice.ports);
            }
        }
        pods.into_iter().map(|(name, (_, pod))| (name, pod)).collect()
    }
}

impl Endpoints {
    fn add(&mut self, address: IpAddr, ports: &Ports) {
        if !self.addresses.iter().any(|other| other.is_ipv4() == address.is_ipv4()) {
            self.addresses.push(address);
            self.addresses.sort_unstable();
        }
        self.ports = merged(&self.ports, ports);
    }
}

impl Slice {
    /// Reads an EndpointSlice with its name; none if it is not one.
    pub(super) fn read(object: &Value) -> Option<(String, Self)> {
        let name = object["metadata"]["name"].as_str().filter(|name| is_name(name))?.to_owned();
        // The third kind, names, is no longer made by Kubernetes.
        let is_addresses = matches!(object["addressType"].as_str()?, "IPv4" | "IPv6");
        let endpoints =
            list(&object["endpoints"]).filter(|_| is_addresses).filter_map(Endpoint::read);
        // One more than there may be, so that `put` notices.
        let ports = list(&object["ports"]).filter_map(port).take(PORTS_MAX + 1);
        let mut ports: Vec<(String, u16)> = ports.collect();
        ports.sort();
        ports.dedup_by(|later, first| later.0 == first.0);
        Some((name, Self { ports: ports.into(), endpoints: endpoints.collect() }))
    }
}

/// The ports of a pod that is in two slices. Of two ports with one name, the first one counts, and of
/// all so many as a slice may have.
fn merged(first: &Ports, second: &Ports) -> Ports {
    if first == second {
        return Arc::clone(first);
    }
    let of_first: BTreeSet<&str> = first.iter().map(|(name, _)| name.as_str()).collect();
    let others = second.iter().filter(|(name, _)| !of_first.contains(name.as_str()));
    let mut all: Vec<_> = first.iter().chain(others).take(PORTS_MAX).cloned().collect();
    all.sort_unstable();
    all.into()
}

impl Endpoint {
    fn read(object: &Value) -> Option<Self> {
        let conditions = &object["conditions"];
        let is_pod = object["targetRef"]["kind"] == "Pod";
        Some(Self {
            // Further ones would be of the same pod, and Kubernetes makes none.
            address: object["addresses"][0].as_str()?.parse().ok()?,
            hostname: object["hostname"].as_str().filter(|name| is_label(name)).map(str::to_owned),
            pod: object["targetRef"]["name"]
                .as_str()
                .filter(|name| is_pod && is_name(name))
                .map(str::to_owned),
            uid: object["targetRef"]["uid"]
                .as_str()
                .filter(|uid| uid.len() <= NAME_MAX)
                .map(str::to_owned),
            // What is not told is to be taken for ready.
            is_ready: conditions["ready"] != false,
            is_terminating: conditions["terminating"] == true,
        })
    }
}

/// Whether this may be the name of an object.
fn is_name(text: &str) -> bool {
    text.len() <= NAME_MAX && text.split('.').all(is_label)
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn port(object: &Value) -> Option<(String, u16)> {
    let number = u16::try_from(object["port"].as_u64()?).ok().filter(|number| *number > 0)?;
    let is_tcp = object["protocol"].as_str().is_none_or(|protocol| protocol == "TCP");
    let name = object["name"].as_str().unwrap_or_default();
    // No entry can name another one.
    let is_name = name.is_empty() || is_label(name);
    (is_tcp && is_name).then(|| (name.to_owned(), number))
}

/// The endpoints that a Service may have. Kubernetes is tested with 5000 nodes.
pub(super) const ENDPOINTS_MAX: usize = 10_000;

/// The slices that a Service may have; each usually has up to 100 endpoints.
pub(super) const SLICES_MAX: usize = 1_000;

/// The API allows no longer names.
const NAME_MAX: usize = 253;

/// The ports that a slice, and so a pod, may have; the API allows no more.
pub(super) const PORTS_MAX: usize = 100;

#[cfg(test)]
mod tests;
