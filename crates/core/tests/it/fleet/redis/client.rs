//! A client of one proxy of a Redis pool: it asks for anything, and notes what it is told.

use crate::fleet::Plan;
use crate::fleet::kind::Asker;
use crate::fleet::record::{Act, Record, Result};
use crate::sim::random::Random;
use crate::sim::resp::{Value, array, parse};
use std::collections::VecDeque;

#[derive(Debug)]
struct Pending {
    /// The places of its records, one for each key; none if the answer does not matter.
    records: Vec<usize>,
    /// Whether the answer has an element for each.
    is_many: bool,
}

#[derive(Debug)]
pub(crate) struct Client {
    number: usize,
    asked: u64,
    pending: VecDeque<Pending>,
    inbox: Vec<u8>,
    /// Whether nothing is removed.
    keeps_all: bool,
    /// Whether values are written that expire at once.
    expires: bool,
    /// What its open transaction does: the key, the act, and the request.
    open: Option<(String, Act, String)>,
}

/// Of each kind. More than are in use at a time, so that some are asked for by all at once for the first time
/// as long as keys move.
pub(crate) const KEYS: u64 = 24;

/// How long all clients ask for the same few keys, in nanoseconds.
const TURN: u64 = 50_000_000;

/// What a text, a counter or the first element of a list is, of the write with this number.
fn data_of(kind: &str, value: u64, random: &mut Random) -> String {
    match kind {
        "d" => format!("v{value}:{}", "x".repeat(random.index(30))),
        "n" => (value * 100_000).to_string(),
        _ => format!("t{value}"),
    }
}

type Records<'a> = (&'a mut Vec<Record>, u64);

impl Asker for Client {
    fn new(number: usize, plan: &Plan) -> Self {
        let (pending, inbox) = (VecDeque::new(), Vec::new());
        let (keeps_all, expires) = (plan.keeps_all(), plan.expires);
        Self { number, asked: 0, pending, inbox, keeps_all, expires, open: None }
    }

    fn awaits(&self) -> usize {
        self.pending.len()
    }

    fn leave(&mut self) {
        self.pending.clear();
    }

    fn ask(
        &mut self,
        (random, value): (&mut Random, u64),
        (records, spares_some): (&mut Vec<Record>, bool),
        now: u64,
    ) -> String {
        if let Some((key, act, text)) = self.open.take() {
            self.note((key, act), &text, (records, now));
            self.pending.push_back(Pending { records: vec![records.len() - 1], is_many: true });
            return wire(&["EXEC"]);
        }
        let kind = random.pick(&["d", "n", "l"]);
        let number = number_at(random, now);
        let key = format!("{kind}{number}");
        let data = data_of(kind, value, random);
        let records = (records, now);
        let dice = if spares_some && number.is_multiple_of(3) { 0 } else { random.below(100) };
        match dice {
            0..25 => self.read(&key, random, records),
            25..35 => self.read_many(random, kind, records),
            35..40 => self.one((&key, Act::Touch), &["PERSIST", &key], records),
            95.. => self.transact(kind, (&key, value, &data)),
            _ if kind == "l" => self.change_list(dice, (&key, value, &data), records),
            40..50 if !self.keeps_all => self.remove(dice, &key, records),
            50..55 if self.expires => {
                let millis = (1 + random.below(40)).to_string();
                self.one((&key, Act::Set(value)), &["SET", &key, &data, "PX", &millis], records)
            }
            50..58 => self.one((&key, Act::Set(value)), &["SET", &key, &data], records),
            58..62 => self.write_many(random, kind, value, records),
            62..66 => {
                self.one((&key, Act::Set(value)), &["SET", &key, &data, "PX", "900000"], records)
            }
            66..70 => self.one((&key, Act::Add(value)), &["SET", &key, &data, "NX"], records),
            70..75 => self.one((&key, Act::Replace(value)), &["SET", &key, &data, "XX"], records),
            _ if kind == "n" => self.one((&key, Act::Incr), &["INCR", &key], records),
            75..85 => self.one((&key, Act::Replace(value)), &["SET", &key, &data, "xx"], records),
            _ => self.one((&key, Act::Read), &["GET", &key], records),
        }
    }

    fn flush(&mut self, records: &mut Vec<Record>, now: u64) -> String {
        let first = records.len();
        for key in all_keys() {
            self.note((key, Act::Delete), "FLUSHALL", (records, now));
        }
        let records = (first..records.len()).collect();
        self.pending.push_back(Pending { records, is_many: false });
        wire(&["FLUSHALL"])
    }

    fn receive(&mut self, bytes: &[u8], records: &mut [Record], now: u64) {
        self.inbox.extend_from_slice(bytes);
        while let Some((reply, len)) = whole(&self.inbox) {
            self.inbox.drain(..len);
            let pending = self.pending.pop_front().expect("it was asked for");
            for (index, place) in pending.records.iter().enumerate() {
                let record = &mut records[*place];
                let reply = match pending.is_many {
                    true => reply.elements().get(index).unwrap_or(&reply),
                    false => &reply,
                };
                if matches!(reply, Value::Error(text) if !text.starts_with("ERR no such key")) {
                    let Value::Error(text) = reply else { unreachable!() };
                    assert!(!text.starts_with("WRONGTYPE"), "{text} {record:?}");
                    continue;
                }
                record.ended = now;
                record.result = result_of(record, reply);
            }
        }
    }
}

/// The keys of all kinds.
pub(crate) fn all_keys() -> impl Iterator<Item = String> {
    ["d", "n", "l"]
        .into_iter()
        .flat_map(|kind| (0..KEYS).map(move |number| format!("{kind}{number}")))
}

fn wire(words: &[&str]) -> String {
    String::from_utf8(array(words)).expect("text")
}

/// The value at the head of `bytes`, if it is whole.
fn whole(bytes: &[u8]) -> Option<(Value, usize)> {
    if bytes.is_empty() { None } else { parse(bytes) }
}

impl Client {
    fn one(&mut self, request: (&str, Act), words: &[&str], (records, now): Records<'_>) -> String {
        self.note((request.0.to_owned(), request.1), &words.join(" "), (records, now));
        self.pending.push_back(Pending { records: vec![records.len() - 1], is_many: false });
        wire(words)
    }

    fn read(&mut self, key: &str, random: &mut Random, records: Records<'_>) -> String {
        match &key[..1] {
            "l" => self.one((key, Act::Read), &["LRANGE", key, "0", "-1"], records),
            _ if random.chance(200) => self.one((key, Act::Touch), &["EXISTS", key], records),
            _ => self.one((key, Act::Read), &["GET", key], records),
        }
    }

    fn some_keys(random: &mut Random, kind: &str, now: u64) -> Vec<String> {
        let kind = if kind == "l" { "d" } else { kind };
        let first = number_at(random, now);
        let some = (first..first + 4).map(|number| number % KEYS).filter(|_| random.chance(700));
        let keys: Vec<String> = some.map(|number| format!("{kind}{number}")).collect();
        if keys.is_empty() { vec![format!("{kind}0")] } else { keys }
    }

    fn read_many(&mut self, random: &mut Random, kind: &str, records: Records<'_>) -> String {
        let keys = Self::some_keys(random, kind, records.1);
        let words: Vec<&str> =
            ["MGET"].into_iter().chain(keys.iter().map(String::as_str)).collect();
        self.many(&words, keys.iter().map(|key| (key.clone(), Act::Read)), records)
    }

    fn write_many(
        &mut self,
        random: &mut Random,
        kind: &str,
        value: u64,
        records: Records<'_>,
    ) -> String {
        let mut words = vec!["MSET".to_owned()];
        let mut acts = Vec::new();
        for key in Self::some_keys(random, kind, records.1) {
            // Every value has a number of its own.
            let value = value * KEYS + number_of(&key) + 1_000_000;
            let data = data_of(&key[..1], value, random);
            words.extend([key.clone(), data]);
            acts.push((key, Act::Set(value)));
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.many(&words, acts.into_iter(), records)
    }

    fn many(
        &mut self,
        words: &[&str],
        acts: impl Iterator<Item = (String, Act)>,
        (records, now): Records<'_>,
    ) -> String {
        let first = records.len();
        for act in acts {
            self.note(act, &words.join(" "), (records, now));
        }
        let is_many = words[0] == "MGET";
        let records = (first..records.len()).collect();
        self.pending.push_back(Pending { records, is_many });
        wire(words)
    }

    fn remove(&mut self, dice: u64, key: &str, records: Records<'_>) -> String {
        let command = match dice {
            40..45 => "DEL",
            45..47 => "UNLINK",
            _ if key.starts_with('l') => "UNLINK",
            _ => return self.one((key, Act::Delete), &["GETDEL", key], records),
        };
        self.one((key, Act::Delete), &[command, key], records)
    }

    /// Pushes to a list if there is one; or makes one beside it, and lets that take its place.
    fn change_list(
        &mut self,
        dice: u64,
        (key, value, data): (&str, u64, &str),
        (records, now): Records<'_>,
    ) -> String {
        let makes = if self.keeps_all { 97 } else { 88 };
        match dice {
            40..48 if !self.keeps_all => self.remove(dice, key, (records, now)),
            _ if dice < makes => {
                self.one((key, Act::Append(value)), &["RPUSHX", key, data], (records, now))
            }
            _ => {
                let other = format!("{{{key}}}{value}");
                self.pending.push_back(Pending { records: Vec::new(), is_many: false });
                let push = wire(&["RPUSH", &other, data]);
                let act = (key, Act::Set(value));
                push + &self.one(act, &["RENAME", &other, key], (records, now))
            }
        }
    }

    /// A request in a transaction, which is carried out later.
    fn transact(&mut self, kind: &str, (key, value, data): (&str, u64, &str)) -> String {
        let (act, words) = match kind {
            "n" => (Act::Incr, vec!["INCR", key]),
            "d" => (Act::Set(value), vec!["SET", key, data]),
            _ => (Act::Append(value), vec!["RPUSHX", key, data]),
        };
        for _ in 0..2 {
            self.pending.push_back(Pending { records: Vec::new(), is_many: false });
        }
        let text = format!("in a transaction: {}", words.join(" "));
        self.open = Some((key.to_owned(), act, text));
        wire(&["MULTI"]) + &wire(&words)
    }

    fn note(&mut self, (key, act): (String, Act), text: &str, (records, now): Records<'_>) {
        self.asked += 1;
        records.push(Record {
            key,
            act,
            client: self.number,
            place: self.asked,
            begun: now,
            ended: u64::MAX,
            result: Result::Unknown,
            text: text.to_owned(),
        });
    }
}

/// The number of a key to ask for: one of those that all ask for now, or any.
fn number_at(random: &mut Random, now: u64) -> u64 {
    let number = now / TURN + random.below(2);
    (if random.chance(200) { random.below(KEYS) } else { number }) % KEYS
}

/// The number in the name of a key.
fn number_of(key: &str) -> u64 {
    key[1..].parse().expect("a key has a number")
}

/// The number of the write that a text, a counter or an element is of, and what was counted since.
fn number_in(kind: &str, text: &str, record: &Record) -> (u64, u64) {
    let digits =
        |text: &str| text.parse::<u64>().unwrap_or_else(|_| panic!("{text:?} for {record:?}"));
    match kind {
        "d" => {
            let id = text.strip_prefix('v').and_then(|text| text.split(':').next());
            (digits(id.unwrap_or_default()), 0)
        }
        "n" => (digits(text) / 100_000, digits(text) % 100_000),
        _ => (digits(text.strip_prefix('t').unwrap_or_default()), 0),
    }
}

fn result_of(record: &Record, reply: &Value) -> Result {
    let kind = &record.key[..1];
    match (record.act, reply) {
        (Act::Incr, Value::Number(number)) => {
            let (value, count) = number_in("n", &number.to_string(), record);
            Result::Value(value, vec![count])
        }
        (Act::Read, Value::Array(elements)) if kind == "l" => {
            let texts: Vec<&str> = elements.iter().filter_map(Value::text).collect();
            let mut numbers = texts.iter().map(|text| number_in("l", text, record).0);
            match numbers.next() {
                Some(first) => Result::Value(first, numbers.collect()),
                None => Result::Not,
            }
        }
        (Act::Read, Value::Text(_)) => {
            let (value, count) = number_in(kind, reply.text().expect("a text"), record);
            let added = if kind == "n" { vec![count] } else { Vec::new() };
            Result::Value(value, added)
        }
        // What GETDEL returned was there.
        (Act::Delete, Value::Text(_)) => Result::Done,
        (_, Value::Status(_)) => Result::Done,
        (_, Value::Number(1..)) => Result::Done,
        (_, Value::Number(_) | Value::Null | Value::Error(_)) => Result::Not,
        _ => panic!("{reply:?} for {record:?}"),
    }
}
