//! The hit rate while servers come and go, with `migrate` and without, under the load of an application.

mod drawing;
mod load;

use std::time::{Duration, Instant};
use std::{fs, thread};

use crate::harness::{Memcached, free_port, pool};
use crate::reload::Changing;
use drawing::{Change, Curve, Point, ROOT};
use load::{Load, Read};

/// What is watched: a change of the servers under load.
struct Watch {
    change: Change,
    migrates: bool,
    proxies: usize,
    load: Load,
    /// How long proxies may differ, and how long values move.
    settle: Duration,
    window: Duration,
    /// How long the load runs before the change, and after it.
    before: Duration,
    after: Duration,
    /// The time of one point of the curve.
    step: Duration,
}

/// What came of it.
struct Seen {
    curve: Curve,
    stale: usize,
    errors: usize,
    copied: f64,
}

const APART: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(1);

impl Watch {
    /// For a test: where values move, there are few keys, so that each is asked for within a short window,
    /// also on a busy machine.
    fn short(change: Change, proxies: usize, migrates: bool) -> Self {
        let settle = Duration::from_secs(2);
        let window = Duration::from_secs(8);
        let two_seconds = Duration::from_secs(2);
        let after =
            if migrates { settle + TIMEOUT + window + two_seconds } else { 2 * two_seconds };
        Self {
            change,
            migrates,
            proxies,
            load: Load { keys: if migrates { 1000 } else { 4000 }, requests_per_second: 4000 },
            settle,
            window,
            before: Duration::from_secs(1),
            after,
            step: Duration::from_millis(200),
        }
    }

    /// For the drawing: there are so many keys that one sees how the misses become fewer.
    fn long(change: Change, migrates: bool) -> Self {
        Self {
            load: Load { keys: 20_000, requests_per_second: 4000 },
            settle: Duration::from_secs(2),
            window: Duration::from_secs(40),
            before: Duration::from_secs(5),
            after: Duration::from_secs(60),
            step: Duration::from_millis(500),
            ..Self::short(change, 1, migrates)
        }
    }

    fn run(&self) -> Seen {
        let servers = Memcached::start_many(5);
        let entries: Vec<String> = servers
            .iter()
            .enumerate()
            .map(|(nth, it)| format!("{} server-{nth}", it.entry()))
            .collect();
        let (settle, window) = (self.settle.as_millis(), self.window.as_millis());
        let migrate = format!("migrate: {{window: {window}ms, settle: {settle}ms}}");
        let migrate = if self.migrates { &*migrate } else { "" };
        let settings = format!("hash: murmur\ntimeout: {}\n{migrate}", TIMEOUT.as_millis());
        let ports: Vec<u16> = (0..self.proxies).map(|_| free_port()).collect();
        let (from, to) = self.change.servers();
        let config = |port: u16, count: usize| pool(port, &settings, &entries[..count]);
        let proxies: Vec<Changing> = ports
            .iter()
            .map(|&port| Changing::start(&config(port, from), port, &["--no-watch"]))
            .collect();
        let running = self.load.start(&proxies);
        thread::sleep(self.before);
        let changed = Instant::now();
        for (nth, (proxy, &port)) in proxies.iter().zip(&ports).enumerate() {
            thread::sleep(APART * u32::from(nth > 0));
            proxy.reload(&config(port, to), "changed");
        }
        thread::sleep(self.after.saturating_sub(changed.elapsed()));
        let done = running.stop();
        let copied = proxies.iter().zip(&ports).map(|(proxy, port)| {
            let labels = format!("{{pool=\"pool{port}\",result=\"copied\"}}");
            proxy.metric(&format!("nuthatch_migrate_moves_total{labels}"))
        });
        let curve = self.curve(&done.reads, changed);
        Seen { curve, stale: done.stale, errors: done.errors, copied: copied.sum() }
    }

    fn curve(&self, reads: &[Read], changed: Instant) -> Curve {
        let steps =
            |time: Duration| usize::try_from(time.as_millis() / self.step.as_millis()).unwrap();
        let (before, after) = (steps(self.before), steps(self.after));
        let step = self.step.as_secs_f64();
        let mut points: Vec<Point> = (0..before + after)
            .map(|nth| Point { seconds: (nth as f64 - before as f64) * step, reads: 0, hits: 0 })
            .collect();
        let start = changed - self.step * u32::try_from(before).unwrap();
        for read in reads {
            let Some(since) = read.when.checked_duration_since(start) else { continue };
            let Some(point) = points.get_mut(steps(since)) else { continue };
            point.reads += 1;
            point.hits += usize::from(read.is_hit);
        }
        Curve { change: self.change, migrates: self.migrates, points }
    }
}

fn check_without(change: Change) {
    let seen = Watch::short(change, 1, false).run();
    let (before, lowest) = (seen.curve.before(), seen.curve.lowest());
    eprintln!("{change:?} without migrate: {before:.2} % before, {lowest:.2} % at least");
    assert!((10.0..27.0).contains(&(before - lowest)), "from {before} % to {lowest} %");
    assert_eq!((seen.errors, seen.copied), (0, 0.0));
}

/// With `migrate` no read misses more than one in a hundred, and each has the last value written.
fn check_with(change: Change, proxies: usize) {
    let seen = Watch::short(change, proxies, true).run();
    let (before, lowest) = (seen.curve.before(), seen.curve.lowest());
    eprintln!("{change:?}, {proxies} proxies: {before:.2} % before, {lowest:.2} % at least");
    assert!(before - lowest <= 1.0, "from {before} % to {lowest} %");
    assert_eq!((seen.stale, seen.errors), (0, 0), "stale reads, errors");
    assert!(seen.copied > 0.0, "no value has moved");
}

#[test]
#[ignore = "needs memcached: run make it"]
fn a_fifth_server_costs_a_fifth_of_the_hits_without_migrate() {
    check_without(Change::Adding);
}

#[test]
#[ignore = "needs memcached: run make it"]
fn removing_one_of_five_servers_costs_a_fifth_of_the_hits_without_migrate() {
    check_without(Change::Removing);
}

#[test]
#[ignore = "needs memcached: run make it"]
fn a_fifth_server_costs_less_than_a_point_with_migrate() {
    check_with(Change::Adding, 1);
}

#[test]
#[ignore = "needs memcached: run make it"]
fn removing_one_of_five_servers_costs_less_than_a_point_with_migrate() {
    check_with(Change::Removing, 1);
}

#[test]
#[ignore = "needs memcached: run make it"]
fn two_proxies_that_add_a_server_a_second_apart_read_nothing_stale() {
    check_with(Change::Adding, 2);
}

#[test]
#[ignore = "needs memcached: run make it"]
fn two_proxies_that_remove_a_server_a_second_apart_read_nothing_stale() {
    check_with(Change::Removing, 2);
}

/// `make hit-rate`: measures what docs/migrate.md shows, and draws it.
#[test]
#[ignore = "needs memcached, and five minutes: run make hit-rate"]
fn a_long_run_draws_the_hit_rate() {
    let mut curves = Vec::new();
    for change in [Change::Adding, Change::Removing] {
        for migrates in [false, true] {
            let Seen { curve, stale, errors, .. } = Watch::long(change, migrates).run();
            let (before, lowest) = (curve.before(), curve.lowest());
            let with = if migrates { "with" } else { "without" };
            println!("{change:?} {with} migrate: {before:.1} % before, {lowest:.1} % at least");
            assert_eq!((stale, errors), (0, 0), "stale reads, errors");
            curves.push(curve);
        }
    }
    fs::create_dir_all(ROOT).unwrap();
    fs::write(format!("{ROOT}/hit-rate.csv"), drawing::csv(&curves)).unwrap();
    fs::write(format!("{ROOT}/hit-rate.svg"), drawing::svg(&curves)).unwrap();
}

#[test]
fn the_drawing_shows_what_was_measured() {
    let curves = drawing::read_csv(&fs::read_to_string(format!("{ROOT}/hit-rate.csv")).unwrap());
    assert_eq!(curves.len(), 4);
    let drawn = fs::read_to_string(format!("{ROOT}/hit-rate.svg")).unwrap();
    assert_eq!(drawn, drawing::svg(&curves), "run make hit-rate");
    for curve in &curves {
        let fall = curve.before() - curve.lowest();
        let expected = if curve.migrates { 0.0..=1.0 } else { 15.0..=25.0 };
        assert!(expected.contains(&fall), "{:?}: {fall} points", curve.change);
    }
}
