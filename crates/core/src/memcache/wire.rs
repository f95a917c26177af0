//! The request as a server gets it.
//!
//! The one rule: the server sends exactly one reply. So the options about replies (`noreply`, `q`)
//! are removed, and the line has the form that every memcached version parses alike: one space
//! between words, numbers in plain form, CRLF at the end.

use super::LINE_END;
use super::number::Numbers;
use super::words::Words;
use alloc::vec::Vec;

/// Words of a client's line, without its end, and the numbers that replace some of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Head<'a> {
    /// The words as the client wrote them.
    pub text: &'a [u8],
    /// The numbers that replace words.
    pub numbers: Numbers,
}

/// Which words of a line a server gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Every word.
    All,
    /// Every word, and the last word again.
    LastTwice,
    /// The first words; words that memcached ignores, and `noreply`, are removed.
    First(usize),
    /// All but the meta requests' quiet flag.
    AllButQuiet,
}

impl Head<'_> {
    /// Appends the kept words as a line, and the data behind it. Out of the way of what is not
    /// rewritten, as nearly nothing is.
    #[inline(never)]
    pub(crate) fn write_whole(&self, keep: Keep, data: &[u8], out: &mut Vec<u8>) {
        self.write(keep, out);
        out.extend_from_slice(LINE_END);
        out.extend_from_slice(data);
    }

    /// Appends the kept words with one space between them.
    pub(crate) fn write(&self, keep: Keep, out: &mut Vec<u8>) {
        let last = if keep == Keep::LastTwice { Words::new(self.text).last() } else { None };
        for (index, word) in Words::new(self.text).chain(last).enumerate() {
            let kept = match keep {
                Keep::All | Keep::LastTwice => true,
                Keep::First(count) => index < count,
                Keep::AllButQuiet => index < 2 || word[0] != b'q',
            };
            if !kept {
                continue;
            }
            if index > 0 {
                out.push(b' ');
            }
            match self.numbers.at(index) {
                Some(number) => number.write(out),
                None => out.extend_from_slice(word),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::number;
    use super::*;
    use crate::message::Wire;

    fn written(text: &[u8], numbers: Numbers, keep: Keep, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        Wire::Words { line: Head { text, numbers }, keep, data }.write(&mut out);
        out
    }

    #[test]
    fn kept_words_are_written_with_single_spaces() {
        let line = b"  set  k 1 2   3 noreply ";
        let wire = written(line, Numbers::NONE, Keep::First(5), b"abc\r\n");
        assert_eq!(wire, b"set k 1 2 3\r\nabc\r\n");
    }

    #[test]
    fn only_the_quiet_flag_of_a_meta_request_is_left_out() {
        let wire = written(b"mg quiet v q Oq1 t", Numbers::NONE, Keep::AllButQuiet, b"");
        assert_eq!(wire, b"mg quiet v Oq1 t\r\n");
    }

    #[test]
    fn the_last_word_is_written_again_if_it_is_to_be() {
        let wire = written(b"me  YQ== b ", Numbers::NONE, Keep::LastTwice, b"");
        assert_eq!(wire, b"me YQ== b b\r\n");
    }

    #[test]
    fn a_number_takes_the_place_of_its_word() {
        let rewrites = [None, number::exptime(b"4294967295").unwrap(), None, None];
        let wire = written(b"set k 7 4294967295 1", Numbers::new(2, rewrites), Keep::All, b"x\r\n");
        assert_eq!(wire, b"set k 7 -1 1\r\nx\r\n");
    }
}
