//! A cluster of servers. To its clients, the proxy is one server without a cluster.

use super::Command;
use super::row::refused;

/// The refusal of everything about clusters, which is what a server without a cluster says: clients
/// that try whether there is a cluster look for these words. They are a whole sentence.
pub const CLUSTER_DISABLED: &str = "This instance has cluster support disabled";

pub(super) const ROWS: &[Command] = &[
    refused("asking", 1, CLUSTER_DISABLED),
    refused("cluster", -2, CLUSTER_DISABLED).with(CLUSTER),
    refused("clusterscan", -2, CLUSTER_DISABLED),
    refused("readonly", 1, CLUSTER_DISABLED),
    refused("readwrite", 1, CLUSTER_DISABLED),
];

const CLUSTER: &[Command] = &[
    refused("addslots", -3, CLUSTER_DISABLED),
    refused("addslotsrange", -4, CLUSTER_DISABLED),
    refused("bumpepoch", 2, CLUSTER_DISABLED),
    refused("cancelslotmigrations", 2, CLUSTER_DISABLED),
    refused("count-failure-reports", 3, CLUSTER_DISABLED),
    refused("countkeysinslot", 3, CLUSTER_DISABLED),
    refused("delslots", -3, CLUSTER_DISABLED),
    refused("delslotsrange", -4, CLUSTER_DISABLED),
    refused("failover", -2, CLUSTER_DISABLED),
    refused("flushslots", 2, CLUSTER_DISABLED),
    refused("forget", 3, CLUSTER_DISABLED),
    refused("getkeysinslot", 4, CLUSTER_DISABLED),
    refused("getslotmigrations", 2, CLUSTER_DISABLED),
    refused("help", 2, CLUSTER_DISABLED),
    refused("info", 2, CLUSTER_DISABLED),
    refused("keyslot", 3, CLUSTER_DISABLED),
    refused("links", 2, CLUSTER_DISABLED),
    refused("meet", -4, CLUSTER_DISABLED),
    refused("migrateslots", -4, CLUSTER_DISABLED),
    refused("migration", -4, CLUSTER_DISABLED),
    refused("myid", 2, CLUSTER_DISABLED),
    refused("myshardid", 2, CLUSTER_DISABLED),
    refused("nodes", 2, CLUSTER_DISABLED),
    refused("replicas", 3, CLUSTER_DISABLED),
    refused("replicate", 3, CLUSTER_DISABLED),
    refused("reset", -2, CLUSTER_DISABLED),
    refused("saveconfig", 2, CLUSTER_DISABLED),
    refused("set-config-epoch", 3, CLUSTER_DISABLED),
    refused("setslot", -4, CLUSTER_DISABLED),
    refused("shards", 2, CLUSTER_DISABLED),
    refused("slaves", 3, CLUSTER_DISABLED),
    refused("slot-stats", -4, CLUSTER_DISABLED),
    refused("slots", 2, CLUSTER_DISABLED),
    refused("syncslots", -2, CLUSTER_DISABLED),
];
