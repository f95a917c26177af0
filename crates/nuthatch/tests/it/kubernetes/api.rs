//! An API server that has nothing but EndpointSlices.
//!
//! The rule: it speaks list, watch, continue tokens, bookmarks and 410 as "Kubernetes API Concepts"
//! (kubernetes.io/docs/reference/using-api/api-concepts) has them, over TLS, and misbehaves only as
//! the test tells it to.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

/// How it answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Mood {
    /// As Kubernetes.
    #[default]
    Right,
    /// It takes connections and says nothing, not even TLS.
    Silent,
    /// It takes requests and does not answer them.
    Hanging,
    /// It answers each request of this verb with this status.
    Status(&'static str, u16),
    /// It answers each list with these bytes.
    Body(Vec<u8>),
    /// It ends each watch with these bytes, and without the end of the answer.
    Tail(Vec<u8>),
    /// It takes watches and tells nothing in them.
    Mute,
}

/// What the server has and has seen.
#[derive(Debug, Default)]
struct State {
    mood: Mood,
    token: String,
    version: u64,
    /// Changes before this version are forgotten.
    oldest: u64,
    slices: BTreeMap<String, Value>,
    /// Changes by version: the type and the object.
    events: Vec<(u64, &'static str, Value)>,
    /// Watches that began before are cut off.
    cut: u64,
    /// The number of the next watch.
    watches: u64,
    /// Verbs and paths, in order.
    requests: Vec<(&'static str, String)>,
}

/// A running server; its threads end with the test program.
#[derive(Debug)]
pub(crate) struct ApiServer {
    pub(crate) address: SocketAddr,
    shared: Arc<(Mutex<State>, Condvar)>,
}

/// A connection with TLS.
type Stream = StreamOwned<ServerConnection, TcpStream>;

impl ApiServer {
    /// Starts one at an address of this machine that accepts this token.
    pub(crate) fn start(ip: IpAddr, token: &str) -> Self {
        let listener = TcpListener::bind((ip, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let state = State { token: token.into(), version: 100, ..State::default() };
        let shared = Arc::new((Mutex::new(state), Condvar::new()));
        let (config, for_all) = (tls(), Arc::clone(&shared));
        thread::spawn(move || {
            for socket in listener.incoming() {
                let (config, shared) = (Arc::clone(&config), Arc::clone(&for_all));
                // A client that closes ends its connection, and nothing else.
                thread::spawn(move || socket.and_then(|socket| serve(socket, config, &shared)));
            }
        });
        Self { address, shared }
    }

    /// Adds a slice, or replaces it.
    pub(crate) fn put(&self, mut slice: Value) {
        let name = slice["metadata"]["name"].as_str().unwrap().to_owned();
        let mut state = self.state();
        state.version += 1;
        let version = state.version;
        slice["metadata"]["resourceVersion"] = json!(version.to_string());
        let before = state.slices.insert(name, slice.clone());
        let kind = if before.is_some() { "MODIFIED" } else { "ADDED" };
        state.events.push((version, kind, slice));
        self.shared.1.notify_all();
    }

    pub(crate) fn remove(&self, name: &str) {
        let mut state = self.state();
        state.version += 1;
        let version = state.version;
        let mut slice = state.slices.remove(name).unwrap();
        slice["metadata"]["resourceVersion"] = json!(version.to_string());
        state.events.push((version, "DELETED", slice));
        self.shared.1.notify_all();
    }

    /// Tells the watches the version, without a change.
    pub(crate) fn bookmark(&self) {
        let mut state = self.state();
        state.version += 1;
        let version = state.version;
        let metadata = json!({"resourceVersion": version.to_string(), "creationTimestamp": null});
        let object = json!({"kind": "EndpointSlice", "metadata": metadata, "endpoints": null});
        state.events.push((version, "BOOKMARK", object));
        self.shared.1.notify_all();
    }

    /// Changes how it answers from now on, and cuts all watches off.
    pub(crate) fn set_mood(&self, mood: Mood) {
        self.state().mood = mood;
        self.cut();
    }

    /// Cuts all watches off in the middle.
    pub(crate) fn cut(&self) {
        let mut state = self.state();
        state.cut = state.watches;
        self.shared.1.notify_all();
    }

    /// Forgets all changes, as etcd does after minutes, and what was before the next one.
    pub(crate) fn compact(&self) {
        let mut state = self.state();
        state.version += 1;
        state.oldest = state.version;
        state.events.clear();
    }

    pub(crate) fn accept_token(&self, token: &str) {
        self.state().token = token.into();
    }

    /// How many requests of a verb came.
    pub(crate) fn count(&self, verb: &str) -> usize {
        self.state().requests.iter().filter(|(each, _)| *each == verb).count()
    }

    /// The path of the last request of a verb.
    pub(crate) fn last(&self, verb: &str) -> String {
        let state = self.state();
        state.requests.iter().rfind(|(each, _)| *each == verb).unwrap().1.clone()
    }

    /// Waits until more requests of a verb have come than `before`.
    pub(crate) fn wait_for_more(&self, verb: &str, before: usize) {
        let start = Instant::now();
        while self.count(verb) <= before {
            assert!(start.elapsed() < Duration::from_secs(10), "no further {verb}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.0.lock().unwrap()
    }
}

fn tls() -> Arc<ServerConfig> {
    let file =
        |name| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/kubernetes").join(name);
    let chain = CertificateDer::pem_file_iter(file("server.crt")).unwrap();
    let key = PrivateKeyDer::from_pem_file(file("server.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.map(Result::unwrap).collect(), key);
    Arc::new(config.unwrap())
}

fn serve(
    socket: TcpStream,
    config: Arc<ServerConfig>,
    (state, changed): &(Mutex<State>, Condvar),
) -> io::Result<()> {
    if state.lock().unwrap().mood == Mood::Silent {
        return sleep_until_closed(socket);
    }
    socket.set_nodelay(true)?;
    let connection = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut stream = BufReader::new(StreamOwned::new(connection, socket));
    loop {
        let Some((path, token)) = request(&mut stream)? else { return Ok(()) };
        let verb = if path.contains("watch=1") { "watch" } else { "list" };
        let mood = {
            let mut state = state.lock().unwrap();
            state.requests.push((verb, path.clone()));
            if token == format!("Bearer {}", state.token) {
                state.mood.clone()
            } else {
                Mood::Status(verb, 401)
            }
        };
        let out = stream.get_mut();
        match mood {
            Mood::Hanging => return sleep_until_closed(&mut stream),
            Mood::Status(of, status) if of == verb => reply(out, status, b"{\"kind\":\"Status\"}")?,
            Mood::Body(body) if verb == "list" => reply(out, 200, &body)?,
            _ if verb == "list" => {
                let page = page(&state.lock().unwrap(), &path);
                reply(out, 200, page.to_string().as_bytes())?;
            }
            _ => return watch(out, &path, state, changed),
        }
    }
}

fn sleep_until_closed(mut stream: impl Read) -> io::Result<()> {
    while stream.read(&mut [0; 512])? > 0 {}
    Ok(())
}

/// The target and the authorization of a request; none if there is no further one.
fn request(stream: &mut impl BufRead) -> io::Result<Option<(String, String)>> {
    let (mut line, mut token) = (String::new(), String::new());
    if stream.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    assert!(line.starts_with("GET /") && line.ends_with(" HTTP/1.1\r\n"), "{line:?}");
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("authorization") => {
                token = value.into();
            }
            Some(_) => {}
            None => return Ok(Some((path, token))),
        }
    }
}

/// A word of the query.
fn query<'p>(path: &'p str, name: &str) -> Option<&'p str> {
    let (_, query) = path.split_once('?')?;
    query.split('&').find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

fn reply(out: &mut Stream, status: u16, body: &[u8]) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    out.write_all(head.as_bytes())?;
    out.write_all(body)?;
    out.flush()
}

/// Up to `limit` slices from the one with the number that the token says.
fn page(state: &State, path: &str) -> Value {
    let limit: usize = query(path, "limit").map_or(usize::MAX, |limit| limit.parse().unwrap());
    let from: usize = query(path, "continue").map_or(0, |from| from.parse().unwrap());
    let items: Vec<&Value> = state.slices.values().skip(from).take(limit).collect();
    let left = state.slices.len().saturating_sub(from + items.len());
    let mut metadata = json!({"resourceVersion": state.version.to_string()});
    if left > 0 {
        metadata["continue"] = json!((from + items.len()).to_string());
    }
    json!({"kind": "EndpointSliceList", "apiVersion": "discovery.k8s.io/v1", "metadata": metadata, "items": items})
}

fn watch(out: &mut Stream, path: &str, state: &Mutex<State>, changed: &Condvar) -> io::Result<()> {
    let mut version: u64 = query(path, "resourceVersion").unwrap().parse().unwrap();
    let seconds: u64 = query(path, "timeoutSeconds").unwrap().parse().unwrap();
    let until = Instant::now() + Duration::from_secs(seconds);
    out.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
    out.flush()?;
    let mut state = state.lock().unwrap();
    let number = state.watches;
    state.watches += 1;
    loop {
        if let Mood::Tail(bytes) = &state.mood {
            return chunk(out, bytes);
        }
        if number < state.cut {
            return Ok(());
        }
        if version < state.oldest {
            let object =
                json!({"kind": "Status", "status": "Failure", "reason": "Expired", "code": 410});
            chunk(out, format!("{}\n", json!({"type": "ERROR", "object": object})).as_bytes())?;
            return out.write_all(b"0\r\n\r\n");
        }
        let is_mute = state.mood == Mood::Mute;
        let from = state.events.partition_point(|(at, ..)| is_mute || *at <= version);
        for (at, kind, object) in &state.events[from..] {
            let line = format!("{}\n", json!({"type": kind, "object": object}));
            chunk(out, line.as_bytes())?;
            version = *at;
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return out.write_all(b"0\r\n\r\n");
        }
        state = changed.wait_timeout(state, left).unwrap().0;
    }
}

fn chunk(out: &mut Stream, bytes: &[u8]) -> io::Result<()> {
    out.write_all(format!("{:x}\r\n", bytes.len()).as_bytes())?;
    out.write_all(bytes)?;
    out.write_all(b"\r\n")?;
    out.flush()
}
