//! One HTTP/1.1 connection to the API server, over TLS.
//!
//! The one rule: every wait and every size has a bound.

use super::account::Account;
use super::api::{self, End};
use super::host;
use crate::config::Secret;
use crate::resolve::trouble::Trouble;
use hyper::Request;
use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::HeaderValue;
use hyper_util::rt::TokioIo;
use rustix::net::sockopt;
use std::error::Error;
use std::future::{Future, poll_fn};
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// A connection.
#[derive(Debug)]
pub(super) struct Client {
    sender: SendRequest<String>,
    authority: String,
    token: Secret,
    /// The end of the peer, for texts.
    peer: String,
}

impl Client {
    /// Connects. A name is asked for where the file says.
    pub(super) async fn connect(account: &Account, resolv_conf: &Path) -> Result<Self, End> {
        let (host, port) = (&*account.host, account.port);
        let is_six = host.contains(':');
        let authority = if is_six { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let peer = format!("API server {authority}");
        let connector = connector(&account.trusted)?;
        let name = ServerName::try_from(host.to_owned()).map_err(|error| {
            End::new(Trouble::NoAccount, format!("KUBERNETES_SERVICE_HOST is no host: {error}"))
        })?;
        let sender = in_time(&peer, "connect", CONNECT_MAX, async {
            let unreachable = |error: io::Error| unreachable(&peer, &error);
            let addresses = host::addresses((host, port), resolv_conf, &peer).await?;
            let socket = TcpStream::connect(&*addresses).await.map_err(unreachable)?;
            socket.set_nodelay(true).map_err(unreachable)?;
            keep_alive(&socket).map_err(|error| unreachable(error.into()))?;
            let stream =
                connector.connect(name, socket).await.map_err(|error| tls(&peer, &error))?;
            let shaken = handshake(TokioIo::new(stream)).await;
            let (sender, conn) = shaken.map_err(|error| lost(&peer, &error))?;
            // It ends with the sender and the body of the last answer.
            tokio::spawn(conn);
            Ok(sender)
        });
        Ok(Self { sender: sender.await?, authority, token: account.token.clone(), peer })
    }

    /// Asks, and waits for the head of the answer until `by`. The status must be 200.
    pub(super) async fn get(
        &mut self,
        path: &str,
        (verb, namespace): (&str, &str),
        by: Instant,
    ) -> Result<Answer, End> {
        let not_a_token =
            |_| End::new(Trouble::NoAccount, "the token of the service account is no token");
        let bearer = HeaderValue::from_bytes(&[b"Bearer ", self.token.expose()].concat());
        let mut bearer = bearer.map_err(not_a_token)?;
        bearer.set_sensitive(true);
        let request = Request::get(path)
            .header("host", &self.authority)
            .header("authorization", bearer)
            .header("accept", "application/json")
            .header("user-agent", concat!("nuthatch/", env!("CARGO_PKG_VERSION")))
            .body(String::new());
        let request = request.map_err(|error| invalid_request(&error))?;
        let peer = &self.peer;
        let answer = timeout_at(by, async {
            self.sender.ready().await.map_err(|error| lost(peer, &error))?;
            self.sender.send_request(request).await.map_err(|error| lost(peer, &error))
        });
        let answer = answer.await.map_err(|_| late(peer, verb))??;
        match answer.status().as_u16() {
            200 => Ok(Answer { body: answer.into_body(), peer: peer.clone(), by }),
            status => Err(api::refusal(status, verb, namespace)),
        }
    }
}

/// The body of an answer, while it comes.
#[derive(Debug)]
pub(super) struct Answer {
    body: Incoming,
    peer: String,
    by: Instant,
}

impl Answer {
    /// The next bytes; none at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, End> {
        loop {
            let frame = poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx));
            let frame = timeout_at(self.by, frame).await.map_err(|_| late(&self.peer, "read"))?;
            match frame {
                None => return Ok(None),
                Some(Err(error)) => return Err(lost(&self.peer, &error)),
                // Trailers say nothing.
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }

    /// The whole body.
    pub(super) async fn whole(mut self) -> Result<Vec<u8>, End> {
        let mut all = Vec::new();
        while let Some(bytes) = self.next().await? {
            check_room(all.len() + bytes.len())?;
            all.extend_from_slice(&bytes);
        }
        Ok(all)
    }
}

/// Refuses an answer, or an event, of so many bytes.
pub(super) fn check_room(bytes: usize) -> Result<(), End> {
    if bytes <= ANSWER_MAX {
        return Ok(());
    }
    let text =
        format!("an answer of the API server has more than {ANSWER_MAX} bytes, which is the limit");
    Err(End::new(Trouble::TooLarge, text))
}

async fn in_time<T>(
    peer: &str,
    what: &str,
    time: Duration,
    work: impl Future<Output = Result<T, End>>,
) -> Result<T, End> {
    timeout(time, work).await.map_err(|_| late(peer, what))?
}

/// Trusts the certificates of the cluster and no others.
fn connector(trusted: &[u8]) -> Result<TlsConnector, End> {
    let untrusted = |error: &dyn ToString| {
        End::new(
            Trouble::Untrusted,
            format!("ca.crt of the service account: {}", error.to_string()),
        )
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(trusted) {
        let certificate = certificate.map_err(|error| untrusted(&error))?;
        roots.add(certificate).map_err(|error| untrusted(&error))?;
    }
    if roots.is_empty() {
        return Err(untrusted(&"there is no certificate in it"));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| untrusted(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Lets the kernel find out that the other machine is gone, as nothing may come for minutes.
fn keep_alive(socket: &TcpStream) -> rustix::io::Result<()> {
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, Duration::from_secs(15))?;
    sockopt::set_tcp_keepintvl(socket, Duration::from_secs(5))?;
    sockopt::set_tcp_keepcnt(socket, 3)
}

fn late(peer: &str, what: &str) -> End {
    End::new(Trouble::TimedOut, format!("{peer} did not answer in time ({what})"))
}

/// What is put into a request is checked before.
fn invalid_request(error: &hyper::http::Error) -> End {
    End::new(Trouble::NoAccount, format!("a request to the API server can't be made: {error}"))
}

fn unreachable(peer: &str, error: &io::Error) -> End {
    End::new(Trouble::Unreachable, format!("{peer}: {error}"))
}

/// An error of TLS is in the error of the socket.
fn tls(peer: &str, error: &io::Error) -> End {
    match error.kind() {
        io::ErrorKind::InvalidData => End::new(
            Trouble::Untrusted,
            format!("{peer}: {error}; it must be trusted by ca.crt of the service account"),
        ),
        _ => unreachable(peer, error),
    }
}

fn lost(peer: &str, error: &hyper::Error) -> End {
    if error.is_parse() || error.is_parse_status() {
        return End::new(Trouble::Invalid, format!("{peer} does not speak HTTP: {error}"));
    }
    let cause = error.source().map_or_else(String::new, |cause| format!(": {cause}"));
    End::new(Trouble::Unreachable, format!("{peer}: {error}{cause}"))
}

/// The time for a connection with its handshakes.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// The largest page of a list, and the largest event: an object has at most 1.5 MB, and a slice of 100
/// endpoints about 40 kB.
const ANSWER_MAX: usize = 16 << 20;
