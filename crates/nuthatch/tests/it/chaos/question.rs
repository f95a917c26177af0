//! A request of a client, what may be said to it, and what is found in a reply.

use std::iter;

use nuthatch_harness::redis::command;

use super::history::{Asked, KeyId, name, value};
use super::reply::{Protocol, line, number};

/// How a client speaks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Speech {
    pub(super) protocol: Protocol,
    /// Whether it uses meta commands, where it can.
    pub(super) meta: bool,
    /// Whether the values of a multiget may come in any order, as nutcracker has it.
    pub(super) any_order: bool,
}

/// A request, and what its reply must be.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) request: Vec<u8>,
    pub(super) about: About,
}

#[derive(Debug)]
pub(super) enum About {
    Read(Vec<Asked>),
    /// A key, the version that is written, and the replies that say so.
    Write(KeyId, u64, Vec<Vec<u8>>),
    /// The first number of a counter is stored.
    CounterBegins,
    /// One is added to a counter.
    Count(u64),
}

impl About {
    /// Whether it is the reply to a write that was carried out.
    pub(super) fn is_answer(&self, reply: &[u8]) -> bool {
        matches!(self, Self::Write(.., replies) if replies.iter().any(|one| one == reply))
    }
}

impl Speech {
    /// `opaque` is for meta commands, which give it back.
    pub(super) fn read(self, asked: Vec<Asked>, opaque: u64) -> Question {
        let names: Vec<_> = asked.iter().map(|asked| name(asked.key)).collect();
        let request = match (self.protocol, &names[..]) {
            (Protocol::Redis, [name]) => command(["GET", name]),
            (Protocol::Redis, _) => command(
                iter::once("MGET").chain(names.iter().map(|name| &name[..])).collect::<Vec<_>>(),
            ),
            (Protocol::Memcached, [name]) if self.meta => {
                format!("mg {name} k O{opaque} v\r\n").into_bytes()
            }
            (Protocol::Memcached, _) => format!("get {}\r\n", names.join(" ")).into_bytes(),
        };
        Question { request, about: About::Read(asked) }
    }

    pub(super) fn write(self, key: KeyId, version: u64, padding: usize) -> Question {
        let (name, value) = (name(key), value(key, version, padding));
        let len = value.len();
        let (request, reply) = match self.protocol {
            Protocol::Redis => (command(["SET", &name, &value]), "+OK\r\n".to_owned()),
            Protocol::Memcached if self.meta => (
                format!("ms {name} {len} k O{version}\r\n{value}\r\n").into_bytes(),
                format!("HD k{name} O{version}\r\n"),
            ),
            Protocol::Memcached => (
                format!("set {name} 0 0 {len}\r\n{value}\r\n").into_bytes(),
                "STORED\r\n".to_owned(),
            ),
        };
        Question { request, about: About::Write(key, version, vec![reply.into_bytes()]) }
    }

    pub(super) fn delete(self, key: KeyId, version: u64) -> Question {
        let name = name(key);
        let (request, replies) = match self.protocol {
            Protocol::Redis => (command(["DEL", &name]), [":1\r\n", ":0\r\n"]),
            Protocol::Memcached if self.meta => {
                (format!("md {name}\r\n").into_bytes(), ["HD\r\n", "NF\r\n"])
            }
            Protocol::Memcached => {
                (format!("delete {name}\r\n").into_bytes(), ["DELETED\r\n", "NOT_FOUND\r\n"])
            }
        };
        let replies = replies.map(|reply| reply.as_bytes().to_vec()).to_vec();
        Question { request, about: About::Write(key, version, replies) }
    }

    /// `generation` is part of the name of the counter.
    pub(super) fn begin_counter(writer: usize, generation: u64) -> Question {
        let request = format!("set n{writer}g{generation} 0 0 1\r\n0\r\n").into_bytes();
        Question { request, about: About::CounterBegins }
    }

    pub(super) fn count(self, writer: usize, generation: u64) -> Question {
        let name = format!("n{writer}g{generation}");
        let request = match self.protocol {
            Protocol::Redis => command(["INCR", &name]),
            Protocol::Memcached => format!("incr {name} 1\r\n").into_bytes(),
        };
        Question { request, about: About::Count(generation) }
    }

    /// The places in `asked` of the keys that were found, and their values; none if it is no reply to that.
    pub(super) fn found<'r>(
        self,
        asked: &[Asked],
        reply: &'r [u8],
    ) -> Option<Vec<(usize, &'r [u8])>> {
        match self.protocol {
            Protocol::Redis => redis_values(asked.len(), reply),
            Protocol::Memcached => {
                let values = memcached_values(reply)?;
                let mut next = 0;
                let places = values.into_iter().map(|(key, value)| {
                    let from = if self.any_order { 0 } else { next };
                    let rest = asked.get(from..)?;
                    let place =
                        from + rest.iter().position(|asked| name(asked.key).as_bytes() == key)?;
                    next = place + 1;
                    Some((place, value))
                });
                places.collect()
            }
        }
    }

    /// Whether a reply says that the request was not answered.
    pub(super) fn is_error(self, reply: &[u8]) -> bool {
        match self.protocol {
            Protocol::Redis => reply.starts_with(b"-"),
            Protocol::Memcached => {
                // A write to a server that is away, with `on_server_failure: miss`.
                let is_refusal = matches!(reply, b"NOT_STORED\r\n") || reply.starts_with(b"NS ");
                is_refusal
                    || reply.starts_with(b"SERVER_ERROR ")
                    || reply.starts_with(b"ERROR Too many open connections")
            }
        }
    }

    /// Whether a reply is that of another command of the same kind, or lacks what this one asked for.
    pub(super) fn is_likely_lie(self, about: &About, reply: &[u8]) -> bool {
        let words: &[&[u8]] = match about {
            About::Write(..) if self.meta => &[b"HD\r\n", b"NF\r\n"],
            About::Write(..) => &[b"NOT_FOUND\r\n", b"EXISTS\r\n"],
            About::Read(_) if self.meta => &[b"HD\r\n", b"EN\r\n"],
            _ => &[],
        };
        self.protocol == Protocol::Memcached && words.contains(&reply) && !about.is_answer(reply)
    }

    /// The number of a reply to `count`: a counter that is not there gives none.
    pub(super) fn number(self, reply: &[u8]) -> Option<usize> {
        let digits = reply.strip_suffix(b"\r\n")?;
        number(if self.protocol == Protocol::Redis { digits.strip_prefix(b":")? } else { digits })
    }
}

type Found<'r> = (&'r [u8], &'r [u8]);

/// The keys and values of a reply to `get` or `mg`.
fn memcached_values(mut reply: &[u8]) -> Option<Vec<Found<'_>>> {
    let mut values = Vec::new();
    loop {
        let head = line(reply)?;
        reply = &reply[head.len()..];
        let words: Vec<_> = head.trim_ascii_end().split(|&byte| byte == b' ').collect();
        let (key, len, has_more) = match words[..] {
            [b"END"] | [b"EN", ..] => return reply.is_empty().then_some(values),
            [b"VALUE", key, b"0", len] => (key, number(len)?, true),
            [b"VA", len, key, _] => (key.strip_prefix(b"k")?, number(len)?, false),
            _ => return None,
        };
        values.push((key, reply.get(..len)?));
        reply = reply[len..].strip_prefix(b"\r\n")?;
        if !has_more {
            return reply.is_empty().then_some(values);
        }
    }
}

/// The places and values of a reply to `GET` or `MGET` of so many keys.
fn redis_values(count: usize, mut reply: &[u8]) -> Option<Vec<(usize, &[u8])>> {
    if count > 1 {
        let head = line(reply)?;
        reply = &reply[head.len()..];
        number(head.strip_prefix(b"*")?.trim_ascii_end()).filter(|&len| len == count)?;
    }
    let mut values = Vec::new();
    for place in 0..count {
        let head = line(reply)?;
        reply = &reply[head.len()..];
        if head != b"$-1\r\n" {
            let len = number(head.strip_prefix(b"$")?.trim_ascii_end())?;
            values.push((place, reply.get(..len)?));
            reply = reply[len..].strip_prefix(b"\r\n")?;
        }
    }
    reply.is_empty().then_some(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: [Asked; 3] = [asked(0), asked(1), asked(2)];

    const fn asked(key: KeyId) -> Asked {
        Asked { key, floor: 0, ceiling: 0 }
    }

    fn found(speech: Speech, asked: &[Asked], reply: &str) -> Option<Vec<(usize, String)>> {
        let found = speech.found(asked, reply.as_bytes())?;
        let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
        Some(found.into_iter().map(|(place, value)| (place, text(value))).collect())
    }

    #[test]
    fn values_of_memcached_are_of_the_keys_that_were_asked_for_in_their_order() {
        let strict = Speech { protocol: Protocol::Memcached, meta: false, any_order: false };
        let two = "VALUE c0k0 0 1\r\na\r\nVALUE c0k2 0 2\r\nbc\r\nEND\r\n";
        let values = Some(vec![(0, "a".to_owned()), (2, "bc".to_owned())]);
        assert_eq!(found(strict, &ASKED, two), values);
        assert_eq!(found(strict, &ASKED, "END\r\n"), Some(vec![]));
        assert_eq!(found(strict, &ASKED, "STORED\r\n"), None);
        assert_eq!(found(strict, &ASKED, "VALUE c0k3 0 1\r\na\r\nEND\r\n"), None);
        let turned = "VALUE c0k2 0 2\r\nbc\r\nVALUE c0k0 0 1\r\na\r\nEND\r\n";
        assert_eq!(found(strict, &ASKED, turned), None);
        assert!(found(Speech { any_order: true, ..strict }, &ASKED, turned).is_some());
        let meta = "VA 2 kc0k0 O7\r\nab\r\n";
        assert_eq!(found(strict, &ASKED[..1], meta), Some(vec![(0, "ab".to_owned())]));
        assert_eq!(found(strict, &ASKED[1..], meta), None);
        assert_eq!(found(strict, &ASKED[..1], "EN kc0k0 O7\r\n"), Some(vec![]));
    }

    #[test]
    fn values_of_redis_are_as_many_as_the_keys_that_were_asked_for() {
        let redis = Speech { protocol: Protocol::Redis, meta: false, any_order: false };
        assert_eq!(found(redis, &ASKED[..1], "$1\r\na\r\n"), Some(vec![(0, "a".to_owned())]));
        assert_eq!(found(redis, &ASKED[..1], "$-1\r\n"), Some(vec![]));
        let two = "*3\r\n$1\r\na\r\n$-1\r\n$2\r\nbc\r\n";
        let values = Some(vec![(0, "a".to_owned()), (2, "bc".to_owned())]);
        assert_eq!(found(redis, &ASKED, two), values);
        for wrong in ["+OK\r\n", "$1\r\na\r\n", "*2\r\n$-1\r\n$-1\r\n", ":1\r\n", "*-1\r\n"] {
            assert_eq!(found(redis, &ASKED, wrong), None, "{wrong:?}");
        }
    }
}
