//! The load of the demo: clients that know the correct reply to each request.
//!
//! The one rule: a reply is correct if it is exactly the expected bytes. So each client has its own
//! keys, and its requests are generated before the first is sent.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use nuthatch_node::Protocol;

mod memcache;
mod redis;

/// Keys of all clients.
pub(super) const KEYS: usize = 10_000;

/// Clients, which have one connection each.
pub(super) const CLIENTS: usize = 4;

/// Keys of one multiget.
pub(super) const KEYS_AT_ONCE: usize = 25;

/// Requests that a client sends before it reads the answers.
const BATCH: usize = 50;

/// As long as an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The result of the load.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Requests sent.
    pub(super) requests: usize,
    pub(super) elapsed: Duration,
    /// A sentence for each client that got a wrong reply; the client stops at this reply.
    pub(super) wrong: Vec<String>,
}

/// A request and its right answer.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Exchange {
    request: String,
    answer: String,
}

/// How a protocol writes the requests of the load, and their right answers.
struct Dialect {
    /// Stores the value of a key.
    set: fn(usize) -> Exchange,
    /// Reads the values of keys, which all have one.
    get: fn(&[usize]) -> Exchange,
    /// Deletes a key that exists.
    delete: fn(usize) -> Exchange,
    /// Reads a key that does not exist.
    missing: fn(usize) -> Exchange,
    /// Adds 1 to a counter.
    increment: fn(usize) -> Exchange,
}

impl Dialect {
    fn of(protocol: Protocol) -> &'static Self {
        match protocol {
            Protocol::Memcache => &memcache::DIALECT,
            Protocol::Redis => &redis::DIALECT,
        }
    }
}

/// The key of that number.
pub(super) fn key(index: usize) -> String {
    if is_counter(index) { format!("visits:{index}") } else { format!("user:{index}") }
}

/// Sends the whole load to `proxy`, with a progress bar if standard error is a terminal.
#[expect(clippy::disallowed_methods, reason = "the load takes its own time, it is no worker")]
pub(super) fn run(protocol: Protocol, proxy: SocketAddr) -> Outcome {
    let dialect = Dialect::of(protocol);
    let keys = |client| client * KEYS / CLIENTS..(client + 1) * KEYS / CLIENTS;
    let scripts: Vec<Vec<Exchange>> =
        (0..CLIENTS).map(|client| script(dialect, keys(client))).collect();
    let requests = scripts.iter().map(Vec::len).sum();
    let bar = ProgressBar::new(requests as u64).with_style(style());
    let start = Instant::now();
    let wrong = thread::scope(|scope| {
        let bar = &bar;
        let spawn = |script| scope.spawn(move || converse(proxy, script, bar));
        let clients: Vec<_> = scripts.iter().map(Vec::as_slice).map(spawn).collect();
        let ends = clients.into_iter().map(thread::ScopedJoinHandle::join);
        ends.filter_map(|end| end.unwrap_or_else(|_| Err("a client panicked".into())).err())
            .collect()
    });
    let elapsed = start.elapsed();
    bar.abandon();
    if !bar.is_hidden() {
        eprintln!();
    }
    Outcome { requests, elapsed, wrong }
}

fn style() -> ProgressStyle {
    let style = ProgressStyle::with_template("  {bar:40} {human_pos} of {human_len} requests");
    style.expect("the template is right").progress_chars("━━╌")
}

/// All requests of a client, in order.
fn script(dialect: &Dialect, keys: Range<usize>) -> Vec<Exchange> {
    let Dialect { set, get, delete, missing, increment } = dialect;
    let mut script: Vec<_> = keys.clone().map(set).collect();
    script.extend(keys.clone().map(|index| get(&[index])));
    let indexes: Vec<usize> = keys.clone().collect();
    script.extend(indexes.chunks(KEYS_AT_ONCE).map(get));
    for index in keys.clone().step_by(10) {
        script.extend([delete(index), missing(index), set(index)]);
    }
    script.extend(keys.filter(|index| is_counter(*index)).map(increment));
    script
}

fn is_counter(index: usize) -> bool {
    index % 10 == 9
}

/// Values differ in length and content, so that a mix-up is always detected.
fn value(index: usize) -> String {
    if is_counter(index) {
        index.to_string()
    } else {
        format!("{index} {}", "~".repeat(index % 150))
    }
}

/// Runs a client; stops at the first wrong reply, because later replies cannot be checked.
fn converse(proxy: SocketAddr, script: &[Exchange], bar: &ProgressBar) -> Result<(), String> {
    let lost = |error: io::Error| format!("a client lost the proxy: {error}");
    let mut stream = TcpStream::connect(proxy).map_err(lost)?;
    stream
        .set_nodelay(true)
        .and_then(|()| stream.set_read_timeout(Some(PATIENCE)))
        .map_err(lost)?;
    let mut answers = BufReader::new(stream.try_clone().map_err(lost)?);
    for batch in script.chunks(BATCH) {
        let requests: String = batch.iter().map(|exchange| exchange.request.as_str()).collect();
        stream.write_all(requests.as_bytes()).map_err(lost)?;
        for exchange in batch {
            check(&mut answers, exchange)?;
        }
        bar.inc(batch.len() as u64);
    }
    Ok(())
}

/// Reads the answer to a request, or says what is wrong with it.
fn check(answers: &mut impl BufRead, exchange: &Exchange) -> Result<(), String> {
    let Exchange { request, answer } = exchange;
    let mut got = Vec::with_capacity(answer.len());
    // Only the bytes before the error can be compared.
    let _ = answers.take(answer.len() as u64).read_to_end(&mut got);
    if got == answer.as_bytes() {
        return Ok(());
    }
    if !got.contains(&b'\n') {
        // For example an error line, which is shown completely.
        let _ = answers.take(EXCERPT as u64).read_until(b'\n', &mut got);
    }
    let same = got.iter().zip(answer.bytes()).take_while(|(a, b)| **a == *b).count();
    let [asked, right] =
        [(request, 0), (answer, same)].map(|(text, at)| excerpt(text.as_bytes(), at));
    let got = excerpt(&got, same);
    Err(format!("{asked}\n  was answered {got}\n  instead of   {right}"))
}

/// The bytes around `at`, in quotes.
fn excerpt(bytes: &[u8], at: usize) -> String {
    let start = at.saturating_sub(EXCERPT / 2);
    let end = bytes.len().min(start + EXCERPT);
    let before = if start > 0 { "…" } else { "" };
    let behind = if end < bytes.len() { "…" } else { "" };
    format!("{before}\"{}\"{behind}", bytes[start..end].escape_ascii())
}

/// Bytes of an answer that a sentence about it shows.
const EXCERPT: usize = 36;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_right_if_it_is_the_expected_bytes() {
        let exchange = (memcache::DIALECT.get)(&[10]);
        let told = |answer: &str| check(&mut answer.as_bytes(), &exchange);
        assert_eq!(told(&exchange.answer), Ok(()));
        let wrong = [
            ("", r#""""#),
            ("END\r\n", r#""END\r\n""#),
            ("SERVER_ERROR Connection refused\r\n", r#""SERVER_ERROR Connection refused\r\n""#),
            ("VALUE user:11 10 13\r\n", r#""VALUE user:11 10 13\r\n""#),
        ];
        for (answer, shown) in wrong {
            let right = r#""VALUE user:10 10 13\r\n10 ~~~~~~~~~~\r\n"…"#;
            let asked = r#""get user:10\r\n""#;
            let sentence = format!("{asked}\n  was answered {shown}\n  instead of   {right}");
            assert_eq!(told(answer), Err(sentence));
        }
        let damaged = exchange.answer.replace("~\r", "!\r");
        assert_eq!(
            told(&damaged).unwrap_err(),
            r#""get user:10\r\n"
  was answered …"0 13\r\n10 ~~~~~~~~~!\r\nEND\r\n"
  instead of   …"0 13\r\n10 ~~~~~~~~~~\r\nEND\r\n""#
        );
    }
}
