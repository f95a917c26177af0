//! The mock as a memcached: `set`, `get` and the greetings of proxies.

use std::io;

use memchr::memchr;

use super::Store;

/// Answers the whole requests in `input`; returns their length. The store has
/// ` <flags> <length>\r\n<data>\r\n` of each key, the reply without `VALUE <key>`.
pub(super) fn answer_all(input: &[u8], store: &mut Store, out: &mut Vec<u8>) -> io::Result<usize> {
    let mut used_bytes = 0;
    while let Some(end) = memchr(b'\n', &input[used_bytes..]) {
        let (line, rest) = input[used_bytes..].split_at(end + 1);
        let line = line.trim_ascii_end();
        let mut words = line.split(|byte| *byte == b' ');
        let data_len = match words.next() {
            Some(b"set") => match store_value(words, rest, store)? {
                None => break,
                Some(data_len) => {
                    out.extend_from_slice(b"STORED\r\n");
                    data_len
                }
            },
            command => {
                answer_line(command.unwrap_or_default(), words, store, out);
                0
            }
        };
        used_bytes += end + 1 + data_len;
    }
    Ok(used_bytes)
}

/// Stores the value of a `set <key> <flags> <expiry> <length>` whose data is at the start of
/// `rest`; returns the length of the data and its line end, or `None` if it isn't all there.
fn store_value<'a>(
    mut words: impl Iterator<Item = &'a [u8]>,
    rest: &[u8],
    store: &mut Store,
) -> io::Result<Option<usize>> {
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "a malformed set");
    let mut word = || words.next().ok_or_else(malformed);
    let (key, flags, _expiry, len) = (word()?, word()?, word()?, word()?);
    let len = str::from_utf8(len).ok().and_then(|len| len.parse::<usize>().ok());
    let data_len = len.ok_or_else(malformed)? + 2;
    let Some(data) = rest.get(..data_len) else { return Ok(None) };
    let header = [b" ", flags, format!(" {}\r\n", data_len - 2).as_bytes()].concat();
    store.insert(key.into(), [header.as_slice(), data].concat().into());
    Ok(Some(data_len))
}

/// Answers a request of one line. `version` and the meta no-op are what proxies greet with.
fn answer_line<'a>(
    command: &[u8],
    keys: impl Iterator<Item = &'a [u8]>,
    store: &Store,
    out: &mut Vec<u8>,
) {
    match command {
        b"get" => {
            for key in keys {
                if let Some(value) = store.get(key) {
                    out.extend_from_slice(b"VALUE ");
                    out.extend_from_slice(key);
                    out.extend_from_slice(value);
                }
            }
            out.extend_from_slice(b"END\r\n");
        }
        b"version" => out.extend_from_slice(b"VERSION 1.6.18\r\n"),
        b"mn" => out.extend_from_slice(b"MN\r\n"),
        _ => out.extend_from_slice(b"ERROR\r\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_can_be_got() {
        let (mut store, mut out) = (Store::new(), Vec::new());
        let input = b"set a 5 0 3\r\nxyz\r\nget b a\r\nversion\r\nset a 0 0 10\r\nxy";
        let used_bytes = answer_all(input, &mut store, &mut out).unwrap();
        assert_eq!(used_bytes, input.len() - 16);
        let expected = "STORED\r\nVALUE a 5 3\r\nxyz\r\nEND\r\nVERSION 1.6.18\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
