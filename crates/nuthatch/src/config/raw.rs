//! A configuration as texts with their places, before the checks.
//!
//! The one rule: a file and the environment become the same structure: pools with entries, each
//! with a directive, one or several texts, and the names that messages use for them.

use super::directive::Directive;
use super::finding::{Finding, Mark, Report};
use super::value::Fault;
use super::yaml::{self, Kind, Node};

/// One text and where it stands. No `Debug`, also below: the text may be a password.
#[derive(Clone)]
pub(super) struct Scalar {
    pub(super) text: String,
    /// How messages name it: `alpha.servers[2]` in a file, `SERVERS[2]` in the environment.
    pub(super) label: String,
    pub(super) mark: Option<Mark>,
    /// What its source has found wrong with it already.
    pub(super) fault: Option<Fault>,
}

impl Scalar {
    /// A finding at this place that shows the text.
    pub(super) fn is_wrong(&self, wrong: String, right: impl Into<String>) -> Finding {
        Finding { value: Some(self.text.clone()), ..self.remark(wrong, right) }
    }

    /// A finding at this place that does not need the text.
    pub(super) fn remark(&self, wrong: String, right: impl Into<String>) -> Finding {
        let (mark, path) = (self.mark, self.label.clone());
        Finding { mark, path, value: None, wrong, right: right.into() }
    }
}

/// A pool before the checks.
pub(super) struct RawPool {
    pub(super) name: Scalar,
    pub(super) entries: Vec<Entry>,
}

impl RawPool {
    /// The first entry with that directive.
    pub(super) fn entry(&self, directive: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.directive.text == directive)
    }
}

/// One directive and what it is set to.
pub(super) struct Entry {
    pub(super) directive: Scalar,
    pub(super) value: Value,
}

pub(super) enum Value {
    One(Scalar),
    Many(Vec<Scalar>),
}

/// Reads the pools of a file; other entries are reported and left out.
pub(super) fn from_yaml(text: &[u8], report: &mut Report) -> Vec<RawPool> {
    let text = match str::from_utf8(text) {
        Ok(text) => text,
        Err(error) => {
            let mark = end_of(&String::from_utf8_lossy(&text[..error.valid_up_to()]));
            report.syntax(mark, "is not UTF-8", "save the file as UTF-8");
            return Vec::new();
        }
    };
    if let Some((before, _)) = text.split_once(LINE_ENDS) {
        let wrong = "has a line end other than LF and CRLF: U+0085, U+2028 or U+2029";
        report.syntax(
            end_of(before),
            wrong,
            "remove it, or write it as an escape in double quotes",
        );
        return Vec::new();
    }
    match yaml::documents(text) {
        Ok(mut documents) if documents.len() <= 1 => {
            documents.pop().map_or_else(Vec::new, |document| pools(document, report))
        }
        Ok(documents) => {
            let wrong = format!(
                "conf: '{}' must contain only 1 document; found {} documents",
                report.source,
                documents.len()
            );
            report.syntax(documents[1].mark, &wrong, "put all pools in one document");
            Vec::new()
        }
        Err(error) => {
            let wrong = format!("invalid YAML: {}", error.reason);
            report.syntax(error.mark, &wrong, repair(text, error.mark));
            Vec::new()
        }
    }
}

/// The pools of a document: a mapping from names to mappings from directives to values.
fn pools(document: Node, report: &mut Report) -> Vec<RawPool> {
    let entries = match document.kind {
        Kind::Mapping(entries) => entries,
        Kind::Scalar(text) if text.is_empty() => Vec::new(),
        _ => {
            report.syntax(document.mark, "expected pools", POOL_FORM);
            Vec::new()
        }
    };
    entries.into_iter().filter_map(|(name, body)| pool(name, body, report)).collect()
}

fn pool(name: Node, body: Node, report: &mut Report) -> Option<RawPool> {
    let mark = name.mark;
    let Some(mut name) = scalar(name, String::new()) else {
        report.syntax(mark, "the name of a pool must be plain text", POOL_FORM);
        return None;
    };
    name.label.clone_from(&name.text);
    let entries = match body.kind {
        Kind::Mapping(entries) => entries,
        Kind::Scalar(text) if text.is_empty() => Vec::new(),
        _ => {
            let body = Scalar { mark: Some(body.mark), ..name };
            report.errors.push(body.remark("the pool has no directives".into(), POOL_FORM));
            return None;
        }
    };
    let entries = entries.into_iter().flat_map(unfold);
    let entries = entries.filter_map(|(key, value)| entry(&name.text, key, value, report));
    let entries = entries.collect();
    Some(RawPool { name, entries })
}

/// A directive with parts, such as `migrate: {window: 10m}`, is read as each of the parts:
/// `migrate.window: 10m`.
fn unfold((key, value): (Node, Node)) -> Vec<(Node, Node)> {
    match (&key.kind, value.kind) {
        (Kind::Scalar(name), Kind::Mapping(parts)) if Directive::has_parts(name) => {
            let part = |(part, value): (Node, Node)| {
                let kind = match part.kind {
                    Kind::Scalar(text) => Kind::Scalar(format!("{name}.{text}")),
                    other => other,
                };
                (Node { kind, mark: part.mark }, value)
            };
            parts.into_iter().map(part).collect()
        }
        (_, kind) => vec![(key, Node { kind, mark: value.mark })],
    }
}

fn entry(pool: &str, key: Node, value: Node, report: &mut Report) -> Option<Entry> {
    let mark = key.mark;
    let Some(mut directive) = scalar(key, String::new()) else {
        report.syntax(mark, "the name of a directive must be plain text", POOL_FORM);
        return None;
    };
    // No directive has a colon. What follows it may be a password, so no message may show it.
    if let Some((before, _)) = directive.text.split_once(':') {
        let wrong = format!("a space is missing after \"{before}:\"");
        report.syntax(mark, &wrong, POOL_FORM);
        return None;
    }
    directive.label = format!("{pool}.{}", directive.text);
    let mark = value.mark;
    match flat(value, &directive.label) {
        Some(value) => Some(Entry { directive, value }),
        // An ignored directive may have any value.
        None if Directive::find(&directive.text).is_some_and(Directive::is_ignored) => {
            Some(Entry { directive, value: Value::Many(Vec::new()) })
        }
        None => {
            let wrong = format!("conf: '{}' has a depth greater than 2", report.source);
            let right = match directive.text.as_str() {
                "hash_tag" => QUOTED_TAG,
                _ => "write one value, or a list of plain values",
            };
            let value = Scalar { mark: Some(mark), ..directive };
            report.errors.push(value.remark(wrong, right));
            None
        }
    }
}

/// A value without depth: a scalar, or a sequence of scalars.
fn flat(node: Node, label: &str) -> Option<Value> {
    match node.kind {
        Kind::Scalar(_) => scalar(node, label.into()).map(Value::One),
        Kind::Sequence(items) => {
            let items = items.into_iter().enumerate();
            let scalars = items.map(|(i, item)| scalar(item, format!("{label}[{i}]")));
            scalars.collect::<Option<_>>().map(Value::Many)
        }
        Kind::Mapping(_) | Kind::TooDeep => None,
    }
}

fn scalar(node: Node, label: String) -> Option<Scalar> {
    match node.kind {
        Kind::Scalar(text) => Some(Scalar { text, label, mark: Some(node.mark), fault: None }),
        _ => None,
    }
}

/// What helps against a syntax error: brackets, stars and tabs are the usual reasons.
fn repair(text: &str, mark: Mark) -> &'static str {
    let line = text.lines().nth(mark.line - 1).unwrap_or_default();
    let rest: String = line.chars().skip(mark.column - 1).collect();
    if rest.starts_with("*:") {
        "put an address with * in quotes, because * begins an alias in YAML: \"*:11211\""
    } else if line.contains("[:") || line.contains("]:") {
        "put an address with brackets in quotes: \"[::1]:11211:1\""
    } else if line.starts_with(|c: char| c.is_whitespace()) && line.contains('\t') {
        "indent with spaces, not tabs"
    } else {
        POOL_FORM
    }
}

/// The place just behind `text`.
fn end_of(text: &str) -> Mark {
    let line = text.split('\n').next_back().unwrap_or_default();
    Mark { line: text.matches('\n').count() + 1, column: line.chars().count() + 1 }
}

impl Report {
    fn syntax(&mut self, mark: Mark, wrong: &str, right: &str) {
        self.errors.push(Finding {
            mark: Some(mark),
            path: String::new(),
            value: None,
            wrong: wrong.into(),
            right: right.into(),
        });
    }
}

/// They end a line in YAML 1.1, which twemproxy reads, and in no later YAML: what is behind one might
/// be a directive, or the end of a name.
const LINE_ENDS: [char; 3] = ['\u{85}', '\u{2028}', '\u{2029}'];

const QUOTED_TAG: &str = "put the two characters in quotes, such as \"{}\"";
const POOL_FORM: &str =
    "write `pool name:`, then its settings indented, one `directive: value` on each line";
