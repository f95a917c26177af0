"""Helm without a cluster: it renders a release, and the objects go to ours.

The rule: Helm itself reads the chart and the flags. What it would do with a cluster is done here:
keep the values of the last time, wait, and run hooks after the rest.
"""

import os
import shutil
from pathlib import Path

import yaml
from deploy.tools import CACHE, HELM, fetch_helm

from .command import run
from .kubelet.cluster import Cluster
from .kubelet.fields import Unknown

HOOK = "helm.sh/hook"
REUSE = "--reset-then-reuse-values"


class Helm:
    """The program, and the charts in a copy of their own, which it may write to."""

    def __init__(self, repository: Path, scratch: Path):
        self.program, self.charts, self.values = CACHE / "helm4", scratch, []
        if not self.program.exists():
            CACHE.mkdir(parents=True, exist_ok=True)
            fetch_helm(self.program, HELM["helm4"])
        for chart in ("deploy/helm/nuthatch", "examples/cache-api/chart"):
            shutil.copytree(repository / chart, scratch / chart)

    def run(self, *words: str) -> str:
        """Helm, without a cluster and without anything of its user."""
        homes = {f"HELM_{kind}_HOME": self.charts / "helm" for kind in ("CACHE", "CONFIG", "DATA")}
        environment = {**os.environ, **homes, "KUBECONFIG": "/dev/null"}
        return run(self.program, *words, cwd=self.charts, env=environment)

    def template(self, name: str, chart: str, *flags: str) -> list[dict]:
        """All objects of a release."""
        self.run("dependency", "update", chart)
        text = self.run("template", "--skip-tests", name, chart, *flags)
        return [one for one in yaml.safe_load_all(text) if one]

    def carry_out(self, cluster: Cluster, words: list[str]) -> None:
        """`helm install` or `helm upgrade` with a name, a chart and flags."""
        verb, name, chart, *flags = words
        if verb not in ("install", "upgrade"):
            raise Unknown(f"helm {verb}")
        waits, reuses = "--wait" in flags, REUSE in flags
        set_now = [word for word in flags if word not in ("--wait", "--dependency-update", REUSE)]
        self.values = [*(self.values if reuses else []), *set_now]
        objects = self.template(name, chart, *self.values)
        hooks = [one for one in objects if HOOK in one["metadata"].get("annotations", {})]
        cluster.apply([one for one in objects if one not in hooks])
        if waits:
            cluster.wait_for_all()
        for hook in hooks:
            if f"post-{verb}" in hook["metadata"]["annotations"][HOOK].split(","):
                cluster.apply([hook])
                cluster.wait((hook["kind"], hook["metadata"]["name"]))
