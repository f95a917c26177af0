"""The load job has stored its keys through the API, and they are where `nuthatch route` says."""

from .. import figures
from ..report import Act, check
from ..world import JOB, World
from .keys import KEYS, totals

PARTS = 10


def play(world: World, act: Act) -> None:
    check_job(world, act)
    predicted = world.oracle.share(world.sidecar_file, KEYS)
    act.compare_keys(predicted, totals(world))
    check_figures(world, act, predicted)


def check_job(world: World, act: Act) -> None:
    """Every part of the job has stored its keys and read them back."""
    logs = world.cluster.workloads[JOB].logs
    check(len(logs) == PARTS, f"{len(logs)} parts of the job ended")
    for index, said in sorted(logs.items()):
        done = "100 stored, 100 read back, 0 failed"
        check(done in said, f"part {index} of the job said: {said}")
    act.say(f"{PARTS} parts of the job, each: {done}")


def check_figures(world: World, act: Act, predicted: dict[str, int]) -> None:
    """The proxies counted the same as the servers did."""
    stored = figures.by_server(world.sidecars, "nuthatch_server_seconds_count", **{"class": "set"})
    check(stored == predicted, f"the proxies say that they stored {stored}")
    hits = figures.total(world.sidecars, "nuthatch_get_hits_total")
    check(hits == len(KEYS), f"the proxies say that there were {hits} hits")
    rings = {value for _, value in figures.scrape(world.sidecars, "nuthatch_ring_hash")}
    check(len(rings) == 1, f"the proxies have different rings: {rings}")
    act.say(f"/metrics of {len(world.sidecars)} proxies: {stored} stored, {hits} hits, one ring")
