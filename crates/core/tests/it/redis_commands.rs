//! The table of Redis's and Valkey's commands says what the servers say.
//!
//! `tests/data/*-commands.csv` has a line for each command and each subcommand of a server: name
//! (`container|subcommand`), arity, first key, last key, step from key to key, and the flags
//! `readonly`, `write`, `blocking` and `movablekeys` (where the keys are depends on the arguments).
//! Redis 7.0.15's is from its reply to `COMMAND`. Those of Redis 8 (8.10, with its modules) and
//! Valkey 9 (9.1; `COMMANDLOG` as in 9.2) are from the published descriptions of their commands, so
//! commands without a description are not there.

use crate::sim::resp::array;
use nuthatch_core::message::{Class, Effect};
use nuthatch_core::redis::command::{Action, Command, Dedicated, Keys, all, find};
use nuthatch_core::redis::moving::effect;
use std::collections::{BTreeMap, BTreeSet};

const SERVERS: [&str; 3] = [
    include_str!("../data/redis-7.0.15-commands.csv"),
    include_str!("../data/redis-8-commands.csv"),
    include_str!("../data/valkey-9-commands.csv"),
];

/// Commands whose arity is not the same on all servers, and the laxer one, which the table has.
const LAX_ARITIES: [(&str, i8); 5] = [
    // Redis 7.0 refuses to find the keys of a command without arguments.
    ("command|getkeys", -3),
    ("command|getkeysandflags", -3),
    // Redis 7.2 added WITHSCORE.
    ("zrank", -3),
    ("zrevrank", -3),
    // Internal, and of different kinds in Redis and Valkey.
    ("cluster|syncslots", -2),
];

/// Commands whose keys are not where servers say, and why.
const OTHER_KEYS: [(&str, Keys); 6] = [
    // The last argument of JSON.MGET is a path; Redis only tells the first key.
    ("json.mget", Keys::Range { first: 1, last: -2, step: 1 }),
    // Redis only tells the key of the result.
    ("cms.merge", Keys::Counted { count: 2, stores: true }),
    // Channels have servers as keys have; without a cluster, they have none to Redis.
    ("publish", Keys::Range { first: 1, last: 1, step: 1 }),
    ("subscribe", Keys::Range { first: 1, last: -1, step: 1 }),
    ("unsubscribe", Keys::Range { first: 1, last: -1, step: 1 }),
    // JSON.DEBUG has a key after the word MEMORY only. It is for one server.
    ("json.debug", Keys::None),
];

/// Rows that no server lists: DEBUG OBJECT is one of the arguments of DEBUG.
const UNLISTED: [&str; 1] = ["debug|object"];

/// A line of a server's file.
struct Line {
    name: &'static str,
    arity: i8,
    keys: Keys,
    flags: BTreeSet<&'static str>,
}

fn lines() -> impl Iterator<Item = Line> {
    SERVERS.iter().flat_map(|server| server.lines().skip(1)).map(|line| {
        let [name, arity, first, last, step, flags] =
            line.split(',').collect::<Vec<_>>()[..].try_into().expect("6 columns");
        let keys = match first {
            "0" => Keys::None,
            _ => Keys::Range {
                first: first.parse().expect("a number"),
                last: last.parse().expect("a number"),
                step: step.parse().expect("a number"),
            },
        };
        let arity = arity.parse().expect("a number");
        Line { name, arity, keys, flags: flags.split_whitespace().collect() }
    })
}

/// All commands and subcommands with their names in the files.
fn rows() -> Vec<(String, &'static Command)> {
    let with_subcommands = |command: &'static Command| {
        let subcommand_rows = command
            .subcommands
            .iter()
            .map(|subcommand| (format!("{}|{}", command.name, subcommand.name), subcommand));
        std::iter::once((command.name.to_owned(), command)).chain(subcommand_rows)
    };
    all().flat_map(with_subcommands).collect()
}

/// The row with this name in the files.
fn row(name: &str) -> &'static Command {
    let found = match name.split_once('|') {
        None => find(name.as_bytes()),
        Some((container, subcommand)) => find(container.as_bytes())
            .and_then(|container| container.find_subcommand(subcommand.as_bytes())),
    };
    found.unwrap_or_else(|| panic!("the table has no row for {name}"))
}

fn mixed_case(name: &str) -> String {
    let upper_if_odd = |(index, byte): (usize, char)| match index % 2 {
        0 => byte,
        _ => byte.to_ascii_uppercase(),
    };
    name.chars().enumerate().map(upper_if_odd).collect()
}

#[test]
fn every_command_of_the_servers_has_a_row_with_its_arity() {
    for line in lines() {
        let lax = LAX_ARITIES.iter().find(|(name, _)| *name == line.name);
        let expected = lax.map_or(line.arity, |(_, arity)| *arity);
        assert_eq!(row(line.name).arity, expected, "the arity of {}", line.name);
    }
}

#[test]
fn servers_differ_in_the_arities_of_the_listed_commands_only() {
    let mut arities: BTreeMap<&str, BTreeSet<i8>> = BTreeMap::new();
    for line in lines() {
        arities.entry(line.name).or_default().insert(line.arity);
    }
    let differ = arities.iter().filter(|(_, arities)| arities.len() > 1).map(|(name, _)| *name);
    let listed: BTreeSet<&str> = LAX_ARITIES.iter().map(|(name, _)| *name).collect();
    assert_eq!(differ.collect::<BTreeSet<_>>(), listed);
}

#[test]
fn every_row_is_a_command_of_a_server() {
    let listed: BTreeSet<&str> = lines().map(|line| line.name).chain(UNLISTED).collect();
    for (name, _) in rows() {
        assert!(listed.contains(name.as_str()), "no server has {name}");
    }
}

#[test]
fn keys_are_where_the_servers_say() {
    for line in lines() {
        let Command { keys, action, .. } = row(line.name);
        if matches!(action, Action::Refused(_)) {
            continue;
        }
        if let Some((_, other)) = OTHER_KEYS.iter().find(|(name, _)| *name == line.name) {
            assert_eq!(keys, other, "the keys of {}", line.name);
        } else if line.flags.contains("movablekeys") {
            assert_ne!(*keys, Keys::None, "the keys of {}", line.name);
        } else {
            assert_eq!(*keys, line.keys, "the keys of {}", line.name);
        }
    }
}

#[test]
fn movable_keys_are_counted_or_follow_a_word() {
    let counted = |count, stores| Keys::Counted { count, stores };
    assert_eq!(row("eval").keys, Keys::Script);
    assert_eq!(row("evalsha_ro").keys, Keys::Script);
    assert_eq!(row("fcall").keys, Keys::Script);
    assert_eq!(row("zunion").keys, counted(1, false));
    assert_eq!(row("zintercard").keys, counted(1, false));
    assert_eq!(row("sintercard").keys, counted(1, false));
    assert_eq!(row("lmpop").keys, counted(1, false));
    assert_eq!(row("blmpop").keys, counted(2, false));
    assert_eq!(row("bzmpop").keys, counted(2, false));
    assert_eq!(row("zunionstore").keys, counted(2, true));
    assert_eq!(row("tdigest.merge").keys, counted(2, true));
    assert_eq!(row("msetex").keys, Keys::Pairs);
    assert_eq!(row("xread").keys, Keys::Streams);
    assert_eq!(row("xreadgroup").keys, Keys::Streams);
    assert_eq!(row("sort").keys, Keys::Store);
    assert_eq!(row("georadius").keys, Keys::Store);
    assert_eq!(row("georadiusbymember").keys, Keys::Store);
    assert_eq!(row("sort_ro").keys, Keys::Range { first: 1, last: 1, step: 1 });
}

#[test]
fn names_are_found_in_any_case() {
    for (name, row) in rows() {
        for written in [name.clone(), name.to_uppercase(), mixed_case(&name)] {
            assert!(std::ptr::eq(self::row(&written), row), "{written} is {name}");
        }
    }
}

#[test]
fn what_is_not_a_name_is_not_found() {
    let names: BTreeSet<&str> = all().map(|command| command.name).collect();
    for name in &names {
        for byte in [b' ', b'\0', b's', b'_', b'\r', 0xff] {
            let longer = [name.as_bytes(), &[byte]].concat();
            let is_name = str::from_utf8(&longer).is_ok_and(|longer| names.contains(longer));
            assert_eq!(find(&longer).is_some(), is_name, "{name} and the byte {byte}");
        }
        let shorter = &name[..name.len() - 1];
        assert_eq!(find(shorter.as_bytes()).is_some(), names.contains(shorter), "{shorter}");
        let mut flipped = name.as_bytes().to_vec();
        flipped[0] ^= 0x80;
        assert!(find(&flipped).is_none(), "{name} with another first byte");
    }
    for name in ["", "g", "\0", "gét", "ＧＥＴ", "get ", " get", "\u{130}nfo", "config|get"] {
        assert!(find(name.as_bytes()).is_none(), "{name:?}");
    }
    assert!(find(&[b'g'; 100_000]).is_none());
    assert!(find(b"config").is_some_and(|config| config.find_subcommand(b"").is_none()));
    assert!(find(b"get").is_some_and(|get| get.find_subcommand(b"get").is_none()));
}

#[test]
fn bits_that_hashes_ignore_matter_to_names() {
    // The hash has one value for both cases of a letter, and so for these pairs of bytes.
    assert!(find(b"sort_ro").is_some());
    assert!(find(b"sort\x7fro").is_none());
    assert!(find(b"restore-asking").is_some());
    assert!(find(b"restore\rasking").is_none());
    assert!(find(b"ft.search").is_some());
    assert!(find(b"ft\x0esearch").is_none());
}

#[test]
fn random_bytes_are_found_only_if_they_are_a_name() {
    let names: BTreeSet<&[u8]> = all().map(|command| command.name.as_bytes()).collect();
    let mut state = 0x5eed_u64;
    let mut next = |below: usize| {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (state >> 33) as usize % below
    };
    let any_byte: Vec<u8> = (0..=u8::MAX).collect();
    let mut hits = 0;
    for alphabet in [&any_byte[..], b"delostDELOST"] {
        for _ in 0..100_000 {
            let len = next(12);
            let bytes: Vec<u8> = (0..len).map(|_| alphabet[next(alphabet.len())]).collect();
            let found = find(&bytes).map(|command| command.name.as_bytes());
            assert_eq!(found, names.get(&bytes.to_ascii_lowercase()[..]).copied(), "{bytes:?}");
            hits += usize::from(found.is_some());
        }
    }
    assert!(hits > 50, "DEL and SET are some of these words, in {hits} cases");
}

#[test]
fn names_are_lower_case_and_unique() {
    let rows = rows();
    let unique: BTreeSet<&str> = rows.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(unique.len(), rows.len());
    for (name, row) in &rows {
        assert_eq!(*name, name.to_ascii_lowercase());
        assert!(row.name.is_ascii() && !row.name.is_empty(), "{name}");
        assert!(row.arity != 0, "the arity of {name}");
        assert!(row.subcommands.iter().all(|subcommand| subcommand.subcommands.is_empty()));
    }
}

#[test]
fn writes_go_to_a_chosen_server_and_count_as_writes() {
    for line in lines().filter(|line| line.flags.contains("write")) {
        let row = row(line.name);
        assert_ne!(row.action, Action::Any, "{}", line.name);
        assert!(!row.class.is_read(), "{} counts as a read", line.name);
    }
}

#[test]
fn reads_of_keys_count_as_reads() {
    // EVAL_RO and its like can do anything; TOUCH only changes when a key was last used.
    let exceptions = ["eval_ro", "evalsha_ro", "fcall_ro", "touch"];
    for line in lines().filter(|line| line.flags.contains("readonly")) {
        let row = row(line.name);
        let expected = match row.keys {
            Keys::None => Class::Other,
            _ if exceptions.contains(&line.name) => continue,
            _ => Class::Get,
        };
        assert_eq!(row.class, expected, "the class of {}", line.name);
    }
}

#[test]
fn what_can_wait_never_stops_a_shared_connection() {
    for line in lines().filter(|line| line.flags.contains("blocking")) {
        let action = row(line.name).action;
        let is_safe = matches!(
            action,
            Action::Dedicated(Dedicated::Blocking) | Action::MayBlock | Action::Refused(_)
        );
        assert!(is_safe, "{} has {action:?}", line.name);
    }
}

#[test]
fn actions_have_the_keys_that_they_need() {
    for (name, row) in rows() {
        let needs_keys = matches!(row.action, Action::Keyed | Action::Split(_) | Action::MayBlock);
        let may_have_keys = matches!(row.action, Action::Dedicated(_));
        assert!(may_have_keys || needs_keys == (row.keys != Keys::None), "{name}");
    }
}

#[test]
fn reasons_are_plain_text() {
    let mut reasons = BTreeSet::new();
    for (name, row) in rows() {
        if let Action::OneServer(reason) | Action::Refused(reason) = row.action {
            let is_plain = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
            assert!(!reason.is_empty() && reason.bytes().all(is_plain), "{name}: {reason:?}");
            assert!(
                !reason.ends_with(['.', ' ']) && !reason.starts_with(' '),
                "{name}: {reason:?}"
            );
            reasons.insert(reason);
        }
    }
    assert!(reasons.len() > 5, "commands are refused for several reasons");
}

/// What the proxy carries out at the old server of a key that moves, and does not repeat at the new one, changes
/// nothing, whatever a server calls it.
#[test]
fn what_counts_as_a_read_while_keys_move_only_reads() {
    let mut reads = 0;
    for line in lines() {
        let arguments = usize::from(line.arity.unsigned_abs()).max(3) - 1;
        let words = line.name.split('|').chain(std::iter::repeat_n("1", arguments));
        let request = array(&words.collect::<Vec<&str>>());
        if effect(&request) == Effect::ReadAsIs {
            assert!(line.flags.contains("readonly"), "{}", line.name);
            reads += 1;
        }
    }
    assert!(reads > 300, "{reads}");
}
