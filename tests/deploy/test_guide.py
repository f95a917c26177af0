"""The guide's commands: those that need no cluster are run, those for Helm are tried without one.

A block "```sh e2e" is run as it stands, and the block after it is what it must print.
"""

import json
import re
import shlex
import subprocess

import pytest
import yaml

from rendering import complete, run_helm
from tools import ROOT

TEXT = (ROOT / "docs/kubernetes.md").read_text()
RUN_HERE = re.findall(r"^```sh e2e\n(.*?)^```\n+```\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
HELM = re.findall(
    r"^helm (?:install|upgrade) cache-api examples/cache-api/chart (.*)$",
    TEXT.replace("\\\n", ""),
    re.MULTILINE,
)
WORKFLOW = ROOT / ".github/workflows/kind.yml"


# Stands for Docker, which has the image of the program: what is mounted, handed over and run is what is meant.
DOCKER = """#!/bin/sh
set -eu
expected="run --rm --interactive --env HASH --env SERVERS --volume $PWD:/work:ro --workdir /work nuthatch:{version}"
while [ "$expected" ]; do
    word=${{expected%% *}}
    [ "$1" = "$word" ] || {{ echo "docker: $1 in the place of $word" >&2; exit 1; }}
    shift
    case "$expected" in *" "*) expected=${{expected#* }} ;; *) expected= ;; esac
done
exec env -i HASH="${{HASH:-}}" SERVERS="${{SERVERS:-}}" {program} "$@"
"""


@pytest.mark.parametrize("number", range(len(RUN_HERE)))
def test_commands_print_what_the_guide_says(number, nuthatch, tmp_path):
    """With the programs that the guide asks for, and no other; what came before in the same terminal is there."""
    (tmp_path / "bin").mkdir()
    docker = tmp_path / "bin/docker"
    version = yaml.safe_load((ROOT / "deploy/helm/nuthatch/Chart.yaml").read_text())["appVersion"]
    docker.write_text(DOCKER.format(version=version, program=nuthatch))
    docker.chmod(0o755)
    earlier = "".join(commands for commands, _ in RUN_HERE[:number])
    commands, output = RUN_HERE[number]
    result = subprocess.run(
        ["bash", "-eu", "-c", f"{{ {earlier or ':'}\n}} >/dev/null\n{commands}"],
        env={"PATH": f"{tmp_path}/bin:/usr/bin:/bin"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (result.stdout.rstrip(), result.stderr) == (output.rstrip(), "")


def test_blocks_can_be_pasted_from_the_first_to_the_last():
    """A program that runs on in the background is not there yet for the next line, and nothing ends it."""
    blocks = re.findall(r"^```sh.*?\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    assert len(blocks) > 10
    assert [block for block in blocks if re.search(r" &$", block, re.MULTILINE)] == []
    assert [block for block in blocks if "port-forward" in block and block.count("\n") > 1] == []
    after = blocks[[block for block in blocks].index("helm uninstall cache-api --wait\n") + 1 :]
    assert [block for block in after if "helm" in block] == []


def test_no_such_block_is_forgotten():
    assert len(RUN_HERE) == TEXT.count("```sh e2e") > 0


@pytest.mark.parametrize("arguments", HELM)
def test_helm_knows_the_values(arguments):
    words = [
        word
        for word in shlex.split(arguments)
        if word not in ("--dependency-update", "--reset-then-reuse-values")
    ]
    # A value that is tried alone may need another one that the release has already.
    already = ["--set", "nuthatch.central.enabled=true"]
    assert run_helm("helm4", "template", "cache-api", complete("cache-api"), *already, *words)


def blocks(first_line: str) -> list[str]:
    """The guide's blocks of YAML that begin with a line."""
    found = re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    return [block for block in found if block.startswith(first_line)]


def file_of(chart: str, path: str) -> str:
    """A file of a chart of the tests."""
    return (ROOT / "tests/deploy/charts" / chart / path).read_text()


def test_the_lines_for_an_application_are_those_of_a_chart_that_is_rendered():
    (block,) = blocks("    spec:\n")
    assert block in file_of("switched", "templates/deployment.yaml")


def test_two_caches_in_one_pod_are_those_of_a_chart_that_is_rendered():
    (dependencies,) = (block for block in blocks("# Chart.yaml\n") if "alias" in block)
    chart = yaml.safe_load(file_of("two", "Chart.yaml"))
    said, kept = yaml.safe_load(dependencies)["dependencies"], chart["dependencies"]
    assert [(each["alias"], each["name"]) for each in said] == [
        (each["alias"], each["name"]) for each in kept
    ]
    (values,) = blocks("# values.yaml\n")
    assert yaml.safe_load(values) == yaml.safe_load(file_of("two", "values.yaml"))
    (template,) = blocks("      initContainers:\n        {{- include")
    lines = file_of("two", "templates/deployment.yaml").splitlines()
    assert set(template.splitlines()) <= set(lines)


def test_the_table_of_versions_is_that_of_the_templates():
    table = TEXT.split("### What is supported from which version on")[1].split("##")[0]
    rows = [row.split("|")[1:4] for row in re.findall(r"^\| (?!needs|---).*$", table, re.MULTILINE)]
    folder = ROOT / "deploy/helm/nuthatch/templates"
    templates = "".join(path.read_text() for path in folder.rglob("*") if path.is_file())
    needed = []
    for needs, version, user in rows:
        for word in re.findall("`([^`]+)`", needs):
            assert word in templates or f"{word}:" in templates, word
        if version.strip() and "only with" not in user and "does without" not in user:
            needed.append(tuple(map(int, version.strip().split("."))) if "." in version else ())
    chart = yaml.safe_load((ROOT / "deploy/helm/nuthatch/Chart.yaml").read_text())
    oldest = tuple(map(int, re.search(r"(\d+)\.(\d+)", chart["kubeVersion"]).groups()))
    assert max(needed) == oldest
    assert f"You need Kubernetes {oldest[0]}.{oldest[1]} or later" in TEXT


def test_the_notes_have_the_lines_of_the_guide():
    notes = run_helm("helm4", "install", "release", complete("nuthatch"), "--dry-run=client")
    (block,) = blocks("    spec:\n")
    for line in block.splitlines():
        if "{{" in line:
            assert line in notes.splitlines(), line


def test_the_guide_says_what_to_edit_in_the_manifests_and_what_to_delete_first():
    words = " ".join(TEXT.split())
    manifests = sorted((ROOT / "deploy/k8s").glob("*.yaml"))
    assert all(f"deploy/k8s/{path.name}" in words for path in manifests)
    objects = [item for path in manifests for item in yaml.safe_load_all(path.read_text()) if item]
    images = {image for item in objects for image in re.findall(r'"image": "([^"]+)"', json.dumps(item))}
    own = {image for image in images if image.startswith("nuthatch")}
    assert own and all("/" not in image for image in own)
    assert "each `image:` in the file, which has no registry" in words
    jobs = {item["metadata"]["name"] for item in objects if item["kind"] == "Job"}
    assert jobs and all(f"`kubectl delete job {job}`" in words for job in jobs)


def test_the_guide_says_how_helm_4_takes_over_a_number_that_kubectl_has_set():
    words = " ".join(TEXT.split())
    after = words[words.index("after `kubectl scale`, Helm 4 refuses"):]
    assert "`--force-conflicts`" in after[:120]


def test_the_workflow_runs_blocks_that_there_are():
    steps = yaml.safe_load(WORKFLOW.read_text())["jobs"]["guide"]["steps"]
    words = {
        word
        for step in steps
        for word in re.findall(r"tests/deploy/guide (\w+)", step.get("run", ""))
    }
    assert words == {"install", "test", "central", "scale", "back", "stop", "remove"}
    for word in words:
        printed = subprocess.run(
            [ROOT / "tests/deploy/guide", word], capture_output=True, text=True, check=True
        )
        assert printed.stdout, word
