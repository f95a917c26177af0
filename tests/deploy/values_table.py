"""The table of values in the chart's README.md, from values.yaml, its comments, and the schema.

`python tests/deploy/values_table.py` prints it. The rule: a value is told of in the comment above, and what it
may be in the schema.
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


def table(text: str, schema: dict) -> str:
    """The table in Markdown."""
    comments, defaults = comments_of(text), yaml.safe_load(text)
    lines = ["| value | default | may be | what it is |", "| --- | --- | --- | --- |"]
    for path in paths(defaults):
        value = at(defaults, path)
        if is_value(path, value):
            allowed = allowed_by(schema_at(path, schema), schema)
            lines.append(f"| `{path}` | `{json.dumps(value)}` | {allowed} | {comments[path]} |")
    return "\n".join(lines)


def schema_at(path: str, schema: dict) -> dict:
    """What the schema says of a value."""
    found = schema
    for key in path.split("."):
        found = followed(found, schema)["properties"][key]
    return found


def followed(part: dict, schema: dict) -> dict:
    """A part of the schema in place of a reference to it."""
    while "allOf" in part or "$ref" in part:
        part = part["allOf"][0] if "allOf" in part else schema["definitions"][part["$ref"].split("/")[-1]]
    return part


def allowed_by(part: dict, schema: dict) -> str:
    """What a value may be, in words: the description that its definition has, or its words and numbers."""
    part = followed(part, schema)
    if "description" in part:
        return part["description"]
    if "anyOf" in part:
        return " or ".join(allowed_by(each, schema) for each in part["anyOf"])
    if "enum" in part or "const" in part:
        words = part.get("enum", [part.get("const")])
        named = [f"`{word}`" if word != "" else "empty" for word in words]
        return ", ".join(named)
    kind = part["type"]
    if kind == "array":
        return f"a list: {allowed_by(part['items'], schema)}"
    if "minimum" in part:
        return f"{part['minimum']} to {part['maximum']}"
    return {"boolean": "`true`, `false`", "string": "a text"}[kind]


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

    CHART = ROOT / "deploy/helm/nuthatch"
    SCHEMA = json.loads((CHART / "values.schema.json").read_text())
    print(table((CHART / "values.yaml").read_text(), SCHEMA))
