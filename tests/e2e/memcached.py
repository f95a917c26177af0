"""Asks a memcached directly, behind the proxy's back. The rule: one connection, one question."""

import socket


def ask(address: str, request: bytes, until: tuple[bytes, ...]) -> bytes:
    """Sends a request and reads up to one of the ends that its reply may have."""
    with socket.create_connection((address, 11211), timeout=5) as server:
        server.sendall(request)
        reply = b""
        while not reply.endswith(until):
            part = server.recv(65536)
            if not part:
                raise ConnectionError(f"{address} closed after {reply!r}")
            reply += part
        return reply


def total_items(address: str) -> int:
    """How many values were ever stored there."""
    lines = ask(address, b"stats\r\n", (b"END\r\n",)).decode().splitlines()
    stats = dict(line.split(" ", 2)[1:] for line in lines if line.startswith("STAT "))
    return int(stats["total_items"])


def values(address: str, keys: list[str]) -> dict[str, str]:
    """The values of those of the keys that are there."""
    request = f"get {' '.join(keys)}\r\n".encode()
    words = ask(address, request, (b"\r\nEND\r\n", b"END\r\n")).decode().split("\r\n")
    heads, bodies = words[0:-2:2], words[1:-2:2]
    return {head.split()[1]: body for head, body in zip(heads, bodies)}
