"""The rendered example chart: what `helm template` makes of it and nothing else."""

from pathlib import Path

import yaml

from .command import run


class Chart:
    """A release of a chart, with values that acts may change, as `helm upgrade --set` does."""

    def __init__(self, helm: Path, release: str, folder: Path):
        self.helm, self.release, self.folder, self.values = helm, release, folder, {}

    def set(self, path: str, value) -> None:
        """Another value, from the next rendering on."""
        self.values[path] = value

    def objects(self, only=None, leave_out=None) -> list[dict]:
        """The objects, or those of one (kind, name), or those but one."""
        flags = [f"--set={path}={value}" for path, value in self.values.items()]
        text = run(self.helm, "template", self.release, self.folder, *flags)
        objects = [one for one in yaml.safe_load_all(text) if one]
        named = {(one["kind"], one["metadata"]["name"]): one for one in objects}
        if only:
            return [named[only]]
        return [one for key, one in named.items() if key != leave_out]
