//! Runs `load`, pinned like everything else, and reads its line of JSON.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::fleet::Workshop;
use crate::process::{Running, pinned};
use crate::protocol::Protocol;

/// What one run of `load` measured; times are in microseconds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) requests: f64,
    pub(crate) rps: f64,
    pub(crate) p50_us: f64,
    pub(crate) p90_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) max_us: f64,
    pub(crate) bad: f64,
    pub(crate) miss: f64,
    pub(crate) errors: f64,
    /// CPU time of the watched process per request.
    pub(crate) cpu_us: f64,
    /// Minor page faults of the watched process per request.
    pub(crate) faults: f64,
    pub(crate) rss_kib: f64,
    /// Share of the CPU, 0 to 1, that went to programs without a part in the run.
    pub(crate) foreign: f64,
}

impl Sample {
    fn parse(json: &str) -> Option<Self> {
        Some(Self {
            requests: number(json, "requests")?,
            rps: number(json, "rps")?,
            p50_us: number(json, "p50_us")?,
            p90_us: number(json, "p90_us")?,
            p99_us: number(json, "p99_us")?,
            p999_us: number(json, "p99.9_us")?,
            max_us: number(json, "max_us")?,
            bad: number(json, "bad")?,
            miss: number(json, "miss")?,
            errors: number(json, "errors")?,
            cpu_us: number(json, "cpu_us")?,
            faults: number(json, "faults")?,
            rss_kib: number(json, "rss_kib")?,
            foreign: number(json, "foreign")?,
        })
    }

    /// Why the sample measures nothing, if so.
    pub(crate) fn fault(&self) -> Option<String> {
        let is_right = self.bad + self.miss + self.errors == 0.0 && self.requests > 0.0;
        let (bad, miss, errors) = (self.bad, self.miss, self.errors);
        (!is_right).then(|| format!("{bad} bad, {miss} missing, {errors} errors"))
    }
}

/// The number after `"name":` in a flat object.
fn number(json: &str, name: &str) -> Option<f64> {
    let (_, rest) = json.split_once(&format!("\"{name}\":"))?;
    rest.split([',', '}']).next()?.parse().ok()
}

/// The path of `load`, which is built next to this program.
pub(crate) fn path() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let load = own.with_file_name("load");
    if load.exists() { Ok(load) } else { Err(format!("{} is not built", load.display())) }
}

/// Where a load goes and who has a part in it.
#[derive(Debug)]
pub(crate) struct Aim<'a> {
    pub(crate) protocol: Protocol,
    pub(crate) target: &'a str,
    /// The process under test.
    pub(crate) subject: u32,
    /// The other processes at work.
    pub(crate) others: &'a [u32],
}

/// Runs `load` with these flags. The sample may have a [`fault`](Sample::fault); an error means
/// there is none.
pub(crate) fn run(
    aim: &Aim<'_>,
    flags: &[&str],
    workshop: &Workshop,
    limit: Duration,
) -> Result<Sample, String> {
    let mut watch = aim.subject.to_string();
    for pid in aim.others.iter().filter(|pid| **pid != aim.subject) {
        watch += &format!(",{pid}");
    }
    let log = workshop.dir.join("load.log");
    let mut command = pinned(path()?, workshop.cpu);
    command.args(["--protocol", aim.protocol.name()]);
    command.args(["--json", "--target", aim.target, "--watch", &watch]).args(flags);
    let status = Running::start("load", &mut command, &log)?.wait(limit)?;
    let output = fs::read_to_string(&log).map_err(|error| error.to_string())?;
    let sample = output.lines().find_map(Sample::parse);
    sample.filter(|_| status.success()).ok_or_else(|| format!("no result: {}", output.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = concat!(
        r#"{"requests":4,"seconds":2.0,"rps":2.0,"p50_us":1.5,"p90_us":2,"p99_us":3,"#,
        r#""p99.9_us":4,"max_us":5,"bad":0,"miss":0,"errors":0,"cpu_us":2.5,"faults":0.5,"#,
        r#""rss_kib":5,"foreign":0.25}"#
    );

    #[test]
    fn the_line_of_load_is_read() {
        let sample = Sample::parse(LINE).unwrap();
        assert_eq!((sample.p50_us, sample.p999_us, sample.foreign), (1.5, 4.0, 0.25));
        assert_eq!((sample.cpu_us, sample.faults), (2.5, 0.5));
        assert_eq!(sample.fault(), None);
        assert_eq!(Sample::parse("load: Connection refused"), None);
    }

    #[test]
    fn one_wrong_reply_is_a_fault() {
        let sample = Sample::parse(&LINE.replace(r#""bad":0"#, r#""bad":1"#)).unwrap();
        assert_eq!(sample.fault().unwrap(), "1 bad, 0 missing, 0 errors");
        let sample = Sample::parse(&LINE.replace(r#""requests":4"#, r#""requests":0"#)).unwrap();
        assert!(sample.fault().is_some());
    }
}
