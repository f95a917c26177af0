"""What the real program says on /metrics.

The rule: it is asked after a request that failed, so that nothing but the absence of a metric can
make it absent.
"""

import re
import socket
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path


def scrape(program: Path, folder: Path) -> str:
    """Starts the program in front of no server, asks it for a key, and then for its metrics."""
    data, admin, nobody = free_port(), free_port(), free_port()
    words = [program, f"--admin=127.0.0.1:{admin}", f"--stats-addr={folder}/stats.sock"]
    variables = {"SERVERS": f"127.0.0.1:{nobody}:1 memcached-0", "LISTEN_PORT": str(data)}
    with running(words, variables, folder) as process:
        fetch(f"http://127.0.0.1:{admin}/ready", process)
        with socket.create_connection(("127.0.0.1", data), timeout=5) as client:
            client.sendall(b"get x\r\n")
            answer = client.recv(100)
            assert answer.startswith(b"SERVER_ERROR"), answer
        return fetch(f"http://127.0.0.1:{admin}/metrics", process)


@contextmanager
def running(words: list, variables: dict, folder: Path):
    """A process, until it is no longer needed."""
    with open(folder / "log", "w+") as log:
        process = subprocess.Popen(words, env=variables, cwd=folder, stderr=log)
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
