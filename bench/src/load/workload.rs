//! What is asked, and when: the mix of requests and the schedule of their starts.
//!
//! In a closed loop a request starts when a connection is free. In an open loop it has an intended
//! start, whether or not a connection is free, and its latency counts from there: a server that
//! stalls is charged for all that should have been asked meanwhile.

use std::time::Duration;

use crate::dataset::{Dataset, next_random};

/// One run: what, how fast, how long and how much at once.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) mix: Mix,
    pub(crate) pace: Pace,
    pub(crate) limit: Limit,
    /// Requests in flight per connection.
    pub(crate) pipeline: u32,
    pub(crate) seed: u64,
}

/// Which requests a run consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mix {
    /// One set of each key, in order.
    Fill,
    /// Sets and gets of random keys, in this proportion.
    Random { sets: u32, gets: u32, keys_per_set: u32, keys_per_get: u32 },
}

/// When requests start.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    Closed,
    Open { interval: Duration },
}

/// When a run ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    Requests(u64),
    Time(Duration),
}

/// A request, as little of it as is needed to check its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// A store of `count` keys from `first` on, in the same version.
    Set { first: u32, count: u32, version: u32 },
    /// A read of `count` keys from `first` on.
    Get { first: u32, count: u32 },
}

/// The endless sequence of requests of a mix.
#[derive(Debug)]
pub(crate) struct Requests {
    mix: Mix,
    key_count: u32,
    made: u32,
    state: u64,
}

impl Requests {
    pub(crate) fn new(plan: &Plan, dataset: &Dataset) -> Self {
        let mut state = plan.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        next_random(&mut state);
        Self { mix: plan.mix, key_count: dataset.key_count(), made: 0, state }
    }

    pub(crate) fn make(&mut self) -> Request {
        let index = self.made;
        self.made = self.made.wrapping_add(1);
        match self.mix {
            Mix::Fill => Request::Set { first: index % self.key_count, count: 1, version: index },
            Mix::Random { sets, gets, keys_per_set, keys_per_get } => {
                let is_set = self.below(sets + gets) < sets;
                let first = self.below(self.key_count);
                if is_set {
                    Request::Set { first, count: keys_per_set, version: index }
                } else {
                    Request::Get { first, count: keys_per_get }
                }
            }
        }
    }

    /// A random number below `bound`, by multiplication rather than division.
    fn below(&mut self, bound: u32) -> u32 {
        let random = next_random(&mut self.state) >> 32;
        u32::try_from((random * u64::from(bound)) >> 32).expect("below `bound`")
    }
}

/// Says when the next request is to start. Times are nanoseconds since the run began.
#[derive(Debug)]
pub(crate) struct Schedule {
    interval_ns: Option<u64>,
    limit: Limit,
    started: u64,
}

impl Schedule {
    pub(crate) fn new(plan: &Plan) -> Self {
        let interval_ns = match plan.pace {
            Pace::Closed => None,
            Pace::Open { interval } => Some(nanoseconds(interval)),
        };
        Self { interval_ns, limit: plan.limit, started: 0 }
    }

    /// The intended start of the next request if it is due; counts it as started.
    pub(crate) fn start_next(&mut self, now_ns: u64) -> Option<u64> {
        let intended_ns = self.intended_ns(now_ns);
        if self.is_over(now_ns) || intended_ns > now_ns {
            return None;
        }
        self.started += 1;
        Some(intended_ns)
    }

    /// Whether no request starts any more.
    pub(crate) fn is_over(&self, now_ns: u64) -> bool {
        match self.limit {
            Limit::Requests(count) => self.started >= count,
            Limit::Time(time) => self.intended_ns(now_ns) >= nanoseconds(time),
        }
    }

    fn intended_ns(&self, now_ns: u64) -> u64 {
        self.interval_ns.map_or(now_ns, |interval_ns| interval_ns * self.started)
    }
}

/// The nanoseconds of a duration, which here is always below 584 years.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    duration.as_secs() * 1_000_000_000 + u64::from(duration.subsec_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(mix: Mix, pace: Pace, limit: Limit) -> Plan {
        Plan { mix, pace, limit, pipeline: 1, seed: 1 }
    }

    #[test]
    fn an_open_loop_keeps_its_intended_starts_when_it_is_late() {
        let pace = Pace::Open { interval: Duration::from_nanos(100) };
        let limit = Limit::Time(Duration::from_nanos(300));
        let mut schedule = Schedule::new(&plan(Mix::Fill, pace, limit));
        assert_eq!(schedule.start_next(0), Some(0));
        assert_eq!(schedule.start_next(50), None);
        assert_eq!(schedule.start_next(1000), Some(100));
        assert_eq!(schedule.start_next(1000), Some(200));
        assert_eq!(schedule.start_next(1000), None);
        assert!(schedule.is_over(1000));
    }

    #[test]
    fn a_closed_loop_starts_at_once_until_its_limit() {
        let mut schedule = Schedule::new(&plan(Mix::Fill, Pace::Closed, Limit::Requests(2)));
        assert_eq!(schedule.start_next(7), Some(7));
        assert_eq!(schedule.start_next(7), Some(7));
        assert_eq!(schedule.start_next(7), None);
    }

    #[test]
    fn one_request_in_ten_is_a_set_and_all_keys_are_used() {
        let mix = Mix::Random { sets: 1, gets: 9, keys_per_set: 1, keys_per_get: 1 };
        let plan = plan(mix, Pace::Closed, Limit::Requests(0));
        let mut requests = Requests::new(&plan, &Dataset::new(100, 16));
        let mut sets = 0;
        let mut used = [false; 100];
        for _ in 0..10_000 {
            let key = match requests.make() {
                Request::Set { first, .. } => {
                    sets += 1;
                    first
                }
                Request::Get { first, .. } => first,
            };
            used[key as usize] = true;
        }
        assert!((900..1100).contains(&sets), "{sets} sets");
        assert_eq!(used, [true; 100]);
    }
}
