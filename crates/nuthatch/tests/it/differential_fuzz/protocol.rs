//! What is different between protocols: one `match` per question.
//!
//! The rule: the players, the shrinking and the worlds know nothing else of a protocol.

use super::compare::{self, Mask};
use super::script::{Kind, Part, Request, Script};
use super::verdict::{Answer, Case, Ended, Verdict};
use super::{redis, request};
use crate::conn::Conn;
use nuthatch_harness::redis::command;

/// What clients and servers speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Memcache,
    Redis,
}

impl Protocol {
    /// The settings of a pool of this protocol.
    pub(super) fn settings(self) -> &'static str {
        match self {
            Self::Memcache => "",
            Self::Redis => "redis: true\nhash_tag: \"{}\"",
        }
    }

    /// A script of about so many requests, the same one for the same seed.
    pub(super) fn script(self, kind: Kind, seed: u64, requests: usize) -> Script {
        match self {
            Self::Memcache => request::script(kind, seed, requests),
            Self::Redis => redis::request::script(kind, seed, requests),
        }
    }

    /// How clients greet that have connections to servers in common.
    pub(super) fn greetings(self) -> &'static [&'static [u8]] {
        match self {
            Self::Memcache => &[b""],
            Self::Redis => &[b"", b"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n"],
        }
    }

    /// A request for the values of keys.
    pub(super) fn get(self, keys: &[String]) -> Vec<u8> {
        match self {
            Self::Memcache => format!("get {}\r\n", keys.join(" ")).into_bytes(),
            Self::Redis => command([&["MGET".to_owned()], keys].concat()),
        }
    }

    /// Reads the reply to `get`.
    pub(super) fn read_values(self, conn: &mut Conn) {
        match self {
            Self::Memcache => conn.read_until(b"END\r\n").unwrap(),
            Self::Redis => conn.read_resp().unwrap(),
        };
    }

    /// Reads the reply to the greeting of a script. Whether it was understood shows in what follows.
    pub(super) fn read_greeting(self, conn: &mut Conn) {
        let _ = conn.read_resp();
    }

    /// A question whose answer names it.
    pub(super) fn marker(self, name: &str) -> Vec<u8> {
        match self {
            Self::Memcache => format!("mg {name} k\r\n").into_bytes(),
            Self::Redis => command(["EVAL", "return KEYS[1]", "1", name]),
        }
    }

    /// The answer to `marker`.
    pub(super) fn reply_to_marker(self, name: &str) -> Vec<u8> {
        match self {
            Self::Memcache => format!("EN k{name}\r\n").into_bytes(),
            Self::Redis => nuthatch_harness::redis::bulk(name),
        }
    }

    /// Whether nothing of what follows can be taken for the rest of the request.
    pub(super) fn is_whole(self, request: &Request, bytes: &[u8]) -> bool {
        match self {
            Self::Memcache => {
                matches!(request.parts.last(), Some(Part::Raw(last)) if last.ends_with(b"\r\n"))
            }
            Self::Redis => redis::frame::commands(bytes).is_some(),
        }
    }

    /// The answer of one side without what two healthy servers may say differently.
    pub(super) fn mask(
        self,
        mask: &mut Mask,
        request: &[u8],
        bytes: &[u8],
        ended: Ended,
    ) -> Answer {
        match self {
            Self::Memcache => mask.answer(bytes, ended),
            Self::Redis => redis::compare::answer(request, bytes, ended),
        }
    }

    pub(super) fn judge(self, case: &Case<'_>) -> Verdict {
        match self {
            Self::Memcache => case.judge(),
            Self::Redis => redis::compare::judge(case),
        }
    }

    /// What makes two differences the same one to whoever reads a report.
    pub(super) fn signature(self, case: &Case<'_>) -> String {
        match self {
            Self::Memcache => case.signature(),
            Self::Redis => redis::compare::signature(case),
        }
    }

    /// Tells how often each rule was needed.
    pub(crate) fn tell_uses(self) {
        let rules = match self {
            Self::Memcache => &compare::RULES[..],
            Self::Redis => &redis::compare::RULES[..],
        };
        for rule in rules {
            let uses = rule.uses();
            eprintln!(
                "{uses:8} times: {}{}",
                rule.name,
                if uses == 0 { " (NEVER USED)" } else { "" }
            );
        }
    }
}
