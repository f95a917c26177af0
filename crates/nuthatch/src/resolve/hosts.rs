//! The names of `/etc/hosts`, which come before those of DNS.
//!
//! The one rule: the file counts as it is now. It is read again when it has changed, so that a new
//! connection uses the current address.

use super::conf::Stamp;
use std::collections::HashMap;
use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;

/// The hosts file.
#[derive(Debug)]
pub(super) struct Hosts {
    path: PathBuf,
    stamp: Option<Stamp>,
    /// The addresses of each name in lower case, in the order of the file.
    names: HashMap<String, Vec<IpAddr>>,
}

impl Hosts {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, stamp: None, names: HashMap::new() }
    }

    /// The addresses of a name; none if the file does not have it.
    pub(super) fn find(&mut self, name: &str) -> Option<Vec<IpAddr>> {
        let stamp = Stamp::of(&self.path);
        if stamp != self.stamp {
            self.names = parse(&fs::read_to_string(&self.path).unwrap_or_default());
            self.stamp = stamp;
        }
        let name = name.strip_suffix('.').unwrap_or(name).to_lowercase();
        self.names.get(&name).cloned()
    }
}

fn parse(text: &str) -> HashMap<String, Vec<IpAddr>> {
    let mut names: HashMap<String, Vec<IpAddr>> = HashMap::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(address) = words.next().and_then(|word| word.parse().ok()) else { continue };
        for name in words {
            let name = name.strip_suffix('.').unwrap_or(name).to_lowercase();
            let addresses = names.entry(name).or_default();
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_the_addresses_of_all_its_lines_in_their_order() {
        let names = parse(
            "127.0.0.1 localhost\n::1\tlocalhost ip6 # ip7\n#10.0.0.1 a\n10.0.0.2 A. b\n10.0.0.1 a\n\
             10.0.0.2 a\nx y\n",
        );
        let of = |name: &str| {
            names.get(name).map_or(vec![], |all| all.iter().map(ToString::to_string).collect())
        };
        assert_eq!(of("localhost"), ["127.0.0.1", "::1"]);
        assert_eq!(of("a"), ["10.0.0.2", "10.0.0.1"]);
        assert_eq!(of("b"), ["10.0.0.2"]);
        assert_eq!((of("ip7"), of("y")), (vec![], vec![]));
    }

    #[test]
    fn a_changed_file_is_read_again_and_a_missing_one_is_empty() {
        let dir = std::env::temp_dir().join(format!("nuthatch-hosts-{}", std::process::id()));
        let mut hosts = Hosts::new(dir.clone());
        assert_eq!(hosts.find("a"), None);
        for address in ["10.0.0.1", "10.0.0.2"] {
            fs::write(&dir, format!("{address} a\n")).unwrap();
            // Files of one length may be written within one tick of the file system's clock.
            let mut found = hosts.find("A.");
            for _ in 0..100 {
                if found == Some(vec![address.parse().unwrap()]) {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(10));
                fs::write(&dir, format!("{address} a\n")).unwrap();
                found = hosts.find("A.");
            }
            assert_eq!(found, Some(vec![address.parse().unwrap()]));
        }
        fs::remove_file(&dir).unwrap();
        assert_eq!(hosts.find("a"), None);
    }
}
