//! The mock as a Redis: GET, SET, MGET, MSET and PING, written as arrays, as proxies send them, in
//! upper or lower case: nutcracker sends `GET` as its client did, but `mget` for its part of an
//! MGET.

use std::io;

use memchr::memchr;

use super::Store;
use crate::redis::parse_number;

/// Answers the whole requests in `input`; returns their length. The store has the value of each
/// key as the reply to a GET.
pub(super) fn answer_all(input: &[u8], store: &mut Store, out: &mut Vec<u8>) -> io::Result<usize> {
    let mut used_bytes = 0;
    while let Some(request) = take_request(&input[used_bytes..])? {
        answer(&request.arguments, store, out);
        used_bytes += request.whole_len;
    }
    Ok(used_bytes)
}

fn answer(arguments: &[&[u8]], store: &mut Store, out: &mut Vec<u8>) {
    let Some((name, arguments)) = arguments.split_first() else { return };
    match (name.to_ascii_uppercase().as_slice(), arguments) {
        (b"GET", [key]) => push_value(store, key, out),
        (b"MGET", keys) => {
            out.extend_from_slice(format!("*{}\r\n", keys.len()).as_bytes());
            for key in keys {
                push_value(store, key, out);
            }
        }
        (b"SET" | b"MSET", pairs) if pairs.len() % 2 == 0 => {
            for pair in pairs.chunks_exact(2) {
                let header = format!("${}\r\n", pair[1].len());
                let reply = [header.as_bytes(), pair[1], b"\r\n"].concat();
                store.insert(pair[0].into(), reply.into());
            }
            out.extend_from_slice(b"+OK\r\n");
        }
        (b"PING", []) => out.extend_from_slice(b"+PONG\r\n"),
        _ => out.extend_from_slice(b"-ERR unknown command\r\n"),
    }
}

fn push_value(store: &Store, key: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(store.get(key).map_or(b"$-1\r\n", AsRef::as_ref));
}

struct Request<'a> {
    /// The name of the command is the first.
    arguments: Vec<&'a [u8]>,
    whole_len: usize,
}

/// The request at the start of `input`, if it is all there.
fn take_request(input: &[u8]) -> io::Result<Option<Request<'_>>> {
    let Some((argument_count, mut whole_len)) = take_number(input, b'*')? else {
        return Ok(None);
    };
    let mut arguments = Vec::new();
    for _ in 0..argument_count {
        let Some((len, header_len)) = take_number(&input[whole_len..], b'$')? else {
            return Ok(None);
        };
        whole_len += header_len;
        let Some(argument) = input[whole_len..].get(..len + 2) else { return Ok(None) };
        arguments.push(argument.strip_suffix(b"\r\n").ok_or_else(malformed)?);
        whole_len += len + 2;
    }
    Ok(Some(Request { arguments, whole_len }))
}

/// The number in the line at the start of `input` and the line's length, or `None` if the line
/// isn't all there.
fn take_number(input: &[u8], mark: u8) -> io::Result<Option<(usize, usize)>> {
    let Some(end) = memchr(b'\n', input) else { return Ok(None) };
    let line = input[..end].strip_suffix(b"\r").ok_or_else(malformed)?;
    let number = parse_number(line, mark).ok_or_else(malformed)?;
    Ok(Some((number, end + 1)))
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a malformed request")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_can_be_got() {
        let (mut store, mut out) = (Store::new(), Vec::new());
        let part = "*2\r\n$3\r\nGET\r\n$1\r\n";
        let input = format!(
            "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$3\r\nx\ny\r\n\
             *5\r\n$4\r\nMSET\r\n$1\r\nb\r\n$1\r\n1\r\n$1\r\nc\r\n$0\r\n\r\n\
             *2\r\n$3\r\nGET\r\n$1\r\na\r\n\
             *4\r\n$4\r\nmget\r\n$1\r\nc\r\n$1\r\nz\r\n$1\r\nb\r\n\
             *1\r\n$4\r\nPING\r\n*1\r\n$4\r\nQUIT\r\n{part}"
        );
        let used_bytes = answer_all(input.as_bytes(), &mut store, &mut out).unwrap();
        assert_eq!(used_bytes, input.len() - part.len());
        let expected = "+OK\r\n+OK\r\n$3\r\nx\ny\r\n*3\r\n$0\r\n\r\n$-1\r\n$1\r\n1\r\n\
                        +PONG\r\n-ERR unknown command\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn a_malformed_request_is_refused() {
        for input in ["GET a\r\n", "*1\r\n+PING\r\n", "*1\r\n$4\r\nPINGxx"] {
            let answered = answer_all(input.as_bytes(), &mut Store::new(), &mut Vec::new());
            assert!(answered.is_err(), "{input:?} was answered");
        }
    }
}
