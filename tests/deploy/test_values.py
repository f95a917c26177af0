"""The values of the chart: what they must be, and that they are told of completely.

The rule: Helm 4 says in these words what is wrong; Helm 3 has others, but refuses the same.
"""

import json
import re

import pytest
import yaml

import values_table
from rendering import VALUES, Refused, render, values_of
from tools import HELM, ROOT

CHART = ROOT / "deploy/helm/nuthatch"
DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())

# What is given, and a part of the answer.
BAD = [
    ("proxi: {}", "additional properties 'proxi' not allowed"),
    ("proxy: {tiemout: 400}", "at '/proxy': additional properties 'tiemout' not allowed"),
    ("proxy: {timeout: 400ms}", "at '/proxy/timeout': got string, want integer"),
    ("proxy: {timeout: 2147483648}", "at '/proxy/timeout': maximum: got 2.147483648"),
    ("proxy: {hash: md6}", "at '/proxy/hash': value must be one of 'one_at_a_time', 'md5'"),
    ("proxy: {hashTag: '{'}", "at '/proxy/hashTag': '{' does not match pattern"),
    ("proxy: {distribution: modulo}", "at '/proxy/distribution': value must be one of 'ketama'"),
    ("proxy: {autoEjectHosts: 'yes'}", "at '/proxy/autoEjectHosts': got string, want boolean"),
    ("proxy: {workers: 0}", "at '/proxy/workers': minimum: got 0, want 1"),
    ("proxy: {workers: many}", "at '/proxy/workers': value must be 'auto'"),
    ("proxy: {logLevel: 12}", "at '/proxy/logLevel': maximum: got 12, want 11"),
    ("proxy: {allowFlush: 1}", "at '/proxy/allowFlush': got number, want boolean"),
    ("proxy: {limits: {itemSize: 1m}}", "additional properties 'itemSize' not allowed"),
    ("proxy: {limits: {itemSizeMax: 1 MB}}", "'1 MB' does not match pattern"),
    ("proxy: {limits: {lineMax: 65536}}", "at '/proxy/limits/lineMax': got number, want string"),
    ("proxy: {limits: {clientBufferMax: 0k}}", "'0k' does not match pattern"),
    ("proxy: {limits: {memoryMax: 512k}}", "'512k' does not match pattern"),
    ("proxy: {limits: {keysMax: 0}}", "at '/proxy/limits/keysMax': minimum: got 0, want 1"),
    ("proxy: {limits: {serverRequestsMax: 1k}}", "at '/proxy/limits/serverRequestsMax': value"),
    ("proxy: {limits: {clientConnections: -1}}", "minimum: got -1, want 0"),
    (
        "memcached: {itemSizeMax: 1536k}",
        "proxy.limits.itemSizeMax is less than memcached.itemSizeMax",
    ),
    ("proxy: {port: 80}", "at '/proxy/port': minimum: got 80, want 1,024"),
    ("image: {tag: latest}", "at '/image/tag': 'not' failed"),
    ("image: {digest: sha1:ab}", "at '/image/digest': 'sha1:ab' does not match pattern"),
    ("image: {pullPolicy: Sometimes}", "at '/image/pullPolicy': value must be one of 'Always'"),
    ("servers: a:11211:1", "at '/servers': got string, want array"),
    ("servers: ['a,b:11211']", "at '/servers/0': 'a,b:11211' does not match pattern"),
    ("servers: ['a:11211:0']", "at '/servers/0': 'a:11211:0' does not match pattern"),
    ("servers: ['dnssrv+_a._tcp.b:c']", "'dnssrv+_a._tcp.b:c' does not match pattern"),
    ("servers: ['a:11211:1']", "servers and memcached.enabled contradict each other"),
    (
        "memcached: {enabled: false}",
        "there are no servers: list them in servers, or set memcached.enabled",
    ),
    ("protocol: valkey", "at '/protocol': value must be one of 'memcached', 'redis'"),
    (
        "{protocol: redis, servers: ['a:6379:1']}",
        "servers and redis.enabled contradict each other",
    ),
    (
        "{protocol: redis, redis: {enabled: false}}",
        "there are no servers: list them in servers, or set redis.enabled",
    ),
    ("redis: {password: {secret: My_Secret}}", "'My_Secret' does not match pattern"),
    (
        "{protocol: redis, proxy: {redis: {user: cache}}}",
        "proxy.redis.user needs a password: name its Secret in redis.password.secret",
    ),
    ("redis: {password: secret}", "at '/redis/password': got string, want object"),
    ("redis: {image: {tag: latest}}", "at '/redis/image/tag': 'not' failed"),
    ("redis: {memoryMegabytes: 8}", "at '/redis/memoryMegabytes': minimum: got 8, want 16"),
    ("proxy: {redis: {crossShard: first}}", "at '/proxy/redis/crossShard': value must be one of"),
    ("proxy: {redis: {moduleCommands: [cl.throttle]}}", "'cl.throttle' does not match pattern"),
    ("proxy: {discovery: dns}", "at '/proxy/discovery': value must be one of 'list', 'dnssrv'"),
    ("proxy: {migrate: 10m}", "at '/proxy/migrate': got string, want object"),
    ("proxy: {migrate: {window: 0s}}", "'0s' does not match pattern"),
    ("proxy: {migrate: {settle: ''}}", "'' does not match pattern"),
    ("proxy: {migrate: {movesMax: 0}}", "at '/proxy/migrate/movesMax': minimum: got 0, want 1"),
    (
        "{proxy: {discovery: dnssrv}, memcached: {spare: 1}}",
        "memcached.spare and proxy.discovery: dnssrv contradict each other",
    ),
    (
        "{protocol: redis, proxy: {discovery: dnssrv}, redis: {spare: 1}}",
        "redis.spare and proxy.discovery: dnssrv contradict each other",
    ),
    (
        "proxy: {discovery: dnssrv, migrate: {window: 10m}}",
        "proxy.migrate.window and proxy.discovery: dnssrv contradict each other",
    ),
    (
        "proxy: {timeout: -1, migrate: {window: 10m}}",
        "proxy.migrate.window needs a proxy.timeout, which is -1",
    ),
    ("memcached: {replicas: 0}", "at '/memcached/replicas': minimum: got 0, want 1"),
    (
        "memcached: {fullname: Memcached}",
        "at '/memcached/fullname': 'Memcached' does not match pattern",
    ),
    (
        "memcached: {itemSizeMax: 1 MB}",
        "at '/memcached/itemSizeMax': '1 MB' does not match pattern",
    ),
    ("memcached: {image: {tag: ''}}", "at '/memcached/image/tag': minLength: got 0, want 1"),
    (
        "memcached: {memoryMegabytes: 64m}",
        "at '/memcached/memoryMegabytes': got string, want integer",
    ),
    (
        "sidecar: {socket: {path: /memcached.sock}}",
        "at '/sidecar/socket/path': '/memcached.sock' does not match",
    ),
    (
        "sidecar: {resources: {limit: {}}}",
        "at '/sidecar/resources': additional properties 'limit' not allowed",
    ),
    (
        "central: {resources: {limits: {memory: 64MB}}}",
        "at '/central/resources/limits/memory': '64MB' does not match",
    ),
    ("central: {autoscaling: {targetCpuPercent: 0}}", "minimum: got 0, want 1"),
    (
        "central: {tolerations: [{effects: NoSchedule}]}",
        "additional properties 'effects' not allowed",
    ),
    ("central: {podLabels: {a: 1}}", "at '/central/podLabels/a': got number, want string"),
    ("networkPolicy: {clients: []}", "at '/networkPolicy/clients': minItems: got 0, want 1"),
    (
        "networkPolicy: {clients: [{}]}",
        "at '/networkPolicy/clients/0': minProperties: got 0, want 1",
    ),
    (
        "endpointSlices: {enabled: true}",
        "endpointSlices.serviceAccounts must name the service accounts of the pods with a sidecar",
    ),
    ("endpointSlices: {serviceAccounts: [My_Account]}", "'My_Account' does not match pattern"),
    (
        "{central: {enabled: true}, fullnameOverride: memcached-cluster}",
        "the servers and the central proxies would both be named memcached-cluster",
    ),
    (
        "{protocol: redis, central: {enabled: true}, redis: {fullname: release-nuthatch}}",
        "set redis.fullname or fullnameOverride to another name",
    ),
    ("fullnameOverride: 1-a", "at '/fullnameOverride': 'anyOf' failed"),
    ("memcached: {fullname: 9a}", "at '/memcached/fullname': '9a' does not match pattern"),
    (
        "central: {enabled: true, replicas: 8}",
        "central.replicas is 8, more than central.autoscaling.maxReplicas, which is 6",
    ),
    (
        "central: {enabled: true, resources: {requests: {cpu: null}}}",
        "central.autoscaling measures the CPU in percent of the request",
    ),
    (
        "central: {rollingUpdate: {maxSurge: 0%}}",
        "central.rollingUpdate.maxSurge and maxUnavailable are both 0",
    ),
    (
        "central: {service: {loadBalancerClass: a}}",
        "central.service.loadBalancerClass is for the type LoadBalancer",
    ),
    ("central: {rollingUpdate: {maxUnavailable: 101%}}", "at '/central/rollingUpdate/maxUnavailable'"),
    ("admin: {port: 11211}", "admin.port and proxy.port are both 11211"),
    ("proxy: {port: 22222}", "proxy.port and proxy.statsPort are both 22222"),
    ("proxy: {statsPort: 9600}", "admin.port and proxy.statsPort are both 9600"),
    ("{protocol: redis, admin: {port: 6379}}", "admin.port and proxy.port are both 6379"),
    (
        "sidecar: {resources: {requests: {memory: 1Gi}}}",
        "sidecar.resources: the request of memory, 1Gi, is more than its limit, 128Mi",
    ),
    (
        "memcached: {cpu: 2, resources: {limits: {cpu: 1500m}}}",
        "memcached.resources: the request of cpu, 2, is more than its limit, 1500m",
    ),
    (
        "{protocol: redis, redis: {resources: {limits: {memory: 16Mi}}}}",
        "redis.resources: the request of memory, 128Mi, is more than its limit, 16Mi",
    ),
    (
        "proxy: {extraEnv: [{name: WORKERS, value: '4'}]}",
        "proxy.extraEnv has WORKERS, which the chart sets by itself",
    ),
    (
        "proxy: {extraEnv: [{name: A, value: b}, {name: A, value: c}]}",
        "proxy.extraEnv has A twice",
    ),
    ("proxy: {extraEnv: [{name: A, valueFrom: {fieldRef: {fieldPath: a}}}]}", "does not match"),
    ("proxy: {runAsUser: 0}", "at '/proxy/runAsUser': minimum: got 0, want 1"),
    ("central: {podLabels: {app.kubernetes.io/name: a}}", "at '/central/podLabels'"),
    ("commonLabels: {a: b c}", "at '/commonLabels/a': 'b c' does not match pattern"),
    ("central: {tolerations: [{key: a, operator: Exists, value: b}]}", "at '/central/tolerations/0'"),
    ("central: {tolerations: [{value: b}]}", "at '/central/tolerations/0'"),
    ("central: {affinity: {podAffinity: {required: []}}}", "additional properties 'required'"),
    ("config: 'a: {listen: 127.0.0.1:11212}'", "config listens nowhere on port 11211"),
    ("config: 'a: ['", "config is no YAML"),
    ("config: 'a: b'", "config: pool a has no settings"),
    (
        "config: 'a: {listen: [127.0.0.1:11211, /run/nuthatch/memcached.sock]}'",
        "config listens on /run/nuthatch/memcached.sock, and the sidecar has no such folder",
    ),
    (
        "{sidecar: {socket: {enabled: true}}, config: 'a: {listen: 127.0.0.1:11211}'}",
        "config does not listen on /run/nuthatch/memcached.sock",
    ),
    (
        "{central: {enabled: true}, config: 'a: {listen: 127.0.0.1:11211}'}",
        "config does not listen on port 11211 of the pods' own address",
    ),
    (
        "{central: {enabled: true, config: 'a: {listen: [0.0.0.0:11211, /run/a.sock]}'}}",
        "central.config listens on the socket /run/a.sock, which central proxies have no folder for",
    ),
    (
        "{proxy: {port: 11311}, central: {enabled: true, config: 'a: {listen: 0.0.0.0:11211}'}}",
        "central.config does not listen on port 11311",
    ),
    (
        "config: 'a: {listen: [127.0.0.1:11211, 127.0.0.1:9600]}'",
        "config listens on 127.0.0.1:9600, and the proxy's admin.port is 9600: choose another port",
    ),
    (
        "{admin: {port: 9700}, config: '{a: {listen: \"*:11211\"}, b: {listen: localhost:9700}}'}",
        "config listens on localhost:9700, and the proxy's admin.port is 9700",
    ),
    (
        "config: 'a: {listen: [127.0.0.1:11211, localhost:22222]}'",
        "config listens on localhost:22222, and the proxy's proxy.statsPort is 22222",
    ),
    (
        "{proxy: {statsAddress: '::'}, config: 'a: {listen: [127.0.0.1:11211, 127.0.0.9:22222]}'}",
        "config listens on 127.0.0.9:22222, and the proxy's proxy.statsPort is 22222",
    ),
    (
        "config: '{a: {listen: 127.0.0.1:11211}, b: {listen: \"*:11211\"}}'",
        "config listens on 127.0.0.1:11211 and on *:11211, which are one port: give each pool its own",
    ),
    (
        "config: 'a: {listen: [127.0.0.1:11211, 10.0.0.7:11300]}'",
        "config listens on 10.0.0.7:11300, an address that a pod does not have: use 127.0.0.1",
    ),
    (
        "{central: {enabled: true, config: 'a: {listen: [\"*:11211\", \"*:9600\"]}'}}",
        "central.config listens on *:9600, and the proxy's admin.port is 9600",
    ),
    (
        "{central: {enabled: true, config: 'a: {listen: 10.0.0.7:11211}'}}",
        "central.config listens on 10.0.0.7:11211, an address that a pod does not have",
    ),
    (
        "{central: {enabled: true, config: 'a: {listen: cache.example.com:11211}'}}",
        "central.config does not listen on port 11211 of the pods' own address",
    ),
    ("proxy: {extraArgs: [--stats-port=9600]}", "proxy.extraArgs has --stats-port=9600: use proxy.statsPort"),
    ("proxy: {extraArgs: [-s, '9600']}", "proxy.extraArgs has -s: use proxy.statsPort instead"),
    ("proxy: {extraArgs: [--stats-addr=*]}", "proxy.extraArgs has --stats-addr=*: use proxy.statsAddress"),
    ("proxy: {extraArgs: ['-a*']}", "proxy.extraArgs has -a*: use proxy.statsAddress"),
    ("proxy: {extraArgs: [--adm=127.0.0.1:9700]}", "has --adm=127.0.0.1:9700: use admin.port"),
    ("proxy: {extraArgs: [--conf-file, /a]}", "has --conf-file: use config or central.config"),
    ("proxy: {extraArgs: [-c/a]}", "proxy.extraArgs has -c/a: use config or central.config"),
    ("proxy: {extraArgs: [--test-conf]}", "has --test-conf, with which the proxy would not serve: remove it"),
    ("proxy: {extraArgs: [-d]}", "proxy.extraArgs has -d, with which the proxy would not serve"),
    ("proxy: {extraArgs: [--version]}", "has --version, with which the proxy would not serve"),
    ("memcached: {extraArgs: [-p, '11212']}", "memcached.extraArgs has -p: the proxies look for port 11211"),
    ("memcached: {extraArgs: [-vp11212]}", "memcached.extraArgs has -vp11212: the proxies look for"),
    ("memcached: {extraArgs: [--port=11212]}", "has --port=11212: the proxies look for port 11211"),
    ("memcached: {extraArgs: [-l, 127.0.0.1]}", "memcached.extraArgs has -l: the proxies look for"),
    ("memcached: {extraArgs: [-s, /tmp/a]}", "memcached.extraArgs has -s: the proxies look for"),
    ("memcached: {extraArgs: ['-m 1024']}", "has -m 1024: use memcached.memoryMegabytes instead"),
    ("memcached: {extraArgs: [--conn-limit=1]}", "has --conn-limit=1: use memcached.connections"),
    ("memcached: {extraArgs: [-I8m]}", "has -I8m: use memcached.itemSizeMax instead"),
    ("memcached: {extraArgs: [-d]}", "has -d, with which the server would not serve: remove it"),
    (
        "{protocol: redis, redis: {extraArgs: [--port, '6380']}}",
        "redis.extraArgs has --port: the proxies look for port 6379",
    ),
    ("{protocol: redis, redis: {extraArgs: ['--PORT 6380']}}", "has --PORT 6380: the proxies look for"),
    ("{protocol: redis, redis: {extraArgs: [--bind, '::1']}}", "has --bind: the proxies look for"),
    ("{protocol: redis, redis: {extraArgs: [--maxmemory, 1gb]}}", "use redis.memoryMegabytes instead"),
    ("{protocol: redis, redis: {extraArgs: [--maxclients, '1']}}", "use redis.connections instead"),
    ("{protocol: redis, redis: {extraArgs: [--requirepass, a]}}", "use redis.password.secret instead"),
    ("{protocol: redis, redis: {extraArgs: [--daemonize, 'yes']}}", "the server would not serve: remove it"),
    ("memcached: {extraEnv: [{name: A, value: b}, {name: A, value: c}]}", "memcached.extraEnv has A twice"),
    ("redis: {extraEnv: [{name: A, value: b}, {name: A, value: c}]}", "redis.extraEnv has A twice"),
    ("imagePullSecrets: [a, a]", "at '/imagePullSecrets': items at 0 and 1 are equal"),
    ("endpointSlices: {serviceAccounts: [a, a]}", "at '/endpointSlices/serviceAccounts': items at 0 and 1"),
    ("prometheusRule: {guideUrl: 'a: b'}", "at '/prometheusRule/guideUrl': 'a: b' does not match pattern"),
    ("sidecar: {socket: {enabled: true, path: /etc/nuthatch/a.sock}}", "sidecar.socket.path is /etc/nuthatch/a.sock, and the containers have something else in /etc"),
    ("sidecar: {socket: {enabled: true, path: /etc/nuthatch/b/a.sock}}", "something else in /etc/nuthatch: choose a folder"),
    ("sidecar: {socket: {enabled: true, path: /run/secrets/nuthatch/a.sock}}", "something else in /run/secrets: choose a folder"),
    ("sidecar: {socket: {enabled: true, path: /var/run/secrets/kubernetes.io/serviceaccount/a.sock}}", "something else in /var/run/secrets"),
    ("sidecar: {socket: {enabled: true, path: /dev/a.sock}}", "something else in /dev: choose a folder"),
    ("sidecar: {socket: {enabled: true, path: /run/../etc/nuthatch/a.sock}}", "write it without . and .. as /etc/nuthatch/a.sock"),
    ("sidecar: {socket: {enabled: true, path: '/run/a:b/a.sock'}}", "'/run/a:b/a.sock' does not match pattern"),
    ("sidecar: {socket: {enabled: true, path: /run/nuthatch/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa}}", "at '/sidecar/socket/path': maxLength: got 108, want 107"),
    ("sidecar: {resources: {limits: {memroy: 1Gi}}}", "at '/sidecar/resources/limits': additional properties 'memroy'"),
    ("memcached: {resources: {limits: {cpus: 1}}}", "at '/memcached/resources/limits': additional properties 'cpus'"),
    ("central: {resources: {limits: {a..b/c: 1}}}", "additional properties 'a..b/c' not allowed"),
    (
        "redis: {resources: {requests: {nvidia.com/gpu: 1}}}",
        "redis.resources: the request of nvidia.com/gpu, 1, must be its limit as well: set both",
    ),
    (
        "sidecar: {resources: {requests: {hugepages-2Mi: 2Mi}, limits: {hugepages-2Mi: 4Mi}}}",
        "the request of hugepages-2Mi, 2Mi, must be its limit as well",
    ),
    ("sidecar: {resources: {limits: {a.b/c: 1.5}}}", "the limit of a.b/c, 1.5, must be a whole number"),
    (
        "memcached: {memoryMegabytes: 1024, resources: {limits: {memory: 64Mi}, requests: {memory: 64Mi}}}",
        "the limit of memory, 64Mi, is less than memcached.memoryMegabytes, which is 1024",
    ),
    (
        "{protocol: redis, redis: {memoryMegabytes: 65, resources: {limits: {memory: 64Mi}, requests: {memory: 1Mi}}}}",
        "the limit of memory, 64Mi, is less than redis.memoryMegabytes, which is 65",
    ),
    ("central: {enabled: true, resources: {requests: {cpu: '0'}}}", "central.autoscaling measures the CPU"),
    ("central: {enabled: true, resources: {requests: {cpu: ''}}}", "central.autoscaling measures the CPU"),
    ("commonLabels: {a..b/x: c}", "additional properties 'a..b/x' not allowed"),
    ("memcached: {itemSizeMax: 33m}", "memcached.itemSizeMax is 33m, more than memcached accepts, half of its memory"),
    (
        "{memcached: {itemSizeMax: 1025m, memoryMegabytes: 4096}, proxy: {limits: {itemSizeMax: ''}}}",
        "memcached.itemSizeMax is 1025m, more than memcached accepts: at most 1024m",
    ),
    ("memcached: {itemSizeMax: 1023k}", "accepts multiples of 512k only: choose one, such as 1024k"),
    ("memcached: {itemSizeMax: 1k}", "accepts multiples of 512k only: choose one, such as 512k"),
    ("proxy: {limits: {clientBufferMax: 8m}}", "clientBacklogMax is 4m, less than clientBufferMax, which is 8m"),
    ("proxy: {limits: {clientBacklogMax: 1k}}", "clientBacklogMax is 1k, less than clientBufferMax, which is 256k"),
    (
        "proxy: {limits: {clientBacklogMax: 1k, clientBufferMax: ''}}",
        "clientBacklogMax is 1k, less than clientBufferMax, which is 1m",
    ),
    ("proxy: {limits: {itemSizeMax: 1025m}}", "itemSizeMax is 1025m, more than the proxy accepts: at most 1g"),
    ("proxy: {limits: {lineMax: 4g}}", "lineMax is 4g, more than the proxy accepts: at most 1g"),
    ("proxy: {limits: {serverBufferMax: 17g}}", "serverBufferMax is 17g, more than the proxy accepts: at most 16g"),
    ("proxy: {limits: {memoryMax: 1025g}}", "memoryMax is 1025g, more than the proxy accepts: at most 1024g"),
    ("proxy: {limits: {journalMax: 2g}}", "journalMax is 2g, more than the proxy accepts: at most 1g"),
    ("proxy: {migrate: {window: 366d}}", "proxy.migrate.window is 366d, more than the proxy accepts: at most 365d"),
    ("proxy: {migrate: {settle: 8761h}}", "proxy.migrate.settle is 8761h, more than the proxy accepts"),
    ("proxy: {onServerFailure: retry}", "at '/proxy/onServerFailure': value must be one of '', 'rehash'"),
    ("proxy: {onJournalFull: flush}", "proxy.onJournalFull is flush, and proxy.allowFlush is false"),
    ("proxy: {onServerFailure: miss, timeout: 0}", "proxy.onServerFailure needs a proxy.timeout, which is 0"),
    ("proxy: {serverFailureRate: 50}", "at '/proxy/serverFailureRate': got number, want string"),
    ("proxy: {maxEjected: 101%}", "'101%' does not match pattern"),
    ("proxy: {serverProbes: 101}", "at '/proxy/serverProbes': maximum: got 101, want 100"),
    ("proxy: {hashTag: éé}", "'éé' does not match pattern"),
    ("{protocol: redis, proxy: {redis: {moduleCommands: [X 5 1 1]}}}", "X 5 1 1, whose last key is before its first"),
    ("{protocol: redis, proxy: {redis: {moduleCommands: [X 1 1 0]}}}", "X 1 1 0, whose last key is before its first"),
    ("{protocol: redis, proxy: {redis: {moduleCommands: [X 1 1 32768]}}}", "with a number beyond 32767"),
    ("{protocol: redis, proxy: {redis: {moduleCommands: [X 1 1 1, x 0 0 0]}}}", "moduleCommands has x twice"),
    ("{memcached: {enabled: false}, servers: ['a:1:1', 'a:1:2']}", "servers has two with the name a:1: remove one"),
    ("{memcached: {enabled: false}, servers: ['a:1 b', 'c:11211 b']}", "servers has two with the name b: remove"),
    ("{memcached: {enabled: false}, servers: ['a:1 b', 'b:11211:3']}", "servers has two with the name b: remove"),
    ("{memcached: {enabled: false}, servers: ['dns+a:1', 'dns+a:1:2']}", "two with the name dns+a:1: remove"),
    (
        "{memcached: {enabled: false}, servers: ['dnssrv+_a._tcp.b', 'dnssrv+_a._tcp.b:2']}",
        "two with the name dnssrv+_a._tcp.b: remove",
    ),
    ("{memcached: {enabled: false}, servers: ['dns+a:1 b']}", "names of their own: remove the name"),
    ("{memcached: {enabled: false}, servers: ['a:65536']}", "servers has a:65536, with a port beyond 65535"),
    ("{memcached: {enabled: false}, servers: ['a:1:2147483648']}", "with a weight beyond 2147483647"),
    (
        "{memcached: {enabled: false}, servers: ['a:1:2147483647', 'b:1:2147483647', 'c:1:2']}",
        "the sum of the weights in servers, 4294967296, is beyond 4294967295",
    ),
    ("{memcached: {enabled: false}, servers: ['fd00::1:11211']}", "write an IPv6 address in brackets"),
    ("{memcached: {enabled: false}, servers: ['/run/a.sock:1']}", "at '/servers/0': '/run/a.sock:1' does not match"),
    (
        "{memcached: {replicas: 1000}, proxy: {serverConnections: 1024, workers: 2}}",
        "a proxy would have 2048000 connections, to 1000 servers, more than it can have, 1048576",
    ),
    (
        "{protocol: redis, redis: {replicas: 500}, proxy: {serverConnections: 1024, workers: auto, redis: {dedicatedConnectionsMax: 65535}}}",
        "a proxy would have 1089535 connections, to 500 servers",
    ),
    ("config: 'a: {listen: \"[::1]:11211\"}'", "config listens nowhere on port 11211"),
    ("{config: \"a: {listen: '*:11211'}\\n---\\nb: {}\"}", "config has more than one document"),
    ("{config: \"# a\\n---\\na: {listen: '*:11211'}\\n--- # b\\nb: {}\"}", "config has more than one document"),
    ("networkPolicy: {clients: [{ipBlock: {cidr: 10.0.0.0}}]}", "'10.0.0.0' does not match pattern"),
    ("networkPolicy: {clients: [{ipBlock: {cidr: 300.0.0.0/9}}]}", "'300.0.0.0/9' does not match pattern"),
    ("networkPolicy: {clients: [{ipBlock: {cidr: 10.0.0.0/33}}]}", "'10.0.0.0/33' does not match pattern"),
    ("networkPolicy: {clients: [{ipBlock: {cidr: 'fd00::/129'}}]}", "'fd00::/129' does not match pattern"),
    ("networkPolicy: {clients: [{ipBlock: {cidr: 10.0.0.0/8}, podSelector: {}}]}", "maxProperties: got 2, want 1"),
    (
        "central: {affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: "
        "[{matchExpressions: [{key: a, operator: Gt, values: [x]}]}]}}}}",
        "'x' does not match pattern",
    ),
    (
        "central: {affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: "
        "[{matchExpressions: [{key: a, operator: Lt, values: ['1', '2']}]}]}}}}",
        "maxItems: got 2, want 1",
    ),
    (
        "central: {affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: "
        "[{matchFields: [{key: a, operator: In, values: [b]}]}]}}}}",
        "value must be 'metadata.name'",
    ),
    (
        "central: {affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: "
        "[{topologyKey: a, namespaces: [A B]}]}}}",
        "'A B' does not match pattern",
    ),
    (
        "central: {affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: "
        "[{topologyKey: a, matchLabelKeys: [b]}]}}}",
        "labelSelector",
    ),
    ("redis: {password: {key: ..}}", "'..' does not match pattern"),
    ("redis: {password: {key: .}}", "'.' does not match pattern"),
    ("memcached: {extraEnv: [{name: ..a}]}", "'..a' does not match pattern"),
    (
        "proxy: {extraEnv: [{name: A, valueFrom: {fieldRef: {fieldPath: \"metadata.labels['a b']\"}}}]}",
        "does not match pattern",
    ),
    (
        "proxy: {extraEnv: [{name: A, valueFrom: {resourceFieldRef: {resource: limits.cpu, divisor: 1k}}}]}",
        "at '/proxy/extraEnv/0/valueFrom/resourceFieldRef/divisor'",
    ),
    (
        "proxy: {extraEnv: [{name: A, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: '3'}}}]}",
        "at '/proxy/extraEnv/0/valueFrom/resourceFieldRef/divisor'",
    ),
    ("central: {spreadOver: [a..b/x]}", "'a..b/x' does not match pattern"),
    ("image: {repository: a//b}", "'a//b' does not match pattern"),
    ("image: {repository: Nuthatch}", "'Nuthatch' does not match pattern"),
    ("image: {repository: registry/}", "'registry/' does not match pattern"),
    ("memcached: {image: {repository: a/-b}}", "'a/-b' does not match pattern"),
    ("proxy: {statsAddress: 'fe80::1'}", "at '/proxy/statsAddress'"),
    ("proxy: {statsAddress: 'a:'}", "'a:' does not match pattern"),
    ("proxy: {statsAddress: '{{b'}", "'{{b' does not match pattern"),
    ("proxy: {statsAddress: \"a\\nb\"}", "at '/proxy/statsAddress'"),
    ("central: {service: {nodePort: 30000}}", "central.service.nodePort is for the type LoadBalancer or NodePort"),
    (
        "central: {service: {type: NodePort, loadBalancerSourceRanges: [10.0.0.0/8]}}",
        "central.service.loadBalancerSourceRanges is for the type LoadBalancer, and central.service.type is NodePort",
    ),
    ("central: {service: {externalTrafficPolicy: Local}}", "externalTrafficPolicy is for the type LoadBalancer or"),
    ("tests: {resources: {limits: {memory: 1Mi}}}", "tests.resources: the request of memory, 64Mi, is more"),
    ("central: {replicas: null}", "at '/central': missing property 'replicas'"),
    ("memcached: {replicas: null}", "at '/memcached': missing property 'replicas'"),
    ("memcached: {itemSizeMax: null}", "at '/memcached': missing property 'itemSizeMax'"),
    ("memcached: {image: {tag: null}}", "at '/memcached/image': missing property 'tag'"),
    ("admin: {port: null}", "at '/admin': missing property 'port'"),
    ("networkPolicy: {clients: null}", "at '/networkPolicy': missing property 'clients'"),
    ("proxy: null", "missing property 'proxy'"),
    ("podMonitor: {interval: 30}", "at '/podMonitor/interval': got number, want string"),
    (
        "podMonitor: {selector: {app: x}}",
        "at '/podMonitor/selector': additional properties 'app' not allowed",
    ),
]


@pytest.mark.parametrize(("values", "answer"), BAD)
def test_a_bad_value_is_refused_with_its_place(values, answer):
    with pytest.raises(Refused, match=re.escape(answer)):
        render("nuthatch", yaml.safe_load(values), helm="helm4")


@pytest.mark.parametrize(("values", "answer"), BAD)
def test_helm_3_refuses_the_same(values, answer):
    with pytest.raises(Refused):
        render("nuthatch", yaml.safe_load(values), helm="helm3")


@pytest.mark.parametrize("helm", HELM)
@pytest.mark.parametrize(
    ("memory", "written"),
    # As numbers of a file and with every unit that Kubernetes has; all are at least the 64Mi of the request.
    [(134217728, "134217728"), (1e9, "1000000000"), (68719476736.5, "68719476736.5")]
    + [(each, each) for each in ("1e9", "128E6", "1.5e+9", "134217728", "0.5Gi", "1P", "1Ei", "70000000000m")],
)
def test_a_quantity_may_be_a_number_or_have_any_unit(memory, written, helm):
    given = {"resources": {"limits": {"memory": memory}}}
    (ping,) = (
        item
        for item in render("nuthatch", {"sidecar": given, "central": {"enabled": True}}, helm=helm)
        if item["metadata"]["name"] == "release-nuthatch-test-ping"
    )
    assert ping["spec"]["containers"][0]["resources"]["limits"]["memory"] == written


@pytest.mark.parametrize("helm", HELM)
@pytest.mark.parametrize("place", ["sidecar", "central", "memcached"])
@pytest.mark.parametrize("memory", [1073741824, 1e12, "1e12", "1E12", "1P", "1Ei", "0.001Ti"])
def test_a_request_above_its_limit_is_refused_however_it_is_written(memory, place, helm):
    values = {place: {"resources": {"requests": {"memory": memory}}}}
    with pytest.raises(Refused, match=f"{place}.resources: the request of memory, .* more than its limit"):
        render("nuthatch", values, helm=helm)


@pytest.mark.parametrize(
    "values",
    [
        # What the chart does not set, and words that only look like it.
        {"proxy": {"extraArgs": ["-v", "7", "--discovery-hold=60", "--no-watch", "--dns-ttl-max=5", "-p/a"]}},
        {"memcached": {"extraArgs": ["-v", "-t", "4", "-o", "modern", "-R20", "--threads=4", "-Ct2", "-U", "0"]}},
        {"protocol": "redis", "redis": {"extraArgs": ["--maxmemory-policy", "volatile-lru", "--io-threads", "2"]}},
        # Another address, or another port.
        {"config": "a: {listen: [127.0.0.1:11211, 127.0.0.2:22222, 127.0.0.1:9601]}"},
        {"proxy": {"statsAddress": "/tmp/a"}, "config": "a: {listen: ['*:11211', '*:22222']}"},
        {"central": {"enabled": True, "config": "a: {listen: ['[::]:11211', '127.0.0.1:1']}"}},
        {"config": "# ours\n---\nError: {listen: ['127.1:11211', '[::1]:11211']}\n"},
        {"central": {"enabled": True, "config": "a: {listen: '0:11211'}"}},
        # A file of central proxies has servers of its own.
        {
            "sidecar": {"enabled": False},
            "memcached": {"enabled": False},
            "central": {"enabled": True, "config": "a: {listen: '*:11211', servers: ['b:11211:1']}"},
        },
        # Kubernetes takes the limit for the request.
        {"central": {"enabled": True, "resources": {"requests": {"cpu": ""}, "limits": {"cpu": 1}}}},
        {"memcached": {"memoryMegabytes": 1024, "resources": {"limits": {"memory": "1Gi"}, "requests": {"memory": 1}}}},
    ],
)
def test_what_clashes_with_nothing_is_rendered(values):
    assert render("nuthatch", values)


@pytest.mark.parametrize("helm", HELM)
def test_a_parent_chart_is_told_so_too(helm):
    with pytest.raises(Refused, match="tiemout"):
        render("cache-api", {"nuthatch": {"proxy": {"tiemout": 400}}}, helm=helm)


@pytest.mark.parametrize("helm", HELM)
def test_an_application_needs_a_proxy(helm):
    with pytest.raises(Refused, match="there is no proxy to talk to"):
        render("cache-api", {"nuthatch": {"sidecar": {"enabled": False}}}, helm=helm)


@pytest.mark.parametrize("helm", HELM)
def test_the_example_can_have_a_native_sidecar_only(helm):
    with pytest.raises(Refused, match="native"):
        render("cache-api", {"nuthatch": {"sidecar": {"native": False}}}, helm=helm)


def test_every_object_of_the_schema_is_closed():
    def open_ones(schema, path="values"):
        if isinstance(schema, dict):
            if schema.get("type") == "object" and "additionalProperties" not in schema:
                yield path
            for key, value in schema.items():
                yield from open_ones(value, f"{path}.{key}")

    assert list(open_ones(SCHEMA)) == ["values.properties.global"]


def follow(schema: dict) -> dict:
    """A schema in place of a reference to it."""
    return values_table.followed(schema, SCHEMA)


def test_the_schema_knows_every_value_and_no_other():
    def paths(schema, prefix=""):
        schema = follow(schema)
        for key, value in schema.get("properties", {}).items():
            yield f"{prefix}{key}"
            yield from paths(value, f"{prefix}{key}.")

    free = {"resources", "selector", "affinity"}
    shown = {path for path in paths(SCHEMA) if not free & set(path.split(".")[:-1])}
    assert shown - {"global", "enabled"} == set(values_table.paths(DEFAULTS))


def test_the_readme_has_the_table_of_values():
    table = values_table.table((CHART / "values.yaml").read_text(), SCHEMA)
    readme = (CHART / "README.md").read_text()
    assert table in readme, f"the table in the chart's README.md must be:\n{table}"


def test_the_readme_says_in_words_what_a_pattern_allows():
    """A value that may be any text is said to be one."""
    for path in values_table.paths(DEFAULTS):
        if values_table.is_value(path, values_table.at(DEFAULTS, path)):
            schema = values_table.schema_at(path, SCHEMA)
            for each in [schema, *schema.get("anyOf", []), schema.get("items", {})]:
                each = follow(each)
                assert "pattern" not in each or "description" in each, path


def test_the_cases_set_every_value():
    def given(values, prefix=""):
        for key, value in values.items():
            yield f"{prefix}{key}"
            yield from given(value, f"{prefix}{key}.") if isinstance(value, dict) else ()

    tried = {path for file in VALUES for path in given(values_of("nuthatch", file.stem))}
    # charts/plain is the case for that one.
    assert set(values_table.paths(DEFAULTS)) - tried == {"sidecar.native"}


def test_the_links_of_the_readme_lead_somewhere():
    links = re.findall(r"\]\((?!https?:)([^)#]+)", (CHART / "README.md").read_text())
    assert links and [link for link in links if not (CHART / link).exists()] == []
