//! The result of a run, for people and for programs.

use std::fmt::Write;

use crate::meter::Usage;
use crate::replies::Tally;

/// Percentiles in both forms of the report: their name and number.
const PERCENTILES: [(&str, f64); 4] =
    [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99.9", 99.9)];

/// What was counted and what it cost.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) tally: Tally,
    pub(crate) usage: Option<Usage>,
}

impl Report {
    /// One line of JSON: times in microseconds, CPU per request.
    pub(crate) fn json(&self) -> String {
        let tally = &self.tally;
        let mut json = format!(
            r#"{{"requests":{},"seconds":{:.6},"rps":{:.1}"#,
            tally.requests,
            self.seconds(),
            self.rate()
        );
        for (name, percent) in PERCENTILES {
            let _ = write!(json, r#","{name}_us":{:.1}"#, self.percentile_us(percent));
        }
        let _ = write!(
            json,
            r#","max_us":{:.1},"bad":{},"miss":{},"errors":{}"#,
            microseconds(tally.latency.max_ns()),
            tally.bad,
            tally.miss,
            tally.errors
        );
        if let Some(usage) = &self.usage {
            let _ = write!(
                json,
                r#","cpu_us":{:.4},"faults":{:.4},"rss_kib":{}"#,
                self.cpu_us(usage),
                self.faults(usage),
                usage.rss_kib
            );
            if let Some(share) = usage.foreign_share {
                let _ = write!(json, r#","foreign":{share:.4}"#);
            }
        }
        json.push('}');
        json
    }

    /// A few lines to read.
    pub(crate) fn table(&self) -> String {
        let tally = &self.tally;
        let mut table = format!(
            "requests   {} in {:.3} s\nrate       {:.0} /s\nlatency    ",
            tally.requests,
            self.seconds(),
            self.rate()
        );
        for (name, percent) in PERCENTILES {
            let _ = write!(table, "{name} {:.1}  ", self.percentile_us(percent));
        }
        let _ = writeln!(table, "max {:.1} us", microseconds(tally.latency.max_ns()));
        let (bad, miss, errors) = (tally.bad, tally.miss, tally.errors);
        let _ = writeln!(table, "replies    {bad} bad, {miss} missing, {errors} errors");
        if let Some(usage) = &self.usage {
            let _ = writeln!(table, "cpu        {:.3} us/request", self.cpu_us(usage));
            let _ = writeln!(table, "faults     {:.3} /request", self.faults(usage));
            let _ = writeln!(table, "memory     {} KiB", usage.rss_kib);
            if let Some(share) = usage.foreign_share {
                let _ = writeln!(table, "foreign    {:.1} % of the CPU", share * 100.0);
            }
        }
        table
    }

    fn seconds(&self) -> f64 {
        self.tally.elapsed_ns as f64 / 1e9
    }

    fn rate(&self) -> f64 {
        self.tally.requests as f64 / self.seconds().max(1e-9)
    }

    fn percentile_us(&self, percent: f64) -> f64 {
        microseconds(self.tally.latency.percentile_ns(percent))
    }

    fn cpu_us(&self, usage: &Usage) -> f64 {
        microseconds(usage.cpu_ns) / self.tally.requests.max(1) as f64
    }

    fn faults(&self, usage: &Usage) -> f64 {
        usage.faults as f64 / self.tally.requests.max(1) as f64
    }
}

fn microseconds(duration_ns: u64) -> f64 {
    duration_ns as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut tally = Tally::new();
        tally.requests = 4;
        tally.elapsed_ns = 2_000_000_000;
        tally.miss = 3;
        for latency_ns in [1000, 1000, 1000, 100] {
            tally.latency.record(latency_ns);
        }
        let usage = Usage { cpu_ns: 10_000, faults: 6, rss_kib: 5, foreign_share: Some(0.25) };
        Report { tally, usage: Some(usage) }
    }

    #[test]
    fn json_is_one_flat_object() {
        assert_eq!(
            report().json(),
            concat!(
                r#"{"requests":4,"seconds":2.000000,"rps":2.0,"p50_us":1.0,"p90_us":1.0,"#,
                r#""p99_us":1.0,"p99.9_us":1.0,"max_us":1.0,"bad":0,"miss":3,"errors":0,"#,
                r#""cpu_us":2.5000,"faults":1.5000,"rss_kib":5,"foreign":0.2500}"#
            )
        );
    }

    #[test]
    fn the_table_says_what_went_wrong() {
        assert!(report().table().contains("replies    0 bad, 3 missing, 0 errors\n"));
    }
}
