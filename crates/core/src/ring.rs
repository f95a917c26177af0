//! The ring: which server has a key.
//!
//! A ring sees only the key of a request. Three steps lead to the server: the part of the key
//! inside the hash tag, if there is one ([`HashTag`]); the 32-bit hash of this part
//! ([`enum@Hash`]); the member that the [`Distribution`] selects for this hash.
//!
//! The one rule: with twemproxy's hashes and distributions, every key has the same server as with
//! twemproxy 0.5.0, for all weights and ejections, so that a fleet can change its proxy and keep
//! its cache.

mod hash;
mod jump;
mod ketama;
mod random;
mod rendezvous;
mod slots;
mod tag;

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::cmp::Ordering;

use xxhash_rust::xxh3::Xxh3;

pub use self::hash::Hash;
use self::jump::Jump;
use self::ketama::Ketama;
pub use self::ketama::Point;
use self::random::Random;
use self::rendezvous::Rendezvous;
use self::slots::Slots;
pub use self::tag::HashTag;

/// How hashes are spread over the servers of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distribution {
    /// About 160 points per server on a circle; the next point has the key. twemproxy's default.
    Ketama,
    /// The hash modulo the number of slots, one slot per weight. An ejection moves most keys.
    Modula,
    /// A random server, by weight, for every request. For servers that all hold the same items.
    Random,
    /// Jump consistent hash over the slots. Add and remove servers at the end of the pool order.
    Jump,
    /// Rendezvous hashing: the server with the highest score for the key. Computes a score per
    /// server for each key, but moves the fewest keys.
    Rendezvous,
}

impl Distribution {
    /// Every distribution, in the order of the documentation.
    pub const ALL: &[Self] =
        &[Self::Ketama, Self::Modula, Self::Random, Self::Jump, Self::Rendezvous];

    /// Its name in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ketama => "ketama",
            Self::Modula => "modula",
            Self::Random => "random",
            Self::Jump => "jump",
            Self::Rendezvous => "rendezvous",
        }
    }

    /// The distribution that the configuration calls `name`; upper case is another name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|distribution| distribution.name() == name)
    }
}

/// A server as the ring sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The ring name: a given name, or else `host:port`, or `host` alone if the port is 11211, or
    /// `path:` of a unix socket.
    pub name: Box<[u8]>,
    /// Its share of the keys in proportion to the others; at least 1.
    pub weight: u32,
}

/// The order in which twemproxy holds the servers of a pool: short ring names first, then by byte
/// (`string_compare`). `modula`, `jump` and all ties use this order.
#[must_use]
pub fn pool_order(name_a: &[u8], name_b: &[u8]) -> Ordering {
    name_a.len().cmp(&name_b.len()).then_with(|| name_a.cmp(name_b))
}

/// The servers of a pool and the distribution of keys over them.
#[derive(Debug, Clone)]
pub struct Ring {
    hash: Hash,
    tag: Option<HashTag>,
    members: Vec<Member>,
    /// Which members are live, in pool order; at least one.
    live: Vec<bool>,
    spread: Spread,
}

/// A [`Distribution`] with its data about the members.
#[derive(Debug, Clone)]
enum Spread {
    Ketama(Ketama),
    Modula(Slots),
    Random(Random),
    Jump(Jump),
    Rendezvous(Rendezvous),
}

impl Ring {
    /// Whether each key has a member, and always the same: not where one is drawn.
    pub(crate) fn keeps_keys(&self) -> bool {
        !self.members.is_empty() && !matches!(self.spread, Spread::Random(_))
    }

    /// The ring of `members`, who are all live and stand in [`pool_order`]. `seed` starts what
    /// `random` draws; nothing else depends on it.
    ///
    /// There may be no members, as when servers are yet to be discovered: such a ring has no keys.
    ///
    /// # Panics
    ///
    /// If a member weighs nothing: a configuration does not allow that.
    #[must_use]
    pub fn new(
        distribution: Distribution,
        hash: Hash,
        tag: Option<HashTag>,
        members: Vec<Member>,
        seed: u64,
    ) -> Self {
        assert!(members.iter().all(|member| member.weight > 0), "a server has a weight");
        let live = vec![true; members.len()];
        let spread = match distribution {
            Distribution::Ketama => Spread::Ketama(Ketama::new(&members, &live)),
            Distribution::Modula => Spread::Modula(Slots::new(&members, &live)),
            Distribution::Random => Spread::Random(Random::new(&members, &live, seed)),
            Distribution::Jump => Spread::Jump(Jump::new(&members, &live)),
            Distribution::Rendezvous => Spread::Rendezvous(Rendezvous::new(&members, &live)),
        };
        Self { hash, tag, members, live, spread }
    }

    /// Sets which members are live, in pool order; other members get the keys of the ejected
    /// members.
    ///
    /// If no member is live, nothing changes, as in twemproxy: every key still has a member, and
    /// the caller must refuse the requests.
    ///
    /// # Panics
    ///
    /// If `live` is not as long as there are members.
    pub fn set_live(&mut self, live: &[bool]) {
        if !live.contains(&true) || live == self.live {
            return;
        }
        self.live.copy_from_slice(live);
        match &mut self.spread {
            Spread::Ketama(ketama) => ketama.rebuild(&self.members, live),
            Spread::Modula(slots) => *slots = Slots::new(&self.members, live),
            Spread::Random(random) => random.rebuild(&self.members, live),
            Spread::Jump(jump) => *jump = Jump::new(&self.members, live),
            Spread::Rendezvous(rendezvous) => *rendezvous = Rendezvous::new(&self.members, live),
        }
    }

    /// The member that has `key`, as an index in pool order.
    ///
    /// On the request path, once per key: no allocation. A single member has every key, and nothing
    /// is hashed. `random` draws a number, hence `&mut`.
    ///
    /// # Panics
    ///
    /// If there are no members.
    #[inline(always)]
    pub fn route(&mut self, key: &[u8]) -> usize {
        if self.members.len() == 1 {
            return 0;
        }
        let hash = self.hash_of(self.part_of(key));
        match &mut self.spread {
            Spread::Ketama(ketama) => ketama.member_of(hash),
            _ => self.member_of(hash),
        }
    }

    /// The member that has a key with this hash. Out of the way of the distribution that nearly every
    /// pool has.
    #[inline(never)]
    fn member_of(&mut self, hash: u32) -> usize {
        match &mut self.spread {
            Spread::Ketama(ketama) => ketama.member_of(hash),
            Spread::Modula(slots) => slots.member_at(u64::from(hash) % slots.count()),
            Spread::Random(random) => random.draw(),
            Spread::Jump(jump) => jump.member_of(hash),
            Spread::Rendezvous(rendezvous) => rendezvous.member_of(hash),
        }
    }

    /// The hash of a key, by which it has its place.
    #[must_use]
    pub fn key_hash(&self, key: &[u8]) -> u32 {
        self.hash_of(self.part_of(key))
    }

    /// How the member of `key` is found, and up to `next` members that would have the key after
    /// that.
    ///
    /// For tools: this function allocates and is slow.
    ///
    /// # Panics
    ///
    /// If there are no members.
    #[must_use]
    pub fn explain<'k>(&self, key: &'k [u8], next: usize) -> Explanation<'k> {
        let mut ring = self.clone();
        let part = self.part_of(key);
        let hash = (self.members.len() > 1).then(|| self.hash_of(part));
        let member = ring.route(key);
        match (&self.spread, hash) {
            (Spread::Ketama(ketama), Some(hash)) => {
                let found = ketama.find(hash);
                let next = ketama.walk(found).into_iter().skip(1).take(next).collect();
                let point = Some(ketama.points()[found]);
                Explanation { part, hash: Some(hash), point, member, next }
            }
            _ => {
                let next = ring.eject_and_route(member, key, next);
                Explanation { part, hash, point: None, member, next }
            }
        }
    }

    /// The points on a `ketama` ring, ascending; none for the other distributions.
    #[must_use]
    pub fn points(&self) -> &[Point] {
        match &self.spread {
            Spread::Ketama(ketama) => ketama.points(),
            _ => &[],
        }
    }

    /// How many points `member` has on a `ketama` ring; elsewhere how many slots, which is its
    /// weight. An ejected member has none.
    #[must_use]
    pub fn points_of(&self, member: usize) -> usize {
        match &self.spread {
            Spread::Ketama(ketama) => {
                ketama.points().iter().filter(|point| point.member as usize == member).count()
            }
            _ => self.live_weight(member) as usize,
        }
    }

    /// The part of the hash space that `member` owns, from 0 to 1. All parts add up to 1.
    ///
    /// With `ketama`, measured on the circle; with the other distributions, the share of its
    /// weight.
    #[must_use]
    pub fn share_of(&self, member: usize) -> f64 {
        match &self.spread {
            Spread::Ketama(ketama) => ketama.share_of(member),
            _ => {
                let weights = (0..self.members.len()).map(|member| self.live_weight(member));
                let total: u64 = weights.map(u64::from).sum();
                f64::from(self.live_weight(member)) / total as f64
            }
        }
    }

    /// A fingerprint for comparing rings of different proxies: rings with the same number send
    /// every key to servers of the same name, and the same pool with the same live servers has the
    /// same number in every proxy.
    ///
    /// The number is computed from the distribution, the hash, the hash tag and the points, or else
    /// the slots.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut print = Xxh3::new();
        let mut add = |field: &[u8]| {
            print.update(&(field.len() as u64).to_le_bytes());
            print.update(field);
        };
        add(self.distribution().name().as_bytes());
        add(self.hash.name().as_bytes());
        add(&self.tag.map_or(Vec::new(), |tag| tag.bytes().to_vec()));
        for point in self.points() {
            add(&point.value.to_le_bytes());
            add(&self.members[point.member as usize].name);
        }
        if self.points().is_empty() {
            for (member, &live) in self.members.iter().zip(&self.live) {
                add(&member.weight.to_le_bytes());
                add(&member.name);
                add(&[u8::from(live)]);
            }
        }
        print.digest()
    }

    /// The distribution the ring was made with.
    #[must_use]
    pub const fn distribution(&self) -> Distribution {
        match self.spread {
            Spread::Ketama(_) => Distribution::Ketama,
            Spread::Modula(_) => Distribution::Modula,
            Spread::Random(_) => Distribution::Random,
            Spread::Jump(_) => Distribution::Jump,
            Spread::Rendezvous(_) => Distribution::Rendezvous,
        }
    }

    /// The members, in pool order.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Which members are on the ring, in pool order.
    #[must_use]
    pub fn live(&self) -> &[bool] {
        &self.live
    }

    #[inline]
    fn part_of<'k>(&self, key: &'k [u8]) -> &'k [u8] {
        self.tag.map_or(key, |tag| tag.part(key))
    }

    /// The hash of the hashed part of a key; twemproxy does not call the hash function for an empty
    /// part.
    fn hash_of(&self, part: &[u8]) -> u32 {
        if part.is_empty() { 0 } else { self.hash.hash(part) }
    }

    fn live_weight(&self, member: usize) -> u32 {
        if self.live[member] { self.members[member].weight } else { 0 }
    }

    /// The member that has `key` if `member` is ejected, then the member that has it if this one is
    /// ejected, too, and so on, up to `count` members.
    fn eject_and_route(&mut self, mut member: usize, key: &[u8], count: usize) -> Vec<usize> {
        let mut live = self.live.clone();
        let mut order = Vec::new();
        while order.len() < count {
            live[member] = false;
            if !live.contains(&true) {
                break;
            }
            self.set_live(&live);
            member = self.route(key);
            order.push(member);
        }
        order
    }
}

/// The steps from a key to its member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation<'k> {
    /// The part of the key that is hashed.
    pub part: &'k [u8],
    /// The hash; none in a pool with one member. `random` does not use it.
    pub hash: Option<u32>,
    /// The point found; only `ketama` has points.
    pub point: Option<Point>,
    /// The member that has the key. With `random`: the member drawn next.
    pub member: usize,
    /// The next members, best first: with `ketama` in the order of the points on the ring, with the
    /// other distributions the members that take over as one member after the other is ejected.
    pub next: Vec<usize>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_distribution_is_found_by_its_name() {
        for &distribution in Distribution::ALL {
            assert_eq!(Distribution::from_name(distribution.name()), Some(distribution));
        }
        assert_eq!(Distribution::from_name("rendezvous"), Some(Distribution::Rendezvous));
        assert_eq!(Distribution::from_name("Ketama"), None);
    }

    #[test]
    fn pools_are_sorted_by_length_before_bytes() {
        let mut names: [&[u8]; 5] = [b"gamma", b"delta", b"zz", b"beta", b"alpha"];
        names.sort_by(|a, b| pool_order(a, b));
        assert_eq!(names, [&b"zz"[..], b"beta", b"alpha", b"delta", b"gamma"]);
    }
}
