//! The output of the demo, the first output that a new user reads.
//!
//! The one rule: no line is wider than 100 columns, and the parts that a program could read (the
//! table, the commands) are the same on a terminal and in a file.

use std::env;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;

use indicatif::HumanCount;
use nuthatch_node::{Figures, Protocol};

use super::load::{CLIENTS, KEYS, KEYS_AT_ONCE, Outcome};
use crate::verdict::Colour;

/// One page from top to bottom.
#[derive(Debug)]
pub(super) struct Page<W> {
    pub(super) out: W,
    pub(super) colour: Colour,
    pub(super) protocol: Protocol,
}

/// A node in the table.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) address: SocketAddr,
    /// Keys of the load that the ring gives to this node.
    pub(super) keys_by_ring: usize,
    pub(super) figures: Figures,
}

impl Row {
    /// The error, if the node does not have the expected keys.
    pub(super) fn fault(&self) -> Option<String> {
        let (has, should) = (self.figures.items, self.keys_by_ring);
        (has != should).then(|| format!("{} has {has} keys instead of {should}", self.name))
    }
}

impl<W: Write> Page<W> {
    pub(super) fn opening(&mut self, configuration: &str, port: u16) -> io::Result<()> {
        let title = self.colour.paint("Nuthatch", "39");
        let kind = match self.protocol {
            Protocol::Memcache => "memcached",
            Protocol::Redis => "Redis",
        };
        writeln!(self.out, "{title}: a proxy that makes three {kind} servers look like one.")?;
        let usual = super::ports(self.protocol).start;
        if port != usual {
            writeln!(self.out, "\nPort {usual} is in use, so the proxy listens on port {port}.")?;
        }
        writeln!(self.out, "\nThis is its configuration:\n")?;
        configuration.lines().try_for_each(|line| writeln!(self.out, "  {line}"))?;
        let keys = HumanCount(KEYS as u64);
        writeln!(
            self.out,
            "\n{CLIENTS} clients now set, read, delete and count {keys} keys through 127.0.0.1:{port}."
        )?;
        self.out.flush()
    }

    pub(super) fn table(&mut self, rows: &[Row]) -> io::Result<()> {
        let line = |cells: [&str; 6]| {
            let [name, address, by_ring, stored, requests, share] = cells;
            format!(
                "  {name:<19}  {address:<15}  {by_ring:>12}  {stored:>6}  {requests:>8}  {share:>7}"
            )
        };
        let head = ["server", "address", "keys by ring", "stored", "requests", "share"];
        writeln!(self.out, "\n{}", line(head))?;
        for row in rows {
            let requests = row.figures.requests;
            let counts = [row.keys_by_ring as u64, row.figures.items as u64, requests].map(grouped);
            let [by_ring, stored, requests] = counts.each_ref().map(String::as_str);
            let share = format!("{:.1} %", percent(row.figures.items));
            writeln!(
                self.out,
                "{}",
                line([&row.name, &row.address.to_string(), by_ring, stored, requests, &share])
            )?;
        }
        writeln!(
            self.out,
            "\n  A read of {KEYS_AT_ONCE} keys is one request to the proxy, and one to each server\n  \
             that has some of them."
        )
    }

    pub(super) fn verdict(&mut self, outcome: &Outcome) -> io::Result<()> {
        let seconds = outcome.elapsed.as_secs_f64();
        let (requests, rate) = (grouped(outcome.requests as u64), rate(outcome));
        writeln!(self.out, "\n{requests} requests in {seconds:.2} seconds, {rate} per second.")?;
        if outcome.wrong.is_empty() {
            let right = self.colour.paint("correct", "32");
            return writeln!(self.out, "Every reply was {right}.");
        }
        let wrong = self.colour.paint("Wrong", "31");
        outcome.wrong.iter().try_for_each(|text| writeln!(self.out, "{wrong}: {text}"))
    }

    pub(super) fn try_it(&mut self, file: &Path, port: u16) -> io::Result<()> {
        let program = env::args().next().unwrap_or_else(|| "nuthatch".into());
        let file = file.display();
        writeln!(self.out, "\nTry it, in another terminal:\n")?;
        let requests = match self.protocol {
            Protocol::Memcache => "set greeting 0 0 5\\r\\nhello\\r\\nget greeting\\r\\n",
            Protocol::Redis => "SET greeting hello\\r\\nGET greeting\\r\\n",
        };
        writeln!(self.out, "  printf '{requests}' | nc -q1 127.0.0.1 {port}")?;
        writeln!(self.out, "  {program} route -c {file} greeting")?;
        writeln!(self.out, "  {program} -t -c {file}")?;
        writeln!(self.out, "\nPress Ctrl-C to stop the demo.")?;
        self.out.flush()
    }

    pub(super) fn farewell(&mut self) -> io::Result<()> {
        writeln!(self.out, "\nThe proxy answers the requests in flight and exits.")
    }
}

fn grouped(number: u64) -> String {
    HumanCount(number).to_string()
}

#[expect(clippy::cast_precision_loss, reason = "a share of ten thousand")]
fn percent(keys: usize) -> f64 {
    100.0 * keys as f64 / KEYS as f64
}

/// Requests per second, rounded to thousands, because more digits would be false precision.
fn rate(outcome: &Outcome) -> String {
    let millis = outcome.elapsed.as_millis().max(1);
    let thousands = outcome.requests as u128 / millis;
    grouped(u64::try_from(thousands * 1000).unwrap_or(u64::MAX))
}
