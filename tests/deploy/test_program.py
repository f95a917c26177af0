"""What the charts tell the program, the program understands. It is the real one: $NUTHATCH."""

import re
import subprocess

import pytest

from objects import environment, of_kind, proxies
from rendering import CASES, render_case
from test_values import SCHEMA
from tools import ROOT

# Those of docs/config.md, which the program's own tests compare with the program. Signals are none.
VARIABLES = set(re.findall(r"^\| `(?!SIG)([A-Z_]+)` \|", (ROOT / "docs/config.md").read_text(), re.M))

# The password of Redis is in a file; a variable with it could be read in the pod's description.
PASSWORD = {"REDIS_AUTH"}
# Where the charts mount the password.
PASSWORD_FILE = "/run/secrets/nuthatch/redis-password"


@pytest.fixture
def check(nuthatch, tmp_path):
    """Lets the program check the configuration of a container, as in that container."""

    def run(container: dict, config: str | None) -> str:
        path, password = tmp_path / "nutcracker.yml", tmp_path / "redis-password"
        password.write_text("secret\n")
        path.write_text((config or "").replace(PASSWORD_FILE, str(password)))
        arguments = [
            word.replace("/etc/nuthatch/nutcracker.yml", str(path)) for word in container["args"]
        ]
        variables = environment(container)
        if "REDIS_AUTH_FILE" in variables:
            assert variables["REDIS_AUTH_FILE"] == PASSWORD_FILE
            variables["REDIS_AUTH_FILE"] = str(password)
        result = subprocess.run(
            [nuthatch, *arguments, "--test-conf"],
            env=variables,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=10,
        )
        assert result.returncode == 0, result.stderr
        return result.stderr

    return run


@pytest.mark.parametrize(("chart", "values"), CASES)
def test_the_program_accepts_what_each_container_is_told(chart, values, check):
    objects = render_case(chart, values)
    configs = [item["data"].get("nutcracker.yml") for item in of_kind(objects, "ConfigMap")]
    for _, container in proxies(objects):
        check(container, next(filter(None, configs), None))


@pytest.mark.parametrize("values", ["default", "redis", "redis-outside"])
def test_the_defaults_have_no_traps(values, check):
    for _, container in proxies(render_case("cache-api", values)):
        assert check(container, None).endswith("syntax is ok\n")


def test_every_variable_is_one_that_the_program_has():
    told = set()
    for chart, values in CASES:
        for _, container in proxies(render_case(chart, values)):
            told |= environment(container).keys()
    assert told == VARIABLES - PASSWORD


def test_an_empty_limit_is_left_to_the_program():
    for _, container in proxies(render_case("nuthatch", "outside")):
        assert [name for name in environment(container) if name.endswith("_MAX")] == []


@pytest.mark.parametrize(
    ("value", "variable"),
    [
        ("hash", "HASH"),
        ("distribution", "DISTRIBUTION"),
        ("logFormat", "LOG_FORMAT"),
        ("redis.crossShard", "CROSS_SHARD"),
    ],
)
def test_the_program_knows_every_name_that_the_schema_allows(value, variable, check):
    (_, container), *_ = proxies(render_case("nuthatch", "redis"))
    (entry,) = (each for each in container["env"] if each["name"] == variable)
    schema = SCHEMA["properties"]["proxy"]
    for part in value.split("."):
        schema = schema["properties"][part]
    for name in schema["enum"]:
        others = [each for each in container["env"] if each is not entry]
        check({**container, "env": [*others, {"name": variable, "value": name}]}, None)
