"""The rendered example chart: what `helm template` makes of it and nothing else."""

import os
import shutil
from pathlib import Path

import yaml
from deploy.tools import CACHE, HELM, fetch_helm

from .command import run


class Chart:
    """A release of the example, with values that acts may change, as `helm upgrade --set` does."""

    def __init__(self, repository: Path, scratch: Path):
        self.helm = CACHE / "helm4"
        if not self.helm.exists():
            CACHE.mkdir(parents=True, exist_ok=True)
            fetch_helm(self.helm, HELM["helm4"])
        for chart in ("deploy/helm/nuthatch", "examples/cache-api/chart"):
            shutil.copytree(repository / chart, scratch / chart)
        self.folder, self.values = scratch / "examples/cache-api/chart", {}
        self.homes = {f"HELM_{kind}_HOME": scratch / "helm" for kind in ("CACHE", "CONFIG", "DATA")}
        self.run("dependency", "update", self.folder)

    def run(self, *words) -> str:
        """Helm, without a cluster and without anything of its user."""
        return run(self.helm, *words, env={**os.environ, **self.homes, "KUBECONFIG": "/dev/null"})

    def set(self, path: str, value) -> None:
        """Another value, from the next rendering on."""
        self.values[path] = value

    def objects(self) -> list[dict]:
        """All that `helm install` would hand to the cluster, hooks left out."""
        flags = [f"--set={path}={value}" for path, value in self.values.items()]
        text = self.run("template", "cache", self.folder, "--skip-tests", *flags)
        return [one for one in yaml.safe_load_all(text) if one]
