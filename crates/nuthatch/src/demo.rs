//! `nuthatch demo`: runs the proxy with test servers (nodes) and a test load, all in this process.
//! `nuthatch node` runs a single node. Both are the feature `demo`; the shipped program is built
//! without this feature.
//!
//! The one rule: the demo shows the real program. The printed configuration is the one that is
//! used, the proxy is the same as in production, and every reply is compared with the expected
//! reply (`load.rs`); the demo fails if one is wrong.
//!
//! ```text
//! load: 4 clients ─► proxy ─► memcached-cluster-0, -1, -2, or redis-0, -1, -2 (nodes)
//! ```

use std::env;
use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{self, ExitCode};

use nuthatch_node::Node;
pub use nuthatch_node::Protocol;

use crate::config::{Config, Pool, Server};
use crate::process::{ProcessEvent, Signals};
use crate::proxy::Proxy;
use crate::verdict::Colour;

mod load;
mod page;

use page::{Page, Row};

/// Runs the demo and writes its output to `out`; then keeps the proxy running until a signal,
/// unless `once` is set. The exit code is 1 if any reply was wrong.
///
/// # Errors
/// When the nodes or the proxy cannot listen, or `out` cannot be written.
pub fn run(
    protocol: Protocol,
    once: bool,
    out: &mut impl Write,
    colour: Colour,
) -> io::Result<ExitCode> {
    let start = |_| Node::start(protocol, "127.0.0.1:0", NODE_MEMORY);
    let nodes = (0..NODES).map(start).collect::<io::Result<Vec<_>>>()?;
    let addresses: Vec<_> = nodes.iter().map(Node::address).collect();
    let stage = Stage::open(protocol, &addresses)?;
    let mut page = Page { out, colour, protocol };

    page.opening(&stage.text, stage.port)?;
    let mut outcome = load::run(protocol, stage.address());
    let rows = rows(&stage.pool, &nodes);
    page.table(&rows)?;
    outcome.wrong.extend(rows.iter().filter_map(Row::fault));
    page.verdict(&outcome)?;

    let is_right = outcome.wrong.is_empty();
    if is_right && !once {
        let signals = Signals::catch()?;
        let file = TemporaryFile::write(&stage.text)?;
        page.try_it(&file.0, stage.port)?;
        wait(signals);
        page.farewell()?;
    }
    stage.close()?;
    Ok(if is_right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs a node on `listen` (`host:port`) with `memory` MiB for items, until a signal.
///
/// # Errors
/// When it can't listen.
pub fn run_node(listen: &str, memory: usize, signals: Signals) -> io::Result<()> {
    let node = Node::start(Protocol::Memcache, listen, memory << 20).map_err(|error| {
        io::Error::new(error.kind(), format!("node can't listen on {listen}: {error}"))
    })?;
    log::info!(at:% = node.address(), memory_mib = memory; "node listens");
    wait(signals);
    Ok(())
}

const NODES: usize = 3;

/// Bytes for the items of one node, many times more than the load needs.
const NODE_MEMORY: usize = 64 << 20;

/// The demo uses the first free port, from the one where clients expect a server.
fn ports(protocol: Protocol) -> Range<u16> {
    match protocol {
        Protocol::Memcache => 11211..11311,
        Protocol::Redis => 6379..6479,
    }
}

/// The proxy of the demo.
struct Stage {
    proxy: Proxy,
    pool: Pool,
    port: u16,
    /// The configuration.
    text: String,
}

impl Stage {
    /// Starts the proxy over `nodes`, on the first free port.
    fn open(protocol: Protocol, nodes: &[SocketAddr]) -> io::Result<Self> {
        let mut taken = io::Error::other("the demo found no free port");
        for port in ports(protocol) {
            let text = configuration(protocol, port, nodes);
            let config = Config::parse(Path::new("demo.yml"), text.as_bytes());
            let mut pools = config.expect("a configuration of our own is right").pools;
            match Proxy::start(pools.clone(), 1) {
                Ok(proxy) => return Ok(Self { proxy, pool: pools.remove(0), port, text }),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => taken = error,
                Err(error) => return Err(error),
            }
        }
        Err(taken)
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    fn close(self) -> io::Result<()> {
        self.proxy.drain();
        self.proxy.join()
    }
}

/// A file such as a user would write. The nodes have names, so their keys do not depend on their
/// ports. The timeout is long, because a busy machine is not an error.
fn configuration(protocol: Protocol, port: u16, nodes: &[SocketAddr]) -> String {
    let (redis, name) = match protocol {
        Protocol::Memcache => ("", "memcached-cluster"),
        Protocol::Redis => ("  redis: true\n", "redis"),
    };
    let mut text = format!(
        "demo:\n  listen: 127.0.0.1:{port}\n{redis}  hash: fnv1a_64\n  distribution: ketama\n  \
         timeout: 3000\n  servers:\n"
    );
    for (index, address) in nodes.iter().enumerate() {
        text.push_str(&format!("    - {address}:1 {name}-{index}\n"));
    }
    text
}

/// The figures of each node: from the ring, and from the node itself.
fn rows(pool: &Pool, nodes: &[Node]) -> Vec<Row> {
    let mut ring = pool.ring(0);
    let mut keys = vec![0; pool.servers.len()];
    (0..load::KEYS).for_each(|index| keys[ring.route(load::key(index).as_bytes())] += 1);
    let row = |(server, keys_by_ring): (&Server, usize)| {
        let node = &nodes[server.index];
        let (name, address) = (server.name.clone(), node.address());
        Row { name, address, keys_by_ring, figures: node.figures() }
    };
    pool.servers.iter().zip(keys).map(row).collect()
}

/// A file that is removed at the end of the demo.
struct TemporaryFile(PathBuf);

impl TemporaryFile {
    fn write(text: &str) -> io::Result<Self> {
        let path = env::temp_dir().join(format!("nuthatch-demo-{}.yml", process::id()));
        // This must be a new file, so that no other user can have created a link with this name.
        let mut file = fs::File::create_new(&path)?;
        let this = Self(path);
        file.write_all(text.as_bytes())?;
        Ok(this)
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        // Somebody else may have removed it, which is what is wanted.
        let _ = fs::remove_file(&self.0);
    }
}

fn wait(mut signals: Signals) {
    while signals.wait().is_some_and(|event| event != ProcessEvent::Drain) {}
}

#[cfg(test)]
mod tests;
