//! Errors and remarks about a configuration: place, error, and correct form.
//!
//! The one rule: a finding is understandable without the file. It has the place, the value, the
//! error (twemproxy's text if there is one), and the correct form.

use std::fmt;
use std::io;
use std::path::Path;

use super::Source;
use crate::escape::escaped;

/// A place in a file; both numbers count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// The line.
    pub line: usize,
    /// The character in the line.
    pub column: usize,
}

/// One fault, or one remark, about one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The place in the file; the environment has none.
    pub mark: Option<Mark>,
    /// The directive by name, such as `alpha.servers[2]`, or the variable; empty for the whole.
    pub path: String,
    /// The text that is meant.
    pub value: Option<String>,
    /// What is wrong with it.
    pub wrong: String,
    /// What would be right.
    pub right: String,
}

impl Finding {
    /// The finding as one line that begins with its place in `source`.
    #[must_use]
    pub fn located<'f>(&'f self, source: &'f Source) -> impl fmt::Display + 'f {
        Located { finding: self, source }
    }
}

struct Located<'f> {
    finding: &'f Finding,
    source: &'f Source,
}

impl fmt::Display for Located<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = self.source.to_string();
        self.write(&mut line)?;
        write!(out, "{}", escaped(&line))
    }
}

impl Located<'_> {
    fn write(&self, out: &mut impl fmt::Write) -> fmt::Result {
        if let Some(mark) = self.finding.mark {
            write!(out, ":{}:{}", mark.line, mark.column)?;
        }
        out.write_str(": ")?;
        if !self.finding.path.is_empty() {
            write!(out, "{}: ", self.finding.path)?;
        }
        if let Some(value) = &self.finding.value {
            write!(out, "\"{}\": ", value.escape_debug())?;
        }
        write!(out, "{}; {}", self.finding.wrong, self.finding.right)
    }
}

/// Everything that is wrong with a configuration, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    /// Where it was read from.
    pub source: Source,
    /// The faults, at least one.
    pub findings: Vec<Finding>,
}

impl ConfigErrors {
    pub(super) fn unreadable(path: &Path, error: &io::Error, right: &str) -> Self {
        let finding = Finding {
            mark: None,
            path: String::new(),
            value: None,
            wrong: format!("conf: failed to open configuration '{}': {error}", path.display()),
            right: right.into(),
        };
        Self { source: Source::File(path.to_owned()), findings: vec![finding] }
    }
}

impl fmt::Display for ConfigErrors {
    /// One line for each fault.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, finding) in self.findings.iter().enumerate() {
            let line_end = if i == 0 { "" } else { "\n" };
            write!(out, "{line_end}{}", finding.located(&self.source))?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// What the checks have found so far.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) source: Source,
    pub(super) errors: Vec<Finding>,
    pub(super) notes: Vec<Finding>,
    /// Whether every user of this machine can read the source.
    pub(super) is_public: bool,
}

impl Report {
    pub(super) fn new(source: Source) -> Self {
        Self { source, errors: Vec::new(), notes: Vec::new(), is_public: false }
    }
}
