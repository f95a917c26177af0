//! The summary as Markdown, the raw figures as CSV, and the files of both.

use std::fmt::Write;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::args::Options;
use crate::machine;
use crate::protocol::Protocol;
use crate::results::{Comparison, Figure, Measurement, Results, median};

/// All comparisons with their targets, and rates and latencies of the workloads.
pub(crate) fn summary(results: &Results) -> String {
    let mut text = String::from(
        "| what | candidate | nutcracker | candidate | ratio | target | |\n\
         | --- | --- | ---: | ---: | ---: | ---: | --- |\n",
    );
    for comparison in &results.comparisons {
        text += &comparison_row(comparison);
    }
    if !results.measurements.is_empty() {
        text += "\n| workload | through | requests/s | p50 us | p99 us | p99.9 us | page faults | foreign CPU |\n\
                 | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n";
        for (workload, subject) in pairs_in_order(&results.measurements) {
            text += &rate_row(results, workload, subject);
        }
    }
    text
}

fn comparison_row(comparison: &Comparison) -> String {
    let Comparison { what, unit, candidate, target, pairs } = comparison;
    let target_text = target.map_or("-".to_owned(), |target| format!("{target:.2}"));
    let pairs = match pairs {
        Ok(pairs) => pairs,
        Err(why) => {
            let why = one_line(why);
            return format!("| {what} | {candidate} | | | void | {target_text} | {why} |\n");
        }
    };
    let (reference, own): (Vec<_>, Vec<_>) = pairs.iter().copied().unzip();
    let ratios = comparison.ratios();
    let ratio = median(&ratios);
    let spread = match ratios[..] {
        [least, .., most] => format!(" [{least:.2}-{most:.2}]"),
        _ => String::new(),
    };
    let verdict = match target {
        None => "",
        Some(target) if ratio <= *target => "met",
        Some(_) => "**missed**",
    };
    format!(
        "| {what} | {candidate} | {} {unit} | {} {unit} | {ratio:.2}{spread} | {target_text} | \
         {verdict} |\n",
        figure(median(&reference)),
        figure(median(&own)),
    )
}

fn rate_row(results: &Results, workload: &str, subject: &str) -> String {
    let figures = |figure: Figure| results.figures(workload, subject, figure);
    let foreign = figures(|sample| sample.foreign);
    let Ok(foreign) = foreign else {
        return format!("| ({workload}) | {subject} | void | | | | | |\n");
    };
    let cell = |of: Figure| figure(median(&figures(of).unwrap_or_default()));
    let most_foreign = foreign.iter().copied().fold(0.0, f64::max);
    format!(
        "| ({workload}) | {subject} | {} | {} | {} | {} | {} | {:.0} % |\n",
        cell(|sample| sample.rps),
        cell(|sample| sample.p50_us),
        cell(|sample| sample.p99_us),
        cell(|sample| sample.p999_us),
        cell(|sample| sample.faults),
        most_foreign * 100.0
    )
}

/// Each workload and subject once, as first measured.
fn pairs_in_order(measurements: &[Measurement]) -> Vec<(&str, &str)> {
    let first_rep = measurements.iter().filter(|measurement| measurement.rep == 0);
    first_rep.map(|measurement| (measurement.workload, measurement.subject.as_str())).collect()
}

/// Three digits or all before the point.
fn figure(value: f64) -> String {
    match value {
        value if value < 10.0 => format!("{value:.2}"),
        value if value < 100.0 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}

fn one_line(text: &str) -> String {
    text.replace(['\n', '|'], " ")
}

/// Writes the results to a directory of `dir` named after the day and the machine.
pub(crate) fn write(dir: &Path, options: &Options, results: &Results) -> io::Result<PathBuf> {
    let date = machine::date();
    let place = dir.join(format!("{date}-{}", options.machine));
    fs::create_dir_all(&place)?;
    fs::write(place.join("README.md"), readme(&date, options))?;
    fs::write(place.join("summary.md"), summary(results))?;
    fs::write(place.join("raw.csv"), csv(results))?;
    Ok(place)
}

fn readme(date: &str, options: &Options) -> String {
    let mut text = format!(
        "# Benchmark of {date}\n\n\
         {}, {}; everything on CPU {}.\n\
         {} repetitions of {} s; ratios are medians of those within a repetition.\n\n",
        machine::processor(),
        machine::kernel(),
        options.cpu,
        options.reps,
        options.seconds
    );
    let programs = [(options.reference.path.as_path(), "-V"), (Path::new("valgrind"), "--version")];
    let servers = Protocol::ALL.map(Protocol::server);
    let servers = servers.iter().map(|(program, flag)| (Path::new(program), *flag));
    let candidates = options.candidates.iter().map(|candidate| (candidate.path.as_path(), "-V"));
    for (program, flag) in programs.into_iter().chain(servers).chain(candidates) {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        let _ = writeln!(text, "- {name}: {}", machine::version(program, flag));
    }
    text += "\n[summary.md](summary.md) has the ratios and their targets, [raw.csv](raw.csv) every \
             run.\nHow it was measured is said in [bench/README.md](../../README.md).\n";
    text
}

fn csv(results: &Results) -> String {
    let mut text = String::from(
        "workload,subject,rep,requests,rps,cpu_us,p50_us,p90_us,p99_us,p99.9_us,max_us,bad,miss,\
         errors,foreign,faults,rss_kib,void\n",
    );
    for Measurement { workload, subject, rep, outcome } in &results.measurements {
        let _ = write!(text, "{workload},{subject},{rep},");
        let _ = match outcome {
            Err(why) => writeln!(text, ",,,,,,,,,,,,,,{}", one_line(why).replace(',', ";")),
            Ok(s) => writeln!(
                text,
                "{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}",
                s.requests,
                s.rps,
                s.cpu_us,
                s.p50_us,
                s.p90_us,
                s.p99_us,
                s.p999_us,
                s.max_us,
                s.bad,
                s.miss,
                s.errors,
                s.foreign,
                s.faults,
                s.rss_kib,
                s.fault().unwrap_or_default().replace(',', ";")
            ),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(pairs: Result<Vec<(f64, f64)>, String>) -> String {
        comparison_row(&Comparison {
            what: "CPU".to_owned(),
            unit: "us",
            candidate: "nuthatch".to_owned(),
            target: Some(0.8),
            pairs,
        })
    }

    #[test]
    fn a_row_says_whether_the_target_is_met() {
        assert_eq!(
            row(Ok(vec![(10.0, 8.0), (10.0, 7.0), (10.0, 9.0)])),
            "| CPU | nuthatch | 10.0 us | 8.00 us | 0.80 [0.70-0.90] | 0.80 | met |\n"
        );
        assert_eq!(
            row(Ok(vec![(100.0, 81.0)])),
            "| CPU | nuthatch | 100 us | 81.0 us | 0.81 | 0.80 | **missed** |\n"
        );
    }

    #[test]
    fn a_void_row_says_why() {
        assert_eq!(
            row(Err("nuthatch: 1 bad".to_owned())),
            "| CPU | nuthatch | | | void | 0.80 | nuthatch: 1 bad |\n"
        );
    }

    #[test]
    fn every_csv_line_has_every_column() {
        let mut results = Results::default();
        results.measurements.push(Measurement {
            workload: "a",
            subject: "nuthatch".to_owned(),
            rep: 0,
            outcome: Err("no result: refused, twice".to_owned()),
        });
        let text = csv(&results);
        let counts: Vec<_> = text.lines().map(|line| line.split(',').count()).collect();
        assert_eq!(counts, [18, 18]);
    }
}
