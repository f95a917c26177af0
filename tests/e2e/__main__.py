"""The end-to-end test, from the images to the last exit code. `run` starts it.

The rule: one system goes through all acts, in the order in which a user meets them, and the first
act that fails ends the test. What the containers said is then in target/e2e/logs.
"""

import shutil
import signal
import sys
from pathlib import Path

from . import images, network
from .acts import image, load_job, reschedule, roll, scale, start, stop
from .chart import Chart
from .command import CommandFailed
from .engine import Engine, EngineUnavailable
from .kubelet.cluster import Cluster
from .kubelet.dns import Dns
from .kubelet.fields import Unknown
from .kubelet.pod import PodFailed
from .predict import Oracle
from .report import Mismatch, Report
from .world import World

REPOSITORY = Path(__file__).parents[2]
KEPT = REPOSITORY / "target/e2e"
# A file system in memory that only this process and its children see: it needs no clearing away.
SCRATCH = Path("/mnt")
# The engine that builds has this machine's network, and must leave its rules as they are.
BUILDER = ["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"]
PAUSE = "local/pause:1"
ACTS = {
    "the images": image,
    "the start": start,
    "the load job": load_job,
    "a lost memcached": reschedule,
    "a rolled application": roll,
    "a third memcached": scale,
    "the end": stop,
}
EXIT_CODE_NO_ENGINE = 77


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped by SIGTERM"))
    report = Report()
    try:
        play(report)
    except EngineUnavailable as why:
        print(f"e2e: no container engine can run here: {why}", file=sys.stderr)
        return EXIT_CODE_NO_ENGINE
    except (CommandFailed, Mismatch, PodFailed, Unknown) as why:
        print(f"e2e: {why}", file=sys.stderr)
        return 1
    finally:
        report.show()
    return 0


def play(report: Report) -> None:
    with report.act("make images") as act:
        archive, names = build(SCRATCH / "images.tar")
        act.say(", ".join(names))
    chart = Chart(REPOSITORY, SCRATCH / "charts")
    network.enter()  # From here on there is nothing outside.
    with Engine(SCRATCH / "node", SCRATCH / "engine", "--bridge=none") as engine:
        engine.docker("load", "--input", archive)
        network.create(engine)
        with Dns(SCRATCH / "dns") as dns:
            world = create_world(engine, dns, chart, names)
            for name, subject in ACTS.items():
                with report.act(name) as act:
                    subject.play(world, act)


def build(archive: Path) -> tuple[Path, list[str]]:
    """Builds the images, with the network of this machine, and takes them out of the engine."""
    with Engine(KEPT / "builder", SCRATCH / "builder", *BUILDER) as engine:
        names = images.build_ours(engine, REPOSITORY)
        engine.docker("save", "--output", archive, *names)
    return archive, names


def create_world(engine: Engine, dns: Dns, chart: Chart, names: list[str]) -> World:
    """The cluster, and in it the images that the chart names."""
    (servers,) = [one for one in chart.objects() if one["kind"] == "StatefulSet"]
    (server,) = servers["spec"]["template"]["spec"]["containers"]
    # The official image has the name of its user, not the number.
    images.import_program(engine, server["image"], "/usr/bin/memcached", "USER memcache")
    images.import_program(engine, PAUSE, "/bin/sleep", 'CMD ["infinity"]')
    logs = KEPT / "logs"
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir()
    ours = {name.split(":")[0]: name for name in names}
    cluster = Cluster(engine, PAUSE, dns, logs)
    return World(engine, cluster, chart, Oracle(engine, ours["nuthatch"]), ours)


sys.exit(main())
