//! What clients saw over time: as a table (CSV) and as a drawing (SVG).
//!
//! The rule: the drawing has nothing that the table does not have, and colours that can be seen on white
//! and on black.

use std::fmt::Write as _;

/// Where both are kept.
pub(super) const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/failures");

/// What the pool does when a server fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// nutcracker with `auto_eject_hosts`.
    Nutcracker,
    /// The same file.
    AutoEject,
    Rehash,
    Error,
    Miss,
    Gutter,
}

impl Mode {
    pub(super) const ALL: [Self; 6] =
        [Self::Nutcracker, Self::AutoEject, Self::Rehash, Self::Error, Self::Miss, Self::Gutter];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Nutcracker => "nutcracker",
            Self::AutoEject => "auto_eject_hosts",
            Self::Rehash => "rehash",
            Self::Error => "error",
            Self::Miss => "miss",
            Self::Gutter => "gutter",
        }
    }

    fn colour(self) -> &'static str {
        match self {
            Self::Nutcracker => "#8a8f98",
            Self::AutoEject => "#b06ad0",
            Self::Rehash => "#2f86d6",
            Self::Error => "#e0701a",
            Self::Miss => "#2f9e5a",
            Self::Gutter => "#c9a227",
        }
    }
}

#[derive(Debug, PartialEq)]
pub(super) struct Curve {
    pub(super) mode: Mode,
    pub(super) points: Vec<Point>,
}

/// What was asked from `seconds` after the server stopped until the next point; before, it is negative.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    pub(super) seconds: f64,
    pub(super) requests: usize,
    pub(super) reads: usize,
    pub(super) errors: usize,
    pub(super) misses: usize,
    pub(super) stale: usize,
    pub(super) p99_ms: f64,
}

impl Point {
    pub(super) fn at(seconds: f64) -> Self {
        let (requests, reads, errors, misses, stale) = (0, 0, 0, 0, 0);
        Self { seconds, requests, reads, errors, misses, stale, p99_ms: 0.0 }
    }
}

const HEAD: &str = "mode,seconds,requests,reads,errors,misses,stale,p99_ms";

pub(super) fn csv(curves: &[Curve]) -> String {
    let mut text = format!("{HEAD}\n");
    for Curve { mode, points } in curves {
        let mode = mode.name();
        for Point { seconds, requests, reads, errors, misses, stale, p99_ms } in points {
            writeln!(
                text,
                "{mode},{seconds:.1},{requests},{reads},{errors},{misses},{stale},{p99_ms:.2}"
            )
            .unwrap();
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
        let mode = Mode::ALL.into_iter().find(|mode| mode.name() == fields[0]).unwrap();
        if curves.last().is_none_or(|curve| curve.mode != mode) {
            curves.push(Curve { mode, points: Vec::new() });
        }
        let count = |place: usize| fields[place].parse().unwrap();
        curves.last_mut().unwrap().points.push(Point {
            seconds: fields[1].parse().unwrap(),
            requests: count(2),
            reads: count(3),
            errors: count(4),
            misses: count(5),
            stale: count(6),
            p99_ms: fields[7].parse().unwrap(),
        });
    }
    curves
}

/// A panel: what it shows, its axis, and its value for a point.
struct Panel {
    title: &'static str,
    marks: &'static [f64],
    value: fn(&Point) -> f64,
}

const PANELS: [Panel; 4] = [
    Panel {
        title: "requests that fail, %",
        marks: &[0.0, 10.0, 20.0, 30.0, 40.0],
        value: |it| percent(it.errors, it.requests),
    },
    Panel {
        title: "reads that miss, %",
        marks: &[0.0, 10.0, 20.0, 30.0, 40.0],
        value: |it| percent(it.misses, it.reads),
    },
    Panel {
        title: "reads of old values, %",
        marks: &[0.0, 10.0, 20.0, 30.0, 40.0],
        value: |it| percent(it.stale, it.reads),
    },
    Panel {
        title: "slowest of 100 requests, ms",
        marks: &[0.0, 50.0, 100.0, 150.0, 200.0, 250.0],
        value: |it| it.p99_ms,
    },
];

/// Where the curves of a panel are, from its corner.
const LEFT: f64 = 44.0;
const RIGHT: f64 = 364.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 184.0;
const WIDTH: f64 = 380.0;
const HEIGHT: f64 = 230.0;
/// What the time axis shows, in seconds since the server stopped.
const FIRST: f64 = -2.0;
const LAST: f64 = 10.0;
const SECONDS: [f64; 7] = [-2.0, 0.0, 2.0, 4.0, 6.0, 8.0, 10.0];
/// When the server stops, and when it goes on.
const EVENTS: [f64; 2] = [0.0, 4.0];
const GREY: &str = "#7a7f87";

fn percent(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 }
}

/// Four panels, each with a curve for each mode.
pub(super) fn svg(curves: &[Curve]) -> String {
    let (width, height) = (2.0 * WIDTH, 2.0 * HEIGHT + 30.0);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\" fill=\"{GREY}\">\n\
         <title>What clients see when a server stands still for four seconds</title>\n"
    );
    for (nth, panel) in PANELS.iter().enumerate() {
        let (x, y) = ((nth % 2) as f64 * WIDTH, (nth / 2) as f64 * HEIGHT);
        writeln!(text, "<g transform=\"translate({x} {y})\">").unwrap();
        frame(&mut text, panel);
        curves.iter().for_each(|curve| line(&mut text, panel, curve));
        text.push_str("</g>\n");
    }
    let (mut left, y) = (LEFT, height - 14.0);
    for mode in Mode::ALL {
        writeln!(
            text,
            "<path d=\"M{left} {y}h20\" stroke=\"{}\" stroke-width=\"2.5\"/><text x=\"{}\" y=\"{}\">{}</text>",
            mode.colour(),
            left + 26.0,
            y + 4.0,
            mode.name()
        )
        .unwrap();
        // A letter is about so wide.
        left += 50.0 + 7.0 * mode.name().len() as f64;
    }
    text.push_str("</svg>\n");
    text
}

fn x(seconds: f64) -> f64 {
    LEFT + (seconds - FIRST) / (LAST - FIRST) * (RIGHT - LEFT)
}

/// What is above the axis is drawn at its end.
fn y(panel: &Panel, value: f64) -> f64 {
    let most = panel.marks[panel.marks.len() - 1];
    BOTTOM - value.min(most) / most * (BOTTOM - TOP)
}

/// Title, axes and their words.
fn frame(text: &mut String, panel: &Panel) {
    let mut label = |x: f64, y: f64, anchor: &str, words: &str| {
        writeln!(text, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>")
            .unwrap();
    };
    label(f64::midpoint(LEFT, RIGHT), TOP - 14.0, "middle", panel.title);
    for mark in panel.marks {
        label(LEFT - 6.0, y(panel, *mark) + 4.0, "end", &mark.to_string());
    }
    for seconds in SECONDS {
        label(x(seconds), BOTTOM + 16.0, "middle", &format!("{seconds} s"));
    }
    let grid: String =
        panel.marks.iter().map(|mark| format!("M{LEFT} {:.1}H{RIGHT}", y(panel, *mark))).collect();
    let events: String = EVENTS.iter().map(|at| format!("M{:.1} {TOP}V{BOTTOM}", x(*at))).collect();
    writeln!(text, "<path d=\"{grid}\" stroke=\"{GREY}\" stroke-width=\"0.4\"/>").unwrap();
    writeln!(text, "<path d=\"{events}\" stroke=\"{GREY}\" stroke-dasharray=\"3 3\"/>").unwrap();
}

fn line(text: &mut String, panel: &Panel, curve: &Curve) {
    let half = match &curve.points[..] {
        [first, second, ..] => (second.seconds - first.seconds) / 2.0,
        _ => 0.0,
    };
    let mut points = String::new();
    for point in curve.points.iter().filter(|point| point.requests > 0) {
        // A point is for the time until the next one, so it stands in the middle.
        let (x, y) = (x(point.seconds + half), y(panel, (panel.value)(point)));
        write!(points, "{x:.1},{y:.1} ").unwrap();
    }
    writeln!(
        text,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.6\"/>",
        points.trim_end(),
        curve.mode.colour()
    )
    .unwrap();
}
