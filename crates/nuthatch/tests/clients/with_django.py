"""Drives Django's cache with PyLibMCCache through HOST PORT; prints ok or fails."""
import sys
import time

from django.conf import settings

host, port = sys.argv[1], sys.argv[2]
settings.configure(
    CACHES={
        "default": {
            "BACKEND": "django.core.cache.backends.memcached.PyLibMCCache",
            "LOCATION": f"{host}:{port}",
            "OPTIONS": {"binary": False, "behaviors": {"tcp_nodelay": True}},
        }
    }
)

from django.core.cache import cache  # noqa: E402, it needs the settings

# Django gives the expiry -1 to what expires at once, which libmemcached writes as 4294967295.
assert cache.set("at-once", "x", timeout=0) is None
assert cache.get("at-once") is None
assert cache.set("kept", "x", timeout=100) is None
assert cache.set("kept", "y", timeout=0) is None
assert cache.get("kept") is None, "what was kept is still there"
assert cache.add("never", "x", timeout=0) is True
assert cache.get("never") is None
assert cache.set_many({f"at-once:{i}": i for i in range(50)}, timeout=0) == []
assert cache.get_many([f"at-once:{i}" for i in range(50)]) == {}

assert cache.get("nothing") is None
assert cache.get("nothing", "default") == "default"
stored = {"list": [1, 2.5, None], "bytes": b"\r\nEND\r\n", "text": "caf\u00e9 \u2603"}
assert cache.set("object", stored) is None
assert cache.get("object") == stored
assert "object" in cache and "nothing" not in cache
assert cache.set("for-ever", "x", timeout=None) is None
assert cache.get("for-ever") == "x"
assert cache.add("object", "other") is False
assert cache.get("object") == stored
assert cache.get_or_set("made", lambda: 7) == 7
assert cache.get_or_set("made", lambda: 8) == 7
assert cache.set("versioned", 1, version=1) is None
assert cache.set("versioned", 2, version=2) is None
assert (cache.get("versioned", version=1), cache.get("versioned", version=2)) == (1, 2)

many = {f"many:{i}": f"value {i}" for i in range(300)}
assert cache.set_many(many) == []
assert cache.get_many(list(many) + ["nothing"]) == many

assert cache.set("n", 10) is None
assert cache.incr("n") == 11
assert cache.incr("n", 5) == 16
assert cache.decr("n", 3) == 13
assert cache.get("n") == 13
try:
    cache.incr("nothing")
    raise AssertionError("counted what is not there")
except ValueError:
    pass

assert cache.set("touched", "x", timeout=1) is None
assert cache.touch("touched", 100) is True
assert cache.touch("nothing", 100) is False
assert cache.set("fades", "x", timeout=1) is None
assert cache.set("cold", "x", timeout=100) is None
assert cache.touch("cold", 0) is True
assert cache.get("cold") is None
time.sleep(2.1)
assert cache.get("touched") == "x"
assert cache.get("fades") is None

assert cache.delete("object") is True
assert cache.delete("object") is False
assert cache.delete_many(list(many)) is None
assert cache.get_many(list(many)) == {}

cache.close()
print("ok")
