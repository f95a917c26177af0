//! The protocols of the generator and the mock: memcached's and that of Redis. Each has a module
//! that writes requests and checks replies; the rest of the generator does not know which is used.

use crate::dataset::Dataset;
use crate::memcached;
use crate::redis;
use crate::replies::{Garbled, Progress, Tally};
use crate::workload::Request;

/// How requests and replies are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Memcached,
    Redis,
}

impl Protocol {
    /// Parses the name of a protocol.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        match text {
            "memcached" => Ok(Self::Memcached),
            "redis" => Ok(Self::Redis),
            _ => Err("neither memcached nor redis"),
        }
    }

    /// Appends the request's bytes.
    pub(crate) fn push(self, request: Request, out: &mut Vec<u8>, dataset: &Dataset) {
        match self {
            Self::Memcached => memcached::push(request, out, dataset),
            Self::Redis => redis::push(request, out, dataset),
        }
    }

    /// A checker for the replies of a new connection.
    pub(crate) fn checker(self) -> Checker {
        match self {
            Self::Memcached => Checker::Memcached(memcached::Checker::default()),
            Self::Redis => Checker::Redis(redis::Checker::default()),
        }
    }
}

/// Checks the replies of one connection, one after the other, in pieces of any size.
#[derive(Debug)]
pub(crate) enum Checker {
    Memcached(memcached::Checker),
    Redis(redis::Checker),
}

impl Checker {
    /// Checks as much of `input`, the oldest unchecked bytes, as is there of the reply to
    /// `request`.
    pub(crate) fn check(
        &mut self,
        input: &[u8],
        request: Request,
        dataset: &Dataset,
        tally: &mut Tally,
    ) -> Result<Progress, Garbled> {
        match self {
            Self::Memcached(checker) => checker.check(input, request, dataset, tally),
            Self::Redis(checker) => checker.check(input, request, dataset, tally),
        }
    }
}
