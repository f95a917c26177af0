"""Drives pymemcache through HOST PORT; prints ok, or fails at the first answer that is not right."""
import sys

from pymemcache.client.base import Client, PooledClient
from pymemcache.exceptions import MemcacheClientError

host, port = sys.argv[1], int(sys.argv[2])
client = Client((host, port), default_noreply=False, timeout=5, connect_timeout=5)

assert client.version().count(b".") >= 1
assert client.get("nothing") is None
assert client.get("nothing", default=7) == 7

assert client.set("a", b"1", flags=3) is True
assert client.get("a") == b"1"
assert client.add("a", b"2") is False
assert client.replace("a", b"2") is True
assert client.append("a", b"3") is True
assert client.prepend("a", b"1") is True
assert client.get("a") == b"123"
assert client.set("empty", b"") is True
assert client.get("empty") == b""
binary = bytes(range(256)) * 100
assert client.set("binary", binary) is True
assert client.get("binary") == binary

value, token = client.gets("a")
assert (value, token.isdigit()) == (b"123", True)
assert client.cas("a", b"new", token) is True
assert client.cas("a", b"newer", token) is False
assert client.cas("nothing", b"new", token) is None

assert client.set("n", b"10") is True
assert client.incr("n", 5) == 15
assert client.decr("n", 100) == 0
assert client.incr("nothing", 1) is None
try:
    client.incr("binary", 1)
    raise AssertionError("a number was made of bytes")
except MemcacheClientError as error:
    assert b"non-numeric" in error.args[0], error

assert client.touch("a", 100) is True
assert client.touch("nothing", 100) is False
assert client.raw_command("gat 100 a", end_tokens=b"END\r\n") == b"VALUE a 0 3\r\nnew\r\n"
assert client.raw_command("gat 100 nothing") == b"END"
assert client.delete("a") is True
assert client.delete("a") is False

many = {f"many:{i}": str(i).encode() * i for i in range(1, 200)}
assert client.set_many(many) == []
assert client.get_many(list(many) + ["nothing"]) == many
assert {key: value for key, (value, _) in client.gets_many(list(many)).items()} == many
assert client.delete_many(list(many)) is True
assert client.get_many(list(many)) == {}

quiet = Client((host, port), timeout=5)
assert quiet.set_many({f"quiet:{i}": b"x" for i in range(50)}) == []
assert quiet.set("quiet:end", b"y") is True
assert quiet.delete("quiet:0") is True
assert quiet.incr("quiet:nothing", 1, noreply=True) is None
assert len(quiet.get_many([f"quiet:{i}" for i in range(50)])) == 49
quiet.quit()

for key in ("k" * 251, "with space"):
    try:
        client.get(key)
        raise AssertionError("the client let a bad key pass")
    except MemcacheClientError:
        pass

assert isinstance(client.stats(), dict)
pool = PooledClient((host, port), max_pool_size=4, timeout=5)
for i in range(100):
    assert pool.set(f"pooled:{i}", str(i).encode(), noreply=False) is True
    assert pool.get(f"pooled:{i}") == str(i).encode()
assert client.raw_command("mg pooled:1 v k") == b"VA 1 kpooled:1"
pool.close()
client.close()
print("ok")
