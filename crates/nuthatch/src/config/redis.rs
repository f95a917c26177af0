//! The values of directives that only a Redis pool has.
//!
//! The one rule: a text becomes a value with a name of its own, or an error; the core never
//! parses a text of the configuration.

use nuthatch_core::redis;
use std::fmt;

use super::value::{Fault, one_of};

/// What happens to a command that needs keys of several servers at once: one that the proxy can't
/// split into parts for each server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrossShard {
    /// The client gets an error.
    Error,
    /// The command goes to the server of its first key, as in twemproxy.
    FirstKey,
}

impl CrossShard {
    /// Every one.
    pub const ALL: [Self; 2] = [Self::Error, Self::FirstKey];

    /// Its name in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::FirstKey => "first_key",
        }
    }
}

pub(super) fn cross_shard(text: &str) -> Result<CrossShard, Fault> {
    let mut all = CrossShard::ALL.into_iter();
    all.find(|known| known.name() == text).ok_or_else(|| {
        let names = CrossShard::ALL.iter().map(|known| known.name());
        Fault::new("is not \"error\" or \"first_key\"", one_of(text, names))
    })
}

/// A command of a module of the servers, and where its keys are: as `COMMAND INFO` describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleCommand {
    /// Its name in lower case.
    pub name: String,
    /// The position of its first key; 1 is the first argument, 0 means that it has no keys.
    pub first: i16,
    /// The position of its last key: from `first`, or below 0 and counted from the last argument,
    /// which is -1. 0 if it has no keys.
    pub last: i16,
    /// How many positions it is from one key to the next: at least 1, or 0 if it has no keys.
    pub step: u16,
}

impl ModuleCommand {
    /// As the engine has it.
    pub(super) fn for_engine(&self) -> redis::ModuleCommand {
        let name = self.name.as_bytes().into();
        let first = u16::try_from(self.first).expect("the directive has a bound");
        redis::ModuleCommand { name, first, last: self.last, step: self.step }
    }
}

impl fmt::Display for ModuleCommand {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {} {} {}", self.name, self.first, self.last, self.step)
    }
}

/// A command of a module from `name first last step`.
pub(super) fn module_command(text: &str) -> Result<ModuleCommand, Fault> {
    let words: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).collect();
    let [name, first, last, step] = words[..] else {
        let wrong = "has an invalid \"name first last step\" format string";
        return Err(Fault::new(wrong, MODULE_FORM));
    };
    if !name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(wrong("has a name with other characters than ASCII letters, digits and signs"));
    }
    let number = |word: &str| word.parse::<i16>().map_err(|_| wrong("has an invalid number"));
    let (first, last, step) = (number(first)?, number(last)?, number(step)?);
    let name = name.to_ascii_lowercase();
    if first == 0 {
        // Some modules state a step of -1 here.
        return Ok(ModuleCommand { name, first: 0, last: 0, step: 0 });
    }
    let is_range = first > 0 && (last >= first || last < 0);
    match u16::try_from(step) {
        Ok(step @ 1..) if is_range => Ok(ModuleCommand { name, first, last, step }),
        Ok(1..) => Err(wrong("has a last key before the first")),
        _ => Err(wrong("has a step of less than 1")),
    }
}

fn wrong(what: &str) -> Fault {
    Fault::new(&format!("{what} in \"name first last step\" format string"), MODULE_FORM)
}

const MODULE_FORM: &str = "write the name and the three numbers that COMMAND INFO prints after the \
                           flags, such as cl.throttle 1 1 1, or 0 0 0 for a command without keys";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_command_is_read_as_command_info_prints_it() {
        for (text, shown) in [
            ("bf.add 1 1 1", "bf.add 1 1 1"),
            ("JSON.MGET 1 -2 1", "json.mget 1 -2 1"),
            ("ts.madd 1 -1 3", "ts.madd 1 -1 3"),
            (" bf.add  1 1   1 ", "bf.add 1 1 1"),
            ("ft._list 0 0 0", "ft._list 0 0 0"),
            ("ts.mget 0 0 -1", "ts.mget 0 0 0"),
            ("x 32767 32767 32767", "x 32767 32767 32767"),
        ] {
            assert_eq!(module_command(text).map(|it| it.to_string()), Ok(shown.into()), "{text:?}");
        }
    }

    #[test]
    fn a_wrong_module_command_is_refused_with_the_reason() {
        let form = "\"name first last step\" format string";
        for (text, reason) in [
            ("", "has an invalid"),
            ("bf.add", "has an invalid"),
            ("bf.add 1 1", "has an invalid"),
            ("bf.add 1 1 1 1", "has an invalid"),
            (
                "bf.ädd 1 1 1",
                "has a name with other characters than ASCII letters, digits and signs in",
            ),
            ("bf.add one 1 1", "has an invalid number in"),
            ("bf.add 1 1 32768", "has an invalid number in"),
            ("bf.add 1 1 1.5", "has an invalid number in"),
            ("bf.add -1 1 1", "has a last key before the first in"),
            ("bf.add 2 1 1", "has a last key before the first in"),
            ("bf.add 1 0 1", "has a last key before the first in"),
            ("bf.add 1 1 0", "has a step of less than 1 in"),
            ("bf.add 1 1 -1", "has a step of less than 1 in"),
        ] {
            let fault = module_command(text).expect_err(text);
            assert_eq!(fault.wrong, format!("{reason} {form}"), "{text:?}");
            assert!(fault.right.contains("cl.throttle 1 1 1"));
        }
    }

    #[test]
    fn every_name_of_cross_shard_is_read_and_no_other() {
        for known in CrossShard::ALL {
            assert_eq!(cross_shard(known.name()), Ok(known));
        }
        let fault = cross_shard("first-key").unwrap_err();
        assert_eq!(fault.right, "did you mean first_key? It is one of error, first_key");
    }
}
