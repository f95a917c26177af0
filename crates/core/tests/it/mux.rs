//! What clients and servers see of each other through the engine: one file a subject, one
//! behaviour a test.

mod away;
mod bulk;
mod clocks;
mod connections;
mod deadline;
mod deciding;
mod everywhere;
mod failures;
mod giving_up;
mod greeting;
mod gutter;
mod large;
mod leaving;
mod lies;
mod membership;
mod memory;
mod migrating;
mod multiget;
mod no_servers;
mod order;
mod outdated;
mod passing;
mod questions;
mod quiet;
mod quotas;
mod remembered;
mod slow;
mod steps;
mod timeouts;
mod together;
mod warming;
mod window;

const TIMED_OUT: &str = "SERVER_ERROR Connection timed out\r\n";
const REFUSED: &str = "SERVER_ERROR Connection refused\r\n";
const RESET: &str = "SERVER_ERROR Connection reset by peer\r\n";
const DESYNC: &str = "SERVER_ERROR Invalid argument\r\n";
const BACKLOG: &str =
    "SERVER_ERROR reply dropped: it and the client's unread replies exceed client_backlog_max\r\n";

fn value(key: &str, data: &str) -> String {
    format!("VALUE {key} 0 {}\r\n{data}\r\n", data.len())
}

fn hit(key: &str, data: &str) -> String {
    value(key, data) + "END\r\n"
}

fn set(key: &str, data: &str) -> String {
    format!("set {key} 0 0 {}\r\n{data}\r\n", data.len())
}
