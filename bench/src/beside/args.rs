//! The command line of `beside`.

use std::path::PathBuf;

use lexopt::prelude::*;

pub(crate) const USAGE: &str = "\
beside [options]    how long small requests take beside large ones and floods, by proxy

  --proxy NAME=PATH[,SETTING]  a proxy, may be repeated; each setting is a line of its pool, such as
                               'bulk_connections: 0'; 'direct' is the path of no proxy
                               (default: direct, nutcracker, and nuthatch in target/static)
  --bulk N                     connections that get values of 1 MB (default 64)
  --floods N                   clients that ask without waiting (default 2)
  --seconds S                  length of each measurement (default 3)
  --reps N                     repetitions, with the proxies in turn (default 5)
";

/// The path of no proxy: the clients use the server itself.
pub(crate) const DIRECT: &str = "direct";

/// A proxy to be measured.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Proxy {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) settings: Vec<String>,
}

/// What is measured.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) proxies: Vec<Proxy>,
    pub(crate) bulk: usize,
    pub(crate) floods: usize,
    pub(crate) seconds: f64,
    pub(crate) reps: usize,
}

/// Parses the arguments after the program's name; none if help was asked for.
pub(crate) fn parse(mut parser: lexopt::Parser) -> Result<Option<Options>, lexopt::Error> {
    let mut options = Options { proxies: Vec::new(), bulk: 64, floods: 2, seconds: 3.0, reps: 5 };
    while let Some(arg) = parser.next()? {
        match arg {
            Long("proxy") => options.proxies.push(parser.value()?.parse_with(parse_proxy)?),
            Long("bulk") => options.bulk = parser.value()?.parse()?,
            Long("floods") => options.floods = parser.value()?.parse()?,
            Long("seconds") => options.seconds = parser.value()?.parse()?,
            Long("reps") => options.reps = parser.value()?.parse::<usize>()?.max(1),
            Short('h') | Long("help") => return Ok(None),
            _ => return Err(arg.unexpected()),
        }
    }
    if options.proxies.is_empty() {
        for text in ["direct=direct", "nutcracker=nutcracker", "nuthatch=target/static/nuthatch"] {
            options.proxies.push(parse_proxy(text)?);
        }
    }
    Ok(Some(options))
}

fn parse_proxy(text: &str) -> Result<Proxy, String> {
    let (name, rest) = text.split_once('=').ok_or("not of the form NAME=PATH")?;
    let mut parts = rest.split(',').map(str::to_owned);
    let path = parts.next().unwrap_or_default().into();
    Ok(Proxy { name: name.to_owned(), path, settings: parts.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_may_have_settings() {
        let proxy = parse_proxy("old=bin/nuthatch,bulk_connections: 0,bulk_min: 16k").unwrap();
        assert_eq!((proxy.name.as_str(), proxy.path), ("old", "bin/nuthatch".into()));
        assert_eq!(proxy.settings, ["bulk_connections: 0", "bulk_min: 16k"]);
        assert!(parse_proxy("nuthatch").is_err());
    }
}
