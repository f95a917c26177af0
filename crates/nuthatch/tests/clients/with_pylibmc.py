"""Drives pylibmc (libmemcached, text protocol) through HOST PORT; prints ok or fails."""
import sys

import pylibmc

host, port = sys.argv[1], sys.argv[2]
behaviors = {"cas": True, "tcp_nodelay": True}
client = pylibmc.Client([f"{host}:{port}"], binary=False, behaviors=behaviors)

assert client.get("nothing") is None
assert client.set("a", "text") is True
assert client.get("a") == "text"
assert client.set("object", {"list": [1, 2.5, None], "bytes": b"\r\nEND\r\n"}) is True
assert client.get("object") == {"list": [1, 2.5, None], "bytes": b"\r\nEND\r\n"}
assert client.add("a", "other") is False
assert client.replace("a", "other") is True
assert client.replace("nothing", "other") is False
assert client.set("s", b"2") is True
assert client.append("s", b"3") is True
assert client.prepend("s", b"1") is True
assert client.get("s") == b"123"
large = b"large" * 180_000
assert client.set("large", large) is True
assert client.get("large") == large

assert client.set("n", 10) is True
assert client.incr("n", 5) == 15
assert client.decr("n", 3) == 12
try:
    client.incr("nothing")
    raise AssertionError("counted what is not there")
except pylibmc.NotFound:
    pass

value, token = client.gets("a")
assert value == "other"
assert client.cas("a", "new", token) is True
try:
    assert client.cas("a", "newer", token) is False
except pylibmc.Error:
    pass
assert client.get("a") == "new"

assert client.touch("a", 100) is True
assert client.touch("nothing", 100) is False
assert client.delete("a") is True
assert client.delete("a") is False

many = {f"many:{i}": i for i in range(300)}
assert client.set_multi(many) == []
assert client.get_multi(list(many) + ["nothing"]) == many
assert client.get_multi(["1", "2"], key_prefix="many:") == {"1": 1, "2": 2}
assert client.delete_multi(list(many)) is True
assert client.get_multi(list(many)) == {}

quiet = pylibmc.Client([f"{host}:{port}"], binary=False, behaviors={"_noreply": True})
for i in range(100):
    quiet.set(f"quiet:{i}", i)
quiet.delete("quiet:0")
assert quiet.get("quiet:99") == 99
assert quiet.get_multi([f"quiet:{i}" for i in range(100)]) == {f"quiet:{i}": i for i in range(1, 100)}

client.disconnect_all()
print("ok")
