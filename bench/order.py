#!/usr/bin/env python3
"""Writes crates/nuthatch/order.ld: which functions of the program lie beside each other.

A kernel maps a program's file in runs of 16 pages around each page that is used. A function that runs
costs 64 KiB of resident memory if nothing beside it runs. This script runs the static program under
callgrind with both protocols, a reload and probes, and writes down every function that ran;
the linker puts these first, and beside each other those of a proxy whose clients ask for nothing. What is
missing in the list or no longer exists costs memory, nothing else.

    make order      builds the program without a list, runs it, writes the list
"""

import functools
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

HEAD = """\
/* Functions that run in every proxy, one beside the other, so that the resident part of the program is
   small. `make order` writes this file: bench/order.py says why and how. */
SECTIONS
{
  .text.often : {
"""
# What runs at each start, but not under callgrind.
NOT_SEEN = {
    "*(.text.main)",
    "*libc.a:dl-object.o(.text .text.*)",
    "*libc.a:dl-setup_hash.o(.text .text.*)",
    "*libc.a:getcwd.o(.text .text.*)",
    "*libc.a:strcmp-*.o(.text .text.*)",
}
TAIL = """\
  }
}
INSERT BEFORE .text;
"""


def main() -> None:
    program = Path(sys.argv[1]).resolve()
    found = []
    for run in (from_environment, at_rest, with_requests, with_admin_port):
        sections = set()
        # One profile in four lacks some of the functions that ran.
        for _ in range(4):
            with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
                profile = Path(folder) / "profile"
                run(stack, program, Path(folder), profile)
                sections |= sections_of(profile)
        found.append(sections)
    rest, requests, whole = found[0] | found[1], found[2], found[3]
    # What only the admin port and a changed file need lies first, and what every proxy needs at rest lies last.
    groups = [whole - requests - rest, requests - rest, rest]
    lines = [f"    {section}\n" for group in groups for section in sorted(group)]
    (ROOT / "crates/nuthatch/order.ld").write_text(HEAD + "".join(lines) + TAIL)
    print(f"{len(lines)} sections")


def sections_of(profile: Path) -> set[str]:
    """The sections of the functions that ran, as the linker finds them: a function of Rust has a section
    of its own, one of the C library shares that of its object file."""
    names = set(re.findall(r"^c?fn=\(\d+\) (\S+)", profile.read_text(), re.MULTILINE))
    rust = {name for name in names if name.startswith(("_ZN", "_R"))}
    objects = objects_of_the_c_library()
    found = {f"*(.text.*{pattern(name)})" for name in rust} | NOT_SEEN
    # Arithmetic that the compiler calls has no archive and no namespace.
    found |= {f"*(.text.{name})" for name in names - rust if re.fullmatch(r"__u?(div|mod|mul)ti3", name)}
    for name in names - rust:
        for library, member in objects.get(re.sub(r"'\d+$", "", name), ()):
            # A processor chooses among memchr-avx2.o, memchr-evex.o and others: all of them, then.
            member = re.sub(r"-(avx|evex|sse|fma).*$", "-*.o", member)
            found.add(f"*{library}:{member}(.text .text.*)")
    return found


@functools.cache
def objects_of_the_c_library() -> dict[str, set[tuple[str, str]]]:
    """The object files that define each function, with their archive."""
    output = functools.partial(subprocess.check_output, text=True)
    found: dict[str, set[tuple[str, str]]] = {}
    for library in ("libc.a", "libm.a"):
        path = output(["cc", f"-print-file-name={library}"]).strip()
        # libm.a is a script that names libm-2.36.a and the like.
        for archive in re.findall(r"\S+/libm-\S+\.a", Path(path).read_text("latin-1")[:200]) or [path]:
            for line in output(["nm", "--quiet", "--print-file-name", "--defined-only", archive]).splitlines():
                place, kind, name = re.match(r"(\S+):[0-9a-f]* +(\w) (\S+)", line).groups()
                if kind in "tTwWi":
                    library = re.sub(r"-[0-9.]+\.a", "*.a", Path(archive).name)
                    found.setdefault(name, set()).add((library, place.rsplit(":", 1)[1]))
    return found


def pattern(name: str) -> str:
    """A name without what differs from build to build: hashes, and what the compiler appends."""
    name = re.sub(r"'\d+$", "", name)
    name = re.sub(r"\.(llvm|cold|part|constprop)\..*$|\.\d+$", "*", name)
    name = re.sub(r"17h[0-9a-f]{16}E", "17h*E", name)
    name = re.sub(r"Cs[0-9a-zA-Z]+_", "Cs*_", name)
    return name.replace("$", "?")


def under_callgrind(stack: ExitStack, program: Path, profile: Path, flags: list[str], **more) -> subprocess.Popen:
    words = ["valgrind", "--tool=callgrind", "--demangle=no", f"--callgrind-out-file={profile}"]
    return start(stack, [*words, program, "--stats-addr=127.0.0.1", *flags], **more)


def end(proxy: subprocess.Popen) -> None:
    proxy.terminate()
    assert proxy.wait(60) == 0, "the proxy has failed"


def from_environment(stack: ExitStack, program: Path, _folder: Path, profile: Path) -> None:
    """Runs a sidecar whose servers are not there yet."""
    port, stats, *servers = (free_port() for _ in range(4))
    listed = ",".join(f"127.0.0.1:{server}:1 {server}" for server in servers)
    environment = {**os.environ, "LISTEN_PORT": str(port), "SERVERS": listed}
    proxy = under_callgrind(stack, program, profile, [f"--stats-port={stats}"], env=environment)
    wait_for(port)
    speak(("127.0.0.1", port), b"version\r\n", b"\n")
    end(proxy)


def at_rest(stack: ExitStack, program: Path, folder: Path, profile: Path) -> None:
    """Runs the program with clients that ask for nothing."""
    end(serve(stack, program, folder, profile, [])[0])


def with_requests(stack: ExitStack, program: Path, folder: Path, profile: Path) -> None:
    """Runs the program with requests of every kind that is frequent."""
    proxy, memcached, redis = serve(stack, program, folder, profile, [])
    ask(folder, memcached, redis)
    end(proxy)


def with_admin_port(stack: ExitStack, program: Path, folder: Path, profile: Path) -> None:
    """Likewise, with probes of the admin port, and a file that changes."""
    admin = free_port()
    proxy, memcached, redis = serve(stack, program, folder, profile, [f"--admin=127.0.0.1:{admin}"])
    ask(folder, memcached, redis)
    # Not /metrics: the size of a page is not to be had under callgrind.
    for path in (b"/ready", b"/live"):
        speak(("127.0.0.1", admin), b"GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % path, b"")
    config = folder / "nutcracker.yml"
    config.write_text(config.read_text() + "\n# A file that changed.\n")
    time.sleep(3)
    end(proxy)


def serve(stack: ExitStack, program: Path, folder: Path, profile: Path, flags: list[str]):
    """Starts a proxy of both protocols. Returns it and the ports of its pools."""
    memcached, redis, stats, *servers = (free_port() for _ in range(7))
    for port in servers[:2]:
        start(stack, ["memcached", "-u", "nobody", "-l", "127.0.0.1", "-U", "0", "-p", str(port)])
    for port in servers[2:]:
        start(stack, ["redis-server", "--bind", "127.0.0.1", "--save", "", "--port", str(port)])
    config = folder / "nutcracker.yml"
    pools = [
        pool("memcached", f"127.0.0.1:{memcached}", servers[:2], "fnv1a_64"),
        pool("unix", str(folder / "unix"), servers[:2], "fnv1a_64"),
        pool("redis", f"127.0.0.1:{redis}", servers[2:], "murmur"),
    ]
    config.write_text("".join(pools))
    flags = [f"--conf-file={config}", f"--stats-port={stats}", *flags]
    flags += [f"--output={folder}/log", f"--pid-file={folder}/pid"]
    proxy = under_callgrind(stack, program, profile, flags)
    for port in [*servers, memcached, redis]:
        wait_for(port)
    speak(("127.0.0.1", memcached), b"version\r\n", b"\n")
    speak(("127.0.0.1", redis), b"PING\r\n", b"\n")
    return proxy, memcached, redis


def ask(folder: Path, memcached: int, redis: int) -> None:
    for size in (10, 100_000):
        for address in (("127.0.0.1", memcached), str(folder / "unix")):
            speak(address, memcached_requests(b"x" * size), b"MN\r\n")
            speak(address, b"get key:1\r\nquit\r\n", b"")
        speak(("127.0.0.1", redis), redis_requests(b"x" * size), b"last\r\n")
    # What a pause gives back.
    time.sleep(3)


def pool(name: str, listen: str, servers: list[int], key_hash: str) -> str:
    listed = "".join(f"    - 127.0.0.1:{each}:1 {name}-{each}\n" for each in servers)
    redis = "true" if name == "redis" else "false"
    return (
        f"{name}:\n  listen: {listen}\n  redis: {redis}\n  distribution: ketama\n  preconnect: true\n"
        f"  hash: {key_hash}\n  auto_eject_hosts: true\n  timeout: 20000\n  servers:\n{listed}"
    )


def memcached_requests(value: bytes) -> bytes:
    keys = [b"key:%d" % number for number in range(30)]
    stores = [b"set %s 0 0 %d\r\n%s\r\n" % (key, len(value), value) for key in keys]
    gets = [b"get %s\r\n" % key for key in keys] + [b"get %s\r\n" % b" ".join(keys)]
    others = b"delete key:1\r\nset n 0 0 1\r\n1\r\nincr n 1\r\ntouch n 0\r\ngets n\r\nversion\r\n"
    meta = b"ms m %d\r\n%s\r\nmg m v t f\r\nmg none v\r\nmd m\r\nmn\r\n" % (len(value), value)
    return b"".join(stores + gets) + others + meta


def redis_requests(value: bytes) -> bytes:
    keys = [b"key:%d" % number for number in range(30)]
    commands = [[b"SET", key, value] for key in keys] + [[b"GET", key] for key in keys]
    commands += [[b"MSET", *(word for key in keys for word in (key, value))], [b"MGET", *keys]]
    commands += [[b"DEL", *keys[:4]], [b"INCR", b"n"], [b"EXPIRE", b"n", b"9"], [b"EXISTS", b"n"]]
    commands += [[b"HSET", b"h", b"f", b"v"], [b"HGETALL", b"h"], [b"PING"]]
    commands += [[b"CONFIG", b"GET", b"save"], [b"CLIENT", b"SETINFO", b"LIB-NAME", b"order"]]
    commands += [[b"COMMAND", b"COUNT"], [b"HELLO", b"3"], [b"ECHO", b"last"]]
    return b"".join(map(as_array, commands))


def as_array(words: list[bytes]) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)


def speak(address: tuple[str, int] | str, requests: bytes, last: bytes) -> None:
    """Sends requests and reads up to what ends the last reply; nothing means the connection's end."""
    with socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET) as client:
        client.settimeout(60)
        client.connect(address)
        client.sendall(requests)
        seen = b""
        while not (last and seen.endswith(last)):
            part = client.recv(1 << 16)
            seen = (seen + part)[-100:]
            if not part:
                assert not last, f"the connection to {address} ended after {seen}"
                return


def start(stack: ExitStack, words: list, **more) -> subprocess.Popen:
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **more)
    stack.callback(process.wait, 10)
    stack.callback(process.terminate)
    return process


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            assert time.monotonic() < deadline, f"nobody listens on port {port}"
            time.sleep(0.1)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


if __name__ == "__main__":
    main()
