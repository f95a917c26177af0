//! A reply in RESP2 becomes one in RESP3, for clients that said `HELLO 3` and servers that are too old
//! for it.
//!
//! The one rule: only the form changes. A command whose reply has another type in RESP3 has a [`Shape`];
//! of the others only nulls change.

use super::arguments::Arguments;
use super::frame::integer;
use super::merge::Elements;
use super::{split_first, write_header};
use alloc::vec::Vec;

/// The form of a reply in RESP3, where it differs from RESP2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Shape {
    /// The same.
    #[default]
    Same,
    /// A map of what is an array of names and values (`HGETALL`).
    Map,
    /// A map of what is an array of pairs (`XREAD`).
    MapOfPairs,
    /// A set of what is an array (`SMEMBERS`).
    Set,
    /// A double of what is a string (`ZSCORE`).
    Double,
    /// An array of doubles (`ZMSCORE`).
    Doubles,
    /// An array of pairs of a member and a double (`ZRANGE` with `WITHSCORES`).
    Scores,
    /// An array of pairs of a field and a value (`HRANDFIELD` with `WITHVALUES`).
    Values,
    /// The last element is a double (`BZPOPMIN`, `ZPOPMIN` without a count).
    LastDouble,
}

impl Shape {
    const ALL: [Self; 9] = [
        Self::Same,
        Self::Map,
        Self::MapOfPairs,
        Self::Set,
        Self::Double,
        Self::Doubles,
        Self::Scores,
        Self::Values,
        Self::LastDouble,
    ];

    /// The shape with this number.
    pub(super) fn from(number: u8) -> Self {
        Self::ALL[usize::from(number)]
    }

    /// The shape of the reply to a command, whose arguments are all but the name.
    pub(super) fn of(name: &str, arguments: Arguments<'_>) -> Self {
        let has = |word: &[u8]| arguments.into_iter().any(|one| one.eq_ignore_ascii_case(word));
        let if_any = |word: &[u8], shape| if has(word) { shape } else { Self::Same };
        match name {
            "hgetall" => Self::Map,
            "xread" | "xreadgroup" => Self::MapOfPairs,
            "smembers" | "sinter" | "sunion" | "sdiff" => Self::Set,
            "spop" if arguments.len() > 1 => Self::Set,
            "zscore" | "zincrby" => Self::Double,
            "zadd" => if_any(b"incr", Self::Double),
            "zmscore" => Self::Doubles,
            "zrange" | "zrevrange" | "zrangebyscore" | "zrevrangebyscore" | "zrandmember"
            | "zunion" | "zinter" | "zdiff" => if_any(b"withscores", Self::Scores),
            "zpopmin" | "zpopmax" if arguments.len() > 1 => Self::Scores,
            "zpopmin" | "zpopmax" | "bzpopmin" | "bzpopmax" => Self::LastDouble,
            "hrandfield" => if_any(b"withvalues", Self::Values),
            _ => Self::Same,
        }
    }
}

/// Appends a reply in RESP3.
pub(super) fn translate(shape: Shape, reply: &[u8], out: &mut Vec<u8>) {
    let is_array = reply.starts_with(b"*") && reply != b"*-1\r\n";
    match shape {
        Shape::Double => write_double(reply, out),
        _ if !is_array => write_value(reply, out),
        Shape::Same => write_value(reply, out),
        Shape::Map => write_pairs(b'%', reply, out),
        Shape::Set => write_elements(b'~', reply, write_value, out),
        Shape::Doubles => write_elements(b'*', reply, write_double, out),
        Shape::MapOfPairs => {
            let pairs = Elements::of(reply);
            write_header(b'%', pairs.count(), out);
            for pair in Elements::of(reply) {
                Elements::of(pair).for_each(|value| write_value(value, out));
            }
        }
        Shape::Scores => write_nested(reply, write_double, out),
        Shape::Values => write_nested(reply, write_value, out),
        Shape::LastDouble => {
            let count = Elements::of(reply).count();
            let last = count.saturating_sub(1);
            write_header(b'*', count, out);
            for (index, value) in Elements::of(reply).enumerate() {
                if index == last { write_double(value, out) } else { write_value(value, out) }
            }
        }
    }
}

/// Appends the message of a channel, which is a push in RESP3.
pub fn translate_message(message: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    write_value(message, out);
    if out.get(start) == Some(&b'*') {
        out[start] = b'>';
    }
}

/// Appends an array of names and values as an aggregate of half as many pairs.
fn write_pairs(kind: u8, reply: &[u8], out: &mut Vec<u8>) {
    write_header(kind, Elements::of(reply).count() / 2, out);
    Elements::of(reply).for_each(|value| write_value(value, out));
}

/// Appends an array of twice as many elements as an array of pairs.
fn write_nested(reply: &[u8], write_second: fn(&[u8], &mut Vec<u8>), out: &mut Vec<u8>) {
    write_header(b'*', Elements::of(reply).count() / 2, out);
    for (index, value) in Elements::of(reply).enumerate() {
        if index % 2 == 0 {
            write_header(b'*', 2, out);
            write_value(value, out);
        } else {
            write_second(value, out);
        }
    }
}

fn write_elements(kind: u8, reply: &[u8], write: fn(&[u8], &mut Vec<u8>), out: &mut Vec<u8>) {
    write_header(kind, Elements::of(reply).count(), out);
    Elements::of(reply).for_each(|value| write(value, out));
}

/// Appends a value whose type is the same in RESP3, but for the nulls in it.
fn write_value(value: &[u8], out: &mut Vec<u8>) {
    let mut rest = value;
    while let [kind, ..] = rest {
        let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
        let text = rest.get(1..end.saturating_sub(2)).unwrap_or_default();
        if matches!(kind, b'$' | b'*') && text == b"-1" {
            out.extend_from_slice(b"_\r\n");
            rest = &rest[end..];
            continue;
        }
        let body = if *kind == b'$' { integer(text) } else { None };
        let body = body.and_then(|len| usize::try_from(len).ok()).map_or(0, |len| len + 2);
        let (part, others) = rest.split_at(end + body);
        out.extend_from_slice(part);
        rest = others;
    }
}

/// Appends a number that is a string in RESP2.
fn write_double(value: &[u8], out: &mut Vec<u8>) {
    let text = match value {
        [b'$', ..] if value != b"$-1\r\n" => split_first(value),
        _ => None,
    };
    let Some((_, text, _)) = text else { return write_value(value, out) };
    out.push(b',');
    out.extend_from_slice(text);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn replies_have_the_types_of_resp3() {
        for (shape, reply, expected) in [
            (Shape::Same, &b"$-1\r\n"[..], &b"_\r\n"[..]),
            (Shape::Same, b"*-1\r\n", b"_\r\n"),
            (Shape::Same, b"*2\r\n$2\r\n-1\r\n*1\r\n$-1\r\n", b"*2\r\n$2\r\n-1\r\n*1\r\n_\r\n"),
            (Shape::Same, b"-ERR no\r\n", b"-ERR no\r\n"),
            (Shape::Map, b"*2\r\n$1\r\nf\r\n$1\r\nv\r\n", b"%1\r\n$1\r\nf\r\n$1\r\nv\r\n"),
            (Shape::Map, b"-WRONGTYPE no\r\n", b"-WRONGTYPE no\r\n"),
            (Shape::Set, b"*1\r\n$1\r\na\r\n", b"~1\r\n$1\r\na\r\n"),
            (Shape::Double, b"$3\r\n1.5\r\n", b",1.5\r\n"),
            (Shape::Double, b"$-1\r\n", b"_\r\n"),
            (Shape::Doubles, b"*2\r\n$1\r\n1\r\n$-1\r\n", b"*2\r\n,1\r\n_\r\n"),
            (
                Shape::Scores,
                b"*4\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$3\r\ninf\r\n",
                b"*2\r\n*2\r\n$1\r\na\r\n,1\r\n*2\r\n$1\r\nb\r\n,inf\r\n",
            ),
            (Shape::Values, b"*2\r\n$1\r\nf\r\n$1\r\nv\r\n", b"*1\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n"),
            (
                Shape::LastDouble,
                b"*3\r\n$1\r\nk\r\n$1\r\na\r\n$1\r\n1\r\n",
                b"*3\r\n$1\r\nk\r\n$1\r\na\r\n,1\r\n",
            ),
            (Shape::LastDouble, b"*-1\r\n", b"_\r\n"),
            (Shape::LastDouble, b"*0\r\n", b"*0\r\n"),
            (Shape::MapOfPairs, b"*1\r\n*2\r\n$1\r\ns\r\n*0\r\n", b"%1\r\n$1\r\ns\r\n*0\r\n"),
        ] {
            let mut out = Vec::new();
            translate(shape, reply, &mut out);
            assert_eq!(out.escape_ascii().to_string(), expected.escape_ascii().to_string());
        }
    }

    #[test]
    fn messages_and_confirmations_are_pushes() {
        let message = b"*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n";
        let mut out = Vec::new();
        translate_message(message, &mut out);
        assert_eq!(out, b">3\r\n$11\r\nunsubscribe\r\n_\r\n:0\r\n");
    }

    #[test]
    fn each_command_with_a_shape_of_its_own_is_one_of_the_table() {
        for (line, shape) in [
            ("hgetall k", Shape::Map),
            ("xread streams k 0", Shape::MapOfPairs),
            ("smembers k", Shape::Set),
            ("spop k", Shape::Same),
            ("spop k 2", Shape::Set),
            ("zscore k a", Shape::Double),
            ("zadd k 1 a", Shape::Same),
            ("zadd k INCR 1 a", Shape::Double),
            ("zmscore k a", Shape::Doubles),
            ("zrange k 0 -1", Shape::Same),
            ("zrange k 0 -1 WithScores", Shape::Scores),
            ("zpopmin k", Shape::LastDouble),
            ("zpopmin k 2", Shape::Scores),
            ("bzpopmax k 1", Shape::LastDouble),
            ("hrandfield k 2 withvalues", Shape::Values),
            ("get k", Shape::Same),
        ] {
            let mut words = line.split(' ');
            let name = words.next().unwrap();
            assert!(crate::redis::command::find(name.as_bytes()).is_some(), "{name}");
            let rest: Vec<&str> = words.collect();
            let mut request = Vec::new();
            write_header(b'*', rest.len(), &mut request);
            rest.iter().for_each(|word| crate::redis::write_bulk(word.as_bytes(), &mut request));
            assert_eq!(Shape::of(name, Arguments::of(&request)), shape, "{line}");
        }
    }
}
