"""The sample API on FastAPI and pymemcache: a client of memcached, with no word of a proxy in it.

    pip install -r requirements.txt
    MEMCACHED_HOST=localhost uvicorn cache_api:app --port 8000

MEMCACHED_HOST is a host name, or the path of a unix socket.
"""

import os

from fastapi import FastAPI, HTTPException
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from pymemcache import MemcacheClientError, MemcacheError, PooledClient

host, port = os.getenv("MEMCACHED_HOST", "localhost"), os.getenv("MEMCACHED_PORT", "11211")
server = host if host.startswith("/") else (host, int(port))
# Without replies to its sets, pymemcache's default, nobody would know of one that failed.
cache = PooledClient(server, max_pool_size=16, timeout=4, connect_timeout=4, default_noreply=False)
app = FastAPI()


class Item(BaseModel):
    key: str
    value: str


@app.post("/items/")
def store(item: Item):
    cache.set(item.key, item.value.encode())
    return {"status": "success"}


@app.get("/items/{key}")
def fetch(key: str):
    value = cache.get(key)
    if value is None:
        raise HTTPException(404, "Key not found")
    return {"key": key, "value": value.decode()}


@app.get("/health")
def health():
    return {"status": "healthy"}


@app.exception_handler(MemcacheClientError)
def refused(_request, error):
    return JSONResponse({"detail": str(error)}, 400)


@app.exception_handler(MemcacheError)
@app.exception_handler(OSError)
def unavailable(_request, error):
    return JSONResponse({"detail": f"the cache: {error!r}"}, 503)
