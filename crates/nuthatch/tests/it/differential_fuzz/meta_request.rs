//! Meta requests for the fuzzing clients and the innocent ones.
//!
//! The rule is that of `request.rs`: an innocent client sends what every memcached answers in one
//! way, and uses a key in base64 only where the item remembers that its key is binary.

use super::request::{Maker, raw};
use super::script::{Kind, Make, Part, Request};

impl Maker {
    pub(super) fn meta_get(&mut self) -> Request {
        let usual = ["v", "k", "O", "s", "f", "t", "c", "h", "l", "u", "q"];
        let odd = ["N0", "N1000", "N", "T0", "T1000", "R5", "R2000", "Nx", "E1", "P1", "L2", "I"];
        self.meta("mg", &usual, &odd, None)
    }

    pub(super) fn meta_set(&mut self) -> Request {
        let usual = ["k", "O", "c", "F7", "T0", "T1000", "q", "ME", "MR", "MS"];
        let odd = [
            "MA",
            "MP",
            "MX",
            "M",
            "Fx",
            "F4294967296",
            "I",
            "C4000000001",
            "Tx",
            "N1000",
            "E5",
            "T-1",
        ];
        let data = self.data();
        self.meta("ms", &usual, &odd, Some(data))
    }

    pub(super) fn meta_delete(&mut self) -> Request {
        let odd = ["I", "T1000", "T0", "C4000000001", "Cx", "x", "E7", "v"];
        self.meta("md", &["k", "O", "q"], &odd, None)
    }

    pub(super) fn meta_count(&mut self) -> Request {
        let usual = ["N0", "J5", "D2", "MI", "MD", "v", "k", "O", "q", "t", "c"];
        let odd = [
            "N1000",
            "Nx",
            "J18446744073709551616",
            "D-1",
            "J+3",
            "MX",
            "T0",
            "C4000000001",
            "M+",
            "M-",
            "s",
        ];
        self.meta("ma", &usual, &odd, None)
    }

    fn meta(&mut self, verb: &str, usual: &[&str], odd: &[&str], data: Option<Vec<u8>>) -> Request {
        let (key, coded) = self.any_key();
        // A number made by `ma` forgets that its key is binary, and memcached then prints it raw.
        let (key, coded) = match self.kind {
            Kind::Innocent if verb == "ma" => (self.plain_key(), false),
            _ => (key, coded),
        };
        let mut flags: Vec<String> = Vec::new();
        for _ in 0..self.random.below(6) {
            let from = if self.odd(3) { odd } else { usual };
            let flag = *self.random.pick(from);
            if self.kind == Kind::Innocent && (verb, flag) == ("ma", "q") {
                continue;
            }
            let flag = if flag == "O" { self.opaque() } else { flag.to_owned() };
            let is_new = flags.iter().all(|other| other.as_bytes()[0] != flag.as_bytes()[0]);
            if is_new || self.odd(10) {
                flags.push(flag);
            }
        }
        if flags.iter().any(|flag| flag == "MD" || flag == "M-") {
            // Counting down must not make a number shorter: see `count`.
            flags.retain(|flag| !flag.starts_with('D'));
            flags.push("D0".to_owned());
        }
        let has = |letter: &str| flags.iter().any(|flag| flag.starts_with(letter));
        if verb == "ma" && has("N") && !has("J") {
            // No zero to begin with: what is appended to a zero is a number that gets shorter.
            flags.push("J7".to_owned());
        }
        if coded && !self.odd(15) {
            flags.insert(self.random.below(flags.len() + 1), "b".to_owned());
        }
        if self.odd(80) {
            flags.extend((0..16).map(|_| "u".to_owned()));
        }
        if self.odd(50) {
            flags.push(
                (*self.random.pick(&["\x01", "!", "\u{e9}", "\x7f", "zz", "0", "S1"])).to_owned(),
            );
        }
        if self.odd(100) {
            // memcached carries out a line of any length if all of it comes at once: such a one must
            // not change an item.
            let lengths = if verb == "mg" { &[1000, 2020, 16_000, 100_000][..] } else { &[1000] };
            flags.push(format!("O{}", "x".repeat(*self.random.pick(lengths))));
        }
        let mut parts = vec![raw(verb), raw(" "), key];
        if let Some(data) = &data {
            let len = self.length(data.len());
            parts.push(raw(&format!(" {len}")));
        }
        let mut flags: Vec<_> = flags.iter().map(|flag| raw(&format!(" {flag}"))).collect();
        if self.odd(25) {
            let flag = self.flag_of_any_byte();
            flags.insert(self.random.below(flags.len() + 1), flag);
        }
        parts.append(&mut flags);
        match data {
            Some(data) => self.with_data(parts, data),
            None => Request::of([parts, vec![raw("\r\n")]].concat()),
        }
    }

    /// A flag that begins with any byte but those that end a word or a line. Such as have an effect
    /// on an item are made with more care.
    fn flag_of_any_byte(&mut self) -> Part {
        let byte = loop {
            let byte = u8::try_from(self.random.below(256)).unwrap();
            if ![0, b'\n', b'\r', b' '].contains(&byte) && !b"NTRJDMIEFCxlbqOk".contains(&byte) {
                break byte;
            }
        };
        let token = *self.random.pick(&[&b""[..], b"1", b"\xff", b"\t"]);
        Part::Raw([&[b' ', byte], token].concat())
    }

    fn opaque(&mut self) -> String {
        let len = if self.odd(10) { *self.random.pick(&[0, 31, 32, 40]) } else { 1 };
        format!("O{}", "7".repeat(len + self.random.below(2) * (1 - len.min(1))))
    }

    pub(super) fn meta_debug(&mut self) -> Request {
        const MORE: [&str; 5] = [" q", " O1", " k", " b", " \x01"];

        let (key, coded) = self.any_key();
        if self.kind == Kind::Innocent {
            return Request::of(vec![raw("me "), self.plain_key(), raw("\r\n")]);
        }
        if coded && self.odd(2) {
            return self.forgetful(key);
        }
        let flags = if coded && !self.odd(8) { " b" } else { "" };
        let more = match () {
            () if self.odd(6) => raw(MORE[self.random.below(MORE.len())]),
            () if self.odd(15) => self.flag_of_any_byte(),
            () => raw(""),
        };
        Request::of(vec![raw("me "), key, raw(flags), more, raw("\r\n")])
    }

    /// Items of which memcached forgets that their key is binary, so that it prints the key raw.
    fn forgetful(&mut self, key: Part) -> Request {
        let (make, ask) = *self.random.pick(&[
            (" b N1000\r\nme ", " b\r\n"),
            (" b N1000 k v\r\nmg ", " k b\r\n"),
            (" N1000 b\r\nmd ", " b k\r\n"),
            (" b T0\r\nma ", " b N0 k\r\n"),
        ]);
        Request::of(vec![raw("mg "), key.clone(), raw(make), key, raw(ask)])
    }
}
