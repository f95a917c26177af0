//! The documents are true: what they list is what there is, what they name exists, and what they
//! say of mistakes is what the parser does.
//!
//! The rule: a table in a document is compared with its source in both directions, so a row too
//! few fails as a row too many does.

#![expect(clippy::unwrap_used, reason = "a document that can't be read has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nuthatch::admin;
use nuthatch::args::FLAGS;
use nuthatch::config::{Config, lint};
use nuthatch::question::{About, Baseline, answer};
use nuthatch_core::error::ServerError;
use nuthatch_core::limits::Limits;
use nuthatch_core::memcache::{self, COMMANDS};
use nuthatch_core::message::{Parsed, Request};
use nuthatch_core::stats::{PoolStats, ServerStats};
use nuthatch_core::time::Instant;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What stands below a heading, up to the next one of its level or above.
fn section<'d>(document: &'d str, heading: &str) -> &'d str {
    let (_, rest) = document.split_once(&format!("\n{heading}\n")).expect(heading);
    let level = heading.find(' ').unwrap();
    let ends = (1..=level).filter_map(|level| rest.find(&format!("\n{} ", "#".repeat(level))));
    &rest[..ends.min().unwrap_or(rest.len())]
}

/// The cells of a table's rows, without those of its head.
fn rows(table: &str) -> impl Iterator<Item = Vec<&str>> {
    let lines = table.lines().skip_while(|line| !line.starts_with("| --")).skip(1);
    let rows = lines.take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect())
}

/// The words in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The one word in backticks of a cell.
fn name(cell: &str) -> &str {
    quoted(cell).next().unwrap_or_else(|| panic!("{cell:?} has a name in backticks"))
}

/// Asserts that a document has each of `known` once, and nothing else.
fn assert_lists<'a>(listed: impl Iterator<Item = &'a str>, known: impl Iterator<Item = &'a str>) {
    let mut listed: Vec<_> = listed.collect();
    let mut known: Vec<_> = known.collect();
    listed.sort_unstable();
    known.sort_unstable();
    assert_eq!(listed, known, "listed on the left, known on the right");
}

#[test]
fn every_command_stands_in_the_protocol_once() {
    let document = read("docs/protocol.md");
    let listed = rows(section(&document, "## Commands")).map(|row| name(row[0]));
    assert_lists(listed, COMMANDS.iter().map(|command| str::from_utf8(command.name).unwrap()));
}

#[test]
fn every_counter_stands_in_the_protocol_once() {
    let document = read("docs/protocol.md");
    let counters = section(&document, "### Counters");
    let (of_pool, of_server) = counters.split_once("\nThese are the counters of a server").unwrap();
    let (pool, server) = (PoolStats::default(), ServerStats::default());
    let of_pool_known =
        pool.all().map(|(name, _)| name).chain(pool.results.all().map(|(name, _)| name));
    assert_lists(rows(of_pool).map(|row| name(row[0])), of_pool_known);
    assert_lists(rows(of_server).map(|row| name(row[0])), server.all().map(|(name, _)| name));
}

#[test]
fn every_figure_of_the_stats_command_stands_in_the_protocol() {
    let text = b"alpha:\n  listen: 127.0.0.1:11211\n  servers: [127.0.0.1:11212:1]\n";
    let config = Config::parse(Path::new("a.yml"), text).unwrap();
    let workers = [PoolStats::default().into()];
    let (pool, baseline, epoch) = (&config.pools[0], &Baseline::default(), Duration::ZERO);
    let about = About { pool, workers: &workers, servers: &[], baseline, accepts: true, epoch };
    let document = read("docs/protocol.md");
    let (text, counters) = document.split_once("### Counters\n").unwrap();
    let (_, text) = text.split_once("## Statistics\n").unwrap();
    let figures: BTreeSet<_> = quoted(text).chain(rows(counters).map(|row| name(row[0]))).collect();
    let all =
        [&b"stats"[..], b"stats settings"].map(|line| answer(line, about, Instant::default()));
    let reply = String::from_utf8(all.concat()).unwrap();
    let stats = reply.lines().filter_map(|line| line.strip_prefix("STAT "));
    let names: Vec<_> = stats.map(|stat| stat.split(' ').next().unwrap()).collect();
    assert!(names.len() > 40, "{names:?}");
    for name in names {
        assert!(figures.contains(name), "{name}");
    }
}

/// What a table row stands for: escapes are bytes, `<n bytes>` is as many letters, and a line ends.
fn request_of(cell: &str) -> Vec<u8> {
    let mut text = cell.to_owned();
    while let Some((before, rest)) = text.split_once('<') {
        let (count, after) = rest.split_once(" bytes>").unwrap();
        text = [before, &"k".repeat(count.parse().unwrap()), after].concat();
    }
    let mut bytes = Vec::new();
    let mut pieces = text.split('\\');
    bytes.extend_from_slice(pieces.next().unwrap().as_bytes());
    for piece in pieces {
        let (byte, rest) = match piece.as_bytes()[0] {
            b'r' => (b'\r', &piece[1..]),
            b'n' => (b'\n', &piece[1..]),
            _ => (u8::from_str_radix(&piece[1..3], 16).unwrap(), &piece[3..]),
        };
        bytes.push(byte);
        bytes.extend_from_slice(rest.as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

#[test]
fn mistakes_are_answered_as_the_protocol_says() {
    let document = read("docs/protocol.md");
    let mut count = 0;
    for row in rows(section(&document, "## Mistakes")) {
        let [sent, told, after] = row[..] else { panic!("{row:?} has three cells") };
        let bytes = request_of(name(sent));
        let (answer, is_last) = match memcache::parse_request(&bytes, 0, &Limits::default()) {
            Parsed::Request(Request::Refused { error, .. }, _) => (error, false),
            Parsed::Request(Request::Lost { error, .. }, _) => (error, true),
            other => panic!("{sent} is no mistake: {other:?}"),
        };
        let told = if told == "nothing" { String::new() } else { format!("{}\r\n", name(told)) };
        assert_eq!(str::from_utf8(answer).unwrap(), told, "{sent}");
        assert_eq!(is_last, after == "closes", "{sent}");
        count += 1;
    }
    assert!(count > 30, "{count} rows");
}

#[test]
fn every_reason_of_a_server_error_stands_in_the_protocol() {
    let document = read("docs/protocol.md");
    let reasons = [
        ServerError::Refused,
        ServerError::TimedOut,
        ServerError::Reset,
        ServerError::Closed,
        ServerError::HostDown,
        ServerError::Unreachable,
        ServerError::NoSocket,
        ServerError::Desync,
        ServerError::NoServers,
        ServerError::Full,
        ServerError::Local,
        ServerError::Other,
    ];
    let known: BTreeSet<_> = reasons.map(ServerError::text).into();
    let listed = rows(section(&document, "## When a server can't answer")).map(|row| name(row[0]));
    assert_lists(listed, known.into_iter());
}

#[test]
fn the_protocol_has_the_words_of_the_limits() {
    let document = read("docs/protocol.md");
    let limits = section(&document, "## Limits");
    for words in [memcache::TOO_MANY_KEYS, memcache::BACKLOG_ERROR] {
        let words = str::from_utf8(words).unwrap().trim_end();
        assert!(limits.contains(&format!("`{words}`")), "{words}");
    }
}

/// `core/mux.rs` is `crates/core/src/mux.rs`, and below `tests/` it is below the crate itself.
fn source(path: &str) -> String {
    let (package, file) = path.split_once('/').unwrap();
    let folder = if file.starts_with("tests/") { "" } else { "src/" };
    read(&format!("crates/{package}/{folder}{file}"))
}

/// Checks a cell of `file.rs` and functions in it. Says how many functions it names.
fn check_names(cell: &str) -> usize {
    let (mut text, mut count) = (String::new(), 0);
    for word in quoted(cell) {
        if word.ends_with(".rs") {
            text = source(word);
        } else {
            let declared = [format!("fn {word}("), format!("fn {word}<")];
            assert!(declared.iter().any(|fn_| text.contains(fn_)), "{word} is not there: {cell}");
            count += 1;
        }
    }
    count
}

#[test]
fn every_name_of_the_walk_exists() {
    let document = read("ARCHITECTURE.md");
    let hops: Vec<_> = rows(section(&document, "## The walk of a `get`")).collect();
    for (number, hop) in hops.iter().enumerate() {
        assert_eq!(hop[0], (number + 1).to_string());
        assert!(check_names(hop[2]) > 0, "{hop:?}");
    }
    assert_eq!(hops.len(), 14);
    for failure in rows(section(&document, "## Failure is the same walk")) {
        assert!(check_names(failure[1]) > 0, "{failure:?}");
    }
}

#[test]
fn the_hops_of_the_walk_are_numbered_in_one_place_only() {
    fn check(folder: &Path) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                check(&path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap().to_lowercase();
                let mut behind = text.split("hop ").chain(text.split("hops ")).skip(1);
                let is_numbered = behind.any(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
                assert!(!is_numbered, "{} numbers a hop", path.display());
            }
        }
    }
    for package in ["core", "nuthatch", "nuthatch-node"] {
        check(&root().join("crates").join(package).join("src"));
    }
}

#[test]
fn the_architecture_is_short_and_its_map_is_whole() {
    let document = read("ARCHITECTURE.md");
    assert!(document.lines().count() <= 220);
    let map = section(&document, "## The map");
    for package in ["core", "nuthatch", "nuthatch-node"] {
        for entry in fs::read_dir(root().join("crates").join(package).join("src")).unwrap() {
            let file = entry.unwrap().file_name().into_string().unwrap();
            let is_on_it = !file.ends_with(".rs") || map.contains(&format!("`{file}`"));
            assert!(is_on_it, "{package}/src/{file} is not on the map");
        }
    }
}

/// The direct dependencies of a manifest: name, and whether only tests need it.
fn dependencies(manifest: &str) -> BTreeSet<(String, bool)> {
    let mut kind = None;
    let mut found = BTreeSet::new();
    for line in manifest.lines() {
        match line {
            "[dependencies]" => kind = Some(false),
            "[dev-dependencies]" => kind = Some(true),
            _ if line.starts_with('[') => kind = None,
            _ => {
                if let (Some(is_dev), Some((name, _))) = (kind, line.split_once(" = ")) {
                    found.insert((name.to_owned(), is_dev));
                }
            }
        }
    }
    found
}

#[test]
fn every_dependency_has_its_reason() {
    let mut known = BTreeSet::new();
    for (package, manifest) in [
        ("core", "crates/core/Cargo.toml"),
        ("nuthatch", "crates/nuthatch/Cargo.toml"),
        ("node", "crates/nuthatch-node/Cargo.toml"),
        ("bench", "bench/Cargo.toml"),
        ("cache-api", "examples/cache-api/Cargo.toml"),
        ("harness", "tests/harness/Cargo.toml"),
        ("fuzz", "fuzz/Cargo.toml"),
    ] {
        if package == "fuzz" && !root().join(manifest).exists() {
            continue;
        }
        let found = dependencies(&read(manifest));
        for (name, is_dev) in &found {
            // Tests need what the package needs, which is no second reason.
            if !is_dev || !found.contains(&(name.clone(), false)) {
                let tests = if *is_dev { " (tests)" } else { "" };
                known.insert((name.clone(), format!("{package}{tests}")));
            }
        }
    }
    let document = read("docs/dependencies.md");
    let mut listed = BTreeSet::new();
    for row in rows(&document) {
        assert!(row[2].len() > 10, "{row:?} has a reason");
        for user in row[1].split(", ") {
            assert!(listed.insert((name(row[0]).to_owned(), user.to_owned())), "{row:?}");
        }
    }
    assert_eq!(listed, known, "listed on the left, known on the right");
}

/// What only the demo needs is optional, and both recipes of what is shipped leave it out.
#[test]
fn what_is_shipped_is_built_without_the_demo() {
    let manifest = read("crates/nuthatch/Cargo.toml");
    for name in ["indicatif", "nuthatch-node"] {
        let line = manifest.lines().find(|line| line.starts_with(&format!("{name} = "))).unwrap();
        assert!(line.contains("optional = true"), "{line}");
    }
    for path in ["Makefile", "Dockerfile"] {
        let recipes = read(path).replace("\\\n", " ");
        let build = recipes.lines().find(|line| line.contains("+crt-static")).unwrap();
        assert!(build.contains(" --package nuthatch "), "{path}: {build}");
        assert!(build.contains(" --no-default-features "), "{path}: {build}");
    }
}

#[test]
fn every_package_for_the_tests_has_its_reason() {
    let makefile = read("Makefile").replace("\\\n", " ");
    let packages = makefile.lines().find_map(|line| line.strip_prefix("DEPS = ")).unwrap();
    let document = read("docs/dependencies.md");
    let listed = rows(section(&document, "## Debian packages")).map(|row| name(row[0]));
    assert_lists(listed, packages.split_whitespace());
}

/// All files below a folder that end so.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    found
}

#[test]
fn every_event_of_the_log_has_its_explanation() {
    let document = read("docs/operations.md");
    let lines: Vec<_> = rows(section(&document, "## Log")).map(|row| row[0]).collect();
    let mut count = 0;
    let programs = ["crates/nuthatch/src", "crates/nuthatch-node/src"];
    for file in programs.iter().flat_map(|folder| files(&root().join(folder), ".rs")) {
        let text = fs::read_to_string(&file).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap();
        for begin in ["log::error!(", "log::warn!(", "log::info!(", "::always("] {
            for call in text.split(begin).skip(1) {
                // Figures stand before the words, with a semicolon between them.
                let behind = if call.starts_with('"') { "\"" } else { "; \"" };
                let words = call.split(behind).nth(1).unwrap().split('"').next().unwrap();
                let is_listed = lines.iter().any(|line| line.contains(words));
                assert!(is_listed || words == "{error}", "{}: {words:?}", file.display());
                count += usize::from(is_listed);
            }
        }
    }
    assert!(count > 12, "{count} events");
}

#[test]
fn every_path_of_the_admin_port_has_its_row() {
    let document = read("docs/operations.md");
    let listed = rows(section(&document, "## Admin port")).map(|row| name(row[0]));
    assert_lists(listed, ["/"].into_iter().chain(admin::PATHS.iter().map(|(path, _)| *path)));
}

#[test]
fn every_variable_that_stands_for_a_flag_has_its_row() {
    let document = read("docs/config.md");
    let table = section(&document, "### Variables in place of flags");
    let listed: Vec<_> = rows(table).map(|row| (name(row[0]), name(row[1]))).collect();
    let known = FLAGS.iter().filter_map(|flag| Some((flag.variable?, format!("--{}", flag.long))));
    let known: Vec<_> = known.collect();
    assert_eq!(listed, known.iter().map(|(name, flag)| (*name, &**flag)).collect::<Vec<_>>());
}

#[test]
fn every_trap_has_an_example_that_is_one() {
    let document = read("docs/from-twemproxy.md");
    let mut count = 0;
    for row in rows(section(&document, "## Before you switch")) {
        let timeout = if row[1].contains("timeout") { "" } else { "timeout: 400, " };
        let text = format!("p: {{listen: \"h:1\", {timeout}{}}}\n", name(row[1]));
        let config = Config::parse(Path::new("a.yml"), text.as_bytes());
        let config = config.unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(lint::warnings(&config).len(), 1, "{row:?}");
        count += 1;
    }
    let lints = read("crates/nuthatch/src/config/lint.rs");
    let (_, table) = lints.split_once("const LINTS").unwrap();
    let (_, names) = table.split_once("= &[").unwrap();
    let names = names.split_once("];").unwrap().0;
    assert_eq!(count, names.split(',').filter(|name| !name.trim().is_empty()).count());
}

#[test]
fn the_example_of_the_readme_is_a_good_one_and_its_answer_right() {
    let document = read("README.md");
    let example = document.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let config = Config::parse(Path::new("nutcracker.yml"), example.as_bytes()).unwrap();
    assert_eq!(lint::warnings(&config), []);
    let pool = &config.pools[0];
    let server = &pool.servers[pool.ring(0).route(b"user:42")].name;
    let answer = format!("\nuser:42\t{:08x}\t{server}\n", pool.hash.hash(b"user:42"));
    assert!(document.contains(&answer), "{answer}");
    for command in nuthatch::args::COMMANDS {
        assert!(document.contains(&format!("`nuthatch {}", command.name)), "{}", command.name);
    }
}

#[test]
fn every_directive_of_the_example_for_small_memory_is_known() {
    let document = read("docs/operations.md");
    let limits = document.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let text = format!("p:\n  listen: h:1\n  servers: [a:1:1]\n{limits}");
    let config = Config::parse(Path::new("a.yml"), text.as_bytes());
    assert_eq!(config.unwrap().pools[0].limits.memory_max, 16 << 20);
}

/// The targets of the links of a document, without those to the web.
fn links(document: &str) -> impl Iterator<Item = &str> {
    let targets = document.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.starts_with("http"))
}

/// What a heading is called in a link.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().replace(' ', "-")
}

#[test]
fn every_link_leads_somewhere() {
    let mut documents = files(&root().join("docs"), ".md");
    documents.extend(files(&root().join("examples"), ".md"));
    let top = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path());
    documents.extend(top.filter(|path| path.extension().is_some_and(|end| end == "md")));
    assert!(documents.len() > 20, "{documents:?}");
    for path in documents {
        let text = fs::read_to_string(&path).unwrap();
        for link in links(&text) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target =
                if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            assert!(target.exists(), "{}: {link}", path.display());
            let there = || fs::read_to_string(&target).unwrap();
            let has_heading = || {
                let text = there();
                text.lines().any(|line| line.starts_with('#') && anchor(line) == heading)
            };
            assert!(heading.is_empty() || has_heading(), "{}: {link}", path.display());
        }
    }
}

#[test]
fn every_decision_has_its_three_parts_and_is_listed() {
    let list = read("docs/decisions/README.md");
    let folder = root().join("docs/decisions");
    for path in files(&folder, ".md").iter().filter(|path| !path.ends_with("README.md")) {
        let text = fs::read_to_string(path).unwrap();
        let parts: Vec<_> = text.lines().filter(|line| line.starts_with("## ")).collect();
        assert_eq!(parts, ["## Context", "## Decision", "## Consequences"], "{path:?}");
        let file = path.file_name().unwrap().to_str().unwrap();
        let title = text.lines().next().unwrap();
        let number: usize = file[..4].parse().unwrap();
        let title = title.strip_prefix(&format!("# {number}. ")).expect(title);
        assert!(list.contains(&format!("{number}. [{title}]({file})\n")), "{title}");
    }
}
