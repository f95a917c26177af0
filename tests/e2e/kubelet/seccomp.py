"""The seccomp profile `RuntimeDefault`, as today's container runtimes have it.

The rule: it is this engine's own default profile without io_uring, which containerd has refused
since 2.0 and Docker since 25, while older ones still let it through.
"""

import json
from pathlib import Path

from ..engine import Engine

IO_URING = {"io_uring_setup", "io_uring_enter", "io_uring_register"}


def write_runtime_default(engine: Engine, image: str) -> Path:
    """Asks the engine for its default profile, by running a container with it, and narrows it."""
    container = engine.docker("run", "--detach", "--network", "none", image).strip()
    (bundle,) = engine.scratch.glob(f"exec/**/{container}/config.json")
    profile = json.loads(bundle.read_text())["linux"]["seccomp"]
    engine.docker("rm", "--force", container)
    for rule in profile["syscalls"]:
        rule["names"] = [name for name in rule["names"] if name not in IO_URING]
    path = engine.scratch / "runtime-default.json"
    path.write_text(json.dumps(profile))
    return path
