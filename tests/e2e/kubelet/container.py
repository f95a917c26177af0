"""One container: what its spec becomes on the engine's command line, and how it ends.

The rule: the security context is carried out as a cluster that enforces Pod Security "restricted"
does, or the container does not start.
"""

import json
import re
import subprocess
import time
from dataclasses import dataclass

from ..command import CommandFailed
from .fields import Unknown, known
from .probe import Probe

FIELDS = """
    args command env image lifecycle livenessProbe name ports readinessProbe resources restartPolicy
    securityContext startupProbe volumeMounts
"""
SECURITY = """
    allowPrivilegeEscalation capabilities readOnlyRootFilesystem runAsGroup runAsNonRoot runAsUser
    seccompProfile
"""
UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "k": 10**3, "M": 10**6, "G": 10**9, "": 1}


@dataclass
class End:
    """How a container ended: its exit code, and how long that took since it was asked to."""

    code: int
    killed: bool
    seconds: float


class Container:
    """A container of a pod, from its spec to its exit code."""

    def __init__(self, pod, spec: dict):
        self.pod, self.spec = pod, known(f"container {spec['name']}", spec, FIELDS)
        self.name, self.engine = spec["name"], pod.node.engine
        self.id = f"{pod.id}.{self.name}"
        self.is_sidecar = spec.get("restartPolicy") == "Always"
        self.startup, self.readiness, self.liveness = map(
            self.probe, ("startupProbe", "readinessProbe", "livenessProbe")
        )
        self.begun, self.ready, self.started_up, self.end = False, False, None, None

    def probe(self, kind: str) -> Probe | None:
        spec = self.spec.get(kind)
        return Probe(self, f"{self.id} {kind}", spec) if spec else None

    def start(self) -> None:
        """Starts it; what its image calls for is already there, no registry is asked."""
        shared = ["--network", f"container:{self.pod.pause}", "--pull", "never"]
        # A kubelet has probes of its own.
        shared += ["--no-healthcheck"]
        words = ["run", "--detach", "--name", self.id, *shared]
        words += [*self.security(), *self.limits(), *self.mounts()]
        for name, value in self.environment().items():
            words += ["--env", f"{name}={value}"]
        command = self.spec.get("command", [])
        words += ["--entrypoint", command[0]] if command else []
        self.engine.docker(*words, self.spec["image"], *command[1:], *self.spec.get("args", []))
        self.begun = True

    def security(self) -> list[str]:
        own = known(self.id, self.spec.get("securityContext", {}), SECURITY)
        pods = self.pod.spec.get("securityContext", {})
        context = {**{key: pods[key] for key in pods if key != "fsGroup"}, **own}
        user = context.get("runAsUser")
        self.refuse_root(context, user)
        words = []
        if user is not None:
            group = context.get("runAsGroup")
            words += ["--user", str(user) if group is None else f"{user}:{group}"]
        if "fsGroup" in pods:
            words += ["--group-add", str(pods["fsGroup"])]
        if context.get("readOnlyRootFilesystem"):
            words += ["--read-only"]
        if context.get("allowPrivilegeEscalation") is False:
            words += ["--security-opt", "no-new-privileges"]
        capabilities = known(self.id, context.get("capabilities", {}), "drop")
        words += [f"--cap-drop={name}" for name in capabilities.get("drop", [])]
        if context.get("seccompProfile", {}).get("type") == "RuntimeDefault":
            words += ["--security-opt", f"seccomp={self.pod.node.runtime_default}"]
        return words

    def refuse_root(self, context: dict, user: int | None) -> None:
        """kubelet starts no container as non-root unless it has a number that says so."""
        if not context.get("runAsNonRoot"):
            return
        if user is None:
            template = "{{.Config.User}}"
            user = self.engine.docker("image", "inspect", "-f", template, self.spec["image"])
            user = user.strip().split(":")[0]
        if not str(user).isdigit() or int(user) == 0:
            raise Unknown(
                f"{self.id}: runAsNonRoot, but the user is {user!r}, not a number above 0"
            )

    def limits(self) -> list[str]:
        resources = known(self.id, self.spec.get("resources", {}), "limits requests")
        limits = known(self.id, resources.get("limits", {}), "cpu memory")
        words = []
        if "memory" in limits:
            size, unit = re.fullmatch(r"(\d+)(\w*)", str(limits["memory"])).groups()
            memory = int(size) * UNITS[unit]
            words += [f"--memory={memory}", f"--memory-swap={memory}"]
        if "cpu" in limits:
            cpu = str(limits["cpu"])
            words += [f"--cpus={int(cpu[:-1]) / 1000 if cpu.endswith('m') else float(cpu)}"]
        return words

    def mounts(self) -> list[str]:
        words = ["--volume", f"{self.pod.node.resolv_conf}:/etc/resolv.conf:ro"]
        for mount in self.spec.get("volumeMounts", []):
            known(self.id, mount, "mountPath name readOnly")
            mode = ":ro" if mount.get("readOnly") else ""
            words += ["--volume", f"{self.pod.volumes[mount['name']]}:{mount['mountPath']}{mode}"]
        return words

    def environment(self) -> dict[str, str]:
        variables = dict(self.pod.environment)
        for entry in self.spec.get("env", []):
            known(self.id, entry, "name value valueFrom")
            source = known(self.id, entry.get("valueFrom", {}), "fieldRef secretKeyRef")
            value = self.value_from(source) if source else entry["value"]
            if "$(" in value:
                raise Unknown(f"{self.id}: variables inside variables: {value}")
            variables[entry["name"]] = value
        return variables

    def value_from(self, source: dict) -> str:
        """The value of a variable that is kept elsewhere."""
        if "fieldRef" in source:
            return self.pod.field(source["fieldRef"]["fieldPath"])
        reference = known(self.id, source["secretKeyRef"], "key name")
        return self.pod.node.secrets[reference["name"]][reference["key"]]

    def execute(self, command: list[str], seconds: float) -> str:
        """Runs a program in the container and returns what it said."""
        return self.engine.docker("exec", self.id, *command, timeout=seconds)

    def state(self) -> dict:
        """What the engine says of it: running, exit code, times."""
        return json.loads(self.engine.docker("inspect", "-f", "{{json .State}}", self.id))

    def logs(self) -> str:
        """All that it wrote."""
        return self.engine.docker("logs", self.id, stderr=subprocess.STDOUT)

    def wait(self, seconds: float) -> bool:
        """Waits until it has ended, and says whether it has."""
        try:
            self.engine.docker("wait", self.id, timeout=max(seconds, 0.1))
            return True
        except CommandFailed:
            return False

    def stop(self, until: float) -> None:
        """SIGTERM, and SIGKILL if it runs on until then; two seconds are always given."""
        asked = time.monotonic()
        self.engine.docker("kill", "--signal", "TERM", self.id)
        ended = self.wait(max(until - asked, 2))
        if not ended:
            self.engine.docker("kill", "--signal", "KILL", self.id)
            self.wait(10)
        self.end = End(self.state()["ExitCode"], not ended, time.monotonic() - asked)

    def sleep_before_stop(self) -> float:
        """The seconds of its preStop hook, which is a sleep or nothing."""
        hook = known(self.id, self.spec.get("lifecycle", {}), "preStop").get("preStop", {})
        return known(self.id, hook, "sleep").get("sleep", {}).get("seconds", 0)
