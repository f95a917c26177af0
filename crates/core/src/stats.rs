//! The counters: one block for each pool and one for each of its servers.
//!
//! A worker writes its own block, and any thread may read the block at any time. Each number has
//! one writer, so counting is a load and a store, never a locked instruction. A reader sees each
//! number consistently, but not all numbers of the same instant. A figure for the whole process is
//! the sum over the workers.

use crate::clocks::Clock;
use crate::error::ServerError;
use crate::message::{Class, Outcome};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number with one writer and any readers.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only the owning worker may call this.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Subtracts `n`; for gauges. Only the owning worker may call this.
    pub fn sub(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(n), Relaxed);
    }

    /// Sets the number. Only the owning worker may call this.
    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    /// The number now.
    pub fn read(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Declares a block of counters with a list of their names, so that code that prints all counters
/// cannot omit one.
macro_rules! counters {
    ($(#[$about:meta])* $block:ident { $($(#[$doc:meta])* $name:ident,)* } $($extra:tt)*) => {
        $(#[$about])*
        #[derive(Debug, Default)]
        pub struct $block {
            $($(#[$doc])* pub $name: Counter,)*
            $($extra)*
        }

        impl $block {
            /// Every counter with its name, in order.
            pub fn all(&self) -> impl Iterator<Item = (&'static str, &Counter)> {
                [$((stringify!($name), &self.$name),)*].into_iter()
            }
        }
    };
}

counters! {
    /// The figures of one pool in one worker. The first six are twemproxy's.
    PoolStats {
        /// Clients that closed their connection.
        client_eof,
        /// Client connections that ended with an error.
        client_err,
        /// Clients connected now.
        client_connections,
        /// Times a server was ejected.
        server_ejects,
        /// Requests, and parts of requests, that failed because a server could not answer.
        forward_error,
        /// Parts into which requests with several keys were split.
        fragments,
        /// Client connections accepted since the start.
        client_accepts,
        /// Clients rejected because of `client_connections` or a lack of file descriptors.
        client_rejects,
        /// Attempts to connect to servers since the start.
        server_connects,
        /// Requests read from clients, each once, however many keys it has.
        requests,
        /// Bytes read from clients.
        request_bytes,
        /// Bytes written to clients.
        response_bytes,
        /// Keys requested by reads that do not set the expiry.
        cmd_get,
        /// Storage requests.
        cmd_set,
        /// Deletions.
        cmd_delete,
        /// `incr`, `decr` and `ma`.
        cmd_arith,
        /// `touch`, keys of `gat`, and `mg` that sets an expiry.
        cmd_touch,
        /// `flush_all` requests sent to the servers.
        cmd_flush,
        /// Meta requests except `mn` (all but `me` also count in one of the kinds above).
        cmd_meta,
        /// Requests that broke the protocol; the client got an error and stays connected.
        client_request_errors,
        /// Clients closed because the start of their next request was not known.
        client_framing_lost,
        /// Server connections closed because a reply did not match its request.
        desync_total,
        /// Replies replaced by an error because their client had `client_backlog_max` waiting.
        limit_client_backlog,
        /// Storage requests, and values in replies, refused because of `item_size_max`.
        limit_item_size,
        /// Requests refused because of `keys_max`.
        limit_keys,
        /// Clients closed because of `line_max`.
        limit_line,
        /// Times a client waited because it had too many requests in flight or unread replies.
        limit_client_paused,
        /// Times a client waited because a server's queue was full.
        limit_server_queue,
        /// Clients closed because the worker's buffers reached `memory_max`.
        limit_memory,
        /// Requests that took `slow_after` or longer.
        slow_requests,
        /// Requests refused because of `pool_rate_max`.
        limit_pool_rate,
        /// Requests refused because of `pool_requests_max`.
        limit_pool_requests,
        /// Requests refused because of `address_rate_max`.
        limit_address_rate,
        /// Requests refused because of `address_requests_max`.
        limit_address_requests,
        /// Requests refused because of `dedicated_connections_max`.
        limit_dedicated,
        /// Server connections that one client alone uses now.
        dedicated_connections,
        /// Clients that use the connections for bulk now.
        bulk_clients,
        /// Times a client changed to the connections for bulk.
        bulk_moves,
    }
    /// How requests ended.
    pub results: Results,
    /// Keys that move to another server.
    pub migration: MigrationStats,
}

/// How requests ended: how many of each kind had which outcome, keys where a request has several.
///
/// Counting a request is one addition. The reader computes what memcached calls hits and misses.
#[derive(Debug, Default)]
pub struct Results([[Counter; Outcome::COUNT]; Class::COUNT]);

impl Results {
    /// Counts `n` requests or keys. Only the owning worker may call this.
    #[inline]
    pub fn add(&self, class: Class, outcome: Outcome, n: u64) {
        self.0[class as usize][outcome as usize].add(n);
    }

    fn sum(&self, cells: &[(Class, Outcome)]) -> u64 {
        cells.iter().map(|&(class, outcome)| self.0[class as usize][outcome as usize].read()).sum()
    }
}

/// Declares memcached's figures of how requests ended, each as the sum of some cells, with a list of
/// their names.
macro_rules! results {
    ($($(#[$doc:meta])* $name:ident: $(($class:ident, $outcome:ident))*,)*) => {
        impl Results {
            $($(#[$doc])* pub fn $name(&self) -> u64 {
                self.sum(&[$((Class::$class, Outcome::$outcome),)*])
            })*

            /// Every figure with its name, in order.
            pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name()),)*].into_iter()
            }
        }
    };
}

results! {
    /// Keys that were found by reads that set no expiry.
    get_hits: (Get, Hit),
    /// Keys that were not found by them.
    get_misses: (Get, Miss),
    /// Deletions that found their item.
    delete_hits: (Delete, Success) (Delete, Hit),
    /// Deletions that found no item, or an item with another cas id.
    delete_misses: (Delete, NotFound) (Delete, Exists) (Delete, Miss),
    /// Additions that found or created their item.
    incr_hits: (Incr, Success),
    /// Additions that found no item.
    incr_misses: (Incr, NotFound),
    /// Subtractions that found or created their item.
    decr_hits: (Decr, Success),
    /// Subtractions that found no item.
    decr_misses: (Decr, NotFound),
    /// Storage with the right cas id.
    cas_hits: (Cas, Success),
    /// Storage with a cas id where no item was.
    cas_misses: (Cas, NotFound),
    /// Storage with a cas id that was not the item's.
    cas_badval: (Cas, Exists),
    /// Keys that were found and got a new expiry.
    touch_hits: (Touch, Success) (Touch, Hit) (GetAndTouch, Hit),
    /// Keys that should have got a new expiry and were not found.
    touch_misses: (Touch, NotFound) (Touch, Miss) (GetAndTouch, Miss),
}

counters! {
    /// The figures of the keys that move to another server, in one worker.
    MigrationStats {
        /// How far it is: 0 if no keys move, 1 settling, 2 moving, 3 closing.
        phase,
        /// How many of 1000 keys have another server than before.
        keys_per_mille,
        /// When it ends: microseconds of the wall clock, 0 if no keys move.
        ends_at,
        /// Values copied to their new server.
        keys_moved,
        /// Keys that the old server did not have.
        moves_empty,
        /// Copies that came too late, because another client changed the key.
        moves_lost,
        /// Copies of which a server refused a step.
        moves_failed,
        /// Values at the new server that were older than the change, and were removed.
        leftovers_dropped,
        /// Reads answered with the old server's value.
        old_reads,
        /// Writes that removed the value at the other server.
        other_deletes,
        /// Steps taken again, because another client changed the key.
        retries,
        /// Requests for keys that move that are on their way now.
        in_flight,
        /// Requests refused because of `moves_max`.
        limit_moves,
        /// Old servers given up because they could not be reached.
        servers_given_up,
    }
}

counters! {
    /// The figures of one server in one worker. The counters are twemproxy's thirteen.
    ServerStats {
        /// Connections that the server closed.
        server_eof,
        /// Connections that ended with an error.
        server_err,
        /// Requests that timed out.
        server_timedout,
        /// Connections open now.
        server_connections,
        /// When the server was last ejected: microseconds of the wall clock, 0 for never.
        server_ejected_at,
        /// Requests and fragments queued for the server.
        requests,
        /// Bytes of them.
        request_bytes,
        /// Replies received.
        responses,
        /// Bytes of them.
        response_bytes,
        /// Requests not yet written.
        in_queue,
        /// Bytes of them.
        in_queue_bytes,
        /// Requests written and not yet answered.
        out_queue,
        /// Bytes of them.
        out_queue_bytes,
    }
    /// Counters that twemproxy does not have.
    pub more: MoreServerStats,
}

/// The figures of one server in one worker that are not twemproxy's.
#[derive(Debug, Default)]
pub struct MoreServerStats {
    /// Failures by reason, in the order of [`ServerError::OF_SERVERS`].
    pub errors: [Counter; ServerError::OF_SERVERS.len()],
    /// Requests, and attempts to connect, that were too late, by the clock that ran out, in the order of
    /// [`Clock::ALL`].
    pub timeouts: [Counter; Clock::ALL.len()],
    /// The version of the server (`Version::to_bits`), 0 if not known.
    pub version: Counter,
    /// Connections begun since the start.
    pub connects: Counter,
    /// Times the server was ejected.
    pub ejections: Counter,
    /// 1 while the server is ejected.
    pub is_ejected: Counter,
    /// Probes sent while it was ejected, and those that failed.
    pub probes: Counter,
    /// Those that failed.
    pub probe_failures: Counter,
    /// Keys that are to be removed from the server before it returns.
    pub journal_keys: Counter,
    /// Bytes that its journal takes.
    pub journal_bytes: Counter,
    /// Keys that were removed from the server before it returned.
    pub replayed: Counter,
    /// Removals that the server refused.
    pub removals_refused: Counter,
    /// Times that more keys were changed than could be remembered.
    pub journal_overflows: Counter,
    /// Values whose time the server, one of the gutter, refused to bound.
    pub caps_refused: Counter,
    /// 1 from the loss of a connection until the next reply of the server.
    pub is_down: Counter,
    /// Time to open a connection, including the name look-up.
    pub connect_time: Histogram,
    /// Time from queueing a request to writing it, by class.
    pub queue_time: [Histogram; Class::LABELS.len()],
    /// Time from writing a request to receiving its reply, by class.
    pub server_time: [Histogram; Class::LABELS.len()],
}

/// A histogram of times: the number of times in each span, and the sum of all.
///
/// A worker reads its clock once per turn, so the resolution is the length of a turn.
#[derive(Debug, Default)]
pub struct Histogram {
    counts: [Counter; SPANS],
    nanos: Counter,
}

/// The spans end at 2^14 ns (16 us) and then at twice as much each, up to 2^32 ns (4.3 s); the last
/// has no end.
const SPANS: usize = 20;
const FIRST_BITS: u32 = 14;

impl Histogram {
    /// Counts a time of `nanos` nanoseconds. Only the owning worker may call this.
    #[inline]
    pub fn record(&self, nanos: u64) {
        // The bits of the first span are set, so that the logarithm is never that of zero, which the
        // processor does not have.
        let span = (nanos.saturating_sub(1) | ((1 << FIRST_BITS) - 1)).ilog2() + 1 - FIRST_BITS;
        self.counts[(span as usize).min(SPANS - 1)].add(1);
        self.nanos.add(nanos);
    }

    /// Where the spans end, in nanoseconds, each inclusive. The last span has no end.
    pub fn ends() -> impl Iterator<Item = u64> {
        (FIRST_BITS..).take(SPANS - 1).map(|bits| 1 << bits)
    }

    /// The number of times in each span.
    pub fn counts(&self) -> impl ExactSizeIterator<Item = u64> {
        self.counts.iter().map(Counter::read)
    }

    /// The sum of all, in nanoseconds.
    pub fn nanos(&self) -> u64 {
        self.nanos.read()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn a_time_falls_into_the_first_span_that_does_not_end_before_it() {
        let ends: Vec<u64> = Histogram::ends().collect();
        assert_eq!((ends.len(), ends[0], ends[18]), (19, 16_384, 4_294_967_296));
        for (nanos, span) in [
            (0, 0),
            (1, 0),
            (ends[0], 0),
            (ends[0] + 1, 1),
            (ends[1], 1),
            (ends[18], 18),
            (ends[18] + 1, 19),
            (u64::MAX, 19),
        ] {
            let histogram = Histogram::default();
            histogram.record(nanos);
            assert_eq!(histogram.counts().position(|count| count == 1), Some(span), "{nanos}");
            assert_eq!((histogram.counts().sum::<u64>(), histogram.nanos()), (1, nanos));
        }
    }
}
