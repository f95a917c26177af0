//! A real redis-server or valkey-server, and what a client of Redis sends and reads.
//!
//! The rule: a server keeps nothing, neither on disk nor after its guard is dropped; and a reply is
//! read as a whole, whatever is nested in it, as the bytes that came.

use std::env;
use std::net::Ipv4Addr;
use std::process::Command;

use crate::conn::{Broken, Conn};
use crate::process::{Process, TempDir, free_port, wait_until};

/// A real redis-server without persistence, or the program that `REDIS_SERVER` names.
#[derive(Debug)]
pub struct Redis {
    /// The program.
    pub process: Process,
    /// Where it listens on 127.0.0.1.
    pub port: u16,
    /// Its working directory.
    pub dir: TempDir,
}

impl Redis {
    /// Starts one on a free port.
    pub fn start() -> Self {
        Self::start_with(free_port(), &[])
    }

    /// Starts one with more settings, such as `--requirepass secret`.
    pub fn start_with(port: u16, settings: &[&str]) -> Self {
        let number = port.to_string();
        let dir = TempDir::new();
        let program = env::var_os("REDIS_SERVER").unwrap_or_else(|| "redis-server".into());
        let process = Process::spawn(
            Command::new(program)
                .current_dir(dir.join(""))
                .args(["--bind", "127.0.0.1", "--port", &number])
                .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
                // What some commands answer depends on how a value is held in memory, which is
                // changed in the background.
                .args(["--activerehashing", "no"])
                .args(settings),
        );
        let mut server = Self { process, port, dir };
        let id = server.process.id();
        wait_until(&mut server.process, || "redis-server".to_owned(), || is_process(port, id));
        server
    }

    /// `count` of them.
    pub fn start_many(count: usize) -> Vec<Self> {
        (0..count).map(|_| Self::start()).collect()
    }

    /// The server's line in a configuration, with weight 1 and no name.
    pub fn entry(&self) -> String {
        format!("127.0.0.1:{}:1", self.port)
    }

    /// A new connection to it.
    pub fn conn(&self) -> Conn {
        Conn::tcp((Ipv4Addr::LOCALHOST, self.port))
    }

    /// The reply to one command on a connection of its own.
    pub fn call(&self, words: &[&str]) -> Vec<u8> {
        let mut conn = self.conn();
        conn.send(command(words));
        conn.read_resp().expect("a reply")
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It has nothing to lose, and a running script keeps it from heeding SIGTERM.
        self.process.kill();
    }
}

/// Whether the server on the port is this process: another program may have taken the port first. One that
/// refuses to tell answers, too.
fn is_process(port: u16, id: u32) -> bool {
    crate::process::accepts(port) && {
        let mut conn = Conn::tcp((Ipv4Addr::LOCALHOST, port));
        conn.send(command(["INFO", "server"]));
        let own = format!("\r\nprocess_id:{id}\r\n");
        conn.read_resp().is_ok_and(|reply| {
            reply.starts_with(b"-") || String::from_utf8_lossy(&reply).contains(&own)
        })
    }
}

/// A command as clients send it: an array of bulk strings.
pub fn command<T: AsRef<[u8]>>(words: impl AsRef<[T]>) -> Vec<u8> {
    let words = words.as_ref();
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(bulk(word));
    }
    bytes
}

/// A bulk string.
pub fn bulk(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

impl Conn {
    /// One whole reply of RESP2 or RESP3 with all that is nested in it, and with the attributes ahead of it.
    /// An error holds all bytes of the reply that came.
    pub fn read_resp(&mut self) -> Result<Vec<u8>, Broken> {
        let mut reply = Vec::new();
        let mut open = 1_usize;
        while open > 0 {
            let part = self.read_line().and_then(|line| {
                reply.extend(&line);
                open -= 1;
                let len = length(&line);
                match line[0] {
                    b'*' | b'~' | b'>' => open += len.unwrap_or(0),
                    b'%' => open += 2 * len.unwrap_or(0),
                    b'|' => open += 2 * len.unwrap_or(0) + 1,
                    b'$' | b'!' | b'=' => {
                        return len.map_or(Ok(Vec::new()), |len| self.read_exact(len + 2));
                    }
                    _ => {}
                }
                Ok(Vec::new())
            });
            match part {
                Ok(bytes) => reply.extend(bytes),
                Err(Broken::Closed(rest)) => return Err(Broken::Closed([reply, rest].concat())),
                Err(Broken::TimedOut(rest)) => {
                    return Err(Broken::TimedOut([reply, rest].concat()));
                }
            }
        }
        Ok(reply)
    }

    /// Sends one command and reads its reply.
    pub fn call<T: AsRef<[u8]>>(&mut self, words: impl AsRef<[T]>) -> Result<Vec<u8>, Broken> {
        self.send(command(words));
        self.read_resp()
    }
}

/// The number behind the first byte of a line; none if it is negative.
fn length(line: &[u8]) -> Option<usize> {
    str::from_utf8(line[1..].trim_ascii_end()).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// A client, and the other end of its connection.
    fn pair() -> (Conn, Conn) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (Conn::over(client), Conn::over(listener.accept().unwrap().0))
    }

    #[test]
    fn each_reply_is_read_whole_and_nothing_of_the_next() {
        let replies = [
            "+OK\r\n",
            "-ERR no\r\n",
            ":7\r\n",
            "_\r\n",
            "#t\r\n",
            ",1.5\r\n",
            "(12345678901234567890\r\n",
            "$-1\r\n",
            "*-1\r\n",
            "$0\r\n\r\n",
            "$4\r\n\r\n\r\n\r\n",
            "*0\r\n",
            "*3\r\n$1\r\na\r\n*2\r\n:1\r\n*0\r\n$-1\r\n",
            "%2\r\n+a\r\n*1\r\n:1\r\n+b\r\n~1\r\n:2\r\n",
            "|1\r\n+ttl\r\n:3\r\n$1\r\nx\r\n",
            ">2\r\n+message\r\n=5\r\ntxt:a\r\n",
            "!3\r\nERR\r\n",
        ];
        let (mut client, mut server) = pair();
        server.send(replies.concat());
        for reply in replies {
            assert_eq!(client.read_resp().unwrap(), reply.as_bytes());
        }
    }

    #[test]
    fn a_reply_that_breaks_off_is_told_with_all_that_came() {
        let (mut client, mut server) = pair();
        server.send("*2\r\n:1\r\n$5\r\nab");
        drop(server);
        match client.read_resp() {
            Err(Broken::Closed(bytes)) => assert_eq!(bytes, b"*2\r\n:1\r\n$5\r\nab"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_command_is_an_array_of_bulk_strings() {
        assert_eq!(command(["SET", "a", ""]), b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$0\r\n\r\n");
    }
}
