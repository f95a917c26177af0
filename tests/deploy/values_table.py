"""The table of values in the chart's README.md, from values.yaml and its comments.

`python tests/deploy/values_table.py` prints it. The rule: a value is told of in the comment above.
"""

import json
from collections.abc import Iterator

import yaml

# Values that are maps of Kubernetes' own, and are told of as one.
WHOLE = ("resources", "labels", "selector", "affinity")


def paths(values: dict, prefix: str = "") -> Iterator[str]:
    """Every value's path, those of the maps above it too."""
    for key, value in values.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict) and key not in WHOLE:
            yield from paths(value, f"{prefix}{key}.")


def table(text: str) -> str:
    """The table in Markdown."""
    comments, defaults = comments_of(text), yaml.safe_load(text)
    lines = ["| value | default | what it is |", "| --- | --- | --- |"]
    for path in paths(defaults):
        value = at(defaults, path)
        if is_value(path, value):
            lines.append(f"| `{path}` | `{json.dumps(value)}` | {comments[path]} |")
    return "\n".join(lines)


def at(values: dict, path: str):
    """The value at a path."""
    for key in path.split("."):
        values = values[key]
    return values


def is_value(path: str, value) -> bool:
    """Whether this is a value, and not a map with values in it."""
    return not isinstance(value, dict) or not value or path.split(".")[-1] in WHOLE


def comments_of(text: str) -> dict[str, str]:
    """The comment above each key, by the key's path."""
    comments, above, comment = {}, [], []
    for line in text.splitlines():
        words = line.strip()
        depth = (len(line) - len(line.lstrip())) // 2
        if words.startswith("#"):
            comment.append(words.lstrip("# "))
        elif ":" in words and not words.startswith("-"):
            above = [*above[:depth], words.split(":")[0]]
            comments[".".join(above)] = " ".join(comment)
            comment = []
        elif not words:
            comment = []
    return comments


if __name__ == "__main__":
    from tools import ROOT

    print(table((ROOT / "deploy/helm/nuthatch/values.yaml").read_text()))
