//! What clients and servers of a Redis pool see of each other through the engine: one file a subject,
//! one behaviour a test.
//!
//! With two servers, connection 0 leads to server 0 in RESP2 and connection 1 in RESP3; 2 and 3 lead to
//! server 1. Connections for one client alone come behind these, from 4 on.

mod binding;
mod blocking;
mod greeting;
mod large;
mod left;
mod lies;
mod migrating;
mod passing;
mod pushes;
mod replies;
mod requests;
mod scan;
mod shards;
mod split;
mod subscriptions;
mod transactions;

const TIMED_OUT: &str = "-ERR Connection timed out\r\n";
const REFUSED: &str = "-ERR Connection refused\r\n";
const RESET: &str = "-ERR Connection reset by peer\r\n";
const DESYNC: &str = "-ERR Invalid argument\r\n";
const CROSS_SHARD: &str = "-CROSSSLOT Keys in request don't hash to the same server: use a hash_tag \
    for keys that belong together\r\n";
const TOO_LARGE: &str = "-ERR the reply is larger than item_size_max of this pool\r\n";
const ABORTED: &str = "-EXECABORT Transaction discarded because of previous errors.\r\n";
const OK: &str = "+OK\r\n";
const QUEUED: &str = "+QUEUED\r\n";

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

/// An array of bulk strings: the words of `text`.
fn array(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let strings: String = words.iter().map(|word| bulk(word)).collect();
    format!("*{}\r\n{strings}", words.len())
}

/// The requests that stand in `text`, with semicolons between them.
fn requests(text: &str) -> String {
    text.split(';').map(array).collect()
}

/// The confirmation of one channel: what happened, and how many subscriptions there are then.
fn confirmation(kind: &str, channel: &str, count: usize) -> String {
    format!("*3\r\n{}{}:{count}\r\n", bulk(kind), bulk(channel))
}

fn message(channel: &str, text: &str) -> String {
    array(&format!("message {channel} {text}"))
}
