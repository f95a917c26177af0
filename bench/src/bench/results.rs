//! What was measured, and how candidates compare with the reference.

use crate::generator::Sample;

/// Something to read off a sample.
pub(crate) type Figure = fn(&Sample) -> f64;

/// One run of `load`.
#[derive(Debug)]
pub(crate) struct Measurement {
    pub(crate) workload: &'static str,
    pub(crate) subject: String,
    pub(crate) rep: usize,
    /// What was measured, or why nothing was.
    pub(crate) outcome: Result<Sample, String>,
}

/// A figure of a candidate next to the reference's, one pair for each repetition.
#[derive(Debug)]
pub(crate) struct Comparison {
    pub(crate) what: String,
    pub(crate) unit: &'static str,
    pub(crate) candidate: String,
    pub(crate) target: Option<f64>,
    /// (reference, candidate), or why the comparison is void.
    pub(crate) pairs: Result<Vec<(f64, f64)>, String>,
}

impl Comparison {
    /// The ratios of all repetitions, in ascending order; empty if void.
    pub(crate) fn ratios(&self) -> Vec<f64> {
        let pairs = self.pairs.iter().flatten();
        let mut ratios: Vec<_> = pairs.map(|(reference, own)| own / reference).collect();
        ratios.sort_by(f64::total_cmp);
        ratios
    }
}

/// Everything measured, in order.
#[derive(Debug, Default)]
pub(crate) struct Results {
    pub(crate) measurements: Vec<Measurement>,
    pub(crate) comparisons: Vec<Comparison>,
}

impl Results {
    /// Adds that a subject could not be measured in a workload at all.
    pub(crate) fn push_void(&mut self, workload: &'static str, subject: &str, why: &str) {
        eprintln!("  {subject:<12} {why}");
        let (subject, outcome) = (subject.to_owned(), Err(why.to_owned()));
        self.measurements.push(Measurement { workload, subject, rep: 0, outcome });
    }

    /// A figure of all samples of a subject in a workload, or why one of them is void.
    pub(crate) fn figures(
        &self,
        workload: &str,
        subject: &str,
        figure: Figure,
    ) -> Result<Vec<f64>, String> {
        let own = |m: &&Measurement| m.workload == workload && m.subject == subject;
        let judge = |m: &Measurement| match &m.outcome {
            Err(why) => Err(format!("{subject}: {why}")),
            Ok(sample) => match sample.fault() {
                Some(fault) => Err(format!("{subject}: {fault}")),
                None => Ok(figure(sample)),
            },
        };
        self.measurements.iter().filter(own).map(judge).collect()
    }
}

/// The middle one, or the mean of the two in the middle; not a number if there is none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => sorted[count / 2],
        count => f64::midpoint(sorted[count / 2 - 1], sorted[count / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_lies_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn ratios_are_taken_within_a_repetition() {
        let comparison = Comparison {
            what: "a".to_owned(),
            unit: "us",
            candidate: "nuthatch".to_owned(),
            target: None,
            pairs: Ok(vec![(10.0, 5.0), (20.0, 8.0), (10.0, 6.0)]),
        };
        assert_eq!(comparison.ratios(), [0.4, 0.5, 0.6]);
    }

    #[test]
    fn one_void_run_makes_the_figures_void() {
        let mut results = Results::default();
        results.push_void("a", "nuthatch", "no result");
        let figures = results.figures("a", "nuthatch", |sample| sample.cpu_us);
        assert_eq!(figures, Err("nuthatch: no result".to_owned()));
    }
}
