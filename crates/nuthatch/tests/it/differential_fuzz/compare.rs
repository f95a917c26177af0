//! Whether an answer is that of memcached: what is masked before the comparison, and the table of
//! differences that `docs/protocol.md` lists.
//!
//! The rule: a difference is accepted only by a rule of the table, a rule names the row of the
//! document that it stands for, and a test looks for the row. Masked is only what two healthy
//! servers may say differently:
//!
//! - a cas id of `gets` and `gats` becomes the number of the version of its key, in the order in
//!   which the client saw them; that behind `c` in a meta reply becomes `c#`,
//! - seconds: `t` and `l` of meta replies, but not `t-1`; `exp` and `la` of `me`; and its `cas`.

use std::collections::BTreeMap;

use super::script::LETTERS;
use super::verdict::{Answer, Case, Ended, Rule, Verdict, rule};

pub(super) static RULES: [Rule; 16] = [
    rule("NUL or carriage return", "| NUL or carriage return in a key or a flag |", |case| {
        case.ours_is(BAD_LINE) && case.first_line().ends_early()
    }),
    rule("wrong storage line", "| a storage line that is wrong but has a length |", |case| {
        case.stores() && case.ours_is_one_error() && case.plain_is_error()
    }),
    rule("wrong line, wrong data", "| a storage line that is wrong but has a length |", |case| {
        // What is too much of the data is read as the next request; what is missing is taken from it.
        // To `noreply`, the plain server says nothing before it runs the data as commands.
        case.stores()
            && (case.plain_is_error() || case.is_quiet())
            && !case.has_whole_data()
            && case.ours.lines().next().is_some_and(is_error)
    }),
    rule("silent wrong storage line", "| `set a x 0 1 noreply\\r\\n1` | nothing |", |case| {
        // Whatever the plain server says: to the line, or to the data that it runs as commands.
        case.stores() && case.is_quiet() && case.ours.is("")
    }),
    rule("no length", "| a storage line without a readable length |", |case| {
        case.stores() && case.ours_ends_with_error()
    }),
    rule("quiet ma that creates", "| `ma` with `q` that creates its number |", |case| {
        case.verb() == b"ma"
            && case.ours.is("")
            && (case.plain.bytes.starts_with(b"HD") || case.plain.bytes.starts_with(b"VA "))
    }),
    rule("forgotten replies", "| a reply before a key that is too long |", |case| {
        case.verb() == b"get"
            && case.ours.bytes.ends_with(&case.plain.bytes)
            && case.plain.is("CLIENT_ERROR bad command line format\r\n")
    }),
    rule(
        "forgotten before a browser",
        "| a reply before a line that ends in `HTTP/1.1` |",
        |case| {
            case.plain.bytes.is_empty()
                && [case.plain.ended, case.ours.ended] == [Ended::Closed; 2]
                && case.ours.is_one_error()
                && case.request.windows(6).any(|bytes| bytes == b" HTTP/" || bytes == b"\nHTTP/")
        },
    ),
    rule("flush_all", "| `flush_all` | refused unless allowed |", |case| {
        case.verb() == b"flush_all" && case.ours_is_one_error()
    }),
    rule("stats", "| `stats` | the figures of the proxy |", |case| {
        case.verb() == b"stats"
            && case.ours.ended == Ended::Open
            && case.ours.lines().all(|line| line.starts_with(b"STAT ") || line == b"END")
    }),
    rule(
        "long line",
        "| `delete <2048 bytes>` | `CLIENT_ERROR line too long` | closes |",
        |case| {
            // A request that ends within a line makes a long one of that and what follows it.
            case.ours.bytes.ends_with(b"CLIENT_ERROR line too long\r\n")
                && case.ours.ended == Ended::Closed
                && (case.first_line().0.len() >= 2048 || !case.request.ends_with(b"\n"))
        },
    ),
    rule("refused but touched", "| `gat` with a key that is too long |", |case| {
        matches!(case.verb(), b"gat" | b"gats") && case.ours_is(BAD_LINE)
    }),
    rule("refused but done", "| `mg` or `ma` with an opaque token that is too long |", |case| {
        matches!(case.verb(), b"mg" | b"ma") && case.other_words(OPAQUE_TOO_LONG)
    }),
    rule("long opaque", "| `mg a O<32 bytes>` | `CLIENT_ERROR opaque token too long` |", |case| {
        case.other_words(OPAQUE_TOO_LONG)
    }),
    rule("duplicate flag", "| `mg a q q` | `CLIENT_ERROR duplicate flag` |", |case| {
        case.other_words("CLIENT_ERROR duplicate flag")
    }),
    rule("wrong flag", "| `mg a f\\x00` | `CLIENT_ERROR invalid flag` |", |case| {
        case.other_words("CLIENT_ERROR invalid flag")
    }),
];

const BAD_LINE: &str = "CLIENT_ERROR bad command line format";
const OPAQUE_TOO_LONG: &str = "CLIENT_ERROR opaque token too long";

impl Case<'_> {
    pub(super) fn judge(&self) -> Verdict {
        // The same error, but memcached has done what it refuses: the items may differ.
        let touches = matches!(self.verb(), b"gat" | b"gats") && self.ours_is(BAD_LINE);
        if self.plain == self.ours && !touches && !self.ours_is(OPAQUE_TOO_LONG) {
            return Verdict::Same;
        }
        self.judge_by(&RULES)
    }

    pub(super) fn verb(&self) -> &[u8] {
        self.first_line().words().next().unwrap_or_default()
    }

    /// What makes two differences the same one to whoever reads a report.
    pub(super) fn signature(&self) -> String {
        let shape = |answer: &Answer| {
            let line = answer.lines().next().unwrap_or_default();
            let errs = [&b"CLIENT_ERROR"[..], b"SERVER_ERROR", b"ERROR"];
            let len = match errs.iter().any(|err| line.starts_with(err)) {
                true => line.len(),
                false => line.iter().position(|&byte| byte == b' ').unwrap_or(line.len()),
            };
            let more = if answer.lines().count() > 1 { " and more" } else { "" };
            format!("{}{more} {:?}", line[..len.min(60)].escape_ascii(), answer.ended)
        };
        if self.ours.bytes.is_empty() && self.ours.ended == Ended::Closed {
            return "ours closes without the answer that is due".to_owned();
        }
        let verb = self.verb();
        let verb = verb[..verb.len().min(10)].escape_ascii();
        format!("{verb}: plain {}, ours {}", shape(self.plain), shape(self.ours))
    }

    fn first_line(&self) -> Line<'_> {
        let end = self.request.iter().position(|&byte| byte == b'\n');
        let line = &self.request[..end.unwrap_or(self.request.len())];
        Line(line.strip_suffix(b"\r").unwrap_or(line))
    }

    fn stores(&self) -> bool {
        let verbs: [&[u8]; 7] = [b"set", b"add", b"replace", b"append", b"prepend", b"cas", b"ms"];
        verbs.contains(&self.verb())
    }

    /// Whether the data block is as long as the line says, and ends as it must.
    fn has_whole_data(&self) -> bool {
        let place = if self.verb() == b"ms" { 2 } else { 4 };
        let len = self.first_line().words().nth(place).and_then(number);
        let start = self.request.iter().position(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        let data = &self.request[start..];
        len.is_some_and(|len| data.len() == len + 2) && data.ends_with(b"\r\n")
    }

    fn is_quiet(&self) -> bool {
        self.first_line().words().any(|word| word == b"noreply")
    }

    fn ours_is(&self, line: &str) -> bool {
        self.ours.lines().eq([line.as_bytes()]) && self.ours.ended == Ended::Open
    }

    fn ours_is_one_error(&self) -> bool {
        self.ours.is_one_error() && self.ours.ended == Ended::Open
    }

    fn ours_ends_with_error(&self) -> bool {
        self.ours.is_one_error() && self.ours.ended == Ended::Closed
    }

    fn plain_is_error(&self) -> bool {
        // Data that is run as a command may end the connection, and the error is then forgotten.
        let is_forgotten = self.plain.bytes.is_empty() && self.plain.ended == Ended::Closed;
        is_forgotten || self.plain.lines().next().is_some_and(is_error)
    }

    /// Both refuse, and ours says it in the words of the document.
    fn other_words(&self, text: &str) -> bool {
        self.ours_is(text) && self.plain.is_one_error()
    }
}

impl Answer {
    fn is(&self, text: &str) -> bool {
        self.bytes == text.as_bytes() && self.ended == Ended::Open
    }

    fn lines(&self) -> impl Iterator<Item = &[u8]> {
        let whole = self.bytes.strip_suffix(b"\r\n").unwrap_or(&self.bytes);
        let lines = whole.split(|&byte| byte == b'\n').filter(|_| !self.bytes.is_empty());
        lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line))
    }

    fn is_one_error(&self) -> bool {
        self.lines().count() == 1 && self.lines().all(is_error)
    }
}

fn is_error(line: &[u8]) -> bool {
    let beginnings = [&b"ERROR"[..], b"CLIENT_ERROR ", b"SERVER_ERROR "];
    beginnings.iter().any(|beginning| line.starts_with(beginning))
}

/// The line of a request.
struct Line<'a>(&'a [u8]);

impl<'a> Line<'a> {
    fn words(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.0.split(|&byte| byte == b' ').filter(|word| !word.is_empty())
    }

    /// Whether some memcached sees another end of a word or of the line.
    fn ends_early(&self) -> bool {
        self.0.iter().any(|byte| [0, b'\r'].contains(byte))
    }
}

/// Masks the answers of one side to one client.
#[derive(Debug, Default)]
pub(super) struct Mask {
    /// The cas ids seen for each key, in order.
    versions: BTreeMap<Vec<u8>, Vec<Vec<u8>>>,
    /// The last one of each key, to be asked with.
    pub(super) cas_ids: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Mask {
    pub(super) fn answer(&mut self, bytes: &[u8], ended: Ended) -> Answer {
        let mut masked = Vec::with_capacity(bytes.len());
        let mut rest = bytes;
        while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
            let (line, behind) = (&rest[..end], &rest[end + 2..]);
            let words: Vec<_> = line.split(|&byte| byte == b' ').collect();
            let data = match words[..] {
                [b"VALUE", _, _, len] => number(len),
                [b"VALUE", key, _, len, cas] => {
                    let version = self.version(key, cas);
                    masked.extend(words[..4].join(&b' '));
                    masked.extend(format!(" cas {version}\r\n").as_bytes());
                    rest = &behind[take(behind, number(len), &mut masked)..];
                    continue;
                }
                [b"VA", len, ..] => number(len),
                _ => None,
            };
            // A key with a line end leaves them a line of their own.
            let is_me = words.iter().any(|word| word.starts_with(b"la="));
            let first = if is_me { b"ME" } else { words[0] };
            let mut words: Vec<_> = words.iter().map(|word| mask(first, word)).collect();
            if let (b"ME", Some(key)) = (first, words.get_mut(1)) {
                *key = decoded(key).unwrap_or_else(|| key.clone());
            }
            masked.extend(words.join(&b' '));
            masked.extend(b"\r\n");
            rest = &behind[take(behind, data, &mut masked)..];
        }
        masked.extend(rest);
        Answer { bytes: masked, ended }
    }

    fn version(&mut self, key: &[u8], cas: &[u8]) -> usize {
        self.cas_ids.insert(key.to_vec(), cas.to_vec());
        let versions = self.versions.entry(key.to_vec()).or_default();
        versions.iter().position(|seen| seen == cas).unwrap_or_else(|| {
            versions.push(cas.to_vec());
            versions.len() - 1
        })
    }
}

/// What a key in base64 is; none if this is none. `me` shows a key as the item remembers it, and an item
/// that memcached makes anew to count forgets that its key is binary: see `mask`.
fn decoded(text: &[u8]) -> Option<Vec<u8>> {
    let content = text.strip_suffix(b"=").unwrap_or(text);
    let content = content.strip_suffix(b"=").unwrap_or(content);
    let place = |byte: &u8| LETTERS.iter().position(|letter| letter == byte);
    let bits: Vec<_> = content.iter().map(place).collect::<Option<_>>()?;
    let is_whole = text.len().is_multiple_of(4) && !text.is_empty();
    let bit = |nth: usize| u8::from(bits[nth / 6] >> (5 - nth % 6) & 1 == 1);
    let byte = |nth: usize| (0..8).fold(0, |byte, at| byte << 1 | bit(8 * nth + at));
    is_whole.then(|| (0..bits.len() * 6 / 8).map(byte).collect())
}

/// Copies a data block with its line end, if there is one.
fn take(bytes: &[u8], len: Option<usize>, to: &mut Vec<u8>) -> usize {
    let len = len.map_or(0, |len| (len + 2).min(bytes.len()));
    to.extend(&bytes[..len]);
    len
}

fn mask(first: &[u8], word: &[u8]) -> Vec<u8> {
    let is_number = |digits: &[u8]| !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    match (first, word) {
        (
            // The first word is none where a key with a line end has ended the line before.
            b"HD" | b"VA" | b"EN" | b"NF" | b"NS" | b"EX" | b"",
            // Whether an item was fetched (`h`, `fetch`) memcached forgets when it makes the item anew to
            // count, which depends on who reads it at that moment.
            [letter @ (b't' | b'l' | b'c' | b'h'), digits @ ..],
        ) if is_number(digits) => {
            vec![*letter, b'#']
        }
        (b"ME", word) => {
            let names = [&b"exp="[..], b"la=", b"cas=", b"fetch="];
            let name = names.into_iter().find(|name| word.starts_with(name));
            name.map_or_else(|| word.to_vec(), <[u8]>::to_vec)
        }
        _ => word.to_vec(),
    }
}

fn number(digits: &[u8]) -> Option<usize> {
    str::from_utf8(digits).ok()?.parse().ok()
}

#[test]
fn a_listed_difference_stands_in_the_documents() {
    let document = include_str!("../../../../../docs/protocol.md");
    let sentences = document.replace('\n', " ");
    for rule in &RULES {
        let is_there = document.contains(rule.row) || sentences.contains(rule.row);
        assert!(is_there, "{}: docs/protocol.md has no row {:?}", rule.name, rule.row);
    }
}

#[test]
fn an_answer_that_no_row_lists_is_a_difference() {
    let answer = |text: &str, ended| Mask::default().answer(text.as_bytes(), ended);
    let judge = |request: &str, plain: &str, ours: &str| {
        let (plain, ours) = (answer(plain, Ended::Open), answer(ours, Ended::Open));
        Case { request: request.as_bytes(), plain: &plain, ours: &ours }.judge()
    };
    assert_eq!(judge("get a\r\n", "END\r\n", "END\r\n"), Verdict::Same);
    assert_eq!(judge("get a\r\n", "END\r\n", "ERROR\r\n"), Verdict::Different);
    assert_eq!(judge("get a\r\n", "END\r\n", ""), Verdict::Different);
    assert_eq!(judge("get a\r\n", "END\r\n", "END\r\nEND\r\n"), Verdict::Different);
    assert_eq!(judge("set a 0 0 1\r\nx\r\n", "STORED\r\n", "ERROR\r\n"), Verdict::Different);
    assert_eq!(judge("mg a v\r\n", "VA 1\r\nx\r\n", "VA 1\r\ny\r\n"), Verdict::Different);
    let (x, y) = ("VALUE a 0 1 7\r\nx\r\n", "VALUE a 0 1 8\r\nx\r\n");
    assert_eq!(judge("gets a\r\n", x, y), Verdict::Same);
    assert_eq!(judge("gets a a\r\n", &format!("{x}{x}"), &format!("{x}{y}")), Verdict::Different);
    assert_eq!(judge("mg a t\r\n", "HD t9\r\n", "HD t8\r\n"), Verdict::Same);
    assert_eq!(judge("me a\r\n", "ME Zm9vOmI= size=1\r\n", "ME foo:b size=1\r\n"), Verdict::Same);
    assert_eq!(
        judge("me a\r\n", "ME Zm9vOmI= size=1\r\n", "ME foo:l size=1\r\n"),
        Verdict::Different
    );
    assert_eq!(judge("mg a t\r\n", "HD t-1\r\n", "HD t8\r\n"), Verdict::Different);
    let wrong = "CLIENT_ERROR bad command line format\r\n";
    let twice = format!("{wrong}ERROR\r\n");
    assert_eq!(judge("set a x 0 1\r\nx\r\n", &twice, wrong), Verdict::Listed);
    assert_eq!(judge("set a x 0 1\r\nx\r\n", &twice, "STORED\r\n"), Verdict::Different);
}
