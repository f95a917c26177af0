//! What servers answer, against what was asked, as tables. The replies are memcached 1.6.18's.

use super::*;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

const SHAPES: [Shape; 13] = [
    Shape::Value,
    Shape::Values,
    Shape::Stored,
    Shape::Swapped,
    Shape::Number,
    Shape::Deleted,
    Shape::Touched,
    Shape::Ok,
    Shape::Version,
    Shape::MetaGet,
    Shape::MetaGetKey,
    Shape::MetaStored,
    Shape::MetaDebug,
];

fn show(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// The answer to a request for key `k` with opaque token `O7`.
/// No limit that matters here.
const MAX: usize = 1 << 30;

fn parse(input: &[u8], shape: Shape) -> Response {
    parse_response(input, shape, (b"k", b"O7"), MAX)
}

/// Replies whole, what they say, and the shapes that they fit.
const REPLIES: &[(&[u8], Outcome, &[Shape])] = {
    use Outcome::{Exists, Hit, Miss, NotFound, NotStored, Success};
    use Shape::{
        Deleted, MetaDebug, MetaGet, MetaGetKey, MetaStored, Number, Ok, Stored, Swapped, Touched,
        Value, Values, Version,
    };
    &[
        (b"VALUE k 0 2\r\nhi\r\nEND\r\n", Hit, &[Value]),
        (b"VALUE k 4294967295 2 18446744073709551615\r\nhi\r\nEND\r\n", Hit, &[Value]),
        (b"VALUE k 0 0\r\n\r\nEND\r\n", Hit, &[Value]),
        (b"VALUE k 0 5\r\nEND\r\n\r\nEND\r\n", Hit, &[Value]),
        (b"END\r\n", Miss, &[Value, Values]),
        (b"STORED\r\n", Success, &[Stored, Swapped]),
        (b"NOT_STORED\r\n", NotStored, &[Stored, Swapped]),
        (b"EXISTS\r\n", Exists, &[Swapped]),
        (b"NOT_FOUND\r\n", NotFound, &[Swapped, Number, Deleted, Touched]),
        (b"0\r\n", Success, &[Number]),
        (b"18446744073709551615\r\n", Success, &[Number]),
        (b"DELETED\r\n", Success, &[Deleted]),
        (b"TOUCHED\r\n", Success, &[Touched]),
        (b"OK\r\n", Success, &[Ok, MetaStored]),
        (b"VERSION 1.6.18\r\n", Success, &[Version]),
        (b"EN\r\n", Miss, &[MetaGet, MetaGetKey, MetaDebug]),
        (b"ME k exp=-1 la=1 cas=15 fetch=yes cls=1 size=65\r\n", Hit, &[MetaDebug]),
        (b"NS\r\n", NotStored, &[MetaStored]),
        (b"EX kk O7\r\n", Exists, &[MetaStored]),
        (b"NF\r\n", NotFound, &[MetaStored]),
    ]
};

/// Meta replies that fit reads (as hits) and writes (as successes).
const META_REPLIES: &[&[u8]] = &[
    b"HD\r\n",
    b"HD O7\r\n",
    b"HD kk O7 c15\r\n",
    // memcached before 1.6.18, and before it with `-o meta_response_old`.
    b"HD  kk O7 \r\n",
    b"OK \r\n",
    b"VA 2\r\nhi\r\n",
    b"VA 0 kk W\r\n\r\n",
    b"VA 2 s1 t-1 f5 c15 kk O7\r\n\r\n\r\n",
];

#[test]
fn every_reply_fits_its_shapes_and_no_other() {
    for &(reply, outcome, shapes) in REPLIES {
        for shape in SHAPES {
            let fits = Response::Whole { len: reply.len(), outcome };
            let expected = if shapes.contains(&shape) { fits } else { Response::Mismatch };
            let found = match parse(reply, shape) {
                Response::Value { .. } if reply.starts_with(b"VALUE") => continue,
                found => found,
            };
            assert_eq!(found, expected, "{} for {shape:?}", show(reply));
        }
    }
    for &reply in META_REPLIES {
        for shape in SHAPES {
            let holds = |word: &[u8]| memchr::memmem::find(reply, word).is_some();
            let repeats = holds(b" O7") && (holds(b" kk") || shape == Shape::MetaGet);
            let expected = match shape {
                Shape::MetaGet | Shape::MetaGetKey if repeats => {
                    Response::Whole { len: reply.len(), outcome: Outcome::Hit }
                }
                Shape::MetaStored => {
                    Response::Whole { len: reply.len(), outcome: Outcome::Success }
                }
                _ => Response::Mismatch,
            };
            assert_eq!(parse(reply, shape), expected, "{} for {shape:?}", show(reply));
        }
    }
}

#[test]
fn error_lines_fit_every_shape() {
    const ERRORS: [&[u8]; 5] = [
        b"ERROR Too many open connections\r\n",
        b"ERROR\r\n",
        b"CLIENT_ERROR bad data chunk\r\n",
        b"SERVER_ERROR object too large for cache\r\n",
        b"SERVER_ERROR out of memory storing object\r\n",
    ];
    for reply in ERRORS {
        for shape in SHAPES {
            let expected = Response::Whole { len: reply.len(), outcome: Outcome::Error };
            assert_eq!(parse(reply, shape), expected, "{} for {shape:?}", show(reply));
        }
    }
}

#[test]
fn what_follows_a_reply_is_not_looked_at() {
    for &(reply, outcome, shapes) in REPLIES {
        for &shape in shapes {
            for next in [&b"VALUE x"[..], b"\r\n", b"\0", b"STORED\r\n"] {
                let expected = Response::Whole { len: reply.len(), outcome };
                assert_eq!(parse(&[reply, next].concat(), shape), expected);
            }
        }
    }
}

#[test]
fn a_reply_that_is_not_whole_never_asks_for_more_than_there_will_be() {
    let metas = META_REPLIES.iter().map(|&reply| (reply, &[Shape::MetaStored][..]));
    let replies = REPLIES.iter().map(|&(reply, _, shapes)| (reply, shapes)).chain(metas);
    for (reply, shapes) in replies {
        for &shape in shapes {
            for end in 1..reply.len() {
                let Response::Partial(need) = parse(&reply[..end], shape) else {
                    panic!("{} is not whole", show(&reply[..end]));
                };
                assert!(end < need && need <= reply.len(), "{} needs {need}", show(&reply[..end]));
            }
        }
    }
}

#[test]
fn once_the_length_is_known_the_whole_is_asked_for() {
    assert_eq!(parse(b"VALUE k 0 100\r\n", Shape::Value), Response::Partial(15 + 100 + 7));
    assert_eq!(parse(b"VALUE k 0 100\r\n", Shape::Values), Response::Partial(15 + 100 + 2));
    assert_eq!(parse(b"VA 100 s1 O7\r\n", Shape::MetaGet), Response::Partial(14 + 100 + 2));
    assert_eq!(parse(b"VALU", Shape::Value), Response::Partial(5));
}

#[test]
fn values_of_a_fragment_come_one_by_one_with_their_keys() {
    let input = b"VALUE one 0 2\r\nhi\r\nVALUE two 1 0 9\r\n\r\nEND\r\n";
    assert_eq!(parse(input, Shape::Values), Response::Value { len: 19, key: Some(6..9) });
    assert_eq!(parse(&input[19..], Shape::Values), Response::Value { len: 19, key: Some(6..9) });
    assert_eq!(
        parse(&input[38..], Shape::Values),
        Response::Whole { len: 5, outcome: Outcome::Miss }
    );
}

#[test]
fn a_value_of_another_key_or_with_another_end_is_a_mismatch() {
    const INPUTS: &[&[u8]] = &[
        b"VALUE x 0 2\r\nhi\r\nEND\r\n",
        b"VALUE kk 0 2\r\nhi\r\nEND\r\n",
        b"VALUE  0 2\r\nhi\r\nEND\r\n",
        b"VALUE k 0 2\r\nhi!\r\nEND\r\n",
        b"VALUE k 0 2\r\nhi\r\nVALUE k 0 2\r\n",
        b"VALUE k 0 2\r\nhi\r\nSTORED\r\n",
        b"VALUE k 0 -1\r\n",
        b"VALUE k 0 99999999999\r\n",
        b"VALUE k x 2\r\nhi\r\nEND\r\n",
        b"VALUE k 0\r\n",
        b"VALUE k\r\n",
        b"VALUE k 0 2 x\r\nhi\r\nEND\r\n",
        b"VALUE k 0 2 1 1\r\nhi\r\nEND\r\n",
        b"value k 0 2\r\nhi\r\nEND\r\n",
        b"END \r\n",
        b"END\n",
        b"\r\n",
        b"\n",
    ];
    for input in INPUTS {
        assert_eq!(parse(input, Shape::Value), Response::Mismatch, "{}", show(input));
    }
    for input in [&b"VALUE k 0 2\r\nhi!\r\n"[..], b"VALUE k 0 x\r\n", b"VALUE k\r\n", b"END\n"] {
        assert_eq!(parse(input, Shape::Values), Response::Mismatch, "{}", show(input));
    }
}

#[test]
fn meta_replies_repeat_the_key_and_the_token_of_their_request() {
    const INPUTS: &[&[u8]] = &[
        b"HD kx\r\n",
        b"HD k\r\n",
        b"HD O8\r\n",
        b"HD O\r\n",
        b"EN kx O7\r\n",
        b"VA 2 kx\r\nhi\r\n",
        b"VA 2 kk O70\r\nhi\r\n",
        b"VA 2\r\nhi!\r\n",
        b"VA x\r\nhi\r\n",
        b"VA\r\nhi\r\n",
        b"HDx\r\n",
        b"hd\r\n",
        b"MN\r\n",
        b"BUSY\r\n",
    ];
    for input in INPUTS {
        assert_eq!(parse(input, Shape::MetaGet), Response::Mismatch, "{}", show(input));
    }
    assert_eq!(parse(b"ME x exp=-1\r\n", Shape::MetaDebug), Response::Mismatch);
    for input in [&b"HD\r\n"[..], b"HD kk\r\n", b"OK \r\n", b"VA 2 kk\r\nhi\r\n"] {
        assert_eq!(parse(input, Shape::MetaGet), Response::Mismatch, "{}", show(input));
    }
    for input in [&b"HD O7\r\n"[..], b"VA 2 O7\r\nhi\r\n"] {
        assert_eq!(parse(input, Shape::MetaGetKey), Response::Mismatch, "{}", show(input));
    }
    let without_token = parse_response(b"HD O7\r\n", Shape::MetaGet, (b"k", b""), MAX);
    assert_eq!(without_token, Response::Mismatch);
}

#[test]
fn a_key_may_come_back_in_base64() {
    let hit = |len| Response::Whole { len, outcome: Outcome::Hit };
    let meta_get = |input: &[u8]| parse_response(input, Shape::MetaGet, (b"hi", b""), MAX);
    assert_eq!(meta_get(b"VA 1 khi\r\nx\r\n"), hit(13));
    assert_eq!(meta_get(b"VA 1 kaGk= b\r\nx\r\n"), hit(17));
    assert_eq!(meta_get(b"VA 1 b kaGk=\r\nx\r\n"), hit(17));
    assert_eq!(meta_get(b"VA 1 kaGo= b\r\nx\r\n"), Response::Mismatch);
    let debug = |input: &[u8]| parse_response(input, Shape::MetaDebug, (b"hi", b""), MAX);
    assert_eq!(debug(b"ME aGk= exp=-1\r\n"), hit(16));
    assert_eq!(debug(b"ME aGo= exp=-1\r\n"), Response::Mismatch);
}

/// What the key of a base64 request may decode to.
const KEYS: [&[u8]; 8] = [
    b"a b",
    b"\r\nVALUE victim 0 5\r\nEVIL!\r\nEND\r\n",
    b"\r\n",
    b"\n",
    b" ",
    b"a\r\n",
    b"\0",
    b"k b",
];

#[test]
fn a_key_that_a_server_prints_as_it_is_is_a_part_of_its_reply_whatever_it_holds() {
    for key in KEYS {
        let replies = [
            ([b"HD W O7 k", key, b" b\r\n"].concat(), Shape::MetaGet),
            ([b"HD k", key, b"\r\n"].concat(), Shape::MetaStored),
            ([b"VA 4 O7 k", key, b" W\r\nEN\r\n\r\n"].concat(), Shape::MetaGet),
            (
                [b"ME ", key, b" exp=-1 la=0 cas=3 fetch=no cls=1 size=80\r\n"].concat(),
                Shape::MetaDebug,
            ),
        ];
        for (reply, shape) in replies {
            let parse = |input: &[u8]| parse_response(input, shape, (key, b"O7"), MAX);
            let input = [&reply, &b"VALUE x"[..]].concat();
            let Response::Whole { len, outcome } = parse(&input) else {
                panic!("{}: {:?}", show(&reply), parse(&input));
            };
            assert_eq!(len, reply.len(), "{}", show(&reply));
            assert_ne!(outcome, Outcome::Error);
            for end in 1..reply.len() {
                let Response::Partial(need) = parse(&reply[..end]) else {
                    panic!("{} is not whole: {:?}", show(&reply[..end]), parse(&reply[..end]));
                };
                assert!(end < need && need <= reply.len(), "{} needs {need}", show(&reply[..end]));
            }
        }
    }
}

#[test]
fn no_other_key_passes_for_the_one_that_was_asked_for() {
    for key in KEYS.into_iter().filter(|key| key.len() > 1) {
        let other = [key, b"x"].concat();
        for reply in [
            [b"HD k", &other[..], b"\r\n"].concat(),
            [b"HD k", &key[1..], b" \r\nEND\r\nEND\r\nEND\r\n"].concat(),
        ] {
            let found = parse_response(&reply, Shape::MetaGet, (key, b""), MAX);
            assert_eq!(found, Response::Mismatch, "{}", show(&reply));
        }
    }
}

#[test]
fn the_longest_base64_key_comes_back() {
    let key = [b'x'; 187];
    let mut reply = b"HD k".to_vec();
    reply.extend_from_slice(&[&b"eHh4"[..]; 62].concat());
    reply.extend_from_slice(b"eA== b\r\n");
    let expected = Response::Whole { len: reply.len(), outcome: Outcome::Hit };
    assert_eq!(parse_response(&reply, Shape::MetaGet, (&key, b""), MAX), expected);
    let too_long = [&b"HD k"[..], &[b'A'; 400], b" b\r\n"].concat();
    assert_eq!(parse_response(&too_long, Shape::MetaGet, (&key, b""), MAX), Response::Mismatch);
}

#[test]
fn a_line_without_end_is_not_waited_for_for_ever() {
    let long = Vec::from([b'1'; 4096]);
    for shape in SHAPES {
        assert_eq!(parse(&long[..4095], shape), Response::Partial(4096));
        assert_eq!(parse(&long, shape), Response::Mismatch, "{shape:?}");
    }
}

#[test]
fn words_that_are_no_reply_are_mismatches() {
    const INPUTS: [&[u8]; 7] = [
        b"ERRORS\r\n",
        b"CLIENT_ERROR\r\n",
        b"SERVER_ERRORS x\r\n",
        b"-1\r\n",
        b"+OK\r\n",
        b"VERSION\r\n",
        b"STORED \r\n",
    ];
    for input in INPUTS {
        for shape in SHAPES {
            assert_eq!(parse(input, shape), Response::Mismatch, "{} {shape:?}", show(input));
        }
    }
}
