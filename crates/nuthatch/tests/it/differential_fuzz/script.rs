//! What one client will send, as data: a script can be played again, printed, and made smaller.
//!
//! The rule: a script names keys and cas ids by number. The bytes are made when a script is played,
//! since a cas id is the server's own, and a client whose cache may differ on the two sides goes on
//! with new keys.

use std::collections::BTreeMap;

use crate::random::Random;

/// A key: the client's prefix, and what stands around it.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) before: Vec<u8>,
    pub(super) after: Vec<u8>,
}

/// The first of these may stand in a plain line.
pub(super) const PLAIN_KEYS: usize = 7;
/// The first of those that an innocent client does not use, in either part.
pub(super) const ODD_PLAIN_KEYS: usize = 4;
pub(super) const ODD_CODED_KEYS: usize = 10;

pub(super) fn keys() -> Vec<Key> {
    let key = |before: &[u8], after: &[u8]| Key { before: before.to_vec(), after: after.to_vec() };
    vec![
        key(b"", b""),
        key(b"", b"-b"),
        key(b"n:", b""),
        key(b"\xc3\xa9{", b"}\xff"),
        // The prefix has nine bytes: these are as long as a key may be, and one byte longer.
        key(&[b'k'; 241], b""),
        key(b"\x01", b"\x7f\t"),
        key(&[b'k'; 242], b""),
        // Only in base64 from here on.
        key(b"a b", b""),
        key(b"\xff\xfe", b"\0"),
        key(b"\r\n", b"\r\n"),
        key(b"\r\nVALUE ", b" 0 5\r\nEVIL!\r\nEND\r\n"),
        key(b"\0", b" exp=-1 la=0 cas=1 fetch=no cls=1 size=60\r\n"),
        key(b"HD\r\n", b"\r\nSTORED\r\n"),
        // 186 bytes, 248 in base64, and one group more than a key may have.
        key(&[b'\n'; 177], b""),
        key(&[b'\n'; 180], b""),
    ]
}

/// A cas id that no server has given to an item yet.
const UNSEEN: &[u8] = b"4000000000";

/// One piece of a request.
#[derive(Debug, Clone)]
pub(super) enum Part {
    Raw(Vec<u8>),
    /// The key of this number, as it is.
    Key(usize),
    /// The key of this number in base64.
    Coded(usize, Spelling),
    /// The cas id that was seen last for the key of this number.
    Cas(usize),
}

/// How base64 is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    Canonical,
    /// Bits that mean nothing are set.
    LooseBits,
    /// A byte that is no base64 stands in the middle.
    Junk,
    Unpadded,
    PaddedInside,
}

/// What follows a request, the last one of its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    GoOn,
    /// The client says that it will send no more, and reads to the end.
    HalfClose,
    /// The client goes away with whatever it did not read.
    Leave,
}

/// One request, or what is sent in the place of one.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) parts: Vec<Part>,
    /// What the plain server is asked instead: the same question in a form that memcached takes
    /// however its bytes arrive, or that does no harm to other clients.
    pub(super) reference: Option<Vec<Part>>,
    pub(super) then: Then,
}

impl Request {
    pub(super) fn of(parts: Vec<Part>) -> Self {
        Self { parts, reference: None, then: Then::GoOn }
    }

    /// This, and the plain server is asked something else.
    pub(super) fn raw_but(bytes: impl Into<Vec<u8>>, reference: impl Into<Vec<u8>>) -> Self {
        Self { reference: Some(vec![Part::Raw(reference.into())]), ..Self::raw(bytes) }
    }

    /// What the plain server is asked.
    pub(super) fn reference(&self) -> &[Part] {
        self.reference.as_ref().unwrap_or(&self.parts)
    }

    pub(super) fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self::of(vec![Part::Raw(bytes.into())])
    }
}

/// How the bytes of a batch are cut into writes.
#[derive(Debug, Clone)]
pub(super) enum Cutting {
    Whole,
    At(Vec<usize>),
    EachByte,
}

/// Requests that are sent without waiting for a reply.
#[derive(Debug, Clone)]
pub(super) struct Batch {
    pub(super) requests: Vec<Request>,
    pub(super) cutting: Cutting,
}

/// All that one client sends.
#[derive(Debug, Clone)]
pub(super) struct Script {
    pub(super) keys: Vec<Key>,
    pub(super) batches: Vec<Batch>,
    /// Part of every key, and of nobody else's.
    pub(super) owner: String,
    /// What is sent first on each connection, if anything.
    pub(super) greeting: Vec<u8>,
}

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Innocent,
    Fuzzing,
}

/// The choices of a script.
pub(super) fn random(kind: Kind, seed: u64) -> Random {
    let salt = if kind == Kind::Innocent { 0x5eed } else { 0 };
    Random::new(seed.wrapping_mul(0x1_0001) ^ salt)
}

/// As many requests as a batch has at most.
const BATCH_MAX: usize = 100;

/// Makes the requests of one protocol.
pub(super) trait Make {
    fn kind(&self) -> Kind;
    fn random(&mut self) -> &mut Random;
    fn keys(&self) -> Vec<Key>;
    fn request(&mut self) -> Request;
    /// What ends a connection, or may.
    fn last(&mut self) -> Request;

    /// True one time in `n`, for a fuzzing client.
    fn odd(&mut self, n: usize) -> bool {
        self.kind() == Kind::Fuzzing && self.random().one_in(n)
    }

    /// A script of about so many requests.
    fn script(&mut self, seed: u64, requests: usize) -> Script {
        let letter = if self.kind() == Kind::Innocent { 'i' } else { 'f' };
        let owner = format!("{letter}{seed:06}");
        let mut script = Script { keys: self.keys(), batches: vec![], owner, greeting: vec![] };
        let mut count = 0;
        while count < requests {
            let len = match self.random().below(4) {
                0 => 1,
                1 | 2 => 1 + self.random().below(12),
                _ => 1 + self.random().below(BATCH_MAX.min(requests)),
            };
            let batch = self.batch(len);
            count += batch.requests.len();
            script.batches.push(batch);
        }
        script
    }

    fn batch(&mut self, len: usize) -> Batch {
        let mut requests: Vec<_> = (0..len).map(|_| self.request()).collect();
        if self.odd(12) {
            requests.push(self.last());
        }
        let random = self.random();
        let cutting = match random.below(20) {
            0..=3 => Cutting::At((0..3).map(|_| random.below(3000)).collect()),
            4..=6 => Cutting::At((0..3).map(|_| random.below(60)).collect()),
            7 => Cutting::EachByte,
            _ => Cutting::Whole,
        };
        Batch { requests, cutting }
    }
}

/// Makes bytes of parts for one side.
pub(super) struct Names<'a> {
    pub(super) keys: &'a [Key],
    pub(super) prefix: &'a str,
    pub(super) cas_ids: &'a BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Names<'_> {
    pub(super) fn bytes(&self, parts: &[Part]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for part in parts {
            match part {
                Part::Raw(raw) => bytes.extend(raw),
                Part::Key(key) => bytes.extend(self.key(*key)),
                Part::Coded(key, spelling) => bytes.extend(base64(&self.key(*key), *spelling)),
                Part::Cas(key) => {
                    bytes.extend(self.cas_ids.get(&self.key(*key)).map_or(UNSEEN, |id| id));
                }
            }
        }
        bytes
    }

    fn key(&self, number: usize) -> Vec<u8> {
        let Key { before, after } = &self.keys[number];
        [before, self.prefix.as_bytes(), after].concat()
    }
}

/// The letters of base64 in the order of their values.
pub(super) const LETTERS: &[u8; 64] =
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// RFC 4648, and the ways to write it wrongly.
fn base64(bytes: &[u8], spelling: Spelling) -> Vec<u8> {
    let mut text = Vec::new();
    for chunk in bytes.chunks(3) {
        let word = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = word(0) << 16 | word(1) << 8 | word(2);
        let letter = |shift: u32| LETTERS[(bits >> shift & 63) as usize];
        let four = [letter(18), letter(12), letter(6), letter(0)];
        text.extend(&four[..=chunk.len()]);
        text.extend(vec![b'='; 3 - chunk.len()]);
    }
    let content = text.iter().position(|&byte| byte == b'=').unwrap_or(text.len());
    match spelling {
        Spelling::LooseBits if content < text.len() => {
            let last = LETTERS.iter().position(|&letter| letter == text[content - 1]);
            text[content - 1] = LETTERS[last.expect("a letter") | 1];
        }
        Spelling::Junk => text.insert(text.len() / 2, b'!'),
        Spelling::Unpadded => text.truncate(content),
        // Behind the key: a part of it would be a key of others, too.
        Spelling::PaddedInside => text.extend(b"=AAA"),
        Spelling::Canonical | Spelling::LooseBits => {}
    }
    text
}

#[test]
fn base64_is_that_of_the_standard() {
    let canonical = |text: &str| base64(text.as_bytes(), Spelling::Canonical);
    assert_eq!(canonical("foobar"), b"Zm9vYmFy");
    assert_eq!(canonical("fooba"), b"Zm9vYmE=");
    assert_eq!(canonical("foob"), b"Zm9vYg==");
    assert_eq!(base64(b"foob", Spelling::LooseBits), b"Zm9vYh==");
}
