//! What users are told, for answers and failures at any time.

use super::*;

const MINUTE: u64 = 60_000;

fn host(name: &str) -> Question {
    Question::Addresses(name.into())
}

fn addresses(all: &[&str]) -> Found {
    Found::Addresses(all.iter().map(|address| address.parse().unwrap()).collect())
}

/// Names, and what they asked and told since it was looked at last.
struct World {
    names: Names,
    start: Instant,
    now: Instant,
    asked: Vec<String>,
    told: Vec<String>,
    logged: Vec<String>,
}

impl World {
    fn new() -> Self {
        let bounds = Bounds { ttl_min: Duration::from_secs(1), ttl_max: Duration::from_secs(30) };
        let (names, start) = (Names::new(bounds, Arc::default()), Instant::now());
        let (asked, told, logged) = (Vec::new(), Vec::new(), Vec::new());
        Self { names, start, now: start, asked, told, logged }
    }

    fn take(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Ask(question) => self.asked.push(question.name().to_string()),
                Effect::Tell(user, found) => {
                    let all = found.iter().flat_map(|found| found.addresses());
                    let all: Vec<_> = all.map(ToString::to_string).collect();
                    self.told.push(format!("{user}: {}", all.join(" ")));
                }
                Effect::Fails(question, failure, age) => {
                    let age = age.map(|age| age.as_millis());
                    self.logged.push(format!("{} {} {age:?}", question.name(), failure.name()));
                }
                Effect::Works(question) => self.logged.push(format!("{} works", question.name())),
            }
        }
    }

    /// Lets time go by, tick by tick.
    fn later(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        for _ in 0..100_000 {
            let Some(at) = self.names.next_tick().filter(|at| *at <= end) else { break };
            self.now = at.max(self.now);
            let effects = self.names.tick(self.now);
            self.take(effects);
        }
        self.now = end;
    }

    fn look_up(&mut self, user: User, name: &str, afresh: bool) {
        let effects = self.names.look_up(user, &host(name), afresh, self.now);
        self.take(effects);
    }

    fn finds(&mut self, name: &str, all: &[&str], ttl_s: u64) {
        let life = Life { ttl: Some(Duration::from_secs(ttl_s)), lacks: None };
        self.answer(name, Outcome::Found(addresses(all), life));
    }

    fn fails(&mut self, name: &str, failure: Failure) {
        self.answer(name, Outcome::Failed(failure));
    }

    fn answer(&mut self, name: &str, outcome: Outcome) {
        let effects = self.names.answered(&host(name), outcome, self.now);
        self.take(effects);
    }

    #[track_caller]
    fn expect(&mut self, asked: &[&str], told: &[&str]) {
        let at = self.now - self.start;
        assert_eq!(std::mem::take(&mut self.asked), asked, "asked at {at:?}");
        assert_eq!(std::mem::take(&mut self.told), told, "told at {at:?}");
    }
}

#[test]
fn look_ups_at_the_same_time_are_one_question() {
    let mut world = World::new();
    for user in 1..=3 {
        world.look_up(user, "a", user == 2);
    }
    world.look_up(4, "b", false);
    world.expect(&["a", "b"], &[]);
    world.finds("a", &["10.0.0.1"], 5);
    world.expect(&[], &["1: 10.0.0.1", "2: 10.0.0.1", "3: 10.0.0.1"]);
}

#[test]
fn an_answer_is_used_for_its_ttl_within_the_bounds() {
    for (ttl_s, used_ms) in [(0, 1000), (1, 1000), (5, 5000), (30, 30_000), (86_400, 30_000)] {
        let mut world = World::new();
        world.look_up(1, "a", false);
        world.finds("a", &["10.0.0.1"], ttl_s);
        world.names.settled(1);
        world.expect(&["a"], &["1: 10.0.0.1"]);
        world.later(used_ms - 1);
        world.look_up(2, "a", false);
        world.names.settled(2);
        world.expect(&[], &["2: 10.0.0.1"]);
        // It is asked again then, whether somebody needs it or not.
        world.later(1);
        world.expect(&["a"], &[]);
    }
}

#[test]
fn all_users_are_told_when_an_answer_changes_and_only_then() {
    let mut world = World::new();
    world.look_up(1, "a", false);
    let effects = world.names.follow(2, &host("a"), world.now);
    world.take(effects);
    world.finds("a", &["10.0.0.1"], 2);
    world.expect(&["a"], &["1: 10.0.0.1", "2: 10.0.0.1"]);
    world.names.settled(1);
    world.later(2000);
    world.finds("a", &["10.0.0.1"], 2);
    world.expect(&["a"], &[]);
    world.later(2000);
    world.finds("a", &["10.0.0.2"], 2);
    world.expect(&["a"], &["1: 10.0.0.2", "2: 10.0.0.2"]);
}

#[test]
fn a_failure_changes_nothing_and_is_tried_again_each_second() {
    for failure in Failure::ALL {
        let mut world = World::new();
        world.look_up(1, "a", false);
        world.finds("a", &["10.0.0.1"], 5);
        world.names.settled(1);
        world.expect(&["a"], &["1: 10.0.0.1"]);
        world.later(5000);
        for _ in 0..100 {
            world.fails("a", failure);
            world.expect(&["a"], &[]);
            world.look_up(2, "a", false);
            world.names.settled(2);
            world.expect(&[], &["2: 10.0.0.1"]);
            world.later(999);
            world.expect(&[], &[]);
            world.later(1);
        }
        world.finds("a", &["10.0.0.2"], 5);
        world.expect(&["a"], &["1: 10.0.0.2", "2: 10.0.0.2"]);
        let first = format!("a {} Some(5000)", failure.name());
        assert_eq!(world.logged, [first.as_str(), "a works"]);
    }
}

#[test]
fn a_name_without_an_answer_so_far_is_told_to_have_none() {
    let mut world = World::new();
    world.look_up(1, "a", false);
    world.fails("a", Failure::NoName);
    world.expect(&["a"], &["1: "]);
    // Many connections do not make many questions.
    for _ in 0..10 {
        world.look_up(1, "a", true);
    }
    world.expect(&[], &["1: "; 10]);
    world.later(500);
    world.look_up(1, "a", true);
    world.expect(&["a"], &[]);
    world.finds("a", &["10.0.0.1"], 5);
    world.expect(&[], &["1: 10.0.0.1"]);
}

#[test]
fn who_could_not_connect_gets_a_new_answer_but_not_too_often() {
    let mut world = World::new();
    world.look_up(1, "a", false);
    world.finds("a", &["10.0.0.1"], 30);
    world.names.settled(1);
    world.expect(&["a"], &["1: 10.0.0.1"]);
    world.look_up(1, "a", true);
    world.names.settled(1);
    world.expect(&[], &["1: 10.0.0.1"]);
    world.later(499);
    world.look_up(1, "a", true);
    world.names.settled(1);
    world.expect(&[], &["1: 10.0.0.1"]);
    world.later(1);
    world.look_up(1, "a", true);
    world.expect(&["a"], &[]);
    world.finds("a", &["10.0.0.2"], 30);
    world.expect(&[], &["1: 10.0.0.2"]);
}

#[test]
fn while_a_user_connects_the_question_is_asked_every_second() {
    let mut world = World::new();
    world.look_up(1, "a", false);
    world.finds("a", &["10.0.0.1"], 30);
    world.expect(&["a"], &["1: 10.0.0.1"]);
    for _ in 0..5 {
        world.later(1000);
        world.finds("a", &["10.0.0.1"], 30);
    }
    world.expect(&["a"; 5], &[]);
    world.names.settled(1);
    world.later(29_000);
    world.expect(&[], &[]);
}

#[test]
fn a_slow_answer_is_waited_for_only_if_there_is_none() {
    let mut world = World::new();
    world.look_up(1, "a", false);
    world.look_up(2, "b", false);
    world.finds("a", &["10.0.0.1"], 1);
    world.expect(&["a", "b"], &["1: 10.0.0.1"]);
    world.later(1000);
    world.expect(&["a"], &[]);
    world.look_up(1, "a", true);
    world.later(249);
    world.expect(&[], &[]);
    world.later(1);
    world.expect(&[], &["1: 10.0.0.1"]);
    world.later(MINUTE);
    world.expect(&[], &[]);
    // The answer comes after all.
    world.finds("a", &["10.0.0.2"], 1);
    world.fails("b", Failure::TimedOut);
    world.expect(&[], &["1: 10.0.0.2", "2: "]);
}

#[test]
fn while_look_ups_fail_nobody_waits_for_one() {
    let mut world = World::new();
    world.look_up(1, "a", false);
    world.finds("a", &["10.0.0.1"], 1);
    world.names.settled(1);
    world.later(1000);
    world.fails("a", Failure::TimedOut);
    world.expect(&["a", "a"], &["1: 10.0.0.1"]);
    for _ in 0..3 {
        world.later(600);
        world.look_up(1, "a", true);
        world.expect(&["a"], &["1: 10.0.0.1"]);
        world.look_up(1, "a", true);
        world.expect(&[], &["1: 10.0.0.1"]);
        world.fails("a", Failure::TimedOut);
        world.expect(&[], &[]);
    }
    world.later(600);
    world.look_up(1, "a", true);
    world.finds("a", &["10.0.0.2"], 1);
    world.expect(&["a"], &["1: 10.0.0.1", "1: 10.0.0.2"]);
}

#[test]
fn what_nobody_needs_is_forgotten() {
    let mut world = World::new();
    for user in [1, 2] {
        world.look_up(user, "a", false);
    }
    world.finds("a", &["10.0.0.1"], 1);
    world.names.release(1);
    world.later(1000);
    world.expect(&["a", "a"], &["1: 10.0.0.1", "2: 10.0.0.1"]);
    world.names.release(2);
    world.finds("a", &["10.0.0.2"], 1);
    world.expect(&[], &[]);
    assert_eq!((world.names.next_tick(), world.names.entries.len()), (None, 0));
    assert_eq!(world.names.figures.ages(), []);
    world.names.release(2);
    world.names.settled(2);
    world.look_up(3, "a", false);
    world.expect(&["a"], &[]);
}

#[test]
fn only_so_many_questions_are_asked_at_once() {
    let mut world = World::new();
    let names: Vec<String> = (0..ASKING_MAX + 3).map(|nth| format!("n{nth:03}")).collect();
    for (user, name) in (0..).zip(&names) {
        world.look_up(user, name, false);
    }
    assert_eq!(world.asked, names[..ASKING_MAX]);
    for name in &names {
        world.finds(name, &["10.0.0.1"], 30);
    }
    assert_eq!(world.asked, names);
    assert_eq!(world.told.len(), names.len());
}

#[test]
fn who_waits_goes_before_those_who_do_not() {
    let mut world = World::new();
    let names: Vec<String> = (0..ASKING_MAX + 2).map(|nth| format!("n{nth:03}")).collect();
    for (user, name) in (0..).zip(&names) {
        let effects = world.names.follow(user, &host(name), world.now);
        world.take(effects);
    }
    world.look_up(1000, "n033", false);
    world.asked.clear();
    world.finds("n000", &["10.0.0.1"], 30);
    world.finds("n001", &["10.0.0.1"], 30);
    assert_eq!(world.asked, ["n033", "n032"]);
}

#[test]
fn the_hosts_file_is_read_for_each_look_up() {
    let mut world = World::new();
    let file = Life { ttl: None, lacks: None };
    for address in ["10.0.0.1", "10.0.0.2", "10.0.0.2"] {
        world.look_up(1, "a", false);
        world.expect(&["a"], &[]);
        world.answer("a", Outcome::Found(addresses(&[address]), file));
        world.expect(&[], &[&format!("1: {address}")]);
    }
}

#[test]
fn half_an_answer_does_not_take_the_other_half_away() {
    let mut world = World::new();
    world.look_up(1, "a", false);
    world.finds("a", &["10.0.0.1", "::1"], 1);
    world.expect(&["a"], &["1: 10.0.0.1 ::1"]);
    world.later(1000);
    let half = |lacks| Life { ttl: Some(Duration::from_secs(1)), lacks: Some(lacks) };
    world.answer("a", Outcome::Found(addresses(&["10.0.0.1"]), half(Family::V6)));
    world.later(1000);
    world.answer("a", Outcome::Found(addresses(&["::2"]), half(Family::V4)));
    world.expect(&["a", "a"], &["1: 10.0.0.1 ::2"]);
}

#[cfg(feature = "kubernetes")]
#[test]
fn an_answer_that_is_withdrawn_is_not_kept() {
    let mut world = World::new();
    let effects = world.names.look_up(1, &host("a"), false, world.now);
    world.take(effects);
    let life = Life { ttl: None, lacks: None };
    let found = Outcome::Found(addresses(&["10.0.0.1"]), life);
    let effects = world.names.answered(&host("a"), found, world.now);
    world.take(effects);
    for expected in [&["1: 10.0.0.1", "1: "][..], &["1: 10.0.0.1", "1: "]] {
        let effects = world.names.withdraw(&host("a"), world.now);
        world.take(effects);
        assert_eq!(world.told, expected, "it is told once");
    }
    world.later(1000);
    let failed = Outcome::Failed(Failure::NoRecord);
    let effects = world.names.answered(&host("a"), failed, world.now);
    world.take(effects);
    assert_eq!(
        (&*world.told, &*world.logged),
        (&["1: 10.0.0.1", "1: "].map(String::from)[..], &["a no_record None".to_owned()][..])
    );
    assert_eq!(world.names.withdraw(&host("unknown"), world.now), []);
}
