//! A client on its way from one process to the next, and the message that it is.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, mpsc};

use nuthatch_core::mux::Passing;
use nuthatch_core::redis::Said;
use rustix::fd::OwnedFd;

/// A client without a process.
#[derive(Debug)]
pub(crate) struct Traveller {
    /// The id of its pool in the next process.
    pub(crate) pool: u64,
    pub(crate) socket: OwnedFd,
    pub(crate) takes: Passing,
}

/// Where the workers of a process that was taken over send their clients.
#[derive(Debug, Clone)]
pub(crate) struct Departures {
    travellers: mpsc::Sender<Traveller>,
    /// The pools that the next process has: their ids here, and there.
    pools: Arc<HashMap<u64, u64>>,
}

impl Departures {
    pub(super) fn new(pools: HashMap<u64, u64>) -> (Self, mpsc::Receiver<Traveller>) {
        let (travellers, leaving) = mpsc::channel();
        (Self { travellers, pools: pools.into() }, leaving)
    }

    /// Whether the next process has the pool with this id.
    pub(crate) fn has(&self, pool: u64) -> bool {
        self.pools.contains_key(&pool)
    }

    /// Sends a client of `pool` to the next process.
    pub(crate) fn send(&self, pool: u64, socket: OwnedFd, takes: Passing) {
        let Some(&pool) = self.pools.get(&pool) else { return };
        // If nobody receives it, the next process is gone, and the client is closed.
        let _ = self.travellers.send(Traveller { pool, socket, takes });
    }
}

impl Traveller {
    /// The message, without the socket: the id of the pool; what a Redis client has said, or nothing;
    /// what the client has sent.
    pub(super) fn to_message(&self) -> Vec<u8> {
        let mut message = self.pool.to_le_bytes().to_vec();
        match &self.takes.said {
            None => message.push(0),
            Some(said) => {
                message.push(1);
                message.extend([u8::from(said.is_resp3), u8::from(said.is_authenticated)]);
                for text in [&said.name, &said.library, &said.library_version] {
                    let length = u16::try_from(text.len()).unwrap_or_default();
                    message.extend(length.to_le_bytes());
                    message.extend(&text[..length.into()]);
                }
            }
        }
        message.extend(&self.takes.input);
        message
    }

    /// The client of a message.
    pub(super) fn from_message(message: &[u8], socket: Option<OwnedFd>) -> io::Result<Self> {
        let wrong = || io::Error::new(io::ErrorKind::InvalidData, "invalid message about a client");
        let mut rest = message;
        let pool = u64::from_le_bytes(*take(&mut rest).ok_or_else(wrong)?);
        let [is_redis] = *take(&mut rest).ok_or_else(wrong)?;
        let said = if is_redis == 0 { None } else { Some(take_said(&mut rest).ok_or_else(wrong)?) };
        let socket = socket.ok_or_else(wrong)?;
        Ok(Self { pool, socket, takes: Passing { input: rest.to_vec(), said } })
    }
}

fn take_said(rest: &mut &[u8]) -> Option<Said> {
    let [is_resp3, is_authenticated] = take(rest)?.map(|byte| byte != 0);
    let mut text = || {
        let length = u16::from_le_bytes(*take(rest)?);
        rest.split_off(..length.into()).map(<[u8]>::to_vec)
    };
    let (name, library, library_version) = (text()?, text()?, text()?);
    Some(Said { is_resp3, is_authenticated, name, library, library_version })
}

fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (first, others) = rest.split_first_chunk()?;
    *rest = others;
    Some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket() -> OwnedFd {
        std::os::unix::net::UnixStream::pair().unwrap().0.into()
    }

    #[test]
    fn a_client_arrives_with_what_it_took_along() {
        let said = Said {
            is_resp3: true,
            is_authenticated: false,
            name: b"me".to_vec(),
            library: Vec::new(),
            library_version: vec![b'1'; 512],
        };
        for takes in [
            Passing::default(),
            Passing { input: b"get k".to_vec(), said: None },
            Passing { input: b"*2\r\n".to_vec(), said: Some(said) },
        ] {
            let sent = Traveller { pool: 70_000, socket: socket(), takes };
            let message = sent.to_message();
            let came = Traveller::from_message(&message, Some(socket())).unwrap();
            assert_eq!((came.pool, came.takes), (70_000, sent.takes));
            assert!(Traveller::from_message(&message, None).is_err(), "no socket");
        }
    }

    #[test]
    fn a_cut_message_is_refused() {
        let takes = Passing { input: Vec::new(), said: Some(Said::default()) };
        let message = Traveller { pool: 0, socket: socket(), takes }.to_message();
        for len in 0..message.len() {
            assert!(Traveller::from_message(&message[..len], Some(socket())).is_err(), "{len}");
        }
    }
}
