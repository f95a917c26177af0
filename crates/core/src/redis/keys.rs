//! Which arguments of a request are keys.
//!
//! The one rule: what can't be told for certain is not a key. A request whose keys can't be found is one
//! that every server refuses, so any server may refuse it.

use super::arguments::Arguments;
use super::command::Keys;
use super::frame::integer;

/// The keys of a request, one after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct KeyList<'a> {
    /// From the next key on.
    arguments: Arguments<'a>,
    /// How many of these arguments may still be keys.
    span: usize,
    /// From a key to the next.
    step: usize,
    /// A key that stands apart from the others.
    apart: Option<&'a [u8]>,
}

impl<'a> KeyList<'a> {
    /// The keys of a request, of which `arguments` are all but the name. None if they can't be found.
    pub fn find(keys: Keys, arguments: Arguments<'a>) -> Option<Self> {
        match keys {
            Keys::None => Some(Self::default()),
            Keys::Range { first, last, step } => Self::range(arguments, first, last, step),
            Keys::Counted { count, stores } => {
                let mut list =
                    Self::counted(arguments, count).filter(|list| list.span > 0 || stores)?;
                list.apart = arguments.clone().next().filter(|_| stores);
                Some(list)
            }
            Keys::Script => Self::counted(arguments, 2),
            Keys::Pairs => Self::pairs(arguments),
            Keys::Streams => Self::streams(arguments),
            Keys::Store => Self::with_destination(arguments),
        }
    }

    /// `count` arguments from the one at `first` on; the name is at 0.
    fn at(mut arguments: Arguments<'a>, first: usize, span: usize, step: usize) -> Option<Self> {
        for _ in 1..first {
            arguments.next()?;
        }
        (span <= arguments.len()).then_some(Self { arguments, span, step, apart: None })
    }

    fn range(arguments: Arguments<'a>, first: u16, last: i16, step: u16) -> Option<Self> {
        let (all, first) = (arguments.len(), usize::from(first));
        if first == 0 {
            return Some(Self::default());
        }
        let last = match usize::try_from(last) {
            Ok(last) => last,
            Err(_) => (all + 1).checked_sub(usize::from(last.unsigned_abs()))?,
        };
        let span = (last + 1).checked_sub(first).filter(|span| *span > 0)?;
        Self::at(arguments, first, span, usize::from(step).max(1))
    }

    /// The argument at `place` is the number of keys, which follow.
    fn counted(arguments: Arguments<'a>, place: u8) -> Option<Self> {
        let place = usize::from(place);
        let number = arguments.clone().nth(place - 1)?;
        let number = usize::try_from(integer(number)?).ok()?;
        Self::at(arguments, place + 1, number, 1)
    }

    fn pairs(arguments: Arguments<'a>) -> Option<Self> {
        let number = usize::try_from(integer(arguments.clone().next()?)?).ok()?;
        Self::at(arguments, 2, number.checked_mul(2)?, 2).filter(|_| number > 0)
    }

    fn streams(arguments: Arguments<'a>) -> Option<Self> {
        let mut rest = arguments;
        loop {
            if rest.next()?.eq_ignore_ascii_case(b"streams") {
                let all = rest.len();
                let is_even = all > 0 && all.is_multiple_of(2);
                return is_even.then_some(Self {
                    arguments: rest,
                    span: all / 2,
                    step: 1,
                    apart: None,
                });
            }
        }
    }

    fn with_destination(arguments: Arguments<'a>) -> Option<Self> {
        let mut list = Self::at(arguments, 1, 1, 1)?;
        let mut rest = arguments;
        rest.next();
        while let Some(word) = rest.next() {
            let stores = [&b"store"[..], b"storedist"];
            if stores.iter().any(|store| word.eq_ignore_ascii_case(store)) {
                list.apart = rest.next().or(list.apart);
            }
        }
        Some(list)
    }
}

impl<'a> Iterator for KeyList<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.span == 0 {
            return self.apart.take();
        }
        let key = self.arguments.next();
        let skipped = (self.step - 1).min(self.span - 1);
        for _ in 0..skipped {
            self.arguments.next();
        }
        self.span -= 1 + skipped;
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis::{write_bulk, write_header};
    use alloc::string::String;
    use alloc::vec::Vec;

    fn found(keys: Keys, line: &str) -> Option<Vec<String>> {
        let words: Vec<&str> = line.split(' ').collect();
        let mut request = Vec::new();
        write_header(b'*', words.len(), &mut request);
        words.iter().for_each(|word| write_bulk(word.as_bytes(), &mut request));
        let mut arguments = Arguments::of(&request);
        arguments.next();
        let list = KeyList::find(keys, arguments)?;
        Some(list.map(|key| String::from_utf8(key.to_vec()).unwrap()).collect())
    }

    #[test]
    fn keys_are_where_the_command_has_them() {
        let range = |first, last, step| Keys::Range { first, last, step };
        let counted = |count, stores| Keys::Counted { count, stores };
        for (keys, line, expected) in [
            (Keys::None, "PING", ""),
            (range(1, 1, 1), "GET a", "a"),
            (range(1, -1, 1), "SINTER a b c", "a b c"),
            (range(1, -1, 2), "MSET a 1 b 2", "a b"),
            (range(1, -2, 1), "BLPOP a b 0", "a b"),
            (range(2, -1, 1), "BITOP AND a b", "a b"),
            (range(2, 2, 1), "OBJECT ENCODING a", "a"),
            (Keys::Script, "EVAL x 2 a b c", "a b"),
            (Keys::Script, "EVAL x 0", ""),
            (Keys::Script, "EVAL x 0 argument", ""),
            (counted(2, false), "BLMPOP 0 2 a b LEFT", "a b"),
            (counted(2, true), "ZUNIONSTORE d 2 a b WEIGHTS 1 2", "a b d"),
            (counted(2, true), "ZUNIONSTORE d 0 a", "d"),
            (counted(1, false), "ZUNION 1 a", "a"),
            (Keys::Pairs, "MSETEX 2 a 1 b 2 EX 3", "a b"),
            (Keys::Streams, "XREAD COUNT 1 STREAMS a b 0 0", "a b"),
            (Keys::Store, "SORT a", "a"),
            (Keys::Store, "SORT a store b STORE c", "a c"),
            (Keys::Store, "GEORADIUS a 1 2 3 m storedist b", "a b"),
        ] {
            let expected: Vec<&str> = expected.split(' ').filter(|key| !key.is_empty()).collect();
            assert_eq!(found(keys, line).unwrap(), expected, "{line}");
        }
    }

    #[test]
    fn keys_that_cannot_be_found_are_not_guessed() {
        let counted = Keys::Counted { count: 1, stores: false };
        for (keys, line) in [
            (Keys::Script, "EVAL x 3 a b"),
            (Keys::Script, "EVAL x -1 a"),
            (Keys::Script, "EVAL x one a"),
            (Keys::Script, "EVAL x 18446744073709551617 a"),
            (Keys::Script, "EVAL x"),
            (counted, "ZUNION 0 a"),
            (counted, "ZUNION 2 a"),
            (Keys::Pairs, "MSETEX 0 a 1"),
            (Keys::Pairs, "MSETEX 2 a 1"),
            (Keys::Streams, "XREAD COUNT 1"),
            (Keys::Streams, "XREAD STREAMS a b 0"),
            (Keys::Streams, "XREAD STREAMS"),
            (Keys::Range { first: 1, last: -2, step: 1 }, "BLPOP 0"),
        ] {
            assert_eq!(found(keys, line), None, "{line}");
        }
    }
}
