//! `beside`: what a client with small requests feels of others at the same server.
//!
//! One memcached, and in front of it each proxy in turn. A polite client asks for a value of 100 bytes,
//! waits for it, and pauses; it does so alone, beside connections that get values of 1 MB one after the
//! other, and beside clients that ask without ever waiting. What counts are its p50 and p99 as ratios to
//! those of the same proxy alone, in the same repetition; the medians of the repetitions are printed.
//!
//! Then the others ask at another memcached, through another process of the proxy: what the polite client
//! feels of them there, it feels of the CPUs that they use, and no proxy can help it.
//!
//! The others run at a lower priority than the polite client and the proxies, so that what is measured
//! is not how long the polite client waits for a CPU.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

mod args;

use args::Options;

/// What the polite client waits for its reply at most.
const PATIENCE: Duration = Duration::from_secs(6);
/// How long it pauses after each.
const PAUSE: Duration = Duration::from_micros(500);
/// How long the others run before anything is measured.
const WARM_UP: Duration = Duration::from_millis(500);
const LARGE_BYTES: usize = 1_000_000;
const SMALL_BYTES: usize = 100;
/// How much lower the priority of the others is.
const NICE: i32 = 10;

/// Who else is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Company {
    Nobody,
    Bulk,
    Flood,
    /// As `Bulk`, at another server.
    BulkElsewhere,
    FloodElsewhere,
}

/// What the polite client felt in each company.
type AllFelt = [Felt; Company::ALL.len()];

impl Company {
    const ALL: [Self; 5] =
        [Self::Nobody, Self::Bulk, Self::Flood, Self::BulkElsewhere, Self::FloodElsewhere];

    fn is_elsewhere(self) -> bool {
        matches!(self, Self::BulkElsewhere | Self::FloodElsewhere)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Nobody => "alone",
            Self::Bulk => "beside bulk",
            Self::Flood => "beside flood",
            Self::BulkElsewhere => "bulk elsewhere",
            Self::FloodElsewhere => "flood elsewhere",
        }
    }
}

/// A program that ends with this one.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the polite client felt, in microseconds, and how much the others got meanwhile, in a second.
#[derive(Clone, Copy, Debug)]
struct Felt {
    p50: f64,
    p99: f64,
    others: f64,
}

fn main() -> ExitCode {
    let options = match args::parse(lexopt::Parser::from_env()) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{}", args::USAGE);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("beside: {error} (see beside --help)");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("beside: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> io::Result<()> {
    let [(_server, server_port), (_other, other_port)] = [start_server()?, start_server()?];
    let mut all = vec![Vec::new(); options.proxies.len()];
    for rep in 0..options.reps {
        for (proxy, felt) in options.proxies.iter().zip(&mut all) {
            let (_running, port) = start_proxy(proxy, server_port)?;
            let (_elsewhere, elsewhere) = start_proxy(proxy, other_port)?;
            let seen = Company::ALL.map(|company| {
                let others = if company.is_elsewhere() { elsewhere } else { port };
                feel((port, others), company, options)
            });
            for (company, felt) in Company::ALL.into_iter().zip(&seen) {
                eprintln!("{rep} {:<12} {:<15} {felt:?}", proxy.name, company.name());
            }
            felt.push(seen);
        }
    }
    for (proxy, felt) in options.proxies.iter().zip(&all) {
        report(&proxy.name, felt);
    }
    Ok(())
}

/// Prints the medians over the repetitions.
fn report(name: &str, felt: &[AllFelt]) {
    for (place, company) in Company::ALL.into_iter().enumerate() {
        let median = |read: &dyn Fn(&AllFelt) -> f64| {
            let mut values: Vec<f64> = felt.iter().map(read).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let (p50, p99) = (median(&|all| all[place].p50), median(&|all| all[place].p99));
        let ratio50 = median(&|all| all[place].p50 / all[0].p50);
        let ratio99 = median(&|all| all[place].p99 / all[0].p99);
        let others = median(&|all| all[place].others);
        println!(
            "{name:<12} {:<15} p50 {p50:>9.0} us ({ratio50:>6.2})  p99 {p99:>9.0} us ({ratio99:>6.2})  \
             others {others:>9.0}/s",
            company.name()
        );
    }
}

/// Lets a polite client ask at the first port, and its company at the other one.
fn feel((port, others): (u16, u16), company: Company, options: &Options) -> Felt {
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let company: Vec<JoinHandle<()>> = match company {
        Company::Nobody => Vec::new(),
        Company::Bulk | Company::BulkElsewhere => {
            (0..options.bulk).map(|_| get_large(others, &stop, &count)).collect()
        }
        Company::Flood | Company::FloodElsewhere => {
            (0..options.floods).flat_map(|_| flood(others, &stop, &count)).collect()
        }
    };
    thread::sleep(WARM_UP);
    let (began, before) = (Instant::now(), count.load(Relaxed));
    let mut times = ask_politely(port, options.seconds).unwrap_or_default();
    let others_got = (count.load(Relaxed) - before) as f64 / began.elapsed().as_secs_f64();
    stop.store(true, Relaxed);
    for other in company {
        let _ = other.join();
    }
    times.sort_unstable();
    let at = |permille: usize| {
        let place = times.len() * permille / 1000;
        let time = times.get(place.min(times.len().saturating_sub(1)));
        time.map_or(PATIENCE, |time| *time).as_secs_f64() * 1e6
    };
    Felt { p50: at(500), p99: at(990), others: others_got }
}

/// The times of a client that asks, waits, pauses. What is not answered counts as its patience.
fn ask_politely(port: u16, seconds: f64) -> io::Result<Vec<Duration>> {
    let mut stream = connect(port)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let began = Instant::now();
    let mut times = Vec::new();
    let mut reply = vec![0; reply_len("small", SMALL_BYTES)];
    while began.elapsed().as_secs_f64() < seconds {
        let asked = Instant::now();
        stream.write_all(b"get small\r\n")?;
        if stream.read_exact(&mut reply).is_err() {
            times.push(PATIENCE);
            break;
        }
        times.push(asked.elapsed());
        assert!(reply.starts_with(b"VALUE small 0 100\r\n"), "a reply is wrong");
        thread::sleep(PAUSE);
    }
    Ok(times)
}

/// A client that gets one large value after the other.
fn get_large(port: u16, stop: &Arc<AtomicBool>, count: &Arc<AtomicU64>) -> JoinHandle<()> {
    let (stop, count) = (Arc::clone(stop), Arc::clone(count));
    thread::spawn(move || {
        let _ = rustix::process::nice(NICE);
        let Ok(mut stream) = connect(port) else { return };
        let mut room = vec![0; 256 * 1024];
        while !stop.load(Relaxed) && stream.write_all(b"get large\r\n").is_ok() {
            let mut left = reply_len("large", LARGE_BYTES);
            while left > 0 {
                let most = left.min(room.len());
                match stream.read(&mut room[..most]) {
                    Ok(read @ 1..) => left -= read,
                    _ => return,
                }
            }
            count.fetch_add(1, Relaxed);
        }
    })
}

/// A client that asks for small values and never waits: one thread asks, one reads.
fn flood(port: u16, stop: &Arc<AtomicBool>, count: &Arc<AtomicU64>) -> Vec<JoinHandle<()>> {
    let Ok(mut writer) = connect(port) else { return Vec::new() };
    let Ok(mut reader) = writer.try_clone() else { return Vec::new() };
    let (stop, count) = (Arc::clone(stop), Arc::clone(count));
    let asks = thread::spawn(move || {
        let _ = rustix::process::nice(NICE);
        let requests = b"get small\r\n".repeat(1000);
        while !stop.load(Relaxed) && writer.write_all(&requests).is_ok() {}
        let _ = writer.shutdown(std::net::Shutdown::Both);
    });
    let reads = thread::spawn(move || {
        let _ = rustix::process::nice(NICE);
        let mut room = vec![0; 256 * 1024];
        let len = reply_len("small", SMALL_BYTES);
        let mut bytes = 0;
        while let Ok(read @ 1..) = reader.read(&mut room) {
            bytes += read;
            count.fetch_add((bytes / len) as u64, Relaxed);
            bytes %= len;
        }
    });
    vec![asks, reads]
}

fn reply_len(key: &str, bytes: usize) -> usize {
    format!("VALUE {key} 0 {bytes}\r\n").len() + bytes + "\r\nEND\r\n".len()
}

/// Starts a memcached that has the values.
fn start_server() -> io::Result<(Running, u16)> {
    let port = free_port()?;
    let mut command = Command::new("memcached");
    command.args(["-u", "nobody", "-l", "127.0.0.1", "-I", "2m", "-m", "128", "-p"]);
    let server = start(command.arg(port.to_string()), port)?;
    preload(port)?;
    Ok((server, port))
}

/// Stores the values at the server itself.
fn preload(port: u16) -> io::Result<()> {
    let mut stream = connect(port)?;
    for (key, bytes) in [("small", SMALL_BYTES), ("large", LARGE_BYTES)] {
        let mut request = format!("set {key} 0 0 {bytes}\r\n").into_bytes();
        request.resize(request.len() + bytes, b'v');
        request.extend_from_slice(b"\r\n");
        stream.write_all(&request)?;
        let mut reply = [0; 8];
        stream.read_exact(&mut reply)?;
        assert_eq!(&reply, b"STORED\r\n");
    }
    Ok(())
}

/// Starts a proxy in front of the server. Says where it listens: the server itself, if there is to be none.
fn start_proxy(proxy: &args::Proxy, server_port: u16) -> io::Result<(Option<Running>, u16)> {
    if proxy.path == Path::new(args::DIRECT) {
        return Ok((None, server_port));
    }
    let [port, stats_port] = [free_port()?, free_port()?];
    let name = format!("nuthatch-beside-{}-{}-{server_port}.yml", std::process::id(), proxy.name);
    let config = std::env::temp_dir().join(name);
    let more: String = proxy.settings.iter().map(|line| format!("  {line}\n")).collect();
    fs::write(
        &config,
        format!(
            "p:\n  listen: 127.0.0.1:{port}\n  hash: fnv1a_64\n  timeout: 20000\n{more}  servers:\n    \
             - 127.0.0.1:{server_port}:1\n"
        ),
    )?;
    let mut command = Command::new(&proxy.path);
    command.arg("-c").arg(&config).args(["-a", "127.0.0.1", "-s", &stats_port.to_string()]);
    let running = start(&mut command, port)?;
    let _ = fs::remove_file(&config);
    Ok((Some(running), port))
}

/// Starts a program and waits until it listens.
fn start(command: &mut Command, port: u16) -> io::Result<Running> {
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let running = Running(child?);
    for _ in 0..1000 {
        if connect(port).is_ok() {
            return Ok(running);
        }
        thread::sleep(Duration::from_millis(10));
    }
    Err(io::Error::other(format!("{:?} does not listen", command.get_program())))
}

fn connect(port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
