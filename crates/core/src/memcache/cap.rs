//! A request as a gutter server gets it: no item stays there longer than `gutter_ttl`.
//!
//! The one rule: every expiry time of a request is one of at most so many seconds from now. An absolute time
//! becomes a relative one, so the server's clock need not agree with ours. What keeps an item's time needs
//! nothing: `incr`, `decr`, `append`, `prepend`, and a meta request without `T` and `N` that stores nothing.

use super::command::{Grammar, find};
use super::number::{self, Number, Numbers};
use super::version::LINE_MAX;
use super::words::Words;
use super::{Head, LINE_END, Needs};
use crate::message::{Cap, Capped, One, Wire};
use alloc::vec::Vec;
use core::time::Duration;

/// Up to so many seconds, an expiry time is relative (`REALTIME_MAXDELTA`).
const RELATIVE_MAX: u64 = 60 * 60 * 24 * 30;

/// memcached accepts so many words in an `ms` (`MFLAG_MAX_OPT_LENGTH`), and parses the data as commands if there
/// are more.
const SET_WORDS_MAX: usize = 19;

/// The longest line that the proxy sends, without its end.
const LINE_END_MAX: usize = 2047;

const NO_ROOM: &[u8] =
    b"CLIENT_ERROR the request has no room for a T flag, which a gutter server needs\r\n";

/// Where the expiry times of a request are.
enum Times {
    /// There is none.
    None,
    /// In this word.
    Word(usize),
    /// In the flags `T` and `N`, from this word on.
    Flags(usize),
    /// Likewise, and without `T` the item would stay for ever.
    FlagsWithTime(usize),
}

impl Times {
    fn of(command: &[u8]) -> Self {
        let Some(command) = find(command) else { return Self::None };
        match command.grammar {
            Grammar::GetAndTouch => Self::Word(1),
            Grammar::Touch => Self::Word(2),
            // What is appended to keeps its time.
            Grammar::Set | Grammar::Cas | Grammar::Append => Self::Word(3),
            Grammar::Meta(..) => Self::Flags(2),
            Grammar::MetaSet => Self::FlagsWithTime(3),
            Grammar::Get
            | Grammar::OldGet
            | Grammar::Arith
            | Grammar::Delete
            | Grammar::MetaDebug
            | Grammar::Noop
            | Grammar::Version
            | Grammar::Verbosity
            | Grammar::Stats
            | Grammar::FlushAll
            | Grammar::Quit
            | Grammar::Never(_) => Self::None,
        }
    }
}

/// Writes a request for a gutter server, if it has to be another one than it is.
pub fn cap_one(one: &One<'_>, cap: Cap, out: &mut Vec<u8>) -> Capped {
    let mut kept = Vec::new();
    let (line, data) = match one.wire {
        Wire::Verbatim(bytes) | Wire::Rewritten(bytes) => {
            let end = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1);
            let (line, data) = bytes.split_at(end);
            (line.strip_suffix(LINE_END).unwrap_or(line), data)
        }
        Wire::Words { line, keep, data } => {
            line.write(keep, &mut kept);
            (&kept[..], data)
        }
    };
    let Some(word_count) = write_line(line, cap, out) else { return Capped::AsIs };
    if one.needs.meta && (word_count > SET_WORDS_MAX || out.len() > LINE_END_MAX) {
        return Capped::Refused(NO_ROOM);
    }
    let long_line = one.needs.long_line || out.len() + LINE_END.len() > LINE_MAX;
    out.extend_from_slice(LINE_END);
    out.extend_from_slice(data);
    Capped::Rewritten(Needs { long_line, ..one.needs })
}

/// Appends a line with its expiry times capped. Returns how many words it has; none if nothing had to change.
fn write_line(line: &[u8], cap: Cap, out: &mut Vec<u8>) -> Option<usize> {
    let times = Times::of(Words::new(line).next()?);
    let (mut count, mut is_changed, mut has_time) = (0, false, false);
    for (index, word) in Words::new(line).enumerate() {
        let (letter, time) = match times {
            Times::Word(place) if index == place => (&b""[..], word),
            Times::Flags(first) | Times::FlagsWithTime(first)
                if index >= first && matches!(word[0], b'T' | b'N') =>
            {
                has_time |= word[0] == b'T';
                word.split_at(1)
            }
            _ => (word, &b""[..]),
        };
        if index > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(letter);
        match capped(time, cap) {
            Some(number) => {
                number.write(out);
                is_changed = true;
            }
            None => out.extend_from_slice(time),
        }
        count += 1;
    }
    if matches!(times, Times::FlagsWithTime(_)) && !has_time {
        out.extend_from_slice(b" T");
        Number::positive(seconds(cap.ttl)).write(out);
        (count, is_changed) = (count + 1, true);
    }
    is_changed.then_some(count)
}

/// The start of a request of several keys for a gutter server.
pub fn cap_head(head: Head<'_>, cap: Cap) -> Head<'_> {
    let mut words = Words::new(head.text);
    let Some(Times::Word(place)) = words.next().map(Times::of) else { return head };
    let mut plain = Vec::new();
    let word = match (head.numbers.at(place), words.nth(place - 1)) {
        (Some(number), _) => {
            number.write(&mut plain);
            &plain[..]
        }
        (None, word) => word.unwrap_or_default(),
    };
    let place = u8::try_from(place).expect("the fourth word at most");
    match capped(word, cap) {
        Some(number) => Head { numbers: Numbers::one(place, Some(number)), ..head },
        None => head,
    }
}

/// The time in place of an expiry time; none if that may stay, or if no server takes it for one.
fn capped(word: &[u8], cap: Cap) -> Option<Number> {
    let mut plain = Vec::new();
    let word = match number::exptime(word)? {
        None => word,
        Some(number) => {
            number.write(&mut plain);
            &plain
        }
    };
    // It expires at once.
    if word.starts_with(b"-") {
        return None;
    }
    let given = super::words::number(word)?;
    let ttl = seconds(cap.ttl);
    let left = match given {
        0 => ttl,
        1..=RELATIVE_MAX => given.min(ttl),
        at => match at.saturating_sub(cap.wall.as_secs()) {
            0 => return Some(Number::negative(1)),
            left => left.min(ttl),
        },
    };
    (left != given).then(|| Number::positive(left))
}

fn seconds(ttl: Duration) -> u64 {
    ttl.as_secs().clamp(1, RELATIVE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::memcache::parse_request;
    use crate::message::{Parsed, Request};
    use alloc::borrow::ToOwned;
    use alloc::string::String;

    /// It is a million seconds after 1970 and one second more than what is relative.
    const NOW: u64 = 3_592_001;
    const CAP: Cap = Cap { ttl: Duration::from_secs(60), wall: Duration::from_secs(NOW) };

    /// What a gutter server gets for a request.
    fn sent(text: &str) -> String {
        let mut out = Vec::new();
        let parsed = parse_request(text.as_bytes(), 0, &Limits::default());
        match parsed {
            Parsed::Request(Request::One(one), _) => match cap_one(&one, CAP, &mut out) {
                Capped::AsIs => {
                    out.clear();
                    one.wire.write(&mut out);
                }
                Capped::Rewritten(_) => {}
                Capped::Refused(error) => out = error.to_vec(),
            },
            Parsed::Request(Request::Many(many), _) => {
                cap_head(many.head, CAP).write(crate::memcache::Keep::All, &mut out);
                out.push(b' ');
                out.extend_from_slice(many.keys);
                out.extend_from_slice(LINE_END);
            }
            other => panic!("{other:?}"),
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_time_is_at_most_the_cap() {
        for (given, expected) in [
            ("0", "60"),
            ("1", "1"),
            ("60", "60"),
            ("61", "60"),
            ("2592000", "60"),
            // Absolute, and over.
            ("2592001", "-1"),
            ("3592001", "-1"),
            ("3592002", "1"),
            ("3592061", "60"),
            ("3592062", "60"),
            ("2147483647", "60"),
            ("-1", "-1"),
            // As memcached reads it.
            ("4294967295", "-1"),
            ("4294967296", "60"),
            ("+7", "7"),
            ("007", "7"),
        ] {
            for (request, data) in [
                ("set k 7 @ 1", "1\r\n"),
                ("add k 7 @ 1", "1\r\n"),
                ("replace k 7 @ 1", "1\r\n"),
                ("append k 7 @ 1", "1\r\n"),
                ("prepend k 7 @ 1", "1\r\n"),
                ("cas k 7 @ 1 9", "1\r\n"),
                ("touch k @", ""),
                ("gat @ k", ""),
                ("gats @ k", ""),
                ("gat @ k l", ""),
                ("gats @ k l", ""),
            ] {
                let with = |time| request.replace('@', time) + "\r\n" + data;
                assert_eq!(sent(&with(given)), with(expected), "{given}");
            }
        }
    }

    #[test]
    fn meta_flags_with_a_time_are_capped_and_a_stored_item_gets_one() {
        for (given, expected) in [
            ("mg k t v", "mg k t v"),
            ("mg k t T0 N0 v", "mg k t T60 N60 v"),
            ("mg k N30 T-1", "mg k N30 T-1"),
            ("mg k s N", "mg k s N"),
            ("mg k T1x", "mg k T1x"),
            ("ma k", "ma k"),
            ("ma k N0 J5 T90", "ma k N60 J5 T60"),
            ("md k I T900", "md k I T60"),
            ("md k q I T900", "md k I T60"),
            ("ms k 1", "ms k 1 T60"),
            ("ms k 1 T0", "ms k 1 T60"),
            ("ms k 1 T61 F7", "ms k 1 T60 F7"),
            ("ms k 1 T-1", "ms k 1 T-1"),
            ("ms k 1 T5", "ms k 1 T5"),
            ("ms k 1 MA N0", "ms k 1 MA N60 T60"),
            ("ms k 1 q", "ms k 1 T60"),
            ("me k", "me k"),
            ("incr k 1", "incr k 1"),
            ("delete k", "delete k"),
            ("get k", "get k"),
        ] {
            let data = if given.starts_with("ms") { "1\r\n" } else { "" };
            let whole = |line: &str| line.to_owned() + "\r\n" + data;
            assert_eq!(sent(&whole(given)), whole(expected));
        }
    }

    #[test]
    fn a_line_without_room_for_a_time_is_refused() {
        let flags = "b c s t f v I C1 E2 F3 O4 MS N5 Q x y";
        let refused = sent(&("ms k 1 ".to_owned() + flags + "\r\n1\r\n"));
        assert!(refused.starts_with("CLIENT_ERROR"), "{refused}");
        let long = "ms k 1 Z".to_owned() + &"z".repeat(2036);
        assert!(sent(&(long + "\r\n1\r\n")).starts_with("CLIENT_ERROR"));
    }

    #[test]
    fn a_line_that_becomes_too_long_for_old_servers_needs_a_newer_one() {
        let text = "ms k 1 Z".to_owned() + &"z".repeat(1012) + "\r\n1\r\n";
        let limits = Limits::default();
        let parsed = parse_request(text.as_bytes(), 0, &limits);
        let Parsed::Request(Request::One(one), _) = parsed else { panic!() };
        assert!(!one.needs.long_line);
        let capped = cap_one(&one, CAP, &mut Vec::new());
        assert_eq!(capped, Capped::Rewritten(Needs { long_line: true, ..one.needs }));
    }
}
