//! memcached's text protocol: a request is a `set` of one key or a `get` of any number.
//!
//! Nothing in a reply is believed: key, flags, length and every byte of a value are compared, and
//! each key of a get may be answered once.

use crate::dataset::{Dataset, KEY_LEN, parse_key, push_key};
use crate::replies::{Garbled, Progress, Reply, Tally, take_line};
use crate::workload::Request;

/// Appends the request's bytes.
pub(crate) fn push(request: Request, out: &mut Vec<u8>, dataset: &Dataset) {
    match request {
        Request::Set { first, count, version } => {
            debug_assert_eq!(count, 1, "the command line allows no more");
            push_set(out, first, version, dataset);
        }
        Request::Get { first, count } => push_get(out, first, count, dataset),
    }
}

fn push_set(out: &mut Vec<u8>, key: u32, version: u32, dataset: &Dataset) {
    out.extend_from_slice(b"set ");
    push_key(out, key);
    out.extend_from_slice(b" 0 0 ");
    out.extend_from_slice(dataset.value_len_digits());
    out.extend_from_slice(b"\r\n");
    dataset.push_value(out, key, version);
    out.extend_from_slice(b"\r\n");
}

fn push_get(out: &mut Vec<u8>, first: u32, count: u32, dataset: &Dataset) {
    out.extend_from_slice(b"get");
    for i in 0..count {
        out.push(b' ');
        push_key(out, dataset.nth(first, i));
    }
    out.extend_from_slice(b"\r\n");
}

/// Checks the replies of one connection, one after the other, in pieces of any size.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    /// Which of the keys of the current get have been answered.
    answered: Vec<bool>,
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
            Request::Get { first, count } => {
                self.answered.resize(count as usize, false);
                let progress = self.check_get(input, first, dataset, tally)?;
                if progress.reply == Reply::Complete {
                    self.answered.clear();
                }
                Ok(progress)
            }
        }
    }

    fn check_get(
        &mut self,
        input: &[u8],
        first: u32,
        dataset: &Dataset,
        tally: &mut Tally,
    ) -> Result<Progress, Garbled> {
        let mut used_bytes = 0;
        loop {
            let rest = &input[used_bytes..];
            if rest.starts_with(b"VALUE ") {
                let Some(value) = take_value(rest, dataset)? else {
                    return Ok(Progress { used_bytes, reply: Reply::Partial });
                };
                used_bytes += value.whole_len;
                tally.bad += u64::from(!self.is_right(&value, first, dataset));
                continue;
            }
            let Some(line) = take_line(rest)? else {
                return Ok(Progress { used_bytes, reply: Reply::Partial });
            };
            if line == b"END" {
                tally.miss += self.answered.iter().filter(|answered| !**answered).count() as u64;
            } else {
                count_failure(line, tally)?;
            }
            used_bytes += line.len() + 2;
            return Ok(Progress { used_bytes, reply: Reply::Complete });
        }
    }

    /// Whether the value is one of its key, which was asked for and not answered before.
    fn is_right(&mut self, value: &Value<'_>, first: u32, dataset: &Dataset) -> bool {
        let Some(key) = value.key.filter(|key| *key < dataset.key_count()) else { return false };
        let place = (key + dataset.key_count() - first) % dataset.key_count();
        let Some(answered) = self.answered.get_mut(place as usize) else { return false };
        !std::mem::replace(answered, true) && dataset.is_value_of(key, value.data)
    }
}

/// One `VALUE` of a reply.
struct Value<'a> {
    /// `None` if the header is not the one of a stored value.
    key: Option<u32>,
    data: &'a [u8],
    /// Bytes of the header, the data and its line end.
    whole_len: usize,
}

/// The value at the start of `input`, if it is all there.
fn take_value<'a>(input: &'a [u8], dataset: &Dataset) -> Result<Option<Value<'a>>, Garbled> {
    let (key, header_len, data_len) = match parse_header(input, dataset) {
        Some((key, header_len)) => (Some(key), header_len, dataset.value_len()),
        None => match take_line(input)? {
            None => return Ok(None),
            Some(line) => (None, line.len() + 2, declared_len(line).ok_or(Garbled)?),
        },
    };
    let Some((data, rest)) = input[header_len..].split_at_checked(data_len) else {
        return Ok(None);
    };
    match rest.get(..2) {
        None => Ok(None),
        Some(b"\r\n") => Ok(Some(Value { key, data, whole_len: header_len + data_len + 2 })),
        Some(_) => Err(Garbled),
    }
}

/// Reads `VALUE <key> 0 <length>\r\n` where the length is the one expected: the key's number and
/// the length of the header. `None` for anything else, a header cut short included.
fn parse_header(input: &[u8], dataset: &Dataset) -> Option<(u32, usize)> {
    let rest = input.strip_prefix(b"VALUE ")?;
    let (key, rest) = rest.split_at_checked(KEY_LEN)?;
    let rest = rest.strip_prefix(b" 0 ")?.strip_prefix(dataset.value_len_digits())?;
    let rest = rest.strip_prefix(b"\r\n")?;
    Some((parse_key(key)?, input.len() - rest.len()))
}

/// The length in `VALUE <key> <flags> <length> [<cas>]`.
fn declared_len(line: &[u8]) -> Option<usize> {
    str::from_utf8(line).ok()?.split(' ').nth(3)?.parse().ok()
}

fn check_set(input: &[u8], tally: &mut Tally) -> Result<Progress, Garbled> {
    let Some(line) = take_line(input)? else {
        return Ok(Progress { used_bytes: 0, reply: Reply::Partial });
    };
    if line != b"STORED" {
        count_failure(line, tally)?;
    }
    Ok(Progress { used_bytes: line.len() + 2, reply: Reply::Complete })
}

/// Counts a line that is not the one hoped for, if it is one of protocol.txt's "Error strings".
fn count_failure(line: &[u8], tally: &mut Tally) -> Result<(), Garbled> {
    let is_error =
        line == b"ERROR" || line.starts_with(b"SERVER_ERROR") || line.starts_with(b"CLIENT_ERROR");
    if !is_error {
        return Err(Garbled);
    }
    tally.errors += 1;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET_TWO: Request = Request::Get { first: 9, count: 2 };
    const NINE: &str = "VALUE key_00000009 0 16\r\n0000000900000001\r\n";
    const ZERO: &str = "VALUE key_00000000 0 16\r\n0000000000000001\r\n";

    /// Counts of (bad, miss, errors) for a whole reply.
    fn check(request: Request, reply: &str) -> Result<(u64, u64, u64), Garbled> {
        let mut tally = Tally::new();
        let progress = Checker::default().check(
            reply.as_bytes(),
            request,
            &Dataset::new(10, 16),
            &mut tally,
        )?;
        assert_eq!(progress, Progress { used_bytes: reply.len(), reply: Reply::Complete });
        Ok((tally.bad, tally.miss, tally.errors))
    }

    #[test]
    fn requests_are_those_of_the_protocol() {
        let dataset = Dataset::new(3, 16);
        let mut out = Vec::new();
        push(Request::Set { first: 2, count: 1, version: 0xabc }, &mut out, &dataset);
        push(Request::Get { first: 2, count: 2 }, &mut out, &dataset);
        let expected =
            "set key_00000002 0 0 16\r\n00000002000000bc\r\nget key_00000002 key_00000000\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn right_values_in_any_order_are_right() {
        assert_eq!(check(GET_TWO, &format!("{NINE}{ZERO}END\r\n")), Ok((0, 0, 0)));
        assert_eq!(check(GET_TWO, &format!("{ZERO}{NINE}END\r\n")), Ok((0, 0, 0)));
    }

    #[test]
    fn missing_keys_are_counted() {
        assert_eq!(check(GET_TWO, &format!("{ZERO}END\r\n")), Ok((0, 1, 0)));
        assert_eq!(check(GET_TWO, "END\r\n"), Ok((0, 2, 0)));
    }

    #[test]
    fn lies_are_bad() {
        for lie in [
            // the value of another key, under the right one
            "VALUE key_00000009 0 16\r\n0000000000000001\r\n",
            // a key that was not asked for
            "VALUE key_00000005 0 16\r\n0000000500000001\r\n",
            // a key there is not
            "VALUE key_00000099 0 16\r\n0000009900000001\r\n",
            // other flags, and another length
            "VALUE key_00000009 1 16\r\n0000000900000001\r\n",
            "VALUE key_00000009 0 17\r\n00000009000000011\r\n",
            "VALUE key_00000009 0 0\r\n\r\n",
        ] {
            let (bad, _, errors) = check(GET_TWO, &format!("{lie}{ZERO}END\r\n")).unwrap();
            assert_eq!((bad, errors), (1, 0), "{lie:?} was believed");
        }
    }

    #[test]
    fn a_value_twice_is_bad() {
        assert_eq!(check(GET_TWO, &format!("{ZERO}{ZERO}END\r\n")), Ok((1, 1, 0)));
    }

    #[test]
    fn error_lines_are_errors() {
        assert_eq!(check(GET_TWO, &format!("{ZERO}SERVER_ERROR out\r\n")), Ok((0, 0, 1)));
        assert_eq!(check(GET_TWO, "ERROR\r\n"), Ok((0, 0, 1)));
        let set = Request::Set { first: 1, count: 1, version: 1 };
        assert_eq!(check(set, "STORED\r\n"), Ok((0, 0, 0)));
        assert_eq!(check(set, "SERVER_ERROR out of memory\r\n"), Ok((0, 0, 1)));
    }

    #[test]
    fn what_is_no_reply_is_garbled() {
        let set = Request::Set { first: 1, count: 1, version: 1 };
        for (request, reply) in [
            (GET_TWO, "STORED\r\n"),
            (set, "END\r\n"),
            (GET_TWO, "VALUE key_00000009 0 16\r\n0000000900000001xx"),
            (GET_TWO, "VALUE key_00000009 0\r\n"),
            (GET_TWO, "END\n"),
        ] {
            assert_eq!(check(request, reply), Err(Garbled), "{reply:?} was believed");
        }
    }

    #[test]
    fn a_reply_may_come_byte_by_byte() {
        let reply = format!("{NINE}{ZERO}END\r\n");
        let dataset = Dataset::new(10, 16);
        let (mut checker, mut tally) = (Checker::default(), Tally::new());
        let mut start = 0;
        for end in 1..=reply.len() {
            let input = &reply.as_bytes()[start..end];
            let progress = checker.check(input, GET_TWO, &dataset, &mut tally).unwrap();
            assert_eq!(progress.reply == Reply::Complete, end == reply.len());
            start += progress.used_bytes;
        }
        assert_eq!((tally.bad, tally.miss, tally.errors), (0, 0, 0));
    }
}
