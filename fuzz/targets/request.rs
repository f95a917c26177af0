//! Any bytes as a client's: what is read from them is within them and within the limits, and what
//! goes to a server is one request that reads the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nuthatch_core::memcache::{
    KEY_LEN_MAX, Keep, KeyRoom, Words, decode_key, parse_request,
};
use nuthatch_core::message::{KeyEncoding, Many, One, Outcomes, Parsed, Request, Wire};
use nuthatch_core::limits::Limits;

fuzz_target!(|input: &[u8]| {
    if input.is_empty() {
        return;
    }
    let small = Limits { item_size_max: 100, keys_max: 3, line_max: 2100, ..Limits::default() };
    check(input, &Limits::default());
    check(input, &small);
});

fn check(input: &[u8], limits: &Limits) {
    let parsed = parse_request(input, 0, limits);
    for cut in [1, input.len() / 2, input.len().saturating_sub(1)] {
        check_cut(input, cut, &parsed, limits);
    }
    match parsed {
        Parsed::PartialLine => {
            // The last byte may be the carriage return.
            assert!(!input.contains(&b'\n') && input.len() <= limits.line_max + 1);
        }
        Parsed::Partial(need) => {
            let line = input.iter().position(|&byte| byte == b'\n').expect("a line") + 1;
            assert!(need > input.len() && need <= line + limits.item_size_max + 2);
        }
        Parsed::Request(request, len) => {
            assert!(0 < len && len <= input.len());
            check_request(&request, limits);
        }
    }
}

/// What a client gets does not depend on how its bytes were cut.
fn check_cut(input: &[u8], cut: usize, whole: &Parsed<'_>, limits: &Limits) {
    if cut == 0 {
        return;
    }
    match parse_request(&input[..cut], 0, limits) {
        Parsed::PartialLine => assert_eq!(&parse_request(input, cut, limits), whole),
        Parsed::Partial(_) => assert!(!matches!(whole, Parsed::PartialLine)),
        Parsed::Request(Request::Lost { error, limit }, _) => {
            let same = Request::Lost { error, limit };
            assert!(matches!(whole, Parsed::Request(request, _) if *request == same));
        }
        request @ Parsed::Request(..) => assert_eq!(&request, whole),
    }
}

fn check_request(request: &Request<'_>, limits: &Limits) {
    match request {
        Request::One(one) => check_one(one, limits),
        Request::Many(many) => check_many(many, limits),
        Request::All(all) => {
            let wire = written(&all.wire);
            let Parsed::Request(Request::All(again), len) = parse_request(&wire, 0, limits) else {
                panic!("it reads the same");
            };
            assert_eq!((len, again.expect.hidden), (wire.len(), Outcomes::NONE));
            assert_eq!(again.wire, Wire::Verbatim(&wire));
        }
        Request::Answer(line) | Request::Barrier(line) => check_line(line),
        Request::Refused { error, .. } | Request::Lost { error, .. } => check_line(error),
        Request::Question(_) | Request::Quit(_) => {}
        Request::Group(_)
        | Request::Cursor(_)
        | Request::Dedicated(_)
        | Request::Setting(_) => {
            panic!("memcached has none")
        }
    }
}

/// What we answer ourselves is one line or nothing.
fn check_line(line: &[u8]) {
    let ends = line.iter().filter(|&&byte| byte == b'\n').count();
    assert!(line.is_empty() || ends == 1 && line.ends_with(b"\r\n"));
}

fn check_one(one: &One<'_>, limits: &Limits) {
    assert!(is_key(one.key));
    if one.encoding == KeyEncoding::Base64 {
        let mut room: KeyRoom = [0; 192];
        assert!(decode_key(one.key, &mut room).is_some_and(|key| !key.is_empty()));
    }
    assert!(one.opaque.len() <= 32);
    if let Wire::Words { keep, .. } = one.wire {
        assert!(keep != Keep::First(0));
    }
    let wire = written(&one.wire);
    let Parsed::Request(Request::One(again), len) = parse_request(&wire, 0, limits) else {
        panic!("it reads the same: {}", wire.escape_ascii());
    };
    assert_eq!(len, wire.len());
    assert_eq!((again.key, again.encoding, again.opaque), (one.key, one.encoding, one.opaque));
    assert_eq!((again.expect.kind, again.class), (one.expect.kind, one.class));
    assert_eq!(again.expect.hidden, Outcomes::NONE, "servers are asked aloud");
    assert_eq!(again.wire, Wire::Verbatim(&wire), "what we write is as we write it");
    let line = wire.iter().position(|&byte| byte == b'\n').expect("a line");
    assert!(wire[..line].ends_with(b"\r") && wire.ends_with(b"\r\n"));
    assert!(!wire[..line - 1].iter().any(|&byte| matches!(byte, 0 | b'\r')));
    assert!(line <= 2048, "a server closes on more without a line end");
}

/// Only the first key is known to be one; the others are read where they are split.
fn check_many(many: &Many<'_>, limits: &Limits) {
    let keys: Vec<&[u8]> = Words::new(many.keys).collect();
    assert!(keys.len() > 1 && is_key(keys[0]));
    if !keys.iter().all(|key| is_key(key)) {
        return;
    }
    let head = written(&Wire::Words { line: many.head, keep: Keep::All, data: b"" });
    let head = head.trim_ascii_end();
    let wire = [head, b" ", &keys.join(&b' '), b"\r\n"].concat();
    let Parsed::Request(Request::Many(again), len) = parse_request(&wire, 0, limits) else {
        panic!("it reads the same: {}", wire.escape_ascii());
    };
    assert_eq!((len, again.class), (wire.len(), many.class));
    assert_eq!(again.head.text.trim_ascii_end(), head);
    assert_eq!(again.line_max, many.line_max);
    assert_eq!(Words::new(again.keys).collect::<Vec<_>>(), keys);
}

fn is_key(key: &[u8]) -> bool {
    let is_framed = !key.iter().any(|&byte| matches!(byte, 0 | b'\n' | b'\r' | b' '));
    is_framed && (1..=KEY_LEN_MAX).contains(&key.len())
}

fn written(wire: &Wire<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    wire.write(&mut out);
    out
}
