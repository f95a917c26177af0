//! A server stands still and goes on: what the clients of a pool see meanwhile, in each mode of `on_server_failure`
//! and with nutcracker.

mod drawing;
mod load;

use std::time::{Duration, Instant};
use std::{fs, thread};

use rustix::process::Signal;

use crate::away::Cache;
use crate::harness::{Memcached, Program, Redis};
use drawing::{Curve, Mode, Point, ROOT};
use load::{Answer, Load, What};

/// What is common to all pools: a server is ejected after two failures, and tried after half a second.
const SETTINGS: &str =
    "hash: md5\ntimeout: 200\nserver_retry_timeout: 500\nserver_failure_limit: 2\n";

/// How long the load runs before the server stops, while it stands still, and after.
#[derive(Debug, Clone, Copy)]
struct Times {
    before: Duration,
    stopped: Duration,
    after: Duration,
    step: Duration,
}

const SHORT: Times = Times {
    before: Duration::from_millis(300),
    stopped: Duration::from_millis(1300),
    after: Duration::from_millis(2500),
    step: Duration::from_millis(100),
};
const LONG: Times = Times {
    before: Duration::from_secs(2),
    stopped: Duration::from_secs(4),
    after: Duration::from_secs(6),
    step: Duration::from_millis(200),
};

impl Mode {
    fn program(self) -> Program {
        if self == Self::Nutcracker { Program::Nutcracker } else { Program::UnderTest }
    }

    fn settings(self) -> String {
        match self {
            Self::Nutcracker | Self::AutoEject => "auto_eject_hosts: true".to_owned(),
            Self::Rehash | Self::Error | Self::Miss | Self::Gutter => {
                format!("on_server_failure: {}\nserver_slow_start: 0s", self.name())
            }
        }
    }
}

/// Runs the load while one of three servers stands still for a while.
fn watch<C: Cache + 'static>(mode: Mode, more: &str, times: Times) -> Curve {
    let settings = format!("{SETTINGS}{}\n{more}", mode.settings());
    let (proxy, servers) = C::program(mode.program(), &settings);
    let running = Load::<C>::start(&proxy);
    thread::sleep(times.before);
    let stopped = Instant::now();
    servers[0].process().stop();
    thread::sleep(times.stopped);
    servers[0].process().signal(Signal::CONT);
    thread::sleep(times.after);
    let answers = running.stop();
    Curve { mode, points: points(&answers, stopped, times) }
}

fn points(answers: &[Answer], stopped: Instant, times: Times) -> Vec<Point> {
    let steps =
        |time: Duration| usize::try_from(time.as_millis() / times.step.as_millis()).unwrap();
    let (before, after) = (steps(times.before), steps(times.stopped + times.after));
    let start = stopped - times.step * u32::try_from(before).unwrap();
    let mut took: Vec<Vec<Duration>> = vec![Vec::new(); before + after];
    let seconds = |nth: usize| (nth as f64 - before as f64) * times.step.as_secs_f64();
    let mut points: Vec<Point> = (0..before + after).map(|nth| Point::at(seconds(nth))).collect();
    for answer in answers {
        let Some(since) = answer.when.checked_duration_since(start) else { continue };
        let Some(point) = points.get_mut(steps(since)) else { continue };
        point.requests += 1;
        point.reads += usize::from(answer.is_read);
        match answer.what {
            What::Done => {}
            What::Miss => point.misses += 1,
            What::Error => point.errors += 1,
            What::Stale => point.stale += 1,
        }
        took[steps(since)].push(answer.took);
    }
    for (point, took) in points.iter_mut().zip(&mut took) {
        took.sort_unstable();
        let p99 = took.get((took.len() * 99 / 100).min(took.len().saturating_sub(1)));
        point.p99_ms = p99.map_or(0.0, |p99| p99.as_secs_f64() * 1000.0);
    }
    points
}

/// How many reads got something older than what was acknowledged, and how much failed while the server was
/// known to be away: from 0.8 s after it stopped until it went on.
fn sums(curve: &Curve, times: Times) -> (usize, usize, usize) {
    let stopped = times.stopped.as_secs_f64();
    let away = || curve.points.iter().filter(|it| (0.8..stopped - 0.1).contains(&it.seconds));
    let stale = curve.points.iter().map(|it| it.stale).sum();
    (stale, away().map(|it| it.errors).sum(), away().map(|it| it.misses).sum())
}

/// What holds in each mode while a server is away and when it returns.
fn check<C: Cache + 'static>() {
    for mode in [Mode::Rehash, Mode::Error, Mode::Miss, Mode::Gutter] {
        let curve = watch::<C>(mode, "", SHORT);
        let (stale, errors, misses) = sums(&curve, SHORT);
        assert_eq!(stale, 0, "{mode:?}");
        // With `miss`, writes say that they were not carried out.
        assert_eq!(
            (errors > 0, misses > 0),
            (matches!(mode, Mode::Error | Mode::Miss), mode != Mode::Error),
            "{mode:?}"
        );
        // At its end, all is as before.
        let last: Vec<&Point> = curve.points.iter().rev().skip(1).take(5).collect();
        assert!(last.iter().all(|point| point.requests > 0 && point.errors == 0), "{mode:?}");
    }
    // Without a journal, or with what twemproxy does, old values come back.
    for mode in [Mode::AutoEject, Mode::Nutcracker] {
        let (stale, ..) = sums(&watch::<C>(mode, "", SHORT), SHORT);
        assert!(stale > 0, "{mode:?}");
    }
    let (stale, ..) = sums(&watch::<C>(Mode::Rehash, "journal_max: 0", SHORT), SHORT);
    assert!(stale > 0, "without a journal");
}

#[test]
#[ignore = "needs memcached and nutcracker: run make it"]
fn a_memcached_that_stands_still_and_goes_on_is_felt_as_its_mode_says() {
    check::<Memcached>();
}

#[test]
#[ignore = "needs redis-server and nutcracker: run make it"]
fn a_redis_that_stands_still_and_goes_on_is_felt_as_its_mode_says() {
    check::<Redis>();
}

/// `make timeline`: measures what docs/failures.md shows, and draws it.
#[test]
#[ignore = "needs memcached and nutcracker, and a minute: run make timeline"]
fn a_long_run_draws_what_clients_see() {
    let curves: Vec<Curve> =
        Mode::ALL.into_iter().map(|mode| watch::<Memcached>(mode, "", LONG)).collect();
    fs::create_dir_all(ROOT).unwrap();
    // The table has fewer digits.
    let table = drawing::csv(&curves);
    fs::write(format!("{ROOT}/timeline.svg"), drawing::svg(&drawing::read_csv(&table))).unwrap();
    fs::write(format!("{ROOT}/timeline.csv"), table).unwrap();
}

#[test]
fn the_drawing_shows_what_was_measured() {
    let curves = drawing::read_csv(&fs::read_to_string(format!("{ROOT}/timeline.csv")).unwrap());
    let modes: Vec<Mode> = curves.iter().map(|curve| curve.mode).collect();
    assert_eq!(modes, Mode::ALL);
    let drawn = fs::read_to_string(format!("{ROOT}/timeline.svg")).unwrap();
    assert_eq!(drawn, drawing::svg(&curves), "run make timeline");
    for curve in &curves {
        let (stale, ..) = sums(curve, LONG);
        let is_as_twemproxy = matches!(curve.mode, Mode::Nutcracker | Mode::AutoEject);
        assert_eq!(stale > 0, is_as_twemproxy, "{:?}: {stale} stale reads", curve.mode);
    }
}
