//! An application that knows nothing of the proxy: the example in Python, as it is, over one plain
//! memcached and over the proxy in each place where it may stand.

use std::net::TcpStream;
use std::process::Command;
use std::thread;

use crate::clients::{python, repository};
use crate::harness::{Memcached, Process, Program, TempDir, accepts, free_port, wait_until};
use crate::http;

#[test]
#[ignore = "needs memcached and Python packages: run make it"]
fn an_application_gets_the_same_answers_from_one_memcached_and_from_the_proxy_anywhere() {
    let places = [Place::NoProxy, Place::Sidecar, Place::SidecarBySocket, Place::Central];
    let applications = thread::scope(|scope| {
        let starts = places.map(|place| scope.spawn(move || Application::start(place)));
        starts.map(|start| start.join().unwrap())
    });
    let script = script();
    for application in &applications {
        let place = application.place;
        for (request, answer) in &script {
            let told = application.ask(request);
            assert!(told == *answer, "{place:?}: {}: {}", excerpt(request), excerpt(&told.1));
        }
        let counts: Vec<_> = application.servers.iter().map(item_count).collect();
        assert_eq!(counts.iter().sum::<usize>(), KEYS + 1, "{place:?}: {counts:?}");
        assert!(counts.iter().all(|count| *count > 0), "{place:?}: {counts:?}");
    }
}

#[test]
#[ignore = "needs memcached and Python packages: run make it"]
fn an_application_whose_servers_are_all_away_says_so_and_stays_healthy() {
    for place in [Place::NoProxy, Place::SidecarBySocket] {
        let mut application = Application::start(place);
        application.servers.clear();
        let (status, body) = application.ask("GET /items/k");
        assert_eq!(status, 503, "{place:?}: {body}");
        assert!(body.starts_with(r#"{"detail":"the cache: "#), "{place:?}: {body}");
        let healthy = (200, r#"{"status":"healthy"}"#.to_owned());
        assert_eq!(application.ask("GET /health"), healthy, "{place:?}");
    }
}

/// Keys that are spread over the servers; there is one more, whose value is large.
const KEYS: usize = 30;

/// Requests, each with its answer.
fn script() -> Vec<(String, (u16, String))> {
    let item = |key: &str, value: &str| format!(r#"{{"key":"{key}","value":"{value}"}}"#);
    let get = |path: &str, status, body: &str| (format!("GET {path}"), (status, body.to_owned()));
    let post = |body: String, status, answer: &str| {
        (format!("POST /items/ {body}"), (status, answer.to_owned()))
    };
    let (success, miss) = (r#"{"status":"success"}"#, r#"{"detail":"Key not found"}"#);
    let (large, too_large) = ("v".repeat(900_000), "v".repeat(1 << 20));
    let refused = r#"{"detail":"the cache: MemcacheServerError(b'object too large for cache')"}"#;
    let mut script = vec![
        get("/health", 200, r#"{"status":"healthy"}"#),
        get("/items/user:0", 404, miss),
        get("/items/two%20words", 400, r#"{"detail":"Key contains whitespace: b'two words'"}"#),
        post(item("", "v"), 400, r#"{"detail":"b'set'"}"#),
        post(item("large", &large), 200, success),
        get("/items/large", 200, &item("large", &large)),
        post(item("user:0", &too_large), 503, refused),
        get("/items/user:0", 404, miss),
    ];
    for value in ["größer als 9 €", "\\\" END\\r\\n", ""] {
        let items = (0..KEYS).map(|key| (format!("user:{key}"), format!("{key}{value}")));
        let items: Vec<_> = items.collect();
        script.extend(items.iter().map(|(key, value)| post(item(key, value), 200, success)));
        let read =
            |(key, value): &(String, String)| get(&format!("/items/{key}"), 200, &item(key, value));
        script.extend(items.iter().map(read));
    }
    script
}

/// The beginning of a text that may be long.
fn excerpt(text: &str) -> String {
    text.chars().take(200).collect()
}

fn item_count(server: &Memcached) -> usize {
    let mut conn = server.conn();
    conn.send("stats\r\n");
    let stats = String::from_utf8(conn.read_reply().unwrap()).unwrap();
    let count = stats.lines().find_map(|line| line.strip_prefix("STAT curr_items "));
    count.unwrap().parse().unwrap()
}

/// Where the application finds its cache.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// One memcached, and no proxy in between.
    NoProxy,
    /// The proxy on the same host, at memcached's usual address.
    Sidecar,
    /// The proxy on the same host, on a unix socket.
    SidecarBySocket,
    /// The proxy on another host.
    Central,
}

/// The example, its cache, and what is in between.
struct Application {
    place: Place,
    port: u16,
    servers: Vec<Memcached>,
    _process: Process,
    _proxy: Option<Process>,
    _dir: TempDir,
}

impl Application {
    fn start(place: Place) -> Self {
        let dir = TempDir::new();
        let (port, proxy_port) = (free_port(), free_port());
        let socket = dir.join("memcached.sock").to_str().unwrap().to_owned();
        let (count, listen, host) = match place {
            Place::NoProxy => (1, "", "localhost"),
            Place::Sidecar => (3, "127.0.0.1", "localhost"),
            Place::SidecarBySocket => (3, "127.0.0.1", socket.as_str()),
            Place::Central => (3, "127.0.0.2", "127.0.0.2"),
        };
        let servers = Memcached::start_many(count);
        let (proxy, cache_port) = match place {
            Place::NoProxy => (None, servers[0].port),
            _ => (Some(start_proxy((listen, proxy_port), &socket, &servers, &dir)), proxy_port),
        };
        let mut process = Process::spawn(
            Command::new(python())
                .args(["-m", "uvicorn", "cache_api:app", "--no-access-log", "--port"])
                .arg(port.to_string())
                .current_dir(repository().join("examples/python"))
                .env("PYTHONDONTWRITEBYTECODE", "1")
                .env("MEMCACHED_HOST", host)
                .env("MEMCACHED_PORT", cache_port.to_string()),
        );
        wait_until(&mut process, || "cache_api.py".to_owned(), || accepts(port));
        Self { place, port, servers, _process: process, _proxy: proxy, _dir: dir }
    }

    /// The status and the body that answer `METHOD PATH` or `METHOD PATH BODY`.
    fn ask(&self, request: &str) -> (u16, String) {
        let mut words = request.splitn(3, ' ');
        let [method, path, body] = [(); 3].map(|()| words.next().unwrap_or_default());
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let page = http::ask(self.port, &request);
        (page.status, page.body)
    }
}

/// A proxy that has its configuration from its environment alone, as in a container.
fn start_proxy(listen: (&str, u16), socket: &str, servers: &[Memcached], dir: &TempDir) -> Process {
    let entries: Vec<_> = servers.iter().map(Memcached::entry).collect();
    let mut process = Process::spawn(
        Program::UnderTest
            .command()
            .current_dir(dir.join(""))
            .args(["-a", "127.0.0.1", "-s", &free_port().to_string()])
            .env("SERVERS", entries.join(","))
            .env("HASH", "murmur")
            .env("LISTEN_HOST", listen.0)
            .env("LISTEN_PORT", listen.1.to_string())
            .env("LISTEN_SOCKET", socket),
    );
    wait_until(&mut process, || "nuthatch".to_owned(), || TcpStream::connect(listen).is_ok());
    process
}
