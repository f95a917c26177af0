"""Hundreds of values, rendered, and held against the rules of rules.py. Whatever is not rendered is
refused with words of the chart's own, so nothing is made by half."""

import concurrent.futures
import functools
import json
import os
import subprocess

import pytest
import yaml

import rules
import samples
import values_table
from objects import containers, environment, files, lasting, of_kind, pods
from rendering import Refused, complete, render
from test_values import DEFAULTS, SCHEMA, follow
from tools import HELM, NO_DNS

# What the chart says of its values, and what the schema says with the value's place.
OWN_WORDS = ("nuthatch: ", "at '/", "at '': missing", "cache-api: ")
# Names that Helm allows for a release, and what YAML may take for something else.
RELEASES = ["y", "on", "null", "123", "1e3", "0x10", "my.app", "1.5", "a" * 53, "9-nuthatch", "x.y.z"]


def schema_of(path: str) -> dict:
    """The schema of a value."""
    return follow(values_table.schema_at(path, SCHEMA))


CASES = {
    **dict(samples.each_alone(DEFAULTS, schema_of)),
    **dict(samples.pairs()),
    **dict(samples.nulls(DEFAULTS)),
}


@functools.cache
def renderings() -> dict[str, list[dict] | str]:
    """Every case, rendered as the example's dependency, or what it was refused with."""
    complete("cache-api")
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(CASES, pool.map(rendered, CASES.values())))


def rendered(values: dict) -> list[dict] | str:
    """The objects, or why there are none."""
    try:
        return render("cache-api", {"nuthatch": values})
    except Refused as refused:
        return str(refused)


@pytest.mark.parametrize("case", CASES)
def test_the_rules_hold_or_the_chart_says_why_not(case):
    result = renderings()[case]
    if isinstance(result, str):
        assert any(words in result for words in OWN_WORDS), f"{CASES[case]}: {result}"
    else:
        rules.check(result, "release", "cache")


# What is of the servers, or decides which there are. A change of nameOverride is refused.
OF_THE_SERVERS = ("memcached.", "redis.", "protocol-", "nameOverride-")


def test_what_is_not_of_the_servers_replaces_none():
    compared = 0
    for case, result in renderings().items():
        path, _, number = case.rpartition("-")
        if number.isdigit() and isinstance(result, list) and not case.startswith(OF_THE_SERVERS):
            after = [item["spec"]["template"] for item in of_kind(result, "StatefulSet")]
            if after:
                assert after == servers_of(json.dumps(samples.companions(path))), case
                compared += 1
    assert compared > 100


@functools.cache
def servers_of(values: str) -> list[dict]:
    """The templates of the servers' pods."""
    objects = render("cache-api", {"nuthatch": json.loads(values)})
    return [item["spec"]["template"] for item in of_kind(objects, "StatefulSet")]


# The example has the native sidecar only; the other one is of the charts in tests/deploy/charts.
WITHOUT_EFFECT = {"sidecar.native", "sidecar.preStopSleepSeconds"}


def test_every_value_arrives_in_the_objects():
    seen = {}
    for case, result in renderings().items():
        path, _, number = case.rpartition("-")
        if number.isdigit() and isinstance(result, list):
            before = objects_of(json.dumps(samples.companions(path)))
            seen[path] = seen.get(path, False) or result != before
    assert len(seen) > 150
    assert {path for path, has_effect in seen.items() if not has_effect} == WITHOUT_EFFECT


@functools.cache
def objects_of(values: str) -> list[dict] | str:
    """All objects, or why there are none."""
    return rendered(json.loads(values))


def test_the_matrix_is_large_and_most_of_it_is_rendered():
    results = renderings().values()
    made = [each for each in results if not isinstance(each, str)]
    assert len(made) >= 300
    assert len(made) < len(results)


def test_the_program_accepts_every_file_that_is_rendered(nuthatch, tmp_path):
    found = {}
    for case, result in renderings().items():
        # The files of these are the user's own.
        if not isinstance(result, str) and "config" not in json.dumps(CASES[case]):
            found.update({told(container, text): case for _, container, text in files(result)})
    assert len(found) > 60
    password = tmp_path / "password"
    password.write_text("secret\n")

    def refusal(number: int, arguments: tuple, variables: tuple, text: str) -> str:
        path = tmp_path / f"{number}.yml"
        path.write_text(text.replace("/run/secrets/nuthatch/redis-password", str(password)))
        command = [nuthatch, "--test-conf", *arguments, f"--conf-file={path}"]
        options = {"capture_output": True, "text": True, "timeout": 10, "cwd": tmp_path}
        result = subprocess.run(command, env={**dict(variables), **NO_DNS}, **options)
        return result.stderr if result.returncode else ""

    # Most of the time is the wait for DNS.
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = pool.map(lambda item: refusal(item[0], *item[1]), enumerate(found))
    for (_, _, text), case, answer in zip(found, found.values(), answers):
        assert not answer, f"{case}: {answer}{text}"


def told(container: dict, text: str) -> tuple:
    """All that a proxy is told: arguments, variables and its file. Its ports are not to be had here."""
    arguments = (word for word in container["args"] if not word.startswith(("--conf-file", "--bind")))
    return tuple(arguments), tuple(environment(container).items()), text


@pytest.mark.parametrize("helm", HELM)
@pytest.mark.parametrize("release", RELEASES)
def test_a_release_may_have_every_name_that_helm_allows(release, helm):
    values = {"central": {"enabled": True}, "podMonitor": {"enabled": True}}
    rules.check(render("cache-api", {"nuthatch": values}, release=release, helm=helm), release, "cache")
    own = {**values, "networkPolicy": {"enabled": True}, "dashboard": {"enabled": True}}
    rules.check(render("nuthatch", own, release=release, helm=helm), release, "cache")


@pytest.mark.parametrize("helm", HELM)
def test_one_pod_may_have_two_caches(helm):
    objects = render("two", {}, helm=helm)
    rules.check(objects, "release", "cache")
    (pod,) = (pod for name, pod in lasting(objects) if name == "Deployment two")
    assert {container["name"] for container in pod["spec"]["initContainers"]} == {
        "nuthatch-sessions",
        "nuthatch-pages",
    }
    listeners = [address for _, each in rules.files_of(objects, pod) for address in each]
    assert listeners == ["127.0.0.1:6379", "127.0.0.1:11211"]


@pytest.mark.parametrize("helm", HELM)
@pytest.mark.parametrize("protocol", ["memcached", "redis"])
def test_two_caches_in_one_pod_may_have_sockets_and_annotations(protocol, helm):
    own = {"sidecar": {"socket": {"enabled": True}}}
    pages = samples.merged(own, {"protocol": protocol, "proxy": {"port": 12000, "serverConnections": 3}})
    objects = render("two", {"sessions": own, "pages": pages}, helm=helm)
    rules.check(objects, "release", "cache")
    (pod,) = (pod for name, pod in lasting(objects) if name == "Deployment two")
    (application,) = pod["spec"]["containers"]
    folders = {mount["mountPath"] for mount in application["volumeMounts"]}
    assert folders == {"/run/nuthatch-sessions", "/run/nuthatch-pages"}
    assert pod["metadata"]["annotations"] == {
        "nuthatch-sessions/server-connections": "1",
        "nuthatch-pages/server-connections": "3",
    }


@pytest.mark.parametrize("helm", HELM)
@pytest.mark.parametrize("chart", ["two", "many"])
@pytest.mark.parametrize(
    "release",
    ["sessions-pages", "mysessions-and-pages", "pages", "sessions", "nuthatch-pages", "nuthatch"]
    + ["my-cache", "a" * 53, "9" * 53, "x.pages"],
)
def test_caches_of_one_release_have_names_of_their_own(release, chart, helm):
    names = ["sessions", "pages"] if chart == "two" else many()
    values = {name: {"central": {"enabled": True}, "dashboard": {"enabled": True}} for name in names}
    if chart == "two":
        values["sessions"]["protocol"] = "memcached"
    objects = render(chart, values, release=release, helm=helm)
    rules.check([item for item in objects if item["metadata"]["name"] != "two"], release, "cache")
    assert len(of_kind(objects, "StatefulSet")) == len(names)


OWN_NAMES = {
    name: {
        "nuthatch": {
            "nameOverride": name,
            "memcached": {"fullname": f"memcached-{name}"},
            "central": {"enabled": True},
            "networkPolicy": {"enabled": True},
            "podMonitor": {"enabled": name == "cart"},
        }
    }
    for name in ("cart", "catalog")
}


@pytest.mark.parametrize("helm", HELM)
def test_applications_of_one_release_may_each_have_a_cache(helm):
    """Each has this chart below its own, so both are named nuthatch."""
    objects = render("shop", OWN_NAMES, helm=helm)
    rules.check(objects, "release", "cache")
    servers = {item["metadata"]["name"] for item in of_kind(objects, "StatefulSet")}
    assert servers == {"memcached-cart", "memcached-catalog"}
    for name in ("cart", "catalog"):
        (pod,) = (pod for owner, pod in lasting(objects) if owner == f"Deployment {name}")
        assert pod["spec"]["volumes"][0]["configMap"]["name"] == f"release-{name}"


@pytest.mark.parametrize("helm", HELM)
@pytest.mark.parametrize(
    ("values", "made"),
    [
        ({}, "ConfigMap release-nuthatch"),
        # The other objects have names of their own, and would find each other's pods.
        ({"cart": {"nuthatch": {"fullnameOverride": "cart"}}}, "StatefulSet memcached-cluster"),
        (
            {"cart": {"nuthatch": {"fullnameOverride": "cart", "memcached": {"fullname": "cart"}}}},
            "pods with the labels name: nuthatch and component: memcached",
        ),
        (
            {
                name: {
                    "nuthatch": {
                        "fullnameOverride": name,
                        "memcached": {"enabled": False},
                        "servers": ["a:11211"],
                        "central": {"enabled": True},
                    }
                }
                for name in ("cart", "catalog")
            },
            "pods with the labels name: nuthatch and component: central",
        ),
    ],
)
def test_two_caches_with_one_name_are_refused(values, made, helm):
    with pytest.raises(Refused, match=f"shop/charts/c.*/charts/nuthatch would both make {made}: set nameOverride"):
        render("shop", values, helm=helm)


@pytest.mark.parametrize("helm", HELM)
def test_two_aliases_with_one_name_are_refused(helm):
    values = {name: {"nameOverride": "cache", "protocol": "memcached"} for name in ("sessions", "pages")}
    with pytest.raises(Refused, match="would both make ConfigMap release-cache: set nameOverride"):
        render("two", values, helm=helm)


@pytest.mark.parametrize("helm", HELM)
def test_applications_of_one_release_may_share_a_name_if_nothing_clashes(helm):
    """One has servers, the other one a sidecar alone: no selector finds pods of both."""
    catalog = {"fullnameOverride": "catalog", "memcached": {"enabled": False}, "servers": ["a:11211"]}
    rules.check(render("shop", {"catalog": {"nuthatch": catalog}}, helm=helm), "release", "cache")


@pytest.mark.parametrize("helm", HELM)
def test_central_proxies_of_two_caches_have_names_by_which_alerts_tell_them_apart(helm):
    values = {name: {"central": {"enabled": True}} for name in ("sessions", "pages")}
    names = {
        container["name"]
        for item in of_kind(render("two", values, helm=helm), "Deployment")
        for container in containers(item["spec"]["template"])
        if item["metadata"]["name"] != "two"
    }
    assert names == {"nuthatch-sessions", "nuthatch-pages"}


@pytest.mark.parametrize("helm", HELM)
def test_no_proxy_is_scraped_twice(helm):
    values = {name: {"podMonitor": {"enabled": True}} for name in ("sessions", "pages")}
    with pytest.raises(Refused, match="would both make PodMonitors .* enable podMonitor in one of them only"):
        render("two", values, helm=helm)
    values["pages"]["podMonitor"]["selector"] = {"matchLabels": {"app": "b"}}
    assert len(of_kind(render("two", values, helm=helm), "PodMonitor")) == 2


def many() -> list[str]:
    """The names under which the chart "many" has this one."""
    dependencies = yaml.safe_load((complete("many") / "Chart.yaml").read_text())["dependencies"]
    return [each.get("alias", each["name"]) for each in dependencies]


@pytest.mark.parametrize("helm", HELM)
def test_the_cluster_may_assign_the_users(helm):
    """Said in the parent chart's own file, where Helm 4 would forget a null, or given for the example."""
    none = {"runAsUser": "", "runAsGroup": ""}
    given = {**none, "nuthatch": {part: none for part in ("proxy", "memcached", "redis")}}
    given["nuthatch"]["central"] = {"enabled": True}
    redis = samples.merged(given, {"nuthatch": {"protocol": "redis"}})
    for chart, values in [("plain", {}), ("cache-api", given), ("cache-api", redis)]:
        for name, pod in pods(render(chart, values, helm=helm)):
            for container in containers(pod):
                if container["name"] != "plain":
                    security = container["securityContext"]
                    assert not {"runAsUser", "runAsGroup"} & set(security), f"{name}: {security}"


@pytest.mark.parametrize("helm", HELM)
def test_a_limit_can_be_removed_where_helm_forgets_a_null(helm):
    """Said in the parent chart's own file."""
    objects = render("plain", {}, helm=helm)
    for name, pod in lasting(objects):
        for container in containers(pod):
            if container["name"] != "plain":
                assert "limits" not in container["resources"], f"{name}: {container['resources']}"


@pytest.mark.parametrize("helm", HELM)
def test_the_pods_of_helm_test_run_where_they_may(helm):
    place = {"nodeSelector": {"a": "b"}, "tolerations": [{"operator": "Exists"}], "priorityClassName": "c"}
    objects = render("nuthatch", {"tests": place, "central": {"enabled": True}}, helm=helm)
    tests = of_kind(objects, "Pod")
    assert len(tests) == 3
    for pod in tests:
        assert place.items() <= pod["spec"].items(), pod["metadata"]["name"]


def test_helm_test_tries_what_the_release_runs():
    """Under a quota, the limits of what runs are those of its tests."""
    limited = {"resources": {"limits": {"cpu": 1}}}
    values = {"sidecar": {"enabled": False}, "central": {"enabled": True, **limited}, "memcached": limited}
    found = {pod["metadata"]["name"]: pod for pod in of_kind(render("nuthatch", values), "Pod")}
    assert set(found) == {"release-nuthatch-test-central", "release-nuthatch-test-ping"}
    for name, pod in found.items():
        assert pod["spec"]["containers"][0]["resources"]["limits"]["cpu"] == "1", name


def test_a_cache_that_is_switched_off_leaves_nothing_in_the_pod():
    """As in the guide: a chart that depends on this one by a condition."""
    (deployment,) = (
        item for item in render("switched", {"nuthatch": {"enabled": False}})
    )
    assert "initContainers" not in deployment["spec"]["template"]["spec"]
    rules.check(render("switched", {}), "release", "cache")


@pytest.mark.parametrize("namespace", ["12345", "1e3", "y", "null"])
def test_a_namespace_may_be_a_number(namespace):
    values = {
        "central": {"enabled": True},
        "podMonitor": {"enabled": True},
        "endpointSlices": {"enabled": True, "serviceAccounts": ["123"]},
    }
    objects = render("nuthatch", values, namespace=namespace)
    rules.check(objects, "release", namespace)
    (monitor,) = (item for item in objects if item["kind"] == "PodMonitor")
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint["relabelings"][1]["replacement"] == namespace


def test_the_cases_hold_what_the_schema_allows_at_its_ends():
    assert CASES["proxy.hash-0"] == {"proxy": {"hash": "one_at_a_time"}}
    assert {f"{path}-0" for path in ("sidecar.enabled", "central.replicas", "redis.cpu")} <= set(CASES)
