"""What Nuthatch itself says about keys. The rule: the shipped image is asked, with the very file
that the proxy has, so that prediction and proxy can differ only by a bug."""

import json
from collections import Counter

from .engine import Engine


class Oracle:
    """The `route` and `diff` commands of an image."""

    def __init__(self, engine: Engine, image: str):
        self.engine, self.image = engine, image

    def ask(self, words: list[str], keys: list[str], **files: str) -> str:
        """Runs a command that finds these files in /asked, as NAME.yml."""
        folder = self.engine.scratch / "asked"
        folder.mkdir(exist_ok=True)
        for name, text in files.items():
            (folder / f"{name}.yml").write_text(text)
        run = ["run", "--rm", "--interactive", "--network", "none", f"--volume={folder}:/asked:ro"]
        lines = "".join(f"{key}\n" for key in keys)
        return self.engine.docker(*run, self.image, *words, input=lines)

    def route(self, file: str, keys: list[str]) -> dict[str, str]:
        """The pod that has each key."""
        said = self.ask(["route", "--conf-file=/asked/file.yml"], keys, file=file)
        lines = [line.split("\t") for line in said.splitlines()]
        return {key: server.split(".")[0] for key, _, server in lines}

    def share(self, file: str, keys: list[str]) -> dict[str, int]:
        """How many of the keys each server has."""
        return dict(Counter(self.route(file, keys).values()))

    def diff(self, old: str, new: str, keys: list[str]) -> dict:
        """What changes between two files."""
        words = ["diff", "/asked/old.yml", "/asked/new.yml", "--keys=/dev/stdin", "--json"]
        return json.loads(self.ask(words, keys, old=old, new=new))
