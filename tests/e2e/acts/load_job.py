"""The load job stores its keys through the API, and they are where `nuthatch route` says."""

from .. import memcached
from ..report import Act, check
from ..world import JOB, World

KEYS = [str(key) for key in range(1000)]


def play(world: World, act: Act) -> None:
    world.chart.set("load.enabled", "true")
    world.cluster.apply(world.chart.objects())
    world.cluster.wait(JOB)
    job = world.cluster.workloads[JOB]
    check(len(job.logs) == 10, f"{len(job.logs)} parts of the job ended")
    for index, said in sorted(job.logs.items()):
        done = "100 stored, 100 read back, 0 failed"
        check(done in said, f"part {index} of the job said: {said}")
    act.say("10 parts of the job: each 100 stored, 100 read back, 0 failed")
    act.compare_keys(world.oracle.share(world.sidecar_environment, KEYS), totals(world))


def totals(world: World) -> dict[str, int]:
    """The `total_items` of every server."""
    return {name: memcached.total_items(address) for name, address in world.servers.items()}
