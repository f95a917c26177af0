//! What the documentation says of directives and variables is what the tables say.

use super::*;

pub(super) const DOCUMENTATION: &str = include_str!("../../../../../docs/config.md");

/// The row of the documentation whose first cell is `name`, cell by cell.
fn documented(name: &str) -> Vec<&'static str> {
    let start = format!("| `{name}` | ");
    let mut rows = DOCUMENTATION.lines().filter(|line| line.starts_with(&start));
    let row = rows.next().unwrap_or_else(|| panic!("{name} stands in docs/config.md"));
    assert_eq!(rows.next(), None, "{name} stands there once");
    row.trim_matches('|').split(" | ").map(str::trim).collect()
}

/// A number of bytes in the greatest unit that divides it.
fn in_units(bytes: u64) -> String {
    match bytes {
        0 => "0".into(),
        _ if bytes.is_multiple_of(1 << 30) => format!("{}g", bytes >> 30),
        _ if bytes.is_multiple_of(1 << 20) => format!("{}m", bytes >> 20),
        _ => bytes.to_string(),
    }
}

#[test]
fn every_directive_stands_in_the_documentation_with_bounds_and_default() {
    for directive in DIRECTIVES {
        let cells = documented(directive.name);
        let takes = match directive.kind {
            Kind::Listen => "an address or a list".into(),
            Kind::Servers | Kind::GutterServers | Kind::ModuleCommands => "a list".into(),
            Kind::Hash | Kind::Distribution | Kind::CrossShard | Kind::Word(_) => "a name".into(),
            Kind::OnServerFailure | Kind::OnJournalFull => "a name".into(),
            Kind::HashTag => "two characters".into(),
            Kind::Flag(_) => "true or false".into(),
            Kind::Count(_, bounds) => format!("{} to {}", bounds.min, bounds.max),
            Kind::Size(_, bounds) => {
                format!("{} to {}", in_units(bounds.min), in_units(bounds.max))
            }
            Kind::Timeout(..) | Kind::Milliseconds(_) => "ms to 2147483647".into(),
            Kind::Percent(_) => "0% to 100%".into(),
            Kind::Span(_) => "0s to 365d".into(),
            Kind::Secret(_) => "a text".into(),
            Kind::SecretFile(_) => "a path".into(),
            Kind::Ignored => "anything".into(),
        };
        let default = match directive.default {
            Some(default) => format!("`{default}`"),
            None if ["listen", "servers"].contains(&directive.name) => "required".into(),
            None => "none".into(),
        };
        assert_eq!(cells[1..4], [takes.as_str(), &default, directive.doc], "{}", directive.name);
    }
    let rows = DOCUMENTATION.lines().filter(|line| line.matches(" | ").count() == 4);
    assert_eq!(rows.count(), DIRECTIVES.len() + 2, "no other directives stand there");
}

#[test]
fn every_variable_stands_in_the_documentation_with_its_default() {
    for variable in environment::VARIABLES {
        let default = match variable.default {
            Some(default) => format!("`{default}`"),
            None if variable.name == "SERVERS" => "required".into(),
            None => "none".into(),
        };
        assert_eq!(documented(variable.name)[1..], [default.as_str(), variable.doc]);
    }
}

#[test]
fn every_hash_and_distribution_stands_in_the_documentation() {
    let hashes = Hash::ALL.iter().map(|hash| hash.name());
    let distributions = Distribution::ALL.iter().map(|distribution| distribution.name());
    let lists: Vec<_> = DOCUMENTATION
        .lines()
        .filter(|line| line.starts_with("Hashes: ") || line.starts_with("Distributions: "))
        .collect();
    assert_eq!(lists.len(), 2);
    for name in hashes.chain(distributions) {
        assert!(lists.iter().any(|list| list.contains(&format!("`{name}`"))), "{name}");
    }
}

#[test]
fn the_example_of_the_documentation_is_a_good_one() {
    let example = DOCUMENTATION.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next());
    let config = read(example.unwrap());
    assert_eq!(lint::warnings(&config), []);
    let pool = &config.pools[0];
    let server = &pool.servers[pool.ring(0).route(b"user:42")].name;
    let answer = format!("user:42\t{:08x}\t{server}\n", pool.hash.hash(b"user:42"));
    assert!(DOCUMENTATION.contains(&answer), "{answer}");
}
