//! The workloads and their targets: ratios to nutcracker 0.5.0 that Nuthatch is to stay below.

use crate::protocol::Protocol;

/// How candidates are reached; nutcracker, the reference, always over TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    Tcp,
    Unix,
}

/// Whether one server is measured too, without a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direct {
    Measured,
    Skipped,
}

/// What is asked of a proxy and how much less than nutcracker's the answer may cost.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) protocol: Protocol,
    /// Options of `load` that choose keys and values.
    pub(crate) dataset: &'static [&'static str],
    /// Options of `load` that choose the requests.
    pub(crate) requests: &'static [&'static str],
    pub(crate) link: Link,
    pub(crate) direct: Direct,
    /// Of CPU time per request.
    pub(crate) cpu_target: Option<f64>,
}

/// Of the median and the 99th percentile of the latency in every workload. In a closed loop it is
/// mostly the reciprocal of the rate, so a proxy must be both quick and even-handed.
pub(crate) const LATENCY_TARGET: f64 = 1.0;

const IDLE: &[&str] = &["--idle", "5000", "--rate", "5000"];
const PIPELINED: &[&str] = &["--pipeline", "16"];
const MULTIGET: &[&str] = &["--ratio", "0:1", "--keys-per-get", "100"];

/// Reads and stores take different ways through a proxy: those of large values and of Redis are
/// rows of their own.
const READS: &[&str] = &["--ratio", "0:1"];
const STORES: &[&str] = &["--ratio", "1:0"];
const PIPELINED_READS: &[&str] = &["--ratio", "0:1", "--pipeline", "16"];
const PIPELINED_STORES: &[&str] = &["--ratio", "1:0", "--pipeline", "16"];
const MGET: &[&str] = &["--ratio", "0:1", "--keys-per-get", "10"];
const MSET: &[&str] = &["--ratio", "1:0", "--keys-per-set", "10"];

const TEN_KB: &[&str] = &["--size", "10240"];
const HUNDRED_KB: &[&str] = &["--size", "102400", "--keys", "1000"];
/// As much as fits memcached's default limit on an item.
const ONE_MB: &[&str] = &["--size", "1000000", "--keys", "100"];

const UNPIPELINED: Workload = Workload {
    name: "a",
    title: "50 connections",
    protocol: Protocol::Memcached,
    dataset: &[],
    requests: &[],
    link: Link::Tcp,
    direct: Direct::Skipped,
    cpu_target: None,
};

const REDIS: Workload = Workload { protocol: Protocol::Redis, ..UNPIPELINED };

/// All workloads, in the order in which those of a protocol are run.
pub(crate) const ALL: [Workload; 22] = [
    Workload { direct: Direct::Measured, cpu_target: Some(0.80), ..UNPIPELINED },
    Workload {
        name: "b",
        title: "50 connections, pipeline 16",
        requests: PIPELINED,
        direct: Direct::Measured,
        cpu_target: Some(0.45),
        ..UNPIPELINED
    },
    Workload {
        name: "c",
        title: "gets of 100 keys",
        requests: MULTIGET,
        cpu_target: Some(0.35),
        ..UNPIPELINED
    },
    Workload {
        name: "fixed-rate",
        title: "50 connections, 10,000 requests/s",
        requests: &["--rate", "10000"],
        cpu_target: Some(0.85),
        ..UNPIPELINED
    },
    Workload {
        name: "10kb-get",
        title: "reading values of 10 KB",
        dataset: TEN_KB,
        requests: READS,
        cpu_target: Some(0.75),
        ..UNPIPELINED
    },
    Workload {
        name: "10kb-set",
        title: "storing values of 10 KB",
        dataset: TEN_KB,
        requests: STORES,
        cpu_target: Some(0.75),
        ..UNPIPELINED
    },
    Workload {
        name: "100kb-get",
        title: "reading values of 100 KB",
        dataset: HUNDRED_KB,
        requests: READS,
        cpu_target: Some(0.80),
        ..UNPIPELINED
    },
    Workload {
        name: "100kb-set",
        title: "storing values of 100 KB",
        dataset: HUNDRED_KB,
        requests: STORES,
        cpu_target: Some(0.80),
        ..UNPIPELINED
    },
    Workload {
        name: "1mb-get",
        title: "reading values of 1 MB",
        dataset: ONE_MB,
        requests: READS,
        ..UNPIPELINED
    },
    Workload {
        name: "1mb-set",
        title: "storing values of 1 MB",
        dataset: ONE_MB,
        requests: STORES,
        ..UNPIPELINED
    },
    Workload {
        name: "1000-conns",
        title: "1000 connections",
        requests: &["--connections", "1000"],
        cpu_target: Some(0.60),
        ..UNPIPELINED
    },
    Workload {
        name: "unix-a",
        title: "50 connections, unix socket (nutcracker: TCP)",
        link: Link::Unix,
        cpu_target: Some(0.42),
        ..UNPIPELINED
    },
    Workload {
        name: "unix-b",
        title: "pipeline 16, unix socket (nutcracker: TCP)",
        requests: PIPELINED,
        link: Link::Unix,
        ..UNPIPELINED
    },
    Workload {
        name: "unix-c",
        title: "gets of 100 keys, unix socket (nutcracker: TCP)",
        requests: MULTIGET,
        link: Link::Unix,
        ..UNPIPELINED
    },
    Workload {
        name: "redis-get",
        title: "GET",
        requests: READS,
        direct: Direct::Measured,
        cpu_target: Some(0.75),
        ..REDIS
    },
    Workload {
        name: "redis-set",
        title: "SET",
        requests: STORES,
        direct: Direct::Measured,
        cpu_target: Some(0.75),
        ..REDIS
    },
    Workload {
        name: "redis-p16-get",
        title: "GET, pipeline 16",
        requests: PIPELINED_READS,
        direct: Direct::Measured,
        cpu_target: Some(0.45),
        ..REDIS
    },
    Workload {
        name: "redis-p16-set",
        title: "SET, pipeline 16",
        requests: PIPELINED_STORES,
        direct: Direct::Measured,
        cpu_target: Some(0.45),
        ..REDIS
    },
    Workload {
        name: "redis-mget",
        title: "MGET of 10 keys",
        requests: MGET,
        cpu_target: Some(0.55),
        ..REDIS
    },
    Workload {
        name: "redis-mset",
        title: "MSET of 10 keys",
        requests: MSET,
        cpu_target: Some(0.55),
        ..REDIS
    },
    Workload {
        name: "redis-100kb-get",
        title: "GET of 100 KB",
        dataset: HUNDRED_KB,
        requests: READS,
        cpu_target: Some(0.80),
        ..REDIS
    },
    Workload {
        name: "redis-100kb-set",
        title: "SET of 100 KB",
        dataset: HUNDRED_KB,
        requests: STORES,
        cpu_target: Some(0.80),
        ..REDIS
    },
];

/// A workload whose user instructions per request are counted: as the difference of two runs
/// of different length, so that start and set-up do not count.
#[derive(Debug)]
pub(crate) struct Counted {
    pub(crate) title: &'static str,
    pub(crate) protocol: Protocol,
    pub(crate) requests: &'static [&'static str],
    pub(crate) short_run: u64,
    pub(crate) long_run: u64,
    pub(crate) target: Option<f64>,
}

impl Counted {
    const fn memcached(
        title: &'static str,
        requests: &'static [&'static str],
        (short_run, long_run): (u64, u64),
    ) -> Self {
        let (protocol, target) = (Protocol::Memcached, None);
        Self { title, protocol, requests, short_run, long_run, target }
    }

    const fn redis(
        title: &'static str,
        requests: &'static [&'static str],
        runs: (u64, u64),
    ) -> Self {
        Self { protocol: Protocol::Redis, ..Self::memcached(title, requests, runs) }
    }

    const fn below(self, target: f64) -> Self {
        Self { target: Some(target), ..self }
    }
}

const SINGLE: (u64, u64) = (2000, 22_000);
const IN_PIPELINES: (u64, u64) = (4000, 44_000);

/// All counted workloads.
pub(crate) const COUNTED: [Counted; 13] = [
    Counted::memcached("(a) instructions", &[], SINGLE).below(0.25),
    Counted::memcached("(b) instructions", PIPELINED, IN_PIPELINES).below(0.15),
    Counted::memcached("(c) instructions", MULTIGET, (200, 1700)).below(0.35),
    Counted::memcached("(get) instructions", READS, SINGLE),
    Counted::memcached("(set) instructions", STORES, SINGLE),
    Counted::memcached("(p16-get) instructions", PIPELINED_READS, IN_PIPELINES),
    Counted::memcached("(p16-set) instructions", PIPELINED_STORES, IN_PIPELINES),
    Counted::redis("(redis-get) instructions", READS, SINGLE),
    Counted::redis("(redis-set) instructions", STORES, SINGLE),
    Counted::redis("(redis-p16-get) instructions", PIPELINED_READS, IN_PIPELINES),
    Counted::redis("(redis-p16-set) instructions", PIPELINED_STORES, IN_PIPELINES),
    Counted::redis("(redis-mget) instructions", MGET, (1000, 9000)),
    Counted::redis("(redis-mset) instructions", MSET, (1000, 9000)),
];

/// A workload after which the memory of a proxy that has done nothing else is read.
#[derive(Debug)]
pub(crate) struct Weighed {
    pub(crate) title: &'static str,
    pub(crate) protocol: Protocol,
    pub(crate) requests: &'static [&'static str],
    pub(crate) target: f64,
}

/// All weighed workloads.
pub(crate) const WEIGHED: [Weighed; 6] = [
    Weighed {
        title: "memory, 5000 idle connections and 50 at 5000 requests/s",
        protocol: Protocol::Memcached,
        requests: IDLE,
        target: 1.2,
    },
    Weighed {
        title: "memory after (b)",
        protocol: Protocol::Memcached,
        requests: PIPELINED,
        target: 0.15,
    },
    Weighed {
        title: "memory after (c)",
        protocol: Protocol::Memcached,
        requests: MULTIGET,
        target: 0.1,
    },
    Weighed {
        title: "Redis: memory, 5000 idle connections and 50 at 5000 requests/s",
        protocol: Protocol::Redis,
        requests: IDLE,
        target: 1.2,
    },
    Weighed {
        title: "Redis: memory after pipeline 16",
        protocol: Protocol::Redis,
        requests: PIPELINED,
        target: 0.15,
    },
    Weighed {
        title: "Redis: memory after MGET of 100 keys",
        protocol: Protocol::Redis,
        requests: MULTIGET,
        // nutcracker needs 9 MiB here and 71 MiB in (c).
        target: 1.0,
    },
];
