//! Command lines and what they mean.

use super::*;
use crate::config::cpus;

fn read(line: &str) -> Result<Command, UsageError> {
    read_in(line, |_| None)
}

fn read_in(line: &str, variable: impl Fn(&str) -> Option<OsString>) -> Result<Command, UsageError> {
    parse(["nuthatch"].into_iter().chain(line.split_whitespace()).map(OsString::from), variable)
}

fn options(line: &str) -> Options {
    match read(line) {
        Ok(Command::Serve(options)) => options,
        other => panic!("{line:?} gave {other:?}"),
    }
}

fn refusal(line: &str) -> String {
    read(line).expect_err(line).to_string()
}

#[test]
fn without_flags_the_proxy_runs_as_twemproxy_would() {
    let options = options("");
    assert_eq!(options.file, None);
    assert_eq!(options.output, None);
    assert_eq!(options.verbosity, 5);
    assert_eq!(options.stats_port, 22222);
    assert_eq!(options.stats_addr, "0.0.0.0");
    assert_eq!(options.stats_interval, 30_000);
    assert_eq!(options.pid_file, None);
    assert!(!options.daemonize);
    assert_eq!(options.workers.get(), 1);
}

#[test]
fn every_flag_is_read_short_long_and_glued() {
    let options = options(
        "-d -v6 -o log --conf-file=a.yml -s 1 --stats-addr /tmp/s -i 5 -p pid -m 512 --workers 3",
    );
    assert!(options.daemonize);
    assert_eq!(options.verbosity, 6);
    assert_eq!(options.output, Some("log".into()));
    assert_eq!(options.file, Some("a.yml".into()));
    assert_eq!(options.stats_port, 1);
    assert_eq!(options.stats_addr, "/tmp/s");
    assert_eq!(options.stats_interval, 5);
    assert_eq!(options.pid_file, Some("pid".into()));
    assert_eq!(options.mbuf_size, Some(512));
    assert_eq!(options.workers.get(), 3);
}

#[test]
fn every_flag_and_command_of_the_tables_is_read() {
    for flag in FLAGS {
        let argument = match flag.argument {
            "" => "",
            "N" | "N|auto" | "PORT" | "MS" | "SEC" => " 7",
            "BYTES" => " 4096",
            "HOST:PORT" => " localhost:9600",
            "FORMAT" => " json",
            _ => " x",
        };
        let before = if flag.long == "bind" { "-t " } else { "" };
        assert!(read(&format!("{before}--{}{argument}", flag.long)).is_ok(), "--{}", flag.long);
        for letter in flag.short.chars() {
            assert!(read(&format!("-{letter}{argument}")).is_ok(), "-{letter}");
        }
    }
    for command in COMMANDS {
        assert_eq!(read(&format!("{} --help", command.name)), Ok(Command::HelpOf(command)));
    }
}

#[test]
fn a_log_level_beyond_the_last_is_the_last() {
    assert_eq!(options("-v 0").verbosity, 0);
    assert_eq!(options("-v 11").verbosity, 11);
    assert_eq!(options("-v 4000").verbosity, 11);
}

#[test]
fn long_flags_may_be_cut_while_they_are_unique() {
    assert_eq!(options("--conf=a").file, Some("a".into()));
    assert_eq!(read("--stats-p"), Err(UsageError::new("option -s requires a number")));
    for (cut, names) in [
        ("--stats 1", "'--stats' is ambiguous: --stats-port, --stats-addr, --stats-interval"),
        ("--ver", "'--ver' is ambiguous: --version, --verbose"),
        ("--v", "'--v' is ambiguous: --version, --verbose"),
    ] {
        assert_eq!(refusal(cut), format!("option {names}"));
    }
    assert_eq!(refusal("--x"), "invalid option -- '--x'");
}

fn tests(options: Options, binds: bool) -> Command {
    Command::Test { options, binds }
}

#[test]
fn the_listeners_are_opened_only_by_the_test() {
    assert_eq!(read("--bind -t -c a.yml"), Ok(tests(options("-c a.yml"), true)));
    assert_eq!(refusal("--bind -c a.yml"), "option --bind requires -t: it is a part of the test");
    assert_eq!(read("--bind -h"), Ok(Command::Help));
    assert_eq!(
        refusal("upgrade -t --bind --control=/run/c"),
        "option --bind is not for upgrade, which takes the listeners of the running process"
    );
}

#[test]
fn help_goes_before_version_before_statistics_before_the_test() {
    assert_eq!(read("-t -D -V -h"), Ok(Command::Help));
    assert_eq!(read("-t -D -V"), Ok(Command::Version));
    assert_eq!(read("-t -D"), Ok(Command::DescribeStats));
    assert_eq!(read("-t -c a.yml"), Ok(tests(options("-c a.yml"), false)));
    assert_eq!(read("-?"), Ok(Command::Help));
}

#[test]
fn refusals_are_in_twemproxys_words() {
    for (line, words) in [
        ("-z", "invalid option -- 'z'"),
        ("-h -z", "invalid option -- 'z'"),
        ("-v", "option -v requires a number"),
        ("-v x", "option -v requires a number"),
        ("-v -1", "option -v requires a number"),
        ("-v 4294967296", "option -v requires a number"),
        ("-s", "option -s requires a number"),
        ("-s x", "option -s requires a number"),
        ("-s 0", "option -s value 0 is not a valid port"),
        ("-s 65536", "option -s value 65536 is not a valid port"),
        ("-i x", "option -i requires a number"),
        ("-m 0", "option -m requires a non-zero number"),
        ("-m x", "option -m requires a non-zero number"),
        ("-m 511", "mbuf chunk size must be between 512 and 16777216 bytes"),
        ("-m 16777217", "mbuf chunk size must be between 512 and 16777216 bytes"),
        ("-c", "option -c requires a file name"),
        ("-o", "option -o requires a file name"),
        ("-p", "option -p requires a file name"),
        ("--pid-file=", "option -p requires a file name"),
        ("--output=", "option -o requires a file name"),
        ("-a", "option -a requires a string"),
    ] {
        assert_eq!(refusal(line), words, "{line}");
    }
}

#[test]
fn a_slip_is_answered_with_the_word_that_was_meant() {
    assert_eq!(
        refusal("--stat-port 1"),
        "invalid option -- '--stat-port'; did you mean '--stats-port'?"
    );
    assert_eq!(refusal("rotue k"), "unexpected argument 'rotue'; did you mean 'route'?");
    assert_eq!(refusal("hello"), "unexpected argument 'hello'");
    assert_eq!(
        refusal("-c a.yml demo"),
        "write the command before its options: nuthatch demo [--once] [--redis]"
    );
}

#[test]
fn workers_are_a_number_or_what_is_granted() {
    assert_eq!(options("--workers auto").workers, cpus::granted());
    for line in ["--workers", "--workers 0", "--workers -1", "--workers 1025", "--workers many"] {
        assert_eq!(
            refusal(line),
            "option --workers requires a number from 1 to 1024, or auto",
            "{line}"
        );
    }
}

#[test]
fn the_admin_port_is_an_address_and_no_unix_socket() {
    let tcp = |host: &str, port| Some(Listen::Tcp { host: host.into(), port });
    assert_eq!(options("").admin, None);
    assert_eq!(options("--admin 0.0.0.0:9600").admin, tcp("0.0.0.0", 9600));
    assert_eq!(options("--admin=[::1]:0").admin, tcp("::1", 0));
    for line in ["--admin", "--admin 9600", "--admin /tmp/admin", "--admin a:99999"] {
        let words = "option --admin requires host:port, such as 127.0.0.1:9600";
        assert_eq!(refusal(line), words, "{line}");
    }
}

#[test]
fn the_log_has_two_formats() {
    assert_eq!(options("--log-format auto").log_format, None);
    assert_eq!(options("--log-format text").log_format, Some(Format::Text));
    assert_eq!(options("--log-format json").log_format, Some(Format::Json));
    assert_eq!(refusal("--log-format xml"), "option --log-format requires text, json or auto");
}

#[test]
fn answers_of_dns_are_used_for_seconds() {
    let found = options(
        "--resolv-conf r --dns-ttl-min 2 --dns-ttl-max 86400 --discovery-wait 9 --discovery-hold 8",
    );
    assert_eq!(found.dns.resolv_conf, PathBuf::from("r"));
    let seconds = [found.dns.ttl_min, found.dns.ttl_max, found.discovery_wait, found.dns.hold];
    assert_eq!(seconds.map(|wait| wait.as_secs()), [2, 86_400, 9, 8]);
    for line in ["--dns-ttl-min 0", "--dns-ttl-max 86401", "--discovery-wait 0"] {
        let flag = line.split(' ').next().unwrap();
        let words = format!("option {flag} requires a number of seconds from 1 to 86400");
        assert_eq!(refusal(line), words);
    }
    assert_eq!(options("--service-account d").dns.service_account, PathBuf::from("d"));
    let words = "option --dns-ttl-min must not be greater than --dns-ttl-max";
    assert_eq!(refusal("--dns-ttl-min 31"), words);
    assert_eq!(options("--dns-ttl-min 31 --dns-ttl-max 31").dns.ttl_min.as_secs(), 31);
}

#[test]
fn a_variable_stands_for_a_flag_that_is_not_there() {
    let variable = |name: &str| match name {
        "WORKERS" => Some("3".into()),
        "LOG_LEVEL" => Some("7".into()),
        "LOG_FORMAT" => Some("json".into()),
        "ADMIN_LISTEN" => Some("".into()),
        _ => None,
    };
    let Ok(Command::Serve(found)) = read_in("--workers 5", variable) else { panic!("it serves") };
    assert_eq!((found.workers.get(), found.verbosity), (5, 7));
    assert_eq!((found.log_format, found.admin), (Some(Format::Json), None));
    let nonsense = |_: &str| Some(OsString::from("nonsense"));
    assert_eq!(read_in("demo", nonsense), Ok(Command::Demo { once: false, redis: false }));
    assert_eq!(read_in("-h", nonsense), Ok(Command::Help));
    let dns =
        "--resolv-conf=r --dns-ttl-min=2 --dns-ttl-max=3 --discovery-wait=4 --discovery-hold=5";
    let all = format!("-t --workers 2 -v 5 --admin=h:1 --log-format=text {dns}");
    let test = format!("--workers 2 --admin=h:1 --log-format=text {dns}");
    let test = tests(options(&test), false);
    assert_eq!(read_in(&all, nonsense), Ok(test), "a flag goes before its variable");
}

#[test]
fn a_log_level_of_the_environment_may_be_a_name() {
    for (text, level) in [
        ("info", 5),
        ("WARN", 4),
        ("notice", 5),
        (" Debug ", 7),
        ("critical", 2),
        ("off", 0),
        ("7", 7),
    ] {
        let variable = |name: &str| (name == "LOG_LEVEL").then(|| text.into());
        let Ok(Command::Serve(options)) = read_in("", variable) else { panic!("it serves") };
        assert_eq!(options.verbosity, level, "{text}");
    }
    assert_eq!(refusal("-v info"), "option -v requires a number");
}

#[test]
fn words_of_variables_are_read_in_any_case() {
    let variable = |name: &str| match name {
        "WORKERS" => Some(" AUTO ".into()),
        "LOG_FORMAT" => Some("Json".into()),
        _ => None,
    };
    let Ok(Command::Serve(options)) = read_in("", variable) else { panic!("it serves") };
    assert_eq!((options.workers, options.log_format), (cpus::granted(), Some(Format::Json)));
}

#[test]
fn the_statistics_listen_on_an_address_or_a_path() {
    for (text, address) in [
        ("[::]", "::"),
        ("::1", "::1"),
        ("0.0.0.0", "0.0.0.0"),
        ("localhost", "localhost"),
        ("*", "*"),
    ] {
        assert_eq!(options(&format!("-a {text}")).stats_addr, address);
    }
    assert_eq!(
        refusal("-a a,b"),
        "option -a can't listen on 'a,b': write an IP address or a host name, such as 127.0.0.1; for all \
         addresses write *, or 0.0.0.0 for those of IPv4 only"
    );
    assert!(refusal("-a=").starts_with("option -a can't listen on ''"));
    let long = format!("-a /{}", "x".repeat(107));
    assert!(refusal(&long).ends_with("a unix socket's path has at most 107 bytes"));
    assert!(refusal("--admin *").starts_with("option --admin requires host:port"));
    let admin = options("--admin *:9600").admin;
    assert_eq!(admin, Some(Listen::Tcp { host: "*".into(), port: 9600 }));
}

#[test]
fn a_command_that_is_called_wrongly_is_answered_with_its_own_usage() {
    let usage = |line| read(line).expect_err(line).usage();
    assert_eq!(usage("diff a"), "Usage: nuthatch diff OLD NEW [-p POOL] [--keys FILE] [--json]\n");
    assert_eq!(usage("man page"), "Usage: nuthatch man\n");
    assert!(usage("-z").starts_with("Usage: nuthatch [-?hVdDt]"));
}

#[test]
fn completions_are_for_a_shell_that_is_known() {
    assert_eq!(read("completions bash"), Ok(Command::Completions(Shell::Bash)));
    assert_eq!(read("completions zsh"), Ok(Command::Completions(Shell::Zsh)));
    assert_eq!(read("completions fish"), Ok(Command::Completions(Shell::Fish)));
    for line in ["completions", "completions tcsh", "completions bash zsh"] {
        assert_eq!(
            refusal(line),
            "completions requires the name of a shell: bash, zsh, fish",
            "{line}"
        );
    }
    assert_eq!(read("man"), Ok(Command::Man));
}

#[test]
fn the_next_process_takes_the_flags_of_the_proxy_and_the_control_socket() {
    let options = |upgrade| Options {
        file: Some("a.yml".into()),
        control: Some("/run/c".into()),
        upgrade,
        ..Options::default()
    };
    assert_eq!(read("upgrade -c a.yml --control /run/c"), Ok(Command::Serve(options(true))));
    assert_eq!(read("-c a.yml --control /run/c"), Ok(Command::Serve(options(false))));
    assert_eq!(read("upgrade -t -c a.yml --control=/run/c"), Ok(tests(options(true), false)));
    let needed = "upgrade requires --control: the control socket of the running process";
    assert_eq!(refusal("upgrade -c a.yml"), needed);
    assert_eq!(refusal("upgrade --control /run/c now"), "unexpected argument 'now'");
    assert!(matches!(read("upgrade --help"), Ok(Command::HelpOf(word)) if word.name == "upgrade"));
}

#[test]
fn the_help_of_a_command_is_about_that_command_only() {
    for command in COMMANDS {
        let help = help_of(command);
        assert!(help.starts_with(&format!("Usage: nuthatch {}", command.name)), "{help}");
        for part in ["\n\nOptions:\n", "\n\nExamples:\n  nuthatch ", "\n\nExit code: 0"] {
            assert!(help.contains(part), "{part:?} in {help}");
        }
        assert!(help.contains(command.about));
        for flag in command.flags {
            assert!(help.contains(&format!("--{}", flag.long)), "{}", flag.long);
        }
        for other in COMMANDS.iter().filter(|other| other.name != command.name) {
            assert!(!help.contains(&format!("nuthatch {} ", other.name)), "{help}");
        }
        assert!(command.has_flags_of_proxy() || !help.contains("--daemonize"));
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
    }
}

/// All flags, each with the command that it is of.
fn all_flags() -> impl Iterator<Item = &'static Flag> {
    FLAGS.iter().chain(COMMANDS.iter().flat_map(|command| command.flags))
}

#[test]
fn the_manual_has_every_flag_command_and_variable() {
    let page = man().replace("\\-", "-");
    for flag in all_flags() {
        assert!(page.contains(&format!("\\fB--{}\\fR", flag.long)), "{}", flag.long);
        assert!(page.contains(flag.doc), "{}", flag.doc);
        for letter in flag.short.chars() {
            assert!(page.contains(&format!("\\fB-{letter}\\fR")), "-{letter}");
        }
    }
    for command in COMMANDS {
        assert!(page.contains(&format!(".SS \"nuthatch {}", command.name)), "{}", command.name);
    }
    for variable in crate::config::environment::VARIABLES {
        assert!(page.contains(&format!("\\fB{}\\fR", variable.name)), "{}", variable.name);
    }
    assert!(!page.contains("\n\n"), "an empty line is a gap in the page");
}

#[test]
fn every_shell_completes_every_flag_and_command() {
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let script = completions(shell);
        for flag in all_flags() {
            let name = if shell == Shell::Fish { "-l " } else { "--" };
            assert!(script.contains(&format!("{name}{}", flag.long)), "{}", flag.long);
        }
        for command in COMMANDS {
            assert!(script.contains(command.name), "{}", command.name);
        }
    }
}

#[test]
fn a_variable_without_meaning_is_named() {
    for (wrong, words) in [
        ("WORKERS", "option --workers requires a number from 1 to 1024, or auto"),
        (
            "LOG_LEVEL",
            "option -v requires a number from 0 to 11, or one of off, none, critical, error, warn, \
             warning, notice, info, debug, trace",
        ),
        ("LOG_FORMAT", "option --log-format requires text, json or auto"),
        ("ADMIN_LISTEN", "option --admin requires host:port, such as 127.0.0.1:9600"),
    ] {
        let variable = |name: &str| (name == wrong).then(|| "-x".into());
        let told = read_in("-t", variable).expect_err(wrong).to_string();
        assert_eq!(told, format!("environment: {wrong}: \"-x\": {words}"));
    }
}

#[test]
fn commands_have_flags_of_their_own() {
    assert_eq!(read("demo"), Ok(Command::Demo { once: false, redis: false }));
    assert_eq!(read("demo --once"), Ok(Command::Demo { once: true, redis: false }));
    assert_eq!(read("demo --redis"), Ok(Command::Demo { once: false, redis: true }));
    let node = |listen: &str, memory| Ok(Command::Node { listen: listen.into(), memory });
    assert_eq!(read("node"), node("127.0.0.1:11211", 64));
    assert_eq!(read("node -l [::1]:5 --memory 128"), node("[::1]:5", 128));
    let route = Route {
        file: Some("a.yml".into()),
        pool: Some("alpha".into()),
        json: true,
        keys: vec!["k1".into(), "-k2".into()],
        dns: resolve::Options::default(),
    };
    assert_eq!(read("route -c a.yml -p alpha --json k1 -- -k2"), Ok(Command::Route(route)));
    let diff = Diff {
        old: "a".into(),
        new: "b".into(),
        pool: None,
        keys: Some("k".into()),
        json: false,
        dns: resolve::Options::default(),
    };
    assert_eq!(read("diff a b --keys k"), Ok(Command::Diff(diff)));
    assert_eq!(refusal("diff a"), "diff requires two files: nuthatch diff OLD NEW");
    assert_eq!(refusal("demo now"), "unexpected argument 'now'");
}

#[test]
fn the_help_names_every_flag_command_and_variable() {
    let help = help();
    for flag in FLAGS.iter().chain(COMMANDS.iter().flat_map(|command| command.flags)) {
        assert!(help.contains(&format!("--{}", flag.long)), "{}", flag.long);
    }
    for command in COMMANDS {
        assert!(help.contains(&format!("nuthatch {}", command.name)), "{}", command.name);
    }
    for variable in crate::config::environment::VARIABLES {
        let start = format!("  {:<23}: ", variable.name);
        assert!(help.lines().any(|line| line.starts_with(&start)), "{}", variable.name);
    }
    assert!(help.lines().all(|line| line.chars().count() <= 100));
}

#[test]
fn every_flag_and_command_stands_in_the_documentation() {
    let documentation = include_str!("../../../../docs/config.md");
    let names = |flag: &Flag| {
        let letters = flag.short.chars().map(|letter| format!("`-{letter}`"));
        let argument = if flag.argument.is_empty() { "" } else { "=" };
        let long = format!("`--{}{argument}{}`", flag.long, flag.argument.replace('|', "\\|"));
        letters.chain([long]).collect::<Vec<_>>().join(", ")
    };
    for flag in FLAGS {
        let row = format!("\n| {} | {} |\n", names(flag), flag.doc);
        assert!(documentation.contains(&row), "{row}");
    }
    for command in COMMANDS {
        let flags = command.flags.iter().filter(|flag| flag.long != "help").map(names);
        let flags = flags.collect::<Vec<_>>().join(", ");
        let flags = match flags.as_str() {
            _ if command.has_flags_of_proxy() => "those of the proxy".to_owned(),
            "" => "none".to_owned(),
            _ => flags,
        };
        let row = format!("\n| `nuthatch {}` | {flags} | {} |\n", command.name, command.doc);
        assert!(documentation.contains(&row), "{row}");
    }
}
