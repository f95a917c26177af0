//! The API of Kubernetes, as far as it is used: which resource, and what the answers mean.
//!
//! The one rule: what is not as Kubernetes documents it (API concepts: list, watch, bookmarks, 410
//! Gone) is an error, and changes nothing.

use super::Failed;
use super::slices::{Slice, Slices};
use crate::resolve::trouble::Trouble;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use std::fmt::Display;
use std::time::Duration;

/// Why a request ends without an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The version is too old, so everything must be listed again.
    Gone,
    Failed(Failed),
}

impl End {
    pub(super) fn new(trouble: Trouble, text: impl Into<String>) -> Self {
        Self::Failed(Failed::new(trouble, text))
    }
}

/// The slices of a Service as a list or a watch asks for them.
pub(super) fn path(namespace: &str, service: &str) -> String {
    // Both are labels of DNS.
    format!(
        "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices?labelSelector=kubernetes.io%2Fservice-name%3D{}",
        encoded(namespace),
        encoded(service)
    )
}

/// A page of the list; `from` is what the page before said of the next one.
pub(super) fn list(path: &str, from: &str) -> String {
    let next = if from.is_empty() { String::new() } else { format!("&continue={}", encoded(from)) };
    format!("{path}&limit={PAGE_SLICES}{next}")
}

/// The changes after a version.
pub(super) fn watch(path: &str, version: &str, time: Duration) -> String {
    let (version, seconds) = (encoded(version), time.as_secs());
    format!(
        "{path}&watch=1&allowWatchBookmarks=true&resourceVersion={version}&timeoutSeconds={seconds}"
    )
}

fn encoded(text: &str) -> impl Display {
    utf8_percent_encode(text, NON_ALPHANUMERIC)
}

/// What a status means that is not 200.
pub(super) fn refusal(status: u16, verb: &str, namespace: &str) -> End {
    match status {
        410 => End::Gone,
        401 => End::new(
            Trouble::Unauthorized,
            "401: the API server does not accept the token of the service account, which is read again \
             for the next attempt",
        ),
        403 => End::new(
            Trouble::Forbidden,
            format!(
                "403: the service account of the pod may not {verb} EndpointSlices: in namespace \
                 {namespace} it needs a Role with the verbs list and watch on endpointslices of the API \
                 group discovery.k8s.io, and a RoleBinding, which the chart's value \
                 endpointSlices.enabled makes"
            ),
        ),
        _ => End::new(
            Trouble::Refused,
            format!("the API server answered {verb} with status {status}"),
        ),
    }
}

/// Takes a page of the list into `slices`. Returns what the next page is asked with, empty after the
/// last one, and the version of the list.
pub(super) fn take_page(slices: &mut Slices, bytes: &[u8]) -> Result<(String, String), End> {
    let page: Value = serde_json::from_slice(bytes).map_err(|error| invalid(&error))?;
    let items = page["items"].as_array().ok_or_else(|| invalid(&"a list without items"))?;
    for item in items {
        put(slices, item)?;
    }
    let text = |name| page["metadata"][name].as_str().unwrap_or_default().to_owned();
    let (next, version) = (text("continue"), text("resourceVersion"));
    if version.is_empty() {
        return Err(invalid(&"a list without a resourceVersion"));
    }
    Ok((next, version))
}

/// Takes a line of a watch into `slices`, and its version. Returns whether it changes a slice.
pub(super) fn take_event(
    slices: &mut Slices,
    version: &mut String,
    line: &[u8],
) -> Result<bool, End> {
    let event: Value = serde_json::from_slice(line).map_err(|error| invalid(&error))?;
    let (kind, object) = (event["type"].as_str().unwrap_or_default(), &event["object"]);
    match kind {
        "ADDED" | "MODIFIED" => put(slices, object)?,
        "DELETED" => {
            let name = object["metadata"]["name"].as_str();
            slices.remove(name.ok_or_else(|| invalid(&"a slice without a name"))?);
        }
        "BOOKMARK" => {}
        "ERROR" => {
            let code = object["code"].as_u64().and_then(|code| u16::try_from(code).ok());
            return Err(match code {
                Some(410) => End::Gone,
                _ => End::new(Trouble::Refused, format!("the watch ended with {}", shown(object))),
            });
        }
        _ => return Err(invalid(&format!("an event of the type {}", shown(&event["type"])))),
    }
    let told = object["metadata"]["resourceVersion"].as_str();
    told.ok_or_else(|| invalid(&"an object without a resourceVersion"))?.clone_into(version);
    Ok(kind != "BOOKMARK")
}

fn put(slices: &mut Slices, object: &Value) -> Result<(), End> {
    let (name, slice) =
        Slice::read(object).ok_or_else(|| invalid(&"an object that is no EndpointSlice"))?;
    if slices.put(name, slice) { Ok(()) } else { Err(too_many()) }
}

fn too_many() -> End {
    use super::slices::{ENDPOINTS_MAX, PORTS_MAX, SLICES_MAX};
    let text = format!(
        "the Service has more than {ENDPOINTS_MAX} endpoints or {SLICES_MAX} EndpointSlices, or one of them \
         has more than {PORTS_MAX} ports, which are the limits"
    );
    End::new(Trouble::TooLarge, text)
}

fn invalid(what: &dyn Display) -> End {
    End::new(Trouble::Invalid, format!("the API server sent no valid answer: {what}"))
}

/// As much of a value as a line of the log can take.
fn shown(value: &Value) -> String {
    value.to_string().chars().take(200).collect()
}

/// So many slices are in a page.
const PAGE_SLICES: usize = 50;

#[cfg(test)]
mod tests;
