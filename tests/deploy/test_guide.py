"""The guide's commands: those that need no cluster are run, those for Helm are tried without one.

A block "```sh e2e" is run as it stands, and the block after it is what it must print.
"""

import os
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


@pytest.mark.parametrize(("commands", "output"), RUN_HERE)
def test_commands_print_what_the_guide_says(commands, output, nuthatch, tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/nuthatch").symlink_to(nuthatch)
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    result = subprocess.run(
        ["bash", "-eu", "-c", commands],
        env={"PATH": path},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (result.stdout.rstrip(), result.stderr) == (output.rstrip(), "")


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


def test_the_workflow_runs_blocks_that_there_are():
    steps = yaml.safe_load(WORKFLOW.read_text())["jobs"]["guide"]["steps"]
    words = {
        word
        for step in steps
        for word in re.findall(r"tests/deploy/guide (\w+)", step.get("run", ""))
    }
    assert words == {"install", "central", "scale", "back", "stop"}
    for word in words:
        printed = subprocess.run(
            [ROOT / "tests/deploy/guide", word], capture_output=True, text=True, check=True
        )
        assert printed.stdout, word
