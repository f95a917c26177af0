//! The answers to Redis clients, byte by byte.
//!
//! The rule: an expected answer is written out as the client gets it.

use super::*;
use crate::config::Config;
use crate::config::Server;
use crate::generation::SharedServer;
use crate::question::Baseline;
use nuthatch_core::limits::Limits;
use nuthatch_core::message::Scan;
use nuthatch_core::redis::{Room, Settings, parse_request};
use nuthatch_core::stats::PoolStats;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A pool of one server on port 6379.
const ONE: &str = "p: {listen: \"h:6379\", redis: true, servers: [\"a:1:1 s1\"]}\n";

fn pool(text: &str) -> Pool {
    let config = Config::parse(Path::new("a.yml"), text.as_bytes());
    config.unwrap_or_else(|errors| panic!("{errors}")).pools.remove(0)
}

fn array(line: &str) -> Vec<u8> {
    let words: Vec<&str> = line.split(' ').collect();
    let mut request = Reply::new(false);
    request.array(words.len());
    words.iter().for_each(|word| request.bulk(word));
    request.into_bytes()
}

/// A client that has said these lines.
fn client(pool: &Pool, said: &[&str]) -> Session {
    let mut session = Session::new(&Arc::new(Settings { ..pool.redis_settings() }), 7);
    for line in said {
        let (mut scan, mut room) = (Scan::default(), Room::default());
        parse_request(&array(line), &mut scan, &mut session, &Limits::default(), &mut room);
    }
    session
}

/// What a client is told who has said some lines before, of a pool with two workers.
fn told_in(pool: &Pool, said: &[&str], question: &str) -> String {
    let workers = [Arc::new(PoolStats::default()), Arc::default()];
    let server = |server: &Server| Arc::new(SharedServer::new(server.clone(), false, 2));
    let servers: &Vec<_> = &pool.servers.iter().map(server).collect();
    workers[0].client_connections.set(2);
    workers[1].client_connections.set(1);
    workers[1].requests.set(40);
    let baseline = &Baseline::default();
    let epoch = Duration::ZERO;
    let about = About { pool, workers: &workers, servers, baseline, accepts: true, epoch };
    let answer = answer(&array(question), (&client(pool, said), &ends), about, Instant::default());
    String::from_utf8(answer).unwrap()
}

fn told(said: &[&str], question: &str) -> String {
    told_in(&pool(ONE), said, question)
}

/// The strings, integers and statuses of an answer, without the headers of arrays and strings.
fn words(answer: &str) -> Vec<&str> {
    answer
        .split("\r\n")
        .filter(|line| !line.starts_with(['*', '$', '%', '~']) && !line.is_empty())
        .collect()
}

fn ends() -> Ends {
    Ends { client: "10.0.0.9:5000".into(), proxy: "10.0.0.1:6379".into() }
}

#[test]
fn a_setting_is_told_in_the_form_of_the_clients_protocol() {
    let question = "CONFIG GET maxmem* SAVE nosuch";
    let pairs = "$9\r\nmaxmemory\r\n$1\r\n0\r\n$16\r\nmaxmemory-policy\r\n$10\r\nnoeviction\r\n\
                 $4\r\nsave\r\n$0\r\n\r\n";
    assert_eq!(told(&[], question), format!("*6\r\n{pairs}"));
    assert_eq!(told(&["HELLO 3"], question), format!("%3\r\n{pairs}"));
    assert_eq!(told(&[], "CONFIG GET requirepass"), "*0\r\n");
}

#[test]
fn the_settings_are_those_of_the_pool() {
    let pool = pool(
        "p: {listen: \"h:7000\", redis: true, redis_auth: s3cret, client_connections: 9, \
         item_size_max: 1000, servers: [\"a:1:1\"]}\n",
    );
    let answer = told_in(&pool, &["AUTH s3cret"], "CONFIG GET *");
    let told = words(&answer);
    let value = |name| told[told.iter().position(|word| *word == name).unwrap() + 1];
    assert_eq!((value("maxclients"), value("port")), ("9", "7000"));
    assert_eq!((value("proto-max-bulk-len"), value("databases")), ("1000", "1"));
    assert!(!answer.contains("s3cret"), "{answer}");
}

#[test]
fn the_proxy_is_a_master_and_tracks_no_keys() {
    assert_eq!(told(&[], "ROLE"), "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n");
    assert_eq!(told(&[], "CLIENT GETREDIR"), ":-1\r\n");
    let off =
        "*6\r\n$5\r\nflags\r\n*1\r\n$3\r\noff\r\n$8\r\nredirect\r\n:-1\r\n$8\r\nprefixes\r\n*0\r\n";
    assert_eq!(told(&[], "CLIENT TRACKINGINFO"), off);
}

#[test]
fn a_client_learns_of_itself_only() {
    let said = ["CLIENT SETNAME me", "CLIENT SETINFO LIB-NAME lib", "CLIENT SETINFO LIB-VER 1.2"];
    let line = "id=7 addr=10.0.0.9:5000 laddr=10.0.0.1:6379 fd=0 name=me age=0 idle=0 flags=N db=0 \
                sub=0 psub=0 ssub=0 multi=-1 qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 \
                obl=0 oll=0 omem=0 tot-mem=0 events=r cmd=client|list user=default redir=-1 resp=2 \
                lib-name=lib lib-ver=1.2\n";
    let all = format!("${}\r\n{line}\r\n", line.len());
    for (question, answer) in [
        ("CLIENT LIST", &*all),
        ("CLIENT LIST TYPE normal", &all),
        ("CLIENT LIST ID 3 7", &all),
        ("CLIENT LIST ID 3", "$0\r\n\r\n"),
        ("CLIENT LIST TYPE pubsub", "$0\r\n\r\n"),
        ("CLIENT LIST TYPE odd", "-ERR Unknown client type\r\n"),
        ("CLIENT LIST ID x", "-ERR Invalid client ID\r\n"),
        ("CLIENT LIST odd", "-ERR syntax error\r\n"),
    ] {
        assert_eq!(told(&said, question), answer, "{question}");
    }
    let answer = told(&["HELLO 3"], "CLIENT INFO");
    let line = "id=7 addr=10.0.0.9:5000 laddr=10.0.0.1:6379 fd=0 name= age=0 idle=0 flags=N db=0 \
                sub=0 psub=0 ssub=0 multi=-1 qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 \
                obl=0 oll=0 omem=0 tot-mem=0 events=r cmd=client|info user=default redir=-1 resp=3 lib-name= \
                lib-ver=\n";
    assert_eq!(answer, format!("={}\r\ntxt:{line}\r\n", line.len() + 4));
}

#[test]
fn info_has_the_sections_that_were_asked_for() {
    assert_eq!(told(&[], "INFO keyspace"), "$12\r\n# Keyspace\r\n\r\n");
    assert_eq!(told(&[], "INFO nosuch"), "$0\r\n\r\n");
    assert_eq!(told(&["HELLO 3"], "INFO nosuch"), "=4\r\ntxt:\r\n");
    let answer = told(&[], "INFO replication CLUSTER");
    let text = "# Replication\r\nrole:master\r\nconnected_slaves:0\r\n\r\n# Cluster\r\ncluster_enabled:0\r\n";
    assert_eq!(answer, format!("${}\r\n{text}\r\n", text.len()));
    for question in ["INFO", "INFO all", "INFO DEFAULT", "INFO everything", "info server all"] {
        let answer = told(&[], question);
        assert_eq!(answer.matches("\r\n# ").count(), 10, "{question}: {answer}");
    }
}

#[test]
fn the_figures_of_info_are_those_of_all_workers() {
    let answer = told(&[], "INFO");
    for line in [
        "redis_version:7.2.0",
        "redis_mode:standalone",
        "tcp_port:6379",
        "connected_clients:3",
        "total_commands_processed:40",
        "workers:2",
        "servers:1",
        "server0:name=s1,address=a:1,state=unused,connections=0,requests=0,in_queue=0,out_queue=0",
        "dedicated_connections:0",
    ] {
        assert!(answer.contains(&format!("\r\n{line}\r\n")), "{line} in {answer}");
    }
}

#[test]
fn a_command_is_told_with_its_arity_its_flags_and_the_places_of_its_keys() {
    let none = "*0\r\n*0\r\n*0\r\n*0\r\n";
    for (name, entry) in [
        ("get", "*1\r\n+readonly\r\n:1\r\n:1\r\n:1\r\n"),
        ("incr", "*2\r\n+write\r\n+fast\r\n:1\r\n:1\r\n:1\r\n"),
        ("eval", "*1\r\n+movablekeys\r\n:0\r\n:0\r\n:0\r\n"),
        ("publish", "*1\r\n+pubsub\r\n:0\r\n:0\r\n:0\r\n"),
    ] {
        let arity = match name {
            "get" | "incr" => 2,
            "eval" => -3,
            _ => 3,
        };
        let answer = format!("*1\r\n*10\r\n${}\r\n{name}\r\n:{arity}\r\n{entry}{none}", name.len());
        assert_eq!(told(&[], &format!("COMMAND INFO {name}")), answer, "{name}");
    }
    assert_eq!(told(&[], "COMMAND INFO nosuch"), "*1\r\n$-1\r\n");
    assert_eq!(told(&["HELLO 3"], "COMMAND INFO nosuch"), "*1\r\n_\r\n");
    let answer = told(&["HELLO 3"], "COMMAND INFO Config|Get");
    let entry =
        "*10\r\n$10\r\nconfig|get\r\n:-3\r\n~0\r\n:0\r\n:0\r\n:0\r\n~0\r\n~0\r\n~0\r\n*0\r\n";
    assert_eq!(answer, format!("*1\r\n{entry}"));
}

#[test]
fn count_list_and_the_list_of_all_name_the_same_commands() {
    let count: usize = told(&[], "COMMAND COUNT").trim()[1..].parse().unwrap();
    let list = told(&[], "COMMAND LIST");
    let names = words(&list);
    assert_eq!(names.iter().filter(|name| !name.contains('|')).count(), count);
    assert!(told(&[], "COMMAND").starts_with(&format!("*{count}\r\n*10\r\n")));
    assert_eq!(told(&[], "COMMAND"), told(&[], "COMMAND INFO"));
    assert!(told(&["HELLO 3"], "COMMAND DOCS").starts_with(&format!("%{count}\r\n")));
    assert!(told(&[], "COMMAND DOCS").starts_with(&format!("*{}\r\n", count * 2)));
    assert!(names.contains(&"get") && names.contains(&"client|setname"), "{names:?}");
}

#[test]
fn a_list_is_filtered_by_a_pattern() {
    for (question, answer) in [
        (
            "COMMAND LIST FILTERBY PATTERN hget*",
            "*4\r\n$4\r\nhget\r\n$7\r\nhgetall\r\n$7\r\nhgetdel\r\n$6\r\nhgetex\r\n",
        ),
        ("COMMAND LIST FILTERBY PATTERN CONFIG|G*", "*1\r\n$10\r\nconfig|get\r\n"),
        ("COMMAND LIST FILTERBY MODULE x", "*0\r\n"),
        ("COMMAND LIST FILTERBY ACLCAT read", "*0\r\n"),
        ("COMMAND LIST FILTERBY ODD x", "-ERR syntax error\r\n"),
        ("COMMAND LIST FILTERBY x", "-ERR syntax error\r\n"),
        ("COMMAND LIST x", "-ERR syntax error\r\n"),
    ] {
        assert_eq!(told(&[], question), answer, "{question}");
    }
}

#[test]
fn what_the_pool_always_refuses_is_no_command() {
    let one = pool(ONE);
    let two = pool(
        "p: {listen: \"h:1\", redis: true, allow_flush: true, dedicated_connections_max: 0, \
         servers: [\"a:1:1\", \"b:1:1\"], module_commands: [\"cl.throttle 1 1 1\"]}\n",
    );
    for (name, in_one, in_two) in [
        ("get", true, true),
        ("shutdown", false, false),
        ("cluster", false, false),
        ("client|kill", false, false),
        ("bgsave", true, false),
        ("config|set", true, false),
        ("config|get", true, true),
        ("flushall", false, true),
        ("keys", false, false),
        ("multi", true, false),
        ("cl.throttle", false, true),
    ] {
        let is_known = |pool| !told_in(pool, &[], &format!("COMMAND INFO {name}")).contains("$-1");
        assert_eq!((is_known(&one), is_known(&two)), (in_one, in_two), "{name}");
        let is_listed = |pool| words(&told_in(pool, &[], "COMMAND LIST")).contains(&name);
        assert_eq!((is_listed(&one), is_listed(&two)), (in_one, in_two), "{name}");
    }
    let three =
        pool("p: {listen: \"h:1\", redis: true, servers: [\"a:1:1\", \"b:1:1\", \"c:1:1\"]}\n");
    for (name, in_one, in_three) in [
        ("multi", true, true),
        ("psubscribe", true, false),
        ("script|kill", true, false),
        ("function|kill", true, false),
    ] {
        let is_known = |pool| !told_in(pool, &[], &format!("COMMAND INFO {name}")).contains("$-1");
        assert_eq!((is_known(&one), is_known(&three)), (in_one, in_three), "{name}");
    }
}

#[test]
fn docs_are_a_map_of_maps() {
    let answer = told(&["HELLO 3"], "COMMAND DOCS get nosuch");
    let text = "Goes to the server of its keys.";
    let docs = format!(
        "$7\r\nsummary\r\n${}\r\n{text}\r\n$5\r\nsince\r\n$0\r\n\r\n$5\r\ngroup\r\n$6\r\nstring\r\n\
         $10\r\ncomplexity\r\n$0\r\n\r\n",
        text.len()
    );
    assert_eq!(answer, format!("%1\r\n$3\r\nget\r\n%4\r\n{docs}"));
    assert_eq!(told(&[], "COMMAND DOCS get"), format!("*2\r\n$3\r\nget\r\n*8\r\n{docs}"));
    assert_eq!(told(&[], "COMMAND DOCS nosuch"), "*0\r\n");
    let answer = told(&[], "COMMAND DOCS object");
    assert!(answer.contains("$11\r\nsubcommands\r\n*10\r\n$15\r\nobject|encoding\r\n"), "{answer}");
}

#[test]
fn keys_are_found_where_the_command_has_them() {
    for (question, answer) in [
        ("get a", "*1\r\n$1\r\na\r\n"),
        ("MSET a 1 b 2", "*2\r\n$1\r\na\r\n$1\r\nb\r\n"),
        ("zunionstore d 2 a b", "*3\r\n$1\r\nd\r\n$1\r\na\r\n$1\r\nb\r\n"),
        ("object encoding a", "*1\r\n$1\r\na\r\n"),
        ("eval x 0", "*0\r\n"),
        ("config get a", "-ERR The command has no key arguments\r\n"),
        ("subscribe a", "-ERR The command has no key arguments\r\n"),
        ("nosuch a", "-ERR Invalid command specified\r\n"),
        ("config nosuch", "-ERR Invalid command specified\r\n"),
        ("get a b", "-ERR Invalid number of arguments specified for command\r\n"),
        ("eval x 2 a", "-ERR Invalid arguments specified for command\r\n"),
    ] {
        assert_eq!(told(&[], &format!("COMMAND GETKEYS {question}")), answer, "{question}");
    }
    for (said, answer) in [
        (&[][..], "*1\r\n*2\r\n$1\r\na\r\n*2\r\n+RO\r\n+access\r\n"),
        (&["HELLO 3"], "*1\r\n*2\r\n$1\r\na\r\n~2\r\n+RO\r\n+access\r\n"),
    ] {
        assert_eq!(told(said, "COMMAND GETKEYSANDFLAGS get a"), answer);
    }
    let answer = "*1\r\n*2\r\n$1\r\na\r\n*3\r\n+RW\r\n+access\r\n+update\r\n";
    assert_eq!(told(&[], "COMMAND GETKEYSANDFLAGS set a 1"), answer);
}

#[test]
fn an_unknown_subcommand_is_named() {
    let answer = "-ERR unknown subcommand 'nosuch\\r\\nx'. Try COMMAND HELP.\r\n";
    assert_eq!(told(&[], "COMMAND nosuch\r\nx a"), answer);
}

#[test]
fn every_question_of_the_table_has_an_answer() {
    use nuthatch_core::redis::command::{self, Action, Local};
    let mut count = 0;
    for command in command::all() {
        let subs = command.subcommands.iter();
        let subs = subs.map(|sub| (format!("{} {}", command.name, sub.name), sub));
        for (mut line, command) in subs.chain([(command.name.to_owned(), command)]) {
            if !matches!(command.action, Action::Local(Local::Question | Local::Setting)) {
                continue;
            }
            while line.split(' ').count() < usize::from(command.arity.unsigned_abs()) {
                line.push_str(" get");
            }
            let answer = told(&[], &line);
            assert!(!answer.contains(NO_ANSWER), "{line}: {answer}");
            count += 1;
        }
    }
    assert!(count > 8, "{count} questions");
}

#[test]
fn an_answer_is_made_once_for_equal_questions_of_one_protocol_version() {
    let pool = pool(ONE);
    let workers = [Arc::new(PoolStats::default())];
    let baseline = &Baseline::default();
    let (pool, epoch) = (&pool, Duration::ZERO);
    let about = About { pool, workers: &workers, servers: &[], baseline, accepts: true, epoch };
    let mut answers = Answers::new(about, Instant::default());
    let (old, new) = (client(pool, &[]), client(pool, &["HELLO 3"]));
    let question = array("INFO stats");
    let first = answers.to(&question, &old, &ends).to_vec();
    workers[0].requests.set(5);
    assert_eq!(answers.to(&question, &old, &ends), first);
    assert!(answers.to(&question, &new, &ends).starts_with(b"="));
    assert_ne!(answers.to(&question, &old, &ends), first);
    let named = client(pool, &["CLIENT SETNAME other"]);
    let question = array("CLIENT INFO");
    let first = answers.to(&question, &old, &ends).to_vec();
    assert_ne!(answers.to(&question, &named, &ends), first);
}
