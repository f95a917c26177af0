//! Any bytes as a Redis client's: a request is the same however it was cut, and what goes to a server is
//! one array in the plain form, which reads the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nuthatch_core::limits::Limits;
use nuthatch_core::message::{Parsed, Request, Scan, Wire};
use nuthatch_core::redis::{
    Arguments, Room, Session, Settings, next_key, parse_request, write_bulk, write_cursor,
    write_fragment, write_header,
};
use std::sync::Arc;

const LIMITS: Limits = Limits { item_size_max: 300, memory_max: 2000, ..Limits::DEFAULT };

fuzz_target!(|input: &[u8]| {
    let Some((&kind, input)) = input.split_first() else { return };
    let settings =
        Settings { password: (kind % 2 == 1).then(|| b"acorn"[..].into()), ..Settings::default() };
    let settings = Arc::new(settings);
    let whole = all_requests(input, input.len().max(1), &settings);
    for size in [1, 2, 3, 7, 64, usize::from(kind) + 1] {
        assert_eq!(all_requests(input, size, &settings), whole, "pieces of {size}");
    }
});

/// What is made of the client's requests, when its bytes come in pieces of this size.
fn all_requests(input: &[u8], size: usize, settings: &Arc<Settings>) -> Vec<String> {
    let mut session = Session::new(settings, 1);
    let (mut scan, mut room) = (Scan::default(), Room::default());
    let (mut used, mut here, mut need) = (0, 0, 1);
    let mut found = Vec::new();
    while here < input.len() {
        here = (here + size).min(input.len());
        while used < here && here - used >= need {
            let bytes = &input[used..here];
            match parse_request(bytes, &mut scan, &mut session, &LIMITS, &mut room) {
                Parsed::Partial(more) => {
                    assert!(more > bytes.len(), "it asks for more than there is");
                    need = more;
                }
                Parsed::PartialLine => panic!("only memcached has lines"),
                Parsed::Request(request, len) => {
                    assert!(0 < len && len <= bytes.len());
                    check(&request, settings);
                    let is_last = matches!(request, Request::Lost { .. } | Request::Quit(_));
                    found.push(format!("{request:?}"));
                    if is_last {
                        return found;
                    }
                    assert_eq!(scan, Scan::default(), "nothing is left of a whole request");
                    (used, need) = (used + len, 1);
                }
            }
        }
    }
    found
}

fn check(request: &Request<'_>, settings: &Arc<Settings>) {
    match request {
        Request::One(one) | Request::Setting(one) => check_wire(&one.wire, settings),
        Request::Group(group) => check_wire(&group.one.wire, settings),
        Request::All(all) => check_wire(&all.wire, settings),
        Request::Dedicated(request) => check_wire(&request.one.wire, settings),
        Request::Many(many) => {
            let (mut rest, mut parts) = (many.keys, Vec::new());
            while !rest.is_empty() {
                let (_, more) = next_key(rest, many.step).expect("the parser has seen the keys");
                parts.push(&rest[..rest.len() - more.len()]);
                rest = more;
            }
            assert!(parts.len() > 1, "one key is no split");
            let mut out = Vec::new();
            write_fragment(many.head.text, many.step, parts.into_iter(), &mut out);
            check_plain(&out, settings);
        }
        Request::Cursor(cursor) => {
            let mut out = Vec::new();
            write_cursor((cursor.before, cursor.after), cursor.cursor, &mut out);
            check_plain(&out, settings);
        }
        Request::Refused { error, .. } | Request::Lost { error, .. } => {
            let is_line = error.starts_with(b"-") && error.ends_with(b"\r\n");
            assert!(error.is_empty() || is_line, "{}", error.escape_ascii());
            let text = &error[..error.len().saturating_sub(2)];
            assert!(!text.iter().any(|byte| matches!(byte, b'\r' | b'\n')), "an error is one line");
        }
        Request::Answer(_) | Request::Barrier(_) | Request::Quit(_) | Request::Question(_) => {}
    }
}

fn check_wire(wire: &Wire<'_>, settings: &Arc<Settings>) {
    let mut out = Vec::new();
    wire.write(&mut out);
    check_plain(&out, settings);
}

/// What goes to a server is an array in the plain form, and reads as itself.
fn check_plain(wire: &[u8], settings: &Arc<Settings>) {
    let words: Vec<&[u8]> = Arguments::of(wire).collect();
    let mut again = Vec::new();
    write_header(b'*', words.len(), &mut again);
    words.iter().for_each(|word| write_bulk(word, &mut again));
    assert!(wire == again, "not plain: {}", wire.escape_ascii());
    // An inline request may be longer than the limits of an array.
    let limits = Limits::DEFAULT;
    let mut session = Session::new(settings, 1);
    let (mut scan, mut room) = (Scan::default(), Room::default());
    if settings.password.is_none() {
        let parsed = parse_request(wire, &mut scan, &mut session, &limits, &mut room);
        let Parsed::Request(request, len) = parsed else { panic!("{}", wire.escape_ascii()) };
        assert_eq!(len, wire.len());
        assert!(!matches!(request, Request::Lost { .. }));
    }
}
