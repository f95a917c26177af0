//! What is judged, and how: an answer is that of the plain server, or a difference that the documents list, or
//! a fault.
//!
//! The rule: a rule that accepts a difference says where the documents list it, and counts how often it
//! was needed.

use std::sync::atomic::{AtomicUsize, Ordering};

/// What became of the connection while an answer was awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Open,
    Closed,
    /// Neither an answer nor the end came.
    Silent,
}

/// All that a side said to one request, masked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) bytes: Vec<u8>,
    pub(super) ended: Ended,
}

/// One request and what both sides made of it.
pub(super) struct Case<'a> {
    pub(super) request: &'a [u8],
    pub(super) plain: &'a Answer,
    pub(super) ours: &'a Answer,
}

/// A difference that the documents list.
pub(super) struct Rule {
    pub(super) name: &'static str,
    /// The beginning of the row in the document of the protocol, or a sentence of its text.
    pub(super) row: &'static str,
    accepts: fn(&Case<'_>) -> bool,
    uses: AtomicUsize,
}

pub(super) const fn rule(
    name: &'static str,
    row: &'static str,
    accepts: fn(&Case<'_>) -> bool,
) -> Rule {
    Rule { name, row, accepts, uses: AtomicUsize::new(0) }
}

impl Rule {
    pub(super) fn uses(&self) -> usize {
        self.uses.load(Ordering::Relaxed)
    }
}

/// The verdict on a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Same,
    Listed,
    Different,
}

impl Case<'_> {
    /// The verdict on answers that are not the same.
    pub(super) fn judge_by(&self, rules: &[Rule]) -> Verdict {
        match rules.iter().find(|rule| (rule.accepts)(self)) {
            Some(rule) => {
                rule.uses.fetch_add(1, Ordering::Relaxed);
                Verdict::Listed
            }
            None => Verdict::Different,
        }
    }
}
