//! Channels. A channel has the server that a key of this name has.

use super::row::{all, any, container, dedicated, each, key, one_server, other};
use super::{Command, Dedicated, Keys};
use crate::message::Merge;

pub(super) const ROWS: &[Command] = &[
    dedicated("psubscribe", -2, Keys::None, Dedicated::SubscribePattern),
    other("publish", 3, key(1)),
    container("pubsub", -2, PUBSUB),
    dedicated("punsubscribe", -1, Keys::None, Dedicated::Unsubscribe),
    other("spublish", 3, key(1)),
    dedicated("ssubscribe", -2, each(1), Dedicated::Subscribe),
    dedicated("subscribe", -2, each(1), Dedicated::Subscribe),
    dedicated("sunsubscribe", -1, each(1), Dedicated::Unsubscribe),
    dedicated("unsubscribe", -1, each(1), Dedicated::Unsubscribe),
];

const PUBSUB: &[Command] = &[
    all("channels", -2, Merge::Concat),
    any("help", 2),
    all("numpat", 2, Merge::Sum),
    one_server("numsub", -2),
    all("shardchannels", -2, Merge::Concat),
    one_server("shardnumsub", -2),
];
