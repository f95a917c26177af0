//! The program as an operator sees it: what it prints, where, and how it ends.

#![expect(clippy::unwrap_used, reason = "a test that can't run its program has failed")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use nuthatch::args::COMMANDS;

/// A directory of its own for each test, in which the program runs and which ends with the test.
struct Place(PathBuf);

impl Place {
    fn new(test: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("nuthatch-cli-{}-{test}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn file(&self, name: &str, text: &str) -> &Self {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nuthatch"));
        command.args(arguments).current_dir(&self.0).env_clear().stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Said {
        Said::from(self.command(arguments).output().unwrap())
    }

    fn run_with_input(&self, arguments: &[&str], input: &[u8]) -> Said {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        Said::from(child.wait_with_output().unwrap())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What the program said, and its exit code.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    out: String,
    err: String,
    code: Option<i32>,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Self { out: text(&output.stdout), err: text(&output.stderr), code: output.status.code() }
    }
}

fn said(out: &str, err: &str, code: i32) -> Said {
    Said { out: out.into(), err: err.into(), code: Some(code) }
}

const TWO: &str = "\
alpha:
  listen: 127.0.0.1:22121
  hash: md5
  timeout: 400
  servers:
   - a:11211:1
   - b:11211:1
";

#[test]
fn a_good_file_is_ok_and_its_traps_are_told() {
    let place = Place::new("good");
    place.file("good.yml", TWO);
    let ok = "nuthatch: configuration file 'good.yml' syntax is ok\n";
    assert_eq!(place.run(&["-t", "-c", "good.yml"]), said("", ok, 0));
    assert_eq!(place.run(&["--test-conf", "--conf-file=good.yml"]), said("", ok, 0));

    place.file("slow.yml", &TWO.replace("  timeout: 400\n", ""));
    let traps = place.run(&["-t", "-c", "slow.yml"]);
    assert_eq!(
        traps.err,
        "nuthatch: configuration file 'slow.yml' syntax is ok\n\
         warning: alpha: Without a timeout, clients wait forever for a server that hangs, and the \
         proxy never ejects the server. Set a timeout in milliseconds, such as timeout: 400.\n"
    );
    assert_eq!(traps.code, Some(0));
}

#[test]
fn a_bad_file_is_refused_with_all_reasons() {
    let place = Place::new("bad");
    place.file("bad.yml", "alpha:\n  listen: x\n  hsah: md5\n  servers:\n  - a:1:0\n");
    let reasons = "\
error: bad.yml:2:11: alpha.listen: \"x\": conf: directive \"listen\" has an invalid \
\"hostname:port\" format string; write host:port such as 127.0.0.1:11211 or \"[::1]:11211\", or \
/path/of/a.sock 660
error: bad.yml:3:3: alpha.hsah: conf: directive \"hsah\" is unknown; did you mean \"hash\"?
error: bad.yml:5:5: alpha.servers[0]: \"a:1:0\": conf: directive \"servers\" has a zero weight in \
\"hostname:port:weight [name]\" format string; write a weight of at least 1, or remove the server \
from the list
nuthatch: configuration file 'bad.yml' syntax is invalid
";
    for arguments in [&["-t", "-c", "bad.yml"][..], &["-c", "bad.yml"], &["-d", "-c", "bad.yml"]] {
        assert_eq!(place.run(arguments), said("", reasons, 1), "{arguments:?}");
    }
    assert_eq!(place.run(&["route", "-c", "bad.yml", "k"]), said("", reasons, 1));
}

#[test]
fn the_default_file_is_read_if_it_is_there_and_the_environment_if_not() {
    let place = Place::new("default");
    let environment = |place: &Place| {
        let mut command = place.command(&["-t"]);
        command.env("SERVERS", "a:1:1,b:1:1").env("HASH", "md5");
        Said::from(command.output().unwrap())
    };
    let ok = "nuthatch: configuration from the environment: syntax is ok\n";
    assert_eq!(environment(&place), said("", ok, 0));
    assert_eq!(
        place.run(&["-t"]),
        said(
            "",
            "error: environment: SERVERS: conf: pool 'memcached' has no servers; set SERVERS, \
             such as SERVERS=10.0.0.1:11211,10.0.0.2:11211, or name a configuration file with -c\n\
             nuthatch: configuration from the environment: syntax is invalid\n",
            1
        )
    );
    place.file("conf/nutcracker.yml", TWO);
    let ok = "nuthatch: configuration file 'conf/nutcracker.yml' syntax is ok\n";
    assert_eq!(environment(&place), said("", ok, 0));
}

/// Whoever has a file of that name means it, so nothing else takes its place.
#[test]
fn a_default_file_that_cannot_be_read_is_an_error() {
    let run = |place: &Place| {
        let mut command = place.command(&["-t"]);
        Said::from(command.env("SERVERS", "a:1:1,b:1:1").env("HASH", "md5").output().unwrap())
    };
    let place = Place::new("default-directory");
    fs::create_dir_all(place.0.join("conf/nutcracker.yml")).unwrap();
    let told = run(&place);
    let why = "conf/nutcracker.yml': Is a directory (os error 21); give a readable file with -c, or no \
               file to use the environment\n";
    assert!(told.err.contains(why) && told.code == Some(1), "{told:?}");
    let place = Place::new("default-dangling");
    fs::create_dir(place.0.join("conf")).unwrap();
    std::os::unix::fs::symlink("nowhere", place.0.join("conf/nutcracker.yml")).unwrap();
    let told = run(&place);
    assert!(told.err.contains("No such file or directory") && told.code == Some(1), "{told:?}");
    let place = Place::new("default-no-directory");
    place.file("conf", "a file");
    assert_eq!(run(&place).code, Some(0));
}

#[test]
fn help_and_version_go_to_standard_error() {
    let place = Place::new("help");
    let version =
        concat!("This is nuthatch-", env!("CARGO_PKG_VERSION"), "\nasync event backend: epoll\n\n");
    assert_eq!(place.run(&["-V"]), said("", version, 0));
    for arguments in [&["-h"][..], &["-?"], &["--help"]] {
        let help = place.run(arguments);
        assert!(help.err.starts_with(&format!("{version}Usage: nuthatch [-?hVdDt]")));
        assert!(help.err.contains("\n  -t, --test-conf        : "));
        assert_eq!((help.out.as_str(), help.code), ("", Some(0)));
    }
    let stats = place.run(&["-D"]);
    assert!(stats.err.contains("\n  out_queue_bytes     \""));
    assert_eq!((stats.out.as_str(), stats.code), ("", Some(0)));
}

#[test]
fn each_command_has_a_help_of_its_own() {
    let place = Place::new("help-of");
    for command in COMMANDS {
        for flag in ["-h", "--help"] {
            let help = place.run(&[command.name, flag]);
            assert!(help.err.starts_with(&format!("Usage: nuthatch {}", command.name)));
            let is_proxy = command.name == "upgrade";
            assert_eq!(help.err.contains("--daemonize"), is_proxy, "{}", help.err);
            assert_eq!((help.out.as_str(), help.code), ("", Some(0)));
        }
    }
    let wrong = place.run(&["route", "--jsn"]);
    assert_eq!(
        wrong.err,
        "nuthatch: invalid option -- '--jsn'; did you mean '--json'?\n\
         Usage: nuthatch route [-c FILE] [-p POOL] [--json] [KEY...]\n"
    );
}

/// What a shell or another program says of a file; `None` if it is not installed.
fn judged_by(program: &str, arguments: &[&str], text: &str) -> Option<Said> {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let place = Place::new(&format!("judged-{number}"));
    place.file("file", text);
    let mut command = Command::new(program);
    command.args(arguments).arg("file").current_dir(&place.0).stdin(Stdio::null());
    command.output().ok().map(Said::from)
}

#[test]
fn the_manual_is_one_for_man() {
    let place = Place::new("man");
    let page = place.run(&["man"]);
    assert_eq!((page.err.as_str(), page.code), ("", Some(0)));
    assert!(page.out.starts_with(".TH NUTHATCH 1 "), "{}", page.out);
    if let Some(shown) = judged_by("groff", &["-man", "-Tutf8", "-ww"], &page.out) {
        assert_eq!((shown.err.as_str(), shown.code), ("", Some(0)));
        assert!(shown.out.contains("nuthatch route"), "{}", shown.out);
    }
}

#[test]
fn completions_are_scripts_of_their_shells() {
    let place = Place::new("completions");
    for shell in ["bash", "zsh", "fish"] {
        let script = place.run(&["completions", shell]);
        assert_eq!((script.err.as_str(), script.code), ("", Some(0)));
        if let Some(judged) = judged_by(shell, &["-n"], &script.out) {
            assert_eq!(judged, said("", "", 0), "{shell}");
        }
    }
}

/// What bash offers behind these words, of which the last is being written.
fn offered(words: &[&str]) -> Vec<String> {
    let place = Place::new("offered");
    place.file("file", "").file("my file.yml", "").file("my other file.yml", "");
    let script = place.run(&["completions", "bash"]).out;
    let [.., previous, current] = words else { panic!("a program and a word") };
    let (last, all) = (words.len() - 1, words.join("' '"));
    let script = format!(
        "{script}\ncd '{}'\nCOMP_WORDS=('{all}') COMP_CWORD={last}\n\
         _nuthatch nuthatch '{current}' '{previous}'\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"\n",
        place.0.display()
    );
    let answer = judged_by("bash", &[], &script).expect("the tests run where bash is").out;
    answer.lines().map(str::to_owned).collect()
}

#[test]
fn bash_offers_what_fits() {
    assert_eq!(offered(&["nuthatch", "ro"]), ["route"]);
    assert_eq!(
        offered(&["nuthatch", "--stats-"]),
        ["--stats-port", "--stats-addr", "--stats-interval"]
    );
    assert_eq!(
        offered(&["nuthatch", "route", "--"]),
        ["--help", "--conf-file", "--pool", "--json", "--resolv-conf"]
    );
    assert_eq!(offered(&["nuthatch", "--log-format", "t"]), ["text"]);
    assert_eq!(offered(&["nuthatch", "--log-format", "=", "t"]), ["text"]);
    assert_eq!(offered(&["nuthatch", "completions", "z"]), ["zsh"]);
    assert_eq!(offered(&["nuthatch", "-c", "fil"]), ["file"]);
    assert_eq!(offered(&["nuthatch", "-tc", "fil"]), ["file"]);
    assert_eq!(offered(&["nuthatch", "-tDc", "fil"]), ["file"]);
    assert_eq!(offered(&["nuthatch", "-cc", "fil"]), [""]);
    for word in ["my", "my f", "my\\ f", "\"my f"] {
        let both = ["my file.yml", "my other file.yml"];
        let expected = if word == "my" { &both[..] } else { &both[..1] };
        let mut found = offered(&["nuthatch", "-c", word]);
        found.sort();
        assert_eq!(found, expected, "{word}");
    }
}

#[test]
fn what_the_system_can_not_grant_is_told_by_the_test_and_by_the_start() {
    let place = Place::new("capacity");
    place.file("two.yml", TWO).file("wide.yml", &format!("{TWO}  server_connections: 500\n"));
    let limited = |arguments: &str| {
        let script = format!("ulimit -n 200; exec {} {arguments}", env!("CARGO_BIN_EXE_nuthatch"));
        let mut command = Command::new("sh");
        command.args(["-c", &script]).current_dir(&place.0).env_clear().stdin(Stdio::null());
        Said::from(command.output().unwrap())
    };
    let why = "nuthatch: 100 workers with 1 listeners each need 316 open files, and the limit is \
               200; raise the limit (ulimit -n) or lower --workers\n";
    assert_eq!(limited("-t -c two.yml --workers 100"), said("", why, 1));
    assert_eq!(limited("-c two.yml --workers 100"), said("", why, 1));
    let warned = limited("-t -c wide.yml");
    assert!(warned.err.contains("\nwarning: The connections to servers "), "{}", warned.err);
    assert_eq!(warned.code, Some(0));
}

#[test]
fn a_bad_option_is_answered_with_the_usage() {
    let place = Place::new("option");
    let wrong = place.run(&["-z"]);
    let start = "nuthatch: invalid option -- 'z'\nUsage: nuthatch [-?hVdDt] [-v verbosity level]";
    assert!(wrong.err.starts_with(start), "{}", wrong.err);
    assert_eq!((wrong.out.as_str(), wrong.code), ("", Some(1)));
}

/// Config A of the vectors: three servers named by their addresses.
#[test]
fn route_says_what_twemproxy_does_with_ketama_and_fnv1a_64() {
    let place = Place::new("route-a");
    place.file(
        "a.yml",
        "a:\n  listen: a:1\n  servers:\n   - 127.0.0.1:31101:1\n   - 127.0.0.1:31102:1\n   \
         - 127.0.0.1:31103:1\n",
    );
    let answer = place.run_with_input(
        &["route", "-c", "a.yml"],
        b"a\napple\r\nkey:1000\n\nfoo\nbar\nuser:1\nuser:2\nsession:abcdef\n\xc3\xa9",
    );
    assert_eq!(
        answer,
        said(
            "a\t8601ec8c\t127.0.0.1:31103\n\
             apple\t58befdbf\t127.0.0.1:31101\n\
             key:1000\t48c22013\t127.0.0.1:31103\n\
             foo\tfed9d577\t127.0.0.1:31101\n\
             bar\t1339461a\t127.0.0.1:31102\n\
             user:1\t75081ceb\t127.0.0.1:31101\n\
             user:2\t75081e9e\t127.0.0.1:31101\n\
             session:abcdef\tcac322e0\t127.0.0.1:31102\n\
             é\tb4cc3001\t127.0.0.1:31102\n",
            "",
            0
        )
    );
}

/// Configs B, C and D of the vectors: weights with names, port 11211, modula.
#[test]
fn route_says_what_twemproxy_does_with_weights_port_11211_and_modula() {
    let place = Place::new("route-bcd");
    place.file(
        "bcd.yml",
        "b:\n  listen: a:1\n  hash: md5\n  servers:\n   - h:1:1 alpha\n   - h:2:2 beta\n   \
         - h:3:3 gamma10\n\
         c:\n  listen: a:2\n  hash: fnv1a_32\n  servers:\n   - 127.0.21.1:11211:1\n   \
         - 127.0.21.2:11211:1\n   - 127.0.21.3:11212:1\n\
         d:\n  listen: a:3\n  hash: fnv1a_32\n  distribution: modula\n  servers:\n   \
         - h:1:2 aaa\n   - h:2:1 zz\n",
    );
    let x250 = "x".repeat(250);
    let keys =
        ["a", "apple", "key:1000", "foo", "bar", "user:1", "user:2", "session:abcdef", &x250];
    let servers = |pool: &str| {
        let answer = place.run(&[&["route", "-c", "bcd.yml", "-p", pool], &keys[..]].concat());
        assert_eq!((answer.err.as_str(), answer.code), ("", Some(0)));
        let server = |line: &str| line.rsplit('\t').next().unwrap().to_owned();
        answer.out.lines().map(server).collect::<Vec<_>>()
    };
    assert_eq!(
        servers("b"),
        ["alpha", "gamma10", "beta", "gamma10", "beta", "alpha", "gamma10", "alpha", "alpha"]
    );
    let [one, two, three] = ["127.0.21.1", "127.0.21.2", "127.0.21.3:11212"];
    assert_eq!(servers("c"), [three, three, three, three, one, one, three, two, one]);
    assert_eq!(servers("d"), ["aaa", "aaa", "aaa", "zz", "aaa", "aaa", "zz", "aaa", "aaa"]);

    let several = place.run(&["route", "-c", "bcd.yml", "k"]);
    assert_eq!(several, said("", "nuthatch: bcd.yml: choose a pool with -p: b, c, d\n", 1));
}

#[test]
fn route_explains_itself_as_json() {
    let place = Place::new("json");
    place.file("tag.yml", &TWO.replace("hash: md5", "hash: md5\n  hash_tag: \"{}\""));
    let answer = place.run(&["route", "-c", "tag.yml", "--json", "{a}:\"1\""]);
    assert_eq!(
        answer,
        said(
            concat!(
                r#"{"key":"{a}:\"1\"","hashed":"a","hash":"b975c10c","point":"bd27e182","#,
                r#""server":"a","address":"a:11211","next":["b"]}"#,
                "\n"
            ),
            "",
            0
        )
    );
}

#[test]
fn a_key_that_is_no_text_comes_back_as_it_was() {
    let place = Place::new("bytes");
    place.file("one.yml", &TWO.replace("   - b:11211:1\n", "").replace("md5", "crc32a"));
    let mut child = place.command(&["route", "-c", "one.yml"]);
    let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"\xff\x80 \tx\r\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.stdout.starts_with(b"\xff\x80 \tx\t"), "{:?}", output.stdout);
    assert!(output.stdout.ends_with(b"\ta\n"), "{:?}", output.stdout);
}

/// Says whether no terminal would obey any of it.
fn is_harmless(text: &str) -> bool {
    text.chars().all(|c| c == '\n' || c == '\t' || !c.is_control())
}

#[test]
fn nothing_that_is_printed_moves_the_cursor() {
    let place = Place::new("escape");
    let name = "\u{1b}[2Jtwo\u{9b}.yml";
    place.file(name, TWO).file("other.yml", &TWO.replace("alpha", "beta")).file("two.yml", TWO);
    let key = "\u{1b}]0;title\u{7}\u{9b}\r";
    place.file("broken\u{1b}.yml", "al\u{1b}pha: {\"l\\u001bisten\": x}\n");
    place.file(&format!("keys{name}"), "a\n");
    let two = format!("{TWO}beta: {{listen: 127.0.0.1:9, servers: [a:1:1]}}\n");
    place.file("pools\u{1b}.yml", &two);
    for arguments in [
        &["-t", "-c", name][..],
        &["-t", "-c", "broken\u{1b}.yml"],
        &["-t", "-c", "none\u{1b}.yml"],
        &["-c", name, "-p", "none\u{1b}/pid"],
        &["-c", name, "-o", "none\u{1b}/log"],
        &["--work\u{1b}ers"],
        &["wo\u{1b}rd"],
        &["-\u{1b}"],
        &["-a", "\u{1b}"],
        &["node", "wo\u{1b}rd"],
        &["route", "-c", name, key],
        &["route", "-c", name, "--json", key],
        &["route", "-c", name, "-p", "a\u{1b}", key],
        &["route", "-c", "pools\u{1b}.yml", key],
        &["diff", name, "pools\u{1b}.yml"],
        &["diff", name, "two.yml", "--keys", &format!("keys{name}")],
        &["diff", name, "two.yml", "--keys", "none\u{1b}"],
    ] {
        let said = place.run(arguments);
        assert!(is_harmless(&said.out) && is_harmless(&said.err), "{arguments:?}: {said:?}");
        assert!(said.out.len() + said.err.len() > 0, "{arguments:?}");
    }
    for name in ["SERVERS", "HASH", "LOG_LEVEL", "WORKERS", "ADMIN_LISTEN", "LISTEN_SOCKET"] {
        let mut command = place.command(&["-t"]);
        let said = Said::from(command.env("SERVERS", "a:1").env(name, key).output().unwrap());
        assert!(is_harmless(&said.err), "{name}: {said:?}");
        assert_eq!(said.code, Some(1), "{name}");
    }
}

#[test]
fn route_ends_quietly_when_nobody_reads_on() {
    let place = Place::new("pipe");
    place.file("two.yml", TWO);
    let mut command = place.command(&["route", "-c", "two.yml"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let mut stdin = child.stdin.take().unwrap();
    let lines = "key\n".repeat(200_000);
    // The program may be gone before it has read everything.
    let _ = stdin.write_all(lines.as_bytes());
    drop(stdin);
    assert_eq!(Said::from(child.wait_with_output().unwrap()), said("", "", 0));
}

const MOVED: &str = "\
pool alpha: 3 of 12 keys move (25.0 %), measured with keys of keys

  from     to            keys
  a:11211  c:11211          2   16.7 %
  b:11211  c:11211          1    8.3 %

  server      before      after
  a:11211          8          6
  b:11211          4          3
  c:11211          0          3

";

const MOVED_JSON: &str = concat!(
    r#"{"pool":"alpha","keys":12,"moved":3,"#,
    r#""moves":[{"from":"a:11211","to":"c:11211","keys":2},"#,
    r#"{"from":"b:11211","to":"c:11211","keys":1}],"#,
    r#""servers":[{"server":"a:11211","before":8,"after":6},"#,
    r#"{"server":"b:11211","before":4,"after":3},"#,
    r#"{"server":"c:11211","before":0,"after":3}]}"#,
    "\n"
);

#[test]
fn diff_counts_the_keys_that_change_their_address() {
    let place = Place::new("diff");
    place.file("old.yml", TWO).file("new.yml", &format!("{TWO}   - c:11211:1\n"));
    let same = place.run(&["diff", "old.yml", "old.yml"]);
    assert!(same.out.starts_with(
        "pool alpha: 0 of 100000 keys move (0.0 %), measured with \
        generated keys, such as user:0 and session:"
    ));
    assert_eq!((same.err.as_str(), same.code), ("", Some(0)));

    let keys: String = (0..12).map(|i| format!("key:{i}\n")).collect();
    place.file("keys", &keys);
    let more = place.run(&["diff", "old.yml", "new.yml", "--keys", "keys"]);
    assert_eq!(more, said(MOVED, "", 0));
    let json = place.run(&["diff", "old.yml", "new.yml", "--keys", "keys", "--json"]);
    assert_eq!(json, said(MOVED_JSON, "", 0));
}

#[test]
fn diff_follows_addresses_not_names_and_tells_pools_without_a_partner() {
    let place = Place::new("renamed");
    let named = TWO.replace("a:11211:1", "a:11211:1 a").replace("b:11211:1", "b:11211:1 b");
    let beta = "beta:\n  listen: 127.0.0.1:1\n  servers:\n   - a:11211:1\n";
    place.file("old.yml", &format!("{TWO}{beta}"));
    place.file("new.yml", &format!("{named}{}", beta.replace("beta", "gamma")));
    let answer = place.run(&["diff", "old.yml", "new.yml"]);
    assert!(
        answer.out.starts_with("pool beta: only in old.yml\npool alpha: 0 of 100000 keys move")
    );
    assert!(answer.out.ends_with("pool gamma: only in new.yml\n"), "{}", answer.out);
}

#[test]
fn a_missing_file_of_keys_is_named() {
    let place = Place::new("keys");
    place.file("old.yml", TWO);
    let answer = place.run(&["diff", "old.yml", "old.yml", "--keys", "none"]);
    assert_eq!(answer, said("", "nuthatch: none: No such file or directory (os error 2)\n", 1));
    let answer = place.run(&["diff", "old.yml", "old.yml", "--keys", "."]);
    assert_eq!(answer, said("", "nuthatch: .: Is a directory (os error 21)\n", 1));
    let answer = place.run(&["diff", "none", "old.yml"]);
    let why = "none: conf: failed to open configuration 'none': No such file or directory (os error 2); \
               give a readable file\n";
    assert!(answer.err.starts_with(&format!("error: {why}")), "{}", answer.err);
}

/// What `-t` and the start say alike, of a pool that listens there, with these arguments.
#[track_caller]
fn assert_in_the_way(place: &Place, listen: &str, arguments: &[&str], why: &str) {
    place.file("a.yml", &TWO.replace("127.0.0.1:22121", listen));
    let told = said("", &format!("nuthatch: {why}\n"), 1);
    for all in
        [&[&["-t", "-c", "a.yml"], arguments].concat(), &[&["-c", "a.yml"], arguments].concat()]
    {
        assert_eq!(place.run(all), told, "{all:?}");
    }
}

#[test]
fn the_test_warns_of_a_missing_directory_that_may_exist_where_the_proxy_is_started() {
    let place = Place::new("no-directory");
    let sock = place.0.join("none/x.sock").display().to_string();
    let conf = format!("alpha:\n  listen: {sock}\n  servers:\n   - 127.0.0.1:11211:1\n");
    place.file("c.yml", &conf);
    let told = place.run(&["-t", "-c", "c.yml"]);
    let directory = place.0.join("none").display().to_string();
    let warning =
        format!("warning: pool 'alpha' can't listen on {sock} before {directory} exists\n");
    assert!(told.code == Some(0) && told.err.contains(&warning), "{told:?}");
}

#[test]
fn what_is_in_the_way_of_a_start_is_told_by_the_test_too() {
    let place = Place::new("in-the-way");
    let path = |name: &str| place.0.join(name).display().to_string();
    place.file("file", "").file("sub/x", "");
    std::os::unix::fs::symlink("nowhere", place.0.join("link")).unwrap();
    for (name, what) in [
        ("file", "a file that is not a socket is in the way".to_owned()),
        ("sub", "a directory is in the way".to_owned()),
        ("link", "a symbolic link that leads to no socket is in the way".to_owned()),
    ] {
        let path = path(name);
        let why = format!("pool 'alpha' can't listen on {path}: {what}");
        assert_in_the_way(&place, &path, &[], &why);
        let why = format!("the statistics port can't listen on {path}: {what}");
        assert_in_the_way(&place, "127.0.0.1:22121", &["-a", &path], &why);
    }
    let sock = path("sub/a.sock");
    for (listen, arguments, why) in [
        (
            "127.0.0.1:22122",
            &["-s", "22122"][..],
            "the statistics port can't listen on 0.0.0.0:22122: pool 'alpha' listens on 127.0.0.1:22122",
        ),
        (
            "\"*:22122\"",
            &["-s", "22122"],
            "the statistics port can't listen on 0.0.0.0:22122: pool 'alpha' listens on *:22122",
        ),
        (
            "\"[::1]:22122\"",
            &["--admin=*:22122"],
            "the admin port can't listen on *:22122: pool 'alpha' listens on [::1]:22122",
        ),
        (
            "0.0.0.0:22122",
            &["--admin=127.1:22122"],
            "the admin port can't listen on 127.1:22122: pool 'alpha' listens on 0.0.0.0:22122",
        ),
        (
            "127.0.0.1:22121",
            &["-s", "9600", "--admin=127.0.0.1:9600"],
            "the admin port can't listen on 127.0.0.1:9600: the statistics port listens on 0.0.0.0:9600",
        ),
        (
            &sock,
            &["-a", &sock],
            &format!("the statistics port can't listen on {sock}: pool 'alpha' listens on {sock}"),
        ),
        (
            "127.0.0.1:22121",
            &["-o", "none/log"],
            "failed to open log file 'none/log': No such file or directory (os error 2)",
        ),
        (
            "127.0.0.1:22121",
            &["-o", "sub"],
            "failed to open log file 'sub': Is a directory (os error 21)",
        ),
        (
            "127.0.0.1:22121",
            &["-p", "none/pid", "-o", "none/log"],
            "failed to open log file 'none/log': No such file or directory (os error 2)\nnuthatch: \
             failed to write pid file 'none/pid': No such file or directory (os error 2)",
        ),
    ] {
        assert_in_the_way(&place, listen, arguments, why);
    }
    assert!(!place.0.join("sub/a.sock").exists());
}

/// What goes wrong in the background before it listens is told in the foreground.
#[test]
fn a_daemon_that_cannot_start_says_why_and_fails() {
    let place = Place::new("daemon");
    place.file("two.yml", TWO);
    let answer = place.run(&["-d", "-c", "two.yml", "-p", "none/n.pid"]);
    let why = "failed to write pid file 'none/n.pid': No such file or directory (os error 2)";
    assert!(answer.err.contains(why) && answer.err.lines().count() == 1, "{}", answer.err);
    assert_eq!((answer.out.as_str(), answer.code), ("", Some(1)));
    assert!(!Path::new("none").exists());
}

/// `make it` runs these tests on such a program, too.
#[cfg(not(feature = "demo"))]
#[test]
fn a_program_without_demo_and_node_says_how_to_get_them() {
    let place = Place::new("no-demo");
    let why = "nuthatch: this program is built without the commands demo and node; to use them, \
               run \"cargo run --release -- demo\" in a clone of the source\n";
    for words in [&["demo", "--once"][..], &["node", "-l", "127.0.0.1:0"]] {
        assert_eq!(place.run(words), said("", why, 1), "{words:?}");
    }
}

/// The default program is such a one.
#[cfg(not(feature = "kubernetes"))]
#[test]
fn a_program_without_kubernetes_says_how_to_get_it() {
    let place = Place::new("no-kubernetes");
    let config = "p: {listen: \"127.0.0.1:0\", servers: [\"k8s+memcached.default:11211\"]}\n";
    place.file("a.yml", config);
    for words in [&["-t", "-c", "a.yml"][..], &["-c", "a.yml"]] {
        let answer = place.run(words);
        assert_eq!((answer.out.as_str(), answer.code), ("", Some(1)), "{}", answer.err);
        for part in
            ["a.yml:1:", "\"k8s+memcached.default:11211\"", "--features kubernetes", "dnssrv+"]
        {
            assert!(answer.err.contains(part), "{part} is not in {}", answer.err);
        }
    }
}
