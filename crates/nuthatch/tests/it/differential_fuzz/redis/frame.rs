//! Takes requests and replies of RESP apart.
//!
//! The rule: strict. What is not whole to the last byte, or not written as clients and servers write it,
//! is nothing. Only [`begun`] reads as leniently as Redis does.

/// All commands of `bytes`, each as its words; none if the bytes are anything but whole commands.
pub(in super::super) fn commands(mut bytes: &[u8]) -> Option<Vec<Vec<&[u8]>>> {
    let mut commands = Vec::new();
    while !bytes.is_empty() {
        if bytes[0] != b'*' {
            let end = bytes.iter().position(|&byte| byte == b'\n')?;
            // Redis does not look for the end of a line behind a zero byte: what follows belongs to the line.
            if bytes[..end].contains(&0) {
                return None;
            }
            let words = bytes[..end].split(u8::is_ascii_whitespace);
            commands.push(words.filter(|word| !word.is_empty()).collect());
            bytes = &bytes[end + 1..];
            continue;
        }
        let (line, rest) = line(bytes)?;
        bytes = rest;
        let mut words = Vec::new();
        for _ in 0..number(&line[1..])? {
            let (word, rest) = bulk(bytes)?;
            bytes = rest;
            words.push(word);
        }
        commands.push(words);
    }
    Some(commands)
}

/// An array as far as it has come.
pub(super) struct Begun<'a> {
    /// Its words; the last one may lack its end.
    pub(super) words: Vec<&'a [u8]>,
    /// Whether all of its words have begun.
    pub(super) has_all: bool,
    /// The last line of a number, whether it is one or not.
    pub(super) line: &'a [u8],
}

/// The array that `bytes` begin with, as Redis reads it: the line of a number ends with a carriage return and any
/// byte, a word with any two bytes.
pub(super) fn begun(bytes: &[u8]) -> Begun<'_> {
    let (mut words, mut due, mut line, mut rest) = (Vec::new(), None, &b""[..], bytes);
    while due != Some(0) && !rest.is_empty() {
        let end = rest.iter().position(|&byte| byte == b'\r').unwrap_or(rest.len());
        line = &rest[..end];
        rest = rest.get(end + 2..).unwrap_or_default();
        let kind = if due.is_none() { b'*' } else { b'$' };
        let Some(len) = line.strip_prefix(&[kind]).and_then(number) else { break };
        due = match due {
            None => Some(len),
            Some(due) => {
                words.push(&rest[..len.min(rest.len())]);
                rest = rest.get(len + 2..).unwrap_or_default();
                Some(due - 1)
            }
        };
    }
    Begun { words, has_all: due == Some(0), line }
}

/// A reply with its parts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Reply {
    /// The line that begins it, and the bytes of a string.
    pub(super) head: Vec<u8>,
    pub(super) parts: Vec<Self>,
}

impl Reply {
    /// The one reply that `bytes` are; none if they are anything else.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (reply, rest) = Self::take(bytes)?;
        rest.is_empty().then_some(reply)
    }

    /// The reply at the beginning, and what follows it.
    pub(super) fn take(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (first, mut rest) = line(bytes)?;
        let (kind, len) = first.split_first()?;
        match (kind, number(len)) {
            (b'$' | b'!' | b'=', Some(_)) => rest = bulk(bytes)?.1,
            (b'*' | b'~' | b'>' | b'%', Some(count)) => {
                let mut parts = Vec::new();
                for _ in 0..count * if *kind == b'%' { 2 } else { 1 } {
                    let (part, behind) = Self::take(rest)?;
                    rest = behind;
                    parts.push(part);
                }
                return Some((Self { head: [first, b"\r\n"].concat(), parts }, rest));
            }
            (b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' | b'$' | b'*', _) => {}
            _ => return None,
        }
        let head = bytes[..bytes.len() - rest.len()].to_vec();
        Some((Self { head, parts: vec![] }, rest))
    }

    /// The bytes it was made of.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.parts.iter().fold(self.head.clone(), |mut bytes, part| {
            bytes.extend(part.bytes());
            bytes
        })
    }
}

/// The line at the beginning, and what follows it.
fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.windows(2).position(|two| two == b"\r\n")?;
    Some((&bytes[..end], &bytes[end + 2..]))
}

/// The bulk string at the beginning, and what follows it.
fn bulk(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (first, rest) = line(bytes)?;
    let len = number(first.get(1..)?)?;
    let is_whole = matches!(first[0], b'$' | b'!' | b'=') && rest.get(len..len + 2)? == b"\r\n";
    is_whole.then(|| (&rest[..len], &rest[len + 2..]))
}

/// A number as Redis writes it: no sign, no zero ahead of it.
pub(super) fn number(digits: &[u8]) -> Option<usize> {
    let is_short = digits.len() == 1 || digits.first() != Some(&b'0');
    let is_digits = digits.iter().all(u8::is_ascii_digit) && digits.len() < 10;
    str::from_utf8(digits).ok().filter(|_| is_short && is_digits)?.parse().ok()
}

#[test]
fn only_whole_commands_are_commands() {
    let parts = |text: &'static str| commands(text.as_bytes());
    assert_eq!(parts("*1\r\n$4\r\nPING\r\n"), Some(vec![vec![&b"PING"[..]]]));
    assert_eq!(parts("GET  a\r\n"), Some(vec![vec![&b"GET"[..], b"a"]]));
    assert_eq!(parts("*0\r\n"), Some(vec![vec![]]));
    assert_eq!(parts("GET a\n\n"), Some(vec![vec![&b"GET"[..], b"a"], vec![]]));
    let not_whole = ["*1\r\n$4\r\nPING\r", "GET a", "GET a\0\r\n"];
    for broken in [&not_whole[..], &["*1\r\n$3\r\nPING\r\n", "*01\r\n$4\r\nPING\r\n"]].concat() {
        assert_eq!(parts(broken), None, "{broken}");
    }
}

#[test]
fn an_array_that_has_begun_is_read_as_redis_reads_it() {
    let whole = |text: &'static str| {
        let begun = begun(text.as_bytes());
        begun.has_all.then_some(begun.words)
    };
    assert_eq!(whole("*2\r\n$3\r\nGET\r\n$1\r\na\r\n"), Some(vec![&b"GET"[..], b"a"]));
    assert_eq!(whole("*2\r\n$3\r\nGETxy$0\r\r\n"), Some(vec![&b"GET"[..], b""]));
    assert_eq!(whole("*2\r\n$3\r\nGET\r\n$9\r\nabc\r\n"), Some(vec![&b"GET"[..], b"abc\r\n"]));
    for (broken, line) in [
        ("*2\r\n$3\r\nGET\r\n", "$3"),
        ("*2\r\n$03\r\nGET\r\n$1\r\na\r\n", "$03"),
        ("*1\r\n*3\r\nGET\r\n", "*3"),
        ("*1\r\n$xyz", "$xyz"),
        ("GET a\r\n", "GET a"),
        ("*7\r\n", "*7"),
    ] {
        assert_eq!(whole(broken), None, "{broken}");
        assert_eq!(begun(broken.as_bytes()).line, line.as_bytes(), "{broken}");
    }
}

#[test]
fn a_reply_is_parsed_into_the_bytes_it_was_made_of() {
    let text = "*3\r\n%1\r\n+a\r\n~1\r\n:1\r\n$2\r\n\r\n\r\n$-1\r\n";
    let reply = Reply::parse(text.as_bytes()).unwrap();
    assert_eq!(reply.parts.len(), 3);
    assert_eq!(reply.bytes(), text.as_bytes());
    assert_eq!(Reply::parse(b"*1\r\n"), None);
    assert_eq!(Reply::parse(b"+OK\r\n+OK\r\n"), None);
}
