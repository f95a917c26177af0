//! The arguments that are left, and how the value of each kind of flag is read.
//!
//! The one rule: a value that twemproxy accepts is accepted, and one that it refuses is refused
//! with the same text.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::{Arg, Parser, ValueExt};

use super::flag::Reads;
use super::{Flag, Given, UsageError};
use crate::config::{self, Listen, cpus};
use crate::log::{self, Format};
use crate::suggest;

/// The arguments that are left, and the flags that may be among them.
pub(super) struct Line {
    parser: Parser,
    flags: &'static [Flag],
}

pub(super) enum Token {
    Flag(&'static Flag),
    Word(OsString),
}

impl Line {
    pub(super) fn new(
        arguments: impl IntoIterator<Item = OsString, IntoIter: 'static>,
        flags: &'static [Flag],
    ) -> Self {
        Self { parser: Parser::from_args(arguments), flags }
    }

    pub(super) fn next(&mut self) -> Result<Option<Token>, UsageError> {
        let flags = self.flags;
        Ok(Some(match self.parser.next()? {
            None => return Ok(None),
            Some(Arg::Value(word)) => Token::Word(word),
            Some(Arg::Short(letter)) => {
                let found = flags.iter().find(|flag| flag.short.contains(letter));
                let refuse = || UsageError::new(format!("invalid option -- '{letter}'"));
                Token::Flag(found.ok_or_else(refuse)?)
            }
            Some(Arg::Long(name)) => Token::Flag(long(name, flags)?),
        }))
    }

    /// Reads the value of `flag` into its field.
    pub(super) fn read(&mut self, flag: &Flag, given: &mut Given) -> Result<(), UsageError> {
        match flag.reads {
            Reads::Switch(slot) => *slot(given) = true,
            Reads::Level(slot) => {
                let level = self.number(flag)?.min(log::LEVEL_MAX.into());
                *slot(given) = level.try_into().unwrap_or(log::LEVEL_MAX);
            }
            Reads::Number(slot) => *slot(given) = self.number(flag)?,
            Reads::Size(slot) => {
                *slot(given) = usize::try_from(self.number(flag)?.max(1)).unwrap_or(usize::MAX);
            }
            Reads::Port(slot) => *slot(given) = self.port(flag)?,
            Reads::File(slot) => *slot(given) = Some(self.file(flag)?),
            Reads::Path(slot) => *slot(given) = self.file(flag)?,
            Reads::Seconds(slot) => *slot(given) = self.seconds(flag)?,
            Reads::Text(slot) => *slot(given) = self.string(flag)?,
            Reads::Name(slot) => *slot(given) = Some(self.string(flag)?),
            Reads::Address(slot) => *slot(given) = self.address(flag)?,
            Reads::MbufSize(slot) => *slot(given) = Some(self.mbuf_size(flag)?),
            Reads::Workers(slot) => *slot(given) = self.workers()?,
            Reads::HostPort(slot) => *slot(given) = Some(self.host_port(flag)?),
            Reads::LogFormat(slot) => *slot(given) = self.log_format(flag)?,
        }
        Ok(())
    }

    /// The argument of `flag`, which `needs` names in the message of its absence.
    fn value(&mut self, flag: &Flag, needs: &str) -> Result<OsString, UsageError> {
        self.parser.value().map_err(|_| flag.refuse(needs))
    }

    fn file(&mut self, flag: &Flag) -> Result<PathBuf, UsageError> {
        let needs = "requires a file name";
        let name = self.value(flag, needs)?;
        if name.is_empty() { Err(flag.refuse(needs)) } else { Ok(name.into()) }
    }

    fn string(&mut self, flag: &Flag) -> Result<String, UsageError> {
        let needs = "requires a string";
        self.value(flag, needs)?.string().map_err(|_| flag.refuse(needs))
    }

    /// Digits only, at most what twemproxy's signed 32 bits hold.
    fn number(&mut self, flag: &Flag) -> Result<u32, UsageError> {
        let needs = "requires a number";
        let text = self.value(flag, needs)?;
        let digits = text.to_str().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let number = digits.and_then(|digits| digits.parse().ok());
        number.filter(|number| i32::try_from(*number).is_ok()).ok_or_else(|| flag.refuse(needs))
    }

    fn seconds(&mut self, flag: &Flag) -> Result<Duration, UsageError> {
        let seconds = u64::from(self.number(flag)?);
        let is_right = (1..=SECONDS_MAX).contains(&seconds);
        let wrong =
            || flag.refuse(&format!("requires a number of seconds from 1 to {SECONDS_MAX}"));
        is_right.then(|| Duration::from_secs(seconds)).ok_or_else(wrong)
    }

    fn port(&mut self, flag: &Flag) -> Result<u16, UsageError> {
        let number = self.number(flag)?;
        let port = u16::try_from(number).ok().filter(|port| *port > 0);
        port.ok_or_else(|| flag.refuse(&format!("value {number} is not a valid port")))
    }

    fn address(&mut self, flag: &Flag) -> Result<String, UsageError> {
        let text = self.string(flag)?;
        let refuse = |right| flag.refuse(&format!("can't listen on '{text}': {right}"));
        if text.starts_with('/') {
            config::parse_socket_path(&text).map_err(refuse)?;
            return Ok(text);
        }
        config::parse_listen_host(&text).map_err(refuse)
    }

    fn mbuf_size(&mut self, flag: &Flag) -> Result<u32, UsageError> {
        let needs = || flag.refuse("requires a non-zero number");
        match self.number(flag).map_err(|_| needs())? {
            0 => Err(needs()),
            size @ 512..=16_777_216 => Ok(size),
            _ => {
                let wrong = "mbuf chunk size must be between 512 and 16777216 bytes";
                Err(UsageError::new(wrong))
            }
        }
    }

    /// An address as `listen` takes it, but no unix socket.
    fn host_port(&mut self, flag: &Flag) -> Result<Listen, UsageError> {
        let needs = "requires host:port, such as 127.0.0.1:9600";
        let text = self.string(flag).map_err(|_| flag.refuse(needs))?;
        let address = config::parse_listen(&text);
        address.filter(|it| matches!(it, Listen::Tcp { .. })).ok_or_else(|| flag.refuse(needs))
    }

    fn log_format(&mut self, flag: &Flag) -> Result<Option<Format>, UsageError> {
        let text = self.value(flag, "").unwrap_or_default();
        match text.to_string_lossy().to_lowercase().as_str() {
            "auto" => Ok(None),
            "text" => Ok(Some(Format::Text)),
            "json" => Ok(Some(Format::Json)),
            _ => Err(flag.refuse("requires text, json or auto")),
        }
    }

    fn workers(&mut self) -> Result<NonZeroUsize, UsageError> {
        let text = self.parser.value().ok().and_then(|text| text.into_string().ok());
        let number = match text.as_deref() {
            Some(text) if text.eq_ignore_ascii_case("auto") => return Ok(cpus::granted()),
            Some(text) => text.parse().ok().filter(|workers| *workers <= WORKERS_MAX),
            None => None,
        };
        number.ok_or_else(|| {
            UsageError::new(format!(
                "option --workers requires a number from 1 to {WORKERS_MAX}, or auto"
            ))
        })
    }
}

impl Flag {
    /// Reads the flag from its environment variable, if the variable is not empty. `LOG_LEVEL` may
    /// also be a name.
    pub(super) fn read_variable(
        &'static self,
        given: &mut Given,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<(), UsageError> {
        let Some(name) = self.variable else { return Ok(()) };
        let Some(value) = variable(name) else { return Ok(()) };
        let trimmed = value.to_str().map(|text| OsString::from(text.trim()));
        let text = trimmed.unwrap_or_else(|| value.clone());
        if text.is_empty() {
            return Ok(());
        }
        let mut names = String::new();
        if let Reads::Level(slot) = self.reads {
            if let Some(level) = text.to_str().and_then(log::level_of_name) {
                *slot(given) = level;
                return Ok(());
            }
            let known = log::level_names().collect::<Vec<_>>().join(", ");
            names = format!(" from 0 to {}, or one of {known}", log::LEVEL_MAX);
        }
        let mut argument = OsString::from(format!("--{}=", self.long));
        argument.push(&text);
        let mut line = Line::new([argument], std::slice::from_ref(self));
        line.next()?;
        line.read(self, given).map_err(|error| {
            let error = error.text;
            UsageError::new(format!("environment: {name}: {value:?}: {error}{names}"))
        })
    }

    fn refuse(&self, why: &str) -> UsageError {
        UsageError::new(match self.short.chars().next() {
            Some(letter) => format!("option -{letter} {why}"),
            None => format!("option --{} {why}", self.long),
        })
    }
}

/// The flag with that long name, or the only one with that prefix (as in `getopt_long`).
fn long(name: &str, flags: &'static [Flag]) -> Result<&'static Flag, UsageError> {
    if let Some(exact) = flags.iter().find(|flag| flag.long == name) {
        return Ok(exact);
    }
    let begun: Vec<_> = flags.iter().filter(|flag| flag.long.starts_with(name)).collect();
    match begun[..] {
        [flag] => Ok(flag),
        [] => Err(invalid_option(name, flags)),
        _ => {
            let names: Vec<_> = begun.iter().map(|flag| format!("--{}", flag.long)).collect();
            let names = names.join(", ");
            Err(UsageError::new(format!("option '--{name}' is ambiguous: {names}")))
        }
    }
}

fn invalid_option(name: &str, flags: &[Flag]) -> UsageError {
    let meant = suggest::nearest(name, flags.iter().map(|flag| flag.long));
    let meant = meant.map_or_else(String::new, |known| format!("; did you mean '--{known}'?"));
    UsageError::new(format!("invalid option -- '--{name}'{meant}"))
}

/// A day.
const SECONDS_MAX: u64 = 86_400;

/// More threads than any machine can use.
const WORKERS_MAX: NonZeroUsize = NonZeroUsize::new(1024).expect("1024 is not 0");
