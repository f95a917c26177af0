//! The commands about the connection and the node.

use std::fmt::Write as _;
use std::process;

use super::command::{self, Call, Outcome};
use super::fault::{
    CLIENT_NAME, DATABASE, Fault, NO_PASSWORD, NO_PROTOCOL, PROTOCOL_NUMBER, SYNTAX, WRONG_PASSWORD,
};
use super::number::integer;
use super::reply::{Reply, Version};
use super::{Shared, millis};

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Connection<'a> {
    shared: &'a Shared,
    id: u64,
    name: Option<Vec<u8>>,
    /// Whether the client has said `QUIT`.
    pub(crate) is_over: bool,
}

impl<'a> Connection<'a> {
    pub(crate) fn new(shared: &'a Shared) -> Self {
        Self { shared, id: shared.next_client(), name: None, is_over: false }
    }

    fn set_name(&mut self, name: &[u8]) -> Outcome {
        if !name.iter().all(u8::is_ascii_graphic) {
            return Err(CLIENT_NAME);
        }
        self.name = (!name.is_empty()).then(|| name.to_vec());
        Ok(())
    }
}

/// The version of Redis that the node's replies are those of.
const REDIS_VERSION: &str = "7.0.15";

pub(crate) fn ping(_: &mut Connection<'_>, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    match call.args {
        [] => reply.simple("PONG"),
        [text] => reply.bulk(text),
        _ => return Err(Fault::arity(call.name)),
    }
    Ok(())
}

pub(crate) fn echo(_: &mut Connection<'_>, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    reply.bulk(call.args[0]);
    Ok(())
}

pub(crate) fn hello(client: &mut Connection<'_>, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    let mut version = reply.version;
    let mut name = None;
    if let [number, options @ ..] = call.args {
        version = match integer(number).map_err(|_| PROTOCOL_NUMBER)? {
            2 => Version::Resp2,
            3 => Version::Resp3,
            _ => return Err(NO_PROTOCOL),
        };
        let mut rest = options;
        while let [option, values @ ..] = rest {
            rest = match (option.to_ascii_lowercase().as_slice(), values) {
                (b"auth", [user, _, rest @ ..]) => {
                    check_user(user)?;
                    rest
                }
                (b"setname", [value, rest @ ..]) => {
                    name = Some(*value);
                    rest
                }
                _ => {
                    let text = [b"ERR Syntax error in HELLO option '", *option, b"'"];
                    return Err(Fault(text.concat().into()));
                }
            };
        }
    }
    if let Some(name) = name {
        client.set_name(name)?;
    }
    reply.version = version;
    reply.map(7);
    reply.bulk(b"server");
    reply.bulk(b"redis");
    reply.bulk(b"version");
    reply.bulk(REDIS_VERSION.as_bytes());
    reply.bulk(b"proto");
    reply.integer(version as i64);
    reply.bulk(b"id");
    reply.integer(i64::try_from(client.id).unwrap_or(i64::MAX));
    reply.bulk(b"mode");
    reply.bulk(b"standalone");
    reply.bulk(b"role");
    reply.bulk(b"master");
    reply.bulk(b"modules");
    reply.array(0);
    Ok(())
}

/// The only user has no password, so any password is right, but one alone is a mistake.
pub(crate) fn auth(_: &mut Connection<'_>, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    match call.args {
        [_] => return Err(NO_PASSWORD),
        [user, _] => check_user(user)?,
        _ => return Err(SYNTAX),
    }
    reply.ok();
    Ok(())
}

fn check_user(name: &[u8]) -> Outcome {
    if name == b"default" { Ok(()) } else { Err(WRONG_PASSWORD) }
}

/// There is only database 0.
pub(crate) fn select(_: &mut Connection<'_>, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    if integer(call.args[0])? != 0 {
        return Err(DATABASE);
    }
    reply.ok();
    Ok(())
}

pub(crate) fn client(client: &mut Connection<'_>, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    let (what, args) = (call.args[0].to_ascii_lowercase(), &call.args[1..]);
    match (what.as_slice(), args) {
        (b"id", []) => reply.integer(i64::try_from(client.id).unwrap_or(i64::MAX)),
        (b"getname", []) => reply.bulk_or_null(client.name.as_deref()),
        (b"setname", [name]) => {
            client.set_name(name)?;
            reply.ok();
        }
        (b"setinfo", [what, value]) => {
            let is_known = [&b"lib-name"[..], b"lib-ver"].contains(&&*what.to_ascii_lowercase());
            if !is_known {
                return Err(Fault([b"ERR Unrecognized option '", *what, b"'"].concat().into()));
            }
            if !value.iter().all(u8::is_ascii_graphic) {
                let name = String::from_utf8_lossy(what).to_lowercase();
                let rule = "cannot contain spaces, newlines or special characters.";
                return Err(format!("ERR {name} {rule}").into());
            }
            reply.ok();
        }
        (b"id" | b"getname" | b"setname" | b"setinfo", _) => {
            let what = String::from_utf8_lossy(&what);
            return Err(Fault::arity(&format!("client|{what}")));
        }
        _ => return Err(Fault::unknown_subcommand(call.name, call.args[0])),
    }
    Ok(())
}

/// The node does not describe its commands: clients that ask do without.
pub(crate) fn command(_: &mut Connection<'_>, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    let Some(what) = call.args.first() else {
        reply.array(0);
        return Ok(());
    };
    match what.to_ascii_lowercase().as_slice() {
        b"count" => reply.count(command::count()),
        b"docs" => reply.map(0),
        _ => return Err(Fault::unknown_subcommand(call.name, what)),
    }
    Ok(())
}

/// `INFO`, with any sections: they are few and short.
pub(crate) fn info(client: &mut Connection<'_>, call: &Call<'_>, reply: &mut Reply) -> Outcome {
    let mut store = client.shared.lock();
    let (keys, requests) = (store.len(), store.requests);
    let expires = store.keys().filter(|(_, entry)| entry.expires.is_some()).count();
    let (bytes, bytes_max) = (store.bytes(), store.bytes_max());
    drop(store);
    let uptime = (millis() - client.shared.start) / 1000;
    let keyspace = match keys {
        0 => String::new(),
        _ => format!("db0:keys={keys},expires={expires},avg_ttl=0\r\n"),
    };
    let sections = [
        (
            "Server",
            format!(
                "redis_version:{REDIS_VERSION}\r\nredis_mode:standalone\r\nnuthatch_version:{}\r\n\
                 process_id:{}\r\nuptime_in_seconds:{uptime}\r\n",
                env!("CARGO_PKG_VERSION"),
                process::id()
            ),
        ),
        ("Memory", format!("used_memory:{bytes}\r\nmaxmemory:{bytes_max}\r\n")),
        ("Stats", format!("total_commands_processed:{requests}\r\n")),
        ("Replication", "role:master\r\nconnected_slaves:0\r\n".into()),
        ("Keyspace", keyspace),
    ];
    let is_wanted = |name: &str| {
        let all = ["default", "all", "everything"];
        let is = |word: &&[u8]| {
            let named = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
            named(name) || all.into_iter().any(named)
        };
        call.args.is_empty() || call.args.iter().any(is)
    };
    let mut text = String::new();
    for (name, lines) in sections.iter().filter(|(name, _)| is_wanted(name)) {
        let between = if text.is_empty() { "" } else { "\r\n" };
        // Writing to a string can't fail.
        let _ = write!(text, "{between}# {name}\r\n{lines}");
    }
    reply.verbatim(&text);
    Ok(())
}

pub(crate) fn reset(client: &mut Connection<'_>, _: &Call<'_>, reply: &mut Reply) -> Outcome {
    client.name = None;
    reply.version = Version::Resp2;
    reply.simple("RESET");
    Ok(())
}

pub(crate) fn quit(client: &mut Connection<'_>, _: &Call<'_>, reply: &mut Reply) -> Outcome {
    client.is_over = true;
    reply.ok();
    Ok(())
}
