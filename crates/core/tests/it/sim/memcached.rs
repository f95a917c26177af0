//! A memcached in a few lines: a map that answers in order.
//!
//! It takes only what a proxy may send: canonical lines, never quiet. Anything else is a panic,
//! for it would be the proxy's mistake. It remembers every value that a key ever had.

use super::client::Client;
use super::{History, Reply, Server};
use nuthatch_core::memcache::{KeyRoom, decode_key};
use nuthatch_core::protocol::Protocol;
use std::collections::BTreeMap;

#[derive(Debug)]
struct Item {
    flags: String,
    data: Vec<u8>,
    cas: u64,
    /// Whether it knows that its key came in base64.
    is_binary: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Memcached {
    items: BTreeMap<String, Item>,
    history: History,
    next_cas: u64,
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("these clients write text")
}

fn reply(line: &str) -> Reply {
    Reply { bytes: format!("{line}\r\n").into_bytes(), hit: None }
}

/// The flags of a meta request.
struct Flags<'a>(Vec<&'a str>);

impl Flags<'_> {
    fn has(&self, flag: char) -> bool {
        self.0.iter().any(|word| word.starts_with(flag))
    }

    /// Code, flags that a reply repeats, and the line's end.
    fn line(&self, code: &str, key: &str) -> Vec<u8> {
        let mut line = code.to_owned();
        for flag in &self.0 {
            match &flag[..1] {
                "O" => line += &format!(" {flag}"),
                "k" => line += &format!(" k{key}"),
                "b" => line += " b",
                _ => {}
            }
        }
        (line + "\r\n").into_bytes()
    }
}

impl Server for Memcached {
    type Client = Client;

    const PROTOCOL: Protocol = Protocol::Memcache;
    const SURPLUS: &'static [u8] = b"STORED\r\n";

    fn serve(&mut self, _conn: usize, input: &mut Vec<u8>) -> Option<Reply> {
        let end = input.iter().position(|&byte| byte == b'\n')?;
        assert!(end > 0 && input[end - 1] == b'\r', "a line ends with CR LF");
        let line = text(&input[..end - 1]).to_owned();
        let words: Vec<&str> = line.split(' ').collect();
        assert!(words.iter().all(|word| !word.is_empty()), "spaces are single: {line:?}");
        assert!(!words.contains(&"noreply"), "every request is asked aloud: {line:?}");
        let length = match words[0] {
            "set" | "add" | "replace" | "append" | "prepend" | "cas" => Some(words[4]),
            "ms" => Some(words[2]),
            _ => None,
        };
        let length = length.map(|length| length.parse::<usize>().expect("a length"));
        let data_end = end + 1 + length.map_or(0, |length| length + 2);
        let data = input.get(end + 1..data_end)?;
        let data = length.map(|length| {
            assert!(data.ends_with(b"\r\n"), "a data block ends where it should");
            data[..length].to_vec()
        });
        input.drain(..data_end);
        Some(self.answer(&words, data.unwrap_or_default()))
    }

    fn lie(key: &str) -> Vec<u8> {
        format!("VALUE {key} 0 5\r\nd9:1:\r\nEND\r\n").into_bytes()
    }

    fn flush(&mut self) {
        for key in std::mem::take(&mut self.items).into_keys() {
            self.history.entry(key).or_default().push(None);
        }
    }

    fn history(&self) -> &History {
        &self.history
    }
}

impl Memcached {
    fn answer(&mut self, words: &[&str], data: Vec<u8>) -> Reply {
        match words[0] {
            "get" | "gets" => self.read(&words[1..], words[0] == "gets"),
            "gat" | "gats" => self.read(&words[2..], words[0] == "gats"),
            "delete" if self.store(words[1], None) => reply("DELETED"),
            "delete" => reply("NOT_FOUND"),
            "touch" if self.items.contains_key(words[1]) => reply("TOUCHED"),
            "touch" => reply("NOT_FOUND"),
            "incr" | "decr" => self.count(words[1], words[2], words[0] == "incr"),
            "flush_all" => {
                self.flush();
                reply("OK")
            }
            "version" => reply("VERSION 1.6.18"),
            "mg" | "ms" | "md" | "ma" => self.meta(words, data),
            "me" => self.debug(words),
            command => self.storage(command, words, data),
        }
    }

    fn read(&self, keys: &[&str], with_cas: bool) -> Reply {
        let mut bytes = Vec::new();
        for key in keys {
            let Some(item) = self.items.get(*key) else { continue };
            let cas = if with_cas { format!(" {}", item.cas) } else { String::new() };
            let header = format!("VALUE {key} {} {}{cas}\r\n", item.flags, item.data.len());
            bytes.extend_from_slice(header.as_bytes());
            bytes.extend_from_slice(&item.data);
            bytes.extend_from_slice(b"\r\n");
        }
        let hit = (keys.len() == 1 && !bytes.is_empty()).then(|| keys[0].to_owned());
        bytes.extend_from_slice(b"END\r\n");
        Reply { bytes, hit }
    }

    /// Whether the key had a value before.
    fn store(&mut self, key: &str, value: Option<(&str, Vec<u8>)>) -> bool {
        self.next_cas += 1;
        let data = value.as_ref().map(|(_, data)| data.clone());
        let item = value.map(|(flags, data)| Item {
            flags: flags.to_owned(),
            data,
            cas: self.next_cas,
            is_binary: false,
        });
        let before = match item {
            Some(item) => self.items.insert(key.to_owned(), item),
            None => self.items.remove(key),
        };
        if before.is_some() || data.is_some() {
            self.history.entry(key.to_owned()).or_default().push(data);
        }
        before.is_some()
    }

    fn storage(&mut self, command: &str, words: &[&str], data: Vec<u8>) -> Reply {
        let (key, flags) = (words[1], words[2]);
        let before = self.items.get(key).map(|item| (item.data.clone(), item.cas));
        let data = match (command, before) {
            ("set", _) | ("add", None) | ("replace", Some(_)) => data,
            ("append", Some((before, _))) => [before, data].concat(),
            ("prepend", Some((before, _))) => [data, before].concat(),
            ("cas", Some((_, cas))) if words[5] == cas.to_string() => data,
            ("cas", Some(_)) => return reply("EXISTS"),
            ("cas", None) => return reply("NOT_FOUND"),
            ("add" | "replace" | "append" | "prepend", _) => return reply("NOT_STORED"),
            _ => panic!("not for a server: {words:?}"),
        };
        self.store(key, Some((flags, data)));
        reply("STORED")
    }

    fn count(&mut self, key: &str, delta: &str, up: bool) -> Reply {
        let Some(item) = self.items.get(key) else { return reply("NOT_FOUND") };
        let number: u64 = text(&item.data).trim_end().parse().expect("only numbers are counted");
        let delta: u64 = delta.parse().expect("a delta is a number");
        let number = if up { number.wrapping_add(delta) } else { number.saturating_sub(delta) };
        self.store(key, Some(("0", number.to_string().into_bytes())));
        reply(&number.to_string())
    }

    fn meta(&mut self, words: &[&str], data: Vec<u8>) -> Reply {
        let start = if words[0] == "ms" { 3 } else { 2 };
        let flags = Flags(words[start..].to_vec());
        assert!(!flags.has('q'), "every request is asked aloud: {words:?}");
        let mut room: KeyRoom = [0; 192];
        let key = match flags.has('b') {
            true => match decode_key(words[1].as_bytes(), &mut room) {
                Some(key) => text(key),
                None => return reply("CLIENT_ERROR error decoding key"),
            },
            false => words[1],
        };
        if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return self.binary_meta(words, key, data);
        }
        let found = self.items.contains_key(key);
        let bytes = match words[0] {
            "mg" if found && flags.has('v') => {
                let data = &self.items[key].data;
                let mut bytes = flags.line(&format!("VA {}", data.len()), words[1]);
                bytes.extend_from_slice(data);
                bytes.extend_from_slice(b"\r\n");
                bytes
            }
            "mg" => flags.line(if found { "HD" } else { "EN" }, words[1]),
            "ms" => {
                self.store(key, Some(("0", data)));
                flags.line("HD", words[1])
            }
            "md" => flags.line(if self.store(key, None) { "HD" } else { "NF" }, words[1]),
            _ if found => {
                self.count(key, "1", true);
                flags.line("HD", words[1])
            }
            _ => flags.line("NF", words[1]),
        };
        Reply { bytes, hit: None }
    }

    /// A meta request for a key that only base64 can name. As memcached does, the reply to `mg` has the
    /// key as the item knows it, and the item forgets that its key came in base64 when it is made by
    /// `N` or remade by `ma`.
    fn binary_meta(&mut self, words: &[&str], key: &str, data: Vec<u8>) -> Reply {
        let (encoded, token) = (words[1], words.iter().find(|word| word.starts_with('O')));
        let token = token.expect("these requests have a token");
        let by_request = format!(" {token} k{encoded} b\r\n");
        let makes = words[0] == "mg" && words.contains(&"N30") && !self.items.contains_key(key);
        if makes {
            self.store(key, Some(("0", Vec::new())));
        }
        let item = self.items.get(key).map(|item| (item.data.clone(), item.is_binary));
        let text = match (words[0], item) {
            ("mg", Some((data, is_binary))) => {
                let shown = if is_binary { format!("{encoded} b") } else { key.to_owned() };
                let won = if makes { " W" } else { "" };
                if words.contains(&"v") {
                    let data = text(&data);
                    format!("VA {} {token} k{shown}{won}\r\n{data}\r\n", data.len())
                } else {
                    format!("HD {token} k{shown}{won}\r\n")
                }
            }
            ("mg", None) => "EN".to_owned() + &by_request,
            ("ms", _) => {
                self.store(key, Some(("0", data)));
                self.items.get_mut(key).expect("it was stored").is_binary = true;
                "HD".to_owned() + &by_request
            }
            ("md", item) => {
                self.store(key, None);
                (if item.is_some() { "HD" } else { "NF" }).to_owned() + &by_request
            }
            (_, None) => "NF".to_owned() + &by_request,
            (_, Some((data, _))) if data.is_empty() => {
                "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n".to_owned()
            }
            (_, Some(_)) => {
                self.count(key, "1", true);
                "HD".to_owned() + &by_request
            }
        };
        Reply { bytes: text.into_bytes(), hit: None }
    }

    fn debug(&self, words: &[&str]) -> Reply {
        let mut room: KeyRoom = [0; 192];
        let key = text(decode_key(words[1].as_bytes(), &mut room).expect("base64"));
        match self.items.get(key) {
            Some(item) => {
                let shown = if item.is_binary { words[1] } else { key };
                reply(&format!("ME {shown} exp=-1 la=0 cas={} fetch=no cls=1 size=64", item.cas))
            }
            None => reply("EN"),
        }
    }
}
