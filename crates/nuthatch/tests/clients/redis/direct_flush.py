"""A pytest plugin for redis-py's own tests: what empties the servers, and what tells the tests which version they
have, goes to the servers of SERVERS (ports, with commas between them) directly. Everything else goes where the
tests send it."""
import os

import redis
import redis.asyncio

PORTS = [int(port) for port in os.environ["SERVERS"].split(",")]
INFO = redis.Redis.info


def ask_all(command):
    for port in PORTS:
        with redis.Redis(port=port) as server:
            server.execute_command(command)
    return True


def flush(*_, **__):
    return ask_all("FLUSHALL")


async def flush_async(*_, **__):
    return ask_all("FLUSHALL")


def pytest_configure():
    for name in ("flushdb", "flushall"):
        setattr(redis.Redis, name, flush)
        setattr(redis.asyncio.Redis, name, flush_async)
    redis.Redis.info = lambda self, *_: INFO(redis.Redis(port=PORTS[0]))


def pytest_collection():
    redis.Redis.info = INFO
