//! The pods of a Service, those that are away for a moment too.
//!
//! The one rule: a pod that leaves may be one that restarts. Its keys stay where they are until it
//! has been away for as long as it is waited for, so that they do not move twice. So long its
//! addresses are used, too, unless another pod has them meanwhile.

use super::slices::{ENDPOINTS_MAX, Endpoints};
use crate::resolve::names::Pod;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The pods of a Service by their names.
#[derive(Debug)]
pub(super) struct Roster {
    all: BTreeMap<String, Member>,
    return_wait: Duration,
}

#[derive(Debug)]
struct Member {
    endpoints: Endpoints,
    /// When it is given up, if it is away.
    until: Option<Instant>,
}

impl Roster {
    pub(super) fn new(return_wait: Duration) -> Self {
        Self { all: BTreeMap::new(), return_wait }
    }

    /// Takes the pods that there are now. Returns the names that have other addresses than before, have
    /// become those of a pod, or are no longer. A Service that has no pods at all may be one that somebody has changed by mistake, so
    /// then all of them are waited for.
    pub(super) fn update(
        &mut self,
        pods: BTreeMap<String, Endpoints>,
        now: Instant,
    ) -> Vec<String> {
        let of_objects = pods.values().filter_map(|pod| pod.object.as_deref());
        let objects: BTreeSet<&str> = of_objects.collect();
        // A pod that is there under another name is not away.
        let is_there = |it: &Endpoints| it.object.as_deref().is_some_and(|it| objects.contains(it));
        let mut moved = self.remove(|name, it| !pods.contains_key(name) && is_there(&it.endpoints));
        for (name, member) in &mut self.all {
            if !pods.contains_key(name) {
                let returns = member.endpoints.returns || pods.is_empty();
                let wait = if returns { self.return_wait } else { MOVING_MAX };
                member.until.get_or_insert(now + wait);
            }
        }
        for (name, endpoints) in pods {
            let before = self.all.get(&name);
            if before.is_none_or(|before| before.endpoints.addresses != endpoints.addresses) {
                moved.push(name.clone());
            }
            self.all.insert(name, Member { endpoints, until: None });
        }
        moved.extend(self.make_room());
        moved
    }

    /// Gives up those pods that are away and would be given up first, if there are too many. Returns
    /// their names.
    fn make_room(&mut self) -> Vec<String> {
        let excess = self.all.len().saturating_sub(PODS_MAX);
        if excess == 0 {
            return Vec::new();
        }
        let away = self.all.iter().filter_map(|(name, it)| Some((it.until?, name.clone())));
        let mut away: Vec<(Instant, String)> = away.collect();
        away.sort_unstable();
        let given_up: BTreeSet<String> = away.into_iter().take(excess).map(|(_, it)| it).collect();
        self.remove(|name, _| given_up.contains(name))
    }

    /// Gives up the pods whose time is over. Returns their names.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<String> {
        self.remove(|_, member| member.until.is_some_and(|until| until <= now))
    }

    /// Returns the names of those that it removes.
    fn remove(&mut self, is_removed: impl Fn(&str, &Member) -> bool) -> Vec<String> {
        let removed = self.all.iter().filter(|(name, member)| is_removed(name, member));
        let names: Vec<String> = removed.map(|(name, _)| name.clone()).collect();
        self.all.retain(|name, _| names.binary_search(name).is_err());
        names
    }

    /// The pods that are there.
    pub(super) fn present(&self) -> impl Iterator<Item = &Endpoints> {
        self.all.values().filter(|it| it.until.is_none()).map(|it| &it.endpoints)
    }

    /// The pods that are away.
    pub(super) fn away(&self) -> impl Iterator<Item = &Endpoints> {
        self.all.values().filter(|it| it.until.is_some()).map(|it| &it.endpoints)
    }

    /// Takes addresses from pods that are away, because others have them. Returns the names of those
    /// pods.
    pub(super) fn lose(&mut self, is_lost: impl Fn(&Endpoints, IpAddr) -> bool) -> Vec<String> {
        let mut losers = Vec::new();
        for (name, member) in self.all.iter_mut().filter(|(_, it)| it.until.is_some()) {
            let is_kept = |address: &IpAddr| !is_lost(&member.endpoints, *address);
            let left: Vec<IpAddr> =
                member.endpoints.addresses.iter().copied().filter(is_kept).collect();
            if left.len() < member.endpoints.addresses.len() {
                member.endpoints.addresses = left;
                losers.push(name.clone());
            }
        }
        losers
    }

    /// When the next pod is given up.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.all.values().filter_map(|member| member.until).min()
    }

    /// All pods in the order of their names.
    pub(super) fn pods(&self) -> Vec<Pod> {
        let pod = |(name, member): (&String, &Member)| Pod {
            name: name.clone(),
            ports: Arc::clone(&member.endpoints.ports),
            is_held: member.until.is_some(),
        };
        self.all.iter().map(pod).collect()
    }

    /// The addresses of a pod; of one that is away, those that it had and that no other pod has now.
    pub(super) fn addresses(&self, name: &str) -> Option<&[IpAddr]> {
        self.all.get(name).map(|member| &*member.endpoints.addresses)
    }
}

/// An endpoint that moves from one EndpointSlice to another may be in none for a moment.
const MOVING_MAX: Duration = Duration::from_secs(1);

/// The pods of a Service with those that are away: as many as may be there.
const PODS_MAX: usize = ENDPOINTS_MAX;

#[cfg(test)]
mod tests {
    use super::*;

    fn pods(all: &[(&str, &str, bool)]) -> BTreeMap<String, Endpoints> {
        let pod = |&(name, address, returns): &(&str, &str, bool)| {
            let addresses = vec![address.parse().unwrap()];
            (name.to_owned(), Endpoints { addresses, ports: Arc::default(), object: None, returns })
        };
        all.iter().map(pod).collect()
    }

    fn names(roster: &Roster) -> Vec<String> {
        roster.pods().into_iter().map(|pod| pod.name).collect()
    }

    fn start() -> (Roster, Instant) {
        (Roster::new(Duration::from_secs(30)), Instant::now())
    }

    #[test]
    fn a_pod_that_returns_in_time_has_never_left() {
        let (mut roster, now) = start();
        let second = |nth| now + Duration::from_secs(nth);
        roster.update(pods(&[("m-0", "10.0.0.1", true), ("m-1", "10.0.0.2", true)]), now);
        assert_eq!(roster.next_expiry(), None);
        roster.update(pods(&[("m-0", "10.0.0.1", true)]), second(1));
        // What else is told meanwhile does not make it stay for longer.
        roster.update(pods(&[("m-0", "10.0.0.1", true)]), second(20));
        assert_eq!(roster.next_expiry(), Some(second(31)));
        assert!(roster.expire(second(30)).is_empty());
        assert_eq!(roster.addresses("m-1"), Some(&["10.0.0.2".parse().unwrap()][..]));
        let back = pods(&[("m-0", "10.0.0.1", true), ("m-1", "10.0.0.3", true)]);
        assert_eq!(roster.update(back, second(30)), ["m-1"]);
        assert_eq!(roster.next_expiry(), None);
        assert!(roster.expire(second(99)).is_empty());
        assert_eq!(names(&roster), ["m-0", "m-1"]);
        assert_eq!(roster.addresses("m-1"), Some(&["10.0.0.3".parse().unwrap()][..]));
    }

    #[test]
    fn a_pod_that_does_not_return_is_given_up() {
        let (mut roster, now) = start();
        let second = |nth| now + Duration::from_secs(nth);
        let all = [("m-0", "10.0.0.1", true), ("m-1", "10.0.0.2", true), ("x", "10.0.0.3", false)];
        roster.update(pods(&all), now);
        roster.update(pods(&all[..1]), now);
        assert_eq!(names(&roster), ["m-0", "m-1", "x"]);
        assert_eq!(roster.expire(second(1)), ["x"]);
        assert_eq!(names(&roster), ["m-0", "m-1"]);
        assert_eq!(roster.expire(second(30)), ["m-1"]);
        assert_eq!(names(&roster), ["m-0"]);
        assert_eq!(roster.addresses("m-1"), None);
    }

    #[test]
    fn a_pod_that_has_another_name_now_is_not_waited_for_under_the_former_one() {
        let (mut roster, now) = start();
        let of = |name: &str, object: &str| {
            let mut all = pods(&[(name, "10.0.0.1", true)]);
            all.values_mut().for_each(|pod| pod.object = Some(object.into()));
            all
        };
        roster.update(of("m", "x"), now);
        assert_eq!(roster.update(of("x", "x"), now), ["m", "x"]);
        assert_eq!(names(&roster), ["x"]);
        roster.update(of("y", "y"), now);
        assert_eq!(names(&roster), ["x", "y"]);
    }

    #[test]
    fn all_pods_of_a_service_without_pods_are_waited_for() {
        let (mut roster, now) = start();
        roster.update(pods(&[("m-0", "10.0.0.1", true), ("x", "10.0.0.3", false)]), now);
        roster.update(BTreeMap::new(), now);
        assert_eq!(roster.next_expiry(), Some(now + Duration::from_secs(30)));
        assert_eq!(roster.expire(now + Duration::from_secs(30)), ["m-0", "x"]);
        assert_eq!(names(&roster), Vec::<String>::new());
    }

    #[test]
    fn pods_that_are_away_are_limited_and_leave_room_for_those_that_are_there() {
        let (mut roster, now) = start();
        for nth in 0..3 {
            let name = |number: usize| format!("m{nth}-{number}");
            let names: Vec<String> = (0..PODS_MAX / 2).map(name).collect();
            let all: Vec<_> = names.iter().map(|name| (name.as_str(), "10.0.0.1", true)).collect();
            let moved = roster.update(pods(&all), now + Duration::from_secs(nth));
            let gone = moved.iter().filter(|name| name.starts_with("m0-")).count();
            assert_eq!(gone, if nth == 1 { 0 } else { PODS_MAX / 2 }, "they came, or are given up");
            assert_eq!(roster.present().count(), PODS_MAX / 2);
        }
        assert_eq!(roster.pods().len(), PODS_MAX);
        assert!(roster.pods().iter().all(|pod| pod.is_held == pod.name.starts_with("m1-")));
    }
}
