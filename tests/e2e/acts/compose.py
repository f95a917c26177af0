"""The compose files: what is to be healthy is, the load sees no failure, and all end as they are told.

The files are taken as they stand, by docker-compose; the images are those that are there already.
"""

import json
import os

from ..command import run
from ..report import Act, check
from ..world import World

FILES = ("deploy/compose.yaml", "deploy/compose.redis.yaml")
DONE = "1000 stored, 1000 read back, 0 failed"
SECONDS = 120


def play(world: World, act: Act) -> None:
    for file in FILES:
        try:
            compose(world, file, "up", "--no-build", "--detach")
            said = compose(world, file, "run", "--rm", "-T", "load")
            check(DONE in said, f"{file}: the load said {said}")
            health = {
                name: state["Health"]["Status"]
                for name, state in states(world, file).items()
                if "Health" in state
            }
            check(len(health) == 3 and set(health.values()) == {"healthy"}, f"{file}: {health}")
            compose(world, file, "stop")
            for name, state in states(world, file).items():
                check(state["ExitCode"] == 0, f"{name} ended with {state}")
            act.say(f"{file}: {DONE}; healthy, as asked: {', '.join(sorted(health))}")
        finally:
            compose(world, file, "down")


def compose(world: World, file: str, *words: str) -> str:
    """One command of docker-compose, on our engine."""
    environment = {**os.environ, "DOCKER_HOST": world.engine.host}
    command = ["docker-compose", "--project-name", "e2e", "--file", file, *words]
    return run(*command, cwd=world.shell.repository, env=environment, timeout=SECONDS)


def states(world: World, file: str) -> dict[str, dict]:
    """What the engine says of each container, those that have ended among them."""
    ids = compose(world, file, "ps", "--quiet").split()
    found = json.loads(world.engine.docker("inspect", *ids))
    return {one["Name"].strip("/"): one["State"] for one in found}
