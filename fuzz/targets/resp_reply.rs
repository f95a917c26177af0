//! Any bytes as a Redis server's: a reply is the same however it was cut, and no start of a good reply is
//! a mismatch, or asks for more than the reply is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nuthatch_core::message::{Expect, Merge, Outcomes, Response, Scan};
use nuthatch_core::redis::{
    Elements, Merged, Session, Settings, fits, parse_greeting, parse_reply, parse_unasked,
};
use std::sync::Arc;

/// Kinds of replies that the parser distinguishes.
const KINDS: u8 = 9;

/// Small, so that there are replies beyond it.
const REPLY_MAX: usize = 60;

const MERGES: [Merge; 8] = [
    Merge::AllOk,
    Merge::Sum,
    Merge::Concat,
    Merge::Same,
    Merge::Least,
    Merge::First,
    Merge::InOrder,
    Merge::Cursor { server: 1, servers: 3 },
];

/// What became of a server's bytes.
#[derive(Debug, PartialEq)]
enum Event {
    Reply(Vec<u8>, String),
    Unasked(Vec<u8>),
    /// A reply of so many bytes is too large.
    TooLarge(usize),
    Mismatch,
}

fuzz_target!(|input: &[u8]| {
    let [kind, _, input @ ..] = input else { return };
    let expect = Expect { kind: kind % KINDS, hidden: Outcomes::NONE };
    let whole = all_replies(input, input.len().max(1), expect);
    // A mismatch may be found as late as the reply would have ended.
    let good = |events: &[Event]| events.iter().filter(|event| **event != Event::Mismatch).count();
    for size in [1, 2, 3, 7, 40] {
        let pieces = all_replies(input, size, expect);
        let count = good(&whole);
        assert_eq!(
            (&pieces[..good(&pieces)], good(&pieces)),
            (&whole[..count], count),
            "by {size}"
        );
    }
    if !input.is_empty() {
        let settings = Settings { db: u32::from(kind % 2), ..Settings::default() };
        let _ = parse_greeting(input, &settings);
        let mut scan = Scan::default();
        let _ = parse_unasked(input, &mut scan, REPLY_MAX, kind % 2 == 0);
    }
    for event in &whole {
        if let Event::Reply(reply, _) = event {
            check_reply(reply, expect, input.len());
        }
    }
});

/// The replies in a server's bytes, which come in pieces of this size, each of which is expected to be
/// the same.
fn all_replies(input: &[u8], size: usize, expect: Expect) -> Vec<Event> {
    let (mut kept, mut scan, mut need) = (Vec::new(), Scan::default(), 1);
    let (mut events, mut dropped) = (Vec::new(), 0);
    for piece in input.chunks(size) {
        kept.extend_from_slice(piece);
        while !kept.is_empty() && kept.len() >= need {
            need = 1;
            let used = match parse_reply(&kept, expect, &mut scan, REPLY_MAX) {
                Response::Whole { len, outcome } => {
                    events.push(Event::Reply(kept[..len].to_vec(), format!("{outcome:?}")));
                    len
                }
                Response::Unasked(len) => {
                    events.push(Event::Unasked(kept[..len].to_vec()));
                    len
                }
                Response::Excess { len, is_last } => {
                    dropped += len;
                    if is_last {
                        events.push(Event::TooLarge(std::mem::take(&mut dropped)));
                    } else {
                        need = kept.len() - len + 1;
                    }
                    len
                }
                Response::Partial(more) => {
                    assert!(more > kept.len(), "it asks for more than there is");
                    need = more;
                    0
                }
                Response::Mismatch => {
                    events.push(Event::Mismatch);
                    return events;
                }
                response => panic!("{response:?} is none of Redis"),
            };
            assert!(used <= kept.len());
            kept.drain(..used);
        }
    }
    events
}

/// What is done with a whole reply never panics, whatever it is.
fn check_reply(reply: &[u8], expect: Expect, keys: usize) {
    let mut starts = Scan::default();
    for end in 1..reply.len() {
        match parse_reply(&reply[..end], expect, &mut starts, usize::MAX / 8) {
            Response::Partial(need) => assert!(end < need),
            other => panic!("{other:?} at {end} of {}", reply.escape_ascii()),
        }
    }
    let mut session = Session::new(&Arc::new(Settings::default()), 1);
    session.observe(expect, reply);
    let is_error = matches!(reply[0], b'-' | b'!');
    for merge in MERGES {
        if fits(merge, reply, keys % 4) && !is_error && is_of(merge, reply[0]) {
            let (mut merged, mut out) = (Merged::default(), Vec::new());
            merged.add(merge, reply);
            merged.add(merge, reply);
            merged.write(merge, &mut out);
            assert!(Elements::of(reply).count() <= reply.len());
        }
    }
}

/// Whether the parser lets a reply of this type come to a merge.
fn is_of(merge: Merge, kind: u8) -> bool {
    match merge {
        Merge::Sum => kind == b':',
        Merge::AllOk => kind == b'+',
        Merge::Same | Merge::First => true,
        _ => matches!(kind, b'*' | b'~'),
    }
}
