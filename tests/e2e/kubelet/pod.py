"""The life of one pod, as kubelet lets it run.

The rule is Kubernetes' order. Coming: init containers one after the other, a native sidecar being
through when its startup probe passes; then the application's containers. Going: all preStop hooks
at once, then SIGTERM to the application's containers, then to the sidecars, the last one first; all
of it within one grace period.
"""

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from . import volume
from .container import Container
from .fields import Unknown, known

FIELDS = """
    containers enableServiceLinks initContainers restartPolicy securityContext
    terminationGracePeriodSeconds volumes
"""
# How often a pod looks for new ConfigMaps and Secrets. A kubelet does so once in 60 to 90 seconds,
# for each pod at a time of its own; here it is fifteen times as often.
QUICKER = 15
SYNC_SECONDS = (60 / QUICKER, 90 / QUICKER)
SECURITY = "fsGroup runAsGroup runAsNonRoot runAsUser seccompProfile"


class PodFailed(Exception):
    """A pod did not come up, or did not stay up."""


class Pod:
    """A pod with an address of its own. `environment` is what its owner adds to every container."""

    def __init__(self, node, name: str, template: dict, environment: dict[str, str] | None = None):
        self.node, self.name, self.spec = node, name, known(name, template["spec"], FIELDS)
        self.labels = template["metadata"]["labels"]
        known(name, self.spec.get("securityContext", {}), SECURITY)
        if self.spec.get("enableServiceLinks", True):
            raise Unknown(f"{name}: enableServiceLinks, which adds variables for all services")
        self.ip, self.pause, self.cable = next(node.network.pod_addresses), None, None
        self.environment, self.volumes = environment or {}, {}
        self.folder, self.process = None, None
        # Of the engine and of files: a colon is not for them.
        self.id = f"{self.name}.{self.ip.replace(':', '-')}"
        self.init = [Container(self, spec) for spec in self.spec.get("initContainers", [])]
        self.main = [Container(self, spec) for spec in self.spec["containers"]]
        self.sidecars = [container for container in self.init if container.is_sidecar]
        self.over = threading.Event()
        self.troubles = []

    @property
    def containers(self) -> list[Container]:
        """Those that run side by side."""
        return [*self.sidecars, *self.main]

    @property
    def ready(self) -> bool:
        """A sidecar's readiness counts, as an application container's does."""
        return all(container.ready for container in self.containers)

    def port(self, port: str | int) -> int:
        """The number of a port that may be given by its name."""
        if isinstance(port, int):
            return port
        declared = [entry for one in self.containers for entry in one.spec.get("ports", [])]
        (number,) = {entry["containerPort"] for entry in declared if entry.get("name") == port}
        return number

    def field(self, path: str) -> str:
        """The value of the downward API."""
        fields = {"metadata.name": self.name, "status.podIP": self.ip}
        if path not in fields:
            raise Unknown(f"{self.name}: fieldRef {path}")
        return fields[path]

    def start(self) -> None:
        """Brings all containers up, in order."""
        self.open_sandbox()
        for container in self.init:
            container.start()
            if container.is_sidecar:
                self.await_startup(container)
            elif not container.wait(60) or container.state()["ExitCode"] != 0:
                raise PodFailed(f"{self.name}: {container.name} failed:\n{container.logs()}")
        for container in self.main:
            container.start()
        for container in self.main:
            self.await_startup(container)

    def open_sandbox(self) -> None:
        """The network that the containers share, and their folders."""
        self.pause = self.id
        engine, names = self.node.engine, ["--name", self.pause, "--hostname", self.name]
        engine.docker("run", "--detach", "--network", "none", *names, self.node.pause)
        process = engine.docker("inspect", "--format", "{{.State.Pid}}", self.pause)
        self.process = int(process)
        self.cable = self.node.network.plug_in(self.process, self.ip)
        self.folder = self.node.folder / self.pause
        group = self.spec.get("securityContext", {}).get("fsGroup")
        for spec in self.spec.get("volumes", []):
            maps, secrets = self.node.config_maps, self.node.secrets
            self.volumes[spec["name"]] = volume.create(self.folder, spec, maps, secrets, group)
        threading.Thread(target=self.keep_volumes, daemon=True).start()
        self.node.services.join(self)

    def keep_volumes(self) -> None:
        """Brings ConfigMaps and Secrets that have changed into the pod, late as a kubelet is."""
        specs = self.spec.get("volumes", [])
        while not self.over.wait(random.uniform(*SYNC_SECONDS)):
            try:
                volume.update(self.folder, specs, self.node.config_maps, self.node.secrets)
            except OSError as error:
                self.troubles.append(f"{self.name}: its volumes: {error}")

    def await_startup(self, container: Container) -> None:
        """Waits for the startup probe, and asks the other probes from then on."""
        probe = container.startup
        if probe:
            time.sleep(probe.delay)
            for _ in range(probe.failures_max):
                refusal = probe.refusal()
                if refusal is None:
                    break
                time.sleep(probe.period)
            else:
                raise PodFailed(f"{container.id} does not start: {refusal}\n{container.logs()}")
        container.started_up = time.time()
        if container.readiness:
            threading.Thread(target=self.watch_readiness, args=[container], daemon=True).start()
        else:
            container.ready = True
        if container.liveness:
            threading.Thread(target=self.watch_liveness, args=[container], daemon=True).start()

    def watch_readiness(self, container: Container) -> None:
        """Sets whether a container is ready, and tells the services of each change."""
        probe, passed, failed = container.readiness, 0, 0
        self.over.wait(probe.delay)
        while not self.over.is_set():
            success = probe.refusal() is None
            passed, failed = (passed + 1, 0) if success else (0, failed + 1)
            before = container.ready
            container.ready = (
                failed < probe.failures_max if before else passed >= probe.successes_min
            )
            if container.ready != before:
                self.node.services.publish()
            self.over.wait(probe.period)

    def watch_liveness(self, container: Container) -> None:
        """Notes a container that kubelet would have to start anew; that must not happen here."""
        probe, failed = container.liveness, 0
        self.over.wait(probe.delay)
        while not self.over.is_set():
            refusal = probe.refusal()
            failed = failed + 1 if refusal else 0
            if failed == probe.failures_max:
                self.troubles.append(f"{container.id} is not alive: {refusal}")
            self.over.wait(probe.period)

    def await_ready(self, seconds: float) -> None:
        """Waits until all containers are ready."""
        end = time.monotonic() + seconds
        while not self.ready:
            if time.monotonic() > end:
                late = [one for one in self.containers if not one.ready]
                said = "\n".join(f"{one.id}:\n{one.logs()}" for one in late)
                raise PodFailed(f"{self.name} is not ready after {seconds} s\n{said}")
            time.sleep(0.05)

    def await_end(self, seconds: float) -> int:
        """Waits for a Job's containers, then stops their sidecars. Returns the worst exit code."""
        for container in self.main:
            if not container.wait(seconds):
                raise PodFailed(f"{container.id} still runs after {seconds} s\n{container.logs()}")
        self.over.set()
        until = time.monotonic() + self.spec.get("terminationGracePeriodSeconds", 30)
        for container in reversed(self.sidecars):
            container.stop(until)
        self.node.services.drop(self)
        return max(container.state()["ExitCode"] for container in self.main)

    def stop(self) -> None:
        """Ends the pod as `kubectl delete pod` does."""
        self.note_early_ends()
        until = time.monotonic() + self.spec.get("terminationGracePeriodSeconds", 30)
        self.node.services.leave(self)
        with ThreadPoolExecutor() as threads:
            hooks = {
                one: threads.submit(time.sleep, one.sleep_before_stop()) for one in self.containers
            }
            list(threads.map(lambda one: (hooks[one].result(), one.stop(until)), self.main))
            for container in reversed(self.sidecars):
                hooks[container].result()
                container.stop(until)
        self.close_sandbox()

    def note_early_ends(self) -> None:
        """A container that is gone before it was asked to go is a trouble."""
        for container in self.containers:
            state = container.state()
            if not state["Running"]:
                self.troubles.append(f"{container.id} ended with {state['ExitCode']} by itself")

    def crash(self) -> None:
        """What the loss of its node is to a pod: silence, under an address that is still known."""
        self.node.network.cut(self.cable, self.ip)
        self.node.engine.docker("kill", self.pause, *[one.id for one in self.containers])

    def close_sandbox(self) -> None:
        """Removes all that is left of it."""
        self.over.set()
        self.node.services.drop(self)
        self.node.keep_logs(self)
        names = [one.id for one in [*self.init, *self.main]]
        self.node.engine.docker("rm", "--force", *names, self.pause)
