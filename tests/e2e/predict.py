"""What Nuthatch itself says about keys. The rule: the shipped image is asked, with the very
environment that the sidecar has, so that prediction and sidecar can differ only by a bug."""

import json
from collections import Counter

import yaml

from .engine import Engine


class Oracle:
    """The `route` and `diff` commands of an image."""

    def __init__(self, engine: Engine, image: str):
        self.engine, self.image = engine, image

    def ask(self, flags: list[str], words: list[str], keys: list[str]) -> str:
        run = ["run", "--rm", "--interactive", "--network", "none", *flags, self.image, *words]
        return self.engine.docker(*run, input="".join(f"{key}\n" for key in keys))

    def route(self, environment: dict[str, str], keys: list[str]) -> dict[str, str]:
        """The pod that has each key."""
        flags = [f"--env={name}={value}" for name, value in environment.items()]
        lines = [line.split("\t") for line in self.ask(flags, ["route"], keys).splitlines()]
        return {key: server.split(".")[0] for key, _, server in lines}

    def share(self, environment: dict[str, str], keys: list[str]) -> dict[str, int]:
        """How many of the keys each server has."""
        return dict(Counter(self.route(environment, keys).values()))

    def diff(self, old: dict[str, str], new: dict[str, str], keys: list[str]) -> dict:
        """What changes between two environments; `diff` reads files, so they become two."""
        folder = self.engine.scratch / "diff"
        folder.mkdir(exist_ok=True)
        for name, environment in {"old": old, "new": new}.items():
            (folder / f"{name}.yml").write_text(as_file(environment))
        words = ["diff", "/diff/old.yml", "/diff/new.yml", "--keys=/dev/stdin", "--json"]
        return json.loads(self.ask([f"--volume={folder}:/diff:ro"], words, keys))


def as_file(environment: dict[str, str]) -> str:
    """The same pool as a configuration file: what decides where keys go, and what must be there."""
    pool = {"listen": "127.0.0.1:11211", "servers": environment["SERVERS"].split(",")}
    for directive in ("hash", "hash_tag", "distribution"):
        if environment.get(directive.upper()):
            pool[directive] = environment[directive.upper()]
    return yaml.safe_dump({"memcached": pool})
