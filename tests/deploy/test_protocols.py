"""memcached or Redis: what the chart renders for each, and that one has nothing of the other."""

import json
import shlex
import subprocess

import pytest
import yaml

from objects import containers, of_kind, pods, settings
from rendering import Refused, complete, render, render_case, run_helm, values_of
from tools import ROOT

KEPT = ROOT / "tests/deploy/rendered/default.yaml"
PASSWORD_FILE = "/run/secrets/nuthatch/redis-password"


def redis_server(values: str) -> dict:
    """The container of the StatefulSet."""
    (item,) = of_kind(render_case("nuthatch", values), "StatefulSet")
    (container,) = item["spec"]["template"]["spec"]["containers"]
    return container


def test_without_values_the_chart_renders_what_it_always_has():
    text = run_helm("helm4", "template", "release", complete("nuthatch"), "--namespace", "cache")
    assert text == KEPT.read_text(), "a change for those who have no values: is it meant?"


@pytest.mark.parametrize("chart", ["nuthatch", "cache-api"])
def test_memcached_has_nothing_of_redis(chart):
    own = {"redis": {"fullname": "other", "password": {"secret": "other"}}, "protocol": "memcached"}
    values = own if chart == "nuthatch" else {"nuthatch": own}
    assert render(chart, values) == render_case(chart, "default")


@pytest.mark.parametrize("chart", ["nuthatch", "cache-api"])
def test_redis_has_nothing_of_memcached(chart):
    text = yaml.dump(render_case(chart, "redis"))
    for word in ("memcached", "MEMCACHED", "11211", "line_max"):
        assert word not in text, word


def test_a_proxy_of_redis_is_told_so():
    for _, pool in settings(render_case("cache-api", "redis")):
        assert (pool["redis"], pool["hash_tag"], pool["cross_shard"]) == (True, "{}", "error")
        assert pool["listen"] in (["127.0.0.1:6379"], ["*:6379"])
        assert pool["servers"] == [f"redis-cache-{index}.redis-cache:6379:1" for index in (0, 1)]
        assert not {"redis_auth_file", "redis_user", "module_commands"} & pool.keys()


def test_the_hash_tag_can_be_none():
    for _, pool in settings(render_case("nuthatch", "redis-password")):
        assert "hash_tag" not in pool


def test_the_socket_has_the_name_of_the_protocol():
    for protocol in ("memcached", "redis"):
        own = {"protocol": protocol, "sidecar": {"socket": {"enabled": True}}}
        objects = render("cache-api", {"nuthatch": own})
        for _, pool in settings(objects):
            assert pool["listen"][1:] == [f"/run/nuthatch/{protocol}.sock 666"]
        assert f"value: /run/nuthatch/{protocol}.sock\n" in yaml.dump(objects)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({}, {"MEMCACHED_HOST": "127.0.0.1", "MEMCACHED_PORT": "11211"}),
        ({"proxy": {"port": 11311}}, {"MEMCACHED_HOST": "127.0.0.1", "MEMCACHED_PORT": "11311"}),
        (
            {"proxy": {"port": 11311}, "central": {"enabled": True}, "sidecar": {"enabled": False}},
            {"MEMCACHED_HOST": "release-nuthatch", "MEMCACHED_PORT": "11211"},
        ),
        (
            {"protocol": "redis", "proxy": {"port": 7000}},
            {"CACHE": "redis", "REDIS_HOST": "127.0.0.1", "REDIS_PORT": "7000"},
        ),
    ],
)
def test_the_application_is_told_the_port_as_well(values, told):
    (api,) = (
        container
        for _, pod in pods(render("cache-api", {"nuthatch": values}))
        for container in containers(pod)
        if container["name"] == "cache-api"
    )
    assert {entry["name"]: entry["value"] for entry in api["env"]} == told


def test_every_pod_of_the_example_can_be_of_a_registry_with_a_password():
    values = {"imagePullSecrets": ["a"], "nuthatch": {"imagePullSecrets": ["b"], "memcached": {"imagePullSecrets": ["c"]}}}
    found = {name: pod["spec"]["imagePullSecrets"] for name, pod in pods(render("cache-api", values))}
    wanted = {"Deployment cache-api": "a", "Job cache-load": "a", "StatefulSet memcached-cluster": "c"}
    assert len(found) > len(wanted)
    assert found == {name: [{"name": wanted.get(name, "b")}] for name in found}


def test_every_container_of_the_example_can_have_limits_for_a_quota():
    limits = {"resources": {"limits": {"cpu": 1}}}
    nuthatch = {part: limits for part in ("sidecar", "central", "memcached")}
    nuthatch["central"] = {**limits, "enabled": True}
    for name, pod in pods(render("cache-api", {**limits, "load": limits, "nuthatch": nuthatch})):
        for container in containers(pod):
            assert set(container["resources"]["limits"]) == {"cpu", "memory"}, f"{name}: {container['name']}"


@pytest.mark.parametrize(
    "values",
    [{"memcached": {"fullname": "cache-api"}}, {"fullnameOverride": "cache-api", "central": {"enabled": True}}],
)
def test_the_cache_of_the_example_can_not_have_the_name_of_its_application(values):
    with pytest.raises(Refused, match="cache-api: the application is named cache-api, so the cache can't be"):
        render("cache-api", {"nuthatch": values})


def test_the_notes_of_the_example_say_what_a_removal_leaves():
    words = ["install", "release", complete("cache-api"), "--dry-run=client", "--values", "-"]
    values = {"nuthatch": {"protocol": "redis", "redis": {"password": {"secret": "secret-name"}}}}
    notes = run_helm("helm4", *words, stdin=json.dumps(values)).split("NOTES:")[1]
    for sentence in ("the job of the load", "instance=release,app.kubernetes.io/component=test", "the Secret secret-name"):
        assert sentence in notes, notes


def test_servers_from_outside_keep_their_names():
    objects = render_case("nuthatch", "redis-outside")
    assert not of_kind(objects, "StatefulSet")
    for _, pool in settings(objects):
        assert pool["servers"] == ["10.0.0.1:6379:1 redis-1", "10.0.0.2:6379:2 redis-2"]
        assert (pool["redis_user"], pool["redis_auth_file"]) == ("cache", PASSWORD_FILE)


def test_servers_from_outside_may_be_without_a_weight():
    servers = ["a:11212", "b:11211:2", "c:11211 d", "[::1]:11211", "[::1]:11212:3 e"]
    found = ["dns+f:11211", "dns+f:11212:2", "dnssrv+_g._tcp.h", "dnssrvnoa+_g._tcp.h:2"]
    for _, pool in settings(
        render("nuthatch", {"memcached": {"enabled": False}, "servers": [*servers, *found]})
    ):
        wanted = ["a:11212:1", "b:11211:2", "c:11211:1 d", "[::1]:11211:1", "[::1]:11212:3 e"]
        assert pool["servers"] == [*wanted, "dns+f:11211:1", *found[1:]]


def test_redis_evicts_before_its_container_has_no_memory():
    for values, maxmemory, limit in [
        ("redis", "64mb", "128Mi"),
        ("redis-password", "8192mb", f"{8192 * 3 // 2 + 16384 // 64 + 16}Mi"),
    ]:
        container = redis_server(values)
        arguments = container["args"]
        assert arguments[:4] == ["--maxmemory", maxmemory, "--maxmemory-policy", "allkeys-lru"]
        assert container["resources"]["limits"]["memory"] == limit


def test_redis_keeps_nothing_on_disk():
    container = redis_server("redis")
    settings = dict(zip(container["args"][::2], container["args"][1::2]))
    assert (settings["--save"], settings["--appendonly"]) == ("", "no")
    assert {"name": "data", "mountPath": settings["--dir"]} in container["volumeMounts"]


@pytest.mark.parametrize("values", ["redis-password", "redis-outside", "redis-config"])
@pytest.mark.parametrize("chart", ["nuthatch", "cache-api"])
def test_the_password_is_a_file_of_the_secret_wherever_it_is_needed(chart, values):
    secret = {"key": "password"} | values_of("nuthatch", values)["redis"]["password"]
    items = [{"key": secret["key"], "path": "redis-password"}]
    volume = {"secretName": secret["secret"], "items": items}
    mount = {"name": "nuthatch-password", "mountPath": "/run/secrets/nuthatch", "readOnly": True}
    for name, pod in pods(render_case(chart, values)):
        users = [one for one in containers(pod) if one["name"] in ("nuthatch", "redis")]
        for container in users:
            assert mount in container["volumeMounts"], name
        volumes = {each["name"]: each for each in pod["spec"].get("volumes", [])}
        assert not users or volumes["nuthatch-password"]["secret"] == volume, name


def test_the_application_gets_the_password_from_the_same_secret():
    (api,) = (
        container
        for _, pod in pods(render_case("cache-api", "redis-password"))
        for container in containers(pod)
        if container["name"] == "cache-api"
    )
    told = {entry["name"]: entry for entry in api["env"]}
    assert (told["CACHE"]["value"], told["REDIS_HOST"]["value"]) == ("redis", "127.0.0.1")
    source = {"secretKeyRef": {"name": "redis.sessions", "key": "REDIS_PASSWORD"}}
    assert told["REDIS_PASSWORD"] == {"name": "REDIS_PASSWORD", "valueFrom": source}


@pytest.mark.parametrize("password", ["secret\n", "two words", "a\"b'c\\d$e`f*"])
def test_the_server_and_its_probe_take_the_password_as_it_is(password, tmp_path):
    """Runs both scripts with programs that say what they were given."""
    (tmp_path / "password").write_text(password)
    for name, script in [
        ("redis-server", 'printf "%s\\n" "$@"'),
        ("redis-cli", '[ "$REDISCLI_AUTH" = "$WANTED" ] && [ "$1" = ping ] && echo PONG'),
    ]:
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)

    def run(words: list[str]) -> str:
        words = [word.replace(PASSWORD_FILE, str(tmp_path / "password")) for word in words]
        variables = {"PATH": f"{tmp_path}:/usr/bin:/bin", "WANTED": password.rstrip("\n")}
        result = subprocess.run(words, env=variables, capture_output=True, text=True, timeout=10)
        assert result.returncode == 0, f"{shlex.join(words)}: {result.stdout}{result.stderr}"
        return result.stdout

    container = redis_server("redis-password")
    wanted = [*container["args"], "--requirepass", password.rstrip("\n")]
    assert run([*container["command"], *container["args"]]) == "".join(f"{one}\n" for one in wanted)
    run(container["readinessProbe"]["exec"]["command"])


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, ["Memcached: 2 pods", "memcached-cluster.", "connects to 127.0.0.1:11211."]),
        ({"protocol": "redis"}, ["Redis: 2 pods", "redis-cache.", "connects to 127.0.0.1:6379."]),
        ({}, ["      initContainers:\n", "delete pod --selector app.kubernetes.io/instance=release,"]),
        ({"sidecar": {"native": False}}, ["      containers:\n"]),
        (
            {"sidecar": {"socket": {"enabled": True}}},
            ['include "nuthatch.socketMount"', "to the socket /run/nuthatch/memcached.sock or to 127.0.0.1:11211."],
        ),
        (
            {"sidecar": {"enabled": False}},
            ["Set sidecar.enabled or central.enabled to true"],
        ),
        (
            {"protocol": "redis", "central": {"enabled": True}},
            ["give your application release-nuthatch as redis's host, port 6379."],
        ),
        (
            {"protocol": "redis", "redis": {"password": {"secret": "secret-name"}}},
            ["password of the Secret secret-name, key password.", "It also leaves the Secret"],
        ),
    ],
)
def test_the_notes_say_where_the_cache_is(values, said):
    words = ["install", "release", complete("nuthatch"), "--dry-run=client", "--values", "-"]
    notes = run_helm("helm4", *words, stdin=json.dumps(values)).split("NOTES:")[1]
    for sentence in said:
        assert sentence in notes, notes
