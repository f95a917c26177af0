"""Drives python-memcached through HOST PORT; prints ok or fails."""
import sys

import memcache

host, port = sys.argv[1], sys.argv[2]
client = memcache.Client([f"{host}:{port}"], cache_cas=True, socket_timeout=5)

assert client.get("nothing") is None
assert client.set("a", "text")
assert client.get("a") == "text"
assert client.set("object", {"list": [1, 2.5, None]})
assert client.get("object") == {"list": [1, 2.5, None]}
assert client.set("unicode", "caf\u00e9 \u2603")
assert client.get("unicode") == "caf\u00e9 \u2603"
assert not client.add("a", "other")
assert client.replace("a", "other")
assert not client.replace("nothing", "other")
assert client.append("a", "!")
assert client.prepend("a", "!")
assert client.get("a") == "!other!"

assert client.set("n", 10)
assert client.incr("n", 5) == 15
assert client.decr("n", 100) == 0
assert client.incr("nothing") is None

assert client.gets("a") == "!other!"
assert client.cas("a", "new")
assert client.get("a") == "new"
other = memcache.Client([f"{host}:{port}"], cache_cas=True, socket_timeout=5)
assert other.gets("a") == "new"
assert client.set("a", "in between")
assert not other.cas("a", "too late")
assert client.get("a") == "in between"

assert client.touch("a", 100)
assert not client.touch("nothing", 100)
assert client.delete("a")
assert client.get("a") is None

many = {f"many:{i}": i for i in range(300)}
assert client.set_multi(many) == []
assert client.get_multi(list(many) + ["nothing"]) == many
assert client.delete_multi(list(many))
assert client.get_multi(list(many)) == {}
for i in range(50):
    assert client.set(f"quiet:{i}", i, noreply=True)
assert client.delete("quiet:0", noreply=True)
assert client.get_multi([f"quiet:{i}" for i in range(50)]) == {f"quiet:{i}": i for i in range(1, 50)}

assert client.set("large", "x" * 900_000)
assert client.get("large") == "x" * 900_000
stats = client.get_stats()
assert len(stats) == 1 and "pid" in stats[0][1], stats
client.disconnect_all()
print("ok")
