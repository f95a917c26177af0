"""The cluster as the acts see it: objects go in, pods come out.

The rule: an object of a kind that is not known is an error. Kinds that change nothing for the pods
of one node are named, so that one sees which they are.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..engine import Engine
from . import seccomp
from .dns import Dns
from .fields import Unknown
from .pod import Pod
from .service import Services
from .workload import Deployment, Job, StatefulSet

WORKLOADS = {"StatefulSet": StatefulSet, "Deployment": Deployment, "Job": Job}
# Answers to evictions, other tools' objects, and rules for networks that this bridge does not have.
INERT = {"PodDisruptionBudget", "ServiceAccount", "NetworkPolicy", "PodMonitor", "PrometheusRule"}


class Cluster:
    """One node with all that pods need of it."""

    def __init__(self, engine: Engine, pause: str, dns: Dns, logs: Path):
        self.engine, self.pause, self.logs = engine, pause, logs
        self.folder, self.resolv_conf = engine.scratch / "pods", dns.resolv_conf
        self.runtime_default = seccomp.write_runtime_default(engine, pause)
        self.services, self.config_maps, self.workloads = Services(dns), {}, {}
        self.controllers, self.rollouts = ThreadPoolExecutor(), {}

    def apply(self, objects: list[dict]) -> None:
        """Takes objects, new or changed, and begins to carry them out, all side by side."""
        for one in objects:
            kind, name = one["kind"], one["metadata"]["name"]
            if kind == "ConfigMap":
                self.config_maps[name] = one
            elif kind == "Service":
                self.services.define(one)
            elif kind in WORKLOADS:
                workload = self.workloads.setdefault((kind, name), WORKLOADS[kind](self, name))
                self.rollouts[kind, name] = self.controllers.submit(workload.apply, one["spec"])
            elif kind not in INERT:
                raise Unknown(f"{kind} {name}")

    def wait(self, *workloads: tuple[str, str]) -> None:
        """Waits until these are as they were last told to be, or raises what went wrong."""
        for kind, name in workloads:
            self.rollouts[kind, name].result()

    @property
    def pods(self) -> list[Pod]:
        """All pods that are to run on."""
        lasting = [one for (kind, _), one in self.workloads.items() if kind != "Job"]
        return [pod for workload in lasting for pod in workload.pods]

    def troubles(self) -> list[str]:
        """What must not have happened to any pod."""
        return [trouble for pod in self.pods for trouble in pod.troubles]

    def stop(self) -> None:
        """Ends all pods, side by side, each in its order."""
        pods = self.pods
        with ThreadPoolExecutor(max(len(pods), 1)) as threads:
            list(threads.map(Pod.stop, pods))

    def keep_logs(self, pod: Pod) -> None:
        """Writes what a pod's containers said to where it can be read after the test."""
        for container in [*pod.init, *pod.main]:
            (self.logs / f"{container.id}.log").write_text(container.logs())
