//! `nuthatch ping`: asks servers, proxies and admin ports for a sign of life.
//!
//! The one rule: it ends in time and takes no more than it needs, whatever the other side sends or
//! does not send. Each URL has a thread of its own, because the look-up of a name can't be
//! interrupted; all have the same time.

use crate::args::{Ping, Url, What};
use crate::config::Secret;
use crate::resolve::{Resolver, literal};
use nuthatch_core::redis::write_command;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// A line for each URL: what answered, or why none did.
pub type Told = Result<String, String>;

/// Asks all URLs at once; the answers are in their order.
///
/// # Errors
/// When the password file can't be read.
pub fn run(question: &Ping) -> Result<Vec<Told>, String> {
    let password = question.password_file.as_deref().map(Secret::of_file).transpose();
    let password = password.map_err(|why| format!("option --password-file {why}"))?;
    let (resolver, deadline) = (Resolver::new(question.dns.clone()), now() + question.timeout);
    let with = With { password: password.as_ref(), resolver: &resolver };
    let told = thread::scope(|scope| {
        let start = |url| {
            let thread = thread::Builder::new().name("ping".into());
            (url, thread.spawn_scoped(scope, move || ask(url, with, deadline)))
        };
        // All are started before the first is waited for.
        let started: Vec<_> = question.urls.iter().map(start).collect();
        let told = started.into_iter().map(|(url, started)| {
            let told = match started {
                Ok(thread) => thread.join().unwrap_or_else(|_| Err("its thread has failed".into())),
                Err(error) => Err(format!("can't start a thread: {error}; raise the limit")),
            };
            told.map(|answer| format!("{url}: {answer}")).map_err(|why| format!("{url}: {why}"))
        });
        told.collect()
    });
    Ok(told)
}

/// What is needed besides the URL.
#[derive(Clone, Copy)]
struct With<'w> {
    password: Option<&'w Secret>,
    resolver: &'w Resolver,
}

/// Asks at all addresses, one after the other, until one answers as it should.
fn ask(url: &Url, with: With<'_>, deadline: Instant) -> Told {
    let places = places(url, with.resolver, deadline);
    let mut wrong = Vec::new();
    for (nth, &place) in places.iter().enumerate() {
        // Each has its share of the time that is left.
        let share = deadline.saturating_duration_since(now()) / number(places.len() - nth);
        match ask_at(place, url, with.password, now() + share) {
            Ok(answer) => return Ok(format!("{answer} from {place}")),
            Err(why) => wrong.push(format!("{place}: {why}")),
        }
    }
    match wrong.is_empty() {
        true => Err("no address is known for the host; check its name and the name server".into()),
        false => Err(wrong.join("; ")),
    }
}

/// The addresses, from the hosts file and from DNS, as for the servers of a pool: the resolver of the
/// system can't be used in a program that is one static file.
fn places(url: &Url, resolver: &Resolver, deadline: Instant) -> Vec<SocketAddr> {
    let mut places = Vec::new();
    for host in url.hosts() {
        match literal(host, url.port()) {
            Some(place) => places.push(reachable(place)),
            None => {
                let left = deadline.saturating_duration_since(now());
                let found = resolver.wait_for(host, left).into_iter();
                places.extend(found.map(|ip| SocketAddr::new(ip, url.port())));
            }
        }
    }
    places
}

/// Where all addresses are listened on, this machine answers.
fn reachable(place: SocketAddr) -> SocketAddr {
    match place.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, place.port()).into(),
        IpAddr::V6(ip) if ip.is_unspecified() => (Ipv6Addr::LOCALHOST, place.port()).into(),
        _ => place,
    }
}

fn ask_at(
    place: SocketAddr,
    url: &Url,
    password: Option<&Secret>,
    deadline: Instant,
) -> Result<String, String> {
    let patience = left(deadline).map_err(|error| failure(&error))?;
    let stream = TcpStream::connect_timeout(&place, patience).map_err(|error| failure(&error))?;
    let mut line = Line { stream, deadline, read: Vec::new() };
    match url.what() {
        What::Memcached => memcached(&mut line),
        What::Redis { user, password: own } => {
            redis(&mut line, user.as_deref(), own.as_ref().or(password))
        }
        What::Http { path } => http(&mut line, path, &url.authority()),
    }
}

fn memcached(line: &mut Line) -> Result<String, String> {
    let answer = line.ask(b"version\r\n")?;
    match answer.split(' ').next() {
        Some("VERSION") => Ok(answer),
        // A proxy asks one of its servers.
        Some("SERVER_ERROR") => Err(format!("{answer}; if it is a proxy, look at its servers")),
        _ => Err(format!(
            "answered \"{answer}\", which is not the answer of a memcached; {CHECK_PORT}"
        )),
    }
}

fn redis(
    line: &mut Line,
    user: Option<&[u8]>,
    password: Option<&Secret>,
) -> Result<String, String> {
    if let Some(password) = password {
        let words = [Some(&b"AUTH"[..]), user, Some(password.expose())];
        let words: Vec<&[u8]> = words.into_iter().flatten().collect();
        let answer = line.ask(&command(&words))?;
        if answer != "+OK" {
            return Err(format!("refused the login: {}; {CHECK_PASSWORD}", shown(&answer)));
        }
    }
    let answer = line.ask(&command(&[b"PING"]))?;
    match &*answer {
        "+PONG" => Ok("PONG".into()),
        _ if answer.starts_with("-NOAUTH") => {
            Err(format!("{}; give the password with --password-file", shown(&answer)))
        }
        _ if answer.starts_with('-') => {
            Err(format!("{}; look at the log of the server", shown(&answer)))
        }
        _ => {
            Err(format!("answered \"{answer}\", which is not the answer of a Redis; {CHECK_PORT}"))
        }
    }
}

/// An error of Redis without its sign.
fn shown(answer: &str) -> &str {
    answer.strip_prefix('-').unwrap_or(answer)
}

fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_command(words, &mut bytes);
    bytes
}

fn http(line: &mut Line, path: &str, authority: &str) -> Result<String, String> {
    let version = env!("CARGO_PKG_VERSION");
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: nuthatch/{version}\r\n\
         Accept: */*\r\nConnection: close\r\n\r\n"
    );
    let answer = line.ask(request.as_bytes())?;
    let status = answer.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1));
    match status {
        Some("200") => Ok(answer),
        Some("503") => Err(format!("{answer}; it is not ready, or it drains")),
        Some(_) => Err(format!("{answer}; check the path")),
        None => Err(format!("answered \"{answer}\", which is not HTTP; {CHECK_PORT}")),
    }
}

/// A connection that is asked for single lines.
struct Line {
    stream: TcpStream,
    deadline: Instant,
    read: Vec<u8>,
}

impl Line {
    /// Sends a request and reads the first line of the answer, without its end.
    fn ask(&mut self, request: &[u8]) -> Result<String, String> {
        self.send(request).and_then(|()| self.next()).map_err(|error| failure(&error))
    }

    fn send(&mut self, request: &[u8]) -> io::Result<()> {
        self.stream.set_write_timeout(Some(left(self.deadline)?))?;
        self.stream.write_all(request)
    }

    fn next(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().into());
            }
            if self.read.len() >= LINE_MAX {
                return Err(io::ErrorKind::InvalidData.into());
            }
            self.stream.set_read_timeout(Some(left(self.deadline)?))?;
            let mut bytes = [0; LINE_MAX];
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.read.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// What an error means, and what to do.
fn failure(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            format!("nothing listens there; start it, or {CHECK_PORT}")
        }
        // With a timeout of its socket, a read fails as if the socket did not block.
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
            "no answer in time; see whether it hangs, and whether a firewall is in between".into()
        }
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe => {
            format!("closed the connection without an answer; look at its log, or {CHECK_PORT}")
        }
        io::ErrorKind::InvalidData => {
            format!("sent {LINE_MAX} bytes without a line end; {CHECK_PORT}")
        }
        _ => format!("{error}; check the address and the network"),
    }
}

/// The time until the deadline.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[expect(clippy::disallowed_methods, reason = "not a worker: the time of a command")]
fn now() -> Instant {
    Instant::now()
}

/// Maximum bytes of a line: the answers are shorter.
const LINE_MAX: usize = 1024;

const CHECK_PORT: &str = "check the port and the scheme";
const CHECK_PASSWORD: &str = "check the user and the password";
