//! `nuthatch route`: the server of a key, computed without a connection to any server.
//!
//! The one rule: the result comes from the same ring that the proxy uses, with all servers on it.
//! Keys are bytes and are printed unchanged, except control characters, which are escaped.

use std::io::{self, BufRead, Write};
use std::os::unix::ffi::OsStrExt;

use nuthatch_core::ring::Ring;
use serde_json::{Value, json};

use crate::args;
use crate::config::Pool;
use crate::escape::{escaped, json_line, write_key};

/// How many further servers the JSON answer names.
const NEXT_SERVERS: usize = 2;

/// Answers for the keys of the command line, else for each line of `input`.
///
/// # Errors
/// When `input` can't be read or `output` not written.
pub fn run(
    question: &args::Route,
    pool: &Pool,
    input: impl BufRead,
    output: impl Write,
) -> io::Result<()> {
    let mut answers = io::BufWriter::with_capacity(1 << 16, output);
    let (mut ring, mut gutter) = (pool.ring(0), pool.gutter_ring(0));
    let mut answer = |key: &[u8]| -> io::Result<()> {
        if question.json {
            return writeln!(answers, "{}", json_line(&explain(pool, (&ring, &gutter), key)));
        }
        let hash = pool.hash.hash(pool.hashed_part(key));
        let server = &pool.servers[ring.route(key)];
        write_key(&mut answers, key)?;
        write!(answers, "\t{hash:08x}\t{}", escaped(&server.name))?;
        if !pool.gutter().is_empty() {
            let server = &pool.gutter()[gutter.route(key)];
            write!(answers, "\t{}", escaped(&server.name))?;
        }
        writeln!(answers)
    };
    if question.keys.is_empty() {
        for_each_key(input, answer)?;
    } else {
        question.keys.iter().try_for_each(|key| answer(key.as_bytes()))?;
    }
    answers.flush()
}

/// Calls `f` with each line that is not empty, without its LF or CRLF.
pub(crate) fn for_each_key(
    mut input: impl BufRead,
    mut f: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut line = Vec::new();
    while input.read_until(b'\n', &mut line)? > 0 {
        let key = line.strip_suffix(b"\n").unwrap_or(&line);
        let key = key.strip_suffix(b"\r").unwrap_or(key);
        if !key.is_empty() {
            f(key)?;
        }
        line.clear();
    }
    Ok(())
}

/// All steps from a key to its server, as JSON.
pub(crate) fn explain(pool: &Pool, (ring, gutter): (&Ring, &Ring), key: &[u8]) -> Value {
    let found = ring.explain(key, NEXT_SERVERS);
    let hash = pool.hash.hash(found.part);
    let server = &pool.servers[found.member];
    let next = found.next.iter().map(|member| pool.servers[*member].name.as_str());
    let mut answer = json!({ "key": String::from_utf8_lossy(key) });
    if str::from_utf8(key).is_err() {
        let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        answer["key_hex"] = hex.into();
    }
    answer["hashed"] = String::from_utf8_lossy(found.part).into();
    answer["hash"] = format!("{hash:08x}").into();
    answer["point"] = found.point.map(|point| format!("{:08x}", point.value)).into();
    answer["server"] = server.name.as_str().into();
    answer["address"] = server.address.to_string().into();
    answer["next"] = next.collect();
    if !pool.gutter().is_empty() {
        let server = &pool.gutter()[gutter.explain(key, 0).member];
        answer["gutter"] = server.name.as_str().into();
        answer["gutter_address"] = server.address.to_string().into();
    }
    answer
}
