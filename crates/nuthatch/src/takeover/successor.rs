//! The next process: takes over from the running one.
//!
//! The one rule: all that can fail happens before `go`; an error after it is logged, and this process
//! serves.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::channel::{ANSWER_MAX, Channel, PROTOCOL};
use super::predecessor::pool_line;
use super::traveller::Traveller;
use super::{Gate, Given, Kind, Listening, Place};
use crate::generation::Published;
use crate::inbox::{Inbox, Message};
use crate::own_files::OwnFiles;

/// The maximum number of listening sockets of one process.
const SOCKETS_MAX: usize = 1 << 16;

/// A process that is about to take over.
#[derive(Debug)]
pub(crate) struct Successor {
    channel: Channel,
    /// The process that is taken over.
    pub(crate) predecessor: u32,
    /// The unix sockets whose files this process is to remove at its end.
    owned: Vec<PathBuf>,
    listeners: usize,
}

impl Successor {
    /// Connects to the running process and receives its listening sockets.
    ///
    /// # Errors
    /// When there is no such process, or it refuses.
    pub(crate) fn connect(control: &Path) -> io::Result<(Self, Vec<Given>)> {
        Self::connect_to(control).map_err(|error| {
            let control = control.display();
            let text = match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => format!(
                    "no process to take over from: nobody listens on the control socket {control} \
                     ({error}); to start a first process, leave out the command upgrade"
                ),
                _ => format!("can't take over from the process at {control}: {error}"),
            };
            io::Error::new(error.kind(), text)
        })
    }

    fn connect_to(control: &Path) -> io::Result<(Self, Vec<Given>)> {
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        sockopt::set_socket_timeout(&socket, Timeout::Send, Some(ANSWER_MAX))?;
        connect(&socket, &SocketAddrUnix::new(control)?).map_err(|error| match error {
            Errno::PROTOTYPE => io::Error::other("it is not the control socket of a nuthatch"),
            error => error.into(),
        })?;
        let mut channel = Channel::new(socket)?;
        let version = env!("CARGO_PKG_VERSION");
        channel.tell(&format!("nuthatch upgrade {PROTOCOL} {version}"))?;
        let answer = channel.hear(ANSWER_MAX)?;
        let (predecessor, listeners) = parse_answer(&answer)?;
        let mut given = Vec::new();
        for _ in 0..listeners {
            let (label, socket) = channel.receive(Some(ANSWER_MAX))?;
            let label = String::from_utf8_lossy(label);
            given.push(parse_given(&label, socket).ok_or_else(unclear)??);
        }
        let owned = given.iter().filter_map(|it| match &it.place {
            Place::Unix(path) if it.is_owned => Some(path.clone()),
            _ => None,
        });
        let mut owned: Vec<_> = owned.collect();
        owned.dedup();
        Ok((Self { channel, predecessor, owned, listeners }, given))
    }

    /// Takes over. From here on, this process owns the files of the running one.
    ///
    /// # Errors
    /// When the workers don't arrive at the gate, or the running process is gone: then nothing has changed.
    pub(crate) fn go(
        mut self,
        (published, workers): (&Published, &[Arc<Inbox>]),
        files: &OwnFiles,
        listening: &Listening,
        gate: &Gate,
    ) -> io::Result<()> {
        gate.await_arrivals(workers.len())?;
        for shared in &published.get().pools {
            self.channel.tell(&pool_line(shared))?;
        }
        self.channel.tell("go")?;
        // The running process may have received that: nothing may fail any more.
        match self.channel.hear(ANSWER_MAX) {
            Ok(text) if text == "yours" => {}
            Ok(text) => {
                log::error!(answer = text; "unexpected answer from the process that is taken over");
            }
            Err(error) => log::error!(error:%; "the process that is taken over does not answer"),
        }
        self.owned.iter().for_each(|path| files.adopt(path));
        for place in listening.untaken() {
            log::info!(at:% = place; "closed a listener that the configuration does not have");
            // The file of one that is not owned is systemd's, or was gone, and another is at its path now.
            if let Place::Unix(path) = &place
                && self.owned.contains(path)
            {
                files.remove_socket(path);
            }
        }
        listening.close_untaken();
        gate.decide(true);
        let (predecessor, listeners) = (self.predecessor, self.listeners);
        log::info!(predecessor, listeners; "took over from a running process");
        let workers = workers.to_vec();
        let receive = move || receive(&mut self.channel, &workers);
        if let Err(error) = thread::Builder::new().name("takeover".into()).spawn(receive) {
            log::error!(error:%; "can't receive the clients of the process that is taken over");
        }
        Ok(())
    }
}

/// Gives the clients that arrive to the workers in turn, until the other process has no more.
fn receive(channel: &mut Channel, workers: &[Arc<Inbox>]) {
    let mut clients = 0_u64;
    let mut inboxes = workers.iter().cycle();
    let end = loop {
        let traveller = channel
            .receive(None)
            .and_then(|(message, socket)| Traveller::from_message(message, socket));
        match traveller {
            Ok(traveller) => {
                clients += 1;
                let Some(inbox) = inboxes.next() else { return };
                inbox.send(Message::Arrive(Box::new(traveller)));
            }
            Err(end) => break end,
        }
    };
    if end.kind() == io::ErrorKind::UnexpectedEof {
        log::info!(clients; "has all clients of the process that was taken over");
    } else {
        log::error!(error:% = end, clients; "lost contact with the process that was taken over");
    }
}

fn unclear() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "unexpected answer from the running process")
}

/// The running process, and the number of its listening sockets.
fn parse_answer(answer: &str) -> io::Result<(u32, usize)> {
    if let Some(why) = answer.strip_prefix("refused ") {
        return Err(io::Error::other(why.to_owned()));
    }
    let mut words = answer.strip_prefix("nuthatch ").ok_or_else(unclear)?.split(' ');
    if words.next() != Some(PROTOCOL) {
        return Err(unclear());
    }
    let id = words.next().and_then(|word| word.parse().ok()).ok_or_else(unclear)?;
    let count = words.next().and_then(|word| word.parse().ok()).ok_or_else(unclear)?;
    if count > SOCKETS_MAX { Err(unclear()) } else { Ok((id, count)) }
}

/// A listening socket and what was said about it.
fn parse_given(label: &str, socket: Option<OwnedFd>) -> Option<io::Result<Given>> {
    let (kind, rest) = label.split_once(' ')?;
    Kind::from_name(kind)?;
    let socket = socket?;
    let (place, is_owned) = match rest.split_once(' ') {
        None if rest == "tcp" => match Place::of(&socket) {
            Ok(place) => (place, false),
            Err(error) => return Some(Err(error)),
        },
        Some(("own", path)) => (Place::unix(Path::new(path)), true),
        Some(("unix", path)) => (Place::unix(Path::new(path)), false),
        _ => return None,
    };
    Some(Given::new(socket, place, is_owned))
}
