"""Charts and values in, objects out.

The rule: charts are rendered from a copy, so that a check leaves the repository as it was, and what
they depend on is fetched as users do it.
"""

import atexit
import functools
import json
import os
import pickle
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import yaml

from api_server import api_server
from tools import CACHE, ROOT

CHARTS = {
    "nuthatch": "deploy/helm/nuthatch",
    "cache-api": "examples/cache-api/chart",
    "plain": "tests/deploy/charts/plain",
    "two": "tests/deploy/charts/two",
    "many": "tests/deploy/charts/many",
    "switched": "tests/deploy/charts/switched",
    "shop": "tests/deploy/charts/shop",
}
# A run is too short for a garbage collection to be worth its while. The code of kubectl in Helm packs and
# unpacks the translations of its own words at each start, which takes a third of a start in English and little
# in the shortest language. Helm's own words are English in any case.
AT_ONCE = {"GOGC": "off", "LC_ALL": "zh_TW.UTF-8"}
# A line of three hyphens is between two documents, wherever it is: a text inside of one is indented.
SEPARATOR = re.compile("^---$", re.MULTILINE)
VALUES = sorted((ROOT / "tests/deploy/values").glob("*.yaml"))

# The chart by itself and as the example's dependency, with each file of values.
CASES = [(chart, path.stem) for chart in ("nuthatch", "cache-api") for path in VALUES]
CASES.append(("plain", "default"))


class AsKubernetes(yaml.CSafeLoader):
    """YAML as Kubernetes takes it: more words are numbers and truth values than for PyYAML, and a key
    that is there twice is an error."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep) for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"a key is there twice: {keys} {node.start_mark}"
        return super().construct_mapping(node, deep)


AsKubernetes.yaml_implicit_resolvers = {
    first: list(known) for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
AsKubernetes.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^[yYnN]$"), list("yYnN"))
AsKubernetes.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789")
)
AsKubernetes.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile("^0[oO][0-7]+$"), ["0"]
)
AsKubernetes.add_constructor(
    "tag:yaml.org,2002:bool", lambda loader, node: node.value.lower() in ("y", "yes", "on", "true")
)
AsKubernetes.add_constructor("tag:yaml.org,2002:float", lambda loader, node: float(node.value))


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


def render(
    chart: str,
    values: dict,
    *arguments: str,
    helm: str = "helm4",
    release: str = "release",
    namespace: str = "cache",
) -> list[dict]:
    """The objects that a chart makes of these values."""
    command = ["template", release, complete(chart), "--namespace", namespace, "--values", "-"]
    return objects_of(run_helm(helm, *command, *arguments, stdin=json.dumps(values)))


def upgrade(
    values: dict,
    living: list[dict],
    folder: Path,
    helm: str = "helm4",
    chart: str = "nuthatch",
    release: str = "release",
    is_owned: bool = True,
) -> list[dict]:
    """The objects that an upgrade makes of these values in a cluster with these objects, which Helm has installed
    as this release, or which are as they are."""
    # Helm 4 would ask this server what the fields of all kinds are.
    server = ["--dry-run=server", "--disable-openapi-validation"]
    with api_server(living, "cache", folder, release if is_owned else None) as kubeconfig:
        server.append(f"--kubeconfig={kubeconfig}")
        return render(chart, values, *server, helm=helm, release=release)


def objects_of(text: str) -> list[dict]:
    """The objects of a text, as Kubernetes reads them."""
    return [item for document in SEPARATOR.split(text) for item in pickle.loads(document_of(document))]


@functools.cache
def document_of(text: str) -> bytes:
    """The objects of a part of a text, so that each user has objects of its own: most are the same in many
    renderings."""
    return pickle.dumps(list(filter(None, yaml.load_all(text, Loader=AsKubernetes))))


def lint(chart: str, values: dict, helm: str) -> str:
    """What Helm says of a chart with these values."""
    folder = complete(chart)
    return run_helm(helm, "lint", "--strict", folder, "--values", "-", stdin=json.dumps(values))


def run_helm(helm: str, *arguments, stdin: str = "") -> str:
    """Helm's output; it knows no user and no cluster."""
    home = {f"HELM_{kind}_HOME": f"{workspace()}/helm" for kind in ("CACHE", "CONFIG", "DATA")}
    result = subprocess.run(
        [CACHE / helm, *arguments],
        input=stdin,
        env={**os.environ, **home, **AT_ONCE, "KUBECONFIG": "/dev/null"},
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
    """Where a chart is, with what it depends on, and what that depends on."""
    folder = workspace() / CHARTS[chart]
    described = yaml.safe_load((folder / "Chart.yaml").read_text())
    for name in {each["name"] for each in described.get("dependencies", [])}:
        complete(name)
    run_helm("helm4", "dependency", "update", folder)
    return folder
