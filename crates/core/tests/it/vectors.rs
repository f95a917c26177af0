//! The ring against the recorded answers of twemproxy, libmemcached and libketama.
//!
//! `tests/data/vectors/README.md` says what the files are and how they were recorded.

#![expect(clippy::unwrap_used, reason = "without its data a test fails, and that is all it can")]

use std::collections::{BTreeSet, HashMap};
use std::fs;

use nuthatch_core::ring::{Distribution, Hash, HashTag, Member, Ring, pool_order};
use serde_json::Value;

#[test]
fn every_hash_of_every_key_is_twemproxys() {
    let keys = keys();
    let table = Table::read("hashes.csv");
    for column in &table.columns {
        let hash = Hash::from_name(column).unwrap();
        for (id, value) in table.cells(column) {
            assert_eq!(hash.hash(&keys[id]).to_string(), value, "{column} of {id}");
        }
    }
    assert_eq!((table.columns.len(), table.rows.len()), (12, 220));
}

#[test]
fn every_hash_tag_finds_twemproxys_part() {
    let keys = keys();
    for (tag, from_the_end) in [(HashTag::new(b'{', b'}'), 1), (HashTag::new(b'$', b'$'), 0)] {
        for line in read("keys.csv").lines().skip(1) {
            let (id, part) = (line.split(',').next(), line.rsplit(',').nth(from_the_end));
            let key = &keys[id.unwrap()];
            let part = Some(unhex(part.unwrap())).filter(|part| !part.is_empty());
            assert_eq!(tag.part(key), part.unwrap_or_else(|| key.clone()), "{line}");
        }
    }
}

#[test]
fn every_key_goes_where_twemproxy_sends_it() {
    let keys = keys();
    let tags = [
        ("none", None),
        ("braces", Some(HashTag::new(b'{', b'}'))),
        ("dollars", Some(HashTag::new(b'$', b'$'))),
    ];
    let mut decisions = 0;
    for list in lists() {
        for (tag_name, tag) in tags {
            let table = Table::read(&format!("routing_{}_{tag_name}.csv", list.name));
            for column in &table.columns {
                let (distribution, hash) = column.split_once(':').unwrap();
                let distribution = Distribution::from_name(distribution).unwrap();
                let mut ring = list.ring(distribution, Hash::from_name(hash).unwrap(), tag);
                for (id, server) in table.cells(column) {
                    let routed = list.pool_order[ring.route(&keys[id])];
                    assert_eq!(routed.to_string(), server, "{} {column} {id}", list.name);
                    decisions += 1;
                }
            }
        }
    }
    assert_eq!(decisions, 149_184);
}

#[test]
fn every_server_has_as_many_points_as_in_twemproxy() {
    let mut text = String::from("list,server,pool_index,ring_name,weight,ketama_points\n");
    for list in lists() {
        let ring = list.ring(Distribution::Ketama, Hash::Md5, None);
        let mut lines: Vec<_> = (0..).zip(&list.pool_order).zip(&list.members).collect();
        lines.sort_by_key(|((_, server), _)| **server);
        for ((index, server), Member { name, weight }) in lines {
            let (ring_name, points) = (str::from_utf8(name).unwrap(), ring.points_of(index));
            text += &format!("{},{server},{index},{ring_name},{weight},{points}\n", list.name);
        }
    }
    let sorted = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    assert_eq!(sorted(&text), sorted(&read("points.csv")));
}

#[test]
fn servers_sort_as_in_twemproxy() {
    for list in lists() {
        assert!(list.members.is_sorted_by(|a, b| pool_order(&a.name, &b.name).is_lt()));
    }
}

#[test]
fn whole_rings_are_twemproxys_point_by_point() {
    let recorded = ["hundred_11211", "seed_11211", "unix3", "weights_1_2_5"];
    for list in lists().iter().filter(|list| recorded.contains(&list.name.as_str())) {
        let ring = list.ring(Distribution::Ketama, Hash::Md5, None);
        let mut text = String::from("point,server\n");
        for point in ring.points() {
            text += &format!("{},{}\n", point.value, list.pool_order[point.member as usize]);
        }
        let recorded = read(&format!("continuum_{}.csv", list.name));
        assert!(text == recorded.replace('\r', ""), "{}", list.name);
    }
}

#[test]
fn any_number_of_equal_servers_has_twemproxys_points() {
    let mut ring = ring_of_weights(&[1; 200]);
    for line in read("points_equal_n.csv").lines().skip(1) {
        let [count, points] = cells(line).map(|cell| cell.parse::<usize>().unwrap());
        let live: Vec<bool> = (0..200).map(|member| member < count).collect();
        ring.set_live(&live);
        let mut counts = [0; 200];
        for point in ring.points() {
            counts[point.member as usize] += 1;
        }
        assert!(counts[..count].iter().all(|&on_ring| on_ring == points), "{line}");
        assert!(counts[count..].iter().all(|&on_ring| on_ring == 0), "{line}");
    }
}

#[test]
fn any_weights_give_twemproxys_points() {
    for line in read("points_weights.csv").lines().skip(1) {
        let [weights, points] = cells(line);
        let weights: Vec<u32> = weights.split(' ').map(|w| w.parse().unwrap()).collect();
        let ring = ring_of_weights(&weights);
        let counts = (0..weights.len()).map(|member| ring.points_of(member).to_string());
        assert_eq!(counts.collect::<Vec<_>>().join(" "), points, "{line}");
    }
}

/// `ketama_weighted`, which brings MD5 along, always; plain `ketama`, which brings one-at-a-time
/// along, as soon as a weight is above one and makes libmemcached weigh.
#[test]
fn ketama_agrees_with_libmemcacheds_weighted_ketama() {
    let keys = keys();
    let lists = lists();
    let table = Table::read("libmemcached_1.1.4.csv");
    let mut columns_checked = 0;
    for column in &table.columns {
        let names: Vec<_> = column.split('/').collect();
        let [list, mode, hash] = names[..] else { panic!("{column}") };
        let list = lists.iter().find(|known| known.name == list).unwrap();
        let weighted = list.members.iter().any(|member| member.weight > 1);
        if mode == "ketama" && !weighted {
            continue;
        }
        let brought = if mode == "ketama" { Hash::OneAtATime } else { Hash::Md5 };
        let hash = Hash::from_name(hash).unwrap_or(brought);
        let mut ring = list.ring(Distribution::Ketama, hash, None);
        for (id, server) in table.cells(column) {
            assert_eq!(list.pool_order[ring.route(&keys[id])].to_string(), server, "{column} {id}");
        }
        columns_checked += 1;
    }
    assert_eq!(columns_checked, 13 * 3 + 4 * 3);
}

/// libketama always hashes `host:port`; twemproxy does so if the servers are named so.
#[test]
fn ketama_with_md5_agrees_with_libketama() {
    let keys = keys();
    let lists = lists();
    let table = Table::read("libketama_md5.csv");
    for column in &table.columns {
        let list = lists.iter().find(|list| list.name == *column).unwrap();
        let members: Vec<Member> =
            list.servers.iter().map(|server| member_of(server.rsplit_once(':').unwrap())).collect();
        let mut ring = Ring::new(Distribution::Ketama, Hash::Md5, None, members, 0);
        for (id, server) in table.cells(column).filter(|(_, server)| !server.is_empty()) {
            assert_eq!(ring.route(&keys[id]).to_string(), server, "{column} {id}");
        }
    }
    assert_eq!(table.columns.len(), 7);
}

struct List {
    name: String,
    /// As configured.
    servers: Vec<String>,
    /// In pool order.
    members: Vec<Member>,
    /// The configured index of each member.
    pool_order: Vec<usize>,
    ejected: Option<usize>,
}

impl List {
    fn ring(&self, distribution: Distribution, hash: Hash, tag: Option<HashTag>) -> Ring {
        let mut ring = Ring::new(distribution, hash, tag, self.members.clone(), 0);
        if let Some(ejected) = self.ejected {
            let live: Vec<bool> = self.pool_order.iter().map(|&i| i != ejected).collect();
            ring.set_live(&live);
        }
        ring
    }
}

fn lists() -> Vec<List> {
    let lists: Value = serde_json::from_str(&read("lists.json")).unwrap();
    let lists = lists.as_object().unwrap().iter().map(|(name, list)| {
        let texts = |field: &str| -> Vec<String> {
            let texts = list[field].as_array().unwrap().iter();
            texts.map(|text| text.as_str().unwrap().to_owned()).collect()
        };
        let index = |value: &Value| usize::try_from(value.as_u64().unwrap()).unwrap();
        let (servers, ring_names) = (texts("servers"), texts("ring_names"));
        let pool_order: Vec<usize> =
            list["pool_order"].as_array().unwrap().iter().map(index).collect();
        let members = pool_order.iter().map(|&i| {
            let address_and_weight = servers[i].split(' ').next().unwrap();
            member_of((&ring_names[i], address_and_weight.rsplit(':').next().unwrap()))
        });
        let members = members.collect();
        let ejected = list.get("ejected_server").map(index);
        List { name: name.clone(), servers, members, pool_order, ejected }
    });
    lists.collect()
}

fn member_of((name, weight): (&str, &str)) -> Member {
    Member { name: name.as_bytes().into(), weight: weight.parse().unwrap() }
}

fn ring_of_weights(weights: &[u32]) -> Ring {
    let members = (0..)
        .zip(weights)
        .map(|(i, &weight)| Member { name: format!("server-{i}").into_bytes().into(), weight });
    Ring::new(Distribution::Ketama, Hash::Md5, None, members.collect(), 0)
}

fn keys() -> HashMap<String, Vec<u8>> {
    let key_of = |line: &str| {
        let mut cells = line.split(',');
        (cells.next().unwrap().to_owned(), unhex(cells.nth(1).unwrap()))
    };
    read("keys.csv").lines().skip(1).map(key_of).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let byte = |i| u8::from_str_radix(&text[i..i + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(byte).collect()
}

/// A file whose first column is a key, and whose others have a name each.
struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    fn read(file: &str) -> Self {
        let text = read(file);
        let mut rows = text.lines().map(|line| line.split(',').map(str::to_owned).collect());
        let head: Vec<String> = rows.next().unwrap();
        Self { columns: head[1..].to_vec(), rows: rows.collect() }
    }

    /// The key and the value of each row.
    fn cells(&self, column: &str) -> impl Iterator<Item = (&str, &str)> {
        let index = self.columns.iter().position(|name| name == column).unwrap() + 1;
        self.rows.iter().map(move |row| (row[0].as_str(), row[index].as_str()))
    }
}

fn cells<const N: usize>(line: &str) -> [&str; N] {
    line.split(',').collect::<Vec<_>>().try_into().unwrap()
}

fn read(file: &str) -> String {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/vectors");
    fs::read_to_string(format!("{directory}/{file}")).unwrap()
}
