//! Tables of slices and the pods in them.

use super::*;
use serde_json::json;

fn endpoint(address: &str) -> Value {
    json!({"addresses": [address], "conditions": {"ready": true}})
}

/// An endpoint with a host name, a pod and conditions, each left out if empty.
fn of_pod(address: &str, hostname: &str, pod: &str, conditions: &Value) -> Value {
    let mut it = json!({"addresses": [address], "conditions": conditions});
    if !hostname.is_empty() {
        it["hostname"] = hostname.into();
    }
    if !pod.is_empty() {
        it["targetRef"] = json!({"kind": "Pod", "name": pod});
    }
    it
}

fn slice(name: &str, kind: &str, endpoints: &[Value]) -> Value {
    let ports = json!([{"name": "memcached", "port": 11211, "protocol": "TCP"}]);
    json!({"metadata": {"name": name}, "addressType": kind, "endpoints": endpoints, "ports": ports})
}

/// Name, addresses and whether another pod comes under the name.
fn pods(all: &[Value]) -> Vec<(String, String, bool)> {
    let mut slices = Slices::default();
    for object in all {
        let (name, slice) = Slice::read(object).unwrap();
        assert!(slices.put(name, slice));
    }
    let shown = |(name, it): (String, Endpoints)| {
        let addresses: Vec<_> = it.addresses.iter().map(IpAddr::to_string).collect();
        (name, addresses.join(" "), it.returns)
    };
    slices.pods("m").into_iter().map(shown).collect()
}

fn one(name: &str, addresses: &str, returns: bool) -> Vec<(String, String, bool)> {
    vec![(name.into(), addresses.into(), returns)]
}

#[test]
fn a_pod_is_named_by_its_host_name_else_its_object_else_its_address() {
    let ready = json!({"ready": true});
    for (endpoint, expected) in [
        (of_pod("10.0.0.1", "m-0", "m-0", &ready), one("m-0.m", "10.0.0.1", true)),
        (of_pod("10.0.0.1", "own", "m-x7f", &ready), one("own.m", "10.0.0.1", true)),
        (of_pod("10.0.0.1", "", "m-x7f", &ready), one("m-x7f.m", "10.0.0.1", false)),
        (of_pod("10.0.0.1", "", "", &ready), one("10-0-0-1.m", "10.0.0.1", false)),
        (
            of_pod("10.0.0.1", "", &["m"; 200].join("."), &ready),
            one("10-0-0-1.m", "10.0.0.1", false),
        ),
        // A name that is none, or has parts, would be another name on the ring.
        (of_pod("10.0.0.1", "a b", "m-0\n", &ready), one("10-0-0-1.m", "10.0.0.1", false)),
        (of_pod("10.0.0.1", "a.b", "m-0.x", &ready), one("m-0.x.m", "10.0.0.1", false)),
    ] {
        assert_eq!(pods(&[slice("a", "IPv4", &[endpoint])]), expected);
    }
    let mut node = of_pod("10.0.0.1", "", "x", &ready);
    node["targetRef"]["kind"] = json!("Node");
    assert_eq!(pods(&[slice("a", "IPv4", &[node])]), one("10-0-0-1.m", "10.0.0.1", false));
    let six = slice("a", "IPv6", &[endpoint("fd00::1")]);
    assert_eq!(pods(&[six]), one("fd00--1.m", "fd00::1", false));
}

#[test]
fn slices_are_merged_and_both_versions_are_one_server() {
    let ready = json!({"ready": true});
    let four = slice("a", "IPv4", &[of_pod("10.0.0.1", "m-0", "m-0", &ready)]);
    let six = slice("b", "IPv6", &[of_pod("fd00::1", "m-0", "m-0", &ready)]);
    let again = slice("c", "IPv4", &[of_pod("10.0.0.1", "m-0", "m-0", &ready)]);
    let expected = one("m-0.m", "10.0.0.1 fd00::1", true);
    assert_eq!(pods(&[four.clone(), six.clone()]), expected);
    assert_eq!(pods(&[six, again, four]), expected);
}

#[test]
fn readiness_does_not_count_and_an_end_only_for_a_pod_without_a_host_name() {
    for conditions in [
        json!({}),
        json!({"ready": true, "serving": true, "terminating": false}),
        json!({"ready": false, "serving": false, "terminating": false}),
        json!({"ready": null}),
        json!(null),
    ] {
        let stable = slice("a", "IPv4", &[of_pod("10.0.0.1", "m-0", "m-0", &conditions)]);
        assert_eq!(pods(&[stable]), one("m-0.m", "10.0.0.1", true), "{conditions}");
        let other = slice("a", "IPv4", &[of_pod("10.0.0.1", "", "x", &conditions)]);
        assert_eq!(pods(&[other]), one("x.m", "10.0.0.1", false), "{conditions}");
    }
    for conditions in [
        json!({"terminating": true}),
        json!({"ready": false, "serving": true, "terminating": true}),
    ] {
        let stable = slice("a", "IPv4", &[of_pod("10.0.0.1", "m-0", "m-0", &conditions)]);
        assert_eq!(pods(&[stable]), one("m-0.m", "10.0.0.1", true), "{conditions}");
        let other = slice("a", "IPv4", &[of_pod("10.0.0.1", "", "x", &conditions)]);
        assert_eq!(pods(&[other]), [], "{conditions}");
    }
}

#[test]
fn while_a_pod_is_replaced_the_new_one_counts() {
    let ending = json!({"ready": false, "terminating": true});
    let unready = json!({"ready": false, "terminating": false});
    let old = of_pod("10.0.0.9", "m-0", "m-0", &ending);
    let new = of_pod("10.0.0.1", "m-0", "m-0", &unready);
    for all in [[old.clone(), new.clone()], [new, old]] {
        let both = [slice("a", "IPv4", &all[..1]), slice("b", "IPv4", &all[1..])];
        assert_eq!(pods(&both), one("m-0.m", "10.0.0.1", true));
    }
}

/// An endpoint of an object with this uid.
fn of_uid(address: &str, hostname: &str, pod: &str, uid: &str, conditions: &Value) -> Value {
    let mut it = of_pod(address, hostname, pod, conditions);
    it["targetRef"]["uid"] = uid.into();
    it
}

#[test]
fn a_pod_and_its_successor_are_one_server_with_the_addresses_of_one_of_them() {
    let (ready, ending) = (json!({"ready": true}), json!({"terminating": true}));
    for conditions in [&ready, &ending] {
        // The slice of the other version still has the former pod.
        let new = slice("a", "IPv4", &[of_uid("10.0.0.1", "m-0", "m-0", "new", &ready)]);
        let old = [
            slice("b", "IPv4", &[of_uid("10.0.0.9", "m-0", "m-0", "old", conditions)]),
            slice("c", "IPv6", &[of_uid("fd00::9", "m-0", "m-0", "old", conditions)]),
        ];
        let [of_four, of_six] = old;
        assert_eq!(pods(&[new, of_four, of_six]), one("m-0.m", "10.0.0.1", true), "{conditions}");
    }
    // One pod in two slices of a kind, while they are rebalanced.
    let same = |name: &str| slice(name, "IPv4", &[of_uid("10.0.0.1", "m-0", "m-0", "uid", &ready)]);
    assert_eq!(pods(&[same("a"), same("b")]), one("m-0.m", "10.0.0.1", true));
}

#[test]
fn two_pods_are_two_servers_whatever_they_share() {
    let (ready, ending) = (json!({"ready": true}), json!({"terminating": true}));
    let own = |name: &str, address: &str| (name.to_owned(), address.to_owned(), false);
    let all = |endpoints: &[Value]| {
        // In one slice, and in one for each, in both orders.
        let of_each = |(nth, endpoint): (usize, &Value)| {
            slice(&format!("{nth}"), "IPv4", std::slice::from_ref(endpoint))
        };
        let each: Vec<_> = endpoints.iter().enumerate().map(of_each).collect();
        let back: Vec<_> = endpoints.iter().rev().enumerate().map(of_each).collect();
        let found = pods(&[slice("a", "IPv4", endpoints)]);
        assert_eq!((pods(&each), pods(&back)), (found.clone(), found.clone()));
        found
    };
    let x = of_pod("10.0.0.1", "m", "x", &ready);
    let y = of_pod("10.0.0.2", "m", "y", &ready);
    assert_eq!(all(std::slice::from_ref(&x)), one("m.m", "10.0.0.1", true));
    let two = [own("x.m", "10.0.0.1"), own("y.m", "10.0.0.2")];
    assert_eq!(all(&[x.clone(), y.clone()]), two);
    // The host name of one is the name of the other.
    let z = of_pod("10.0.0.3", "x", "z", &ready);
    let three = [own("x.m", "10.0.0.1"), own("y.m", "10.0.0.2"), own("z.m", "10.0.0.3")];
    assert_eq!(all(&[x.clone(), y.clone(), z]), three);
    let bare = of_pod("10.0.0.3", "", "m", &ready);
    assert_eq!(all(&[x.clone(), bare]), [own("m.m", "10.0.0.3"), own("x.m", "10.0.0.1")]);
    // One that ends leaves its host name to the other one.
    let former = of_pod("10.0.0.9", "m", "w", &ending);
    assert_eq!(all(&[x.clone(), former.clone()]), one("m.m", "10.0.0.1", true));
    assert_eq!(all(&[x, y, former.clone()]), two);
    assert_eq!(all(std::slice::from_ref(&former)), one("m.m", "10.0.0.9", true));
    assert_eq!(all(&[former, of_pod("10.0.0.8", "m", "v", &ending)]), []);
}

#[test]
fn without_an_object_a_host_name_is_all_that_there_is() {
    let ready = json!({"ready": true});
    let four = slice("a", "IPv4", &[of_pod("10.0.0.1", "m-0", "", &ready)]);
    let six = slice("b", "IPv6", &[of_pod("fd00::1", "m-0", "", &ready)]);
    assert_eq!(pods(&[four.clone(), six]), one("m-0.m", "10.0.0.1 fd00::1", true));
    let pod = slice("c", "IPv4", &[of_pod("10.0.0.2", "m-0", "m-0", &ready)]);
    let own = |name: &str, address: &str| (name.to_owned(), address.to_owned(), false);
    assert_eq!(pods(&[four, pod]), [own("10-0-0-1.m", "10.0.0.1"), own("m-0.m", "10.0.0.2")]);
}

#[test]
fn what_is_no_address_or_no_port_of_tcp_is_left_out() {
    let bad = [json!({}), json!({"addresses": []}), json!({"addresses": ["x"]}), json!(7)];
    let all = [&bad[..], &[endpoint("10.0.0.1")]].concat();
    assert_eq!(pods(&[slice("a", "IPv4", &all)]), one("10-0-0-1.m", "10.0.0.1", false));
    assert_eq!(pods(&[slice("a", "FQDN", &[endpoint("10.0.0.1")])]), []);
    let mut object = slice("a", "IPv4", &[endpoint("10.0.0.1")]);
    object["ports"] = json!([
        {"name": "m", "port": 11211},
        {"port": 1},
        {"name": "udp", "port": 2, "protocol": "UDP"},
        {"name": "none"},
        {"name": "zero", "port": 0},
        {"name": "large", "port": 65536},
        {"name": "No label", "port": 3},
    ]);
    let mut slices = Slices::default();
    let (name, slice) = Slice::read(&object).unwrap();
    slices.put(name, slice);
    let ports = &slices.pods("m")["10-0-0-1.m"].ports;
    assert_eq!(**ports, [(String::new(), 1), ("m".to_owned(), 11211)]);
}

#[test]
fn what_is_no_slice_is_not_read() {
    let long = ["m"; 200].join(".");
    for object in [
        json!(null),
        json!({}),
        json!({"metadata": {"name": "a"}}),
        json!({"metadata": {"name": 1}, "addressType": "IPv4"}),
        json!({"metadata": {"name": long}, "addressType": "IPv4"}),
    ] {
        assert_eq!(Slice::read(&object), None, "{object}");
    }
    // Kubernetes writes null for an empty list.
    let empty =
        json!({"metadata": {"name": "a"}, "addressType": "IPv4", "endpoints": null, "ports": null});
    assert!(Slice::read(&empty).is_some());
}

#[test]
fn there_is_room_for_a_limited_number() {
    let mut slices = Slices::default();
    let some = |count: usize| {
        let all = vec![endpoint("10.0.0.1"); count];
        Slice::read(&slice("x", "IPv4", &all)).unwrap().1
    };
    assert!(slices.put("a".into(), some(ENDPOINTS_MAX)));
    assert!(!slices.put("b".into(), some(1)));
    slices.remove("b");
    assert!(slices.put("a".into(), some(1)));
    for nth in 1..SLICES_MAX {
        assert!(slices.put(nth.to_string(), some(0)), "{nth}");
    }
    assert!(!slices.put("b".into(), some(0)));
}

/// An object with ports whose names begin with `first` and end with their number.
fn with_ports(name: &str, first: &str, count: usize) -> Value {
    let mut object = slice(name, "IPv4", &[of_pod("10.0.0.1", "m-0", "m-0", &json!({}))]);
    let port = |nth| json!({"name": format!("{first}-{nth}"), "port": 1 + nth});
    object["ports"] = (0..count).map(port).collect();
    object
}

#[test]
fn a_slice_and_a_pod_have_a_limited_number_of_ports() {
    let mut slices = Slices::default();
    for (count, has_room) in [(PORTS_MAX, true), (PORTS_MAX + 1, false), (100_000, false)] {
        let (name, slice) = Slice::read(&with_ports("a", "x", count)).unwrap();
        assert!(slice.ports.len() <= PORTS_MAX + 1);
        assert_eq!(slices.put(name, slice), has_room, "{count}");
    }
    for nth in 0..SLICES_MAX {
        let object = with_ports(&format!("{nth}"), &format!("x{nth}"), PORTS_MAX);
        let (name, slice) = Slice::read(&object).unwrap();
        slices.put(name, slice);
    }
    assert_eq!(slices.pods("m")["m-0.m"].ports.len(), PORTS_MAX);
}

#[test]
fn a_pod_in_two_slices_has_the_ports_of_both_and_of_one_name_the_first() {
    let mut slices = Slices::default();
    for (name, ports) in [
        ("a", json!([{"name": "m", "port": 1}])),
        ("b", json!([{"name": "m", "port": 2}, {"name": "a", "port": 3}])),
    ] {
        let mut object = with_ports(name, "x", 0);
        object["ports"] = ports;
        let (name, slice) = Slice::read(&object).unwrap();
        assert!(slices.put(name, slice));
    }
    let ports = &slices.pods("m")["m-0.m"].ports;
    assert_eq!(**ports, [("a".to_owned(), 3), ("m".to_owned(), 1)]);
}
