//! Which endpoints are of one pod, and the name of the pod.
//!
//! The one rule: two pods that are there at the same time are two servers, with two names.
//!
//! What tells pods apart is the name of the object, because Kubernetes has it only once at a time in
//! a namespace. So endpoints of one object are one server: those of both versions of IP; those of a
//! pod that is in two slices while Kubernetes rebalances them; and those of a pod of a StatefulSet and
//! of its successor, of which only one runs. The host name does not tell pods apart: the pods of a
//! Deployment that has one in its template share it. If they were one server, half of its keys would
//! be in one of them and half in the other, by chance. So a host name that several pods have names none
//! of them. A pod that ends leaves its host name to the one that is there after it.

use super::slices::Endpoint;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What tells a pod from the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Identity<'e> {
    Object(&'e str),
    /// Somebody else than Kubernetes made the slice, and says no more.
    Host(&'e str),
    Address(IpAddr),
}

/// The names that the pods of a Service have.
#[derive(Debug)]
pub(super) struct Names<'e> {
    /// Of those that do not end.
    staying: Claims<'e>,
    all: Claims<'e>,
}

/// Which pod each name is of; none if it is of several.
type Claims<'e> = BTreeMap<Cow<'e, str>, Option<Identity<'e>>>;

impl<'e> Names<'e> {
    pub(super) fn of(endpoints: impl Iterator<Item = &'e Endpoint> + Clone) -> Self {
        let staying = endpoints.clone().filter(|endpoint| !endpoint.is_terminating);
        Self { staying: claims(staying), all: claims(endpoints) }
    }

    /// The name of the pod of an endpoint, and whether a pod of the same name may come after it. None
    /// if it ends, and no other one comes under its name.
    pub(super) fn find(&self, endpoint: &'e Endpoint) -> Option<(Cow<'e, str>, bool)> {
        if let Some(host) = endpoint.hostname.as_deref() {
            let claim = self.staying.get(host).or_else(|| self.all.get(host));
            if claim == Some(&Some(identity(endpoint))) {
                return Some((host.into(), true));
            }
        }
        (!endpoint.is_terminating).then(|| (own_name(endpoint), false))
    }
}

/// Whether two endpoints with one name are of one pod, not of a pod and its successor.
pub(super) fn is_same_pod(one: &Endpoint, other: &Endpoint) -> bool {
    let is_other_uid = one.uid.is_some() && other.uid.is_some() && one.uid != other.uid;
    identity(one) == identity(other) && !is_other_uid
}

fn claims<'e>(endpoints: impl Iterator<Item = &'e Endpoint>) -> Claims<'e> {
    let mut claims = Claims::new();
    for endpoint in endpoints {
        let identity = Some(identity(endpoint));
        let host = endpoint.hostname.as_deref().map(Cow::Borrowed);
        for name in host.into_iter().chain([own_name(endpoint)]) {
            let claim = claims.entry(name).or_insert(identity);
            if *claim != identity {
                *claim = None;
            }
        }
    }
    claims
}

fn identity(endpoint: &Endpoint) -> Identity<'_> {
    match (&endpoint.pod, &endpoint.hostname) {
        (Some(object), _) => Identity::Object(object),
        (None, Some(host)) => Identity::Host(host),
        (None, None) => Identity::Address(endpoint.address),
    }
}

/// The name of a pod without a host name, as CoreDNS has it.
fn own_name(endpoint: &Endpoint) -> Cow<'_, str> {
    let of_address = || endpoint.address.to_string().replace(['.', ':'], "-").into();
    endpoint.pod.as_deref().map_or_else(of_address, Cow::Borrowed)
}
