//! Servers from the EndpointSlices of a Service, from an API server that changes, fails, lies and says
//! nothing. The pods are real memcacheds.

mod api;
mod away;
mod pods;
mod trouble;

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nuthatch_harness::TempDir;
use serde_json::{Value, json};

use crate::harness::Program;
use crate::observed::Observed;
use api::{ApiServer, Mood};

/// A cluster with the Service `m` in the namespace `cache`, in which the proxy runs.
struct Cluster {
    api: ApiServer,
    /// The folder that Kubernetes mounts into a pod.
    account: TempDir,
}

impl Cluster {
    fn new() -> Self {
        Self::at(Ipv4Addr::LOCALHOST.into())
    }

    fn at(ip: IpAddr) -> Self {
        let cluster = Self { api: ApiServer::start(ip, "first"), account: TempDir::new() };
        cluster.trust("ca.crt");
        cluster.write_token("first");
        fs::write(cluster.account.join("namespace"), "cache\n").unwrap();
        cluster
    }

    /// Gives the pod of the proxy the certificate of an authority.
    fn trust(&self, name: &str) {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/kubernetes");
        fs::copy(data.join(name), self.account.join("ca.crt")).unwrap();
    }

    fn write_token(&self, token: &str) {
        fs::write(self.account.join("token"), format!("{token}\n")).unwrap();
    }

    /// A proxy with these servers.
    fn proxy(&self, settings: &str, servers: &[&str], arguments: &[&str]) -> Observed {
        let mut command = Program::UnderTest.command();
        let (ip, port) = (self.api.address.ip(), self.api.address.port());
        command
            .env("KUBERNETES_SERVICE_HOST", ip.to_string())
            .env("KUBERNETES_SERVICE_PORT", port.to_string());
        let account = format!("--service-account={}", self.account.join("").display());
        let arguments = [&[account.as_str()], arguments].concat();
        let servers: Vec<String> = servers.iter().map(|&server| server.to_owned()).collect();
        Observed::start(command, settings, &servers, &arguments)
    }
}

/// A pod of a StatefulSet, ready.
fn pod(name: &str, address: &str) -> Value {
    json!({
        "addresses": [address],
        "conditions": {"ready": true, "serving": true, "terminating": false},
        "hostname": name,
        "targetRef": {"kind": "Pod", "namespace": "cache", "name": name, "uid": name},
        "nodeName": "node",
    })
}

/// A slice of the Service with these endpoints.
fn slice(name: &str, port: u16, endpoints: &[Value]) -> Value {
    let first = endpoints.first().and_then(|endpoint| endpoint["addresses"][0].as_str());
    let kind = if first.is_some_and(|first| first.contains(':')) { "IPv6" } else { "IPv4" };
    json!({
        "metadata": {"name": name, "namespace": "cache", "labels": {"kubernetes.io/service-name": "m"}},
        "addressType": kind,
        "endpoints": endpoints,
        "ports": [{"name": "memcached", "protocol": "TCP", "port": port}],
    })
}

/// The name on the ring of the pod with this host name.
fn ring_name(name: &str) -> String {
    format!("{name}.m.cache.svc.cluster.local")
}

/// Waits until the proxy has the pods with these host names.
fn wait_for_pods(proxy: &Observed, names: &[&str]) {
    let wanted: Vec<String> = names.iter().map(|name| ring_name(name)).collect();
    let start = Instant::now();
    while proxy.servers() != wanted {
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", proxy.servers());
        thread::sleep(Duration::from_millis(10));
    }
}

fn failures(proxy: &Observed, reason: &str) -> f64 {
    let name = format!("nuthatch_kubernetes_request_failures_total{{reason=\"{reason}\"}}");
    proxy.metric(&name).unwrap()
}
