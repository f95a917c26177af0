//! A Redis in a few lines: maps of texts and lists, transactions, and channels.
//!
//! It takes only what a proxy may send: arrays in the plain form. Anything else is a panic, for it
//! would be the proxy's mistake. It remembers every value that a key ever had, and every message of a
//! channel.

use super::redis_client::Client;
use super::resp::{Value, array, bulk, parse};
use super::{History, Reply, Server};
use nuthatch_core::protocol::Protocol;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

#[derive(Debug, Default)]
pub(crate) struct Redis {
    texts: BTreeMap<String, Vec<u8>>,
    lists: BTreeMap<String, VecDeque<String>>,
    history: History,
    /// How often each key was changed.
    changes: BTreeMap<String, u64>,
    /// By the number of the connection.
    conns: BTreeMap<usize, Conn>,
    /// What connections get that is no reply to their last request.
    sent: Vec<(usize, Vec<u8>)>,
}

/// What the server knows of a connection.
#[derive(Debug, Default)]
struct Conn {
    is_resp3: bool,
    /// The commands of its transaction.
    queued: Option<Vec<Vec<String>>>,
    /// Keys, and how often they were changed when that was asked.
    watched: Vec<(String, u64)>,
    channels: BTreeSet<String>,
    /// The list that it waits for.
    waits_for: Option<String>,
}

const OK: &[u8] = b"+OK\r\n";

impl Server for Redis {
    type Client = Client;

    const PROTOCOL: Protocol = Protocol::Redis;
    const SURPLUS: &'static [u8] = b"+OK\r\n";

    fn serve(&mut self, conn: usize, input: &mut Vec<u8>) -> Option<Reply> {
        if self.conns.entry(conn).or_default().waits_for.is_some() || input.is_empty() {
            return None;
        }
        let (request, len) = parse(input)?;
        let words: Vec<String> = request.elements().iter().map(word).collect();
        assert_eq!(array(&words), input[..len], "a request has the plain form");
        input.drain(..len);
        let bytes = self.answer(conn, &words);
        let is_hit = words[0].eq_ignore_ascii_case("get") && bytes.starts_with(b"$");
        let hit = (is_hit && bytes != b"$-1\r\n").then(|| words[1].clone());
        Some(Reply { bytes, hit })
    }

    fn flush(&mut self) {
        for key in std::mem::take(&mut self.texts).into_keys() {
            self.history.entry(key).or_default().push(None);
        }
        self.lists.clear();
    }

    fn disconnect(&mut self, conn: usize) {
        self.conns.remove(&conn);
    }

    fn give_up(&mut self, conn: usize) {
        let Some(this) = self.conns.get_mut(&conn) else { return };
        if this.waits_for.take().is_some() {
            let null = if this.is_resp3 { &b"_\r\n"[..] } else { b"*-1\r\n" };
            self.sent.push((conn, null.to_vec()));
        }
    }

    fn take_sent(&mut self) -> Vec<(usize, Vec<u8>)> {
        std::mem::take(&mut self.sent)
    }

    fn lie(_key: &str) -> Vec<u8> {
        bulk(b"d9:1:")
    }

    fn history(&self) -> &History {
        &self.history
    }
}

impl Redis {
    fn answer(&mut self, conn: usize, words: &[String]) -> Vec<u8> {
        let name = words[0].to_ascii_lowercase();
        let this = self.conns.entry(conn).or_default();
        let null = if this.is_resp3 { &b"_\r\n"[..] } else { b"$-1\r\n" };
        match (name.as_str(), &mut this.queued) {
            ("exec", Some(queued)) => {
                let queued = std::mem::take(queued);
                return self.exec(conn, &queued);
            }
            ("discard", Some(_)) => {
                (this.queued, this.watched) = (None, Vec::new());
                return OK.to_vec();
            }
            (_, Some(queued)) => {
                assert!(name != "multi" && name != "watch" && name != "subscribe", "{words:?}");
                queued.push(words.to_vec());
                return b"+QUEUED\r\n".to_vec();
            }
            ("hello", None) => {
                this.is_resp3 = words[1] == "3";
                return array(&["version", "7.0.15"]);
            }
            ("multi", None) => this.queued = Some(Vec::new()),
            ("watch", None) => {
                for key in &words[1..] {
                    let changes = self.changes.get(key).copied().unwrap_or_default();
                    this.watched.push((key.clone(), changes));
                }
            }
            ("unwatch", None) => this.watched.clear(),
            ("subscribe" | "unsubscribe", None) => return subscribe(this, words),
            ("blpop", None) => return self.pop(conn, &words[1]),
            _ => return self.command(&name, words, null),
        }
        OK.to_vec()
    }

    fn exec(&mut self, conn: usize, queued: &[Vec<String>]) -> Vec<u8> {
        let this = self.conns.entry(conn).or_default();
        let watched = std::mem::take(&mut this.watched);
        this.queued = None;
        let is_resp3 = this.is_resp3;
        let changes = |key: &String| self.changes.get(key).copied().unwrap_or_default();
        if watched.iter().any(|(key, before)| changes(key) != *before) {
            return if is_resp3 { b"_\r\n".to_vec() } else { b"*-1\r\n".to_vec() };
        }
        let mut reply = format!("*{}\r\n", queued.len()).into_bytes();
        let null = if is_resp3 { &b"_\r\n"[..] } else { b"$-1\r\n" };
        for words in queued {
            reply.extend_from_slice(&self.command(&words[0].to_ascii_lowercase(), words, null));
        }
        reply
    }

    fn command(&mut self, name: &str, words: &[String], null: &[u8]) -> Vec<u8> {
        let number = |number: usize| format!(":{number}\r\n").into_bytes();
        match name {
            "sinter" => b"*0\r\n".to_vec(),
            "ping" => b"+PONG\r\n".to_vec(),
            "get" => self.read(&words[1], null),
            "mget" => {
                let values = words[1..].iter().map(|key| self.read(key, null));
                [format!("*{}\r\n", words.len() - 1).into_bytes()]
                    .into_iter()
                    .chain(values)
                    .flatten()
                    .collect()
            }
            "set" | "mset" => {
                for pair in words[1..].chunks(2) {
                    self.store(&pair[0], Some(pair[1].clone().into_bytes()));
                }
                OK.to_vec()
            }
            "del" => number(words[1..].iter().filter(|key| self.store(key, None)).count()),
            "exists" => {
                number(words[1..].iter().filter(|key| self.texts.contains_key(*key)).count())
            }
            "rpush" => {
                let list = self.lists.entry(words[1].clone()).or_default();
                list.extend(words[2..].iter().cloned());
                let len = list.len();
                self.serve_waiting(&words[1]);
                number(len)
            }
            "publish" => number(self.publish(&words[1], &words[2])),
            "dbsize" => number(self.texts.len()),
            "keys" => array(&self.texts.keys().collect::<Vec<_>>()),
            "flushall" => {
                self.flush();
                OK.to_vec()
            }
            "scan" => {
                let keys: Vec<&String> = self.texts.keys().collect();
                [&b"*2\r\n"[..], &bulk(b"0"), &array(&keys)].concat()
            }
            "hget" => {
                b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n".to_vec()
            }
            _ => panic!("not for this server: {words:?}"),
        }
    }

    fn read(&self, key: &str, null: &[u8]) -> Vec<u8> {
        self.texts.get(key).map_or_else(|| null.to_vec(), |text| bulk(text))
    }

    /// Whether the key had a value before.
    fn store(&mut self, key: &str, value: Option<Vec<u8>>) -> bool {
        let before = match value.clone() {
            Some(text) => self.texts.insert(key.to_owned(), text),
            None => self.texts.remove(key),
        };
        if before.is_some() || value.is_some() {
            self.history.entry(key.to_owned()).or_default().push(value);
            *self.changes.entry(key.to_owned()).or_default() += 1;
        }
        before.is_some()
    }

    fn pop(&mut self, conn: usize, key: &str) -> Vec<u8> {
        match self.lists.get_mut(key).and_then(VecDeque::pop_front) {
            Some(element) => array(&[key, &element]),
            None => {
                self.conns.entry(conn).or_default().waits_for = Some(key.to_owned());
                Vec::new()
            }
        }
    }

    /// Gives the elements of a list to those who wait for it.
    fn serve_waiting(&mut self, key: &str) {
        for (place, conn) in &mut self.conns {
            if conn.waits_for.as_deref() == Some(key)
                && let Some(element) = self.lists.get_mut(key).and_then(VecDeque::pop_front)
            {
                conn.waits_for = None;
                self.sent.push((*place, array(&[key, &element])));
            }
        }
    }

    fn publish(&mut self, channel: &str, text: &str) -> usize {
        let message = array(&["message", channel, text]);
        let before = self.sent.len();
        for (place, conn) in &self.conns {
            if conn.channels.contains(channel) {
                let kind = if conn.is_resp3 { b'>' } else { b'*' };
                self.sent.push((*place, [&[kind][..], &message[1..]].concat()));
            }
        }
        let history = self.history.entry(channel.to_owned()).or_default();
        history.push(Some(text.as_bytes().to_vec()));
        self.sent.len() - before
    }
}

/// Answers `SUBSCRIBE` and `UNSUBSCRIBE`.
fn subscribe(conn: &mut Conn, words: &[String]) -> Vec<u8> {
    let kind = words[0].to_ascii_lowercase();
    let named = words[1..].iter().cloned().map(Some);
    let all = conn.channels.iter().cloned().map(Some);
    let mut names: Vec<Option<String>> =
        if words.len() > 1 { named.collect() } else { all.collect() };
    if names.is_empty() {
        names.push(None);
    }
    let mut reply = Vec::new();
    for name in names {
        let null = if conn.is_resp3 { &b"_\r\n"[..] } else { b"$-1\r\n" };
        let channel = name.as_ref().map_or_else(|| null.to_vec(), |name| bulk(name.as_bytes()));
        match name {
            Some(name) if kind == "subscribe" => drop(conn.channels.insert(name)),
            Some(name) => drop(conn.channels.remove(&name)),
            None => {}
        }
        let head = if conn.is_resp3 { &b">3\r\n"[..] } else { b"*3\r\n" };
        let count = format!(":{}\r\n", conn.channels.len());
        reply.extend_from_slice(
            &[head, &bulk(kind.as_bytes()), &channel, count.as_bytes()].concat(),
        );
    }
    reply
}

fn word(value: &Value) -> String {
    value.text().expect("a request has texts").to_owned()
}
