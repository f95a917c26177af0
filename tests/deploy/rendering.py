"""Charts and values in, objects out.

The rule: charts are rendered from a copy, so that a check leaves the repository as it was, and what
they depend on is fetched as users do it.
"""

import atexit
import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import yaml

from tools import CACHE, ROOT

CHARTS = {
    "nuthatch": "deploy/helm/nuthatch",
    "cache-api": "examples/cache-api/chart",
    "plain": "tests/deploy/charts/plain",
}
VALUES = sorted((ROOT / "tests/deploy/values").glob("*.yaml"))

# The chart by itself and as the example's dependency, with each file of values.
CASES = [(chart, path.stem) for chart in ("nuthatch", "cache-api") for path in VALUES]
CASES.append(("plain", "default"))


class Refused(Exception):
    """Helm has rendered nothing. The message is Helm's."""


def values_of(chart: str, name: str) -> dict:
    """A file of values as the chart takes it: a parent has them under its dependency's name."""
    values = yaml.safe_load((ROOT / f"tests/deploy/values/{name}.yaml").read_text())
    return values if chart == "nuthatch" else {"nuthatch": values}


@functools.cache
def render_case(chart: str, name: str, helm: str = "helm4") -> list[dict]:
    """The objects of one case."""
    return render(chart, values_of(chart, name), helm=helm)


def render(chart: str, values: dict, *arguments: str, helm: str = "helm4") -> list[dict]:
    """The objects that a chart makes of these values."""
    folder = complete(chart)
    command = ["template", "release", folder, "--namespace", "cache", "--values", "-", *arguments]
    return list(filter(None, yaml.safe_load_all(run_helm(helm, *command, stdin=yaml.dump(values)))))


def lint(chart: str, values: dict, helm: str) -> str:
    """What Helm says of a chart with these values."""
    folder = complete(chart)
    return run_helm(helm, "lint", "--strict", folder, "--values", "-", stdin=yaml.dump(values))


def run_helm(helm: str, *arguments, stdin: str = "") -> str:
    """Helm's output; it knows no user and no cluster."""
    home = {f"HELM_{kind}_HOME": f"{workspace()}/helm" for kind in ("CACHE", "CONFIG", "DATA")}
    result = subprocess.run(
        [CACHE / helm, *arguments],
        input=stdin,
        env={**os.environ, **home, "KUBECONFIG": "/dev/null"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    if result.returncode:
        raise Refused(result.stdout + result.stderr)
    return result.stdout


@functools.cache
def workspace() -> Path:
    """A copy of the charts, where they stand to each other as in the repository."""
    folder = Path(tempfile.mkdtemp(prefix="nuthatch-charts-"))
    atexit.register(shutil.rmtree, folder)
    left_behind = shutil.ignore_patterns("charts", "Chart.lock")
    for path in CHARTS.values():
        shutil.copytree(ROOT / path, folder / path, ignore=left_behind)
    return folder


@functools.cache
def complete(chart: str) -> Path:
    """Where a chart is, with what it depends on."""
    folder = workspace() / CHARTS[chart]
    run_helm("helm4", "dependency", "update", folder)
    return folder
