//! The manual page, from the tables of the command line and of the variables.

use std::fmt::Write as _;

use super::text::call;
use super::{COMMANDS, FLAGS, Flag};
use crate::config::environment::VARIABLES;

/// The manual page as source for `man` (roff with the `man` macros).
#[must_use]
pub fn man() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut page = format!(".TH NUTHATCH 1 \"\" \"nuthatch {version}\" \"User Commands\"\n");
    section(&mut page, "NAME");
    page.push_str("nuthatch \\- sharding proxy for memcached and Redis\n");
    section(&mut page, "SYNOPSIS");
    page.push_str(".nf\nnuthatch [\\fIoptions\\fR]\n");
    for command in COMMANDS {
        line(&mut page, &call(command));
    }
    page.push_str(".fi\n");
    section(&mut page, "DESCRIPTION");
    line(&mut page, DESCRIPTION);
    section(&mut page, "OPTIONS");
    FLAGS.iter().for_each(|flag| describe(&mut page, flag));
    section(&mut page, "COMMANDS");
    for command in COMMANDS {
        let _ = writeln!(page, ".SS \"{}\"", escape(&call(command)));
        command.about.lines().for_each(|text| line(&mut page, text));
        if !command.has_flags_of_proxy() {
            command.flags.iter().for_each(|flag| describe(&mut page, flag));
        }
        page.push_str(".PP\nExamples:\n.PP\n.nf\n");
        command.examples.iter().for_each(|example| line(&mut page, example));
        let _ = writeln!(page, ".fi\n.PP\nExit code: {}", escape(command.exit));
    }
    section(&mut page, "ENVIRONMENT");
    page.push_str("In place of options:\n");
    for flag in FLAGS {
        if let Some(name) = flag.variable {
            item(&mut page, name, &format!("as --{}", flag.long));
        }
    }
    page.push_str(".PP\nIn place of a configuration file, for one pool:\n");
    for variable in VARIABLES {
        let default = variable.default.map_or(String::new(), |text| format!(" Default: {text}."));
        item(&mut page, variable.name, &format!("{}{default}", variable.doc));
    }
    section(&mut page, "SIGNALS");
    item(
        &mut page,
        "SIGTERM, SIGINT",
        "Answer the requests in flight and exit; a second signal exits at once.",
    );
    item(&mut page, "SIGHUP", "Reopen the log file, and read the configuration again.");
    item(&mut page, "SIGTTIN, SIGTTOU", "Raise the log level by one, lower it by one.");
    item(
        &mut page,
        "SIGUSR2",
        "With --control, start the next process, which takes over. Otherwise logged, no effect.",
    );
    item(&mut page, "SIGUSR1", "Logged, no effect.");
    section(&mut page, "FILES");
    item(&mut page, crate::config::DEFAULT_FILE, "The configuration file that is read without -c.");
    section(&mut page, "EXIT STATUS");
    page.push_str("0, or 1 with a reason on standard error.\n");
    page
}

const DESCRIPTION: &str = "Nuthatch listens where clients expect one memcached or Redis server, and sends \
    the request for each key to the server that owns the key: the same server that twemproxy \
    (nutcracker) chooses. Nuthatch reads twemproxy's configuration and accepts its options.";

fn section(page: &mut String, name: &str) {
    // Writing to a string can't fail.
    let _ = writeln!(page, ".SH {name}");
}

fn line(page: &mut String, text: &str) {
    let _ = writeln!(page, "{}", escape(text));
}

fn item(page: &mut String, name: &str, text: &str) {
    let _ = writeln!(page, ".TP\n\\fB{}\\fR\n{}", escape(name), escape(text));
}

fn describe(page: &mut String, flag: &Flag) {
    page.push_str(".TP\n");
    for letter in flag.short.chars() {
        let _ = write!(page, "\\fB\\-{letter}\\fR, ");
    }
    let _ = write!(page, "\\fB\\-\\-{}\\fR", escape(flag.long));
    if !flag.argument.is_empty() {
        let _ = write!(page, "=\\fI{}\\fR", escape(flag.argument));
    }
    let _ = writeln!(page, "\n{}", escape(flag.doc));
}

/// Text with roff escapes: a dash stays a dash that can be copied, and no line is a roff request.
fn escape(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-").replace('"', "\\(dq");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}
