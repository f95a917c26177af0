//! Ketama: every server has points on a circle of 2³² places, and a key belongs to the first
//! point at or after its hash.
//!
//! The one rule: the points are those of twemproxy (`ketama_update`), in number and value,
//! including the rounding of its single-precision floats.
//!
//! A point's value depends only on its server's name and its ordinal; ejections and weights
//! determine only the number of points. So every computed point stays in `drawn`, sorted, and the
//! ring is a filtered copy: an ejection computes no digest and sorts nothing, unless a server now
//! gets more points than ever before.

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use md5::{Digest, Md5};

use super::Member;

/// A place on the ring and the server it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    /// The position; hashes up to and including it belong to this point.
    pub value: u32,
    /// The index of its member, in pool order.
    pub member: u32,
}

/// The points of the live members and an index to find them.
#[derive(Debug, Clone, Default)]
pub(super) struct Ketama {
    /// In ascending order. Of equal values, the first in pool order wins.
    points: Vec<Point>,
    /// `starts[b]` is the first point whose value has top bits of `b` or more. There are four to
    /// eight buckets for each point in pools of reasonable size, and the points are evenly
    /// distributed, so a search mostly ends at its first step. The processor can predict this
    /// branch, unlike the branches of a binary search.
    starts: Vec<u32>,
    /// The number of bits to shift a hash right to get its bucket.
    shift: u32,
    /// Every point that was ever on the ring, in ascending order.
    drawn: Vec<Drawn>,
    /// The number of points of each member in `drawn`.
    drawn_counts: Vec<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Drawn {
    point: Point,
    /// The ordinal of this point among its member's points, from 0.
    ordinal: u32,
}

impl Ketama {
    pub(super) fn new(members: &[Member], live: &[bool]) -> Self {
        let mut ketama = Self { drawn_counts: vec![0; members.len()], ..Self::default() };
        ketama.rebuild(members, live);
        ketama
    }

    /// Makes the ring of the `members` that are `live`.
    pub(super) fn rebuild(&mut self, members: &[Member], live: &[bool]) {
        let counts = point_counts(members, live);
        self.draw(members, &counts);
        let on_the_ring = |drawn: &&Drawn| drawn.ordinal < counts[drawn.point.member as usize];
        self.points.clear();
        self.points.extend(self.drawn.iter().filter(on_the_ring).map(|drawn| drawn.point));
        self.index_points();
    }

    pub(super) fn points(&self) -> &[Point] {
        &self.points
    }

    /// The member that has `hash`.
    #[inline]
    pub(super) fn member_of(&self, hash: u32) -> usize {
        self.points[self.find(hash)].member as usize
    }

    /// The index of the point that `hash` belongs to: the first point at or after it, or else the
    /// first of all.
    #[inline]
    pub(super) fn find(&self, hash: u32) -> usize {
        let start = self.starts[(hash >> self.shift) as usize] as usize;
        let steps = self.points[start..].iter().position(|point| point.value >= hash);
        steps.map_or(0, |steps| start + steps)
    }

    /// The members in the order of the points from `found` on, starting with its own member, each
    /// once.
    pub(super) fn walk(&self, found: usize) -> Vec<usize> {
        let (before, after) = self.points.split_at(found);
        let mut met = Vec::new();
        for point in after.iter().chain(before) {
            let member = point.member as usize;
            if !met.contains(&member) {
                met.push(member);
            }
        }
        met
    }

    /// The share of all hashes that belongs to `member`.
    pub(super) fn share_of(&self, member: usize) -> f64 {
        let before = self.points.iter().cycle().skip(self.points.len() - 1);
        let pairs = self.points.iter().zip(before);
        let own = pairs.filter(|(point, _)| point.member as usize == member);
        let places: u64 = own.map(|(point, before)| arc(before.value, point.value)).sum();
        places as f64 / CIRCLE as f64
    }

    /// Computes the missing points up to `counts`.
    fn draw(&mut self, members: &[Member], counts: &[u32]) {
        let drawn_before = self.drawn.len();
        for (member, (count, drawn_count)) in (0..).zip(counts.iter().zip(&mut self.drawn_counts)) {
            let name = &members[member as usize].name;
            for ordinal in (*drawn_count..*count).step_by(POINTS_PER_DIGEST as usize) {
                let values = digest(name, ordinal / POINTS_PER_DIGEST);
                self.drawn.extend((ordinal..).zip(values).map(|(ordinal, value)| {
                    let point = Point { value, member };
                    Drawn { point, ordinal }
                }));
            }
            *drawn_count = (*drawn_count).max(*count);
        }
        if self.drawn.len() > drawn_before {
            // The stable sort, because it is fast if most points are already in order.
            self.drawn.sort();
        }
    }

    fn index_points(&mut self) {
        let bucket_bits = (self.points.len().checked_ilog2().unwrap_or(0) + 3).min(BUCKET_BITS_MAX);
        self.shift = u32::BITS - bucket_bits;
        self.starts.clear();
        for (index, point) in (0..).zip(&self.points) {
            let buckets = (point.value >> self.shift) as usize + 1;
            if buckets > self.starts.len() {
                self.starts.resize(buckets, index);
            }
        }
        let end = u32::try_from(self.points.len()).expect("points are far fewer than 2^32");
        self.starts.resize(1 << bucket_bits, end);
    }
}

/// How many points each member has: 160 on average, by weight, and none for the ejected.
///
/// In single precision and in twemproxy's order of operations, to get the same rounding: 25 equal
/// servers have 156 points each, and a server next to a much heavier one may have none.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "this is floorf")]
fn point_counts(members: &[Member], live: &[bool]) -> Vec<u32> {
    let weights = || members.iter().zip(live).map(|(member, &live)| live.then_some(member.weight));
    let live_count = weights().flatten().count() as f32;
    let total = weights().flatten().map(u64::from).sum::<u64>() as f32;
    let count = |weight: u32| {
        let part = weight as f32 / total;
        let digests = part * POINTS_PER_SERVER / POINTS_PER_DIGEST as f32 * live_count;
        (f64::from(digests) + 1e-10) as f32 as u32 * POINTS_PER_DIGEST
    };
    weights().map(|weight| weight.map_or(0, count)).collect()
}

/// The four points from one MD5 digest, of the label `name-index`.
fn digest(name: &[u8], index: u32) -> [u32; POINTS_PER_DIGEST as usize] {
    let mut label = [name, format!("-{index}").as_bytes()].concat();
    label.truncate(LABEL_MAX);
    let digest = <[u8; 16]>::from(Md5::digest(&label));
    let word =
        |x: usize| u32::from_le_bytes([digest[x], digest[x + 1], digest[x + 2], digest[x + 3]]);
    [word(0), word(4), word(8), word(12)]
}

/// The number of positions after `from`, up to and including `to`, with wrap-around.
fn arc(from: u32, to: u32) -> u64 {
    u64::from(to.wrapping_sub(from))
}

const CIRCLE: u64 = 1 << 32;
/// 256 KiB of buckets are enough even for thousands of servers.
const BUCKET_BITS_MAX: u32 = 16;
const POINTS_PER_SERVER: f32 = 160.0;
const POINTS_PER_DIGEST: u32 = 4;
/// The size of twemproxy's buffer for a label, in bytes; longer labels are cut.
const LABEL_MAX: usize = 272;

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn counts(weights: &[u32]) -> Vec<u32> {
        let member = |&weight| Member { name: (*b"name").into(), weight };
        let members: Vec<Member> = weights.iter().map(member).collect();
        point_counts(&members, &vec![true; weights.len()])
    }

    #[test]
    fn points_follow_the_weights_with_twemproxys_rounding() {
        assert_eq!(counts(&[1, 2, 3]), [80, 160, 240]);
        assert_eq!(counts(&[3, 7]), [96, 224]);
        assert_eq!(counts(&[5, 1]), [264, 52]);
        assert_eq!(counts(&[10, 10, 1]), [228, 228, 20]);
        assert_eq!(counts(&[50, 50, 1]), [236, 236, 4]);
        assert_eq!(counts(&[1, 1, 2, 2]), [104, 104, 212, 212]);
        assert_eq!(counts(&[1; 25]), [156; 25]);
    }

    #[test]
    fn a_server_next_to_a_giant_has_no_point() {
        assert_eq!(counts(&[100_000, 1]), [316, 0]);
    }

    #[test]
    fn a_digest_gives_four_points() {
        let points = [0x597d_ee54, 0xfe2c_b6d7, 0x517c_bd9b, 0x9439_8729];
        assert_eq!(digest(b"127.0.0.1:21211", 0), points);
        let points = [0x2194_783c, 0x36d6_a85b, 0xf1ed_f592, 0x40a9_b8cf];
        assert_eq!(digest(b"10.0.0.1", 0), points);
    }

    #[test]
    fn a_label_is_cut_at_272_bytes() {
        assert_eq!(digest(&[b'x'; 272], 0), digest(&[b'x'; 272], 1));
        assert_ne!(digest(&[b'x'; 270], 0), digest(&[b'x'; 270], 1));
    }

    #[test]
    fn a_hash_goes_to_the_point_at_or_after_it_and_around() {
        let point = |value| Point { value, member: 0 };
        let points = [10, 20, 20, 0x8000_0000].map(point).to_vec();
        let mut ketama = Ketama { points, ..Ketama::default() };
        ketama.index_points();
        let found = [0, 10, 11, 20, 21, 0x8000_0000, 0x8000_0001, u32::MAX].map(|h| ketama.find(h));
        assert_eq!(found, [0, 0, 1, 1, 3, 3, 0, 0]);
    }
}
