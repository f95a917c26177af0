//! What clients write and what becomes of it, as tables. Texts and arities are those of memcached
//! 1.6.18, asked directly; where we differ on purpose, the table says so.

use super::super::COMMANDS;
use super::*;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

const PLAIN: KeyEncoding = KeyEncoding::Plain;
const LOUD: Outcomes = Outcomes::NONE;
const SILENT: Outcomes = Outcomes::ALL;

fn parse<'a>(input: &'a [u8], limits: &Limits) -> Parsed<'a> {
    parse_request(input, 0, limits)
}

/// What the first request of `input` is, and that it ends where `input` ends, whatever follows.
fn request(input: &[u8]) -> Request<'_> {
    let limits = Limits::default();
    let Parsed::Request(request, len) = parse(input, &limits) else {
        panic!("{} is a request", show(input));
    };
    assert_eq!(len, input.len(), "{}", show(input));
    let more = [input, b"get next\r\n"].concat();
    let Parsed::Request(same, len) = parse(&more, &limits) else { panic!("{}", show(input)) };
    assert_eq!((format!("{same:?}"), len), (format!("{request:?}"), input.len()));
    request
}

fn show(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

fn written(wire: &Wire<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    wire.write(&mut out);
    out
}

/// A line of a table: input, key, what is owed, what is hidden, kind, and what a server gets if
/// not the input itself.
type Single<'a> = (&'a [u8], &'a [u8], Shape, Outcomes, Class, Option<&'a [u8]>);

fn check_singles(table: &[Single<'_>]) {
    for &(input, key, shape, quiet, class, wire) in table {
        let Request::One(one) = request(input) else { panic!("{} has one key", show(input)) };
        assert_eq!(one.key, key, "{}", show(input));
        assert_eq!(one.expect, shape.expect(quiet), "{}", show(input));
        assert_eq!(one.class, class, "{}", show(input));
        match wire {
            None => assert_eq!(one.wire, Wire::Verbatim(input), "{}", show(input)),
            Some(wire) => {
                assert_eq!(show(&written(&one.wire)), show(wire), "{}", show(input));
            }
        }
    }
}

#[test]
fn reads_of_one_key() {
    use Class::{Get, GetAndTouch};
    use Shape::Value;
    check_singles(&[
        (b"get k\r\n", b"k", Value, LOUD, Get, None),
        (b"gets k\r\n", b"k", Value, LOUD, Get, None),
        (b"bget k\r\n", b"k", Value, LOUD, Get, Some(b"get k\r\n")),
        (b"bget  k\r\n", b"k", Value, LOUD, Get, Some(b"get k\r\n")),
        (b"get a\x01\x10\tb\x7f\r\n", b"a\x01\x10\tb\x7f", Value, LOUD, Get, None),
        (b"gat 0 k\r\n", b"k", Value, LOUD, GetAndTouch, None),
        (b"gats -1 k\r\n", b"k", Value, LOUD, GetAndTouch, None),
        (b"gat 2147483647 k\r\n", b"k", Value, LOUD, GetAndTouch, None),
        (b"get \xff\x80\r\n", b"\xff\x80", Value, LOUD, Get, None),
        (b"get k\n", b"k", Value, LOUD, Get, Some(b"get k\r\n")),
        (b" get k\n", b"k", Value, LOUD, Get, Some(b"get k\r\n")),
        (b"get  k\n", b"k", Value, LOUD, Get, Some(b"get k\r\n")),
        (b"get k \n", b"k", Value, LOUD, Get, Some(b"get k\r\n")),
        (b"  get   k  \r\n", b"k", Value, LOUD, Get, Some(b"get k\r\n")),
        (b"gat 0  k\r\n", b"k", Value, LOUD, GetAndTouch, Some(b"gat 0 k\r\n")),
        (b"gat 4294967295 k\r\n", b"k", Value, LOUD, GetAndTouch, Some(b"gat -1 k\r\n")),
        (b"gat  0 k\r\n", b"k", Value, LOUD, GetAndTouch, Some(b"gat 0 k\r\n")),
        (b" gat 0 k\n", b"k", Value, LOUD, GetAndTouch, Some(b"gat 0 k\r\n")),
    ]);
}

/// A request by the way of all requests, and by the short one of a plain `get`.
fn check_both_ways(input: &[u8], limits: &Limits) -> bool {
    let short = plain_get(input, limits);
    let (is_plain, by_line) = (short.is_some(), parse_line(input, 0, limits));
    if let Some((one, len)) = short {
        let parsed = Parsed::Request(Request::One(one), len);
        assert_eq!(format!("{parsed:?}"), format!("{by_line:?}"), "{}", show(input));
    }
    is_plain
}

#[test]
fn a_plain_get_is_parsed_as_any_request() {
    const BYTES: &[u8] = b" k\r\n\0\t\xff";
    let limits = Limits::default();
    let mut plain = 0;
    for number in 0..BYTES.len().pow(6) {
        let byte = |at: u32| BYTES[number / BYTES.len().pow(at) % BYTES.len()];
        let input = [b"get".to_vec(), (0..6).map(byte).collect()].concat();
        plain += usize::from(check_both_ways(&input, &limits));
    }
    // One to three bytes of a key, then what follows in the buffer.
    let keys = |len: u32| 3_usize.pow(len) * BYTES.len().pow(3 - len);
    assert_eq!(plain, keys(1) + keys(2) + keys(3));
    for len in 240..=260 {
        let input = [b"get ", &[b'k'; 260][..len], b"\r\n"].concat();
        assert_eq!(check_both_ways(&input, &limits), len <= KEY_LEN_MAX);
        for line_max in [len + 3, len + 4] {
            let limits = Limits { line_max, ..limits };
            let is_plain = check_both_ways(&input, &limits);
            assert_eq!(is_plain, len <= KEY_LEN_MAX && line_max == len + 4);
        }
    }
}

#[test]
fn storage() {
    use Class::{Cas, Set};
    use Shape::{Stored, Swapped};
    const FLAT: Option<&[u8]> = Some(b"set k 1 2 3\r\nabc\r\n");
    check_singles(&[
        (b"set k 1 2 3\r\nabc\r\n", b"k", Stored, LOUD, Set, None),
        (b"add k 1 2 3\r\nabc\r\n", b"k", Stored, LOUD, Set, None),
        (b"replace k 1 2 3\r\nabc\r\n", b"k", Stored, LOUD, Set, None),
        (b"append k 1 2 3\r\nabc\r\n", b"k", Stored, LOUD, Set, None),
        (b"prepend k 1 2 3\r\nabc\r\n", b"k", Stored, LOUD, Set, None),
        (b"set k 0 0 0\r\n\r\n", b"k", Stored, LOUD, Set, None),
        (b"set k 0 0 4\r\n\r\n\r\n\r\n", b"k", Stored, LOUD, Set, None),
        (b"set k 0 0 0003\r\nabc\r\n", b"k", Stored, LOUD, Set, Some(b"set k 0 0 3\r\nabc\r\n")),
        (b"set k 0 0 +3\r\nabc\r\n", b"k", Stored, LOUD, Set, Some(b"set k 0 0 3\r\nabc\r\n")),
        (
            b"set k 4294967296 4294967295 3 noreply\r\nabc\r\n",
            b"k",
            Stored,
            SILENT,
            Set,
            Some(b"set k 0 -1 3\r\nabc\r\n"),
        ),
        (
            b"cas k 0 -2147483649 3 +9\r\nabc\r\n",
            b"k",
            Swapped,
            LOUD,
            Cas,
            Some(b"cas k 0 2147483647 3 9\r\nabc\r\n"),
        ),
        (b"set k 4294967295 2147483647 1\r\na\r\n", b"k", Stored, LOUD, Set, None),
        (b"set k 0 -2147483648 1\r\na\r\n", b"k", Stored, LOUD, Set, None),
        (b"set k 1 2 3 noreply\r\nabc\r\n", b"k", Stored, SILENT, Set, FLAT),
        (b"set k 1 2 3 noreply \r\nabc\r\n", b"k", Stored, SILENT, Set, FLAT),
        (b"set k 1 2 3 NOREPLY\r\nabc\r\n", b"k", Stored, LOUD, Set, FLAT),
        (b"set k 1 2 3 0\r\nabc\r\n", b"k", Stored, LOUD, Set, FLAT),
        (b" set  k 1 2 3 \r\nabc\r\n", b"k", Stored, LOUD, Set, FLAT),
        (b"set k 1 2 3\nabc\r\n", b"k", Stored, LOUD, Set, FLAT),
        (b"cas k 1 2 3 9\r\nabc\r\n", b"k", Swapped, LOUD, Cas, None),
        (b"cas k 1 2 1 18446744073709551615\r\na\r\n", b"k", Swapped, LOUD, Cas, None),
        (
            b"cas k 1 2 3 9 noreply\r\nabc\r\n",
            b"k",
            Swapped,
            SILENT,
            Cas,
            Some(b"cas k 1 2 3 9\r\nabc\r\n"),
        ),
        (b"cas k 1 2 1 9 x\r\na\r\n", b"k", Swapped, LOUD, Cas, Some(b"cas k 1 2 1 9\r\na\r\n")),
    ]);
}

#[test]
fn commands_of_a_few_words() {
    use Class::{Decr, Delete, Incr, Touch};
    use Shape::{Deleted, Number, Touched};
    check_singles(&[
        (b"delete k\r\n", b"k", Deleted, LOUD, Delete, None),
        (b"delete k 0\r\n", b"k", Deleted, LOUD, Delete, Some(b"delete k\r\n")),
        (b"delete k noreply\r\n", b"k", Deleted, SILENT, Delete, Some(b"delete k\r\n")),
        (b"delete k 0 noreply\r\n", b"k", Deleted, SILENT, Delete, Some(b"delete k\r\n")),
        (b"delete noreply\r\n", b"noreply", Deleted, LOUD, Delete, Some(b"delete noreply 0\r\n")),
        (
            b"delete noreply noreply\r\n",
            b"noreply",
            Deleted,
            SILENT,
            Delete,
            Some(b"delete noreply 0\r\n"),
        ),
        (b"delete k\n", b"k", Deleted, LOUD, Delete, Some(b"delete k\r\n")),
        (b" delete k\n", b"k", Deleted, LOUD, Delete, Some(b"delete k\r\n")),
        (b"delete  k \r\n", b"k", Deleted, LOUD, Delete, Some(b"delete k\r\n")),
        (b"incr k 1\r\n", b"k", Number, LOUD, Incr, None),
        (b"decr k 18446744073709551615\r\n", b"k", Number, LOUD, Decr, None),
        (b"incr k 1 noreply\r\n", b"k", Number, SILENT, Incr, Some(b"incr k 1\r\n")),
        (b"incr k 1 2\r\n", b"k", Number, LOUD, Incr, Some(b"incr k 1\r\n")),
        (b"touch k -1\r\n", b"k", Touched, LOUD, Touch, None),
        (b"touch k 0 noreply\r\n", b"k", Touched, SILENT, Touch, Some(b"touch k 0\r\n")),
        (b"touch k 2147483648\r\n", b"k", Touched, LOUD, Touch, Some(b"touch k -2147483648\r\n")),
        (b"incr k 01\r\n", b"k", Number, LOUD, Incr, Some(b"incr k 1\r\n")),
        (b"touch k 0 foo\r\n", b"k", Touched, LOUD, Touch, Some(b"touch k 0\r\n")),
    ]);
}

#[test]
fn meta_requests_ask_aloud_and_remember_what_to_hide() {
    use Class::{Delete, Get, Incr, Other, Set};
    use Shape::{MetaDebug, MetaGet, MetaGetKey, MetaStored};
    check_singles(&[
        (b"mg k\r\n", b"k", MetaGet, LOUD, Get, None),
        (b"mg k v t O1 k\r\n", b"k", MetaGetKey, LOUD, Get, None),
        (b"mg k q\r\n", b"k", MetaGet, Outcomes::MISS, Get, Some(b"mg k\r\n")),
        (b"mg k v q k\r\n", b"k", MetaGetKey, Outcomes::MISS, Get, Some(b"mg k v k\r\n")),
        (b"mg q q\r\n", b"q", MetaGet, Outcomes::MISS, Get, Some(b"mg q\r\n")),
        (b"mg  k  v \r\n", b"k", MetaGet, LOUD, Get, Some(b"mg k v\r\n")),
        (b"mg k v\n", b"k", MetaGet, LOUD, Get, Some(b"mg k v\r\n")),
        (b"ms k 2\r\nhi\r\n", b"k", MetaStored, LOUD, Set, None),
        (b"ms k 0\r\n\r\n", b"k", MetaStored, LOUD, Set, None),
        (b"ms k 2 T0 F1 I\r\nhi\r\n", b"k", MetaStored, LOUD, Set, None),
        (
            b"ms k 2 q\r\nhi\r\n",
            b"k",
            MetaStored,
            Outcomes::SUCCESS,
            Set,
            Some(b"ms k 2\r\nhi\r\n"),
        ),
        (b"ms k 2\nhi\r\n", b"k", MetaStored, LOUD, Set, Some(b"ms k 2\r\nhi\r\n")),
        (b"md k\r\n", b"k", MetaStored, LOUD, Delete, None),
        (b"md k q C5\r\n", b"k", MetaStored, Outcomes::SUCCESS, Delete, Some(b"md k C5\r\n")),
        (b"ma k N0 J13 v\r\n", b"k", MetaStored, LOUD, Incr, None),
        (b"ma k q\r\n", b"k", MetaStored, Outcomes::SUCCESS, Incr, Some(b"ma k\r\n")),
        (b"me k\r\n", b"k", MetaDebug, LOUD, Other, None),
        (b"me k q\r\n", b"k", MetaDebug, LOUD, Other, None),
        // memcached 1.6.40 does not see a `b` that is the last word.
        (b"me aGk= b\r\n", b"aGk=", MetaDebug, LOUD, Other, Some(b"me aGk= b b\r\n")),
        (b"me  aGk= b \n", b"aGk=", MetaDebug, LOUD, Other, Some(b"me aGk= b b\r\n")),
        (b"me !! b\r\n", b"!!", MetaDebug, LOUD, Other, Some(b"me !! b b\r\n")),
        (b"me aGk= b x\r\n", b"aGk=", MetaDebug, LOUD, Other, None),
        (b"me aGk= x b\r\n", b"aGk=", MetaDebug, LOUD, Other, None),
        (b"me b\r\n", b"b", MetaDebug, LOUD, Other, None),
        (b"ms k +2\r\nhi\r\n", b"k", MetaStored, LOUD, Set, Some(b"ms k 2\r\nhi\r\n")),
    ]);
}

#[test]
fn flags_say_what_a_meta_request_counts_as() {
    use Class::{Cas, Decr, Delete, Get, GetAndTouch, Incr, Set};
    for (input, class) in [
        (&b"mg k v t\r\n"[..], Get),
        (b"mg k v N30 R30\r\n", Get),
        (b"mg k T30\r\n", GetAndTouch),
        (b"ms k 1 T30\r\nx\r\n", Set),
        (b"ms k 1 C7\r\nx\r\n", Cas),
        (b"ms k 1 C7 MS\r\nx\r\n", Cas),
        (b"ms k 1 Mreplace C7\r\nx\r\n", Set),
        (b"ms k 1 MReplace C7\r\nx\r\n", Cas),
        // Here memcached compares, too, but counts nothing.
        (b"ms k 1 MA C7\r\nx\r\n", Set),
        (b"ms k 1 ME C7\r\nx\r\n", Set),
        (b"md k T30 C7 I\r\n", Delete),
        (b"ma k T30 C7\r\n", Incr),
        (b"ma k MI\r\n", Incr),
        (b"ma k M+\r\n", Incr),
        (b"ma k MD\r\n", Decr),
        (b"ma k M-\r\n", Decr),
        (b"ma k M\r\n", Incr),
    ] {
        let Request::One(one) = request(input) else { panic!("{}", show(input)) };
        assert_eq!(one.class, class, "{}", show(input));
    }
}

#[test]
fn meta_flags_that_concern_us_are_read() {
    const TOKEN: &[u8] = &[b'O'; 32];
    type Row<'a> = (&'a [u8], &'a [u8], KeyEncoding, &'a [u8]);
    let long = [b"mg k ", TOKEN, b"\r\n"].concat();
    let table: &[Row<'_>] = &[
        (b"mg k\r\n", b"k", PLAIN, b""),
        (b"mg k O\r\n", b"k", PLAIN, b"O"),
        (b"mg k v Oabc t\r\n", b"k", PLAIN, b"Oabc"),
        (&long, b"k", PLAIN, TOKEN),
        (b"mg aGk= b\r\n", b"aGk=", KeyEncoding::Base64, b""),
        (b"mg aGk= v bar\r\n", b"aGk=", KeyEncoding::Base64, b""),
        (b"mg aGk=\r\n", b"aGk=", PLAIN, b""),
        (b"ms aGk= 1 b O9\r\nx\r\n", b"aGk=", KeyEncoding::Base64, b"O9"),
        (b"mg k a c d e f g h i j l m n o p r s t\r\n", b"k", PLAIN, b""),
        // No base64: the server says so.
        (b"mg !! b\r\n", b"!!", PLAIN, b""),
        (b"mg aGk b\r\n", b"aGk", PLAIN, b""),
        (b"ms !! 1 b\r\nx\r\n", b"!!", PLAIN, b""),
        // `me` reads no flag but a `b` that is the first.
        (b"me aGk= b O1\r\n", b"aGk=", KeyEncoding::Base64, b""),
        (b"me aGk= O1 b\r\n", b"aGk=", PLAIN, b""),
        (b"me aGk= bx\r\n", b"aGk=", PLAIN, b""),
    ];
    for &(input, key, encoding, opaque) in table {
        let Request::One(one) = request(input) else { panic!("{}", show(input)) };
        assert_eq!((one.key, one.encoding, one.opaque), (key, encoding, opaque), "{}", show(input));
    }
}

#[test]
fn reads_of_several_keys() {
    type Row = (&'static [u8], &'static [u8], &'static [u8], Class);
    let line_max = |class| if class == Class::Get { 16_000 } else { 1024 };
    let table: &[Row] = &[
        (b"get a b\r\n", b"get", b"a b", Class::Get),
        (b"bget a b\r\n", b"get", b"a b", Class::Get),
        (b"gets a b a\r\n", b"gets", b"a b a", Class::Get),
        (b"  get  a   b \r\n", b"get", b"a   b ", Class::Get),
        (b"get a b\n", b"get", b"a b", Class::Get),
        (b"gat 10 a b\r\n", b"gat 10", b"a b", Class::GetAndTouch),
        (b"gat +7 a b\r\n", b"gat 7", b"a b", Class::GetAndTouch),
        (b"gats 0 noreply b\r\n", b"gats 0", b"noreply b", Class::GetAndTouch),
    ];
    for &(input, head, keys, class) in table {
        let expect = Shape::Values.expect(LOUD);
        let Request::Many(many) = request(input) else { panic!("{}", show(input)) };
        assert_eq!((many.keys, many.expect, many.class), (keys, expect, class));
        assert_eq!(many.line_max, line_max(class));
        let mut written = Vec::new();
        many.head.write(Keep::All, &mut written);
        assert_eq!(show(&written), show(head), "{}", show(input));
    }
}

#[test]
fn flush_all_goes_to_all() {
    let table: &[(&[u8], Outcomes, &[u8])] = &[
        (b"flush_all\r\n", LOUD, b"flush_all\r\n"),
        (b"flush_all 0\r\n", LOUD, b"flush_all 0\r\n"),
        (b"flush_all -1\r\n", LOUD, b"flush_all -1\r\n"),
        (b"flush_all 4294967295\r\n", LOUD, b"flush_all -1\r\n"),
        (b"flush_all 10 x\r\n", LOUD, b"flush_all 10\r\n"),
        (b"flush_all noreply\r\n", SILENT, b"flush_all\r\n"),
        (b"flush_all 10 noreply\r\n", SILENT, b"flush_all 10\r\n"),
    ];
    for &(input, quiet, wire) in table {
        let Request::All(all) = request(input) else { panic!("{}", show(input)) };
        assert_eq!(all.expect, Shape::Ok.expect(quiet), "{}", show(input));
        assert_eq!(show(&written(&all.wire)), show(wire), "{}", show(input));
    }
}

#[test]
fn what_needs_no_server_or_any() {
    const VERSION: &[u8] = b"version\r\n";
    let table: &[(&[u8], Request<'_>)] = &[
        (b"mn\r\n", Request::Barrier(b"MN\r\n")),
        (b"mn foo q\r\n", Request::Barrier(b"MN\r\n")),
        (b"verbosity 1\r\n", Request::Answer(b"OK\r\n")),
        (b"verbosity 1 2\r\n", Request::Answer(b"OK\r\n")),
        (b"verbosity 1 noreply\r\n", Request::Answer(b"")),
        (b"verbosity abc noreply\r\n", Request::Answer(b"")),
        (b"verbosity noreply\r\n", Request::Answer(b"")),
        (b"stats\r\n", Request::Question(b"stats")),
        (b" stats  settings \n", Request::Question(b" stats  settings ")),
        (b"shutdown\r\n", Request::Answer(b"ERROR: shutdown not enabled\r\n")),
        (b"shutdown now\r\n", Request::Answer(b"ERROR: shutdown not enabled\r\n")),
        (b"gat 0\r\n", Request::Answer(b"END\r\n")),
        (b"quit\r\n", Request::Quit(b"")),
        (b" quit now\n", Request::Quit(b"")),
    ];
    for (input, expected) in table {
        assert_eq!(&request(input), expected, "{}", show(input));
    }
    for input in [VERSION, b"version x y\r\n", b" version\n"] {
        let Request::One(one) = request(input) else { panic!("{}", show(input)) };
        assert_eq!((one.key, one.wire), (VERSION_KEY, Wire::Verbatim(VERSION)));
        assert_eq!(one.expect, Shape::Version.expect(LOUD));
    }
}

fn check_refusals(table: &[(&[u8], &[u8], u64)]) {
    for &(input, error, skip) in table {
        let Request::Refused { error: found, skip: skipped, .. } = request(input) else {
            panic!("{} is refused", show(input));
        };
        assert_eq!((show(found), skipped), (show(error), skip), "{}", show(input));
    }
}

const KEY_251: &[u8] = &[b'k'; 251];

fn with_long_key(before: &str, after: &str) -> Vec<u8> {
    [before.as_bytes(), b" ", KEY_251, after.as_bytes(), b"\r\n"].concat()
}

#[test]
fn unknown_commands_and_wrong_arities_are_errors() {
    const LINES: &[&[u8]] = &[
        b"\r\n",
        b"\n",
        b"   \r\n",
        b"GET k\r\n",
        b"\tget k\r\n",
        b"getx\r\n",
        b"foo bar baz\r\n",
        b"foo bar HTTP/1.1 x\r\n",
        b"foo xHTTP/1.1\r\n",
        b"xHTTP/1\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"foo HTTP\r\n",
        b"cache_memlimit 64\r\n",
        b"get\r\n",
        b"gets \r\n",
        b"gat\r\n",
        b"incr\r\n",
        b"incr k\r\n",
        b"incr k 1 noreply x\r\n",
        b"touch k\r\n",
        b"touch noreply\r\n",
        b"touch k 0 noreply x\r\n",
        b"delete\r\n",
        b"delete k 0 noreply x\r\n",
        b"flush_all 0 noreply x\r\n",
        b"verbosity\r\n",
        b"verbosity 1 2 3\r\n",
        b"verbosity 1 noreply x\r\n",
        b"mg\r\n",
        b"md\r\n",
        b"ma \r\n",
    ];
    check_refusals(&LINES.iter().map(|&line| (line, ERROR, 0)).collect::<Vec<_>>());
}

#[test]
fn bad_words_are_refused_with_memcacheds_texts() {
    check_refusals(&[
        (&with_long_key("get", ""), BAD_LINE, 0),
        (&with_long_key("gat 0", ""), BAD_LINE, 0),
        (&with_long_key("incr", " 1"), BAD_LINE, 0),
        (&with_long_key("touch", " 0"), BAD_LINE, 0),
        (&with_long_key("delete", ""), BAD_LINE, 0),
        (&with_long_key("delete", " 5"), BAD_DELETE, 0),
        (&with_long_key("mg", " q"), BAD_LINE, 0),
        (&with_long_key("me", ""), BAD_LINE, 0),
        (b"me\r\n", BAD_LINE, 0),
        (b"gat abc k\r\n", BAD_EXPTIME, 0),
        (b"gat abc\r\n", BAD_EXPTIME, 0),
        (b"incr k abc\r\n", BAD_DELTA, 0),
        (b"incr k -1\r\n", BAD_DELTA, 0),
        (b"decr k 18446744073709551616\r\n", BAD_DELTA, 0),
        (b"touch k abc\r\n", BAD_EXPTIME, 0),
        (b"delete k 1\r\n", BAD_DELETE, 0),
        (b"delete a b\r\n", BAD_DELETE, 0),
        (b"delete k 0 0\r\n", BAD_DELETE, 0),
        (b"delete k noreply 0\r\n", BAD_DELETE, 0),
        (b"flush_all abc\r\n", BAD_EXPTIME, 0),
        (b"flush_all noreply x\r\n", BAD_EXPTIME, 0),
        (b"verbosity abc\r\n", BAD_LINE, 0),
        (b"verbosity -1\r\n", BAD_LINE, 0),
    ]);
}

#[test]
fn bytes_that_end_a_word_or_a_line_for_some_memcached_are_refused() {
    check_refusals(&[
        (b"get a\0b\r\n", BAD_LINE, 0),
        (b"get k\r\r\n", BAD_LINE, 0),
        (b"delete a\0\r\n", BAD_LINE, 0),
        (b"mg a\rb\r\n", BAD_LINE, 0),
        (b"me a x\0\r\n", BAD_LINE, 0),
        (b"mg a x\rb\r\n", b"CLIENT_ERROR invalid flag\r\n", 0),
        (b"ms a 3 x\0\r\n", b"CLIENT_ERROR invalid flag\r\n", 5),
    ]);
}

#[test]
fn bad_storage_lines_are_refused_together_with_their_data() {
    check_refusals(&[
        (&with_long_key("set", " 0 0 3"), BAD_LINE, 5),
        (b"set a\0b 0 0 3\r\n", BAD_LINE, 5),
        (b"set k x 0 3\r\n", BAD_LINE, 5),
        (b"set k -1 0 3\r\n", BAD_LINE, 5),
        (b"set k 18446744073709551616 0 3\r\n", BAD_LINE, 5),
        (b"set k 0 x 3\r\n", BAD_LINE, 5),
        (b"set k 0 9223372036854775808 3\r\n", BAD_LINE, 5),
        (b"set k 0 -9223372036854775809 3\r\n", BAD_LINE, 5),
        (b"cas k 0 0 3 x\r\n", BAD_LINE, 5),
        (b"cas k 0 0 3 -1\r\n", BAD_LINE, 5),
        (b"cas k 0 0 3 18446744073709551616\r\n", BAD_LINE, 5),
        (b"cas k 0 0 3\r\n", ERROR, 5),
        (b"set k 0 0 3 noreply x\r\n", ERROR, 5),
        (b"cas k 0 0 3 1 noreply x\r\n", ERROR, 5),
        (b"set k 0 0 67108865\r\n", TOO_LARGE, 67_108_867),
        (b"set k 0 0 2147483645\r\n", TOO_LARGE, 2_147_483_647),
        (b"ms k 67108865\r\n", TOO_LARGE, 67_108_867),
    ]);
}

#[test]
fn whoever_wants_no_reply_is_told_of_no_mistake_but_arity() {
    check_refusals(&[
        (b"set k x 0 3 noreply\r\n", b"", 5),
        (&with_long_key("set", " 0 0 3 noreply"), b"", 5),
        (b"set k 0 0 67108865 noreply\r\n", b"", 67_108_867),
        (b"cas k 0 0 3 x noreply\r\n", b"", 5),
        (b"incr k abc noreply\r\n", b"", 0),
        (&with_long_key("incr", " 1 noreply"), b"", 0),
        (b"touch k abc noreply\r\n", b"", 0),
        (b"touch k noreply\r\n", b"", 0),
        (b"incr k noreply\r\n", b"", 0),
        (b"cas k 0 0 1 noreply\r\n", b"", 3),
        (b"delete k 1 noreply\r\n", b"", 0),
        (b"flush_all abc noreply\r\n", b"", 0),
    ]);
}

#[test]
fn bad_meta_requests_are_refused_also_quiet_ones() {
    check_refusals(&[
        (b"mg k q q\r\n", b"CLIENT_ERROR duplicate flag\r\n", 0),
        (b"md k q q\r\n", b"CLIENT_ERROR invalid or duplicate flag\r\n", 0),
        (b"ma k q v q\r\n", b"CLIENT_ERROR invalid or duplicate flag\r\n", 0),
        (b"ms k 3 q q\r\n", b"CLIENT_ERROR duplicate flag\r\n", 5),
        (
            b"mg k Oxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n",
            b"CLIENT_ERROR opaque token too long\r\n",
            0,
        ),
        (
            b"ms k 3 Oxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n",
            b"CLIENT_ERROR opaque token too long\r\n",
            5,
        ),
        (
            b"ms k 3 a c d e f g h i j l m n o p r s t\r\n",
            b"CLIENT_ERROR options flags too long\r\n",
            5,
        ),
        (
            b"mg k a c d e f g h i j l m n o p r s t u\r\n",
            b"CLIENT_ERROR options flags are too long\r\n",
            0,
        ),
        (&with_long_key("ms", " 3 q"), BAD_LINE, 5),
    ]);
}

/// memcached 1.6.40 refuses an `ms` with such a flag before it has read the length.
#[test]
fn a_flag_that_begins_with_no_letter_or_digit_is_refused_together_with_the_data() {
    for byte in (1..=255u8).filter(|byte| !b" \n\r".contains(byte)) {
        for (before, after) in [("", ""), ("", "7"), ("T0 ", ""), ("k q ", " c"), ("", " q")] {
            if byte == b'q' && [before, after].concat().contains('q') {
                continue;
            }
            let flags = [before.as_bytes(), &[byte], after.as_bytes()].concat();
            let ms = [b"ms k 3 ", &flags[..], b"\r\n"].concat();
            let mg = [b"mg k ", &flags[..], b"\r\n"].concat();
            if byte.is_ascii_alphanumeric() {
                let whole = [&ms[..], b"abc\r\n"].concat();
                assert!(matches!(request(&whole), Request::One(_)), "{}", show(&ms));
                assert!(matches!(request(&mg), Request::One(_)), "{}", show(&mg));
            } else {
                let bad_flag = b"CLIENT_ERROR invalid flag\r\n";
                check_refusals(&[(&ms, bad_flag, 5), (&mg, bad_flag, 0)]);
            }
        }
    }
}

#[test]
fn only_what_came_after_set_add_and_replace_needs_a_server_that_is_not_of_the_oldest() {
    for (line, needs) in [
        ("set k 0 0 3", Needs::NOTHING),
        ("add k 0 0 3", Needs::NOTHING),
        ("replace k 0 0 3", Needs::NOTHING),
        ("append k 0 0 3", Needs::APPEND),
        ("prepend k 0 0 3 noreply", Needs::APPEND),
        ("cas k 0 0 3 7", Needs::APPEND),
    ] {
        let input = format!("{line}\r\nabc\r\n");
        let Request::One(one) = request(input.as_bytes()) else { panic!("{line}") };
        assert_eq!(one.needs, needs, "{line}");
    }
}

#[test]
fn without_a_readable_length_the_framing_is_lost() {
    let table: &[(&[u8], &[u8])] = &[
        (b"set\r\n", ERROR),
        (b"set k 0 0\r\n", ERROR),
        (b"ms\r\n", ERROR),
        (b"ms k\r\n", BAD_LINE),
        (b"set k 0 0 x\r\n", BAD_LINE),
        (b"set k 0 0 -1\r\n", BAD_LINE),
        (b"set k 0 0 2147483646\r\n", BAD_LINE),
        (b"set k 0 0 99999999999999999999\r\n", BAD_LINE),
        (b"cas k 0 0 x 1\r\n", BAD_LINE),
        (b"ms k S3\r\n", BAD_LINE),
        (b"ms aGk= b 3\r\n", BAD_LINE),
    ];
    for &(input, error) in table {
        let expected = Request::Lost { error, limit: Limit::Grammar };
        assert_eq!(request(input), expected, "{}", show(input));
    }
}

#[test]
fn a_data_block_ends_where_it_should_or_the_framing_is_lost() {
    const INPUTS: [&[u8]; 6] = [
        b"set k 0 0 1\r\nabc\r\n",
        b"set k 0 0 3\r\nabcd\r\n",
        b"set k 0 0 5\r\nabc\r\nget k\r\n",
        b"set k 0 0 1\r\n7\n\n",
        b"set k 0 0 1 noreply\r\nabc\r\n",
        b"ms k 1 q\r\nabc\r\n",
    ];
    let lost = Request::Lost { error: BAD_DATA, limit: Limit::Grammar };
    for input in INPUTS {
        let Parsed::Request(request, _) = parse(input, &Limits::default()) else {
            panic!("{}", show(input));
        };
        assert_eq!(request, lost, "{}", show(input));
    }
}

#[test]
fn browsers_and_the_binary_protocol_are_left_without_a_word() {
    const INPUTS: [&[u8]; 8] = [
        b"GET / HTTP/1.1\r\n",
        b"POST /x HTTP/1.0\n",
        b"GET / HTTP/\r\n",
        b"GET  /  HTTP/2 \r\n",
        b"a b c d e f g h i j k l m n o p q r s t u v w x y z HTTP/1.1\r\n",
        b"HTTP/1.1\r\n",
        b"\x80\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"\x80",
    ];
    for input in INPUTS {
        let Parsed::Request(request, _) = parse(input, &Limits::default()) else {
            panic!("{}", show(input));
        };
        let limit = if input[0] == 0x80 { Limit::Binary } else { Limit::Http };
        assert_eq!(request, Request::Lost { error: b"", limit }, "{input:?}");
    }
}

#[test]
fn what_is_not_whole_waits_and_says_for_how_much() {
    let limits = Limits::default();
    for command in COMMANDS {
        for end in 1..=command.name.len() {
            assert_eq!(parse(&command.name[..end], &limits), Parsed::PartialLine);
        }
    }
    let set = b"set key 1 2 10\r\n0123456789\r\n";
    for end in 1..16 {
        assert_eq!(parse(&set[..end], &limits), Parsed::PartialLine, "{end}");
    }
    for end in 16..set.len() {
        assert_eq!(parse(&set[..end], &limits), Parsed::Partial(set.len()), "{end}");
    }
    assert_eq!(parse(b"ms k 67108864 q\r\n", &limits), Parsed::Partial(67_108_883));
}

#[test]
fn what_was_searched_is_not_searched_again() {
    let limits = Limits::default();
    let line = b"get k\r\n";
    for searched in 0..6 {
        let Parsed::Request(_, len) = parse_request(line, searched, &limits) else { panic!() };
        assert_eq!(len, 7);
    }
}

#[test]
fn lines_are_as_long_as_their_commands_need() {
    let limits = Limits { line_max: 5000, ..Limits::default() };
    let lost = |input: &[u8]| {
        let expected = Request::Lost { error: LINE_TOO_LONG, limit: Limit::Line };
        matches!(parse(input, &limits), Parsed::Request(found, _) if found == expected)
    };
    for (command, longest) in [("delete", 2047), ("foo", 2047), ("get", 5000), ("gat 1", 5000)] {
        let mut line = command.as_bytes().to_vec();
        line.resize(longest, b' ');
        assert_eq!(parse(&line, &limits), Parsed::PartialLine, "{command}");
        assert!(!lost(&[&line, &b"\n"[..]].concat()), "{command}");
        assert!(!lost(&[&line, &b"\r\n"[..]].concat()), "{command}");
        line.push(b' ');
        assert_eq!(parse(&line, &limits), Parsed::PartialLine, "{command}, perhaps with a CR");
        assert!(lost(&[&line, &b"\n"[..]].concat()), "{command}, with its end");
        line.push(b' ');
        assert!(lost(&line), "{command}");
    }
    assert!(lost(&[b' '; 2049]), "no command in sight");
}

#[test]
fn limits_are_inclusive_and_say_which_they_are() {
    let limits = Limits { item_size_max: 3, ..Limits::default() };
    let refused = |input: &'static [u8]| match parse(input, &limits) {
        Parsed::Request(Request::Refused { error, limit, .. }, _) => Some((error, limit)),
        _ => None,
    };
    assert_eq!(refused(b"set k 0 0 3\r\nabc\r\n"), None);
    assert_eq!(refused(b"set k 0 0 4\r\nabcd\r\n"), Some((TOO_LARGE, Limit::ItemSize)));
    assert_eq!(refused(b"ms k 4\r\nabcd\r\n"), Some((TOO_LARGE, Limit::ItemSize)));
}
