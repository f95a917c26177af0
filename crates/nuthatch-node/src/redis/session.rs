//! A client's session at a node: requests in, replies out.
//!
//! The one rule: a request is answered when it is complete, however its bytes come.

use std::io::{self, BufWriter, Read, Write};
use std::net::TcpStream;

use super::Shared;
use super::command::{self, Run};
use super::connection::Connection;
use super::fault::Fault;
use super::reply::Reply;
use super::request::{Parsed, REQUEST_MAX, parse};

/// Serves one client until it leaves.
pub(crate) fn serve(mut stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    let mut session = Session::new(shared, BufWriter::new(stream));
    let mut input = Vec::new();
    let mut chunk = vec![0; CHUNK];
    while input.len() <= REQUEST_MAX {
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            break;
        }
        input.extend_from_slice(&chunk[..count]);
        let taken = session.take(&input)?;
        session.out.flush()?;
        match taken {
            Some(taken) => drop(input.drain(..taken)),
            None => break,
        }
    }
    Ok(())
}

/// Maximum bytes of one read.
const CHUNK: usize = 64 << 10;

struct Session<'a, W: Write> {
    shared: &'a Shared,
    connection: Connection<'a>,
    out: W,
    /// The reply that is being written.
    reply: Reply,
}

impl<'a, W: Write> Session<'a, W> {
    fn new(shared: &'a Shared, out: W) -> Self {
        Self { shared, connection: Connection::new(shared), out, reply: Reply::new() }
    }

    /// Answers all complete requests in `input`; returns the number of their bytes, or `None` if
    /// the session is over.
    fn take(&mut self, input: &[u8]) -> io::Result<Option<usize>> {
        let mut rest = input;
        while !rest.is_empty() && !self.connection.is_over {
            self.reply.bytes.clear();
            match parse(rest) {
                Parsed::Partial => return Ok(Some(input.len() - rest.len())),
                Parsed::Request { words, len } => {
                    let words: Vec<_> = words.iter().map(|word| word.of(rest)).collect();
                    if !words.is_empty() {
                        self.answer(&words);
                    }
                    rest = &rest[len..];
                }
                Parsed::Broken(fault) => {
                    self.reply.error(&fault);
                    self.connection.is_over = true;
                }
            }
            self.out.write_all(&self.reply.bytes)?;
        }
        Ok((!self.connection.is_over).then_some(input.len() - rest.len()))
    }

    fn answer(&mut self, words: &[&[u8]]) {
        if let Err(fault) = self.run(words) {
            self.reply.error(&fault);
        }
    }

    fn run(&mut self, words: &[&[u8]]) -> Result<(), Fault> {
        let (run, call) = command::find(words)?;
        match run {
            Run::Store(run) => {
                let mut store = self.shared.lock();
                store.requests += 1;
                run(&mut store, &call, &mut self.reply)
            }
            Run::Connection(run) => run(&mut self.connection, &call, &mut self.reply),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The replies to `input` when it comes in pieces of `size` bytes, and whether the session is
    /// over then.
    fn replies(input: &[u8], size: usize) -> (String, bool) {
        let shared = Shared::new(1 << 20);
        let mut session = Session::new(&shared, Vec::new());
        let mut waiting = Vec::new();
        for piece in input.chunks(size) {
            waiting.extend_from_slice(piece);
            match session.take(&waiting).unwrap() {
                Some(taken) => drop(waiting.drain(..taken)),
                None => return (String::from_utf8(session.out).unwrap(), true),
            }
        }
        (String::from_utf8(session.out).unwrap(), false)
    }

    fn told(lines: &str) -> String {
        replies(lines.as_bytes(), lines.len()).0
    }

    #[test]
    fn requests_are_answered_alike_however_they_come() {
        let value = "x".repeat(5000);
        let input = format!(
            "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5000\r\n{value}\r\n\r\n*0\r\nget k\r\n\
             *2\r\n$4\r\nECHO\r\n$4\r\na\r\nb\r\nquit\r\nget k\r\n"
        );
        let expected = format!("+OK\r\n$5000\r\n{value}\r\n$4\r\na\r\nb\r\n+OK\r\n");
        for size in [1, 7, 1000, input.len()] {
            assert_eq!(replies(input.as_bytes(), size), (expected.clone(), true), "{size}");
        }
    }

    #[test]
    fn a_client_whose_framing_is_lost_is_told_and_dropped() {
        for (input, error) in [
            ("*x\r\n", "invalid multibulk length"),
            ("*1\r\nget k\r\n", "expected '$', got 'g'"),
            ("*1\r\n$-1\r\n", "invalid bulk length"),
            ("*1\r\n$16777217\r\n", "invalid bulk length"),
            ("get \"k\r\n", "unbalanced quotes in request"),
        ] {
            let input = format!("{input}ping\r\n");
            let expected = (format!("-ERR Protocol error: {error}\r\n"), true);
            assert_eq!(replies(input.as_bytes(), 100), expected, "{input}");
        }
        let (text, is_over) = replies(&b"x".repeat(70_000), 1000);
        assert_eq!(text, "-ERR Protocol error: too big inline request\r\n");
        assert!(is_over);
    }

    #[test]
    fn a_line_may_have_quoted_words() {
        let lines = "set k \"a \\x41\\n\\\"\"\r\nget 'k'\r\necho 'it\\'s'\n";
        assert_eq!(told(lines), "+OK\r\n$5\r\na A\n\"\r\n$4\r\nit's\r\n");
    }

    #[test]
    fn resp3_has_types_of_its_own() {
        let hello = "%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n\
            $5\r\nproto\r\n:3\r\n$2\r\nid\r\n:1\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n\
            $4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n";
        let lines = "hset h f v\r\nzadd z 1.5 m\r\nsadd s a\r\nget x\r\nlpop x 1\r\nhgetall h\r\n\
            zscore z m\r\nzrange z 0 -1 withscores\r\nsmembers s\r\n";
        assert_eq!(
            told(lines),
            ":1\r\n:1\r\n:1\r\n$-1\r\n*-1\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n$3\r\n1.5\r\n\
             *2\r\n$1\r\nm\r\n$3\r\n1.5\r\n*1\r\n$1\r\na\r\n"
        );
        let resp3 = ":1\r\n:1\r\n:1\r\n_\r\n_\r\n%1\r\n$1\r\nf\r\n$1\r\nv\r\n,1.5\r\n\
            *1\r\n*2\r\n$1\r\nm\r\n,1.5\r\n~1\r\n$1\r\na\r\n";
        let lines = format!("hello 3 setname me\r\n{lines}client getname\r\nreset\r\nget x\r\n");
        assert_eq!(told(&lines), format!("{hello}{resp3}$2\r\nme\r\n+RESET\r\n$-1\r\n"));
    }

    #[test]
    fn what_clients_say_at_their_start_is_understood() {
        let lines = "client setinfo lib-name redis-py\r\nclient setinfo lib-ver 5.0\r\n\
            client id\r\nclient setname a\r\ncommand\r\ncommand docs\r\nselect 0\r\nselect 1\r\n";
        assert_eq!(
            told(lines),
            "+OK\r\n+OK\r\n:1\r\n+OK\r\n*0\r\n*0\r\n+OK\r\n-ERR DB index is out of range\r\n"
        );
        let info = told("info server\r\n");
        assert!(info.contains("\r\n# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\n"));
        assert!(!info.contains("# Memory"), "{info}");
        assert!(told("set a b ex 9\r\ninfo\r\n").contains("\r\ndb0:keys=1,expires=1,"));
    }

    #[test]
    fn a_scan_finds_each_key_once() {
        let shared = Shared::new(1 << 20);
        let mut session = Session::new(&shared, Vec::new());
        for i in 0..100 {
            session.take(format!("set k{i} v\r\n").as_bytes()).unwrap();
        }
        let (mut cursor, mut found, mut rounds) = (String::from("0"), Vec::new(), 0);
        while rounds == 0 || cursor != "0" {
            session.out.clear();
            session.take(format!("scan {cursor} count 7 match k*\r\n").as_bytes()).unwrap();
            let text = String::from_utf8(session.out.clone()).unwrap();
            let mut words = text.split("\r\n").filter(|word| !word.starts_with(['*', '$']));
            cursor = words.next().unwrap().into();
            found.extend(words.filter(|word| !word.is_empty()).map(str::to_owned));
            rounds += 1;
        }
        assert_eq!(rounds, 15);
        found.sort();
        let mut expected: Vec<_> = (0..100).map(|i| format!("k{i}")).collect();
        expected.sort();
        assert_eq!(found, expected);
    }
}
