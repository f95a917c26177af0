"""Files beside the charts: manifests, compose, scripts, Dockerfiles and workflows."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tools import CACHE, ROOT

BIN = Path(sys.executable).parent
COMPOSE = {
    "memcached": ROOT / "deploy/compose.yaml",
    "redis": ROOT / "deploy/compose.redis.yaml",
}
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


def tracked(*patterns: str) -> list[str]:
    """Files of the repository, with those that are new."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns]
    result = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=10
    )
    return [path for path in result.stdout.split() if (ROOT / path).is_file()]


def passes(*command, **options) -> None:
    """Runs a program; what it has to say is the failure."""
    result = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=60, **options
    )
    assert result.returncode == 0, result.stdout + result.stderr


def begins_with(path: str, line: bytes) -> bool:
    with open(ROOT / path, "rb") as file:
        return file.readline().startswith(line)


def test_the_manifests_are_those_of_the_chart(tmp_path):
    passes("deploy/k8s/render", tmp_path, env={"PATH": "/usr/bin:/bin", "HELM": CACHE / "helm4"})
    rendered = {path.name: path.read_text() for path in tmp_path.iterdir()}
    kept = {path.name: path.read_text() for path in (ROOT / "deploy/k8s").glob("*.yaml")}
    assert rendered == kept, "run deploy/k8s/render"


@pytest.mark.parametrize("path", COMPOSE.values(), ids=COMPOSE)
def test_compose_1_takes_the_file(path):
    passes("docker-compose", "--file", path, "config", "--quiet")


@pytest.mark.parametrize("path", COMPOSE.values(), ids=COMPOSE)
def test_the_compose_specification_allows_the_file(path):
    passes(BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", path)


@pytest.mark.parametrize("protocol", COMPOSE)
def test_compose_has_the_images_of_the_chart(protocol):
    defaults = yaml.safe_load((ROOT / "deploy/helm/nuthatch/values.yaml").read_text())
    chart = yaml.safe_load((ROOT / "deploy/helm/nuthatch/Chart.yaml").read_text())
    services = yaml.safe_load(COMPOSE[protocol].read_text())["services"]
    server = defaults[protocol]["image"]
    assert services[f"{protocol}-0"]["image"] == f"{server['repository']}:{server['tag']}"
    assert (
        services["nuthatch"]["image"] == f"{defaults['image']['repository']}:{chart['appVersion']}"
    )
    assert services["nuthatch"]["environment"]["HASH"] == defaults["proxy"]["hash"]


def test_the_charts_have_the_version_of_the_program():
    version = re.search(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)[1]
    for path in ("deploy/helm/nuthatch", "examples/cache-api/chart"):
        chart = yaml.safe_load((ROOT / path / "Chart.yaml").read_text())
        assert (chart["version"], chart["appVersion"]) == (version, version), path


@pytest.mark.parametrize("path", [path for path in tracked() if begins_with(path, b"#!/bin/sh")])
def test_shellcheck_likes_the_script(path):
    passes(BIN / "shellcheck", path)


@pytest.mark.parametrize("path", tracked("*Dockerfile*"))
def test_hadolint_likes_the_dockerfile(path):
    passes(BIN / "hadolint", path)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_the_workflow_is_one(path):
    for schema in ("vendor.github-workflows", "custom.github-workflows-require-timeout"):
        passes(BIN / "check-jsonschema", "--builtin-schema", schema, path)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_shellcheck_likes_the_steps(path):
    for job in yaml.safe_load(path.read_text())["jobs"].values():
        for step in job["steps"]:
            if "run" in step:
                passes(BIN / "shellcheck", "--shell=bash", "-", input=step["run"])
