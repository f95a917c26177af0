//! Where to ask: the name servers, search list and options of a `resolv.conf`.
//!
//! The one rule: the file means what it means to the system's resolver. One thing is added: a name
//! server may have a port, as in `nameserver 127.0.0.1:5353` or `nameserver [::1]:5353`.

use std::fs::{self, Metadata};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// The content of a `resolv.conf`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Conf {
    /// At least one; 127.0.0.1 if the file has none.
    pub(crate) servers: Vec<SocketAddr>,
    /// The domains of the search list, without a dot at the end.
    pub(crate) search: Vec<String>,
    /// A name with fewer dots is looked up in the search list first; 0 to 15.
    pub(crate) ndots: usize,
    /// How long one attempt waits for an answer, 1 to 30 seconds.
    pub(crate) timeout: Duration,
    /// Attempts, 1 to 5.
    pub(crate) attempts: usize,
}

impl Conf {
    /// Reads a file; a file that can't be read is an empty one.
    pub(crate) fn read(path: &Path) -> Self {
        Self::parse(&fs::read_to_string(path).unwrap_or_default())
    }

    /// Reads the text of a file. Lines that are not understood are skipped.
    pub(crate) fn parse(text: &str) -> Self {
        let (servers, search, timeout) = (Vec::new(), Vec::new(), Duration::from_secs(5));
        let mut conf = Self { servers, search, ndots: 1, timeout, attempts: 2 };
        for line in text.lines() {
            // A comment starts a line, or stands behind a space.
            let is_comment = |word: &&str| !word.starts_with(['#', ';']);
            let mut words = line.split_whitespace().take_while(is_comment);
            match words.next() {
                Some("nameserver") => conf.servers.extend(words.next().and_then(server)),
                // Of several lines, the last one counts.
                Some("search") => conf.search = words.map(domain).collect(),
                Some("domain") => conf.search = words.take(1).map(domain).collect(),
                Some("options") => words.for_each(|option| conf.option(option)),
                _ => {}
            }
        }
        // The root is no domain to search in: a name is looked up as it is in any case.
        conf.search.retain(|domain| !domain.is_empty());
        if conf.servers.is_empty() {
            conf.servers.push((Ipv4Addr::LOCALHOST, PORT).into());
        }
        conf.servers.truncate(SERVERS_MAX);
        conf
    }

    fn option(&mut self, option: &str) {
        let Some((name, value)) = option.split_once(':') else { return };
        let Ok(value) = value.parse::<u64>() else { return };
        let small = |max| usize::try_from(value).unwrap_or(usize::MAX).min(max);
        match name {
            "ndots" => self.ndots = small(15),
            "timeout" => self.timeout = Duration::from_secs(value.clamp(1, 30)),
            "attempts" => self.attempts = small(5).max(1),
            _ => {}
        }
    }

    /// The names to ask for, in order; each is complete and has no dot at its end.
    pub(crate) fn candidates(&self, name: &str) -> Vec<String> {
        if let Some(complete) = name.strip_suffix('.') {
            return vec![complete.to_owned()];
        }
        let searched = self.search.iter().map(|domain| format!("{name}.{domain}"));
        let dots = name.bytes().filter(|byte| *byte == b'.').count();
        let as_it_is = [name.to_owned()];
        if dots >= self.ndots {
            as_it_is.into_iter().chain(searched).collect()
        } else {
            searched.chain(as_it_is).collect()
        }
    }
}

fn domain(text: &str) -> String {
    text.strip_suffix('.').unwrap_or(text).to_owned()
}

fn server(text: &str) -> Option<SocketAddr> {
    let with_port = text.parse().ok();
    with_port.or_else(|| text.parse::<IpAddr>().ok().map(|ip| (ip, PORT).into()))
}

/// What identifies a version of a file, so that only a changed file is read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp((u64, u64, u64), (i64, i64), (i64, i64));

impl Stamp {
    /// The stamp of the file now; none if there is no such file.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().as_ref().map(Self::new)
    }

    fn new(file: &Metadata) -> Self {
        let (written, changed) =
            ((file.mtime(), file.mtime_nsec()), (file.ctime(), file.ctime_nsec()));
        Self((file.dev(), file.ino(), file.size()), written, changed)
    }
}

/// The port of DNS.
const PORT: u16 = 53;

/// The system's resolver takes three; more than a few are a mistake.
const SERVERS_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn conf(servers: &[&str], search: &[&str]) -> Conf {
        Conf {
            servers: servers.iter().map(|server| server.parse().unwrap()).collect(),
            search: search.iter().copied().map(str::to_owned).collect(),
            ..Conf::parse("")
        }
    }

    #[test]
    fn an_empty_file_asks_this_machine() {
        let empty = Conf::parse("");
        assert_eq!(empty.servers, ["127.0.0.1:53".parse().unwrap()]);
        assert_eq!((empty.ndots, empty.attempts), (1, 2));
        assert_eq!(empty.timeout, Duration::from_secs(5));
        assert_eq!(Conf::read(Path::new("/nowhere/resolv.conf")), empty);
    }

    #[test]
    fn servers_may_have_ports_and_what_is_no_address_is_skipped() {
        for (text, servers) in [
            ("nameserver 10.0.0.1", &["10.0.0.1:53"][..]),
            ("nameserver\t10.0.0.1 # first\nnameserver ::1\n", &["10.0.0.1:53", "[::1]:53"]),
            ("nameserver 127.0.0.1:5353\nnameserver [::1]:5353", &["127.0.0.1:5353", "[::1]:5353"]),
            ("# nameserver 10.0.0.1\n;nameserver 10.0.0.2\nnameserver x", &["127.0.0.1:53"]),
            ("  nameserver 10.0.0.1\nnameserver", &["10.0.0.1:53"]),
        ] {
            assert_eq!(Conf::parse(text), conf(servers, &[]), "{text}");
        }
        assert_eq!(Conf::parse(&"nameserver 10.0.0.1\n".repeat(99)).servers.len(), 8);
    }

    #[test]
    fn the_last_search_list_counts() {
        for (text, search) in [
            ("search a.test b.test.", &["a.test", "b.test"][..]),
            ("domain a.test\nsearch b.test c.test", &["b.test", "c.test"]),
            ("search b.test c.test\ndomain a.test d.test", &["a.test"]),
            ("search .", &[]),
        ] {
            assert_eq!(Conf::parse(text).search, search, "{text}");
        }
    }

    #[test]
    fn options_have_the_bounds_of_the_system() {
        let options = |text: &str| {
            let conf = Conf::parse(text);
            (conf.ndots, conf.timeout.as_secs(), conf.attempts)
        };
        assert_eq!(options("options ndots:5 timeout:1 attempts:3 edns0"), (5, 1, 3));
        assert_eq!(options("options ndots:5\noptions timeout:2"), (5, 2, 2));
        assert_eq!(options("options ndots:99 timeout:0 attempts:0"), (15, 1, 1));
        assert_eq!(options("options timeout:99 attempts:99 ndots:x"), (1, 30, 5));
    }

    #[test]
    fn names_with_few_dots_are_searched_first() {
        let pod = Conf { ndots: 5, ..conf(&[], &["d.svc.test", "svc.test"]) };
        for (name, candidates) in [
            ("m-0.m", &["m-0.m.d.svc.test", "m-0.m.svc.test", "m-0.m"][..]),
            ("a.b.c.d.e.f", &["a.b.c.d.e.f", "a.b.c.d.e.f.d.svc.test", "a.b.c.d.e.f.svc.test"]),
            ("m-0.m.", &["m-0.m"]),
        ] {
            assert_eq!(pod.candidates(name), candidates, "{name}");
        }
        assert_eq!(conf(&[], &["x.test"]).candidates("a.b"), ["a.b", "a.b.x.test"]);
    }
}
