"""The cluster as the acts see it: objects go in, pods come out.

The rule: an object of a kind that is not known is an error. Kinds that change nothing for the pods
of one node are named, so that one sees which they are.
"""

import copy
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from ..engine import Engine
from ..network import Network
from . import seccomp
from .dns import Dns
from .fields import Unknown
from .pod import Pod, PodFailed
from .service import Services
from .workload import Deployment, Job, StatefulSet

WORKLOADS = {"StatefulSet": StatefulSet, "Deployment": Deployment, "Job": Job}
# Answers to evictions, other tools' objects, and rules for networks that this bridge does not have.
# Of an autoscaler only its least number counts.
INERT = """
    HorizontalPodAutoscaler NetworkPolicy PodDisruptionBudget PodMonitor PrometheusRule
    ServiceAccount
""".split()
TEST_SECONDS = 60

Key = tuple[str, str]


class Cluster:
    """One node with all that pods need of it."""

    def __init__(self, engine: Engine, pause: str, network: Network, dns: Dns, logs: Path):
        self.engine, self.pause, self.network, self.logs = engine, pause, network, logs
        self.folder, self.resolv_conf = engine.scratch / "pods", dns.resolv_conf
        self.runtime_default = seccomp.write_runtime_default(engine, pause)
        self.services, self.config_maps, self.workloads = Services(network, dns), {}, {}
        self.secrets, self.objects = {}, set()
        self.controllers, self.rollouts = ThreadPoolExecutor(), {}
        self.specs, self.restarts = {}, {}

    def apply(self, objects: list[dict]) -> None:
        """Takes objects, new or changed, and begins to carry them out, all side by side."""
        floors = floors_of(objects)
        for one in objects:
            kind, name = key_of(one)
            self.objects.add((kind, name))
            if kind == "ConfigMap":
                self.config_maps[name] = one
            elif kind == "Service":
                self.services.define(one)
            elif kind in WORKLOADS:
                self.begin((kind, name), floors.get((kind, name), {}) | one["spec"])
            elif kind not in INERT:
                raise Unknown(f"{kind} {name}")

    def create_secret(self, name: str, data: dict[str, str]) -> None:
        """Keeps a Secret under its name, for the pods that start from now on."""
        self.secrets[name] = data
        self.objects.add(("Secret", name))

    def delete(self, keys: Iterable[Key]) -> None:
        """Removes objects that are there. Their pods end side by side, each in its order."""
        keys = self.objects & set(keys)
        keepers = [self.workloads[key] for key in keys & self.workloads.keys() if key[0] != "Job"]
        pods = [pod for keeper in keepers for pod in keeper.pods]
        with ThreadPoolExecutor(max(len(pods), 1)) as threads:
            list(threads.map(Pod.stop, pods))
        for kind, name in keys:
            if kind == "Service":
                self.services.forget(name)
            for kept in (self.workloads, self.rollouts, self.specs, self.restarts):
                kept.pop((kind, name), None)
            {"ConfigMap": self.config_maps, "Secret": self.secrets}.get(kind, {}).pop(name, None)
        self.objects -= keys

    def complete(self, pod: dict) -> str:
        """Runs a pod that is to come to an end by itself, and returns what its containers said."""
        pod = Pod(self, pod["metadata"]["name"], pod)
        pod.start()
        code = pod.await_end(TEST_SECONDS)
        said = "".join(container.logs() for container in pod.main)
        pod.close_sandbox()
        if code != 0:
            raise PodFailed(f"{pod.name}: exit code {code}\n{said}")
        return said

    def begin(self, key: tuple[str, str], spec: dict) -> None:
        """Lets a workload become what a spec says, after what it is still about."""
        workload = self.workloads.setdefault(key, WORKLOADS[key[0]](self, key[1]))
        spec, before = copy.deepcopy(spec), self.rollouts.get(key)
        if key in self.restarts:
            notes = spec["template"]["metadata"].setdefault("annotations", {})
            notes["kubectl.kubernetes.io/restartedAt"] = self.restarts[key]
        self.specs[key] = spec

        def roll_out() -> None:
            if before:
                before.result()
            workload.apply(spec)

        self.rollouts[key] = self.controllers.submit(roll_out)

    def restart(self, key: tuple[str, str]) -> None:
        """Gives a workload new pods, by an annotation that stays, as kubectl does."""
        self.restarts[key] = datetime.now(UTC).isoformat()
        self.begin(key, self.specs[key])

    def wait(self, key: tuple[str, str], seconds: float = 120) -> None:
        """Waits until a workload is as it was last told to be, or raises what went wrong."""
        self.rollouts[key].result(seconds)

    def wait_for_all(self) -> None:
        """Waits for all workloads, as `helm install --wait` does."""
        for key in list(self.rollouts):
            self.wait(key)

    @property
    def pods(self) -> list[Pod]:
        """All pods that are to run on."""
        lasting = [one for (kind, _), one in self.workloads.items() if kind != "Job"]
        return [pod for workload in lasting for pod in workload.pods]

    def troubles(self) -> list[str]:
        """What must not have happened to any pod."""
        return [trouble for pod in self.pods for trouble in pod.troubles]

    def keep_logs(self, pod: Pod) -> None:
        """Writes what a pod's containers said to where it can be read after the test."""
        for container in [*pod.init, *pod.main]:
            if container.begun:
                (self.logs / f"{container.id}.log").write_text(container.logs())

    def keep_all_logs(self) -> None:
        """The same for the pods that still run, as they do when an act has failed."""
        for pod in self.pods:
            if not pod.over.is_set():
                self.keep_logs(pod)


def key_of(one: dict) -> Key:
    """What an object is known by."""
    return one["kind"], one["metadata"]["name"]


def floors_of(objects: list[dict]) -> dict[tuple[str, str], dict]:
    """What autoscalers ask for while there is nothing to do."""
    scalers = [one["spec"] for one in objects if one["kind"] == "HorizontalPodAutoscaler"]
    targets = [(spec["scaleTargetRef"], spec["minReplicas"]) for spec in scalers]
    return {(target["kind"], target["name"]): {"replicas": least} for target, least in targets}
