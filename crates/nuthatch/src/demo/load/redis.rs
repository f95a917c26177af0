//! The load in Redis's protocol: RESP2, which every client of Redis speaks.

use std::fmt::Write as _;

use super::{Dialect, Exchange, key, value};

pub(super) const DIALECT: Dialect = Dialect { set, get, delete, missing, increment };

fn set(index: usize) -> Exchange {
    Exchange { request: request(&["SET", &key(index), &value(index)]), answer: "+OK\r\n".into() }
}

/// `GET` for one key, `MGET` for several.
fn get(indexes: &[usize]) -> Exchange {
    let keys: Vec<String> = indexes.iter().map(|index| key(*index)).collect();
    let values: String = indexes.iter().map(|index| bulk(&value(*index))).collect();
    if let [key] = keys.as_slice() {
        return Exchange { request: request(&["GET", key]), answer: values };
    }
    let mut words = vec!["MGET"];
    words.extend(keys.iter().map(String::as_str));
    Exchange { request: request(&words), answer: format!("*{}\r\n{values}", indexes.len()) }
}

fn delete(index: usize) -> Exchange {
    Exchange { request: request(&["DEL", &key(index)]), answer: ":1\r\n".into() }
}

fn missing(index: usize) -> Exchange {
    Exchange { request: request(&["GET", &key(index)]), answer: "$-1\r\n".into() }
}

fn increment(index: usize) -> Exchange {
    let answer = format!(":{}\r\n", index + 1);
    Exchange { request: request(&["INCR", &key(index)]), answer }
}

fn request(words: &[&str]) -> String {
    let mut request = format!("*{}\r\n", words.len());
    for word in words {
        // Writing to a string can't fail.
        let _ = write!(request, "{}", bulk(word));
    }
    request
}

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
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
                "*3\r\n$3\r\nSET\r\n$8\r\nvisits:9\r\n$1\r\n9\r\n",
                "*3\r\n$3\r\nSET\r\n$7\r\nuser:10\r\n$13\r\n10 ~~~~~~~~~~\r\n",
                "*2\r\n$3\r\nGET\r\n$8\r\nvisits:9\r\n",
                "*2\r\n$3\r\nGET\r\n$7\r\nuser:10\r\n",
                "*3\r\n$4\r\nMGET\r\n$8\r\nvisits:9\r\n$7\r\nuser:10\r\n",
                "*2\r\n$3\r\nDEL\r\n$8\r\nvisits:9\r\n",
                "*2\r\n$3\r\nGET\r\n$8\r\nvisits:9\r\n",
                "*3\r\n$3\r\nSET\r\n$8\r\nvisits:9\r\n$1\r\n9\r\n",
                "*2\r\n$4\r\nINCR\r\n$8\r\nvisits:9\r\n",
            ]
        );
        let answers = [2, 4, 5, 6, 8].map(|nth| script[nth].answer.as_str());
        let values = "*2\r\n$1\r\n9\r\n$13\r\n10 ~~~~~~~~~~\r\n";
        assert_eq!(answers, ["$1\r\n9\r\n", values, ":1\r\n", "$-1\r\n", ":10\r\n"]);
    }
}
