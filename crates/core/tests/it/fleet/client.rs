//! A client of one proxy: it asks for anything, and notes what it is told.

use super::Plan;
use super::kind::Asker;
use super::record::{Act, Record, Result};
use crate::sim::random::Random;
use std::collections::VecDeque;

/// How the answer to a request is read.
#[derive(Debug)]
enum Form {
    /// Values and an end.
    Values,
    /// The answer to `mg`.
    Meta,
    Line,
}

#[derive(Debug)]
struct Pending {
    form: Form,
    /// The places of its records, one for each key.
    records: Vec<usize>,
}

#[derive(Debug)]
pub(crate) struct Client {
    number: usize,
    asked: u64,
    pending: VecDeque<Pending>,
    inbox: Vec<u8>,
    /// The last value read with its id: key, value, id.
    seen: Option<(String, u64, String)>,
    /// Whether requests without reply are done for sure.
    trusts_silence: bool,
}

const KEYS: u64 = 4;

/// A write, which one `dice` says.
fn write(dice: u64, (kind, key): (&str, &str), (value, data): (u64, &str)) -> (Act, Form, String) {
    let (flags, len) = (flags_of(value), data.len());
    let line = |act, text: String| (act, Form::Line, text);
    match (dice, kind) {
        (0..53, _) => line(Act::Delete, format!("delete {key}\r\n")),
        (53..55, _) => line(Act::Delete, format!("md {key}\r\n")),
        (55..62, _) => line(Act::Add(value), format!("add {key} {flags} 0 {len}\r\n{data}\r\n")),
        (62..70, _) => line(Act::Set(value), format!("set {key} {flags} 0 {len}\r\n{data}\r\n")),
        (70..72, _) => line(Act::Set(value), format!("ms {key} {len} F{flags}\r\n{data}\r\n")),
        (72..74, _) => {
            line(Act::Set(value), format!("set {key} {flags} 0 {len} noreply\r\n{data}\r\n"))
        }
        (74..83, "n") => (Act::Incr, Form::Meta, format!("ma {key} v\r\n")),
        (_, "n") => line(Act::Incr, format!("incr {key} 1\r\n")),
        (74..83, "l") => line(Act::Append(value), format!("ms {key} {len} MA\r\n{data}\r\n")),
        (_, "l") => line(Act::Append(value), format!("append {key} 0 0 {len}\r\n{data}\r\n")),
        _ => line(Act::Replace(value), format!("replace {key} {flags} 0 {len}\r\n{data}\r\n")),
    }
}

fn flags_of(value: u64) -> u64 {
    value % 7
}

impl Asker for Client {
    fn new(number: usize, plan: &Plan) -> Self {
        // A server that goes away may take a write with it of which nobody expects to hear.
        let trusts_silence = plan.faults == 0 && plan.ejection.is_none();
        let (pending, inbox, seen) = (VecDeque::new(), Vec::new(), None);
        Self { number, asked: 0, pending, inbox, seen, trusts_silence }
    }

    fn awaits(&self) -> usize {
        self.pending.len()
    }

    /// What was asked and not answered stays unknown.
    fn leave(&mut self) {
        self.pending.clear();
    }

    /// Asks for something; the value that it writes, if any, is `value`. With `spares_some`, some keys are only
    /// read.
    fn ask(
        &mut self,
        (random, value): (&mut Random, u64),
        (records, spares_some): (&mut Vec<Record>, bool),
        now: u64,
    ) -> String {
        let kind = random.pick(&["d", "d", "n", "l"]);
        let number = random.below(KEYS);
        let key = format!("{kind}{number}");
        let data = match kind {
            "d" => format!("v{value}:{}", "x".repeat(random.index(30))),
            "n" => (value * 100_000).to_string(),
            _ => format!("t{value};"),
        };
        let read = |text| (Act::Read, Form::Values, text);
        let dice = if spares_some && number < 2 { 0 } else { random.below(100) };
        let (act, form, text) = match dice {
            0..20 => read(format!("get {key}\r\n")),
            20..30 => read(format!("gets {key}\r\n")),
            30..34 => (Act::Read, Form::Meta, format!("mg {key} v f c\r\n")),
            34..36 => (Act::Read, Form::Meta, format!("mg {key} f v\r\n")),
            36..38 => read(format!("gat 0 {key}\r\n")),
            38..45 => return self.ask_many(random, (kind, records, spares_some), now),
            45..48 => (Act::Touch, Form::Line, format!("touch {key} 0\r\n")),
            80.. if kind == "d" => match self.seen.take() {
                None => read(format!("gets {key}\r\n")),
                Some(seen) => return self.compare(random, seen, (value, &data), (records, now)),
            },
            _ => write(dice, (kind, &key), (value, &data)),
        };
        self.ask_for((key, act), form, text, (records, now))
    }

    /// Removes all values.
    fn flush(&mut self, records: &mut Vec<Record>, now: u64) -> String {
        let first = records.len();
        for key in
            ["d", "n", "l"].iter().flat_map(|kind| (0..KEYS).map(move |n| format!("{kind}{n}")))
        {
            self.note((key, Act::Delete), "flush_all", false, (records, now));
        }
        let records = (first..records.len()).collect();
        self.pending.push_back(Pending { form: Form::Line, records });
        "flush_all\r\n".to_owned()
    }

    /// Takes what came from the proxy.
    fn receive(&mut self, bytes: &[u8], records: &mut [Record], now: u64) {
        self.inbox.extend_from_slice(bytes);
        while !self.inbox.is_empty() {
            let pending = self.pending.front().expect("it was asked for");
            let text = String::from_utf8(self.inbox.clone()).expect("text");
            let Some((len, values, line)) = read(&pending.form, &text) else { break };
            let pending = self.pending.pop_front().expect("there is one");
            for place in pending.records {
                let record = &mut records[place];
                if line.starts_with("SERVER_ERROR") {
                    continue;
                }
                record.ended = now;
                let value =
                    values.iter().find(|value| value.key.is_empty() || value.key == record.key);
                record.result = match value {
                    Some(value) => self.take_value(record, value),
                    None => result_of(record, &line),
                };
            }
            self.inbox.drain(..len);
        }
    }
}

impl Client {
    fn ask_for(
        &mut self,
        request: (String, Act),
        form: Form,
        text: String,
        (records, now): (&mut Vec<Record>, u64),
    ) -> String {
        let is_silent = text.contains(" noreply\r");
        self.note(request, text.trim_end(), is_silent, (records, now));
        if !is_silent {
            self.pending.push_back(Pending { form, records: vec![records.len() - 1] });
        }
        text
    }

    /// Stores a value if the key still has the one that was seen.
    fn compare(
        &mut self,
        random: &mut Random,
        (key, seen, id): (String, u64, String),
        (value, data): (u64, &str),
        records: (&mut Vec<Record>, u64),
    ) -> String {
        let (flags, len) = (flags_of(value), data.len());
        let text = match random.below(2) {
            0 => format!("cas {key} {flags} 0 {len} {id}\r\n{data}\r\n"),
            _ => format!("ms {key} {len} C{id} F{flags}\r\n{data}\r\n"),
        };
        self.ask_for((key, Act::Cas(value, seen)), Form::Line, text, records)
    }

    fn ask_many(
        &mut self,
        random: &mut Random,
        (kind, records, spares_some): (&str, &mut Vec<Record>, bool),
        now: u64,
    ) -> String {
        let keys: Vec<String> = (0..KEYS)
            .filter(|_| random.chance(700))
            .map(|number| format!("{kind}{number}"))
            .collect();
        let keys = if keys.is_empty() { vec![format!("{kind}0")] } else { keys };
        let command = if spares_some { "get" } else { random.pick(&["get", "gets", "gat 0"]) };
        let text = format!("{command} {}\r\n", keys.join(" "));
        let first = records.len();
        for key in keys {
            self.note((key, Act::Read), text.trim_end(), false, (records, now));
        }
        let records = (first..records.len()).collect();
        self.pending.push_back(Pending { form: Form::Values, records });
        text
    }

    fn note(
        &mut self,
        (key, act): (String, Act),
        text: &str,
        is_silent: bool,
        (records, now): (&mut Vec<Record>, u64),
    ) {
        self.asked += 1;
        let is_done = is_silent && self.trusts_silence;
        records.push(Record {
            key,
            act,
            client: self.number,
            place: self.asked,
            begun: now,
            ended: u64::MAX,
            result: if is_done { Result::Done } else { Result::Unknown },
            text: text.to_owned(),
        });
    }

    fn take_value(&mut self, record: &Record, value: &Value) -> Result {
        let (kind, data) = (&record.key[..1], value.data.as_str());
        let digits =
            |text: &str| text.parse::<u64>().unwrap_or_else(|_| panic!("{text} {record:?}"));
        let (id, added) = match kind {
            "d" => {
                let id = data.strip_prefix('v').and_then(|data| data.split(':').next());
                (digits(id.unwrap_or_else(|| panic!("{data:?} for {record:?}"))), Vec::new())
            }
            "n" => (digits(data) / 100_000, vec![digits(data) % 100_000]),
            _ => {
                let mut tokens = data.split_terminator(';').map(|token| {
                    digits(token.strip_prefix('t').unwrap_or_else(|| panic!("{data:?} {record:?}")))
                });
                let first = tokens.next().unwrap_or_else(|| panic!("nothing for {record:?}"));
                (first, tokens.collect())
            }
        };
        if let Some(flags) = value.flags {
            assert_eq!(flags, flags_of(id), "the flags of {record:?}");
        }
        if let Some(cas) = value.cas.as_ref().filter(|_| kind == "d" && record.act == Act::Read) {
            self.seen = Some((record.key.clone(), id, cas.clone()));
        }
        Result::Value(id, added)
    }
}

fn result_of(record: &Record, line: &str) -> Result {
    let code = line.split_whitespace().next().unwrap_or_default();
    match code {
        "STORED" | "DELETED" | "TOUCHED" | "HD" | "OK" => Result::Done,
        "NOT_STORED" | "NOT_FOUND" | "EXISTS" | "EN" | "END" | "NF" | "NS" | "EX" => Result::Not,
        number if record.act == Act::Incr && number.parse::<u64>().is_ok() => {
            let number: u64 = number.parse().expect("it is a number");
            Result::Value(number / 100_000, vec![number % 100_000])
        }
        _ => panic!("{line:?} for {record:?}"),
    }
}

#[derive(Debug)]
struct Value {
    /// Empty if the answer does not say.
    key: String,
    flags: Option<u64>,
    data: String,
    cas: Option<String>,
}

/// The whole answer at the start of `text`: its length, its values, its first line.
fn read(form: &Form, text: &str) -> Option<(usize, Vec<Value>, String)> {
    let mut rest = text;
    let mut values = Vec::new();
    loop {
        let (line, behind) = rest.split_once("\r\n")?;
        let words: Vec<&str> = line.split(' ').collect();
        let used = |behind: &str| text.len() - behind.len();
        match (form, words[0]) {
            (Form::Values, "VALUE") => {
                let len: usize = words[3].parse().expect("a length");
                let data = behind.get(..len)?.to_owned();
                rest = behind.get(len + 2..)?;
                values.push(Value {
                    key: words[1].to_owned(),
                    flags: Some(words[2].parse().expect("flags")),
                    data,
                    cas: words.get(4).map(|cas| (*cas).to_owned()),
                });
            }
            (Form::Meta, "VA") => {
                let len: usize = words[1].parse().expect("a length");
                let data = behind.get(..len)?.to_owned();
                let behind = behind.get(len + 2..)?;
                let flag = |letter| words.iter().skip(2).find_map(|word| word.strip_prefix(letter));
                let flags = flag('f').map(|flags: &str| flags.parse().expect("flags"));
                let cas = flag('c').map(str::to_owned);
                assert!(!words.iter().any(|word| matches!(*word, "W" | "Z")), "a mark: {text:?}");
                values.push(Value { key: String::new(), flags, data, cas });
                return Some((used(behind), values, line.to_owned()));
            }
            _ => return Some((used(behind), values, line.to_owned())),
        }
    }
}
