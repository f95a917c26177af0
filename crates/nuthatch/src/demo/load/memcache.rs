//! The load in memcached's protocol.

use std::fmt::Write as _;

use super::{Dialect, Exchange, key, value};

pub(super) const DIALECT: Dialect = Dialect { set, get, delete, missing, increment };

fn set(index: usize) -> Exchange {
    let (key, value) = (key(index), value(index));
    let request = format!("set {key} {index} 0 {}\r\n{value}\r\n", value.len());
    Exchange { request, answer: "STORED\r\n".into() }
}

fn get(indexes: &[usize]) -> Exchange {
    let (mut request, mut answer) = (String::from("get"), String::new());
    for index in indexes {
        let (key, value) = (key(*index), value(*index));
        // Writing to a string can't fail.
        let _ = write!(request, " {key}");
        let _ = write!(answer, "VALUE {key} {index} {}\r\n{value}\r\n", value.len());
    }
    Exchange { request: request + "\r\n", answer: answer + "END\r\n" }
}

fn delete(index: usize) -> Exchange {
    Exchange { request: format!("delete {}\r\n", key(index)), answer: "DELETED\r\n".into() }
}

fn missing(index: usize) -> Exchange {
    Exchange { request: format!("get {}\r\n", key(index)), answer: "END\r\n".into() }
}

fn increment(index: usize) -> Exchange {
    let request = format!("incr {} 1\r\n", key(index));
    Exchange { request, answer: format!("{}\r\n", index + 1) }
}

#[cfg(test)]
mod tests {
    use super::super::script;
    use super::*;

    #[test]
    fn a_script_sets_reads_deletes_and_counts() {
        let script = script(&DIALECT, 9..11);
        let requests: Vec<_> = script.iter().map(|exchange| exchange.request.as_str()).collect();
        assert_eq!(
            requests,
            [
                "set visits:9 9 0 1\r\n9\r\n",
                "set user:10 10 0 13\r\n10 ~~~~~~~~~~\r\n",
                "get visits:9\r\n",
                "get user:10\r\n",
                "get visits:9 user:10\r\n",
                "delete visits:9\r\n",
                "get visits:9\r\n",
                "set visits:9 9 0 1\r\n9\r\n",
                "incr visits:9 1\r\n",
            ]
        );
        let values = "VALUE visits:9 9 1\r\n9\r\nVALUE user:10 10 13\r\n10 ~~~~~~~~~~\r\nEND\r\n";
        assert_eq!(script[4].answer, values);
        assert_eq!(script[8].answer, "10\r\n");
    }
}
