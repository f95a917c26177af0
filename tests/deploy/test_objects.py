"""What no schema says: that the objects of a chart fit each other, and what their pods may do."""

import re

import pytest

import rules
from objects import containers, is_proxy, matches, of_kind, pods, settings, title
from rendering import CASES, render_case, values_of

# The port that every client of a protocol knows.
PORTS = {"memcached": 11211, "redis": 6379}

pytestmark = pytest.mark.parametrize(("chart", "values"), CASES)


def protocol(values: str) -> str:
    """What the servers of a case speak, and the name of the port for it."""
    return values_of("nuthatch", values).get("protocol", "memcached")


def test_selectors_find_the_pods_of_their_own_template(chart, values):
    for item in render_case(chart, values):
        if item["kind"] in ("Deployment", "StatefulSet"):
            labels = item["spec"]["template"]["metadata"]["labels"]
            assert matches(item["spec"]["selector"], labels), title(item)


def test_what_selects_pods_selects_those_of_one_template(chart, values):
    rules.selectors_find_the_pods_of_one_template(render_case(chart, values))


def test_pods_are_spread_among_their_own(chart, values):
    for name, pod in pods(render_case(chart, values)):
        for constraint in pod["spec"].get("topologySpreadConstraints", []):
            assert matches(constraint["labelSelector"], pod["metadata"]["labels"]), name


def test_ports_have_the_names_by_which_others_call_them(chart, values):
    objects = render_case(chart, values)
    for service in of_kind(objects, "Service"):
        (template,) = [
            pod
            for _, pod in pods(objects)
            if matches(service["spec"]["selector"], pod["metadata"]["labels"])
        ]
        names = {port["name"] for each in containers(template) for port in each.get("ports", [])}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= names, title(service)


def test_probes_ask_ports_of_their_own_container(chart, values):
    for name, pod in pods(render_case(chart, values)):
        for container in containers(pod):
            names = {port["name"] for port in container.get("ports", [])}
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                ask = container.get(probe, {})
                ask = ask.get("httpGet") or ask.get("tcpSocket")
                assert not ask or ask["port"] in names, f"{name}: {container['name']} {probe}"


def test_what_is_mounted_is_there(chart, values):
    objects = render_case(chart, values)
    configs = {item["metadata"]["name"] for item in of_kind(objects, "ConfigMap")}
    secrets = {values_of("nuthatch", values).get("redis", {}).get("password", {}).get("secret")}
    for name, pod in pods(objects):
        volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes", [])}
        for volume in volumes.values():
            assert "configMap" not in volume or volume["configMap"]["name"] in configs, name
            assert "secret" not in volume or volume["secret"]["secretName"] in secrets, name
        for container in containers(pod):
            mounts = container.get("volumeMounts", [])
            assert {mount["name"] for mount in mounts} <= set(volumes), name
            assert not [mount for mount in mounts if "subPath" in mount], "would never be updated"


def test_the_statefulset_has_its_service(chart, values):
    objects = render_case(chart, values)
    services = {item["metadata"]["name"]: item["spec"] for item in of_kind(objects, "Service")}
    for item in of_kind(objects, "StatefulSet"):
        service = services[item["spec"]["serviceName"]]
        assert service["clusterIP"] == "None"
        assert service["publishNotReadyAddresses"] is True
        name = protocol(values)
        assert service["ports"] == [{"name": name, "port": PORTS[name], "targetPort": name}]


def test_proxies_know_every_pod_of_the_statefulset_but_spare_ones(chart, values):
    objects = render_case(chart, values)
    for item in of_kind(objects, "StatefulSet"):
        given = values_of("nuthatch", values).get(protocol(values), {})
        if values_of("nuthatch", values).get("proxy", {}).get("discovery") == "dnssrv":
            continue
        name, count = item["metadata"]["name"], item["spec"]["replicas"] - given.get("spare", 0)
        port = PORTS[protocol(values)]
        servers = [f"{name}-{index}.{name}:{port}:1" for index in range(count)]
        for owner, pool in settings(objects):
            assert pool["servers"] == servers, owner


def test_proxies_ask_dns_for_a_service_and_a_port_that_there_are(chart, values):
    objects = render_case(chart, values)
    services = {item["metadata"]["name"]: item["spec"] for item in of_kind(objects, "Service")}
    if not of_kind(objects, "StatefulSet"):
        return
    for owner, pool in settings(objects):
        for entry in pool["servers"]:
            if entry.startswith("dnssrv+"):
                port, service = re.fullmatch(r"dnssrv\+_(\w+)\._tcp\.([-\w]+)", entry).groups()
                assert services[service]["clusterIP"] == "None", owner
                assert port in {each["name"] for each in services[service]["ports"]}, owner


def test_the_sidecar_is_where_its_kind_belongs(chart, values):
    for name, pod in pods(render_case(chart, values)):
        first = pod["spec"].get("initContainers", [])
        for container in first:
            assert container.get("restartPolicy") == "Always", f"{name} would never start"
        for container in pod["spec"]["containers"]:
            assert "restartPolicy" not in container, f"{name} would be refused"


def test_a_pod_has_time_to_end_in_order(chart, values):
    for name, pod in pods(render_case(chart, values)):
        sleeps = [
            container["lifecycle"]["preStop"]["sleep"]["seconds"]
            for container in containers(pod)
            if "lifecycle" in container
        ]
        grace = pod["spec"].get("terminationGracePeriodSeconds", 30)
        drain = 5
        assert max(sleeps, default=0) + 2 * drain < grace, name


def test_pods_pass_pod_security_restricted(chart, values):
    rules.pods_are_restricted(render_case(chart, values))


def test_pods_are_nobody_towards_the_api_server(chart, values):
    given = values_of("nuthatch", values)
    reads = given.get("endpointSlices", {}).get("enabled", False)
    for name, pod in pods(render_case(chart, values)):
        component = pod["metadata"]["labels"].get("app.kubernetes.io/component")
        wanted = given.get({"test": "tests"}.get(component, component), {}).get("serviceAccountName")
        if reads and component == "central":
            wanted = wanted or "release-nuthatch"
        assert pod["spec"]["automountServiceAccountToken"] is False, name
        assert pod["spec"].get("serviceAccountName") == wanted, name


def test_only_proxies_get_a_token_and_only_if_they_read_endpoint_slices(chart, values):
    reads = values_of("nuthatch", values).get("endpointSlices", {}).get("enabled", False)
    for name, pod in pods(render_case(chart, values)):
        volumes = {volume["name"] for volume in pod["spec"].get("volumes", []) if "projected" in volume}
        for container in containers(pod):
            mounts = {mount["name"]: mount for mount in container.get("volumeMounts", [])}
            with_token = [mounts[volume] for volume in volumes & set(mounts)]
            expected = 1 if reads and is_proxy(container) else 0
            assert len(with_token) == expected, f"{name}: {container['name']}"
            for mount in with_token:
                assert mount["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount"
                assert mount["readOnly"] is True


def test_the_proxies_may_list_and_watch_endpoint_slices_and_nothing_else(chart, values):
    objects = render_case(chart, values)
    given = values_of("nuthatch", values).get("endpointSlices", {})
    rbac = [item for item in objects if item["apiVersion"].startswith("rbac.")]
    assert {item["kind"] for item in rbac} == ({"Role", "RoleBinding"} if given else set())
    accounts = {item["metadata"]["name"] for item in of_kind(objects, "ServiceAccount")}
    used = {pod["spec"].get("serviceAccountName") for _, pod in pods(objects)} - {None}
    assert accounts == (used if given else set())
    for role in of_kind(objects, "Role"):
        rule = {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"]}
        assert role["rules"] == [{**rule, "verbs": ["list", "watch"]}]
    for binding in of_kind(objects, "RoleBinding"):
        (role,) = of_kind(objects, "Role")
        assert binding["roleRef"]["name"] == role["metadata"]["name"]
        subjects = {subject["name"] for subject in binding["subjects"]}
        assert subjects == accounts | set(given["serviceAccounts"])
        assert {subject["namespace"] for subject in binding["subjects"]} == {"cache"}


def test_images_do_not_move(chart, values):
    for name, pod in pods(render_case(chart, values)):
        for container in containers(pod):
            image = container["image"].rsplit("/", 1)[-1]
            assert ":" in image and not image.endswith(":latest"), f"{name}: {image}"


def test_the_containers_of_the_chart_have_a_memory_limit(chart, values):
    for name, pod in pods(render_case(chart, values)):
        for container in containers(pod):
            own = values_of("nuthatch", values).get(container["name"], {}).get("resources", {})
            # charts/plain has its own values, and no limits.
            is_removed = "memory" in own.get("limits", {}) or chart == "plain"
            if is_proxy(container) or container["name"] in ("memcached", "redis"):
                assert ("memory" in container["resources"].get("limits", {})) != is_removed, name
                assert container["terminationMessagePolicy"] == "FallbackToLogsOnError", name
