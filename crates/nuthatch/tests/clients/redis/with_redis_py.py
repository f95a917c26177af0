"""Drives redis-py through HOST PORT with its default protocol and with both by name; prints ok, or fails at
the first answer that is not right."""
import asyncio
import sys

import redis
import redis.asyncio

host, port = sys.argv[1], int(sys.argv[2])


def drive(**options):
    client = redis.Redis(host=host, port=port, socket_timeout=5, **options)
    assert client.ping() is True
    assert client.echo("hello") == b"hello"
    assert client.client_setname("me") is True
    assert client.get("nothing") is None

    # Strings and numbers.
    assert client.set("a", b"1", ex=1000) is True
    assert client.set("a", b"2", nx=True) is None
    assert client.get("a") == b"1"
    assert 990 < client.ttl("a") <= 1000
    assert client.append("a", "23") == 3
    assert client.incr("n", 5) == 5
    assert client.incrbyfloat("x", 1.5) == 1.5
    binary = bytes(range(256)) * 1000
    assert client.set("binary", binary) is True
    assert client.get("binary") == binary
    assert client.getrange("binary", 0, 9) == binary[:10]

    # Keys of all servers.
    many = {f"many:{i}": str(i).encode() * i for i in range(1, 200)}
    assert client.mset(many) is True
    assert client.mget(list(many) + ["nothing"]) == list(many.values()) + [None]
    assert client.exists(*many, "nothing") == 199
    assert client.touch(*many) == 199
    assert client.unlink("many:1", "many:2", "nothing") == 2
    assert client.delete(*many) == 197

    # Every type.
    assert client.hset("h", mapping={"f": "1", "g": "2"}) == 2
    assert client.hgetall("h") == {b"f": b"1", b"g": b"2"}
    assert client.rpush("l", "a", "b", "c") == 3
    assert client.lrange("l", 0, -1) == [b"a", b"b", b"c"]
    assert client.sadd("s", "a", "b") == 2
    assert client.smembers("s") == {b"a", b"b"}
    assert client.zadd("z", {"a": 1, "b": 2.5}) == 2
    assert [score for _, score in client.zrange("z", 0, -1, withscores=True)] == [1.0, 2.5]
    assert client.zscore("z", "b") == 2.5
    entry = client.xadd("stream", {"f": "v"})
    assert client.xrange("stream")[0][0] == entry
    assert client.pfadd("p", "a") == 1
    assert client.geoadd("g", (13.361389, 38.115556, "Palermo")) == 1
    assert client.type("h") == b"hash"

    # Keys of one server.
    assert client.sadd("{t}a", "x", "y") == 2
    assert client.sadd("{t}b", "y", "z") == 2
    assert client.sinter("{t}a", "{t}b") == {b"y"}
    assert client.sunionstore("{t}c", "{t}a", "{t}b") == 3
    assert client.rename("{t}c", "{t}d") is True

    # Scripts: the library loads one that the server does not know.
    double = "return redis.call('INCRBY', KEYS[1], ARGV[1])"
    assert client.eval(double, 1, "counter", 7) == 7
    try:
        client.evalsha("f" * 40, 1, "counter")
        raise AssertionError("a script was there that nobody loaded")
    except redis.exceptions.NoScriptError:
        pass
    for wrong in (lambda: client.lpush("a", "x"), lambda: client.execute_command("NOSUCH", "a")):
        try:
            wrong()
            raise AssertionError("a wrong command was right")
        except redis.exceptions.ResponseError:
            pass

    # Many requests in one write.
    pipeline = client.pipeline(transaction=False)
    for i in range(500):
        pipeline.set(f"piped:{i}", i).get(f"piped:{i}")
    replies = pipeline.execute()
    assert replies == [reply for i in range(500) for reply in (True, str(i).encode())]
    assert client.delete(*(f"piped:{i}" for i in range(500))) == 500
    names = "a n x binary h l s z stream p g {t}a {t}b {t}d counter".split()
    assert client.delete(*names) == len(names)
    client.close()


async def drive_async(**options):
    client = redis.asyncio.Redis(host=host, port=port, socket_timeout=5, **options)
    sets = [client.set(f"async:{i}", i) for i in range(100)]
    assert await asyncio.gather(*sets) == [True] * 100
    gets = [client.get(f"async:{i}") for i in range(100)]
    assert await asyncio.gather(*gets) == [str(i).encode() for i in range(100)]
    assert await client.delete(*(f"async:{i}" for i in range(100))) == 100
    await client.aclose()


for options in ({}, {"protocol": 2}, {"protocol": 3}):
    drive(**options)
    asyncio.run(drive_async(**options))
print("ok")
