"""Other values for every value of the chart: from the schema where it says which there are, else from a
table."""

import itertools
from collections.abc import Iterator

import values_table

# As many words as YAML has for something that is no string, and names of every length.
NAMES = ["y", "on", "no", "null", "e1", "a" * 52, "n0x10"]
LABELS = {"a": "y", "example.com/b": "1e3", "c": "0x10", "d": "null", "e": "", "f": "x" * 63}
ANNOTATIONS = {"a": "on", "example.com/b": "123", "c": "a: b # c", "d": "{{ . }}"}
AFFINITY = {
    "podAntiAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"a": "1"}}}
        ]
    }
}
VARIABLES = [
    {"name": "ON", "value": "yes"},
    {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
    {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "123", "key": "1e3"}}},
]
PEERS = [
    {"podSelector": {"matchLabels": {"a": "1e3"}}},
    {"ipBlock": {"cidr": "fd00::/8"}},
    {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8", "255.255.255.255/32"]}},
    {"ipBlock": {"cidr": "10.128.0.0/9", "except": ["10.128.0.0/10", "10.255.3.4/10"]}},
    {"ipBlock": {"cidr": "::/0", "except": ["::/1", "::1/128", "FD00::/8", "1:2:3:4:5:6:7:8/128", "1:2:3:4:5:6:7::/112"]}},
    {"ipBlock": {"cidr": "fd00:0:0:8::/61", "except": ["fd00:0:0:f::/64", "FD00::9:0:0:0:0/64", "fd00::a:1:2:3:0/65"]}},
]
DIGEST = "sha256:" + "0" * 64

# By the last part of the path, or by the whole of it.
SAMPLES = {
    "nameOverride": ["y", "1e3", "123", "a" * 52],
    "fullnameOverride": NAMES,
    "commonLabels": [LABELS],
    "commonAnnotations": [ANNOTATIONS],
    "repository": ["registry.example.com:5000/a/b", "1e3", "[fd00::1]:5000/a", "localhost/a-b__c.d/e", "Host.x/a"],
    "tag": ["1.6", "1e3", "on"],
    "digest": [DIGEST],
    "imagePullSecrets": [["123", "1e3", "my.registry"]],
    "proxy.port": [1024, 65535, 6379],
    "hashTag": ["{}", "none", "$$", '""'],
    "proxy.limits.itemSizeMax": ["8m", "1g"],
    "itemSizeMax": ["512k", "32m", "1536k"],
    "keysMax": [1, 16777216],
    "lineMax": ["1k", "1g"],
    "clientRequestsMax": [1, ""],
    "clientBufferMax": ["16k", "4m", ""],
    "journalMax": ["0", "1k", "1g"],
    "poolRateMax": [0, 1000000000],
    "poolRequestsMax": [0, 1000000000],
    "addressRateMax": [0, 1000000000],
    "addressRequestsMax": [0, 1000000000],
    "proxy.gutter.servers": [
        ["g:11211"],
        ["g:11212:3 y", "[fd00::1]:11211", "10.0.0.9:65535:2147483647", "g:11211 1e3", "memcached-cluster-2.memcached-cluster:11211"],
    ],
    "ttl": ["1s", "30d", ""],
    "serverFailureRate": ["0%", "50%", "100%"],
    "serverProbes": [0, 100],
    "connectTimeout": [1, 2000],
    "queueTimeout": [1, 2000],
    "responseTimeout": [1, 2000],
    "slowAfter": [1, 2000],
    "serverProbeTimeout": [1, 2147483647],
    "serverSlowStart": ["0s", "365d", ""],
    "maxEjected": ["0%", "34%"],
    "maxMove": ["0%", "100%"],
    "clientBacklogMax": ["256k", "16g", ""],
    "serverRequestsMax": [1, ""],
    "serverBufferMax": ["1k", "16g", ""],
    "memoryMax": ["1m", "1024g", ""],
    "clientConnections": [0, 100000],
    "window": ["10m", "365d"],
    "settle": ["8760h", "1500ms"],
    "movesMax": [1, 1048576],
    "user": ["cache", "1e3"],
    "moduleCommands": [["cl.throttle 1 1 1", "X 0 0 0", "y! 32767 -1 32767", "z 1 -32768 1"]],
    "workers": [1, 64, "auto"],
    "statsAddress": ["*", "[::]", "::", "a", "0.0.0.0", "::ffff:10.0.0.1", "/tmp/a"],
    "proxy.extraArgs": [["--discovery-hold=60", "--no-watch"]],
    "extraArgs": [["-v", "1e3", "on"]],
    "extraEnv": [VARIABLES],
    "runAsUser": [1, 4294967294, None, ""],
    "runAsGroup": [0, 1000660000, None, ""],
    "servers": [
        ["10.0.0.1:11211", "[fd00::1]:11211:2 y", "dns+a.b:11211", "dns+a.b:11212:2", "[fd00::1]:65535"],
        ["a:1:2147483647", "a:2:2147483647", "dnssrv+_a._tcp.b", "dnssrvnoa+_a._tcp.b:7", "a:11211 b", "b:1"],
    ],
    "config": ['y: {listen: ["*:11211"], servers: ["a:11211:1"]}\n'],
    "containerName": ["nuthatch-1e3"],
    "path": ["/run/cache/y.sock", "/tmp/" + "a" * 102],
    "resources": [
        {"requests": {"cpu": 1, "memory": "1Gi"}, "limits": {"cpu": 1.5, "memory": "1Gi"}},
        {"requests": {"cpu": "1e3"}},
        {"limits": {"example.com/device": 2, "hugepages-2Mi": "4Mi"}, "requests": {"example.com/device": "2"}},
        {"requests": {"cpu": "", "memory": ""}, "limits": {"cpu": 1, "memory": ""}},
    ],
    "annotations": [ANNOTATIONS],
    "serviceAnnotations": [ANNOTATIONS],
    "podAnnotations": [ANNOTATIONS],
    "loadBalancerClass": ["example.com/y", "123"],
    "loadBalancerSourceRanges": [["10.0.0.0/8", "255.255.255.255/32", "::/0", "fd00:1::2/128"]],
    "nodePort": [30000, 32767],
    "minReadySeconds": [0, 600, 86400],
    "maxSurge": [0, "100%", "200%"],
    "maxUnavailable": [1, "25%"],
    "serviceAccountName": ["123", "1e3", "my.account"],
    "serviceAccounts": [["123", "1e3"]],
    "spreadOver": [[], ["topology.kubernetes.io/zone", "y"]],
    "podLabels": [LABELS],
    "affinity": [AFFINITY],
    "nodeSelector": [LABELS],
    "tolerations": [
        [{"operator": "Exists"}],
        [{"key": "y", "operator": "Equal", "value": "1e3", "effect": "NoSchedule"}],
    ],
    "priorityClassName": ["123", "on", "system.critical"],
    "fullname": NAMES,
    "cpu": [1, "0.5", "1500m"],
    "secret": ["123", "my.secret"],
    "key": ["1e3", "password.txt"],
    "clients": [PEERS],
    "monitoring": [PEERS],
    "labels": [LABELS],
    "interval": ["1m"],
    "selector": [{"matchLabels": LABELS}],
    "fleet": ["123", "on", "1e3"],
    "guideUrl": ["https://example.com/guide"],
}
# What must be set as well, so that a value has an effect or makes sense.
WITH = {
    "proxy.redis": {"protocol": "redis"},
    "redis": {"protocol": "redis"},
    "redis.enabled": {"servers": ["a:6379"]},
    "memcached.enabled": {"servers": ["a:11211"]},
    "memcached.itemSizeMax": {"proxy": {"limits": {"itemSizeMax": "1g"}}},
    "servers": {"memcached": {"enabled": False}},
    "central": {"central": {"enabled": True}},
    "central.service.loadBalancerSourceRanges": {"central": {"service": {"type": "LoadBalancer"}}},
    "central.service.externalTrafficPolicy": {"central": {"service": {"type": "NodePort"}}},
    "central.service.nodePort": {"central": {"service": {"type": "NodePort"}}},
    "central.service.loadBalancerClass": {"central": {"service": {"type": "LoadBalancer"}}},
    "sidecar.enabled": {"central": {"enabled": True}},
    "proxy.migrate.settle": {"proxy": {"migrate": {"window": "10m"}}},
    "proxy.migrate.movesMax": {"proxy": {"migrate": {"window": "10m"}}},
    "sidecar.socket": {"sidecar": {"socket": {"enabled": True}}},
    "proxy.gutter": {"proxy": {"onServerFailure": "gutter", "gutter": {"servers": ["g:11211"]}}},
    "proxy.onServerFailure": {"proxy": {"gutter": {"servers": ["g:11211"]}}},
    "proxy.onJournalFull": {"proxy": {"onServerFailure": "rehash", "allowFlush": True}},
    "proxy.limits.journalMax": {"proxy": {"onServerFailure": "error"}},
    "proxy.redis.user": {"redis": {"password": {"secret": "redis"}}},
    "redis.password.key": {"redis": {"password": {"secret": "redis"}}},
    "networkPolicy": {"networkPolicy": {"enabled": True}, "central": {"enabled": True}},
    "podMonitor": {"podMonitor": {"enabled": True}},
    "prometheusRule": {"prometheusRule": {"enabled": True}},
    "dashboard": {"dashboard": {"enabled": True}},
    "endpointSlices": {"endpointSlices": {"enabled": True, "serviceAccounts": ["default"]}},
}
# Sections that a file of values may have with nothing below, and what uses them.
EVERYTHING = {
    "central": {"enabled": True, "service": {"type": "LoadBalancer"}},
    "networkPolicy": {"enabled": True},
    "podMonitor": {"enabled": True},
    "prometheusRule": {"enabled": True},
    "dashboard": {"enabled": True},
    "endpointSlices": {"enabled": True},
}
# Switches and other choices of which each pair is tried.
SWITCHES = [
    {"protocol": "redis"},
    {"sidecar": {"enabled": False}},
    {"sidecar": {"socket": {"enabled": True}}},
    {"sidecar": {"containerName": "nuthatch-b"}},
    {"central": {"enabled": True}},
    {"central": {"autoscaling": {"enabled": False}}},
    {"central": {"replicas": 8}},
    {"central": {"config": 'a: {listen: "*:11211", servers: ["a:11211:1"]}\n'}},
    {"central": {"service": {"type": "NodePort"}}},
    {"central": {"serviceAccountName": "platform"}},
    {"memcached": {"enabled": False}},
    {"memcached": {"spare": 1}},
    {"memcached": {"fullname": "release-nuthatch"}},
    {"redis": {"enabled": False}},
    {"redis": {"password": {"secret": "redis"}}},
    {"servers": ["a:11211:1", "b:11211:1"]},
    {"config": 'a: {listen: "127.0.0.1:11211", servers: ["a:11211:1"]}\n'},
    {"config": 'a: {listen: ["*:11211", /run/nuthatch/memcached.sock], servers: ["a:11211:1"]}\n'},
    {"proxy": {"port": 6379}},
    {"proxy": {"port": 22222}},
    {"proxy": {"statsPort": 9600}},
    {"proxy": {"discovery": "dnssrv"}},
    {"proxy": {"migrate": {"window": "10m"}}},
    {"proxy": {"timeout": -1}},
    {"proxy": {"onServerFailure": "miss"}},
    {"proxy": {"onServerFailure": "gutter", "gutter": {"servers": ["g:11211", "h:11211:2 on"]}}},
    {"proxy": {"runAsUser": None}},
    {"admin": {"port": 11211}},
    {"networkPolicy": {"enabled": True}},
    {"endpointSlices": {"enabled": True}},
    {"podMonitor": {"enabled": True}},
    {"prometheusRule": {"enabled": True}, "dashboard": {"enabled": True}},
    {"nameOverride": "1e3"},
    {"fullnameOverride": "memcached-cluster"},
]


def merged(*parts: dict) -> dict:
    """Values over values."""
    result: dict = {}
    for part in parts:
        for key, value in part.items():
            inner = isinstance(value, dict) and isinstance(result.get(key), dict)
            result[key] = merged(result[key], value) if inner else value
    return result


def nested(path: str, value) -> dict:
    """A value at its path."""
    for key in reversed(path.split(".")):
        value = {key: value}
    return value


def companions(path: str) -> dict:
    """What a value needs beside it."""
    parts = path.split(".")
    paths = [".".join(parts[:count]) for count in range(1, len(parts) + 1)]
    return merged(*(WITH.get(each, {}) for each in paths))


def others(path: str, schema: dict) -> list:
    """Other values at a path."""
    for known in (path, path.split(".")[-1]):
        if known in SAMPLES:
            return SAMPLES[known]
    if schema.get("type") == "boolean":
        return [True, False]
    if "enum" in schema:
        return schema["enum"]
    assert schema.get("type") == "integer", f"{path} needs samples"
    # The program must take what the schema allows to its ends.
    return [schema["minimum"], schema["maximum"] if path.startswith("proxy.") else min(schema["maximum"], 60)]


def each_alone(defaults: dict, schema_of) -> Iterator[tuple[str, dict]]:
    """Every value at each of its samples, with a name for the case."""
    for path in values_table.paths(defaults):
        if values_table.is_value(path, values_table.at(defaults, path)):
            for number, value in enumerate(others(path, schema_of(path))):
                yield f"{path}-{number}", merged(companions(path), nested(path, value))


def nulls(defaults: dict) -> Iterator[tuple[str, dict]]:
    """Every value and every section as null, as a key without a value is."""
    for path in values_table.paths(defaults):
        redis = {"protocol": "redis"} if path.startswith(("redis", "proxy.redis")) else {}
        yield f"{path}-null", merged(EVERYTHING, redis, companions(path), nested(path, None))


def pairs() -> Iterator[tuple[str, dict]]:
    """Every two switches; where they are about the same value, the later one holds."""
    for (one, first), (two, second) in itertools.combinations(enumerate(SWITCHES), 2):
        yield f"{one}+{two}", merged(first, second)
