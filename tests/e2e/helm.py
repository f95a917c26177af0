"""Helm without a cluster: it renders a release, and the objects go to ours.

The rule: Helm itself reads the chart and the flags. What it would do with a cluster is done here:
keep the values of the last time, delete what is no more, wait, and run hooks after the rest.
"""

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from deploy.tools import CACHE, HELM, fetch_helm

from .command import run
from .kubelet.cluster import Cluster, Key, key_of
from .kubelet.fields import Unknown

HOOK = "helm.sh/hook"
REUSE = "--reset-then-reuse-values"


@dataclass
class Release:
    """What was last installed under a name: the chart, the values, the objects but for hooks."""

    chart: str = ""
    values: list[str] = field(default_factory=list)
    keys: set[Key] = field(default_factory=set)


class Helm:
    """The program, and the charts in a copy of their own, which it may write to."""

    def __init__(self, repository: Path, scratch: Path):
        self.program, self.charts, self.releases = CACHE / "helm4", scratch, {}
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
        """All objects of a release, the pods of `helm test` among them."""
        self.run("dependency", "update", chart)
        text = self.run("template", name, chart, *flags)
        return [one for one in yaml.safe_load_all(text) if one]

    def carry_out(self, cluster: Cluster, words: list[str]) -> str:
        """What `helm` is told, and what it prints."""
        match words:
            case ["install" | "upgrade" as verb, name, chart, *flags]:
                self.apply(cluster, verb, name, chart, flags)
            case ["test", name]:
                return self.test(cluster, name)
            case ["uninstall", name, "--wait"]:
                cluster.delete(self.releases.pop(name).keys)
            case _:
                raise Unknown(f"helm {' '.join(words)}")
        return ""

    def apply(
        self, cluster: Cluster, verb: str, name: str, chart: str, flags: list[str]
    ) -> None:
        """`helm install` or `helm upgrade`. What the new release has no more is deleted."""
        before = self.releases.get(name, Release())
        set_now = [word for word in flags if word not in ("--wait", "--dependency-update", REUSE)]
        values = [*(before.values if REUSE in flags else []), *set_now]
        objects = self.template(name, chart, *values)
        lasting = [one for one in objects if not hooks_of(one)]
        keys = {key_of(one) for one in lasting}
        self.releases[name] = Release(chart, values, keys)
        cluster.apply(lasting)
        cluster.delete(before.keys - keys)
        if "--wait" in flags:
            cluster.wait_for_all()
        for hook in objects:
            if f"post-{verb}" in hooks_of(hook):
                cluster.delete([key_of(hook)])  # Helm's default, `before-hook-creation`.
                cluster.apply([hook])
                cluster.wait(key_of(hook))

    def test(self, cluster: Cluster, name: str) -> str:
        """`helm test`: pods that must end well, one after the other."""
        release, said = self.releases[name], []
        for hook in self.template(name, release.chart, *release.values):
            if "test" in hooks_of(hook):
                cluster.complete(hook)
                said += [f"TEST SUITE: {hook['metadata']['name']}", "Phase: Succeeded"]
        return "\n".join(said)


def hooks_of(one: dict) -> list[str]:
    """When Helm makes an object that is not one of the release's own."""
    annotations = one["metadata"].get("annotations", {})
    return annotations[HOOK].split(",") if HOOK in annotations else []
