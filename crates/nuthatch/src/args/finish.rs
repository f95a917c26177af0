//! Makes a command of the parsed arguments.
//!
//! The one rule: unexpected arguments of a command are refused here and nowhere else.

use std::ffi::OsString;
use std::path::PathBuf;

use super::{COMMANDS, Command, Diff, Given, Ping, Route, SHELLS, Shell, Url, UsageError};

/// The proxy's own flags. As in twemproxy all of them are read before `-h`, `-V`, `-D` and `-t`
/// take effect, in this order.
pub(super) fn serve(given: Given) -> Result<Command, UsageError> {
    Ok(match given {
        Given { help: true, .. } => Command::Help,
        Given { version: true, .. } => Command::Version,
        Given { describe_stats: true, .. } => Command::DescribeStats,
        Given { test: true, options, binds, .. } => Command::Test { options, binds },
        Given { binds: true, .. } => {
            return Err(UsageError::new("option --bind requires -t: it is a part of the test"));
        }
        Given { options, .. } => Command::Serve(options),
    })
}

/// The proxy as the next process. `-h` is about the command; the other flags are the proxy's.
pub(super) fn upgrade(mut given: Given) -> Result<Command, UsageError> {
    if given.help {
        let word = COMMANDS.iter().find(|word| word.name == "upgrade");
        return Ok(word.map_or(Command::Help, Command::HelpOf));
    }
    if given.binds {
        let text =
            "option --bind is not for upgrade, which takes the listeners of the running process";
        return Err(UsageError::new(text));
    }
    given.options.upgrade = true;
    let command = serve(given)?;
    match &command {
        Command::Serve(options) if options.control.is_none() => Err(UsageError::new(
            "upgrade requires --control: the control socket of the running process",
        )),
        _ => Ok(command),
    }
}

pub(super) fn demo(
    Given { once, demo_redis: redis, words, .. }: Given,
) -> Result<Command, UsageError> {
    no_words(&words)?;
    Ok(Command::Demo { once, redis })
}

pub(super) fn node(given: Given) -> Result<Command, UsageError> {
    no_words(&given.words)?;
    Ok(Command::Node { listen: given.node_listen, memory: given.node_memory })
}

#[expect(clippy::unnecessary_wraps, reason = "the other commands can refuse their words")]
pub(super) fn route(given: Given) -> Result<Command, UsageError> {
    Ok(Command::Route(Route { keys: given.words, ..given.route }))
}

pub(super) fn diff(given: Given) -> Result<Command, UsageError> {
    let files: Vec<PathBuf> = given.words.into_iter().map(PathBuf::from).collect();
    let [old, new] = <[PathBuf; 2]>::try_from(files)
        .map_err(|_| UsageError::new("diff requires two files: nuthatch diff OLD NEW"))?;
    Ok(Command::Diff(Diff { old, new, ..given.diff }))
}

/// Without a URL, the admin port is asked.
pub(super) fn ping(given: Given) -> Result<Command, UsageError> {
    let Given { words, options, ping, .. } = given;
    let mut urls = Vec::new();
    for (nth, word) in words.iter().enumerate() {
        let parsed = Url::parse(&word.to_string_lossy());
        // The text may have a password.
        let refuse = |why| UsageError::new(format!("URL {} of {}: {why}", nth + 1, words.len()));
        urls.push(parsed.map_err(refuse)?);
    }
    match &options.admin {
        Some(_) if !urls.is_empty() => {
            return Err(UsageError::new("ping takes either URLs or --admin"));
        }
        Some(listen) => urls.extend(Url::of_admin(listen)),
        None => {}
    }
    if urls.is_empty() {
        let text = "ping requires a URL, or an admin port with a number in --admin or ADMIN_LISTEN";
        return Err(UsageError::new(text));
    }
    if ping.password_file.is_some() && !urls.iter().any(Url::is_redis) {
        return Err(UsageError::new("option --password-file is for redis:// only"));
    }
    Ok(Command::Ping(Ping { urls, ..ping }))
}

pub(super) fn completions(Given { words, .. }: Given) -> Result<Command, UsageError> {
    let shell = match words.as_slice() {
        [word] => word.to_str().and_then(Shell::from_name),
        _ => None,
    };
    let one_of = || {
        UsageError::new(format!("completions requires the name of a shell: {}", SHELLS.join(", ")))
    };
    shell.map(Command::Completions).ok_or_else(one_of)
}

pub(super) fn man(Given { words, .. }: Given) -> Result<Command, UsageError> {
    no_words(&words)?;
    Ok(Command::Man)
}

fn no_words(words: &[OsString]) -> Result<(), UsageError> {
    match words.first() {
        None => Ok(()),
        Some(word) => {
            Err(UsageError::new(format!("unexpected argument '{}'", word.to_string_lossy())))
        }
    }
}
