"""The guide's command line: a shell in which docker, kind, helm and kubectl mean our engines.

The rule: a block of the guide runs as it stands. Each of these programs is a script before the real
one on the PATH, which asks this process what to do; it does it itself, or says which program will.
"""

import json
import os
import socketserver
import sys
import threading
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from . import kubectl
from .command import run
from .engine import Engine
from .helm import Helm
from .kubelet.cluster import Cluster
from .kubelet.fields import Unknown

ASK = Path(__file__).with_name("ask.py")
PROGRAMS = ("docker", "helm", "kind", "kubectl")
BLOCK_SECONDS = 300


@dataclass
class Shell:
    """Where the commands are carried out. `build_flags` is what docker build must know here."""

    repository: Path
    scratch: Path
    builder: Engine
    build_flags: list[str]
    node: Engine
    helm: Helm
    cluster: Cluster
    server: socketserver.BaseServer | None = field(default=None)

    def __enter__(self) -> "Shell":
        path = self.scratch / "shell"
        path.mkdir()
        for program in PROGRAMS:
            script = path / program
            words = f"{sys.executable} {ASK} {self.scratch}/shell.sock {program}"
            script.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
            script.chmod(0o755)
        self.server = socketserver.ThreadingUnixStreamServer(f"{self.scratch}/shell.sock", Handler)
        self.server.shell = self
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self.server.shutdown()
        self.server.server_close()

    def run(self, mark: str, instead: Mapping[str, str] = MappingProxyType({})) -> str:
        """Runs the guide's blocks with this mark, and returns what they print. Words of `instead` are
        replaced by others: times that would be too long here."""
        blocks = run(self.repository / "tests/deploy/guide", mark)
        for word, other in instead.items():
            if word not in blocks:
                raise Unknown(f"the guide's {mark} has no {word}")
            blocks = blocks.replace(word, other)
        path = f"{self.scratch}/shell:{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "DOCKER_BUILDKIT": "1"}
        words = ["bash", "-euo", "pipefail", "-c", blocks]
        return run(*words, cwd=self.repository, env=environment, timeout=BLOCK_SECONDS)

    def carry_out(self, program: str, words: list[str]) -> str | list[str]:
        """Does what a command says. Returns what to print, or the command that does it."""
        match [program, *words]:
            case ["docker", "build", *rest]:
                return [*self.builder.client, "build", *self.build_flags, *rest]
            case ["kind", "load", "docker-image", *images]:
                archive = self.scratch / "loaded.tar"
                self.builder.docker("save", "--output", archive, *images)
                self.node.docker("load", "--input", archive)
            case ["helm", *rest]:
                return self.helm.carry_out(self.cluster, rest)
            case ["kubectl", *rest]:
                return kubectl.carry_out(self.cluster, rest)
            case _:
                raise Unknown(f"{program} {' '.join(words)}")
        return ""


class Handler(socketserver.StreamRequestHandler):
    """One command of one script."""

    def handle(self) -> None:
        program, *words = json.loads(self.rfile.readline())
        try:
            answer = {"done": self.server.shell.carry_out(program, words)}
        except Exception:
            answer = {"failure": traceback.format_exc()}
        self.wfile.write(json.dumps(answer).encode() + b"\n")
