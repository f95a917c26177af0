"""Everything is asked to end, in Kubernetes' order, and does so by itself. The cluster is empty then."""

from ..report import Act, check
from ..world import World
from .roll import check_ends


def play(world: World, act: Act) -> None:
    pods = world.cluster.pods
    check(not world.cluster.troubles(), f"before the end: {world.cluster.troubles()}")
    world.cluster.stop()
    check_ends(pods, act)
