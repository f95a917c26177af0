//! Curves of the hit rate: as a table (CSV) and as a drawing (SVG).
//!
//! The rule: the drawing has nothing that the table does not have, and colours that can be seen on white
//! and on black.

use std::fmt::Write as _;

/// Where both are kept.
pub(super) const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/hit-rate");

/// What becomes of the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Adding,
    Removing,
}

/// One curve.
#[derive(Debug, PartialEq)]
pub(super) struct Curve {
    pub(super) change: Change,
    pub(super) migrates: bool,
    pub(super) points: Vec<Point>,
}

/// What was read from `seconds` after the change until the next point; before the change, it is negative.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    pub(super) seconds: f64,
    pub(super) reads: usize,
    pub(super) hits: usize,
}

impl Change {
    /// How many servers there are before, and after.
    pub(super) fn servers(self) -> (usize, usize) {
        match self {
            Self::Adding => (4, 5),
            Self::Removing => (5, 4),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Adding => "adding",
            Self::Removing => "removing",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Adding => "four servers, a fifth is added",
            Self::Removing => "five servers, one is removed",
        }
    }
}

impl Point {
    fn percent(&self) -> f64 {
        percent(self.hits, self.reads)
    }
}

impl Curve {
    /// The hit rate before the change, in percent.
    pub(super) fn before(&self) -> f64 {
        let before = self.points.iter().filter(|point| point.seconds < 0.0);
        let sums = before.fold((0, 0), |sums, it| (sums.0 + it.hits, sums.1 + it.reads));
        percent(sums.0, sums.1)
    }

    /// The lowest hit rate of so many reads after the change, in percent. Of fewer reads, one miss would be
    /// too much of the whole.
    pub(super) fn lowest(&self) -> f64 {
        let (mut lowest, mut hits, mut reads) = (f64::INFINITY, 0, 0);
        for point in self.points.iter().filter(|point| point.seconds >= 0.0) {
            (hits, reads) = (hits + point.hits, reads + point.reads);
            if reads >= READS_MIN {
                lowest = lowest.min(percent(hits, reads));
                (hits, reads) = (0, 0);
            }
        }
        assert!(lowest.is_finite(), "less was read after the change");
        lowest
    }
}

const READS_MIN: usize = 500;

fn percent(part: usize, whole: usize) -> f64 {
    100.0 * part as f64 / whole as f64
}

const HEAD: &str = "change,migrate,seconds,reads,hits";

pub(super) fn csv(curves: &[Curve]) -> String {
    let mut text = format!("{HEAD}\n");
    for Curve { change, migrates, points } in curves {
        let with = if *migrates { "with" } else { "without" };
        for Point { seconds, reads, hits } in points {
            writeln!(text, "{},{with},{seconds:.1},{reads},{hits}", change.word()).unwrap();
        }
    }
    text
}

pub(super) fn read_csv(text: &str) -> Vec<Curve> {
    let mut curves: Vec<Curve> = Vec::new();
    let (head, lines) = text.split_once('\n').unwrap();
    assert_eq!(head, HEAD);
    for line in lines.lines() {
        let fields: Vec<&str> = line.split(',').collect();
        let known = [Change::Adding, Change::Removing].into_iter();
        let change = known.clone().find(|it| it.word() == fields[0]).unwrap();
        let migrates = fields[1] == "with";
        if curves.last().is_none_or(|it| (it.change, it.migrates) != (change, migrates)) {
            curves.push(Curve { change, migrates, points: Vec::new() });
        }
        let (seconds, reads) = (fields[2].parse().unwrap(), fields[3].parse().unwrap());
        let point = Point { seconds, reads, hits: fields[4].parse().unwrap() };
        curves.last_mut().unwrap().points.push(point);
    }
    curves
}

/// Where the curves of a panel are, from the panel's left edge.
const LEFT: f64 = 54.0;
const RIGHT: f64 = 364.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 240.0;
const PANEL: f64 = 380.0;
/// What the axes show: percent, and seconds since the change.
const LOWEST: f64 = 75.0;
const PERCENTS: [f64; 6] = [75.0, 80.0, 85.0, 90.0, 95.0, 100.0];
const SECONDS: [f64; 4] = [0.0, 20.0, 40.0, 60.0];
const BEFORE: f64 = -5.0;
const AFTER: f64 = 60.0;
/// Of lines and words, of curves without `migrate`, and of those with it.
const GREY: &str = "#7a7f87";
const WITHOUT: &str = "#e0701a";
const WITH: &str = "#2f86d6";

/// Both changes side by side, each with its two curves.
pub(super) fn svg(curves: &[Curve]) -> String {
    let (width, height) = (2.0 * PANEL, 300.0);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\" fill=\"{GREY}\">\n\
         <title>The hit rate when servers are added and removed, with migrate and without</title>\n"
    );
    for (nth, change) in [Change::Adding, Change::Removing].into_iter().enumerate() {
        writeln!(text, "<g transform=\"translate({} 0)\">", nth as f64 * PANEL).unwrap();
        frame(&mut text, change.title());
        for curve in curves.iter().filter(|it| it.change == change) {
            line(&mut text, curve);
        }
        text.push_str("</g>\n");
    }
    legend(&mut text);
    text.push_str("</svg>\n");
    text
}

fn x(seconds: f64) -> f64 {
    LEFT + (seconds - BEFORE) / (AFTER - BEFORE) * (RIGHT - LEFT)
}

fn y(percent: f64) -> f64 {
    BOTTOM - (percent - LOWEST) / (100.0 - LOWEST) * (BOTTOM - TOP)
}

/// Title, axes and their words.
fn frame(text: &mut String, title: &str) {
    let middle = f64::midpoint(LEFT, RIGHT);
    let mut label = |x: f64, y: f64, anchor: &str, words: &str| {
        writeln!(text, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>")
            .unwrap();
    };
    label(middle, TOP - 18.0, "middle", title);
    label(middle, BOTTOM + 34.0, "middle", "seconds since the change");
    for percent in PERCENTS {
        label(LEFT - 6.0, y(percent) + 4.0, "end", &percent.to_string());
    }
    for seconds in SECONDS {
        label(x(seconds), BOTTOM + 16.0, "middle", &seconds.to_string());
    }
    let (up, side) = (f64::midpoint(TOP, BOTTOM), LEFT - 38.0);
    writeln!(
        text,
        "<text x=\"{side}\" y=\"{up}\" transform=\"rotate(-90 {side} {up})\" text-anchor=\"middle\">hit rate, \
         %</text>"
    )
    .unwrap();
    let mut path = String::new();
    for percent in PERCENTS {
        write!(path, "M{LEFT} {:.1}H{RIGHT}", y(percent)).unwrap();
    }
    writeln!(text, "<path d=\"{path}\" stroke=\"{GREY}\" stroke-width=\"0.4\"/>").unwrap();
    let zero = x(0.0);
    writeln!(
        text,
        "<path d=\"M{zero:.1} {TOP}V{BOTTOM}\" stroke=\"{GREY}\" stroke-dasharray=\"3 3\"/>"
    )
    .unwrap();
}

/// A curve. A point below the axis would be drawn where it is, and be seen to be outside.
fn line(text: &mut String, curve: &Curve) {
    let half = match &curve.points[..] {
        [first, second, ..] => (second.seconds - first.seconds) / 2.0,
        _ => 0.0,
    };
    let mut points = String::new();
    for point in curve.points.iter().filter(|point| point.reads > 0) {
        // A point is for the time until the next one, so it stands in the middle.
        write!(points, "{:.1},{:.1} ", x(point.seconds + half), y(point.percent())).unwrap();
    }
    let colour = colour(curve.migrates);
    writeln!(
        text,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.8\"/>",
        points.trim_end()
    )
    .unwrap();
}

fn colour(migrates: bool) -> &'static str {
    if migrates { WITH } else { WITHOUT }
}

/// Which colour is which, below both panels.
fn legend(text: &mut String) {
    for (migrates, left, words) in
        [(true, 230.0, "with migrate"), (false, 400.0, "without migrate")]
    {
        let colour = colour(migrates);
        writeln!(
            text,
            "<path d=\"M{left} 290h24\" stroke=\"{colour}\" stroke-width=\"2.5\"/>\
             <text x=\"{}\" y=\"294\">{words}</text>",
            left + 30.0
        )
        .unwrap();
    }
}
