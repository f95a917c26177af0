//! The table of commands.
//!
//! The one rule: the number of arguments is checked here, so a command may index the arguments that
//! its row requires.

use super::connection::{self, Connection};
use super::fault::Fault;
use super::reply::Reply;
use super::store::Store;
use super::{hashes, keys, lists, sets, sorted, strings};

/// A command with its arguments.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    /// The name, in lower case.
    pub(crate) name: &'static str,
    /// The arguments, without the name.
    pub(crate) args: &'a [&'a [u8]],
}

/// An error is the whole reply: a command that fails has written nothing.
pub(crate) type Outcome = Result<(), Fault>;

#[derive(Clone, Copy)]
pub(crate) enum Run {
    Store(fn(&mut Store, &Call<'_>, &mut Reply) -> Outcome),
    Connection(fn(&mut Connection<'_>, &Call<'_>, &mut Reply) -> Outcome),
}

struct Command {
    name: &'static str,
    /// The number of words with the name, as Redis has it: -3 means 3 or more.
    arity: isize,
    run: Run,
}

/// The command of a request, which has at least one word.
pub(crate) fn find<'a>(words: &'a [&'a [u8]]) -> Result<(Run, Call<'a>), Fault> {
    let is_named = |command: &&Command| words[0].eq_ignore_ascii_case(command.name.as_bytes());
    let Some(command) = COMMANDS.iter().find(is_named) else { return Err(Fault::unknown(words)) };
    let is_right = match command.arity {
        ..0 => words.len() >= command.arity.unsigned_abs(),
        exact => words.len() == exact.unsigned_abs(),
    };
    if !is_right {
        return Err(Fault::arity(command.name));
    }
    Ok((command.run, Call { name: command.name, args: &words[1..] }))
}

/// The number of commands.
pub(crate) fn count() -> usize {
    COMMANDS.len()
}

const fn on(
    name: &'static str,
    arity: isize,
    run: fn(&mut Store, &Call<'_>, &mut Reply) -> Outcome,
) -> Command {
    Command { name, arity, run: Run::Store(run) }
}

const fn about(
    name: &'static str,
    arity: isize,
    run: fn(&mut Connection<'_>, &Call<'_>, &mut Reply) -> Outcome,
) -> Command {
    Command { name, arity, run: Run::Connection(run) }
}

static COMMANDS: &[Command] = &[
    on("get", 2, strings::read),
    on("set", -3, strings::set),
    on("mget", -2, strings::mget),
    on("mset", -3, strings::mset),
    on("msetnx", -3, strings::mset),
    on("setnx", 3, strings::setnx),
    on("setex", 4, strings::setex),
    on("psetex", 4, strings::setex),
    on("getset", 3, strings::getset),
    on("getdel", 2, strings::getdel),
    on("getex", -2, strings::getex),
    on("append", 3, strings::append),
    on("strlen", 2, strings::strlen),
    on("getrange", 4, strings::getrange),
    on("substr", 4, strings::getrange),
    on("setrange", 4, strings::setrange),
    on("incr", 2, strings::count),
    on("decr", 2, strings::count),
    on("incrby", 3, strings::count),
    on("decrby", 3, strings::count),
    on("del", -2, keys::del),
    on("unlink", -2, keys::del),
    on("exists", -2, keys::exists),
    on("touch", -2, keys::exists),
    on("type", 2, keys::type_of),
    on("expire", -3, keys::expire),
    on("pexpire", -3, keys::expire),
    on("expireat", -3, keys::expire),
    on("pexpireat", -3, keys::expire),
    on("ttl", 2, keys::ttl),
    on("pttl", 2, keys::ttl),
    on("persist", 2, keys::persist),
    on("rename", 3, keys::rename),
    on("dbsize", 1, keys::dbsize),
    on("flushall", -1, keys::flush),
    on("flushdb", -1, keys::flush),
    on("keys", 2, keys::keys),
    on("scan", -2, keys::scan),
    on("randomkey", 1, keys::random),
    on("hset", -4, hashes::hset),
    on("hmset", -4, hashes::hset),
    on("hget", 3, hashes::hget),
    on("hmget", -3, hashes::hmget),
    on("hgetall", 2, hashes::hgetall),
    on("hkeys", 2, hashes::hkeys),
    on("hvals", 2, hashes::hvals),
    on("hdel", -3, hashes::hdel),
    on("hlen", 2, hashes::hlen),
    on("hexists", 3, hashes::hexists),
    on("hincrby", 4, hashes::hincrby),
    on("lpush", -3, lists::push),
    on("rpush", -3, lists::push),
    on("lpop", -2, lists::pop),
    on("rpop", -2, lists::pop),
    on("llen", 2, lists::llen),
    on("lrange", 4, lists::lrange),
    on("lindex", 3, lists::lindex),
    on("lrem", 4, lists::lrem),
    on("sadd", -3, sets::sadd),
    on("srem", -3, sets::srem),
    on("smembers", 2, sets::smembers),
    on("sismember", 3, sets::sismember),
    on("scard", 2, sets::scard),
    on("zadd", -4, sorted::zadd),
    on("zincrby", 4, sorted::zincrby),
    on("zscore", 3, sorted::zscore),
    on("zrange", -4, sorted::zrange),
    on("zrem", -3, sorted::zrem),
    on("zcard", 2, sorted::zcard),
    on("zrank", 3, sorted::zrank),
    about("ping", -1, connection::ping),
    about("echo", 2, connection::echo),
    about("hello", -1, connection::hello),
    about("auth", -2, connection::auth),
    about("select", 2, connection::select),
    about("client", -2, connection::client),
    about("command", -1, connection::command),
    about("info", -1, connection::info),
    about("reset", 1, connection::reset),
    about("quit", -1, connection::quit),
];
