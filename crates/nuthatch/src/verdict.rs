//! The output about a configuration: that it is valid, with warnings, or all its errors.
//!
//! The one rule: the first word of a line is its severity; colour only repeats the severity.

use std::fmt::Write as _;

use crate::config::{Config, ConfigErrors, Source, lint};
use crate::discover::Told;
use crate::escape::escaped;

/// Whether lines may be coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// For a terminal.
    Ansi,
    /// For anything else.
    Plain,
}

/// The output for a valid configuration: twemproxy's text, then a line for each entry that DNS turns
/// into servers, then one for each warning, of the configuration and `of_start`.
#[must_use]
pub fn accepted(config: &Config, of_start: &[String], found: &[Told], colour: Colour) -> String {
    let mut text = format!("nuthatch: {} syntax is ok\n", subject(&config.source));
    let warning = colour.paint("warning", "33");
    // Writing to a string can't fail.
    for told in found {
        let severity = if told.is_wrong() { &*warning } else { "note" };
        let _ = writeln!(text, "{severity}: {}", escaped(&told.to_string()));
    }
    for note in &config.notes {
        let _ = writeln!(text, "{warning}: {}", note.located(&config.source));
    }
    for trap in lint::warnings(config) {
        let _ = writeln!(text, "{warning}: {trap}");
    }
    for trap in of_start {
        let _ = writeln!(text, "{warning}: {trap}");
    }
    text
}

/// All errors, then twemproxy's text.
#[must_use]
pub fn refused(errors: &ConfigErrors, colour: Colour) -> String {
    let mut text = String::new();
    let error = colour.paint("error", "31");
    for finding in &errors.findings {
        let _ = writeln!(text, "{error}: {}", finding.located(&errors.source));
    }
    let _ = writeln!(text, "nuthatch: {} syntax is invalid", subject(&errors.source));
    text
}

fn subject(source: &Source) -> String {
    match source {
        Source::File(path) => {
            format!("configuration file '{}'", escaped(&path.to_string_lossy()))
        }
        Source::Environment => "configuration from the environment:".into(),
    }
}

impl Colour {
    /// A word in bold and in the colour of an ANSI `code`.
    pub(crate) fn paint(self, word: &str, code: &str) -> String {
        match self {
            Self::Ansi => format!("\x1b[1;{code}m{word}\x1b[0m"),
            Self::Plain => word.into(),
        }
    }
}
