"""The load job has stored its keys through the API, and they are where `nuthatch route` says."""

from ..report import Act, check
from ..world import JOB, World
from .keys import KEYS, totals

PARTS = 10


def play(world: World, act: Act) -> None:
    logs = world.cluster.workloads[JOB].logs
    check(len(logs) == PARTS, f"{len(logs)} parts of the job ended")
    for index, said in sorted(logs.items()):
        done = "100 stored, 100 read back, 0 failed"
        check(done in said, f"part {index} of the job said: {said}")
    act.say(f"{PARTS} parts of the job, each: {done}")
    act.compare_keys(world.oracle.share(world.sidecar_environment, KEYS), totals(world))
