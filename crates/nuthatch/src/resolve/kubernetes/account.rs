//! What a pod is given to speak with the API server: its address, a token, and whom to trust.
//!
//! The one rule: all is read again for each connection, because tokens and certificates change while
//! the pod runs.

use super::Failed;
use crate::resolve::trouble::Trouble;
use std::path::Path;
use std::{env, fs};

/// The credentials of the pod.
#[derive(Debug)]
pub(super) struct Account {
    /// Without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) token: String,
    /// Certificates in PEM.
    pub(super) trusted: Vec<u8>,
    pub(super) namespace: String,
}

impl Account {
    /// Reads the credentials in a folder.
    pub(super) fn read(folder: &Path) -> Result<Self, Failed> {
        let variable = |name| env::var(name).ok().filter(|text| !text.is_empty());
        let host = variable("KUBERNETES_SERVICE_HOST");
        let port = variable("KUBERNETES_SERVICE_PORT").and_then(|port| port.parse().ok());
        let (Some(host), Some(port)) = (host, port) else {
            let text = "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set: run the proxy in a \
                        pod, or write dnssrv+ in the place of k8s+";
            return Err(Failed::new(Trouble::NoAccount, text));
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host);
        let text = |name| {
            let bytes = file(folder, name)?;
            let text = String::from_utf8(bytes).unwrap_or_default();
            Ok(text.trim().to_owned())
        };
        Ok(Self {
            host: host.to_owned(),
            port,
            token: text("token")?,
            trusted: file(folder, "ca.crt")?,
            namespace: text("namespace")?,
        })
    }
}

fn file(folder: &Path, name: &str) -> Result<Vec<u8>, Failed> {
    let path = folder.join(name);
    fs::read(&path).map_err(|error| {
        let text = format!(
            "{}: {error}; the container needs the token of a service account, which the chart's value \
             endpointSlices.enabled mounts",
            path.display()
        );
        Failed::new(Trouble::NoAccount, text)
    })
}
