//! A client that asks for anything and believes nothing.
//!
//! Every value says its key, a number that no other value has, and who wrote it. So a client knows
//! of each reply whether it is one, whether it is its own, and whether it may be that old.

use super::random::Random;
use super::seen::Seen;
use super::{Customer, Truth};
use std::collections::VecDeque;

/// Keys with values like `d1:17:xxx`, and the keys in base64.
const DATA_KEYS: [(&str, &str); 8] = [
    ("d0", "ZDA="),
    ("d1", "ZDE="),
    ("d2", "ZDI="),
    ("d3", "ZDM="),
    ("d4", "ZDQ="),
    ("d5", "ZDU="),
    ("d6", "ZDY="),
    ("d7", "ZDc="),
];

/// Keys with values like `l0:17;l0:5;`, that are appended to.
const LOG_KEYS: [&str; 2] = ["l0", "l1"];

/// Keys with numbers.
const NUMBER_KEYS: [&str; 3] = ["n0", "n1", "n2"];

/// Keys that only meta requests can name, as they are and in base64. A server prints them as they are
/// once it has forgotten how they came.
const BINARY_KEYS: [(&str, &str); 2] = [
    ("e 0", "ZSAw"),
    ("\r\nVALUE d0 0 5\r\nd0:1:\r\nEND\r\n", "DQpWQUxVRSBkMCAwIDUNCmQwOjE6DQpFTkQNCg=="),
];

const STORAGE: &[&str] = &["STORED", "NOT_STORED", "EXISTS", "NOT_FOUND"];

/// What may come next.
#[derive(Debug)]
enum Expected {
    Exactly(&'static str),
    Line(&'static [&'static str]),
    Number,
    Values {
        keys: Vec<&'static str>,
    },
    Meta {
        key: &'static str,
        repeated: String,
        id: String,
        quiet: bool,
    },
    /// A reply that has this key as it is or in base64, if it has any, and this token.
    Binary {
        raw: &'static str,
        encoded: &'static str,
        id: String,
    },
    Stats,
    /// The end of the connection.
    End,
}

#[derive(Debug)]
struct Expectation {
    reply: Expected,
    /// The keys and values that a success says are stored.
    wrote: Vec<(&'static str, Vec<u8>)>,
}

#[derive(Debug, Default)]
pub(crate) struct Client {
    /// What it has still to send.
    outbox: VecDeque<u8>,
    inbox: Vec<u8>,
    expected: VecDeque<Expectation>,
    /// What it has set without reply since the last barrier.
    unheard: Vec<(&'static str, Vec<u8>)>,
    seen: Seen,
    /// Whether it asks quietly. Where any reply may be replaced by an error, it could not tell
    /// whose error it is.
    may_be_quiet: bool,
    /// Whether nothing more may follow.
    ended: bool,
}

/// Requests that are wrong, and the answers.
const INVALID: &[(&str, &str)] = &[
    ("\r\n", "ERROR\r\n"),
    ("foo bar\r\n", "ERROR\r\n"),
    ("GET d0\r\n", "ERROR\r\n"),
    ("get\n", "ERROR\r\n"),
    ("get d0 a\rb\r\n", "CLIENT_ERROR bad command line format\r\n"),
    ("incr n0 x\r\n", "CLIENT_ERROR invalid numeric delta argument\r\n"),
    ("touch d0 x\r\n", "CLIENT_ERROR invalid exptime argument\r\n"),
    ("set d0 x 0 9\r\nget d1\r\n\0\r\n", "CLIENT_ERROR bad command line format\r\n"),
    ("set d0 0 0 3 noreply x\r\nabc\r\n", "ERROR\r\n"),
    ("set d0 x 0 2 noreply\r\n\r\n\r\n", ""),
    ("incr n0 x noreply\r\n", ""),
    ("mg d0 b q\r\n", "CLIENT_ERROR error decoding key\r\n"),
    ("verbosity 1\r\n", "OK\r\n"),
    ("verbosity 1 noreply\r\n", ""),
    ("mn\r\n", "MN\r\n"),
];

/// Requests after which the connection ends.
const ENDS: &[(&str, &str)] = &[
    ("quit\r\n", ""),
    ("set d0 0 0 x\r\n", "CLIENT_ERROR bad command line format\r\n"),
    ("set d0 0 0 3\r\nabcd\r\n", "CLIENT_ERROR bad data chunk\r\n"),
    ("POST / HTTP/1.1\r\n", ""),
];

impl Customer for Client {
    fn new(may_be_quiet: bool) -> Self {
        Self { may_be_quiet, ..Self::default() }
    }

    fn ask_anything(&mut self, random: &mut Random, number: u64, size_max: usize) {
        match random.below(100) {
            0..25 => self.ask_read(random),
            25..40 => self.ask_many(random),
            40..60 => self.ask_storage(random, number, size_max),
            60..70 => self.ask_short(random, number),
            70..80 => self.ask_meta(random, number, false),
            80..88 if self.may_be_quiet => self.ask_quietly(random, number),
            88..94 => {
                let (request, answer) = random.pick(INVALID);
                self.ask(request, Expected::Exactly(answer));
            }
            94 if random.chance(200) => self.ask("flush_all\r\n", Expected::Line(&["OK"])),
            95 => self.ask("stats\r\n", Expected::Stats),
            97 => self.ask_binary(random, number),
            96 if random.chance(300) => {
                let (request, answer) = random.pick(ENDS);
                self.ask(request, Expected::Exactly(answer));
                self.expected.push_back(Expectation { reply: Expected::End, wrote: Vec::new() });
                self.ended = true;
            }
            _ => self.ask("version\r\n", Expected::Line(&["VERSION 1.6.18"])),
        }
    }

    fn receive(&mut self, bytes: &[u8], truth: &Truth<'_>) {
        self.inbox.extend_from_slice(bytes);
        while let Some(used) = self.check_next(truth) {
            self.inbox.drain(..used);
        }
    }

    fn outbox(&mut self) -> &mut VecDeque<u8> {
        &mut self.outbox
    }

    fn has_ended(&self) -> bool {
        self.ended
    }

    fn is_satisfied(&self) -> bool {
        self.expected.is_empty() && self.outbox.is_empty()
    }

    fn expects_end(&self) -> bool {
        self.inbox.is_empty()
            && matches!(self.expected.front(), Some(Expectation { reply: Expected::End, .. }))
    }
}

impl Client {
    fn ask(&mut self, request: &str, reply: Expected) {
        self.outbox.extend(request.as_bytes());
        let wrote = match request {
            "mn\r\n" => std::mem::take(&mut self.unheard),
            _ => Vec::new(),
        };
        if !matches!(reply, Expected::Exactly("")) {
            self.expected.push_back(Expectation { reply, wrote });
        }
    }

    fn ask_read(&mut self, random: &mut Random) {
        let key = match random.below(4) {
            0 => random.pick(&LOG_KEYS),
            1 => random.pick(&NUMBER_KEYS),
            _ => random.pick(&DATA_KEYS).0,
        };
        let forms = ["get K\r\n", "gets K\r\n", "  get  K \r\n", "gat 0 K\r\n", "get K\n"];
        let request = random.pick(&forms).replace('K', key);
        self.ask(&request, Expected::Values { keys: vec![key] });
    }

    fn ask_many(&mut self, random: &mut Random) {
        let count = random.length(8);
        let mut keys: Vec<&str> = (0..count).map(|_| random.pick(&DATA_KEYS).0).collect();
        keys.push(random.pick(&LOG_KEYS));
        let command = random.pick(&["get", "gets", "gat 0"]);
        let request = format!("{command} {}\r\n", keys.join(random.pick(&[" ", "  "])));
        self.ask(&request, Expected::Values { keys });
    }

    fn ask_storage(&mut self, random: &mut Random, number: u64, size_max: usize) {
        let key = random.pick(&DATA_KEYS).0;
        let command = random.pick(&["set", "set", "set", "add", "replace", "cas"]);
        let mut data = format!("{key}:{number}:");
        let length = random.length(size_max.saturating_sub(data.len()).max(1));
        data += &"\r\nEND\r\n".repeat(length / 7);
        let cas = if command == "cas" { format!(" {}", random.below(50)) } else { String::new() };
        let noreply = random.chance(250);
        let tail = if noreply { " noreply" } else { random.pick(&["", " ", " 0"]) };
        let line = format!("{command} {key} 0 0 {}{cas}{tail}\r\n", data.len());
        self.outbox.extend(line.as_bytes());
        self.outbox.extend(data.as_bytes());
        self.outbox.extend(b"\r\n");
        let wrote = (key, data.into_bytes());
        if !noreply {
            let reply = Expected::Line(STORAGE);
            self.expected.push_back(Expectation { reply, wrote: vec![wrote] });
        } else if command == "set" && self.may_be_quiet {
            // Elsewhere any of them may have failed in silence.
            self.unheard.push(wrote);
        }
    }

    fn ask_short(&mut self, random: &mut Random, number: u64) {
        let (log, count) = (random.pick(&LOG_KEYS), random.pick(&NUMBER_KEYS));
        let data = random.pick(&DATA_KEYS).0;
        let piece = format!("{log}:{number};");
        let noreply = random.chance(250);
        let tail = if noreply { " noreply" } else { "" };
        let size = piece.len();
        let (request, reply) = match random.below(7) {
            0 => (format!("set {log} 0 0 {size}{tail}\r\n{piece}\r\n"), Expected::Line(STORAGE)),
            1 => (format!("append {log} 0 0 {size}{tail}\r\n{piece}\r\n"), Expected::Line(STORAGE)),
            2 => {
                (format!("prepend {log} 0 0 {size}{tail}\r\n{piece}\r\n"), Expected::Line(STORAGE))
            }
            3 => (format!("set {count} 0 0 1{tail}\r\n7\r\n"), Expected::Line(STORAGE)),
            4 => (format!("incr {count} 3{tail}\r\n"), Expected::Number),
            5 => (format!("decr {count} 5{tail}\r\n"), Expected::Number),
            _ => (format!("delete {data}{tail}\r\n"), Expected::Line(&["DELETED", "NOT_FOUND"])),
        };
        if noreply {
            self.outbox.extend(request.as_bytes());
        } else {
            self.ask(&request, reply);
        }
    }

    /// Some quiet requests and a barrier, so that it is known which of them were not answered.
    fn ask_quietly(&mut self, random: &mut Random, number: u64) {
        for index in 0..random.below(5) {
            self.ask_meta(random, number * 10 + index, true);
        }
        self.ask("mn\r\n", Expected::Exactly("MN\r\n"));
    }

    fn ask_meta(&mut self, random: &mut Random, number: u64, quiet: bool) {
        let (key, encoded) = random.pick(&DATA_KEYS);
        let (written, b) = if random.chance(200) { (encoded, " b") } else { (key, "") };
        let id = format!("O{number}");
        let q = if quiet { " q" } else { "" };
        let mut wrote = Vec::new();
        let request = match random.below(5) {
            0..3 => format!("mg {written} v k{q}{b} {id}\r\n"),
            3 => {
                let data = format!("{key}:{}:", number + (1 << 40));
                let size = data.len();
                let request = format!("ms {written} {size} k{b}{q} {id}\r\n{data}\r\n");
                wrote.push((key, data.into_bytes()));
                request
            }
            _ => format!("md {written}{q} k {id}{b}\r\n"),
        };
        let repeated = format!("k{written}");
        self.ask(&request, Expected::Meta { key, repeated, id, quiet });
        self.expected.back_mut().expect("just pushed").wrote = wrote;
    }

    /// A meta request for a key that may hold line ends.
    fn ask_binary(&mut self, random: &mut Random, number: u64) {
        let (raw, encoded) = random.pick(&BINARY_KEYS);
        let id = format!("O{number}");
        let request = match random.below(7) {
            0 => format!("mg {encoded} b {id} k\r\n"),
            1 => format!("mg {encoded} b {id} k v N30\r\n"),
            2 => format!("ms {encoded} 1 b {id} k\r\n7\r\n"),
            3 => format!("ma {encoded} b {id} k\r\n"),
            4 => format!("md {encoded} b {id} k\r\n"),
            _ => format!("me {encoded} b\r\n"),
        };
        let id = if request.starts_with("me") { String::new() } else { id };
        self.ask(&request, Expected::Binary { raw, encoded, id });
    }

    /// Checks the next reply if it is whole, and says how many bytes it is.
    fn check_next(&mut self, truth: &Truth<'_>) -> Option<usize> {
        let inbox = std::mem::take(&mut self.inbox);
        let used = self.check_reply(&inbox, truth);
        self.inbox = inbox;
        used
    }

    fn check_reply(&mut self, inbox: &[u8], truth: &Truth<'_>) -> Option<usize> {
        let end = inbox.iter().position(|&byte| byte == b'\n')?;
        let line = std::str::from_utf8(&inbox[..=end]).expect("a line is text");
        let line = line.strip_suffix("\r\n").expect("a line ends with CR LF");
        let front = self.expected.front().unwrap_or_else(|| panic!("nothing was asked: {line}"));
        if truth.errors && line.starts_with("SERVER_ERROR ") {
            assert!(!matches!(front.reply, Expected::End), "nothing follows the end");
            self.expected.pop_front();
            return Some(end + 1);
        }
        match &front.reply {
            Expected::Exactly(answer) => {
                assert_eq!(&format!("{line}\r\n"), answer);
                let front = self.expected.pop_front().expect("it was looked at");
                self.seen.note_writes(front.wrote, truth);
                Some(end + 1)
            }
            Expected::Line(answers) => {
                assert!(answers.contains(&line), "{line:?} is none of {answers:?}");
                let front = self.expected.pop_front().expect("it was looked at");
                if line == "STORED" {
                    self.seen.note_writes(front.wrote, truth);
                }
                Some(end + 1)
            }
            Expected::Number => {
                let is_number = line.bytes().all(|byte| byte.is_ascii_digit());
                assert!(is_number || line == "NOT_FOUND", "{line:?} is no number");
                self.expected.pop_front();
                Some(end + 1)
            }
            Expected::Values { .. } => self.check_values(inbox, truth),
            Expected::Meta { .. } => self.check_meta(inbox, line, truth),
            Expected::Binary { raw, encoded, id } => {
                let len = binary_len(inbox, raw, encoded, id)?;
                self.expected.pop_front();
                Some(len)
            }
            Expected::Stats if line == "END" => {
                self.expected.pop_front();
                Some(end + 1)
            }
            Expected::Stats => {
                assert!(line.starts_with("STAT "), "{line:?} is no figure");
                Some(end + 1)
            }
            Expected::End => panic!("nothing follows the end, but {line:?} did"),
        }
    }

    fn check_values(&mut self, inbox: &[u8], truth: &Truth<'_>) -> Option<usize> {
        let mut found = Vec::new();
        let mut at = 0;
        loop {
            let end = at + inbox[at..].iter().position(|&byte| byte == b'\n')?;
            let line = std::str::from_utf8(&inbox[at..end - 1]).expect("a line is text");
            at = end + 1;
            if line == "END" {
                break;
            }
            let words: Vec<&str> = line.split(' ').collect();
            assert_eq!(words[0], "VALUE", "{line:?} is no value");
            let length: usize = words[3].parse().expect("a length");
            let data = inbox.get(at..at + length + 2)?;
            assert!(data.ends_with(b"\r\n"));
            found.push((words[1].to_owned(), data[..length].to_vec()));
            at += length + 2;
        }
        let front = self.expected.pop_front().expect("it was looked at");
        let Expected::Values { keys } = front.reply else { unreachable!("it was looked at") };
        let mut found = found.into_iter().peekable();
        for key in keys {
            let hit = found.next_if(|(name, _)| name == key);
            self.seen.check_read(key, hit.as_ref().map(|(_, data)| &data[..]), truth);
        }
        assert_eq!(found.next(), None, "a value that was not asked for, or not there");
        Some(at)
    }

    fn check_meta(&mut self, inbox: &[u8], line: &str, truth: &Truth<'_>) -> Option<usize> {
        let words: Vec<&str> = line.split(' ').collect();
        let mut len = line.len() + 2;
        if words[0] == "VA" {
            len += words[1].parse::<usize>().expect("a length") + 2;
            inbox.get(..len)?;
        }
        loop {
            let front = self.expected.pop_front().expect("it was looked at");
            let Expected::Meta { key, repeated, id, quiet } = front.reply else {
                let Expected::Exactly(answer) = front.reply else {
                    panic!("{line:?} answers {:?}", front.reply);
                };
                assert_eq!(format!("{line}\r\n"), answer);
                self.seen.note_writes(front.wrote, truth);
                return Some(len);
            };
            if quiet && !words.contains(&&id[..]) {
                continue;
            }
            assert!(words.contains(&&id[..]), "{line:?} is not for {id}");
            assert!(words.contains(&&repeated[..]), "{line:?} is not of {repeated}");
            assert!(!quiet || words[0] != "EN", "a miss was to be hidden");
            match words[0] {
                "VA" => self.seen.check_read(key, Some(&inbox[line.len() + 2..len - 2]), truth),
                "EN" => self.seen.check_read(key, None, truth),
                "HD" => self.seen.note_writes(front.wrote, truth),
                "NF" | "NS" | "EX" => {}
                code => panic!("{code} is no code of memcached"),
            }
            return Some(len);
        }
    }
}

/// How long the reply at the head of `inbox` is, which is for one of [`BINARY_KEYS`]; none if not all
/// of it is here.
fn binary_len(inbox: &[u8], raw: &str, encoded: &str, id: &str) -> Option<usize> {
    let text = std::str::from_utf8(inbox).expect("these clients write text");
    let line_end = text.find('\n')?;
    let code = &text[..2];
    let key_at = match code {
        "ME" => Some(3),
        "CL" | "EN" if id.is_empty() => None,
        "CL" => {
            assert!(text.starts_with("CLIENT_ERROR cannot increment"), "{text:?}");
            None
        }
        _ => {
            let token = text.find(&format!(" {id} k")).expect("the reply has its token and a key");
            assert!(token < line_end, "the token stands in the first line");
            Some(token + id.len() + 3)
        }
    };
    let flags = match key_at {
        None => 0,
        Some(at) if text[at..].starts_with(raw) => at + raw.len(),
        Some(at) if raw.starts_with(&text[at..]) => return None,
        Some(at) => {
            assert!(text[at..].starts_with(encoded), "{text:?} is of another key");
            at + encoded.len()
        }
    };
    let end = flags + text[flags..].find("\r\n")? + 2;
    if code != "VA" {
        return Some(end);
    }
    let length: usize = text[3..].split(' ').next().expect("a length").parse().expect("a number");
    text.get(..end + length + 2).map(str::len)
}
