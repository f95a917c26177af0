//! The protocol of Redis (RESP2): a request is a SET or MSET, or a GET or MGET.
//!
//! Nothing in a reply is believed: its type, the number of values, their lengths and every byte of
//! each are compared. The values of an MGET have no names, so each must stand in the place of its
//! key.

use std::io::Write;

use crate::dataset::{Dataset, KEY_LEN, push_key};
use crate::replies::{Garbled, Progress, Reply, Tally, take_line};
use crate::workload::Request;

/// What stands in front of each key.
const KEY_HEADER: &[u8] = b"$12\r\n";
const _: () = assert!(KEY_LEN == 12, "KEY_HEADER says how long a key is");

/// Appends the request's bytes.
pub(crate) fn push(request: Request, out: &mut Vec<u8>, dataset: &Dataset) {
    match request {
        Request::Set { first, count, version } => {
            push_head(out, if count == 1 { "SET" } else { "MSET" }, 1 + 2 * count);
            for i in 0..count {
                let key = dataset.nth(first, i);
                push_key_argument(out, key);
                out.push(b'$');
                out.extend_from_slice(dataset.value_len_digits());
                out.extend_from_slice(b"\r\n");
                dataset.push_value(out, key, version);
                out.extend_from_slice(b"\r\n");
            }
        }
        Request::Get { first, count } => {
            push_head(out, if count == 1 { "GET" } else { "MGET" }, 1 + count);
            for i in 0..count {
                push_key_argument(out, dataset.nth(first, i));
            }
        }
    }
}

/// Appends the number of arguments, the name of the command included, and that name.
fn push_head(out: &mut Vec<u8>, name: &str, argument_count: u32) {
    write!(out, "*{argument_count}\r\n${}\r\n{name}\r\n", name.len())
        .expect("a vector takes every byte");
}

fn push_key_argument(out: &mut Vec<u8>, key: u32) {
    out.extend_from_slice(KEY_HEADER);
    push_key(out, key);
    out.extend_from_slice(b"\r\n");
}

/// Checks the replies of one connection, one after the other, in pieces of any size.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    /// Values that came of the current MGET; `None` until its header has come.
    value_count: Option<u32>,
}

impl Checker {
    /// Checks as much of `input`, the oldest unchecked bytes, as is there of the reply to
    /// `request`.
    pub(crate) fn check(
        &mut self,
        input: &[u8],
        request: Request,
        dataset: &Dataset,
        tally: &mut Tally,
    ) -> Result<Progress, Garbled> {
        match request {
            Request::Set { .. } => check_set(input, tally),
            Request::Get { first, count: 1 } => Ok(match take_element(input, dataset)? {
                None => Progress { used_bytes: 0, reply: Reply::Partial },
                Some(element) => {
                    element.count(first, dataset, tally);
                    Progress { used_bytes: element.whole_len, reply: Reply::Complete }
                }
            }),
            Request::Get { first, count } => {
                let progress = self.check_mget(input, (first, count), dataset, tally)?;
                if progress.reply == Reply::Complete {
                    self.value_count = None;
                }
                Ok(progress)
            }
        }
    }

    fn check_mget(
        &mut self,
        input: &[u8],
        (first, count): (u32, u32),
        dataset: &Dataset,
        tally: &mut Tally,
    ) -> Result<Progress, Garbled> {
        let mut used_bytes = 0;
        let mut value_count = match self.value_count {
            Some(value_count) => value_count,
            None => {
                let Some(line) = take_line(input)? else {
                    return Ok(Progress { used_bytes: 0, reply: Reply::Partial });
                };
                used_bytes = line.len() + 2;
                if is_error(line) {
                    tally.errors += 1;
                    return Ok(Progress { used_bytes, reply: Reply::Complete });
                }
                if parse_number(line, b'*') != Some(count as usize) {
                    return Err(Garbled);
                }
                0
            }
        };
        while value_count < count {
            let Some(element) = take_element(&input[used_bytes..], dataset)? else {
                self.value_count = Some(value_count);
                return Ok(Progress { used_bytes, reply: Reply::Partial });
            };
            element.count(dataset.nth(first, value_count), dataset, tally);
            used_bytes += element.whole_len;
            value_count += 1;
        }
        Ok(Progress { used_bytes, reply: Reply::Complete })
    }
}

/// What stands where a value was asked for.
struct Element<'a> {
    content: Content<'a>,
    /// Bytes of the header, the data and its line end.
    whole_len: usize,
}

enum Content<'a> {
    Value(&'a [u8]),
    Nil,
    Error,
}

impl Element<'_> {
    /// Counts the element if it is not a value of `key`.
    fn count(&self, key: u32, dataset: &Dataset, tally: &mut Tally) {
        match self.content {
            Content::Value(value) => tally.bad += u64::from(!dataset.is_value_of(key, value)),
            Content::Nil => tally.miss += 1,
            Content::Error => tally.errors += 1,
        }
    }
}

/// The element at the start of `input`, if it is all there.
fn take_element<'a>(input: &'a [u8], dataset: &Dataset) -> Result<Option<Element<'a>>, Garbled> {
    let (header_len, data_len) = match expected_header_len(input, dataset) {
        Some(header_len) => (header_len, dataset.value_len()),
        None => {
            let Some(line) = take_line(input)? else { return Ok(None) };
            let header_len = line.len() + 2;
            if line == b"$-1" {
                return Ok(Some(Element { content: Content::Nil, whole_len: header_len }));
            }
            if is_error(line) {
                return Ok(Some(Element { content: Content::Error, whole_len: header_len }));
            }
            (header_len, parse_number(line, b'$').ok_or(Garbled)?)
        }
    };
    let Some((data, rest)) = input[header_len..].split_at_checked(data_len) else {
        return Ok(None);
    };
    match rest.get(..2) {
        None => Ok(None),
        Some(b"\r\n") => {
            let whole_len = header_len + data_len + 2;
            Ok(Some(Element { content: Content::Value(data), whole_len }))
        }
        Some(_) => Err(Garbled),
    }
}

/// The length of the header `$<length>\r\n` where the length is the one expected. `None` for
/// anything else, a header cut short included.
fn expected_header_len(input: &[u8], dataset: &Dataset) -> Option<usize> {
    let rest = input.strip_prefix(b"$")?.strip_prefix(dataset.value_len_digits())?;
    let rest = rest.strip_prefix(b"\r\n")?;
    Some(input.len() - rest.len())
}

fn check_set(input: &[u8], tally: &mut Tally) -> Result<Progress, Garbled> {
    let Some(line) = take_line(input)? else {
        return Ok(Progress { used_bytes: 0, reply: Reply::Partial });
    };
    if is_error(line) {
        tally.errors += 1;
    } else if line != b"+OK" {
        return Err(Garbled);
    }
    Ok(Progress { used_bytes: line.len() + 2, reply: Reply::Complete })
}

fn is_error(line: &[u8]) -> bool {
    line.starts_with(b"-")
}

/// The number in a line such as `*2` or `$16` that starts with `mark`.
pub(crate) fn parse_number(line: &[u8], mark: u8) -> Option<usize> {
    let digits = line.strip_prefix(&[mark])?;
    let is_plain = digits.iter().all(u8::is_ascii_digit);
    str::from_utf8(digits).ok().filter(|_| is_plain)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET: Request = Request::Set { first: 1, count: 1, version: 1 };
    const GET: Request = Request::Get { first: 9, count: 1 };
    const GET_TWO: Request = Request::Get { first: 9, count: 2 };
    const NINE: &str = "$16\r\n0000000900000001\r\n";
    const ZERO: &str = "$16\r\n0000000000000001\r\n";

    /// Counts of (bad, miss, errors) for a whole reply.
    fn check(request: Request, reply: &str) -> Result<(u64, u64, u64), Garbled> {
        let mut tally = Tally::new();
        let dataset = Dataset::new(10, 16);
        let progress = Checker::default().check(reply.as_bytes(), request, &dataset, &mut tally)?;
        assert_eq!(progress, Progress { used_bytes: reply.len(), reply: Reply::Complete });
        Ok((tally.bad, tally.miss, tally.errors))
    }

    fn pushed(request: Request) -> String {
        let mut out = Vec::new();
        push(request, &mut out, &Dataset::new(3, 16));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn requests_of_one_key_are_set_and_get() {
        assert_eq!(
            pushed(Request::Set { first: 2, count: 1, version: 0xabc }),
            "*3\r\n$3\r\nSET\r\n$12\r\nkey_00000002\r\n$16\r\n00000002000000bc\r\n"
        );
        assert_eq!(
            pushed(Request::Get { first: 2, count: 1 }),
            "*2\r\n$3\r\nGET\r\n$12\r\nkey_00000002\r\n"
        );
    }

    #[test]
    fn requests_of_more_keys_are_mset_and_mget() {
        assert_eq!(
            pushed(Request::Set { first: 2, count: 2, version: 1 }),
            "*5\r\n$4\r\nMSET\r\n$12\r\nkey_00000002\r\n$16\r\n0000000200000001\r\n\
             $12\r\nkey_00000000\r\n$16\r\n0000000000000001\r\n"
        );
        assert_eq!(
            pushed(Request::Get { first: 2, count: 2 }),
            "*3\r\n$4\r\nMGET\r\n$12\r\nkey_00000002\r\n$12\r\nkey_00000000\r\n"
        );
    }

    #[test]
    fn right_replies_are_right() {
        assert_eq!(check(SET, "+OK\r\n"), Ok((0, 0, 0)));
        assert_eq!(check(GET, NINE), Ok((0, 0, 0)));
        assert_eq!(check(GET_TWO, &format!("*2\r\n{NINE}{ZERO}")), Ok((0, 0, 0)));
    }

    #[test]
    fn missing_keys_are_counted() {
        assert_eq!(check(GET, "$-1\r\n"), Ok((0, 1, 0)));
        assert_eq!(check(GET_TWO, &format!("*2\r\n$-1\r\n{ZERO}")), Ok((0, 1, 0)));
        assert_eq!(check(GET_TWO, "*2\r\n$-1\r\n$-1\r\n"), Ok((0, 2, 0)));
    }

    #[test]
    fn lies_are_bad() {
        for lie in [
            // the value of another key
            ZERO,
            // a value with a wrong byte, and others of other lengths
            "$16\r\n000000090000000x\r\n",
            "$17\r\n00000009000000011\r\n",
            "$0\r\n\r\n",
        ] {
            assert_eq!(check(GET, lie), Ok((1, 0, 0)), "{lie:?} was believed");
            let reply = format!("*2\r\n{lie}{ZERO}");
            assert_eq!(check(GET_TWO, &reply), Ok((1, 0, 0)), "{lie:?} was believed");
        }
    }

    #[test]
    fn values_in_another_order_than_their_keys_are_bad() {
        assert_eq!(check(GET_TWO, &format!("*2\r\n{ZERO}{NINE}")), Ok((2, 0, 0)));
    }

    #[test]
    fn error_lines_are_errors() {
        for request in [SET, GET, GET_TWO] {
            assert_eq!(check(request, "-ERR Connection refused\r\n"), Ok((0, 0, 1)));
        }
        assert_eq!(check(GET_TWO, &format!("*2\r\n-ERR out\r\n{ZERO}")), Ok((0, 0, 1)));
    }

    #[test]
    fn what_is_no_reply_is_garbled() {
        for (request, reply) in [
            (SET, "$2\r\nOK\r\n"),
            (SET, "+QUEUED\r\n"),
            (SET, ":1\r\n"),
            (GET, "+OK\r\n"),
            (GET, "*1\r\n"),
            (GET, "$16\r\n0000000900000001xx"),
            (GET, "$+16\r\n0000000900000001\r\n"),
            (GET, "$-1\n"),
            (GET_TWO, "$-1\r\n"),
            (GET_TWO, "*-1\r\n"),
            (GET_TWO, "*1\r\n"),
            (GET_TWO, "*3\r\n"),
            (GET_TWO, "*2\r\n:1\r\n"),
        ] {
            assert_eq!(check(request, reply), Err(Garbled), "{reply:?} was believed");
        }
    }

    #[test]
    fn a_reply_may_come_byte_by_byte() {
        let reply = format!("*2\r\n{NINE}{ZERO}");
        let dataset = Dataset::new(10, 16);
        let (mut checker, mut tally) = (Checker::default(), Tally::new());
        // Twice: nothing of the first reply is left when the second begins.
        for _ in 0..2 {
            let mut start = 0;
            for end in 1..=reply.len() {
                let input = &reply.as_bytes()[start..end];
                let progress = checker.check(input, GET_TWO, &dataset, &mut tally).unwrap();
                assert_eq!(progress.reply == Reply::Complete, end == reply.len());
                start += progress.used_bytes;
            }
        }
        assert_eq!((tally.bad, tally.miss, tally.errors), (0, 0, 0));
    }
}
