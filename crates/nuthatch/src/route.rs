//! `nuthatch route`: which server has a key, without asking any server.
//!
//! The one rule: the answer comes from the very ring that the proxy would use, with all servers on
//! it. Keys are bytes and are written back as they came.

use std::io::{self, BufRead, Write};
use std::os::unix::ffi::OsStrExt;

use nuthatch_core::ring::Explanation;

use crate::args;
use crate::config::Pool;
use crate::json;

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
    let mut ring = pool.ring(0);
    let mut answer = |key: &[u8]| -> io::Result<()> {
        if question.json {
            let found = ring.explain(key, NEXT_SERVERS);
            return write_json(&mut answers, pool, key, &found);
        }
        let hash = pool.hash.hash(pool.hashed_part(key));
        let server = &pool.servers[ring.route(key)];
        answers.write_all(key)?;
        writeln!(answers, "\t{hash:08x}\t{}", server.name)
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

fn write_json(
    out: &mut impl Write,
    pool: &Pool,
    key: &[u8],
    found: &Explanation<'_>,
) -> io::Result<()> {
    let server = &pool.servers[found.member];
    out.write_all(b"{\"key\":")?;
    json::write_string(out, key)?;
    if str::from_utf8(key).is_err() {
        out.write_all(b",\"key_hex\":\"")?;
        key.iter().try_for_each(|byte| write!(out, "{byte:02x}"))?;
        out.write_all(b"\"")?;
    }
    out.write_all(b",\"hashed\":")?;
    json::write_string(out, found.part)?;
    let hash = pool.hash.hash(found.part);
    write!(out, ",\"hash\":\"{hash:08x}\",\"point\":")?;
    match found.point {
        Some(point) => write!(out, "\"{:08x}\"", point.value)?,
        None => out.write_all(b"null")?,
    }
    out.write_all(b",\"server\":")?;
    json::write_string(out, server.name.as_bytes())?;
    out.write_all(b",\"address\":")?;
    json::write_string(out, server.address.to_string().as_bytes())?;
    out.write_all(b",\"next\":[")?;
    for (i, member) in found.next.iter().enumerate() {
        out.write_all(if i == 0 { b"" } else { b"," })?;
        json::write_string(out, pool.servers[*member].name.as_bytes())?;
    }
    out.write_all(b"]}\n")
}
