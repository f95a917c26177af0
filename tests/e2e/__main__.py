"""The end-to-end test, from the images to the last exit code. `run` starts it; `run images` makes the
images and ends.

The rule: one system goes through all acts, in the order in which a user meets them, and the first
act that fails ends the test. What the containers said is then in target/e2e/logs.
"""

import shutil
import signal
import sys
from contextlib import ExitStack
from pathlib import Path

from . import images, network
from .acts import (
    any_user,
    central,
    compose,
    family,
    image,
    install,
    load_job,
    redis,
    reschedule,
    roll,
    scale,
    stop,
)
from .command import CommandFailed
from .engine import Engine, EngineUnavailable
from .helm import Helm
from .kubelet.cluster import Cluster
from .kubelet.dns import Dns
from .kubelet.fields import Unknown
from .kubelet.pod import PodFailed
from .network import IPV4, IPV6
from .predict import Oracle
from .report import Mismatch, Report
from .shell import Shell
from .world import World

REPOSITORY = Path(__file__).parents[2]
KEPT = REPOSITORY / "target/e2e"
# A file system in memory that only this process and its children see: it needs no clearing away.
SCRATCH = Path("/mnt")
# Networks are none of the engines' business: one has this machine's, the other ours.
NO_NETWORK = ["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"]
PAUSE = "local/pause:1"
EXAMPLE = "examples/cache-api/chart"
# All of it with IPv4; then, with IPv6 alone, what depends on addresses.
PLAYS = {
    IPV4: {
        "the images": image,
        "any user": any_user,
        "the compose files": compose,
        "the guide's install": install,
        "the load job": load_job,
        "one family": family,
        "a lost memcached": reschedule,
        "a rolled application": roll,
        "a third memcached": scale,
        "central mode": central,
        "the end": stop,
        "Redis": redis,
        "the end of Redis": stop,
    },
    IPV6: {
        "IPv6: the guide's install": install,
        "IPv6: the load job": load_job,
        "IPv6: one family": family,
        "IPv6: central mode": central,
        "IPv6: the end": stop,
        "IPv6: Redis": redis,
        "IPv6: the end of Redis": stop,
    },
}
EXIT_CODE_NO_ENGINE = 77


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped by SIGTERM"))
    report = Report()
    try:
        play(report)
        return 0
    except EngineUnavailable as why:
        print(f"e2e: no container engine can run here: {why}", file=sys.stderr)
        return EXIT_CODE_NO_ENGINE
    except (CommandFailed, Mismatch, PodFailed, Unknown) as why:
        print(f"e2e: {why}", file=sys.stderr)
        return 1
    finally:
        if report.acts:
            report.show()


def play(report: Report) -> None:
    with ExitStack() as stack:
        builder = stack.enter_context(Engine(KEPT / "builder", SCRATCH / "builder", *NO_NETWORK))
        with report.act("make images") as act:
            flags = images.build_flags(builder)
            names = images.build_ours(builder, REPOSITORY, flags)
            act.say(", ".join(names))
        if sys.argv[1:] == ["images"]:
            return
        helm = Helm(REPOSITORY, SCRATCH / "charts")
        network.enter()  # From here on there is nothing outside.
        node = stack.enter_context(Engine(SCRATCH / "images", SCRATCH / "node", *NO_NETWORK))
        import_images(builder, node, helm, names)
        known = {name.split(":")[0]: name for name in names}
        known["memcached"] = server_image(helm, "memcached")
        logs = make_log_folder()
        for addresses, acts in PLAYS.items():
            with ExitStack() as opened:
                scratch = SCRATCH / addresses.name
                own = network.Network(addresses)
                dns = opened.enter_context(Dns(own, scratch / "dns"))
                cluster = Cluster(node, PAUSE, own, dns, logs)
                opened.callback(cluster.keep_all_logs)
                shell = Shell(REPOSITORY, scratch, builder, flags, node, helm, cluster)
                opened.enter_context(shell)
                world = World(node, cluster, shell, Oracle(node, known["nuthatch"]), known)
                for name, subject in acts.items():
                    with report.act(name) as act:
                        subject.play(world, act)


def import_images(builder: Engine, node: Engine, helm: Helm, names: list[str]) -> None:
    """Our images, as they are on their way into a cluster, and those of others."""
    archive = SCRATCH / "images.tar"
    builder.docker("save", "--output", archive, *names)
    node.docker("load", "--input", archive)
    images.import_memcached(node, server_image(helm, "memcached"))
    images.import_redis(node, server_image(helm, "redis"))
    images.import_pause(node, PAUSE)


def server_image(helm: Helm, protocol: str) -> str:
    """The image of the servers behind the proxy, as the chart has it."""
    objects = helm.template("cache-api", EXAMPLE, "--set", f"nuthatch.protocol={protocol}")
    (servers,) = [one for one in objects if one["kind"] == "StatefulSet"]
    (server,) = servers["spec"]["template"]["spec"]["containers"]
    return server["image"]


def make_log_folder() -> Path:
    """An empty folder for what the containers say."""
    logs = KEPT / "logs"
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir(parents=True)
    return logs


sys.exit(main())
