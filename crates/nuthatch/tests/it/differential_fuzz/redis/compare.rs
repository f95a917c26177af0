//! Whether an answer is that of Redis: what is masked before the comparison, and the table of listed
//! differences.
//!
//! The rule: a difference is accepted only by a rule of the table. Masked is only what two healthy
//! servers may say differently:
//!
//! - the order of what has none: members of sets, fields of hashes,
//! - the rest of a time to live, and the time at which it is over,
//! - the map that `HELLO` answers.

use super::super::verdict::{Answer, Case, Ended, Rule, Verdict, rule};
use super::frame::{Begun, Reply, begun, commands, number};
use super::grammar::{OF_ONE_CLIENT, OF_ONE_SERVER};

pub(in super::super) static RULES: [Rule; 7] = [
    rule(
        "keys of several servers",
        "If they have not, the proxy sends nothing and replies with `-CROSSSLOT`",
        |case| {
            case.ours.bytes.starts_with(b"-CROSSSLOT ")
                && case.ours.ended == Ended::Open
                && match words(case.request) {
                    Some(words) => words.len() > 2 && is_one_error(case.ours),
                    // What follows may be the rest of its last word. Both sides answer what is left of that.
                    None => {
                        let Begun { words, has_all, .. } = begun(case.request);
                        has_all && words.len() > 2 && goes_on_alike(case)
                    }
                }
        },
    ),
    rule("no keys", "In a pool of several servers, a script without keys is refused", |case| {
        case.ours.bytes.starts_with(b"-ERR a command without keys has no server")
            && case.ours.ended == Ended::Open
            && is_one_error(case.ours)
            && verb(case.request).is_some_and(|verb| verb.starts_with("EVAL"))
    }),
    rule("one server", "and other administration | only in a pool of one server", |case| {
        is_about(case, OF_ONE_SERVER) && is_one_reply(case.ours)
    }),
    rule(
        "one client",
        "| `INFO`, `COMMAND`, `CLIENT LIST`, and with several servers `CONFIG GET` | about the proxy",
        |case| is_about(case, OF_ONE_CLIENT) && is_one_reply(case.ours),
    ),
    rule("many arguments", "A request has at most 1,048,576 arguments", |case| {
        breaks(case, "invalid multibulk length") && number_behind(case, b'*') > Some(1 << 20)
    }),
    rule("long argument", "A longer argument ends the connection", |case| {
        breaks(case, "invalid bulk length") && number_behind(case, b'$') > Some(64 << 20)
    }),
    rule(
        "odd length",
        "The line of a length has at most 63 bytes, none of which is zero",
        |case| {
            let line = begun(case.request).line;
            let is_bulk = line.starts_with(b"$");
            let is_long = line.len() > 63 && is_bulk && breaks(case, "too big bulk count string");
            is_long || (line.contains(&0) && is_bulk && breaks(case, "invalid bulk length"))
        },
    ),
];

pub(in super::super) fn judge(case: &Case<'_>) -> Verdict {
    if case.plain == case.ours { Verdict::Same } else { case.judge_by(&RULES) }
}

/// What makes two differences the same one to whoever reads a report.
pub(in super::super) fn signature(case: &Case<'_>) -> String {
    let shape = |answer: &Answer| {
        let line = answer.bytes.split(|&byte| byte == b'\r').next().unwrap_or_default();
        // Of an error the words, without the names in it; of anything else its kind.
        let len = match line.first() {
            Some(b'-') => line.iter().position(|&byte| byte == b'\'').unwrap_or(line.len()),
            Some(b'+') => line.len(),
            _ => 1.min(line.len()),
        };
        format!("{} {:?}", line[..len.min(60)].escape_ascii(), answer.ended)
    };
    if case.ours.bytes.is_empty() && case.ours.ended == Ended::Closed {
        return "ours closes without the answer that is due".to_owned();
    }
    let verb = verb(case.request).unwrap_or_else(|| "no command".to_owned());
    format!("{verb}: plain {}, ours {}", shape(case.plain), shape(case.ours))
}

/// The answer of one side, masked.
pub(in super::super) fn answer(request: &[u8], bytes: &[u8], ended: Ended) -> Answer {
    let masked = verb(request).zip(Reply::parse(bytes)).map(|(verb, mut reply)| {
        mask(&verb, &mut reply);
        reply.bytes()
    });
    Answer { bytes: masked.unwrap_or_else(|| bytes.to_vec()), ended }
}

fn mask(verb: &str, reply: &mut Reply) {
    match verb {
        "SMEMBERS" | "SINTER" | "SUNION" | "SDIFF" | "HKEYS" | "HVALS" => reply.parts.sort(),
        "HGETALL" => sort_pairs(&mut reply.parts),
        "SSCAN" => reply.parts.iter_mut().for_each(|part| part.parts.sort()),
        "HSCAN" | "ZSCAN" => reply.parts.iter_mut().for_each(|part| sort_pairs(&mut part.parts)),
        "TTL" | "PTTL" | "EXPIRETIME" | "PEXPIRETIME" => {
            let is_time = |digit: Option<&u8>| digit.is_some_and(|digit| *digit != b'-');
            if reply.head.starts_with(b":") && is_time(reply.head.get(1)) {
                reply.head = b":#\r\n".to_vec();
            }
        }
        "HELLO" => reply.parts.clear(),
        _ => {}
    }
}

fn sort_pairs(parts: &mut Vec<Reply>) {
    let mut pairs: Vec<_> = parts.chunks(2).map(<[Reply]>::to_vec).collect();
    pairs.sort();
    *parts = pairs.concat();
}

/// The words of a request that is one whole command.
fn words(request: &[u8]) -> Option<Vec<&[u8]>> {
    let mut commands = commands(request)?;
    if commands.len() == 1 { commands.pop() } else { None }
}

fn verb(request: &[u8]) -> Option<String> {
    let words = words(request)?;
    let verb = words.first()?;
    let unquoted = verb.trim_ascii().iter().filter(|byte| !b"\"'".contains(byte)).copied();
    let text = String::from_utf8_lossy(&unquoted.collect::<Vec<_>>()).to_ascii_uppercase();
    Some(text.chars().take(20).collect())
}

fn is_about(case: &Case<'_>, commands: &[&str]) -> bool {
    let verb = verb(case.request).unwrap_or_default();
    commands.iter().any(|command| command.split(' ').next() == Some(&verb))
}

fn is_one_reply(answer: &Answer) -> bool {
    Reply::parse(&answer.bytes).is_some() && answer.ended == Ended::Open
}

fn is_one_error(answer: &Answer) -> bool {
    answer.bytes.starts_with(b"-") && Reply::parse(&answer.bytes).is_some()
}

/// Whether only the first replies are different.
fn goes_on_alike(case: &Case<'_>) -> bool {
    let rests =
        [case.plain, case.ours].map(|answer| Reply::take(&answer.bytes).map(|(_, rest)| rest));
    rests[0].is_some() && rests[0] == rests[1] && case.plain.ended == case.ours.ended
}

/// Whether ours ends the connection with this error, and says nothing else.
fn breaks(case: &Case<'_>, error: &str) -> bool {
    let error = format!("-ERR Protocol error: {error}\r\n");
    case.ours.bytes == error.as_bytes() && case.ours.ended == Ended::Closed
}

/// The number in the last line of one, if that begins with `kind`.
fn number_behind(case: &Case<'_>, kind: u8) -> Option<usize> {
    begun(case.request).line.strip_prefix(&[kind]).and_then(number)
}

#[test]
fn a_listed_difference_of_redis_stands_in_its_document() {
    let document = include_str!("../../../../../../docs/redis.md").replace('\n', " ");
    for rule in &RULES {
        assert!(document.contains(rule.row), "{}: docs/redis.md has no {:?}", rule.name, rule.row);
    }
}

#[test]
fn an_answer_that_no_rule_accepts_is_a_difference() {
    let judge = |request: &str, plain: &str, ours: &str, ended| {
        let request = request.as_bytes();
        let plain = answer(request, plain.as_bytes(), Ended::Open);
        let ours = answer(request, ours.as_bytes(), ended);
        judge(&Case { request, plain: &plain, ours: &ours })
    };
    let open = |request: &str, plain: &str, ours: &str| judge(request, plain, ours, Ended::Open);
    assert_eq!(open("GET a\r\n", "$1\r\nx\r\n", "$1\r\nx\r\n"), Verdict::Same);
    assert_eq!(open("GET a\r\n", "$1\r\nx\r\n", "$1\r\ny\r\n"), Verdict::Different);
    assert_eq!(open("GET a\r\n", "$-1\r\n", ""), Verdict::Different);
    assert_eq!(open("GET a\r\n", "$-1\r\n", "$-1\r\n$-1\r\n"), Verdict::Different);
    assert_eq!(open("GET a\r\n", "$-1\r\n", "-CROSSSLOT x\r\n"), Verdict::Different);
    let pair = "*2\r\n$1\r\nx\r\n$1\r\ny\r\n";
    let turned = "*2\r\n$1\r\ny\r\n$1\r\nx\r\n";
    assert_eq!(open("SMEMBERS a\r\n", pair, turned), Verdict::Same);
    assert_eq!(open("LRANGE a 0 1\r\n", pair, turned), Verdict::Different);
    assert_eq!(open("HGETALL a\r\n", pair, turned), Verdict::Different);
    assert_eq!(open("TTL a\r\n", ":100\r\n", ":99\r\n"), Verdict::Same);
    assert_eq!(open("TTL a\r\n", ":100\r\n", ":-1\r\n"), Verdict::Different);
    assert_eq!(open("SINTER a b\r\n", "*0\r\n", "-CROSSSLOT x\r\n"), Verdict::Listed);
    // The third key is empty: its line feed and the first byte of what follows end it.
    let shifted = "*4\r\n$7\r\nPFCOUNT\r\n$1\r\na\r\n$1\r\nb\r\n$0\r\r\n";
    let rest = "-ERR unknown command '4', with args beginning with: \r\n";
    let crossslot = format!("-CROSSSLOT x\r\n{rest}");
    assert_eq!(open(shifted, &format!(":0\r\n{rest}"), &crossslot), Verdict::Listed);
    assert_eq!(open(shifted, &format!(":0\r\n{rest}+OK\r\n"), &crossslot), Verdict::Different);
    assert_eq!(open(shifted, ":0\r\n", &crossslot), Verdict::Different);
    assert_eq!(open(shifted, "", &crossslot), Verdict::Different);
    let one_key = "*2\r\n$3\r\nGET\r\n$0\r\r\n";
    assert_eq!(open(one_key, &format!("$-1\r\n{rest}"), &crossslot), Verdict::Different);
    assert_eq!(open("flushall\r\n", "+PONG\r\n", "-ERR no\r\n"), Verdict::Listed);
    assert_eq!(open("flushall\r\n", "+PONG\r\n", "-ERR no\r\n-ERR no\r\n"), Verdict::Different);
    let broken = |request: &str, error: &str| {
        judge(request, "", &format!("-ERR Protocol error: {error}\r\n"), Ended::Closed)
    };
    assert_eq!(broken("*1048577\r\n", "invalid multibulk length"), Verdict::Listed);
    assert_eq!(broken("*1048576\r\n", "invalid multibulk length"), Verdict::Different);
    assert_eq!(broken("*1\r\n$67108865\r\nx\r\n", "invalid bulk length"), Verdict::Listed);
    assert_eq!(broken("*1\r\n$67108864\r\nx\r\n", "invalid bulk length"), Verdict::Different);
    assert_eq!(broken("*1\r\n$a\0b\r\nx\r\n", "invalid bulk length"), Verdict::Listed);
    assert_eq!(broken("*1\r\n$ab\r\nx\r\n", "invalid bulk length"), Verdict::Different);
    let long = format!("*1\r\n${}\r\n", "k".repeat(64));
    assert_eq!(broken(&long, "too big bulk count string"), Verdict::Listed);
    assert_eq!(broken("*1\r\n$1\r\nxyz", "invalid bulk length"), Verdict::Different);
    assert_eq!(broken("PING\r\n", "invalid bulk length"), Verdict::Different);
}
