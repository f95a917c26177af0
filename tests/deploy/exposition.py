"""What the real program says on /metrics.

The rule: it is asked after requests that were answered and requests that failed, so that a metric
which is absent then is always absent.
"""

import itertools
import re
import socket
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path


def scrape(program: Path, folder: Path) -> str:
    """Starts the program in front of one server that is there and one that is not."""
    data, admin, node, nobody = (free_port() for _ in range(4))
    words = [program, f"--admin=127.0.0.1:{admin}", f"--stats-addr={folder}/stats.sock"]
    servers = f"127.0.0.1:{node}:1 memcached-0,127.0.0.1:{nobody}:1 memcached-1"
    variables = {"SERVERS": servers, "LISTEN_PORT": str(data), "AUTO_EJECT_HOSTS": "false"}
    memcached = ["memcached", "-u", "nobody", "-l", "127.0.0.1", "-U", "0", "-p", str(node)]
    with (
        running(memcached, {"PATH": "/usr/bin:/bin"}, folder),
        running(words, variables, folder) as proxy,
    ):
        fetch(f"http://127.0.0.1:{admin}/ready", proxy)
        ask_for_keys(data)
        return fetch(f"http://127.0.0.1:{admin}/metrics", proxy)


def ask(address: str, port: int, request: bytes) -> bytes:
    """The first bytes of an answer, as soon as somebody listens."""
    deadline = time.monotonic() + 10
    while True:
        try:
            with socket.create_connection((address, port), timeout=5) as client:
                client.sendall(request)
                return client.recv(100)
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, f"nobody listens on port {port} of {address}"
            time.sleep(0.05)


def ask_for_keys(port: int) -> None:
    """Asks one by one until a server has answered and a server has failed."""
    seen, deadline = set(), time.monotonic() + 10
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        answers = client.makefile("rb")
        for number in itertools.count():
            client.sendall(b"get key:%d\r\n" % number)
            seen.add(answers.readline().split()[0])
            if seen == {b"END", b"SERVER_ERROR"}:
                return
            assert time.monotonic() < deadline, f"no other answers than {seen}"


@contextmanager
def running(words: list, variables: dict, folder: Path):
    """A process, until it is no longer needed; pytest shows what it wrote, should a check fail."""
    process = subprocess.Popen(words, env=variables, cwd=folder)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)


def fetch(url: str, process: subprocess.Popen) -> str:
    """The answer, as soon as there is one."""
    deadline = time.monotonic() + 10
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                return response.read().decode()
        except urllib.error.URLError as error:
            assert process.poll() is None, f"{process.args[0]} has ended: {process.returncode}"
            assert time.monotonic() < deadline, f"{url}: {error}"
            time.sleep(0.05)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def labels_by_metric(text: str) -> dict[str, set[str]]:
    """Every metric's name, and the names of its labels."""
    found = {}
    for name, labels in re.findall(r"^(\w+)(?:\{(.*)\})? ", text, re.MULTILINE):
        found.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    return found
