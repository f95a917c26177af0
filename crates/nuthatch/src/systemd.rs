//! What systemd is told about this process (`sd_notify`), and the sockets that it hands over.
//!
//! The one rule: without the variables of systemd, nothing happens here; a message that cannot be sent
//! is no error, because the clients are served all the same.

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use listenfd::ListenFd;
use rustix::fd::OwnedFd;
use rustix::time::{ClockId, clock_gettime};

use crate::inbox::Inbox;
use crate::takeover::{Given, Place, Standstill};

/// The proxy accepts clients, also after an upgrade: then this is the main process from now on.
pub fn tell_ready(pools: usize, workers: usize) {
    let id = process::id();
    tell(&format!("READY=1\nMAINPID={id}\nSTATUS=Serving {pools} pools with {workers} workers"));
}

/// The proxy drains.
pub fn tell_stopping() {
    tell("STOPPING=1\nSTATUS=Answering the requests in flight");
}

/// The proxy reads its configuration again. [`tell_ready`] tells the end of that.
pub fn tell_reloading() {
    let now = clock_gettime(ClockId::Monotonic);
    let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
    tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=Reading the configuration again"));
}

/// Sends one message.
fn tell(message: &str) {
    let Some(path) = env::var_os("NOTIFY_SOCKET") else { return };
    let address = match path.as_bytes().split_first() {
        Some((b'@', name)) => SocketAddr::from_abstract_name(name),
        Some((b'/', _)) => SocketAddr::from_pathname(&path),
        _ => return,
    };
    let send = |address| {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.send_to_addr(message.as_bytes(), &address)
    };
    if let Err(error) = address.and_then(send) {
        log::warn!(error:%; "failed to notify systemd");
    }
}

/// Tells systemd again and again that all workers live, if it wants to know (`WatchdogSec=`).
/// `is_main` says that this process has become the main process by an upgrade: the variables still name
/// the process before it. Ends when another process has taken over.
pub(crate) fn start_watchdog(
    inboxes: Vec<Arc<Inbox>>,
    is_main: bool,
    standstill: Standstill,
) -> io::Result<()> {
    let number = |name| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let is_ours = is_main || number("WATCHDOG_PID").is_none_or(|id| id == u64::from(process::id()));
    let Some(micros) = number("WATCHDOG_USEC").filter(|micros| *micros > 0 && is_ours) else {
        return Ok(());
    };
    let pause = Duration::from_micros(micros / 4);
    let mut lives = Lives::new(inboxes);
    let watch = move || {
        while !standstill.is_replaced() {
            if lives.look() {
                tell("WATCHDOG=1");
            }
            thread::sleep(pause);
        }
    };
    thread::Builder::new().name("watchdog".into()).spawn(watch)?;
    Ok(())
}

/// Whether the workers live.
#[derive(Debug)]
struct Lives {
    inboxes: Vec<Arc<Inbox>>,
    /// How often each had read its inbox when all were woken last.
    looks: Vec<Option<u64>>,
}

impl Lives {
    fn new(inboxes: Vec<Arc<Inbox>>) -> Self {
        Self { looks: vec![None; inboxes.len()], inboxes }
    }

    /// Whether every worker has read its inbox since the last time that all did; then wakes them again.
    fn look(&mut self) -> bool {
        let lives = |(inbox, before): (&Arc<Inbox>, &Option<u64>)| {
            before.is_none_or(|looks| inbox.has_looked_since(looks))
        };
        let all_live = self.inboxes.iter().zip(&self.looks).all(lives);
        if all_live {
            self.looks = self.inboxes.iter().map(|inbox| Some(inbox.looks())).collect();
            self.inboxes.iter().for_each(|inbox| inbox.ring());
        }
        all_live
    }
}

/// The listening sockets that systemd has handed to this process.
#[derive(Debug, Default)]
pub struct Inherited {
    pub(crate) sockets: Vec<Given>,
}

/// The maximum number of sockets that are inherited.
const INHERITED_MAX: usize = 1024;

impl Inherited {
    /// Takes the sockets that `LISTEN_FDS` counts, if `LISTEN_PID` names this process, and removes these
    /// variables, so that other programs do not take the sockets for theirs. Call this once, before
    /// other threads run.
    ///
    /// # Errors
    /// When one of them is not a listening TCP or unix socket.
    pub fn take() -> io::Result<Self> {
        let number = |name| env::var(name).ok().and_then(|text| text.parse::<usize>().ok());
        let is_ours = number("LISTEN_PID") == usize::try_from(process::id()).ok();
        let count = number("LISTEN_FDS").filter(|_| is_ours).unwrap_or(0);
        if count == 0 {
            return Ok(Self::default());
        }
        let refuse = |text| io::Error::new(io::ErrorKind::InvalidInput, text);
        if count > INHERITED_MAX {
            return Err(refuse(format!("LISTEN_FDS: more than {INHERITED_MAX} sockets")));
        }
        let mut inherited = ListenFd::from_env();
        let mut sockets = Vec::new();
        for number in 0..inherited.len() {
            // A wrong socket stays in its place, and is tried as the next kind.
            let tcp = inherited.take_tcp_listener(number).map(|found| found.map(OwnedFd::from));
            let found =
                tcp.or_else(|_| Ok(inherited.take_unix_listener(number)?.map(OwnedFd::from)));
            let given = found.and_then(|socket| {
                let socket = socket.ok_or(io::ErrorKind::NotFound)?;
                let place = Place::of(&socket)?;
                Given::of_systemd(socket, place)
            });
            sockets.push(given.map_err(|error: io::Error| {
                let name = number + 1;
                refuse(format!("LISTEN_FDS: socket {name} of {count} can't be used: {error}"))
            })?);
        }
        Ok(Self { sockets })
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_does_not_read_its_inbox_does_not_live() {
        let (one, two) = (Arc::new(Inbox::new().unwrap()), Arc::new(Inbox::new().unwrap()));
        let mut lives = Lives::new(vec![Arc::clone(&one), Arc::clone(&two)]);
        assert!(lives.look(), "the first time, nobody was asked");
        assert!(!lives.look());
        one.take();
        assert!(!lives.look(), "the other hangs");
        two.take();
        assert!(lives.look());
        one.take();
        two.close();
        assert!(lives.look(), "the other has ended");
    }
}
