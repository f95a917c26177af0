"""What keeps pods: StatefulSet, Deployment and Job.

The rule: only what a chart can ask for with the settings named here; others are refused.
"""

import random
import string
from concurrent.futures import ThreadPoolExecutor

from .fields import Unknown, known
from .pod import Pod, PodFailed

READY_SECONDS = 60
JOB_SECONDS = 120
ONE_BY_ONE = {"maxSurge": 1, "maxUnavailable": 0}
# Of so many, the default lets one be away while they are updated.
FEW = 4


class StatefulSet:
    """Pods with names that last: NAME-0, NAME-1, ..."""

    FIELDS = "podManagementPolicy replicas selector serviceName template updateStrategy"

    def __init__(self, node, name: str):
        self.node, self.name, self.pods, self.template = node, name, [], None

    def apply(self, spec: dict) -> None:
        """Brings the pods to what the spec says; new ones come together."""
        known(self.name, spec, self.FIELDS)
        if spec.get("podManagementPolicy") != "Parallel":
            raise Unknown(f"{self.name}: podManagementPolicy other than Parallel")
        replicas, changed = spec.get("replicas", 1), spec["template"] != self.template
        self.template = spec["template"]
        while len(self.pods) > replicas:
            self.pods.pop().stop()
        if changed:
            for pod in reversed(self.pods):
                self.replace(pod, pod.stop)
        start_all([self.add(index) for index in range(len(self.pods), replicas)])

    def add(self, index: int) -> Pod:
        self.pods.append(Pod(self.node, f"{self.name}-{index}", self.template))
        return self.pods[-1]

    def replace(self, pod: Pod, end) -> Pod:
        """Ends a pod, in whichever way, and lets it return under its name."""
        end()
        index = self.pods.index(pod)
        self.pods[index] = Pod(self.node, pod.name, self.template)
        start_all([self.pods[index]])
        return self.pods[index]


class Deployment:
    """Pods that are all the same; an update adds a new one before an old one ends."""

    FIELDS = "replicas selector strategy template"

    def __init__(self, node, name: str):
        self.node, self.name, self.pods, self.template = node, name, [], None

    def apply(self, spec: dict) -> None:
        """Brings the pods to what the spec says."""
        known(self.name, spec, self.FIELDS)
        replicas, changed = spec.get("replicas", 1), spec["template"] != self.template
        self.check_strategy(spec.get("strategy", {}), replicas)
        self.template = spec["template"]
        if changed:
            for old in list(self.pods):
                self.replace(old)
        while len(self.pods) > replicas:
            self.pods.pop().stop()
        start_all([self.add() for _ in range(len(self.pods), replicas)])

    def check_strategy(self, strategy: dict, replicas: int) -> None:
        """One more while it rolls, and none less: the default for fewer than four replicas."""
        default = {"maxSurge": 1, "maxUnavailable": 0 if replicas < FEW else "25%"}
        rolling = default | strategy.get("rollingUpdate", {})
        if strategy.get("type", "RollingUpdate") != "RollingUpdate" or rolling != ONE_BY_ONE:
            raise Unknown(f"{self.name}: strategy {strategy} for {replicas} replicas")

    def add(self) -> Pod:
        letters = "".join(random.choices(string.ascii_lowercase + string.digits, k=5))
        self.pods.append(Pod(self.node, f"{self.name}-{letters}", self.template))
        return self.pods[-1]

    def replace(self, old: Pod) -> None:
        start_all([self.add()])
        self.pods.remove(old)
        old.stop()


class Job:
    """Pods that come to an end. A failed one fails the job: nothing here may need a second try."""

    FIELDS = "activeDeadlineSeconds backoffLimit completionMode completions parallelism template"

    def __init__(self, node, name: str):
        self.node, self.name, self.pods, self.template, self.logs = node, name, [], None, {}

    def apply(self, spec: dict) -> None:
        """Runs all completions to their end, some at a time; the same job does not run again."""
        known(self.name, spec, self.FIELDS)
        if spec["template"] == self.template:
            return
        self.template = spec["template"]
        indexes, at_once = range(spec.get("completions", 1)), spec.get("parallelism", 1)
        if spec.get("completionMode") != "Indexed":
            raise Unknown(f"{self.name}: completionMode other than Indexed")
        with ThreadPoolExecutor(at_once) as threads:
            codes = list(threads.map(self.complete, indexes))
        failed = {index: code for index, code in enumerate(codes) if code != 0}
        if failed:
            said = "\n".join(self.logs[index] for index in failed)
            raise PodFailed(f"{self.name}: exit codes by index {failed}\n{said}")

    def complete(self, index: int) -> int:
        number = {"JOB_COMPLETION_INDEX": str(index)}
        pod = Pod(self.node, f"{self.name}-{index}", self.template, number)
        self.pods.append(pod)
        pod.start()
        code = pod.await_end(JOB_SECONDS)
        self.logs[index] = "".join(container.logs() for container in pod.main)
        pod.close_sandbox()
        return code


def start_all(pods: list[Pod]) -> None:
    """Starts pods together and waits until all are ready."""
    with ThreadPoolExecutor(max(len(pods), 1)) as threads:
        list(threads.map(Pod.start, pods))
    for pod in pods:
        pod.await_ready(READY_SECONDS)
