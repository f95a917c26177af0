//! The command line of `bench`.

use std::path::PathBuf;

use lexopt::prelude::*;

use crate::fleet::Candidate;
use crate::machine;
use crate::protocol::Protocol;
use crate::workloads;

pub(crate) const USAGE: &str = "\
bench [options]    compare Nuthatch with nutcracker on one CPU

  --candidate NAME=PATH  a proxy to compare, may be repeated; it takes nutcracker's command line
                         (default nuthatch=target/static/nuthatch)
  --reference PATH       nutcracker (default: nutcracker from the PATH)
  --only NAME[,NAME]     only these of: a, b, c, fixed-rate, 10kb-get, 10kb-set, 100kb-get,
                         100kb-set, 1mb-get, 1mb-set, 1000-conns, unix-a, unix-b, unix-c,
                         redis-get, redis-set, redis-p16-get, redis-p16-set, redis-mget,
                         redis-mset, redis-100kb-get, redis-100kb-set, scrape, memory,
                         failure, instructions; or all of a protocol: memcached, redis
  --quick                two short repetitions and fewer instructions, to see that it works
  --reps N               repetitions of each workload (default 9)
  --seconds S            length of each run (default 0.5)
  --cpu N                the CPU everything runs on (default: the last one allowed)
  --out DIR              write DIR/<date>-<machine>/{README.md,summary.md,raw.csv}
  --machine NAME         the machine's name in that path (default: its host name)
";

/// The parts of the benchmark that are not workloads.
pub(crate) const SCRAPE: &str = "scrape";
pub(crate) const MEMORY: &str = "memory";
pub(crate) const FAILURE: &str = "failure";
pub(crate) const INSTRUCTIONS: &str = "instructions";

/// What the command line asks for.
pub(crate) enum Command {
    Help,
    Bench(Options),
}

/// How long the parts of the benchmark are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    Quick,
    Full,
}

/// What is compared, by which parts, how long and where.
pub(crate) struct Options {
    pub(crate) reference: Candidate,
    pub(crate) candidates: Vec<Candidate>,
    /// Empty for everything.
    only: Vec<String>,
    pub(crate) effort: Effort,
    pub(crate) reps: usize,
    pub(crate) seconds: f64,
    pub(crate) cpu: u32,
    pub(crate) out: Option<PathBuf>,
    pub(crate) machine: String,
}

impl Options {
    /// Whether the part of this name was chosen, or everything of its protocol.
    pub(crate) fn includes(&self, part: &str, protocol: Protocol) -> bool {
        let is_chosen = |name: &String| name == part || name == protocol.name();
        self.only.is_empty() || self.only.iter().any(is_chosen)
    }
}

/// Parses the arguments after the program's name.
pub(crate) fn parse(mut parser: lexopt::Parser) -> Result<Command, lexopt::Error> {
    let mut candidates = Vec::new();
    let mut reference = PathBuf::from("nutcracker");
    let (mut only, mut effort, mut reps, mut seconds) = (Vec::new(), Effort::Full, None, None);
    let (mut cpu, mut out, mut machine) = (None, None, None);
    while let Some(arg) = parser.next()? {
        match arg {
            Long("candidate") => candidates.push(parser.value()?.parse_with(parse_candidate)?),
            Long("reference") => reference = parser.value()?.into(),
            Long("only") => only = parser.value()?.parse_with(parse_parts)?,
            Long("quick") => effort = Effort::Quick,
            Long("reps") => reps = Some(parser.value()?.parse::<usize>()?.max(1)),
            Long("seconds") => seconds = Some(parser.value()?.parse_with(parse_seconds)?),
            Long("cpu") => cpu = Some(parser.value()?.parse()?),
            Long("out") => out = Some(parser.value()?.into()),
            Long("machine") => machine = Some(parser.value()?.string()?),
            Short('h') | Long("help") => return Ok(Command::Help),
            _ => return Err(arg.unexpected()),
        }
    }
    if candidates.is_empty() {
        candidates.push(parse_candidate("nuthatch=target/static/nuthatch")?);
    }
    let (default_reps, default_seconds) = match effort {
        Effort::Quick => (2, 0.4),
        Effort::Full => (9, 0.5),
    };
    Ok(Command::Bench(Options {
        reference: Candidate { name: "nutcracker".to_owned(), path: reference },
        candidates,
        only,
        effort,
        reps: reps.unwrap_or(default_reps),
        seconds: seconds.unwrap_or(default_seconds),
        cpu: cpu.unwrap_or_else(machine::last_allowed_cpu),
        out,
        machine: machine.unwrap_or_else(machine::host_name),
    }))
}

fn parse_candidate(text: &str) -> Result<Candidate, String> {
    let (name, path) = text.split_once('=').ok_or("not of the form NAME=PATH")?;
    if name == "nutcracker" || name.is_empty() || !name.bytes().all(is_file_name_byte) {
        return Err(format!("{name:?} can't be the name of a candidate"));
    }
    Ok(Candidate { name: name.to_owned(), path: path.into() })
}

fn is_file_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)
}

fn parse_parts(text: &str) -> Result<Vec<String>, String> {
    let is_part = |name: &str| {
        [SCRAPE, MEMORY, FAILURE, INSTRUCTIONS].contains(&name)
            || Protocol::ALL.iter().any(|protocol| protocol.name() == name)
            || workloads::ALL.iter().any(|workload| workload.name == name)
    };
    match text.split(',').find(|name| !is_part(name)) {
        Some(name) => Err(format!("there is no part {name:?}")),
        None => Ok(text.split(',').map(str::to_owned).collect()),
    }
}

fn parse_seconds(text: &str) -> Result<f64, &'static str> {
    let seconds = text.parse().map_err(|_| "not a number")?;
    if (0.1..=60.0).contains(&seconds) { Ok(seconds) } else { Err("not in 0.1..=60") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(words: &[&str]) -> Result<Options, lexopt::Error> {
        match parse(lexopt::Parser::from_args(words))? {
            Command::Bench(options) => Ok(options),
            Command::Help => panic!("no help was asked for"),
        }
    }

    #[test]
    fn everything_is_run_unless_parts_are_named() {
        assert!(parse_words(&[]).unwrap().includes("unix-b", Protocol::Memcached));
        let options = parse_words(&["--only", "a,memory"]).unwrap();
        let includes = |part| options.includes(part, Protocol::Memcached);
        assert!(includes("a") && includes("memory") && !includes("b"));
        assert!(options.includes("memory", Protocol::Redis));
    }

    #[test]
    fn a_protocol_is_all_of_its_parts() {
        let options = parse_words(&["--only", "redis,a"]).unwrap();
        assert!(options.includes("redis-mget", Protocol::Redis));
        assert!(options.includes(MEMORY, Protocol::Redis));
        assert!(!options.includes(MEMORY, Protocol::Memcached));
        assert!(options.includes("a", Protocol::Memcached));
        assert!(!options.includes("b", Protocol::Memcached));
    }

    #[test]
    fn the_help_names_every_part() {
        let words: Vec<_> = USAGE.split([' ', ',', ';', '\n']).collect();
        let names = workloads::ALL.iter().map(|workload| workload.name);
        for name in names.chain(Protocol::ALL.map(Protocol::name)) {
            assert!(words.contains(&name), "{name} is missing");
        }
    }

    #[test]
    fn quick_is_a_default_that_can_be_overridden() {
        let options = parse_words(&["--quick", "--reps", "5"]).unwrap();
        assert_eq!((options.reps, options.seconds), (5, 0.4));
    }

    #[test]
    fn unknown_parts_and_nameless_candidates_are_refused() {
        assert!(parse_words(&["--only", "a,x"]).is_err());
        assert!(parse_words(&["--candidate", "target/release/nuthatch"]).is_err());
        assert!(parse_words(&["--candidate", "a/b=target/release/nuthatch"]).is_err());
    }
}
