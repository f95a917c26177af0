//! The admin port: metrics and health checks over HTTP.
//!
//! The one rule: no part of it runs on a worker. The admin port has its own thread, reads the
//! workers' counters, and asks a worker only for a sign of life. It is for the pod, the kubelet and
//! Prometheus; it shows no secrets, and the most that it does is to read the configuration again, and to eject
//! servers.

use crate::bind::{self, ListenAddresses};
use crate::config::Listen;
use crate::control::Control;
use crate::generation::{Generation, Published};
use crate::health::Told;
use crate::inbox::Inbox;
use crate::patience::{FOR_THE_DRAINING, Patience};
use crate::proxy::Proxy;
use crate::reload::{Reloader, Reloads};
use crate::takeover::{Kind, Listening};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::fd::OwnedFd;
use serde_json::json;
use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::io;
use std::net;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::Poll;
use std::thread;
use std::time::{Duration, SystemTime};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{self, Runtime};
use tokio::sync::Semaphore;
use tokio::task::{spawn_blocking, yield_now};
use tokio::time::{sleep, timeout};

mod commands;
mod metrics;
mod pages;
mod room;

use commands::Command;
pub(crate) use room::readers_max;
use room::{Reader, Room};

/// The data that the pages show.
#[derive(Debug)]
pub(crate) struct Admin {
    /// The generation that is served.
    published: Published,
    /// Reads the file, to compare it with what is served.
    reloader: Reloader,
    /// Where the wish for a reload goes.
    control: mpsc::Sender<Control>,
    inboxes: Vec<Arc<Inbox>>,
    start: SystemTime,
    /// Set when the proxy begins to drain.
    is_draining: Arc<AtomicBool>,
    /// Long pages that are wanted and not yet made.
    wanted: AtomicUsize,
    /// As many permits as reloads may wait.
    turns: Arc<Semaphore>,
    /// Where it is decided which servers are used.
    health: mpsc::Sender<Told>,
}

/// The paths and their contents.
pub const PATHS: &[(&str, &str)] = &[
    ("/live", "liveness: 200 if every worker's loop runs, else 503"),
    ("/ready", "readiness: 200 while the proxy accepts clients, 503 while it drains"),
    ("/metrics", "all metrics in the text format of Prometheus"),
    ("/config", "the active configuration, without secrets, and what differs in the file"),
    (
        "/reload",
        "POST only: reads the configuration again; ?force=true, from localhost only, ignores max_move",
    ),
    ("/servers", "the servers of each pool, with state and counters"),
    (
        "/servers/NAME/eject?pool=POOL",
        "POST only, from localhost only: ejects a server until it is let back",
    ),
    (
        "/servers/NAME/drain?pool=POOL",
        "POST only, from localhost only: as /eject, once clients have ended transactions and the like",
    ),
    (
        "/servers/NAME/return?pool=POOL",
        "POST only, from localhost only: lets a server return once it answers",
    ),
    ("/slow", "from localhost only: the last slow requests of each pool, see slow_after"),
    ("/route?key=KEY&pool=POOL", "the server that owns a key"),
];

/// Long pages that are wanted and not yet made. They are made one at a time.
const WANTED_MAX: usize = 16;

/// Reloads that readers wait for: one that is under way, and one that reads what changed meanwhile.
const RELOADS_MAX: usize = 2;

/// Maximum bytes of a request's head, and of an answer's buffer besides its text.
const BUFFER_MAX: usize = 16 * 1024;

/// The length of the kernel's queue of new connections.
const BACKLOG: i32 = 1024;

/// How long a reader may take to send its request.
const HEAD_PATIENCE: Duration = Duration::from_secs(5);

/// How long a connection may last.
const CONNECTION_MAX: Duration = Duration::from_secs(30);

/// How long a worker may take to give a sign of life, and how often this is checked.
const LIFE_PATIENCE: Duration = Duration::from_secs(1);
const LIFE_LOOK: Duration = Duration::from_millis(2);

/// Listens. A process that does not take over may have to wait for the address.
///
/// # Errors
/// When the address can't be listened on.
pub(crate) fn open(
    listen: &Listen,
    listening: &Listening,
    patience: &Patience,
) -> io::Result<net::TcpListener> {
    let named = |error: io::Error| {
        let text = format!("the admin port can't listen on {listen}: {error}");
        io::Error::new(error.kind(), text)
    };
    let Listen::Tcp { host, port } = listen else {
        return Err(named(io::Error::from(io::ErrorKind::Unsupported)));
    };
    let addresses = ListenAddresses::of(host, *port).map_err(named)?;
    let open = || listening.tcp(&addresses).map_err(named);
    let listener = patience.open(FOR_THE_DRAINING, open)?;
    rustix::net::listen(&listener, BACKLOG)?;
    listener.set_nonblocking(true)?;
    let at = bind::shown(host, listener.local_addr()?);
    log::info!(at; "admin listens");
    Ok(listener)
}

/// Listens and answers on its own thread until the end of the process, because it reports a drain; or
/// until the other end of `until` is closed, if another process takes over.
///
/// # Errors
/// When the address can't be listened on.
pub(crate) fn start(
    listen: &Listen,
    admin: Admin,
    until: Option<UnixStream>,
    listening: &Listening,
    patience: &Patience,
) -> io::Result<()> {
    let listener = open(listen, listening, patience)?;
    let noted = Arc::new(OwnedFd::from(listener.try_clone()?));
    listening.note(Kind::Admin, &noted);
    let runtime =
        runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build()?;
    until.as_ref().map_or(Ok(()), |until| until.set_nonblocking(true))?;
    let work = move || serve(&runtime, listener, admin, (noted, until));
    thread::Builder::new().name("admin".into()).spawn(work)?;
    Ok(())
}

/// Serves until the end of the process. If another process takes over the port, the other end of
/// `until` is closed: then only the readers that are connected are served.
fn serve(
    runtime: &Runtime,
    listener: net::TcpListener,
    admin: Admin,
    (noted, until): (Arc<OwnedFd>, Option<UnixStream>),
) {
    let (admin, room) = (Arc::new(admin), Arc::new(Room::new()));
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener).expect("it is a listener that blocks not");
        let until =
            until.map(|until| tokio::net::UnixStream::from_std(until).expect("it blocks not"));
        loop {
            // The end first: after it, new readers are for the other process.
            let next = poll_fn(|task| match &until {
                Some(until) if until.poll_read_ready(task).is_ready() => Poll::Ready(None),
                _ => listener.poll_accept(task).map(Some),
            });
            match next.await {
                None => {
                    drop((noted, listener));
                    return pending::<()>().await;
                }
                Some(Ok((stream, peer))) => {
                    let reader = Reader::new();
                    room.enter(&reader).await;
                    let desk = Desk {
                        admin: Arc::clone(&admin),
                        room: Arc::clone(&room),
                        reader: Arc::clone(&reader),
                        is_local: peer.ip().to_canonical().is_loopback(),
                    };
                    reader.set_task(tokio::spawn(talk(stream, desk)).abort_handle());
                    // The reader may already have sent its request, which must be read before the
                    // next reader is accepted.
                    yield_now().await;
                }
                // No file descriptors are left: wait, because clients need them more.
                Some(Err(_)) => sleep(Duration::from_millis(100)).await,
            }
        }
    });
}

/// Answers one request of a reader.
async fn talk(stream: TcpStream, desk: Desk) {
    let desk = Arc::new(desk);
    let service = service_fn(move |request: Request<Incoming>| {
        let desk = Arc::clone(&desk);
        async move { Ok::<_, Infallible>(desk.answer(&request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(BUFFER_MAX)
        // With further requests, a connection could last forever.
        .keep_alive(false)
        // A reader may close its sending direction before it is answered.
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service);
    // If the reader is gone or too slow, the connection is closed.
    let _ = timeout(CONNECTION_MAX, connection).await;
}

/// The data for answering one reader.
struct Desk {
    admin: Arc<Admin>,
    room: Arc<Room>,
    reader: Arc<Reader>,
    /// Whether the reader is in the network of the proxy's machine or pod.
    is_local: bool,
}

impl Desk {
    async fn answer<B>(&self, request: &Request<B>) -> Response<room::Pieces> {
        self.reader.waits();
        let answer = self.admin.answer(request, self.is_local).await;
        answer.map(|text| self.room.answer(&self.reader, text))
    }
}

type Answer = Response<String>;

impl Admin {
    pub(crate) fn new(proxy: &Proxy, reloader: &Reloader, is_draining: Arc<AtomicBool>) -> Self {
        Self {
            published: proxy.published.clone(),
            reloader: reloader.clone(),
            control: proxy.control.clone(),
            inboxes: proxy.inboxes.clone(),
            start: SystemTime::now(),
            is_draining,
            wanted: AtomicUsize::new(0),
            turns: Arc::new(Semaphore::new(RELOADS_MAX)),
            health: proxy.health.sender(),
        }
    }

    /// The pools as they are served at this moment.
    fn generation(&self) -> Arc<Generation> {
        self.published.get()
    }

    fn reloads(&self) -> &Reloads {
        &self.reloader.reloads
    }

    async fn answer<B>(self: &Arc<Self>, request: &Request<B>, is_local: bool) -> Answer {
        let path = request.uri().path();
        let command = Command::of(path, request.uri().query().unwrap_or_default());
        let allowed = if command.is_some() { "POST" } else { "GET, HEAD" };
        let method = request.method();
        if !allowed.split(", ").any(|allowed| method.as_str() == allowed) {
            let error = format!("method not allowed: {path} answers {allowed} only");
            let mut answer = page(StatusCode::METHOD_NOT_ALLOWED, &json!({ "error": error }));
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
            return answer;
        }
        if let Some(command) = command {
            return match command.may_run(request.headers(), is_local) {
                Ok(()) => self.run(command).await,
                Err(why) => page(StatusCode::FORBIDDEN, &json!({ "error": why })),
            };
        }
        match path {
            "/" => page(StatusCode::OK, &pages::index()),
            "/live" => self.live().await,
            "/ready" => self.ready(),
            "/metrics" => self.make(|admin| text(metrics::write(admin))).await,
            "/config" => self.make(|admin| page(StatusCode::OK, &pages::config(admin))).await,
            "/servers" => self.make(|admin| page(StatusCode::OK, &pages::servers(admin))).await,
            "/slow" if !is_local => {
                page(StatusCode::FORBIDDEN, &json!({ "error": commands::NOT_LOCAL }))
            }
            "/slow" => self.make(|admin| page(StatusCode::OK, &pages::slow(admin))).await,
            "/route" => match pages::way(self, request.uri().query().unwrap_or_default()) {
                Ok(found) => page(StatusCode::OK, &found),
                Err(why) => page(StatusCode::BAD_REQUEST, &json!({ "error": why })),
            },
            path => {
                let error = format!("no such path: {path}; / lists all paths");
                page(StatusCode::NOT_FOUND, &json!({ "error": error }))
            }
        }
    }

    /// A page that may be long: it is generated on a separate thread, so that no probe waits for
    /// it.
    async fn make(
        self: &Arc<Self>,
        write: impl FnOnce(&Self) -> Answer + Send + 'static,
    ) -> Answer {
        if self.wanted.fetch_add(1, Ordering::Relaxed) >= WANTED_MAX {
            self.wanted.fetch_sub(1, Ordering::Relaxed);
            let error = "too many concurrent requests for /metrics, /config and /servers: retry in a second";
            return page(StatusCode::SERVICE_UNAVAILABLE, &json!({ "error": error }));
        }
        let admin = Arc::clone(self);
        let made = spawn_blocking(move || {
            let answer = write(&admin);
            admin.wanted.fetch_sub(1, Ordering::Relaxed);
            answer
        });
        made.await.expect("a page that can't be made is a panic already")
    }

    /// Whether the proxy accepts clients. A failed server does not make the proxy unready, because
    /// the application can still serve without the cache.
    fn ready(&self) -> Answer {
        let is_ready = self.is_ready();
        let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        page(status, &json!({ "ready": is_ready }))
    }

    fn is_ready(&self) -> bool {
        !self.is_draining.load(Ordering::Relaxed)
    }

    /// Whether every worker's loop runs: each worker gets a message and must read it.
    async fn live(&self) -> Answer {
        let looks: Vec<u64> = self.inboxes.iter().map(|inbox| inbox.looks()).collect();
        self.inboxes.iter().for_each(|inbox| inbox.ring());
        let has_turned = |worker: usize| self.inboxes[worker].has_looked_since(looks[worker]);
        let all_turn = async {
            while !(0..looks.len()).all(has_turned) {
                sleep(LIFE_LOOK).await;
            }
        };
        let is_live = timeout(LIFE_PATIENCE, all_turn).await.is_ok();
        let hanging: Vec<usize> = (0..looks.len()).filter(|&worker| !has_turned(worker)).collect();
        let status = if is_live { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        page(status, &json!({ "live": is_live, "hanging_workers": hanging }))
    }
}

fn page(status: StatusCode, content: &serde_json::Value) -> Answer {
    let body = format!("{content:#}\n");
    answer(status, "application/json", body)
}

/// The text format of Prometheus.
fn text(body: String) -> Answer {
    answer(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", body)
}

fn answer(status: StatusCode, kind: &'static str, body: String) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Options;
    use crate::config::Source;
    use crate::resolve::Resolver;
    use crate::takeover::Standstill;

    fn admin(inboxes: Vec<Arc<Inbox>>) -> Arc<Admin> {
        let resolver = Resolver::new(crate::resolve::Options::default());
        Arc::new(Admin {
            published: Published::new(Arc::new(Generation::first(Vec::new(), 1, &resolver))),
            reloader: Reloader {
                source: Source::Environment,
                options: Options::default(),
                answers: Arc::default(),
                reloads: Arc::default(),
                standstill: Standstill::default(),
            },
            control: mpsc::channel().0,
            inboxes,
            start: SystemTime::now(),
            is_draining: Arc::new(AtomicBool::new(false)),
            wanted: AtomicUsize::new(0),
            turns: Arc::new(Semaphore::new(RELOADS_MAX)),
            health: mpsc::channel().0,
        })
    }

    fn ask(admin: &Arc<Admin>, path: &str) -> StatusCode {
        let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let request = Request::get(path).body(()).unwrap();
        runtime.block_on(admin.answer(&request, true)).status()
    }

    #[test]
    fn a_worker_that_has_ended_is_not_asked() {
        let ended = Arc::new(Inbox::new().unwrap());
        ended.close();
        assert_eq!(ask(&admin(vec![ended]), "/live"), StatusCode::OK);
    }

    #[test]
    fn a_worker_that_does_not_look_who_rings_is_not_alive() {
        let (busy, hanging) = (Arc::new(Inbox::new().unwrap()), Arc::new(Inbox::new().unwrap()));
        let has_ended = Arc::new(AtomicBool::new(false));
        let worker = {
            let (inbox, has_ended) = (Arc::clone(&busy), Arc::clone(&has_ended));
            thread::spawn(move || {
                while !has_ended.load(Ordering::Relaxed) {
                    inbox.take();
                    thread::sleep(Duration::from_millis(1));
                }
            })
        };
        assert_eq!(ask(&admin(vec![Arc::clone(&busy)]), "/live"), StatusCode::OK);
        let both = admin(vec![busy, hanging]);
        assert_eq!(ask(&both, "/live"), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(ask(&both, "/ready"), StatusCode::OK);
        has_ended.store(true, Ordering::Relaxed);
        worker.join().unwrap();
    }
}
