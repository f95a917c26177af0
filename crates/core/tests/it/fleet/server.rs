//! A memcached with all that keys that move need: cas ids that grow, expiry, marks, and meta commands.
//!
//! What it answers was compared with memcached 1.6.18.

use super::kind::Server;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
struct Item {
    flags: u64,
    data: Vec<u8>,
    cas: u64,
    /// In nanoseconds.
    expires: Option<u64>,
    /// Whether somebody has won the right to fill it.
    is_won: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Memcached {
    items: BTreeMap<String, Item>,
    next_cas: u64,
    /// Whether it knows no meta commands.
    is_old: bool,
    now: u64,
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("these clients write text")
}

fn number(word: &str) -> u64 {
    word.parse().expect("a number")
}

impl Server for Memcached {
    /// It loses everything, as by a restart.
    fn restart(&mut self) {
        self.items.clear();
        self.next_cas = 0;
    }

    /// It drops a value to make room.
    fn evict(&mut self, place: usize) {
        let key = self.items.keys().nth(place % self.items.len().max(1)).cloned();
        key.map(|key| self.items.remove(&key));
    }

    /// Whether a mark is left in the place of a value.
    fn has_marks(&mut self, now: u64) -> bool {
        self.now = now;
        self.drop_expired();
        self.items.values().any(|item| item.is_won)
    }

    /// Answers the first request of `input` and takes it away; none if it is not whole.
    fn serve(&mut self, _conn: u64, input: &mut Vec<u8>, now: u64) -> Option<Vec<u8>> {
        let end = input.iter().position(|&byte| byte == b'\n')?;
        let line = text(&input[..end - 1]).to_owned();
        let words: Vec<&str> = line.split(' ').collect();
        assert!(words.iter().all(|word| !word.is_empty()), "spaces are single: {line:?}");
        let length = match words[0] {
            "set" | "add" | "replace" | "append" | "prepend" | "cas" => Some(words[4]),
            "ms" => Some(words[2]),
            _ => None,
        };
        let length = length.map(|length| usize::try_from(number(length)).expect("a length"));
        let data_end = end + 1 + length.map_or(0, |length| length + 2);
        let data = input.get(end + 1..data_end)?;
        let data = length.map_or(Vec::new(), |length| data[..length].to_vec());
        input.drain(..data_end);
        self.now = now;
        self.drop_expired();
        Some(self.answer(&words, data))
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

    fn number_from(&mut self, first: u64) {
        self.next_cas = first;
    }

    fn fill(&mut self, _key: &str, _value: u64) {
        unreachable!("a memcached may lose values")
    }
}

impl Memcached {
    fn drop_expired(&mut self) {
        let now = self.now;
        self.items.retain(|_, item| item.expires.is_none_or(|at| at > now));
    }

    fn answer(&mut self, words: &[&str], data: Vec<u8>) -> Vec<u8> {
        let line = match words[0] {
            "get" | "gets" => return self.read(&words[1..], words[0] == "gets"),
            "gat" | "gats" => {
                let expires = self.expires(words[1]);
                for key in &words[2..] {
                    if let Some(item) = self.items.get_mut(*key) {
                        item.expires = expires;
                    }
                }
                return self.read(&words[2..], words[0] == "gats");
            }
            "mg" | "ms" | "md" | "ma" if !self.is_old => return self.meta(words, data),
            "delete" => self.items.remove(words[1]).map_or("NOT_FOUND", |_| "DELETED").into(),
            "touch" => {
                let expires = self.expires(words[2]);
                match self.items.get_mut(words[1]) {
                    Some(item) => {
                        item.expires = expires;
                        "TOUCHED".into()
                    }
                    None => "NOT_FOUND".into(),
                }
            }
            "incr" => self.count(words[1], number(words[2])),
            "flush_all" => {
                self.items.clear();
                "OK".into()
            }
            "version" if self.is_old => "VERSION 1.4.31".into(),
            "version" => "VERSION 1.6.18".into(),
            "set" | "add" | "replace" | "append" | "cas" => {
                let expires = self.expires(words[3]);
                let cas = (words[0] == "cas").then(|| number(words[5]));
                let mode = match words[0] {
                    "add" => 'E',
                    "replace" => 'R',
                    "append" => 'A',
                    _ => 'S',
                };
                let kind = (mode, cas);
                match self.store(words[1], kind, (number(words[2]), expires), data) {
                    "HD" => "STORED",
                    "NS" => "NOT_STORED",
                    "EX" => "EXISTS",
                    _ if mode == 'R' => "NOT_STORED",
                    _ => "NOT_FOUND",
                }
                .into()
            }
            _ => "ERROR".to_owned(),
        };
        (line + "\r\n").into_bytes()
    }

    fn expires(&self, word: &str) -> Option<u64> {
        match number(word) {
            0 => None,
            seconds => Some(self.now + seconds * 1_000_000_000),
        }
    }

    fn read(&self, keys: &[&str], with_cas: bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        for key in keys {
            let Some(item) = self.items.get(*key) else { continue };
            let cas = if with_cas { format!(" {}", item.cas) } else { String::new() };
            let header = format!("VALUE {key} {} {}{cas}\r\n", item.flags, item.data.len());
            bytes.extend_from_slice(header.as_bytes());
            bytes.extend_from_slice(&item.data);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"END\r\n");
        bytes
    }

    fn store(
        &mut self,
        key: &str,
        (mode, cas): (char, Option<u64>),
        (flags, expires): (u64, Option<u64>),
        data: Vec<u8>,
    ) -> &'static str {
        let before = self.items.get(key).cloned();
        match (&before, cas) {
            (Some(before), Some(cas)) if before.cas != cas => return "EX",
            (None, Some(_)) => return if mode == 'A' { "NS" } else { "NF" },
            _ => {}
        }
        let item = match (mode, before) {
            ('E', Some(_)) | ('A' | 'R', None) => return "NS",
            ('A', Some(before)) => {
                let data = [before.data, data].concat();
                Item { data, is_won: false, ..before }
            }
            _ => Item { flags, data, cas: 0, expires, is_won: false },
        };
        self.next_cas += 1;
        self.items.insert(key.to_owned(), Item { cas: self.next_cas, ..item });
        "HD"
    }

    fn count(&mut self, key: &str, delta: u64) -> String {
        let Some(item) = self.items.get_mut(key) else { return "NOT_FOUND".into() };
        let Some(number) = text(&item.data).parse::<u64>().ok() else {
            return "CLIENT_ERROR cannot increment or decrement non-numeric value".into();
        };
        self.next_cas += 1;
        item.cas = self.next_cas;
        item.data = (number + delta).to_string().into_bytes();
        (number + delta).to_string()
    }

    fn meta(&mut self, words: &[&str], data: Vec<u8>) -> Vec<u8> {
        let key = words[1];
        let flags = &words[if words[0] == "ms" { 3 } else { 2 }..];
        let flag = |letter: char| flags.iter().find_map(|flag| flag.strip_prefix(letter));
        let cas = flag('C').map(number);
        let code = match words[0] {
            "mg" => return self.meta_get(key, flags),
            "ms" => {
                let mode = flag('M').and_then(|mode| mode.chars().next()).unwrap_or('S');
                let expires = flag('T').and_then(|ttl| self.expires(ttl));
                let values = (flag('F').map_or(0, number), expires);
                self.store(key, (mode, cas), values, data)
            }
            "md" => match self.items.get(key) {
                None => "NF",
                Some(item) if cas.is_some_and(|cas| cas != item.cas) => "EX",
                Some(_) => {
                    self.items.remove(key);
                    "HD"
                }
            },
            _ if self.items.get(key).is_some_and(|item| {
                !item.data.is_empty() && cas.is_some_and(|cas| cas != item.cas)
            }) =>
            {
                "EX"
            }
            _ => match self.count(key, flag('D').map_or(1, number)).as_str() {
                "NOT_FOUND" => "NF",
                error if error.starts_with("CLIENT_ERROR") => {
                    return format!("{error}\r\n").into_bytes();
                }
                number if flag('v').is_some() => {
                    return format!("VA {}\r\n{number}\r\n", number.len()).into_bytes();
                }
                _ => "HD",
            },
        };
        let cas = self.items.get(key).filter(|_| code == "HD" && flags.contains(&"c"));
        let cas = cas.map_or(String::new(), |item| format!(" c{}", item.cas));
        format!("{code}{cas}\r\n").into_bytes()
    }

    fn meta_get(&mut self, key: &str, flags: &[&str]) -> Vec<u8> {
        let flag = |letter: char| flags.iter().find_map(|flag| flag.strip_prefix(letter));
        let mut won = false;
        if !self.items.contains_key(key) {
            let Some(ttl) = flag('N') else { return b"EN\r\n".to_vec() };
            let expires = self.expires(ttl);
            self.store(key, ('S', None), (0, expires), Vec::new());
            won = true;
        }
        let touch = flag('T').map(|ttl| self.expires(ttl));
        let now = self.now;
        let item = self.items.get_mut(key).expect("it was there or made");
        if let Some(expires) = touch {
            item.expires = expires;
        }
        let mut line = match flag('v') {
            Some(_) => format!("VA {}", item.data.len()),
            None => "HD".to_owned(),
        };
        for flag in flags {
            match *flag {
                "c" => line += &format!(" c{}", item.cas),
                "f" => line += &format!(" f{}", item.flags),
                "t" => {
                    let ttl = item.expires.map(|at| ((at - now) / 1_000_000_000).to_string());
                    line += &format!(" t{}", ttl.unwrap_or_else(|| "-1".into()));
                }
                _ => {}
            }
        }
        if won {
            line += " W";
        } else if item.is_won {
            line += " Z";
        }
        item.is_won |= won;
        let mut bytes = (line + "\r\n").into_bytes();
        if flag('v').is_some() {
            bytes.extend_from_slice(&item.data);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes
    }
}
