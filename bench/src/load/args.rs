//! The command line of `load`, parsed into values the rest of the program can't get wrong.

use std::ffi::OsString;
use std::time::Duration;

use lexopt::prelude::*;

use crate::channel::Address;
use crate::conn::Target;
use crate::dataset;
use crate::protocol::Protocol;
use crate::workload::{Limit, Mix, Pace, Plan};

pub(crate) const USAGE: &str = "\
load --target HOST:PORT|/PATH [options]    send requests, verify and time the replies
load mock [--protocol P] [--ports N]       be a server on N free ports (default 4)

  --protocol P       memcached (default) or redis
  --connections N    active connections (default 50)
  --pipeline N       requests in flight per connection (default 1)
  --ratio S:G        sets to gets (default 1:9)
  --keys-per-get N   keys in each get (default 1)
  --keys-per-set N   keys in each set, with Redis only (default 1)
  --size BYTES       value size (default 100, at least 16)
  --keys N           keys in use (default 10000)
  --preload          store every key first
  --idle N           connections that do one get and then stay (default 0)
  --rate R           open loop: R requests/s, latency from the intended start
                     (default: closed loop)
  --seconds S        stop after S seconds (default 1.5)
  --requests N       stop after N requests instead
  --seed N           of the choice of keys (default 1)
  --watch PID[,PID]  report the CPU time and memory of the first process, and the share of
                     the CPU that went to none of them
  --json             one line of JSON instead of a table
";

/// What the command line asks for.
pub(crate) enum Command {
    Help,
    Mock { protocol: Protocol, port_count: u16 },
    Load(Box<Options>),
}

/// Everything `load` needs for one run.
pub(crate) struct Options {
    pub(crate) target: Target,
    pub(crate) connection_count: u32,
    pub(crate) idle_count: u32,
    pub(crate) key_count: u32,
    pub(crate) value_len: usize,
    pub(crate) preload: bool,
    pub(crate) plan: Plan,
    pub(crate) watch: Vec<u32>,
    pub(crate) output: Output,
}

/// How the result is printed.
pub(crate) enum Output {
    Table,
    Json,
}

/// Parses the arguments after the program's name.
pub(crate) fn parse(mut parser: lexopt::Parser) -> Result<Command, lexopt::Error> {
    let (mut mock, mut port_count) = (false, 4);
    let (mut address, mut protocol) = (None, Protocol::Memcached);
    let (mut sets, mut gets) = (1, 9);
    let (mut keys_per_set, mut keys_per_get) = (1, 1);
    let mut options = defaults();
    while let Some(arg) = parser.next()? {
        match arg {
            Value(word) if word == "mock" => mock = true,
            Long("ports") => port_count = parser.value()?.parse()?,
            Long("protocol") => protocol = parser.value()?.parse_with(Protocol::parse)?,
            Long("target") => address = Some(parser.value()?.parse_with(Address::parse)?),
            Long("connections") => options.connection_count = at_least(1, &parser.value()?)?,
            Long("pipeline") => options.plan.pipeline = at_least(1, &parser.value()?)?,
            Long("ratio") => (sets, gets) = parser.value()?.parse_with(parse_ratio)?,
            Long("keys-per-set") => keys_per_set = at_least(1, &parser.value()?)?,
            Long("keys-per-get") => keys_per_get = at_least(1, &parser.value()?)?,
            Long("size") => options.value_len = parse_value_len(&parser.value()?)?,
            Long("keys") => options.key_count = at_least(1, &parser.value()?)?,
            Long("preload") => options.preload = true,
            Long("idle") => options.idle_count = parser.value()?.parse()?,
            Long("rate") => options.plan.pace = parser.value()?.parse_with(parse_pace)?,
            Long("seconds") => options.plan.limit = parser.value()?.parse_with(parse_seconds)?,
            Long("requests") => {
                options.plan.limit = Limit::Requests(parser.value()?.parse()?);
            }
            Long("seed") => options.plan.seed = parser.value()?.parse()?,
            Long("watch") => options.watch = parser.value()?.parse_with(parse_pids)?,
            Long("json") => options.output = Output::Json,
            Short('h') | Long("help") => return Ok(Command::Help),
            _ => return Err(arg.unexpected()),
        }
    }
    if mock {
        return Ok(Command::Mock { protocol, port_count });
    }
    options.target = Target { address: address.ok_or("--target is missing")?, protocol };
    if keys_per_get.max(keys_per_set) > options.key_count {
        return Err("--keys-per-get or --keys-per-set is more than --keys".into());
    }
    if protocol == Protocol::Memcached && keys_per_set > 1 {
        return Err("a set of memcached has one key".into());
    }
    options.plan.mix = Mix::Random { sets, gets, keys_per_set, keys_per_get };
    Ok(Command::Load(Box::new(options)))
}

/// The options of a command line without any; the target is a placeholder.
fn defaults() -> Options {
    Options {
        target: Target { address: Address::Unix("".into()), protocol: Protocol::Memcached },
        connection_count: 50,
        idle_count: 0,
        key_count: 10_000,
        value_len: 100,
        preload: false,
        plan: Plan {
            mix: Mix::Random { sets: 1, gets: 9, keys_per_set: 1, keys_per_get: 1 },
            pace: Pace::Closed,
            limit: Limit::Time(Duration::from_millis(1500)),
            pipeline: 1,
            seed: 1,
        },
        watch: Vec::new(),
        output: Output::Table,
    }
}

fn at_least(min: u32, value: &OsString) -> Result<u32, lexopt::Error> {
    let number: u32 = value.parse()?;
    if number < min { Err(format!("{number} is below {min}").into()) } else { Ok(number) }
}

fn parse_value_len(value: &OsString) -> Result<usize, lexopt::Error> {
    let len: usize = value.parse()?;
    let range = dataset::VALUE_LEN_MIN..=dataset::VALUE_LEN_MAX;
    if range.contains(&len) { Ok(len) } else { Err(format!("{len} is not in {range:?}").into()) }
}

fn parse_ratio(text: &str) -> Result<(u32, u32), &'static str> {
    let parsed = text.split_once(':').and_then(|(sets, gets)| {
        let ratio: (u32, u32) = (sets.parse().ok()?, gets.parse().ok()?);
        (ratio.0.checked_add(ratio.1)? > 0).then_some(ratio)
    });
    parsed.ok_or("not of the form SETS:GETS")
}

fn parse_pace(text: &str) -> Result<Pace, &'static str> {
    let rate: f64 = text.parse().map_err(|_| "not a number")?;
    if !(0.1..=1e8).contains(&rate) {
        return Err("not in 0.1..=1e8");
    }
    Ok(Pace::Open { interval: Duration::from_secs_f64(1.0 / rate) })
}

fn parse_seconds(text: &str) -> Result<Limit, &'static str> {
    let seconds: f64 = text.parse().map_err(|_| "not a number")?;
    if !(0.0..=86_400.0).contains(&seconds) {
        return Err("not in 0..=86400");
    }
    Ok(Limit::Time(Duration::from_secs_f64(seconds)))
}

fn parse_pids(text: &str) -> Result<Vec<u32>, std::num::ParseIntError> {
    text.split(',').map(str::parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(words: &[&str]) -> Result<Command, lexopt::Error> {
        parse(lexopt::Parser::from_args(words))
    }

    #[test]
    fn a_target_alone_means_fifty_unpipelined_connections() {
        let Ok(Command::Load(options)) = parse_words(&["--target", "127.0.0.1:11211"]) else {
            panic!("not a load command");
        };
        assert_eq!(options.connection_count, 50);
        assert_eq!(options.plan.pipeline, 1);
        let one_in_ten = Mix::Random { sets: 1, gets: 9, keys_per_set: 1, keys_per_get: 1 };
        assert_eq!(options.plan.mix, one_in_ten);
        assert_eq!(options.target.protocol, Protocol::Memcached);
    }

    #[test]
    fn sets_of_many_keys_are_for_redis() {
        let words = ["--target", "/s", "--keys-per-set", "10", "--protocol"];
        assert!(parse_words(&[&words[..], &["memcached"]].concat()).is_err());
        let Ok(Command::Load(options)) = parse_words(&[&words[..], &["redis"]].concat()) else {
            panic!("not a load command");
        };
        assert_eq!(options.target.protocol, Protocol::Redis);
        let Mix::Random { keys_per_set, .. } = options.plan.mix else { panic!("not random") };
        assert_eq!(keys_per_set, 10);
    }

    #[test]
    fn nonsense_is_refused() {
        for words in [
            &["--connections", "5"][..],
            &["--target", "nowhere"],
            &["--target", "/s", "--ratio", "0:0"],
            &["--target", "/s", "--protocol", "http"],
            &["--target", "/s", "--size", "15"],
            &["--target", "/s", "--rate", "0"],
            &["--target", "/s", "--keys", "10", "--keys-per-get", "11"],
            &["--target", "/s", "--protocol", "redis", "--keys", "10", "--keys-per-set", "11"],
        ] {
            assert!(parse_words(words).is_err(), "{words:?} was accepted");
        }
    }
}
