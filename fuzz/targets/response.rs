//! Any bytes as a server's: what is read from them is within them, and a reply that is whole is
//! the same however much of it was there before and whatever follows.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nuthatch_core::memcache::{Shape, parse_response};
use nuthatch_core::message::Response;

const SHAPES: [Shape; 11] = [
    Shape::Value,
    Shape::Values,
    Shape::Stored,
    Shape::Number,
    Shape::Deleted,
    Shape::Touched,
    Shape::Ok,
    Shape::Version,
    Shape::MetaGet,
    Shape::MetaStored,
    Shape::MetaDebug,
];

/// Small, so that there are values beyond it.
const ITEM_SIZE_MAX: usize = 40;

fuzz_target!(|script: &[u8]| {
    let [shape, key, opaque, rest @ ..] = script else { return };
    let shape = SHAPES[usize::from(*shape) % SHAPES.len()];
    let (key, rest) = rest.split_at(usize::from(*key % 8).min(rest.len()));
    let (opaque, input) = rest.split_at(usize::from(*opaque % 4).min(rest.len()));
    // The key of a meta request may come in base64, so it may hold anything.
    let is_key = key.iter().all(|&byte| !matches!(byte, 0 | b'\n' | b'\r' | b' '));
    let is_key = if shape.is_meta() { !key.is_empty() } else { is_key };
    if input.is_empty() || !is_key {
        return;
    }
    let parse = |input: &[u8]| parse_response(input, shape, (key, opaque), ITEM_SIZE_MAX);
    match parse(input) {
        Response::Whole { len, outcome } => {
            assert!(0 < len && len <= input.len() && input[..len].ends_with(b"\r\n"));
            assert_eq!(parse(&input[..len]), Response::Whole { len, outcome });
            check_starts(&input[..len], parse);
        }
        Response::Value { len, key: found } => {
            assert_eq!(shape, Shape::Values);
            let likely = "VALUE ".len().."VALUE ".len() + key.len();
            let is_likely = &input[likely.clone()] == key && input[likely.end] == b' ';
            assert_eq!(found.is_none(), is_likely && !key.is_empty());
            let place = found.clone().unwrap_or(likely);
            assert!(place.start < place.end && place.end <= len && len <= input.len());
            assert!(input[..place.start] == *b"VALUE " && input[place.end] == b' ');
            assert_eq!(parse(&input[..len]), Response::Value { len, key: found });
            check_starts(&input[..len], parse);
        }
        Response::TooLarge(len) => {
            assert!(len > ITEM_SIZE_MAX, "the header is no value");
            assert_eq!(parse(&[input, b"more"].concat()), Response::TooLarge(len));
        }
        Response::Partial(need) => assert!(need > input.len()),
        Response::Excess { .. } | Response::Unasked(_) => panic!("memcached has none"),
        Response::Mismatch => {
            let more = [input, b"\r\nEND\r\n"].concat();
            assert_eq!(parse(&more), Response::Mismatch, "more bytes do not mend it");
        }
    }
});

/// No start of a good reply is a mismatch or asks for more than the reply is.
fn check_starts(reply: &[u8], parse: impl Fn(&[u8]) -> Response) {
    let step = reply.len() / 50 + 1;
    for end in (1..reply.len()).step_by(step) {
        let Response::Partial(need) = parse(&reply[..end]) else { panic!("it is not whole") };
        assert!(end < need && need <= reply.len());
    }
}
