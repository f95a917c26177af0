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
use super::frame::{Reply, commands};
use super::grammar::{OF_ONE_CLIENT, OF_ONE_SERVER};

pub(in super::super) static RULES: [Rule; 5] = [
    rule("keys of several servers", "a command with keys of several servers is refused", |case| {
        case.ours.bytes.starts_with(b"-CROSSSLOT ")
            && case.ours.ended == Ended::Open
            && is_one_error(case.ours)
            && words(case.request).is_some_and(|words| words.len() > 2)
    }),
    rule("no keys", "a script without keys has no server in a pool of several", |case| {
        case.ours.bytes.starts_with(b"-ERR a command without keys has no server")
            && case.ours.ended == Ended::Open
            && is_one_error(case.ours)
            && verb(case.request).is_some_and(|verb| verb.starts_with("EVAL"))
    }),
    rule("one server", "a command about a server is not for the whole pool", |case| {
        is_about(case, OF_ONE_SERVER) && is_one_reply(case.ours)
    }),
    rule("one client", "the proxy answers a command about the connection", |case| {
        is_about(case, OF_ONE_CLIENT) && is_one_reply(case.ours)
    }),
    rule("no line end", "a string that does not end with CRLF ends the connection", |case| {
        commands(case.request).is_none()
            && case.ours.ended == Ended::Closed
            && last_line(case.ours).starts_with(b"-ERR Protocol error")
    }),
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

fn last_line(answer: &Answer) -> &[u8] {
    let text = answer.bytes.strip_suffix(b"\r\n").unwrap_or(&answer.bytes);
    text.rsplit(|&byte| byte == b'\n').next().unwrap_or_default()
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
    assert_eq!(open("flushall\r\n", "+PONG\r\n", "-ERR no\r\n"), Verdict::Listed);
    assert_eq!(open("flushall\r\n", "+PONG\r\n", "-ERR no\r\n-ERR no\r\n"), Verdict::Different);
    let error = "-ERR Protocol error: x\r\n";
    assert_eq!(judge("*1\r\n$1\r\nxyz", "+OK\r\n", error, Ended::Closed), Verdict::Listed);
    assert_eq!(judge("*1\r\n$1\r\nxyz", "+OK\r\n", "", Ended::Closed), Verdict::Different);
    assert_eq!(judge("PING\r\n", "+PONG\r\n", error, Ended::Closed), Verdict::Different);
}
