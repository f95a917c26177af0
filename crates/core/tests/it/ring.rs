//! What a ring promises whatever its servers, weights and keys are.

use crate::property::cases;
use nuthatch_core::ring::{Distribution, Hash, HashTag, Member, Point, Ring};
use proptest::collection::vec;
use proptest::prelude::*;

/// A pool as written in a test: ring names and weights, in pool order.
type Servers<'a> = &'a [(&'a str, u32)];

fn ring(distribution: Distribution, hash: Hash, servers: Servers<'_>) -> Ring {
    let member = |&(name, weight): &(&str, u32)| Member { name: name.as_bytes().into(), weight };
    Ring::new(distribution, hash, None, servers.iter().map(member).collect(), 0)
}

fn numbered(distribution: Distribution, weights: &[u32]) -> Ring {
    let member = |(i, &weight): (u32, &u32)| Member { name: name_of(i), weight };
    let members = (0..).zip(weights).map(member).collect();
    Ring::new(distribution, Hash::Xxh3_64, None, members, 0)
}

fn name_of(server: u32) -> Box<[u8]> {
    format!("10.0.0.{server:03}:11212").into_bytes().into()
}

fn route_all(ring: &mut Ring, keys: u32) -> Vec<usize> {
    (0..keys).map(|key| ring.route(format!("key:{key}").as_bytes())).collect()
}

/// The parts of `keys` that each member has.
fn parts(ring: &mut Ring, keys: u32) -> Vec<f64> {
    let mut counts = vec![0; ring.members().len()];
    for member in route_all(ring, keys) {
        counts[member] += 1;
    }
    counts.into_iter().map(|count| f64::from(count) / f64::from(keys)).collect()
}

// Rings whose keys were recorded at a running twemproxy.

const RECORDED_KEYS: [&[u8]; 10] = [
    b"a",
    b"apple",
    b"key:1000",
    b"foo",
    b"bar",
    b"user:1",
    b"user:2",
    b"session:abcdef",
    &[b'x'; 250],
    b"\xc3\xa9",
];

fn recorded_routes(ring: &mut Ring) -> [usize; 10] {
    RECORDED_KEYS.map(|key| ring.route(key))
}

#[test]
fn three_equal_servers_share_keys_as_recorded() {
    let servers = [("127.0.0.1:31101", 1), ("127.0.0.1:31102", 1), ("127.0.0.1:31103", 1)];
    let mut ring = ring(Distribution::Ketama, Hash::Fnv1a_64, &servers);
    assert_eq!(
        ring.points()[..5],
        [
            Point { value: 0x00eb_9ac2, member: 0 },
            Point { value: 0x0105_0785, member: 0 },
            Point { value: 0x01bc_d7a2, member: 1 },
            Point { value: 0x022b_dd5d, member: 0 },
            Point { value: 0x0358_b18c, member: 0 },
        ]
    );
    assert_eq!(ring.points().last(), Some(&Point { value: 0xfefe_0ad1, member: 0 }));
    assert_eq!(recorded_routes(&mut ring), [2, 0, 2, 0, 1, 0, 0, 1, 1, 1]);
}

#[test]
fn weighted_servers_share_keys_as_recorded() {
    let servers = [("beta", 2), ("alpha", 1), ("gamma10", 3)];
    let mut ring = ring(Distribution::Ketama, Hash::Md5, &servers);
    assert_eq!([0, 1, 2].map(|member| ring.points_of(member)), [160, 80, 240]);
    assert_eq!(ring.points()[0], Point { value: 0x00a3_32d9, member: 2 });
    assert_eq!(ring.points().last(), Some(&Point { value: 0xfe02_668d, member: 0 }));
    assert_eq!(recorded_routes(&mut ring), [1, 2, 0, 2, 0, 1, 2, 1, 1, 0]);
}

#[test]
fn servers_at_port_11211_share_keys_as_recorded() {
    let servers = [("127.0.21.1", 1), ("127.0.21.2", 1), ("127.0.21.3:11212", 1)];
    let mut ring = ring(Distribution::Ketama, Hash::Fnv1a_32, &servers);
    assert_eq!(ring.points()[0], Point { value: 0x005e_cc62, member: 2 });
    assert_eq!(recorded_routes(&mut ring), [2, 2, 2, 2, 0, 0, 2, 1, 0, 1]);
}

#[test]
fn modula_deals_out_slots_as_recorded() {
    let mut ring = ring(Distribution::Modula, Hash::Fnv1a_32, &[("zz", 1), ("aaa", 2)]);
    assert_eq!(recorded_routes(&mut ring), [1, 1, 1, 0, 1, 1, 0, 1, 1, 1]);
}

#[test]
fn tagged_keys_stay_together_as_recorded() {
    let names = ["127.0.0.1:31141", "127.0.0.1:31142", "127.0.0.1:31143"];
    let members = names.map(|name| Member { name: name.as_bytes().into(), weight: 1 }).to_vec();
    let braces = Some(HashTag::new(b'{', b'}'));
    let mut ring = Ring::new(Distribution::Ketama, Hash::Fnv1a_64, braces, members, 0);
    assert_eq!([b"{tag}1", b"{tag}2"].map(|key| ring.route(key)), [0, 0]);
    assert_eq!(ring.route(b"{}z"), 2);
}

#[test]
fn an_only_server_has_every_key_and_nothing_is_hashed() {
    for &distribution in Distribution::ALL {
        let mut ring = ring(distribution, Hash::Md5, &[("only", 7)]);
        assert_eq!(ring.route(b"key"), 0);
        assert_eq!(ring.share_of(0), 1.0);
        let explanation = ring.explain(b"key", 3);
        assert_eq!((explanation.hash, explanation.point), (None, None));
        assert_eq!((explanation.member, explanation.next), (0, vec![]));
    }
}

#[test]
fn a_server_too_light_for_a_point_has_no_key_until_it_is_alone() {
    let mut ring = ring(Distribution::Ketama, Hash::Murmur, &[("giant", 100_000), ("dwarf", 1)]);
    assert_eq!(ring.points_of(1), 0);
    assert_eq!(ring.share_of(1), 0.0);
    assert_eq!(parts(&mut ring, 1000), [1.0, 0.0]);
    ring.set_live(&[false, true]);
    assert_eq!(ring.points_of(1), 160);
    assert_eq!(parts(&mut ring, 1000), [0.0, 1.0]);
}

#[test]
fn when_all_are_ejected_the_last_ring_stays() {
    for &distribution in Distribution::ALL {
        let mut ring = numbered(distribution, &[1, 2, 3]);
        ring.set_live(&[true, false, true]);
        let fingerprint = ring.fingerprint();
        ring.set_live(&[false, false, false]);
        assert_eq!(ring.fingerprint(), fingerprint);
        assert_eq!(ring.live(), [true, false, true]);
        assert!(!route_all(&mut ring, 100).contains(&1), "{}", distribution.name());
    }
}

#[test]
fn equal_pools_have_equal_fingerprints_and_others_do_not() {
    let mut fingerprints = Vec::new();
    for &distribution in Distribution::ALL {
        for &hash in Hash::ALL {
            let print = |servers: Servers<'_>| ring(distribution, hash, servers).fingerprint();
            let (one, same) = (print(&[("a", 1), ("b", 2)]), print(&[("a", 1), ("b", 2)]));
            assert_eq!(one, same);
            fingerprints.extend([one, print(&[("a", 1), ("b", 3)]), print(&[("a", 1), ("c", 2)])]);
        }
    }
    let count = fingerprints.len();
    fingerprints.sort_unstable();
    fingerprints.dedup();
    assert_eq!(fingerprints.len(), count);
}

#[test]
fn the_fingerprint_changes_with_an_ejection_and_comes_back() {
    for &distribution in Distribution::ALL {
        let mut ring = ring(distribution, Hash::Md5, &[("a", 1), ("b", 2), ("c", 1)]);
        let all_live = ring.fingerprint();
        ring.set_live(&[true, false, true]);
        assert_ne!(ring.fingerprint(), all_live, "{}", distribution.name());
        ring.set_live(&[true, true, true]);
        assert_eq!(ring.fingerprint(), all_live, "{}", distribution.name());
    }
}

#[test]
fn ketama_explains_itself_by_walking_the_ring() {
    let servers = [("127.0.0.1:31101", 1), ("127.0.0.1:31102", 1), ("127.0.0.1:31103", 1)];
    let ring = ring(Distribution::Ketama, Hash::Fnv1a_64, &servers);
    let explanation = ring.explain(b"a", 5);
    assert_eq!(explanation.part, b"a");
    assert_eq!(explanation.hash, Some(0x8601_ec8c));
    let point = explanation.point.unwrap();
    let found = ring.points().iter().position(|&on_ring| on_ring == point).unwrap();
    assert!(point.value >= 0x8601_ec8c);
    assert!(ring.points()[found - 1].value < 0x8601_ec8c);
    assert_eq!((explanation.member, point.member), (2, 2));
    let second = ring.points()[found..].iter().find(|point| point.member != 2).unwrap().member;
    assert_eq!(explanation.next, [second as usize, 1 - second as usize]);
}

#[test]
fn rendezvous_gives_keys_in_proportion_to_weights() {
    let parts = parts(&mut numbered(Distribution::Rendezvous, &[1, 2, 5, 8]), 40_000);
    for (part, expected) in parts.into_iter().zip([0.0625, 0.125, 0.3125, 0.5]) {
        assert!((part - expected).abs() < 0.01, "{part} instead of {expected}");
    }
}

#[test]
fn jump_gives_keys_in_proportion_to_weights_whoever_is_ejected() {
    let mut ring = numbered(Distribution::Jump, &[1, 2, 5, 8]);
    let all = [0.0625, 0.125, 0.3125, 0.5];
    let three = [0.125, 0.25, 0.625, 0.0];
    for (live, expected) in [([true; 4], all), ([true, true, true, false], three)] {
        ring.set_live(&live);
        for (part, expected) in parts(&mut ring, 40_000).into_iter().zip(expected) {
            assert!((part - expected).abs() < 0.01, "{part} instead of {expected}");
        }
    }
}

/// Expected values from an implementation of the formula elsewhere, with its own logarithm.
#[test]
fn rendezvous_is_the_same_on_every_machine() {
    let mut ring = numbered(Distribution::Rendezvous, &[1, 2, 3, 4, 5]);
    let expected = [3, 0, 4, 3, 4, 1, 1, 1, 1, 1, 1, 4, 1, 1, 3, 4, 2, 3, 1, 3];
    assert_eq!(route_all(&mut ring, 20), expected);
}

fn weights() -> impl Strategy<Value = Vec<u32>> {
    vec(prop_oneof![1_u32..10, 1_u32..1000], 2..12)
}

/// Weights, and who of them is live: somebody, at least.
fn weights_and_live() -> impl Strategy<Value = (Vec<u32>, Vec<bool>)> {
    weights().prop_flat_map(|weights| {
        let live = vec(any::<bool>(), weights.len());
        (Just(weights), live.prop_filter("nobody is live", |live| live.contains(&true)))
    })
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn an_ejection_moves_only_the_keys_of_the_ejected(
        (weights, live) in weights_and_live(),
        distribution in prop_oneof![Just(Distribution::Jump), Just(Distribution::Rendezvous)],
    ) {
        let mut ring = numbered(distribution, &weights);
        let before = route_all(&mut ring, 500);
        ring.set_live(&live);
        let after = route_all(&mut ring, 500);
        for (before, after) in before.iter().zip(&after) {
            prop_assert!(live[*after]);
            prop_assert!(before == after || !live[*before]);
        }
        ring.set_live(&vec![true; weights.len()]);
        prop_assert_eq!(route_all(&mut ring, 500), before);
    }

    #[test]
    fn an_ejection_among_equals_moves_only_the_keys_of_the_ejected_in_ketama(
        live in vec(any::<bool>(), 2..24),
    ) {
        let mut ring = numbered(Distribution::Ketama, &vec![1; live.len()]);
        let before = route_all(&mut ring, 500);
        ring.set_live(&live);
        for (before, after) in before.into_iter().zip(route_all(&mut ring, 500)) {
            prop_assert!(before == after || !live[before]);
        }
    }

    #[test]
    fn a_new_server_only_takes_keys(
        weights in weights(),
        distribution in prop_oneof![Just(Distribution::Jump), Just(Distribution::Rendezvous)],
    ) {
        let newest = weights.len() - 1;
        let before = route_all(&mut numbered(distribution, &weights[..newest]), 500);
        let after = route_all(&mut numbered(distribution, &weights), 500);
        for (before, after) in before.into_iter().zip(after) {
            prop_assert!(before == after || after == newest);
        }
    }

    #[test]
    fn a_new_equal_server_only_takes_keys_in_ketama(count in 2_usize..24) {
        let weights = vec![1; count];
        let before = route_all(&mut numbered(Distribution::Ketama, &weights[1..]), 500);
        let after = route_all(&mut numbered(Distribution::Ketama, &weights), 500);
        for (before, after) in before.into_iter().zip(after) {
            prop_assert!(before == after || after == count - 1);
        }
    }

    #[test]
    fn a_ring_after_many_ejections_is_the_ring_of_the_live(
        (weights, live) in weights_and_live(),
        earlier in vec(any::<u16>(), 0..6),
        distribution in prop_oneof![
            Just(Distribution::Ketama), Just(Distribution::Modula), Just(Distribution::Rendezvous)
        ],
    ) {
        let mut worn = numbered(distribution, &weights);
        for bits in earlier {
            let live: Vec<bool> = (0..weights.len()).map(|i| bits >> i & 1 == 1).collect();
            worn.set_live(&live);
        }
        worn.set_live(&live);
        let alive: Vec<u32> = (0..).zip(&live).filter(|(_, live)| **live).map(|(i, _)| i).collect();
        let member = |&i: &u32| Member { name: name_of(i), weight: weights[i as usize] };
        let members = alive.iter().map(member).collect();
        let mut fresh = Ring::new(distribution, Hash::Xxh3_64, None, members, 0);
        let values = |ring: &Ring| ring.points().iter().map(|p| p.value).collect::<Vec<_>>();
        prop_assert_eq!(values(&worn), values(&fresh));
        let routes = route_all(&mut fresh, 300).into_iter().map(|i| alive[i] as usize);
        prop_assert_eq!(route_all(&mut worn, 300), routes.collect::<Vec<_>>());
    }

    #[test]
    fn a_key_goes_to_the_first_point_at_or_after_its_hash(
        (weights, live) in weights_and_live(),
        key in vec(any::<u8>(), 1..20),
    ) {
        let mut ring = numbered(Distribution::Ketama, &weights);
        ring.set_live(&live);
        prop_assert!(ring.points().is_sorted());
        let hash = Hash::Xxh3_64.hash(&key);
        let points = ring.points();
        let point = points.iter().find(|point| point.value >= hash).unwrap_or(&points[0]);
        prop_assert_eq!(point.member as usize, ring.route(&key));
    }

    #[test]
    fn modula_deals_out_the_slots_of_a_list(
        (weights, live) in weights_and_live(),
        key in vec(any::<u8>(), 1..20),
    ) {
        let mut ring = numbered(Distribution::Modula, &weights);
        ring.set_live(&live);
        let rows = (0..weights.len()).filter(|&i| live[i]).map(|i| vec![i; weights[i] as usize]);
        let slots = rows.collect::<Vec<_>>().concat();
        let hash = Hash::Xxh3_64.hash(&key) as usize;
        prop_assert_eq!(ring.route(&key), slots[hash % slots.len()]);
    }

    #[test]
    fn random_and_all_others_route_to_the_live_alone((weights, live) in weights_and_live()) {
        for &distribution in Distribution::ALL {
            let mut ring = numbered(distribution, &weights);
            ring.set_live(&live);
            prop_assert!(route_all(&mut ring, 200).into_iter().all(|member| live[member]));
        }
    }

    #[test]
    fn shares_add_up_to_one_and_follow_the_points((weights, live) in weights_and_live()) {
        for &distribution in Distribution::ALL {
            let mut ring = numbered(distribution, &weights);
            ring.set_live(&live);
            let shares = (0..weights.len()).map(|member| ring.share_of(member));
            prop_assert!((shares.sum::<f64>() - 1.0).abs() < 1e-9);
            let total: usize = (0..weights.len()).map(|member| ring.points_of(member)).sum();
            for member in 0..weights.len() {
                let expected = ring.points_of(member) as f64 / total as f64;
                let share = ring.share_of(member);
                // Points are scattered: with n of them the share strays by about 1/sqrt(n).
                prop_assert!((share - expected).abs() < 0.12, "{share} instead of {expected}");
            }
        }
    }

    #[test]
    fn an_explanation_tells_the_route_and_everybody_else(
        (weights, live) in weights_and_live(),
        key in vec(any::<u8>(), 0..20),
    ) {
        for &distribution in Distribution::ALL {
            let mut ring = numbered(distribution, &weights);
            ring.set_live(&live);
            let explanation = ring.explain(&key, usize::MAX);
            prop_assert_eq!(explanation.member, ring.route(&key));
            let mut told = explanation.next;
            told.push(explanation.member);
            told.sort_unstable();
            let with_keys = (0..weights.len()).filter(|&i| match distribution {
                Distribution::Ketama => ring.points_of(i) > 0,
                _ => live[i],
            });
            prop_assert_eq!(told, with_keys.collect::<Vec<_>>());
        }
    }

    #[test]
    fn keys_with_a_common_tag_have_a_common_server(
        tag in "[a-z]{1,8}", before in "[a-z}]{0,8}", after in "[a-z{}]{0,8}",
    ) {
        let members = (0..9).map(|i| Member { name: name_of(i), weight: 1 }).collect();
        let braces = Some(HashTag::new(b'{', b'}'));
        let mut ring = Ring::new(Distribution::Ketama, Hash::Fnv1a_64, braces, members, 0);
        let key = format!("{before}{{{tag}}}{after}");
        prop_assert_eq!(ring.route(key.as_bytes()), ring.route(tag.as_bytes()));
    }
}

#[test]
fn a_ring_may_have_no_members() {
    for &distribution in Distribution::ALL {
        let ring = numbered(distribution, &[]);
        assert_eq!((ring.members().len(), ring.points().len()), (0, 0));
        assert_eq!(ring.fingerprint(), numbered(distribution, &[]).fingerprint());
        assert_ne!(ring.fingerprint(), numbered(distribution, &[1]).fingerprint());
    }
}
