"""What `helm upgrade` changes: settings of the proxy are in a file that it reloads, so that they
replace no pod, and what no reload can change replaces the pods."""

import copy

import pytest

from objects import environment, lasting, of_kind, proxies, settings, title
from rendering import render

CHARTS = ["nuthatch", "cache-api", "plain"]
# Sidecar or not, with central proxies, with all that can be mounted.
CENTRAL = {"central": {"enabled": True}, "sidecar": {"socket": {"enabled": True}}}
PROTOCOLS = ["memcached", "redis"]


def rendered(chart: str, *values: dict) -> list[dict]:
    """The objects of a chart with these values, the later over the earlier."""
    own = {"redis": {"password": {"secret": "redis"}}}
    for one in (CENTRAL, *values):
        merge(own, one)
    return render(chart, own if chart == "nuthatch" else {"nuthatch": own})


def merge(into: dict, values: dict) -> None:
    for key, value in values.items():
        if isinstance(value, dict):
            merge(into.setdefault(key, {}), value)
        else:
            into[key] = value


def changed(before: list[dict], after: list[dict]) -> set[str]:
    """The objects that are not the same."""
    old, new = ({title(item): item for item in objects} for objects in (before, after))
    assert old.keys() == new.keys()
    # `helm test` asks every server, so its pod changes with them.
    return {name for name in old if old[name] != new[name] and not name.startswith("Pod ")}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("chart", CHARTS)
def test_the_number_of_servers_replaces_no_pod(chart, protocol):
    def servers(replicas: int, spare: int = 0) -> list[dict]:
        return rendered(
            chart, {"protocol": protocol, protocol: {"replicas": replicas, "spare": spare}}
        )

    two, three, waiting = servers(2), servers(3), servers(2, spare=1)
    assert list(lasting(two)) == list(lasting(three)) == list(lasting(waiting))
    (stateful,) = of_kind(two, "StatefulSet")
    (config,) = of_kind(two, "ConfigMap")
    assert changed(two, three) == {title(stateful), title(config)}
    assert changed(two, waiting) == {title(stateful)}
    assert changed(waiting, three) == {title(config)}
    for objects in (waiting, three):
        (other,) = of_kind(objects, "StatefulSet")
        grown = copy.deepcopy(stateful)
        grown["spec"]["replicas"] = 3
        assert other == grown


@pytest.mark.parametrize(
    "values",
    [
        {"proxy": {"timeout": 400}},
        {"proxy": {"autoEjectHosts": False, "hash": "md5", "limits": {"memoryMax": "32m"}}},
        {"memcached": {"enabled": False}, "servers": ["10.0.0.1:11211:1 memcached-0"]},
        {"proxy": {"migrate": {"window": "10m"}}},
        {"proxy": {"discovery": "dnssrv"}},
    ],
)
@pytest.mark.parametrize("chart", CHARTS)
def test_other_settings_replace_no_pod(chart, values):
    before, after = rendered(chart), rendered(chart, values)
    kept = dict(lasting(after))
    assert {name: pod for name, pod in lasting(before) if name in kept} == kept
    assert list(settings(before)) != list(settings(after))


def files(config: str) -> dict:
    central = config.replace(", /run/nuthatch/memcached.sock", "")
    return {"config": config, "central": {"config": central}}


ONE = 'a: {listen: ["*:11211", /run/nuthatch/memcached.sock]}\n'


@pytest.mark.parametrize("chart", CHARTS)
def test_a_file_of_ones_own_replaces_no_pod(chart):
    before, after = (rendered(chart, files(config)) for config in (ONE, ONE + "# b\n"))
    (config,) = of_kind(before, "ConfigMap")
    assert changed(before, after) == {title(config)}


@pytest.mark.parametrize(
    ("chart", "owner"),
    [("nuthatch", "Deployment release-nuthatch"), ("cache-api", "Deployment cache-api")],
)
@pytest.mark.parametrize("values", [{"proxy": {"serverConnections": 2}}, {"proxy": {"workers": 2}}])
def test_what_no_reload_changes_makes_new_lasting(chart, owner, values):
    before, after = (dict(lasting(rendered(chart, one)))[owner] for one in ({}, values))
    assert before != after


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("chart", CHARTS)
def test_a_proxy_finds_a_new_file(chart, protocol):
    """A kubelet updates a folder, and the program must watch what is in it."""
    objects = rendered(chart, {"protocol": protocol})
    for name, container in proxies(objects):
        mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
        assert "subPath" not in mounts["/etc/nuthatch"], name
        assert "--conf-file=/etc/nuthatch/nutcracker.yml" in container["args"], name
        assert "--no-watch" not in container["args"], name
        assert not {"SERVERS", "LISTEN_PORT"} & environment(container).keys(), name


def test_keys_move_only_with_a_window():
    for given, wanted in [
        ({}, None),
        ({"settle": "30s", "movesMax": 16}, None),
        ({"window": "10m"}, {"window": "10m", "settle": "2m"}),
        (
            {"window": "1h", "settle": "30s", "movesMax": 16},
            {"window": "1h", "settle": "30s", "moves_max": 16},
        ),
    ]:
        for _, pool in settings(rendered("cache-api", {"proxy": {"migrate": given}})):
            assert pool.get("migrate") == wanted


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_with_dns_the_number_of_servers_changes_the_statefulset_alone(protocol):
    def servers(replicas: int) -> list[dict]:
        own = {"protocol": protocol, protocol: {"replicas": replicas}}
        return rendered("cache-api", own, {"proxy": {"discovery": "dnssrv"}})

    (stateful,) = of_kind(servers(2), "StatefulSet")
    assert changed(servers(2), servers(3)) == {title(stateful)}
    for _, pool in settings(servers(2)):
        assert pool["servers"] == [f"dnssrv+_{protocol}._tcp.{stateful['metadata']['name']}"]


def test_a_sidecar_and_a_central_proxy_listen_where_they_are_asked():
    pools = dict(settings(rendered("cache-api")))
    sidecar, central = pools["Deployment cache-api"], pools["Deployment release-nuthatch"]
    assert sidecar["listen"] == ["127.0.0.1:11211", "/run/nuthatch/memcached.sock 666"]
    assert central["listen"] == ["*:11211"]
    assert {**sidecar, "listen": None} == {**central, "listen": None}


@pytest.mark.parametrize(("mode", "servers"), [("gutter", ["g:11211:1", "h:11212:2 x"]), ("error", None), ("", None)])
def test_the_gutter_is_in_the_file_in_the_mode_that_has_one(mode, servers):
    """In others, the program says that the list has no effect."""
    gutter = {"servers": ["g:11211", "h:11212:2 x"], "ttl": "5m"}
    values = {"proxy": {"onServerFailure": mode, "gutter": gutter}, "central": {"enabled": True}}
    for _, pool in settings(rendered("cache-api", values)):
        assert pool.get("gutter_servers") == servers
        assert pool.get("gutter_ttl") == (servers and "5m")
