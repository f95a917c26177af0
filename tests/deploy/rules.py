"""What holds for the objects of every release, whatever its values are.

The rule: a check here needs the objects alone, so that it can be asked of any rendering. Each says what
an API server, a scheduler or a kubelet would say, or what a user would miss.
"""

import functools
import json
import re
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal

import kubernetes_validate
import yaml

from objects import containers, environment, is_proxy, lasting, matches, of_kind, pods, title

LABEL = re.compile("([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
KEY = re.compile(f"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?{LABEL.pattern}")
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
# Of a Service, and so of what gives it its name.
SERVICE_NAME = re.compile("[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
# Of the Prometheus Operator: there is no schema of them here, and test_monitoring.py looks at them.
CUSTOM = {"PodMonitor", "PrometheusRule"}
UNITS = {"": 1, "m": Decimal("0.001"), "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
UNITS |= {"P": 10**15, "E": 10**18, "Pi": 2**50, "Ei": 2**60}
UNITS |= {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
COMPONENT = "app.kubernetes.io/component"
# Each object would look for the schemas and read them anew, which takes most of the time.
for name in ("schema_contents", "all_versions"):
    setattr(kubernetes_validate.utils, name, functools.cache(getattr(kubernetes_validate.utils, name)))
KUBERNETES = kubernetes_validate.latest_version()


def check(objects: list[dict], release: str, namespace: str) -> None:
    """All rules."""
    names_are_names(objects)
    labels_are_words(objects)
    the_api_server_knows_the_fields(objects)
    selectors_find_the_pods_of_one_template(objects)
    selectors_stay(objects, release)
    services_lead_to_a_listener(objects)
    ports_are_distinct(objects)
    arguments_are_words(objects)
    references_lead_somewhere(objects, namespace)
    a_drain_can_finish(objects)
    no_fewer_pods_than_asked(objects)
    a_roll_out_has_time(objects)
    requests_are_within_limits(objects)
    pods_are_restricted(objects)
    probes_reach_the_proxy_in_every_family(objects)
    a_roll_out_ends_spread_evenly(objects)


def names_are_names(objects: list[dict]) -> None:
    for item in objects:
        name = item["metadata"]["name"]
        assert isinstance(name, str) and SUBDOMAIN.fullmatch(name), title(item)
        assert item["kind"] != "Service" or SERVICE_NAME.fullmatch(name), title(item)
        # The name of a pod of it and the hash of its revision must fit into a label.
        assert item["kind"] != "StatefulSet" or len(name) <= 52, title(item)
    twice = [name for name, count in Counter(map(title, objects)).items() if count > 1]
    assert not twice, twice


def labels_are_words(objects: list[dict]) -> None:
    for item in objects:
        metadata = [item["metadata"], *(pod["metadata"] for _, pod in pods([item]))]
        for each in metadata:
            for key, value in each.get("labels", {}).items():
                assert isinstance(key, str) and KEY.fullmatch(key), f"{title(item)}: {key!r}"
                assert isinstance(value, str) and LABEL.fullmatch(value), f"{title(item)}: {key} {value!r}"
            for key, value in each.get("annotations", {}).items():
                assert isinstance(key, str) and KEY.fullmatch(key), f"{title(item)}: {key!r}"
                assert isinstance(value, str), f"{title(item)}: {key} {value!r}"


def the_api_server_knows_the_fields(objects: list[dict]) -> None:
    for item in objects:
        if item["kind"] not in CUSTOM:
            fields_are_known(json.dumps(item))


@functools.cache
def fields_are_known(item: str) -> None:
    """As text, since most objects are the same in many renderings."""
    kubernetes_validate.validate(json.loads(item), KUBERNETES, strict=True)


def selectors(objects: list[dict]) -> Iterator[tuple[dict, dict]]:
    """Every object that selects pods of the release, with its selector."""
    for item in objects:
        spec = item.get("spec", {})
        selector = spec.get("podSelector" if item["kind"] == "NetworkPolicy" else "selector")
        if selector and item["kind"] != "PodMonitor":
            yield item, selector


def selectors_find_the_pods_of_one_template(objects: list[dict]) -> None:
    labels = [pod["metadata"]["labels"] for _, pod in lasting(objects)]
    for item, selector in selectors(objects):
        assert sum(matches(selector, each) for each in labels) == 1, title(item)


def selectors_stay(objects: list[dict], release: str) -> None:
    for item, selector in selectors(objects):
        wanted = selector.get("matchLabels", selector)
        assert wanted["app.kubernetes.io/instance"] == release, title(item)
        own = {"app.kubernetes.io/name", "app.kubernetes.io/instance", COMPONENT}
        assert set(wanted) == own, title(item)


def services_lead_to_a_listener(objects: list[dict]) -> None:
    for service in of_kind(objects, "Service"):
        for owner, pod in lasting(objects):
            if matches(service["spec"]["selector"], pod["metadata"]["labels"]):
                ports = {
                    port["name"]: (container, port["containerPort"])
                    for container in containers(pod)
                    for port in container.get("ports", [])
                }
                for port in service["spec"]["ports"]:
                    assert port["targetPort"] in ports, f"{title(service)}: {owner} has no such port"
                    container, number = ports[port["targetPort"]]
                    for proxy, listeners in files_of(objects, pod):
                        if proxy is container:
                            wanted = {f"*:{number}", f"0.0.0.0:{number}"}
                            assert wanted & set(listeners), f"{owner}: {listeners}"


def files_of(objects: list[dict], pod: dict) -> Iterator[tuple[dict, list[str]]]:
    """The proxies of a pod, each with what its file says that it listens on."""
    data = {item["metadata"]["name"]: item["data"] for item in of_kind(objects, "ConfigMap")}
    volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes", [])}
    for container in containers(pod):
        mounts = {mount["mountPath"]: mount["name"] for mount in container.get("volumeMounts", [])}
        if is_proxy(container):
            folder = volumes[mounts["/etc/nuthatch"]]["configMap"]
            yield container, listeners_of(data[folder["name"]][folder["items"][0]["key"]])


@functools.cache
def listeners_of(text: str) -> list[str]:
    """What the pools of a file listen on. Most files are the same in many renderings."""
    listens = [pool["listen"] for pool in yaml.load(text, yaml.CSafeLoader).values()]
    return [a for each in listens for a in ([each] if isinstance(each, str) else each)]


def ports_are_distinct(objects: list[dict]) -> None:
    for owner, pod in pods(objects):
        numbers = []
        for container, listeners in files_of(objects, pod):
            numbers += [address.rsplit(":", 1)[1] for address in listeners if address[0] != "/"]
            words = dict(word.split("=", 1) for word in container["args"] if "=" in word)
            numbers.append(words["--stats-port"])
            numbers += [
                str(port["containerPort"]) for port in container["ports"] if port["name"] == "admin"
            ] if "ports" in container else []
            for address in listeners:
                if address.startswith("/"):
                    folder = address.split(" ")[0].rsplit("/", 1)[0]
                    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
                    assert folder in mounts, f"{owner}: no folder for {address}"
        assert len(numbers) == len(set(numbers)), f"{owner}: {numbers}"


def arguments_are_words(objects: list[dict]) -> None:
    for owner, pod in pods(objects):
        for container in containers(pod):
            words = [*container.get("command", []), *container.get("args", [])]
            words += [entry.get("value", "") for entry in container.get("env", [])]
            assert all(isinstance(word, str) for word in words), f"{owner}: {words}"


def references_lead_somewhere(objects: list[dict], namespace: str) -> None:
    configs = {item["metadata"]["name"] for item in of_kind(objects, "ConfigMap")}
    workloads = {title(item) for item in objects if "template" in item.get("spec", {})}
    services = {item["metadata"]["name"] for item in of_kind(objects, "Service")}
    for owner, pod in pods(objects):
        volumes = [volume["name"] for volume in pod["spec"].get("volumes", [])]
        assert len(volumes) == len(set(volumes)), owner
        for volume in pod["spec"].get("volumes", []):
            assert "configMap" not in volume or volume["configMap"]["name"] in configs, owner
        for container in containers(pod):
            mounts = container.get("volumeMounts", [])
            assert {mount["name"] for mount in mounts} <= set(volumes), owner
            paths = [mount["mountPath"] for mount in mounts]
            assert len(paths) == len(set(paths)), owner
            names = [entry["name"] for entry in container.get("env", [])]
            assert len(names) == len(set(names)), owner
        names = [container["name"] for container in containers(pod)]
        assert len(names) == len(set(names)), owner
    for item in of_kind(objects, "HorizontalPodAutoscaler"):
        target = item["spec"]["scaleTargetRef"]
        assert f"{target['kind']} {target['name']}" in workloads, title(item)
    for item in of_kind(objects, "StatefulSet"):
        assert item["spec"]["serviceName"] in services, title(item)
    for item in of_kind(objects, "RoleBinding"):
        roles = {role["metadata"]["name"] for role in of_kind(objects, "Role")}
        assert item["roleRef"]["name"] in roles, title(item)
        assert {each["namespace"] for each in item["subjects"]} == {namespace}, title(item)


def a_drain_can_finish(objects: list[dict]) -> None:
    for item in of_kind(objects, "PodDisruptionBudget"):
        assert item["spec"]["maxUnavailable"] >= 1, title(item)
        assert item["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow", title(item)
    for item in of_kind(objects, "Deployment"):
        pace = item["spec"].get("strategy", {}).get("rollingUpdate")
        if pace:
            assert any(str(number).strip("%") != "0" for number in pace.values()), title(item)


def no_fewer_pods_than_asked(objects: list[dict]) -> None:
    scalers = {
        item["spec"]["scaleTargetRef"]["name"]: item["spec"]
        for item in of_kind(objects, "HorizontalPodAutoscaler")
    }
    for item in of_kind(objects, "Deployment"):
        assert item["spec"]["replicas"] >= 1, title(item)
        if scaler := scalers.get(item["metadata"]["name"]):
            count = item["spec"]["replicas"]
            assert scaler["minReplicas"] <= count <= scaler["maxReplicas"], title(item)
            (proxy,) = containers(item["spec"]["template"])
            resources = proxy["resources"]
            assert "cpu" in {**resources.get("limits", {}), **resources.get("requests", {})}, title(item)


def a_roll_out_has_time(objects: list[dict]) -> None:
    """The deadline is of each new pod: it must start, and then be ready for as long as it has to."""
    for item in of_kind(objects, "Deployment"):
        deadline = item["spec"].get("progressDeadlineSeconds", 600)
        assert deadline >= item["spec"].get("minReadySeconds", 0) + 600, title(item)


def requests_are_within_limits(objects: list[dict]) -> None:
    for owner, pod in pods(objects):
        for container in containers(pod):
            resources = container.get("resources") or {}
            for name, limit in resources.get("limits", {}).items():
                request = resources.get("requests", {}).get(name, "0")
                assert quantity(request) <= quantity(limit), f"{owner}: {name}"


def quantity(text: str) -> Decimal:
    number, unit = re.fullmatch("([0-9.]+(?:[eE][-+]?[0-9]+)?)([a-zA-Z]*)", str(text)).groups()
    return Decimal(number) * UNITS[unit]


def pods_are_restricted(objects: list[dict]) -> None:
    """Pod Security "restricted"."""
    for owner, pod in pods(objects):
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False, owner
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec), owner
        allowed = {"configMap", "emptyDir", "projected", "secret"}
        assert all(set(volume) - {"name"} <= allowed for volume in spec.get("volumes", [])), owner
        for container in containers(pod):
            security = container["securityContext"]
            # Without a number, the cluster gives one, or the image has one.
            assert security["runAsNonRoot"] is True and security.get("runAsUser", 1) > 0, owner
            assert security["readOnlyRootFilesystem"] is True, owner
            assert security["allowPrivilegeEscalation"] is False, owner
            assert security["capabilities"] == {"drop": ["ALL"]}, owner
            assert security["seccompProfile"] == {"type": "RuntimeDefault"}, owner
            assert not [port for port in container.get("ports", []) if "hostPort" in port], owner


def probes_reach_the_proxy_in_every_family(objects: list[dict]) -> None:
    """A kubelet asks the pod's address, which may be of IPv4 or of IPv6."""
    for owner, pod in pods(objects):
        for container in containers(pod):
            if is_proxy(container) and "ports" in container:
                (port,) = (one["containerPort"] for one in container["ports"] if one["name"] == "admin")
                assert environment(container)["ADMIN_LISTEN"] == f"*:{port}", owner


def a_roll_out_ends_spread_evenly(objects: list[dict]) -> None:
    """Pods of before, which are about to end, must not count: they would be where the new ones are not.
    A StatefulSet's pods come back one by one under their own names."""
    for item in objects:
        if item["metadata"].get("labels", {}).get(COMPONENT) and "template" in item.get("spec", {}):
            for constraint in item["spec"]["template"]["spec"].get("topologySpreadConstraints", []):
                # A domain in which no pod may run would keep all others at one pod each.
                is_hard = constraint["whenUnsatisfiable"] == "DoNotSchedule"
                assert constraint.get("nodeTaintsPolicy") == ("Honor" if is_hard else None), title(item)
                wanted = ["pod-template-hash"] if item["kind"] == "Deployment" else None
                assert constraint.get("matchLabelKeys") == wanted, title(item)
