"""How to find one's way in rendered objects."""

import re
from collections.abc import Iterator

import yaml


def of_kind(objects: list[dict], kind: str) -> list[dict]:
    """All objects of one kind."""
    return [item for item in objects if item["kind"] == kind]


def title(item: dict) -> str:
    """How an object is called in a message."""
    return f"{item['kind']} {item['metadata']['name']}"


def pods(objects: list[dict]) -> Iterator[tuple[str, dict]]:
    """Every pod and every template of one, with the name of its object."""
    for item in objects:
        if item["kind"] == "Pod":
            yield title(item), item
        elif "template" in item.get("spec", {}):
            yield title(item), item["spec"]["template"]


def lasting(objects: list[dict]) -> Iterator[tuple[str, dict]]:
    """The pods that run on, so not those of `helm test`."""
    return ((name, pod) for name, pod in pods(objects) if not name.startswith("Pod "))


def containers(pod: dict) -> list[dict]:
    """All containers of a pod, those that come first first."""
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def proxies(objects: list[dict]) -> Iterator[tuple[str, dict]]:
    """Every container of the proxy, with the name of its object."""
    for name, pod in pods(objects):
        for container in containers(pod):
            if is_proxy(container):
                yield name, container


def is_proxy(container: dict) -> bool:
    """Whether the proxy runs in it; `sidecar.containerName` begins so."""
    return re.fullmatch("nuthatch(-.+)?", container["name"]) is not None


def files(objects: list[dict]) -> Iterator[tuple[str, dict, str]]:
    """Every container of the proxy with the nutcracker.yml that it mounts."""
    maps = {item["metadata"]["name"]: item["data"] for item in of_kind(objects, "ConfigMap")}
    for name, pod in pods(objects):
        volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes", [])}
        for container in containers(pod):
            if is_proxy(container):
                (folder,) = (
                    volumes[mount["name"]]["configMap"]
                    for mount in container["volumeMounts"]
                    if mount["mountPath"] == "/etc/nuthatch"
                )
                (item,) = folder["items"]
                assert item["path"] == "nutcracker.yml", name
                yield name, container, maps[folder["name"]][item["key"]]


def settings(objects: list[dict]) -> Iterator[tuple[str, dict]]:
    """The pool of every container of the proxy, with the name of its object."""
    for name, _, text in files(objects):
        (pool,) = yaml.safe_load(text).values()
        yield name, pool


def environment(container: dict) -> dict[str, str]:
    """The variables of a container."""
    return {entry["name"]: entry.get("value", "") for entry in container.get("env", [])}


def matches(selector: dict, labels: dict) -> bool:
    """Whether a selector of plain labels finds these."""
    wanted = selector.get("matchLabels", selector)
    return wanted.items() <= labels.items()
