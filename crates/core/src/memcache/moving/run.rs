//! A request as the new server of a key gets it, and what its reply is worth.
//!
//! The one rule: where a request would take a mark for a value, or a value that the old server has a later
//! one of, it is sent as a meta request that names the cas id of the value that is known.

use super::super::Shape;
use super::super::words::number;
use super::{FOREIGN, LINE_END, Line, begin, first_cas, push, push_number, write_found};
use crate::message::{Kept, Known, Outcome, Verdict};
use alloc::vec::Vec;

/// A cas id that no value has.
const NO_CAS: u64 = u64::MAX;

/// The id that a client means, if it is one of a value that counts.
fn own_cas(word: &[u8], floor: u64) -> u64 {
    let cas = number(word).filter(|cas| cas & FOREIGN != 0).map(|cas| cas & !FOREIGN);
    cas.filter(|cas| *cas > floor).unwrap_or(NO_CAS)
}

/// Appends the request as the new server gets it, so that it takes no mark for a value.
pub(super) fn write_run(kept: &Kept, known: Known, floor: u64, out: &mut Vec<u8>) -> Shape {
    let line = Line::of(&kept.bytes);
    let cas = if let Known::Present(cas) = known { cas } else { NO_CAS };
    let command = line.command();
    match command {
        b"touch" => {
            begin(out, b"mg", kept);
            push(out, &[&[b"T", line.word(2)].concat()]);
            out.extend_from_slice(LINE_END);
            Shape::MetaGet
        }
        b"gat" | b"gats" => {
            begin(out, b"mg", kept);
            push(out, &[b"c", b"f", b"t", b"v", &[b"T", line.word(1)].concat()]);
            out.extend_from_slice(LINE_END);
            Shape::MetaGet
        }
        b"replace" | b"append" | b"prepend" => {
            begin(out, b"ms", kept);
            push(out, &[line.word(4)]);
            push_number(out, b"C", cas);
            match command {
                b"append" => push(out, &[b"MA"]),
                b"prepend" => push(out, &[b"MP"]),
                _ => {
                    let flags = [b"F", line.word(2)].concat();
                    push(out, &[b"MR", &flags, &[b"T", line.word(3)].concat()]);
                }
            }
            out.extend_from_slice(LINE_END);
            out.extend_from_slice(line.data);
            Shape::MetaStored
        }
        b"incr" | b"decr" => {
            begin(out, b"ma", kept);
            push_number(out, b"C", cas);
            push(out, &[&[b"D", line.word(2)].concat()]);
            push(out, if command == b"decr" { &[b"MD", b"v"] } else { &[b"v"] });
            out.extend_from_slice(LINE_END);
            Shape::MetaStored
        }
        b"cas" => {
            let before: usize = line.words().take(5).map(|word| word.len() + 1).sum();
            out.extend_from_slice(&line.text[..before - 1]);
            push_number(out, b"", own_cas(line.word(5), floor));
            out.extend_from_slice(LINE_END);
            out.extend_from_slice(line.data);
            Shape::Swapped
        }
        b"mg" | b"ms" | b"md" | b"ma" => write_meta_run(kept, &line, (cas, floor), out),
        _ => {
            out.extend_from_slice(&kept.bytes);
            Shape::of(kept.expect)
        }
    }
}

/// As [`write_run`], for a meta request.
fn write_meta_run(
    kept: &Kept,
    line: &Line<'_>,
    (cas, floor): (u64, u64),
    out: &mut Vec<u8>,
) -> Shape {
    let command = line.command();
    begin(out, command, kept);
    if command == b"ms" {
        push(out, &[line.word(2)]);
    }
    if command == b"mg" || line.has(b"c") {
        push(out, &[b"c"]);
    }
    for flag in line.flags() {
        match flag[0] {
            b'c' => {}
            b'C' => push_number(out, b"C", own_cas(&flag[1..], floor)),
            _ => push(out, &[flag]),
        }
    }
    if line.is_conditional() {
        push_number(out, b"C", cas);
    }
    out.extend_from_slice(LINE_END);
    out.extend_from_slice(line.data);
    if command == b"mg" { Shape::MetaGet } else { Shape::MetaStored }
}

/// Whether a meta reply says that its item is no value. The letters are the last words of the line.
fn is_mark(reply: &[u8]) -> bool {
    let line = Line::of(reply).text;
    [b" W", b" Z", b" X"].iter().any(|mark| line.ends_with(*mark))
}

/// Judges the reply to [`Ask::Run`](crate::message::Ask::Run), and appends the answer.
pub fn judge(
    kept: &Kept,
    (outcome, reply): (Outcome, &[u8]),
    floor: u64,
    out: &mut Vec<u8>,
) -> Verdict {
    let line = Line::of(&kept.bytes);
    let command = line.command();
    let word = |outcome| match outcome {
        Outcome::Hit => &b"TOUCHED\r\n"[..],
        Outcome::Success => b"STORED\r\n",
        Outcome::NotStored => b"NOT_STORED\r\n",
        _ => b"NOT_FOUND\r\n",
    };
    match (command, outcome) {
        (b"incr" | b"decr", Outcome::Error) | (b"add", Outcome::NotStored) => {
            out.extend_from_slice(reply);
            return Verdict::Doubt(outcome);
        }
        (b"incr" | b"decr", Outcome::Exists) => return Verdict::Again,
        (b"incr" | b"decr", Outcome::Success) => {
            out.extend_from_slice(Line::of(reply).data);
        }
        (b"incr" | b"decr", Outcome::NotFound) => out.extend_from_slice(word(outcome)),
        (b"touch" | b"gat" | b"gats", Outcome::Hit) if is_mark(reply) => return Verdict::Again,
        (b"touch", Outcome::Hit | Outcome::Miss) => {
            out.extend_from_slice(word(outcome));
            let is_hit = outcome == Outcome::Hit;
            return Verdict::Answer(if is_hit { Outcome::Success } else { Outcome::NotFound });
        }
        (b"gat" | b"gats", Outcome::Hit | Outcome::Miss) => {
            let cas = first_cas(reply).map(|(cas, _)| cas);
            if cas.is_some_and(|cas| cas <= floor) {
                return Verdict::Again;
            }
            return Verdict::Answer(write_found(kept, reply, cas, out));
        }
        (b"replace" | b"append" | b"prepend", Outcome::Exists) => return Verdict::Again,
        (b"replace" | b"append" | b"prepend", Outcome::NotFound) => {
            out.extend_from_slice(word(Outcome::NotStored));
            return Verdict::Answer(Outcome::NotStored);
        }
        (b"replace" | b"append" | b"prepend", Outcome::Success | Outcome::NotStored) => {
            out.extend_from_slice(word(outcome));
        }
        (b"mg" | b"ms" | b"md" | b"ma", _) => {
            return judge_meta(&line, (outcome, reply), floor, out);
        }
        _ => out.extend_from_slice(reply),
    }
    Verdict::Answer(outcome)
}

fn judge_meta(
    line: &Line<'_>,
    (outcome, reply): (Outcome, &[u8]),
    floor: u64,
    out: &mut Vec<u8>,
) -> Verdict {
    let command = line.command();
    let is_its_own = command == b"mg" && line.has(b"NR");
    if command == b"mg" && outcome == Outcome::Hit {
        let is_left_over = first_cas(reply).is_some_and(|(cas, _)| cas <= floor);
        if is_left_over || is_mark(reply) && !is_its_own {
            return Verdict::Again;
        }
    }
    match (line.is_conditional(), outcome) {
        (true, Outcome::Exists) => return Verdict::Again,
        (true, Outcome::NotFound) if command == b"ms" => {
            out.extend_from_slice(b"NS");
            out.extend_from_slice(&reply[2..]);
            return Verdict::Answer(Outcome::NotStored);
        }
        _ => {}
    }
    match first_cas(reply).filter(|_| command == b"mg" || line.has(b"c")) {
        Some((cas, place)) => {
            out.extend_from_slice(&reply[..place.start]);
            if line.has(b"c") {
                push_number(out, b"c", cas | FOREIGN);
            }
            out.extend_from_slice(&reply[place.end..]);
        }
        None => out.extend_from_slice(reply),
    }
    let is_doubtful = command == b"ma" && outcome == Outcome::Error
        || command == b"ms" && line.mode() == b'E' && outcome == Outcome::NotStored;
    if is_doubtful { Verdict::Doubt(outcome) } else { Verdict::Answer(outcome) }
}
