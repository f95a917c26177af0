"""A container engine of our own: a dockerd that lives as long as its `with` block.

The rule: nothing of it is left behind. Its sockets and pid are in a scratch folder, and its control
groups are removed with it. The test as a whole runs in its own mount and process namespaces (see
`run`), so that not even a killed test leaves mounts or processes.
"""

import os
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from .command import CommandFailed, run

# Debian's docker has BuildKit built in; one that stands before it on the PATH may be without.
CLIENT = shutil.which("docker", path=f"/usr/bin:{os.environ['PATH']}")
START_SECONDS = 30


class EngineUnavailable(Exception):
    """No container engine can run here, and why."""


class Engine:
    """One dockerd: `images` is the folder of what it keeps, `scratch` of what it does not."""

    def __init__(self, images: Path, scratch: Path, *flags: str):
        self.images, self.scratch, self.flags = images, scratch, flags
        self.log, self.group = scratch / "dockerd.log", f"nuthatch-e2e-{scratch.name}"
        self.host = f"unix://{scratch}/docker.sock"
        self.client = [CLIENT, "--host", self.host]
        self.process = None

    def __enter__(self) -> "Engine":
        if CLIENT is None or shutil.which("dockerd") is None:
            raise EngineUnavailable("there is no docker and dockerd on the PATH")
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir(parents=True)
        with self.log.open("w") as log:
            self.process = subprocess.Popen(self.command_line(), stdout=log, stderr=log)
        try:
            self.wait_until_it_answers()
        except BaseException:
            self.stop()
            raise
        return self

    def command_line(self) -> list[str]:
        folders = ["--data-root", str(self.images), "--exec-root", str(self.scratch / "exec")]
        control = ["--host", self.host, "--pidfile", str(self.scratch / "pid")]
        groups = ["--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", self.group]
        return ["dockerd", *folders, *control, *groups, *self.flags]

    def wait_until_it_answers(self) -> None:
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                self.docker("version", timeout=5)
                return
            except CommandFailed as refused:
                if self.process.poll() is None and time.monotonic() < end:
                    time.sleep(0.1)
                    continue
                last = "".join(self.log.read_text().splitlines(keepends=True)[-5:])
                raise EngineUnavailable(f"dockerd does not start: {refused}\n{last}") from refused

    def docker(self, *words, **how) -> str:
        """One command of the docker client."""
        return run(*self.client, *words, **how)

    def __exit__(self, *_) -> None:
        for container in self.docker("ps", "--all", "--quiet").split():
            self.docker("rm", "--force", container)
        self.stop()

    def stop(self) -> None:
        """Ends the engine, and removes the control groups that it leaves."""
        self.process.terminate()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for group in Path("/sys/fs/cgroup").glob(f"**/{self.group}"):
            for folder, _, _ in os.walk(group, topdown=False):
                with suppress(OSError):  # Another run may be in it.
                    os.rmdir(folder)
