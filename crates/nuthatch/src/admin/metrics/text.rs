//! The text format of Prometheus, version 0.0.4.
//!
//! The one rule: whatever a label's value is, a sample stays one line.
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>

use nuthatch_core::stats::Histogram;
use std::fmt::{self, Display, Write as _};

/// What a metric measures, as Prometheus calls it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// The text as it grows.
#[derive(Debug, Default)]
pub(super) struct Text(String);

/// What all our metrics begin with.
const PREFIX: &str = "nuthatch_";

impl Text {
    pub(super) fn into_string(self) -> String {
        self.0
    }

    /// The two lines before a metric's samples.
    pub(super) fn head(&mut self, name: &str, kind: Kind, help: &str) {
        let name = Full(name);
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    pub(super) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let (name, labels) = (Full(name), Labels(labels));
        self.line(format_args!("{name}{labels} {value}"));
    }

    pub(super) fn histogram(&mut self, name: &str, labels: &[(&str, &str)], sum: &Sum) {
        let (bucket, mut below) = (format!("{name}_bucket"), 0);
        for (end, count) in Histogram::ends().zip(&sum.counts) {
            below += count;
            let end = seconds(end).to_string();
            self.sample(&bucket, &[labels, &[("le", end.as_str())]].concat(), below);
        }
        self.sample(&bucket, &[labels, &[("le", "+Inf")]].concat(), sum.count());
        self.sample(&format!("{name}_sum"), labels, seconds(sum.nanos));
        self.sample(&format!("{name}_count"), labels, sum.count());
    }

    fn line(&mut self, line: fmt::Arguments<'_>) {
        writeln!(self.0, "{line}").expect("a string takes all");
    }
}

/// The histograms of several workers, added up.
#[derive(Debug, Default)]
pub(super) struct Sum {
    counts: Vec<u64>,
    nanos: u64,
}

impl Sum {
    pub(super) fn of(histogram: &Histogram) -> Self {
        Self { counts: histogram.counts().collect(), nanos: histogram.nanos() }
    }

    pub(super) fn add(mut self, other: Self) -> Self {
        self.counts.resize(other.counts.len(), 0);
        self.counts.iter_mut().zip(other.counts).for_each(|(sum, count)| *sum += count);
        Self { nanos: self.nanos + other.nanos, ..self }
    }

    pub(super) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds of 100 days are exact")]
fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

/// A metric's name. Those of the process have no prefix: every program has them.
struct Full<'a>(&'a str);

impl Display for Full<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = if self.0.starts_with("process_") { "" } else { PREFIX };
        write!(out, "{prefix}{}", self.0)
    }
}

/// Labels in their braces; a value may be any text.
struct Labels<'a>(&'a [(&'a str, &'a str)]);

impl Display for Labels<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in self.0.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            write!(out, "{before}{name}=\"{value}\"")?;
        }
        if self.0.is_empty() { Ok(()) } else { out.write_str("}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_may_be_any_text() {
        assert_eq!(Labels(&[]).to_string(), "");
        let labels = [("pool", "a"), ("server", "b\"\\\n")];
        assert_eq!(Labels(&labels).to_string(), r#"{pool="a",server="b\"\\\n"}"#);
    }

    #[test]
    fn a_histogram_counts_upwards_and_sums_the_workers() {
        let (first, second) = (Histogram::default(), Histogram::default());
        first.record(20_000);
        first.record(5_000_000_000);
        second.record(20_000);
        let mut text = Text::default();
        let sum = Sum::default().add(Sum::of(&first)).add(Sum::of(&second));
        text.histogram("server_seconds", &[("server", "a")], &sum);
        let lines: Vec<_> = text.0.lines().collect();
        assert_eq!(lines.len(), 22);
        assert_eq!(lines[0], r#"nuthatch_server_seconds_bucket{server="a",le="0.000016384"} 0"#);
        assert_eq!(lines[1], r#"nuthatch_server_seconds_bucket{server="a",le="0.000032768"} 2"#);
        assert_eq!(lines[18], r#"nuthatch_server_seconds_bucket{server="a",le="4.294967296"} 2"#);
        assert_eq!(lines[19], r#"nuthatch_server_seconds_bucket{server="a",le="+Inf"} 3"#);
        assert_eq!(lines[20], r#"nuthatch_server_seconds_sum{server="a"} 5.00004"#);
        assert_eq!(lines[21], r#"nuthatch_server_seconds_count{server="a"} 3"#);
    }
}
