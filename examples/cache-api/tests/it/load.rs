//! `cache-load`: what it stores, and that it never ends well when a key did not.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

use nuthatch_harness::conn::PATIENCE;
use nuthatch_harness::{Memcached, Process, free_port};
use rustix::process::Signal;

use crate::running::Api;

/// A load on the API of a port, with the given variables.
fn load(port: u16, variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cache-load"));
    for name in ["JOB_COMPLETION_INDEX", "BATCH_SIZE", "PARALLEL", "WAIT_SECONDS"] {
        command.env_remove(name);
    }
    command.env("API_URL", format!("http://localhost:{port}")).envs(variables.iter().copied());
    command
}

/// Its exit code, and what it said on standard output and error.
fn told(output: Output) -> (Option<i32>, String, String) {
    let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    (output.status.code(), out, err)
}

#[test]
#[ignore = "needs memcached: run make it"]
fn a_part_of_the_load_has_keys_of_its_own_and_all_are_there() {
    let cache = Memcached::start();
    let api = Api::over_port(cache.port);
    let part = [("JOB_COMPLETION_INDEX", "3"), ("BATCH_SIZE", "50")];
    let (code, out, err) = told(load(api.port, &part).output().unwrap());
    assert_eq!(code, Some(0), "{err}");
    let summary = "cache-load: keys 150 to 199: 50 stored, 50 read back, 0 failed, ";
    assert!(out.starts_with(summary), "{out}");
    let mut conn = cache.conn();
    conn.ask("get 149 150\r\n", "VALUE 150 0 12\r\nmy-value-150\r\nEND\r\n");
    conn.ask("get 199 200\r\n", "VALUE 199 0 12\r\nmy-value-199\r\nEND\r\n");
    conn.send("stats\r\n");
    let stats = String::from_utf8(conn.read_reply().unwrap()).unwrap();
    assert!(stats.contains("STAT total_items 50\r\n"), "{stats}");
}

#[test]
fn a_dead_cache_fails_every_key_and_the_first_few_are_named() {
    let cache_port = free_port();
    let api = Api::over_port(cache_port);
    let (code, out, err) = told(load(api.port, &[("PARALLEL", "1")]).output().unwrap());
    assert_eq!(code, Some(1));
    let summary = "cache-load: keys 0 to 99: 0 stored, 0 read back, 100 failed, ";
    assert!(out.starts_with(summary), "{out}");
    // On a busy machine there are lines of progress between them.
    let sentences: Vec<_> = err.lines().filter(|line| line.contains("key ")).collect();
    assert_eq!(sentences.len(), 5, "{err}");
    for (key, sentence) in sentences.iter().enumerate() {
        let cause = format!("key {key} not stored: 503 {{\"detail\":\"the cache at localhost:");
        assert!(sentence.contains(&cause), "{sentence}");
    }
}

#[test]
fn a_value_that_is_another_is_a_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let body = r#"{"key":"0","value":"my-value-30"}"#;
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close";
            let _ = write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        }
    });
    let (code, out, err) = told(load(port, &[("BATCH_SIZE", "1")]).output().unwrap());
    assert_eq!(code, Some(1));
    assert!(out.contains("keys 0 to 0: 1 stored, 0 read back, 1 failed"), "{out}");
    assert!(err.contains("key 0 not read back: got ") && err.contains("my-value-30"), "{err}");
}

#[test]
#[ignore = "needs memcached: run make it"]
fn an_api_that_is_about_to_start_is_waited_for() {
    let cache = Memcached::start();
    let port = free_port();
    let mut load = Process::spawn(&mut load(port, &[("WAIT_SECONDS", "10")]));
    assert_eq!(load.wait(Duration::from_millis(500)), None);
    let _api = Api::start(port, "localhost", cache.port);
    let status = load.wait(PATIENCE).expect("it ends");
    assert_eq!(status.code(), Some(0));
    cache.conn().ask("get 99\r\n", "VALUE 99 0 11\r\nmy-value-99\r\nEND\r\n");
}

#[test]
fn an_api_that_does_not_start_is_an_error_when_time_is_up() {
    let port = free_port();
    let (code, out, err) = told(load(port, &[("WAIT_SECONDS", "1")]).output().unwrap());
    assert_eq!((code, out.as_str()), (Some(1), ""));
    let reason = format!("http://localhost:{port}/health: io: Connection refused");
    assert!(err.contains(&reason) && err.contains("is the API there?"), "{err}");
}

#[test]
fn bad_variables_are_told_all_at_once() {
    let bad = [
        ("JOB_COMPLETION_INDEX", "first"),
        ("BATCH_SIZE", "0"),
        ("API_URL", "cache-api"),
        ("PARALLEL", "-1"),
        ("WAIT_SECONDS", "soon"),
    ];
    let (code, out, err) = told(load(1, &bad).output().unwrap());
    assert_eq!((code, out.as_str()), (Some(1), ""));
    for (name, value) in bad {
        assert!(err.contains(&format!("{name}={value:?} must be ")), "{err}");
    }
}

#[test]
fn sigterm_ends_it_at_once() {
    let mut load = Process::spawn(&mut load(free_port(), &[("WAIT_SECONDS", "60")]));
    // By then it has a handler, without which a signal would end it too, but not as process 1.
    thread::sleep(Duration::from_millis(500));
    load.signal(Signal::TERM);
    assert_eq!(load.wait(PATIENCE).expect("it heeds the signal").code(), Some(143));
}
