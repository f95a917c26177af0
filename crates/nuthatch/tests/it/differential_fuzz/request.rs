//! What clients send: requests of every command, right ones and wrong ones.
//!
//! The rule: an innocent client sends only what every memcached from 1.6.18 on answers in one way;
//! whatever is `odd` is for the fuzzing client alone. Nobody writes to a key without the client's
//! own prefix, and no expiry lies within the length of a test.

use super::script::{
    self, Key, Kind, Make, ODD_CODED_KEYS, ODD_PLAIN_KEYS, PLAIN_KEYS, Part, Request, Script,
    Spelling, Then, keys,
};
use crate::random::Random;

/// A script of about so many requests, the same one for the same seed.
pub(super) fn script(kind: Kind, seed: u64, requests: usize) -> Script {
    Maker { kind, random: script::random(kind, seed) }.script(seed, requests)
}

pub(super) struct Maker {
    pub(super) kind: Kind,
    pub(super) random: Random,
}

impl Make for Maker {
    fn kind(&self) -> Kind {
        self.kind
    }

    fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    fn keys(&self) -> Vec<Key> {
        keys()
    }

    fn request(&mut self) -> Request {
        let mut request = match self.random.below(20) {
            0..=2 => self.get(),
            3 => self.get_and_touch(),
            4..=6 => self.store(),
            7 => self.cas(),
            8 => self.count(),
            9 => self.delete(),
            10 => self.touch(),
            11..=12 => self.meta_get(),
            13..=14 => self.meta_set(),
            15 => self.meta_delete(),
            16..=17 => self.meta_count(),
            18 => self.meta_debug(),
            _ => self.other(),
        };
        if self.odd(25) {
            self.mangle(&mut request);
        }
        request
    }

    fn last(&mut self) -> Request {
        let then = *self.random.pick(&[Then::GoOn, Then::HalfClose, Then::Leave]);
        let key = self.plain_key();
        let parts = match self.random.below(8) {
            0 => vec![raw("quit\r\n")],
            1 => vec![raw("GET / HTTP/1.1\r\n")],
            2 => vec![raw("set "), key, raw(" 0 0 100\r\nabc")],
            3 => vec![raw("ms "), key, raw(" 100\r\nabc\r\n")],
            4 => vec![raw("get "), key],
            5 => {
                // memcached waits for the rest of a binary head, so it is asked to end instead.
                let reference = Some(vec![raw("quit\r\n")]);
                let parts = vec![Part::Raw(b"\x80\0\0\x01\0\0\0\0".to_vec())];
                return Request { parts, reference, then: Then::GoOn };
            }
            6 => {
                let len = *self.random.pick(&[2047, 2060, 17_000, 100_000]);
                vec![raw("delete "), raw(&"k".repeat(len)), raw("\r\n")]
            }
            _ => vec![raw("gets "), key, raw("\r\n")],
        };
        let is_whole = matches!(&parts[..], [Part::Raw(one)] if one.ends_with(b"\r\n"));
        let then = if then == Then::GoOn && !is_whole { Then::HalfClose } else { then };
        Request { parts, reference: None, then }
    }
}

impl Maker {
    pub(super) fn plain_key(&mut self) -> Part {
        let odd = self.odd(8);
        Part::Key(self.random.below(if odd { PLAIN_KEYS } else { ODD_PLAIN_KEYS }))
    }

    /// A key, and whether it is in base64.
    pub(super) fn any_key(&mut self) -> (Part, bool) {
        if !self.random.one_in(3) {
            return (self.plain_key(), false);
        }
        if self.kind == Kind::Innocent {
            let key = PLAIN_KEYS + self.random.below(ODD_CODED_KEYS - PLAIN_KEYS);
            return (Part::Coded(key, Spelling::Canonical), true);
        }
        let odd = [Spelling::LooseBits, Spelling::Junk, Spelling::Unpadded, Spelling::PaddedInside];
        let spelling = if self.odd(8) { *self.random.pick(&odd) } else { Spelling::Canonical };
        (Part::Coded(self.random.below(keys().len()), spelling), true)
    }

    fn get(&mut self) -> Request {
        let verb = *self.random.pick(&["get", "gets"]);
        let most = if self.random.one_in(12) { 300 } else { 4 };
        let count = 1 + self.random.below(most);
        if self.odd(60) {
            return self.long_keys();
        }
        if self.odd(40) {
            let long = "k".repeat(251);
            let mut parts = vec![raw("get "), self.plain_key(), raw("\r\n")];
            parts.push(raw(&format!("get {long}\r\n")));
            return Request::of(parts);
        }
        let keys = self.keys(count);
        ended(verb, keys)
    }

    fn keys(&mut self, count: usize) -> Vec<Part> {
        let keys = (0..count).flat_map(|_| [raw(" "), self.plain_key()]);
        let mut keys: Vec<_> = keys.collect();
        if self.odd(20) {
            keys.truncate(0);
        }
        keys
    }

    /// Lines of keys that are longer than memcached takes of any command but `get` and `gets`.
    fn long_keys(&mut self) -> Request {
        let (verb, reference, touches) = *self.random.pick(&[
            ("gat 0", "get", true),
            ("gats 0", "gets", true),
            ("bget", "get", false),
            ("get", "get", false),
            ("gets", "gets", false),
        ]);
        let count = *self.random.pick(&[60, 110, 145, 160, 1000, 5000]);
        let mut keys = Vec::new();
        for nth in 0..count {
            keys.extend([raw(" "), Part::Key(if nth < 3 { nth } else { self.random.below(3) })]);
        }
        let touch = |key| [raw("touch "), Part::Key(key), raw(" 0 noreply\r\n")];
        let touched: Vec<_> = (0..3).filter(|_| touches).flat_map(touch).collect();
        let reference = [touched, ended(reference, keys.clone()).parts].concat();
        Request { reference: Some(reference), ..ended(verb, keys) }
    }

    fn get_and_touch(&mut self) -> Request {
        let (verb, exptime) = (*self.random.pick(&["gat", "gats"]), self.exptime());
        let count = 1 + self.random.below(4);
        let keys = self.keys(count);
        ended(&format!("{verb} {exptime}"), keys)
    }

    fn store(&mut self) -> Request {
        let verb = *self.random.pick(&["set", "set", "set", "add", "replace", "append", "prepend"]);
        self.storage(verb, None)
    }

    fn cas(&mut self) -> Request {
        let key = self.random.below(ODD_PLAIN_KEYS);
        let id = if self.odd(4) { raw(&self.odd_cas()) } else { Part::Cas(key) };
        self.storage("cas", Some((Part::Key(key), id)))
    }

    fn storage(&mut self, verb: &str, cas: Option<(Part, Part)>) -> Request {
        let data = self.data();
        let (flags, exptime) = (self.flags(), self.exptime());
        let (key, id) = match cas {
            Some((key, id)) => (key, Some(id)),
            None => (self.plain_key(), None),
        };
        let mut parts = vec![raw(verb), raw(" "), key];
        if self.odd(60) {
            parts.push(raw(" 0\r\n"));
            return Request::of(parts);
        }
        let len = self.length(data.len());
        parts.push(raw(&format!(" {flags} {exptime} {len}")));
        parts.extend(id.into_iter().flat_map(|id| [raw(" "), id]));
        if self.random.one_in(6) {
            parts.push(raw(" noreply"));
        }
        if self.odd(50) {
            parts.push(raw(self.random.pick::<&str>(&[
                " x",
                " noreply",
                " noreply noreply",
                " 0",
            ])));
        }
        self.with_data(parts, data)
    }

    pub(super) fn with_data(&mut self, mut parts: Vec<Part>, data: Vec<u8>) -> Request {
        parts.push(raw(if self.odd(30) { "\n" } else { "\r\n" }));
        parts.push(Part::Raw(data));
        parts.push(raw(if self.odd(60) {
            self.random.pick::<&str>(&["xy\r\n", "\nx\r\n"])
        } else {
            "\r\n"
        }));
        Request::of(parts)
    }

    /// The length of the data as the line says it.
    pub(super) fn length(&mut self, len: usize) -> String {
        if !self.odd(40) {
            return len.to_string();
        }
        let odd = [
            format!("+{len}"),
            format!("000{len}"),
            format!("{len}\t"),
            (u64::from(u32::MAX) + 1 + len as u64).to_string(),
            "-1".to_owned(),
            "x".to_owned(),
            "2147483646".to_owned(),
            "2147483648".to_owned(),
            "99999999999999999999".to_owned(),
        ];
        self.random.pick(&odd).clone()
    }

    pub(super) fn data(&mut self) -> Vec<u8> {
        if self.random.one_in(4) {
            // No zero: put before a number, it makes one that gets shorter.
            return (1 + self.random.below(999)).to_string().into_bytes();
        }
        if self.odd(6) {
            // None of white space alone: memcached looks for its number behind the end of the item.
            let lines: [&[u8]; 5] = [
                b"incr evil 0",
                b"get ~\r\nget ~\r\nEND\r\nVALUE ~ 0 1",
                b"\r\n\r\n.",
                b"mg ~ k\nmn",
                b"HTTP/1.1",
            ];
            return self.random.pick(&lines).to_vec();
        }
        let len = match self.random.below(3000) {
            0 => *self.random.pick(&[1_048_576, 1_100_000, 1_000_000]),
            1..=5 => 100_000 + self.random.below(3),
            6..=100 => 2000 + self.random.below(16_000),
            _ => self.random.below(200),
        };
        (0..len).map(|at| b"1023456789abc\r\nxyz "[at % 19]).collect()
    }

    /// No number gets shorter: memcached then pads it with blanks, but not while a reply that it has
    /// yet to send holds the item.
    fn count(&mut self) -> Request {
        let verb = *self.random.pick(&["incr", "decr"]);
        let delta = match verb {
            "decr" => "0".to_owned(),
            _ if self.odd(4) => self.odd_delta(),
            _ => self.random.below(9).to_string(),
        };
        let tail = self.noreply();
        let tail = raw(&format!(" {delta}{tail}\r\n"));
        Request::of(vec![raw(verb), raw(" "), self.plain_key(), tail])
    }

    fn delete(&mut self) -> Request {
        let hold = if self.odd(6) { *self.random.pick(&[" 0", " 5", " x", " 0 0"]) } else { "" };
        let tail = self.noreply();
        Request::of(vec![raw("delete "), self.plain_key(), raw(&format!("{hold}{tail}\r\n"))])
    }

    fn touch(&mut self) -> Request {
        let exptime = if self.odd(20) { String::new() } else { format!(" {}", self.exptime()) };
        let tail = self.noreply();
        Request::of(vec![raw("touch "), self.plain_key(), raw(&format!("{exptime}{tail}\r\n"))])
    }

    fn noreply(&mut self) -> &'static str {
        if self.odd(40) {
            return self.random.pick::<&str>(&[" noreply noreply", " noreply x", " NOREPLY"]);
        }
        if self.random.one_in(6) { " noreply" } else { "" }
    }

    fn exptime(&mut self) -> String {
        let odd = [
            "-1",
            "4294967295",
            "2147483647",
            "2147483648",
            "4294968296",
            "-2147483649",
            "+1000",
            "9223372036854775807",
            "9223372036854775808",
            "-9223372036854775808",
            "0001000",
            "x",
            "-9223372036854775809",
            "2592001",
            "1x",
            "-",
            "1000\t",
        ];
        let usual = ["0", "0", "0", "1000", "-1"];
        let from: &[&str] = if self.odd(5) { &odd } else { &usual };
        (*self.random.pick(from)).to_owned()
    }

    fn flags(&mut self) -> String {
        if self.odd(120) {
            return "0".repeat(*self.random.pick(&[900, 1000, 1024, 1990, 2040, 2060, 17_000]));
        }
        let odd = [
            "4294967296",
            "-1",
            "+1",
            "007",
            "18446744073709551615",
            "18446744073709551616",
            "x",
            "-18446744073709551615",
            "1x",
            "1\t",
        ];
        let usual = ["0", "0", "5", "4294967295"];
        let from: &[&str] = if self.odd(12) { &odd } else { &usual };
        (*self.random.pick(from)).to_owned()
    }

    fn odd_delta(&mut self) -> String {
        let numbers = [
            "18446744073709551616",
            "-1",
            "+1",
            "01",
            "x",
            "1x",
            "1\tx",
            "-18446744073709551615",
            "",
        ];
        (*self.random.pick(&numbers)).to_owned()
    }

    /// An id that no item has, as servers count from 1.
    fn odd_cas(&mut self) -> String {
        let numbers = [
            "0",
            "18446744073709551615",
            "18446744073709551616",
            "-1",
            "+4000000001",
            "x",
            "7x",
            "0004000000001",
            "-18446744069709551615",
            "4000000001\tx",
            "",
        ];
        (*self.random.pick(&numbers)).to_owned()
    }

    fn other(&mut self) -> Request {
        if self.kind == Kind::Innocent {
            return Request::raw(*self.random.pick(&["mn\r\n", "version\r\n", "bogus\r\n"]));
        }
        let same = [
            "mn\r\n",
            "mn x\r\n",
            "version\r\n",
            "version x\r\n",
            "foo\r\n",
            "GET a\r\n",
            "mx a\r\n",
            "get\r\n",
            "gat\r\n",
            "gat 0\r\n",
            "gat x\r\n",
            "set\r\n",
            "mg\r\n",
            "ms\r\n",
            "md\r\n",
            "ma\r\n",
            "me\r\n",
            "delete\r\n",
            "touch\r\n",
            "incr\r\n",
            "\r\n",
            "\n",
            " \r\n",
            "a\r\n",
            "foo noreply\r\n",
            "noreply\r\n",
            "stats\r\n",
            "stats settings\r\n",
            "stats reset\r\n",
            "stats foo\r\n",
            "verbosity\r\n",
            "verbosity 1\r\n",
            "verbosity 1 noreply\r\n",
            "verbosity x\r\n",
            "shutdown\r\n",
            "flush_all\r\n",
            "flush_all 0\r\n",
            "flush_all x\r\n",
            "flush_all noreply\r\n",
            "delete noreply\r\n",
            "get noreply\r\n",
            "touch ~ noreply\r\n",
            "incr ~ noreply\r\n",
            "get ~\0 b\r\n",
            "get ~\rb\r\n",
            "get\t~\r\n",
            "stats cachedump 1 9\r\n",
        ];
        let operator = [
            "watch\r\n",
            "slabs automove 0\r\n",
            "lru_crawler crawl all\r\n",
            "lru mode flat\r\n",
            "cache_memlimit 64\r\n",
            "extstore x y\r\n",
            "lru_crawler metadump all\r\n",
        ];
        if self.random.one_in(6) {
            let reference = Some(vec![raw("bogus\r\n")]);
            return Request { reference, ..Request::raw(*self.random.pick(&operator)) };
        }
        Request::raw(*self.random.pick(&same))
    }

    /// Writes the line of a request in another way.
    fn mangle(&mut self, request: &mut Request) {
        let parts = &mut request.parts;
        match self.random.below(5) {
            0 => parts.insert(0, raw(" ")),
            // A request in one part has its line end there: nothing may follow.
            1 if parts.len() > 1 => parts.insert(1, raw("  ")),
            2 => parts.insert(0, raw(&" ".repeat(self.random.below(200)))),
            3 => {
                if let Some(Part::Raw(last)) =
                    parts.last_mut().filter(|_| request.reference.is_none())
                    && last == b"\r\n"
                {
                    *last = b"\n".to_vec();
                }
            }
            // A tab belongs to a word, so what stands beside it is another one.
            4 if parts.len() > 1 && request.reference.is_none() => parts.insert(1, raw("\t")),
            _ => {}
        }
    }
}

pub(super) fn raw(text: &str) -> Part {
    Part::Raw(text.as_bytes().to_vec())
}

fn ended(verb: &str, mut parts: Vec<Part>) -> Request {
    parts.insert(0, raw(verb));
    parts.push(raw("\r\n"));
    Request::of(parts)
}
