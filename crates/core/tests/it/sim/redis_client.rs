//! A Redis client that asks for anything and believes nothing.
//!
//! Every value says its key, and a number that no other value has. A client knows what is promised to
//! it: its own writes, one state for all of a transaction, each message of its channels once and in
//! order.

use super::random::Random;
use super::resp::{Value, array, parse};
use super::seen::Seen;
use super::{Customer, Truth};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Keys with values like `d0{x}:17:xxx`. Those of one tag are together.
const KEYS: [&str; 8] = ["d0{w}", "d1{w}", "d0{x}", "d1{x}", "d0{y}", "d1{y}", "d0{z}", "d1{z}"];

/// Lists of elements like `q{w}:17`.
const LISTS: [&str; 2] = ["q{w}", "q{x}"];

/// Channels with messages like `c0{w}:17`. All are together.
const CHANNELS: [&str; 3] = ["c0{w}", "c1{w}", "c2{w}"];

type Writes = Vec<(String, Vec<u8>)>;

/// What may come next.
#[derive(Debug)]
enum Expected {
    Status(&'static str),
    Error(&'static str),
    Watching,
    Number,
    /// An error as the keys have different servers, or an empty array if they happen to have the same.
    Across,
    /// The values of keys; with one key that was not in an array, the value alone.
    Read {
        keys: Vec<&'static str>,
        is_array: bool,
    },
    /// A transaction that writes a key and reads it. If the key was watched, nobody wrote it meanwhile.
    Exec {
        key: &'static str,
        value: Vec<u8>,
        is_watched: bool,
    },
    Popped(&'static str),
    /// The confirmation of a channel.
    Subscribed(&'static str),
    /// Confirmations until there are no more channels.
    Unsubscribed,
    Hello(bool),
    Reset,
    End,
}

impl Expected {
    /// Whether a server in good health may answer so.
    fn may_be_error(&self, text: &str) -> bool {
        match self {
            Self::Error(start) => text.starts_with(start),
            Self::Across => text.starts_with("CROSSSLOT "),
            _ => false,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Client {
    outbox: VecDeque<u8>,
    inbox: Vec<u8>,
    expected: VecDeque<(Expected, Writes)>,
    seen: Seen,
    /// What was read of the key that is watched.
    watched: Option<Vec<u8>>,
    /// Whether the server watches the key, as far as the client was told.
    is_watching: bool,
    /// Channels from which messages may come.
    channels: BTreeSet<&'static str>,
    /// Whether an error came in the place of a confirmation: the server may have done what it was asked
    /// for, so channels may be left of which the client does not know.
    may_have_channels: bool,
    /// The place of the last message of each channel in its history.
    messages: BTreeMap<&'static str, usize>,
    ended: bool,
}

impl Customer for Client {
    fn new(_may_be_quiet: bool) -> Self {
        Self::default()
    }

    fn ask_anything(&mut self, random: &mut Random, number: u64, size_max: usize) {
        let key = random.pick(&KEYS);
        match random.below(100) {
            0..25 => self.ask(&["GET", key], Expected::Read { keys: vec![key], is_array: false }),
            25..40 => {
                let keys: Vec<&str> = (0..random.length(8)).map(|_| random.pick(&KEYS)).collect();
                let request = [&["MGET"], &keys[..]].concat();
                self.ask(&request, Expected::Read { keys, is_array: true });
            }
            40..55 => self.write("SET", &[key], random, (number, size_max)),
            55..62 => {
                let keys: BTreeSet<&str> = (0..3).map(|_| random.pick(&KEYS)).collect();
                let keys: Vec<&str> = keys.into_iter().collect();
                self.write("MSET", &keys, random, (number, size_max / 3));
            }
            62..67 => self.ask(&["DEL", key, random.pick(&KEYS)], Expected::Number),
            67..70 => self.ask(&["EXISTS", key, random.pick(&KEYS)], Expected::Number),
            70..78 => self.ask_transaction(random, key, number),
            78..81 => {
                let list = random.pick(&LISTS);
                self.ask(&["RPUSH", list, &format!("{list}:{number}")], Expected::Number);
            }
            81..84 => {
                let list = random.pick(&LISTS);
                self.ask(&["BLPOP", list, "1"], Expected::Popped(list));
            }
            84..87 => {
                let channel = random.pick(&CHANNELS);
                self.ask(&["PUBLISH", channel, &format!("{channel}:{number}")], Expected::Number);
            }
            87..91 => self.ask_channels(random, number),
            91..94 => {
                let is_resp3 = random.chance(500);
                let version = if is_resp3 { "3" } else { "2" };
                self.ask(&["HELLO", version], Expected::Hello(is_resp3));
            }
            94 => self.ask(&["RESET"], Expected::Reset),
            95 => self.ask(&["SINTER", "d0{w}", "d0{x}", "d0{y}", "d0{z}"], Expected::Across),
            96 => self.ask(&["FOO", key], Expected::Error("ERR unknown command")),
            97 if random.chance(200) => {
                self.outbox.extend(b"*1\r\n$x\r\n");
                self.expect(Expected::Error("ERR Protocol error"));
                self.expect(Expected::End);
                self.ended = true;
            }
            98 if random.chance(200) => {
                self.ask(&["QUIT"], Expected::Status("OK"));
                self.expect(Expected::End);
                self.ended = true;
            }
            _ => self.ask(&["PING"], Expected::Status("PONG")),
        }
    }

    fn receive(&mut self, bytes: &[u8], truth: &Truth<'_>) {
        self.inbox.extend_from_slice(bytes);
        while let Some((value, len)) =
            Some(&self.inbox).filter(|all| !all.is_empty()).and_then(|all| parse(all))
        {
            self.inbox.drain(..len);
            self.check(&value, truth);
        }
    }

    fn outbox(&mut self) -> &mut VecDeque<u8> {
        &mut self.outbox
    }

    fn has_ended(&self) -> bool {
        self.ended
    }

    fn is_satisfied(&self) -> bool {
        self.expected.is_empty() && self.outbox.is_empty()
    }

    fn expects_end(&self) -> bool {
        self.inbox.is_empty() && matches!(self.expected.front(), Some((Expected::End, _)))
    }
}

impl Client {
    fn ask(&mut self, words: &[&str], reply: Expected) {
        self.outbox.extend(array(words));
        self.expect(reply);
    }

    fn expect(&mut self, reply: Expected) {
        self.expected.push_back((reply, Vec::new()));
    }

    fn write(
        &mut self,
        command: &'static str,
        keys: &[&'static str],
        random: &mut Random,
        (number, size_max): (u64, usize),
    ) {
        let (mut words, mut wrote) = (vec![command.to_owned()], Vec::new());
        for key in keys {
            let mut value = format!("{key}:{number}:");
            let length = random.length(size_max.saturating_sub(value.len()).max(1));
            value += &"\r\n+OK\r\n".repeat(length / 7);
            words.extend([(*key).to_owned(), value.clone()]);
            wrote.push(((*key).to_owned(), value.into_bytes()));
        }
        self.outbox.extend(array(&words));
        self.expected.push_back((Expected::Status("OK"), wrote));
    }

    /// Asks for a transaction as a whole; sometimes what it writes depends on what was there.
    fn ask_transaction(&mut self, random: &mut Random, key: &'static str, number: u64) {
        let is_watched = random.chance(400);
        if is_watched {
            self.ask(&["WATCH", key], Expected::Watching);
            self.ask(&["GET", key], Expected::Read { keys: vec![key], is_array: false });
        }
        let value = format!("{key}:{number}:");
        self.ask(&["MULTI"], Expected::Status("OK"));
        self.ask(&["SET", key, &value], Expected::Status("QUEUED"));
        self.ask(&["GET", key], Expected::Status("QUEUED"));
        match random.below(10) {
            0 => self.ask(&["DISCARD"], Expected::Status("OK")),
            1 => {
                self.ask(&["FOO"], Expected::Error("ERR unknown command"));
                self.ask(&["EXEC"], Expected::Error("EXECABORT"));
            }
            _ => {
                let value = value.into_bytes();
                self.ask(&["EXEC"], Expected::Exec { key, value, is_watched });
            }
        }
    }

    /// Subscribes, and ends it, with something between that all subscribers may ask for.
    fn ask_channels(&mut self, random: &mut Random, number: u64) {
        let channel = random.pick(&CHANNELS);
        self.ask(&["SUBSCRIBE", channel], Expected::Subscribed(channel));
        if random.chance(500) {
            let other = random.pick(&CHANNELS);
            self.ask(&["SUBSCRIBE", other], Expected::Subscribed(other));
        }
        if random.chance(200) {
            self.ask(&["RESET"], Expected::Reset);
            return;
        }
        self.ask(&["UNSUBSCRIBE"], Expected::Unsubscribed);
        self.ask(&["PUBLISH", channel, &format!("{channel}:{number}")], Expected::Number);
    }

    fn check(&mut self, value: &Value, truth: &Truth<'_>) {
        if let [kind, channel, message] = value.elements()
            && kind.text() == Some("message")
        {
            return self.check_message((channel, message), truth);
        }
        let (expected, wrote) =
            self.expected.pop_front().unwrap_or_else(|| panic!("nothing was asked: {value:?}"));
        if let Value::Error(text) = value {
            assert!(!matches!(expected, Expected::End), "nothing follows the end");
            let is_expected = expected.may_be_error(text);
            self.is_watching = false;
            self.may_have_channels |=
                matches!(expected, Expected::Subscribed(_) | Expected::Unsubscribed);
            return assert!(is_expected || truth.errors, "{text} in the place of {expected:?}");
        }
        match expected {
            // So RESP2 answers whoever has channels.
            Expected::Status("PONG") if self.may_have_channels && is_subscribers_pong(value) => {}
            Expected::Status(text) => {
                assert_eq!(value, &Value::Status(text.to_owned()));
                self.seen.note_writes(wrote, truth);
            }
            Expected::Watching => {
                assert_eq!(value, &Value::Status("OK".to_owned()));
                self.is_watching = true;
            }
            Expected::Across => assert_eq!(value, &Value::Array(Vec::new())),
            Expected::Number => assert!(matches!(value, Value::Number(0..)), "{value:?}"),
            Expected::Read { keys, is_array: false } => self.check_read(keys[0], value, truth),
            Expected::Read { keys, is_array: true } => {
                assert_eq!(value.elements().len(), keys.len(), "{value:?}");
                for (key, value) in keys.iter().zip(value.elements()) {
                    self.check_read(key, value, truth);
                }
            }
            Expected::Exec { is_watched, .. } if *value == Value::Null => {
                assert!(is_watched, "nothing was watched");
            }
            Expected::Exec { key, value: own, is_watched } => {
                let ok = Value::Status("OK".to_owned());
                assert_eq!(value.elements(), [ok, Value::Text(own.clone())]);
                if is_watched && self.is_watching {
                    self.check_nobody_wrote(key, &own, truth);
                }
                self.seen.note_writes([(key, own)], truth);
            }
            Expected::Popped(_) if *value == Value::Null => {}
            Expected::Popped(list) => check_popped(value, list),
            Expected::Subscribed(channel) => {
                check_confirmation(value, "subscribe", Some(channel));
                self.channels.insert(channel);
            }
            Expected::Unsubscribed => {
                check_confirmation(value, "unsubscribe", None);
                if value.elements()[2] == Value::Number(0) {
                    self.forget_channels();
                } else {
                    self.expected.push_front((Expected::Unsubscribed, wrote));
                }
            }
            Expected::Hello(is_resp3) => {
                let proto = Value::Number(if is_resp3 { 3 } else { 2 });
                assert!(value.elements().contains(&proto), "{value:?}");
            }
            Expected::Reset => {
                assert_eq!(value, &Value::Status("RESET".to_owned()));
                self.forget_channels();
            }
            Expected::Error(_) | Expected::End => panic!("{value:?} in the place of {expected:?}"),
        }
    }

    /// The client has no channels any more.
    fn forget_channels(&mut self) {
        self.channels.clear();
        self.messages.clear();
        self.may_have_channels = false;
    }

    fn check_read(&mut self, key: &str, value: &Value, truth: &Truth<'_>) {
        let found = match value {
            Value::Null => None,
            Value::Text(text) => Some(&text[..]),
            _ => panic!("{value:?} is no value"),
        };
        self.seen.check_read(key, found, truth);
        self.watched = found.map(<[u8]>::to_vec);
    }

    /// Between the read of a watched key and its transaction nobody wrote the key.
    fn check_nobody_wrote(&self, key: &str, own: &[u8], truth: &Truth<'_>) {
        let Some(home) = (truth.home)(key) else { return };
        let history = &truth.histories[home][key];
        let place = history.iter().rposition(|value| value.as_deref() == Some(own));
        let place = place.expect("an acknowledged write was done");
        let before = if place == 0 { None } else { history[place - 1].clone() };
        assert_eq!(self.watched, before, "{key} was written meanwhile");
    }

    /// A message must be of a channel of this client, and follow the one before it.
    fn check_message(&mut self, (channel, message): (&Value, &Value), truth: &Truth<'_>) {
        let name = channel.text().expect("a channel is a text");
        let channel = CHANNELS.iter().find(|one| **one == name).expect("it is a channel");
        let text = message.text().expect("a message is a text");
        assert!(text.starts_with(&format!("{channel}:")), "{text} is not of {channel}");
        if truth.errors {
            // The client may have been told that its subscription failed.
            return;
        }
        assert!(
            self.channels.contains(channel),
            "a message of {channel}, which it has not asked for"
        );
        let Some(home) = (truth.home)(channel) else { return };
        let history = &truth.histories[home][*channel];
        let place = history.iter().position(|one| one.as_deref() == Some(text.as_bytes()));
        let place = place.expect("somebody has sent it");
        let last = self.messages.insert(channel, place);
        assert!(last.is_none_or(|last| place == last + 1), "a message was lost, or came twice");
    }
}

/// Whether it is what a client with channels gets for `PING`.
fn is_subscribers_pong(value: &Value) -> bool {
    *value == Value::Array(vec![Value::Text(b"pong".to_vec()), Value::Text(Vec::new())])
}

/// Checks an element that was taken off a list.
fn check_popped(value: &Value, list: &str) {
    let [key, element] = value.elements() else { panic!("{value:?}") };
    assert_eq!(key.text(), Some(list));
    let element = element.text().expect("an element is a text");
    assert!(element.starts_with(&format!("{list}:")), "{element} is not of {list}");
}

/// Checks the confirmation of a channel, or of none.
fn check_confirmation(value: &Value, kind: &str, channel: Option<&str>) {
    let [said, name, Value::Number(0..)] = value.elements() else { panic!("{value:?}") };
    assert_eq!(said.text(), Some(kind), "{value:?}");
    assert!(channel.is_none() || name.text() == channel, "{value:?}");
}
