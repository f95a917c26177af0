//! What clients of Redis send: commands of every kind, right ones and wrong ones.
//!
//! The rule: an innocent client sends only what every Redis from 7.0 on answers in one way; whatever is
//! `odd` is for the fuzzing client alone. Nobody writes to a key without the client's own prefix, and no
//! expiry lies within the length of a test.

use nuthatch_harness::redis::command;

use super::super::script::{self, Key, Kind, Make, Part, Request, Script, Then};
use super::grammar::{
    BEFORE_LEAVING, COMMANDS, EVIL, ODD, OF_ONE_CLIENT, OF_ONE_SERVER, OF_SEVERAL_SERVERS, RAW,
    SCRIPTS,
};
use crate::random::Random;

/// Keys by the letter that stands for them in a command: first and behind the last.
const LETTERS: [(u8, usize, usize); 13] = [
    (b's', 0, 2),
    (b'n', 2, 3),
    (b'h', 3, 5),
    (b'l', 5, 7),
    (b'a', 7, 9),
    (b'i', 9, 10),
    (b'z', 10, 12),
    (b'x', 12, 13),
    (b'g', 13, 14),
    (b'p', 14, 16),
    (b'b', 16, 18),
    (b'k', 0, 18),
    (b'u', 20, 28),
];
/// Keys with the client's prefix as their hash tag; the last ones are odd.
const TAGGED: usize = 20;
const NOT_ODD: usize = 18;

/// As long as the prefix of a key is.
const PREFIX: usize = 9;

/// A script of about so many requests, the same one for the same seed.
pub(in super::super) fn script(kind: Kind, seed: u64, requests: usize) -> Script {
    let mut maker = Maker { kind, random: script::random(kind, seed), keys: keys() };
    let is_resp3 = maker.random.one_in(3);
    let mut script = maker.script(seed, requests);
    if is_resp3 {
        script.greeting = command(["HELLO", "3"]);
    }
    script
}

fn keys() -> Vec<Key> {
    let key = |before: &[u8], after: &[u8]| Key { before: before.to_vec(), after: after.to_vec() };
    let tagged = "sSnhHlLaAizZxgpPbB".bytes();
    let mut keys: Vec<_> = tagged.map(|letter| key(&[letter, b'{'], b"}")).collect();
    keys.push(key(b"\xff\0\r\n{", b"}\r\n*1\r\n"));
    keys.push(key(b"{", &[b"}", &[b'k'; 20_000][..]].concat()));
    // Of many servers: without a tag, or with one that is none.
    let apart = (0..6).map(|nth| key(format!("{nth}u").as_bytes(), b""));
    keys.extend(apart);
    keys.push(key(b"{}", b""));
    keys.push(key(b"{", b""));
    keys
}

struct Maker {
    kind: Kind,
    random: Random,
    keys: Vec<Key>,
}

/// A word of a command.
#[derive(Clone)]
enum Word {
    Raw(Vec<u8>),
    Key(usize),
}

impl Make for Maker {
    fn kind(&self) -> Kind {
        self.kind
    }

    fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    fn keys(&self) -> Vec<Key> {
        self.keys.clone()
    }

    fn request(&mut self) -> Request {
        if self.odd(10) {
            return self.odd_request();
        }
        let mut words = self.words(COMMANDS);
        if self.random.one_in(20) {
            self.mistake_a_key(&mut words);
        }
        if self.odd(20) {
            self.mistake_the_number(&mut words);
        }
        if self.random.one_in(6) {
            self.lower(&mut words);
        }
        if self.odd(15) && self.can_be_inline(&words) {
            return self.inline(&words);
        }
        let mut request = Request::of(self.array(&words));
        if self.odd(60) {
            self.mangle(&mut request.parts);
        }
        request
    }

    fn last(&mut self) -> Request {
        let then = *self.random.pick(&[Then::HalfClose, Then::HalfClose, Then::Leave]);
        match self.random.below(8) {
            0 => Request::raw(command(["QUIT"])),
            1 => Request::raw("quit\r\n"),
            2 => Request { then, ..Request::raw("*3\r\n$3\r\nSET\r\n$1\r\n") },
            3 => Request { then, ..Request::raw("*2\r\n$3\r\nGET\r\n$100\r\nabc") },
            4 => {
                let words = self.words(COMMANDS);
                Request { then, ..Request::of(self.array(&words)) }
            }
            5 => Request { then, ..Request::raw(vec![b'x'; 70_000]) },
            _ => {
                let words = self.words(BEFORE_LEAVING);
                Request { then: Then::Leave, ..Request::of(self.array(&words)) }
            }
        }
    }
}

impl Maker {
    fn odd_request(&mut self) -> Request {
        match self.random.below(8) {
            0..=2 => {
                let words = self.words(ODD);
                Request::of(self.array(&words))
            }
            3 => {
                let words = self.words(OF_SEVERAL_SERVERS);
                Request::of(self.array(&words))
            }
            4 => {
                let words = self.words(OF_ONE_SERVER);
                let reference = Some(vec![Part::Raw(command(["PING", "instead"]))]);
                Request { reference, ..Request::of(self.array(&words)) }
            }
            5 => {
                let words = self.words(OF_ONE_CLIENT);
                let is_harmful = matches!(&words[..], [_, Word::Raw(word), ..]
                    if [&b"KILL"[..], b"PAUSE", b"5", b"TRACKING"].contains(&&word[..]));
                let reference = is_harmful.then(|| vec![Part::Raw(command(["PING", "instead"]))]);
                Request { reference, ..Request::of(self.array(&words)) }
            }
            _ => Request::raw(*self.random.pick(RAW)),
        }
    }

    /// The words of one of the commands.
    fn words(&mut self, commands: &[&str]) -> Vec<Word> {
        let command = *self.random.pick(commands);
        let (once, repeated) = command.split_once(" .. ").unwrap_or((command, ""));
        let most = if self.random.one_in(25) { 200 } else { 4 };
        let times = 1 + self.random.below(most);
        let mut words: Vec<_> = once.split(' ').map(|word| self.word(word)).collect();
        for _ in 0..if repeated.is_empty() { 0 } else { times } {
            words.extend(repeated.split(' ').map(|word| self.word(word)));
        }
        words
    }

    fn word(&mut self, word: &str) -> Word {
        let Some(letter) = word.strip_prefix('%') else {
            return Word::Raw(word.as_bytes().to_vec());
        };
        let bytes = letter.as_bytes();
        if let Some(&(_, first, end)) = LETTERS.iter().find(|(name, ..)| bytes == [*name]) {
            let end = if bytes == b"k" && self.odd(6) { TAGGED } else { end };
            return Word::Key(first + self.random.below(end - first));
        }
        Word::Raw(match letter {
            "v" => self.value(),
            "w" => self.small_value(),
            "m" => self.around_zero(1000),
            "f" => format!("{}", self.random.below(400) as f64 / 8.0 - 20.0).into_bytes(),
            "F" => vec![*self.random.pick(b"abcdefgh")],
            "N" => b"number".to_vec(),
            "t" => (100_000 + self.random.below(100_000_000)).to_string().into_bytes(),
            "e" => self.around_zero(12),
            "o" => self.random.below(3000).to_string().into_bytes(),
            "c" => self.random.below(20).to_string().into_bytes(),
            "c-*" => format!("{}-*", self.random.below(20)).into_bytes(),
            "c-0" => format!("{}-0", self.random.below(20)).into_bytes(),
            "c-%c" => format!("{}-{}", self.random.below(20), self.random.below(20)).into_bytes(),
            "L" => self.random.pick(SCRIPTS).as_bytes().to_vec(),
            "R" => b"return redis.call('EXISTS', KEYS[1]) * 0 + #ARGV[1]".to_vec(),
            _ => panic!("a command has the unknown word {word}"),
        })
    }

    /// A number between `-bound` and `bound`.
    fn around_zero(&mut self, bound: usize) -> Vec<u8> {
        let sign = if self.random.one_in(2) { "-" } else { "" };
        // No "-0", which is no number to Redis.
        format!("{sign}{}", 1 + self.random.below(bound)).into_bytes()
    }

    fn value(&mut self) -> Vec<u8> {
        let len = match self.random.below(2000) {
            0 => *self.random.pick(&[1_000_000, 1_048_577]),
            1..=10 => 60_000 + self.random.below(80_000),
            11..=100 => 2000 + self.random.below(16_000),
            _ => return self.small_value(),
        };
        (0..len).map(|at| b"1023456789abc\r\n$-1 "[at % 19]).collect()
    }

    fn small_value(&mut self) -> Vec<u8> {
        match self.random.below(5) {
            0 => self.random.below(1_000_000).to_string().into_bytes(),
            1 if self.kind == Kind::Fuzzing => self.random.pick(EVIL).to_vec(),
            2 => vec![*self.random.pick(b"abcdefgh")],
            _ => {
                let len = self.random.below(150);
                (0..len).map(|at| b"value\0 \xff\r\n"[at % 10]).collect()
            }
        }
    }

    /// Puts a key of another type in the place of one.
    fn mistake_a_key(&mut self, words: &mut [Word]) {
        let other = self.random.below(NOT_ODD);
        let mut tagged = words.iter_mut().filter(|word| matches!(word, Word::Key(0..TAGGED)));
        if let Some(word) = tagged.next() {
            *word = Word::Key(other);
        }
    }

    /// Too few words, or too many.
    fn mistake_the_number(&mut self, words: &mut Vec<Word>) {
        if self.random.one_in(2) {
            words.truncate(1 + self.random.below(words.len()));
        } else {
            let more: [&[u8]; 5] = [b"", b"x", b"0", b"NX", b"-1"];
            words.push(Word::Raw(self.random.pick(&more).to_vec()));
        }
    }

    fn lower(&mut self, words: &mut [Word]) {
        if let Some(Word::Raw(verb)) = words.first_mut() {
            let first = self.random.below(verb.len());
            verb[first..].make_ascii_lowercase();
        }
    }

    /// Changes or drops one of the bytes that say how long something is.
    fn mangle(&mut self, parts: &mut [Part]) {
        let lengths = parts.iter_mut().filter_map(|part| match part {
            Part::Raw(bytes) if bytes.starts_with(b"$") || bytes.starts_with(b"*") => Some(bytes),
            _ => None,
        });
        let mut lengths: Vec<_> = lengths.collect();
        let nth = self.random.below(lengths.len());
        let len = &mut lengths[nth];
        // Not the last digit: far too long would be waited for for ever.
        match self.random.below(4) {
            0 => len.insert(1, *self.random.pick(b"0+- x")),
            1 => len[0] = *self.random.pick(b"*$:+%"),
            2 => _ = len.pop(),
            _ => len.truncate(1),
        }
    }

    /// The command as client libraries write it.
    fn array(&self, words: &[Word]) -> Vec<Part> {
        let mut parts = vec![Part::Raw(format!("*{}\r\n", words.len()).into_bytes())];
        for word in words {
            let (len, part) = match word {
                Word::Raw(bytes) => (bytes.len(), Part::Raw(bytes.clone())),
                Word::Key(nth) => {
                    let Key { before, after } = &self.keys[*nth];
                    (before.len() + PREFIX + after.len(), Part::Key(*nth))
                }
            };
            parts.push(Part::Raw(format!("${len}\r\n").into_bytes()));
            parts.extend([part, Part::Raw(b"\r\n".to_vec())]);
        }
        parts
    }

    /// Whether the words fit in a line.
    fn can_be_inline(&self, words: &[Word]) -> bool {
        let len = words.iter().map(|word| match word {
            Word::Raw(bytes) => bytes.len(),
            Word::Key(18..20) => 65_536,
            Word::Key(_) => PREFIX,
        });
        len.sum::<usize>() < 8_000
    }

    /// The command as one types it.
    fn inline(&mut self, words: &[Word]) -> Request {
        let mut parts = Vec::new();
        for word in words {
            parts.push(match word {
                Word::Key(nth) => Part::Key(*nth),
                Word::Raw(bytes) => Part::Raw(self.quoted(bytes)),
            });
            let blanks: [&[u8]; 4] = [b" ", b" ", b"  ", b"\t"];
            parts.push(Part::Raw(self.random.pick(&blanks).to_vec()));
        }
        parts.push(Part::Raw(if self.random.one_in(4) { b"\n" } else { &b"\r\n"[..] }.to_vec()));
        Request::of(parts)
    }

    fn quoted(&mut self, bytes: &[u8]) -> Vec<u8> {
        let is_plain = bytes.iter().all(u8::is_ascii_alphanumeric) && !bytes.is_empty();
        if is_plain && !self.random.one_in(4) {
            return bytes.to_vec();
        }
        let mut text = vec![b'"'];
        for &byte in bytes {
            match byte {
                b'\r' => text.extend(b"\\r"),
                b'\n' => text.extend(b"\\n"),
                b'"' | b'\\' => text.extend([b'\\', byte]),
                b' '..=b'~' => text.push(byte),
                _ => text.extend(format!("\\x{byte:02x}").as_bytes()),
            }
        }
        text.push(b'"');
        text
    }
}

#[test]
fn every_word_of_the_commands_is_known() {
    let mut maker = Maker { kind: Kind::Fuzzing, random: Random::new(1), keys: keys() };
    let lists = [COMMANDS, ODD, OF_SEVERAL_SERVERS, OF_ONE_SERVER, OF_ONE_CLIENT, BEFORE_LEAVING];
    for command in lists.concat() {
        assert!(!maker.words(&[command]).is_empty());
    }
}

#[test]
fn keys_have_the_length_that_requests_say() {
    let script = script(Kind::Innocent, 1, 200);
    let cas_ids = std::collections::BTreeMap::new();
    let prefix = format!("{}00", script.owner);
    let names = script::Names { keys: &script.keys, prefix: &prefix, cas_ids: &cas_ids };
    for request in script.batches.iter().flat_map(|batch| &batch.requests) {
        let bytes = names.bytes(&request.parts);
        assert!(super::frame::commands(&bytes).is_some(), "{}", bytes.escape_ascii());
    }
}
