"""The guide's last command removes the release: everything is asked to end, in Kubernetes' order, and
does so by itself. What stays is what the guide says."""

from ..report import Act, check
from ..world import JOB, World
from .roll import check_ends

STAYS = {JOB, ("Secret", "redis")}


def play(world: World, act: Act) -> None:
    pods = world.cluster.pods
    check(not world.cluster.troubles(), f"before the end: {world.cluster.troubles()}")
    world.shell.run("remove")
    check_ends(pods, act)
    left = world.cluster.objects
    check(left <= STAYS, f"not removed: {left - STAYS}")
    act.say(f"what stays: {', '.join(' '.join(key) for key in sorted(left))}")
