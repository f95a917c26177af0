"""What an upgrade does to what runs: no fewer proxies than there are, no changed selector, no replaced
memcached. An API server that knows the objects of before stands in for the cluster."""

import functools
import json

import pytest
import yaml

from objects import of_kind, pods, title
from rendering import Refused, render, upgrade
from samples import merged
from tools import HELM, ROOT

# The chart of 0.1: some values, and of each object what can't change.
BEFORE = json.loads((ROOT / "tests/deploy/rendered/0.1.json").read_text())
AUTOSCALED = {"central": {"enabled": True, "replicas": 2, "autoscaling": {"maxReplicas": 6}}}


def deployment(replicas: int) -> dict:
    """The central proxies as they run, after somebody has scaled them."""
    values = {"central": {"enabled": True, "autoscaling": {"enabled": False}}}
    (living,) = of_kind(render("nuthatch", values), "Deployment")
    living["spec"]["replicas"] = replicas
    return living


@pytest.mark.parametrize("helm", HELM)
@pytest.mark.parametrize(
    ("living", "wanted"),
    # Before the installation; scaled to nothing; below, within and above what is asked for.
    [(None, 2), (0, 2), (1, 2), (2, 2), (5, 5), (9, 6)],
)
def test_autoscaling_starts_with_the_pods_that_run(living, wanted, helm, tmp_path):
    objects = [] if living is None else [deployment(living)]
    (central,) = of_kind(upgrade(AUTOSCALED, objects, tmp_path, helm), "Deployment")
    assert central["spec"]["replicas"] == wanted


def test_autoscaling_starts_with_what_is_asked_for_where_no_cluster_can_be_looked_at():
    objects = render("nuthatch", AUTOSCALED)
    (central,) = of_kind(objects, "Deployment")
    (autoscaler,) = of_kind(objects, "HorizontalPodAutoscaler")
    assert central["spec"]["replicas"] == autoscaler["spec"]["minReplicas"] == 2


def test_without_autoscaling_there_are_as_many_as_asked_for(tmp_path):
    values = {"central": {"enabled": True, "replicas": 3, "autoscaling": {"enabled": False}}}
    (central,) = of_kind(upgrade(values, [deployment(9)], tmp_path), "Deployment")
    assert central["spec"]["replicas"] == 3


@pytest.mark.parametrize("helm", HELM)
@pytest.mark.parametrize("protocol", ["memcached", "redis"])
@pytest.mark.parametrize(
    ("discovery", "living", "wanted"),
    # Scaled by something other than Helm: no server is thrown away. By the list, Helm scales.
    [("dnssrv", 0, 2), ("dnssrv", 1, 2), ("dnssrv", 2, 2), ("dnssrv", 5, 5), ("list", 5, 2)],
)
def test_servers_in_dns_stay_as_many_as_they_are(discovery, living, wanted, protocol, helm, tmp_path):
    values = {"protocol": protocol, "proxy": {"discovery": discovery}}
    (servers,) = of_kind(render("nuthatch", values), "StatefulSet")
    assert servers["spec"]["replicas"] == 2
    servers["spec"]["replicas"] = living
    (after,) = of_kind(upgrade(values, [servers], tmp_path, helm), "StatefulSet")
    assert after["spec"]["replicas"] == wanted


@pytest.mark.parametrize("helm", HELM)
@pytest.mark.parametrize("kind", ["StatefulSet", "Deployment"])
def test_a_selector_that_would_change_is_refused_before_anything_is_made(kind, helm, tmp_path):
    living = of_kind(render("nuthatch", AUTOSCALED), kind)
    assert upgrade(AUTOSCALED, living, tmp_path, helm)
    # With this name, the Deployment stays the one that it is, so its selector would change.
    values = {**AUTOSCALED, "nameOverride": "nut", "fullnameOverride": "release-nuthatch"}
    with pytest.raises(Refused, match=f"the pods of {kind} .* leave nameOverride"):
        upgrade(values, living, tmp_path, helm)


@pytest.mark.parametrize("helm", HELM)
@pytest.mark.parametrize("kind", ["StatefulSet", "Deployment", "Service"])
@pytest.mark.parametrize(("owner", "said"), [("other", "belongs to the release other"), ("", "belongs to no release")])
def test_nobody_is_told_to_delete_what_is_not_the_releases_own(kind, owner, said, helm, tmp_path):
    """The most usual mistake: a second release with the names of the first one's servers."""
    living = of_kind(render("nuthatch", AUTOSCALED, release="other"), kind)
    for item in living:
        # Names that the second release would have, too.
        item["metadata"]["name"] = item["metadata"]["name"].replace("other-", "release-")
        item["metadata"]["labels"]["app.kubernetes.io/instance"] = owner
        item["metadata"]["annotations"] = {"meta.helm.sh/release-name": owner} if owner else {}
    value = {"Deployment": "fullnameOverride"}.get(kind, "memcached.fullname")
    with pytest.raises(Refused, match=f"there is a {kind} .* already, which {said}: set {value} to another") as words:
        upgrade(AUTOSCALED, living, tmp_path, helm, is_owned=False)
    assert "delete" not in str(words.value)


@pytest.mark.parametrize("helm", HELM)
def test_another_protocol_under_the_same_name_is_told_to_take_another_name(helm, tmp_path):
    before = {"memcached": {"fullname": "cache"}, "redis": {"fullname": "cache"}}
    living = of_kind(render("nuthatch", before), "StatefulSet")
    with pytest.raises(Refused, match="set redis.fullname to another name than that of the pods of memcached, or"):
        upgrade({**before, "protocol": "redis"}, living, tmp_path, helm)


def living(item: dict, chart: str, release: str) -> dict:
    """An object with the name and kind of this, of a chart under this name in a release."""
    labels = {"app.kubernetes.io/name": chart, "app.kubernetes.io/instance": release}
    metadata = {**item["metadata"], "labels": {**labels, "app.kubernetes.io/managed-by": "Helm"}}
    if item["kind"] == "StatefulSet":
        labels |= {"app.kubernetes.io/component": "memcached"}
        item = {**item, "spec": {"selector": {"matchLabels": labels}}}
    return {**item, "metadata": metadata}


@pytest.mark.parametrize("helm", HELM)
@pytest.mark.parametrize(
    ("chart", "alias", "release", "before", "after"),
    # Part of the release's name, as a word or not; cut.
    [
        ("two", "pages", "my-pages", "my-pages", "my-pages-pages"),
        ("two", "pages", "mypages", "mypages", "mypages-pages"),
        ("many", "nuthatch-pages", "a" * 53, "a" * 53 + "-nuthatch", "a" * 53 + "-f0a876cd"),
    ],
)
def test_a_release_keeps_the_names_that_it_has(chart, alias, release, before, after, helm, tmp_path):
    item = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": before}, "data": {}}
    for there, wanted in [
        ([], after),
        ([living(item, alias, release)], before),
        # Somebody else's.
        ([living(item, alias, "other")], after),
    ]:
        # The chart under its own name would have the name that is cut.
        values = {"nuthatch": {"fullnameOverride": "plain"}} if chart == "many" else {}
        objects = upgrade(values, there, tmp_path, helm, chart, release)
        names = {each["metadata"]["name"] for each in of_kind(objects, "ConfigMap")}
        assert wanted in names, there


@pytest.mark.parametrize("helm", HELM)
def test_the_servers_of_an_alias_keep_the_name_that_they_have(helm, tmp_path):
    name = "memcached-cluster"
    item = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": name}}
    for there, wanted in [
        ([], f"{name}-pages"),
        ([living(item, "pages", "release")], name),
        ([living(item, "pages", "other")], f"{name}-pages"),
    ]:
        objects = upgrade({}, there, tmp_path, helm, "two")
        sets = {each["metadata"]["name"] for each in of_kind(objects, "StatefulSet")}
        assert sets == {wanted, "redis-cache-sessions"}, there


@pytest.mark.parametrize("release", ["release", "my-nuthatch", "mynuthatch", "nuthatch", "9a"])
def test_a_release_of_this_chart_alone_has_the_names_of_0_1(release):
    objects = render("nuthatch", AUTOSCALED, release=release)
    wanted = release if "nuthatch" in release else f"{release}-nuthatch"
    (deployment,) = of_kind(objects, "Deployment")
    assert deployment["metadata"]["name"] == {"9a-nuthatch": "n-9a-nuthatch"}.get(wanted, wanted)
    (servers,) = of_kind(objects, "StatefulSet")
    assert servers["metadata"]["name"] == "memcached-cluster"


@pytest.mark.parametrize("case", BEFORE)
def test_an_upgrade_from_0_1_changes_nothing_that_cannot_change(case):
    objects = {title(item): item for item in render("nuthatch", BEFORE[case]["values"])}
    for name, kept in BEFORE[case]["objects"].items():
        if name.startswith("Pod "):
            continue
        spec = objects[name].get("spec", {})
        assert {key: spec.get(key) for key in kept} == kept, name


@pytest.mark.parametrize(
    "values",
    [
        {"image": {"tag": "0.2.0"}},
        {"proxy": {"workers": 4, "logLevel": 7, "extraArgs": ["-v", "7"]}},
        {"proxy": {"runAsUser": None, "extraEnv": [{"name": "TZ", "value": "UTC"}]}},
        {"sidecar": {"resources": {"limits": {"memory": "256Mi"}}}},
        {"central": {"enabled": True}},
        {"admin": {"port": 9700}},
        {"commonLabels": {"team": "cache"}, "commonAnnotations": {"team": "cache"}},
        {"networkPolicy": {"enabled": True}, "dashboard": {"enabled": True}},
    ],
)
def test_what_concerns_the_proxies_replaces_no_server(values):
    (before,) = of_kind(render("nuthatch", {}), "StatefulSet")
    (after,) = of_kind(render("nuthatch", values), "StatefulSet")
    assert after["spec"] == before["spec"]


def balanced(load_balancer_class: str, **more) -> dict:
    """Values for central proxies behind a load balancer of this class."""
    service = {"type": "LoadBalancer", "loadBalancerClass": load_balancer_class}
    return {"central": {"enabled": True, "service": service}, **more}


def with_owner(service: dict, manager: str) -> dict:
    """A Service of which this program has set the class of the load balancer."""
    own = {"manager": manager, "fieldsV1": {"f:spec": {"f:loadBalancerClass": {}}}}
    return {**service, "metadata": {**service["metadata"], "managedFields": [own]}}


@pytest.mark.parametrize("helm", HELM)
@pytest.mark.parametrize(
    ("before", "after"),
    [(balanced(""), balanced("a/b")), (balanced("a/b"), balanced("c/d")), (balanced("a/b"), balanced(""))],
)
def test_the_class_of_a_load_balancer_that_would_change_is_refused(before, after, helm, tmp_path):
    services = of_kind(render("nuthatch", before), "Service")
    assert upgrade(before, services, tmp_path, helm)
    with pytest.raises(Refused, match="Service release-nuthatch .* leave central.service.loadBalancerClass as"):
        upgrade(after, services, tmp_path, helm)
    # Another type may have another class.
    assert upgrade({"central": {"enabled": True}}, services, tmp_path, helm)


@pytest.mark.parametrize("helm", HELM)
def test_a_class_that_the_cluster_has_set_stays(helm, tmp_path):
    (service,) = (
        with_owner(item, "aws-load-balancer-controller")
        for item in of_kind(render("nuthatch", balanced("a/b")), "Service")
        if item["metadata"]["name"] == "release-nuthatch"
    )
    assert upgrade(balanced(""), [service], tmp_path, helm)
    with pytest.raises(Refused, match="loadBalancerClass"):
        upgrade(balanced(""), [with_owner(service, "helm")], tmp_path, helm)


@pytest.mark.parametrize("helm", HELM)
def test_a_service_that_would_become_headless_or_no_longer_be_is_refused(helm, tmp_path):
    servers = {"memcached": {"fullname": "cache"}}
    central = {"fullnameOverride": "cache", "central": {"enabled": True}}
    for before, after in [(servers, central), (central, servers)]:
        services = of_kind(render("nuthatch", before), "Service")
        # A cluster gives an address to a Service that has none.
        for service in services:
            service["spec"].setdefault("clusterIP", "10.0.0.1")
        assert upgrade(before, services, tmp_path, helm)
        with pytest.raises(Refused, match="Service cache .* another name, or delete the Service first"):
            upgrade(after, services, tmp_path, helm)


# Values that tell clients to connect to another place, or to the same one.
PLACES = [
    {},
    {"proxy": {"port": 11311}},
    {"protocol": "redis"},
    {"protocol": "redis", "proxy": {"port": 11211}},
    {"sidecar": {"socket": {"enabled": True}}},
    {"sidecar": {"socket": {"enabled": True, "path": "/run/cache/a.sock"}}},
    {"memcached": {"replicas": 3}},
    {"proxy": {"port": 11311}, "config": 'a: {listen: "*:11311", servers: ["a:11211:1"]}\n'},
]
CENTRAL = {"central": {"enabled": True}}


def mounted(objects: list[dict]) -> dict[str, str]:
    """The file of the ConfigMap that each pod with a proxy mounts."""
    return {
        name: volume["configMap"]["items"][0]["key"]
        for name, pod in pods(objects)
        for volume in pod["spec"].get("volumes", [])
        if "configMap" in volume
    }


def files_of(objects: list[dict]) -> dict[str, str]:
    """The files of the only ConfigMap."""
    (config_map,) = of_kind(objects, "ConfigMap")
    return config_map["data"]


def places(text: str) -> set[str]:
    """The port and the socket on which the only pool of a file listens."""
    (pool,) = yaml.safe_load(text).values()
    addresses = [pool["listen"]] if isinstance(pool["listen"], str) else pool["listen"]
    return {address if address[0] == "/" else address.rsplit(":")[-1] for address in addresses}


@pytest.mark.parametrize("after", range(len(PLACES)))
@pytest.mark.parametrize("before", range(len(PLACES)))
def test_a_proxy_that_runs_listens_on_where_its_clients_connect_to(before, after):
    """A file of the same name reaches the pods that run before they are replaced; one of another name does not."""
    old = render_cached(before)
    new = files_of(render_cached(after))
    for name, file in mounted(old).items():
        assert file not in new or places(new[file]) == places(files_of(old)[file]), name


@functools.cache
def render_cached(place: int) -> list[dict]:
    """The example with central proxies, which are never replaced for a new file that leads to the same place."""
    return render("cache-api", {"nuthatch": merged(CENTRAL, PLACES[place])})


@pytest.mark.parametrize("helm", HELM)
def test_pods_that_start_during_the_roll_out_have_the_file_of_before(helm, tmp_path):
    before, port = CENTRAL, merged(CENTRAL, {"proxy": {"port": 11311}})
    old = render("nuthatch", before, helm=helm)
    new = upgrade(port, of_kind(old, "ConfigMap"), tmp_path, helm)
    assert files_of(new).items() > files_of(old).items()
    (central,) = of_kind(new, "Deployment")
    file = mounted([central])[title(central)]
    assert places(files_of(new)[file]) == {"11311"} and file not in files_of(old)
    (served,) = central["spec"]["template"]["spec"]["containers"]
    assert served["ports"][0]["containerPort"] == 11311
    # Once they are gone, so is their file.
    assert set(files_of(upgrade(port, of_kind(new, "ConfigMap"), tmp_path, helm))) == {
        "central-11311.yml", "nutcracker-11311.yml"
    }


@pytest.mark.parametrize("helm", HELM)
def test_new_settings_of_the_same_place_reach_the_pods_that_run(helm, tmp_path):
    old = render("nuthatch", CENTRAL, helm=helm)
    for values in ({"memcached": {"replicas": 3}}, {"proxy": {"timeout": 5}}):
        new = upgrade(merged(CENTRAL, values), of_kind(old, "ConfigMap"), tmp_path, helm)
        assert set(files_of(new)) == set(files_of(old)) == {"central.yml", "nutcracker.yml"}
        assert files_of(new) != files_of(old)
        assert mounted(new) == mounted(old)


@pytest.mark.parametrize("helm", HELM)
def test_a_file_may_begin_with_spaces(helm):
    text = "  # our cache\na:\n  listen: '*:11211'\n  servers: ['a:11211:1']\n"
    assert files_of(render("nuthatch", {"config": text}, helm=helm)) == {"nutcracker.yml": text}
