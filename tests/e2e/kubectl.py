"""The commands of kubectl that the guide has, on our cluster.

The rule: a command that is not known here is an error, so that the guide can't seem to have run.
"""

from argparse import ArgumentParser

from .kubelet.cluster import Cluster
from .kubelet.container import Container
from .kubelet.fields import Unknown

KINDS = {"deployment": "Deployment", "statefulset": "StatefulSet", "job": "Job"}


def carry_out(cluster: Cluster, words: list[str]) -> str | list[str]:
    """Does what kubectl would do. Returns what to print, or the engine's command that does it."""
    match words:
        case ["wait", "--for=condition=complete", timeout, workload]:
            cluster.wait(named(workload), seconds=seconds(timeout))
        case ["rollout", "status", workload, timeout]:
            cluster.wait(named(workload), seconds=seconds(timeout))
        case ["rollout", "restart", workload]:
            cluster.restart(named(workload))
        case ["logs", "--selector", selector, "--tail", lines]:
            return logs(cluster, selector, int(lines))
        case ["create", "secret", "generic", name, *literals]:
            cluster.create_secret(name, dict(map(literal, literals)))
        case ["exec", *rest]:
            return execute(cluster, rest)
        case _:
            raise Unknown(f"kubectl {' '.join(words)}")
    return ""


def named(workload: str) -> tuple[str, str]:
    """The kind and name of `kind/name`."""
    kind, name = workload.split("/")
    return KINDS[kind], name


def literal(flag: str) -> list[str]:
    """The key and the value of a flag such as --from-literal=password=secret."""
    if not flag.startswith("--from-literal="):
        raise Unknown(f"kubectl create secret: {flag}")
    return flag.removeprefix("--from-literal=").split("=", 1)


def seconds(timeout: str) -> int:
    """The seconds of a flag such as --timeout=5m."""
    number, unit = timeout.removeprefix("--timeout=")[:-1], timeout[-1]
    return int(number) * {"s": 1, "m": 60}[unit]


def logs(cluster: Cluster, selector: str, lines: int) -> str:
    """The last lines of the pods of jobs, which are kept when the pods are gone."""
    key, value = selector.split("=")
    jobs = [one for (kind, _), one in cluster.workloads.items() if kind == "Job"]
    chosen = [job for job in jobs if job.template["metadata"]["labels"].get(key) == value]
    said = [job.logs[index].splitlines()[-lines:] for job in chosen for index in sorted(job.logs)]
    return "\n".join(line for last in said for line in last)


def execute(cluster: Cluster, words: list[str]) -> list[str]:
    """A command in a container, by name of its pod or of what keeps the pod."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--stdin", action="store_true")
    parser.add_argument("--container")
    parser.add_argument("target")
    at = words.index("--")
    asked, command = parser.parse_args(words[:at]), words[at + 1 :]
    container = find(cluster, asked.target, asked.container)
    flags = ["--interactive"] if asked.stdin else []
    return [*cluster.engine.client, "exec", *flags, container.id, *command]


def find(cluster: Cluster, target: str, container: str | None) -> Container:
    """A container of a pod; without a name, the first one of the application's."""
    if "/" in target:
        pod = cluster.workloads[named(target)].pods[0]
    else:
        (pod,) = [pod for pod in cluster.pods if pod.name == target]
    if container is None:
        return pod.main[0]
    (found,) = [one for one in pod.containers if one.name == container]
    return found
