//! Clients that speak RESP3 over servers that are too old for it: each reply has the form that a server
//! of today gives.

use nuthatch_harness::redis::command;

use crate::harness::{Program, Proxy, Redis, free_port};

/// Commands in order, with replies of every type.
const COMMANDS: &[&str] = &[
    "SET a 1",
    "GET a",
    "GET missing",
    "MGET a missing",
    "INCRBYFLOAT a 1.5",
    "HSET h f v g w",
    "HGETALL h",
    "HGETALL missing",
    "HMGET h f missing",
    "HSET one f v",
    "HRANDFIELD one 1 WITHVALUES",
    "SADD s x",
    "SMEMBERS s",
    "SINTER s s",
    "SUNION s",
    "SDIFF s missing",
    "SISMEMBER s x",
    "ZADD z 1.5 m 2 n",
    "ZADD z INCR 1 m",
    "ZADD z XX INCR 1 missing",
    "ZSCORE z m",
    "ZSCORE z missing",
    "ZMSCORE z m missing",
    "ZINCRBY z 0.5 m",
    "ZRANGE z 0 -1",
    "ZRANGE z 0 -1 WITHSCORES",
    "ZREVRANGEBYSCORE z +inf -inf WITHSCORES",
    "ZADD lone 1 m",
    "ZRANDMEMBER lone",
    "ZRANDMEMBER lone 1 WITHSCORES",
    "ZPOPMIN z",
    "ZPOPMAX z 5",
    "ZPOPMAX z 5",
    "ZPOPMAX z",
    "XADD x 1-1 f v",
    "XREAD STREAMS x 0",
    "XREAD STREAMS missing 0",
    "XRANGE x - +",
    "SPOP s 1",
    "SPOP s",
    "LPOP missing",
    "BLPOP missing 0.01",
    "EVAL return{1,false} 1 a",
    "LRANGE a 0 1",
    "EXISTS a missing",
    "MULTI",
    "GET a",
    "GET missing",
    "EXEC",
    "SUBSCRIBE c",
    "UNSUBSCRIBE c",
    "PING",
];

#[test]
#[ignore = "needs redis-server: run make it"]
fn resp3_works_with_servers_that_speak_resp2_only() {
    let plain = Redis::start();
    // Without HELLO, a server is one of before 6.0 to its clients.
    let old = Redis::start_with(free_port(), &["--rename-command", "HELLO", ""]);
    assert!(old.call(&["HELLO", "3"]).starts_with(b"-ERR unknown command"));
    let proxy = Proxy::with_redis(Program::UnderTest, "", std::slice::from_ref(&old));
    let (mut direct, mut through) = (plain.conn(), proxy.conn());
    for conn in [&mut direct, &mut through] {
        conn.send(command(["HELLO", "3"]));
        assert!(conn.read_resp().unwrap().starts_with(b"%7\r\n"));
    }
    for line in COMMANDS {
        let words: Vec<&str> = line.split(' ').collect();
        let [expected, reply] = [&mut direct, &mut through].map(|conn| {
            conn.send(command(&words));
            conn.read_resp().unwrap().escape_ascii().to_string()
        });
        assert_eq!(reply, expected, "{line}");
    }
}
