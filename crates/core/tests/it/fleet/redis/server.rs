//! A Redis with all that keys that move need: texts and lists, times to live, and the scripts of the proxy,
//! which it knows by their bytes.
//!
//! What it answers is compared with a real server (`real.rs`).

use crate::fleet::kind::Server;
use crate::sim::resp::{array, bulk, parse};
use nuthatch_core::redis::moving::{COPY, DROP, FETCH, LOCK, LOOK, MARK, RELEASE};
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Text(String),
    List(Vec<String>),
}

#[derive(Clone, Debug)]
struct Item {
    value: Value,
    /// In nanoseconds.
    expires: Option<u64>,
}

#[derive(Debug, Default)]
pub(crate) struct Redis {
    items: BTreeMap<String, Item>,
    /// The requests of transactions, by the connection.
    queued: BTreeMap<u64, Vec<Vec<String>>>,
    now: u64,
    /// Whether it has no scripts.
    is_old: bool,
}

const OK: &str = "+OK\r\n";
const NULL: &str = "$-1\r\n";
const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";

fn integer(number: impl Into<i64>) -> String {
    format!(":{}\r\n", number.into())
}

fn text(text: &str) -> String {
    String::from_utf8(bulk(text.as_bytes())).expect("text")
}

fn number(word: &str) -> i64 {
    word.parse().expect("a number")
}

impl Server for Redis {
    fn serve(&mut self, conn: u64, input: &mut Vec<u8>, now: u64) -> Option<Vec<u8>> {
        if input.is_empty() {
            return None;
        }
        let (request, len) = parse(input)?;
        let words: Vec<String> = request
            .elements()
            .iter()
            .map(|word| word.text().expect("a request has texts").to_owned())
            .collect();
        assert_eq!(array(&words), input[..len], "a request has the plain form");
        input.drain(..len);
        self.now = now;
        self.drop_expired();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        Some(self.answer_on(conn, &words).into_bytes())
    }

    fn restart(&mut self) {
        self.items.clear();
    }

    fn evict(&mut self, place: usize) {
        let key = self.items.keys().nth(place % self.items.len().max(1)).cloned();
        key.map(|key| self.items.remove(&key));
    }

    fn has_marks(&mut self, now: u64) -> bool {
        self.now = now;
        self.drop_expired();
        let ends = [MARK, LOCK].map(|end| std::str::from_utf8(end).expect("text"));
        self.items.keys().any(|key| ends.iter().any(|end| key.ends_with(end)))
    }

    fn longest_stay(&mut self, now: u64) -> u64 {
        self.now = now;
        self.drop_expired();
        let stays = self.items.values().map(|item| item.expires.map_or(u64::MAX, |at| at - now));
        stays.max().unwrap_or_default()
    }

    fn make_old(&mut self) {
        self.is_old = true;
    }

    fn number_from(&mut self, _first: u64) {}

    fn fill(&mut self, key: &str, value: u64) {
        let value = match &key[..1] {
            "d" => Value::Text(format!("v{value}:")),
            "n" => Value::Text((value * 100_000).to_string()),
            _ => Value::List(vec![format!("t{value}")]),
        };
        self.items.insert(key.to_owned(), Item { value, expires: None });
    }
}

impl Redis {
    fn drop_expired(&mut self) {
        let now = self.now;
        self.items.retain(|_, item| item.expires.is_none_or(|at| at > now));
    }

    fn put(&mut self, key: &str, value: Value, expires: Option<u64>) {
        self.items.insert(key.to_owned(), Item { value, expires });
    }

    fn after(&self, millis: &str) -> Option<u64> {
        Some(self.now + u64::try_from(number(millis)).expect("a time") * 1_000_000)
    }

    fn answer_on(&mut self, conn: u64, words: &[&str]) -> String {
        match (words[0].to_ascii_uppercase().as_str(), self.queued.get_mut(&conn)) {
            ("MULTI", None) => {
                self.queued.insert(conn, Vec::new());
                OK.to_owned()
            }
            ("DISCARD", Some(_)) => {
                self.queued.remove(&conn);
                OK.to_owned()
            }
            ("EXEC", Some(_)) => {
                let queued = self.queued.remove(&conn).unwrap_or_default();
                let replies: Vec<String> = queued
                    .iter()
                    .map(|words| self.answer(&words.iter().map(String::as_str).collect::<Vec<_>>()))
                    .collect();
                format!("*{}\r\n{}", replies.len(), replies.concat())
            }
            (_, Some(queued)) => {
                queued.push(words.iter().map(|word| (*word).to_owned()).collect());
                "+QUEUED\r\n".to_owned()
            }
            (_, None) => self.answer(words),
        }
    }

    fn answer(&mut self, words: &[&str]) -> String {
        let name = words[0].to_ascii_uppercase();
        match (name.as_str(), words) {
            ("HELLO", _) => "*2\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n".to_owned(),
            ("EVAL", _) if self.is_old => "-NOPERM this user has no permissions\r\n".to_owned(),
            ("EVAL", [_, script, _, arguments @ ..]) => self.eval(script, arguments),
            ("GET" | "GETDEL" | "GETSET" | "MGET", _) => self.read(&name, words),
            ("SET", [_, key, value, options @ ..]) => self.set(key, value, options),
            ("MSET", _) => {
                for pair in words[1..].chunks(2) {
                    self.put(pair[0], Value::Text(pair[1].to_owned()), None);
                }
                OK.to_owned()
            }
            ("INCR" | "INCRBY", _) => self.count(words[1], words.get(2).map_or(1, |by| number(by))),
            ("DEL" | "UNLINK", [_, keys @ ..]) => {
                let count = keys.iter().filter(|key| self.items.remove(**key).is_some()).count();
                integer(i64::try_from(count).expect("a count"))
            }
            ("EXISTS" | "TOUCH", [_, keys @ ..]) => {
                let count = keys.iter().filter(|key| self.items.contains_key(**key)).count();
                integer(i64::try_from(count).expect("a count"))
            }
            ("PERSIST", [_, key]) => match self.items.get_mut(*key) {
                Some(item) => integer(item.expires.take().is_some()),
                None => integer(0),
            },
            ("PEXPIRE", [_, key, millis]) => {
                let expires = self.after(millis);
                let item = self.items.get_mut(*key);
                integer(item.map(|item| item.expires = expires).is_some())
            }
            ("PEXPIRE", [_, key, millis, "LT"]) => {
                let is_longer = !(0..=number(millis)).contains(&self.ttl(key));
                if is_longer { self.answer(&["PEXPIRE", key, millis]) } else { integer(0) }
            }
            ("PTTL", [_, key]) => integer(self.ttl(key)),
            ("RENAME", [_, from, to]) => match self.items.remove(*from) {
                Some(item) => {
                    self.items.insert((*to).to_owned(), item);
                    OK.to_owned()
                }
                None => "-ERR no such key\r\n".to_owned(),
            },
            ("FLUSHALL" | "FLUSHDB", _) => {
                self.items.clear();
                OK.to_owned()
            }
            ("RPUSH" | "RPUSHX" | "LRANGE" | "LLEN", [_, key, ..]) => {
                self.list(&name, key, &words[2..])
            }
            _ => panic!("{words:?}"),
        }
    }

    /// Milliseconds until a key expires.
    fn ttl(&self, key: &str) -> i64 {
        match self.items.get(key) {
            None => -2,
            Some(Item { expires: None, .. }) => -1,
            Some(Item { expires: Some(at), .. }) => {
                i64::try_from((at - self.now) / 1_000_000).expect("a time")
            }
        }
    }

    fn read(&mut self, name: &str, words: &[&str]) -> String {
        let get = |this: &Self, key: &str| match this.items.get(key) {
            None => Ok(NULL.to_owned()),
            Some(Item { value: Value::Text(value), .. }) => Ok(text(value)),
            Some(_) => Err(WRONG_TYPE.to_owned()),
        };
        if name == "MGET" {
            let values =
                words[1..].iter().map(|key| get(self, key).unwrap_or_else(|_| NULL.to_owned()));
            return format!("*{}\r\n{}", words.len() - 1, values.collect::<String>());
        }
        let value = get(self, words[1]);
        match (name, value) {
            (_, Err(error)) => error,
            ("GETDEL", Ok(value)) => {
                self.items.remove(words[1]);
                value
            }
            ("GETSET", Ok(value)) => {
                self.put(words[1], Value::Text(words[2].to_owned()), None);
                value
            }
            (_, Ok(value)) => value,
        }
    }

    fn set(&mut self, key: &str, value: &str, options: &[&str]) -> String {
        let has = |name| options.iter().any(|option| option.eq_ignore_ascii_case(name));
        let is_there = self.items.contains_key(key);
        if has("NX") && is_there || has("XX") && !is_there {
            return NULL.to_owned();
        }
        let place = options.iter().position(|option| option.eq_ignore_ascii_case("PX"));
        let expires = place.and_then(|place| self.after(options[place + 1]));
        self.put(key, Value::Text(value.to_owned()), expires);
        OK.to_owned()
    }

    fn count(&mut self, key: &str, by: i64) -> String {
        let expires = self.items.get(key).and_then(|item| item.expires);
        let before = match self.items.get(key) {
            None => 0,
            Some(Item { value: Value::Text(value), .. }) => match value.parse() {
                Ok(before) => before,
                Err(_) => return "-ERR value is not an integer or out of range\r\n".to_owned(),
            },
            Some(_) => return WRONG_TYPE.to_owned(),
        };
        self.put(key, Value::Text((before + by).to_string()), expires);
        integer(before + by)
    }

    fn list(&mut self, name: &str, key: &str, words: &[&str]) -> String {
        if name == "RPUSH" && !self.items.contains_key(key) {
            self.put(key, Value::List(Vec::new()), None);
        }
        let list = match self.items.get_mut(key).map(|item| &mut item.value) {
            Some(Value::List(list)) => list,
            Some(Value::Text(_)) => return WRONG_TYPE.to_owned(),
            None if name == "LRANGE" => return "*0\r\n".to_owned(),
            None => return integer(0),
        };
        match name {
            "LRANGE" => String::from_utf8(array(list)).expect("text"),
            "LLEN" => integer(i64::try_from(list.len()).expect("a count")),
            _ => {
                list.extend(words.iter().map(|word| (*word).to_owned()));
                integer(i64::try_from(list.len()).expect("a count"))
            }
        }
    }

    fn dump(&self, key: &str) -> Option<String> {
        Some(match &self.items.get(key)?.value {
            Value::Text(text) => format!("T{text}"),
            Value::List(list) => format!("L{}", list.join(" ")),
        })
    }

    fn restore(&mut self, key: &str, dump: &str, millis: &str) {
        let value = match dump.split_at(1) {
            ("T", text) => Value::Text(text.to_owned()),
            (_, list) => Value::List(list.split(' ').map(str::to_owned).collect()),
        };
        let expires = if millis == "0" { None } else { self.after(millis) };
        self.put(key, value, expires);
    }

    fn eval(&mut self, script: &str, words: &[&str]) -> String {
        let mark = |this: &Self, key: &str| match this.items.get(key) {
            Some(Item { value: Value::Text(mark), .. }) => Some(mark.clone()),
            _ => None,
        };
        match (script.as_bytes(), words) {
            (LOOK, [key, place, lock, token, lease]) => {
                if self.items.contains_key(*key) {
                    return integer(1);
                }
                if self.items.contains_key(*lock) {
                    return integer(-1);
                }
                if let Some(mark) = mark(self, place) {
                    return text(&mark);
                }
                let expires = self.after(lease);
                self.put(place, Value::Text((*token).to_owned()), expires);
                text(token)
            }
            (FETCH, [key]) => match self.dump(key) {
                None => integer(0),
                Some(dump) => {
                    let (dump, digest) = (text(&dump), text(&digest(&dump)));
                    format!("*3\r\n{dump}{digest}{}", integer(self.ttl(key)))
                }
            },
            (COPY, [key, place, token, millis, dump]) => {
                let is_held = mark(self, place).as_deref() == Some(*token);
                if !is_held || self.items.contains_key(*key) {
                    return integer(0);
                }
                self.restore(key, dump, millis);
                self.items.remove(*place);
                integer(1)
            }
            (DROP, [key, expected, low, high]) => {
                let Some(dump) = self.dump(key) else { return integer(0) };
                let is_same = digest(&dump) == *expected
                    && (number(low)..=number(high)).contains(&self.ttl(key));
                if !is_same {
                    return integer(-1);
                }
                self.items.remove(*key);
                integer(1)
            }
            (RELEASE, [place, token]) => {
                let is_held = mark(self, place).as_deref() == Some(*token);
                if is_held {
                    self.items.remove(*place);
                }
                integer(is_held)
            }
            (_, [key, millis]) if script.starts_with("local t=redis.call('PTTL',KEYS[1])") => {
                self.answer(&["PEXPIRE", key, millis, "LT"])
            }
            _ => panic!("{script} {words:?}"),
        }
    }
}

/// Another number for another text, as far as these tests go.
fn digest(dump: &str) -> String {
    let hash = dump.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}
